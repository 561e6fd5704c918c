/* Between the parts of the folding of constants (import/onnx_fold.c, import/onnx_arithmetic.c), and
 * the readings of what an operator is told (import/onnx_told.c), which it shares with data. */
#ifndef IMPORT_ONNX_FOLD_H
#define IMPORT_ONNX_FOLD_H

#include "import/onnx_value.h"

struct fold {
    struct onnx_run *run;
    const struct onnx_node *node;
    const struct onnx_value *const *inputs;
    const struct onnx_tensor **tensors; /* of the inputs */
    struct onnx_value *out;
};

/* import/onnx_numbers.c */
bool onnx_is_float(enum onnx_type type);

/* Fills in `elements` and asks for memory of the archive; NULL: `err` is filled. */
void *onnx_allot(struct onnx_run *run, struct onnx_tensor *t);

struct onnx_value onnx_constant(const struct onnx_tensor *t);
struct onnx_value onnx_uniform(const struct onnx_tensor *t); /* its first number, everywhere */

/* import/onnx_place.c */
/* out[i, j, …] = from[offset + i strides[0] + j strides[1] + …]; *out has type, rank and shape. */
int onnx_copy_view(struct onnx_run *run, const struct onnx_tensor *from, int64_t offset,
                   const int64_t *strides, struct onnx_tensor *out);
int onnx_fold_transpose(struct fold *f);
int onnx_fold_squeeze(struct fold *f);
int onnx_fold_unsqueeze(struct fold *f);
int onnx_fold_reshape(struct fold *f);
int onnx_fold_flatten(struct fold *f);
int onnx_fold_slice(struct fold *f);
int onnx_fold_gather(struct fold *f);
int onnx_fold_concat(struct fold *f);
int onnx_fold_split(struct fold *f);
int onnx_fold_expand(struct fold *f);
int onnx_fold_tile(struct fold *f);

/* import/onnx_arithmetic.c: element by element, with NumPy's broadcasting. */
int onnx_fold_binary(struct fold *f);
int onnx_fold_unary(struct fold *f);
int onnx_fold_where(struct fold *f);
int onnx_fold_product(struct fold *f);

/* Output dimension d is input dimension perm[d]. */
int onnx_permutation(struct onnx_run *run, const struct onnx_node *node, size_t rank, size_t *perm);

/* Whether a Squeeze names no axes. */
bool onnx_squeezes_all(const struct onnx_node *node, const struct onnx_value *const *inputs);

/* Which dimensions a Squeeze takes away; none where it names no axes. */
int onnx_squeezed(struct onnx_run *run, const struct onnx_node *node,
                  const struct onnx_value *const *inputs, size_t rank, bool *drop);

/* Which of the *rank_out dimensions are new. */
int onnx_unsqueezed(struct onnx_run *run, const struct onnx_node *node,
                    const struct onnx_value *const *inputs, size_t rank, bool *fresh,
                    size_t *rank_out);

/* What a Slice takes of each axis that it names. */
struct onnx_range {
    size_t axis;
    struct onnx_symbol start, end;
    int64_t step; /* not 0 */
};

struct onnx_ranges {
    struct onnx_range list[ONNX_RANK_MAX];
    size_t n;
};

/* Starts, ends or sizes: input `place`, or an attribute of old; out[ONNX_RANK_MAX]. */
int onnx_ends(struct onnx_run *run, const struct onnx_node *node,
              const struct onnx_value *const *inputs, size_t place, const char *attribute,
              struct onnx_symbol *out, size_t *n);

int onnx_ranges(struct onnx_run *run, const struct onnx_node *node,
                const struct onnx_value *const *inputs, size_t rank, struct onnx_ranges *out);

/* Sizes of a Split's outputs, which add up to `size`. */
int onnx_split_sizes(struct onnx_run *run, const struct onnx_node *node,
                     const struct onnx_value *const *inputs, size_t size, size_t *out);

#endif
