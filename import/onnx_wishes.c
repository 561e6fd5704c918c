/* What the user says beside an ONNX file.
 *
 * The graph tells its architecture, so the options that answer for a file of mere tensors are
 * refused.  What a graph cannot tell is what its numbers mean: that a vector stands for an id, that
 * outputs are logits, that a model of the next character may be asked at every step. */
#include <string.h>

#include "import/onnx_model.h"
#include "import/options.h"

static int refuse(struct onnx_run *run, const char *option, const char *words)
{
    return rnn_fail_at(run->err, RNN_EUNSUPPORTED, option, -1, "--%s: %s", option, words);
}

static int check_idle(struct onnx_run *run)
{
    const struct import_options *o = run->options;
    const struct {
        const char *name;
        bool given;
    } idle[] = {{"config", o->config != NULL},
                {"cell", o->cell != NULL},
                {"activation", o->activation != NULL || o->n_activations > 0},
                {"part", o->part != NULL},
                {"map", o->n_maps > 0}};

    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
        if (idle[i].given)
            return refuse(run, idle[i].name, "an ONNX file tells that itself");
    return 0;
}

static bool reads_tokens(const struct onnx_chain *chain)
{
    return onnx_chain_is(chain, 1, ONNX_STAGE_EMBEDDING) ||
           onnx_chain_is(chain, 1, ONNX_STAGE_ONE_HOT);
}

static int choose_input(struct onnx_run *run, struct onnx_chain *chain)
{
    if (run->options->dense && reads_tokens(chain))
        return refuse(run, "dense", "the model reads token ids");
    chain->one_hot = run->options->one_hot && !reads_tokens(chain);
    return 0;
}

/* All that is under the readout acts on one step after the other. */
static bool runs_forwards(const struct onnx_run *run, const struct onnx_chain *chain)
{
    for (size_t i = 0; i < chain->n; i++) {
        const struct onnx_layer *layer = &run->layers[chain->stages[i]->layer];

        if (onnx_chain_is(chain, i, ONNX_STAGE_LAYER) &&
            (layer->n_directions == 2 || layer->backwards))
            return false;
    }
    return true;
}

static void drop_readout(struct onnx_chain *chain)
{
    size_t n = 0;

    for (size_t i = 0; i < chain->n; i++)
        if (!onnx_chain_is(chain, i, ONNX_STAGE_READOUT))
            chain->stages[n++] = chain->stages[i];
    chain->n = n;
    chain->many_to_one = false;
}

static int choose_topology(struct onnx_run *run, struct onnx_chain *chain)
{
    const char *wish = run->options->topology;
    bool pooled = chain->pool == RNN_POOL_MEAN || chain->pool == RNN_POOL_MAX;

    if (!wish && chain->many_to_one && reads_tokens(chain) && !pooled && runs_forwards(run, chain))
        archive_note(run->archive, "one output for a whole input, as in the graph; with --topology "
                                   "synced it is one for every step, of the same weights");
    if (!wish || (strcmp(wish, "many_to_one") == 0) == chain->many_to_one)
        return 0;
    if (!chain->many_to_one)
        return refuse(run, "topology", "the graph gives an output at every step");
    if (pooled || !runs_forwards(run, chain))
        return refuse(run, "topology", "the graph's output needs the whole input");
    drop_readout(chain);
    return 0;
}

int onnx_wishes(struct onnx_run *run, struct onnx_chain *chain)
{
    int rc = run->options ? check_idle(run) : 0;

    if (!run->options || rc < 0)
        return rc;
    chain->output = run->options->output;
    rc = choose_input(run, chain);
    return rc < 0 ? rc : choose_topology(run, chain);
}
