/* The daemon's settings: one struct, read from defaults, file, environment and flags; later wins.
 *
 * config_load() reports every fault at once (unknown name, wrong type, out of bounds,
 * contradiction), each with its place (file:line, RNND_NAME or --flag).  A loaded struct is
 * immutable; a reload makes a new one.  Start-up thread, except where a call says otherwise. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

#ifndef RNND_MODELS_DIR
#define RNND_MODELS_DIR "/usr/share/rnnd/models"
#endif

/* choice options hold the index of the chosen word, in the order of their help text */
enum config_isa { CONFIG_ISA_AUTO, CONFIG_ISA_SCALAR, CONFIG_ISA_AVX2, CONFIG_ISA_AVX512 };
enum config_log_level { CONFIG_LOG_DEBUG, CONFIG_LOG_INFO, CONFIG_LOG_WARNING, CONFIG_LOG_ERROR };
enum config_log_format { CONFIG_LOG_AUTO, CONFIG_LOG_HUMAN, CONFIG_LOG_JSON };

#define CONFIG_FIELD_text(name)    char *name;
#define CONFIG_FIELD_path(name)    char *name;
#define CONFIG_FIELD_int(name)     int64_t name;
#define CONFIG_FIELD_bytes(name)   uint64_t name;
#define CONFIG_FIELD_seconds(name) int64_t name;
#define CONFIG_FIELD_millis(name)  int64_t name;
#define CONFIG_FIELD_bool(name)    bool name;
#define CONFIG_FIELD_choice(name)  int name;

struct config {
#define OPTION(section, type, name, preset, min, max, reload, help) CONFIG_FIELD_##type(name)
#include "config/options.def"
#undef OPTION
};

/* Reads defaults, then the file at `file` (NULL: none; a missing file that was named is a fault),
 * then RNND_… variables of `environ`, then flags argv[0..argc): --name VALUE or --name=VALUE,
 * anything else is a fault.  On faults returns RNN_EFORMAT and writes one line for each to `faults`
 * ("rnnd.conf:12: workers: want a whole number of 0 to 256, found 'many'").  The caller owns *out
 * and ends it with config_free(). */
int config_load(struct config **out, const char *file, char *const *environment, int argc,
                char *const *argv, FILE *faults);
void config_free(struct config *config);

/* After SIGHUP: *next is a fresh load; START options of it are put back to `current`'s values, and
 * each that differed is named in one line to `notes`.  RNN_ENOMEM: *next is not to be used. */
int config_keep_start_options(struct config *next, const struct config *current, FILE *notes);

/* Takes a `listen` apart: "127.0.0.1:8080", "[::1]:0", "localhost:80".  host[cap] gets the address
 * without brackets; host and port may be NULL.  RNN_EFORMAT where it has another form or the
 * address does not fit.  Any thread. */
int config_listen_split(const char *listen, char *host, size_t cap, uint16_t *port);

/* Writers from the table: flags for --help, the commented sample file, the reference as Markdown,
 * roff for the manual. */
void config_print_help(FILE *out);
void config_print_sample(FILE *out);
void config_print_markdown(FILE *out);
void config_print_roff(FILE *out);

#endif
