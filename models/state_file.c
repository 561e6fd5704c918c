/* States to safetensors and back.
 *
 * What comes back may come from anybody: the container is checked by safetensors.c, and here its
 * metadata, the name and shape of every tensor, each number, and the checksum.  Numbers are copied
 * as bits, so that a state that was out and in again continues with the same bytes.  Denormals,
 * which no step leaves behind and every step takes for zero, become zero.  Recent tokens are two
 * tensors behind the parts, in types that every reader of safetensors knows.  Any thread. */
#include "models/state_file.h"

#include <gnutls/gnutls.h>
#include <gnutls/crypto.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "core/rnn.h"
#include "models/safetensors.h"

#define FORMAT       "rnnd-state-1"
#define TOKENS       "sampler.tokens" /* I32 [n], the oldest first */
#define DRAWN        "sampler.drawn"  /* BOOL [n] */
#define POSITION_MAX ((uint64_t)1 << 62)

enum { DIGEST_BYTES = 32, DIGEST_TEXT = 2 * DIGEST_BYTES + 1, HEADER_ALIGN = 8 };

/* The state's own metadata: what stands between the format and the checksum. */
struct facts {
    const char *fingerprint;
    uint64_t position, seed, draws, stream;
    uint64_t window; /* "penalty_memory"; 0: it is not there */
};

/* False where the library fails. */
static bool checksum(const struct facts *facts, const void *data, size_t len, char out[DIGEST_TEXT])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char digest[DIGEST_BYTES];
    gnutls_hash_hd_t hash;
    char head[256];
    int n = snprintf(head, sizeof head,
                     FORMAT "\n%.64s\n%" PRIu64 "\n%" PRIu64 "\n%" PRIu64 "\n%" PRIu64 "\n",
                     facts->fingerprint, facts->position, facts->seed, facts->draws, facts->stream);

    if (facts->window > 0)
        n += snprintf(head + n, sizeof head - (size_t)n, "%" PRIu64 "\n", facts->window);
    if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) != 0)
        return false;
    if (gnutls_hash(hash, head, (size_t)n) != 0 || gnutls_hash(hash, data, len) != 0) {
        gnutls_hash_deinit(hash, NULL);
        return false;
    }
    gnutls_hash_deinit(hash, digest);
    for (size_t i = 0; i < sizeof digest; i++) {
        out[2 * i] = hex[digest[i] >> 4];
        out[2 * i + 1] = hex[digest[i] & 15];
    }
    out[DIGEST_TEXT - 1] = '\0';
    return true;
}

/* ---- Writing ---- */

static void put_number(struct buf *out, const char *key, uint64_t value)
{
    buf_printf(out, ",\"%s\":\"%" PRIu64 "\"", key, value);
}

static void put_tensor(struct buf *out, const char *name, const char *dtype, size_t n, size_t size,
                       size_t *at)
{
    buf_printf(out, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}", name,
               dtype, n, *at, *at + n * size);
    *at += n * size;
}

static void put_header(struct buf *out, const struct rnn_model *model, const struct facts *facts,
                       size_t n_recent, const char *sum)
{
    const char *name = rnn_model_info(model)->name;
    size_t n, at = 0;
    const struct rnn_state_part *parts = rnn_state_parts(model, &n);

    buf_puts(out, "{\"__metadata__\":{\"format\":\"" FORMAT "\",\"model\":");
    buf_json_string(out, name, strlen(name));
    buf_printf(out, ",\"fingerprint\":\"%s\"", facts->fingerprint);
    put_number(out, "position", facts->position);
    put_number(out, "seed", facts->seed);
    put_number(out, "draws", facts->draws);
    put_number(out, "stream", facts->stream);
    if (facts->window > 0)
        put_number(out, "penalty_memory", facts->window);
    buf_printf(out, ",\"checksum\":\"%s\"}", sum);
    for (size_t i = 0; i < n; i++) {
        char part[RNN_PART_NAME_MAX];

        rnn_state_part_name(&parts[i], part);
        put_tensor(out, part, "F32", parts[i].size, sizeof(float), &at);
    }
    if (facts->window > 0) {
        put_tensor(out, TOKENS, "I32", n_recent, sizeof(int32_t), &at);
        put_tensor(out, DRAWN, "BOOL", n_recent, 1, &at);
    }
    buf_putc(out, '}');
    while (out->len % HEADER_ALIGN != 0 && !out->failed)
        buf_putc(out, ' ');
}

