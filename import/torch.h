/* What the two containers of PyTorch share: the tree of a pickle into an archive.
 *
 * Inside of the readers of PyTorch's files; one thread. */
#ifndef IMPORT_TORCH_H
#define IMPORT_TORCH_H

#include "import/archive.h"
#include "import/pickle.h"

/* Where the raw numbers of a storage are; a container has one such function. */
struct torch_store {
    /* The bytes of the storage `key`, valid as long as the archive.  `wanted` is how many its
     * tensors say that it has; fewer are a fault that names it. */
    int (*bytes)(struct torch_store *store, struct pickle_text key, size_t wanted,
                 const unsigned char **out, struct rnn_err *err);
    bool big_endian;
};

/* Walks whatever was saved: a state dict, a dictionary that holds one among other things, a whole
 * module, a dictionary of modules.  Adds every tensor under its path, every module with its class,
 * and whatever looks like a vocabulary.  What belongs to an optimizer is passed over. */
int torch_walk(struct archive *archive, struct torch_store *store, const struct pickle_node *root,
               struct rnn_err *err);

#endif
