/* One model, opened for one sequence at a time: what predict, generate and score work with. */
#ifndef CLI_ENGINE_H
#define CLI_ENGINE_H

#include "cli/cli.h"
#include "config/config.h"
#include "core/rnn.h"

struct engine {
    struct rnn_model *model;
    const struct rnn_model_info *info;
    struct rnn_scratch *scratch;
    struct rnn_state *state; /* [state_bytes] */
    size_t state_bytes;
    float *logits;         /* [output_size] of the last step that wanted them */
    struct rnn_walk *walk; /* of the input; NULL: none was begun */
};

/* Opens the model that the operand names, with the settings of SETTINGS_OPTIONS: a path with a '/'
 * in it, a name in the folder of models, or a folder in the current one.  Returns CLI_OK, or the
 * exit status after printing why.  The caller ends it with engine_close(). */
int engine_open(struct engine *engine, const struct cli_args *args, const char *name);
void engine_close(struct engine *engine);

/* The path of the model that `name` means, in out[cap]; false after printing why not. */
bool engine_find(const struct config *config, const char *name, char *out, size_t cap);

/* Whether the model writes about an input (captioners, translators).  They and language models can
 * write and be scored. */
bool engine_decodes(const struct rnn_model_info *info);

/* From now on, with engine_reset(), the state remembers the last `window` tokens.  Returns CLI_OK,
 * or the exit status after printing why not. */
int engine_remember(struct engine *engine, size_t window);

/* Back to the initial state, with this seed. */
void engine_reset(struct engine *engine, uint64_t seed);

/* Begins a whole input, from the state as it stands; it lives as long as the engine works on it.
 * Returns CLI_OK, or the exit status after printing why not. */
int engine_begin(struct engine *engine, const struct rnn_walk_input *input);

/* Steps to the input's next output: engine->logits, and *step of the input or the target.  False
 * where there is none, or a signal arrived. */
bool engine_next(struct engine *engine, size_t *step);

/* One time step behind the input; with `want`, engine->logits are those after it.  A token counts
 * as drawn. */
void engine_token(struct engine *engine, uint32_t token, bool want);
void engine_frame(struct engine *engine, const float *frame);

#endif
