/* The option table, and how each type of value is read, bounded and written.
 *
 * Method: options.def is expanded once into rows that hold the offset of their field, so that the
 * loader, the reload and the writers are loops over rows.  Any thread; allocates only texts. */
#include "config/table.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define START  false
#define RELOAD true
#define OPTION(section_, type_, name_, preset_, min_, max_, reload_, help_)                        \
    {.section = #section_,                                                                         \
     .name = #name_,                                                                               \
     .preset = preset_,                                                                            \
     .help = help_,                                                                                \
     .type = OPTION_##type_,                                                                       \
     .min = min_,                                                                                  \
     .max = max_,                                                                                  \
     .reload = reload_,                                                                            \
     .offset = offsetof(struct config, name_)},
const struct option_row config_table[OPTION_COUNT] = {
#include "config/options.def"
};
#undef OPTION
#undef START
#undef RELOAD

/* ---- Names and words ---- */

static void copy_mapped(const char *name, char from, char to, bool upper, char *out, size_t cap)
{
    size_t i = 0;

    for (; name[i] && i + 1 < cap; i++) {
        char c = name[i] == from ? to : name[i];
        out[i] = (char)(upper && c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    }
    out[i] = '\0';
}

void option_env_name(const char *name, char *out, size_t cap)
{
    snprintf(out, cap, "RNND_");
    if (cap > 5)
        copy_mapped(name, '-', '_', true, out + 5, cap - 5);
}

void option_flag_name(const char *name, char *out, size_t cap)
{
    copy_mapped(name, '_', '-', false, out, cap);
}

void option_show(const char *text, char *out, size_t cap)
{
    size_t limit = cap > 81 ? 81 : cap;
    size_t i = 0;

    for (; text[i] && i + 1 < limit; i++)
        out[i] = (char)((unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i]);
    /* a cut never leaves half of a UTF-8 character behind */
    if (text[i])
        while (i > 0 && ((unsigned char)text[i] & 0xc0) == 0x80)
            i--;
    out[i] = '\0';
}

size_t option_words(const struct option_row *option)
{
    return option->type == OPTION_choice ? strcspn(option->help, ":") : 0;
}

const char *option_help(const struct option_row *option)
{
    const char *help = option->help + option_words(option);

    if (option->type == OPTION_choice && *help == ':')
        help++;
    return help + strspn(help, " ");
}

/* ---- What is wanted ---- */

void option_format_bytes(uint64_t bytes, char *out, size_t cap)
{
    static const char units[] = "\0KMGT";
    size_t unit = 0;

    while (bytes >= 1024 && bytes % 1024 == 0 && unit < 4) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, cap, unit ? "%" PRIu64 "%c" : "%" PRIu64, bytes, units[unit]);
}

void option_want(const struct option_row *option, char *out, size_t cap)
{
    char low[32], high[32];

    switch (option->type) {
    case OPTION_int:
    case OPTION_seconds:
    case OPTION_millis:
        snprintf(out, cap, "a whole number%s of %" PRId64 " to %" PRId64,
                 option->type == OPTION_seconds  ? " of seconds"
                 : option->type == OPTION_millis ? " of milliseconds"
                                                 : "",
                 option->min, option->max);
        return;
    case OPTION_bytes:
        option_format_bytes((uint64_t)option->min, low, sizeof low);
        option_format_bytes((uint64_t)option->max, high, sizeof high);
        snprintf(out, cap, "a number of bytes of %s to %s (K, M, G, T: powers of 1024)", low, high);
        return;
    case OPTION_bool:
        snprintf(out, cap, "yes or no");
        return;
    case OPTION_choice:
        snprintf(out, cap, "one of %.*s", (int)option_words(option), option->help);
        return;
    case OPTION_text:
    case OPTION_path:
        snprintf(out, cap, "a text");
        return;
    }
}

static int unwanted(const struct option_row *option, int code, const char *text,
                    struct rnn_err *err)
{
    char want[128], found[96];

    option_want(option, want, sizeof want);
    option_show(text, found, sizeof found);
    return rnn_fail_at(err, code, option->name, -1, "want %s, found '%s'", want, found);
}

/* ---- Reading ---- */

/* A decimal number up to `*end`; false unless it begins with a digit or a minus and one.  Too large
 * ones become INT64_MAX or INT64_MIN, which no bound lets through. */
