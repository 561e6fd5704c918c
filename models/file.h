/* Whole files in memory.
 *
 * Files are read, not mapped: a mapped file that somebody cuts kills the process with SIGBUS.
 * Errors say what is wrong and leave it to the caller to say with which file.
 * Blocks on the disk: start-up or pool thread only. */
#ifndef MODELS_FILE_H
#define MODELS_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A regular file open for reading, and its size when it was opened. */
struct file {
    int fd;
    uint64_t size;
};

/* RNN_ENOENT where there is none, RNN_EIO for whatever else stands in the way (a folder, a pipe, no
 * permission).  The caller ends *out with file_close(). */
int file_open(struct file *out, const char *path, struct rnn_err *err);
void file_close(struct file *file);

/* Exactly `len` bytes from `offset`; RNN_EIO where the file has become shorter. */
int file_read(const struct file *file, uint64_t offset, void *out, size_t len, struct rnn_err *err);

/* The whole file with a NUL behind it; the caller frees *text.  RNN_ELIMIT over `max_bytes`. */
int file_load(char **text, size_t *len, const char *path, size_t max_bytes, struct rnn_err *err);

#endif
