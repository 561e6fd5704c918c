/* The input of a compute request, one schema for every model: a string, an array of token ids, an
 * array of frames, or frames as {"f32": base64 of little-endian float32}; alone (`input`) or as a
 * batch (`inputs`).
 *
 * Reading the JSON (input_read, on the shard of the request) checks all that can be checked without
 * the model; input_resolve() (on the shard that computes) checks the rest and makes the ids. */
#ifndef SERVER_INPUT_H
#define SERVER_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "config/config.h"
#include "core/rnn.h"

enum input_kind {
    INPUT_EMPTY, /* absent, "" or [] */
    INPUT_TEXT,
    INPUT_TOKENS,
    INPUT_FRAMES,
    INPUT_FLOATS /* frames whose width only the model knows */
};

/* One sequence.  Owned memory, freed by input_list_free(). */
struct input {
    enum input_kind kind;
    char *text; /* [text_len], valid UTF-8 */
    size_t text_len;
    uint32_t *tokens; /* [n]; an id that no model can have is UINT32_MAX */
    float *frames;    /* [n][width], finite */
    size_t n;
    size_t width;  /* of frame 0 */
    size_t odd_at; /* first frame of another width; n: none */
    size_t odd_width;
};

struct input_list {
    const char *name;    /* "input", "target" or "candidate"; with an s as a batch */
    struct input *items; /* [n] */
    size_t n;
    bool batch;       /* came as `inputs`: answered as `results` */
    bool given;       /* the body has one of the two */
    size_t steps_max; /* of all items together */
};

/* Reads body[name] or, as a batch, body[name + "s"]; neither is one empty input.  `name` is static.
 * RNN_ELIMIT over input_steps_max or inputs_max.  On failure *out is empty. */
int input_read(struct input_list *out, const char *name, const struct cJSON *body,
               const struct config *config, struct rnn_err *err);

/* The same of body["candidates"], texts or arrays of ids, some of which may be empty. */
int input_read_candidates(struct input_list *out, const struct cJSON *body,
                          const struct config *config, struct rnn_err *err);
void input_list_free(struct input_list *list);

/* The list of one input that came as bytes: little-endian float32, frames whose width only the
 * model knows.  Faults as of {"f32": …}. */
int input_from_floats(struct input_list *out, const char *bytes, size_t len,
                      const struct config *config, struct rnn_err *err);

/* The path of item i, for messages: "input" or "inputs[i]". */
void input_path(const struct input_list *list, size_t i, char *path, size_t size);

/* Fits item i to the model: afterwards it is tokens or frames (or empty) that the model takes.
 * RNN_ECHAR with the offset, RNN_ESHAPE (frame width), RNN_EUNSUPPORTED (text without tokenizer),
 * REPLY_EINPUT for the rest that is not possible with this model. */
int input_resolve(struct input_list *list, size_t i, const struct rnn_model *model,
                  struct rnn_err *err);

/* The same for what a decoder should write: text of its vocabulary, or its ids. */
int input_resolve_target(struct input_list *list, size_t i, const struct rnn_model *model,
                         struct rnn_err *err);

/* A resolved input, to be walked. */
struct rnn_walk_input input_walk(const struct input *input);

#endif
