/* Walks: which row comes next, for every topology.
 *
 *     one pass, synced or many to one    STREAM
 *     both directions                    READ (pass after pass) → HEADS
 *     encoder–decoder                    READ → KEYS (attention) → TELL (bridge) → DECODE
 *     captioner                          TELL → DECODE
 *     repeating                          READ (encoder) → READ (decoder, the vector) → HEADS
 *
 * What a pass gives is gathered, one vector a step, for the pass above it; two buffers of the
 * widest level take turns.  All of a walk's memory is had at its beginning. */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "core/fpmode.h"
#include "core/model.h"

enum phase { STREAM, READ, HEADS, KEYS, TELL, TOLD, DECODE, GO_ON };

struct rnn_walk {
    const struct rnn_model *model;
    struct rnn_state *state;
    struct rnn_walk_input input;
    size_t n;       /* steps to read, the source's end included */
    uint32_t *kept; /* [n_kept] steps of the input that are not passed over; NULL: all */
    size_t n_kept;

    enum phase phase;
    const struct rnn_stack *stack; /* the one that reads */
    size_t level;
    bool backward; /* of the level's passes */
    size_t t;      /* steps of the phase so far */
    size_t step;   /* of the row's output */

    struct arena floats;
    float *vectors[2]; /* [n][widest] what the levels gave: below and above take turns */
    float *below, *above;
    float *piece; /* one step of a backward pass */
    float *pooled;
    float *told; /* [bridge reads], then [bridge writes] */
    float *keys;
    struct rnn_memory memory;
};

/* ---- Memory ---- */

static bool streams(const struct rnn_stack *stack)
{
    return stack->n_levels == 1 && !stack->levels[0].backward && !stack->spec->window;
}

static bool attends(const struct rnn_model *model)
{
    return model->attention.kind != RNN_ATTENTION_NONE;
}

static const struct rnn_stack *reader(const struct rnn_model *model)
{
    return &model->stacks[model->spec.n_stacks - 1];
}

static bool decodes(const struct rnn_model *model)
{
    return model->spec.topology == RNN_SEQ2SEQ || model->spec.topology == RNN_ONE_TO_MANY;
}

static bool repeats(const struct rnn_model *model)
{
    return model->spec.topology == RNN_REPEAT;
}

/* Whether what the steps give is kept. */
static bool gathers(const struct rnn_model *model)
{
    return !streams(reader(model)) || attends(model) || repeats(model);
}

static size_t widest(const struct rnn_stack *stack)
{
    size_t width = stack->levels[0].forward->in_width;

    for (size_t i = 0; i < stack->n_levels; i++)
        if (stack->levels[i].width > width)
            width = stack->levels[i].width;
    return width;
}

/* Of all stacks whose steps are gathered. */
static size_t widest_gathered(const struct rnn_model *model)
{
    size_t width = widest(reader(model));

    return repeats(model) && widest(&model->stacks[0]) > width ? widest(&model->stacks[0]) : width;
}

static void lay_out(struct rnn_walk *w)
{
    const struct rnn_model *model = w->model;
    const struct rnn_bridge_spec *bridge = &model->spec.bridge;
    size_t width = widest_gathered(model);
    size_t n = w->n > model->spec.repeat ? w->n : model->spec.repeat;

    if (gathers(model)) {
        w->vectors[0] = arena_take(&w->floats, n * width);
        w->vectors[1] = arena_take(&w->floats, n * width);
        w->piece = arena_take(&w->floats, width);
        w->pooled = arena_take(&w->floats, rnn_stack_vector_width(reader(model)->spec));
    }
    if (attends(model)) {
        w->keys = arena_take(&w->floats, model->keys ? w->n * model->attention.score_width : 0);
        w->memory.weights = arena_take(&w->floats, w->n);
        w->memory.energy = arena_take(&w->floats, model->attention.score_width);
    }
    if (bridge->present)
        w->told = arena_take(&w->floats, bridge->reads + bridge->writes);
    else if (model->spec.topology == RNN_SEQ2SEQ)
        w->told = arena_take(&w->floats, model->memory_floats);
    w->below = w->vectors[0];
    w->above = w->vectors[1];
}

