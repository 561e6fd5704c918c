/* One time step of many unrelated sequences.
 *
 * For each layer: every row's gate row starts from the bias (or its token's row of the table), the
 * packed products run over input and old h, and the cell turns it into the new state, in place:
 * all of a layer's sums are done before the first h of that layer changes.  The head runs last, for
 * those rows that want it.  Rows meet only in the products, which keep them apart bit for bit. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "core/fpmode.h"
#include "core/model.h"

/* Per row: a gate row, an unprojected h, a padded row of logits; and the pointers that the products
 * take. */
struct rnn_scratch {
    size_t rows_max;
    struct arena floats;
    float *gates;  /* [rows_max][gate_floats_max] */
    float *hidden; /* [rows_max][hidden_floats_max] */
    float *logits; /* [rows_max][logit_floats] */
    size_t logit_floats;
    const struct rnn_row **rows; /* [rows_max] those that take part */
    const float **in;            /* [rows_max] */
    float **out;                 /* [rows_max] */
};

static void lay_out(struct rnn_scratch *s, const struct rnn_model *model)
{
    s->gates = arena_take(&s->floats, s->rows_max * model->gate_floats_max);
    s->hidden = arena_take(&s->floats, s->rows_max * model->hidden_floats_max);
    s->logits = arena_take(&s->floats, s->rows_max * s->logit_floats);
}

/* Whether the sizes of all parts of a scratch fit a size_t. */
static bool size_fits(const struct rnn_scratch *s, const struct rnn_model *model)
{
    size_t row = model->gate_floats_max + model->hidden_floats_max + s->logit_floats + 3 * 16;
    size_t total;

    return checked_mul(row, 2 * sizeof(float), &row) && checked_mul(row, s->rows_max, &total);
}

int rnn_scratch_new(struct rnn_scratch **out, const struct rnn_model *model, size_t rows_max,
                    struct rnn_err *err)
{
    struct rnn_scratch *s = calloc(1, sizeof *s);

    if (!s)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    s->rows_max = rows_max;
    s->logit_floats = model->head.w ? RNN_PAD_LANES(model->info.output_size) : 0;
    s->rows = calloc(rows_max ? rows_max : 1, sizeof *s->rows);
    s->in = calloc(rows_max ? rows_max : 1, sizeof *s->in);
    s->out = calloc(rows_max ? rows_max : 1, sizeof *s->out);
    if (!s->rows || !s->in || !s->out || !size_fits(s, model))
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
    free(scratch->in);
    free(scratch->out);
    free(scratch);
}

/* Gate rows of layer 0: from the table or the bias, with the input product where it is computed. */
static void begin_input(const struct rnn_model *model, struct rnn_scratch *s,
                        const struct rnn_kernels *kernels, size_t n)
{
    const struct rnn_layer *layer = &model->layers[0];
    enum rnn_input_kind kind = model->info.input_kind;

    for (size_t r = 0; r < n; r++) {
        uint32_t token = s->rows[r]->token;
        const float *start = layer->bias;

        if (model->table)
            start = model->table + token * layer->gate_floats;
        memcpy(s->out[r], start, layer->gate_floats * sizeof(float));
        if (kind == RNN_INPUT_DENSE)
            s->in[r] = s->rows[r]->frame;
        else if (!model->table && kind == RNN_INPUT_EMBEDDING)
            s->in[r] = model->embedding + token * model->info.embedding_dim;
        else if (!model->table)
            panels_add_column(&layer->x, token, s->out[r]);
    }
    if (kind == RNN_INPUT_DENSE || (!model->table && kind == RNN_INPUT_EMBEDDING))
        kernels->product(&layer->x, s->in, s->out, n);
}

/* The same for a layer above: its input is the new h of the layer below. */
static void begin_layer(const struct rnn_layer *layer, const struct rnn_layer *below,
                        struct rnn_scratch *s, const struct rnn_kernels *kernels, size_t n)
{
    for (size_t r = 0; r < n; r++) {
        memcpy(s->out[r], layer->bias, layer->gate_floats * sizeof(float));
        s->in[r] = s->rows[r]->state->memory + below->h_at;
    }
    kernels->product(&layer->x, s->in, s->out, n);
}

