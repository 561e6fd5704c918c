/* The tree that PyTorch pickles, as names and tensors.  See torch.h.
 *
 * Nothing is called: a tensor is the record of a call of torch._utils._rebuild_tensor_v2 with a
 * storage, an offset, a shape and strides, all of which are checked here against what the storage
 * holds.  The tree may have circles and shared branches: a branch that leads back to itself is cut,
 * and the steps are counted. */
#include "import/torch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/checked.h"
#include "base/json.h"
#include "base/utf8.h"

enum { DEPTH_MAX = 48, STEPS_MAX = 4000000, VOCAB_MAX = 4000000 };

struct walk {
    struct archive *archive;
    struct torch_store *store;
    const struct pickle_node *above[DEPTH_MAX]; /* from the root to where we are */
    size_t depth, steps;
    char path[ARCHIVE_NAME_MAX + 1];
    size_t len;  /* of the path, with its last dot */
    size_t part; /* of it that leads to the dictionary or module that tensors belong to */
    bool in_module;
    struct rnn_err *err;
};

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

static void leave(struct walk *w, size_t len)
{
    w->len = len;
    w->path[len] = '\0';
}

/* The path without its last dot, as long as the archive lives. */
static const char *path_text(struct walk *w)
{
    return archive_text(w->archive, w->path, w->len ? w->len - 1 : 0, w->err);
}

/* ---- Tensors ---- */

struct view {
    struct pickle_text key;
    const struct archive_type *type;
    size_t offset, numel;
    size_t rank;
    size_t shape[ARCHIVE_RANK_MAX], stride[ARCHIVE_RANK_MAX];
};

static int bad_tensor(struct walk *w, const char *what)
{
    return rnn_fail_at(w->err, RNN_EFORMAT, w->path, -1, "tensor '%.80s': %s", w->path, what);
}

static const struct archive_type *type_of(const struct pickle_node *node)
{
    static const struct {
        const char *name, *type;
    } names[] = {{"FloatStorage", "F32"},
                 {"float32", "F32"},
                 {"HalfStorage", "F16"},
                 {"float16", "F16"},
                 {"float64", "F64"},
                 {"DoubleStorage", "F64"},
                 {"BFloat16Storage", "BF16"},
                 {"bfloat16", "BF16"},
                 {"LongStorage", "I64"},
                 {"int64", "I64"},
                 {"IntStorage", "I32"},
                 {"int32", "I32"},
                 {"ShortStorage", "I16"},
                 {"int16", "I16"},
                 {"CharStorage", "I8"},
                 {"int8", "I8"},
                 {"ByteStorage", "U8"},
                 {"uint8", "U8"},
                 {"BoolStorage", "BOOL"},
                 {"bool", "BOOL"},
                 {"ComplexFloatStorage", "C64"},
                 {"complex64", "C64"},
                 {"ComplexDoubleStorage", "C128"},
                 {"complex128", "C128"},
                 {"UntypedStorage", "U8"},
                 {"_UntypedStorage", "U8"}};

    if (!node || node->kind != PICKLE_GLOBAL)
        return NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].name) == node->global.name.len &&
            memcmp(names[i].name, node->global.name.bytes, node->global.name.len) == 0)
            return archive_type(names[i].type);
    return NULL;
}

static bool to_size(const struct pickle_node *node, size_t *out)
{
    if (!node || node->kind != PICKLE_INT || node->whole < 0)
        return false;
    *out = (size_t)node->whole;
    return true;
}

/* ('storage', type, key, location, number of elements[, view]) */
static int read_storage(struct walk *w, const struct pickle_node *node, struct view *view)
{
    const struct pickle_node *id = node && node->kind == PICKLE_PERSISTENT ? node->id : NULL;
    const struct pickle_node *key, *part;

    if (!id || !pickle_item(id, 4) || !pickle_is_text(pickle_item(id, 0), "storage"))
        return bad_tensor(w, "it does not lie in a storage");
    view->type = type_of(pickle_item(id, 1));
    if (!view->type)
        return bad_tensor(w, "its storage is of no known type");
    key = pickle_item(id, 2);
    if (key->kind != PICKLE_STRING || !to_size(pickle_item(id, 4), &view->numel))
        return bad_tensor(w, "its storage has no name or no size");
    view->key = key->text;
    part = pickle_item(id, 5); /* of the legacy container: a storage inside of another one */
    if (part && part->kind != PICKLE_NONE)
        return bad_tensor(w, "its storage is a view of another one; save it again with PyTorch");
    return 0;
}

