/* Outputs of an ONNX graph: one is the model's, the others are states that the next call gets back.
 *
 * A daemon keeps the states of a session by itself, so state inputs and outputs are left out of the
 * model once it is certain that each state goes in where it came out. */
#include <stdio.h>
#include <string.h>

#include "import/onnx_model.h"

struct finder {
    struct onnx_run *run;
    struct onnx_chain *chain;
    const char *name;        /* of the model's output */
    struct onnx_value value; /* it */
    bool found;
    size_t n_states; /* other outputs, that are states */
};

static int refuse(struct finder *f, const char *words, const char *name)
{
    return rnn_fail_at(f->run->err, RNN_EUNSUPPORTED, name, -1, "output '%.60s': %s", name, words);
}

/* ---- States ---- */

static bool is_state(const struct onnx_value *value)
{
    for (size_t i = 0; i < value->n_entries; i++)
        if (value->entries[i].what != ONNX_H && value->entries[i].what != ONNX_C)
            return false;
    return value->kind == ONNX_DATA && value->n_entries > 0;
}

static const struct onnx_state *origin_of(const struct onnx_run *run, const struct onnx_entry *e)
{
    const struct onnx_direction *d = &run->layers[e->layer].directions[e->direction];

    return e->what == ONNX_C ? &d->c : &d->h;
}

/* States that came in with the input stand at the same places of the output. */
static int check_state(struct finder *f, const char *name, const struct onnx_value *value)
{
    const struct onnx_state *first = origin_of(f->run, &value->entries[0]);

    for (size_t i = 0; i < value->n_entries; i++) {
        const struct onnx_state *from = origin_of(f->run, &value->entries[i]);

        if (from->given != first->given ||
            (from->given && (from->input != first->input || from->at != i)))
            return refuse(f,
                          "its states stand in another order than in the input that they go in "
                          "by",
                          name);
    }
    return 0;
}

/* Every output that is not the model's. */
static int check_states(struct finder *f)
{
    const struct onnx_graph *g = f->run->graph;
    int rc = 0;

    for (size_t i = 0; i < g->n_outputs && rc == 0; i++) {
        const struct onnx_value *value = onnx_value(f->run, g->outputs[i].name);

        if (strcmp(g->outputs[i].name, f->name) != 0 && is_state(value)) {
            rc = check_state(f, g->outputs[i].name, value);
            f->n_states++;
        }
    }
    return rc;
}

static bool gives_state(const struct onnx_direction *d, size_t input)
{
    return (d->h.given && d->h.input == input) || (d->c.given && d->c.input == input);
}

/* Inputs that are states, and whether one of the layers runs backwards, too. */
static size_t count_states(const struct onnx_run *run, bool *backwards)
{
    size_t n = 0;

    for (size_t i = 0; i < run->graph->n_inputs; i++) {
        bool given = false;

        for (size_t l = 0; l < run->n_layers; l++) {
            const struct onnx_layer *layer = &run->layers[l];

            *backwards |= layer->n_directions == 2 || layer->backwards;
            for (size_t d = 0; d < layer->n_directions; d++)
                given |= gives_state(&layer->directions[d], i);
        }
        n += given;
    }
    return n;
}

static void note_states(struct finder *f)
{
    bool backwards = false;
    size_t n = count_states(f->run, &backwards);

    if (n > 0 && backwards)
        archive_note(
            f->run->archive,
            "states: %zu input%s of the graph start%s at zero: a layer that runs backwards "
            "reads a whole input at once",
            n, n == 1 ? "" : "s", n == 1 ? "s" : "");
    else if (n > 0)
        archive_note(f->run->archive,
                     "states: %zu input%s and %zu output%s of the graph are the session's now", n,
                     n == 1 ? "" : "s", f->n_states, f->n_states == 1 ? "" : "s");
}

static bool has_given_state(const struct onnx_layer *layer)
{
    for (size_t d = 0; d < layer->n_directions; d++)
        if (layer->directions[d].h.given || layer->directions[d].c.given)
            return true;
    return false;
}

