/* HDF5 through libhdf5, on a short rein.  See hdf5file.h.
 *
 * Each way in is looked at before libhdf5 walks it: a path component by component, because a soft
 * or external link is followed inside of H5Oopen(); a dataset's creation list before its data.
 * libhdf5 prints its error stack by default; here it is silenced, and its innermost sentence
 * becomes a part of ours. */
#include "import/hdf5file.h"

#include <hdf5.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"
#include "import/hdf5guard.h"

enum { MEMBERS_MAX = 20000, TEXTS_MAX = 100000, PATH_MAX_BYTES = 4096 };
#define TEXT_MAX_BYTES ((size_t)1 << 26) /* of all texts in one attribute */

struct hdf5file {
    hid_t id;
};

/* ---- Faults ---- */

static herr_t innermost(unsigned n, const H5E_error2_t *error, void *out)
{
    if (n == 0 && error->desc)
        snprintf(out, 96, "%s", error->desc);
    return 0;
}

/* "PLACE: WHAT (libhdf5's words)" */
static int fail(struct rnn_err *err, const char *path, const char *what)
{
    char words[96] = "";

    (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, words);
    if (!utf8_valid(words, strlen(words), NULL))
        words[0] = '\0';
    return rnn_fail_at(err, RNN_EFORMAT, path, -1, "HDF5: '%.100s': %s%s%s%s", path, what,
                       *words ? " (" : "", words, *words ? ")" : "");
}

static int unsupported(struct rnn_err *err, const char *path, const char *what)
{
    return rnn_fail_at(err, RNN_EUNSUPPORTED, path, -1, "HDF5: '%.100s' %s", path, what);
}

static int no_memory(struct rnn_err *err)
{
    return rnn_fail(err, RNN_ENOMEM, "out of memory");
}

/* ---- The file ---- */

static hid_t open_image(const void *bytes, size_t len)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), id = H5I_INVALID_HID;

    if (access >= 0 && H5Pset_fapl_core(access, 1 << 16, false) >= 0 &&
        H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0 &&
        H5Pset_file_image(access, (void *)(uintptr_t)bytes, len) >= 0) /* copied */
        id = H5Fopen("image", H5F_ACC_RDONLY, access);
    if (access >= 0)
        (void)H5Pclose(access);
    return id;
}

int hdf5file_open(struct hdf5file **out, const void *bytes, size_t len, struct rnn_err *err)
{
    const char *fault = hdf5_guard(bytes, len);
    struct hdf5file *file;

    if (fault)
        return rnn_fail(err, RNN_EFORMAT, "HDF5: %s", fault);
    file = calloc(1, sizeof *file);
    if (!file)
        return no_memory(err);
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    (void)H5PLset_loading_state(0);
    file->id = open_image(bytes, len);
    if (file->id < 0) {
        free(file);
        return fail(err, "/", "the file is cut or damaged");
    }
    *out = file;
    return 0;
}

void hdf5file_close(struct hdf5file *file)
{
    if (!file)
        return;
    (void)H5Fclose(file->id);
    free(file);
}

/* ---- Paths ---- */

/* Whether every part of the path is a hard link; `copy` is changed and restored. */
static bool all_hard(struct hdf5file *file, char *copy)
{
    for (char *at = copy;; at++) {
        char was = *at;
        H5L_info_t info;
        bool hard;

        if (was != '/' && was != '\0')
            continue;
        *at = '\0';
        hard = at == copy || at[-1] == '/' ||
               (H5Lget_info(file->id, copy, &info, H5P_DEFAULT) >= 0 && info.type == H5L_TYPE_HARD);
        *at = was;
        if (!hard || was == '\0')
            return hard;
    }
}

