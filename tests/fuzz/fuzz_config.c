/* config.json: whatever passes is a complete spec within the limits of core/spec.h. */
#include "base/json.h"
#include "core/cell.h"
#include "fuzz.h"
#include "models/config_json.h"

static void check_stack(const struct rnn_stack_spec *stack)
{
    size_t width = stack->embedding_dim ? stack->embedding_dim : stack->input_size;

    HOLDS(stack->input_size >= 1 && stack->input_size <= RNN_INPUT_MAX);
    HOLDS((stack->embedding_dim > 0) == (stack->input_kind == RNN_INPUT_EMBEDDING));
    HOLDS(stack->embedding_dim <= RNN_HIDDEN_MAX);
    HOLDS(stack->n_layers >= 1 && stack->n_layers <= RNN_LAYERS_MAX);
    for (size_t k = 0; k < stack->n_layers; k++) {
        const struct rnn_layer_spec *layer = &stack->layers[k];

        HOLDS(layer->cell != NULL);
        HOLDS(layer->input_width == width);
        HOLDS(layer->hidden >= 1 && layer->hidden <= RNN_HIDDEN_MAX);
        HOLDS(layer->proj <= RNN_HIDDEN_MAX && (!layer->proj || layer->cell->may_project));
        HOLDS(layer->directions == 1 || layer->directions == 2);
        width = rnn_layer_width(layer);
    }
    if (!stack->head.present)
        return;
    HOLDS(stack->head.size >= 1 && stack->head.size <= RNN_OUTPUT_MAX);
    HOLDS(!stack->head.tied ||
          (stack->head.size == stack->input_size && width == stack->embedding_dim));
}

static void check_id(int64_t id, const struct rnn_stack_spec *stack)
{
    HOLDS(id == -1 || (id >= 0 && (size_t)id < stack->input_size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct model_config config;
    struct rnn_err err = {0};
    int rc = model_config_parse(&config, (const char *)data, size, &err);

    if (rc < 0) {
        check_failure(rc, &err);
        return 0;
    }
    HOLDS(config.spec.n_stacks == (config.spec.topology == RNN_SEQ2SEQ ? 2 : 1));
    for (size_t i = 0; i < config.spec.n_stacks; i++)
        check_stack(&config.spec.stacks[i]);
    check_id(config.spec.bos, &config.spec.stacks[0]);
    check_id(config.spec.eos, &config.spec.stacks[0]);
    HOLDS((config.features > 0) == (config.spec.topology == RNN_ONE_TO_MANY));
    for (const struct cJSON *w = config.tensors ? config.tensors->child : NULL; w; w = w->next) {
        rc = model_config_check_shape(w, 2, (const size_t[]){3, 4}, &err);
        if (rc < 0)
            check_failure(rc, &err);
        (void)model_config_owns_tensor(&config.spec, w->string);
    }
    model_config_free(&config);
    return 0;
}
