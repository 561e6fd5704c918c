/* Which part of which module a tensor is, by its name.  See names.h.
 *
 * PyTorch writes MODULE.weight_ih_l0; its cells leave out "_l0"; NumPy files write MODULE_w_ih. */
#include "import/names.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct ending {
    const char *text;
    enum name_role role;
};

/* Longer ones before their own endings. */
static const struct ending recurrent[] = {
    {"weight_ih", NAME_WEIGHT_IH}, {"w_ih", NAME_WEIGHT_IH},  {"weight_hh", NAME_WEIGHT_HH},
    {"w_hh", NAME_WEIGHT_HH},      {"bias_ih", NAME_BIAS_IH}, {"b_ih", NAME_BIAS_IH},
    {"bias_hh", NAME_BIAS_HH},     {"b_hh", NAME_BIAS_HH},    {"weight_hr", NAME_WEIGHT_HR}};

static const struct ending plain[] = {{"weight", NAME_WEIGHT},
                                      {"weights", NAME_WEIGHT},
                                      {"bias", NAME_BIAS},
                                      {"biases", NAME_BIAS},
                                      {"running_mean", NAME_MEAN},
                                      {"running_var", NAME_VARIANCE},
                                      {"num_batches_tracked", NAME_COUNT},
                                      {"gamma", NAME_WEIGHT},
                                      {"beta", NAME_BIAS},
                                      {"kernel", NAME_WEIGHT},
                                      {"w", NAME_WEIGHT},
                                      {"b", NAME_BIAS}};

static bool is_separator(char c)
{
    return c == '.' || c == '/' || c == '_';
}

/* The module's name ends before the separators in front of `at`. */
static size_t module_end(const char *text, size_t at)
{
    while (at > 0 && is_separator(text[at - 1]))
        at--;
    return at;
}

/* "_l{k}" and "_reverse" behind a recurrent part's name; false: something else is there. */
static bool parse_tail(const char *tail, struct name *out)
{
    if (strncmp(tail, "_l", 2) == 0 && isdigit((unsigned char)tail[2])) {
        char *end;
        unsigned long layer = strtoul(tail + 2, &end, 10);

        if (layer > 9999)
            return false;
        out->numbered = true;
        out->layer = (unsigned)layer;
        tail = end;
    }
    if (strcmp(tail, "_reverse") == 0) {
        out->reverse = true;
        return true;
    }
    return *tail == '\0';
}

static bool parse_recurrent(const char *text, struct name *out)
{
    for (size_t i = 0; i < sizeof recurrent / sizeof *recurrent; i++) {
        size_t len = strlen(recurrent[i].text);

        for (const char *at = strcasestr(text, recurrent[i].text); at;
             at = strcasestr(at + 1, recurrent[i].text)) {
            struct name name = {.role = recurrent[i].role};

            if (at > text && !is_separator(at[-1]))
                continue;
            if (parse_tail(at + len, &name)) {
                name.module = module_end(text, (size_t)(at - text));
                *out = name;
                return true;
            }
        }
    }
    return false;
}

static bool parse_plain(const char *text, struct name *out)
{
    size_t len = strlen(text);

    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        size_t n = strlen(plain[i].text);

        if (n > len || strcasecmp(text + len - n, plain[i].text) != 0)
            continue;
        if (n < len && !is_separator(text[len - n - 1]))
            continue;
        *out = (struct name){.role = plain[i].role,
                             .module = module_end(text, len - n),
                             .kernel = strcmp(plain[i].text, "kernel") == 0};
        return true;
    }
    return false;
}

struct name name_parse(const char *text)
{
    struct name name;

    if (parse_recurrent(text, &name) || parse_plain(text, &name))
        return name;
    return (struct name){.role = NAME_WEIGHT, .module = strlen(text), .bare = true};
}

/* ---- What names suggest ---- */

/* Where the last component of a path begins. */
static size_t last_component(const char *module, size_t len)
{
    while (len > 0 && module[len - 1] != '.' && module[len - 1] != '/')
        len--;
    return len;
}

static bool contains(const char *text, size_t len, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; i + n <= len; i++)
        if (strncasecmp(text + i, word, n) == 0)
            return true;
    return false;
}

enum name_hint name_hint(const char *module, size_t len)
{
    static const char *const linear[] = {"head",  "fc",    "linear", "out",     "proj",  "decod",
                                         "class", "dense", "lin",    "softmax", "logit", NULL};
    size_t at = last_component(module, len);

    if (contains(module + at, len - at, "emb") || contains(module + at, len - at, "wte") ||
        contains(module + at, len - at, "lookup"))
        return HINT_EMBEDDING;
    for (size_t i = 0; linear[i]; i++)
        if (contains(module + at, len - at, linear[i]))
            return HINT_LINEAR;
    return contains(module + at, len - at, "encod") ? HINT_EMBEDDING : HINT_NONE;
}

bool name_is_head(const char *module, size_t len)
{
    static const char *const words[] = {"head",    "fc",    "out", "decod", "class",
                                        "softmax", "logit", "h2o", "o2o",   NULL};
    size_t at = last_component(module, len);

    if (contains(module + at, len - at, "in_") || contains(module + at, len - at, "_in") ||
        contains(module + at, len - at, "input"))
        return false;
    for (size_t i = 0; words[i]; i++)
        if (contains(module + at, len - at, words[i]))
            return true;
    return false;
}

int name_side(const char *module, size_t len)
{
    for (size_t i = 0; i + 3 <= len; i++) {
        if (i > 0 && !is_separator(module[i - 1]))
            continue;
        if (strncasecmp(module + i, "enc", 3) == 0)
            return 'e';
        if (strncasecmp(module + i, "dec", 3) == 0)
            return 'd';
    }
    return 0;
}