/* H5I_INVALID_HID where it is not there, or not of that kind. */
static hid_t open_object(struct hdf5file *file, const char *path, H5I_type_t kind)
{
    char copy[PATH_MAX_BYTES];
    hid_t id = H5I_INVALID_HID;

    if (strlen(path) >= sizeof copy)
        return id;
    snprintf(copy, sizeof copy, "%s", path);
    if (all_hard(file, copy))
        id = H5Oopen(file->id, *path ? path : "/", H5P_DEFAULT);
    if (id >= 0 && H5Iget_type(id) != kind) {
        (void)H5Oclose(id);
        id = H5I_INVALID_HID;
    }
    return id;
}

bool hdf5file_has_group(struct hdf5file *file, const char *path)
{
    hid_t id = open_object(file, path, H5I_GROUP);

    if (id < 0)
        return false;
    (void)H5Oclose(id);
    return true;
}

/* ---- Texts ---- */

void hdf5_texts_free(struct hdf5_texts *texts)
{
    for (size_t i = 0; i < texts->n; i++)
        free(texts->list[i]);
    free(texts->list);
    *texts = (struct hdf5_texts){0};
}

static int push_text(struct hdf5_texts *out, const char *text, size_t len, struct rnn_err *err)
{
    char **larger;

    if (out->n == TEXTS_MAX)
        return rnn_fail(err, RNN_ELIMIT, "HDF5: more than %d texts in a list", TEXTS_MAX);
    if (!utf8_valid(text, len, NULL))
        return rnn_fail(err, RNN_EFORMAT, "HDF5: a name is no valid UTF-8");
    larger = realloc(out->list, (out->n + 1) * sizeof *larger);
    if (!larger)
        return no_memory(err);
    out->list = larger;
    larger[out->n] = strndup(text, len);
    if (!larger[out->n])
        return no_memory(err);
    out->n++;
    return 0;
}

struct listing {
    struct hdf5_texts *out;
    struct rnn_err *err;
    int rc;
};

static herr_t take_member(hid_t group, const char *name, const H5L_info_t *info, void *data)
{
    struct listing *listing = data;

    (void)group;
    (void)info;
    if (listing->out->n == MEMBERS_MAX)
        listing->rc = rnn_fail(listing->err, RNN_ELIMIT, "HDF5: a group of more than %d members",
                               MEMBERS_MAX);
    else
        listing->rc = push_text(listing->out, name, strlen(name), listing->err);
    return listing->rc < 0 ? 1 : 0;
}

int hdf5file_members(struct hdf5file *file, const char *path, struct hdf5_texts *out,
                     struct rnn_err *err)
{
    struct listing listing = {out, err, 0};
    hid_t id = open_object(file, path, H5I_GROUP);
    herr_t status;

    if (id < 0)
        return fail(err, path, "there is no such group");
    status = H5Literate(id, H5_INDEX_NAME, H5_ITER_INC, NULL, take_member, &listing);
    (void)H5Oclose(id);
    if (listing.rc < 0)
        return listing.rc;
    return status < 0 ? fail(err, path, "its list of members is damaged") : 0;
}

/* n pointers, each to a text that libhdf5 allocates. */
static int read_variable(hid_t attribute, hid_t type, hid_t space, size_t n, const char *path,
                         struct hdf5_texts *out, struct rnn_err *err)
{
    hid_t memory = H5Tcopy(H5T_C_S1);
    char **list = calloc(n, sizeof *list);
    int rc = 0;

    if (!list || memory < 0 || H5Tset_size(memory, H5T_VARIABLE) < 0 ||
        H5Tset_cset(memory, H5Tget_cset(type)) < 0)
        rc = no_memory(err);
    else if (H5Aread(attribute, memory, list) < 0)
        rc = fail(err, path, "an attribute of it is damaged");
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = push_text(out, list[i] ? list[i] : "", list[i] ? strlen(list[i]) : 0, err);
    if (list && memory >= 0)
        (void)H5Dvlen_reclaim(memory, space, H5P_DEFAULT, list);
    if (memory >= 0)
        (void)H5Tclose(memory);
    free(list);
    return rc;
}

static int read_fixed(hid_t attribute, hid_t type, size_t n, const char *path,
                      struct hdf5_texts *out, struct rnn_err *err)
{
    size_t size = H5Tget_size(type), bytes;
    bool blanks = H5Tget_strpad(type) == H5T_STR_SPACEPAD;
    char *text;
    int rc = 0;

