/* Recurrent layers of Keras into ours.
 *
 *     kernel             [in, gates * H]      LSTM: i f c o; GRU: z r h
 *     recurrent_kernel   [H, gates * H]
 *     bias               [gates * H], or [2, gates * H]: input, recurrent (GRU, reset after), or
 *                        [2 * gates * H]: cuDNN's, whose kernels lie the other way round
 *
 * The bias's length is the only mark of cuDNN's layout: such weights occur under plain names, too.
 * Keras 1 has one array for each gate and part, W U b, gate after gate: LSTM i c f o; GRU z r h;
 * or, where it was made for speed, one W, U and b in the order of Keras 2. */
#include <stdio.h>
#include <string.h>

#include "core/spec.h"
#include "import/keras_build.h"
#include "import/keras_classes.h"
#include "import/keras_numbers.h"

enum { GATES_MAX = 4 };

/* One direction of a layer. */
struct cell {
    const struct keras_layer *layer; /* with the arrays of this direction */
    const struct cJSON *config;      /* of the layer, or of the cell that an RNN wraps */
    unsigned gates;
    size_t units, inputs;
    bool bias, two_biases, cudnn;
    bool before; /* the reset gate */
    struct keras_activation activation, gate;
    struct keras_block kernel[GATES_MAX], recurrent[GATES_MAX], input_bias[GATES_MAX],
        recurrent_bias[GATES_MAX];
};

/* Our gate's place in Keras' order: r z n of z r h; i f g o of i f c o, or of Keras 1's i c f o. */
static size_t place_of(unsigned gates, size_t gate, bool one_by_one)
{
    static const size_t gru[] = {1, 0, 2}, apart[] = {0, 2, 1, 3};

    if (gates == 3)
        return gru[gate];
    return one_by_one ? apart[gate] : gate;
}

/* ---- Arrays ---- */

static void set_bias(struct cell *cell, const struct archive_tensor *bias)
{
    for (size_t g = 0; g < cell->gates; g++) {
        size_t column = place_of(cell->gates, g, false) * cell->units;

        cell->input_bias[g] = (struct keras_block){bias, column, KERAS_PLAIN};
        cell->recurrent_bias[g] =
            (struct keras_block){bias, cell->gates * cell->units + column, KERAS_PLAIN};
    }
}

static int read_bias(struct keras_build *b, struct cell *cell)
{
    size_t width = cell->gates * cell->units;
    const struct archive_tensor *bias = &cell->layer->weights[2];
    char found[80];

    cell->bias = true;
    cell->cudnn = bias->rank == 1 && bias->shape[0] == 2 * width && cell->gates > 1;
    cell->two_biases =
        cell->cudnn || (bias->rank == 2 && bias->shape[0] == 2 && bias->shape[1] == width);
    set_bias(cell, bias);
    if (cell->two_biases || (bias->rank == 1 && bias->shape[0] == width))
        return 0;
    archive_shape_text(found, sizeof found, bias);
    return keras_layer_fail(b->err, RNN_ESHAPE, cell->layer, "its bias is %s; want %zu", found,
                            width);
}

/* kernel, recurrent_kernel and perhaps bias. */
static int read_together(struct keras_build *b, struct cell *cell)
{
    const struct archive_tensor *kernel, *recurrent;
    size_t width = cell->gates * cell->units;
    int rc = keras_array(b, cell->layer, 0, "kernel", 0, width, &kernel);

    if (rc == 0)
        rc = keras_array(b, cell->layer, 1, "recurrent_kernel", cell->units, width, &recurrent);
    if (rc == 0 && cell->layer->n_weights == 3)
        rc = read_bias(b, cell);
    if (rc < 0)
        return rc;
    cell->inputs = kernel->shape[0];
    for (size_t g = 0; g < cell->gates; g++) {
        size_t column = place_of(cell->gates, g, false) * cell->units;

        cell->kernel[g] =
            (struct keras_block){kernel, column, cell->cudnn ? KERAS_FOLDED : KERAS_PLAIN};
        cell->recurrent[g] =
            (struct keras_block){recurrent, column, cell->cudnn ? KERAS_TURNED : KERAS_PLAIN};
    }
    return 0;
}

