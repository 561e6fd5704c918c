/* Tensors of a pickle: views of storages, with offsets and strides.  See torch_inner.h.
 *
 * Nothing is called: a tensor is the record of a call of torch._utils._rebuild_tensor_v2 with a
 * storage, an offset, a shape and strides, all of which are checked here against what the storage
 * holds. */
#include <string.h>

#include "base/checked.h"
#include "import/torch_inner.h"

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

int walk_add_tensor(struct walk *w, const struct pickle_node *args, bool has_type)
{
    struct archive_tensor tensor = {.part = w->part};
    struct view view = {0};
    size_t elements = 0;
    int rc;

    walk_leave(w, w->len ? w->len - 1 : 0);
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

const struct pickle_node *walk_tensor(const struct pickle_node *node, bool *has_type)
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

bool walk_is_strange(const struct pickle_node *node)
{
    static const char *const names[] = {"_rebuild_qtensor", "_rebuild_sparse_tensor",
                                        "_rebuild_nested_tensor", "_rebuild_meta_tensor_no_storage",
                                        NULL};

    for (size_t i = 0; names[i]; i++)
        if (pickle_is_global(node->object.callee, "torch._utils", names[i]))
            return true;
    return false;
}
