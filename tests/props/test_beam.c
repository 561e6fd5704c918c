/* The laws of beam search.  Over a made-up language, whose logits are a function of the text so
 * far: a beam that nothing falls out of finds what trying every text finds; a beam of one is
 * greedy; the best come first, each with the probability that its tokens have; equal ones come in
 * the order that core/rnn.h promises.  Over random decoders of every shape: a search finds the
 * same, bit for bit, alone and beside foreign rows, and a walk over what it found gives it the same
 * probability. A case's number is its seed, which a fault names; SEEDS=FROM:TO runs others. */
#include <math.h>
#include <string.h>

#include "core/rnn.h"
#include "laws.h"
#include "net.h"

enum { N_SEEDS = 200, TOKENS_MAX = 8, LENGTH_MAX = 8, TEXTS_MAX = 1400 };

struct text {
    uint32_t tokens[LENGTH_MAX];
    size_t n;
    double logprob, score;
    bool ended;
};

struct texts {
    struct text v[TEXTS_MAX];
    size_t n;
};

/* ---- A made-up language ---- */

struct language {
    uint64_t seed;
    size_t n_tokens;
    bool coarse; /* few different logits, so that there are ties */
    struct rnn_beam_options options;
};

static void language_logits(const struct language *l, const uint32_t *text, size_t n, float *logits)
{
    struct net numbers = {.random = l->seed + 0x9e3779b97f4a7c15ULL};

    for (size_t i = 0; i < n; i++) {
        numbers.random += (text[i] + 1) * 0xd1342543de82ef95ULL;
        (void)net_next(&numbers);
    }
    for (size_t i = 0; i < l->n_tokens; i++)
        logits[i] = l->coarse ? (float)net_below(&numbers, 2) : 3 * net_number(&numbers);
}

static struct language draw_language(int seed, size_t n_tokens, size_t length)
{
    static const double penalties[] = {0, 1, 0.6, 2, -0.5};
    struct net numbers = {.random = (uint64_t)seed * 77 + 1};
    struct language l = {.seed = (uint64_t)seed, .n_tokens = n_tokens};

    (void)net_next(&numbers);
    l.coarse = net_chance(&numbers, 3);
    l.options = (struct rnn_beam_options){.length_penalty = penalties[net_below(&numbers, 5)],
                                          .max_tokens = length};
    l.options.eos = net_chance(&numbers, 8) ? (int64_t)net_below(&numbers, n_tokens) : -1;
    return l;
}

static double logprob_of(const struct language *l, const uint32_t *text, size_t n)
{
    float logits[TOKENS_MAX];
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        language_logits(l, text, i, logits);
        sum += (double)logits[text[i]] - rnn_log_sum_exp(logits, l->n_tokens);
    }
    return sum;
}

static void keep(struct text *to, const struct rnn_beam_text *from)
{
    ck_assert_uint_le(from->n, LENGTH_MAX);
    *to = (struct text){
        .n = from->n, .logprob = from->logprob, .score = from->score, .ended = from->ended};
    memcpy(to->tokens, from->tokens, from->n * sizeof *to->tokens);
}

static void keep_texts(struct rnn_beam *beam, size_t max, struct texts *out)
{
    struct rnn_beam_text *found = calloc(max, sizeof *found);

    ck_assert_uint_le(max, TEXTS_MAX);
    ck_assert_int_eq(rnn_beam_texts(beam, found, max, &out->n, NULL), 0);
    for (size_t i = 0; i < out->n; i++)
        keep(&out->v[i], &found[i]);
    free(found);
}

/* Every live beginning and its text. */
static void search(const struct language *l, size_t width, size_t max, struct texts *out)
{
    struct rnn_beam_options options = l->options;
    struct rnn_beam *beam;
    struct rnn_beam_step *steps = calloc(width, sizeof *steps);
    uint32_t(*live)[LENGTH_MAX] = calloc(width, sizeof *live);
    uint32_t(*next)[LENGTH_MAX] = calloc(width, sizeof *next);
    size_t n = 1;

    options.width = width;
    ck_assert_int_eq(rnn_beam_new(&beam, l->n_tokens, &options, NULL), 0);
    for (size_t length = 0; n > 0; length++) {
        for (size_t i = 0; i < n; i++) {
            float logits[TOKENS_MAX];

            language_logits(l, live[i], length, logits);
            rnn_beam_offer(beam, i, logits);
        }
        ck_assert_int_eq(rnn_beam_advance(beam, steps, &n, NULL), 0);
        ck_assert_uint_le(n, width);
        for (size_t i = 0; i < n; i++) {
            memcpy(next[i], live[steps[i].parent], sizeof next[i]);
            next[i][length] = steps[i].token;
        }
        memcpy(live, next, width * sizeof *live);
    }
    keep_texts(beam, max, out);
    rnn_beam_free(beam);
    free(steps);
    free(live);
    free(next);
}

