/* Draws a model: shapes first, module by module, then a tensor for everything that they name. */
#include "net.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t sizes[] = {1, 2, 3, 5, 8, 16, 17, 20, 33};
enum { IDS = 7, N_SIZES = sizeof sizes / sizeof *sizes };

/* ---- Numbers ---- */

uint64_t net_next(struct net *net)
{
    uint64_t x = net->random;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    net->random = x;
    return (x * 0x2545f4914f6cdd1dULL) >> 16;
}

size_t net_below(struct net *net, size_t n)
{
    return (size_t)(net_next(net) % n);
}

bool net_chance(struct net *net, unsigned tenths)
{
    return net_below(net, 10) < tenths;
}

float net_number(struct net *net)
{
    return (float)((double)net_below(net, 1 << 20) / (1 << 19) - 1.0);
}

static size_t draw_size(struct net *net)
{
    return sizes[net_below(net, N_SIZES)];
}

/* ---- Facts ---- */

bool net_decodes(const struct net *net)
{
    return strcmp(net->topology, "one_to_many") == 0 || strcmp(net->topology, "seq2seq") == 0;
}

static const struct net_stack *reader(const struct net *net)
{
    return net->encoder.input ? &net->encoder : &net->decoder;
}

size_t net_window(const struct net *net)
{
    return net->window ? net->window : 1;
}

bool net_takes_frames(const struct net *net)
{
    return net->features || strcmp(reader(net)->input, "dense") == 0;
}

size_t net_input_size(const struct net *net)
{
    return net->features ? net->features : reader(net)->size;
}

size_t net_layer_width(const struct net_module *m)
{
    size_t width = m->proj ? m->proj : m->hidden;

    return m->both && (!m->merge || strcmp(m->merge, "concat") == 0) ? 2 * width : width;
}

bool net_is_residual(const struct net_module *m, size_t k, size_t in)
{
    return m->residual && (k > 0 || in == net_layer_width(m));
}

static size_t input_width(const struct net_stack *stack)
{
    return stack->dim ? stack->dim : stack->size;
}

/* ---- Modules ---- */

static struct net_activation draw_activation(struct net *net)
{
    static const struct {
        const char *name;
        double alpha, beta;
        unsigned parameters;
    } all[] = {{"tanh", 0, 0, 0},
               {"relu", 0, 0, 0},
               {"sigmoid", 0, 0, 0},
               {"linear", 1, 0, 2},
               {"hard_sigmoid", 0.2f, 0.5, 2},
               {"hard_sigmoid6", 1.0f / 6.0f, 0.5, 2},
               {"leaky_relu", 0.01f, 0, 1},
               {"thresholded_relu", 1, 0, 1},
               {"scaled_tanh", 1, 1, 2},
               {"elu", 1, 0, 1},
               {"softsign", 0, 0, 0}};
    size_t i = net_below(net, sizeof all / sizeof *all);
    struct net_activation f = {.name = all[i].name, .alpha = all[i].alpha, .beta = all[i].beta};

    f.tells = all[i].parameters > 0 && net_chance(net, 5);
    if (f.tells) {
        f.alpha = (double)(1 + net_below(net, 6)) / 8;
        f.beta = all[i].parameters > 1 ? (double)net_below(net, 5) / 8 : 0;
    }
    return f;
}

static void draw_settings(struct net *net, struct net_module *m)
{
    bool lstm = strcmp(m->cell, "lstm") == 0, gru = strcmp(m->cell, "gru") == 0;

    if ((lstm || gru) && net_chance(net, 3))
        m->gate = draw_activation(net);
    if ((lstm || gru || strcmp(m->cell, "rnn") == 0) && net_chance(net, 4))
        m->activation = draw_activation(net);
    if (lstm && net_chance(net, 3))
        m->output = draw_activation(net);
    m->reset_before = gru && net_chance(net, 4);
    m->peepholes = lstm && net_chance(net, 3);
    m->input_forget = lstm && net_chance(net, 3);
    if (net_chance(net, 2))
        m->clip = 0.5 + (double)net_below(net, 4) / 4;
}