static void project(const struct rnn_model *model, const struct rnn_layer *layer,
                    struct rnn_scratch *s, const struct rnn_kernels *kernels, size_t n)
{
    for (size_t r = 0; r < n; r++) {
        s->in[r] = s->hidden + r * model->hidden_floats_max;
        s->out[r] = s->rows[r]->state->memory + layer->h_at;
        memset(s->out[r], 0, RNN_PAD_LANES(layer->width) * sizeof(float));
    }
    kernels->product(&layer->proj, s->in, s->out, n);
}

/* Recurrent product and cell. */
static void end_layer(const struct rnn_model *model, const struct rnn_layer *layer,
                      struct rnn_scratch *s, const struct rnn_kernels *kernels, size_t n)
{
    for (size_t r = 0; r < n; r++)
        s->in[r] = s->rows[r]->state->memory + layer->h_at;
    kernels->product(&layer->h, s->in, s->out, n);
    for (size_t r = 0; r < n; r++) {
        float *memory = s->rows[r]->state->memory;
        float *h = memory + layer->h_at;
        float *c = layer->cell->has_c ? memory + layer->c_at : NULL;
        float *to = layer->proj.w ? s->hidden + r * model->hidden_floats_max : h;

        layer->cell->finish(kernels, s->out[r], h, c, to, RNN_PAD_LANES(layer->hidden) / RNN_LANES);
    }
    if (layer->proj.w)
        project(model, layer, s, kernels, n);
}

static void run_layers(const struct rnn_model *model, struct rnn_scratch *s,
                       const struct rnn_kernels *kernels, size_t n)
{
    for (size_t k = 0; k < model->n_layers; k++) {
        const struct rnn_layer *layer = &model->layers[k];

        for (size_t r = 0; r < n; r++)
            s->out[r] = s->gates + r * model->gate_floats_max;
        if (k == 0)
            begin_input(model, s, kernels, n);
        else
            begin_layer(layer, &model->layers[k - 1], s, kernels, n);
        end_layer(model, layer, s, kernels, n);
    }
    for (size_t r = 0; r < n; r++)
        s->rows[r]->state->position++;
}

static const float *top_h(const struct rnn_model *model, const struct rnn_row *row)
{
    return row->state->memory + model->layers[model->n_layers - 1].h_at;
}

static void run_head(const struct rnn_model *model, struct rnn_scratch *s,
                     const struct rnn_kernels *kernels, size_t n)
{
    for (size_t r = 0; r < n; r++) {
        s->in[r] = top_h(model, s->rows[r]);
        s->out[r] = s->logits + r * s->logit_floats;
        memcpy(s->out[r], model->head_bias, s->logit_floats * sizeof(float));
    }
    kernels->product(&model->head, s->in, s->out, n);
    for (size_t r = 0; r < n; r++)
        memcpy(s->rows[r]->logits, s->out[r], model->info.output_size * sizeof(float));
}

/* Logits and hidden outputs of the rows that want them. */
static void read_out(const struct rnn_model *model, struct rnn_scratch *s,
                     const struct rnn_kernels *kernels, const struct rnn_row *rows, size_t n_rows)
{
    size_t bytes = model->info.hidden_width * sizeof(float);
    size_t n = 0;

    for (size_t r = 0; r < n_rows; r++) {
        if (rows[r].hidden)
            memcpy(rows[r].hidden, top_h(model, &rows[r]), bytes);
        if (rows[r].logits && model->head.w)
            s->rows[n++] = &rows[r];
        else if (rows[r].logits)
            memcpy(rows[r].logits, top_h(model, &rows[r]), bytes);
    }
    if (n > 0)
        run_head(model, s, kernels, n);
}

void rnn_step(const struct rnn_model *model, struct rnn_scratch *scratch,
              const struct rnn_row *rows, size_t n_rows)
{
    const struct rnn_kernels *kernels = rnn_kernels_current();
    struct fpmode mode = fpmode_enter();
    size_t n = 0;

    assert(n_rows <= scratch->rows_max);
    for (size_t r = 0; r < n_rows; r++)
        if (rows[r].input != RNN_ROW_READ)
            scratch->rows[n++] = &rows[r];
    if (n > 0)
        run_layers(model, scratch, kernels, n);
    read_out(model, scratch, kernels, rows, n_rows);
    fpmode_leave(mode);
}
