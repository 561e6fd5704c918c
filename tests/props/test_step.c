/* The laws of a step, for every cell and odd sizes: all instruction sets give the same bits, a row
 * does not notice its neighbours, the token table changes nothing, pieces equal the whole, reading
 * equals the last step, a decaying state stays fast and equal, and all of it is near a plain double
 * computation from the same weights.  Seeds are fixed and printed by the case's name. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/core/fake.h"

enum { STEPS = 9, ROWS_MAX = 64, SEQUENCES = 64 };

static const struct rnn_cell_ops *const cells[] = {&rnn_cell_tanh, &rnn_cell_relu, &rnn_cell_lstm,
                                                   &rnn_cell_gru};
#define V   11
#define DIM 5

/* Every cell × input kind × layers × width, with projections, ties and missing parts among them. */
static size_t shapes(struct fake_shape *list, size_t max)
{
    static const size_t sizes[] = {1, 3, 7, 16, 33, 64, 65, 130, 257};
    size_t n = 0;

    for (size_t c = 0; c < 4; c++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            struct fake_shape shape = {.cell = cells[c],
                                       .input = (enum rnn_input_kind)((c + s) % 3),
                                       .input_size = V,
                                       .layers = 1 + s % 3,
                                       .hidden = sizes[s],
                                       .outputs = s % 4 == 3 ? 0 : V,
                                       .no_bias = s % 5 == 4,
                                       .no_head_bias = s % 2,
                                       .activation = RNN_HEAD_SOFTMAX};

            if (shape.input == RNN_INPUT_EMBEDDING)
                shape.embedding_dim = s % 2 ? DIM : sizes[s];
            shape.tied = shape.outputs && shape.embedding_dim == sizes[s];
            if (n + 2 > max)
                abort();
            list[n++] = shape;
            if (cells[c] == &rnn_cell_lstm && s > 1) {
                shape.proj = 1 + sizes[s] / 3;
                shape.tied = false;
                list[n++] = shape;
            }
        }
    return n;
}

/* Settings that keep a cell off the quick way, and layers of other kinds, at some of the sizes. */
static const struct rnn_cell_settings bent = {
    .gate = {RNN_HARD_SIGMOID, 0.2f, 0.5f},
    .candidate = {RNN_SOFTSIGN, 0, 0},
    .output = {RNN_SCALED_TANH, 1.7f, 0.6f},
    .clip = 0.75f,
};
static const struct rnn_cell_settings peeping = {
    .gate = {RNN_SIGMOID, 1, 0},
    .candidate = {RNN_TANH, 1, 1},
    .output = {RNN_TANH, 1, 1},
    .peepholes = true,
    .input_forget = true,
};

static size_t special_shapes(struct fake_shape *list)
{
    static const size_t sizes[] = {1, 7, 33, 130};
    static const struct rnn_cell_ops *const special[] = {&rnn_cell_rnn, &rnn_cell_lstm,
                                                         &rnn_cell_gru, &rnn_cell_gru_before};
    size_t n = 0;

    for (size_t c = 0; c < 4; c++)
        for (size_t s = 0; s < 4; s++) {
            struct fake_shape shape = {.cell = special[c],
                                       .input = (enum rnn_input_kind)((c + s) % 3),
                                       .input_size = V,
                                       .embedding_dim =
                                           (c + s) % 3 == RNN_INPUT_EMBEDDING ? DIM : 0,
                                       .layers = 1 + s % 3,
                                       .hidden = sizes[s],
                                       .outputs = c == s ? 0 : V,
                                       .settings = c == 3 && s % 2 ? NULL : &bent,
                                       .residual = s % 2,
                                       .learned_state = (c + s) % 2,
                                       .activation = RNN_HEAD_SOFTMAX};

            if (c == 1 && s % 2)
                shape.settings = &peeping;
            list[n++] = shape;
            shape.mixed = true;
            shape.proj = c == 1 && s > 1 ? 1 + sizes[s] / 3 : 0;
            list[n++] = shape;
        }
    return n;
}

static struct fake_shape all[128];
static int n_plain; /* of them those that the definition below knows */
static int n_all;

/* ---- Running a model ---- */

/* Input of sequence `s` at step `t`: a token and a frame. */
static uint32_t token_of(unsigned s, unsigned t)
{
    return (s * 7 + t * t * 3 + t) % V;
}

