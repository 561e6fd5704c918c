/* One time step of many unrelated sequences.
 *
 * Rows that run the same pass are stepped together.  For each of its layers: every row's gate row
 * starts from the bias (or its token's row of the table), the packed products run over input and
 * old h, and the cell turns it into the new state, in place: all of a layer's sums are done before
 * the first h of that layer changes.  A row's vector wanders up the layers as a pointer: into the
 * input, the state, or scratch.  The top runs last, for those rows that want its output.  Rows meet
 * only in the products, which keep them apart bit for bit. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "core/attention.h"
#include "core/fpmode.h"
#include "core/model.h"

struct rnn_scratch {
    size_t rows_max;
    struct arena floats;
    size_t gate_stride, hidden_stride, vector_stride, logit_stride, attended_stride;
    float *gates;  /* [rows_max][gate_stride] */
    float *hidden; /* [rows_max][hidden_stride]: h before a projection, what a reset leaves of h */
    float *inputs; /* [rows_max][vector_stride]: inputs that had to be made */
    float *vectors[2]; /* [rows_max][vector_stride]: outputs of layers that are no h */
    float *queries;    /* [rows_max][vector_stride] */
    float *contexts;   /* [rows_max][vector_stride] */
    float *attended;   /* [rows_max][attended_stride]: what the top reads under an attention */
    float *logits;     /* [rows_max][logit_stride] */

    const struct rnn_row *all;   /* the call's rows */
    const struct rnn_row **rows; /* [rows_max] those that run together */
    const float **vector;        /* [rows_max] where each stands on its way up */
    const float **in;            /* [rows_max] what the products take */
    float **out;                 /* [rows_max] … and fill */
    float **some;                /* [rows_max] … where not all rows take part */
    bool *done;                  /* [rows_max] */
    unsigned turn;               /* which of `vectors` comes next */
};

/* ---- Scratch ---- */

static void lay_out(struct rnn_scratch *s, const struct rnn_model *model)
{
    size_t n = s->rows_max;
    bool attends = model->attention.kind != RNN_ATTENTION_NONE;

    s->gates = arena_take(&s->floats, n * s->gate_stride);
    s->hidden = arena_take(&s->floats, n * s->hidden_stride);
    s->inputs = arena_take(&s->floats, n * s->vector_stride);
    s->vectors[0] = arena_take(&s->floats, n * s->vector_stride);
    s->vectors[1] = arena_take(&s->floats, n * s->vector_stride);
    s->queries = arena_take(&s->floats, attends ? n * s->vector_stride : 0);
    s->contexts = arena_take(&s->floats, attends ? n * s->vector_stride : 0);
    s->attended = arena_take(&s->floats, attends ? n * s->attended_stride : 0);
    s->logits = arena_take(&s->floats, n * s->logit_stride);
}

static void set_strides(struct rnn_scratch *s, const struct rnn_model *model)
{
    s->gate_stride = model->gate_floats_max;
    s->hidden_stride = model->hidden_floats_max;
    s->vector_stride = model->vector_floats_max;
    s->attended_stride = RNN_PAD_LANES(model->top.in_width);
    s->logit_stride = model->top.head.k ? RNN_PAD_LANES(model->info.output_size) : 0;
}

/* Whether the sizes of all parts of a scratch fit a size_t. */
static bool size_fits(const struct rnn_scratch *s)
{
    size_t row = s->gate_stride + s->hidden_stride + s->attended_stride + s->logit_stride;
    size_t total;

    return checked_add(row, 5 * s->vector_stride + 9 * 16, &row) &&
           checked_mul(row, 2 * sizeof(float), &row) && checked_mul(row, s->rows_max, &total);
}

static bool allocate_pointers(struct rnn_scratch *s)
{
    size_t n = s->rows_max ? s->rows_max : 1;

    s->rows = calloc(n, sizeof *s->rows);
    s->vector = calloc(n, sizeof *s->vector);
    s->in = calloc(n, sizeof *s->in);
    s->out = calloc(n, sizeof *s->out);
    s->some = calloc(n, sizeof *s->some);
    s->done = calloc(n, sizeof *s->done);
    return s->rows && s->vector && s->in && s->out && s->some && s->done;
}

int rnn_scratch_new(struct rnn_scratch **out, const struct rnn_model *model, size_t rows_max,
                    struct rnn_err *err)
{
    struct rnn_scratch *s = calloc(1, sizeof *s);

