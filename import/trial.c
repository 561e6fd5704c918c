/* Running an imported model.  See trial.h.
 *
 * The fixed input is the same for every model of one shape, so that a person can feed it to the
 * original. */
#include "import/trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rnn.h"
#include "import/expected.h"

enum { STEPS = OPINION_STEPS, SHOWN = 5 };

struct trial {
    struct rnn_model *model;
    const struct rnn_model_info *info;
    struct rnn_scratch *scratch;
    struct rnn_state *state;
    float *outputs; /* of the last run: [n_outputs][output_size], logits */
    size_t n_outputs, outputs_cap;
    struct rnn_err *err;
};

/* ---- Running ---- */

static int no_memory(struct trial *t)
{
    return rnn_fail(t->err, RNN_ENOMEM, "out of memory");
}

static int keep_output(struct trial *t, float **row)
{
    size_t width = t->info->output_size;

    if (t->n_outputs == t->outputs_cap) {
        size_t cap = t->outputs_cap ? t->outputs_cap * 2 : 16;
        float *larger = realloc(t->outputs, cap * width * sizeof *larger);

        if (!larger)
            return no_memory(t);
        t->outputs = larger;
        t->outputs_cap = cap;
    }
    *row = t->outputs + t->n_outputs++ * width;
    return 0;
}

static int run_input(struct trial *t, const struct rnn_walk_input *input)
{
    struct rnn_walk *walk;
    struct rnn_row row;
    enum rnn_walk_next next;
    int rc;

    rnn_state_init(t->model, t->state, 0);
    t->n_outputs = 0;
    rc = rnn_walk_new(&walk, t->model, t->state, input, t->err);
    if (rc < 0)
        return rc;
    while (rc == 0 && (next = rnn_walk_next(walk, &row)) != RNN_WALK_DONE) {
        if (next == RNN_WALK_OUTPUT)
            rc = keep_output(t, &row.logits);
        if (rc == 0)
            rnn_step(t->model, t->scratch, &row, 1);
    }
    rnn_walk_free(walk);
    return rc;
}

/* ---- The fixed input ---- */

static void print_outputs(struct trial *t, FILE *out)
{
    size_t width = t->info->output_size;
    const float *last = t->outputs + (t->n_outputs - 1) * width;

    fprintf(out, t->n_outputs == 1 ? "  output:" : "  output of the last step:");
    for (size_t i = 0; i < width && i < SHOWN; i++)
        fprintf(out, " %.7g", (double)last[i]);
    fprintf(out, "%s\n", width > SHOWN ? " …" : "");
    if (t->info->activation == RNN_HEAD_SOFTMAX && t->info->has_head) {
        uint32_t top;

        rnn_top(last, width, 1, &top);
        fprintf(out, "  the largest is number %u\n", top);
    }
}

static void print_ids(size_t steps, size_t width, FILE *out)
{
    fputs("Check: ids", out);
    for (size_t i = 0; i < steps && i < STEPS; i++)
        fprintf(out, " %llu", (unsigned long long)opinion_id(i, width));
    fputs(steps > STEPS ? " …\n" : "\n", out);
}

static int run_fixed(struct trial *t, FILE *out)
{
    size_t width = t->info->input_size;
    bool frames = t->info->input_kind == RNN_INPUT_DENSE || t->info->topology == RNN_ONE_TO_MANY;
    size_t steps = t->info->topology == RNN_ONE_TO_MANY ? 1 : STEPS;
    struct rnn_walk_input input = {0};
    float *values = NULL;
    uint32_t *ids = NULL;
    int rc;

    if (t->info->window)
        steps = t->info->window;
    if (frames)
        input.frames = values = calloc(steps * width, sizeof *values);
    else
        input.tokens = ids = calloc(steps, sizeof *ids);
    if (!values && !ids)
        return no_memory(t);
    input.n = steps;
    for (size_t i = 0; frames && i < steps * width; i++)
        values[i] = (float)opinion_number(i);
    for (size_t i = 0; ids && i < steps; i++)
        ids[i] = (uint32_t)opinion_id(i, width);
    rc = run_input(t, &input);
    free(values);
    free(ids);
    if (rc < 0)
        return rc;
    if (frames)
        fprintf(out, "Check: %zu step%s of %zu numbers, sin(1), sin(2), sin(3), …\n", steps,
                steps == 1 ? "" : "s", width);
    else
        print_ids(steps, width, out);
    print_outputs(t, out);
    return 0;
}

