/* Replays what decoders do: the runs `caption` (a frame, then tokens) and `translate` (tokens or
 * frames, then tokens) of schema "rnnd-golden-1", each fed with given tokens and each by the
 * largest logit; and the golden.json of published pronouncing models:
 *
 *     words        spelling → ids, the encoder's state, logits of every step, phonemes */
#include "models/replay.h"

#include <stdlib.h>
#include <string.h>

/* ---- Runs ---- */

/* The state that the decoder begins from, before it is fed bos. */
static int compare_first_state(struct replay *replay, const struct cJSON *run, int b)
{
    int rc = replay_compare_state(replay, REPLAY_H, 0, json_get(run, "h_0"), b);

    return rc < 0 ? rc : replay_compare_state(replay, REPLAY_C, 0, json_get(run, "c_0"), b);
}

/* Fed with given tokens: logits for each. */
static int compare_fed(struct replay *replay, const struct cJSON *run, int b)
{
    const struct cJSON *logits = replay_of_sequence(run, "logits", b);
    enum rnn_walk_next next;
    int rc = 0;

    logits = logits ? logits->child : NULL;
    while (rc == 0 && (next = replay_next(replay)) != RNN_WALK_DONE) {
        if (next == RNN_WALK_OUTPUT && rnn_walk_step(replay->walk) == 0)
            rc = compare_first_state(replay, run, b);
        replay_step(replay);
        if (rc < 0 || next != RNN_WALK_OUTPUT)
            continue;
        if (json_get(run, "logits") && !logits)
            return replay_fault(replay, "fewer expected steps than the decoder takes");
        rc = replay_compare(replay, REPLAY_LOGITS, replay->logits, replay->info->output_size,
                            logits);
        logits = logits ? logits->next : NULL;
    }
    if (rc == 0 && logits)
        rc = replay_fault(replay, "more expected steps than the decoder takes");
    return rc;
}

/* Of every stack, as far as the run tells. */
static int compare_last_states(struct replay *replay, const struct cJSON *run, int b)
{
    static const struct {
        const char *key;
        enum replay_kind kind;
        unsigned stack;
    } states[] = {{"h_n", REPLAY_H, 0},
                  {"c_n", REPLAY_C, 0},
                  {"encoder_h_n", REPLAY_H, 1},
                  {"encoder_c_n", REPLAY_C, 1}};
    int rc = 0;

    for (size_t i = 0; i < sizeof states / sizeof *states && rc == 0; i++)
        rc = replay_compare_state(replay, states[i].kind, states[i].stack,
                                  json_get(run, states[i].key), b);
    return rc;
}

/* Begins a walk of sequence b, its decoder fed with `target` or bos alone. */
typedef int begin_fn(struct replay *replay, const struct cJSON *run, int b,
                     const struct cJSON *target);

static int replay_decoder(struct replay *replay, const struct cJSON *run, int b, begin_fn *begin,
                          const struct cJSON *target)
{
    const struct cJSON *greedy = replay_of_sequence(run, "greedy", b);
    int rc;

    replay_reset(replay);
    rc = begin(replay, run, b, target);
    if (rc == 0)
        rc = compare_fed(replay, run, b);
    if (rc == 0)
        rc = compare_last_states(replay, run, b);
    if (rc < 0 || !greedy)
        return rc;
    replay_reset(replay);
    rc = begin(replay, run, b, NULL);
    if (rc == 0 && !replay_output(replay))
        rc = replay_fault(replay, "the model gives nothing");
    return rc < 0 ? rc : replay_generated(replay, json_get(greedy, "generated_ids"), NULL);
}

static int begin_caption(struct replay *replay, const struct cJSON *run, int b,
                         const struct cJSON *target)
{
    return replay_begin_frame(replay, replay_of_sequence(run, "features", b), target);
}

int replay_caption(struct replay *replay, const struct cJSON *run)
{
    int n = cJSON_GetArraySize(json_get(run, "features")), rc = 0;

    if (replay->info->topology != RNN_ONE_TO_MANY || n == 0)
        return replay_fault(replay, "a caption wants a one-to-many model and its features");
    for (int b = 0; b < n && rc == 0; b++)
        rc = replay_decoder(replay, run, b, begin_caption, replay_of_sequence(run, "input_ids", b));
    return rc;
}

static const struct cJSON *sources_of(const struct cJSON *run)
{
    const struct cJSON *ids = json_get(run, "source_ids");

    return ids ? ids : json_get(run, "source");
}

static int begin_translation(struct replay *replay, const struct cJSON *run, int b,
                             const struct cJSON *target)
{
    return replay_begin(replay, cJSON_GetArrayItem(sources_of(run), b), target, false);
}

int replay_translate(struct replay *replay, const struct cJSON *run)
{
    int n = cJSON_GetArraySize(sources_of(run)), rc = 0;

    if (replay->info->topology != RNN_SEQ2SEQ || n == 0)
        return replay_fault(replay, "a translation wants an encoder–decoder and its source");
    for (int b = 0; b < n && rc == 0; b++)
        rc = replay_decoder(replay, run, b, begin_translation,
                            replay_of_sequence(run, "target_input_ids", b));
    return rc;
}