    if (!s)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    s->rows_max = rows_max;
    set_strides(s, model);
    if (!allocate_pointers(s) || !size_fits(s))
        goto no_memory;
    lay_out(s, model);
    if (!arena_allocate(&s->floats))
        goto no_memory;
    lay_out(s, model);
    *out = s;
    return 0;

no_memory:
    rnn_scratch_free(s);
    return rnn_fail(err, RNN_ENOMEM, "out of memory: scratch for %zu rows", rows_max);
}

void rnn_scratch_free(struct rnn_scratch *scratch)
{
    if (!scratch)
        return;
    arena_free(&scratch->floats);
    free(scratch->rows);
    free(scratch->vector);
    free(scratch->in);
    free(scratch->out);
    free(scratch->some);
    free(scratch->done);
    free(scratch);
}

/* The next set of vectors, one for each row; the last set stays readable. */
static float *next_vectors(struct rnn_scratch *s)
{
    s->turn ^= 1;
    return s->vectors[s->turn];
}

/* ---- Input ---- */

const float *pass_input_vector(const struct rnn_pass *pass, const struct rnn_row *row, float *made)
{
    if (row->input == RNN_ROW_FRAME && !pass->mean)
        return row->frame;
    if (row->input == RNN_ROW_FRAME) {
        rnn_kernels_current()->standardize(row->frame, pass->mean, pass->std, made, pass->in_width);
        return made;
    }
    if (pass->embedding)
        return pass->embedding + row->token * pass->in_width;
    if (!pass->needs_vector)
        return NULL;
    memset(made, 0, pass->in_width * sizeof *made);
    made[row->token] = 1;
    return made;
}

/* Gate rows of a pass's lowest layer: from the table or the bias, with the input product where it
 * is computed. */
static void begin_pass(const struct rnn_pass *pass, struct rnn_scratch *s,
                       const struct rnn_kernels *kernels, size_t n)
{
    const struct rnn_layer *layer = &pass->layers[0];
    size_t computed = 0;

    for (size_t r = 0; r < n; r++) {
        const struct rnn_row *row = s->rows[r];
        bool is_token = row->input == RNN_ROW_TOKEN;
        const float *start = layer->bias;

        if (is_token && pass->table)
            start = pass->table + row->token * layer->gate_floats;
        memcpy(s->out[r], start, layer->gate_floats * sizeof(float));
        if (is_token && pass->table)
            continue;
        if (is_token && pass->onehot) {
            panels_add_column(&layer->x, row->token, s->out[r]);
        } else {
            s->in[computed] = s->vector[r];
            s->some[computed++] = s->out[r];
        }
    }
    if (computed > 0)
        kernels->product(&layer->x, s->in, s->some, computed);
}

/* ---- Layers ---- */

static void begin_layer(const struct rnn_layer *layer, struct rnn_scratch *s,
                        const struct rnn_kernels *kernels, size_t n)
{
    for (size_t r = 0; r < n; r++)
        memcpy(s->out[r], layer->bias, layer->gate_floats * sizeof(float));
    kernels->product(&layer->x, s->vector, s->out, n);
}

static void add_context(const struct rnn_layer *layer, struct rnn_scratch *s,
                        const struct rnn_kernels *kernels, size_t n)
{
    for (size_t r = 0; r < n; r++)
        s->in[r] = s->contexts + r * s->vector_stride;
    kernels->product(&layer->context, s->in, s->out, n);
}

/* The recurrent product of the gates that wait for the reset gate. */
static void reset(const struct rnn_layer *layer, struct rnn_scratch *s,
                  const struct rnn_kernels *kernels, size_t n)
{
    for (size_t r = 0; r < n; r++) {
        float *kept = s->hidden + r * s->hidden_stride;

        layer->cell.ops->reset(kernels, &layer->cell, s->out[r], s->in[r], kept,
                               RNN_PAD_LANES(layer->hidden) / RNN_LANES);
        s->in[r] = kept;
    }
    kernels->product(&layer->again, s->in, s->out, n);
}

static void project(const struct rnn_layer *layer, struct rnn_scratch *s,
                    const struct rnn_kernels *kernels, size_t n)
{
    for (size_t r = 0; r < n; r++) {
        s->in[r] = s->hidden + r * s->hidden_stride;
        s->some[r] = s->rows[r]->state->memory + layer->h_at;
        memset(s->some[r], 0, RNN_PAD_LANES(layer->width) * sizeof(float));
    }
    kernels->product(&layer->proj, s->in, s->some, n);
}

