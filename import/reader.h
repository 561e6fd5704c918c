/* The readers of foreign files, one line each in import/readers.c.
 *
 * A reader looks at what there is (probe), then fills an archive.  Where a file tells its whole
 * architecture, the reader gives tensors under our names and a config.json (archive.h: finished);
 * where it holds tensors and their names only, import/infer.h does the rest.  One thread. */
#ifndef IMPORT_READER_H
#define IMPORT_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "import/archive.h"
#include "import/zipfile.h"

struct import_options;

/* A file or folder to be read. */
struct input {
    const char *path;
    char *found;                          /* the path, where it is not the one that was named */
    const struct import_options *options; /* what the user says; NULL: nothing */
    bool is_folder;
    uint64_t size;
    unsigned char head[512]; /* its first bytes */
    size_t head_len;
    unsigned char tail[48]; /* its last ones; a shorter file has none */
    size_t tail_len;
    struct zipfile *zip; /* NULL: it is no zip file */
    char *bytes;         /* NULL until input_load() */
    size_t len;
    bool borrowed; /* the bytes are the caller's */
};

/* Looks at the file; where there is none, at PATH.index, as TensorFlow's users name a checkpoint.
 * The caller ends *out with input_close().  RNN_ENOENT, RNN_EIO, RNN_EFORMAT for a broken zip file.
 */
int input_open(struct input *out, const char *path, struct rnn_err *err);
/* Over bytes that the caller keeps, for fuzz targets. */
int input_open_bytes(struct input *out, const void *bytes, size_t len, struct rnn_err *err);
void input_close(struct input *input);

/* Reads the whole file into `bytes`, once. */
int input_load(struct input *input, struct rnn_err *err);

/* An entry of the zip file, into memory of the archive, with a NUL behind it. */
int input_entry(struct input *input, struct archive *archive, size_t index, const char **bytes,
                size_t *len, struct rnn_err *err);

struct reader {
    const char *name;
    bool (*probe)(const struct input *input); /* a cheap look, no verdict */
    /* The archive may point into the input, which is closed after it.  On failure it holds whatever
     * had been read; the caller ends it. */
    int (*read)(struct archive *archive, struct input *input, struct rnn_err *err);
};

/* In the order in which they are asked; NULL-ended. */
extern const struct reader *const readers[];

extern const struct reader reader_safetensors;
extern const struct reader reader_torch_zip;
extern const struct reader reader_torch_legacy;
extern const struct reader reader_numpy;
extern const struct reader reader_manifest;
extern const struct reader reader_bundle;
extern const struct reader reader_keras; /* where it is built */
extern const struct reader reader_onnx;

/* Finds the reader and runs it, with a limit on memory that follows from the file's size.
 * RNN_EUNSUPPORTED with what to do instead for files that are known but not read. */
int reader_run(struct archive *archive, struct input *input, struct rnn_err *err);

#endif
