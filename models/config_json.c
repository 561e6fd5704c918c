/* config.json into a spec: every key is known, of its type, within its bounds, and at peace with
 * the others, or the load stops with the key's path.
 *
 * Here: inputs, heads, attentions, and the whole; layers are read by models/config_layers.c, what
 * leads from an input to a decoder by models/config_decoders.c.  A table says which key belongs to
 * which topology, so that a key in the wrong place is told from an unknown one.  What may be left
 * out: name, dtype, tensors, head, and the settings whose absence has one natural meaning (bias
 * true; bidirectional, tied false; proj_size 0).  Pure functions. */
#include "models/config_json.h"

#include <stdio.h>
#include <string.h>

#include "core/cell.h"
#include "models/config_read.h"

enum { DEPTH_MAX = 8 };

static const char *const topology_names[] = {"synced",  "many_to_one", "one_to_many",
                                             "seq2seq", "repeat",      NULL};
static const char *const input_names[] = {"dense", "onehot", "embedding", NULL};
static const char *const activation_names[] = {"none",     "softmax", "sigmoid",
                                               "gaussian", "mixture", NULL};
static const char *const dtype_names[] = {"F32", "F16", "BF16", "F64", NULL};

int config_id(const struct cJSON *object, const char *key, size_t limit, bool wanted, int64_t *out,
              struct rnn_err *err)
{
    int rc = json_read_int(object, "", key, 0, (int64_t)limit - 1, out, err);

    if (rc == 0 && wanted && *out < 0)
        return config_missing("", key, err);
    return rc;
}

const char *config_head_name(enum rnn_head_activation activation)
{
    return activation_names[activation];
}

/* ---- Parts of a stack ---- */

/* Steps of an id, or of frames of one number, that are passed over: padding. */
static int read_mask(const struct cJSON *input, const char *place, struct rnn_stack_spec *stack,
                     struct rnn_err *err)
{
    int64_t id = 0;
    double number = 0;
    int rc;

    stack->masks = json_get(input, "mask") != NULL;
    if (stack->input_kind == RNN_INPUT_DENSE)
        rc = json_read_double(input, place, "mask", -1e30, 1e30, &number, err);
    else
        rc = json_read_int(input, place, "mask", 0, (int64_t)stack->input_size - 1, &id, err);
    stack->mask = stack->input_kind == RNN_INPUT_DENSE ? (float)number : (float)id;
    return rc;
}

static int read_input(const struct cJSON *object, const char *path, struct rnn_stack_spec *stack,
                      struct rnn_err *err)
{
    static const char *const keys[] = {"kind", "size", "dim", "normalize", "mask", NULL};
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
    rc = read_mask(input, place, stack, err);
    if (rc < 0)
        return rc;
    if (stack->normalize && stack->input_kind != RNN_INPUT_DENSE)
        return config_contradiction(err, place, "normalize",
                                    "tokens have no mean: want kind dense, found '%s'",
                                    input_names[kind]);
    if (stack->input_kind == RNN_INPUT_EMBEDDING)
        return config_size(input, place, "dim", RNN_HIDDEN_MAX, &stack->embedding_dim, err);
    if (json_get(input, "dim"))
        return config_contradiction(err, place, "dim",
                                    "only an embedding has one: want kind embedding, found '%s'",
                                    input_names[kind]);
    return 0;
}

