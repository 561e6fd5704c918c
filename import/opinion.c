/* Plain loops over the file's own tensors.  See opinion.h.
 *
 * Everything is written for being right at a glance: every weight is looked up by its row and
 * column in the layout of its origin.  A matrix of the present step is a dense vector of doubles;
 * a sequence is [OPINION_STEPS][width]. */
#include "import/opinion.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "import/chain.h"
#include "import/elements.h"

/* A sequence of vectors, and what many-to-one models read out of it. */
struct values {
    double *steps;  /* [OPINION_STEPS][width] */
    double *pooled; /* [width] */
    size_t width;
};

struct evaluation {
    const struct archive *archive;
    const struct chain *chain;
    const char *const *activations;
    struct values values;
    bool unknown; /* something that is not known here has been met */
};

double opinion_number(size_t i)
{
    return (double)(float)sin((double)(i + 1));
}

size_t opinion_id(size_t step, size_t n_ids)
{
    return (step + 1) % n_ids;
}

/* ---- Numbers ---- */

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double activate(struct evaluation *v, const char *name, double x)
{
    if (!name || strcmp(name, "linear") == 0)
        return x;
    if (strcmp(name, "tanh") == 0)
        return tanh(x);
    if (strcmp(name, "relu") == 0)
        return x > 0 ? x : 0;
    if (strcmp(name, "sigmoid") == 0)
        return sigmoid(x);
    v->unknown = true;
    return x;
}

static double at(const struct archive_tensor *t, size_t i)
{
    return t && t->type ? archive_number(t, i) : 0;
}

/* Row `row` of t [rows, n] times x, and element `row` of the bias. */
static double row_times(const struct archive_tensor *t, const struct archive_tensor *bias,
                        size_t row, const double *x, size_t n)
{
    double sum = at(bias, row);

    for (size_t i = 0; i < n; i++)
        sum += archive_number(t, row * n + i) * x[i];
    return sum;
}

/* Column `column` of t [n + m, columns] times x and h, one behind the other. */
static double column_times(const struct archive_tensor *t, const struct archive_tensor *bias,
                           size_t column, const double *x, size_t n, const double *h, size_t m)
{
    double sum = at(bias, column);

    for (size_t i = 0; i < n; i++)
        sum += archive_number(t, i * t->shape[1] + column) * x[i];
    for (size_t i = 0; i < m; i++)
        sum += archive_number(t, (n + i) * t->shape[1] + column) * h[i];
    return sum;
}

/* ---- Cells ---- */

/* One layer in one direction. */
struct layer {
    const struct element *element;
    struct archive_tensor *const *parts; /* PyTorch's form */
    const struct archive_cell *cell;     /* another form; NULL: none */
    const char *activation;
    size_t in, hidden, proj;
    double *h, *c;        /* [hidden] */
    double *next, *gated; /* [hidden]: room */
};

/* PyTorch: σ(i), σ(f), tanh(g), σ(o). */
static void step_torch_lstm(const struct layer *l, const double *x)
{
    size_t n = l->hidden, state = l->proj ? l->proj : n;

    for (size_t u = 0; u < n; u++) {
        double gate[4];

        for (size_t g = 0; g < 4; g++)
            gate[g] =
                row_times(l->parts[NAME_WEIGHT_IH], l->parts[NAME_BIAS_IH], g * n + u, x, l->in) +
                row_times(l->parts[NAME_WEIGHT_HH], l->parts[NAME_BIAS_HH], g * n + u, l->h, state);
        l->c[u] = sigmoid(gate[1]) * l->c[u] + sigmoid(gate[0]) * tanh(gate[2]);
        l->gated[u] = sigmoid(gate[3]) * tanh(l->c[u]);
    }
    for (size_t u = 0; u < state; u++)
        l->next[u] =
            l->proj ? row_times(l->parts[NAME_WEIGHT_HR], NULL, u, l->gated, n) : l->gated[u];
}

