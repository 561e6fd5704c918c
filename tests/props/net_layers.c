/* What the layers of a drawn model compute, in double, straight from the equations: a whole
 * sequence goes up module by module. */
#include "net_layers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double *net_numbers(size_t n)
{
    double *v = calloc(n ? n : 1, sizeof *v);

    if (!v)
        abort();
    return v;
}

struct net_steps net_steps_new(size_t n, size_t width)
{
    return (struct net_steps){n, width, net_numbers(n * width)};
}

/* ---- Plain functions ---- */

double net_activate(const struct net_activation *f, const char *otherwise, double x)
{
    const char *name = f->name ? f->name : otherwise;
    double a = f->alpha, b = f->beta;

    if (strcmp(name, "tanh") == 0)
        return tanh(x);
    if (strcmp(name, "relu") == 0)
        return x > 0 ? x : 0;
    if (strcmp(name, "sigmoid") == 0)
        return 1 / (1 + exp(-x));
    if (strcmp(name, "linear") == 0)
        return f->name ? a * x + b : x;
    if (strncmp(name, "hard_sigmoid", 12) == 0)
        return fmin(fmax(a * x + b, 0), 1);
    if (strcmp(name, "leaky_relu") == 0)
        return x < 0 ? a * x : x;
    if (strcmp(name, "thresholded_relu") == 0)
        return x > a ? x : 0;
    if (strcmp(name, "scaled_tanh") == 0)
        return a * tanh(b * x);
    if (strcmp(name, "elu") == 0)
        return x < 0 ? a * (exp(x) - 1) : x;
    if (strcmp(name, "softsign") == 0)
        return x / (1 + fabs(x));
    abort();
}

/* out [rows] += W [rows, n] x [n]. */
void net_add_product(const float *w, size_t rows, const double *x, size_t n, double *out)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++)
            out[i] += (double)w[i * n + j] * x[j];
}

void net_add_vector(const float *b, size_t n, double *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] += (double)b[i];
}

/* ---- One step of a cell ---- */

/* One direction of one layer: its weights, and its state on the way. */
struct layer {
    const struct net *net;
    const struct net_module *m;
    const char *prefix, *module, *end;
    size_t k, in;
    double *h, *c;
};

static const float *weights(const struct layer *l, const char *kind)
{
    char name[64];

    snprintf(name, sizeof name, "%s.%s_l%zu%s", l->module, kind, l->k, l->end);
    return net_values(l->net, l->prefix, name);
}

static double clipped(const struct net_module *m, double x)
{
    return m->clip > 0 ? fmin(fmax(x, -m->clip), m->clip) : x;
}

static double gate(const struct net_module *m, double x)
{
    return net_activate(&m->gate, "sigmoid", clipped(m, x));
}

static double candidate(const struct net_module *m, double x)
{
    return net_activate(&m->activation, strcmp(m->cell, "rnn_relu") == 0 ? "relu" : "tanh",
                        clipped(m, x));
}

/* The input's sums with their bias, and the recurrent sums with theirs. */
static void sums(const struct layer *l, size_t gates, const double *x, double *xs, double *hs)
{
    size_t rows = gates * l->m->hidden, width = l->m->proj ? l->m->proj : l->m->hidden;

    net_add_product(weights(l, "weight_ih"), rows, x, l->in, xs);
    net_add_product(weights(l, "weight_hh"), rows, l->h, width, hs);
    if (l->m->bias) {
        net_add_vector(weights(l, "bias_ih"), rows, xs);
        net_add_vector(weights(l, "bias_hh"), rows, hs);
    }
}

static void step_rnn(const struct layer *l, const double *xs, const double *hs)
{
    for (size_t u = 0; u < l->m->hidden; u++)
        l->h[u] = candidate(l->m, xs[u] + hs[u]);
}

static void step_lstm(const struct layer *l, const double *xs, const double *hs)
{
    const struct net_module *m = l->m;
    const struct net_activation *last = m->output.name ? &m->output : &m->activation;
    const float *p = m->peepholes ? weights(l, "peephole") : NULL;
    size_t n = m->hidden;
    double *h = net_numbers(n);

    for (size_t u = 0; u < n; u++) {
        double i = xs[u] + hs[u], f = xs[n + u] + hs[n + u], g = xs[2 * n + u] + hs[2 * n + u];
        double o = xs[3 * n + u] + hs[3 * n + u], c = l->c[u];

        i = gate(m, p ? i + (double)p[u] * c : i);
        f = m->input_forget ? 1 - i : gate(m, p ? f + (double)p[n + u] * c : f);
        c = f * c + i * candidate(m, g);
        o = gate(m, p ? o + (double)p[2 * n + u] * c : o);
        l->c[u] = c;
        h[u] = o * net_activate(last, "tanh", clipped(m, c));
    }
    if (m->proj) {
        memset(l->h, 0, m->proj * sizeof *l->h);
        net_add_product(weights(l, "weight_hr"), m->proj, h, n, l->h);
    } else {
        memcpy(l->h, h, n * sizeof *h);
    }
    free(h);
}

