/* Recent tokens: the ring behind a state and the sampler that looks at it, against a twin that
 * keeps every token and counts anew; cut and copied at random, it never shows. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"

enum { TOKENS = 11, LENGTH = 300, TRIALS = 60 };

static const struct fake_shape shape = {.cell = &rnn_cell_gru,
                                        .input_size = TOKENS,
                                        .input = RNN_INPUT_ONEHOT,
                                        .layers = 1,
                                        .hidden = 5,
                                        .outputs = TOKENS,
                                        .activation = RNN_HEAD_SOFTMAX};

static uint64_t seed;

static size_t below(size_t n)
{
    return (size_t)((double)(fake_random(&seed) + 1.0f) / 2 * (double)n) % n;
}

/* The twin: everything that was fed. */
struct twin {
    uint32_t tokens[LENGTH];
    bool drawn[LENGTH];
    size_t n;
};

static struct rnn_state *state_new(const struct rnn_model *model, size_t window, size_t *bytes)
{
    struct rnn_state *state;

    *bytes = rnn_state_bytes(model, window);
    state = malloc(*bytes);
    ck_assert_ptr_nonnull(state);
    memset(state, 0x5a, *bytes);
    rnn_state_init(model, state, 1);
    rnn_state_forget(model, state, *bytes);
    return state;
}

static void assert_remembers(const struct rnn_model *model, const struct rnn_state *state,
                             size_t bytes, const struct twin *twin, size_t window)
{
    const struct rnn_recent *recent = rnn_state_recent(model, state, bytes);
    size_t n = twin->n < window ? twin->n : window;

    ck_assert(rnn_state_recalls(model, state, bytes));
    ck_assert_uint_eq(rnn_recent_count(recent), n);
    for (size_t i = 0; i < n; i++) {
        bool drawn;

        ck_assert_uint_eq(rnn_recent_at(recent, i, &drawn), twin->tokens[twin->n - n + i]);
        ck_assert_int_eq(drawn, twin->drawn[twin->n - n + i]);
    }
}

static void feed(const struct rnn_model *model, struct rnn_state *state, size_t bytes,
                 struct twin *twin)
{
    uint32_t token = (uint32_t)below(TOKENS);
    bool drawn = below(2);

    rnn_state_remember(model, state, bytes, token, drawn);
    twin->tokens[twin->n] = token;
    twin->drawn[twin->n++] = drawn;
}

START_TEST(a_ring_holds_the_last_tokens_in_order)
{
    struct rnn_model *model = fake_model(&shape, 1, false);

    for (seed = 1; seed < TRIALS; seed++) {
        size_t bytes, window = 1 + below(20);
        struct rnn_state *state = state_new(model, window, &bytes);
        struct twin twin = {.n = 0};

        while (twin.n < LENGTH) {
            assert_remembers(model, state, bytes, &twin, window);
            feed(model, state, bytes, &twin);
        }
        rnn_state_forget(model, state, bytes);
        twin.n = 0;
        assert_remembers(model, state, bytes, &twin, window);
        free(state);
    }
    rnn_model_unref(model);
}
END_TEST

START_TEST(a_copy_keeps_the_newest_that_fit)
{
    struct rnn_model *model = fake_model(&shape, 1, false);

    for (seed = 1; seed < TRIALS; seed++) {
        size_t bytes, other_bytes, window = below(20), other_window = below(20);
        struct rnn_state *state = state_new(model, window, &bytes), *other;
        struct twin twin = {.n = 0};
        size_t length = below(40);

        other = state_new(model, other_window, &other_bytes);
        state->position = 77;
        for (size_t i = 0; i < length; i++)
            feed(model, state, bytes, &twin);
        rnn_state_copy(model, other, other_bytes, state, bytes);
        ck_assert_mem_eq(other, state, rnn_model_info(model)->state_bytes);
        if (twin.n > window) { /* older ones had gone already */
            memmove(twin.tokens, twin.tokens + twin.n - window, window * sizeof *twin.tokens);
            memmove(twin.drawn, twin.drawn + twin.n - window, window * sizeof *twin.drawn);
            twin.n = window;
        }
        assert_remembers(model, other, other_bytes, &twin, other_window);
        for (size_t i = 0; i < 5; i++)
            feed(model, other, other_bytes, &twin);
        assert_remembers(model, other, other_bytes, &twin, other_window);
        free(other);
        free(state);
    }
    rnn_model_unref(model);
}
END_TEST