static const struct pickle_node *unwrap_size(const struct pickle_node *node)
{
    if (node && node->kind == PICKLE_OBJECT) /* torch.Size((2, 3)) */
        node = pickle_item(node->object.args, 0);
    return node;
}

static int read_shape(struct walk *w, const struct pickle_node *sizes,
                      const struct pickle_node *strides, struct view *view)
{
    sizes = unwrap_size(sizes);
    strides = unwrap_size(strides);
    if (!sizes || !strides || sizes->kind != PICKLE_TUPLE || strides->kind != PICKLE_TUPLE ||
        sizes->n_items != strides->n_items)
        return bad_tensor(w, "it has no shape and strides");
    if (sizes->n_items > ARCHIVE_RANK_MAX)
        return bad_tensor(w, "too many dimensions");
    view->rank = sizes->n_items;
    for (size_t i = 0; i < view->rank; i++)
        if (!to_size(sizes->items[i], &view->shape[i]) ||
            !to_size(strides->items[i], &view->stride[i]))
            return bad_tensor(w, "its shape or strides are no sizes");
    return 0;
}

/* The number of elements, once all of them are known to lie in the storage. */
static int check_view(struct walk *w, const struct view *view, size_t *elements)
{
    size_t last = view->offset;
    bool fits = true;

    *elements = 1;
    for (size_t i = 0; i < view->rank; i++)
        fits = fits && checked_mul(*elements, view->shape[i], elements);
    if (!fits)
        return bad_tensor(w, "its shape overflows");
    if (*elements == 0)
        return 0;
    for (size_t i = 0; i < view->rank; i++) {
        size_t reach;

        fits = fits && checked_mul(view->shape[i] - 1, view->stride[i], &reach) &&
               checked_add(last, reach, &last);
    }
    if (!fits || last >= view->numel)
        return rnn_fail_at(w->err, RNN_ESHAPE, w->path, -1,
                           "tensor '%.80s': offset, shape and strides lead past the %zu numbers of "
                           "its storage",
                           w->path, view->numel);
    return 0;
}

static bool is_contiguous(const struct view *view)
{
    size_t want = 1;

    for (size_t i = view->rank; i-- > 0;) {
        if (view->shape[i] != 1 && view->stride[i] != want)
            return false;
        want *= view->shape[i];
    }
    return true;
}

/* The elements in row-major order; `elements` > 0. */
static void gather(const struct view *view, const unsigned char *from, size_t elements,
                   unsigned char *out)
{
    size_t index[ARCHIVE_RANK_MAX] = {0}, size = view->type->bytes, at = view->offset;

    for (size_t n = 0; n < elements; n++) {
        memcpy(out + n * size, from + at * size, size);
        for (size_t i = view->rank; i-- > 0;) {
            at += view->stride[i];
            if (++index[i] < view->shape[i])
                break;
            at -= view->stride[i] * view->shape[i];
            index[i] = 0;
        }
    }
}

static int fetch(struct walk *w, const struct view *view, size_t elements, const void **out)
{
    const unsigned char *bytes = NULL;
    unsigned char *copy;
    size_t wanted, size;
    int rc;

    if (!checked_mul(view->numel, view->type->bytes, &wanted) ||
        !checked_mul(elements, view->type->bytes, &size))
        return bad_tensor(w, "it is too large");
    if (w->store->big_endian && view->type->bytes > 1)
        return bad_tensor(w, "it was written big-endian; save it again on a little-endian machine");
    rc = w->store->bytes(w->store, view->key, wanted, &bytes, w->err);
    if (rc < 0) {
        rnn_err_prefix(w->err, "tensor '%.80s': ", w->path);
        return rc;
    }
    *out = bytes + (elements ? view->offset * view->type->bytes : 0);
    if (elements == 0 || is_contiguous(view))
        return 0;
    copy = archive_alloc(w->archive, size, w->err);
    if (!copy)
        return w->err ? w->err->code : RNN_ENOMEM;
    gather(view, bytes, elements, copy);
    *out = copy;
    return 0;
}

