/* What a drawn model computes, in double, straight from the equations, above and beside its layers
 * (net_layers.c): inputs, readouts, heads, attention, and the way from an encoder to its decoder,
 * whose steps are sequences of one step. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "net_layers.h"

/* ---- Inputs ---- */

static void embed(const struct net *net, const struct net_stack *stack, uint32_t token, double *x)
{
    const float *row;

    if (!stack->dim) {
        x[token] = 1;
        return;
    }
    row = net_values(net, stack->prefix, "embedding.weight") + token * stack->dim;
    for (size_t i = 0; i < stack->dim; i++)
        x[i] = (double)row[i];
}

static void take_frame(const struct net *net, const struct net_stack *stack, const float *frame,
                       double *x)
{
    for (size_t i = 0; i < stack->size; i++) {
        x[i] = (double)frame[i];
        if (stack->normalize)
            x[i] = (x[i] - (double)net_values(net, stack->prefix, "input.mean")[i]) /
                   (double)net_values(net, stack->prefix, "input.std")[i];
    }
}

static struct net_steps read_input(const struct net *net, const struct net_stack *stack,
                                   const struct net_input *input)
{
    size_t end = net->source_eos >= 0, width = stack->dim ? stack->dim : stack->size;
    struct net_steps steps = net_steps_new(input->n + end, width);

    for (size_t t = 0; t < steps.n; t++) {
        double *x = steps.v + t * width;

        if (input->frames)
            take_frame(net, stack, input->frames + t * stack->size, x);
        else
            embed(net, stack, t < input->n ? input->tokens[t] : (uint32_t)net->source_eos, x);
    }
    return steps;
}

/* ---- Above the readout ---- */

static void denormalise(const struct net *net, double *y, double *deviations, size_t n)
{
    const char *prefix = net->decoder.prefix;

    for (size_t i = 0; i < n && net->denormalize; i++) {
        double std = (double)net_values(net, prefix, "output.std")[i];

        y[i] = y[i] * std + (double)net_values(net, prefix, "output.mean")[i];
        if (deviations)
            deviations[i] *= std;
    }
}

static void activate_head(const struct net *net, const double *logits, double *out)
{
    size_t n = net->outputs;
    const char *kind = net->head ? net->head : "none";
    double sum = 0;

    memcpy(out, logits, n * sizeof *out);
    for (size_t i = 0; i < n; i++)
        sum += exp(logits[i]);
    for (size_t i = 0; i < n && strcmp(kind, "softmax") == 0; i++)
        out[i] = exp(logits[i]) / sum;
    for (size_t i = 0; i < n && strcmp(kind, "sigmoid") == 0; i++)
        out[i] = 1 / (1 + exp(-logits[i]));
    for (size_t i = n / 2; i < n && strcmp(kind, "gaussian") == 0; i++)
        out[i] = exp(logits[i]);
    if (strcmp(kind, "gaussian") == 0)
        denormalise(net, out, out + n / 2, n / 2);
    else
        denormalise(net, out, NULL, n);
}

/* One output, of the vector that was read out; takes `read`. */
static void finish(const struct net *net, double *read, size_t width, struct net_result *result,
                   size_t at)
{
    const struct net_stack *stack = &net->decoder;
    struct net_ascent climb = {.net = net, .stack = stack, .steps = {1, width, read}};
    double *logits = result->logits + at * net->outputs;

    net_climb(&climb, stack->n_below, stack->n);
    if (!net->head) {
        memcpy(logits, climb.steps.v, net->outputs * sizeof *logits);
    } else {
        const char *name = net->tied ? "embedding.weight" : "head.weight";

        net_add_product(net_values(net, stack->prefix, name), net->outputs, climb.steps.v,
                        climb.steps.width, logits);
        if (net->head_bias)
            net_add_vector(net_values(net, stack->prefix, "head.bias"), net->outputs, logits);
    }
    activate_head(net, logits, result->activated + at * net->outputs);
    free(climb.steps.v);
}

static void begin_result(const struct net *net, struct net_result *result, size_t n, size_t width)
{
    result->n = n;
    result->outputs = net->outputs;
    result->width = width;
    result->logits = net_numbers(n * net->outputs);
    result->activated = net_numbers(n * net->outputs);
    result->hidden = net_numbers(n * width);
}

static double *copy_of(const double *v, size_t n)
{
    return memcpy(net_numbers(n), v, n * sizeof *v);
}

