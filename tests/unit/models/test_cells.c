/* The cells' last part, gates to state: against their equations in double with any settings, the
 * same bits on every instruction set, and the quick way of the plain settings against the general
 * one, bit for bit. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/cell.h"
#include "core/rnn.h"

enum { VECTORS = 3, UNITS = VECTORS * RNN_LANES, GATES = VECTORS * RNN_BLOCK, TRIES = 400 };

static const enum rnn_isa isas[] = {RNN_ISA_SCALAR, RNN_ISA_AVX2, RNN_ISA_AVX512};

static const struct rnn_kernels *kernels_at(int i)
{
    return rnn_kernels_select(isas[i], NULL) < 0 ? NULL : rnn_kernels_current();
}

static uint64_t seed;

static float draw(float limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return limit * ((float)(seed >> 40) * 0x1p-23f - 1.0f);
}

static unsigned pick(unsigned n)
{
    return (unsigned)((draw(1.0f) + 1.0f) * 0.5f * (float)n);
}

/* ---- What a cell is given, and what it makes of it ---- */

struct given {
    struct rnn_cell cell;
    float gates[GATES], h[UNITS], c[UNITS], peephole[3][UNITS];
};

struct made {
    float h[UNITS], c[UNITS], reset[UNITS];
    float shown[RNN_GATES_MAX][UNITS];
};

static void fill(float *out, size_t n, float limit)
{
    for (size_t i = 0; i < n; i++)
        out[i] = draw(limit);
}

static void give(struct given *g, const struct rnn_cell_ops *ops, float limit)
{
    *g = (struct given){.cell = {.ops = ops, .settings = ops->preset}};
    fill(g->gates, GATES, limit);
    fill(g->h, UNITS, 1.0f);
    fill(g->c, UNITS, 2.0f);
}

static void add_peepholes(struct given *g)
{
    g->cell.settings.peepholes = true;
    for (int i = 0; i < 3; i++) {
        fill(g->peephole[i], UNITS, 1.0f);
        g->cell.peephole[i] = g->peephole[i];
    }
}

static void make(const struct rnn_kernels *k, const struct given *g, struct made *out)
{
    const struct rnn_cell_ops *ops = g->cell.ops;

    memset(out, 0, sizeof *out);
    memcpy(out->h, g->h, sizeof out->h);
    memcpy(out->c, g->c, sizeof out->c);
    if (ops->n_again)
        ops->reset(k, &g->cell, g->gates, g->h, out->reset, VECTORS);
    if (ops->has_c) /* where show() may find it */
        memcpy(out->shown[ops->n_gates - 1], g->c, sizeof g->c);
    ops->finish(k, &g->cell, g->gates, out->h, ops->has_c ? out->c : NULL, out->h, VECTORS);
    if (ops->show)
        ops->show(k, &g->cell, g->gates, out->shown[ops->n_gates - 1], out->c, out->shown[0],
                  UNITS);
}

/* ---- The equations ---- */

static double phi(const struct rnn_activation *f, float clip, double x)
{
    double a = (double)f->alpha, b = (double)f->beta;

    if (clip > 0)
        x = fmin(fmax(x, -(double)clip), (double)clip);
    switch (f->kind) {
    case RNN_TANH:
        return tanh(x);
    case RNN_RELU:
        return fmax(x, 0);
    case RNN_SIGMOID:
        return 1 / (1 + exp(-x));
    case RNN_LINEAR:
        return a * x + b;
    case RNN_HARD_SIGMOID:
        return fmin(fmax(a * x + b, 0), 1);
    case RNN_LEAKY_RELU:
        return x < 0 ? a * x : x;
    case RNN_THRESHOLDED_RELU:
        return x > a ? x : 0;
    case RNN_SCALED_TANH:
        return a * tanh(b * x);
    case RNN_ELU:
        return x < 0 ? a * expm1(x) : x;
    case RNN_SOFTSIGN:
        return x / (1 + fabs(x));
    }
    return NAN;
}

/* The sum in `slot` of unit u. */
static double sum_of(const struct given *g, unsigned slot, size_t u)
{
    return (double)g->gates[rnn_cell_place(g->cell.ops, slot, u)];
}

static double gate(const struct given *g, double sum)
{
    return phi(&g->cell.settings.gate, g->cell.settings.clip, sum);
}

static double candidate(const struct given *g, double sum)
{
    return phi(&g->cell.settings.candidate, g->cell.settings.clip, sum);
}