    if (size == 0 || !checked_mul(size, n, &bytes) || bytes > TEXT_MAX_BYTES)
        return rnn_fail_at(err, RNN_ELIMIT, path, -1, "HDF5: '%.100s': its attributes are too long",
                           path);
    text = calloc(n, size);
    if (!text)
        return no_memory(err);
    if (H5Aread(attribute, type, text) < 0)
        rc = fail(err, path, "an attribute of it is damaged");
    for (size_t i = 0; i < n && rc == 0; i++) {
        size_t len = strnlen(text + i * size, size);

        while (blanks && len > 0 && text[i * size + len - 1] == ' ')
            len--;
        rc = push_text(out, text + i * size, len, err);
    }
    free(text);
    return rc;
}

/* Bytes of one text in the file: itself, or length, heap and index where it is of variable length.
 */
static size_t stored_size(hid_t type, bool variable)
{
    return variable ? 16 : H5Tget_size(type);
}

static int read_texts(hid_t attribute, const char *path, struct hdf5_texts *out,
                      struct rnn_err *err)
{
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    hssize_t n = space >= 0 ? H5Sget_simple_extent_npoints(space) : -1;
    htri_t variable = type >= 0 ? H5Tis_variable_str(type) : -1;
    int rc;

    if (n < 0 || type < 0)
        rc = fail(err, path, "an attribute of it is damaged");
    else if (n == 0)
        rc = 0; /* an empty list, of whatever type */
    else if (H5Tget_class(type) != H5T_STRING || n > TEXTS_MAX || variable < 0)
        rc = unsupported(err, path, "has an attribute that should be a text, or a list of texts");
    else if (H5Aget_storage_size(attribute) < (hsize_t)n * stored_size(type, variable > 0))
        rc = fail(err, path, "an attribute of it is cut"); /* libhdf5 reads on behind its end */
    else if (variable)
        rc = read_variable(attribute, type, space, (size_t)n, path, out, err);
    else
        rc = read_fixed(attribute, type, (size_t)n, path, out, err);
    if (type >= 0)
        (void)H5Tclose(type);
    if (space >= 0)
        (void)H5Sclose(space);
    return rc;
}

/* Of a group, or of a dataset. */
static hid_t open_any(struct hdf5file *file, const char *path)
{
    hid_t id = open_object(file, path, H5I_GROUP);

    return id >= 0 ? id : open_object(file, path, H5I_DATASET);
}

int hdf5file_attribute(struct hdf5file *file, const char *path, const char *name,
                       struct hdf5_texts *out, bool *found, struct rnn_err *err)
{
    hid_t object = open_any(file, path), attribute;
    htri_t exists = object >= 0 ? H5Aexists(object, name) : -1;
    int rc = 0;

    *found = exists > 0;
    if (object < 0)
        return fail(err, path, "it is not there, or not reached by hard links");
    if (exists < 0)
        rc = fail(err, path, "its list of attributes is damaged");
    if (exists > 0) {
        attribute = H5Aopen(object, name, H5P_DEFAULT);
        rc = attribute < 0 ? fail(err, path, "an attribute of it is damaged")
                           : read_texts(attribute, path, out, err);
        if (attribute >= 0)
            (void)H5Aclose(attribute);
    }
    (void)H5Oclose(object);
    return rc;
}

/* ---- Arrays ---- */

/* IEEE half precision, which libhdf5 has no name for. */
static hid_t half_type(hid_t like)
{
    hid_t type = H5Tcopy(like); /* a single: its byte order */

    if (type >= 0 && (H5Tset_fields(type, 15, 10, 5, 0, 10) < 0 || H5Tset_size(type, 2) < 0 ||
                      H5Tset_ebias(type, 15) < 0)) {
        (void)H5Tclose(type);
        type = H5I_INVALID_HID;
    }
    return type;
}