/* W, U, b of each gate. */
static int read_apart(struct keras_build *b, struct cell *cell)
{
    int rc = 0;

    cell->bias = true;
    for (size_t g = 0; g < cell->gates && rc == 0; g++) {
        size_t first = 3 * place_of(cell->gates, g, true);

        rc = keras_array(b, cell->layer, first, "W", cell->inputs, cell->units,
                         &cell->kernel[g].tensor);
        if (rc == 0)
            rc = keras_array(b, cell->layer, first + 1, "U", cell->units, cell->units,
                             &cell->recurrent[g].tensor);
        if (rc == 0)
            rc = keras_array(b, cell->layer, first + 2, "b", cell->units, KERAS_VECTOR,
                             &cell->input_bias[g].tensor);
        if (rc == 0)
            cell->inputs = cell->kernel[g].tensor->shape[0];
    }
    return rc;
}

static int check_types(struct keras_build *b, const struct cell *cell)
{
    for (size_t i = 1; i < cell->layer->n_weights; i++)
        if (cell->layer->weights[i].type != cell->layer->weights[0].type)
            return keras_layer_fail(b->err, RNN_EUNSUPPORTED, cell->layer,
                                    "its arrays are of different types");
    return 0;
}

static int read_arrays(struct keras_build *b, struct cell *cell)
{
    size_t n = cell->layer->n_weights;
    int rc = check_types(b, cell);

    if (rc < 0)
        return rc;
    if (n == 2 || n == 3)
        return read_together(b, cell);
    if (n == 3 * (size_t)cell->gates)
        return read_apart(b, cell);
    return keras_layer_fail(b->err, RNN_ESHAPE, cell->layer,
                            "the file has %zu arrays of it; want kernel, recurrent_kernel, bias",
                            n);
}

/* ---- What the config says ---- */

static int read_activations(struct keras_build *b, struct cell *cell)
{
    bool older = !json_get(cell->config, "recurrent_activation") &&
                 json_get(cell->config, "inner_activation");
    bool cudnn_class = strncmp(cell->layer->class, "CuDNN", 5) == 0;
    struct keras_layer inner = *cell->layer;
    int rc;

    inner.config = cell->config;
    rc = keras_activation_of(b, &inner, "activation", "tanh", &cell->activation);
    if (rc == 0 && cell->gates > 1)
        rc = keras_activation_of(b, &inner, older ? "inner_activation" : "recurrent_activation",
                                 cudnn_class || keras_since(b->model, 2, 3, false) ? "sigmoid"
                                                                                   : "hard_sigmoid",
                                 &cell->gate);
    if (rc == 0 && (strcmp(cell->activation.name, "softmax") == 0 ||
                    (cell->gates > 1 && strcmp(cell->gate.name, "softmax") == 0)))
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, cell->layer,
                                "a softmax inside of a cell");
    return rc;
}

/* Before the product, or after: what the config says, and the bias must agree. */
static int read_reset(struct keras_build *b, struct cell *cell)
{
    bool said = cJSON_IsBool(json_get(cell->config, "reset_after"));
    bool after = keras_flag(cell->config, "reset_after", cell->two_biases);

    if (cell->gates != 3)
        return 0;
    if (!cell->bias && !said)
        after = strcmp(cell->layer->class, "CuDNNGRU") == 0 || keras_since(b->model, 2, 3, false);
    if (strcmp(cell->layer->class, "CuDNNGRU") == 0)
        after = true;
    if (cell->bias && after != cell->two_biases)
        return keras_layer_fail(b->err, RNN_ESHAPE, cell->layer,
                                "reset_after is %s, and its bias is not of that kind",
                                after ? "true" : "false");
    cell->before = !after;
    return 0;
}

/* An RNN says in its cell what the others say themselves. */
static int find_cell(struct keras_build *b, struct cell *cell)
{
    struct keras_layer inner;

    cell->config = cell->layer->config;
    cell->gates = cell->layer->kind->gates;
    if (cell->gates)
        return 0;
    if (!keras_inner(cell->layer, "cell", &inner) || !inner.kind->gates ||
        inner.kind->kind != KERAS_REFUSED)
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, cell->layer,
                                "its cell is none of LSTMCell, GRUCell, SimpleRNNCell");
    cell->config = inner.config;
    cell->gates = inner.kind->gates;
    return 0;
}

