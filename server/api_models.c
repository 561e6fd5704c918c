/* GET /models and /models/{name}: what each model is. */
#include "server/api.h"

#include <string.h>

#include "server/answer.h"

static void put_field(struct buf *out, const char *name, uint64_t value)
{
    buf_printf(out, ",\"%s\":", name);
    buf_u64(out, value);
}

static void put_text_field(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, ",\"%s\":", name);
    answer_text(out, value);
}

static void put_id(struct buf *out, const char *name, int64_t id, const char *before)
{
    buf_printf(out, "%s\"%s\":", before, name);
    if (id >= 0)
        buf_i64(out, id);
    else
        buf_puts(out, "null");
}

static const char *topology_name(enum rnn_topology topology)
{
    static const char *const names[] = {[RNN_SYNCED] = "synced",
                                        [RNN_MANY_TO_ONE] = "many_to_one",
                                        [RNN_ONE_TO_MANY] = "one_to_many",
                                        [RNN_SEQ2SEQ] = "seq2seq",
                                        [RNN_REPEAT] = "repeat"};

    return names[topology];
}

static void put_texts_field(struct buf *out, const char *name, const char *const *texts)
{
    buf_printf(out, ",\"%s\":[", name);
    for (size_t i = 0; texts && texts[i]; i++) {
        if (i > 0)
            buf_putc(out, ',');
        answer_text(out, texts[i]);
    }
    buf_putc(out, ']');
}

/* What the model is good for, in a client's terms. */
static const char *task_name(const struct rnn_model_info *info)
{
    if (info->language_model)
        return "language_model";
    if (info->topology == RNN_ONE_TO_MANY || info->topology == RNN_SEQ2SEQ)
        return "sequence_to_sequence";
    if (info->activation == RNN_HEAD_MIXTURE)
        return "drawing";
    if (info->n_values > 0)
        return "regression";
    return info->activation == RNN_HEAD_SIGMOID ? "multi_label" : "classification";
}

static void put_input(struct buf *out, const struct rnn_model_info *info)
{
    static const char *const kinds[] = {[RNN_INPUT_DENSE] = "dense",
                                        [RNN_INPUT_ONEHOT] = "onehot",
                                        [RNN_INPUT_EMBEDDING] = "embedding"};

    buf_printf(out, ",\"input\":{\"kind\":\"%s\"", kinds[info->input_kind]);
    put_field(out, "size", info->input_size);
    if (info->input_kind == RNN_INPUT_EMBEDDING)
        put_field(out, "dim", info->embedding_dim);
    if (info->window > 0)
        put_field(out, "steps", info->window);
    buf_putc(out, '}');
}

static void put_output(struct buf *out, const struct rnn_model_info *info)
{
    static const char *const activations[] = {[RNN_HEAD_NONE] = "none",
                                              [RNN_HEAD_SOFTMAX] = "softmax",
                                              [RNN_HEAD_SIGMOID] = "sigmoid",
                                              [RNN_HEAD_GAUSSIAN] = "gaussian",
                                              [RNN_HEAD_MIXTURE] = "mixture"};

    buf_printf(out, ",\"output\":{\"head\":%s,\"activation\":\"%s\"",
               info->has_head ? "true" : "false", activations[info->activation]);
    put_field(out, "size", info->output_size);
    put_field(out, "hidden_width", info->hidden_width);
    if (info->repeat > 0)
        put_field(out, "steps", info->repeat);
    if (info->n_values > 0)
        put_field(out, "values", info->n_values);
    if (info->components > 0) {
        put_field(out, "components", info->components);
        put_field(out, "pen", info->pen);
    }
    buf_putc(out, '}');
    if (!info->labels)
        return;
    buf_puts(out, ",\"labels\":[");
    for (size_t i = 0; i < info->output_size; i++) {
        if (i > 0)
            buf_putc(out, ',');
        answer_text(out, info->labels[i]);
    }
    buf_putc(out, ']');
}

static void put_version(struct buf *out, const struct model_entry *entry, bool current)
{
    const struct rnn_model_info *info = rnn_model_info(entry->model);

    buf_puts(out, "{\"fingerprint\":");
    answer_text(out, info->fingerprint);
    buf_printf(out, ",\"current\":%s", current ? "true" : "false");
    put_field(out, "sessions", entry->n_sessions);
    put_field(out, "weight_bytes", info->weight_bytes);
    buf_puts(out, ",\"loaded_at\":");
    answer_time(out, entry->loaded_unix_ms);
    buf_putc(out, '}');
}

/* The versions before it that sessions stand on. */
struct older {
    struct model_entry *entries;
    size_t n;
};