/* ---- The second opinion ---- */

/* Rounding may take a thousandth of the largest output; a wrong weight takes more. */
static int compare_opinion(struct trial *t, const struct opinion *opinion, FILE *out)
{
    bool pooled = t->info->topology == RNN_MANY_TO_ONE;
    const double *want = pooled ? opinion->pooled : opinion->last;
    size_t width = t->info->output_size, worst = 0;
    const float *got = t->outputs + (t->n_outputs - 1) * width;
    double largest = 0, difference = 0;

    if (opinion->n != width || (!pooled && t->info->topology != RNN_SYNCED)) {
        fputs("Second opinion: none of a model of this kind; --expect compares with the original\n",
              out);
        return 0;
    }
    for (size_t i = 0; i < width; i++) {
        double gap = fabs((double)got[i] - want[i]);

        largest = fmax(largest, fabs(want[i]));
        if (!(gap <= difference)) {
            difference = gap;
            worst = i;
        }
    }
    if (!(difference <= 1e-3 * largest + 1e-5))
        return rnn_fail(t->err, RNN_ERANGE,
                        "the finished model does not compute what the file's tensors do: output "
                        "%zu is %.7g, in double precision from the file's own tensors %.7g",
                        worst, (double)got[worst], want[worst]);
    fprintf(out,
            "Second opinion: %zu outputs computed in double precision from the file's own tensors "
            "agree, largest difference %.3g\n",
            width, difference);
    return 0;
}

/* ---- Expected values ---- */

/* Ids of a part, of which all must be below `limit`. */
static int to_ids(struct trial *t, const double *values, size_t n, size_t limit, uint32_t **out)
{
    *out = calloc(n + 1, sizeof **out);
    if (!*out)
        return no_memory(t);
    for (size_t i = 0; i < n; i++) {
        if (!(values[i] >= 0 && values[i] < (double)limit && values[i] == floor(values[i])))
            return rnn_fail(t->err, RNN_ERANGE, "--expect: input[%zu] is %g, no id below %zu", i,
                            values[i], limit);
        (*out)[i] = (uint32_t)values[i];
    }
    return 0;
}

struct gap {
    double worst;
    size_t n, n_off, first; /* place of the first that is off */
};

static void compare(const float *got, const double *want, size_t n, struct gap *gap)
{
    for (size_t i = 0; i < n; i++) {
        double difference = fabs((double)got[i] - want[i]);

        if (!(difference <= 1e-4 + 1e-4 * fabs(want[i])) && gap->n_off++ == 0)
            gap->first = gap->n + i;
        if (!(difference <= gap->worst))
            gap->worst = difference;
    }
    gap->n += n;
}

/* One sequence; its outputs are the next of `want`. */
static int compare_sequence(struct trial *t, const double *values, size_t steps,
                            const struct numbers *target, const double *want, size_t left,
                            struct gap gaps[2])
{
    size_t width = t->info->output_size;
    bool frames = t->info->input_kind == RNN_INPUT_DENSE || t->info->topology == RNN_ONE_TO_MANY;
    uint32_t *ids = NULL, *target_ids = NULL;
    float *floats = NULL;
    struct rnn_walk_input input = {.n = steps, .n_target = target->n};
    int rc = 0;

    if (frames) {
        floats = calloc(steps * t->info->input_size, sizeof *floats);
        rc = floats ? 0 : no_memory(t);
        for (size_t i = 0; rc == 0 && i < steps * t->info->input_size; i++)
            floats[i] = (float)values[i];
    } else {
        rc = to_ids(t, values, steps, t->info->input_size, &ids);
    }
    if (rc == 0 && target->n)
        rc = to_ids(t, target->values, target->n, t->info->decoder_size, &target_ids);
    input.tokens = ids;
    input.frames = floats;
    input.target = target_ids;
    if (rc == 0)
        rc = run_input(t, &input);
    if (rc == 0 && t->n_outputs * width > left)
        rc = rnn_fail(t->err, RNN_EFORMAT, "--expect: fewer outputs than the model gives");
    for (size_t i = 0; rc == 0 && i < t->n_outputs; i++) {
        float *row = t->outputs + i * width;

        compare(row, want + i * width, width, &gaps[0]);
        rnn_activate(t->model, row, row);
        compare(row, want + i * width, width, &gaps[1]);
    }
    free(ids);
    free(target_ids);
    free(floats);
    return rc;
}