/* Recurrent, of one direction or maybe both. */
static void draw_recurrent(struct net *net, struct net_module *m, size_t in, bool may_both)
{
    static const char *const cells[] = {"rnn_tanh", "rnn_relu", "rnn", "lstm",
                                        "gru",      "lstm",     "gru"};
    static const char *const merges[] = {NULL, "concat", "sum", "average", "multiply"};

    *m = (struct net_module){.kind = NET_RNN, .in = in};
    m->cell = cells[net_below(net, 7)];
    m->hidden = draw_size(net);
    m->layers = 1 + net_below(net, NET_LAYERS_MAX);
    m->bias = net_chance(net, 8);
    if (strcmp(m->cell, "lstm") == 0 && net_chance(net, 3))
        m->proj = 1 + net_below(net, m->hidden);
    m->both = may_both && net_chance(net, 5);
    if (m->both)
        m->merge = merges[net_below(net, 5)];
    draw_settings(net, m);
    m->learned = net_chance(net, 3);
    m->out = net_layer_width(m);
    m->residual = net_chance(net, 4) && (m->layers > 1 || m->in == m->out);
}

static void draw_plain(struct net *net, struct net_module *m, size_t in)
{
    *m = (struct net_module){.kind = (enum net_kind)(NET_DENSE + net_below(net, 3)),
                             .in = in,
                             .out = in,
                             .epsilon = net_chance(net, 5) ? 1e-5 : 0.015625};
    if (m->kind != NET_DENSE)
        return;
    m->out = net_chance(net, 3) ? in : draw_size(net);
    m->bias = net_chance(net, 7);
    m->residual = m->out == in && net_chance(net, 5);
    if (net_chance(net, 7))
        m->activation = draw_activation(net);
}

static struct net_module *push(struct net_stack *stack)
{
    if (stack->n == NET_MODULES_MAX)
        abort();
    return &stack->modules[stack->n++];
}

static size_t top_width(const struct net_stack *stack)
{
    return stack->n ? stack->modules[stack->n - 1].out : input_width(stack);
}

static void draw_input(struct net *net, struct net_stack *stack, bool may_frames)
{
    static const char *const kinds[] = {"onehot", "embedding", "dense"};

    stack->input = kinds[net_below(net, may_frames ? 3 : 2)];
    stack->size = IDS;
    if (strcmp(stack->input, "embedding") == 0)
        stack->dim = draw_size(net);
    if (strcmp(stack->input, "dense") == 0) {
        stack->size = draw_size(net);
        stack->normalize = net_chance(net, 4);
    }
}

/* The vector that is read out is the highest recurrent layer's, unless a module says. */
static void place_readout(struct net_stack *stack)
{
    stack->n_below = stack->n;
    while (stack->n_below > 0 && stack->modules[stack->n_below - 1].kind != NET_RNN)
        stack->n_below--;
}

/* Up to four modules of any kind, or one in the short form. */
static void draw_modules(struct net *net, struct net_stack *stack, bool may_both)
{
    size_t n = 1 + net_below(net, 4);

    stack->as_rnn = net_chance(net, 4);
    for (size_t i = 0; i < (stack->as_rnn ? 1 : n); i++) {
        size_t in = top_width(stack);

        if (stack->as_rnn || net_chance(net, 6))
            draw_recurrent(net, push(stack), in, may_both);
        else
            draw_plain(net, push(stack), in);
    }
    place_readout(stack);
}

/* ---- Topologies ---- */

static void draw_pool(struct net *net)
{
    static const char *const pools[] = {"final", "last", "mean", "max", "flatten"};

    net->pool = pools[net_below(net, 5)];
    if (strcmp(net->pool, "flatten") == 0)
        net->window = 1 + net_below(net, 5);
}

/* Modules above the readout read `width` numbers. */
static void widen(struct net_stack *stack, size_t width)
{
    for (size_t i = stack->n_below; i < stack->n; i++) {
        struct net_module *m = &stack->modules[i];

        m->in = width;
        m->out = m->kind == NET_DENSE ? m->out : width;
        m->residual = m->residual && m->in == m->out;
        width = m->out;
    }
}

static size_t readout_width(const struct net_stack *stack)
{
    return stack->n_below ? stack->modules[stack->n_below - 1].out : input_width(stack);
}

static void draw_to_one(struct net *net)
{
    struct net_stack *stack = &net->decoder;
    size_t width = top_width(stack);

    draw_pool(net);
    if (!stack->as_rnn && !net_chance(net, 7)) {
        *push(stack) = (struct net_module){.kind = NET_READOUT, .in = width, .out = width};
        stack->n_below = stack->n - 1;
        if (net_chance(net, 5))
            draw_plain(net, push(stack), width);
    }
    widen(stack, readout_width(stack) * net_window(net));
}