START_TEST(a_state_without_a_window_pays_nothing)
{
    struct rnn_model *model = fake_model(&shape, 1, false);
    size_t bytes, window = 77;
    struct rnn_state *state = state_new(model, 0, &bytes);

    ck_assert_uint_eq(bytes, rnn_model_info(model)->state_bytes);
    ck_assert_ptr_null(rnn_state_recent(model, state, bytes));
    ck_assert_uint_eq(rnn_recent_count(NULL), 0);
    rnn_state_remember(model, state, bytes, 3, true); /* no byte behind it: the sanitizer sees */
    ck_assert(rnn_state_recalls(model, state, bytes));
    ck_assert(rnn_state_window(model, bytes, &window));
    ck_assert_uint_eq(window, 0);
    free(state);
    rnn_model_unref(model);
}
END_TEST

START_TEST(a_length_tells_its_window)
{
    struct fake_shape other = shape;
    struct rnn_model *model = fake_model(&shape, 1, false), *tagger;
    size_t plain = rnn_model_info(model)->state_bytes, one = rnn_state_bytes(model, 1), window;

    for (size_t n = 0; n < 70; n++) {
        ck_assert(rnn_state_window(model, rnn_state_bytes(model, n), &window));
        ck_assert_uint_eq(window, n);
    }
    ck_assert(rnn_state_window(model, rnn_state_bytes(model, RNN_RECENT_MAX), &window));
    ck_assert(!rnn_state_window(model, rnn_state_bytes(model, RNN_RECENT_MAX + 1), &window));
    for (size_t bytes = 0; bytes < one; bytes++)
        ck_assert(rnn_state_window(model, bytes, &window) == (bytes == plain));
    ck_assert(!rnn_state_window(model, one + 2, &window));
    other.outputs = TOKENS + 1; /* it speaks of something else than what it reads */
    tagger = fake_model(&other, 1, false);
    ck_assert(!rnn_model_info(tagger)->language_model);
    ck_assert(!rnn_state_window(tagger, rnn_state_bytes(tagger, 4), &window));
    ck_assert(rnn_state_window(tagger, rnn_state_bytes(tagger, 0), &window));
    rnn_model_unref(tagger);
    rnn_model_unref(model);
}
END_TEST

START_TEST(what_is_no_ring_is_known_for_it)
{
    struct rnn_model *model = fake_model(&shape, 1, false);
    size_t bytes, plain = rnn_model_info(model)->state_bytes;
    struct rnn_state *state = state_new(model, 4, &bytes);
    /* size, n, next, then the tokens */
    static const uint32_t good[] = {4, 3, 3, 10, 0x80000000u | 2, 5, 99};
    static const uint32_t bad[][7] = {
        {3, 3, 0, 1, 2, 3, 4},      {5, 3, 3, 1, 2, 3, 4},
        {0, 0, 0, 0, 0, 0, 0},      {4, 5, 0, 1, 2, 3, 4},
        {4, 4, 4, 1, 2, 3, 4},      {4, 4, UINT32_MAX, 1, 2, 3, 4},
        {4, 2, 3, 1, 2, 3, 4},      {4, 2, 1, 1, 2, 3, 4},
        {4, 3, 3, TOKENS, 2, 3, 4}, {4, 4, 2, 1, 2, 3, 0x80000000u | TOKENS},
    };

    memcpy((char *)state + plain, good, sizeof good);
    ck_assert(rnn_state_recalls(model, state, bytes));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memcpy((char *)state + plain, bad[i], sizeof bad[i]);
        ck_assert_msg(!rnn_state_recalls(model, state, bytes), "ring %zu", i);
    }
    free(state);
    rnn_model_unref(model);
}
END_TEST

