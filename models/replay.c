/* Replay: feeding, comparing, counting.  See replay.h. */
#include "models/replay.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

static const double rtol = 1e-5;
static const double atol_default = 1e-5;

const char *replay_kind_name(enum replay_kind kind)
{
    static const char *const names[REPLAY_KINDS] = {
        "output", "logits", "probs", "values", "std", "logprobs", "h_n", "c_n", "ids", "text"};

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
    if (!replay->state || !replay->logits || !replay->probs || !replay->hidden)
        rc = rnn_fail(err, RNN_ENOMEM, "out of memory");
    else
        rc = rnn_scratch_new(&replay->scratch, model, 1, err);
    if (rc < 0)
        replay_deinit(replay);
    return rc;
}

/* Lets go of the walk and of what it read. */
static void end_walk(struct replay *replay)
{
    rnn_walk_free(replay->walk);
    free(replay->ids);
    free(replay->frames);
    free(replay->target);
    replay->walk = NULL;
    replay->ids = replay->target = NULL;
    replay->frames = NULL;
}

void replay_deinit(struct replay *replay)
{
    end_walk(replay);
    rnn_scratch_free(replay->scratch);
    free(replay->state);
    free(replay->logits);
    free(replay->probs);
    free(replay->hidden);
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

/* ---- Reading what a walk reads ---- */

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

int replay_read_ids(struct replay *replay, const struct cJSON *list, size_t size, uint32_t **out,
                    size_t *n)
{
    const struct cJSON *item = cJSON_IsArray(list) ? list->child : NULL;
    uint32_t *ids;
    size_t i = 0;

    if (!cJSON_IsArray(list))
        return replay_fault(replay, "want a list of token ids");
    ids = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *ids);
    if (!ids)
        return rnn_fail(replay->err, RNN_ENOMEM, "out of memory");
    for (; item; item = item->next, i++) {
        if (!cJSON_IsNumber(item) || item->valuedouble < 0 || item->valuedouble >= (double)size) {
            free(ids);
            return replay_fault(replay, "an input is no token id of the model");
        }
        ids[i] = (uint32_t)item->valuedouble;
    }
    *out = ids;
    *n = i;
    return 0;
}

static float *new_frames(struct replay *replay, size_t n)
{
    size_t width = replay->info->input_size, floats;

    return checked_mul(n + 1, width, &floats) ? calloc(floats, sizeof(float)) : NULL;
}

static int read_frames(struct replay *replay, const struct cJSON *list, size_t *n)
{
    size_t width = replay->info->input_size, i = 0;
    const struct cJSON *item;

    if (!cJSON_IsArray(list))
        return replay_fault(replay, "want a list of frames");
    replay->frames = new_frames(replay, (size_t)cJSON_GetArraySize(list));
    if (!replay->frames)
        return rnn_fail(replay->err, RNN_ENOMEM, "out of memory");
    cJSON_ArrayForEach(item, list)
    {
        if (!to_floats(item, replay->frames + i++ * width, width))
            return replay_fault(replay, "an input is no frame of the model's width");
    }
    *n = i;
    return 0;
}

/* What is fed after bos. */
static int read_target(struct replay *replay, const struct cJSON *list,
                       struct rnn_walk_input *input)
{
    int rc;

    if (!list)
        return 0;
    rc = replay_read_ids(replay, list, replay->info->decoder_size, &replay->target,
                         &input->n_target);
    if (rc < 0)
        return rc;
    if (input->n_target < 1 || replay->target[0] != replay->info->bos)
        return replay_fault(replay, "what the decoder is fed begins with bos");
    input->target = replay->target + 1;
    input->n_target--;
    return 0;
}

/* ---- Running ---- */

void replay_reset(struct replay *replay)
{
    rnn_state_init(replay->model, replay->state, 0);
}