static void put_data(struct buf *out, const struct rnn_model *model, const struct rnn_state *state,
                     const struct rnn_recent *recent)
{
    size_t n, n_recent = rnn_recent_count(recent);
    const struct rnn_state_part *parts = rnn_state_parts(model, &n);
    bool drawn;

    for (size_t i = 0; i < n; i++)
        buf_put(out, state->memory + parts[i].offset, parts[i].size * sizeof(float));
    for (size_t i = 0; i < n_recent; i++) {
        uint32_t token = rnn_recent_at(recent, i, &drawn);

        buf_put(out, &token, sizeof token);
    }
    for (size_t i = 0; i < n_recent; i++) {
        (void)rnn_recent_at(recent, i, &drawn);
        buf_putc(out, drawn);
    }
}

static int write_state(const struct rnn_model *model, const struct rnn_state *state, size_t bytes,
                       struct buf *out, struct rnn_err *err)
{
    const struct rnn_recent *recent = rnn_state_recent(model, state, bytes);
    struct facts facts = {.fingerprint = rnn_model_info(model)->fingerprint,
                          .position = state->position,
                          .seed = state->rng.seed,
                          .draws = state->rng.counter,
                          .stream = state->rng.stream};
    struct buf header = {0}, data = {0};
    char sum[DIGEST_TEXT];
    size_t window;
    int rc = 0;

    if (!rnn_state_window(model, bytes, &window))
        return rnn_fail(err, RNN_ESHAPE, "no state of the model has %zu bytes", bytes);
    facts.window = window;
    put_data(&data, model, state, recent);
    if (!data.failed && !checksum(&facts, data.data, data.len, sum))
        rc = rnn_fail(err, RNN_EIO, "the checksum could not be computed");
    if (rc == 0) {
        uint64_t len;

        put_header(&header, model, &facts, rnn_recent_count(recent), sum);
        len = header.len;
        buf_put(out, &len, sizeof len);
        buf_put(out, header.data, header.len);
        buf_put(out, data.data, data.len);
        if (header.failed || data.failed || out->failed)
            rc = rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    buf_free(&header);
    buf_free(&data);
    return rc;
}

/* ---- Reading ---- */

/* The metadata of that key, or NULL. */
static const char *metadata(const struct safetensors *file, const char *wanted)
{
    const char *key, *value;

    for (size_t i = 0; safetensors_metadata(file, i, &key, &value); i++)
        if (strcmp(key, wanted) == 0)
            return value;
    return NULL;
}

static int read_number(const struct safetensors *file, const char *key, uint64_t max, uint64_t *out,
                       struct rnn_err *err)
{
    const char *text = metadata(file, key);
    uint64_t value = 0;

    for (size_t i = 0; text && text[i]; i++) {
        unsigned digit = (unsigned)text[i] - '0';

        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value)) {
            text = NULL;
            break;
        }
    }
    if (!text || !*text || value > max)
        return rnn_fail_at(err, RNN_EFORMAT, key, -1,
                           "metadata %s: want a whole number up to %" PRIu64 " as a string", key,
                           max);
    *out = value;
    return 0;
}

