/* config.json into a spec: every key is known, of its type, within its bounds, and at peace with
 * the others, or the load stops with the key's path.
 *
 * A table says which key belongs to which topology, so that a key in the wrong place is told from
 * an unknown one.  What may be left out: name, dtype, tensors, head, and the settings whose absence
 * has one natural meaning (bias true; bidirectional, tied false; proj_size 0).  Pure functions. */
#include "models/config_json.h"

#include <stdio.h>
#include <string.h>

#include "core/cell.h"
#include "models/config_read.h"

enum { DEPTH_MAX = 8 };

static const char *const topology_names[] = {"synced", "many_to_one", "one_to_many", "seq2seq",
                                             NULL};
static const char *const input_names[] = {"dense", "onehot", "embedding", NULL};
static const char *const activation_names[] = {"none",     "softmax", "sigmoid",
                                               "gaussian", "mixture", NULL};
static const char *const dtype_names[] = {"F32", "F16", "BF16", "F64", NULL};

/* A token id below `limit`; -1 stays where there is none. */
static int read_id(const struct cJSON *object, const char *key, size_t limit, bool wanted,
                   int64_t *out, struct rnn_err *err)
{
    int rc = json_read_int(object, "", key, 0, (int64_t)limit - 1, out, err);

    if (rc == 0 && wanted && *out < 0)
        return config_missing("", key, err);
    return rc;
}

/* ---- Parts of a stack ---- */

static int read_input(const struct cJSON *object, const char *path, struct rnn_stack_spec *stack,
                      struct rnn_err *err)
{
    static const char *const keys[] = {"kind", "size", "dim", "normalize", NULL};
    const struct cJSON *input;
    char place[CONFIG_PATH_BYTES];
    int kind = 0, rc;

    rc = config_object(object, path, "input", &input, err);
    if (rc < 0)
        return rc;
    config_join(place, path, "input");
    rc = json_only(input, place, keys, err);
    if (rc == 0)
        rc = config_choice(input, place, "kind", input_names, false, &kind, err);
    if (rc == 0)
        rc = config_size(input, place, "size", RNN_INPUT_MAX, &stack->input_size, err);
    if (rc == 0)
        rc = json_read_bool(input, place, "normalize", &stack->normalize, err);
    if (rc < 0)
        return rc;
    stack->input_kind = (enum rnn_input_kind)kind;
    if (stack->normalize && stack->input_kind != RNN_INPUT_DENSE)
        return config_contradiction(err, place, "normalize",
                                    "tokens have no mean; want kind dense");
    if (stack->input_kind == RNN_INPUT_EMBEDDING)
        return config_size(input, place, "dim", RNN_HIDDEN_MAX, &stack->embedding_dim, err);
    if (json_get(input, "dim"))
        return config_contradiction(err, place, "dim", "only an embedding has one");
    return 0;
}

static int check_tied(const struct rnn_stack_spec *stack, const char *path, struct rnn_err *err)
{
    size_t width = rnn_stack_head_width(stack);

    if (stack->input_kind != RNN_INPUT_EMBEDDING)
        return config_contradiction(err, path, "tied", "there is no embedding to be tied to");
    if (stack->head.size != stack->input_size)
        return config_contradiction(err, path, "tied",
                                    "head.size is %zu, the embedding has %zu ids", stack->head.size,
                                    stack->input_size);
    if (width != stack->embedding_dim)
        return config_contradiction(err, path, "tied",
                                    "the top layer gives %zu floats, the embedding's dim is %zu",
                                    width, stack->embedding_dim);
    return 0;
}

/* Parts of a mixture: "components", "pen", and the size that they add up to. */
static int read_mixture(const struct cJSON *json, const char *path, struct rnn_head_spec *head,
                        struct rnn_err *err)
{
    bool mixture = head->activation == RNN_HEAD_MIXTURE;
    char place[CONFIG_PATH_BYTES];
    int64_t pen = 1;
    int rc;

