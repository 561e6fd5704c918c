/* Replays golden.json of schema "rnnd-golden-1".
 *
 * Kinds of runs: `batch`, `state` (with given initial states), `lengths` (of unequal length), each
 * sequence by itself, since a row does not notice its neighbours; `chunked` (the state is carried
 * on); `greedy` (by the largest logit); `caption` and `translate` (replay_decoders.c).  What is
 * there is compared, what is absent is not. */
#include "models/replay.h"

#include <stdlib.h>
#include <string.h>

/* What an output is compared with. */
static const enum replay_kind step_kinds[] = {REPLAY_OUTPUT, REPLAY_LOGITS, REPLAY_PROBS,
                                              REPLAY_VALUES, REPLAY_STD};
enum { STEP_KINDS = sizeof step_kinds / sizeof *step_kinds };

/* Expected values of one sequence: of its next output, for each of step_kinds. */
struct expected {
    const struct cJSON *next[STEP_KINDS];
    bool given[STEP_KINDS];
    bool one; /* a many-to-one model: one output in all */
};

static const struct cJSON *inputs_of(const struct cJSON *run)
{
    const struct cJSON *ids = json_get(run, "input_ids");

    return ids ? ids : json_get(run, "input");
}

static const struct cJSON *first_of(const struct cJSON *list)
{
    return list ? list->child : NULL;
}

/* A many-to-one model's "output" goes by steps all the same, and is compared apart. */
static void expect(struct expected *expected, const struct cJSON *run, int b, bool one)
{
    *expected = (struct expected){.one = one};
    for (size_t k = 0; k < STEP_KINDS; k++) {
        const struct cJSON *values = replay_of_sequence(run, replay_kind_name(step_kinds[k]), b);

        if (!values || (one && step_kinds[k] == REPLAY_OUTPUT))
            continue;
        expected->given[k] = true;
        expected->next[k] = one ? values : values->child;
    }
}

/* The replay's present numbers of a kind; *n of them. */
static const float *values_of(const struct replay *replay, enum replay_kind kind, size_t *n)
{
    const struct rnn_model_info *info = replay->info;

    *n = info->output_size;
    if (kind == REPLAY_LOGITS)
        return replay->logits;
    if (kind == REPLAY_OUTPUT) {
        *n = info->hidden_width;
        return replay->hidden;
    }
    rnn_activate(replay->model, replay->logits, replay->probs);
    if (kind == REPLAY_PROBS)
        return replay->probs;
    *n = info->n_values;
    return kind == REPLAY_VALUES ? replay->probs : replay->probs + info->n_values;
}

static int compare_kind(struct replay *replay, enum replay_kind kind, const struct cJSON *want)
{
    const float *values;
    size_t n;

    if (!cJSON_IsArray(want))
        return replay_fault(replay, "want one array for each step");
    if ((kind == REPLAY_STD && replay->info->activation != RNN_HEAD_GAUSSIAN) ||
        (kind == REPLAY_VALUES && replay->info->n_values == 0))
        return replay_fault(replay, "values or std of a head that has none");
    values = values_of(replay, kind, &n);
    return replay_compare(replay, kind, values, n, want);
}

static int compare_step(struct replay *replay, struct expected *expected)
{
    int rc = 0;

    for (size_t k = 0; k < STEP_KINDS && rc == 0; k++) {
        const struct cJSON *want = expected->next[k];

        if (!expected->given[k])
            continue;
        if (!want)
            return replay_fault(replay, "fewer expected steps than inputs");
        expected->next[k] = expected->one ? NULL : want->next;
        rc = compare_kind(replay, step_kinds[k], want);
    }
    return rc;
}

/* Each expected list is used up together with the outputs. */
static int check_used_up(struct replay *replay, const struct expected *expected)
{
    for (size_t k = 0; k < STEP_KINDS; k++)
        if (expected->next[k])
            return replay_fault(replay, "more expected steps than inputs");
    return 0;
}

/* What the layer under the readout gave at each step, where the walk has kept it. */
static int compare_kept(struct replay *replay, const struct cJSON *output)
{
    const float *kept = rnn_walk_outputs(replay->walk);
    size_t width = replay->info->step_width;
    int rc = 0;

    for (; kept && output && rc == 0; output = output->next, kept += width)
        rc = replay_compare(replay, REPLAY_OUTPUT, kept, width, output);
    return rc;
}