static int read_facts(struct facts *facts, const struct safetensors *file, struct rnn_err *err)
{
    const char *format = metadata(file, "format");
    int rc;

    facts->fingerprint = metadata(file, "fingerprint");
    if (!format || strcmp(format, FORMAT) != 0)
        return rnn_fail_at(err, RNN_EFORMAT, "format", -1,
                           "metadata format: want \"" FORMAT "\", which the file is not");
    if (!facts->fingerprint)
        return rnn_fail_at(err, RNN_EFORMAT, "fingerprint", -1, "metadata fingerprint: is missing");
    rc = read_number(file, "position", POSITION_MAX, &facts->position, err);
    if (rc == 0)
        rc = read_number(file, "seed", UINT64_MAX, &facts->seed, err);
    if (rc == 0)
        rc = read_number(file, "draws", UINT64_MAX, &facts->draws, err);
    if (rc == 0)
        rc = read_number(file, "stream", UINT32_MAX, &facts->stream, err);
    if (rc < 0 || !metadata(file, "penalty_memory"))
        return rc;
    rc = read_number(file, "penalty_memory", RNN_RECENT_MAX, &facts->window, err);
    return rc == 0 && facts->window == 0
               ? rnn_fail_at(err, RNN_EFORMAT, "penalty_memory", -1,
                             "metadata penalty_memory: want 1 or more, or none")
               : rc;
}

static int check_model(const struct facts *facts, const struct safetensors *file,
                       const struct rnn_model *model, struct rnn_err *err)
{
    const struct rnn_model_info *info = rnn_model_info(model);
    const char *name = metadata(file, "model");

    if (strcmp(facts->fingerprint, info->fingerprint) == 0)
        return facts->window == 0 || info->language_model
                   ? 0
                   : rnn_fail_at(err, RNN_EFORMAT, "penalty_memory", -1,
                                 "metadata penalty_memory: the model is no language model");
    if (name && strcmp(name, info->name) != 0)
        return rnn_fail_at(err, RNN_ESHAPE, "model", -1,
                           "the state is of model '%.64s', not of '%.64s'", name, info->name);
    return rnn_fail_at(err, RNN_ESHAPE, "fingerprint", -1,
                       "the state is of other weights: fingerprint %.16s…, the model has %.16s…",
                       facts->fingerprint, info->fingerprint);
}

static int check_tensor(const struct safetensors_entry *entry, const char *name, const char *dtype,
                        size_t n, struct rnn_err *err)
{
    if (!entry)
        return rnn_fail_at(err, RNN_EFORMAT, name, -1, "tensor %s: is missing", name);
    if (strcmp(entry->dtype, dtype) != 0 || entry->rank != 1 || entry->shape[0] != n)
        return rnn_fail_at(err, RNN_EFORMAT, name, -1, "tensor %s: want %s [%zu]", name, dtype, n);
    return 0;
}

static int copy_part(const struct safetensors_entry *entry, const char *name, float *to,
                     struct rnn_err *err)
{
    size_t n = entry->bytes / sizeof *to;

    memcpy(to, entry->data, entry->bytes);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(to[i]))
            return rnn_fail_at(err, RNN_EFORMAT, name, -1, "tensor %s: number %zu is not finite",
                               name, i);
        if (fpclassify(to[i]) == FP_SUBNORMAL)
            to[i] = 0;
    }
    return 0;
}

static int read_parts(const struct safetensors *file, const struct rnn_model *model,
                      struct rnn_state *state, struct rnn_err *err)
{
    size_t n;
    const struct rnn_state_part *parts = rnn_state_parts(model, &n);
    char name[RNN_PART_NAME_MAX];
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        const struct safetensors_entry *entry;

        rnn_state_part_name(&parts[i], name);
        entry = safetensors_find(file, name);
        rc = check_tensor(entry, name, "F32", parts[i].size, err);
        if (rc == 0)
            rc = copy_part(entry, name, state->memory + parts[i].offset, err);
    }
    return rc;
}

static int read_recent(const struct safetensors *file, const struct rnn_model *model,
                       struct rnn_state *state, size_t bytes, struct rnn_err *err)
{
    const struct safetensors_entry *tokens = safetensors_find(file, TOKENS);
    const struct safetensors_entry *drawn = safetensors_find(file, DRAWN);
    size_t window, n, n_tokens = rnn_model_info(model)->input_size;
    int rc;

