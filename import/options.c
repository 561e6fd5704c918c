/* The command line's words, checked.  See options.h. */
#include "import/options.h"

#include <string.h>

#include "cli/cli.h"

void options_init(struct import_options *options, const char *file)
{
    *options = (struct import_options){
        .file = file, .bos = -1, .eos = -1, .source_eos = -1, .max_len = -1};
}

/* A value that must be one of a few words. */
static bool choice(const struct cli_args *args, const char *name, const char *const *words,
                   const char **out)
{
    const char *value = cli_value(args, name);

    if (!value)
        return true;
    for (size_t i = 0; words[i]; i++)
        if (strcmp(words[i], value) == 0) {
            *out = value;
            return true;
        }
    return cli_fault(args, "--%s: '%s' is none of its values; see --help", name, value);
}

static bool pair(const struct cli_args *args, const char *name, const char *value,
                 struct import_pair *list, size_t *n)
{
    const char *equals = strchr(value, '=');

    if (!equals || equals == value || equals[1] == '\0')
        return cli_fault(args, "--%s: want NAME=NAME, found '%s'", name, value);
    if (*n == OPTIONS_PAIRS_MAX)
        return cli_fault(args, "--%s: more than %d of them", name, OPTIONS_PAIRS_MAX);
    list[(*n)++] = (struct import_pair){value, (size_t)(equals - value), equals + 1};
    return true;
}

static bool pairs(struct import_options *o, const struct cli_args *args)
{
    bool good = true;

    for (size_t i = 0; i < args->n_given; i++) {
        const char *name = args->given[i].name, *value = args->given[i].value;

        if (strcmp(name, "map") == 0)
            good &= pair(args, name, value, o->maps, &o->n_maps);
        else if (strcmp(name, "activation") == 0 && strchr(value, '='))
            good &= pair(args, name, value, o->activations, &o->n_activations);
        else if (strcmp(name, "activation") == 0)
            o->activation = value;
    }
    if (o->activation && strcmp(o->activation, "tanh") != 0 && strcmp(o->activation, "relu") != 0 &&
        strcmp(o->activation, "linear") != 0)
        good = cli_fault(args, "--activation: want tanh, relu, linear, or MODULE=NAME, found '%s'",
                         o->activation);
    return good;
}

bool options_read(struct import_options *o, const struct cli_args *args)
{
    static const char *const cells[] = {"rnn", "rnn_tanh", "rnn_relu", "lstm", "gru", NULL};
    static const char *const topologies[] = {"synced", "many_to_one", NULL};
    static const char *const pools[] = {"final", "last", "mean", "max", NULL};
    static const char *const outputs[] = {"softmax", "sigmoid", "none", NULL};
    bool good;

    options_init(o, args->operands[0]);
    o->out = cli_value(args, "out");
    o->vocab = cli_value(args, "vocab");
    o->config = cli_value(args, "config");
    o->expect = cli_value(args, "expect");
    o->part = cli_value(args, "part");
    o->one_hot = cli_given(args, "one-hot");
    o->dense = cli_given(args, "dense");
    good = choice(args, "cell", cells, &o->cell);
    good &= choice(args, "topology", topologies, &o->topology);
    good &= choice(args, "pool", pools, &o->pool);
    good &= choice(args, "output", outputs, &o->output);
    good &= cli_whole(args, "bos", 0, INT32_MAX, &o->bos);
    good &= cli_whole(args, "eos", 0, INT32_MAX, &o->eos);
    good &= cli_whole(args, "source-eos", 0, INT32_MAX, &o->source_eos);
    good &= cli_whole(args, "max-len", 1, INT32_MAX, &o->max_len);
    good &= pairs(o, args);
    if (o->one_hot && o->dense)
        good = cli_fault(args, "--one-hot and --dense: want one of them");
    return good;
}
