/* NumPy's .npy (one array) and .npz (a zip file of them, stored or deflated).
 *
 *     "\x93NUMPY" │ version │ u16 or u32 length │ {'descr': '<f4', 'fortran_order': False, 'shape':
 * (3, 4), } │ data
 *
 * The header is a Python literal of exactly three keys, read here by hand.  Arrays of objects are
 * pickles and refused; so are big-endian numbers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "import/reader.h"

enum { HEADER_MAX = 1 << 16 };

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);

    return n >= k && strcmp(text + n - k, end) == 0;
}

static bool probe(const struct input *input)
{
    if (input->zip) {
        for (size_t i = 0; i < zipfile_count(input->zip); i++)
            if (!ends_with(zipfile_name(input->zip, i), ".npy"))
                return false;
        return zipfile_count(input->zip) > 0;
    }
    return input->head_len >= 6 && memcmp(input->head, "\x93NUMPY", 6) == 0;
}

/* ---- The header ---- */

struct header {
    const struct archive_type *type;
    bool fortran;
    size_t rank, shape[ARCHIVE_RANK_MAX];
};

static int bad(struct rnn_err *err, const char *name, const char *what)
{
    return rnn_fail_at(err, RNN_EFORMAT, name, -1, "array '%.80s': %s", name, what);
}

/* What stands behind 'KEY': in the header, blanks passed over; NULL: no such key. */
static const char *value_of(const char *header, const char *key)
{
    const char *at = strstr(header, key);

    if (!at)
        return NULL;
    at += strlen(key);
    at += strspn(at, " :");
    return at;
}

static int read_type(const char *header, const char *name, struct header *out, struct rnn_err *err)
{
    static const struct {
        const char *descr, *type;
    } types[] = {{"<f4", "F32"}, {"<f8", "F64"},  {"<f2", "F16"}, {"<i8", "I64"},  {"<i4", "I32"},
                 {"<i2", "I16"}, {"|i1", "I8"},   {"|u1", "U8"},  {"<u2", "U16"},  {"<u4", "U32"},
                 {"<u8", "U64"}, {"|b1", "BOOL"}, {"<c8", "C64"}, {"<c16", "C128"}};
    const char *value = value_of(header, "'descr'");
    size_t len;

    if (!value || *value != '\'')
        return bad(err, name, "its header has no 'descr'");
    len = strcspn(++value, "'");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strlen(types[i].descr) == len && memcmp(types[i].descr, value, len) == 0) {
            out->type = archive_type(types[i].type);
            return 0;
        }
    if (*value == '|' && value[1] == 'O')
        return rnn_fail_at(err, RNN_EUNSUPPORTED, name, -1,
                           "array '%.80s' holds Python objects, which are not unpickled", name);
    return rnn_fail_at(err, RNN_EUNSUPPORTED, name, -1, "array '%.80s' is of type '%.*s'", name,
                       (int)(len < 16 ? len : 16), value);
}

static int read_shape(const char *header, const char *name, struct header *out, struct rnn_err *err)
{
    const char *at = value_of(header, "'shape'");

    if (!at || *at++ != '(')
        return bad(err, name, "its header has no 'shape'");
    for (at += strspn(at, " "); *at != ')';) {
        size_t size = 0, digits = strspn(at, "0123456789");

        if (digits == 0 || digits > 15 || out->rank == ARCHIVE_RANK_MAX)
            return bad(err, name, "its 'shape' is no tuple of at most 8 sizes");
        for (size_t i = 0; i < digits; i++)
            size = size * 10 + (size_t)(at[i] - '0');
        out->shape[out->rank++] = size;
        at += digits;
        at += strspn(at, " L,"); /* Python 2 writes 3L */
    }
    return 0;
}

static int read_header(const char *text, const char *name, struct header *out, struct rnn_err *err)
{
    const char *order = value_of(text, "'fortran_order'");
    int rc = read_type(text, name, out, err);

    if (rc == 0)
        rc = read_shape(text, name, out, err);
    if (rc < 0)
        return rc;
    if (!order || (strncmp(order, "True", 4) != 0 && strncmp(order, "False", 5) != 0))
        return bad(err, name, "its header has no 'fortran_order'");
    out->fortran = *order == 'T';
    return 0;
}

