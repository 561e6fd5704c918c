/* Replay: feeding, comparing, counting.  See replay.h. */
#include "models/replay.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double rtol = 1e-5;
static const double atol_default = 1e-5;

const char *replay_kind_name(enum replay_kind kind)
{
    static const char *const names[REPLAY_KINDS] = {"output", "logits", "probs", "logprobs",
                                                    "h_n",    "c_n",    "ids",   "text"};

    return names[kind];
}

int replay_init(struct replay *replay, struct rnn_model *model, struct rnn_err *err)
{
    const struct rnn_model_info *info = rnn_model_info(model);
    int rc;

    *replay = (struct replay){.model = model, .info = info, .err = err};
    for (enum replay_kind kind = 0; kind < REPLAY_KINDS; kind++)
        replay->tally[kind].atol = atol_default;
    replay->state = calloc(1, info->state_bytes);
    replay->logits = calloc(info->output_size, sizeof(float));
    replay->probs = calloc(info->output_size, sizeof(float));
    replay->hidden = calloc(info->hidden_width, sizeof(float));
    if (info->input_kind == RNN_INPUT_DENSE)
        replay->frame = calloc(info->input_size, sizeof(float));
    if (!replay->state || !replay->logits || !replay->probs || !replay->hidden ||
        (info->input_kind == RNN_INPUT_DENSE && !replay->frame))
        rc = rnn_fail(err, RNN_ENOMEM, "out of memory");
    else
        rc = rnn_scratch_new(&replay->scratch, model, 1, err);
    if (rc < 0)
        replay_deinit(replay);
    return rc;
}

void replay_deinit(struct replay *replay)
{
    rnn_scratch_free(replay->scratch);
    free(replay->state);
    free(replay->logits);
    free(replay->probs);
    free(replay->hidden);
    free(replay->frame);
    *replay = (struct replay){0};
}

void replay_at(struct replay *replay, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(replay->place, sizeof replay->place, format, args);
    va_end(args);
}

int replay_fault(struct replay *replay, const char *what)
{
    return rnn_fail_at(replay->err, RNN_EFORMAT, replay->place, -1, "%s: %s", replay->place, what);
}

/* ---- Running ---- */

void replay_reset(struct replay *replay)
{
    rnn_state_init(replay->model, replay->state, 0);
}

static void step(struct replay *replay, struct rnn_row row)
{
    row.state = replay->state;
    row.logits = replay->logits;
    row.hidden = replay->hidden;
    rnn_step(replay->model, replay->scratch, &row, 1);
}

void replay_feed_token(struct replay *replay, uint32_t id)
{
    step(replay, (struct rnn_row){.input = RNN_ROW_TOKEN, .token = id});
}

static bool to_float(const struct cJSON *number, float *out)
{
    if (!cJSON_IsNumber(number) || !isfinite((float)number->valuedouble))
        return false;
    *out = (float)number->valuedouble;
    return true;
}

/* Reads exactly n numbers. */
static bool to_floats(const struct cJSON *array, float *out, size_t n)
{
    const struct cJSON *item;
    size_t i = 0;

    if (!cJSON_IsArray(array))
        return false;
    for (item = array->child; item && i < n; item = item->next, i++)
        if (!to_float(item, &out[i]))
            return false;
    return i == n && !item;
}

int replay_feed(struct replay *replay, const struct cJSON *input)
{
    if (replay->info->input_kind == RNN_INPUT_DENSE) {
        if (!to_floats(input, replay->frame, replay->info->input_size))
            return replay_fault(replay, "an input is no frame of the model's width");
        step(replay, (struct rnn_row){.input = RNN_ROW_FRAME, .frame = replay->frame});
        return 0;
    }
    if (!cJSON_IsNumber(input) || input->valuedouble < 0 ||
        input->valuedouble >= (double)replay->info->input_size)
        return replay_fault(replay, "an input is no token id of the model");
    replay_feed_token(replay, (uint32_t)input->valuedouble);
    return 0;
}

/* ---- Comparing ---- */

static void note_first(struct replay *replay, enum replay_kind kind, size_t index, double got,
                       double want)
{
    if (replay->first.code)
        return;
    rnn_fail_at(&replay->first, RNN_ERANGE, replay->place, -1,
                "golden.json: %s: %s[%zu] is %.9g, want %.9g", replay->place,
                replay_kind_name(kind), index, got, want);
}

static void compare(struct replay *replay, enum replay_kind kind, size_t index, double got,
                    double want)
{
    struct replay_tally *tally = &replay->tally[kind];
    double off = fabs(got - want), excess = off / (tally->atol + rtol * fabs(want));

    tally->n++;
    if (!(off <= tally->worst)) /* a NaN is the worst of all */
        tally->worst = off;
    if (!(excess <= tally->excess))
        tally->excess = excess;
    if (!(excess <= 1)) {
        tally->n_off++;
        note_first(replay, kind, index, got, want);
    }
}