/* ---- Words ---- */

static int begin_word(struct replay *replay, const struct cJSON *word)
{
    const struct rnn_model_info *info = replay->info;
    uint32_t *ids;
    size_t n;
    int rc = replay_read_ids(replay, json_get(word, "ids"), info->input_size, &ids, &n);

    if (rc < 0)
        return rc;
    if (n > 0 && info->source_eos >= 0 && ids[n - 1] == info->source_eos)
        n--; /* the walk brings it */
    rc = replay_begin_ids(replay, ids, n);
    free(ids);
    return rc;
}

/* The spelling's ids, but for the end that the walk brings. */
static int compare_spelling(struct replay *replay, const struct cJSON *word)
{
    const struct cJSON *text = json_get(word, "word"), *ids = json_get(word, "ids"), *id;
    uint32_t *got;
    size_t n, i = 0;
    int rc;

    if (!cJSON_IsString(text) || !replay->info->source_tokenizer)
        return 0;
    rc = replay_encode(replay, text->valuestring, &got, &n);
    if (rc < 0)
        return rc;
    cJSON_ArrayForEach(id, ids)
    {
        replay_compare_ids(replay, i < n ? (int64_t)got[i] : replay->info->source_eos,
                           (int64_t)id->valuedouble);
        i++;
    }
    free(got);
    return n <= i ? 0 : replay_fault(replay, "fewer ids than the word has");
}

/* The symbols, joined by spaces. */
static int compare_symbols(struct replay *replay, const struct cJSON *word)
{
    const struct cJSON *symbols = json_get(word, "phonemes"), *symbol;
    struct buf want = {0}, got = {0};

    if (!symbols || !replay->info->tokenizer)
        return 0;
    cJSON_ArrayForEach(symbol, symbols)
    {
        if (want.len > 0)
            buf_putc(&want, ' ');
        buf_puts(&want, cJSON_IsString(symbol) ? symbol->valuestring : "");
    }
    buf_putc(&want, '\0');
    replay_decode(replay, json_get(word, "phoneme_ids"), &got);
    if (!want.failed && !got.failed)
        replay_compare_text(replay, got.data, got.len, want.data);
    symbols = want.failed || got.failed ? NULL : symbols;
    buf_free(&want);
    buf_free(&got);
    return symbols ? 0 : rnn_fail(replay->err, RNN_ENOMEM, "out of memory");
}

/* The encoder's top h. */
static int compare_encoder(struct replay *replay, const struct cJSON *want)
{
    const struct rnn_state_part *parts, *top = NULL;
    size_t n;

    parts = rnn_state_parts(replay->model, &n);
    for (size_t i = 0; i < n; i++)
        if (parts[i].stack == 1 && parts[i].kind[0] == 'h')
            top = &parts[i];
    if (!top)
        return replay_fault(replay, "words want a model with an encoder");
    return replay_compare(replay, REPLAY_H, replay->state->memory + top->offset, top->size, want);
}

/* What follows the last symbol: the end, unless the word is as long as the model writes any. */
static int compare_end(struct replay *replay, const struct cJSON *ids, const struct cJSON *logits)
{
    size_t n = (size_t)cJSON_GetArraySize(ids);

    if (n > 0)
        replay_feed_token(replay, (uint32_t)cJSON_GetArrayItem(ids, (int)n - 1)->valuedouble);
    if (n != replay->info->max_len)
        replay_compare_ids(replay, replay_best(replay), replay->info->eos);
    return replay_compare(replay, REPLAY_LOGITS, replay->logits, replay->info->output_size,
                          cJSON_GetArrayItem(logits, (int)n));
}

static int replay_word(struct replay *replay, const struct cJSON *word)
{
    const struct cJSON *logits = json_get(word, "decoder_logits");
    const struct cJSON *symbols = json_get(word, "phoneme_ids");
    int rc;

    replay_reset(replay);
    rc = begin_word(replay, word);
    if (rc == 0 && !replay_output(replay))
        rc = replay_fault(replay, "the model gives nothing");
    if (rc == 0)
        rc = compare_encoder(replay, json_get(word, "encoder_h"));
    if (rc == 0)
        rc = replay_generated(replay, symbols, logits ? logits->child : NULL);
    if (rc == 0)
        rc = compare_end(replay, symbols, logits);
    if (rc == 0)
        rc = compare_spelling(replay, word);
    return rc < 0 ? rc : compare_symbols(replay, word);
}

int replay_words(struct replay *replay, const struct cJSON *golden)
{
    const struct cJSON *word;
    int n = 0, rc = replay_tolerance(replay, golden);

    if (rc == 0 && replay->info->topology != RNN_SEQ2SEQ)
        return replay_fault(replay, "words want an encoder–decoder");
    cJSON_ArrayForEach(word, json_get(golden, "words"))
    {
        replay_at(replay, "words[%d]", n++);
        if (rc == 0)
            rc = replay_word(replay, word);
    }
    return rc;
}
