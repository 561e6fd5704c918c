/* The loader: defaults, then the file, then the environment, then flags, into one struct.
 *
 * Each value that cannot be taken is a fault with its place, and reading goes on, so that one try
 * shows them all.  inih reads the file; it is given one line at a time by our own reader, which
 * counts lines, tells section headers, and sees which lines inih could make nothing of.  (inih
 * itself knows no line numbers in its usual build, names only the first bad line, and silently cuts
 * long ones.)  Start-up and reload; one thread at a time per call. */
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/nearest.h"
#include "config/table.h"

enum source { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_FLAG };

struct place {
    enum source source;
    unsigned line; /* in the file */
    bool faulty;   /* the value there could not be taken: an earlier one stands */
};

struct loader {
    struct config *config;
    struct place places[OPTION_COUNT]; /* where each value came from */
    FILE *faults;
    size_t n_faults;
    bool out_of_memory;

    /* the file */
    const char *file;
    FILE *stream;
    char *text; /* getline's */
    size_t text_cap;
    unsigned line;
    int read_errno;      /* why the last line could not be read; 0: it was the end */
    const char *section; /* as the table has it; NULL before the first header */
    bool section_unknown;
    bool awaits_value; /* the line given to inih should make it call file_value() */
};

/* ---- Faults ---- */

__attribute__((format(printf, 2, 3))) static void fault(struct loader *loader, const char *format,
                                                        ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(loader->faults, format, args);
    va_end(args);
    fputc('\n', loader->faults);
    loader->n_faults++;
}

static const char *option_name(size_t i, const void *arg)
{
    (void)arg;
    return config_table[i].name;
}

/* ", did you mean NAME?", or nothing.  `write_name` turns an option's name into the place's way of
 * writing it; NULL: as it stands. */
static void hint(const char *word, const char *before,
                 void (*write_name)(const char *name, char *out, size_t cap), char *out, size_t cap)
{
    char name[OPTION_NAME_MAX];
    int near = config_nearest(word, OPTION_COUNT, option_name, NULL);

    out[0] = '\0';
    if (near < 0)
        return;
    if (write_name)
        write_name(config_table[near].name, name, sizeof name);
    else
        snprintf(name, sizeof name, "%s", config_table[near].name);
    snprintf(out, cap, ", did you mean %s%s?", before, name);
}

static const struct option_row *find_option(const char *name)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (strcmp(config_table[i].name, name) == 0)
            return &config_table[i];
    return NULL;
}

/* Takes a value; `shown` is how the place names itself before the colon. */
static void take(struct loader *loader, const struct option_row *option, const char *value,
                 struct place place, const char *shown)
{
    struct rnn_err err;
    int rc = option_read(option, value, loader->config, &err);

    if (rc == RNN_ENOMEM)
        loader->out_of_memory = true;
    else if (rc < 0)
        fault(loader, "%s: %s", shown, err.text);
    place.faulty = rc < 0;
    loader->places[option - config_table] = place;
}

/* ---- The file ---- */

static const char *find_section(const char *name, size_t len)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (strlen(config_table[i].section) == len &&
            memcmp(config_table[i].section, name, len) == 0)
            return config_table[i].section;
    return NULL;
}

static const char *section_name(size_t i, const void *arg)
{
    (void)arg;
    return config_table[i].section;
}

static void enter_section(struct loader *loader, const char *header)
{
    size_t len = strcspn(header + 1, "]");
    char name[OPTION_NAME_MAX];
    int near;

    loader->section = NULL;
    loader->section_unknown = true; /* what stands in it cannot be said to stand in the wrong one */
    if (header[1 + len] != ']') {
        fault(loader, "%s:%u: want ']' at the end of the section's name", loader->file,
              loader->line);
        return;
    }
    loader->section = find_section(header + 1, len);
    loader->section_unknown = !loader->section;
    if (loader->section)
        return;
    snprintf(name, sizeof name, "%.*s", (int)len, header + 1);
    near = config_nearest(name, OPTION_COUNT, section_name, NULL);
    fault(loader, "%s:%u: there is no section [%s]%s%s%s", loader->file, loader->line, name,
          near < 0 ? "" : ", did you mean [", near < 0 ? "" : config_table[near].section,
          near < 0 ? "" : "]?");
}