size_t rnn_walk_bytes(const struct rnn_model *model, size_t n)
{
    size_t each = 2 * widest_gathered(model) + model->attention.score_width + 1, bytes;

    if (!gathers(model))
        return sizeof(struct rnn_walk);
    each += reader(model)->spec->masks; /* a step's number */
    if (reader(model)->spec->window)
        each += widest(reader(model)); /* of all steps side by side */
    if (n < model->spec.repeat)
        n = model->spec.repeat;
    if (!checked_add(n, 1, &n) || !checked_mul(each, sizeof(float), &bytes) ||
        !checked_mul(bytes, n, &bytes) ||
        !checked_add(bytes, sizeof(struct rnn_walk) + model->info.state_bytes, &bytes))
        return SIZE_MAX;
    return bytes;
}

/* ---- The state ---- */

/* The parts of a stack to their initial values. */
static void begin_stack(struct rnn_walk *w, unsigned stack)
{
    const struct rnn_model *model = w->model;

    for (size_t i = 0; i < model->n_parts; i++) {
        const struct rnn_state_part *part = &model->parts[i];
        float *to = w->state->memory + part->offset;

        if (part->stack != stack)
            continue;
        memset(to, 0, part->size * sizeof *to);
        if (model->initial)
            memcpy(to, model->initial + part->offset, part->size * sizeof *to);
    }
}

/* Copies all h, then all c, of a stack between the state and a vector; returns the floats. */
static size_t carry(struct rnn_walk *w, unsigned stack, float *vector, bool into_state)
{
    static const char kinds[] = {'h', 'c'};
    const struct rnn_model *model = w->model;
    size_t at = 0;

    for (size_t k = 0; k < sizeof kinds; k++) {
        for (size_t i = 0; i < model->n_parts; i++) {
            const struct rnn_state_part *part = &model->parts[i];
            float *memory = w->state->memory + part->offset;

            if (part->stack != stack || part->kind[0] != kinds[k])
                continue;
            if (into_state)
                memcpy(memory, vector + at, part->size * sizeof *memory);
            else
                memcpy(vector + at, memory, part->size * sizeof *memory);
            at += part->size;
        }
    }
    return at;
}

static void begin_decoder(struct rnn_walk *w)
{
    begin_stack(w, 0);
    w->state->position = 0;
}

/* ---- Rows ---- */

static unsigned number(const struct rnn_model *model, const struct rnn_pass *pass)
{
    return (unsigned)(pass - model->passes);
}

static void put_vector(struct rnn_walk *w, struct rnn_row *row, const struct rnn_pass *pass,
                       const float *vector)
{
    row->pass = number(w->model, pass);
    row->input = RNN_ROW_FRAME;
    row->frame = vector;
}

static void put_token(struct rnn_walk *w, struct rnn_row *row, uint32_t token)
{
    row->pass = 0;
    row->input = RNN_ROW_TOKEN;
    row->token = token;
    row->memory = rnn_walk_memory(w);
}

/* Whether step t of the input is one of those that the model passes over. */
static bool is_masked(const struct rnn_walk *w, size_t t)
{
    const struct rnn_stack_spec *spec = w->stack->spec;

    if (!spec->masks || t >= w->input.n)
        return false;
    if (!w->input.frames)
        return w->input.tokens[t] == (uint32_t)spec->mask;
    for (size_t i = 0; i < spec->input_size; i++)
        if (w->input.frames[t * spec->input_size + i] < spec->mask ||
            w->input.frames[t * spec->input_size + i] > spec->mask)
            return false;
    return true;
}

/* Whether it is the decoder that reads, one vector at every step. */
static bool reads_again(const struct rnn_walk *w)
{
    return w->stack != reader(w->model);
}