static void frame_of(unsigned s, unsigned t, float *frame)
{
    uint64_t seed = s * 1000 + t;

    for (size_t i = 0; i < V; i++)
        frame[i] = fake_random(&seed);
}

/* The record of one sequence: everything that a run leaves behind. */
struct record {
    float *logits; /* [STEPS][output_size] */
    float *hidden; /* [STEPS][hidden_width] */
    struct rnn_state *state;
};

static struct record record_new(const struct rnn_model *model)
{
    const struct rnn_model_info *info = rnn_model_info(model);
    struct record r = {calloc(STEPS * info->output_size, sizeof(float)),
                       calloc(STEPS * info->hidden_width, sizeof(float)),
                       malloc(info->state_bytes)};

    rnn_state_init(model, r.state, 5);
    return r;
}

static void record_free(struct record *r)
{
    free(r->logits);
    free(r->hidden);
    free(r->state);
}

static void check_same(const struct rnn_model *model, const struct record *a,
                       const struct record *b)
{
    const struct rnn_model_info *info = rnn_model_info(model);

    ck_assert_mem_eq(a->logits, b->logits, STEPS * info->output_size * sizeof(float));
    ck_assert_mem_eq(a->hidden, b->hidden, STEPS * info->hidden_width * sizeof(float));
    ck_assert_mem_eq(a->state, b->state, info->state_bytes);
}

/* Steps [from, to) of the sequences ids[0..n), together. */
static void run_together(const struct rnn_model *model, struct record *records, const unsigned *ids,
                         size_t n, unsigned from, unsigned to)
{
    const struct rnn_model_info *info = rnn_model_info(model);
    struct rnn_scratch *scratch;
    static float frames[ROWS_MAX][V];
    struct rnn_row rows[ROWS_MAX];

    ck_assert_int_eq(rnn_scratch_new(&scratch, model, n, NULL), 0);
    for (unsigned t = from; t < to; t++) {
        for (size_t r = 0; r < n; r++) {
            struct record *record = &records[ids[r]];

            frame_of(ids[r], t, frames[r]);
            rows[r] = (struct rnn_row){.state = record->state,
                                       .input = info->input_kind == RNN_INPUT_DENSE ? RNN_ROW_FRAME
                                                                                    : RNN_ROW_TOKEN,
                                       .token = token_of(ids[r], t),
                                       .frame = frames[r],
                                       .logits = record->logits + t * info->output_size,
                                       .hidden = record->hidden + t * info->hidden_width};
        }
        rnn_step(model, scratch, rows, n);
    }
    rnn_scratch_free(scratch);
}

static struct record run_alone(const struct rnn_model *model, unsigned id)
{
    struct record *records = calloc(SEQUENCES, sizeof *records);
    struct record result;

    records[id] = record_new(model);
    run_together(model, records, &id, 1, 0, STEPS);
    result = records[id];
    free(records);
    return result;
}

static void select_isa(enum rnn_isa isa)
{
    ck_assert_int_eq(rnn_kernels_select(isa, NULL), 0);
}

/* ---- Laws ---- */

START_TEST(every_instruction_set_gives_the_same_bits)
{
    static const enum rnn_isa isas[] = {RNN_ISA_AVX2, RNN_ISA_AVX512};
    struct rnn_model *model = fake_model(&all[_i], (uint64_t)_i + 1, true);
    struct record want, got;

    for (unsigned id = 0; id < 2; id++) {
        select_isa(RNN_ISA_SCALAR);
        want = run_alone(model, id);
        for (size_t i = 0; i < 2; i++) {
            if (rnn_kernels_select(isas[i], NULL) < 0)
                continue;
            got = run_alone(model, id);
            check_same(model, &want, &got);
            record_free(&got);
        }
        record_free(&want);
    }
    rnn_model_unref(model);
}
END_TEST

static void shuffle(unsigned *ids, size_t n, uint64_t seed)
{
    for (size_t i = n - 1; i > 0; i--) {
        size_t j = (size_t)((fake_random(&seed) + 1.0f) / 2.0f * (float)(i + 1)) % (i + 1);
        unsigned id = ids[i];

        ids[i] = ids[j];
        ids[j] = id;
    }
}

