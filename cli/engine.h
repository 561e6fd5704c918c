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
    struct rnn_state *state;
    float *logits; /* [output_size] of the last step that wanted them */
};

/* Opens the model that the operand names, with the settings of SETTINGS_OPTIONS: a path with a '/'
 * in it, a name in the folder of models, or a folder in the current one.  Returns CLI_OK, or the
 * exit status after printing why.  The caller ends it with engine_close(). */
int engine_open(struct engine *engine, const struct cli_args *args, const char *name);
void engine_close(struct engine *engine);

/* The path of the model that `name` means, in out[cap]; false after printing why not. */
bool engine_find(const struct config *config, const char *name, char *out, size_t cap);

/* Whether the model predicts its own next token, and so can write and be scored. */
bool engine_is_language_model(const struct rnn_model_info *info);

/* Back to the initial state, with this seed. */
void engine_reset(struct engine *engine, uint64_t seed);

/* One time step; with `want`, engine->logits are those after it. */
void engine_token(struct engine *engine, uint32_t token, bool want);
void engine_frame(struct engine *engine, const float *frame, bool want);
void engine_read(struct engine *engine); /* logits of the state as it stands */

#endif