/* ---- Synced and many to one ---- */

/* Of the module under the readout: the final states of its top layer, merged; its last output,
 * where it keeps no state. */
static double *pool_final(const struct net_ascent *climb)
{
    const struct net_stack *stack = climb->stack;
    const struct net_module *m = stack->n_below ? &stack->modules[stack->n_below - 1] : NULL;
    size_t width = m && m->kind == NET_RNN ? (m->proj ? m->proj : m->hidden) : 0;
    double *out = net_numbers(climb->steps.width), *const *v = climb->state->v + climb->h;

    if (width == 0)
        memcpy(out, climb->steps.v + (climb->steps.n - 1) * climb->steps.width,
               climb->steps.width * sizeof *out);
    else if (m->both)
        net_merge(m->merge, v[-2], v[-1], width, out);
    else
        memcpy(out, v[-1], width * sizeof *out);
    return out;
}

static double *pool_steps(const struct net *net, const struct net_ascent *climb)
{
    size_t n = climb->steps.n, width = climb->steps.width;
    const double *v = climb->steps.v;
    double *out;

    if (strcmp(net->pool, "final") == 0)
        return pool_final(climb);
    out = copy_of(v + (n - 1) * width, width);
    for (size_t i = 0; i < width && strcmp(net->pool, "max") == 0; i++)
        for (size_t t = 0; t < n; t++)
            out[i] = fmax(out[i], v[t * width + i]);
    for (size_t i = 0; i < width && strcmp(net->pool, "mean") == 0; i++) {
        out[i] = 0;
        for (size_t t = 0; t < n; t++)
            out[i] += v[t * width + i] / (double)n;
    }
    return out;
}

/* The steps become one vector. */
static void pool(const struct net *net, struct net_ascent *climb)
{
    double *out = climb->steps.v;

    if (strcmp(net->pool, "flatten") == 0) {
        climb->steps = (struct net_steps){1, climb->steps.n * climb->steps.width, out};
        return;
    }
    out = pool_steps(net, climb);
    free(climb->steps.v);
    climb->steps = (struct net_steps){1, climb->steps.width, out};
}

/* An output of each of the steps, which it takes. */
static void finish_all(const struct net *net, struct net_steps steps, struct net_result *result)
{
    begin_result(net, result, steps.n, steps.width);
    for (size_t t = 0; t < steps.n; t++) {
        const double *v = steps.v + t * steps.width;

        memcpy(result->hidden + t * steps.width, v, steps.width * sizeof *v);
        finish(net, copy_of(v, steps.width), steps.width, result, t);
    }
    free(steps.v);
}

static void compute_one_stack(const struct net *net, const struct net_input *input,
                              struct net_result *result)
{
    const struct net_stack *stack = &net->decoder;
    struct net_ascent climb = {.net = net, .stack = stack, .state = &result->decoder};

    net_begin_state(net, stack, &result->decoder);
    climb.steps = read_input(net, stack, input);
    net_climb(&climb, 0, stack->n_below);
    if (net->pool)
        pool(net, &climb);
    finish_all(net, climb.steps, result);
}

static void compute_repeat(const struct net *net, const struct net_input *input,
                           struct net_result *result)
{
    struct net_ascent up = {.net = net, .stack = &net->encoder, .state = &result->encoder};
    struct net_ascent down = {.net = net, .stack = &net->decoder, .state = &result->decoder};

    net_begin_state(net, &net->encoder, &result->encoder);
    net_begin_state(net, &net->decoder, &result->decoder);
    up.steps = read_input(net, &net->encoder, input);
    net_climb(&up, 0, net->encoder.n);
    pool(net, &up);
    down.steps = net_steps_new(net->repeat, up.steps.width);
    for (size_t t = 0; t < net->repeat; t++)
        memcpy(down.steps.v + t * up.steps.width, up.steps.v, up.steps.width * sizeof(double));
    free(up.steps.v);
    net_climb(&down, 0, net->decoder.n_below);
    finish_all(net, down.steps, result);
}

/* ---- Decoders ---- */