/* Step t of the input, for a pass at the bottom of the stack that reads. */
static void put_input(struct rnn_walk *w, struct rnn_row *row, const struct rnn_pass *pass,
                      size_t t)
{
    if (reads_again(w)) {
        put_vector(w, row, pass, w->pooled);
        return;
    }
    if (w->kept)
        t = t < w->n_kept ? w->kept[t] : w->input.n;
    row->pass = number(w->model, pass);
    if (w->input.frames) {
        row->input = RNN_ROW_FRAME;
        row->frame = w->input.frames + t * pass->in_width;
        return;
    }
    row->input = RNN_ROW_TOKEN;
    row->token = t < w->input.n ? w->input.tokens[t] : (uint32_t)w->model->spec.source_eos;
}

static enum rnn_walk_next output(struct rnn_walk *w, size_t step)
{
    w->step = step;
    return RNN_WALK_OUTPUT;
}

/* ---- STREAM: one pass, an output as the input comes ---- */

static enum rnn_walk_next stream(struct rnn_walk *w, struct rnn_row *row)
{
    bool every = w->model->spec.topology == RNN_SYNCED && !w->input.last_only;
    size_t t = w->t;

    if (w->n == 0 && t == 0) {
        w->t = 1;
        row->input = RNN_ROW_READ;
        return output(w, 0);
    }
    if (t >= w->n)
        return RNN_WALK_DONE;
    put_input(w, row, &w->model->passes[0], t);
    if (is_masked(w, t) && w->model->readout_at != RNN_NOWHERE)
        row->input = RNN_ROW_READ; /* the state stays */
    w->t++;
    return every || w->t == w->n ? output(w, t) : RNN_WALK_ON;
}

/* ---- READ: pass after pass ---- */

static void merge(enum rnn_merge how, float *to, const float *piece, size_t width)
{
    switch (how) {
    case RNN_MERGE_CONCAT:
        memcpy(to + width, piece, width * sizeof *to);
        break;
    case RNN_MERGE_SUM:
        for (size_t i = 0; i < width; i++)
            to[i] += piece[i];
        break;
    case RNN_MERGE_AVERAGE:
        for (size_t i = 0; i < width; i++)
            to[i] = (to[i] + piece[i]) * 0.5f;
        break;
    case RNN_MERGE_MULTIPLY:
        for (size_t i = 0; i < width; i++)
            to[i] *= piece[i];
        break;
    }
}

static const struct rnn_level *level_of(const struct rnn_walk *w)
{
    return &w->stack->levels[w->level];
}

/* What the level reads at step t, as a vector. */
static const float *read_vector(struct rnn_walk *w, size_t t)
{
    const struct rnn_level *level = level_of(w);
    struct rnn_row row = {0};

    if (w->level > 0)
        return w->below + t * level->forward->in_width;
    put_input(w, &row, level->forward, t);
    return pass_input_vector(level->forward, &row, w->piece);
}

static void add_residual(struct rnn_walk *w)
{
    size_t width = level_of(w)->width;

    for (size_t t = 0; t < w->n; t++) {
        const float *read = read_vector(w, t);
        float *to = w->above + t * width;

        for (size_t i = 0; i < width; i++)
            to[i] += read[i];
    }
}

static void end_level(struct rnn_walk *w)
{
    float *given = w->above;

    if (level_of(w)->residual)
        add_residual(w);
    w->above = w->below;
    w->below = given;
    w->level++;
}

/* The backward step before this one has left its piece. */
static void take_piece(struct rnn_walk *w)
{
    const struct rnn_level *level = level_of(w);

    if (w->backward && w->t > 0)
        merge(level->merge, w->above + (w->n - w->t) * level->width, w->piece,
              level->backward->out_width);
}

/* After the last row of a pass: on to the next; false where there is none. */
static bool next_pass(struct rnn_walk *w)
{
    w->t = 0;
    if (level_of(w)->backward && !w->backward) {
        w->backward = true;
        return true;
    }
    w->backward = false;
    if (gathers(w->model))
        end_level(w);
    else
        w->level++;
    return w->level < w->stack->n_levels;
}

