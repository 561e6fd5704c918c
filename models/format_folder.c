/* A model folder as a checkpoint source.  See core/format.h for what core expects of one.
 *
 * The folder's own name is the model's name, whatever path led there.  Tensors that the config has
 * no part for ("optimizer.step") stay out of core's sight: real files carry them.  What lies in the
 * model's own name space but has no place in the shape is shown to core, which refuses it, because
 * leaving out a bias would give wrong numbers without a word.  Errors begin with the file's name
 * inside the folder.  Opened on one thread, at start or in the pool. */
#include "models/format_folder.h"

#include <dirent.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/utf8.h"
#include "core/cell.h"
#include "core/tokenizer.h"
#include "models/config_json.h"
#include "models/file.h"
#include "models/safetensors.h"
#include "models/vocab.h"

#define CONFIG_MAX_BYTES  ((size_t)1 << 22)
#define VOCAB_MAX_BYTES   ((size_t)1 << 26)
#define METRICS_MAX_BYTES ((size_t)1 << 20)
#define STATE_MAX_BYTES   ((size_t)1 << 28)
#define STATE_NAME_MAX    64
#define STATE_SUFFIX      ".safetensors"

/* A file states/NAME.safetensors. */
struct state_bytes {
    char *name;
    char *bytes;
    size_t len;
};

struct rnn_source {
    struct rnn_spec spec;
    struct safetensors *file;
    const struct safetensors_entry **tensors; /* [n_tensors], the model's own, sorted by name */
    size_t n_tensors;
    struct rnn_texts texts;
    struct state_bytes *states; /* [n_states], by name */
    size_t n_states;
};