/* n's recurrent sum where the reset gate comes first. */
static void sums_of_reset(const struct layer *l, const double *r, double *out)
{
    size_t n = l->m->hidden;
    double *kept = net_numbers(n);

    for (size_t u = 0; u < n; u++)
        kept[u] = r[u] * l->h[u];
    net_add_product(weights(l, "weight_hh") + 2 * n * n, n, kept, n, out);
    if (l->m->bias)
        net_add_vector(weights(l, "bias_hh") + 2 * n, n, out);
    free(kept);
}

static void step_gru(const struct layer *l, const double *xs, const double *hs)
{
    const struct net_module *m = l->m;
    size_t n = m->hidden;
    double *r = net_numbers(n), *again = net_numbers(n);

    for (size_t u = 0; u < n; u++)
        r[u] = gate(m, xs[u] + hs[u]);
    if (m->reset_before)
        sums_of_reset(l, r, again);
    for (size_t u = 0; u < n; u++) {
        double z = gate(m, xs[n + u] + hs[n + u]);
        double sum = m->reset_before ? again[u] : r[u] * hs[2 * n + u];

        l->h[u] = (1 - z) * candidate(m, xs[2 * n + u] + sum) + z * l->h[u];
    }
    free(r);
    free(again);
}

static void step_cell(const struct layer *l, const double *x)
{
    bool lstm = strcmp(l->m->cell, "lstm") == 0, gru = strcmp(l->m->cell, "gru") == 0;
    size_t gates = lstm ? 4 : gru ? 3 : 1;
    double *xs = net_numbers(gates * l->m->hidden), *hs = net_numbers(gates * l->m->hidden);

    sums(l, gates, x, xs, hs);
    if (lstm)
        step_lstm(l, xs, hs);
    else if (gru)
        step_gru(l, xs, hs);
    else
        step_rnn(l, xs, hs);
    free(xs);
    free(hs);
}

/* ---- States ---- */

/* Each h, then each c, of a stack, zero or as they were learned. */
static void add_states(const struct net *net, const struct net_stack *stack, struct net_state *s,
                       bool c)
{
    for (size_t i = 0; i < stack->n; i++) {
        const struct net_module *m = &stack->modules[i];
        size_t size = c || !m->proj ? m->hidden : m->proj;

        if (m->kind != NET_RNN || (c && strcmp(m->cell, "lstm") != 0))
            continue;
        for (size_t k = 0; k < m->layers * (m->both ? 2 : 1); k++) {
            size_t layer = m->both ? k / 2 : k;
            char name[64];

            s->size[s->n] = size;
            s->v[s->n] = net_numbers(size);
            snprintf(name, sizeof name, stack->as_rnn ? "rnn" : "layers.%zu", i);
            snprintf(name + strlen(name), 36, ".%c_0_l%zu%s", c ? 'c' : 'h', layer,
                     m->both && k % 2 ? "_reverse" : "");
            if (m->learned)
                net_add_vector(net_values(net, stack->prefix, name), size, s->v[s->n]);
            s->n++;
        }
    }
}

void net_begin_state(const struct net *net, const struct net_stack *stack, struct net_state *s)
{
    *s = (struct net_state){0};
    add_states(net, stack, s, false);
    s->n_h = s->n;
    add_states(net, stack, s, true);
}

/* ---- Modules ---- */

/* One direction over the whole sequence. */
static struct net_steps run_direction(struct net_ascent *climb, size_t i, size_t k, bool backward)
{
    const struct net_module *m = &climb->stack->modules[i];
    size_t width = m->proj ? m->proj : m->hidden;
    struct net_steps out = net_steps_new(climb->steps.n, width);
    char module[24];
    struct layer l = {.net = climb->net,
                      .m = m,
                      .prefix = climb->stack->prefix,
                      .module = module,
                      .end = backward ? "_reverse" : "",
                      .k = k,
                      .in = climb->steps.width,
                      .h = climb->state->v[climb->h++]};