static bool read(struct rnn_walk *w, struct rnn_row *row)
{
    const struct rnn_level *level;
    const struct rnn_pass *pass;
    size_t t;

    take_piece(w);
    if (w->t == w->n && !next_pass(w))
        return false;
    level = level_of(w);
    pass = w->backward ? level->backward : level->forward;
    t = w->backward ? w->n - 1 - w->t : w->t;
    if (w->level == 0)
        put_input(w, row, pass, t);
    else
        put_vector(w, row, pass, w->below + t * pass->in_width);
    if (w->backward)
        row->hidden = w->piece;
    else if (gathers(w->model))
        row->hidden = w->above + t * level->width;
    w->t++;
    return true;
}

/* ---- HEADS: outputs of what was read both ways ---- */

/* The final states of the level under the readout, merged as its outputs are. */
static void pool_final(struct rnn_walk *w)
{
    const struct rnn_level *level = &w->stack->levels[w->stack->n_levels - 1];
    const struct rnn_pass *pass = level->forward;
    const struct rnn_layer *top = pass->n_layers ? &pass->layers[pass->n_layers - 1] : NULL;
    const float *memory = w->state->memory, *last = w->below + (w->n - 1) * level->width;
    size_t width = pass->out_width;

    if (top && top->kind == RNN_LAYER_RECURRENT)
        last = memory + top->h_at;
    memcpy(w->pooled, last, width * sizeof(float));
    if (level->backward)
        merge(level->merge, w->pooled, memory + level->backward->layers[0].h_at, width);
}

static void pool(struct rnn_walk *w)
{
    enum rnn_pool how = w->model->spec.pool;
    size_t width = w->stack->levels[w->stack->n_levels - 1].width;

    if (how == RNN_POOL_FINAL)
        pool_final(w);
    else if (how == RNN_POOL_LAST)
        memcpy(w->pooled, w->below + (w->n - 1) * width, width * sizeof(float));
    else if (how == RNN_POOL_FLATTEN) /* the steps stand side by side already */
        memcpy(w->pooled, w->below, w->n * width * sizeof(float));
    for (size_t t = 0; t < w->n && (how == RNN_POOL_MEAN || how == RNN_POOL_MAX); t++)
        pool_add(how, w->pooled, w->below + t * width, t + 1, width);
}

static enum rnn_walk_next heads(struct rnn_walk *w, struct rnn_row *row)
{
    size_t width = w->stack->levels[w->stack->n_levels - 1].width;
    bool one = w->model->spec.topology == RNN_MANY_TO_ONE;

    if (w->t == 0 && one)
        pool(w);
    if (w->t == 0 && (one || w->input.last_only))
        w->t = w->n - 1;
    if (w->t == w->n)
        return RNN_WALK_DONE;
    row->input = RNN_ROW_HEAD;
    row->frame = one ? w->pooled : w->below + w->t * width;
    return output(w, w->t++);
}

/* ---- From the reader to the decoder ---- */

static bool make_keys(struct rnn_walk *w, struct rnn_row *row)
{
    const struct rnn_attention *a = &w->model->attention;

    if (w->t == w->n)
        return false;
    put_vector(w, row, w->model->keys, w->below + w->t * a->memory_width);
    row->hidden = w->keys + w->t * a->score_width;
    w->t++;
    return true;
}

static void remember(struct rnn_walk *w)
{
    w->memory.n = w->n;
    w->memory.values = w->below;
    w->memory.keys = w->model->keys ? w->keys : w->below;
}

static void tell(struct rnn_walk *w, struct rnn_row *row)
{
    const float *from = w->told;

    if (w->model->spec.topology == RNN_ONE_TO_MANY)
        from = w->input.frames;
    else
        (void)carry(w, 1, w->told, false);
    put_vector(w, row, w->model->bridge, from);
    row->hidden = w->told + w->model->spec.bridge.reads;
}