int replay_compare(struct replay *replay, enum replay_kind kind, const float *got, size_t n,
                   const struct cJSON *want)
{
    const struct cJSON *item;
    size_t i = 0;

    if (!want)
        return 0;
    if (!cJSON_IsArray(want))
        return replay_fault(replay, "want an array of numbers");
    for (item = want->child; item && i < n; item = item->next, i++) {
        if (!cJSON_IsNumber(item))
            return replay_fault(replay, "want an array of numbers");
        compare(replay, kind, i, (double)got[i], item->valuedouble);
    }
    if (i != n || item)
        return replay_fault(replay, "has not as many numbers as the model gives");
    return 0;
}

int replay_compare_one(struct replay *replay, enum replay_kind kind, double got,
                       const struct cJSON *want)
{
    if (!cJSON_IsNumber(want))
        return replay_fault(replay, "want a number");
    compare(replay, kind, 0, got, want->valuedouble);
    return 0;
}

void replay_compare_ids(struct replay *replay, int64_t got, int64_t want)
{
    struct replay_tally *tally = &replay->tally[REPLAY_IDS];

    if (got != want) {
        tally->n_off++;
        tally->worst = tally->excess = INFINITY;
        note_first(replay, REPLAY_IDS, tally->n, (double)got, (double)want);
    }
    tally->n++;
}

void replay_compare_text(struct replay *replay, const char *got, size_t len, const char *want)
{
    struct replay_tally *tally = &replay->tally[REPLAY_TEXT];

    tally->n++;
    if (strlen(want) == len && memcmp(got, want, len) == 0)
        return;
    tally->n_off++;
    tally->worst = tally->excess = INFINITY;
    if (!replay->first.code)
        rnn_fail_at(&replay->first, RNN_ERANGE, replay->place, -1,
                    "golden.json: %s: the text differs from the expected one", replay->place);
}

/* ---- States ---- */

/* The array in `values` of one part. */
static const struct cJSON *part_values(const struct cJSON *values, unsigned layer, int sequence)
{
    const struct cJSON *item = cJSON_GetArrayItem(values, (int)layer);

    return sequence < 0 ? item : cJSON_GetArrayItem(item, sequence);
}

int replay_compare_state(struct replay *replay, enum replay_kind kind, const struct cJSON *want,
                         int sequence)
{
    size_t n;
    const struct rnn_state_part *parts = rnn_state_parts(replay->model, &n);

    if (!want)
        return 0;
    for (size_t i = 0; i < n; i++) {
        const struct cJSON *values;
        int rc;

        if ((parts[i].kind[0] == 'c') != (kind == REPLAY_C))
            continue;
        values = part_values(want, parts[i].layer, sequence);
        if (!values)
            return replay_fault(replay, "a state is missing");
        rc = replay_compare(replay, kind, replay->state->memory + parts[i].offset, parts[i].size,
                            values);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int replay_set_state(struct replay *replay, enum replay_kind kind, const struct cJSON *from,
                     int sequence)
{
    size_t n;
    const struct rnn_state_part *parts = rnn_state_parts(replay->model, &n);

    if (!from)
        return 0;
    for (size_t i = 0; i < n; i++) {
        if ((parts[i].kind[0] == 'c') != (kind == REPLAY_C))
            continue;
        if (!to_floats(part_values(from, parts[i].layer, sequence),
                       replay->state->memory + parts[i].offset, parts[i].size))
            return replay_fault(replay, "an initial state is missing or of the wrong size");
    }
    return 0;
}

/* ---- Text ---- */

int replay_encode(struct replay *replay, const char *text, uint32_t **ids, size_t *n)
{
    struct rnn_encoder encoder = {0};
    size_t len = strlen(text);
    uint32_t *list;
    int rc;

    if (!replay->info->tokenizer)
        return replay_fault(replay, "a text, but the folder has no vocab.json");
    list = malloc((len + 1) * sizeof *list);
    if (!list)
        return rnn_fail(replay->err, RNN_ENOMEM, "out of memory");
    rc = rnn_encode(replay->model, &encoder, text, len, true, list, n, replay->err);
    if (rc < 0) {
        rnn_err_prefix(replay->err, "%s: ", replay->place);
        free(list);
        return rc;
    }
    *ids = list;
    return 0;
}

void replay_decode(struct replay *replay, const struct cJSON *ids, struct buf *out)
{
    struct rnn_decoder decoder = {0};
    const struct cJSON *id;

    cJSON_ArrayForEach(id, ids)
    {
        const char *text;
        size_t len;

        if (!cJSON_IsNumber(id) || id->valuedouble < 0 ||
            id->valuedouble >= (double)replay->info->input_size)
            continue;
        len = rnn_decode(replay->model, &decoder, (uint32_t)id->valuedouble, &text);
        buf_put(out, text, len);
    }
}