/* PyTorch: r, z, n; the reset gate after the product. */
static void step_torch_gru(const struct layer *l, const double *x)
{
    size_t n = l->hidden;

    for (size_t u = 0; u < n; u++) {
        double ih[3], hh[3], r, z, candidate;

        for (size_t g = 0; g < 3; g++) {
            ih[g] =
                row_times(l->parts[NAME_WEIGHT_IH], l->parts[NAME_BIAS_IH], g * n + u, x, l->in);
            hh[g] = row_times(l->parts[NAME_WEIGHT_HH], l->parts[NAME_BIAS_HH], g * n + u, l->h, n);
        }
        r = sigmoid(ih[0] + hh[0]);
        z = sigmoid(ih[1] + hh[1]);
        candidate = tanh(ih[2] + r * hh[2]);
        l->next[u] = (1 - z) * candidate + z * l->h[u];
    }
}

static void step_torch_rnn(struct evaluation *v, const struct layer *l, const double *x)
{
    for (size_t u = 0; u < l->hidden; u++)
        l->next[u] = activate(
            v, l->activation,
            row_times(l->parts[NAME_WEIGHT_IH], l->parts[NAME_BIAS_IH], u, x, l->in) +
                row_times(l->parts[NAME_WEIGHT_HH], l->parts[NAME_BIAS_HH], u, l->h, l->hidden));
}

/* TensorFlow: i, j, f, o; 1 is added to f. */
static void step_tf_lstm(const struct layer *l, const double *x)
{
    const struct archive_cell *cell = l->cell;
    size_t n = l->hidden;

    for (size_t u = 0; u < n; u++) {
        double gate[4];

        for (size_t g = 0; g < 4; g++)
            gate[g] = column_times(&cell->kernel, &cell->bias, g * n + u, x, l->in, l->h, n);
        l->c[u] = sigmoid(gate[2] + 1) * l->c[u] + sigmoid(gate[0]) * tanh(gate[1]);
        l->next[u] = sigmoid(gate[3]) * tanh(l->c[u]);
    }
}

/* TensorFlow: gates r, u; the candidate reads r h. */
static void step_tf_gru(const struct layer *l, const double *x)
{
    const struct archive_cell *cell = l->cell;
    size_t n = l->hidden;

    for (size_t u = 0; u < n; u++)
        l->gated[u] =
            l->h[u] * sigmoid(column_times(&cell->kernel, &cell->bias, u, x, l->in, l->h, n));
    for (size_t u = 0; u < n; u++) {
        double z = sigmoid(column_times(&cell->kernel, &cell->bias, n + u, x, l->in, l->h, n));
        double candidate =
            tanh(column_times(&cell->candidate, &cell->candidate_bias, u, x, l->in, l->gated, n));

        l->next[u] = z * l->h[u] + (1 - z) * candidate;
    }
}

/* Column `column` of the kernel times x, and of its bias. */
static double keras_input(const struct layer *l, size_t column, const double *x)
{
    return column_times(&l->cell->kernel, NULL, column, x, l->in, NULL, 0) +
           at(&l->cell->bias, column);
}

static double keras_state(const struct layer *l, size_t column, const double *h)
{
    return column_times(&l->cell->candidate, NULL, column, h, l->hidden, NULL, 0);
}

/* Keras: i, f, c, o. */
static void step_keras_lstm(const struct layer *l, const double *x)
{
    size_t n = l->hidden;

    for (size_t u = 0; u < n; u++) {
        double gate[4];

        for (size_t g = 0; g < 4; g++)
            gate[g] = keras_input(l, g * n + u, x) + keras_state(l, g * n + u, l->h);
        l->c[u] = sigmoid(gate[1]) * l->c[u] + sigmoid(gate[0]) * tanh(gate[2]);
        l->next[u] = sigmoid(gate[3]) * tanh(l->c[u]);
    }
}