static int check_tied(const struct rnn_stack_spec *stack, const char *path, struct rnn_err *err)
{
    size_t width = rnn_stack_head_width(stack);

    if (stack->input_kind != RNN_INPUT_EMBEDDING)
        return config_contradiction(
            err, path, "tied",
            "there is no embedding to be tied to: want input.kind embedding, "
            "found '%s'",
            input_names[stack->input_kind]);
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

        return json_get(json, key)
                   ? config_contradiction(err, path, key, "only a mixture has that, found '%s'",
                                          activation_names[head->activation])
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
        return config_contradiction(err, path, "denormalize",
                                    "probabilities have no mean: want activation none, gaussian or "
                                    "mixture, found '%s'",
                                    activation_names[head->activation]);
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

int config_stack(const struct cJSON *object, const char *path, struct rnn_spec *spec,
                 struct rnn_stack_spec *stack, size_t memory_width, struct rnn_err *err)
{
    int rc = 0;

    if (*path)
        snprintf(stack->prefix, sizeof stack->prefix, "%s.", path);
    if (stack->input_size == 0)
        rc = read_input(object, path, stack, err);
    if (rc == 0 && memory_width)
        rc = read_attention(object, path, memory_width, stack, err);
    if (rc == 0)
        rc = config_layers(object, path, spec, stack, err);
    if (rc == 0)
        rc = finish_attention(stack, path, err);
    if (rc == 0)
        rc = read_head(object, path, stack, err);
    if (rc == 0 && stack->head.activation == RNN_HEAD_MIXTURE && spec->topology != RNN_SYNCED)
        return config_contradiction(err, path, "head.activation",
                                    "a mixture tells of the next point of its input: want topology "
                                    "synced, found '%s'",
                                    topology_names[spec->topology]);
    return rc;
}

/* ---- Topologies ---- */

#define IN(topology) (1u << (topology))
enum {
    SYNCED = IN(RNN_SYNCED),
    TO_ONE = IN(RNN_MANY_TO_ONE),
    FROM_ONE = IN(RNN_ONE_TO_MANY),
    SEQ2SEQ = IN(RNN_SEQ2SEQ),
    REPEAT = IN(RNN_REPEAT),
    ONE_STACK = SYNCED | TO_ONE | FROM_ONE,
    ALL = ONE_STACK | SEQ2SEQ | REPEAT
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
                {"input", ONE_STACK},
                {"rnn", ONE_STACK},
                {"layers", ONE_STACK},
                {"head", ONE_STACK},
                {"pool", TO_ONE},
                {"steps", TO_ONE},
                {"features", FROM_ONE},
                {"bridge", FROM_ONE},
                {"encoder", SEQ2SEQ | REPEAT},
                {"decoder", SEQ2SEQ | REPEAT},
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

/* bos and eos are ids of the stack that reads tokens; where text is started and ended by them they
 * must be there. */
static int read_specials(const struct cJSON *json, struct rnn_spec *spec, struct rnn_err *err)
{
    const struct rnn_stack_spec *stack = &spec->stacks[spec->topology == RNN_REPEAT];
    bool wanted = spec->topology == RNN_ONE_TO_MANY || spec->topology == RNN_SEQ2SEQ;
    const char *key = json_get(json, "bos") ? "bos" : "eos";
    int rc;

    if (stack->input_kind == RNN_INPUT_DENSE && json_get(json, key))
        return config_contradiction(err, "", key, "a model that reads frames has no token ids");
    rc = config_id(json, "bos", stack->input_size, wanted, &spec->bos, err);
    return rc < 0 ? rc : config_id(json, "eos", stack->input_size, wanted, &spec->eos, err);
}

/* Padding is passed over where an input is read; and an output for every step wants every step,
 * which a layer of two directions does not give, as a window wants each of its own. */
static int check_mask(const struct rnn_spec *spec, struct rnn_err *err)
{
    const struct rnn_stack_spec *stack = &spec->stacks[0];
    const struct rnn_stack_spec *reader = &spec->stacks[spec->n_stacks - 1];

    if (reader->masks && reader->window)
        return config_contradiction(err, spec->n_stacks > 1 ? "encoder.input" : "input", "mask",
                                    "flatten wants all %zu steps of the window, and a step that is "
                                    "passed over gives nothing",
                                    reader->window);
    if (!stack->masks)
        return 0;
    if (spec->topology == RNN_SEQ2SEQ || spec->topology == RNN_ONE_TO_MANY)
        return config_contradiction(err, spec->topology == RNN_SEQ2SEQ ? "decoder.input" : "input",
                                    "mask", "a decoder reads no padding");
    for (size_t k = 0; k < stack->n_layers && spec->topology == RNN_SYNCED; k++)
        if (stack->layers[k].directions == 2)
            return config_contradiction(err, "input", "mask",
                                        "a bidirectional layer has no output at a step that is "
                                        "passed over");
    return 0;
}

static int read_topology(const struct cJSON *json, struct model_config *config, struct rnn_err *err)
{
    struct rnn_spec *spec = &config->spec;
    int rc;

    if (spec->topology == RNN_SEQ2SEQ) {
        rc = config_seq2seq(json, spec, err);
        return rc < 0 ? rc : check_mask(spec, err);
    }
    if (spec->topology == RNN_REPEAT) {
        rc = config_repeat(json, spec, err);
        return rc < 0 ? rc : check_mask(spec, err);
    }
    spec->n_stacks = 1;
    rc = config_stack(json, "", spec, &spec->stacks[0], 0, err);
    if (rc == 0 && spec->topology == RNN_ONE_TO_MANY)
        rc = config_one_to_many(json, spec, err);
    return rc < 0 ? rc : check_mask(spec, err);
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