/* Not every activation leaves zero in the lanes past the last unit. */
static void clear_padding(float *units, size_t n)
{
    memset(units + n, 0, (RNN_PAD_LANES(n) - n) * sizeof *units);
}

/* Where the row's gates of this layer are wanted; NULL: they are not. */
static float *shown_of(const struct rnn_layer *layer, const struct rnn_row *row)
{
    return row->gates && layer->shown_at != RNN_NOWHERE ? row->gates + layer->shown_at : NULL;
}

/* Recurrent product and cell. */
static void end_recurrent(const struct rnn_layer *layer, struct rnn_scratch *s,
                          const struct rnn_kernels *kernels, size_t n)
{
    const struct rnn_cell_ops *cell = layer->cell.ops;

    for (size_t r = 0; r < n; r++)
        s->in[r] = s->rows[r]->state->memory + layer->h_at;
    kernels->product(&layer->h, s->in, s->out, n);
    if (layer->again.k)
        reset(layer, s, kernels, n);
    for (size_t r = 0; r < n; r++) {
        float *memory = s->rows[r]->state->memory;
        float *h = memory + layer->h_at;
        float *c = cell->has_c ? memory + layer->c_at : NULL;
        float *to = layer->proj.k ? s->hidden + r * s->hidden_stride : h;
        float *shown = shown_of(layer, s->rows[r]);
        float *c_before = shown ? shown + (cell->n_gates - 1) * layer->hidden : NULL;

        if (shown && c)
            memcpy(c_before, c, layer->hidden * sizeof *c);
        cell->finish(kernels, &layer->cell, s->out[r], h, c, to,
                     RNN_PAD_LANES(layer->hidden) / RNN_LANES);
        clear_padding(to, layer->hidden);
        if (c)
            clear_padding(c, layer->hidden);
        if (shown)
            cell->show(kernels, &layer->cell, s->out[r], c_before, c, shown, layer->hidden);
    }
    if (layer->proj.k)
        project(layer, s, kernels, n);
}

static void run_normal(const struct rnn_layer *layer, struct rnn_scratch *s,
                       const struct rnn_kernels *kernels, float *to, size_t n)
{
    for (size_t r = 0; r < n; r++, to += s->vector_stride) {
        if (layer->kind == RNN_LAYER_NORM)
            kernels->layer_norm(s->vector[r], layer->scale, layer->shift, layer->epsilon, to,
                                layer->out_width);
        else
            kernels->affine(s->vector[r], layer->scale, layer->shift, to, layer->out_width);
        s->vector[r] = to;
    }
}

static void end_dense(const struct rnn_layer *layer, struct rnn_scratch *s,
                      const struct rnn_kernels *kernels, float *to, size_t n)
{
    for (size_t r = 0; r < n; r++, to += s->vector_stride) {
        kernels->activate(&layer->activation, s->out[r], to, layer->out_width);
        s->vector[r] = to;
    }
}

/* What a layer read is added to what it gives. */
static void add_input(const struct rnn_layer *layer, struct rnn_scratch *s,
                      const struct rnn_kernels *kernels, float *to, const float *gave, size_t r)
{
    to += r * s->vector_stride;
    kernels->add(gave, s->vector[r], to, layer->out_width);
    s->vector[r] = to;
}

/* After the sums: the rows' vectors become the layer's outputs. */
static void end_layer(const struct rnn_layer *layer, struct rnn_scratch *s,
                      const struct rnn_kernels *kernels, size_t n)
{
    if (layer->kind == RNN_LAYER_RECURRENT) {
        float *to = layer->residual ? next_vectors(s) : NULL;

        end_recurrent(layer, s, kernels, n);
        for (size_t r = 0; r < n; r++) {
            const float *h = s->rows[r]->state->memory + layer->h_at;

            if (layer->residual)
                add_input(layer, s, kernels, to, h, r);
            else
                s->vector[r] = h;
        }
    } else if (layer->residual) {
        float *to = next_vectors(s);

        for (size_t r = 0; r < n; r++) {
            kernels->activate(&layer->activation, s->out[r], s->out[r], layer->out_width);
            add_input(layer, s, kernels, to, s->out[r], r);
        }
    } else {
        end_dense(layer, s, kernels, next_vectors(s), n);
    }
}

static void point_to_gates(struct rnn_scratch *s, size_t n)
{
    for (size_t r = 0; r < n; r++)
        s->out[r] = s->gates + r * s->gate_stride;
}

