/* Replays golden.json of schema "rnnd-golden-1".
 *
 * Kinds of runs: `batch`, `state` (with given initial states), `lengths` (of unequal length), each
 * sequence by itself, since a row does not notice its neighbours; `chunked` (the state is carried
 * on); `greedy` (by the largest logit).  What is there is compared, what is absent is not. */
#include "models/replay.h"

#include <stdlib.h>
#include <string.h>

/* Expected values of one sequence, step by step; NULL: none. */
struct expected {
    const struct cJSON *output;
    const struct cJSON *logits;
    const struct cJSON *probs;
};

/* The sequence's entry in run[key]; NULL where the run has no such key. */
static const struct cJSON *of_sequence(const struct cJSON *run, const char *key, int sequence)
{
    return cJSON_GetArrayItem(json_get(run, key), sequence);
}

static const struct cJSON *inputs_of(const struct cJSON *run)
{
    const struct cJSON *ids = json_get(run, "input_ids");

    return ids ? ids : json_get(run, "input");
}

/* The next step's values; NULL list: none are expected. */
static int next(struct replay *replay, const struct cJSON **list, const struct cJSON **values)
{
    *values = *list;
    if (!*list)
        return 0;
    *list = (*list)->next;
    return cJSON_IsArray(*values) ? 0 : replay_fault(replay, "want one array for each step");
}

static int compare_step(struct replay *replay, struct expected *expected)
{
    const struct rnn_model_info *info = replay->info;
    const struct cJSON *output = NULL, *logits = NULL, *probs = NULL;
    int rc = next(replay, &expected->output, &output);

    if (rc == 0)
        rc = next(replay, &expected->logits, &logits);
    if (rc == 0)
        rc = next(replay, &expected->probs, &probs);
    if (rc == 0)
        rc = replay_compare(replay, REPLAY_OUTPUT, replay->hidden, info->hidden_width, output);
    if (rc == 0)
        rc = replay_compare(replay, REPLAY_LOGITS, replay->logits, info->output_size, logits);
    if (rc < 0 || !probs)
        return rc;
    rnn_activate(replay->model, replay->logits, replay->probs);
    return replay_compare(replay, REPLAY_PROBS, replay->probs, info->output_size, probs);
}

static const struct cJSON *first_of(const struct cJSON *list)
{
    return list ? list->child : NULL;
}

/* From the present state through all inputs of sequence b. */
static int run_sequence(struct replay *replay, const struct cJSON *run, int b)
{
    const struct cJSON *inputs = cJSON_GetArrayItem(inputs_of(run), b), *input;
    struct expected expected = {first_of(of_sequence(run, "output", b)),
                                first_of(of_sequence(run, "logits", b)),
                                first_of(of_sequence(run, "probs", b))};
    bool with_output = expected.output, with_logits = expected.logits, with_probs = expected.probs;
    int rc;

    if (!cJSON_IsArray(inputs))
        return replay_fault(replay, "want input or input_ids, one list for each sequence");
    cJSON_ArrayForEach(input, inputs)
    {
        if ((with_output && !expected.output) || (with_logits && !expected.logits) ||
            (with_probs && !expected.probs))
            return replay_fault(replay, "fewer expected steps than inputs");
        rc = replay_feed(replay, input);
        if (rc == 0)
            rc = compare_step(replay, &expected);
        if (rc < 0)
            return rc;
    }
    if (expected.output || expected.logits || expected.probs)
        return replay_fault(replay, "more expected steps than inputs");
    rc = replay_compare_state(replay, REPLAY_H, json_get(run, "h_n"), b);
    return rc < 0 ? rc : replay_compare_state(replay, REPLAY_C, json_get(run, "c_n"), b);
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
    for (int b = 0; b < n; b++) {
        int rc;

        replay_reset(replay);
        rc = replay_set_state(replay, REPLAY_H, json_get(run, "h_0"), b);
        if (rc == 0)
            rc = replay_set_state(replay, REPLAY_C, json_get(run, "c_0"), b);
        if (rc == 0)
            rc = run_sequence(replay, run, b);
        if (rc == 0)
            rc = compare_encoding(replay, of_sequence(run, "texts", b),
                                  of_sequence(run, "input_ids", b));
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
    const struct cJSON *prompt = json_get(run, "prompt_ids"), *id;
    const struct cJSON *logits = first_of(json_get(run, "logits"));
    int rc = 0;

    if (replay->info->input_kind == RNN_INPUT_DENSE || cJSON_GetArraySize(prompt) == 0 ||
        replay->info->output_size > replay->info->input_size)
        return replay_fault(replay, "a greedy run wants a model of tokens and a prompt");
    replay_reset(replay);
    cJSON_ArrayForEach(id, prompt)
    {
        rc = replay_feed(replay, id);
        if (rc < 0)
            return rc;
    }
    cJSON_ArrayForEach(id, json_get(run, "generated_ids"))
    {
        uint32_t best;

        if (!cJSON_IsNumber(id))
            return replay_fault(replay, "generated_ids: want numbers");
        if (logits) {
            rc = replay_compare(replay, REPLAY_LOGITS, replay->logits, replay->info->output_size,
                                logits);
            logits = logits->next;
        }
        (void)rnn_top(replay->logits, replay->info->output_size, 1, &best); /* there is one */
        replay_compare_ids(replay, best, (int64_t)id->valuedouble);
        if (rc < 0)
            return rc;
        if (id->next)
            replay_feed_token(replay, best);
    }
    rc = replay_compare_state(replay, REPLAY_H, json_get(run, "h_n"), 0);
    if (rc == 0)
        rc = replay_compare_state(replay, REPLAY_C, json_get(run, "c_n"), 0);
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
    } kinds[] = {{"batch", run_batch},
                 {"state", run_batch},
                 {"lengths", run_batch},
                 {"chunked", run_chunked},
                 {"greedy", run_greedy}};
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
