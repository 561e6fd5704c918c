/* Replays golden.json of published checkpoints: expected results for texts.
 *
 *     prompts      text → ids, logits and log-probabilities after it, best id at each step, state
 *     greedy       prompt → the next n ids and their text
 *     score        log p of each character after the first
 *     stateful     two texts fed one after the other
 *     temperature  softmax(logits / T)
 *     all_steps    logits after each character */
#include "models/replay.h"

#include <stdlib.h>
#include <string.h>

static const char *text_of(struct replay *replay, const struct cJSON *object, const char *key)
{
    const struct cJSON *text = json_get(object, key);

    if (cJSON_IsString(text))
        return text->valuestring;
    (void)replay_fault(replay, "a text is missing"); /* the caller returns the code */
    return NULL;
}

/* What is called after each fed id; `next_id` is the one that follows in the text, or -1. */
typedef int step_fn(struct replay *replay, int64_t next_id, const struct cJSON **expected);

/* Feeds the text of object[key]. */
static int feed_text(struct replay *replay, const struct cJSON *object, const char *key,
                     step_fn *after, const struct cJSON *expected)
{
    const char *text = text_of(replay, object, key);
    uint32_t *ids;
    size_t n;
    int rc;

    if (!text)
        return RNN_EFORMAT;
    rc = replay_encode(replay, text, &ids, &n);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n && rc == 0; i++) {
        replay_feed_token(replay, ids[i]);
        if (after)
            rc = after(replay, i + 1 < n ? (int64_t)ids[i + 1] : -1, &expected);
    }
    free(ids);
    return rc;
}

static int compare_best(struct replay *replay, int64_t next_id, const struct cJSON **expected)
{
    (void)next_id;
    if (!cJSON_IsNumber(*expected))
        return replay_fault(replay, "fewer expected steps than inputs");
    replay_compare_ids(replay, replay_best(replay), (int64_t)(*expected)->valuedouble);
    *expected = (*expected)->next;
    return 0;
}

static int compare_logits(struct replay *replay, int64_t next_id, const struct cJSON **expected)
{
    int rc;

    (void)next_id;
    if (!*expected)
        return replay_fault(replay, "fewer expected steps than inputs");
    rc =
        replay_compare(replay, REPLAY_LOGITS, replay->logits, replay->info->output_size, *expected);
    *expected = (*expected)->next;
    return rc;
}

static int compare_logprob(struct replay *replay, int64_t next_id, const struct cJSON **expected)
{
    struct rnn_token_score score;
    int rc;

    if (next_id < 0)
        return 0;
    if (!*expected)
        return replay_fault(replay, "fewer expected steps than inputs");
    rnn_score_token(replay->logits, replay->info->output_size, (uint32_t)next_id, &score);
    rc = replay_compare_one(replay, REPLAY_LOGPROBS, score.logprob, *expected);
    *expected = (*expected)->next;
    return rc;
}

static int replay_prompt(struct replay *replay, const struct cJSON *prompt)
{
    const struct cJSON *best = json_get(prompt, "argmax_each_step"), *want;
    size_t n = replay->info->output_size;
    double norm;
    int rc;

    replay_reset(replay);
    rc = feed_text(replay, prompt, "text", best ? compare_best : NULL, best ? best->child : NULL);
    if (rc == 0)
        rc = replay_compare(replay, REPLAY_LOGITS, replay->logits, n,
                            json_get(prompt, "last_logits"));
    if (rc == 0)
        rc = replay_compare_state(replay, REPLAY_H, 0, json_get(prompt, "h_last"), -1);
    if (rc == 0)
        rc = replay_compare_state(replay, REPLAY_C, 0, json_get(prompt, "c_last"), -1);
    want = json_get(prompt, "last_logprobs");
    if (rc < 0 || !want)
        return rc;
    norm = rnn_log_sum_exp(replay->logits, n);
    for (size_t i = 0; i < n; i++)
        replay->probs[i] = (float)((double)replay->logits[i] - norm);
    return replay_compare(replay, REPLAY_LOGPROBS, replay->probs, n, want);
}