static int file_value(void *user, const char *section, const char *name, const char *value)
{
    struct loader *loader = user;
    const struct option_row *option = find_option(name);
    const struct place *taken;
    char shown[512], near[OPTION_NAME_MAX * 2];

    (void)section; /* cut to 50 bytes by inih; enter_section() keeps it */
    loader->awaits_value = false;
    if (!option) {
        option_show(name, shown, sizeof shown);
        hint(name, "", NULL, near, sizeof near);
        fault(loader, "%s:%u: there is no option '%s'%s", loader->file, loader->line, shown, near);
        return 1;
    }
    taken = &loader->places[option - config_table];
    snprintf(shown, sizeof shown, "%s:%u: %s", loader->file, loader->line, name);
    if (taken->source == FROM_FILE) {
        fault(loader, "%s: stands in line %u already", shown, taken->line);
        return 1;
    }
    if (!loader->section_unknown && loader->section &&
        strcmp(loader->section, option->section) != 0)
        fault(loader, "%s: stands in [%s], belongs in [%s]", shown, loader->section,
              option->section);
    take(loader, option, value, (struct place){.source = FROM_FILE, .line = loader->line}, shown);
    return 1;
}

static void end_line(struct loader *loader)
{
    if (loader->awaits_value)
        fault(loader, "%s:%u: want [section], NAME = VALUE or # comment", loader->file,
              loader->line);
    loader->awaits_value = false;
}

/* The text of a line without the white space around it, which inih would take for the continuation
 * of the line before. */
static char *trim(char *text, size_t len, unsigned line)
{
    while (len > 0 && strchr(" \t\r\n\v\f", text[len - 1]))
        text[--len] = '\0';
    if (line == 1 && strncmp(text, "\xef\xbb\xbf", 3) == 0)
        text += 3;
    return text + strspn(text, " \t\v\f");
}

/* fgets as inih wants it: the next line that holds something for it, in out[0..cap). */
static char *next_line(char *out, int cap, void *user)
{
    struct loader *loader = user;

    for (;;) {
        ssize_t len;
        char *text;

        end_line(loader);
        errno = 0;
        len = getline(&loader->text, &loader->text_cap, loader->stream);
        if (len < 0) {
            loader->read_errno = feof(loader->stream) ? 0 : errno;
            return NULL;
        }
        loader->line++;
        if (strlen(loader->text) != (size_t)len) {
            fault(loader, "%s:%u: a zero byte: this is no text file", loader->file, loader->line);
            continue;
        }
        text = trim(loader->text, (size_t)len, loader->line);
        if (*text == '\0' || *text == '#' || *text == ';')
            continue;
        if (*text == '[') {
            enter_section(loader, text);
            continue;
        }
        if (strlen(text) + 2 > (size_t)cap) {
            fault(loader, "%s:%u: longer than %d bytes", loader->file, loader->line, cap - 2);
            continue;
        }
        loader->awaits_value = true;
        snprintf(out, (size_t)cap, "%s\n", text);
        return out;
    }
}

static void read_file(struct loader *loader, const char *file)
{
    loader->file = file;
    loader->stream = fopen(file, "re");
    if (!loader->stream) {
        if (errno == ENOMEM)
            loader->out_of_memory = true;
        else
            fault(loader, "%s: %s", file, strerror(errno));
        return;
    }
    /* its own result is left: faults are told line by line */
    (void)ini_parse_stream(next_line, loader, file_value, loader);
    if (loader->read_errno == ENOMEM)
        loader->out_of_memory = true;
    else if (loader->read_errno)
        fault(loader, "%s: %s", file, strerror(loader->read_errno));
    fclose(loader->stream);
    free(loader->text);
}

/* ---- The environment ---- */

/* Names that begin with RNND_ and are no options: RNND_CONFIG names the file, and Kubernetes puts
 * the others into every container near a service that is called rnnd. */
static bool foreign_variable(const char *name, size_t len)
{
    static const char service[] = "RNND_SERVICE_", port[] = "RNND_PORT";

    return (len == 11 && memcmp(name, "RNND_CONFIG", 11) == 0) ||
           strncmp(name, service, sizeof service - 1) == 0 ||
           (strncmp(name, port, sizeof port - 1) == 0 &&
            (len == sizeof port - 1 || name[sizeof port - 1] == '_'));
}