static void check_batches(const struct rnn_model *model, const struct record *alone)
{
    for (size_t n = 1; n <= ROWS_MAX; n++) {
        struct record batch[SEQUENCES];
        unsigned ids[SEQUENCES];

        for (unsigned id = 0; id < SEQUENCES; id++)
            ids[id] = id;
        shuffle(ids, SEQUENCES, n);
        for (size_t r = 0; r < n; r++)
            batch[ids[r]] = record_new(model);
        run_together(model, batch, ids, n, 0, STEPS);
        for (size_t r = 0; r < n; r++) {
            check_same(model, &alone[ids[r]], &batch[ids[r]]);
            record_free(&batch[ids[r]]);
        }
    }
}

START_TEST(a_row_does_not_notice_its_neighbours)
{
    static const enum rnn_isa isas[] = {RNN_ISA_AVX2, RNN_ISA_AVX512};
    struct rnn_model *model = fake_model(&all[_i], (uint64_t)_i + 1, false);

    for (size_t i = 0; i < 2; i++) {
        struct record alone[SEQUENCES];

        if (rnn_kernels_select(isas[i], NULL) < 0)
            continue;
        for (unsigned id = 0; id < SEQUENCES; id++)
            alone[id] = run_alone(model, id);
        check_batches(model, alone);
        for (unsigned id = 0; id < SEQUENCES; id++)
            record_free(&alone[id]);
    }
    rnn_model_unref(model);
}
END_TEST

START_TEST(the_token_table_changes_nothing)
{
    struct rnn_model *with, *without;

    select_isa(RNN_ISA_AUTO);
    with = fake_model(&all[_i], (uint64_t)_i + 1, true);
    without = fake_model(&all[_i], (uint64_t)_i + 1, false);
    ck_assert_uint_eq(rnn_model_info(without)->table_bytes, 0);
    ck_assert((rnn_model_info(with)->table_bytes > 0) == (all[_i].input != RNN_INPUT_DENSE));
    for (unsigned id = 0; id < 3; id++) {
        struct record a = run_alone(with, id), b = run_alone(without, id);

        check_same(with, &a, &b);
        record_free(&a);
        record_free(&b);
    }
    rnn_model_unref(with);
    rnn_model_unref(without);
}
END_TEST

START_TEST(pieces_equal_the_whole_and_reading_equals_the_last_step)
{
    struct rnn_model *model = fake_model(&all[_i], (uint64_t)_i + 1, true);
    const struct rnn_model_info *info = rnn_model_info(model);
    struct record whole = run_alone(model, 3), pieces[SEQUENCES];
    float *logits = malloc(info->output_size * sizeof *logits);
    float *hidden = malloc(info->hidden_width * sizeof *hidden);
    struct rnn_scratch *scratch;
    unsigned id = 3;

    pieces[id] = record_new(model);
    run_together(model, pieces, &id, 1, 0, 1);
    run_together(model, pieces, &id, 1, 1, 6);
    run_together(model, pieces, &id, 1, 6, STEPS);
    check_same(model, &whole, &pieces[id]);

    ck_assert_int_eq(rnn_scratch_new(&scratch, model, 1, NULL), 0);
    struct rnn_row row = {
        .state = whole.state, .input = RNN_ROW_READ, .logits = logits, .hidden = hidden};
    rnn_step(model, scratch, &row, 1);
    ck_assert_mem_eq(logits, whole.logits + (STEPS - 1) * info->output_size,
                     info->output_size * sizeof *logits);
    ck_assert_mem_eq(hidden, whole.hidden + (STEPS - 1) * info->hidden_width,
                     info->hidden_width * sizeof *hidden);
    ck_assert_mem_eq(whole.state, pieces[id].state, info->state_bytes);
    ck_assert_uint_eq(whole.state->position, STEPS);

    rnn_scratch_free(scratch);
    free(logits);
    free(hidden);
    record_free(&whole);
    record_free(&pieces[id]);
    rnn_model_unref(model);
}
END_TEST