/* ---- The choice ---- */

/* Whether `low` is among the stages under `high`. */
static bool is_under(const struct onnx_run *run, size_t low, size_t high)
{
    while (high > low && run->stages[high].kind != ONNX_STAGE_INPUT)
        high = run->stages[high].below;
    return high == low;
}

static int take(struct finder *f, const char *name, const struct onnx_value *value)
{
    struct onnx_value settled = *value;
    struct onnx_node place = {.name = name, .op = "output of the graph", .domain = ""};
    const char *words;
    char why[160];
    int rc = onnx_settle(f->run, &place, &settled, settled.rank ? settled.rank - 1 : 0);

    if (rc == RNN_EUNSUPPORTED) {
        words = strstr(f->run->err->text, "): ");
        snprintf(why, sizeof why, "%s", words ? words + 3 : "it is no output of a layer");
        return refuse(f, why, name);
    }
    if (rc < 0)
        return rc;
    if (settled.reversed)
        return refuse(f, "its steps stand last to first", name);
    if (!f->found || is_under(f->run, f->value.stage, settled.stage)) {
        if (f->found && f->value.stage != settled.stage)
            archive_note(f->run->archive, "output '%s' is left out: '%s' is made of it", f->name,
                         name);
        f->found = true;
        f->name = name;
        f->value = settled;
        return 0;
    }
    if (!is_under(f->run, settled.stage, f->value.stage))
        return refuse(f, "a second head beside another; a model here has one", name);
    archive_note(f->run->archive, "output '%s' is left out: '%s' is made of it", name, f->name);
    return 0;
}

/* The stop that the user is to hear of. */
static int refuse_stopped(struct finder *f, const char *name, const struct onnx_value *value)
{
    return rnn_fail_at(f->run->err, RNN_EUNSUPPORTED, name, -1, "%s", value->why);
}

static int choose(struct finder *f)
{
    const struct onnx_graph *g = f->run->graph;
    int rc = 0;

    if (g->n_outputs == 0)
        return rnn_fail(f->run->err, RNN_EFORMAT, "the graph has no output (cut?)");
    for (size_t i = 0; i < g->n_outputs && rc == 0; i++) {
        const char *name = g->outputs[i].name;
        const struct onnx_value *value = onnx_value(f->run, name);

        if (!value)
            return rnn_fail_at(f->run->err, RNN_EFORMAT, name, -1,
                               "output '%.60s': no node gives it", name);
        if (value->kind == ONNX_STOPPED)
            return refuse_stopped(f, name, value);
        if (!is_state(value))
            rc = take(f, name, value);
    }
    /* nothing but states: the first one is what is read out */
    for (size_t i = 0; i < g->n_outputs && rc == 0 && !f->found; i++)
        rc = take(f, g->outputs[i].name, onnx_value(f->run, g->outputs[i].name));
    return rc;
}

/* ---- The chain ---- */

static int list_stages(struct finder *f)
{
    struct onnx_run *run = f->run;
    struct onnx_chain *chain = f->chain;
    size_t at = f->value.stage;

    for (chain->n = 1; run->stages[at].kind != ONNX_STAGE_INPUT; at = run->stages[at].below)
        chain->n++;
    chain->stages = onnx_take(run, chain->n, sizeof *chain->stages);
    if (!chain->stages)
        return run->err->code;
    at = f->value.stage;
    for (size_t i = chain->n; i-- > 0; at = run->stages[at].below)
        chain->stages[i] = &run->stages[at];
    return 0;
}

/* Takes stage `from` out and puts it in again at `to`, below. */
static void move_down(struct onnx_chain *chain, size_t from, size_t to)
{
    const struct onnx_stage *stage = chain->stages[from];

    memmove(chain->stages + to + 1, chain->stages + to, (from - to) * sizeof *chain->stages);
    chain->stages[to] = stage;
}

static void drop(struct onnx_chain *chain, size_t at)
{
    chain->n--;
    memmove(chain->stages + at, chain->stages + at + 1, (chain->n - at) * sizeof *chain->stages);
}