/* Softmax of the energies, and the memory's mean under it. */
static double *weigh(double *e, const struct net_steps *memory)
{
    double top = e[0], sum = 0, *context = net_numbers(memory->width);

    for (size_t j = 1; j < memory->n; j++)
        top = fmax(top, e[j]);
    for (size_t j = 0; j < memory->n; j++)
        sum += exp(e[j] - top);
    for (size_t j = 0; j < memory->n; j++)
        for (size_t i = 0; i < memory->width; i++)
            context[i] += exp(e[j] - top) / sum * memory->v[j * memory->width + i];
    free(e);
    return context;
}

static double *attend_additive(const struct net *net, const struct net_steps *memory,
                               const double *s, size_t n)
{
    const struct net_stack *stack = &net->decoder;
    const struct net_attention *a = &stack->attention;
    const float *v = net_values(net, stack->prefix, "attention.v");
    double *e = net_numbers(memory->n);

    for (size_t j = 0; j < memory->n; j++) {
        double *sum = net_numbers(a->size);

        net_add_product(net_values(net, stack->prefix, "attention.query.weight"), a->size, s, n,
                        sum);
        net_add_product(net_values(net, stack->prefix, "attention.key.weight"), a->size,
                        memory->v + j * memory->width, memory->width, sum);
        if (a->bias)
            net_add_vector(net_values(net, stack->prefix, "attention.key.bias"), a->size, sum);
        for (size_t i = 0; i < a->size; i++)
            e[j] += (double)v[i] * tanh(sum[i]);
        free(sum);
    }
    return weigh(e, memory);
}

/* tanh(Wc [context ; h]), in h's place. */
static void attend_multiplicative(const struct net *net, const struct net_steps *memory,
                                  struct net_steps *h)
{
    const struct net_stack *stack = &net->decoder;
    const struct net_attention *a = &stack->attention;
    size_t width = memory->width, out = a->combine ? a->combine : h->width;
    double *e = net_numbers(memory->n), *joined, *result = net_numbers(out);

    for (size_t j = 0; j < memory->n; j++) {
        double *key = net_numbers(h->width);

        if (strcmp(a->kind, "general") == 0)
            net_add_product(net_values(net, stack->prefix, "attention.key.weight"), h->width,
                            memory->v + j * width, width, key);
        else
            memcpy(key, memory->v + j * width, width * sizeof *key);
        for (size_t i = 0; i < h->width; i++)
            e[j] += h->v[i] * key[i];
        free(key);
    }
    joined = realloc(weigh(e, memory), (width + h->width) * sizeof *joined);
    memcpy(joined + width, h->v, h->width * sizeof *joined);
    net_add_product(net_values(net, stack->prefix, "attention.combine.weight"), out, joined,
                    width + h->width, result);
    for (size_t i = 0; i < out; i++)
        result[i] = tanh(result[i]);
    free(joined);
    free(h->v);
    *h = (struct net_steps){1, out, result};
}

static struct net_steps join(struct net_steps a, const double *b, size_t n)
{
    struct net_steps out = net_steps_new(1, a.width + n);

    memcpy(out.v, a.v, a.width * sizeof *out.v);
    memcpy(out.v + a.width, b, n * sizeof *out.v);
    free(a.v);
    return out;
}

/* One step of the decoder with input x, which it takes; result NULL: nothing is read out. */
static void decode(const struct net *net, struct net_steps x, const struct net_steps *memory,
                   struct net_state *state, struct net_result *result, size_t at)
{
    const struct net_stack *stack = &net->decoder;
    const struct net_attention *a = &stack->attention;
    struct net_ascent climb = {.net = net, .stack = stack, .state = state, .steps = x};
    bool additive = a->kind && strcmp(a->kind, "additive") == 0;
    double *context = NULL;

    if (additive) {
        size_t top = state->n_h - 1;

        context = attend_additive(net, memory, state->v[top], state->size[top]);
        climb.steps = join(climb.steps, context, memory->width);
    }
    net_climb(&climb, 0, stack->n_below);
    if (result)
        memcpy(result->hidden + at * result->width, climb.steps.v,
               result->width * sizeof *climb.steps.v);
    if (additive && a->concat)
        climb.steps = join(climb.steps, context, memory->width);
    else if (a->kind && !additive)
        attend_multiplicative(net, memory, &climb.steps);
    if (result)
        finish(net, climb.steps.v, climb.steps.width, result, at);
    else
        free(climb.steps.v);
    free(context);
}

static struct net_steps token_of(const struct net *net, uint32_t token)
{
    const struct net_stack *stack = &net->decoder;
    struct net_steps x = net_steps_new(1, stack->dim ? stack->dim : stack->size);