START_TEST(rows_of_every_kind_share_a_step)
{
    struct rnn_model *model = fake_model(&all[_i], (uint64_t)_i + 1, true);
    const struct rnn_model_info *info = rnn_model_info(model);
    struct record alone = run_alone(model, 1), other = run_alone(model, 2);
    struct record mixed = record_new(model), stepped = record_new(model);
    struct rnn_scratch *scratch;

    ck_assert_int_eq(rnn_scratch_new(&scratch, model, 3, NULL), 0);
    for (unsigned t = 0; t < STEPS; t++) {
        float frames[2][V];
        enum rnn_row_input kind =
            info->input_kind == RNN_INPUT_DENSE ? RNN_ROW_FRAME : RNN_ROW_TOKEN;
        struct rnn_row rows[3] = {
            {.state = alone.state, .input = RNN_ROW_READ, .hidden = alone.hidden},
            {.state = mixed.state,
             .input = kind,
             .token = token_of(2, t),
             .frame = frames[0],
             .logits = mixed.logits + t * info->output_size,
             .hidden = mixed.hidden + t * info->hidden_width},
            {.state = stepped.state, .input = kind, .token = token_of(2, t), .frame = frames[1]}};

        frame_of(2, t, frames[0]);
        frame_of(2, t, frames[1]);
        rnn_step(model, scratch, rows, 3);
    }
    check_same(model, &other, &mixed);
    ck_assert_mem_eq(stepped.state, other.state, info->state_bytes);
    rnn_scratch_free(scratch);
    record_free(&alone);
    record_free(&other);
    record_free(&mixed);
    record_free(&stepped);
    rnn_model_unref(model);
}
END_TEST

START_TEST(padding_stays_zero)
{
    struct rnn_model *model = fake_model(&all[_i], (uint64_t)_i + 1, true);
    const struct rnn_model_info *info = rnn_model_info(model);
    struct record r = run_alone(model, 4);
    size_t n_parts, floats = (info->state_bytes - sizeof(struct rnn_state)) / sizeof(float);
    const struct rnn_state_part *parts = rnn_state_parts(model, &n_parts);
    float *rest = malloc(floats * sizeof *rest);

    memcpy(rest, r.state->memory, floats * sizeof *rest);
    for (size_t p = 0; p < n_parts; p++)
        memset(rest + parts[p].offset, 0, parts[p].size * sizeof *rest);
    for (size_t i = 0; i < floats; i++) {
        uint32_t bits;

        memcpy(&bits, &rest[i], sizeof bits);
        ck_assert_uint_eq(bits, 0);
    }
    free(rest);
    record_free(&r);
    rnn_model_unref(model);
}
END_TEST

/* ---- The definition, in double ---- */