/* A vector, fed to layers of any kind, which have an output at every step. */
static void draw_repeat(struct net *net)
{
    struct net_stack *encoder = &net->encoder, *decoder = &net->decoder;

    net->topology = "repeat";
    net->repeat = 1 + net_below(net, 6);
    draw_input(net, encoder, true);
    draw_modules(net, encoder, true);
    encoder->n_below = encoder->n;
    draw_pool(net);
    decoder->prefix = "decoder.";
    decoder->input = "dense";
    decoder->size = top_width(encoder) * net_window(net);
    draw_modules(net, decoder, true);
}

static bool has_state(const struct net_stack *stack)
{
    for (size_t i = 0; i < stack->n; i++)
        if (stack->modules[i].kind == NET_RNN)
            return true;
    return false;
}

static void draw_from_one(struct net *net)
{
    net->features = draw_size(net);
    net->bridge =
        net_chance(net, 5) ? (struct net_activation){.name = "tanh"} : draw_activation(net);
    net->bridge_to_input = !has_state(&net->decoder) || net_chance(net, 5);
}

static void draw_attention(struct net *net)
{
    static const char *const kinds[] = {"additive", "general", "dot"};
    struct net_stack *stack = &net->decoder;
    struct net_attention *a = &stack->attention;

    stack->memory = top_width(&net->encoder);
    a->kind = kinds[net_below(net, 3)];
    a->size = draw_size(net);
    a->bias = net_chance(net, 5);
    a->concat = net_chance(net, 5);
    a->combine = net_chance(net, 5) ? draw_size(net) : 0;
}

/* What stands under an additive attention's context is a recurrent layer or a dense one, and its
 * input is no part of its output. */
static void fit_context(struct net_stack *stack)
{
    struct net_module *m = &stack->modules[0];

    if (m->kind == NET_AFFINE || m->kind == NET_NORM)
        stack->attention.kind = "general";
    else if (m->kind == NET_DENSE || m->layers == 1)
        m->residual = false;
}

/* The decoder's side of an attention: wide enough, and with modules on top as wide as it gives. */
static void fit_attention(struct net *net)
{
    struct net_stack *stack = &net->decoder;
    struct net_attention *a = &stack->attention;
    size_t width;

    if (!a->kind)
        return;
    width = stack->modules[stack->n_below - 1].out;
    if (strcmp(a->kind, "dot") == 0 && width != stack->memory)
        a->kind = "general";
    if (strcmp(a->kind, "additive") == 0)
        fit_context(stack);
    if (strcmp(a->kind, "additive") == 0)
        width += a->concat ? stack->memory : 0;
    else
        width = a->combine ? a->combine : width;
    widen(stack, width);
}

/* A decoder that takes an encoder's states over as they are. */
static void draw_heir(struct net *net, bool concat)
{
    struct net_module *m = push(&net->encoder), *heir;

    draw_recurrent(net, m, top_width(&net->encoder), true);
    m->in = net->encoder.n > 1 ? net->encoder.modules[0].out : input_width(&net->encoder);
    m->both = concat;
    m->merge = concat ? m->merge : NULL;
    m->proj = concat ? 0 : m->proj;
    m->out = net_layer_width(m);
    m->residual = m->residual && (m->layers > 1 || m->in == m->out);
    if (net_chance(net, 4))
        draw_plain(net, push(&net->decoder), top_width(&net->decoder));
    heir = push(&net->decoder);
    draw_recurrent(net, heir, 0, false);
    heir->in = net->decoder.n > 1 ? net->decoder.modules[0].out : input_width(&net->decoder);
    heir->cell = m->cell;
    heir->hidden = m->hidden * (concat ? 2 : 1);
    heir->proj = m->proj;
    heir->layers = m->layers;
    heir->gate = heir->activation = heir->output = (struct net_activation){0};
    heir->peepholes = heir->input_forget = heir->reset_before = false;
    draw_settings(net, heir);
    heir->reset_before = m->reset_before;
    heir->out = net_layer_width(heir);
    heir->residual = net_chance(net, 4) && (heir->layers > 1 || heir->in == heir->out);
    if (net_chance(net, 4))
        draw_plain(net, push(&net->decoder), heir->out);
    place_readout(&net->decoder);
}

