/* The option table as data, and the reader of one value: what the loader and the writers share.
 *
 * Inside of config/ only, but for the unit tests.  The table is constant; any thread. */
#ifndef CONFIG_TABLE_H
#define CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"

enum option_type {
    OPTION_text,
    OPTION_path,
    OPTION_int,
    OPTION_bytes,
    OPTION_seconds,
    OPTION_millis,
    OPTION_bool,
    OPTION_choice
};

struct option_row {
    const char *section;
    const char *name;
    const char *preset; /* as it would be written in the file */
    const char *help;   /* of a choice: "word|word: help" */
    enum option_type type;
    int64_t min, max; /* of numbers; bytes in bytes */
    bool reload;      /* read again on SIGHUP */
    size_t offset;    /* of the field in struct config */
};

#define OPTION(section, type, name, preset, min, max, reload, help) OPTION_INDEX_##name,
enum {
#include "config/options.def"
    OPTION_COUNT
};
#undef OPTION

extern const struct option_row config_table[OPTION_COUNT];

/* Reads `text` into the option's field of *into; a text it replaces is freed.  On failure the field
 * is as it was and err->text says "want …, found '…'".  RNN_EFORMAT, RNN_ERANGE, RNN_ENOMEM. */
int option_read(const struct option_row *option, const char *text, struct config *into,
                struct rnn_err *err);

/* Writes the field as it would stand in the file.  Text is cut to fit. */
void option_write(const struct option_row *option, const struct config *config, char *out,
                  size_t cap);

/* Texts and paths, and the field of one. */
bool option_is_string(const struct option_row *option);
const char *option_text(const struct option_row *option, const struct config *config);

/* "a whole number of 0 to 256": what a value of this option must be. */
void option_want(const struct option_row *option, char *out, size_t cap);

/* A size as a person writes it: 4M, 8K, 1000. */
void option_format_bytes(uint64_t bytes, char *out, size_t cap);

/* A choice's help without its words; the whole help of any other. */
const char *option_help(const struct option_row *option);

/* The words of a choice, as "auto|scalar|avx2|avx512"; their length. */
size_t option_words(const struct option_row *option);

/* `text` fit for a terminal and one line: control characters become '?', at most 80 bytes. */
void option_show(const char *text, char *out, size_t cap);

/* RNND_BODY_MAX_BYTES, or body-max-bytes, of an option name. */
void option_env_name(const char *name, char *out, size_t cap);
void option_flag_name(const char *name, char *out, size_t cap);
#define OPTION_NAME_MAX 64

#endif
