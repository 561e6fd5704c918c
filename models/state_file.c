/* States to safetensors and back.
 *
 * What comes back may come from anybody: the container is checked by safetensors.c, and here its
 * metadata, the name and shape of every tensor, each number, and the checksum.  Numbers are copied
 * as bits, so that a state that was out and in again continues with the same bytes.  Denormals,
 * which no step leaves behind and every step takes for zero, become zero.  Any thread. */
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
#define POSITION_MAX ((uint64_t)1 << 62)

enum { DIGEST_BYTES = 32, DIGEST_TEXT = 2 * DIGEST_BYTES + 1, HEADER_ALIGN = 8 };

/* The state's own metadata: what stands between the format and the checksum. */
struct facts {
    const char *fingerprint;
    uint64_t position, seed, draws, stream;
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

static size_t data_bytes(const struct rnn_state_part *parts, size_t n)
{
    size_t floats = 0;

    for (size_t i = 0; i < n; i++)
        floats += parts[i].size;
    return floats * sizeof(float);
}

/* ---- Writing ---- */

static void put_number(struct buf *out, const char *key, uint64_t value)
{
    buf_printf(out, ",\"%s\":\"%" PRIu64 "\"", key, value);
}

static void put_header(struct buf *out, const struct rnn_model *model, const struct facts *facts,
                       const char *sum)
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
    buf_printf(out, ",\"checksum\":\"%s\"}", sum);
    for (size_t i = 0; i < n; i++) {
        size_t bytes = parts[i].size * sizeof(float);
        char part[RNN_PART_NAME_MAX];

        rnn_state_part_name(&parts[i], part);
        buf_printf(out, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}",
                   part, parts[i].size, at, at + bytes);
        at += bytes;
    }
    buf_putc(out, '}');
    while (out->len % HEADER_ALIGN != 0 && !out->failed)
        buf_putc(out, ' ');
}

static void put_data(struct buf *out, const struct rnn_model *model, const struct rnn_state *state)
{
    size_t n;
    const struct rnn_state_part *parts = rnn_state_parts(model, &n);

    for (size_t i = 0; i < n; i++)
        buf_put(out, state->memory + parts[i].offset, parts[i].size * sizeof(float));
}

static int write_state(const struct rnn_model *model, const struct rnn_state *state,
                       struct buf *out, struct rnn_err *err)
{
    struct facts facts = {.fingerprint = rnn_model_info(model)->fingerprint,
                          .position = state->position,
                          .seed = state->rng.seed,
                          .draws = state->rng.counter,
                          .stream = state->rng.stream};
    struct buf header = {0}, data = {0};
    char sum[DIGEST_TEXT];
    int rc = 0;

    put_data(&data, model, state);
    if (!data.failed && !checksum(&facts, data.data, data.len, sum))
        rc = rnn_fail(err, RNN_EIO, "the checksum could not be computed");
    if (rc == 0) {
        uint64_t len;

        put_header(&header, model, &facts, sum);
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
    return rc == 0 ? read_number(file, "stream", UINT32_MAX, &facts->stream, err) : rc;
}

static int check_model(const struct facts *facts, const struct safetensors *file,
                       const struct rnn_model *model, struct rnn_err *err)
{
    const struct rnn_model_info *info = rnn_model_info(model);
    const char *name = metadata(file, "model");

    if (strcmp(facts->fingerprint, info->fingerprint) == 0)
        return 0;
    if (name && strcmp(name, info->name) != 0)
        return rnn_fail_at(err, RNN_ESHAPE, "model", -1,
                           "the state is of model '%.64s', not of '%.64s'", name, info->name);
    return rnn_fail_at(err, RNN_ESHAPE, "fingerprint", -1,
                       "the state is of other weights: fingerprint %.16s…, the model has %.16s…",
                       facts->fingerprint, info->fingerprint);
}

static int check_part(const struct safetensors_entry *entry, const struct rnn_state_part *part,
                      const char *name, struct rnn_err *err)
{
    if (!entry)
        return rnn_fail_at(err, RNN_EFORMAT, name, -1, "tensor %s: is missing", name);
    if (strcmp(entry->dtype, "F32") != 0 || entry->rank != 1 || entry->shape[0] != part->size)
        return rnn_fail_at(err, RNN_EFORMAT, name, -1, "tensor %s: want F32 [%zu]", name,
                           part->size);
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

    if (safetensors_count(file) != n)
        return rnn_fail(err, RNN_EFORMAT, "%zu tensors, the model's state has %zu",
                        safetensors_count(file), n);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        const struct safetensors_entry *entry;

        rnn_state_part_name(&parts[i], name);
        entry = safetensors_find(file, name);
        rc = check_part(entry, &parts[i], name, err);
        if (rc == 0)
            rc = copy_part(entry, name, state->memory + parts[i].offset, err);
    }
    return rc;
}

/* Of the data as it stands in the file, in the file's own order. */
static int check_sum(const struct safetensors *file, const struct facts *facts, const char *end,
                     size_t bytes, struct rnn_err *err)
{
    const char *wanted = metadata(file, "checksum");
    char sum[DIGEST_TEXT];

    if (!checksum(facts, end - bytes, bytes, sum))
        return rnn_fail(err, RNN_EIO, "the checksum could not be computed");
    if (!wanted || strcmp(wanted, sum) != 0)
        return rnn_fail_at(err, RNN_EFORMAT, "checksum", -1,
                           wanted ? "the checksum does not fit: the state is damaged"
                                  : "metadata checksum: is missing");
    return 0;
}

static int read_file(const struct safetensors *file, const struct rnn_model *model, const char *end,
                     struct rnn_state *state, struct rnn_err *err)
{
    struct facts facts = {0};
    size_t n;
    const struct rnn_state_part *parts = rnn_state_parts(model, &n);
    int rc = read_facts(&facts, file, err);

    if (rc == 0)
        rc = check_model(&facts, file, model, err);
    if (rc == 0)
        rc = read_parts(file, model, state, err);
    if (rc == 0)
        rc = check_sum(file, &facts, end, data_bytes(parts, n), err);
    state->position = facts.position;
    state->rng = (struct rnn_rng){
        .seed = facts.seed, .counter = facts.draws, .stream = (uint32_t)facts.stream};
    return rc;
}

static int read_state(const struct rnn_model *model, const void *bytes, size_t len,
                      struct rnn_state *out, struct rnn_err *err)
{
    size_t size = rnn_model_info(model)->state_bytes;
    struct rnn_state *state;
    struct safetensors *file;
    int rc = safetensors_parse(&file, bytes, len, err);

    if (rc < 0)
        return rc;
    state = calloc(1, size);
    rc = state ? read_file(file, model, (const char *)bytes + len, state, err)
               : rnn_fail(err, RNN_ENOMEM, "out of memory");
    if (rc == 0)
        memcpy(out, state, size);
    if (state)
        explicit_bzero(state, size);
    free(state);
    safetensors_free(file);
    return rc;
}

const struct rnn_state_format state_file = {.write = write_state, .read = read_state};