/* Keras: z, r, h. */
static void step_keras_gru(const struct layer *l, const double *x)
{
    const struct archive_tensor *bias = &l->cell->bias;
    size_t n = l->hidden;
    bool after = !bias->type || bias->elements == 6 * n;

    for (size_t u = 0; u < n && !after; u++)
        l->gated[u] = l->h[u] * sigmoid(keras_input(l, n + u, x) + keras_state(l, n + u, l->h));
    for (size_t u = 0; u < n; u++) {
        double own[3] = {0}, z, candidate;

        for (size_t g = 0; g < 3 && after && bias->type; g++)
            own[g] = at(bias, (3 + g) * n + u);
        z = sigmoid(keras_input(l, u, x) + keras_state(l, u, l->h) + own[0]);
        if (after) {
            double r = sigmoid(keras_input(l, n + u, x) + keras_state(l, n + u, l->h) + own[1]);

            candidate =
                keras_input(l, 2 * n + u, x) + r * (keras_state(l, 2 * n + u, l->h) + own[2]);
        } else {
            candidate = keras_input(l, 2 * n + u, x) + keras_state(l, 2 * n + u, l->gated);
        }
        l->next[u] = z * l->h[u] + (1 - z) * tanh(candidate);
    }
}

static void step_tf_rnn(const struct layer *l, const double *x)
{
    for (size_t u = 0; u < l->hidden; u++)
        l->next[u] =
            tanh(column_times(&l->cell->kernel, &l->cell->bias, u, x, l->in, l->h, l->hidden));
}

/* Both matrices over [x, h]; what the layer gives is the new h and, behind it, the outputs. */
static void step_joined(const struct layer *l, const double *x)
{
    const struct archive_cell *cell = l->cell;
    size_t width = cell->in + cell->hidden;
    double *joined = l->gated; /* [hidden] of the layer is h and outputs: as wide, or wider */

    for (size_t u = 0; u < l->hidden; u++) {
        bool state = u < cell->hidden;
        const struct archive_tensor *t = state ? &cell->kernel : &cell->candidate;
        const struct archive_tensor *bias = state ? &cell->bias : &cell->candidate_bias;
        size_t row = state ? u : u - cell->hidden;
        double sum = at(bias, row);

        for (size_t i = 0; i < cell->in; i++)
            sum += archive_number(t, row * width + i) * x[i];
        for (size_t i = 0; i < cell->hidden; i++)
            sum += archive_number(t, row * width + cell->in + i) * l->h[i];
        joined[u] = sum;
    }
    memcpy(l->next, joined, l->hidden * sizeof *joined);
}

static void step(struct evaluation *v, const struct layer *l, const double *x)
{
    if (l->cell && l->cell->form == FORM_TF_LSTM)
        step_tf_lstm(l, x);
    else if (l->cell && l->cell->form == FORM_TF_GRU)
        step_tf_gru(l, x);
    else if (l->cell && l->cell->form == FORM_TF_RNN)
        step_tf_rnn(l, x);
    else if (l->cell && l->cell->form == FORM_KERAS_LSTM)
        step_keras_lstm(l, x);
    else if (l->cell && l->cell->form == FORM_KERAS_GRU)
        step_keras_gru(l, x);
    else if (l->cell)
        step_joined(l, x);
    else if (l->element->gates == 4)
        step_torch_lstm(l, x);
    else if (l->element->gates == 3)
        step_torch_gru(l, x);
    else
        step_torch_rnn(v, l, x);
    memcpy(l->h, l->next, (l->proj ? l->proj : l->hidden) * sizeof *l->h);
}

/* ---- Modules ---- */

static int no_memory(struct rnn_err *err)
{
    return rnn_fail(err, RNN_ENOMEM, "out of memory");
}

static void values_free(struct values *values)
{
    free(values->steps);
    free(values->pooled);
    *values = (struct values){0};
}