static int replay_greedy(struct replay *replay, const struct cJSON *greedy)
{
    const struct cJSON *text = json_get(greedy, "text"), *id;
    struct buf buf = {0};
    int rc;

    replay_reset(replay);
    rc = feed_text(replay, greedy, "prompt", NULL, NULL);
    if (rc < 0)
        return rc;
    cJSON_ArrayForEach(id, json_get(greedy, "ids"))
    {
        uint32_t best = replay_best(replay);

        replay_compare_ids(replay, best, cJSON_IsNumber(id) ? (int64_t)id->valuedouble : -1);
        replay_feed_token(replay, best);
    }
    replay_decode(replay, json_get(greedy, "ids"), &buf);
    if (buf.failed)
        rc = rnn_fail(replay->err, RNN_ENOMEM, "out of memory");
    else if (cJSON_IsString(text))
        replay_compare_text(replay, buf.data, buf.len, text->valuestring);
    buf_free(&buf);
    return rc;
}

static int replay_score(struct replay *replay, const struct cJSON *score)
{
    const struct cJSON *logprobs = json_get(score, "logprobs");

    replay_reset(replay);
    return feed_text(replay, score, "text", compare_logprob, logprobs ? logprobs->child : NULL);
}

static int replay_stateful(struct replay *replay, const struct cJSON *stateful)
{
    int rc;

    replay_reset(replay);
    rc = feed_text(replay, stateful, "first", NULL, NULL);
    if (rc == 0)
        rc = feed_text(replay, stateful, "then", NULL, NULL);
    if (rc == 0)
        rc = replay_compare(replay, REPLAY_LOGITS, replay->logits, replay->info->output_size,
                            json_get(stateful, "last_logits_after_then"));
    return rc;
}

static int replay_temperature(struct replay *replay, const struct cJSON *object)
{
    size_t n = replay->info->output_size;
    double temperature = 1;
    int rc;

    replay_reset(replay);
    rc = json_read_double(object, replay->place, "T", 0.001, 1000, &temperature, replay->err);
    if (rc == 0)
        rc = feed_text(replay, object, "prompt", NULL, NULL);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++)
        replay->probs[i] = (float)((double)replay->logits[i] / temperature);
    rnn_activate(replay->model, replay->probs, replay->probs);
    return replay_compare(replay, REPLAY_PROBS, replay->probs, n, json_get(object, "probs"));
}

static int replay_all_steps(struct replay *replay, const struct cJSON *object)
{
    const struct cJSON *logits = json_get(object, "logits");

    replay_reset(replay);
    return feed_text(replay, object, "text", compare_logits, logits ? logits->child : NULL);
}

int replay_tolerance(struct replay *replay, const struct cJSON *golden)
{
    static const enum replay_kind kinds[] = {REPLAY_LOGITS, REPLAY_LOGPROBS, REPLAY_H, REPLAY_C};
    double atol = 1e-4;
    int rc = json_read_double(golden, "", "logits_tolerance_f32", 0, 1, &atol, replay->err);

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        replay->tally[kinds[i]].atol = atol;
    return rc;
}

int replay_texts(struct replay *replay, const struct cJSON *golden)
{
    static const struct {
        const char *key;
        int (*replay)(struct replay *replay, const struct cJSON *object);
    } parts[] = {{"prompts", replay_prompt},
                 {"greedy", replay_greedy},
                 {"score", replay_score},
                 {"stateful", replay_stateful},
                 {"temperature", replay_temperature},
                 {"all_steps", replay_all_steps}};
    int n = 0, rc = replay_tolerance(replay, golden);

    if (replay->info->topology != RNN_SYNCED || replay->info->input_kind == RNN_INPUT_DENSE ||
        replay->info->unsteppable)
        return replay_fault(replay, "texts are replayed with models that read them as they come");
    for (size_t i = 0; i < sizeof parts / sizeof *parts && rc == 0; i++) {
        const struct cJSON *part = json_get(golden, parts[i].key), *item;

        if (!part)
            continue;
        replay_at(replay, "%s", parts[i].key);
        n++;
        if (cJSON_IsObject(part)) {
            rc = parts[i].replay(replay, part);
            continue;
        }
        cJSON_ArrayForEach(item, part)
        {
            if (rc == 0)
                rc = parts[i].replay(replay, item);
        }
    }
    if (rc < 0)
        return rc;
    replay_at(replay, "golden.json");
    return n > 0 ? 0 : replay_fault(replay, "neither runs nor texts to replay");
}