/* ---- Trying everything ---- */

static void try_all(const struct language *l, const struct text *beginning, struct texts *out)
{
    for (uint32_t token = 0; token < l->n_tokens; token++) {
        struct text text = *beginning;

        text.tokens[text.n++] = token;
        text.ended = token == l->options.eos;
        if (!text.ended && text.n < l->options.max_tokens) {
            try_all(l, &text, out);
            continue;
        }
        ck_assert_uint_lt(out->n, TEXTS_MAX);
        text.logprob = logprob_of(l, text.tokens, text.n);
        text.score = text.logprob / pow((double)text.n, l->options.length_penalty);
        out->v[out->n++] = text;
    }
}

static int by_score(const void *left, const void *right)
{
    const struct text *a = left, *b = right;

    return a->score != b->score ? (a->score > b->score ? -1 : 1) : 0;
}

static bool same_tokens(const struct text *a, const struct text *b)
{
    return a->n == b->n && memcmp(a->tokens, b->tokens, a->n * sizeof *a->tokens) == 0;
}

static bool is_among(const struct texts *all, const struct text *text)
{
    for (size_t i = 0; i < all->n; i++)
        if (same_tokens(&all->v[i], text))
            return all->v[i].logprob == text->logprob && all->v[i].ended == text->ended;
    return false;
}

static struct texts every, found; /* of the case at hand: large */

START_TEST(a_beam_that_nothing_falls_out_of_tries_everything)
{
    size_t n_tokens = 2 + (size_t)_i % 4, length = n_tokens < 4 ? 5 : 3;
    struct language l = draw_language(_i, n_tokens, length);

    every.n = 0;
    try_all(&l, &(struct text){0}, &every);
    qsort(every.v, every.n, sizeof *every.v, by_score);
    search(&l, every.n, every.n, &found);
    ck_assert_uint_eq(found.n, every.n);
    for (size_t i = 0; i < every.n; i++) {
        ck_assert(found.v[i].score == every.v[i].score);
        ck_assert(is_among(&every, &found.v[i]));
        if (!l.coarse)
            ck_assert(same_tokens(&every.v[i], &found.v[i]));
    }
    search(&l, every.n, 1 + every.n / 3, &found);
    ck_assert_uint_eq(found.n, 1 + every.n / 3);
    ck_assert(found.v[every.n / 3].score == every.v[every.n / 3].score);
}
END_TEST

START_TEST(a_beam_of_one_is_greedy)
{
    struct language l = draw_language(_i, TOKENS_MAX, LENGTH_MAX);
    struct text greedy = {0};

    while (greedy.n < LENGTH_MAX && !greedy.ended) {
        float logits[TOKENS_MAX];
        uint32_t best = 0;

        language_logits(&l, greedy.tokens, greedy.n, logits);
        for (uint32_t i = 1; i < TOKENS_MAX; i++)
            best = logits[i] > logits[best] ? i : best;
        greedy.tokens[greedy.n++] = best;
        greedy.ended = best == l.options.eos;
    }
    search(&l, 1, 4, &found);
    ck_assert_uint_eq(found.n, 1);
    ck_assert(same_tokens(&found.v[0], &greedy));
    ck_assert(found.v[0].ended == greedy.ended);
    ck_assert(found.v[0].logprob == logprob_of(&l, greedy.tokens, greedy.n));
}
END_TEST

static void check_text(const struct language *l, const struct text *text)
{
    size_t max = l->options.max_tokens;

    ck_assert(text->logprob == logprob_of(l, text->tokens, text->n));
    ck_assert(text->score == text->logprob / pow((double)text->n, l->options.length_penalty));
    ck_assert(text->n > 0 && text->n <= max);
    ck_assert(text->ended || text->n == max);
    for (size_t i = 0; i < text->n; i++)
        ck_assert(((int64_t)text->tokens[i] == l->options.eos) ==
                  (text->ended && i + 1 == text->n));
}

START_TEST(the_best_come_first_and_are_what_they_say)
{
    struct language l = draw_language(_i, TOKENS_MAX, 1 + (size_t)_i % LENGTH_MAX);
    size_t width = 1 + (size_t)(_i / 3) % 9;

    search(&l, width, 2 * width, &found);
    ck_assert_uint_gt(found.n, 0);
    for (size_t i = 0; i < found.n; i++) {
        check_text(&l, &found.v[i]);
        if (i > 0)
            ck_assert(found.v[i].score <= found.v[i - 1].score);
        for (size_t j = 0; j < i; j++)
            ck_assert(!same_tokens(&found.v[i], &found.v[j]));
    }
}
END_TEST