static bool probe(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* ---- Files of the folder ---- */

/* The caller frees it; NULL: out of memory. */
static char *path_in(const char *folder, const char *file)
{
    char *path;

    return asprintf(&path, "%s/%s", folder, file) < 0 ? NULL : path;
}

/* Loads folder/file.  An absent file is an error only if `wanted`; *text stays NULL otherwise. */
static int load_text(const char *folder, const char *file, size_t max_bytes, bool wanted,
                     char **text, size_t *len, struct rnn_err *err)
{
    char *path = path_in(folder, file);
    struct rnn_err fault;
    int rc;

    if (!path)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = file_load(text, len, path, max_bytes, &fault);
    free(path);
    if (rc == RNN_ENOENT && !wanted)
        return 0;
    if (rc < 0) {
        rnn_err_prefix(&fault, "%s: ", file);
        if (err)
            *err = fault;
    }
    return rc;
}

/* The last part of the folder's true path. */
static int read_name(struct rnn_spec *spec, const char *folder, struct rnn_err *err)
{
    char *path = realpath(folder, NULL);
    const char *name;
    int rc = 0;

    if (!path)
        return rnn_fail(err, errno == ENOENT ? RNN_ENOENT : RNN_EIO, "%s: %s", folder,
                        strerror(errno));
    name = strrchr(path, '/') + 1; /* a true path begins with one */
    if (!utf8_valid(name, strlen(name), NULL))
        rc = rnn_fail(err, RNN_EFORMAT, "the folder's name is no valid UTF-8");
    else if (strlen(name) >= sizeof spec->name)
        rc = rnn_fail(err, RNN_ELIMIT, "the folder's name has %zu bytes, at most %zu are taken",
                      strlen(name), sizeof spec->name - 1);
    else
        strcpy(spec->name, name);
    free(path);
    return rc;
}

static int load_config(struct model_config *config, const char *folder, struct rnn_err *err)
{
    char *text = NULL;
    size_t len = 0;
    int rc = load_text(folder, "config.json", CONFIG_MAX_BYTES, true, &text, &len, err);

    if (rc < 0)
        return rc;
    rc = model_config_parse(config, text, len, err);
    free(text);
    if (rc < 0)
        rnn_err_prefix(err, "config.json: ");
    return rc;
}

static int load_tensors(struct safetensors **out, const char *folder, struct rnn_err *err)
{
    char *path = path_in(folder, "model.safetensors");
    int rc;

    if (!path)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = safetensors_open(out, path, err);
    free(path);
    if (rc < 0)
        rnn_err_prefix(err, "model.safetensors: ");
    return rc;
}

static int load_vocab(struct rnn_source *source, const char *folder, struct rnn_err *err)
{
    struct vocab vocab;
    char *text = NULL;
    size_t len = 0;
    int rc = load_text(folder, "vocab.json", VOCAB_MAX_BYTES, false, &text, &len, err);

    if (rc < 0 || !text)
        return rc;
    rc = vocab_parse(&vocab, text, len, err);
    free(text);
    if (rc == 0) {
        rc = vocab_check(&vocab, &source->spec, err);
        if (rc == 0)
            vocab_give(&vocab, &source->texts, &source->spec);
        vocab_free(&vocab);
    }
    if (rc < 0)
        rnn_err_prefix(err, "vocab.json: ");
    return rc;
}

static int load_metrics(struct rnn_source *source, const char *folder, struct rnn_err *err)
{
    struct cJSON *json = NULL;
    char *text = NULL;
    size_t len = 0;
    int rc = load_text(folder, "metrics.json", METRICS_MAX_BYTES, false, &text, &len, err);

    if (rc < 0 || !text)
        return rc;
    rc = json_parse(&json, text, len, 32, err);
    if (rc < 0) {
        rnn_err_prefix(err, "metrics.json: ");
        free(text);
        return rc;
    }
    json_free(json);
    source->texts.metrics_json = text;
    return 0;
}

/* ---- Initial states ---- */

static int by_code_point(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* The length of NAME where the entry is NAME.safetensors and NAME a fit name; else 0. */
static size_t state_name_len(const char *entry)
{
    size_t len = strlen(entry), suffix = sizeof STATE_SUFFIX - 1;
    size_t good = strspn(entry, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                "0123456789._-");

    if (len <= suffix || good != len || entry[0] == '.' || len - suffix > STATE_NAME_MAX ||
        strcmp(entry + len - suffix, STATE_SUFFIX) != 0)
        return 0;
    return len - suffix;
}

static int is_state(const struct dirent *entry)
{
    return state_name_len(entry->d_name) > 0;
}

static int load_state(struct rnn_source *source, const char *folder, const char *entry,
                      struct rnn_err *err)
{
    struct state_bytes *state = &source->states[source->n_states];
    char file[sizeof "states/" + STATE_NAME_MAX + sizeof STATE_SUFFIX];

    state->name = strndup(entry, state_name_len(entry));
    if (!state->name)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    snprintf(file, sizeof file, "states/%.*s" STATE_SUFFIX, STATE_NAME_MAX, state->name);
    source->n_states++;
    return load_text(folder, file, STATE_MAX_BYTES, true, &state->bytes, &state->len, err);
}

static int load_states(struct rnn_source *source, const char *folder, struct rnn_err *err)
{
    char *path = path_in(folder, "states");
    struct dirent **entries;
    int n, rc = 0;

    if (!path)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    n = scandir(path, &entries, is_state, by_code_point);
    free(path);
    if (n < 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? 0
                   : rnn_fail(err, RNN_EIO, "states: %s", strerror(errno));
    source->states = calloc((size_t)n + 1, sizeof *source->states);
    if (!source->states)
        rc = rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (int i = 0; i < n; i++) {
        if (rc == 0)
            rc = load_state(source, folder, entries[i]->d_name, err);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

/* ---- Tensors ---- */

static int by_name(const void *a, const void *b)
{
    const struct safetensors_entry *const *left = a, *const *right = b;

    return strcmp((*left)->name, (*right)->name);
}

static int check_tensor(const struct safetensors_entry *entry, const struct model_config *config,
                        struct rnn_err *err)
{
    static const char *const names[] = {
        [RNN_F32] = "F32", [RNN_F16] = "F16", [RNN_BF16] = "BF16", [RNN_F64] = "F64"};

    if (!entry->usable)
        return rnn_fail_at(err, RNN_EUNSUPPORTED, entry->name, -1,
                           "model.safetensors: %.80s: dtype %s, want F32, F16, BF16 or F64",
                           entry->name, entry->dtype);
    if (entry->rank > RNN_RANK_MAX)
        return rnn_fail_at(err, RNN_ESHAPE, entry->name, -1,
                           "model.safetensors: %.80s: %zu dimensions", entry->name, entry->rank);
    if (config->has_dtype && entry->number != config->spec.dtype)
        return rnn_fail_at(err, RNN_ESHAPE, entry->name, -1,
                           "model.safetensors: %.80s: dtype %s, config.json's dtype is %s",
                           entry->name, entry->dtype, names[config->spec.dtype]);
    return 0;
}

/* Picks the model's own tensors. */
static int collect_tensors(struct rnn_source *source, const struct model_config *config,
                           struct rnn_err *err)
{
    size_t n = safetensors_count(source->file);

    source->tensors = calloc(n + 1, sizeof *source->tensors);
    if (!source->tensors)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        const struct safetensors_entry *entry = safetensors_at(source->file, i);
        int rc;

        if (!model_config_owns_tensor(&config->spec, entry->name))
            continue;
        rc = check_tensor(entry, config, err);
        if (rc < 0)
            return rc;
        source->tensors[source->n_tensors++] = entry;
    }
    qsort(source->tensors, source->n_tensors, sizeof *source->tensors, by_name);
    if (!config->has_dtype && source->n_tensors > 0)
        source->spec.dtype = source->tensors[0]->number;
    return 0;
}

/* The list "tensors" of config.json, where it has one, against the file. */
static int check_list(const struct rnn_source *source, const struct model_config *config,
                      struct rnn_err *err)
{
    const struct cJSON *wanted = config->tensors ? config->tensors->child : NULL;

    for (; wanted; wanted = wanted->next) {
        const struct safetensors_entry *entry = safetensors_find(source->file, wanted->string);
        int rc;

        if (!entry)
            return rnn_fail_at(err, RNN_ESHAPE, wanted->string, -1,
                               "config.json: tensors.%.80s: not in model.safetensors",
                               wanted->string);
        rc = model_config_check_shape(wanted, entry->rank, entry->shape, err);
        if (rc < 0) {
            rnn_err_prefix(err, "config.json: ");
            return rc;
        }
    }
    return 0;
}

/* ---- The source ---- */

static void close_source(struct rnn_source *source)
{
    struct rnn_texts *texts;

    if (!source)
        return;
    texts = &source->texts;
    if (texts->tokenizer)
        texts->tokenizer->ops->free(texts->tokenizer);
    if (texts->source)
        texts->source->ops->free(texts->source);
    free(texts->labels);
    free(texts->metrics_json);
    for (size_t i = 0; i < source->n_states; i++) {
        free(source->states[i].name);
        free(source->states[i].bytes);
    }
    free(source->states);
    free(source->tensors);
    safetensors_free(source->file);
    free(source);
}

static int fill_source(struct rnn_source *source, const struct model_config *config,
                       const char *folder, struct rnn_err *err)
{
    int rc;

    source->spec = config->spec;
    rc = read_name(&source->spec, folder, err);
    if (rc == 0)
        rc = load_tensors(&source->file, folder, err);
    if (rc == 0)
        rc = collect_tensors(source, config, err);
    if (rc == 0)
        rc = check_list(source, config, err);
    if (rc == 0)
        rc = load_vocab(source, folder, err);
    if (rc == 0)
        rc = load_metrics(source, folder, err);
    if (rc == 0)
        rc = load_states(source, folder, err);
    return rc;
}

static int open_source(struct rnn_source **out, const char *path, struct rnn_err *err)
{
    struct rnn_source *source;
    struct model_config config;
    int rc;

    rc = load_config(&config, path, err);
    if (rc < 0)
        return rc;
    source = calloc(1, sizeof *source);
    rc = source ? fill_source(source, &config, path, err)
                : rnn_fail(err, RNN_ENOMEM, "out of memory");
    model_config_free(&config);
    if (rc < 0) {
        close_source(source);
        return rc;
    }
    *out = source;
    return 0;
}

static const struct rnn_spec *spec(const struct rnn_source *source)
{
    return &source->spec;
}

static void view(const struct safetensors_entry *entry, struct rnn_tensor *out)
{
    *out = (struct rnn_tensor){.name = entry->name,
                               .dtype = entry->number,
                               .rank = (unsigned)entry->rank,
                               .data = entry->data,
                               .bytes = entry->bytes};
    if (entry->rank)
        memcpy(out->shape, entry->shape, entry->rank * sizeof *entry->shape);
}

static size_t n_tensors(const struct rnn_source *source)
{
    return source->n_tensors;
}

static void tensor_at(const struct rnn_source *source, size_t index, struct rnn_tensor *out)
{
    view(source->tensors[index], out);
}

static bool tensor(const struct rnn_source *source, const char *name, struct rnn_tensor *out)
{
    const struct safetensors_entry *entry;

    if (!model_config_owns_tensor(&source->spec, name))
        return false;
    entry = safetensors_find(source->file, name);
    if (entry)
        view(entry, out);
    return entry != NULL;
}

static void take_texts(struct rnn_source *source, struct rnn_texts *out)
{
    *out = source->texts;
    source->texts = (struct rnn_texts){0};
}

static size_t n_states(const struct rnn_source *source)
{
    return source->n_states;
}

static void state_at(const struct rnn_source *source, size_t index, const char **name,
                     const void **bytes, size_t *len)
{
    *name = source->states[index].name;
    *bytes = source->states[index].bytes;
    *len = source->states[index].len;
}

/* ---- Fingerprint ---- */

static void put_activation(struct buf *buf, const struct rnn_activation *f)
{
    buf_printf(buf, " f%d %a %a", (int)f->kind, (double)f->alpha, (double)f->beta);
}

static void put_layer(struct buf *buf, const struct rnn_layer_spec *layer)
{
    const struct rnn_cell_settings *settings = &layer->settings;

    buf_printf(buf, "layer %d '%s' %u %zu %zu %d %d", (int)layer->kind, layer->module, layer->index,
               layer->input_width, layer->hidden, layer->bias, layer->residual);
    if (layer->kind == RNN_LAYER_RECURRENT) {
        buf_printf(buf, " %s %d %zu %u %d %d", layer->cell->name, layer->cell->resets_before,
                   layer->proj, layer->directions, (int)layer->merge, layer->learned_state);
        put_activation(buf, &settings->gate);
        put_activation(buf, &settings->candidate);
        put_activation(buf, &settings->output);
        buf_printf(buf, " %a %d %d", (double)settings->clip, settings->input_forget,
                   settings->peepholes);
    } else if (layer->kind == RNN_LAYER_DENSE) {
        put_activation(buf, &layer->activation);
    } else {
        buf_printf(buf, " %a", (double)layer->epsilon);
    }
    buf_putc(buf, '\n');
}

static void put_stack(struct buf *buf, const struct rnn_stack_spec *stack)
{
    const struct rnn_attention_spec *attention = &stack->attention;
    const struct rnn_head_spec *head = &stack->head;

    buf_printf(buf, "stack '%s' input %d %zu %zu %d layers %zu %zu\n", stack->prefix,
               (int)stack->input_kind, stack->input_size, stack->embedding_dim, stack->normalize,
               stack->n_layers, stack->n_below);
    if (stack->masks)
        buf_printf(buf, "mask %.9g\n", (double)stack->mask);
    if (stack->window)
        buf_printf(buf, "window %zu\n", stack->window);
    for (size_t k = 0; k < stack->n_layers; k++)
        put_layer(buf, &stack->layers[k]);
    buf_printf(buf, "attention %d %zu %zu %d %d %zu\n", (int)attention->kind,
               attention->memory_width, attention->size, attention->bias, attention->concat,
               attention->combine);
    buf_printf(buf, "head %d %zu %d %d %d %d %zu %u\n", head->present, head->size, head->bias,
               head->tied, (int)head->activation, head->denormalize, head->components, head->pen);
}

static void put_spec(struct buf *buf, const struct rnn_spec *spec)
{
    buf_printf(buf, "rnnd topology %d pool %d features %zu transfer %d bridge %d %d",
               (int)spec->topology, (int)spec->pool, spec->features, (int)spec->transfer,
               spec->bridge.present, spec->bridge.to_input);
    put_activation(buf, &spec->bridge.activation);
    buf_printf(buf, " bos %lld source_eos %lld\n", (long long)spec->bos,
               (long long)spec->source_eos);
    if (spec->repeat)
        buf_printf(buf, "repeat %zu\n", spec->repeat);
    for (size_t i = 0; i < spec->n_stacks; i++)
        put_stack(buf, &spec->stacks[i]);
}

static void put_tensor(struct buf *buf, const struct safetensors_entry *entry)
{
    buf_printf(buf, "tensor %s", entry->dtype);
    for (size_t i = 0; i < entry->rank; i++)
        buf_printf(buf, " %zu", entry->shape[i]);
    buf_printf(buf, " '%s'\n", entry->name);
}

static bool hash_text(gnutls_hash_hd_t hash, struct buf *buf)
{
    bool done = !buf->failed && gnutls_hash(hash, buf->data, buf->len) == 0;

    buf_clear(buf);
    return done;
}

static bool hash_source(gnutls_hash_hd_t hash, const struct rnn_source *source, struct buf *buf)
{
    put_spec(buf, &source->spec);
    if (!hash_text(hash, buf))
        return false;
    for (size_t i = 0; i < source->n_tensors; i++) {
        const struct safetensors_entry *entry = source->tensors[i];

        put_tensor(buf, entry);
        if (!hash_text(hash, buf) || gnutls_hash(hash, entry->data, entry->bytes) != 0)
            return false;
    }
    return true;
}

/* 64 zeros where the library fails: then the fingerprint tells nothing apart, and says so. */
static void fingerprint(const struct rnn_source *source, char out[65])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char digest[32] = {0};
    gnutls_hash_hd_t hash;
    struct buf buf = {0};

    if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) == 0) {
        bool done = hash_source(hash, source, &buf);

        gnutls_hash_deinit(hash, digest);
        if (!done)
            memset(digest, 0, sizeof digest);
    }
    buf_free(&buf);
    for (size_t i = 0; i < sizeof digest; i++) {
        out[2 * i] = hex[digest[i] >> 4];
        out[2 * i + 1] = hex[digest[i] & 15];
    }
    out[64] = '\0';
}

const struct rnn_format_ops format_folder = {.name = "folder",
                                             .probe = probe,
                                             .open = open_source,
                                             .close = close_source,
                                             .spec = spec,
                                             .n_tensors = n_tensors,
                                             .tensor_at = tensor_at,
                                             .tensor = tensor,
                                             .take_texts = take_texts,
                                             .n_states = n_states,
                                             .state_at = state_at,
                                             .fingerprint = fingerprint};