    if (!mixture) {
        const char *key = json_get(json, "components") ? "components" : "pen";

        return json_get(json, key) ? config_contradiction(err, path, key, "only a mixture has that")
                                   : 0;
    }
    rc = config_size(json, path, "components", 4096, &head->components, err);
    if (rc == 0)
        rc = json_read_int(json, path, "pen", 1, 3, &pen, err);
    if (rc < 0)
        return rc;
    head->pen = (unsigned)pen;
    config_join(place, path, "pen");
    if (pen == 2)
        return rnn_fail_at(err, RNN_ERANGE, place, -1, "%s: want 1 or 3, found 2", place);
    if (head->size != head->pen + 6 * head->components)
        return config_contradiction(
            err, path, "size", "a mixture of %zu with pen %u wants %zu, found %zu",
            head->components, head->pen, head->pen + 6 * head->components, head->size);
    return 0;
}

static int check_head(const struct rnn_stack_spec *stack, const char *path, struct rnn_err *err)
{
    const struct rnn_head_spec *head = &stack->head;
    bool labels = head->activation == RNN_HEAD_SOFTMAX || head->activation == RNN_HEAD_SIGMOID;

    if (head->activation == RNN_HEAD_GAUSSIAN && head->size % 2)
        return config_contradiction(err, path, "size",
                                    "as many deviations as means: want an even number, found %zu",
                                    head->size);
    if (head->activation == RNN_HEAD_MIXTURE &&
        (stack->input_kind != RNN_INPUT_DENSE || stack->input_size != 2 + head->pen))
        return config_contradiction(err, path, "activation",
                                    "a mixture reads what it writes: want dense input of size %u",
                                    2 + head->pen);
    if (head->denormalize && labels)
        return config_contradiction(err, path, "denormalize", "probabilities have no mean");
    return head->tied ? check_tied(stack, path, err) : 0;
}

static int read_head(const struct cJSON *object, const char *path, struct rnn_stack_spec *stack,
                     struct rnn_err *err)
{
    static const char *const keys[] = {"size",        "bias",       "tied", "activation",
                                       "denormalize", "components", "pen",  NULL};
    struct rnn_head_spec *head = &stack->head;
    const struct cJSON *json = json_get(object, "head");
    char place[CONFIG_PATH_BYTES];
    int activation = RNN_HEAD_NONE, rc;

    if (!json || cJSON_IsNull(json))
        return 0;
    rc = config_object(object, path, "head", &json, err);
    if (rc < 0)
        return rc;
    config_join(place, path, "head");
    head->present = true;
    head->bias = true;
    rc = json_only(json, place, keys, err);
    if (rc == 0)
        rc = config_size(json, place, "size", RNN_OUTPUT_MAX, &head->size, err);
    if (rc == 0)
        rc = json_read_bool(json, place, "bias", &head->bias, err);
    if (rc == 0)
        rc = json_read_bool(json, place, "tied", &head->tied, err);
    if (rc == 0)
        rc = json_read_bool(json, place, "denormalize", &head->denormalize, err);
    if (rc == 0)
        rc = config_choice(json, place, "activation", activation_names, false, &activation, err);
    head->activation = (enum rnn_head_activation)activation;
    if (rc == 0)
        rc = read_mixture(json, place, head, err);
    return rc < 0 ? rc : check_head(stack, place, err);
}

/* ---- Attention ---- */

static int read_additive(const struct cJSON *json, const char *path,
                         struct rnn_attention_spec *attention, struct rnn_err *err)
{
    static const char *const keys[] = {"kind", "size", "bias", "readout", NULL};
    static const char *const readouts[] = {"state", "concat", NULL};
    int readout = 0, rc = json_only(json, path, keys, err);

    attention->bias = true;
    if (rc == 0)
        rc = config_size(json, path, "size", RNN_HIDDEN_MAX, &attention->size, err);
    if (rc == 0)
        rc = json_read_bool(json, path, "bias", &attention->bias, err);
    if (rc == 0)
        rc = config_choice(json, path, "readout", readouts, true, &readout, err);
    attention->concat = readout == 1;
    return rc;
}

static int read_multiplicative(const struct cJSON *json, const char *path,
                               struct rnn_attention_spec *attention, struct rnn_err *err)
{
    static const char *const keys[] = {"kind", "combine", NULL};
    int64_t combine = 0;
    int rc = json_only(json, path, keys, err);

    if (rc == 0)
        rc = json_read_int(json, path, "combine", 1, RNN_HIDDEN_MAX, &combine, err);
    attention->combine = (size_t)combine; /* 0: as wide as the top layer, once that is known */
    return rc;
}

