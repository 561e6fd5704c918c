/* A zip file's entries, through libzip, with sizes that cannot surprise.
 *
 * Entries are stored or deflated; nothing encrypted, no name twice, and none that claims to unfold
 * further than deflate can.  One owner, one thread. */
#ifndef IMPORT_ZIPFILE_H
#define IMPORT_ZIPFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct zipfile;

/* The caller ends *out with zipfile_close().  RNN_EFORMAT, RNN_ELIMIT, RNN_EIO, RNN_ENOMEM. */
int zipfile_open(struct zipfile **out, const char *path, struct rnn_err *err);
/* Over bytes that the caller keeps until zipfile_close(). */
int zipfile_open_bytes(struct zipfile **out, const void *bytes, size_t len, struct rnn_err *err);
void zipfile_close(struct zipfile *zip); /* NULL is fine */

size_t zipfile_count(const struct zipfile *zip);
const char *zipfile_name(const struct zipfile *zip, size_t index);
size_t zipfile_size(const struct zipfile *zip, size_t index); /* unfolded */

/* The entry of that name, or the first that ends in "/NAME"; false: none. */
bool zipfile_find(const struct zipfile *zip, const char *name, size_t *index);
bool zipfile_find_last(const struct zipfile *zip, const char *name, size_t *index);

/* The whole entry into out[zipfile_size()]; its checksum is compared. */
int zipfile_read(struct zipfile *zip, size_t index, void *out, struct rnn_err *err);

#endif
