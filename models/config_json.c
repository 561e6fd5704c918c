/* config.json into a spec: every key is known, of its type, within its bounds, and at peace with
 * the others, or the load stops with the key's path.
 *
 * A table says which key belongs to which topology, so that a key in the wrong place is told from
 * an unknown one.  What may be left out: name, dtype, tensors, head, and the settings whose absence
 * has one natural meaning (bias true; bidirectional, tied false; proj_size 0).  Pure functions. */
#include "models/config_json.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "core/cell.h"

enum { DEPTH_MAX = 8, PATH_MAX_BYTES = 64 };

static const char *const topology_names[] = {"synced", "many_to_one", "one_to_many", "seq2seq",
                                             NULL};
static const char *const input_names[] = {"dense", "onehot", "embedding", NULL};
static const char *const activation_names[] = {"none", "softmax", "sigmoid", NULL};
static const char *const dtype_names[] = {"F32", "F16", "BF16", "F64", NULL};

/* ---- Reading one key ---- */

static void join(char out[PATH_MAX_BYTES], const char *path, const char *key)
{
    snprintf(out, PATH_MAX_BYTES, "%.40s%s%.20s", path, *path ? "." : "", key);
}

static int missing(const char *path, const char *key, struct rnn_err *err)
{
    char place[PATH_MAX_BYTES];

    join(place, path, key);
    return rnn_fail_at(err, RNN_EFORMAT, place, -1, "%s is missing", place);
}

static int want_object(const struct cJSON *object, const char *path, const char *key,
                       const struct cJSON **out, struct rnn_err *err)
{
    const struct cJSON *value = json_get(object, key);
    char place[PATH_MAX_BYTES];

    if (!value)
        return missing(path, key, err);
    join(place, path, key);
    if (!cJSON_IsObject(value))
        return rnn_fail_at(err, RNN_ETYPE, place, -1, "%s: want an object", place);
    *out = value;
    return 0;
}

static int want_size(const struct cJSON *object, const char *path, const char *key, size_t max,
                     size_t *out, struct rnn_err *err)
{
    int64_t value = 0;
    int rc = json_read_int(object, path, key, 1, (int64_t)max, &value, err);

    if (rc < 0)
        return rc;
    if (value == 0)
        return missing(path, key, err);
    *out = (size_t)value;
    return 0;
}