static int read_cell(struct keras_build *b, const struct keras_layer *layer, struct cell *cell)
{
    int rc;

    *cell = (struct cell){.layer = layer};
    rc = find_cell(b, cell);
    if (rc < 0)
        return rc;
    cell->units = keras_size(cell->config, "units", "output_dim");
    if (cell->units == 0 || cell->units > RNN_HIDDEN_MAX)
        return keras_layer_fail(b->err, RNN_EFORMAT, layer, "units: want 1 to %zu", RNN_HIDDEN_MAX);
    rc = read_arrays(b, cell);
    if (rc == 0)
        rc = read_reset(b, cell);
    if (rc == 0)
        rc = read_activations(b, cell);
    return rc;
}

static int check_layer(struct keras_build *b, const struct keras_layer *layer)
{
    if (b->vector)
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "it stands above one that gives a single vector");
    if (keras_flag(layer->config, "return_state", false))
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "return_state: it gives its state beside its output");
    if (keras_flag(layer->config, "time_major", false))
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "time_major: its steps come before the batch");
    return 0;
}

/* ---- Tensors ---- */

static int add(struct keras_module *module, int rc, const char *const names[2], bool reverse,
               const struct archive_tensor *tensor)
{
    if (rc == 0)
        keras_part(module, names[reverse], tensor);
    return rc;
}

static const char *const part_names[][2] = {{"weight_ih_l0", "weight_ih_l0_reverse"},
                                            {"weight_hh_l0", "weight_hh_l0_reverse"},
                                            {"bias_ih_l0", "bias_ih_l0_reverse"},
                                            {"bias_hh_l0", "bias_hh_l0_reverse"}};

/* weight_ih, weight_hh, bias_ih, bias_hh of one direction. */
static int add_tensors(struct keras_build *b, struct keras_module *module, const struct cell *cell,
                       bool reverse)
{
    struct archive_tensor t;
    int rc =
        keras_stack(b->archive, &t, cell->kernel, cell->gates, cell->units, cell->inputs, b->err);

    rc = add(module, rc, part_names[0], reverse, &t);
    if (rc == 0)
        rc = keras_stack(b->archive, &t, cell->recurrent, cell->gates, cell->units, cell->units,
                         b->err);
    rc = add(module, rc, part_names[1], reverse, &t);
    if (rc < 0 || !cell->bias)
        return rc;
    rc = keras_stack_bias(b->archive, &t, cell->input_bias, cell->gates, cell->units, b->err);
    rc = add(module, rc, part_names[2], reverse, &t);
    if (rc == 0 && cell->two_biases)
        rc = keras_stack_bias(b->archive, &t, cell->recurrent_bias, cell->gates, cell->units,
                              b->err);
    else if (rc == 0)
        rc = keras_zeros(b->archive, &t, t.type, cell->gates * cell->units, 0, b->err);
    return add(module, rc, part_names[3], reverse, &t);
}

/* A direction that always gives zero. */
static int add_silence(struct keras_build *b, struct keras_module *module, const struct cell *cell)
{
    const struct archive_type *type = cell->layer->weights[0].type;
    size_t rows = cell->gates * cell->units;
    size_t columns[] = {cell->inputs, cell->units, 0, 0};
    int rc = 0;

    for (size_t i = 0; i < (cell->bias ? 4 : 2) && rc == 0; i++) {
        struct archive_tensor t;

        rc = keras_zeros(b->archive, &t, type, rows, columns[i], b->err);
        rc = add(module, rc, part_names[i], false, &t);
    }
    return rc;
}

/* ---- config.json ---- */

static bool is(const struct keras_activation *activation, const char *name)
{
    return strcmp(activation->name, name) == 0;
}

static const char *cell_name(const struct cell *cell)
{
    if (cell->gates == 4)
        return "lstm";
    if (cell->gates == 3)
        return "gru";
    if (is(&cell->activation, "tanh"))
        return "rnn_tanh";
    return is(&cell->activation, "relu") ? "rnn_relu" : "rnn";
}

static bool put_settings(struct cJSON *json, const struct cell *cell)
{
    const char *name = cell_name(cell);
    bool good = true;

    if (cell->before)
        good = cJSON_AddStringToObject(json, "reset", "before");
    if (good && cell->gates > 1 && !is(&cell->gate, "sigmoid"))
        good = keras_activation_put(json, "gate_activation", &cell->gate);
    if (good && (strcmp(name, "rnn") == 0 || (cell->gates > 1 && !is(&cell->activation, "tanh"))))
        good = keras_activation_put(json, "activation", &cell->activation);
    return good;
}