static bool is_type(hid_t type, hid_t little, hid_t big)
{
    return H5Tequal(type, little) > 0 || H5Tequal(type, big) > 0;
}

/* Two bytes without a meaning, and an attribute that says bfloat16: as Keras 3 writes them. */
static bool is_bfloat16(struct hdf5file *file, const char *path, hid_t type)
{
    struct hdf5_texts texts = {0};
    bool found = false, is = false;

    if (H5Tget_class(type) != H5T_OPAQUE || H5Tget_size(type) != 2)
        return false;
    if (hdf5file_attribute(file, path, "dtype", &texts, &found, NULL) == 0)
        is = found && texts.n == 1 && strcmp(texts.list[0], "bfloat16") == 0;
    hdf5_texts_free(&texts);
    return is;
}

/* Our name for the type, and the type of the copy in memory, which the caller closes; NULL: none
 * that is read. */
static const struct archive_type *type_of(struct hdf5file *file, const char *path, hid_t type,
                                          hid_t *memory)
{
    hid_t little = half_type(H5T_IEEE_F32LE), big = half_type(H5T_IEEE_F32BE);
    const char *name = NULL;

    *memory = H5I_INVALID_HID;
    if (is_type(type, H5T_IEEE_F32LE, H5T_IEEE_F32BE)) {
        name = "F32";
        *memory = H5Tcopy(H5T_IEEE_F32LE);
    } else if (is_type(type, H5T_IEEE_F64LE, H5T_IEEE_F64BE)) {
        name = "F64";
        *memory = H5Tcopy(H5T_IEEE_F64LE);
    } else if (little >= 0 && big >= 0 && is_type(type, little, big)) {
        name = "F16";
        *memory = H5Tcopy(little);
    } else if (is_bfloat16(file, path, type)) {
        name = "BF16";
        *memory = H5Tcopy(type);
    }
    if (little >= 0)
        (void)H5Tclose(little);
    if (big >= 0)
        (void)H5Tclose(big);
    return name && *memory >= 0 ? archive_type(name) : NULL;
}

static int check_filters(hid_t creation, const char *path, struct rnn_err *err)
{
    int n = H5Pget_nfilters(creation);

    for (int i = 0; i < n; i++) {
        char name[64] = "";
        unsigned flags;
        size_t n_values = 0;
        H5Z_filter_t filter =
            H5Pget_filter2(creation, (unsigned)i, &flags, &n_values, NULL, sizeof name, name, NULL);

        name[sizeof name - 1] = '\0';
        if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE &&
            filter != H5Z_FILTER_FLETCHER32)
            return rnn_fail_at(err, RNN_EUNSUPPORTED, path, -1,
                               "HDF5: '%.100s' is packed by filter %d%s%.40s%s; gzip and none are "
                               "read",
                               path, (int)filter, *name ? " (" : "",
                               utf8_valid(name, strlen(name), NULL) ? name : "?", *name ? ")" : "");
    }
    return n < 0 ? fail(err, path, "its list of filters is damaged") : 0;
}

static int check_chunk(hid_t creation, const struct archive *archive, size_t element,
                       const char *path, struct rnn_err *err)
{
    hsize_t sizes[H5S_MAX_RANK];
    int rank = H5Pget_chunk(creation, H5S_MAX_RANK, sizes);
    size_t bytes = element;
    bool fits = rank > 0;

    for (int i = 0; i < rank && fits; i++)
        fits = checked_mul(bytes, (size_t)sizes[i], &bytes);
    if (!fits || (archive->bytes_max && bytes > archive->bytes_max))
        return rnn_fail_at(err, RNN_ELIMIT, path, -1, "HDF5: '%.100s': its chunks are too large",
                           path);
    return 0;
}