/* args: storage, offset, size, stride[, requires_grad, hooks[, dtype]] */
static int add_tensor(struct walk *w, const struct pickle_node *args, bool has_type)
{
    struct archive_tensor tensor = {.part = w->part};
    struct view view = {0};
    size_t elements = 0;
    int rc;

    leave(w, w->len ? w->len - 1 : 0);
    rc = read_storage(w, pickle_item(args, 0), &view);
    if (rc == 0 && has_type) { /* an untyped storage: its size is in bytes */
        size_t bytes = view.numel;

        view.type = type_of(pickle_item(args, 6));
        if (!view.type)
            return bad_tensor(w, "it is of no known type");
        view.numel = bytes / view.type->bytes;
    }
    if (rc == 0 && !to_size(pickle_item(args, 1), &view.offset))
        return bad_tensor(w, "it has no offset");
    if (rc == 0)
        rc = read_shape(w, pickle_item(args, 2), pickle_item(args, 3), &view);
    if (rc == 0)
        rc = check_view(w, &view, &elements);
    if (rc == 0)
        rc = fetch(w, &view, elements, &tensor.data);
    if (rc < 0)
        return rc;
    tensor.type = view.type;
    tensor.rank = view.rank;
    memcpy(tensor.shape, view.shape, sizeof tensor.shape);
    tensor.name = archive_text(w->archive, w->path, w->len, w->err);
    return tensor.name ? archive_add(w->archive, &tensor, w->err) : RNN_ENOMEM;
}

/* What stands in for a tensor, opened until its making is reached; NULL: the node is no tensor. */
static const struct pickle_node *tensor_args(const struct pickle_node *node, bool *has_type)
{
    for (int wrapped = 0; node && node->kind == PICKLE_OBJECT && wrapped < 4; wrapped++) {
        const struct pickle_node *callee = node->object.callee, *args = node->object.args;

        if (pickle_is_global(callee, "torch._tensor", "_rebuild_from_type_v2")) {
            callee = pickle_item(args, 0);
            args = pickle_item(args, 2);
        }
        if (!callee || !args)
            return NULL;
        *has_type = pickle_is_global(callee, "torch._utils", "_rebuild_tensor_v3");
        if (*has_type || pickle_is_global(callee, "torch._utils", "_rebuild_tensor_v2") ||
            pickle_is_global(callee, "torch._utils", "_rebuild_tensor"))
            return args;
        if (!pickle_is_global(callee, "torch._utils", "_rebuild_parameter") &&
            !pickle_is_global(callee, "torch._utils", "_rebuild_parameter_with_state") &&
            !pickle_is_global(callee, "torch.nn.parameter", "Parameter") &&
            !pickle_is_global(callee, "torch.nn.parameter", "Buffer") &&
            !pickle_is_global(callee, "torch.autograd.variable", "Variable"))
            return NULL;
        node = pickle_item(args, 0);
    }
    return NULL;
}

/* Tensors of a kind that is not read: said, and passed over. */
static bool is_strange_tensor(const struct pickle_node *node)
{
    static const char *const names[] = {"_rebuild_qtensor", "_rebuild_sparse_tensor",
                                        "_rebuild_nested_tensor", "_rebuild_meta_tensor_no_storage",
                                        NULL};

    for (size_t i = 0; names[i]; i++)
        if (pickle_is_global(node->object.callee, "torch._utils", names[i]))
            return true;
    return false;
}

/* ---- Vocabularies ---- */

static bool is_clean(const struct pickle_node *node)
{
    return node->kind == PICKLE_STRING && utf8_valid(node->text.bytes, node->text.len, NULL) &&
           !memchr(node->text.bytes, '\0', node->text.len);
}

static bool all_text(const struct pickle_node *node, size_t first, size_t step)
{
    for (size_t i = first; i < node->n_items; i += step)
        if (!is_clean(node->items[i]))
            return false;
    return true;
}

static bool all_whole(const struct pickle_node *node, size_t first)
{
    for (size_t i = first; i < node->n_items; i += 2)
        if (node->items[i]->kind != PICKLE_INT || node->items[i]->whole < 0 ||
            node->items[i]->whole > VOCAB_MAX)
            return false;
    return true;
}

static struct cJSON *json_text(const struct pickle_node *node)
{
    char *text = strndup(node->text.bytes, node->text.len);
    struct cJSON *json = text ? cJSON_CreateString(text) : NULL;

    free(text);
    return json;
}