static bool read_whole(const char *text, const char **end, int64_t *value)
{
    const char *digits = text + (*text == '-');
    char *stop;

    if (*digits < '0' || *digits > '9')
        return false;
    *value = strtoll(text, &stop, 10);
    *end = stop;
    return true;
}

static bool read_unit(const char *end, int *shift)
{
    static const char units[] = "KMGT";
    const char *unit;

    *shift = 0;
    if (*end == '\0')
        return true;
    unit = strchr(units, *end >= 'a' && *end <= 'z' ? *end - 'a' + 'A' : *end);
    if (!unit || end[1] != '\0')
        return false;
    *shift = 10 * (int)(unit - units + 1);
    return true;
}

static int read_number(const struct option_row *option, const char *text, int64_t *value,
                       struct rnn_err *err)
{
    const char *end;
    int shift = 0;

    if (!read_whole(text, &end, value))
        return unwanted(option, RNN_EFORMAT, text, err);
    if (option->type == OPTION_bytes ? !read_unit(end, &shift) : *end != '\0')
        return unwanted(option, RNN_EFORMAT, text, err);
    if (*value < 0 ? shift > 0 : *value > INT64_MAX >> shift)
        return unwanted(option, RNN_ERANGE, text, err);
    *value = (int64_t)((uint64_t)*value << shift);
    if (*value < option->min || *value > option->max)
        return unwanted(option, RNN_ERANGE, text, err);
    return 0;
}

static int read_bool(const struct option_row *option, const char *text, bool *value,
                     struct rnn_err *err)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *value = i % 2 == 1;
            return 0;
        }
    }
    return unwanted(option, RNN_EFORMAT, text, err);
}

static int read_choice(const struct option_row *option, const char *text, int *value,
                       struct rnn_err *err)
{
    const char *word = option->help;
    size_t len = strlen(text);

    for (int i = 0;; i++) {
        size_t n = strcspn(word, "|:");
        if (n == len && memcmp(word, text, n) == 0) {
            *value = i;
            return 0;
        }
        if (word[n] != '|')
            return unwanted(option, RNN_EFORMAT, text, err);
        word += n + 1;
    }
}

static int read_string(const char *text, char **value, struct rnn_err *err)
{
    char *copy = strdup(text);

    if (!copy)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    free(*value);
    *value = copy;
    return 0;
}

static void *field(const struct option_row *option, struct config *config)
{
    return (char *)config + option->offset;
}

int option_read(const struct option_row *option, const char *text, struct config *into,
                struct rnn_err *err)
{
    void *out = field(option, into);
    int64_t number = 0;
    int rc;

    switch (option->type) {
    case OPTION_text:
    case OPTION_path:
        return read_string(text, out, err);
    case OPTION_bool:
        return read_bool(option, text, out, err);
    case OPTION_choice:
        return read_choice(option, text, out, err);
    case OPTION_int:
    case OPTION_bytes:
    case OPTION_seconds:
    case OPTION_millis:
        break;
    }
    rc = read_number(option, text, &number, err);
    if (rc < 0)
        return rc;
    if (option->type == OPTION_bytes)
        *(uint64_t *)out = (uint64_t)number;
    else
        *(int64_t *)out = number;
    return 0;
}

/* ---- Writing ---- */

bool option_is_string(const struct option_row *option)
{
    return option->type == OPTION_text || option->type == OPTION_path;
}

const char *option_text(const struct option_row *option, const struct config *config)
{
    return *(char *const *)(const void *)((const char *)config + option->offset);
}

static void write_choice(const struct option_row *option, int index, char *out, size_t cap)
{
    const char *word = option->help;

    for (int i = 0; i < index; i++)
        word += strcspn(word, "|:") + 1;
    snprintf(out, cap, "%.*s", (int)strcspn(word, "|:"), word);
}

void option_write(const struct option_row *option, const struct config *config, char *out,
                  size_t cap)
{
    const void *from = (const char *)config + option->offset;

    switch (option->type) {
    case OPTION_text:
    case OPTION_path:
        snprintf(out, cap, "%s", *(char *const *)from);
        return;
    case OPTION_int:
    case OPTION_seconds:
    case OPTION_millis:
        snprintf(out, cap, "%" PRId64, *(const int64_t *)from);
        return;
    case OPTION_bytes:
        option_format_bytes(*(const uint64_t *)from, out, cap);
        return;
    case OPTION_bool:
        snprintf(out, cap, "%s", *(const bool *)from ? "yes" : "no");
        return;
    case OPTION_choice:
        write_choice(option, *(const int *)from, out, cap);
        return;
    }
}