/* A layer over s->vector; `pass` is not NULL for its lowest. */
static void run_layer(const struct rnn_pass *pass, const struct rnn_layer *layer,
                      struct rnn_scratch *s, const struct rnn_kernels *kernels, size_t n)
{
    if (layer->gate_floats == 0) {
        run_normal(layer, s, kernels, next_vectors(s), n);
        return;
    }
    point_to_gates(s, n);
    if (pass)
        begin_pass(pass, s, kernels, n);
    else
        begin_layer(layer, s, kernels, n);
    if (layer->context.k)
        add_context(layer, s, kernels, n);
    end_layer(layer, s, kernels, n);
}

/* ---- Attention ---- */

static size_t place(const struct rnn_scratch *s, size_t r)
{
    return (size_t)(s->rows[r] - s->all);
}

/* Additive: the context comes before the step, from the top h as it stands. */
static void attend_before(const struct rnn_model *model, struct rnn_scratch *s,
                          const struct rnn_kernels *kernels, size_t n)
{
    const struct rnn_attention *a = &model->attention;

    for (size_t r = 0; r < n; r++) {
        s->in[r] = s->rows[r]->state->memory + a->s_at;
        s->out[r] = s->queries + r * s->vector_stride;
        memset(s->out[r], 0, RNN_PAD_LANES(a->score_width) * sizeof(float));
    }
    kernels->product(&a->query, s->in, s->out, n);
    for (size_t r = 0; r < n; r++)
        attention_look(a, kernels, s->rows[r]->memory, s->out[r],
                       s->contexts + r * s->vector_stride);
}

static void keep_attended(const struct rnn_model *model, struct rnn_scratch *s, size_t n)
{
    const struct rnn_attention *a = &model->attention;

    for (size_t r = 0; r < n; r++) {
        float *to = s->attended + place(s, r) * s->attended_stride;

        memcpy(to, s->vector[r], a->query_width * sizeof *to);
        if (a->concat)
            memcpy(to + a->query_width, s->contexts + r * s->vector_stride,
                   a->memory_width * sizeof *to);
    }
}

/* Multiplicative: after the step, the top reads tanh(Wc [context ; h]). */
static void attend_after(const struct rnn_model *model, struct rnn_scratch *s,
                         const struct rnn_kernels *kernels, size_t n)
{
    const struct rnn_attention *a = &model->attention;

    for (size_t r = 0; r < n; r++) {
        float *joined = s->contexts + r * s->vector_stride;

        attention_look(a, kernels, s->rows[r]->memory, s->vector[r], joined);
        memcpy(joined + a->memory_width, s->vector[r], a->query_width * sizeof *joined);
        s->in[r] = joined;
        s->out[r] = s->attended + place(s, r) * s->attended_stride;
        memset(s->out[r], 0, s->attended_stride * sizeof(float));
    }
    kernels->product(&a->combine, s->in, s->out, n);
    for (size_t r = 0; r < n; r++)
        kernels->tanh(s->out[r], s->out[r], a->out_width);
}

/* ---- Passes ---- */

/* What the state keeps of a step beside h and c. */
static void keep_output(const struct rnn_model *model, struct rnn_state *state, const float *output)
{
    size_t n = model->stacks[0].levels[0].width;
    float *pool;

    if (model->output_at != RNN_NOWHERE)
        memcpy(state->memory + model->output_at, output, n * sizeof *output);
    if (model->pool_at == RNN_NOWHERE)
        return;
    pool = state->memory + model->pool_at;
    pool_add(model->spec.pool, pool, output, state->position, n);
}

void pool_add(enum rnn_pool pool, float *into, const float *output, uint64_t step, size_t n)
{
    if (pool == RNN_POOL_MAX) {
        for (size_t i = 0; i < n; i++)
            into[i] = step == 1 || output[i] > into[i] ? output[i] : into[i];
        return;
    }
    for (size_t i = 0; i < n; i++)
        into[i] += (output[i] - into[i]) / (float)step;
}

const float *model_readout(const struct rnn_model *model, const struct rnn_state *state)
{
    return state->memory + model->readout_at;
}

static void end_pass(const struct rnn_model *model, const struct rnn_pass *pass,
                     struct rnn_scratch *s, size_t n)
{
    bool to_one = model->spec.topology == RNN_MANY_TO_ONE && model->readout_at != RNN_NOWHERE;

    for (size_t r = 0; r < n; r++) {
        const struct rnn_row *row = s->rows[r];
        const float *output = s->vector[r];

        if (pass->counts) {
            row->state->position++;
            keep_output(model, row->state, output);
        }
        if (row->logits && to_one)
            output = model_readout(model, row->state);
        if (row->hidden)
            memcpy(row->hidden, output, pass->out_width * sizeof(float));
    }
}