    snprintf(module, sizeof module, climb->stack->as_rnn ? "rnn" : "layers.%zu", i);
    if (strcmp(m->cell, "lstm") == 0)
        l.c = climb->state->v[climb->state->n_h + climb->c++];
    for (size_t s = 0; s < out.n; s++) {
        size_t t = backward ? out.n - 1 - s : s;

        step_cell(&l, climb->steps.v + t * l.in);
        memcpy(out.v + t * width, l.h, width * sizeof(double));
    }
    return out;
}

void net_merge(const char *how, const double *a, const double *b, size_t n, double *out)
{
    for (size_t i = 0; i < n; i++) {
        if (!how || strcmp(how, "concat") == 0) {
            out[i] = a[i];
            out[n + i] = b[i];
        } else if (strcmp(how, "multiply") == 0) {
            out[i] = a[i] * b[i];
        } else {
            out[i] = (a[i] + b[i]) / (strcmp(how, "average") == 0 ? 2 : 1);
        }
    }
}

static void run_recurrent(struct net_ascent *climb, size_t i, bool under_context)
{
    const struct net_module *m = &climb->stack->modules[i];

    for (size_t k = 0; k < m->layers; k++) {
        struct net_steps in = climb->steps, out = run_direction(climb, i, k, false);

        if (m->both) {
            struct net_steps a = out, b = run_direction(climb, i, k, true);

            out = net_steps_new(a.n, net_layer_width(m));
            for (size_t t = 0; t < a.n; t++)
                net_merge(m->merge, a.v + t * a.width, b.v + t * b.width, a.width,
                          out.v + t * out.width);
            free(a.v);
            free(b.v);
        }
        if (net_is_residual(m, k, in.width) && !(under_context && k == 0))
            for (size_t j = 0; j < out.n * out.width; j++)
                out.v[j] += in.v[j];
        free(in.v);
        climb->steps = out;
    }
}

static void run_dense(struct net_ascent *climb, const struct net_module *m, const char *module)
{
    const char *prefix = climb->stack->prefix;
    struct net_steps in = climb->steps, out = net_steps_new(in.n, m->out);
    char name[48];

    for (size_t t = 0; t < in.n; t++) {
        double *y = out.v + t * m->out;

        snprintf(name, sizeof name, "%s.weight", module);
        net_add_product(net_values(climb->net, prefix, name), m->out, in.v + t * in.width, in.width,
                        y);
        snprintf(name, sizeof name, "%s.bias", module);
        if (m->bias)
            net_add_vector(net_values(climb->net, prefix, name), m->out, y);
        for (size_t j = 0; j < m->out; j++)
            y[j] = net_activate(&m->activation, "linear", y[j]) +
                   (m->residual ? in.v[t * in.width + j] : 0);
    }
    free(in.v);
    climb->steps = out;
}

static void run_scaled(struct net_ascent *climb, const struct net_module *m, const char *module)
{
    bool norm = m->kind == NET_NORM;
    const float *scale, *shift;
    size_t n = climb->steps.width;
    char name[48];

    snprintf(name, sizeof name, "%s.%s", module, norm ? "weight" : "scale");
    scale = net_values(climb->net, climb->stack->prefix, name);
    snprintf(name, sizeof name, "%s.%s", module, norm ? "bias" : "shift");
    shift = net_values(climb->net, climb->stack->prefix, name);
    for (size_t t = 0; t < climb->steps.n; t++) {
        double *x = climb->steps.v + t * n, mean = 0, spread = 0;

        for (size_t j = 0; j < n && norm; j++)
            mean += x[j] / (double)n;
        for (size_t j = 0; j < n && norm; j++)
            spread += (x[j] - mean) * (x[j] - mean) / (double)n;
        for (size_t j = 0; j < n; j++)
            x[j] = (x[j] - mean) / (norm ? sqrt(spread + m->epsilon) : 1) * (double)scale[j] +
                   (double)shift[j];
    }
}

static void run_module(struct net_ascent *climb, size_t i)
{
    const struct net_module *m = &climb->stack->modules[i];
    const char *attention = climb->stack->attention.kind;
    char module[24];

    snprintf(module, sizeof module, climb->stack->as_rnn ? "rnn" : "layers.%zu", i);
    switch (m->kind) {
    case NET_RNN:
        run_recurrent(climb, i, i == 0 && attention && strcmp(attention, "additive") == 0);
        break;
    case NET_DENSE:
        run_dense(climb, m, module);
        break;
    case NET_AFFINE:
    case NET_NORM:
        run_scaled(climb, m, module);
        break;
    case NET_READOUT:
        break;
    }
}

void net_climb(struct net_ascent *climb, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        run_module(climb, i);
}