/* One step of a search as core/rnn.h tells it: all continuations, best first. */
static size_t continue_all(const struct language *l, const struct text *live, size_t n,
                           struct text *out)
{
    size_t n_out = 0;

    for (size_t i = 0; i < n; i++)
        for (uint32_t token = 0; token < l->n_tokens; token++) {
            struct text *to = &out[n_out++];

            *to = live[i];
            to->tokens[to->n++] = token;
            to->ended = token == l->options.eos;
            to->logprob = to->score = logprob_of(l, to->tokens, to->n);
        }
    for (size_t i = 1; i < n_out; i++) /* equal ones stay in order */
        for (size_t j = i; j > 0 && out[j].score > out[j - 1].score; j--) {
            struct text swap = out[j];

            out[j] = out[j - 1];
            out[j - 1] = swap;
        }
    return n_out;
}

static void search_plainly(const struct language *l, size_t width, struct texts *out)
{
    struct text live[16] = {0}, next[16 * TOKENS_MAX];
    size_t n = 1;

    out->n = 0;
    for (size_t length = 0; n > 0 && length < l->options.max_tokens && out->n < width; length++) {
        size_t n_next = continue_all(l, live, n, next);

        n = 0;
        for (size_t i = 0; i < n_next && n < width && out->n < width; i++) {
            if (next[i].ended)
                out->v[out->n++] = next[i];
            else
                live[n++] = next[i];
        }
    }
    for (size_t i = 0; i < n && live[i].n == l->options.max_tokens; i++)
        out->v[out->n++] = live[i];
    for (size_t i = 0; i < out->n; i++)
        out->v[i].score = out->v[i].logprob / pow((double)out->v[i].n, l->options.length_penalty);
    qsort(out->v, out->n, sizeof *out->v, by_score);
}

START_TEST(a_narrow_beam_keeps_the_best_continuations_of_all)
{
    struct language l = draw_language(_i, 2 + (size_t)_i % 7, 1 + (size_t)(_i / 2) % LENGTH_MAX);
    size_t width = 1 + (size_t)_i % 9;

    search_plainly(&l, width, &every);
    search(&l, width, TEXTS_MAX, &found);
    ck_assert_uint_eq(found.n, every.n);
    for (size_t i = 0; i < every.n; i++) {
        ck_assert(found.v[i].score == every.v[i].score);
        ck_assert(is_among(&every, &found.v[i]));
    }
}
END_TEST

/* Text number i, in the order of dictionaries, of `length` digits in base n_tokens. */
static void spell(size_t i, size_t n_tokens, size_t length, uint32_t *tokens)
{
    for (size_t at = length; at > 0; at--, i /= n_tokens)
        tokens[at - 1] = (uint32_t)(i % n_tokens);
}

START_TEST(equal_ones_come_in_the_order_of_their_ids)
{
    size_t n_tokens = 2 + (size_t)_i % 5, length = 4, width = 1 + (size_t)_i % 7;
    struct rnn_beam_options options = {.width = width, .eos = -1, .max_tokens = length};
    const float logits[TOKENS_MAX] = {0};
    struct rnn_beam_step steps[8];
    struct rnn_beam *beam;
    size_t n = 1;

    ck_assert_int_eq(rnn_beam_new(&beam, n_tokens, &options, NULL), 0);
    while (n > 0) {
        for (size_t i = n; i-- > 0;) /* the order of offers does not matter */
            rnn_beam_offer(beam, i, logits);
        ck_assert_int_eq(rnn_beam_advance(beam, steps, &n, NULL), 0);
    }
    keep_texts(beam, width, &found);
    ck_assert_uint_eq(found.n, width);
    for (size_t i = 0; i < width; i++) {
        struct text want = {.n = length};

        spell(i, n_tokens, length, want.tokens);
        ck_assert(same_tokens(&found.v[i], &want));
    }
    rnn_beam_free(beam);
}
END_TEST

/* ---- Models ---- */

enum { WIDTH_MAX = 5, FOREIGN = 3, STEPS = 4, FRAME_MAX = 64 };

static struct net net; /* of the case at hand */

/* What a decoder listens to: one frame, or four steps. */
struct source {
    uint32_t tokens[STEPS];
    float frames[STEPS * FRAME_MAX];
    struct rnn_walk_input input;
};

