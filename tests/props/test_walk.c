/* The laws of walks, for random models of every shape: what comes out is near what the equations
 * say in double; all instruction sets give the same bits; the token table changes nothing; a walk
 * does not notice the other rows of its steps; pieces equal the whole, and reading equals the last
 * step, wherever a state can be held; the last output alone is the last of all; padding is passed
 * over.  A case's number is
 * its seed, which a fault names: SEEDS=FROM:TO runs others, SHOW=1 prints their
 * config.json. */
#include <math.h>
#include <string.h>

#include "core/model.h"
#include "laws.h"
#include "net.h"

enum { STEPS_MAX = 6, TARGET_MAX = 5, WALKS = 5, N_SEEDS = 400 };

static const enum rnn_isa isas[] = {RNN_ISA_SCALAR, RNN_ISA_AVX2, RNN_ISA_AVX512};

/* ---- Inputs ---- */

/* Input number `id` of a net: one of no other's length. */
struct text {
    uint32_t tokens[STEPS_MAX], target[TARGET_MAX];
    float frames[STEPS_MAX * 64];
    struct net_input input;
};

static void make_text(const struct net *net, unsigned id, struct text *text)
{
    struct net numbers = {.random = 77 + id};
    size_t width = net_input_size(net);

    if (width > 64)
        abort();
    for (size_t t = 0; t < STEPS_MAX; t++)
        text->tokens[t] = (uint32_t)net_below(&numbers, width);
    for (size_t i = 0; i < STEPS_MAX * width; i++)
        text->frames[i] = net_number(&numbers);
    for (size_t t = 0; t < TARGET_MAX; t++)
        text->target[t] = (uint32_t)net_below(&numbers, net->decoder.size);
    text->input = (struct net_input){.n = net->features ? 1
                                          : net->window ? net->window
                                                        : STEPS_MAX - id % STEPS_MAX,
                                     .target = text->target,
                                     .n_target = net_decodes(net) ? TARGET_MAX - id % 3 : 0};
    if (net_takes_frames(net))
        text->input.frames = text->frames;
    else
        text->input.tokens = text->tokens;
}

/* ---- Runs ---- */

/* A walk under way and everything that it leaves behind. */
struct run {
    const struct rnn_model *model;
    struct rnn_state *state;
    struct rnn_walk *walk;
    float *logits, *hidden; /* [n][…] outputs so far */
    size_t n;
};

enum { OUTPUTS_MAX = STEPS_MAX + TARGET_MAX + 2 };

static struct run run_new(const struct rnn_model *model)
{
    const struct rnn_model_info *info = rnn_model_info(model);
    struct run run = {.model = model,
                      .state = malloc(info->state_bytes),
                      .logits = calloc(OUTPUTS_MAX * info->output_size, sizeof(float)),
                      .hidden = calloc(OUTPUTS_MAX * info->hidden_width, sizeof(float))};

    rnn_state_init(model, run.state, 3);
    return run;
}

static void run_free(struct run *run)
{
    rnn_walk_free(run->walk);
    free(run->state);
    free(run->logits);
    free(run->hidden);
}

static void begin(struct run *run, const struct net_input *input, bool last_only)
{
    struct rnn_walk_input from = {.tokens = input->tokens,
                                  .frames = input->frames,
                                  .n = input->n,
                                  .target = input->target,
                                  .n_target = input->n_target,
                                  .last_only = last_only};
    struct rnn_err err = {0};

    rnn_walk_free(run->walk);
    run->walk = NULL;
    if (rnn_walk_new(&run->walk, run->model, run->state, &from, &err) < 0)
        ck_abort_msg("walk: %s", err.text);
}

/* The next row, told where to put what it gives; false: there is none. */
static bool next_row(struct run *run, struct rnn_row *row)
{
    const struct rnn_model_info *info = rnn_model_info(run->model);
    enum rnn_walk_next next = rnn_walk_next(run->walk, row);

    if (next != RNN_WALK_OUTPUT)
        return next != RNN_WALK_DONE;
    ck_assert_uint_lt(run->n, OUTPUTS_MAX);
    row->logits = run->logits + run->n * info->output_size;
    if (!row->hidden)
        row->hidden = run->hidden + run->n * info->hidden_width;
    run->n++;
    return true;
}