/* c in place, returns h. */
static double lstm(const struct given *g, size_t u, double *c)
{
    const struct rnn_cell_settings *set = &g->cell.settings;
    double in = gate(g, sum_of(g, 0, u) + (double)g->peephole[0][u] * *c);
    double keep =
        set->input_forget ? 1 - in : gate(g, sum_of(g, 1, u) + (double)g->peephole[1][u] * *c);

    *c = keep * *c + in * candidate(g, sum_of(g, 2, u));
    return gate(g, sum_of(g, 3, u) + (double)g->peephole[2][u] * *c) *
           phi(&set->output, set->clip, *c);
}

static double gru(const struct given *g, size_t u)
{
    bool before = g->cell.ops->resets_before;
    double z = gate(g, sum_of(g, before ? 1 : 2, u));
    double n = before ? candidate(g, sum_of(g, 2, u))
                      : candidate(g, sum_of(g, 0, u) + gate(g, sum_of(g, 1, u)) * sum_of(g, 3, u));

    return (1 - z) * n + z * (double)g->h[u];
}

static bool close_to(double got, double want)
{
    return fabs(got - want) <= 3e-6 * (1 + fabs(want));
}

/* What is shown of the gates is what made the state. */
static bool shows(const struct given *g, const struct made *made, size_t u)
{
    const struct rnn_cell_settings *set = &g->cell.settings;
    double a = (double)made->shown[0][u], b = (double)made->shown[1][u];
    double n = (double)made->shown[2][u], o = (double)made->shown[3][u], c = (double)made->c[u];

    if (!g->cell.ops->gate_names)
        return !g->cell.ops->show;
    if (g->cell.ops->has_c)
        return close_to(c, b * (double)g->c[u] + a * n) &&
               close_to((double)made->h[u], o * phi(&set->output, set->clip, c));
    return close_to((double)made->h[u], (1 - b) * n + b * (double)g->h[u]) &&
           close_to(a, gate(g, sum_of(g, g->cell.ops->x_slot[0], u)));
}

static bool holds(const struct given *g, const struct made *made, size_t u)
{
    const struct rnn_cell_ops *ops = g->cell.ops;
    double c = (double)g->c[u], h = (double)made->h[u];

    if (ops->has_c)
        return close_to(h, lstm(g, u, &c)) && close_to((double)made->c[u], c);
    if (ops->n_again &&
        !close_to((double)made->reset[u], gate(g, sum_of(g, 0, u)) * (double)g->h[u]))
        return false;
    return close_to(h, ops->n_gates == 3 ? gru(g, u) : candidate(g, sum_of(g, 0, u)));
}

static void check_equations(const struct given *g, const struct made *made)
{
    size_t n = 0;

    while (n < UNITS && holds(g, made, n) && shows(g, made, n))
        n++;
    ck_assert_uint_eq(n, UNITS);
}

/* ---- Any settings ---- */

static struct rnn_activation any_activation(void)
{
    static const struct rnn_activation some[] = {
        {RNN_TANH, 1, 1},
        {RNN_RELU, 0, 0},
        {RNN_SIGMOID, 1, 0},
        {RNN_LINEAR, 0.5f, 0.1f},
        {RNN_LEAKY_RELU, 0.1f, 0},
        {RNN_HARD_SIGMOID, 0.2f, 0.5f},
        {RNN_THRESHOLDED_RELU, 0, 0},
        {RNN_ELU, 0.7f, 0},
        {RNN_SCALED_TANH, 1.7f, 0.6f},
        {RNN_SOFTSIGN, 0, 0},
    };

    return some[pick(sizeof some / sizeof *some)];
}

static void vary(struct given *g)
{
    struct rnn_cell_settings *set = &g->cell.settings;

    if (pick(2) && g->cell.ops->n_gates > 1)
        set->gate = any_activation();
    if (pick(2) && g->cell.ops->may_activate)
        set->candidate = any_activation();
    if (pick(2))
        set->output = any_activation();
    if (pick(3) == 0)
        set->clip = 0.6f;
    if (g->cell.ops->may_input_forget)
        set->input_forget = pick(2);
    if (g->cell.ops->may_peephole && pick(2))
        add_peepholes(g);
}

static void same_on_all(const struct given *g, struct made *first)
{
    struct made made;

    for (int i = 0; i < 3; i++) {
        const struct rnn_kernels *k = kernels_at(i);

        if (!k)
            continue;
        make(k, g, i == 0 ? first : &made);
        if (i > 0)
            ck_assert_mem_eq(&made, first, sizeof made);
    }
}

