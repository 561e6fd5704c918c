/* Log lines: JSON for machines, or one readable line for a human, to standard error.
 *
 * A line is put together in a buffer on the stack and leaves in one write(2), so that lines of
 * several threads never mix and nothing is allocated or locked.  A line that is too long is cut
 * inside its last text, and still is well-formed.  Bytes that are not UTF-8 are replaced.  Any
 * thread. */
#include "server/log.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/utf8.h"

#define LINE_MAX_BYTES 4096
#define LINE_RESERVE   16 /* kept free for closing quote, brace, newline */

static _Atomic int level_now = CONFIG_LOG_INFO;
static _Atomic int format_now = CONFIG_LOG_HUMAN;

static const char *const level_names[] = {"debug", "info", "warning", "error"};

struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
};

static bool fits(const struct line *line, size_t more)
{
    return line->len + more <= LINE_MAX_BYTES - LINE_RESERVE;
}

static void put(struct line *line, const char *text, size_t len)
{
    memcpy(line->text + line->len, text, len);
    line->len += len;
}

static void put_text(struct line *line, const char *text)
{
    size_t len = strlen(text);

    if (fits(line, len))
        put(line, text, len);
}

/* The bytes of `text` with everything escaped that is not plain; the same for both formats. */
static void put_escaped(struct line *line, const char *text)
{
    size_t len = strlen(text);

    while (len > 0 && fits(line, 8)) {
        unsigned char c = (unsigned char)*text;
        int n = utf8_decode(text, len, NULL);

        if (n <= 0) {
            put(line, "\xef\xbf\xbd", 3);
            n = 1;
        } else if (c == '"' || c == '\\') {
            char escaped[2] = {'\\', (char)c};
            put(line, escaped, 2);
        } else if (c < 0x20 || c == 0x7f) {
            char escaped[8];
            put(line, escaped, (size_t)snprintf(escaped, sizeof(escaped), "\\u%04x", c));
        } else {
            put(line, text, (size_t)n);
        }
        text += n;
        len -= (size_t)n;
    }
}

static void put_quoted(struct line *line, const char *text)
{
    put_text(line, "\"");
    put_escaped(line, text);
    put(line, "\"", 1); /* the reserve has room */
}

static void put_number(struct line *line, double number)
{
    char text[40];

    if (!isfinite(number))
        snprintf(text, sizeof(text), "null");
    else if (fabs(number) < 1e15 && floor(number) == number)
        snprintf(text, sizeof(text), "%.0f", number);
    else
        snprintf(text, sizeof(text), "%.6g", number);
    put_text(line, text);
}

static void put_time(struct line *line, bool date)
{
    char text[64];
    struct timespec now;
    struct tm utc;
    size_t n;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    n = strftime(text, sizeof(text), date ? "%Y-%m-%dT%H:%M:%S" : "%H:%M:%S", &utc);
    snprintf(text + n, sizeof(text) - n, ".%03ldZ", now.tv_nsec / 1000000);
    put_text(line, text);
}

static bool bare(const char *text)
{
    if (*text == '\0')
        return false;
    for (; *text; text++)
        if (*text <= ' ' || *text == '"' || *text == '\\' || *text == '=' || *text > '~')
            return false;
    return true;
}

static void write_human(struct line *line, enum config_log_level level, const char *text,
                        const struct log_field *fields, unsigned n_fields)
{
    put_time(line, false);
    put_text(line, " ");
    put_text(line, level_names[level]);
    put_text(line, level == CONFIG_LOG_INFO ? "    " : "  ");
    put_escaped(line, text);
    for (unsigned i = 0; i < n_fields && fits(line, strlen(fields[i].name) + 4); i++) {
        put_text(line, "  ");
        put_text(line, fields[i].name);
        put_text(line, "=");
        if (!fields[i].text)
            put_number(line, fields[i].number);
        else if (bare(fields[i].text))
            put_escaped(line, fields[i].text);
        else
            put_quoted(line, fields[i].text);
    }
    put(line, "\n", 1);
}

static void write_json(struct line *line, enum config_log_level level, const char *text,
                       const struct log_field *fields, unsigned n_fields)
{
    put_text(line, "{\"time\":\"");
    put_time(line, true);
    put_text(line, "\",\"level\":\"");
    put_text(line, level_names[level]);
    put_text(line, "\",\"message\":");
    put_quoted(line, text);
    /* a field is begun only where its name and a number are sure to fit */
    for (unsigned i = 0; i < n_fields && fits(line, strlen(fields[i].name) + 48); i++) {
        put_text(line, ",\"");
        put_text(line, fields[i].name);
        put_text(line, "\":");
        if (fields[i].text)
            put_quoted(line, fields[i].text);
        else
            put_number(line, fields[i].number);
    }
    put(line, "}\n", 2);
}

void log_start(enum config_log_level level, enum config_log_format format)
{
    if (format == CONFIG_LOG_AUTO)
        format = isatty(STDERR_FILENO) ? CONFIG_LOG_HUMAN : CONFIG_LOG_JSON;
    atomic_store_explicit(&format_now, (int)format, memory_order_relaxed);
    log_set_level(level);
}

void log_set_level(enum config_log_level level)
{
    atomic_store_explicit(&level_now, (int)level, memory_order_relaxed);
}

void log_event(enum config_log_level level, const char *text, const struct log_field *fields,
               unsigned n_fields)
{
    struct line line;

    if ((int)level < atomic_load_explicit(&level_now, memory_order_relaxed))
        return;
    line.len = 0;
    if (atomic_load_explicit(&format_now, memory_order_relaxed) == CONFIG_LOG_JSON)
        write_json(&line, level, text, fields, n_fields);
    else
        write_human(&line, level, text, fields, n_fields);
    /* a log that cannot be written must not stop the daemon, and there is nobody to tell */
    if (write(STDERR_FILENO, line.text, line.len) < 0)
        return;
}
