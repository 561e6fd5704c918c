/* The tree that PyTorch pickles, as names and tensors.  See torch.h.
 *
 * Nothing is called; what would have been made by a call is told by its record.  The tree may have
 * circles and shared branches: a branch that leads back to itself is cut, and the steps are
 * counted. */
#include "import/torch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "import/torch_inner.h"

enum { STEPS_MAX = 4000000 };

static int visit(struct walk *w, const struct pickle_node *node);

/* ---- Paths ---- */

/* Appends "KEY." to the path; false: a key that is no name, or too long a path. */
static bool enter(struct walk *w, const struct pickle_node *key)
{
    size_t room = sizeof w->path - w->len;
    int n;

    if (key->kind == PICKLE_STRING && utf8_valid(key->text.bytes, key->text.len, NULL) &&
        !memchr(key->text.bytes, '\0', key->text.len) && key->text.len < room)
        n = snprintf(w->path + w->len, room, "%.*s.", (int)key->text.len, key->text.bytes);
    else if (key->kind == PICKLE_INT)
        n = snprintf(w->path + w->len, room, "%lld.", (long long)key->whole);
    else
        return false;
    if (n < 0 || (size_t)n >= room)
        return false;
    w->len += (size_t)n;
    return true;
}

void walk_leave(struct walk *w, size_t len)
{
    w->len = len;
    w->path[len] = '\0';
}

const char *walk_path(struct walk *w)
{
    return archive_text(w->archive, w->path, w->len ? w->len - 1 : 0, w->err);
}

/* ---- Modules ---- */

/* "torch.nn.modules.rnn.LSTM"; "?" where the class is no name.  Old files have ('module', class,
 * file, source text) in the class's place. */
static const char *class_name(struct walk *w, const struct pickle_node *callee)
{
    char text[256];

    if (callee->kind == PICKLE_PERSISTENT && pickle_item(callee->id, 1))
        callee = pickle_item(callee->id, 1);
    if (callee->kind != PICKLE_GLOBAL)
        return "?";
    if (callee->global.module.len + callee->global.name.len > sizeof text - 2)
        return "?";
    snprintf(text, sizeof text, "%.*s.%.*s", (int)callee->global.module.len,
             callee->global.module.bytes, (int)callee->global.name.len, callee->global.name.bytes);
    if (!utf8_valid(text, strlen(text), NULL))
        return "?";
    return archive_text(w->archive, text, strlen(text), w->err);
}

static int note_module(struct walk *w, const struct pickle_node *object)
{
    const struct pickle_node *mode = pickle_get(object->object.state, "mode");
    const struct pickle_node *activation = pickle_get(object->object.state, "nonlinearity");
    struct archive_module module = {.path = walk_path(w),
                                    .class = class_name(w, object->object.callee)};

    if (mode && walk_is_clean(mode)) {
        module.mode = archive_text(w->archive, mode->text.bytes, mode->text.len, w->err);
        if (!module.mode)
            return RNN_ENOMEM;
    } else if (activation && activation->kind == PICKLE_STRING) { /* RNNCell */
        module.mode = pickle_is_text(activation, "relu") ? "RNN_RELU" : "RNN_TANH";
    }
    if (!module.path || !module.class)
        return rnn_fail(w->err, RNN_ENOMEM, "out of memory");
    return archive_add_module(w->archive, &module, w->err);
}

static bool is_optimizer(const struct pickle_node *key)
{
    static const char *const words[] = {"optim", "scheduler", "scaler", NULL};

    if (key->kind != PICKLE_STRING)
        return false;
    for (size_t i = 0; words[i]; i++)
        if (memmem(key->text.bytes, key->text.len, words[i], strlen(words[i])))
            return true;
    return false;
}

/* What torch.optim's state_dict() gives, under whatever name. */
static bool is_optimizer_state(const struct pickle_node *map)
{
    return pickle_get(map, "param_groups") && pickle_get(map, "state");
}

/* All values of a map, each under its key. */
static int visit_values(struct walk *w, const struct pickle_node *map, bool in_module)
{
    size_t len = w->len, part = w->part;
    bool was_in_module = w->in_module;
    int rc = 0;

    if (!in_module && is_optimizer_state(map)) {
        archive_note(w->archive, "%.*s: of the training, passed over", (int)(len ? len - 1 : 0),
                     w->path);
        return 0;
    }
    if (!in_module && !w->in_module)
        w->part = len;
    w->in_module = in_module;
    for (size_t i = 0; i + 1 < map->n_items && rc == 0; i += 2) {
        if (!enter(w, map->items[i]))
            continue;
        if (!in_module && is_optimizer(map->items[i]))
            archive_note(w->archive, "%.*s: of the training, passed over", (int)w->len - 1,
                         w->path);
        else
            rc = visit(w, map->items[i + 1]);
        walk_leave(w, len);
    }
    w->part = part;
    w->in_module = was_in_module;
    return rc;
}