/* To the end, by itself. */
static void finish(struct run *run)
{
    struct rnn_scratch *scratch;
    struct rnn_row row;

    ck_assert_int_eq(rnn_scratch_new(&scratch, run->model, 1, NULL), 0);
    while (next_row(run, &row))
        rnn_step(run->model, scratch, &row, 1);
    rnn_scratch_free(scratch);
}

static struct run walk_alone(const struct rnn_model *model, const struct net_input *input)
{
    struct run run = run_new(model);

    begin(&run, input, false);
    finish(&run);
    return run;
}

static void same(const struct run *a, const struct run *b)
{
    const struct rnn_model_info *info = rnn_model_info(a->model);

    ck_assert_uint_eq(a->n, b->n);
    ck_assert_mem_eq(a->logits, b->logits, a->n * info->output_size * sizeof(float));
    ck_assert_mem_eq(a->hidden, b->hidden, a->n * info->hidden_width * sizeof(float));
    ck_assert_mem_eq(a->state, b->state, info->state_bytes);
}

/* ---- Models ---- */

static struct net net; /* of the case at hand */

static struct rnn_model *open_model(bool table)
{
    const struct rnn_open_options options = {.table_max_bytes = table ? (size_t)1 << 30 : 0};
    struct rnn_model *model = NULL;
    struct rnn_err err = {0};

    if (rnn_model_open(&model, net.folder, &options, &err) < 0) {
        char *config = net_config(&net);

        ck_abort_msg("%s\n%s", err.text, config);
    }
    return model;
}

static struct rnn_model *draw_model(int seed, bool table)
{
    net_draw(&net, (uint64_t)seed);
    net_write(&net);
    if (getenv("SHOW")) {
        char *config = net_config(&net);

        fprintf(stderr, "%d: %s\n", seed, config);
        free(config);
    }
    return open_model(table);
}

static void drop(struct rnn_model *model)
{
    rnn_model_unref(model);
    net_free(&net);
}

/* ---- Against the equations ---- */

/* What the equations say, and what they say of weights that are another float's width away: a model
 * that makes much of little (a gate without bounds, a small deviation) makes much of rounding. */
struct wanted {
    struct net_result exact, shaken;
};

static void near(const char *what, size_t at, const float *got, const double *want,
                 const double *shaken, size_t n)
{
    double top = 1, doubt = 0;

    for (size_t i = 0; i < n; i++) {
        top = fmax(top, fabs(want[i]));
        doubt = fmax(doubt, fabs(want[i] - shaken[i]));
    }
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= 1e-5 * top + 50 * doubt)) {
            char *config = net_config(&net);

            ck_abort_msg("%s of %zu: [%zu] is %.9g, want %.9g; %s", what, at, i, (double)got[i],
                         want[i], config);
        }
}

static void near_state(const struct run *run, const struct net_state *want,
                       const struct net_state *shaken, unsigned stack)
{
    size_t n_parts, h = 0, c = want->n_h;
    const struct rnn_state_part *parts = rnn_state_parts(run->model, &n_parts);

    for (size_t i = 0; i < n_parts; i++) {
        size_t at;

        if (parts[i].stack != stack || (parts[i].kind[0] != 'h' && parts[i].kind[0] != 'c'))
            continue;
        at = parts[i].kind[0] == 'h' ? h++ : c++;
        ck_assert_uint_lt(at, want->n);
        ck_assert_uint_eq(parts[i].size, want->size[at]);
        near(stack ? "encoder's state" : "state", at, run->state->memory + parts[i].offset,
             want->v[at], shaken->v[at], parts[i].size);
    }
    ck_assert_uint_eq(h, want->n_h);
    ck_assert_uint_eq(c, want->n);
}