/* One entry of a map: the string's id, as {"string": id}. */
static bool put_pair(struct cJSON *object, const struct pickle_node *text,
                     const struct pickle_node *id)
{
    char *key = strndup(text->text.bytes, text->text.len);
    struct cJSON *number = cJSON_CreateNumber((double)id->whole);
    bool done = key && number && cJSON_AddItemToObject(object, key, number);

    if (!done)
        cJSON_Delete(number);
    free(key);
    return done;
}

static struct cJSON *vocab_json(const struct pickle_node *node)
{
    bool text_first = node->is_map && all_text(node, 0, 2);
    struct cJSON *json = node->is_map ? cJSON_CreateObject() : cJSON_CreateArray();
    bool good = json != NULL;

    for (size_t i = 0; good && i < node->n_items; i += node->is_map ? 2 : 1) {
        struct cJSON *item;

        if (node->is_map) {
            good = put_pair(json, node->items[i + !text_first], node->items[i + text_first]);
            continue;
        }
        item = json_text(node->items[i]);
        good = item && cJSON_AddItemToArray(json, item);
        if (!good)
            cJSON_Delete(item);
    }
    if (good)
        return json;
    cJSON_Delete(json);
    return NULL;
}

static bool looks_like_vocab(const struct pickle_node *node)
{
    if (node->n_items < 2 || node->n_items > VOCAB_MAX)
        return false;
    if (node->is_map)
        return (all_text(node, 0, 2) && all_whole(node, 1)) ||
               (all_whole(node, 0) && all_text(node, 1, 2));
    return (node->kind == PICKLE_LIST || node->kind == PICKLE_TUPLE) && all_text(node, 0, 1);
}

static int add_vocab(struct walk *w, struct cJSON *json)
{
    const char *name = path_text(w);

    if (!json || !name) {
        json_free(json);
        return rnn_fail(w->err, RNN_ENOMEM, "out of memory");
    }
    return archive_add_vocab(w->archive, name, json, w->err);
}

/* A string of all characters, under a name that says so. */
static int visit_text(struct walk *w, const struct pickle_node *node)
{
    static const char *const words[] = {"char", "vocab", "alphabet", "token", "letter", NULL};
    struct cJSON *list;
    bool named = false, good = true;

    for (size_t i = 0; words[i]; i++)
        named = named || strcasestr(w->path, words[i]);
    if (!named || !is_clean(node) || node->text.len < 2 || node->text.len > 1 << 16)
        return 0;
    list = cJSON_CreateArray();
    for (size_t at = 0; list && good && at < node->text.len;) {
        int n = utf8_decode(node->text.bytes + at, node->text.len - at, NULL);
        struct pickle_node one = {.text = {node->text.bytes + at, (size_t)n}};
        struct cJSON *item = json_text(&one);

        good = item && cJSON_AddItemToArray(list, item);
        at += (size_t)n;
    }
    return add_vocab(w, list);
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
    struct archive_module module = {.path = path_text(w),
                                    .class = class_name(w, object->object.callee)};

    if (mode && is_clean(mode)) {
        module.mode = archive_text(w->archive, mode->text.bytes, mode->text.len, w->err);
        if (!module.mode)
            return RNN_ENOMEM;
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

/* All values of a map, each under its key. */
static int visit_values(struct walk *w, const struct pickle_node *map, bool in_module)
{
    size_t len = w->len, part = w->part;
    bool was_in_module = w->in_module;
    int rc = 0;

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
        leave(w, len);
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
        leave(w, len);
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
        leave(w, len);
    }
    return rc;
}

static int visit_object(struct walk *w, const struct pickle_node *object)
{
    const struct pickle_node *state = object->object.state;
    bool has_type = false;
    const struct pickle_node *args = tensor_args(object, &has_type);

    if (args)
        return add_tensor(w, args, has_type);
    if (is_strange_tensor(object)) {
        archive_note(w->archive, "%.*s: a quantised, sparse or nested tensor, not read",
                     (int)(w->len ? w->len - 1 : 0), w->path);
        return 0;
    }
    if (state && state->is_map && pickle_get(state, "_modules"))
        return visit_module(w, object);
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
        return visit_text(w, node);
    case PICKLE_DICT:
    case PICKLE_LIST:
    case PICKLE_TUPLE:
        if (looks_like_vocab(node))
            return add_vocab(w, vocab_json(node));
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
    if (w->depth == DEPTH_MAX)
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