static void draw_translator(struct net *net)
{
    static const char *const transfers[] = {"copy", "concat", "bridge", "none"};
    struct net_stack *encoder = &net->encoder, *decoder = &net->decoder;

    net->transfer = transfers[net_below(net, 4)];
    draw_input(net, encoder, true);
    draw_input(net, decoder, false);
    if (net->transfer[0] == 'c') {
        if (net_chance(net, 3))
            draw_plain(net, push(encoder), top_width(encoder));
        draw_heir(net, strcmp(net->transfer, "concat") == 0);
    } else {
        draw_modules(net, encoder, true);
        draw_modules(net, decoder, false);
        if (!has_state(encoder) || !has_state(decoder))
            draw_recurrent(net, has_state(encoder) ? push(decoder) : push(encoder),
                           top_width(has_state(encoder) ? decoder : encoder), false);
        if (!has_state(decoder))
            draw_recurrent(net, push(decoder), top_width(decoder), false);
        encoder->as_rnn = decoder->as_rnn = false;
        place_readout(decoder);
    }
    encoder->n_below = encoder->n;
    if (strcmp(net->transfer, "none") == 0 || net_chance(net, 6))
        draw_attention(net);
    if (net_chance(net, 5) && strcmp(encoder->input, "dense") != 0)
        net->source_eos = (int)net_below(net, encoder->size);
}

/* Floats that the head reads, but for an attention's. */
static size_t head_width(const struct net *net)
{
    const struct net_stack *stack = &net->decoder;
    bool bare = stack->n == stack->n_below && !net->repeat;

    return top_width(stack) * (bare ? net_window(net) : 1);
}

static void draw_head(struct net *net)
{
    static const char *const activations[] = {"softmax", "sigmoid", "none", "gaussian"};
    const struct net_stack *stack = &net->decoder;
    size_t width = head_width(net);

    if (!net_decodes(net) && net_chance(net, 2)) {
        net->outputs = width;
        return;
    }
    net->head = net_decodes(net) ? "softmax" : activations[net_below(net, 4)];
    net->outputs = net_decodes(net) ? stack->size : draw_size(net);
    if (strcmp(net->head, "gaussian") == 0)
        net->outputs *= 2;
    net->denormalize = net->head[0] != 's' && net_chance(net, 5);
    net->head_bias = net_chance(net, 7);
    if (stack->dim == width && net->outputs == stack->size)
        net->tied = net_chance(net, 8);
}

/* An embedding as wide as the top, now and then, so that the head can be tied to it. */
static void draw_topology(struct net *net, unsigned which)
{
    static const char *const topologies[] = {"synced", "many_to_one", "one_to_many", "seq2seq"};

    net->topology = topologies[which];
    if (which == 1 && net_chance(net, 4)) {
        draw_repeat(net);
        return;
    }
    if (which == 3) {
        draw_translator(net);
        fit_attention(net);
    } else {
        draw_input(net, &net->decoder, which < 2);
        draw_modules(net, &net->decoder, which < 2);
    }
    if (which == 1)
        draw_to_one(net);
    if (which == 2)
        draw_from_one(net);
    if (which > 1) {
        net->bos = (int)net_below(net, net->decoder.size);
        net->eos = (int)net_below(net, net->decoder.size);
    }
}

/* ---- Tensors ---- */

/* Uniform in ± scale, around `middle`. */
static void add(struct net *net, const char *prefix, const char *name, size_t rows, size_t columns,
                double scale, double middle)
{
    struct net_tensor *t = &net->tensors[net->n_tensors++];
    size_t n = rows * (columns ? columns : 1);

    if (net->n_tensors == NET_TENSORS_MAX)
        abort();
    snprintf(t->name, sizeof t->name, "%s%s", prefix, name);
    t->rank = columns ? 2 : 1;
    t->shape[0] = rows;
    t->shape[1] = columns;
    t->values = malloc(n * sizeof *t->values);
    if (!t->values)
        abort();
    for (size_t i = 0; i < n; i++)
        t->values[i] = (float)(middle + scale * (double)net_number(net));
}