static void near_outputs(const struct run *run, const struct net_result *want,
                         const struct net_result *shaken)
{
    const struct rnn_model_info *info = rnn_model_info(run->model);
    float *activated = malloc(info->output_size * sizeof *activated);

    ck_assert_uint_eq(run->n, want->n);
    ck_assert_uint_eq(info->output_size, want->outputs);
    ck_assert_uint_eq(info->hidden_width, want->width);
    for (size_t t = 0; t < want->n; t++) {
        size_t at = t * want->outputs, under = t * want->width;

        near("logits", t, run->logits + at, want->logits + at, shaken->logits + at, want->outputs);
        near("hidden", t, run->hidden + under, want->hidden + under, shaken->hidden + under,
             want->width);
        rnn_activate(run->model, run->logits + at, activated);
        near("activated", t, activated, want->activated + at, shaken->activated + at,
             want->outputs);
    }
    free(activated);
}

/* Gates without bounds can lead out of what a float holds. */
static bool overflows(const struct net_state *state)
{
    for (size_t i = 0; i < state->n; i++)
        for (size_t j = 0; j < state->size[i]; j++)
            if (!(fabs(state->v[i][j]) < 1e30))
                return true;
    return false;
}

static void near_all(const struct run *run, const struct wanted *want)
{
    if (overflows(&want->exact.decoder) || overflows(&want->exact.encoder))
        return;
    near_outputs(run, &want->exact, &want->shaken);
    near_state(run, &want->exact.decoder, &want->shaken.decoder, 0);
    near_state(run, &want->exact.encoder, &want->shaken.encoder, 1);
}

START_TEST(what_comes_out_is_what_the_equations_say)
{
    static struct net shaken;
    struct rnn_model *model = draw_model(_i, true);

    net_draw(&shaken, (uint64_t)_i);
    net_shake(&shaken);
    for (unsigned id = 0; id < 3; id++) {
        struct wanted want;
        struct text text;
        struct run run;

        make_text(&net, id, &text);
        net_compute(&net, &text.input, &want.exact);
        net_compute(&shaken, &text.input, &want.shaken);
        run = walk_alone(model, &text.input);
        near_all(&run, &want);
        run_free(&run);
        net_result_free(&want.exact);
        net_result_free(&want.shaken);
    }
    net_free(&shaken);
    drop(model);
}
END_TEST

/* ---- Bit for bit ---- */

START_TEST(instruction_sets_and_the_token_table_change_nothing)
{
    struct rnn_model *table = draw_model(_i, true), *plain = open_model(false);
    struct text text;
    struct run want;

    make_text(&net, 0, &text);
    ck_assert_int_eq(rnn_kernels_select(RNN_ISA_SCALAR, NULL), 0);
    want = walk_alone(table, &text.input);
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        struct run with, without;

        if (rnn_kernels_select(isas[i], NULL) < 0)
            continue;
        with = walk_alone(table, &text.input);
        without = walk_alone(plain, &text.input);
        same(&want, &with);
        same(&want, &without);
        run_free(&with);
        run_free(&without);
    }
    run_free(&want);
    rnn_model_unref(plain);
    drop(table);
}
END_TEST

/* A step of some of the walks, in some order, none of them at its end. */
static size_t some_rows(struct net *numbers, struct run *runs, bool *ended, struct rnn_row *rows)
{
    size_t n = 0, first = net_below(numbers, WALKS);

    for (size_t i = 0; i < WALKS; i++) {
        size_t w = (first + i * 2) % WALKS;

        if (ended[w] || net_chance(numbers, 3))
            continue;
        if (next_row(&runs[w], &rows[n]))
            n++;
        else
            ended[w] = true;
    }
    return n;
}

static bool all_ended(const bool *ended)
{
    for (size_t w = 0; w < WALKS; w++)
        if (!ended[w])
            return false;
    return true;
}

START_TEST(a_walk_does_not_notice_the_others)
{
    struct rnn_model *model = draw_model(_i, _i % 2);
    static struct text texts[WALKS];
    struct net numbers = {.random = (uint64_t)_i + 1};
    struct run runs[WALKS];
    struct rnn_row rows[WALKS];
    struct rnn_scratch *scratch;
    bool ended[WALKS] = {false};

    ck_assert_int_eq(rnn_scratch_new(&scratch, model, WALKS, NULL), 0);
    for (unsigned w = 0; w < WALKS; w++) {
        make_text(&net, w, &texts[w]);
        runs[w] = run_new(model);
        begin(&runs[w], &texts[w].input, false);
    }
    while (!all_ended(ended))
        rnn_step(model, scratch, rows, some_rows(&numbers, runs, ended, rows));
    for (unsigned w = 0; w < WALKS; w++) {
        struct run alone = walk_alone(model, &texts[w].input);

        same(&alone, &runs[w]);
        run_free(&alone);
        run_free(&runs[w]);
    }
    rnn_scratch_free(scratch);
    drop(model);
}
END_TEST