/* A many-to-one model: outputs under the readout by steps, and the one of the head. */
static int run_to_one(struct replay *replay, const struct cJSON *output, size_t n,
                      struct expected *expected)
{
    enum rnn_walk_next next;
    int rc = 0;

    if (output && (size_t)cJSON_GetArraySize(output) != n)
        return replay_fault(replay, "not as many expected steps as inputs");
    output = first_of(output);
    while (rc == 0 && (next = replay_next(replay)) != RNN_WALK_DONE) {
        replay_step(replay);
        if (output && replay_streams(replay)) {
            rc = replay_compare(replay, REPLAY_OUTPUT, replay->hidden, replay->info->hidden_width,
                                output);
            output = output->next;
        }
        if (rc == 0 && next == RNN_WALK_OUTPUT)
            rc = compare_step(replay, expected);
    }
    return rc < 0 ? rc : compare_kept(replay, output);
}

static int run_to_each(struct replay *replay, struct expected *expected)
{
    while (replay_output(replay)) {
        int rc = compare_step(replay, expected);

        if (rc < 0)
            return rc;
    }
    return 0;
}

/* From the present state through all inputs of sequence b. */
static int run_sequence(struct replay *replay, const struct cJSON *run, int b)
{
    const struct cJSON *inputs = cJSON_GetArrayItem(inputs_of(run), b);
    struct expected expected;
    int rc = replay_begin(replay, inputs, NULL, false);

    if (rc < 0)
        return rc;
    expect(&expected, run, b, replay->info->topology == RNN_MANY_TO_ONE);
    if (expected.one)
        rc = run_to_one(replay, replay_of_sequence(run, "output", b),
                        (size_t)cJSON_GetArraySize(inputs), &expected);
    else
        rc = run_to_each(replay, &expected);
    if (rc == 0)
        rc = check_used_up(replay, &expected);
    if (rc == 0)
        rc = replay_compare_state(replay, REPLAY_H, 0, json_get(run, "h_n"), b);
    if (rc == 0)
        rc = replay_compare_state(replay, REPLAY_C, 0, json_get(run, "c_n"), b);
    if (rc == 0 && replay->info->topology == RNN_REPEAT)
        rc = replay_compare_state(replay, REPLAY_H, 1, json_get(run, "encoder_h_n"), b);
    return rc < 0 || replay->info->topology != RNN_REPEAT
               ? rc
               : replay_compare_state(replay, REPLAY_C, 1, json_get(run, "encoder_c_n"), b);
}

/* Where texts stand beside the ids: the tokenizer must give the ids. */
static int compare_encoding(struct replay *replay, const struct cJSON *text,
                            const struct cJSON *ids)
{
    const struct cJSON *id = first_of(ids);
    uint32_t *got;
    size_t n;
    int rc;

    if (!cJSON_IsString(text) || !replay->info->tokenizer)
        return 0;
    rc = replay_encode(replay, text->valuestring, &got, &n);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n || id; i++) {
        replay_compare_ids(replay, i < n ? (int64_t)got[i] : -1,
                           id ? (int64_t)id->valuedouble : -1);
        id = id ? id->next : NULL;
    }
    free(got);
    return 0;
}