static int values_new(struct values *out, size_t width, struct rnn_err *err)
{
    *out = (struct values){.width = width,
                           .steps = calloc(OPINION_STEPS * width + 1, sizeof(double)),
                           .pooled = calloc(width + 1, sizeof(double))};
    if (out->steps && out->pooled)
        return 0;
    values_free(out);
    return no_memory(err);
}

/* The file's own form of the element's layer, where it is not PyTorch's. */
static const struct archive_cell *cell_of(const struct archive *archive, const struct element *e,
                                          bool reverse)
{
    for (size_t i = 0; i < archive->n_cells; i++) {
        const struct archive_cell *cell = &archive->cells[i];

        if (cell->reverse == reverse && strncmp(cell->module, e->path, strlen(cell->module)) == 0 &&
            e->path[strlen(cell->module)] == '.')
            return cell;
    }
    return NULL;
}

/* Layer k in direction d, into columns [d * state, (d + 1) * state) of `to`. */
static int run_layer(struct evaluation *v, const struct element *e, size_t k, int d,
                     const char *activation, struct values *to, struct rnn_err *err)
{
    size_t state = e->proj ? e->proj : e->hidden, n = e->hidden;
    double *room = calloc(4 * n + 1, sizeof *room);
    struct layer layer = {.element = e,
                          .parts = e->parts[k][d],
                          .cell = cell_of(v->archive, e, d == 1),
                          .activation = activation,
                          .in = v->values.width,
                          .hidden = n,
                          .proj = e->proj,
                          .h = room,
                          .c = room + n,
                          .next = room + 2 * n,
                          .gated = room + 3 * n};

    if (!room)
        return no_memory(err);
    for (size_t i = 0; i < OPINION_STEPS; i++) {
        size_t t = d ? OPINION_STEPS - 1 - i : i;

        step(v, &layer, v->values.steps + t * v->values.width);
        memcpy(to->steps + t * to->width + (size_t)d * state, layer.h, state * sizeof *room);
    }
    memcpy(to->pooled + (size_t)d * state, layer.h, state * sizeof *room);
    free(room);
    return 0;
}

static int run_recurrent(struct evaluation *v, const struct element *e, const char *activation,
                         struct rnn_err *err)
{
    int rc = 0;

    for (size_t k = 0; k < e->layers && rc == 0; k++) {
        struct values next;

        rc = values_new(&next, e->gives, err);
        for (int d = 0; d <= (int)e->both && rc == 0; d++)
            rc = run_layer(v, e, k, d, activation, &next, err);
        if (rc < 0) {
            values_free(&next);
            return rc;
        }
        values_free(&v->values);
        v->values = next;
    }
    return rc;
}

/* An activation behind a gated layer. */
static void activate_all(struct evaluation *v, const char *activation)
{
    for (size_t i = 0; i < OPINION_STEPS * v->values.width; i++)
        v->values.steps[i] = activate(v, activation, v->values.steps[i]);
    for (size_t i = 0; i < v->values.width; i++)
        v->values.pooled[i] = activate(v, activation, v->values.pooled[i]);
}

static double matrix_at(const struct element *e, size_t row, size_t column)
{
    const struct archive_tensor *t = e->tensors[NAME_WEIGHT];

    return archive_number(t, e->transposed ? column * e->gives + row : row * e->reads + column);
}

static void dense(struct evaluation *v, const struct element *e, const char *activation,
                  const double *x, double *y)
{
    for (size_t row = 0; row < e->gives; row++) {
        double sum = at(e->tensors[NAME_BIAS], row);

        for (size_t i = 0; i < e->reads; i++)
            sum += matrix_at(e, row, i) * x[i];
        y[row] = activate(v, activation, sum);
    }
}