static int read_attention(const struct cJSON *object, const char *path, size_t memory_width,
                          struct rnn_stack_spec *stack, struct rnn_err *err)
{
    static const char *const kinds[] = {"additive", "dot", "general", NULL};
    struct rnn_attention_spec *attention = &stack->attention;
    const struct cJSON *json = json_get(object, "attention");
    char place[CONFIG_PATH_BYTES];
    int kind = 0, rc;

    if (!json || cJSON_IsNull(json))
        return 0;
    rc = config_object(object, path, "attention", &json, err);
    config_join(place, path, "attention");
    if (rc == 0)
        rc = config_choice(json, place, "kind", kinds, false, &kind, err);
    if (rc < 0)
        return rc;
    attention->kind = (enum rnn_attention_kind)(kind + 1);
    attention->memory_width = memory_width;
    return attention->kind == RNN_ATTENTION_ADDITIVE
               ? read_additive(json, place, attention, err)
               : read_multiplicative(json, place, attention, err);
}

/* Once the layers are known. */
static int finish_attention(struct rnn_stack_spec *stack, const char *path, struct rnn_err *err)
{
    struct rnn_attention_spec *attention = &stack->attention;
    size_t width = rnn_stack_readout_width(stack);
    char place[CONFIG_PATH_BYTES];

    config_join(place, path, "attention");
    if (attention->kind == RNN_ATTENTION_NONE)
        return 0;
    if (attention->kind == RNN_ATTENTION_DOT && width != attention->memory_width)
        return config_contradiction(err, place, "kind",
                                    "dot compares %zu numbers of the decoder with %zu of the "
                                    "encoder; general does that",
                                    width, attention->memory_width);
    if (attention->kind != RNN_ATTENTION_ADDITIVE && attention->combine == 0)
        attention->combine = width;
    if (stack->n_below == 0)
        return config_contradiction(err, path, "attention", "the decoder has no recurrent layer");
    config_widen_top(stack);
    return 0;
}

/* `memory_width`: of what an attention looks at; 0: there is no encoder. */
static int read_stack(const struct cJSON *object, const char *path, struct rnn_spec *spec,
                      struct rnn_stack_spec *stack, size_t memory_width, struct rnn_err *err)
{
    int rc;

    if (*path)
        snprintf(stack->prefix, sizeof stack->prefix, "%s.", path);
    rc = read_input(object, path, stack, err);
    if (rc == 0 && memory_width)
        rc = read_attention(object, path, memory_width, stack, err);
    if (rc == 0)
        rc = config_layers(object, path, spec, stack, err);
    if (rc == 0)
        rc = finish_attention(stack, path, err);
    if (rc == 0)
        rc = read_head(object, path, stack, err);
    return rc;
}

/* ---- Topologies ---- */

#define IN(topology) (1u << (topology))
enum {
    SYNCED = IN(RNN_SYNCED),
    TO_ONE = IN(RNN_MANY_TO_ONE),
    FROM_ONE = IN(RNN_ONE_TO_MANY),
    SEQ2SEQ = IN(RNN_SEQ2SEQ),
    ALL = SYNCED | TO_ONE | FROM_ONE | SEQ2SEQ
};

static const struct top_key {
    const char *name;
    unsigned topologies; /* where it has a meaning */
} top_keys[] = {{"schema", ALL},
                {"name", ALL},
                {"topology", ALL},
                {"dtype", ALL},
                {"tensors", ALL},
                {"bos", ALL},
                {"eos", ALL},
                {"input", ALL & ~SEQ2SEQ},
                {"rnn", ALL & ~SEQ2SEQ},
                {"layers", ALL & ~SEQ2SEQ},
                {"head", ALL & ~SEQ2SEQ},
                {"pool", TO_ONE},
                {"features", FROM_ONE},
                {"bridge", FROM_ONE},
                {"encoder", SEQ2SEQ},
                {"decoder", SEQ2SEQ},
                {"state_transfer", SEQ2SEQ},
                {"source_eos", SEQ2SEQ},
                {"max_len", SEQ2SEQ}};

#define N_TOP_KEYS (sizeof top_keys / sizeof *top_keys)

