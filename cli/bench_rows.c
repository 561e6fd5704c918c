/* See bench_rows.h. */
#include "cli/bench_rows.h"

#include <stdlib.h>

#include "base/checked.h"

static uint32_t draw(struct bench_rows *b, size_t below)
{
    b->random = b->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((b->random >> 33) % below);
}

static bool make_frames(struct bench_rows *b)
{
    size_t n = b->steps > BENCH_ROWS_MAX ? b->steps : BENCH_ROWS_MAX;

    if (!checked_mul(n, b->info->input_size, &n) || !(b->frames = calloc(n, sizeof *b->frames)))
        return false;
    for (size_t i = 0; i < n; i++)
        b->frames[i] = (float)draw(b, 2001) / 1000.0f - 1.0f;
    return true;
}

static bool make_tokens(struct bench_rows *b)
{
    if (!(b->tokens = calloc(b->steps, sizeof *b->tokens)))
        return false;
    for (size_t i = 0; i < b->steps; i++)
        b->tokens[i] = draw(b, b->info->input_size);
    return true;
}

int bench_rows_init(struct bench_rows *b, const struct engine *engine)
{
    const struct rnn_model_info *info = engine->info;
    bool dense = info->input_kind == RNN_INPUT_DENSE, good;

    *b = (struct bench_rows){.model = engine->model, .info = info, .random = 1};
    b->walks_on = info->unsteppable || engine_decodes(info);
    b->steps = info->topology == RNN_ONE_TO_MANY ? 1 : info->window ? info->window : BENCH_STEPS;
    b->stride = (info->state_bytes + 63) / 64 * 64;
    b->states = aligned_alloc(64, BENCH_ROWS_MAX * b->stride);
    b->logits = calloc(BENCH_ROWS_MAX, info->output_size * sizeof *b->logits);
    good = b->states && b->logits && (dense ? make_frames(b) : make_tokens(b));
    for (size_t i = 0; i < BENCH_STEPS && engine_decodes(info); i++)
        b->target[i] = draw(b, info->decoder_size);
    return good ? CLI_OK : cli_fail("out of memory");
}

static void end_walks(struct bench_rows *b)
{
    for (size_t i = 0; i < BENCH_ROWS_MAX; i++) {
        rnn_walk_free(b->walks[i]);
        b->walks[i] = NULL;
    }
}

void bench_rows_free(struct bench_rows *b)
{
    end_walks(b);
    free(b->states);
    free(b->logits);
    free(b->frames);
    free(b->tokens);
    *b = (struct bench_rows){0};
}

static struct rnn_state *state_of(struct bench_rows *b, size_t i)
{
    return (struct rnn_state *)(void *)(b->states + i * b->stride);
}

void bench_rows_begin(struct bench_rows *b, size_t n)
{
    end_walks(b);
    for (size_t i = 0; i < n; i++) {
        b->rows[i] = (struct rnn_row){
            .state = state_of(b, i),
            .input = b->frames ? RNN_ROW_FRAME : RNN_ROW_TOKEN,
            .frame = b->frames ? b->frames + i * b->info->input_size : NULL,
            .logits = b->logits + i * b->info->output_size,
        };
        rnn_state_init(b->model, b->rows[i].state, i);
    }
}

static int begin_walk(struct bench_rows *b, size_t i)
{
    const struct rnn_walk_input input = {
        .tokens = b->frames ? NULL : b->tokens,
        .frames = b->frames,
        .n = b->steps,
        .target = b->target,
        .n_target = engine_decodes(b->info) ? BENCH_STEPS : 0,
    };
    struct rnn_err err = {0};

    rnn_walk_free(b->walks[i]);
    b->walks[i] = NULL;
    rnn_state_init(b->model, state_of(b, i), i);
    if (rnn_walk_new(&b->walks[i], b->model, state_of(b, i), &input, &err) < 0)
        return cli_fail("%s", err.text);
    return CLI_OK;
}

static int next_of_walk(struct bench_rows *b, size_t i)
{
    enum rnn_walk_next next = RNN_WALK_DONE;

    if (b->walks[i])
        next = rnn_walk_next(b->walks[i], &b->rows[i]);
    if (next == RNN_WALK_DONE) {
        if (begin_walk(b, i) != CLI_OK)
            return CLI_FAILURE;
        next = rnn_walk_next(b->walks[i], &b->rows[i]);
    }
    if (next == RNN_WALK_OUTPUT)
        b->rows[i].logits = b->logits + i * b->info->output_size;
    return CLI_OK;
}

int bench_rows_next(struct bench_rows *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (b->walks_on && next_of_walk(b, i) != CLI_OK)
            return CLI_FAILURE;
        if (!b->walks_on && !b->frames)
            b->rows[i].token = draw(b, b->info->input_size);
    }
    return CLI_OK;
}