static void put_versions(struct buf *out, const struct model_entry *entry,
                         const struct older *older)
{
    buf_puts(out, ",\"versions\":[");
    put_version(out, entry, true);
    for (size_t i = 0; i < older->n; i++)
        if (strcmp(older->entries[i].name, entry->name) == 0) {
            buf_putc(out, ',');
            put_version(out, &older->entries[i], false);
        }
    buf_putc(out, ']');
}

static void put_model(struct buf *out, const struct model_entry *entry, const struct older *older,
                      const struct server *server)
{
    const struct rnn_model_info *info = rnn_model_info(entry->model);
    const struct config *config = atomic_load_explicit(&server->config, memory_order_acquire);
    size_t footprint = session_footprint(entry->model, api_window_preset(info, config));

    buf_puts(out, "{\"name\":");
    answer_text(out, entry->name);
    put_text_field(out, "task", task_name(info));
    put_text_field(out, "topology", topology_name(info->topology));
    put_text_field(out, "cell", info->cell);
    put_field(out, "layers", info->layers);
    put_field(out, "hidden_size", info->hidden_size);
    put_field(out, "proj_size", info->proj_size);
    buf_printf(out, ",\"bidirectional\":%s", info->bidirectional ? "true" : "false");
    put_input(out, info);
    put_output(out, info);
    put_text_field(out, "tokenizer", info->tokenizer);
    put_text_field(out, "source_tokenizer", info->source_tokenizer);
    put_id(out, "unk", info->unk, ",\"special_tokens\":{");
    put_id(out, "bos", info->bos, ",");
    put_id(out, "eos", info->eos, ",");
    buf_putc(out, '}');
    put_field(out, "parameters", info->parameters);
    put_field(out, "state_bytes", info->state_bytes);
    put_field(out, "session_bytes", footprint);
    put_field(out, "sessions_in_memory", session_budget(server) / footprint);
    put_texts_field(out, "initial_states", info->initial_states);
    put_field(out, "weight_bytes", info->weight_bytes);
    put_field(out, "table_bytes", info->table_bytes);
    put_text_field(out, "dtype", info->dtype);
    put_text_field(out, "fingerprint", info->fingerprint);
    buf_puts(out, ",\"load_seconds\":");
    buf_f64(out, entry->load_seconds);
    buf_puts(out, ",\"loaded_at\":");
    answer_time(out, entry->loaded_unix_ms);
    put_field(out, "sessions", entry->n_sessions);
    put_versions(out, entry, older);
    buf_puts(out, ",\"metrics\":");
    buf_puts(out, info->metrics_json ? info->metrics_json : "null");
    buf_putc(out, '}');
}

static bool is_served(const struct model_entry *entries, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(entries[i].name, name) == 0)
            return true;
    return false;
}

/* Of names that are not served any more. */
static void put_unloaded(struct buf *out, const struct model_entry *entries, size_t n,
                         const struct older *older)
{
    bool first = true;

    buf_puts(out, ",\"unloaded\":[");
    for (size_t i = 0; i < older->n; i++) {
        if (is_served(entries, n, older->entries[i].name))
            continue;
        buf_puts(out, first ? "{\"name\":" : ",{\"name\":");
        answer_text(out, older->entries[i].name);
        buf_puts(out, ",\"version\":");
        put_version(out, &older->entries[i], false);
        buf_putc(out, '}');
        first = false;
    }
    buf_putc(out, ']');
}

static void put_list(struct buf *out, const struct model_entry *entries, size_t n,
                     const struct older *older, const struct server *server)
{
    buf_puts(out, "{\"models\":[");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_putc(out, ',');
        put_model(out, &entries[i], older, server);
    }
    buf_putc(out, ']');
    put_unloaded(out, entries, n, older);
    buf_putc(out, '}');
}

void api_model_list(struct request *request, const char *arg)
{
    struct models *models = request->shard->server->models;
    struct model_entry *entries = NULL;
    struct older older = {0};
    struct rnn_err err = {0};
    struct buf body = {0};
    size_t n = 0;

    (void)arg;
    if (models_list(models, &entries, &n, &err) < 0 ||
        models_list_old(models, &older.entries, &older.n, &err) < 0) {
        reply_failure(request, &err);
    } else {
        put_list(&body, entries, n, &older, request->shard->server);
        reply_json(request, 200, &body);
        models_list_free(older.entries, older.n);
    }
    models_list_free(entries, n);
}

void api_model_get(struct request *request, const char *arg)
{
    struct model_entry entry;
    struct older older = {0};
    struct rnn_err err = {0};
    struct buf body = {0};

    if (!api_model(request, arg, &entry))
        return;
    if (models_list_old(request->shard->server->models, &older.entries, &older.n, &err) < 0) {
        reply_failure(request, &err);
    } else {
        put_model(&body, &entry, &older, request->shard->server);
        reply_json(request, 200, &body);
        models_list_free(older.entries, older.n);
    }
    rnn_model_unref(entry.model);
}