static int check_top_keys(const struct cJSON *json, enum rnn_topology topology, struct rnn_err *err)
{
    const char *names[N_TOP_KEYS + 1];

    for (size_t i = 0; i < N_TOP_KEYS; i++) {
        names[i] = top_keys[i].name;
        if (!(top_keys[i].topologies & IN(topology)) && json_get(json, names[i]))
            return rnn_fail_at(err, RNN_EFORMAT, names[i], -1,
                               "%s has no meaning where topology is '%s'", names[i],
                               topology_names[topology]);
    }
    names[N_TOP_KEYS] = NULL;
    return json_only(json, "", names, err);
}

static int read_many_to_one(const struct cJSON *json, struct rnn_spec *spec, struct rnn_err *err)
{
    static const char *const pools[] = {"final", "last", "mean", "max", NULL};
    int pool = (int)spec->pool; /* a module may have said */
    int rc = config_choice(json, "", "pool", pools, true, &pool, err);

    if (rc == 0 && json_get(json, "pool") && spec->pool && (int)spec->pool != pool)
        return config_contradiction(err, "", "pool", "the module of kind readout says '%s'",
                                    pools[spec->pool]);
    spec->pool = (enum rnn_pool)pool;
    return rc;
}

/* What a stack that writes tokens by itself needs. */
static int check_generator(const struct rnn_stack_spec *stack, const char *path,
                           struct rnn_err *err)
{
    if (stack->input_kind == RNN_INPUT_DENSE)
        return config_contradiction(err, path, "input.kind", "a decoder reads tokens");
    if (!stack->head.present)
        return config_contradiction(err, path, "head", "a decoder needs one");
    if (stack->head.size != stack->input_size)
        return config_contradiction(err, path, "head.size",
                                    "a decoder reads what it writes: want input.size");
    for (size_t k = 0; k < stack->n_layers; k++)
        if (stack->layers[k].directions == 2)
            return config_layer_fault(err, path, &stack->layers[k], "bidirectional",
                                      "a decoder runs forwards only; want false");
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

static int read_one_to_many(const struct cJSON *json, struct rnn_spec *spec, struct rnn_err *err)
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
    return rc < 0 ? rc : read_stack(part, name, spec, stack, memory_width, err);
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

static int read_seq2seq(const struct cJSON *json, struct rnn_spec *spec, struct rnn_err *err)
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
        rc = read_id(json, "source_eos", encoder->input_size, false, &spec->source_eos, err);
    if (rc == 0)
        rc = json_read_int(json, "", "max_len", 1, INT32_MAX, &max_len, err);
    spec->max_len = (size_t)max_len;
    return rc < 0 ? rc : check_generator(decoder, "decoder", err);
}

/* bos and eos are ids of the stack that reads tokens; where text is started and ended by them they
 * must be there. */
static int read_specials(const struct cJSON *json, struct rnn_spec *spec, struct rnn_err *err)
{
    const struct rnn_stack_spec *stack = &spec->stacks[0];
    bool wanted = spec->topology == RNN_ONE_TO_MANY || spec->topology == RNN_SEQ2SEQ;
    const char *key = json_get(json, "bos") ? "bos" : "eos";
    int rc;

    if (stack->input_kind == RNN_INPUT_DENSE && json_get(json, key))
        return config_contradiction(err, "", key, "a model that reads frames has no token ids");
    rc = read_id(json, "bos", stack->input_size, wanted, &spec->bos, err);
    return rc < 0 ? rc : read_id(json, "eos", stack->input_size, wanted, &spec->eos, err);
}

static int read_topology(const struct cJSON *json, struct model_config *config, struct rnn_err *err)
{
    struct rnn_spec *spec = &config->spec;
    int rc;

    if (spec->topology == RNN_SEQ2SEQ)
        return read_seq2seq(json, spec, err);
    spec->n_stacks = 1;
    rc = read_stack(json, "", spec, &spec->stacks[0], 0, err);
    if (rc == 0 && spec->topology == RNN_MANY_TO_ONE)
        rc = read_many_to_one(json, spec, err);
    if (rc == 0 && spec->topology == RNN_ONE_TO_MANY)
        rc = read_one_to_many(json, spec, err);
    return rc;
}

