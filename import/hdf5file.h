/* An HDF5 file, as far as models kept in one need it: groups, texts beside them, arrays of floats.
 *
 * Everything is read from memory.  libhdf5 parses; this room decides what it is asked to parse:
 * nothing that leads out of the file (no links but hard ones, no external or virtual storage, no
 * plugins), no filters but deflate, shuffle and fletcher32, no types but IEEE floats, and no sizes
 * beyond the archive's.  libhdf5 is not safe against files made to harm it: the program around it
 * is confined (import/confine.h) and watched (cli/foreign.h).  One owner, one thread, one file at a
 * time.
 *
 * Format: HDF5 File Format Specification, version 3.0, The HDF Group. */
#ifndef IMPORT_HDF5FILE_H
#define IMPORT_HDF5FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "import/archive.h"

struct hdf5file;

/* Over bytes that the caller keeps.  The caller ends *out with hdf5file_close().  RNN_EFORMAT,
 * RNN_ENOMEM. */
int hdf5file_open(struct hdf5file **out, const void *bytes, size_t len, struct rnn_err *err);
void hdf5file_close(struct hdf5file *file); /* NULL is fine */

/* Whether a group stands under that path ("" is the root), and is reached by hard links alone. */
bool hdf5file_has_group(struct hdf5file *file, const char *path);

/* A list of texts, each valid UTF-8. */
struct hdf5_texts {
    char **list; /* [n] */
    size_t n;
};

void hdf5_texts_free(struct hdf5_texts *texts);

/* Appends the names of a group's members, sorted. */
int hdf5file_members(struct hdf5file *file, const char *path, struct hdf5_texts *out,
                     struct rnn_err *err);

/* Appends the texts of an attribute: one, or a list; *found says whether there is such an
 * attribute. */
int hdf5file_attribute(struct hdf5file *file, const char *path, const char *name,
                       struct hdf5_texts *out, bool *found, struct rnn_err *err);

/* Reads a whole array into memory of the archive; out->name lives there, too.  Every fault names
 * the path. */
int hdf5file_read(struct hdf5file *file, const char *path, struct archive *archive,
                  struct archive_tensor *out, struct rnn_err *err);

#endif