static void run_pass(const struct rnn_model *model, const struct rnn_pass *pass,
                     struct rnn_scratch *s, const struct rnn_kernels *kernels, size_t n)
{
    bool additive = pass->attends && model->attention.kind == RNN_ATTENTION_ADDITIVE;

    for (size_t r = 0; r < n; r++)
        s->vector[r] = pass_input_vector(pass, s->rows[r], s->inputs + r * s->vector_stride);
    if (additive)
        attend_before(model, s, kernels, n);
    for (size_t i = 0; i < pass->n_layers; i++)
        run_layer(i == 0 ? pass : NULL, &pass->layers[i], s, kernels, n);
    if (additive)
        keep_attended(model, s, n);
    else if (pass->attends)
        attend_after(model, s, kernels, n);
    end_pass(model, pass, s, n);
}

/* ---- The top ---- */

static const float *readout_of(const struct rnn_model *model, const struct rnn_scratch *s,
                               const struct rnn_row *row)
{
    if (row->input == RNN_ROW_HEAD)
        return row->frame;
    if (model->attention.kind != RNN_ATTENTION_NONE)
        return s->attended + (size_t)(row - s->all) * s->attended_stride;
    return model_readout(model, row->state);
}

static void run_top(const struct rnn_model *model, struct rnn_scratch *s,
                    const struct rnn_kernels *kernels, size_t n)
{
    const struct rnn_top *top = &model->top;

    for (size_t r = 0; r < n; r++)
        s->vector[r] = readout_of(model, s, s->rows[r]);
    for (size_t i = 0; i < top->n_layers; i++)
        run_layer(NULL, &top->layers[i], s, kernels, n);
    for (size_t r = 0; r < n && top->head.k; r++) {
        float *logits = s->logits + r * s->logit_stride;

        memcpy(logits, top->head_bias, s->logit_stride * sizeof(float));
        s->out[r] = logits;
    }
    if (top->head.k)
        kernels->product(&top->head, s->vector, s->out, n);
    for (size_t r = 0; r < n; r++)
        memcpy(s->rows[r]->logits, top->head.k ? s->out[r] : s->vector[r],
               model->info.output_size * sizeof(float));
}

/* ---- The step ---- */

/* Collects the rows of the pass of row `first`. */
static size_t gather(struct rnn_scratch *s, size_t first, size_t n_rows)
{
    unsigned pass = s->all[first].pass;
    size_t n = 0;

    for (size_t r = first; r < n_rows; r++) {
        if (s->done[r] || s->all[r].pass != pass)
            continue;
        s->done[r] = true;
        s->rows[n++] = &s->all[r];
    }
    return n;
}

static void run_passes(const struct rnn_model *model, struct rnn_scratch *s,
                       const struct rnn_kernels *kernels, size_t n_rows)
{
    for (size_t r = 0; r < n_rows; r++)
        s->done[r] = s->all[r].input == RNN_ROW_READ || s->all[r].input == RNN_ROW_HEAD;
    for (size_t r = 0; r < n_rows; r++) {
        const struct rnn_pass *pass = &model->passes[s->all[r].pass];

        if (!s->done[r])
            run_pass(model, pass, s, kernels, gather(s, r, n_rows));
    }
}

/* Outputs of the rows that want them. */
static void read_out(const struct rnn_model *model, struct rnn_scratch *s,
                     const struct rnn_kernels *kernels, size_t n_rows)
{
    size_t n = 0;

    for (size_t r = 0; r < n_rows; r++) {
        const struct rnn_row *row = &s->all[r];
        bool fed = row->input == RNN_ROW_TOKEN || row->input == RNN_ROW_FRAME;

        if (row->hidden && !fed)
            memcpy(row->hidden, readout_of(model, s, row),
                   model->info.hidden_width * sizeof(float));
        if (row->logits)
            s->rows[n++] = row;
    }
    if (n > 0)
        run_top(model, s, kernels, n);
}

void rnn_step(const struct rnn_model *model, struct rnn_scratch *scratch,
              const struct rnn_row *rows, size_t n_rows)
{
    const struct rnn_kernels *kernels = rnn_kernels_current();
    struct fpmode mode = fpmode_enter();

    assert(n_rows <= scratch->rows_max);
    scratch->all = rows;
    run_passes(model, scratch, kernels, n_rows);
    read_out(model, scratch, kernels, n_rows);
    fpmode_leave(mode);
}
