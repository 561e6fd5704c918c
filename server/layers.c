/* Looking into the layers.  See layers.h. */
#include "server/layers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "server/answer.h"

#define SATURATED 0.95f

size_t layers_bytes(const struct rnn_model *model, unsigned what)
{
    const struct rnn_model_info *info = rnn_model_info(model);
    size_t floats = info->state_bytes / sizeof(float), bytes;

    if (what == 0)
        return 0;
    if (what & LAYERS_GATES)
        floats += info->gates_width;
    if (!checked_mul(floats, ANSWER_FLOAT_BYTES, &bytes) ||
        !checked_add(bytes, 256 * (info->layers + info->encoder_layers + 1), &bytes))
        return SIZE_MAX;
    return bytes;
}

int layers_prepare(struct layers *layers, struct job *job, unsigned what, struct rnn_err *err)
{
    const struct rnn_model_info *info = rnn_model_info(job->model);

    layers->what = what;
    if (what == 0)
        return 0;
    if (info->unsteppable)
        return rnn_fail_at(err, REPLY_EINPUT, "return", -1,
                           "return: there is no state between two steps to be looked at: %s",
                           info->unsteppable);
    if (!(what & LAYERS_GATES))
        return 0;
    layers->gates = calloc(job->n_sequences * info->gates_width + 1, sizeof *layers->gates);
    if (!layers->gates)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (size_t i = 0; i < job->n_sequences; i++)
        job->sequences[i].step.gates_to = layers->gates + i * info->gates_width;
    return 0;
}

void layers_free(struct layers *layers)
{
    free(layers->gates);
    layers->gates = NULL;
}

/* ---- A state in a few numbers ---- */

static double norm_of(const float *values, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)values[i] * (double)values[i];
    return sqrt(sum);
}

static float share_saturated(const float *h, size_t n)
{
    size_t over = 0;

    for (size_t i = 0; i < n; i++)
        over += fabsf(h[i]) > SATURATED;
    return n > 0 ? (float)over / (float)n : 0;
}

static float largest_of(const float *c, size_t n)
{
    float largest = 0;

    for (size_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(c[i]));
    return largest;
}

void layers_put_summary(struct buf *out, const struct rnn_model *model,
                        const struct rnn_state *state)
{
    const struct rnn_state_part *parts;
    bool first = true;
    size_t n;

    parts = rnn_state_parts(model, &n);
    buf_puts(out, ",\"layers\":[");
    for (size_t i = 0; i < n; i++) {
        const float *values = state->memory + parts[i].offset;

        if (parts[i].kind[0] != 'h')
            continue;
        buf_puts(out, first ? "{\"hidden\":{\"norm\":" : ",{\"hidden\":{\"norm\":");
        buf_f32(out, (float)norm_of(values, parts[i].size));
        buf_puts(out, ",\"saturated\":");
        buf_f32(out, share_saturated(values, parts[i].size));
        buf_putc(out, '}');
        if (i + 1 < n && parts[i + 1].kind[0] == 'c') {
            values = state->memory + parts[i + 1].offset;
            buf_puts(out, ",\"cell\":{\"norm\":");
            buf_f32(out, (float)norm_of(values, parts[i + 1].size));
            buf_puts(out, ",\"largest\":");
            buf_f32(out, largest_of(values, parts[i + 1].size));
            buf_putc(out, '}');
        }
        buf_putc(out, '}');
        first = false;
    }
    buf_putc(out, ']');
}

/* ---- A step ---- */

static bool same_layer(const struct rnn_state_part *part, const struct rnn_gate *gate)
{
    return part->stack == gate->stack && part->layer == gate->layer &&
           part->direction == gate->direction;
}

static void put_gates(const struct layers *layers, struct buf *out,
                      const struct job_sequence *sequence, const struct rnn_state_part *part)
{
    const float *values = sequence->step.gates_to;
    size_t n;
    const struct rnn_gate *gates = rnn_gates(sequence->job->model, &n);
    bool first = true;

    bool stepped = sequence->step.input == RNN_ROW_TOKEN || sequence->step.input == RNN_ROW_FRAME;

    if (!(layers->what & LAYERS_GATES) || !stepped)
        return;
    buf_puts(out, ",\"gates\":{");
    for (size_t i = 0; i < n; i++) {
        if (!same_layer(part, &gates[i]))
            continue;
        buf_printf(out, first ? "\"%s\":" : ",\"%s\":", gates[i].name);
        buf_f32_array(out, values + gates[i].offset, gates[i].size);
        first = false;
    }
    buf_putc(out, '}');
}

void layers_put(const struct layers *layers, struct buf *out, const struct job_sequence *sequence)
{
    const float *memory = sequence->step.state->memory;
    const struct rnn_state_part *parts;
    bool first = true;
    size_t n;

    if (layers->what == 0)
        return;
    parts = rnn_state_parts(sequence->job->model, &n);
    buf_puts(out, ",\"layers\":[");
    for (size_t i = 0; i < n; i++) {
        if (parts[i].kind[0] != 'h')
            continue;
        buf_puts(out, first ? "{" : ",{");
        if (parts[i].stack == 1)
            buf_puts(out, "\"encoder\":true,");
        buf_puts(out, "\"hidden\":");
        buf_f32_array(out, memory + parts[i].offset, parts[i].size);
        if (i + 1 < n && parts[i + 1].kind[0] == 'c' && (layers->what & LAYERS_CELL)) {
            buf_puts(out, ",\"cell\":");
            buf_f32_array(out, memory + parts[i + 1].offset, parts[i + 1].size);
        }
        put_gates(layers, out, sequence, &parts[i]);
        buf_putc(out, '}');
        first = false;
    }
    buf_putc(out, ']');
}