/* One of `names`; *out is its place.  An absent key leaves *out alone if `optional`. */
static int read_choice(const struct cJSON *object, const char *path, const char *key,
                       const char *const *names, bool optional, int *out, struct rnn_err *err)
{
    char place[PATH_MAX_BYTES], list[96] = "";
    const char *value = NULL;
    size_t used = 0;
    int rc = json_read_string(object, path, key, &value, err);

    if (rc < 0)
        return rc;
    if (!value)
        return optional ? 0 : missing(path, key, err);
    for (int i = 0; names[i]; i++) {
        if (strcmp(value, names[i]) == 0) {
            *out = i;
            return 0;
        }
        if (used < sizeof list)
            used +=
                (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
    }
    join(place, path, key);
    return rnn_fail_at(err, RNN_EUNSUPPORTED, place, -1, "%s: want one of %s, found '%.32s'", place,
                       list, value);
}

/* A token id below `limit`; -1 stays where there is none. */
static int read_id(const struct cJSON *object, const char *key, size_t limit, bool wanted,
                   int64_t *out, struct rnn_err *err)
{
    int rc = json_read_int(object, "", key, 0, (int64_t)limit - 1, out, err);

    if (rc == 0 && wanted && *out < 0)
        return missing("", key, err);
    return rc;
}

static int contradiction(struct rnn_err *err, const char *path, const char *key, const char *words)
{
    char place[PATH_MAX_BYTES];

    join(place, path, key);
    return rnn_fail_at(err, RNN_ESHAPE, place, -1, "%s: %s", place, words);
}

/* ---- Parts of a stack ---- */

static int read_input(const struct cJSON *object, const char *path, struct rnn_stack_spec *stack,
                      struct rnn_err *err)
{
    static const char *const keys[] = {"kind", "size", "dim", NULL};
    const struct cJSON *input;
    char place[PATH_MAX_BYTES];
    int kind = 0, rc;

    rc = want_object(object, path, "input", &input, err);
    if (rc < 0)
        return rc;
    join(place, path, "input");
    rc = json_only(input, place, keys, err);
    if (rc == 0)
        rc = read_choice(input, place, "kind", input_names, false, &kind, err);
    if (rc == 0)
        rc = want_size(input, place, "size", RNN_INPUT_MAX, &stack->input_size, err);
    if (rc < 0)
        return rc;
    stack->input_kind = (enum rnn_input_kind)kind;
    if (stack->input_kind == RNN_INPUT_EMBEDDING)
        return want_size(input, place, "dim", RNN_HIDDEN_MAX, &stack->embedding_dim, err);
    if (json_get(input, "dim"))
        return contradiction(err, place, "dim", "only an embedding has one");
    return 0;
}

static int read_cell(const struct cJSON *rnn, const char *path, const struct rnn_cell_ops **out,
                     struct rnn_err *err)
{
    char place[PATH_MAX_BYTES], list[96] = "";
    const char *name = NULL;
    size_t used = 0;
    int rc = json_read_string(rnn, path, "cell", &name, err);

    if (rc < 0)
        return rc;
    if (!name)
        return missing(path, "cell", err);
    for (size_t i = 0; rnn_cells[i]; i++) {
        if (strcmp(name, rnn_cells[i]->name) == 0) {
            *out = rnn_cells[i];
            return 0;
        }
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
                                     rnn_cells[i]->name);
    }
    join(place, path, "cell");
    return rnn_fail_at(err, RNN_EUNSUPPORTED, place, -1, "%s: want one of %s, found '%.32s'", place,
                       list, name);
}

static void stack_layers(struct rnn_stack_spec *stack, const struct rnn_layer_spec *layer)
{
    size_t width = stack->embedding_dim ? stack->embedding_dim : stack->input_size;

    for (size_t k = 0; k < stack->n_layers; k++) {
        stack->layers[k] = *layer;
        stack->layers[k].input_width = width;
        width = rnn_layer_width(layer);
    }
}

static int read_rnn(const struct cJSON *object, const char *path, struct rnn_stack_spec *stack,
                    struct rnn_err *err)
{
    static const char *const keys[] = {"cell",          "hidden_size", "num_layers", "bias",
                                       "bidirectional", "proj_size",   NULL};
    struct rnn_layer_spec layer = {.bias = true};
    const struct cJSON *rnn;
    char place[PATH_MAX_BYTES];
    bool bidirectional = false;
    int64_t proj = 0;
    int rc;

    rc = want_object(object, path, "rnn", &rnn, err);
    if (rc < 0)
        return rc;
    join(place, path, "rnn");
    rc = json_only(rnn, place, keys, err);
    if (rc == 0)
        rc = read_cell(rnn, place, &layer.cell, err);
    if (rc == 0)
        rc = want_size(rnn, place, "hidden_size", RNN_HIDDEN_MAX, &layer.hidden, err);
    if (rc == 0)
        rc = want_size(rnn, place, "num_layers", RNN_LAYERS_MAX, &stack->n_layers, err);
    if (rc == 0)
        rc = json_read_bool(rnn, place, "bias", &layer.bias, err);
    if (rc == 0)
        rc = json_read_bool(rnn, place, "bidirectional", &bidirectional, err);
    if (rc == 0)
        rc = json_read_int(rnn, place, "proj_size", 0, RNN_HIDDEN_MAX, &proj, err);
    if (rc < 0)
        return rc;
    if (proj && !layer.cell->may_project)
        return contradiction(err, place, "proj_size", "only an lstm can have a projection");
    layer.proj = (size_t)proj;
    layer.directions = bidirectional ? 2 : 1;
    stack_layers(stack, &layer);
    return 0;
}