/* ---- Pieces ---- */

/* The first output is that of the walk before it, read once more. */
static void forget_first(struct run *run, size_t before)
{
    const struct rnn_model_info *info = rnn_model_info(run->model);
    size_t outputs = info->output_size, width = info->hidden_width, rest = run->n - before - 1;

    ck_assert_mem_eq(run->logits + before * outputs, run->logits + (before - 1) * outputs,
                     outputs * sizeof(float));
    ck_assert_mem_eq(run->hidden + before * width, run->hidden + (before - 1) * width,
                     width * sizeof(float));
    memmove(run->logits + before * outputs, run->logits + (before + 1) * outputs,
            rest * outputs * sizeof(float));
    memmove(run->hidden + before * width, run->hidden + (before + 1) * width,
            rest * width * sizeof(float));
    run->n--;
}

static void walk_decoder_in_pieces(struct run *run, const struct net_input *input)
{
    struct net_input piece = *input, rest = {.target = input->target + 1};
    size_t before;

    piece.n_target = 1;
    rest.n_target = input->n_target - 1;
    begin(run, &piece, false);
    finish(run);
    before = run->n;
    begin(run, &rest, false);
    finish(run);
    forget_first(run, before);
}

static void walk_input_in_pieces(struct run *run, const struct net_input *input)
{
    const struct rnn_model_info *info = rnn_model_info(run->model);

    for (size_t at = 0, n = 1; at<input->n; at += n, n = at + 2> input->n ? 1 : 2) {
        struct net_input piece = {.n = n};

        if (input->frames)
            piece.frames = input->frames + at * info->input_size;
        else
            piece.tokens = input->tokens + at;
        if (info->topology == RNN_MANY_TO_ONE)
            run->n = 0; /* each piece has an output: the last one counts */
        begin(run, &piece, false);
        finish(run);
    }
}

START_TEST(pieces_equal_the_whole)
{
    struct rnn_model *model = draw_model(_i, true);
    struct run whole, pieces;
    struct text text;

    if (!rnn_model_info(model)->unsteppable) {
        make_text(&net, 0, &text);
        whole = walk_alone(model, &text.input);
        pieces = run_new(model);
        if (net_decodes(&net))
            walk_decoder_in_pieces(&pieces, &text.input);
        else
            walk_input_in_pieces(&pieces, &text.input);
        same(&whole, &pieces);
        run_free(&whole);
        run_free(&pieces);
    }
    drop(model);
}
END_TEST

START_TEST(reading_is_the_last_step_again)
{
    struct rnn_model *model = draw_model(_i, true);
    const struct rnn_model_info *info = rnn_model_info(model);
    struct net_input nothing = {0};
    struct text text;
    struct run run;
    size_t before;

    make_text(&net, 1, &text);
    run = walk_alone(model, &text.input);
    if (!info->unsteppable) {
        struct rnn_state *state = malloc(info->state_bytes);

        memcpy(state, run.state, info->state_bytes);
        before = run.n;
        begin(&run, &nothing, false);
        finish(&run);
        ck_assert_uint_eq(run.n, before + 1);
        ck_assert_mem_eq(run.state, state, info->state_bytes);
        forget_first(&run, before);
        free(state);
    }
    run_free(&run);
    drop(model);
}
END_TEST

START_TEST(the_last_output_alone_is_the_last_of_all)
{
    struct rnn_model *model = draw_model(_i, true);
    size_t outputs = rnn_model_info(model)->output_size;
    struct run all, last = run_new(model);
    struct text text;

    make_text(&net, 2, &text);
    all = walk_alone(model, &text.input);
    begin(&last, &text.input, true);
    finish(&last);
    ck_assert_uint_eq(last.n, net_decodes(&net) ? all.n : 1);
    ck_assert_mem_eq(last.logits + (last.n - 1) * outputs, all.logits + (all.n - 1) * outputs,
                     outputs * sizeof(float));
    ck_assert_mem_eq(last.state, all.state, rnn_model_info(model)->state_bytes);
    run_free(&all);
    run_free(&last);
    drop(model);
}
END_TEST