START_TEST(a_cell_of_any_settings_is_its_equations)
{
    const struct rnn_cell_ops *ops = rnn_cells[_i];
    static struct given g;
    static struct made made;

    seed = 77 + (uint64_t)_i;
    for (int i = 0; ops && i < TRIES; i++) {
        give(&g, ops, 4.0f);
        vary(&g);
        same_on_all(&g, &made);
        check_equations(&g, &made);
    }
}
END_TEST

START_TEST(the_largest_numbers_stay_finite)
{
    static const float ends[] = {FLT_MAX, -FLT_MAX, INFINITY, -INFINITY, NAN, 1.0f, 0.0f};
    const struct rnn_cell_ops *ops = rnn_cells[_i];
    static struct given g;
    static struct made made;

    seed = 5;
    for (int i = 0; ops && i < TRIES; i++) {
        give(&g, ops, 4.0f);
        vary(&g);
        /* The plain settings trust the sums to be numbers, like every model that trains. */
        g.cell.settings.clip = g.cell.settings.clip > 0 ? FLT_MAX : 0;
        g.cell.settings.gate.alpha = 1;
        g.cell.settings.gate.kind = RNN_LEAKY_RELU;
        for (size_t j = 0; j < GATES; j++)
            g.gates[j] = ends[pick(7)];
        for (size_t u = 0; u < UNITS; u++) {
            g.h[u] = ends[pick(2)];
            g.c[u] = ends[pick(2)];
        }
        same_on_all(&g, &made);
        for (size_t u = 0; u < UNITS; u++)
            ck_assert(isfinite(made.h[u]) && isfinite(made.c[u]) && isfinite(made.reset[u]));
    }
}
END_TEST

/* ---- Plain settings ---- */

START_TEST(plain_settings_go_the_quick_way_with_the_same_bits)
{
    static struct given g;
    static struct made quick, general;
    const struct rnn_kernels *k = kernels_at(_i);
    static const float *const none[3];

    seed = 9;
    for (int i = 0; k && i < TRIES; i++) {
        give(&g, &rnn_cell_lstm, i % 2 ? 4.0f : 60.0f);
        make(k, &g, &quick);
        memcpy(general.c, g.c, sizeof g.c);
        k->lstm_any(&g.cell.settings, none, g.gates, general.c, general.h, VECTORS);
        ck_assert_mem_eq(general.h, quick.h, sizeof quick.h);
        ck_assert_mem_eq(general.c, quick.c, sizeof quick.c);

        give(&g, &rnn_cell_gru, i % 2 ? 4.0f : 60.0f);
        make(k, &g, &quick);
        k->gru_any(&g.cell.settings, g.gates, g.h, general.h, VECTORS);
        ck_assert_mem_eq(general.h, quick.h, sizeof quick.h);
    }
}
END_TEST

START_TEST(a_wide_clip_changes_nothing)
{
    const struct rnn_cell_ops *ops = rnn_cells[_i];
    static struct given g;
    static struct made plain, wide;

    seed = 3;
    for (int i = 0; ops && i < 50; i++) {
        give(&g, ops, 4.0f);
        same_on_all(&g, &plain);
        g.cell.settings.clip = 1000;
        same_on_all(&g, &wide);
        ck_assert_mem_eq(&wide, &plain, sizeof plain);
    }
}
END_TEST

START_TEST(cells_are_found_by_name_and_by_where_they_reset)
{
    ck_assert_ptr_eq(rnn_cell_find("gru", false), &rnn_cell_gru);
    ck_assert_ptr_eq(rnn_cell_find("gru", true), &rnn_cell_gru_before);
    ck_assert_ptr_eq(rnn_cell_find("rnn", false), &rnn_cell_rnn);
    ck_assert_ptr_eq(rnn_cell_find("lstm", false), &rnn_cell_lstm);
    ck_assert_ptr_null(rnn_cell_find("lstm", true));
    ck_assert_ptr_null(rnn_cell_find("", false));
}
END_TEST

static int n_cells(void)
{
    int n = 0;

    while (rnn_cells[n])
        n++;
    return n;
}

int main(void)
{
    Suite *suite = suite_create("unit/models/cells");
    TCase *all = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_set_timeout(all, 120);
    tcase_add_loop_test(all, a_cell_of_any_settings_is_its_equations, 0, n_cells());
    tcase_add_loop_test(all, the_largest_numbers_stay_finite, 0, n_cells());
    tcase_add_loop_test(all, plain_settings_go_the_quick_way_with_the_same_bits, 0, 3);
    tcase_add_loop_test(all, a_wide_clip_changes_nothing, 0, n_cells());
    tcase_add_test(all, cells_are_found_by_name_and_by_where_they_reset);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