    if (!rnn_state_window(model, bytes, &window) || window == 0)
        return 0;
    n = tokens && tokens->rank == 1 && tokens->shape[0] < window ? tokens->shape[0] : window;
    rc = check_tensor(tokens, TOKENS, "I32", n, err);
    if (rc == 0)
        rc = check_tensor(drawn, DRAWN, "BOOL", n, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        const unsigned char *mark = (const unsigned char *)drawn->data + i;
        uint32_t token;

        memcpy(&token, (const char *)tokens->data + i * sizeof token, sizeof token);
        if (token >= n_tokens)
            rc =
                rnn_fail_at(err, RNN_EFORMAT, TOKENS, -1,
                            "tensor " TOKENS ": number %zu is no token of the model, which has %zu",
                            i, n_tokens);
        else if (*mark > 1)
            rc = rnn_fail_at(err, RNN_EFORMAT, DRAWN, -1,
                             "tensor " DRAWN ": number %zu is neither 0 nor 1", i);
        else
            rnn_state_remember(model, state, bytes, token, *mark);
    }
    return rc;
}

static int check_count(const struct safetensors *file, const struct rnn_model *model,
                       const struct facts *facts, struct rnn_err *err)
{
    size_t n;

    (void)rnn_state_parts(model, &n);
    n += facts->window > 0 ? 2 : 0;
    if (safetensors_count(file) == n)
        return 0;
    return rnn_fail(err, RNN_EFORMAT, "%zu tensors, the model's state has %zu",
                    safetensors_count(file), n);
}

/* Of the data as it stands in the file, in the file's own order. */
static int check_sum(const struct safetensors *file, const struct facts *facts, const char *end,
                     struct rnn_err *err)
{
    const char *wanted = metadata(file, "checksum");
    char sum[DIGEST_TEXT];
    size_t bytes = 0;

    for (size_t i = 0; i < safetensors_count(file); i++)
        bytes += safetensors_at(file, i)->bytes;
    if (!checksum(facts, end - bytes, bytes, sum))
        return rnn_fail(err, RNN_EIO, "the checksum could not be computed");
    if (!wanted || strcmp(wanted, sum) != 0)
        return rnn_fail_at(err, RNN_EFORMAT, "checksum", -1,
                           wanted ? "the checksum does not fit: the state is damaged"
                                  : "metadata checksum: is missing");
    return 0;
}

static int read_file(const struct safetensors *file, const struct rnn_model *model, const char *end,
                     const struct facts *facts, struct rnn_state *state, struct rnn_err *err)
{
    size_t bytes = rnn_state_bytes(model, facts->window);
    int rc = read_parts(file, model, state, err);

    rnn_state_forget(model, state, bytes);
    if (rc == 0)
        rc = read_recent(file, model, state, bytes, err);
    if (rc == 0)
        rc = check_sum(file, facts, end, err);
    state->position = facts->position;
    state->rng = (struct rnn_rng){
        .seed = facts->seed, .counter = facts->draws, .stream = (uint32_t)facts->stream};
    return rc;
}

/* Its metadata and its tensors by number, before there is memory for what they say. */
static int check_file(const struct safetensors *file, const struct rnn_model *model,
                      struct facts *facts, struct rnn_err *err)
{
    int rc = read_facts(facts, file, err);

    if (rc == 0)
        rc = check_model(facts, file, model, err);
    return rc == 0 ? check_count(file, model, facts, err) : rc;
}

static int read_state(const struct rnn_model *model, const void *bytes, size_t len,
                      struct rnn_state **out, size_t *out_bytes, struct rnn_err *err)
{
    struct rnn_state *state = NULL;
    struct safetensors *file;
    struct facts facts = {0};
    size_t size = 0;
    int rc = safetensors_parse(&file, bytes, len, err);

    if (rc < 0)
        return rc;
    rc = check_file(file, model, &facts, err);
    if (rc == 0) {
        size = rnn_state_bytes(model, facts.window);
        state = calloc(1, size);
        rc = state ? read_file(file, model, (const char *)bytes + len, &facts, state, err)
                   : rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    safetensors_free(file);
    if (rc < 0) {
        if (state)
            explicit_bzero(state, size);
        free(state);
        return rc;
    }
    *out = state;
    *out_bytes = size;
    return 0;
}

const struct rnn_state_format state_file = {.write = write_state, .read = read_state};