/* Where the numbers lie, and how they are packed. */
static int check_storage(hid_t creation, const struct archive *archive, size_t element,
                         const char *path, struct rnn_err *err)
{
    H5D_layout_t layout = H5Pget_layout(creation);
    int n_external;

    if (layout == H5D_VIRTUAL)
        return unsupported(err, path, "is put together of other files, which are not opened");
    n_external = layout == H5D_CONTIGUOUS ? H5Pget_external_count(creation) : 0;
    if (n_external != 0)
        return unsupported(err, path, "lies in another file, which is not opened");
    if (layout == H5D_CHUNKED) {
        int rc = check_filters(creation, path, err);

        return rc < 0 ? rc : check_chunk(creation, archive, element, path, err);
    }
    return layout < 0 ? fail(err, path, "its layout is damaged") : 0;
}

static int read_shape(hid_t dataset, struct archive_tensor *out, const char *path,
                      struct rnn_err *err)
{
    hsize_t sizes[H5S_MAX_RANK];
    hid_t space = H5Dget_space(dataset);
    int rank = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1;

    if (rank > ARCHIVE_RANK_MAX) {
        (void)H5Sclose(space);
        return unsupported(err, path, "has more than 8 dimensions");
    }
    if (rank < 0 || H5Sget_simple_extent_dims(space, sizes, NULL) < 0 ||
        H5Sget_simple_extent_type(space) == H5S_NULL)
        rank = -1;
    if (space >= 0)
        (void)H5Sclose(space);
    if (rank < 0)
        return fail(err, path, "its shape is damaged");
    out->rank = (size_t)rank;
    for (int i = 0; i < rank; i++)
        out->shape[i] = (size_t)sizes[i];
    return 0;
}

static int read_numbers(hid_t dataset, hid_t memory, struct archive *archive,
                        struct archive_tensor *out, const char *path, struct rnn_err *err)
{
    size_t bytes = out->type->bytes;
    unsigned char *data;
    bool fits = true;

    out->elements = 1;
    for (size_t i = 0; i < out->rank; i++)
        fits = fits && checked_mul(out->elements, out->shape[i], &out->elements);
    if (!fits || !checked_mul(bytes, out->elements, &bytes))
        return rnn_fail_at(err, RNN_EFORMAT, path, -1, "HDF5: '%.100s': its shape overflows", path);
    data = archive_alloc(archive, bytes, err);
    if (!data)
        return err ? err->code : RNN_ENOMEM;
    memset(data, 0, bytes); /* a dataset may leave holes */
    if (bytes > 0 && H5Dread(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        return fail(err, path, "its numbers are damaged");
    out->data = data;
    out->name = archive_text(archive, path, strlen(path), err);
    return out->name ? 0 : RNN_ENOMEM;
}

static int read_dataset(struct hdf5file *file, hid_t dataset, const char *path,
                        struct archive *archive, struct archive_tensor *out, struct rnn_err *err)
{
    hid_t creation = H5Dget_create_plist(dataset), type, memory = H5I_INVALID_HID;
    int rc = creation < 0 ? fail(err, path, "its layout is damaged")
                          : check_storage(creation, archive, 8, path, err);

    if (creation >= 0)
        (void)H5Pclose(creation);
    if (rc < 0)
        return rc;
    type = H5Dget_type(dataset);
    out->type = type >= 0 ? type_of(file, path, type, &memory) : NULL;
    if (!out->type)
        rc = unsupported(err, path, "is no array of floats of 16, 32 or 64 bits");
    if (rc == 0)
        rc = read_shape(dataset, out, path, err);
    if (rc == 0)
        rc = read_numbers(dataset, memory, archive, out, path, err);
    if (memory >= 0)
        (void)H5Tclose(memory);
    if (type >= 0)
        (void)H5Tclose(type);
    return rc;
}

int hdf5file_read(struct hdf5file *file, const char *path, struct archive *archive,
                  struct archive_tensor *out, struct rnn_err *err)
{
    hid_t dataset = open_object(file, path, H5I_DATASET);
    int rc;

    *out = (struct archive_tensor){0};
    if (dataset < 0)
        return fail(err, path, "there is no such array, or it is not reached by hard links");
    rc = read_dataset(file, dataset, path, archive, out, err);
    (void)H5Oclose(dataset);
    return rc;
}