    embed(net, stack, token, x.v);
    return x;
}

static void decode_all(const struct net *net, const struct net_input *input,
                       const struct net_steps *memory, struct net_result *result)
{
    const struct net_stack *stack = &net->decoder;
    size_t width = stack->n_below ? stack->modules[stack->n_below - 1].out
                   : stack->dim   ? stack->dim
                                  : stack->size;

    begin_result(net, result, input->n_target + 1, width);
    for (size_t t = 0; t <= input->n_target; t++)
        decode(net, token_of(net, t ? input->target[t - 1] : (uint32_t)net->bos), memory,
               &result->decoder, result, t);
}

/* f(W x + b); takes x. */
static double *bridge(const struct net *net, double *x, size_t reads, size_t writes)
{
    double *y = net_numbers(writes);

    net_add_product(net_values(net, "", "bridge.weight"), writes, x, reads, y);
    net_add_vector(net_values(net, "", "bridge.bias"), writes, y);
    for (size_t i = 0; i < writes; i++)
        y[i] = net_activate(&net->bridge, "tanh", y[i]);
    free(x);
    return y;
}

static size_t floats_of(const struct net_state *state)
{
    size_t n = 0;

    for (size_t i = 0; i < state->n; i++)
        n += state->size[i];
    return n;
}

/* All h, then all c, side by side. */
static double *flatten(const struct net_state *state)
{
    double *out = net_numbers(floats_of(state)), *to = out;

    for (size_t i = 0; i < state->n; to += state->size[i++])
        memcpy(to, state->v[i], state->size[i] * sizeof *to);
    return out;
}

/* Takes `from`. */
static void unflatten(struct net_state *state, double *from)
{
    const double *at = from;

    for (size_t i = 0; i < state->n; at += state->size[i++])
        memcpy(state->v[i], at, state->size[i] * sizeof *at);
    free(from);
}

static void compute_caption(const struct net *net, const struct net_input *input,
                            struct net_result *result)
{
    const struct net_stack *stack = &net->decoder;
    size_t width = stack->dim ? stack->dim : stack->size, writes;
    double *x = net_numbers(net->features);

    net_begin_state(net, stack, &result->decoder);
    writes = net->bridge_to_input ? width : floats_of(&result->decoder);
    for (size_t i = 0; i < net->features; i++)
        x[i] = (double)input->frames[i];
    x = bridge(net, x, net->features, writes);
    if (net->bridge_to_input)
        decode(net, (struct net_steps){1, width, x}, NULL, &result->decoder, NULL, 0);
    else
        unflatten(&result->decoder, x);
    decode_all(net, input, NULL, result);
}

static void hand_over(const struct net *net, struct net_result *result)
{
    struct net_state *from = &result->encoder, *to = &result->decoder;

    if (strcmp(net->transfer, "bridge") == 0)
        unflatten(to, bridge(net, flatten(from), floats_of(from), floats_of(to)));
    else if (strcmp(net->transfer, "none") != 0) /* concat: two of one are one of the other */
        unflatten(to, flatten(from));
}

static void compute_translation(const struct net *net, const struct net_input *input,
                                struct net_result *result)
{
    struct net_ascent climb = {.net = net, .stack = &net->encoder, .state = &result->encoder};

    net_begin_state(net, &net->encoder, &result->encoder);
    net_begin_state(net, &net->decoder, &result->decoder);
    climb.steps = read_input(net, &net->encoder, input);
    net_climb(&climb, 0, net->encoder.n);
    hand_over(net, result);
    decode_all(net, input, &climb.steps, result);
    free(climb.steps.v);
}

/* ---- The whole ---- */

void net_compute(const struct net *net, const struct net_input *input, struct net_result *result)
{
    *result = (struct net_result){0};
    if (net->features)
        compute_caption(net, input, result);
    else if (net->transfer)
        compute_translation(net, input, result);
    else if (net->repeat)
        compute_repeat(net, input, result);
    else
        compute_one_stack(net, input, result);
}

void net_result_free(struct net_result *result)
{
    for (size_t i = 0; i < result->decoder.n; i++)
        free(result->decoder.v[i]);
    for (size_t i = 0; i < result->encoder.n; i++)
        free(result->encoder.v[i]);
    free(result->logits);
    free(result->activated);
    free(result->hidden);
}
