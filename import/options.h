/* What the user says beside the file.  Read only once parsed. */
#ifndef IMPORT_OPTIONS_H
#define IMPORT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cli_args;

enum { OPTIONS_PAIRS_MAX = 64 };

struct import_pair {
    const char *from; /* [from_len] */
    size_t from_len;
    const char *to;
};

struct import_options {
    const char *file;
    const char *out;      /* NULL: made of the file's name */
    const char *vocab;    /* a path, or "none" */
    const char *config;   /* a path */
    const char *expect;   /* a path */
    const char *part;     /* of the dictionaries in the file, the one that is the model */
    const char *cell;     /* "rnn", "lstm", "gru", or NULL */
    const char *topology; /* "synced", "many_to_one", or NULL */
    const char *pool;     /* "final", "last", "mean", "max", or NULL */
    const char *output;   /* "softmax", "sigmoid", "none", or NULL */
    const char *activation;
    bool one_hot, dense;
    int64_t bos, eos, source_eos, max_len;             /* -1: not said */
    struct import_pair activations[OPTIONS_PAIRS_MAX]; /* module → activation */
    size_t n_activations;
    struct import_pair maps[OPTIONS_PAIRS_MAX]; /* beginning of a name → another; "-": leave out */
    size_t n_maps;
};

/* Nothing said but the file. */
void options_init(struct import_options *options, const char *file);

/* From the command line; false after a fault, which has been printed. */
bool options_read(struct import_options *options, const struct cli_args *args);

#endif