/* ---- The whole ---- */

static int read_preamble(const struct cJSON *json, struct model_config *config, struct rnn_err *err)
{
    static const char *const schemas[] = {"rnnd-ref-1", NULL};
    int schema = 0, topology = 0, dtype = 0, rc;
    const char *name = NULL;

    if (!cJSON_IsObject(json))
        return rnn_fail(err, RNN_ETYPE, "want an object");
    rc = config_choice(json, "", "schema", schemas, false, &schema, err);
    if (rc == 0)
        rc = config_choice(json, "", "topology", topology_names, false, &topology, err);
    if (rc == 0)
        rc = check_top_keys(json, (enum rnn_topology)topology, err);
    if (rc == 0)
        rc = json_read_string(json, "", "name", &name, err);
    if (rc == 0)
        rc = config_choice(json, "", "dtype", dtype_names, true, &dtype, err);
    if (rc == 0 && json_get(json, "tensors"))
        rc = config_object(json, "", "tensors", &config->tensors, err);
    config->spec.topology = (enum rnn_topology)topology;
    config->spec.dtype = (enum rnn_dtype)dtype;
    config->has_dtype = json_get(json, "dtype") != NULL;
    return rc;
}

int model_config_parse(struct model_config *out, const char *text, size_t len, struct rnn_err *err)
{
    struct model_config config = {.spec = {.unk = -1, .bos = -1, .eos = -1, .source_eos = -1}};
    int rc;

    rc = json_parse(&config.json, text, len, DEPTH_MAX, err);
    if (rc < 0)
        return rc;
    rc = read_preamble(config.json, &config, err);
    if (rc == 0)
        rc = read_topology(config.json, &config, err);
    if (rc == 0)
        rc = read_specials(config.json, &config.spec, err);
    if (rc < 0) {
        json_free(config.json);
        return rc;
    }
    *out = config;
    return 0;
}

void model_config_free(struct model_config *config)
{
    json_free(config->json);
    config->json = NULL;
    config->tensors = NULL;
}

/* ---- Tensors ---- */

static bool begins_with(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

bool model_config_owns_tensor(const struct rnn_spec *spec, const char *name)
{
    static const char *const parts[] = {"embedding.", "rnn.",   "layers.", "attention.",
                                        "head.",      "input.", "output.", NULL};

    if (spec->bridge.present && begins_with(name, "bridge."))
        return true;
    for (size_t i = 0; i < spec->n_stacks; i++) {
        const char *prefix = spec->stacks[i].prefix;

        if (!begins_with(name, prefix))
            continue;
        for (const char *const *part = parts; *part; part++)
            if (begins_with(name + strlen(prefix), *part))
                return true;
    }
    return false;
}

void model_config_shape_text(char *text, size_t size, size_t rank, const size_t *shape)
{
    size_t used = 0;

    snprintf(text, size, "()");
    for (size_t i = 0; i < rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%zu", i ? "x" : "", shape[i]);
}

int model_config_check_shape(const struct cJSON *wanted, size_t rank, const size_t *shape,
                             struct rnn_err *err)
{
    char found[80], want[80] = "";
    size_t n = 0, used = 0;
    bool same = true;

    if (!cJSON_IsArray(wanted))
        return rnn_fail_at(err, RNN_ETYPE, wanted->string, -1, "tensors.%.64s: want an array",
                           wanted->string);
    for (const struct cJSON *d = wanted->child; d; d = d->next, n++) {
        if (!cJSON_IsNumber(d))
            return rnn_fail_at(err, RNN_ETYPE, wanted->string, -1,
                               "tensors.%.64s: want an array of sizes", wanted->string);
        same = same && n < rank && d->valuedouble == (double)shape[n];
        if (used < sizeof want)
            used += (size_t)snprintf(want + used, sizeof want - used, "%s%.0f", n ? "x" : "",
                                     d->valuedouble);
    }
    if (same && n == rank)
        return 0;
    model_config_shape_text(found, sizeof found, rank, shape);
    return rnn_fail_at(err, RNN_ESHAPE, wanted->string, -1,
                       "tensors.%.64s: config.json says %s, model.safetensors has %s",
                       wanted->string, n ? want : "()", found);
}
