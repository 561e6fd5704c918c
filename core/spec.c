/* Whether a spec is at peace with itself.  A format has told its reader of contradictions in the
 * words of its own file already; what is found here is a fault of the format. */
#include "core/spec.h"

#include "core/cell.h"
#include "core/spec_check.h"

static int check_recurrent(const struct rnn_layer_spec *layer, size_t k, struct rnn_err *err)
{
    if (!layer->cell || layer->directions < 1 || layer->directions > 2)
        return rnn_fail(err, RNN_EFORMAT, "layer %zu has no cell or no direction", k);
    if (layer->proj > RNN_HIDDEN_MAX)
        return rnn_fail(err, RNN_ERANGE, "layer %zu projects to %zu; up to %zu are served", k,
                        layer->proj, RNN_HIDDEN_MAX);
    if (layer->proj && !layer->cell->may_project)
        return rnn_fail(err, RNN_EUNSUPPORTED, "%s has no projection", layer->cell->name);
    return 0;
}

static int check_layer(const struct rnn_stack_spec *stack, size_t k, size_t below,
                       struct rnn_err *err)
{
    const struct rnn_layer_spec *layer = &stack->layers[k];

    if (layer->hidden < 1 || layer->hidden > RNN_INPUT_MAX ||
        (layer->kind == RNN_LAYER_RECURRENT && layer->hidden > RNN_HIDDEN_MAX))
        return rnn_fail(err, RNN_ERANGE, "layer %zu has %zu units; 1 to %zu are served", k,
                        layer->hidden, RNN_HIDDEN_MAX);
    if (layer->input_width != below)
        return rnn_fail(err, RNN_ESHAPE, "layer %zu reads %zu numbers, what is below it gives %zu",
                        k, layer->input_width, below);
    if (layer->residual && rnn_layer_width(layer) != below)
        return rnn_fail(err, RNN_ESHAPE, "layer %zu is residual, reads %zu numbers and gives %zu",
                        k, below, rnn_layer_width(layer));
    if (layer->kind == RNN_LAYER_RECURRENT) {
        if (k >= stack->n_below)
            return rnn_fail(err, RNN_EUNSUPPORTED, "layer %zu is recurrent above the readout", k);
        return check_recurrent(layer, k, err);
    }
    if (layer->kind != RNN_LAYER_DENSE && layer->hidden != below)
        return rnn_fail(err, RNN_ESHAPE, "layer %zu gives what it reads", k);
    return 0;
}

static int check_layers(const struct rnn_stack_spec *stack, struct rnn_err *err)
{
    const struct rnn_attention_spec *attention = &stack->attention;
    size_t below = rnn_stack_input_width(stack);
    int rc = 0;

    if (attention->kind == RNN_ATTENTION_ADDITIVE)
        below += attention->memory_width;
    for (size_t k = 0; k < stack->n_layers && rc == 0; k++) {
        if (k == stack->n_below && (k > 0 || stack->window))
            below = rnn_stack_top_width(stack);
        rc = check_layer(stack, k, below, err);
        below = rnn_layer_width(&stack->layers[k]);
    }
    return rc;
}

static int check_head(const struct rnn_stack_spec *stack, struct rnn_err *err)
{
    const struct rnn_head_spec *head = &stack->head;
    size_t width = rnn_stack_head_width(stack);

    if (!head->present)
        return 0;
    if (head->size < 1 || head->size > RNN_OUTPUT_MAX)
        return rnn_fail(err, RNN_ERANGE, "the head has %zu outputs; 1 to %zu are served",
                        head->size, RNN_OUTPUT_MAX);
    if (head->activation == RNN_HEAD_GAUSSIAN && head->size % 2)
        return rnn_fail(err, RNN_ESHAPE, "a Gaussian head has as many means as deviations");
    if (head->activation == RNN_HEAD_MIXTURE && head->size != head->pen + 6 * head->components)
        return rnn_fail(err, RNN_ESHAPE, "a mixture of %zu wants %zu outputs, the head has %zu",
                        head->components, head->pen + 6 * head->components, head->size);
    if (!head->tied)
        return 0;
    if (stack->input_kind != RNN_INPUT_EMBEDDING || head->size != stack->input_size ||
        width != stack->embedding_dim)
        return rnn_fail(err, RNN_ESHAPE,
                        "a tied head wants an embedding of [%zu, %zu], the model has [%zu, %zu]",
                        head->size, width, stack->input_size, stack->embedding_dim);
    return 0;
}