static int put_json(struct keras_build *b, struct keras_module *module, const struct cell *cell,
                    const char *merge)
{
    struct cJSON *json = module->json;

    if (cJSON_AddStringToObject(json, "kind", "rnn") &&
        cJSON_AddStringToObject(json, "cell", cell_name(cell)) &&
        cJSON_AddNumberToObject(json, "hidden_size", (double)cell->units) &&
        cJSON_AddNumberToObject(json, "num_layers", 1) &&
        cJSON_AddBoolToObject(json, "bias", cell->bias) &&
        (!merge || (cJSON_AddTrueToObject(json, "bidirectional") &&
                    cJSON_AddStringToObject(json, "merge", merge))) &&
        put_settings(json, cell))
        return 0;
    return rnn_fail(b->err, RNN_ENOMEM, "out of memory");
}

/* ---- Notes ---- */

static void note_cell(struct keras_build *b, const struct cell *cell, const char *whose)
{
    static const char *const orders[] = {"", "", "", "gates z r h put in the order r z n",
                                         "gates i f c o are i f g o here"};
    bool apart = cell->layer->n_weights > 3;
    const char *biases = cell->two_biases ? "both biases kept"
                         : cell->bias     ? "its bias is bias_ih, bias_hh is zero"
                                          : "no bias";

    keras_note(b, cell->layer, "%s%s%s%s; %s%s%s", whose, orders[cell->gates],
               cell->gates > 1 ? "; " : "",
               cell->cudnn ? "kernels in cuDNN's layout, put in order"
               : apart     ? "one matrix for each gate, put together and turned round"
                           : "kernels turned round",
               biases, cell->gates == 3 ? "; reset gate " : "",
               cell->gates != 3 ? ""
               : cell->before   ? "before the product"
                                : "after the product");
    if (cell->gates > 1 && strncmp(cell->gate.name, "hard_sigmoid", 12) == 0)
        keras_note(b, cell->layer, "hard_sigmoid is %s (Keras %s)",
                   is(&cell->gate, "hard_sigmoid6") ? "x / 6 + 0.5 within 0 and 1"
                                                    : "0.2 x + 0.5 within 0 and 1",
                   *b->model->version ? b->model->version : "of an unknown version, before 3");
}

static void note_stateful(struct keras_build *b, const struct keras_layer *layer,
                          const struct cJSON *config)
{
    if (keras_flag(config, "stateful", false))
        keras_note(b, layer, "stateful: a session keeps the state between requests");
}

/* ---- Layers ---- */

static int end_layer(struct keras_build *b, const struct keras_layer *layer,
                     const struct cJSON *config, size_t width)
{
    b->width = width;
    note_stateful(b, layer, config);
    return keras_flag(config, "return_sequences", false) ? 0 : keras_read_out(b, layer, "final");
}

/* Whether a cell whose weights are all zero stays at zero. */
static bool rests(const struct cell *cell)
{
    return !is(&cell->activation, "sigmoid") && strncmp(cell->activation.name, "hard_sigmoid", 12);
}

/* Steps from last to first: there is no such layer here, but one of two directions of which one is
 * silent gives the same numbers. */
static int add_backwards(struct keras_build *b, struct keras_module *module,
                         const struct cell *cell)
{
    int rc;

    if (!rests(cell))
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, cell->layer,
                                "go_backwards with an activation that is not 0 at 0");
    module->both_ways = true;
    rc = add_silence(b, module, cell);
    if (rc == 0)
        rc = add_tensors(b, module, cell, true);
    if (rc == 0)
        keras_note(b, cell->layer,
                   "it runs backwards: written as two directions, added, of which the forward one "
                   "is zero");
    return rc < 0 ? rc : put_json(b, module, cell, "sum");
}

int keras_recurrent(struct keras_build *b, const struct keras_layer *layer)
{
    bool backwards = keras_flag(layer->config, "go_backwards", false) != b->reversed;
    struct keras_module *module;
    struct cell cell;
    int rc = check_layer(b, layer);

    if (rc == 0)
        rc = read_cell(b, layer, &cell);
    if (rc == 0)
        rc = keras_reads(b, layer, cell.inputs);
    if (rc < 0)
        return rc;
    module = keras_push(b, KERAS_MODULE_RNN, layer);
    if (!module)
        return RNN_ENOMEM;
    note_cell(b, &cell, "");
    if (backwards)
        rc = add_backwards(b, module, &cell);
    else
        rc = add_tensors(b, module, &cell, false);
    if (rc == 0 && !backwards)
        rc = put_json(b, module, &cell, NULL);
    b->reversed = backwards;
    return rc < 0 ? rc : end_layer(b, layer, layer->config, cell.units);
}