static void make_source(struct source *source, uint64_t seed)
{
    struct net numbers = {.random = seed * 31 + 5};
    size_t width = net_input_size(&net);

    ck_assert_uint_le(width, FRAME_MAX);
    for (size_t t = 0; t < STEPS; t++)
        source->tokens[t] = (uint32_t)net_below(&numbers, width);
    for (size_t i = 0; i < STEPS * width; i++)
        source->frames[i] = net_number(&numbers);
    source->input = (struct rnn_walk_input){.n = net.features ? 1 : STEPS};
    if (net_takes_frames(&net))
        source->input.frames = source->frames;
    else
        source->input.tokens = source->tokens;
}

/* A model's state behind a source, and the output after bos. */
struct reading {
    struct rnn_walk *walk;
    struct rnn_state *state;
    float logits[TOKENS_MAX * 2];
};

static struct reading read_source(const struct rnn_model *model, struct rnn_scratch *scratch,
                                  const struct source *source)
{
    struct reading r = {.state = malloc(rnn_model_info(model)->state_bytes)};
    enum rnn_walk_next next;
    struct rnn_row row;

    rnn_state_init(model, r.state, 1);
    ck_assert_int_eq(rnn_walk_new(&r.walk, model, r.state, &source->input, NULL), 0);
    while ((next = rnn_walk_next(r.walk, &row)) != RNN_WALK_DONE) {
        row.logits = next == RNN_WALK_OUTPUT ? r.logits : NULL;
        rnn_step(model, scratch, &row, 1);
    }
    return r;
}

static void end_reading(struct reading *r)
{
    rnn_walk_free(r->walk);
    free(r->state);
}

/* A search of a model: live beginnings have a state each. */
struct model_search {
    const struct rnn_model *model;
    struct rnn_scratch *scratch;
    struct rnn_beam *beam;
    size_t state_bytes;
    char *states[2]; /* [WIDTH_MAX][state_bytes], of this step and of the next */
    float logits[WIDTH_MAX][TOKENS_MAX * 2];
};

/* Rows of another source, between those of the beam, with states that are thrown away. */
static size_t add_foreign(struct rnn_row *rows, size_t n, const struct reading *foreign,
                          char *states, size_t bytes, struct net *numbers)
{
    size_t n_foreign = net_below(numbers, FOREIGN + 1);

    for (size_t i = 0; i < n_foreign; i++) {
        size_t at = net_below(numbers, n + 1);
        struct rnn_state *state = (struct rnn_state *)(void *)(states + i * bytes);

        memcpy(state, foreign->state, bytes);
        memmove(rows + at + 1, rows + at, (n - at) * sizeof *rows);
        rows[at] = (struct rnn_row){.state = state,
                                    .input = RNN_ROW_TOKEN,
                                    .token = (uint32_t)net_below(numbers, net.decoder.size),
                                    .memory = rnn_walk_memory(foreign->walk)};
        n++;
    }
    return n;
}

static void step_live(struct model_search *s, const struct reading *own,
                      const struct rnn_beam_step *steps, size_t n, const struct reading *foreign,
                      struct net *numbers)
{
    struct rnn_row rows[WIDTH_MAX + FOREIGN];
    char *states = s->states[0], *thrown = malloc(FOREIGN * s->state_bytes);
    size_t n_rows = n;

    for (size_t i = 0; i < n; i++) {
        char *state = s->states[1] + i * s->state_bytes;

        memcpy(state, states + steps[i].parent * s->state_bytes, s->state_bytes);
        rows[i] = (struct rnn_row){.state = (struct rnn_state *)(void *)state,
                                   .input = RNN_ROW_TOKEN,
                                   .token = steps[i].token,
                                   .memory = rnn_walk_memory(own->walk),
                                   .logits = s->logits[i]};
    }
    if (foreign)
        n_rows = add_foreign(rows, n, foreign, thrown, s->state_bytes, numbers);
    rnn_step(s->model, s->scratch, rows, n_rows);
    s->states[0] = s->states[1];
    s->states[1] = states;
    free(thrown);
}