/* What PyTorch keeps for itself: its own parts, which have been walked, and copies of them. */
static bool is_private(const struct pickle_node *key)
{
    return key->kind == PICKLE_STRING && key->text.len > 0 && key->text.bytes[0] == '_';
}

/* What a module holds besides its parts: perhaps a vocabulary. */
static int visit_attributes(struct walk *w, const struct pickle_node *state)
{
    size_t len = w->len;
    int rc = 0;

    for (size_t i = 0; i + 1 < state->n_items && rc == 0; i += 2) {
        const struct pickle_node *value = state->items[i + 1];
        bool may_hold = value->kind == PICKLE_DICT || value->kind == PICKLE_LIST ||
                        value->kind == PICKLE_TUPLE || value->kind == PICKLE_STRING ||
                        value->kind == PICKLE_OBJECT;

        if (is_private(state->items[i]) || !may_hold || !enter(w, state->items[i]))
            continue;
        rc = visit(w, value);
        walk_leave(w, len);
    }
    return rc;
}

static int visit_module(struct walk *w, const struct pickle_node *object)
{
    static const char *const parts[] = {"_parameters", "_buffers", "_modules"};
    const struct pickle_node *state = object->object.state;
    size_t part = w->part;
    bool was_in_module = w->in_module;
    int rc = note_module(w, object);

    if (!w->in_module)
        w->part = w->len;
    for (size_t i = 0; i < 3 && rc == 0; i++) {
        const struct pickle_node *map = pickle_get(state, parts[i]);

        if (map && map->is_map)
            rc = visit_values(w, map, true);
    }
    w->in_module = true;
    if (rc == 0)
        rc = visit_attributes(w, state);
    w->in_module = was_in_module;
    w->part = part;
    return rc;
}

/* ---- The walk ---- */

static int visit_items(struct walk *w, const struct pickle_node *list)
{
    size_t len = w->len;
    int rc = 0;

    for (size_t i = 0; i < list->n_items && rc == 0; i++) {
        struct pickle_node key = {.kind = PICKLE_INT, .whole = (int64_t)i};
        enum pickle_kind kind = list->items[i]->kind;

        if (kind != PICKLE_DICT && kind != PICKLE_OBJECT && kind != PICKLE_LIST &&
            kind != PICKLE_TUPLE)
            continue;
        if (enter(w, &key))
            rc = visit(w, list->items[i]);
        walk_leave(w, len);
    }
    return rc;
}

static int visit_object(struct walk *w, const struct pickle_node *object)
{
    const struct pickle_node *state = object->object.state;
    bool has_type = false;
    const struct pickle_node *args = walk_tensor(object, &has_type);

    if (args)
        return walk_add_tensor(w, args, has_type);
    if (walk_is_strange(object)) {
        archive_note(w->archive, "%.*s: a quantised, sparse or nested tensor, not read",
                     (int)(w->len ? w->len - 1 : 0), w->path);
        return 0;
    }
    if (state && state->is_map && pickle_get(state, "_modules"))
        return visit_module(w, object);
    if (walk_is_vocab(object))
        return walk_add_vocab(w, object);
    if (object->is_map && object->n_items > 0)
        return visit_values(w, object, false);
    if (state && state->is_map)
        return visit_values(w, state, false);
    return 0;
}

static int visit_one(struct walk *w, const struct pickle_node *node)
{
    switch (node->kind) {
    case PICKLE_STRING:
        return walk_add_letters(w, node);
    case PICKLE_DICT:
    case PICKLE_LIST:
    case PICKLE_TUPLE:
        if (walk_is_vocab(node))
            return walk_add_vocab(w, node);
        return node->is_map ? visit_values(w, node, false) : visit_items(w, node);
    case PICKLE_OBJECT:
        return visit_object(w, node);
    default:
        return 0;
    }
}

static int visit(struct walk *w, const struct pickle_node *node)
{
    int rc;

    if (++w->steps > STEPS_MAX)
        return rnn_fail(w->err, RNN_ELIMIT, "the file's objects unfold without end");
    if (w->depth == TORCH_DEPTH_MAX)
        return 0;
    for (size_t i = 0; i < w->depth; i++)
        if (w->above[i] == node)
            return 0;
    w->above[w->depth++] = node;
    rc = visit_one(w, node);
    w->depth--;
    return rc;
}

int torch_walk(struct archive *archive, struct torch_store *store, const struct pickle_node *root,
               struct rnn_err *err)
{
    struct rnn_err ignored;
    struct walk *w = calloc(1, sizeof *w);
    int rc;

    if (!w)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    w->archive = archive;
    w->store = store;
    w->err = err ? err : &ignored;
    archive->ordered = true;
    rc = visit(w, root);
    free(w);
    if (rc == 0 && archive->n_tensors == 0)
        return rnn_fail(err, RNN_EFORMAT, "there are no tensors in it");
    return rc;
}
