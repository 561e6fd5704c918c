/* Forms of tensors that are not PyTorch's, turned into it before modules are looked for.
 *
 * Every conversion is a function of its own in a file of its own, listed in import/forms.c.  It
 * adds tensors that are marked as made, marks those they are made of as used, and leaves a note.
 * One thread. */
#ifndef IMPORT_FORMS_H
#define IMPORT_FORMS_H

#include "base/err.h"
#include "import/archive.h"
#include "import/options.h"

/* Converts what there is to be converted; does nothing to a file of PyTorch's own form. */
int forms_convert(struct archive *archive, const struct import_options *options,
                  struct rnn_err *err);

/* The conversions. */
int convert_norms(struct archive *archive, const struct import_options *options,
                  struct rnn_err *err); /* import/weight_norm.c */
int convert_drops(struct archive *archive, const struct import_options *options,
                  struct rnn_err *err); /* import/weight_drop.c */
int convert_tf2(struct archive *archive, const struct import_options *options,
                struct rnn_err *err); /* import/tf2.c */
int convert_tf1(struct archive *archive, const struct import_options *options,
                struct rnn_err *err); /* import/tf1.c */
int convert_handmade(struct archive *archive, const struct import_options *options,
                     struct rnn_err *err); /* import/handmade.c */

/* ---- For the conversions ---- */

/* Adds a tensor of `proto`'s type, rank, shape, part and order, all zeros, under the name made of
 * the first `len` bytes of `name` and `end`; *bytes are for the caller to fill. */
int forms_make(struct archive *archive, const struct archive_tensor *proto, const char *name,
               size_t len, const char *end, unsigned char **bytes, struct rnn_err *err);

/* The tensor whose name is the first `len` bytes of `name` and `end`; NULL: none. */
struct archive_tensor *forms_find(const struct archive *archive, const char *name, size_t len,
                                  const char *end);

bool forms_ends_with(const char *text, const char *end);

/* The type that computed numbers are kept in: F64 where the file's are, else F32. */
const struct archive_type *forms_computed(const struct archive_type *type);
void forms_put(const struct archive_type *computed, unsigned char *bytes, size_t i, double value);

#endif
