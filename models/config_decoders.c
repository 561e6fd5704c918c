/* What leads to a decoder, out of config.json: the bridge of a captioner, the encoder of a
 * translator and the way of its states, the encoder whose vector is repeated.  Pure functions. */
#include <stdio.h>
#include <string.h>

#include "core/cell.h"
#include "models/config_read.h"

/* What a stack that writes tokens by itself needs. */
static int check_generator(const struct rnn_stack_spec *stack, const char *path,
                           struct rnn_err *err)
{
    const struct rnn_head_spec *head = &stack->head;

    if (stack->input_kind == RNN_INPUT_DENSE)
        return config_contradiction(err, path, "input.kind",
                                    "a decoder reads tokens: want onehot or embedding");
    if (!head->present)
        return config_contradiction(
            err, path, "head", "a decoder needs one, of size %zu (input.size)", stack->input_size);
    if (head->size != stack->input_size)
        return config_contradiction(err, path, "head.size",
                                    "a decoder reads what it writes: want %zu (input.size), found "
                                    "%zu",
                                    stack->input_size, head->size);
    if (head->activation != RNN_HEAD_SOFTMAX)
        return config_contradiction(err, path, "head.activation",
                                    "a decoder chooses one token: want softmax, found '%s'",
                                    config_head_name(head->activation));
    for (size_t k = 0; k < stack->n_layers; k++)
        if (stack->layers[k].directions == 2)
            return config_layer_fault(err, path, &stack->layers[k], "bidirectional",
                                      "a decoder runs forwards only: want false");
    return 0;
}

/* Floats in all h, and in all c, of a stack. */
static size_t state_floats(const struct rnn_stack_spec *stack, bool with_c)
{
    size_t n = 0;

    for (size_t k = 0; k < stack->n_layers; k++) {
        const struct rnn_layer_spec *layer = &stack->layers[k];

        if (layer->kind != RNN_LAYER_RECURRENT)
            continue;
        n += rnn_layer_state_width(layer) * layer->directions;
        if (with_c && layer->cell->has_c)
            n += layer->hidden * layer->directions;
    }
    return n;
}

static int read_bridge(const struct cJSON *json, struct rnn_spec *spec, struct rnn_err *err)
{
    static const char *const keys[] = {"to", "activation", NULL};
    static const char *const places[] = {"state", "input", NULL};
    struct rnn_bridge_spec *bridge = &spec->bridge;
    const struct cJSON *object = json_get(json, "bridge");
    int to = 0, rc = 0;

    bridge->activation = (struct rnn_activation){.kind = RNN_TANH, .alpha = 1, .beta = 1};
    if (!cJSON_IsObject(object)) /* its activation alone */
        return object ? config_activation(json, "", "bridge", &bridge->activation, err)
                      : config_missing("", "bridge", err);
    rc = json_only(object, "bridge", keys, err);
    if (rc == 0)
        rc = config_choice(object, "bridge", "to", places, true, &to, err);
    if (rc == 0)
        rc = config_activation(object, "bridge", "activation", &bridge->activation, err);
    bridge->to_input = to == 1;
    return rc;
}

int config_one_to_many(const struct cJSON *json, struct rnn_spec *spec, struct rnn_err *err)
{
    struct rnn_bridge_spec *bridge = &spec->bridge;
    const struct rnn_stack_spec *decoder = &spec->stacks[0];
    int rc;

    rc = config_size(json, "", "features", RNN_INPUT_MAX, &spec->features, err);
    if (rc == 0)
        rc = read_bridge(json, spec, err);
    if (rc == 0)
        rc = check_generator(decoder, "", err);
    if (rc < 0)
        return rc;
    bridge->present = true;
    bridge->reads = spec->features;
    bridge->writes =
        bridge->to_input ? rnn_stack_input_width(decoder) : state_floats(decoder, true);
    if (bridge->writes == 0)
        return config_contradiction(err, "", "bridge", "there is no state to set");
    return 0;
}

/* An encoder or decoder; a "topology" of its own says nothing new. */
static int read_part(const struct cJSON *json, const char *name, const char *const *keys,
                     struct rnn_spec *spec, struct rnn_stack_spec *stack, size_t memory_width,
                     struct rnn_err *err)
{
    static const char *const part_topologies[] = {"synced", NULL};
    const struct cJSON *part;
    int topology = 0, rc;

    rc = config_object(json, "", name, &part, err);
    if (rc == 0)
        rc = json_only(part, name, keys, err);
    if (rc == 0)
        rc = config_choice(part, name, "topology", part_topologies, true, &topology, err);
    return rc < 0 ? rc : config_stack(part, name, spec, stack, memory_width, err);
}

/* The stack's next recurrent layer at or behind *k; NULL: there is none. */
static const struct rnn_layer_spec *next_holder(const struct rnn_stack_spec *stack, size_t *k)
{
    while (*k < stack->n_layers)
        if (stack->layers[(*k)++].kind == RNN_LAYER_RECURRENT)
            return &stack->layers[*k - 1];
    return NULL;
}

/* Whether layer `to` can take over what `from` holds at its end. */
static int check_heir(const struct rnn_layer_spec *from, const struct rnn_layer_spec *to,
                      enum rnn_transfer transfer, struct rnn_err *err)
{
    size_t sides = transfer == RNN_TRANSFER_CONCAT ? 2 : 1;

