/* Names of tensors, as the world writes them: which part of which module a tensor is.
 *
 * Any thread. */
#ifndef IMPORT_NAMES_H
#define IMPORT_NAMES_H

#include <stdbool.h>
#include <stddef.h>

enum name_role {
    NAME_WEIGHT_IH, /* recurrent; with layer and reverse */
    NAME_WEIGHT_HH,
    NAME_BIAS_IH,
    NAME_BIAS_HH,
    NAME_WEIGHT_HR,
    NAME_WEIGHT, /* of a matrix or a normalisation; a tensor without any such ending, too */
    NAME_BIAS,
    NAME_MEAN,
    NAME_VARIANCE,
    NAME_COUNT, /* of batches seen */
    NAME_ROLES
};

#define NAME_RECURRENT_ROLES NAME_WEIGHT

struct name {
    enum name_role role;
    size_t module; /* bytes of the text that name the module */
    bool numbered; /* "_l{k}" was there */
    unsigned layer;
    bool reverse;
    bool kernel; /* a weight that TensorFlow keeps as [in, out] */
    bool bare;   /* nothing in it says what part it is */
};

/* "lstm.weight_ih_l1_reverse", "cell.bias_hh", "enc_w_ih", "fc.weight", "fc_b", "embedding". */
struct name name_parse(const char *text);

enum name_hint { HINT_NONE, HINT_EMBEDDING, HINT_LINEAR };

/* What a module's own name suggests. */
enum name_hint name_hint(const char *module, size_t len);

/* Whether the module calls itself the one that gives the outputs: "fc_out", "softmax", "h2o"; not
 * "proj_in". */
bool name_is_head(const char *module, size_t len);

/* Whether the module is one of an encoder ('e'), of a decoder ('d'), or neither (0), by the
 * beginning of one of its components. */
int name_side(const char *module, size_t len);

#endif