static size_t gates_of(const struct net_module *m)
{
    return strcmp(m->cell, "lstm") == 0 ? 4 : strcmp(m->cell, "gru") == 0 ? 3 : 1;
}

static void add_layer(struct net *net, const char *prefix, const char *module,
                      const struct net_module *m, size_t k, size_t in, const char *end)
{
    size_t rows = gates_of(m) * m->hidden, width = m->proj ? m->proj : m->hidden;
    double scale = 1.0 / sqrt((double)width);
    char name[64];

#define NAME(KIND) (snprintf(name, sizeof name, "%s." KIND "_l%zu%s", module, k, end), name)
    add(net, prefix, NAME("weight_ih"), rows, in, 1.0 / sqrt((double)in), 0);
    add(net, prefix, NAME("weight_hh"), rows, width, scale, 0);
    if (m->bias) {
        add(net, prefix, NAME("bias_ih"), rows, 0, 0.5, 0);
        add(net, prefix, NAME("bias_hh"), rows, 0, 0.5, 0);
    }
    if (m->proj)
        add(net, prefix, NAME("weight_hr"), m->proj, m->hidden, 1.0 / sqrt((double)m->hidden), 0);
    if (m->peepholes)
        add(net, prefix, NAME("peephole"), 3 * m->hidden, 0, 0.5, 0);
    if (m->learned)
        add(net, prefix, NAME("h_0"), width, 0, 0.5, 0);
    if (m->learned && strcmp(m->cell, "lstm") == 0)
        add(net, prefix, NAME("c_0"), m->hidden, 0, 0.5, 0);
#undef NAME
}

static void add_recurrent(struct net *net, const char *prefix, const char *module,
                          const struct net_module *m, size_t in)
{
    for (size_t k = 0; k < m->layers; k++) {
        add_layer(net, prefix, module, m, k, in, "");
        if (m->both)
            add_layer(net, prefix, module, m, k, in, "_reverse");
        in = net_layer_width(m);
    }
}

static void add_module(struct net *net, const struct net_stack *stack, size_t i)
{
    const struct net_module *m = &stack->modules[i];
    bool attended = stack->attention.kind && strcmp(stack->attention.kind, "additive") == 0;
    size_t in = m->in + (i == 0 && attended ? stack->memory : 0);
    bool affine = m->kind == NET_AFFINE;
    char module[24], name[48];

    snprintf(module, sizeof module, stack->as_rnn ? "rnn" : "layers.%zu", i);
    if (m->kind == NET_READOUT)
        return;
    if (m->kind == NET_RNN) {
        add_recurrent(net, stack->prefix, module, m, in);
        return;
    }
    snprintf(name, sizeof name, "%s.%s", module, affine ? "scale" : "weight");
    add(net, stack->prefix, name, m->out, m->kind == NET_DENSE ? in : 0,
        m->kind == NET_DENSE ? 1.0 / sqrt((double)in) : 0.5, m->kind == NET_DENSE ? 0 : 1);
    snprintf(name, sizeof name, "%s.%s", module, affine ? "shift" : "bias");
    if (m->kind != NET_DENSE || m->bias)
        add(net, stack->prefix, name, m->out, 0, 0.5, 0);
}

static void add_attention(struct net *net, const struct net_stack *stack)
{
    const struct net_attention *a = &stack->attention;
    size_t top;

    if (!a->kind)
        return;
    top = stack->modules[stack->n_below - 1].out;
    if (strcmp(a->kind, "additive") == 0) {
        add(net, stack->prefix, "attention.query.weight", a->size, top, 0.5, 0);
        add(net, stack->prefix, "attention.key.weight", a->size, stack->memory, 0.5, 0);
        if (a->bias)
            add(net, stack->prefix, "attention.key.bias", a->size, 0, 0.5, 0);
        add(net, stack->prefix, "attention.v", a->size, 0, 1, 0);
        return;
    }
    if (strcmp(a->kind, "general") == 0)
        add(net, stack->prefix, "attention.key.weight", top, stack->memory, 0.5, 0);
    add(net, stack->prefix, "attention.combine.weight", a->combine ? a->combine : top,
        stack->memory + top, 0.5, 0);
}