/* Layer normalisation, or a batch's with its running mean and variance. */
static void normalise(const struct element *e, const double *x, double *y)
{
    const double epsilon = 1e-5;
    double mean = 0, variance = 0;

    for (size_t i = 0; i < e->reads; i++)
        mean += x[i] / (double)e->reads;
    for (size_t i = 0; i < e->reads; i++)
        variance += (x[i] - mean) * (x[i] - mean) / (double)e->reads;
    for (size_t i = 0; i < e->reads; i++) {
        double m = e->kind == ELEMENT_NORM ? mean : at(e->tensors[NAME_MEAN], i);
        double s = e->kind == ELEMENT_NORM ? variance : at(e->tensors[NAME_VARIANCE], i);

        y[i] = (x[i] - m) / sqrt(s + epsilon) * at(e->tensors[NAME_WEIGHT], i) +
               at(e->tensors[NAME_BIAS], i);
    }
}

static void run_vector(struct evaluation *v, const struct element *e, const char *activation,
                       const double *x, double *y)
{
    if (e->kind == ELEMENT_MATRIX)
        dense(v, e, activation, x, y);
    else
        normalise(e, x, y);
}

static int run_element(struct evaluation *v, size_t index, struct rnn_err *err)
{
    const struct element *e = v->chain->elements[index];
    const char *activation = v->activations[index];
    struct values next;
    int rc;

    if (e->kind == ELEMENT_RNN) {
        rc = run_recurrent(v, e, activation, err);
        if (rc == 0 && e->gates > 1)
            activate_all(v, activation);
        return rc;
    }
    rc = values_new(&next, e->gives, err);
    if (rc < 0)
        return rc;
    for (size_t t = 0; t < OPINION_STEPS; t++)
        run_vector(v, e, activation, v->values.steps + t * v->values.width,
                   next.steps + t * next.width);
    run_vector(v, e, activation, v->values.pooled, next.pooled);
    values_free(&v->values);
    v->values = next;
    return 0;
}

/* ---- The whole ---- */

static int read_input(struct evaluation *v, bool reads_ids, struct rnn_err *err)
{
    const struct element *embedding = v->chain->embedding;
    const struct archive_tensor *table = embedding ? embedding->tensors[NAME_WEIGHT] : NULL;
    size_t width = table ? table->shape[1] : v->chain->elements[0]->reads;
    size_t n_ids = table ? table->shape[0] : width;
    int rc = values_new(&v->values, width, err);

    for (size_t t = 0; rc == 0 && t < OPINION_STEPS; t++)
        for (size_t i = 0; i < width; i++) {
            size_t id = opinion_id(t, n_ids);

            v->values.steps[t * width + i] = table       ? archive_number(table, id * width + i)
                                             : reads_ids ? (double)(i == id)
                                                         : opinion_number(t * width + i);
        }
    return rc;
}

static bool is_finite(const struct values *values)
{
    for (size_t i = 0; i < values->width; i++)
        if (!(fabs(values->pooled[i]) < 1e30) ||
            !(fabs(values->steps[(OPINION_STEPS - 1) * values->width + i]) < 1e30))
            return false;
    return true;
}

int opinion_form(struct opinion *out, const struct archive *archive, const struct chain *chain,
                 const char *const *activations, bool reads_ids, struct rnn_err *err)
{
    struct evaluation v = {.archive = archive, .chain = chain, .activations = activations};
    int rc = read_input(&v, reads_ids, err);

    *out = (struct opinion){0};
    for (size_t i = 0; i < chain->n && rc == 0; i++)
        rc = run_element(&v, i, err);
    if (rc == 0 && !v.unknown && is_finite(&v.values)) {
        memmove(v.values.steps, v.values.steps + (OPINION_STEPS - 1) * v.values.width,
                v.values.width * sizeof *v.values.steps);
        *out = (struct opinion){v.values.steps, v.values.pooled, v.values.width};
        return 0;
    }
    values_free(&v.values);
    return rc;
}

void opinion_free(struct opinion *opinion)
{
    free(opinion->last);
    free(opinion->pooled);
    *opinion = (struct opinion){0};
}
