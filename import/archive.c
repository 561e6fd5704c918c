/* The common form between readers and the making of a model.  See archive.h.
 *
 * Memory is a list of blobs that go all at once.  Names are compared one by one: a file of a
 * hundred thousand tensors is no model, and one of a thousand is quick. */
#include "import/archive.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/json.h"
#include "base/utf8.h"

struct archive_blob {
    struct archive_blob *next;
    max_align_t bytes[];
};

static const struct archive_type types[] = {
    {"F32", 4, true, RNN_F32},       {"F16", 2, true, RNN_F16},      {"BF16", 2, true, RNN_BF16},
    {"F64", 8, true, RNN_F64},       {.name = "BOOL", .bytes = 1},   {.name = "U8", .bytes = 1},
    {.name = "I8", .bytes = 1},      {.name = "I16", .bytes = 2},    {.name = "U16", .bytes = 2},
    {.name = "I32", .bytes = 4},     {.name = "U32", .bytes = 4},    {.name = "I64", .bytes = 8},
    {.name = "U64", .bytes = 8},     {.name = "C64", .bytes = 8},    {.name = "C128", .bytes = 16},
    {.name = "F8_E5M2", .bytes = 1}, {.name = "F8_E4M3", .bytes = 1}};

const struct archive_type *archive_type(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

/* ---- Memory ---- */

void archive_deinit(struct archive *archive)
{
    while (archive->blobs) {
        struct archive_blob *next = archive->blobs->next;

        free(archive->blobs);
        archive->blobs = next;
    }
    for (size_t i = 0; i < archive->n_vocabs; i++)
        json_free(archive->vocabs[i].json);
    for (size_t i = 0; i < archive->n_notes; i++)
        free(archive->notes[i]);
    json_free(archive->config);
    free(archive->tensors);
    free(archive->modules);
    free(archive->cells);
    free(archive->vocabs);
    free(archive->notes);
    *archive = (struct archive){0};
}

void *archive_alloc(struct archive *archive, size_t bytes, struct rnn_err *err)
{
    struct archive_blob *blob;
    size_t total, size;

    if (!checked_add(archive->bytes, bytes, &total) || !checked_add(sizeof *blob, bytes, &size) ||
        (archive->bytes_max && total > archive->bytes_max)) {
        (void)rnn_fail(err, RNN_ELIMIT, "the file unfolds into more than %zu bytes",
                       archive->bytes_max);
        return NULL;
    }
    blob = malloc(size);
    if (!blob) {
        (void)rnn_fail(err, RNN_ENOMEM, "out of memory for %zu bytes", bytes);
        return NULL;
    }
    blob->next = archive->blobs;
    archive->blobs = blob;
    archive->bytes = total;
    return blob->bytes;
}

const char *archive_text(struct archive *archive, const char *text, size_t len, struct rnn_err *err)
{
    char *copy = archive_alloc(archive, len + 1, err);

    if (copy) {
        memcpy(copy, text, len);
        copy[len] = '\0';
    }
    return copy;
}

/* Room for one more entry in a list; false: out of memory. */
static bool grow(void **list, size_t n, size_t *cap, size_t entry)
{
    size_t larger = *cap ? *cap * 2 : 16;
    void *moved;

    if (n < *cap)
        return true;
    moved = realloc(*list, larger * entry);
    if (!moved)
        return false;
    *list = moved;
    *cap = larger;
    return true;
}

/* ---- Entries ---- */

static int check_tensor(const struct archive *archive, struct archive_tensor *tensor,
                        struct rnn_err *err)
{
    const char *name = tensor->name;
    size_t bytes;

    if (strlen(name) > ARCHIVE_NAME_MAX || !utf8_valid(name, strlen(name), NULL))
        return rnn_fail(err, RNN_EFORMAT, "a tensor's name is too long, or no valid UTF-8");
    if (tensor->rank > ARCHIVE_RANK_MAX)
        return rnn_fail_at(err, RNN_EFORMAT, name, -1, "tensor '%.80s': rank %zu, at most %d", name,
                           tensor->rank, ARCHIVE_RANK_MAX);
    tensor->elements = 1;
    for (size_t i = 0; i < tensor->rank; i++)
        if (!checked_mul(tensor->elements, tensor->shape[i], &tensor->elements))
            tensor->elements = SIZE_MAX;
    if (!checked_mul(tensor->elements, tensor->type->bytes, &bytes))
        return rnn_fail_at(err, RNN_EFORMAT, name, -1, "tensor '%.80s': its shape overflows", name);
    if (archive->n_tensors == ARCHIVE_TENSORS_MAX)
        return rnn_fail(err, RNN_ELIMIT, "more than %d tensors", ARCHIVE_TENSORS_MAX);
    return 0;
}

int archive_add(struct archive *archive, const struct archive_tensor *tensor, struct rnn_err *err)
{
    struct archive_tensor copy = *tensor;
    int rc = check_tensor(archive, &copy, err);

    if (rc < 0)
        return rc;
    if (archive_find(archive, copy.name))
        return rnn_fail_at(err, RNN_EFORMAT, copy.name, -1, "tensor '%.80s' is there twice",
                           copy.name);
    if (!grow((void **)&archive->tensors, archive->n_tensors, &archive->tensors_cap, sizeof copy))
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    if (!copy.made)
        copy.order = archive->n_tensors;
    archive->tensors[archive->n_tensors++] = copy;
    return 0;
}

int archive_add_module(struct archive *archive, const struct archive_module *module,
                       struct rnn_err *err)
{
    if (archive->n_modules == ARCHIVE_TENSORS_MAX)
        return rnn_fail(err, RNN_ELIMIT, "more than %d modules", ARCHIVE_TENSORS_MAX);
    if (!grow((void **)&archive->modules, archive->n_modules, &archive->modules_cap,
              sizeof *module))
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    archive->modules[archive->n_modules++] = *module;
    return 0;
}

int archive_add_cell(struct archive *archive, const struct archive_cell *cell, struct rnn_err *err)
{
    if (!grow((void **)&archive->cells, archive->n_cells, &archive->cells_cap, sizeof *cell))
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    archive->cells[archive->n_cells++] = *cell;
    return 0;
}

int archive_add_vocab(struct archive *archive, const char *name, struct cJSON *json,
                      struct rnn_err *err)
{
    if (!grow((void **)&archive->vocabs, archive->n_vocabs, &archive->vocabs_cap,
              sizeof *archive->vocabs)) {
        json_free(json);
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    archive->vocabs[archive->n_vocabs++] =
        (struct archive_vocab){name, json, (size_t)cJSON_GetArraySize(json)};
    return 0;
}

struct archive_tensor *archive_find(const struct archive *archive, const char *name)
{
    for (size_t i = 0; i < archive->n_tensors; i++)
        if (strcmp(archive->tensors[i].name, name) == 0)
            return &archive->tensors[i];
    return NULL;
}

const struct archive_module *archive_module(const struct archive *archive, const char *path)
{
    for (size_t i = archive->n_modules; i-- > 0;)
        if (strcmp(archive->modules[i].path, path) == 0)
            return &archive->modules[i];
    return NULL;
}

size_t archive_count(const struct archive *archive)
{
    size_t n = 0;

    for (size_t i = 0; i < archive->n_tensors; i++)
        n += !archive->tensors[i].made;
    return n;
}

void archive_note(struct archive *archive, const char *format, ...)
{
    va_list list;
    char *text;
    char **notes;
    int len;

    if (archive->n_notes == ARCHIVE_NOTES_MAX)
        return;
    va_start(list, format);
    len = vasprintf(&text, format, list);
    va_end(list);
    if (len < 0)
        return;
    notes = realloc(archive->notes, (archive->n_notes + 1) * sizeof *notes);
    if (!notes) {
        free(text);
        return;
    }
    archive->notes = notes;
    notes[archive->n_notes++] = text;
}

/* ---- Numbers ---- */

/* IEEE half precision; every value is exact in a double. */
static double from_f16(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits >> 15) << 31, exponent = bits >> 10 & 31;
    uint32_t fraction = bits & 0x3FF, word;
    float value;

    if (exponent == 0)
        return (bits >> 15 ? -1.0 : 1.0) * (double)fraction / 16777216.0; /* 2^-24 */
    word = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
    memcpy(&value, &word, sizeof value);
    return (double)value;
}

double archive_number(const struct archive_tensor *tensor, size_t i)
{
    const unsigned char *at = (const unsigned char *)tensor->data + i * tensor->type->bytes;
    uint32_t word;
    uint16_t half;
    float single;
    double value;

    switch (tensor->type->dtype) {
    case RNN_F64:
        memcpy(&value, at, sizeof value);
        return value;
    case RNN_F16:
        memcpy(&half, at, sizeof half);
        return from_f16(half);
    case RNN_BF16:
        memcpy(&half, at, sizeof half);
        word = (uint32_t)half << 16;
        memcpy(&single, &word, sizeof single);
        return (double)single;
    default:
        memcpy(&single, at, sizeof single);
        return (double)single;
    }
}

bool archive_same(const struct archive_tensor *a, const struct archive_tensor *b)
{
    return a->type == b->type && a->rank == b->rank && a->elements == b->elements &&
           memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) == 0 &&
           (a->data == b->data || memcmp(a->data, b->data, a->elements * a->type->bytes) == 0);
}

void archive_shape_text(char *text, size_t size, const struct archive_tensor *tensor)
{
    size_t used = 0;

    snprintf(text, size, "()");
    for (size_t i = 0; i < tensor->rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%zu", i ? "x" : "", tensor->shape[i]);
}