static const struct option_row *find_variable(const char *name, size_t len)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char wanted[OPTION_NAME_MAX];

        option_env_name(config_table[i].name, wanted, sizeof wanted);
        if (strlen(wanted) == len && memcmp(wanted, name, len) == 0)
            return &config_table[i];
    }
    return NULL;
}

static void read_environment(struct loader *loader, char *const *environment)
{
    for (; environment && *environment; environment++) {
        const char *entry = *environment;
        size_t len = strcspn(entry, "=");
        const struct option_row *option;
        char name[96], near[OPTION_NAME_MAX * 2];

        if (strncmp(entry, "RNND_", 5) != 0 || entry[len] != '=' || foreign_variable(entry, len))
            continue;
        option = find_variable(entry, len);
        snprintf(name, sizeof name, "%.*s", (int)len, entry);
        if (option) {
            take(loader, option, entry + len + 1, (struct place){.source = FROM_ENVIRONMENT}, name);
            continue;
        }
        hint(name + 5, "", option_env_name, near, sizeof near);
        fault(loader, "%s: there is no such option%s", name, near);
    }
}

/* ---- Flags ---- */

static const struct option_row *find_flag(const char *name, size_t len)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char wanted[OPTION_NAME_MAX];

        option_flag_name(config_table[i].name, wanted, sizeof wanted);
        if (strlen(wanted) == len && memcmp(wanted, name, len) == 0)
            return &config_table[i];
    }
    return NULL;
}

static void unknown_flag(struct loader *loader, const char *word, size_t len)
{
    char name[96], shown[96], near[OPTION_NAME_MAX * 2];

    snprintf(name, sizeof name, "%.*s", (int)(len < 80 ? len : 80), word);
    hint(name, "--", option_flag_name, near, sizeof near);
    option_show(name, shown, sizeof shown);
    fault(loader, "--%s: there is no such option%s", shown, near);
}

/* Takes the flag at argv[0]; returns how many words it was. */
static int read_flag(struct loader *loader, int argc, char *const *argv)
{
    const char *word = argv[0] + 2;
    size_t len = strcspn(word, "=");
    bool joined = word[len] == '=';
    bool follows = !joined && argc > 1 && strncmp(argv[1], "--", 2) != 0;
    const struct option_row *option = find_flag(word, len);
    char shown[96];

    snprintf(shown, sizeof shown, "--%.*s", (int)(len < 80 ? len : 80), word);
    if (!option)
        unknown_flag(loader, word, len);
    else if (!joined && !follows)
        fault(loader, "%s: want a value after it", shown);
    else
        take(loader, option, joined ? word + len + 1 : argv[1], (struct place){.source = FROM_FLAG},
             shown);
    return follows ? 2 : 1;
}

static void read_flags(struct loader *loader, int argc, char *const *argv)
{
    for (int i = 0; i < argc;) {
        char shown[96];

        if (strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0') {
            i += read_flag(loader, argc - i, argv + i);
            continue;
        }
        option_show(argv[i], shown, sizeof shown);
        fault(loader, "%s: want --NAME VALUE", shown);
        i++;
    }
}

/* ---- The whole ---- */

static void read_defaults(struct loader *loader)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        take(loader, &config_table[i], config_table[i].preset,
             (struct place){.source = FROM_DEFAULT}, config_table[i].name);
}

/* Where a value came from: "rnnd.conf:7", "RNND_WORKERS", "--workers". */
static const char *place_of(const struct loader *loader, size_t index, char *out, size_t cap)
{
    const char *name = config_table[index].name;
    const struct place *place = &loader->places[index];
    char flag[OPTION_NAME_MAX];

    switch (place->source) {
    case FROM_DEFAULT:
        snprintf(out, cap, "its default");
        break;
    case FROM_FILE:
        snprintf(out, cap, "%s:%u", loader->file, place->line);
        break;
    case FROM_ENVIRONMENT:
        option_env_name(name, out, cap);
        break;
    case FROM_FLAG:
        option_flag_name(name, flag, sizeof flag);
        snprintf(out, cap, "--%s", flag);
        break;
    }
    return out;
}