/* The header's place and length; its copy ends with a NUL. */
static int find_header(const unsigned char *bytes, size_t len, const char *name, char **out,
                       size_t *data_at, struct rnn_err *err)
{
    size_t at, size;

    if (len < 12 || memcmp(bytes, "\x93NUMPY", 6) != 0 || bytes[6] < 1 || bytes[6] > 3)
        return bad(err, name, "no NumPy array of version 1 to 3");
    at = bytes[6] == 1 ? 10 : 12;
    size = bytes[8] | (size_t)bytes[9] << 8;
    if (bytes[6] > 1)
        size |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (size > HEADER_MAX || size > len - at)
        return bad(err, name, "its header is cut");
    *out = strndup((const char *)bytes + at, size);
    *data_at = at + size;
    return *out ? 0 : rnn_fail(err, RNN_ENOMEM, "out of memory");
}

/* ---- Arrays ---- */

/* Column-major into row-major. */
static void reorder(const struct header *h, const unsigned char *from, size_t elements,
                    unsigned char *to)
{
    size_t index[ARCHIVE_RANK_MAX] = {0}, stride[ARCHIVE_RANK_MAX], at = 0, step = 1;
    size_t size = h->type->bytes;

    for (size_t i = 0; i < h->rank; i++) {
        stride[i] = step;
        step *= h->shape[i];
    }
    for (size_t n = 0; n < elements; n++) {
        memcpy(to + n * size, from + at * size, size);
        for (size_t i = h->rank; i-- > 0;) {
            at += stride[i];
            if (++index[i] < h->shape[i])
                break;
            at -= stride[i] * h->shape[i];
            index[i] = 0;
        }
    }
}

static int add_array(struct archive *archive, const struct header *h, const unsigned char *data,
                     size_t len, const char *name, struct rnn_err *err)
{
    struct archive_tensor tensor = {.type = h->type, .rank = h->rank, .data = data};
    size_t elements = 1, bytes = 0;
    bool fits = true;

    for (size_t i = 0; i < h->rank; i++)
        fits = fits && checked_mul(elements, h->shape[i], &elements);
    if (!fits || !checked_mul(elements, h->type->bytes, &bytes) || bytes != len)
        return bad(err, name, "its shape does not fit its bytes");
    memcpy(tensor.shape, h->shape, sizeof tensor.shape);
    if (h->fortran && h->rank > 1 && elements > 0) {
        unsigned char *copy = archive_alloc(archive, bytes, err);

        if (!copy)
            return err ? err->code : RNN_ENOMEM;
        reorder(h, data, elements, copy);
        tensor.data = copy;
        archive_note(archive, "'%s': column-major, turned round", name);
    }
    tensor.name = archive_text(archive, name, strlen(name), err);
    return tensor.name ? archive_add(archive, &tensor, err) : RNN_ENOMEM;
}

static int read_array(struct archive *archive, const char *bytes, size_t len, const char *name,
                      struct rnn_err *err)
{
    struct header header = {0};
    char *text = NULL;
    size_t at = 0;
    int rc = find_header((const unsigned char *)bytes, len, name, &text, &at, err);

    if (rc == 0)
        rc = read_header(text, name, &header, err);
    free(text);
    return rc < 0 ? rc
                  : add_array(archive, &header, (const unsigned char *)bytes + at, len - at, name,
                              err);
}

static int read_entry(struct archive *archive, struct input *input, size_t index,
                      struct rnn_err *err)
{
    const char *entry = zipfile_name(input->zip, index), *bytes;
    size_t len;
    char *name;
    int rc = input_entry(input, archive, index, &bytes, &len, err);

    if (rc < 0)
        return rc;
    name = strndup(entry, strlen(entry) - strlen(".npy"));
    if (!name)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = read_array(archive, bytes, len, name, err);
    free(name);
    return rc;
}

static int read_numpy(struct archive *archive, struct input *input, struct rnn_err *err)
{
    int rc = 0;

    archive->format = input->zip ? "NumPy (.npz)" : "NumPy (.npy)";
    archive->ordered = true;
    if (!input->zip) {
        rc = input_load(input, err);
        return rc < 0 ? rc : read_array(archive, input->bytes, input->len, "array", err);
    }
    for (size_t i = 0; i < zipfile_count(input->zip) && rc == 0; i++)
        rc = read_entry(archive, input, i, err);
    return rc;
}

const struct reader reader_numpy = {"NumPy", probe, read_numpy};
