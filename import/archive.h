/* What a reader takes out of a foreign file: named tensors, and what else helps to understand them.
 *
 * Every reader fills the same form, so that whatever comes after (import/infer.h, import/draft.h)
 * knows no format.  An archive owns all memory that its parts point to, and counts it against a
 * limit, because sizes come from a file that nobody has vouched for.  One owner, one thread. */
#ifndef IMPORT_ARCHIVE_H
#define IMPORT_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/spec.h"

struct cJSON;

enum {
    ARCHIVE_RANK_MAX = 8,
    ARCHIVE_TENSORS_MAX = 20000,
    ARCHIVE_NOTES_MAX = 1000,
    ARCHIVE_NAME_MAX = 4096
};

/* A type of numbers, as safetensors names it. */
struct archive_type {
    const char *name;
    size_t bytes;
    bool usable; /* a model can be made of it: */
    enum rnn_dtype dtype;
};

/* NULL: no such type. */
const struct archive_type *archive_type(const char *name);

struct archive_tensor {
    const char *name; /* whole path in the file, valid UTF-8 */
    size_t order;     /* its place in the file; of a made one, that of what it is made of */
    size_t part;      /* how much of the name, with its dot, leads to the dictionary or object that
                         the tensor belongs to ("model_state_dict."); 0: the file is that */
    const struct archive_type *type;
    size_t rank;
    size_t shape[ARCHIVE_RANK_MAX]; /* row-major */
    size_t elements;
    const void *data; /* little-endian, without gaps, of any alignment */
    bool used;        /* it has become a part of the model */
    bool training;    /* an optimizer's, or superseded by another tensor: never a part of it */
    bool made;        /* put together of others; the file has no such tensor */
};

/* A module of a whole pickled model, or of a form that says so: what the names of its tensors do
 * not tell. */
struct archive_module {
    const char *path;  /* "decoder.rnn"; "" for the outermost */
    const char *class; /* "torch.nn.modules.rnn.RNN" */
    const char *mode;  /* what torch's recurrent modules say of themselves: "RNN_TANH", "RNN_RELU",
                          "GRU"; of other forms "RNN_LINEAR", "GRU_RESET_BEFORE"; or NULL */
};

/* A recurrent cell as the file has it, where that is not PyTorch's form: for the second opinion
 * (import/opinion.h), which computes from these. */
enum archive_form {
    FORM_TF_LSTM,    /* kernel [in + H, 4H] in the order i j f o, bias; 1 is added to f */
    FORM_TF_GRU,     /* kernel [in + H, 2H] in the order r u, bias; candidate [in + H, H], its bias;
                        h' = u h + (1 - u) tanh(candidate of [x, r h]) */
    FORM_TF_RNN,     /* kernel [in + H, H], bias; tanh */
    FORM_KERAS_LSTM, /* kernel [in, 4H], candidate [H, 4H] the recurrent one, i f c o, bias [4H] */
    FORM_KERAS_GRU,  /* kernel [in, 3H], candidate [H, 3H], z r h; bias [2, 3H]: reset after, of
                        input and recurrent sums; [3H]: reset before; h' = z h + (1 - z) hh */
    FORM_JOINED /* kernel [H, in + H] and candidate [O, in + H], both over [x, h]; gives both */
};

struct archive_cell {
    const char *module; /* the name that its tensors in PyTorch's form begin with */
    bool reverse;
    enum archive_form form;
    size_t in, hidden;
    struct archive_tensor kernel, bias, candidate, candidate_bias; /* without a type: none */
};

/* Something that looks like a vocabulary: a list of strings, or an object string → number. */
struct archive_vocab {
    const char *name;
    struct cJSON *json;
    size_t n;
};

struct archive_blob;

struct archive {
    const char *format; /* what the file is, in words: "PyTorch (zip)" */
    struct archive_tensor *tensors;
    size_t n_tensors, tensors_cap;
    struct archive_module *modules;
    size_t n_modules, modules_cap;
    struct archive_cell *cells;
    size_t n_cells, cells_cap;
    struct archive_vocab *vocabs;
    size_t n_vocabs, vocabs_cap;
    char **notes; /* one sentence each: what was converted, what was passed over */
    size_t n_notes;
    bool ordered;         /* tensors stand in the order in which the model was put together */
    bool finished;        /* the reader knew the architecture: tensors carry our names already, */
    struct cJSON *config; /* and this is their config.json */
    struct archive_blob *blobs;
    size_t bytes, bytes_max; /* of data; 0: no limit */
};

void archive_deinit(struct archive *archive); /* of a zero-initialised or filled one */

/* Memory that lives as long as the archive.  NULL, with `err` filled, over the limit or out of
 * memory. */
void *archive_alloc(struct archive *archive, size_t bytes, struct rnn_err *err);

/* A copy of the text, which lives as long; NULL: out of memory. */
const char *archive_text(struct archive *archive, const char *text, size_t len,
                         struct rnn_err *err);

/* Adds a tensor whose name and data live as long as the archive; `elements`, and `order` of one
 * that is not made, are filled in here. Refuses ranks, shapes that overflow, names that are no
 * UTF-8, and names that are there already.
 */
int archive_add(struct archive *archive, const struct archive_tensor *tensor, struct rnn_err *err);
int archive_add_module(struct archive *archive, const struct archive_module *module,
                       struct rnn_err *err);
int archive_add_cell(struct archive *archive, const struct archive_cell *cell, struct rnn_err *err);
/* Takes `json` over, also where it fails. */
int archive_add_vocab(struct archive *archive, const char *name, struct cJSON *json,
                      struct rnn_err *err);

/* The tensor of that whole name; NULL: none. */
struct archive_tensor *archive_find(const struct archive *archive, const char *name);
/* The last one said of that path, which is a conversion's where there was one; NULL: none. */
const struct archive_module *archive_module(const struct archive *archive, const char *path);

/* How many of the tensors the file itself has. */
size_t archive_count(const struct archive *archive);

/* Remembers a sentence for the report.  Too many, or no memory for one: it is left out. */
void archive_note(struct archive *archive, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Element `i` as a number; of a usable type. */
double archive_number(const struct archive_tensor *tensor, size_t i);

/* Whether two tensors are of one type and shape and hold the same bytes. */
bool archive_same(const struct archive_tensor *a, const struct archive_tensor *b);

/* "512x64"; "()" for rank 0. */
void archive_shape_text(char *text, size_t size, const struct archive_tensor *tensor);

#endif