static double sigma(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

struct reference {
    struct fake fake;
    double h[4][512], c[4][512];
};

static double dot(struct reference *ref, const char *kind, size_t layer, size_t row,
                  const double *x, size_t n)
{
    char name[64];
    const float *w;
    double sum = 0.0;

    snprintf(name, sizeof name, "rnn.%s_l%zu", kind, layer);
    w = fake_values(&ref->fake, name);
    for (size_t i = 0; w && i < n; i++)
        sum += (double)w[row * n + i] * x[i];
    return sum;
}

static double add(struct reference *ref, const char *kind, size_t layer, size_t row)
{
    const double one = 1.0;

    return dot(ref, kind, layer, row, &one, 1);
}

static void reference_layer(struct reference *ref, size_t k, const double *x, size_t n_x)
{
    const struct rnn_layer_spec *layer = &ref->fake.spec.stacks[0].layers[k];
    size_t hidden = layer->hidden, width = rnn_layer_width(layer);
    static double fresh[512], projected[512];

    for (size_t u = 0; u < hidden; u++) {
        double in[4], re[4];
        double *c = &ref->c[k][u];

        for (size_t g = 0; g < layer->cell->n_gates; g++) {
            size_t row = g * hidden + u;

            in[g] = dot(ref, "weight_ih", k, row, x, n_x) + add(ref, "bias_ih", k, row);
            re[g] = dot(ref, "weight_hh", k, row, ref->h[k], width) + add(ref, "bias_hh", k, row);
        }
        if (layer->cell == &rnn_cell_lstm) {
            *c = sigma(in[1] + re[1]) * *c + sigma(in[0] + re[0]) * tanh(in[2] + re[2]);
            fresh[u] = sigma(in[3] + re[3]) * tanh(*c);
        } else if (layer->cell == &rnn_cell_gru) {
            double z = sigma(in[1] + re[1]);

            fresh[u] = (1 - z) * tanh(in[2] + sigma(in[0] + re[0]) * re[2]) + z * ref->h[k][u];
        } else {
            double sum = in[0] + re[0];

            fresh[u] = layer->cell == &rnn_cell_tanh ? tanh(sum) : fmax(sum, 0.0);
        }
    }
    for (size_t p = 0; p < width; p++)
        projected[p] = layer->proj ? dot(ref, "weight_hr", k, p, fresh, hidden) : fresh[p];
    memcpy(ref->h[k], projected, width * sizeof(double));
}

/* One step; logits out (hidden where there is no head). */
static void reference_step(struct reference *ref, uint32_t token, const float *frame,
                           double *logits)
{
    const struct rnn_stack_spec *stack = &ref->fake.spec.stacks[0];
    size_t n_x = stack->embedding_dim ? stack->embedding_dim : stack->input_size;
    size_t width = rnn_layer_width(&stack->layers[stack->n_layers - 1]);
    const float *embedding = fake_values(&ref->fake, "embedding.weight");
    const float *head =
        fake_values(&ref->fake, stack->head.tied ? "embedding.weight" : "head.weight");
    const float *bias = fake_values(&ref->fake, "head.bias");
    static double x[512];

    for (size_t i = 0; i < n_x; i++)
        x[i] = embedding                               ? (double)embedding[token * n_x + i]
               : stack->input_kind == RNN_INPUT_ONEHOT ? (i == token)
                                                       : (double)frame[i];
    for (size_t k = 0; k < stack->n_layers; k++) {
        reference_layer(ref, k, x, n_x);
        n_x = rnn_layer_width(&stack->layers[k]);
        memcpy(x, ref->h[k], n_x * sizeof *x);
    }
    if (!stack->head.present) {
        memcpy(logits, x, width * sizeof *x);
        return;
    }
    for (size_t o = 0; o < stack->head.size; o++) {
        logits[o] = bias ? (double)bias[o] : 0.0;
        for (size_t i = 0; i < width; i++)
            logits[o] += (double)head[o * width + i] * x[i];
    }
}

START_TEST(a_step_is_near_its_definition_in_double)
{
    struct reference *ref = calloc(1, sizeof *ref);
    struct rnn_model *model = NULL;
    const struct rnn_model_info *info;
    struct record got;
    static double want[512];

    select_isa(RNN_ISA_AUTO);
    fake_make(&ref->fake, &all[_i], (uint64_t)_i + 1);
    ck_assert_int_eq(fake_open(&ref->fake, &model, NULL, NULL), 0);
    info = rnn_model_info(model);
    got = run_alone(model, 6);
    for (unsigned t = 0; t < STEPS; t++) {
        float frame[V];

        frame_of(6, t, frame);
        reference_step(ref, token_of(6, t), frame, want);
        for (size_t o = 0; o < info->output_size; o++)
            ck_assert_double_eq_tol((double)got.logits[t * info->output_size + o], want[o],
                                    1e-5 * (1.0 + fabs(want[o])));
    }
    record_free(&got);
    rnn_model_unref(model);
    fake_free(&ref->fake);
    free(ref);
}
END_TEST

/* ---- Denormals ---- */

/* A state that only decays: h' = 0.9 h without input, through the denormals to zero. */
static struct rnn_model *decaying_model(void)
{
    const struct fake_shape shape = {.cell = &rnn_cell_relu,
                                     .input = RNN_INPUT_DENSE,
                                     .input_size = 1,
                                     .layers = 1,
                                     .hidden = 64,
                                     .no_bias = true};
    struct rnn_model *model = NULL;
    struct fake fake;
    float *w;

    fake_make(&fake, &shape, 1);
    w = fake_values(&fake, "rnn.weight_hh_l0");
    for (size_t i = 0; i < 64 * 64; i++)
        w[i] = i % 65 == 0 ? 0.9f : 0.0f;
    ck_assert_int_eq(fake_open(&fake, &model, NULL, NULL), 0);
    fake_free(&fake);
    return model;
}

START_TEST(a_decaying_state_goes_to_zero_alike_and_without_denormals)
{
    static const enum rnn_isa isas[] = {RNN_ISA_SCALAR, RNN_ISA_AVX2, RNN_ISA_AVX512};
    struct rnn_model *model = decaying_model();
    size_t bytes = rnn_model_info(model)->state_bytes;
    struct rnn_state *first = calloc(1, bytes), *state = calloc(1, bytes);
    const float frame = 0.0f;

    for (size_t i = 0; i < 3; i++) {
        struct rnn_scratch *scratch;

        if (rnn_kernels_select(isas[i], NULL) < 0)
            continue;
        ck_assert_int_eq(rnn_scratch_new(&scratch, model, 1, NULL), 0);
        rnn_state_init(model, state, 0);
        for (size_t u = 0; u < 64; u++)
            state->memory[u] = 1e-30f * (float)(u + 1);
        struct rnn_row row = {.state = state, .input = RNN_ROW_FRAME, .frame = &frame};
        for (int t = 0; t < 150; t++)
            rnn_step(model, scratch, &row, 1);
        for (size_t u = 0; u < 64; u++)
            ck_assert(state->memory[u] == 0.0f || state->memory[u] >= FLT_MIN);
        if (i == 0)
            memcpy(first, state, bytes);
        ck_assert_mem_eq(first, state, bytes);
        for (int t = 0; t < 100; t++)
            rnn_step(model, scratch, &row, 1);
        for (size_t u = 0; u < 64; u++)
            ck_assert_float_eq(state->memory[u], 0.0f);
        rnn_scratch_free(scratch);
    }
    free(first);
    free(state);
    rnn_model_unref(model);
}
END_TEST

/* A denormal input counts as zero, however large the weight that it meets. */
START_TEST(a_denormal_input_is_zero_alike)
{
    static const enum rnn_isa isas[] = {RNN_ISA_SCALAR, RNN_ISA_AVX2, RNN_ISA_AVX512};
    const struct fake_shape shape = {.cell = &rnn_cell_relu,
                                     .input = RNN_INPUT_DENSE,
                                     .input_size = 1,
                                     .layers = 1,
                                     .hidden = 20,
                                     .no_bias = true,
                                     .scale = 1e10f};
    struct rnn_model *model = fake_model(&shape, 1, true);
    struct rnn_state *state = malloc(rnn_model_info(model)->state_bytes);
    const float frame = 1e-40f;

    for (size_t i = 0; i < 3; i++) {
        struct rnn_row row = {.state = state, .input = RNN_ROW_FRAME, .frame = &frame};
        struct rnn_scratch *scratch;

        if (rnn_kernels_select(isas[i], NULL) < 0)
            continue;
        ck_assert_int_eq(rnn_scratch_new(&scratch, model, 1, NULL), 0);
        rnn_state_init(model, state, 0);
        rnn_step(model, scratch, &row, 1);
        for (size_t u = 0; u < 20; u++)
            ck_assert_float_eq(state->memory[u], 0.0f);
        rnn_scratch_free(scratch);
    }
    free(state);
    rnn_model_unref(model);
}
END_TEST

/* The caller's mode is as it was: a denormal survives outside. */
START_TEST(the_callers_float_mode_is_restored)
{
    volatile float small = FLT_MIN;
    struct rnn_model *model = fake_model(&all[0], 1, true);
    struct record r = run_alone(model, 0);

    ck_assert(small / 4.0f > 0.0f);
    record_free(&r);
    rnn_model_unref(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("props/step");
    TCase *laws = tcase_create("laws");
    TCase *denormals = tcase_create("denormals");
    SRunner *runner;
    int failed;

    n_plain = (int)shapes(all, 64);
    n_all = n_plain + (int)special_shapes(all + n_plain);
    tcase_set_timeout(laws, 300);
    tcase_add_loop_test(laws, every_instruction_set_gives_the_same_bits, 0, n_all);
    tcase_add_loop_test(laws, a_row_does_not_notice_its_neighbours, 0, n_all);
    tcase_add_loop_test(laws, the_token_table_changes_nothing, 0, n_all);
    tcase_add_loop_test(laws, pieces_equal_the_whole_and_reading_equals_the_last_step, 0, n_all);
    tcase_add_loop_test(laws, rows_of_every_kind_share_a_step, 0, n_all);
    tcase_add_loop_test(laws, padding_stays_zero, 0, n_all);
    tcase_add_loop_test(laws, a_step_is_near_its_definition_in_double, 0, n_plain);
    suite_add_tcase(suite, laws);
    tcase_set_timeout(denormals, 60);
    tcase_add_test(denormals, a_decaying_state_goes_to_zero_alike_and_without_denormals);
    tcase_add_test(denormals, a_denormal_input_is_zero_alike);
    tcase_add_test(denormals, the_callers_float_mode_is_restored);
    suite_add_tcase(suite, denormals);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