/* ---- Padding ---- */

/* The model, told to pass over id 0 or frames of 0.5; false where no model can be told so. */
static bool set_mask(struct rnn_model *model)
{
    const struct rnn_model_info *info = rnn_model_info(model);
    struct rnn_stack_spec *spec =
        (struct rnn_stack_spec *)(uintptr_t)model->stacks[model->spec.n_stacks - 1].spec;

    if (net.features || info->window || (model->readout_at == RNN_NOWHERE && !info->repeat) ||
        (info->topology == RNN_SYNCED && info->bidirectional))
        return false;
    spec->masks = true;
    spec->mask = net_takes_frames(&net) ? 0.5f : 0;
    return spec->input_size > 1;
}

/* Inserts a step of padding in front of step `at`. */
static void insert_padding(struct text *text, size_t at)
{
    size_t width = net_input_size(&net), n = text->input.n++;

    memmove(text->tokens + at + 1, text->tokens + at, (n - at) * sizeof *text->tokens);
    memmove(text->frames + (at + 1) * width, text->frames + at * width,
            (n - at) * width * sizeof *text->frames);
    text->tokens[at] = 0;
    for (size_t i = 0; i < width; i++)
        text->frames[at * width + i] = 0.5f;
}

/* Padded at the beginning, within, and at the end, or not at all: the same state and last output.
 */
START_TEST(steps_of_padding_are_passed_over)
{
    struct rnn_model *model = draw_model(_i, true);
    const struct rnn_model_info *info = rnn_model_info(model);
    struct run bare, padded;
    struct text text;

    make_text(&net, 3, &text);
    text.input.n = STEPS_MAX - 3;
    for (size_t t = 0; t < STEPS_MAX; t++)
        text.tokens[t] += text.tokens[t] == 0; /* no padding of its own */
    if (set_mask(model)) {
        bare = walk_alone(model, &text.input);
        insert_padding(&text, 0);
        insert_padding(&text, 2);
        insert_padding(&text, text.input.n);
        padded = walk_alone(model, &text.input);
        ck_assert_uint_eq(padded.n, info->topology == RNN_SYNCED ? bare.n + 3 : bare.n);
        ck_assert_mem_eq(padded.logits + (padded.n - 1) * info->output_size,
                         bare.logits + (bare.n - 1) * info->output_size,
                         info->output_size * sizeof(float));
        ck_assert_mem_eq(padded.state, bare.state, info->state_bytes);
        run_free(&bare);
        run_free(&padded);
    }
    drop(model);
}
END_TEST

/* Lanes between the parts of a state, after a walk. */
START_TEST(padding_stays_zero)
{
    struct rnn_model *model = draw_model(_i, true);
    const struct rnn_model_info *info = rnn_model_info(model);
    size_t n_parts, floats = (info->state_bytes - sizeof(struct rnn_state)) / sizeof(float);
    const struct rnn_state_part *parts = rnn_state_parts(model, &n_parts);
    struct text text;
    struct run run;

    make_text(&net, 1, &text);
    run = walk_alone(model, &text.input);
    for (size_t i = 0; i < n_parts; i++)
        memset(run.state->memory + parts[i].offset, 0, parts[i].size * sizeof(float));
    for (size_t i = 0; i < floats; i++)
        ck_assert(run.state->memory[i] == 0.0f);
    run_free(&run);
    drop(model);
}
END_TEST

int main(void)
{
    const TTest *laws[] = {what_comes_out_is_what_the_equations_say,
                           instruction_sets_and_the_token_table_change_nothing,
                           a_walk_does_not_notice_the_others,
                           pieces_equal_the_whole,
                           reading_is_the_last_step_again,
                           the_last_output_alone_is_the_last_of_all,
                           steps_of_padding_are_passed_over,
                           padding_stays_zero,
                           NULL};

    return run_laws("props/walk", laws, N_SEEDS);
}