static int begin(struct replay *replay, struct rnn_walk_input *input)
{
    int rc;

    input->tokens = replay->ids;
    input->frames = replay->frames;
    rc = rnn_walk_new(&replay->walk, replay->model, replay->state, input, replay->err);
    if (rc < 0)
        rnn_err_prefix(replay->err, "%s: ", replay->place);
    return rc;
}

int replay_begin(struct replay *replay, const struct cJSON *inputs, const struct cJSON *target,
                 bool last_only)
{
    struct rnn_walk_input input = {.last_only = last_only};
    int rc;

    end_walk(replay);
    if (replay->info->input_kind == RNN_INPUT_DENSE)
        rc = read_frames(replay, inputs, &input.n);
    else
        rc = replay_read_ids(replay, inputs, replay->info->input_size, &replay->ids, &input.n);
    if (rc == 0)
        rc = read_target(replay, target, &input);
    return rc == 0 ? begin(replay, &input) : rc;
}

int replay_begin_ids(struct replay *replay, const uint32_t *ids, size_t n)
{
    struct rnn_walk_input input = {.n = n};

    end_walk(replay);
    replay->ids = malloc((n + 1) * sizeof *ids);
    if (!replay->ids)
        return rnn_fail(replay->err, RNN_ENOMEM, "out of memory");
    memcpy(replay->ids, ids, n * sizeof *ids);
    return begin(replay, &input);
}

int replay_begin_frame(struct replay *replay, const struct cJSON *frame, const struct cJSON *target)
{
    struct rnn_walk_input input = {.n = 1};
    int rc;

    end_walk(replay);
    replay->frames = new_frames(replay, 1);
    if (!replay->frames)
        return rnn_fail(replay->err, RNN_ENOMEM, "out of memory");
    if (!to_floats(frame, replay->frames, replay->info->input_size))
        return replay_fault(replay, "an input is no frame of the model's width");
    rc = read_target(replay, target, &input);
    return rc == 0 ? begin(replay, &input) : rc;
}

enum rnn_walk_next replay_next(struct replay *replay)
{
    enum rnn_walk_next next = rnn_walk_next(replay->walk, &replay->row);

    if (next == RNN_WALK_OUTPUT)
        replay->row.logits = replay->logits;
    if (!replay->row.hidden && (next == RNN_WALK_OUTPUT || !rnn_walk_outputs(replay->walk)))
        replay->row.hidden = replay->hidden;
    return next;
}

/* A many-to-one model's step tells of its own output first, and is then read for the answer. */
void replay_step(struct replay *replay)
{
    float *logits = replay->row.logits;
    bool apart = logits && replay->info->topology == RNN_MANY_TO_ONE && replay_streams(replay);

    if (apart)
        replay->row.logits = NULL;
    rnn_step(replay->model, replay->scratch, &replay->row, 1);
    if (apart) {
        const struct rnn_row read = {
            .state = replay->state, .input = RNN_ROW_READ, .logits = logits};

        rnn_step(replay->model, replay->scratch, &read, 1);
    }
}

bool replay_output(struct replay *replay)
{
    enum rnn_walk_next next;

    while ((next = replay_next(replay)) != RNN_WALK_DONE) {
        replay_step(replay);
        if (next == RNN_WALK_OUTPUT)
            return true;
    }
    return false;
}

bool replay_streams(const struct replay *replay)
{
    return replay->row.hidden == replay->hidden && replay->row.pass == 0 &&
           (replay->row.input == RNN_ROW_TOKEN || replay->row.input == RNN_ROW_FRAME);
}

void replay_feed_token(struct replay *replay, uint32_t id)
{
    replay->row = (struct rnn_row){.state = replay->state,
                                   .input = RNN_ROW_TOKEN,
                                   .token = id,
                                   .memory = replay->walk ? rnn_walk_memory(replay->walk) : NULL,
                                   .logits = replay->logits,
                                   .hidden = replay->hidden};
    replay_step(replay);
}

