/* States: their beginning, their parts by name, the initial ones that a model ships, and the way
 * to bytes and back (the format itself is in models/).
 *
 * Any thread; a state is its owner's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "core/model.h"

void rnn_state_init(const struct rnn_model *model, struct rnn_state *state, uint64_t seed)
{
    memset(state, 0, model->info.state_bytes);
    if (model->initial)
        memcpy(state->memory, model->initial, model->memory_floats * sizeof(float));
    state->rng.seed = seed;
}

/* ---- Parts ---- */

const struct rnn_state_part *rnn_state_parts(const struct rnn_model *model, size_t *n_parts)
{
    *n_parts = model->n_parts;
    return model->parts;
}

const struct rnn_gate *rnn_gates(const struct rnn_model *model, size_t *n_gates)
{
    *n_gates = model->n_gates;
    return model->gates;
}

void rnn_state_part_name(const struct rnn_state_part *part, char *out)
{
    const char *stack = part->stack == 1 ? "encoder." : "";

    if (part->kind[0] == 'h' || part->kind[0] == 'c')
        snprintf(out, RNN_PART_NAME_MAX, "%s%s.l%u%s", stack, part->kind, part->layer,
                 part->direction == 1 ? "_reverse" : "");
    else
        snprintf(out, RNN_PART_NAME_MAX, "%s%s", stack, part->kind);
}

/* ---- Initial states by name ---- */

/* Of a file with recent tokens the model's part is taken. */
static int take_state(struct rnn_model *model, const struct rnn_format_ops *format,
                      const struct rnn_source *source, size_t index, struct rnn_err *err)
{
    const char *name;
    const void *file;
    size_t len, bytes;
    int rc;

    format->state_at(source, index, &name, &file, &len);
    model->state_names[index] = strdup(name);
    model->n_states = index + 1;
    if (!model->state_names[index])
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = rnn_state_read(model, file, len, &model->states[index], &bytes, err);
    if (rc < 0)
        rnn_err_prefix(err, "initial state '%.64s': ", name);
    return rc;
}

int model_take_states(struct rnn_model *model, const struct rnn_format_ops *format,
                      const struct rnn_source *source, struct rnn_err *err)
{
    size_t n = format->n_states(source);
    int rc = 0;

    model->state_names = calloc(n + 1, sizeof *model->state_names);
    model->states = calloc(n + 1, sizeof *model->states);
    if (!model->state_names || !model->states)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = take_state(model, format, source, i, err);
    model->info.initial_states = (const char *const *)model->state_names;
    return rc;
}

void model_free_states(struct rnn_model *model)
{
    for (size_t i = 0; i < model->n_states; i++) {
        free(model->state_names[i]);
        free(model->states[i]);
    }
    free(model->state_names);
    free(model->states);
}

static int refuse_name(const struct rnn_model *model, const char *name, struct rnn_err *err)
{
    struct buf list = {0};
    int rc;

    for (size_t i = 0; i < model->n_states; i++)
        buf_printf(&list, "%s%s", i > 0 ? ", " : "", model->state_names[i]);
    buf_putc(&list, '\0');
    rc = rnn_fail_at(err, RNN_ENOENT, "initial_state", -1,
                     model->n_states > 0
                         ? "initial_state: the model ships no state '%.64s'; there are: %.150s"
                         : "initial_state: the model ships no states, so none is called '%.64s'%s",
                     name, list.failed || model->n_states == 0 ? "" : list.data);
    buf_free(&list);
    return rc;
}

int rnn_state_init_named(const struct rnn_model *model, const char *name, struct rnn_state *state,
                         uint64_t seed, struct rnn_err *err)
{
    for (size_t i = 0; i < model->n_states; i++) {
        if (strcmp(model->state_names[i], name) != 0)
            continue;
        memcpy(state, model->states[i], model->info.state_bytes);
        state->rng = (struct rnn_rng){.seed = seed};
        return 0;
    }
    return refuse_name(model, name, err);
}

/* ---- Bytes ---- */

int rnn_state_write(const struct rnn_model *model, const struct rnn_state *state, size_t bytes,
                    struct buf *out, struct rnn_err *err)
{
    return rnn_state_format->write(model, state, bytes, out, err);
}

int rnn_state_read(const struct rnn_model *model, const void *file, size_t len,
                   struct rnn_state **out, size_t *bytes, struct rnn_err *err)
{
    return rnn_state_format->read(model, file, len, out, bytes, err);
}