/* The input's shape: [steps] ids or [steps][width] numbers, with a batch in front or none. */
static int split(struct trial *t, const struct numbers *input, size_t *batch, size_t *steps)
{
    bool frames = t->info->input_kind == RNN_INPUT_DENSE || t->info->topology == RNN_ONE_TO_MANY;
    size_t own = frames ? 2 : 1;

    if (frames && t->info->topology == RNN_ONE_TO_MANY && input->rank == 1)
        own = 1;
    if (input->rank != own && input->rank != own + 1)
        return rnn_fail(t->err, RNN_ESHAPE,
                        "--expect: input has %zu dimensions; want %s, or a batch of those",
                        input->rank, frames ? "[steps][numbers]" : "[steps] ids");
    if (frames && input->shape[input->rank - 1] != t->info->input_size)
        return rnn_fail(t->err, RNN_ESHAPE, "--expect: input has %zu numbers at a step, want %zu",
                        input->shape[input->rank - 1], t->info->input_size);
    *batch = input->rank > own ? input->shape[0] : 1;
    *steps = own == 1 && frames ? 1 : input->shape[input->rank - own];
    return 0;
}

static int judge(struct trial *t, const struct gap gaps[2], size_t wanted, FILE *out)
{
    const struct gap *gap = gaps[1].n_off < gaps[0].n_off ? &gaps[1] : &gaps[0];
    const char *what = gap == &gaps[0] ? "" : ", after the activation";

    if (gap->n != wanted)
        return rnn_fail(t->err, RNN_ESHAPE, "--expect: output has %zu numbers, the model gives %zu",
                        wanted, gap->n);
    if (gap->n_off > 0)
        return rnn_fail(t->err, RNN_ERANGE,
                        "--expect: %zu of %zu outputs are off, the first is number %zu, the "
                        "largest difference %.3g",
                        gap->n_off, gap->n, gap->first, gap->worst);
    fprintf(out, "Expected outputs: %zu agree%s, largest difference %.3g\n", gap->n, what,
            gap->worst);
    return 0;
}

static int run_expected(struct trial *t, const char *path, FILE *out)
{
    struct numbers found[EXPECTED_PARTS] = {0};
    const struct numbers *input = &found[EXPECTED_INPUT], *want = &found[EXPECTED_OUTPUT];
    struct gap gaps[2] = {0};
    size_t batch = 0, steps = 0;
    int rc = expected_load(path, found, t->err);

    if (rc == 0)
        rc = split(t, input, &batch, &steps);
    for (size_t b = 0; b < batch && rc == 0; b++)
        rc = compare_sequence(t, input->values + b * (input->n / batch), steps,
                              &found[EXPECTED_TARGET], want->values + gaps[0].n,
                              want->n - gaps[0].n, gaps);
    if (rc == 0)
        rc = judge(t, gaps, want->n, out);
    expected_free(found);
    return rc;
}

/* ---- The whole ---- */

static int prepare(struct trial *t, const char *folder)
{
    int rc = rnn_model_open(&t->model, folder, NULL, t->err);

    if (rc < 0)
        return rc;
    t->info = rnn_model_info(t->model);
    t->state = malloc(t->info->state_bytes);
    if (!t->state)
        return no_memory(t);
    return rnn_scratch_new(&t->scratch, t->model, 1, t->err);
}

int trial_run(const char *folder, const char *expect, const struct opinion *opinion, FILE *out,
              struct rnn_err *err)
{
    struct trial trial = {.err = err};
    int rc = prepare(&trial, folder);

    if (rc == 0)
        rc = run_fixed(&trial, out);
    if (rc == 0)
        rc = compare_opinion(&trial, opinion, out);
    if (rc == 0 && expect)
        rc = run_expected(&trial, expect, out);
    rnn_scratch_free(trial.scratch);
    free(trial.state);
    free(trial.outputs);
    rnn_model_unref(trial.model);
    return rc;
}
