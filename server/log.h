/* Log lines: one event each, as JSON or for a human, to standard error.  Any thread; one write(2) a
 * line.
 *
 * The text says what happened; facts go into fields, never into the text.  No prompt, no key, no
 * body is logged. */
#ifndef SERVER_LOG_H
#define SERVER_LOG_H

#include <stdint.h>

#include "config/config.h"

void log_start(enum config_log_level level, enum config_log_format format);
void log_set_level(enum config_log_level level);

struct log_field {
    const char *name;
    const char *text; /* NULL: `number` counts */
    double number;
};
#define LOG_TEXT(field, value)   ((struct log_field){.name = (field), .text = (value)})
#define LOG_NUMBER(field, value) ((struct log_field){.name = (field), .number = (double)(value)})

void log_event(enum config_log_level level, const char *text, const struct log_field *fields,
               unsigned n_fields);

/* log_line(CONFIG_LOG_INFO, "model loaded", LOG_TEXT("model", name), LOG_NUMBER("seconds", s)); */
#define log_line(level, text, ...)                                                                 \
    log_event(                                                                                     \
        (level), (text), (const struct log_field[]){__VA_ARGS__},                                  \
        (unsigned)(sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field)))

#endif