    if (from->directions != sides)
        return config_contradiction(err, "", "state_transfer",
                                    sides == 2 ? "the encoder runs in one direction: want copy"
                                               : "the encoder runs in both: want concat");
    if (from->cell->has_c != to->cell->has_c)
        return config_layer_fault(err, "decoder", to, "cell",
                                  "'%s' cannot take over the state of the encoder's '%s'",
                                  to->cell->name, from->cell->name);
    if (from->hidden * sides != to->hidden || from->proj * sides != to->proj)
        return config_layer_fault(
            err, "decoder", to, from->hidden * sides != to->hidden ? "hidden_size" : "proj_size",
            "the encoder hands over states of %zu, found %zu",
            (from->hidden * sides != to->hidden ? from->hidden : from->proj) * sides,
            from->hidden * sides != to->hidden ? to->hidden : to->proj);
    return 0;
}

/* States are handed over as they are: the two sides must hold the same. */
static int check_transfer(const struct rnn_spec *spec, struct rnn_err *err)
{
    const struct rnn_stack_spec *decoder = &spec->stacks[0], *encoder = &spec->stacks[1];
    const struct rnn_layer_spec *from, *to;
    size_t k = 0, m = 0, n_from = 0, n_to = 0;
    int rc = 0;

    do {
        from = next_holder(encoder, &k);
        to = next_holder(decoder, &m);
        n_from += from != NULL;
        n_to += to != NULL;
        if (from && to)
            rc = check_heir(from, to, spec->transfer, err);
    } while (rc == 0 && (from || to));
    if (rc == 0 && n_from == 0)
        return config_contradiction(err, "", "state_transfer", "there is no state to hand over");
    if (rc == 0 && n_from != n_to)
        return config_contradiction(err, "", "state_transfer",
                                    "%zu recurrent layers of the encoder, %zu of the decoder: want "
                                    "as many",
                                    n_from, n_to);
    return rc;
}

static int read_transfer(const struct cJSON *json, struct rnn_spec *spec, struct rnn_err *err)
{
    static const char *const transfers[] = {"copy", "concat", "bridge", "none", NULL};
    struct rnn_bridge_spec *bridge = &spec->bridge;
    int transfer = 0;
    int rc = config_choice(json, "", "state_transfer", transfers, false, &transfer, err);

    if (rc < 0)
        return rc;
    spec->transfer = (enum rnn_transfer)transfer;
    if (spec->transfer == RNN_TRANSFER_NONE && spec->stacks[0].attention.kind == RNN_ATTENTION_NONE)
        return config_contradiction(err, "", "state_transfer",
                                    "none, and no attention: the decoder would hear nothing");
    if (spec->transfer != RNN_TRANSFER_BRIDGE)
        return spec->transfer == RNN_TRANSFER_NONE ? 0 : check_transfer(spec, err);
    bridge->present = true;
    bridge->activation = (struct rnn_activation){.kind = RNN_TANH, .alpha = 1, .beta = 1};
    bridge->reads = state_floats(&spec->stacks[1], true);
    bridge->writes = state_floats(&spec->stacks[0], true);
    if (bridge->reads == 0 || bridge->writes == 0)
        return config_contradiction(err, "", "state_transfer", "there is no state to hand over");
    return 0;
}

int config_seq2seq(const struct cJSON *json, struct rnn_spec *spec, struct rnn_err *err)
{
    static const char *const encoder_keys[] = {"topology", "input", "rnn", "layers", NULL};
    static const char *const decoder_keys[] = {"topology", "input",     "rnn", "layers",
                                               "head",     "attention", NULL};
    struct rnn_stack_spec *decoder = &spec->stacks[0], *encoder = &spec->stacks[1];
    int64_t max_len = 0;
    int rc;

    spec->n_stacks = 2;
    rc = read_part(json, "encoder", encoder_keys, spec, encoder, 0, err);
    if (rc == 0)
        rc = read_part(json, "decoder", decoder_keys, spec, decoder,
                       rnn_stack_readout_width(encoder), err);
    if (rc == 0)
        rc = read_transfer(json, spec, err);
    if (rc == 0 && encoder->input_kind == RNN_INPUT_DENSE && json_get(json, "source_eos"))
        return config_contradiction(err, "", "source_eos", "the encoder reads frames");
    if (rc == 0)
        rc = config_id(json, "source_eos", encoder->input_size, false, &spec->source_eos, err);
    if (rc == 0)
        rc = json_read_int(json, "", "max_len", 1, INT32_MAX, &max_len, err);
    spec->max_len = (size_t)max_len;
    return rc < 0 ? rc : check_generator(decoder, "decoder", err);
}

int config_repeat(const struct cJSON *json, struct rnn_spec *spec, struct rnn_err *err)
{
    static const char *const encoder_keys[] = {"topology", "input", "rnn", "layers",
                                               "pool",     "steps", NULL};
    static const char *const decoder_keys[] = {"topology", "repeat", "rnn", "layers", "head", NULL};
    struct rnn_stack_spec *decoder = &spec->stacks[0], *encoder = &spec->stacks[1];
    int rc;

    spec->n_stacks = 2;
    rc = read_part(json, "encoder", encoder_keys, spec, encoder, 0, err);
    if (rc < 0)
        return rc;
    decoder->input_kind = RNN_INPUT_DENSE;
    decoder->input_size = rnn_stack_vector_width(encoder);
    rc = read_part(json, "decoder", decoder_keys, spec, decoder, 0, err);
    return rc < 0 ? rc
                  : config_size(json_get(json, "decoder"), "decoder", "repeat", RNN_STEPS_MAX,
                                &spec->repeat, err);
}