/* ---- The sampler ---- */

static struct rnn_sampling settings(void)
{
    struct rnn_sampling set = RNN_SAMPLING_DEFAULT;

    set.repetition_penalty = below(2) ? 1.0f : 1.0f + (float)below(8) / 8;
    set.presence_penalty = below(2) ? 0.0f : (float)below(8) / 8;
    set.frequency_penalty = below(2) ? 0.0f : (float)below(8) / 8;
    set.temperature = below(2) ? 0.0f : 0.8f;
    return set;
}

static uint32_t draw(struct rnn_sampler *sampler, struct rnn_rng *rng)
{
    float logits[TOKENS];
    uint32_t token = TOKENS;

    for (size_t i = 0; i < TOKENS; i++)
        logits[i] = 2 * fake_random(&seed);
    ck_assert_int_eq(rnn_sample(sampler, logits, rng, &token), 0);
    return token;
}

/* A sampler that has been told the last `window` tokens and no more. */
static uint32_t draw_as_twin(const struct rnn_sampling *set, const struct twin *twin, size_t window,
                             struct rnn_rng *rng)
{
    struct rnn_sampler *sampler;
    uint32_t token;

    ck_assert_int_eq(rnn_sampler_new(&sampler, TOKENS, set, NULL), 0);
    for (size_t i = twin->n > window ? twin->n - window : 0; i < twin->n; i++)
        rnn_sampler_observe(sampler, twin->tokens[i], twin->drawn[i]);
    token = draw(sampler, rng);
    rnn_sampler_free(sampler);
    return token;
}

/* A text whose sampler and state are given up and begun anew wherever chance has it. */
START_TEST(a_text_in_pieces_is_drawn_as_by_the_twin)
{
    struct rnn_model *model = fake_model(&shape, 1, false);

    for (uint64_t trial = 1; trial < TRIALS; trial++) {
        size_t bytes, window;
        struct rnn_sampling set;
        struct rnn_state *state;
        struct rnn_sampler *sampler = NULL;
        struct rnn_rng rng = {.seed = trial}, rng_of_twin = rng;
        struct twin twin = {.n = 0};

        seed = trial;
        window = 1 + below(30);
        set = settings();
        state = state_new(model, window, &bytes);
        while (twin.n < LENGTH) {
            uint64_t here;
            uint32_t token;

            if (!sampler || below(4) == 0) { /* another request, which may feed first */
                struct rnn_state *copy = state_new(model, window, &bytes);

                rnn_state_copy(model, copy, bytes, state, bytes);
                free(state);
                state = copy;
                rnn_sampler_free(sampler);
                ck_assert_int_eq(rnn_sampler_new(&sampler, TOKENS, &set, NULL), 0);
                if (below(2))
                    feed(model, state, bytes, &twin);
                continue;
            }
            here = seed;
            rnn_sampler_observe(sampler, (uint32_t)below(TOKENS), true); /* counts no more */
            rnn_sampler_recall(sampler, rnn_state_recent(model, state, bytes));
            seed = here;
            token = draw(sampler, &rng);
            seed = here;
            ck_assert_uint_eq(token, draw_as_twin(&set, &twin, window, &rng_of_twin));
            rnn_state_remember(model, state, bytes, token, true);
            twin.tokens[twin.n] = token;
            twin.drawn[twin.n++] = true;
        }
        rnn_sampler_free(sampler);
        free(state);
    }
    rnn_model_unref(model);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        a_ring_holds_the_last_tokens_in_order, a_copy_keeps_the_newest_that_fit,
        a_state_without_a_window_pays_nothing, a_length_tells_its_window,
        what_is_no_ring_is_known_for_it,       a_text_in_pieces_is_drawn_as_by_the_twin,
    };
    Suite *suite = suite_create("unit/core/recent");
    TCase *all = tcase_create("all");
    SRunner *runner;
    int failed;

    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(all, tests[i]);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