/* A fault in the value of an option that could be read, begun as take() begins them. */
static void fault_at(struct loader *loader, size_t index, const char *words)
{
    const char *name = config_table[index].name;
    char place[512];

    place_of(loader, index, place, sizeof place);
    if (loader->places[index].source == FROM_FILE)
        fault(loader, "%s: %s: %s", place, name, words);
    else if (loader->places[index].source == FROM_DEFAULT)
        fault(loader, "%s: %s", name, words);
    else
        fault(loader, "%s: %s", place, words);
}

static void check_at_most(struct loader *loader, size_t low, size_t high, uint64_t low_value,
                          uint64_t high_value)
{
    char place[512], found[32], limit[32], words[800];

    if (low_value <= high_value || loader->places[low].faulty || loader->places[high].faulty)
        return;
    option_write(&config_table[low], loader->config, found, sizeof found);
    option_write(&config_table[high], loader->config, limit, sizeof limit);
    place_of(loader, high, place, sizeof place);
    snprintf(words, sizeof words, "want at most %s, which is %s (%s), found '%s'",
             config_table[high].name, limit, place, found);
    fault_at(loader, low, words);
}

/* Values that are fine alone and wrong together, and texts with a form of their own. */
static void check_together(struct loader *loader)
{
    const struct config *config = loader->config;
    char found[96], words[256];

    if (config_listen_split(config->listen, NULL, 0, NULL) < 0) {
        option_show(config->listen, found, sizeof found);
        snprintf(words, sizeof words, "want ADDRESS:PORT (an IPv6 address in brackets), found '%s'",
                 found);
        fault_at(loader, OPTION_INDEX_listen, words);
    }
    if (config->models[0] == '\0')
        fault_at(loader, OPTION_INDEX_models, "want the path of a folder, found ''");
    check_at_most(loader, OPTION_INDEX_session_ttl_s, OPTION_INDEX_session_ttl_max_s,
                  (uint64_t)config->session_ttl_s, (uint64_t)config->session_ttl_max_s);
    check_at_most(loader, OPTION_INDEX_stream_buffer_bytes, OPTION_INDEX_answer_max_bytes,
                  config->stream_buffer_bytes, config->answer_max_bytes);
}

int config_load(struct config **out, const char *file, char *const *environment, int argc,
                char *const *argv, FILE *faults)
{
    struct loader loader = {.faults = faults};

    loader.config = calloc(1, sizeof *loader.config);
    if (!loader.config) {
        fault(&loader, "out of memory");
        return RNN_ENOMEM;
    }
    read_defaults(&loader);
    if (file)
        read_file(&loader, file);
    read_environment(&loader, environment);
    read_flags(&loader, argc, argv);
    if (!loader.out_of_memory)
        check_together(&loader);

    if (loader.out_of_memory)
        fault(&loader, "out of memory");
    if (loader.n_faults > 0) {
        config_free(loader.config);
        return loader.out_of_memory ? RNN_ENOMEM : RNN_EFORMAT;
    }
    *out = loader.config;
    return 0;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (option_is_string(&config_table[i]))
            free(*(char **)((char *)config + config_table[i].offset));
    free(config);
}

/* Whether the option has the same value in both. */
static bool same_value(const struct option_row *option, const struct config *a,
                       const struct config *b)
{
    char texts[2][96];

    if (option_is_string(option))
        return strcmp(option_text(option, a), option_text(option, b)) == 0;
    option_write(option, a, texts[0], sizeof texts[0]);
    option_write(option, b, texts[1], sizeof texts[1]);
    return strcmp(texts[0], texts[1]) == 0;
}

static int put_back(const struct option_row *option, struct config *next,
                    const struct config *current)
{
    char text[96];

    if (option_is_string(option))
        return option_read(option, option_text(option, current), next, NULL);
    option_write(option, current, text, sizeof text);
    return option_read(option, text, next, NULL);
}

int config_keep_start_options(struct config *next, const struct config *current, FILE *notes)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option_row *option = &config_table[i];
        char was[96], wanted[96];

        if (option->reload || same_value(option, next, current))
            continue;
        option_write(option, current, was, sizeof was);
        option_write(option, next, wanted, sizeof wanted);
        if (put_back(option, next, current) < 0) /* the value is good, so this is memory */
            return RNN_ENOMEM;
        fprintf(notes, "%s: stays '%s' until the next start ('%s' is set now)\n", option->name, was,
                wanted);
    }
    return 0;
}