uint32_t replay_best(const struct replay *replay)
{
    uint32_t best = 0;

    (void)rnn_top(replay->logits, replay->info->output_size, 1, &best); /* there is one */
    return best;
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
    if (strlen(want) == len && (len == 0 || memcmp(got, want, len) == 0))
        return;
    tally->n_off++;
    tally->worst = tally->excess = INFINITY;
    if (!replay->first.code)
        rnn_fail_at(&replay->first, RNN_ERANGE, replay->place, -1,
                    "golden.json: %s: the text differs from the expected one", replay->place);
}

/* ---- States ---- */

/* Values of the state's parts of one kind and stack, in their order. */
struct walk_of_parts {
    const struct rnn_state_part *part;
    const struct rnn_state_part *end;
    const struct cJSON *values; /* of the part, or NULL: they are missing */
    char kind;
    unsigned stack;
    int n; /* parts so far */
};

static struct walk_of_parts first_part(const struct replay *replay, enum replay_kind kind,
                                       unsigned stack)
{
    size_t n;
    const struct rnn_state_part *parts = rnn_state_parts(replay->model, &n);

    return (struct walk_of_parts){
        .part = parts - 1, .end = parts + n, .kind = kind == REPLAY_C ? 'c' : 'h', .stack = stack};
}

static bool next_part(struct walk_of_parts *w, const struct cJSON *values, int sequence)
{
    while (++w->part < w->end)
        if (w->part->kind[0] == w->kind && w->part->stack == w->stack) {
            w->values = cJSON_GetArrayItem(values, w->n++);
            if (sequence >= 0)
                w->values = cJSON_GetArrayItem(w->values, sequence);
            return true;
        }
    return false;
}

int replay_compare_state(struct replay *replay, enum replay_kind kind, unsigned stack,
                         const struct cJSON *want, int sequence)
{
    struct walk_of_parts parts = first_part(replay, kind, stack);

    if (!want)
        return 0;
    while (next_part(&parts, want, sequence)) {
        const float *memory = replay->state->memory + parts.part->offset;
        int rc;

        if (!parts.values)
            return replay_fault(replay, "a state is missing");
        rc = replay_compare(replay, kind, memory, parts.part->size, parts.values);
        if (rc < 0)
            return rc;
    }
    if (cJSON_GetArraySize(want) != parts.n)
        return replay_fault(replay, "has not as many states as the model");
    return 0;
}

int replay_set_state(struct replay *replay, enum replay_kind kind, const struct cJSON *from,
                     int sequence)
{
    struct walk_of_parts parts = first_part(replay, kind, 0);

    if (!from)
        return 0;
    while (next_part(&parts, from, sequence))
        if (!to_floats(parts.values, replay->state->memory + parts.part->offset, parts.part->size))
            return replay_fault(replay, "an initial state is missing or of the wrong size");
    return 0;
}

/* ---- Generating ---- */

const struct cJSON *replay_of_sequence(const struct cJSON *run, const char *key, int sequence)
{
    return cJSON_GetArrayItem(json_get(run, key), sequence);
}

int replay_generated(struct replay *replay, const struct cJSON *ids, const struct cJSON *logits)
{
    const struct cJSON *id;

    cJSON_ArrayForEach(id, ids)
    {
        uint32_t best = replay_best(replay);
        int rc = replay_compare(replay, REPLAY_LOGITS, replay->logits, replay->info->output_size,
                                logits);

        if (rc < 0)
            return rc;
        if (!cJSON_IsNumber(id))
            return replay_fault(replay, "want a list of token ids");
        replay_compare_ids(replay, best, (int64_t)id->valuedouble);
        if (id->next)
            replay_feed_token(replay, best);
        logits = logits ? logits->next : NULL;
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
            id->valuedouble >= (double)replay->info->decoder_size)
            continue;
        len = rnn_decode(replay->model, &decoder, (uint32_t)id->valuedouble, &text);
        buf_put(out, text, len);
    }
}