/* The decoder stands before bos. */
static void hear(struct rnn_walk *w)
{
    const struct rnn_spec *spec = &w->model->spec;

    begin_decoder(w);
    if (spec->bridge.present && !spec->bridge.to_input) {
        (void)carry(w, 0, w->told + spec->bridge.reads, true);
    } else if (spec->n_stacks > 1 && spec->transfer != RNN_TRANSFER_NONE) {
        (void)carry(w, 1, w->told, false);
        (void)carry(w, 0, w->told, true);
    }
}

static enum rnn_walk_next decode(struct rnn_walk *w, struct rnn_row *row)
{
    size_t step = w->t;

    if (step > w->input.n_target)
        return RNN_WALK_DONE;
    w->t++;
    put_token(w, row, step == 0 ? (uint32_t)w->model->spec.bos : w->input.target[step - 1]);
    return output(w, step);
}

/* A session that goes on where it stands, with nothing new to read. */
static enum rnn_walk_next go_on(struct rnn_walk *w, struct rnn_row *row)
{
    size_t step = w->t++;

    if (step == 0) {
        row->input = RNN_ROW_READ;
        return output(w, 0);
    }
    if (step > w->input.n_target)
        return RNN_WALK_DONE;
    put_token(w, row, w->input.target[step - 1]);
    return output(w, step);
}

/* ---- The walk ---- */

static void enter(struct rnn_walk *w, enum phase phase)
{
    w->phase = phase;
    w->t = 0;
}

/* What the encoder has read becomes the vector that the decoder reads. */
static void read_again(struct rnn_walk *w)
{
    pool(w);
    begin_decoder(w);
    w->stack = &w->model->stacks[0];
    w->level = 0;
    w->n = w->model->spec.repeat;
    enter(w, READ);
}

/* The phase behind one that has given its last row. */
static void next_phase(struct rnn_walk *w)
{
    const struct rnn_bridge_spec *bridge = &w->model->spec.bridge;

    switch (w->phase) {
    case READ:
        if (repeats(w->model) && !reads_again(w)) {
            read_again(w);
            break;
        }
        if (!decodes(w->model)) {
            enter(w, HEADS);
            break;
        }
        if (w->model->keys) {
            enter(w, KEYS);
            break;
        } /* fall through */
    case KEYS:
        if (attends(w->model))
            remember(w);
        if (bridge->present) {
            enter(w, TELL);
            break;
        }
        hear(w);
        enter(w, DECODE);
        break;
    default:
        break;
    }
}

/* One row of the present phase. */
static enum rnn_walk_next advance(struct rnn_walk *w, struct rnn_row *row, bool *again)
{
    switch (w->phase) {
    case STREAM:
        return stream(w, row);
    case READ:
        *again = !read(w, row);
        return RNN_WALK_ON;
    case HEADS:
        return heads(w, row);
    case KEYS:
        *again = !make_keys(w, row);
        return RNN_WALK_ON;
    case TELL:
        tell(w, row);
        w->phase = TOLD;
        return RNN_WALK_ON;
    case TOLD:
        hear(w);
        enter(w, DECODE);
        if (!w->model->spec.bridge.to_input) {
            *again = true;
            return RNN_WALK_ON;
        }
        put_vector(w, row, &w->model->passes[0], w->told + w->model->spec.bridge.reads);
        row->memory = rnn_walk_memory(w);
        return RNN_WALK_ON;
    case DECODE:
        return decode(w, row);
    case GO_ON:
        break;
    }
    return go_on(w, row);
}

enum rnn_walk_next rnn_walk_next(struct rnn_walk *walk, struct rnn_row *row)
{
    struct fpmode mode = fpmode_enter();
    enum rnn_walk_next next;
    bool again;

    *row = (struct rnn_row){.state = walk->state};
    do {
        again = false;
        next = advance(walk, row, &again);
        if (again && walk->phase != DECODE)
            next_phase(walk);
    } while (again);
    fpmode_leave(mode);
    return next;
}

