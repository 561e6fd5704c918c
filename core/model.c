/* Opens a model: asks the formats, lays out its shape, loads its weights; and what a caller may
 * know of it.  A model is immutable from then on. */
#include "core/model.h"

#include <stdlib.h>
#include <string.h>

#include "core/load.h"
#include "core/spec_check.h"
#include "core/tensor.h"
#include "core/tokenizer.h"

#define TABLE_BYTES_DEFAULT ((size_t)256 << 20)

/* An opening in progress. */
struct opening {
    struct rnn_model *model;
    const struct rnn_format_ops *format;
    struct rnn_source *source;
    size_t table_max;
    struct rnn_err *err;
};

/* ---- Texts and facts ---- */

static int take_texts(struct opening *o)
{
    struct rnn_model *model = o->model;
    const struct rnn_texts *texts = &model->texts;

    o->format->take_texts(o->source, &model->texts);
    if (texts->tokenizer && texts->tokenizer->n_tokens != model->info.decoder_size)
        return rnn_fail(o->err, RNN_ESHAPE, "the vocabulary has %zu entries, the model's input %zu",
                        texts->tokenizer->n_tokens, model->info.decoder_size);
    if (texts->source && texts->source->n_tokens != model->info.input_size)
        return rnn_fail(o->err, RNN_ESHAPE,
                        "the source's vocabulary has %zu entries, the encoder's input %zu",
                        texts->source->n_tokens, model->info.input_size);
    if (texts->labels && texts->n_labels != model->info.output_size)
        return rnn_fail(o->err, RNN_ESHAPE, "%zu labels for %zu outputs", texts->n_labels,
                        model->info.output_size);
    model->info.tokenizer = texts->tokenizer ? texts->tokenizer->ops->name : NULL;
    model->info.source_tokenizer = texts->source ? texts->source->ops->name : NULL;
    model->info.labels = (const char *const *)texts->labels;
    model->info.metrics_json = texts->metrics_json;
    return 0;
}

/* The highest recurrent layer, or NULL. */
static const struct rnn_layer_spec *top_recurrent(const struct rnn_stack_spec *stack)
{
    for (size_t k = stack->n_below; k > 0; k--)
        if (stack->layers[k - 1].kind == RNN_LAYER_RECURRENT)
            return &stack->layers[k - 1];
    return NULL;
}

static size_t count_recurrent(const struct rnn_stack_spec *stack)
{
    size_t n = 0;

    for (size_t k = 0; k < stack->n_below; k++)
        n += stack->layers[k].kind == RNN_LAYER_RECURRENT;
    return n;
}

static const char *why_unsteppable(const struct rnn_model *model)
{
    if (model->attention.kind != RNN_ATTENTION_NONE)
        return "its decoder looks back at the whole source, which no state holds";
    if (model->stacks[0].n_levels > 1 || model->stacks[0].levels[0].backward)
        return "it reads its input in both directions and has to see the whole of it";
    if (model->spec.repeat)
        return "its decoder is fed what a whole input comes to, and each input begins anew";
    if (model->stacks[0].spec->window)
        return "its head looks at every step of a whole window, which no state holds";
    return NULL;
}

static void fill_layers_info(struct rnn_model_info *info, const struct rnn_stack_spec *stack)
{
    const struct rnn_layer_spec *top = top_recurrent(stack);

    info->layers = count_recurrent(stack);
    info->cell = top ? top->cell->name : "dense";
    info->hidden_size = top ? top->hidden : rnn_stack_readout_width(stack);
    info->proj_size = top ? top->proj : 0;
    info->bidirectional = top && top->directions == 2;
    info->hidden_width = rnn_stack_vector_width(stack);
    info->step_width = rnn_stack_readout_width(stack);
}

static void fill_head_info(struct rnn_model_info *info, const struct rnn_stack_spec *stack)
{
    const struct rnn_head_spec *head = &stack->head;

    info->has_head = head->present;
    info->activation = head->present ? head->activation : RNN_HEAD_NONE;
    info->output_size = head->present ? head->size : rnn_stack_head_width(stack);
    if (info->activation == RNN_HEAD_NONE)
        info->n_values = info->output_size;
    else if (info->activation != RNN_HEAD_SOFTMAX && info->activation != RNN_HEAD_SIGMOID)
        info->n_values = rnn_head_values(head);
    info->components = head->components;
    info->pen = head->pen;
}

static bool language_model(const struct rnn_model_info *info)
{
    return info->topology == RNN_SYNCED && !info->unsteppable &&
           info->input_kind != RNN_INPUT_DENSE && info->has_head &&
           info->activation == RNN_HEAD_SOFTMAX && info->output_size == info->input_size;
}