static int check_tied(const struct rnn_stack_spec *stack, const char *path, struct rnn_err *err)
{
    size_t width = rnn_layer_width(&stack->layers[stack->n_layers - 1]);
    char words[128];

    if (stack->input_kind != RNN_INPUT_EMBEDDING)
        return contradiction(err, path, "tied", "there is no embedding to be tied to");
    if (stack->head.size != stack->input_size) {
        snprintf(words, sizeof words, "head.size is %zu, the embedding has %zu ids",
                 stack->head.size, stack->input_size);
        return contradiction(err, path, "tied", words);
    }
    if (width != stack->embedding_dim) {
        snprintf(words, sizeof words, "the top layer gives %zu floats, the embedding's dim is %zu",
                 width, stack->embedding_dim);
        return contradiction(err, path, "tied", words);
    }
    return 0;
}

static int read_head(const struct cJSON *object, const char *path, struct rnn_stack_spec *stack,
                     struct rnn_err *err)
{
    static const char *const keys[] = {"size", "bias", "tied", "activation", NULL};
    struct rnn_head_spec *head = &stack->head;
    const struct cJSON *json;
    char place[PATH_MAX_BYTES];
    int activation = RNN_HEAD_NONE, rc;

    if (!json_get(object, "head"))
        return 0;
    rc = want_object(object, path, "head", &json, err);
    if (rc < 0)
        return rc;
    join(place, path, "head");
    head->present = true;
    head->bias = true;
    rc = json_only(json, place, keys, err);
    if (rc == 0)
        rc = want_size(json, place, "size", RNN_OUTPUT_MAX, &head->size, err);
    if (rc == 0)
        rc = json_read_bool(json, place, "bias", &head->bias, err);
    if (rc == 0)
        rc = json_read_bool(json, place, "tied", &head->tied, err);
    if (rc == 0)
        rc = read_choice(json, place, "activation", activation_names, false, &activation, err);
    if (rc < 0)
        return rc;
    head->activation = (enum rnn_head_activation)activation;
    return head->tied ? check_tied(stack, place, err) : 0;
}

static int read_stack(const struct cJSON *object, const char *path, struct rnn_stack_spec *stack,
                      struct rnn_err *err)
{
    int rc;

    if (*path)
        snprintf(stack->prefix, sizeof stack->prefix, "%s.", path);
    rc = read_input(object, path, stack, err);
    if (rc == 0)
        rc = read_rnn(object, path, stack, err);
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

static int read_many_to_one(const struct cJSON *json, struct rnn_err *err)
{
    static const char *const pools[] = {"final", NULL};
    int pool = 0;

    return read_choice(json, "", "pool", pools, true, &pool, err);
}

/* What a stack that writes tokens by itself needs. */
static int check_generator(const struct rnn_stack_spec *stack, const char *path,
                           struct rnn_err *err)
{
    if (stack->input_kind == RNN_INPUT_DENSE)
        return contradiction(err, path, "input.kind", "a decoder reads tokens");
    if (!stack->head.present)
        return contradiction(err, path, "head", "a decoder needs one");
    if (stack->head.size != stack->input_size)
        return contradiction(err, path, "head.size",
                             "a decoder reads what it writes: want input.size");
    if (stack->layers[0].directions != 1)
        return contradiction(err, path, "rnn.bidirectional", "a decoder runs forwards only");
    return 0;
}

static int read_one_to_many(const struct cJSON *json, struct model_config *config,
                            struct rnn_err *err)
{
    static const char *const bridges[] = {"tanh", NULL};
    struct rnn_spec *spec = &config->spec;
    int bridge = 0, rc;

    rc = want_size(json, "", "features", RNN_INPUT_MAX, &config->features, err);
    if (rc == 0)
        rc = read_choice(json, "", "bridge", bridges, false, &bridge, err);
    if (rc == 0)
        rc = check_generator(&spec->stacks[0], "", err);
    if (rc == 0 && spec->stacks[0].layers[0].proj)
        rc = contradiction(err, "rnn", "proj_size", "a bridge sets states without projection only");
    return rc;
}

/* An encoder or decoder; a "topology" of its own says nothing new. */
static int read_part(const struct cJSON *json, const char *name, const char *const *keys,
                     struct rnn_stack_spec *stack, struct rnn_err *err)
{
    static const char *const part_topologies[] = {"synced", NULL};
    const struct cJSON *part;
    int topology = 0, rc;