static void search_model(struct model_search *s, const struct source *source,
                         const struct source *other, struct net *numbers, struct texts *out)
{
    struct reading own = read_source(s->model, s->scratch, source), foreign = {0};
    struct rnn_beam_step steps[WIDTH_MAX];
    size_t n;

    if (other)
        foreign = read_source(s->model, s->scratch, other);
    memcpy(s->states[0], own.state, s->state_bytes);
    rnn_beam_offer(s->beam, 0, own.logits);
    ck_assert_int_eq(rnn_beam_advance(s->beam, steps, &n, NULL), 0);
    while (n > 0) {
        step_live(s, &own, steps, n, other ? &foreign : NULL, numbers);
        for (size_t i = 0; i < n; i++)
            rnn_beam_offer(s->beam, i, s->logits[i]);
        ck_assert_int_eq(rnn_beam_advance(s->beam, steps, &n, NULL), 0);
    }
    keep_texts(s->beam, WIDTH_MAX, out);
    end_reading(&own);
    end_reading(&foreign);
}

static void find(const struct rnn_model *model, int seed, bool beside, struct texts *out)
{
    struct net numbers = {.random = (uint64_t)seed + 1};
    const struct rnn_model_info *info = rnn_model_info(model);
    struct rnn_beam_options options = {.width = 1 + (size_t)seed % WIDTH_MAX,
                                       .length_penalty = seed % 2,
                                       .eos = info->eos,
                                       .max_tokens = LENGTH_MAX};
    struct model_search s = {.model = model, .state_bytes = info->state_bytes};
    struct source own, other;

    ck_assert_uint_le(info->output_size, TOKENS_MAX);
    make_source(&own, 1);
    make_source(&other, 2);
    for (size_t i = 0; i < 2; i++)
        s.states[i] = malloc(WIDTH_MAX * info->state_bytes);
    ck_assert_int_eq(rnn_scratch_new(&s.scratch, model, WIDTH_MAX + FOREIGN, NULL), 0);
    ck_assert_int_eq(rnn_beam_new(&s.beam, info->output_size, &options, NULL), 0);
    search_model(&s, &own, beside ? &other : NULL, &numbers, out);
    rnn_beam_free(s.beam);
    rnn_scratch_free(s.scratch);
    free(s.states[0]);
    free(s.states[1]);
}

/* The probability of a text, by a walk that is fed it. */
static double walk_logprob(const struct rnn_model *model, const struct text *text)
{
    const struct rnn_model_info *info = rnn_model_info(model);
    struct rnn_scratch *scratch;
    struct source source;
    struct rnn_state *state = malloc(info->state_bytes);
    struct rnn_walk *walk;
    enum rnn_walk_next next;
    struct rnn_row row;
    double sum = 0;

    make_source(&source, 1);
    source.input.target = text->tokens;
    source.input.n_target = text->n - 1;
    rnn_state_init(model, state, 1);
    ck_assert_int_eq(rnn_scratch_new(&scratch, model, 1, NULL), 0);
    ck_assert_int_eq(rnn_walk_new(&walk, model, state, &source.input, NULL), 0);
    while ((next = rnn_walk_next(walk, &row)) != RNN_WALK_DONE) {
        float logits[TOKENS_MAX];

        row.logits = next == RNN_WALK_OUTPUT ? logits : NULL;
        rnn_step(model, scratch, &row, 1);
        if (row.logits)
            sum += (double)logits[text->tokens[rnn_walk_step(walk)]] -
                   rnn_log_sum_exp(logits, info->output_size);
    }
    rnn_walk_free(walk);
    rnn_scratch_free(scratch);
    free(state);
    return sum;
}

START_TEST(a_search_does_not_notice_other_rows)
{
    uint64_t decoder = (uint64_t)_i * 4 + 2 + (uint64_t)_i % 2; /* captioner, translator */
    struct rnn_model *model;
    struct rnn_err err = {0};

    net_draw(&net, decoder);
    net_write(&net);
    if (rnn_model_open(&model, net.folder, NULL, &err) < 0)
        ck_abort_msg("%s", err.text);
    find(model, _i, false, &every);
    find(model, _i, true, &found);
    ck_assert_uint_gt(every.n, 0);
    ck_assert_uint_eq(found.n, every.n);
    for (size_t i = 0; i < every.n; i++) {
        ck_assert(same_tokens(&every.v[i], &found.v[i]));
        ck_assert(every.v[i].logprob == found.v[i].logprob);
        ck_assert(every.v[i].logprob == walk_logprob(model, &every.v[i]));
    }
    rnn_model_unref(model);
    net_free(&net);
}
END_TEST

int main(void)
{
    const TTest *laws[] = {a_beam_that_nothing_falls_out_of_tries_everything,
                           a_beam_of_one_is_greedy,
                           a_narrow_beam_keeps_the_best_continuations_of_all,
                           the_best_come_first_and_are_what_they_say,
                           equal_ones_come_in_the_order_of_their_ids,
                           a_search_does_not_notice_other_rows,
                           NULL};

    return run_laws("props/beam", laws, N_SEEDS);
}
