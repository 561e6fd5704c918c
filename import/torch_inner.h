/* The walk through what PyTorch pickles, as its parts share it.
 *
 * Inside of import/torch*.c; one thread. */
#ifndef IMPORT_TORCH_INNER_H
#define IMPORT_TORCH_INNER_H

#include <stdbool.h>
#include <stddef.h>

#include "import/torch.h"

enum { TORCH_DEPTH_MAX = 48, TORCH_VOCAB_MAX = 4000000 };

/* Where the walk is. */
struct walk {
    struct archive *archive;
    struct torch_store *store;
    const struct pickle_node *above[TORCH_DEPTH_MAX]; /* from the root to where we are */
    size_t depth, steps;
    char path[ARCHIVE_NAME_MAX + 1];
    size_t len;  /* of the path, with its last dot */
    size_t part; /* of it that leads to the dictionary or module that tensors belong to */
    bool in_module;
    struct rnn_err *err;
};

/* Cuts the path to its first `len` bytes. */
void walk_leave(struct walk *w, size_t len);
/* The path without its last dot, as long as the archive lives; NULL: out of memory. */
const char *walk_path(struct walk *w);

/* What stands in for a tensor, opened until its making is reached (the arguments of torch._utils.
 * _rebuild_tensor_v2); NULL: the node is no tensor. */
const struct pickle_node *walk_tensor(const struct pickle_node *node, bool *has_type);
/* Whether it is a tensor of a kind that is not read. */
bool walk_is_strange(const struct pickle_node *node);
/* Adds the tensor under the path.  args: storage, offset, size, stride[, requires_grad, hooks[,
 * dtype]] */
int walk_add_tensor(struct walk *w, const struct pickle_node *args, bool has_type);

/* A string that may become a name: UTF-8 without a NUL. */
bool walk_is_clean(const struct pickle_node *node);
bool walk_is_vocab(const struct pickle_node *node);
int walk_add_vocab(struct walk *w, const struct pickle_node *node);
/* A string of all characters, under a name that says so; does nothing with others. */
int walk_add_letters(struct walk *w, const struct pickle_node *node);

#endif