    rc = want_object(json, "", name, &part, err);
    if (rc == 0)
        rc = json_only(part, name, keys, err);
    if (rc == 0)
        rc = read_choice(part, name, "topology", part_topologies, true, &topology, err);
    return rc < 0 ? rc : read_stack(part, name, stack, err);
}

static int check_transfer(const struct rnn_stack_spec *encoder,
                          const struct rnn_stack_spec *decoder, struct rnn_err *err)
{
    const struct rnn_layer_spec *from = &encoder->layers[0], *to = &decoder->layers[0];

    if (from->cell != to->cell)
        return contradiction(err, "decoder", "rnn.cell", "differs from the encoder's");
    if (from->hidden != to->hidden || from->proj != to->proj)
        return contradiction(err, "decoder", "rnn.hidden_size",
                             "differs from the encoder's, whose state it takes over");
    if (encoder->n_layers * from->directions != decoder->n_layers)
        return contradiction(err, "decoder", "rnn.num_layers",
                             "differs from the encoder's, whose states it takes over");
    return 0;
}

static int read_seq2seq(const struct cJSON *json, struct rnn_spec *spec, struct rnn_err *err)
{
    static const char *const encoder_keys[] = {"topology", "input", "rnn", NULL};
    static const char *const decoder_keys[] = {"topology", "input", "rnn", "head", NULL};
    static const char *const transfers[] = {"copy", NULL};
    struct rnn_stack_spec *decoder = &spec->stacks[0], *encoder = &spec->stacks[1];
    int64_t source_eos = -1, max_len = 0;
    int transfer = 0, rc;

    spec->n_stacks = 2;
    rc = read_part(json, "encoder", encoder_keys, encoder, err);
    if (rc == 0)
        rc = read_part(json, "decoder", decoder_keys, decoder, err);
    if (rc == 0)
        rc = read_choice(json, "", "state_transfer", transfers, false, &transfer, err);
    if (rc == 0)
        rc = read_id(json, "source_eos", encoder->input_size, false, &source_eos, err);
    if (rc == 0)
        rc = json_read_int(json, "", "max_len", 1, INT32_MAX, &max_len, err);
    if (rc == 0)
        rc = check_generator(decoder, "decoder", err);
    return rc < 0 ? rc : check_transfer(encoder, decoder, err);
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
        return contradiction(err, "", key, "a model that reads frames has no token ids");
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
    rc = read_stack(json, "", &spec->stacks[0], err);
    if (rc == 0 && spec->topology == RNN_MANY_TO_ONE)
        rc = read_many_to_one(json, err);
    if (rc == 0 && spec->topology == RNN_ONE_TO_MANY)
        rc = read_one_to_many(json, config, err);
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
    rc = read_choice(json, "", "schema", schemas, false, &schema, err);
    if (rc == 0)
        rc = read_choice(json, "", "topology", topology_names, false, &topology, err);
    if (rc == 0)
        rc = check_top_keys(json, (enum rnn_topology)topology, err);
    if (rc == 0)
        rc = json_read_string(json, "", "name", &name, err);
    if (rc == 0)
        rc = read_choice(json, "", "dtype", dtype_names, true, &dtype, err);
    if (rc == 0 && json_get(json, "tensors"))
        rc = want_object(json, "", "tensors", &config->tensors, err);
    config->spec.topology = (enum rnn_topology)topology;
    config->spec.dtype = (enum rnn_dtype)dtype;
    config->has_dtype = json_get(json, "dtype") != NULL;
    return rc;
}

int model_config_parse(struct model_config *out, const char *text, size_t len, struct rnn_err *err)
{
    struct model_config config = {.spec = {.unk = -1, .bos = -1, .eos = -1}};
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
    static const char *const parts[] = {"embedding.", "rnn.", "head.", NULL};

    if (spec->topology == RNN_ONE_TO_MANY && begins_with(name, "bridge."))
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