size_t rnn_walk_step(const struct rnn_walk *walk)
{
    return walk->step;
}

const float *rnn_walk_outputs(const struct rnn_walk *walk)
{
    return walk->phase == HEADS ? walk->below : NULL;
}

const struct rnn_memory *rnn_walk_memory(const struct rnn_walk *walk)
{
    return attends(walk->model) ? &walk->memory : NULL;
}

/* A walk that reads pass after pass never sees the steps that are passed over. */
static int keep_steps(struct rnn_walk *w, struct rnn_err *err)
{
    if (!w->stack->spec->masks || w->phase != READ || w->input.n > UINT32_MAX)
        return 0;
    w->kept = calloc(w->input.n + 1, sizeof *w->kept);
    if (!w->kept)
        return rnn_fail(err, RNN_ENOMEM, "out of memory: an input of %zu steps", w->input.n);
    for (size_t t = 0; t < w->input.n; t++)
        if (!is_masked(w, t))
            w->kept[w->n_kept++] = (uint32_t)t;
    w->n -= w->input.n - w->n_kept;
    return 0;
}

static int check_steps(const struct rnn_walk *w, struct rnn_err *err)
{
    const struct rnn_model *model = w->model;
    size_t window = model->info.window;

    if (w->n == 0 && (w->phase == READ || model->readout_at == RNN_NOWHERE))
        return rnn_fail_at(err, RNN_ERANGE, "input", -1,
                           "input: the model wants at least one step");
    if (window && w->n != window)
        return rnn_fail_at(err, RNN_ERANGE, "input", -1,
                           "input: the model reads a window of exactly %zu steps, found %zu",
                           window, w->n);
    return 0;
}

/* Where a walk begins, and how many steps it reads. */
static int begin(struct rnn_walk *w, struct rnn_err *err)
{
    const struct rnn_model *model = w->model;
    const struct rnn_spec *spec = &model->spec;
    bool continues = w->input.n == 0 && w->state->position > 0 && !model->info.unsteppable;

    w->stack = reader(model);
    w->n = w->input.n;
    if (decodes(model) && continues) {
        w->phase = GO_ON;
        w->n = 0;
        return 0;
    }
    if (spec->topology == RNN_ONE_TO_MANY) {
        w->phase = TELL;
        if (w->input.n != 1)
            return rnn_fail_at(err, RNN_ERANGE, "input", -1,
                               "input: the model tells of one frame of %zu numbers",
                               spec->features);
        return 0;
    }
    w->n += spec->source_eos >= 0;
    w->phase = gathers(model) || decodes(model) ? READ : STREAM;
    if (keep_steps(w, err) < 0)
        return RNN_ENOMEM;
    if (check_steps(w, err) < 0)
        return RNN_ERANGE;
    if (spec->n_stacks > 1)
        begin_stack(w, 1);
    return 0;
}

int rnn_walk_new(struct rnn_walk **out, const struct rnn_model *model, struct rnn_state *state,
                 const struct rnn_walk_input *input, struct rnn_err *err)
{
    struct rnn_walk *walk = calloc(1, sizeof *walk);
    int rc;

    if (!walk)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    *walk = (struct rnn_walk){.model = model, .state = state, .input = *input};
    rc = begin(walk, err);
    if (rc == 0) {
        lay_out(walk);
        if (walk->floats.used > 0 && !arena_allocate(&walk->floats))
            rc = rnn_fail(err, RNN_ENOMEM, "out of memory: an input of %zu steps", input->n);
    }
    if (rc < 0) {
        rnn_walk_free(walk);
        return rc;
    }
    if (walk->floats.base)
        lay_out(walk);
    *out = walk;
    return 0;
}

void rnn_walk_free(struct rnn_walk *walk)
{
    if (!walk)
        return;
    arena_free(&walk->floats);
    free(walk->kept);
    free(walk);
}