/* ---- Both ways ---- */

static const char *merge_of(const struct keras_layer *layer)
{
    static const char *const names[][2] = {
        {"concat", "concat"}, {"sum", "sum"}, {"ave", "average"}, {"mul", "multiply"}};
    const char *mode = keras_word(layer->config, "merge_mode", "");

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i][0], mode) == 0)
            return names[i][1];
    return NULL;
}

static bool same_activation(const struct keras_activation *a, const struct keras_activation *b)
{
    return strcmp(a->name, b->name) == 0 && a->has_alpha == b->has_alpha &&
           !(a->has_alpha && (a->alpha < b->alpha || a->alpha > b->alpha));
}

static bool same_cells(const struct cell *a, const struct cell *b)
{
    return a->gates == b->gates && a->units == b->units && a->inputs == b->inputs &&
           a->bias == b->bias && a->before == b->before &&
           same_activation(&a->activation, &b->activation) &&
           (a->gates == 1 || same_activation(&a->gate, &b->gate)) &&
           a->layer->weights[0].type == b->layer->weights[0].type;
}

/* The forward layer has the first half of the arrays; the backward one is like it unless the config
 * has one of its own. */
static int split(struct keras_build *b, const struct keras_layer *layer,
                 struct keras_layer *forward, struct keras_layer *backward)
{
    size_t half = layer->n_weights / 2;

    if (!keras_inner(layer, "layer", forward) || forward->kind->kind != KERAS_RECURRENT)
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer, "it wraps no recurrent layer");
    if (!keras_inner(layer, "backward_layer", backward)) {
        *backward = *forward;
    } else if (backward->kind->kind != KERAS_RECURRENT ||
               !keras_flag(backward->config, "go_backwards", true) ||
               keras_flag(backward->config, "return_sequences", false) !=
                   keras_flag(forward->config, "return_sequences", false)) {
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "its backward_layer is none that goes with the forward one");
    }
    forward->weights = layer->weights;
    backward->weights = layer->weights + half;
    forward->n_weights = backward->n_weights = half;
    return 0;
}

static int check_bidirectional(struct keras_build *b, const struct keras_layer *layer,
                               const struct keras_layer *forward)
{
    if (layer->n_weights % 2)
        return keras_layer_fail(b->err, RNN_ESHAPE, layer,
                                "the file has %zu arrays of it, which are no two halves",
                                layer->n_weights);
    if (!merge_of(layer))
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "merge_mode: want concat, sum, ave or mul");
    if (keras_flag(forward->config, "go_backwards", false) || b->reversed)
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "its forward direction runs backwards (go_backwards)");
    return check_layer(b, forward);
}

int keras_bidirectional(struct keras_build *b, const struct keras_layer *layer)
{
    struct keras_layer halves[2];
    struct cell cells[2];
    struct keras_module *module;
    int rc = split(b, layer, &halves[0], &halves[1]);

    if (rc == 0)
        rc = check_bidirectional(b, layer, &halves[0]);
    for (size_t i = 0; i < 2 && rc == 0; i++)
        rc = read_cell(b, &halves[i], &cells[i]);
    if (rc == 0 && !same_cells(&cells[0], &cells[1]))
        rc = keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                              "its two directions are not of one kind");
    if (rc == 0)
        rc = keras_reads(b, layer, cells[0].inputs);
    if (rc < 0)
        return rc;
    module = keras_push(b, KERAS_MODULE_RNN, layer);
    if (!module)
        return RNN_ENOMEM;
    module->both_ways = true;
    note_cell(b, &cells[0], "both directions: ");
    for (size_t i = 0; i < 2 && rc == 0; i++)
        rc = add_tensors(b, module, &cells[i], i == 1);
    if (rc == 0)
        rc = put_json(b, module, &cells[0], merge_of(layer));
    return rc < 0 ? rc
                  : end_layer(b, layer, halves[0].config,
                              cells[0].units * (strcmp(merge_of(layer), "concat") ? 1 : 2));
}