static void add_stack(struct net *net, const struct net_stack *stack)
{
    if (stack->dim)
        add(net, stack->prefix, "embedding.weight", stack->size, stack->dim, 1, 0);
    if (stack->normalize) {
        add(net, stack->prefix, "input.mean", stack->size, 0, 1, 0);
        add(net, stack->prefix, "input.std", stack->size, 0, 0.5, 1);
    }
    for (size_t i = 0; i < stack->n; i++)
        add_module(net, stack, i);
    add_attention(net, stack);
}

static size_t state_floats(const struct net_stack *stack)
{
    size_t n = 0;

    for (size_t i = 0; i < stack->n; i++) {
        const struct net_module *m = &stack->modules[i];
        size_t each = (m->proj ? m->proj : m->hidden) +
                      (m->kind == NET_RNN && strcmp(m->cell, "lstm") == 0 ? m->hidden : 0);

        if (m->kind == NET_RNN)
            n += each * m->layers * (m->both ? 2 : 1);
    }
    return n;
}

static void add_bridge(struct net *net)
{
    bool bridged = net->transfer && strcmp(net->transfer, "bridge") == 0;
    size_t reads = bridged ? state_floats(&net->encoder) : net->features;
    size_t writes = net->bridge_to_input ? input_width(&net->decoder) : state_floats(&net->decoder);

    if (!bridged && !net->features)
        return;
    add(net, "", "bridge.weight", writes, reads, 1.0 / sqrt((double)reads), 0);
    add(net, "", "bridge.bias", writes, 0, 0.5, 0);
}

static void add_tensors(struct net *net)
{
    const struct net_stack *stack = &net->decoder;
    size_t width = head_width(net);
    size_t values =
        net->head && strcmp(net->head, "gaussian") == 0 ? net->outputs / 2 : net->outputs;

    if (net->encoder.input)
        add_stack(net, &net->encoder);
    add_stack(net, stack);
    if (stack->attention.kind && stack->n == stack->n_below) {
        size_t top = stack->modules[stack->n - 1].out;

        if (strcmp(stack->attention.kind, "additive") == 0)
            width = top + (stack->attention.concat ? stack->memory : 0);
        else
            width = stack->attention.combine ? stack->attention.combine : top;
    }
    if (net->head && !net->tied)
        add(net, stack->prefix, "head.weight", net->outputs, width, 2 / sqrt((double)width), 0);
    if (net->head && net->head_bias)
        add(net, stack->prefix, "head.bias", net->outputs, 0, 1, 0);
    if (net->denormalize) {
        add(net, stack->prefix, "output.mean", values, 0, 1, 0);
        add(net, stack->prefix, "output.std", values, 0, 0.5, 1);
    }
    add_bridge(net);
}

void net_draw(struct net *net, uint64_t seed)
{
    *net = (struct net){.random = (seed + 1) * 0x9e3779b97f4a7c15ULL,
                        .bos = -1,
                        .eos = -1,
                        .source_eos = -1,
                        .encoder = {.prefix = "encoder."},
                        .decoder = {.prefix = ""}};
    for (int i = 0; i < 8; i++)
        (void)net_next(net);
    if (seed % 4 == 3)
        net->decoder.prefix = "decoder.";
    draw_topology(net, seed % 4);
    draw_head(net);
    if (net->decoder.attention.kind)
        net->tied = false; /* the head's width is the attention's */
    add_tensors(net);
}

void net_shake(struct net *net)
{
    for (size_t i = 0; i < net->n_tensors; i++) {
        struct net_tensor *t = &net->tensors[i];

        for (size_t j = 0; j < t->shape[0] * (t->rank == 2 ? t->shape[1] : 1); j++)
            t->values[j] = nextafterf(t->values[j], net_chance(net, 5) ? INFINITY : -INFINITY);
    }
}

const float *net_values(const struct net *net, const char *prefix, const char *name)
{
    char full[96];

    snprintf(full, sizeof full, "%s%s", prefix, name);
    for (size_t i = 0; i < net->n_tensors; i++)
        if (strcmp(net->tensors[i].name, full) == 0)
            return net->tensors[i].values;
    fprintf(stderr, "no tensor %s\n", full);
    abort();
}

bool net_has(const struct net *net, const char *prefix, const char *name)
{
    char full[96];

    snprintf(full, sizeof full, "%s%s", prefix, name);
    for (size_t i = 0; i < net->n_tensors; i++)
        if (strcmp(net->tensors[i].name, full) == 0)
            return true;
    return false;
}