/* A forecaster that answers a whole window answers each longer one, too. */
static bool writes_frames(const struct rnn_model_info *info)
{
    return (info->topology == RNN_SYNCED || info->topology == RNN_MANY_TO_ONE) &&
           info->input_kind == RNN_INPUT_DENSE && !info->unsteppable &&
           (info->activation == RNN_HEAD_MIXTURE || info->n_values == info->input_size);
}

static void fill_info(struct opening *o)
{
    static const char *const attentions[] = {NULL, "additive", "dot", "general"};
    const struct rnn_spec *spec = &o->model->spec;
    const struct rnn_stack_spec *decoder = &spec->stacks[0];
    const struct rnn_stack_spec *reader = &spec->stacks[spec->n_stacks - 1];
    struct rnn_model_info *info = &o->model->info;

    info->name = spec->name;
    info->dtype = rnn_dtype_name(spec->dtype);
    info->topology = spec->topology;
    info->input_kind = spec->features ? RNN_INPUT_DENSE : reader->input_kind;
    info->input_size = spec->features ? spec->features : reader->input_size;
    info->embedding_dim = reader->embedding_dim;
    info->decoder_size = spec->repeat ? reader->input_size : decoder->input_size;
    info->window = reader->window;
    info->repeat = spec->repeat;
    fill_layers_info(info, decoder);
    if (spec->n_stacks > 1)
        info->encoder_layers = count_recurrent(reader);
    fill_head_info(info, decoder);
    info->attention = attentions[decoder->attention.kind];
    info->unsteppable = why_unsteppable(o->model);
    info->language_model = language_model(info);
    info->writes_frames = writes_frames(info);
    info->state_bytes = sizeof(struct rnn_state) + o->model->memory_floats * sizeof(float);
    info->max_len = spec->max_len;
    info->unk = spec->unk;
    info->bos = spec->bos;
    info->eos = spec->eos;
    info->source_eos = spec->source_eos;
    o->format->fingerprint(o->source, info->fingerprint);
}

/* ---- The calls ---- */

static void destroy(struct rnn_model *model)
{
    arena_free(&model->weights);
    for (size_t i = 0; i < RNN_STACKS_MAX; i++)
        free(model->stacks[i].levels);
    free(model->layers);
    free(model->passes);
    free(model->parts);
    free(model->gates);
    model_free_states(model);
    if (model->texts.tokenizer)
        model->texts.tokenizer->ops->free(model->texts.tokenizer);
    if (model->texts.source)
        model->texts.source->ops->free(model->texts.source);
    free(model->texts.labels);
    free(model->texts.metrics_json);
    free(model);
}

static int build(struct opening *o)
{
    int rc = rnn_spec_check(&o->model->spec, o->err);

    if (rc == 0)
        rc = model_lay_out(o->model, o->err);
    if (rc < 0)
        return rc;
    fill_info(o);
    rc = model_load(o->model, o->format, o->source, o->table_max, o->err);
    if (rc == 0)
        rc = take_texts(o);
    return rc < 0 ? rc : model_take_states(o->model, o->format, o->source, o->err);
}

static const struct rnn_format_ops *find_format(const char *path)
{
    for (size_t i = 0; rnn_formats[i]; i++)
        if (rnn_formats[i]->probe(path))
            return rnn_formats[i];
    return NULL;
}

int rnn_model_open(struct rnn_model **out, const char *path, const struct rnn_open_options *options,
                   struct rnn_err *err)
{
    struct opening o = {.format = find_format(path),
                        .table_max = options ? options->table_max_bytes : TABLE_BYTES_DEFAULT,
                        .err = err};
    int rc;

    if (!o.format)
        return rnn_fail(err, RNN_ENOENT, "%.200s: no model folder of a known form", path);
    rc = o.format->open(&o.source, path, err);
    if (rc < 0)
        return rc;
    o.model = calloc(1, sizeof *o.model);
    if (!o.model) {
        o.format->close(o.source);
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    atomic_init(&o.model->refs, 1);
    o.model->spec = *o.format->spec(o.source);
    rc = build(&o);
    o.format->close(o.source);
    if (rc < 0) {
        destroy(o.model);
        return rc;
    }
    *out = o.model;
    return 0;
}

struct rnn_model *rnn_model_ref(struct rnn_model *model)
{
    atomic_fetch_add_explicit(&model->refs, 1, memory_order_relaxed);
    return model;
}

void rnn_model_unref(struct rnn_model *model)
{
    if (model && atomic_fetch_sub_explicit(&model->refs, 1, memory_order_acq_rel) == 1)
        destroy(model);
}

const struct rnn_model_info *rnn_model_info(const struct rnn_model *model)
{
    return &model->info;
}