bool onnx_chain_is(const struct onnx_chain *chain, size_t i, enum onnx_stage_kind kind)
{
    return i < chain->n && chain->stages[i]->kind == kind;
}

static size_t top_layer(const struct onnx_chain *chain)
{
    size_t top = 0;

    for (size_t i = 0; i < chain->n; i++)
        if (onnx_chain_is(chain, i, ONNX_STAGE_LAYER))
            top = i;
    return top;
}

static int stop_at(struct finder *f, size_t i, const char *words)
{
    return onnx_stop(f->run, f->chain->stages[i]->node, "%s", words);
}

/* The last step of what acts on each step by itself is the same as that acting on the last step. */
static int place_readout(struct finder *f)
{
    struct onnx_chain *chain = f->chain;
    size_t at = 0, top = top_layer(chain);

    for (size_t i = chain->n; i-- > 0;)
        if (onnx_chain_is(chain, i, ONNX_STAGE_READOUT)) {
            if (at)
                return stop_at(f, at, "it reads out what has been read out");
            at = i;
        }
    if (at == 0)
        return 0;
    if (at < top)
        return stop_at(f, top, "a recurrent layer above the one step that was read out");
    chain->many_to_one = true;
    chain->pool = chain->stages[at]->pool;
    while (onnx_chain_is(chain, top + 1, ONNX_STAGE_MERGE) ||
           onnx_chain_is(chain, top + 1, ONNX_STAGE_RESIDUAL))
        top++;
    if (chain->pool == RNN_POOL_LAST)
        move_down(chain, at, top + 1);
    return 0;
}

/* A graph whose steps are one, with states that come and go, is a step of a stream. */
static void find_stream(struct finder *f)
{
    struct onnx_run *run = f->run;
    struct onnx_chain *chain = f->chain;
    bool given = false;

    for (size_t i = 0; i < chain->n; i++)
        if (onnx_chain_is(chain, i, ONNX_STAGE_LAYER))
            given |= has_given_state(&run->layers[chain->stages[i]->layer]);
    chain->one_step =
        given && (run->time == ONNX_NO_AXIS || run->axes[run->time] == 1) && f->n_states > 0;
    for (size_t i = chain->n; chain->one_step && i-- > 0;)
        if (onnx_chain_is(chain, i, ONNX_STAGE_READOUT) &&
            (chain->stages[i]->pool == RNN_POOL_LAST || chain->stages[i]->pool == RNN_POOL_FINAL))
            drop(chain, i);
}

static int check_softmax(struct finder *f)
{
    struct onnx_chain *chain = f->chain;

    for (size_t i = 0; i + 1 < chain->n; i++)
        if (onnx_chain_is(chain, i, ONNX_STAGE_SOFTMAX) ||
            onnx_chain_is(chain, i, ONNX_STAGE_LOG_SOFTMAX))
            return stop_at(f, i, "a softmax that is not the last of the model");
    if (onnx_chain_is(chain, chain->n - 1, ONNX_STAGE_LOG_SOFTMAX))
        archive_note(f->run->archive,
                     "'%s': the model gives logarithms of probabilities; served "
                     "are the probabilities",
                     f->name);
    return 0;
}

int onnx_chain_find(struct onnx_run *run, struct onnx_chain *out)
{
    struct finder f = {.run = run, .chain = out};
    int rc = choose(&f);

    *out = (struct onnx_chain){0};
    if (rc == 0)
        rc = check_states(&f);
    if (rc == 0)
        rc = list_stages(&f);
    if (rc < 0)
        return rc;
    if (top_layer(out) == 0)
        return refuse(&f, "there is no RNN, LSTM or GRU between it and the input", f.name);
    find_stream(&f);
    rc = place_readout(&f);
    if (rc == 0)
        rc = check_softmax(&f);
    out->width = out->stages[0]->width;
    if (rc == 0)
        note_states(&f);
    return rc;
}