static int check_stack(const struct rnn_stack_spec *stack, struct rnn_err *err)
{
    int rc;

    if (stack->n_layers > RNN_LAYERS_MAX || stack->n_below > stack->n_layers)
        return rnn_fail(err, RNN_ERANGE, "%zu layers; up to %d are served", stack->n_layers,
                        RNN_LAYERS_MAX);
    if (stack->input_size < 1 || stack->input_size > RNN_INPUT_MAX ||
        stack->embedding_dim > RNN_HIDDEN_MAX)
        return rnn_fail(err, RNN_ERANGE, "an input of %zu; 1 to %zu are served", stack->input_size,
                        RNN_INPUT_MAX);
    if (stack->window > RNN_STEPS_MAX || rnn_stack_vector_width(stack) > RNN_INPUT_MAX)
        return rnn_fail(err, RNN_ERANGE, "a window of %zu steps", stack->window);
    rc = check_layers(stack, err);
    return rc < 0 ? rc : check_head(stack, err);
}

static bool runs_both_ways(const struct rnn_stack_spec *stack)
{
    for (size_t k = 0; k < stack->n_layers; k++)
        if (stack->layers[k].kind == RNN_LAYER_RECURRENT && stack->layers[k].directions == 2)
            return true;
    return false;
}

static int check_decoder(const struct rnn_spec *spec, struct rnn_err *err)
{
    const struct rnn_stack_spec *stack = &spec->stacks[0];

    if (runs_both_ways(stack))
        return rnn_fail(err, RNN_EUNSUPPORTED, "a decoder runs forwards only");
    if (spec->bos < 0 || (size_t)spec->bos >= stack->input_size || !stack->head.present ||
        stack->head.size != stack->input_size || stack->input_kind == RNN_INPUT_DENSE)
        return rnn_fail(err, RNN_EFORMAT, "a decoder reads the tokens that it writes, after bos");
    return 0;
}

static int check_repeat(const struct rnn_spec *spec, struct rnn_err *err)
{
    const struct rnn_stack_spec *decoder = &spec->stacks[0], *encoder = &spec->stacks[1];

    if (spec->repeat < 1 || spec->repeat > RNN_STEPS_MAX)
        return rnn_fail(err, RNN_ERANGE, "%zu repeats; 1 to %zu are served", spec->repeat,
                        RNN_STEPS_MAX);
    if (decoder->input_kind != RNN_INPUT_DENSE || decoder->normalize || decoder->masks ||
        decoder->window || decoder->input_size != rnn_stack_vector_width(encoder))
        return rnn_fail(err, RNN_ESHAPE, "the decoder reads %zu numbers, the encoder gives %zu",
                        decoder->input_size, rnn_stack_vector_width(encoder));
    return 0;
}

/* Whether a window stands where there is one vector to be read out, and is whole. */
static int check_window(const struct rnn_spec *spec, struct rnn_err *err)
{
    const struct rnn_stack_spec *reader = &spec->stacks[spec->n_stacks - 1];
    bool pools = spec->topology == RNN_MANY_TO_ONE || spec->topology == RNN_REPEAT;

    if ((reader->window > 0) != (pools && spec->pool == RNN_POOL_FLATTEN) ||
        (reader->window && reader->masks))
        return rnn_fail(err, RNN_EFORMAT, "a window of %zu steps that are not read out whole",
                        reader->window);
    return 0;
}

int rnn_spec_check(const struct rnn_spec *spec, struct rnn_err *err)
{
    bool decodes = spec->topology == RNN_ONE_TO_MANY || spec->topology == RNN_SEQ2SEQ;
    bool encodes = spec->topology == RNN_SEQ2SEQ || spec->topology == RNN_REPEAT;
    int rc = 0;

    if (spec->n_stacks != (encodes ? 2u : 1u))
        return rnn_fail(err, RNN_EFORMAT, "%zu stacks", spec->n_stacks);
    for (size_t i = 0; i < spec->n_stacks && rc == 0; i++)
        rc = check_stack(&spec->stacks[i], err);
    if (rc == 0)
        rc = check_window(spec, err);
    if (rc == 0 && spec->topology == RNN_REPEAT)
        return check_repeat(spec, err);
    return rc == 0 && decodes ? check_decoder(spec, err) : rc;
}