static int run_batch(struct replay *replay, const struct cJSON *run)
{
    int n = cJSON_GetArraySize(inputs_of(run));

    if (n == 0)
        return replay_fault(replay, "no input");
    if (replay->info->topology == RNN_ONE_TO_MANY || replay->info->topology == RNN_SEQ2SEQ)
        return replay_fault(replay, "the model has a decoder: want a run that feeds it");
    for (int b = 0; b < n; b++) {
        int rc;

        replay_reset(replay);
        rc = replay_set_state(replay, REPLAY_H, json_get(run, "h_0"), b);
        if (rc == 0)
            rc = replay_set_state(replay, REPLAY_C, json_get(run, "c_0"), b);
        if (rc == 0)
            rc = run_sequence(replay, run, b);
        if (rc == 0)
            rc = compare_encoding(replay, replay_of_sequence(run, "texts", b),
                                  replay_of_sequence(run, "input_ids", b));
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int run_chunked(struct replay *replay, const struct cJSON *run)
{
    const struct cJSON *chunk;

    replay_reset(replay);
    cJSON_ArrayForEach(chunk, json_get(run, "chunks"))
    {
        int rc = run_sequence(replay, chunk, 0);

        if (rc < 0)
            return rc;
    }
    return 0;
}

static int compare_texts(struct replay *replay, const struct cJSON *run)
{
    const struct cJSON *text = json_get(run, "generated_text");
    struct buf buf = {0};
    int rc = compare_encoding(replay, json_get(run, "prompt_text"), json_get(run, "prompt_ids"));

    if (rc < 0 || !cJSON_IsString(text) || !replay->info->tokenizer)
        return rc;
    replay_decode(replay, json_get(run, "generated_ids"), &buf);
    if (buf.failed)
        rc = rnn_fail(replay->err, RNN_ENOMEM, "out of memory");
    else
        replay_compare_text(replay, buf.data, buf.len, text->valuestring);
    buf_free(&buf);
    return rc;
}

/* The last id that is generated is not fed. */
static int run_greedy(struct replay *replay, const struct cJSON *run)
{
    int rc;

    if (replay->info->topology != RNN_SYNCED || replay->info->input_kind == RNN_INPUT_DENSE ||
        replay->info->output_size > replay->info->input_size || replay->info->unsteppable ||
        cJSON_GetArraySize(json_get(run, "prompt_ids")) == 0)
        return replay_fault(replay, "a greedy run wants a model of tokens and a prompt");
    replay_reset(replay);
    rc = replay_begin(replay, json_get(run, "prompt_ids"), NULL, true);
    if (rc == 0)
        (void)replay_output(replay); /* there is one */
    if (rc == 0)
        rc = replay_generated(replay, json_get(run, "generated_ids"),
                              first_of(json_get(run, "logits")));
    if (rc == 0)
        rc = replay_compare_state(replay, REPLAY_H, 0, json_get(run, "h_n"), 0);
    if (rc == 0)
        rc = replay_compare_state(replay, REPLAY_C, 0, json_get(run, "c_n"), 0);
    return rc < 0 ? rc : compare_texts(replay, run);
}

static int read_tolerances(struct replay *replay, const struct cJSON *golden)
{
    const struct cJSON *atol = json_get(golden, "suggested_atol");

    for (enum replay_kind kind = 0; kind < REPLAY_KINDS; kind++) {
        int rc = json_read_double(atol, "suggested_atol", replay_kind_name(kind), 0, 1,
                                  &replay->tally[kind].atol, replay->err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

int replay_runs(struct replay *replay, const struct cJSON *golden)
{
    static const struct {
        const char *kind;
        int (*replay)(struct replay *replay, const struct cJSON *run);
    } kinds[] = {{"batch", run_batch},           {"state", run_batch},
                 {"lengths", run_batch},         {"chunked", run_chunked},
                 {"greedy", run_greedy},         {"caption", replay_caption},
                 {"translate", replay_translate}};
    const struct cJSON *run;
    int n = 0, rc = read_tolerances(replay, golden);

    cJSON_ArrayForEach(run, json_get(golden, "runs"))
    {
        const char *kind = "";
        size_t k = 0;

        replay_at(replay, "runs[%d]", n++);
        if (rc == 0)
            rc = json_read_string(run, replay->place, "kind", &kind, replay->err);
        if (rc < 0)
            return rc;
        while (k < sizeof kinds / sizeof *kinds && strcmp(kinds[k].kind, kind) != 0)
            k++;
        if (k == sizeof kinds / sizeof *kinds)
            return rnn_fail_at(replay->err, RNN_EUNSUPPORTED, replay->place, -1,
                               "%s: runs of kind '%.32s' are not replayed", replay->place, kind);
        replay_at(replay, "runs[%d] (%s)", n - 1, kind);
        rc = kinds[k].replay(replay, run);
        if (rc < 0)
            return rc;
    }
    return n > 0 ? rc : replay_fault(replay, "no runs");
}
