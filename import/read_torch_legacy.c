/* PyTorch's files before 1.6: five pickles one behind the other, then the storages.
 *
 *     magic number │ protocol 1001 │ sizes of types │ the object │ [keys] │ per key: u64 n, n
 * numbers
 *
 * How long a number of a storage is stands in the object only, so the object's storages are listed
 * before the raw part is cut up. */
#include <stdlib.h>
#include <string.h>

#include "import/reader.h"
#include "import/torch.h"

/* 0x1950a86a20f9469cfc6c as LONG1, behind PROTO 2. */
static const unsigned char magic[] = {0x80, 2,    0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                      0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};

struct legacy_store {
    struct torch_store store; /* first: a pointer to it is one to all */
    struct archive *archive;
    const unsigned char *raw; /* behind the pickles */
    size_t raw_len;
    const struct pickle_node *keys;
    struct {
        struct pickle_text key;
        const unsigned char *bytes;
        size_t len;
    } * storages; /* [n], as far as they could be cut */
    size_t n;
};

static bool probe(const struct input *input)
{
    return !input->zip && input->head_len >= sizeof magic &&
           memcmp(input->head, magic, sizeof magic) == 0;
}

static bool same(struct pickle_text a, struct pickle_text b)
{
    return a.len == b.len && memcmp(a.bytes, b.bytes, a.len) == 0;
}

static int storage_bytes(struct torch_store *store, struct pickle_text key, size_t wanted,
                         const unsigned char **out, struct rnn_err *err)
{
    struct legacy_store *legacy = (struct legacy_store *)store;

    for (size_t i = 0; i < legacy->n; i++)
        if (same(legacy->storages[i].key, key)) {
            if (legacy->storages[i].len < wanted)
                return rnn_fail(err, RNN_ESHAPE, "its storage has %zu bytes, %zu are wanted",
                                legacy->storages[i].len, wanted);
            *out = legacy->storages[i].bytes;
            return 0;
        }
    return rnn_fail(err, RNN_EFORMAT, "its storage is not in the file");
}

/* ---- Sizes ---- */

static size_t element_size(const struct pickle_node *type)
{
    static const struct {
        const char *name;
        size_t bytes;
    } sizes[] = {{"DoubleStorage", 8},   {"FloatStorage", 4},        {"HalfStorage", 2},
                 {"LongStorage", 8},     {"IntStorage", 4},          {"ShortStorage", 2},
                 {"CharStorage", 1},     {"ByteStorage", 1},         {"BoolStorage", 1},
                 {"BFloat16Storage", 2}, {"ComplexFloatStorage", 8}, {"ComplexDoubleStorage", 16}};

    for (size_t i = 0; type && type->kind == PICKLE_GLOBAL && i < sizeof sizes / sizeof *sizes; i++)
        if (same(type->global.name, (struct pickle_text){sizes[i].name, strlen(sizes[i].name)}))
            return sizes[i].bytes;
    return 0;
}

/* A storage that the object speaks of: its key, and the bytes of one number. */
struct storage_size {
    struct pickle_text key;
    size_t bytes;
};

struct size_list {
    struct storage_size *entries; /* [n], by key; several of one key say the same, or are lies */
    size_t n;
};

enum { STORAGES_MAX = ARCHIVE_TENSORS_MAX };

static int by_key(const void *a, const void *b)
{
    const struct storage_size *left = a, *right = b;

    if (left->key.len != right->key.len)
        return left->key.len < right->key.len ? -1 : 1;
    return memcmp(left->key.bytes, right->key.bytes, left->key.len);
}

static int list_sizes(struct size_list *list, const struct pickle *pickle, struct rnn_err *err)
{
    size_t n = pickle_n_ids(pickle);

    *list = (struct size_list){.entries = calloc(n + 1, sizeof *list->entries)};
    if (!list->entries)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        const struct pickle_node *id = pickle_id(pickle, i), *key = pickle_item(id, 2);

        if (key && key->kind == PICKLE_STRING && pickle_is_text(pickle_item(id, 0), "storage"))
            list->entries[list->n++] =
                (struct storage_size){key->text, element_size(pickle_item(id, 1))};
    }
    qsort(list->entries, list->n, sizeof *list->entries, by_key);
    return 0;
}

/* ---- The raw part ---- */

static size_t size_of_key(const struct size_list *list, struct pickle_text key)
{
    const struct storage_size wanted = {key, 0};
    const struct storage_size *found =
        bsearch(&wanted, list->entries, list->n, sizeof wanted, by_key);

    return found ? found->bytes : 0;
}

static uint64_t read_u64(const unsigned char *at)
{
    uint64_t value = 0;

    for (int i = 7; i >= 0; i--)
        value = value << 8 | at[i];
    return value;
}

static int cut_one(struct legacy_store *legacy, const struct size_list *list,
                   const struct pickle_node *key, size_t *at, struct rnn_err *err)
{
    size_t size = key->kind == PICKLE_STRING ? size_of_key(list, key->text) : 0;
    size_t left = legacy->raw_len - *at;
    uint64_t n;

    if (size == 0)
        return rnn_fail(err, RNN_EFORMAT, "a storage in the list of keys is of no known type");
    n = left >= 8 ? read_u64(legacy->raw + *at) : 0;
    if (left < 8 || n > (left - 8) / size)
        return rnn_fail_at(err, RNN_EFORMAT, NULL, (int64_t)*at,
                           "storage %zu of %u is cut: the file ends before it", legacy->n,
                           legacy->keys->n_items);
    legacy->storages[legacy->n].key = key->text;
    legacy->storages[legacy->n].bytes = legacy->raw + *at + 8;
    legacy->storages[legacy->n++].len = (size_t)n * size;
    *at += 8 + (size_t)n * size;
    return 0;
}

static int cut_up(struct legacy_store *legacy, const struct pickle *object, struct rnn_err *err)
{
    struct size_list list = {0};
    size_t at = 0;
    int rc = 0;

    if (legacy->keys->kind != PICKLE_LIST)
        return rnn_fail(err, RNN_EFORMAT, "the list of storages is missing");
    if (legacy->keys->n_items > STORAGES_MAX)
        return rnn_fail(err, RNN_ELIMIT, "more than %d storages", STORAGES_MAX);
    legacy->storages = calloc((size_t)legacy->keys->n_items + 1, sizeof *legacy->storages);
    if (!legacy->storages)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = list_sizes(&list, object, err);
    for (size_t i = 0; i < legacy->keys->n_items && rc == 0; i++)
        rc = cut_one(legacy, &list, legacy->keys->items[i], &at, err);
    free(list.entries);
    return rc;
}

/* ---- The five pickles ---- */

enum { MAGIC, PROTOCOL, SYSTEM, OBJECT, KEYS, PICKLES };

static int check_system(struct legacy_store *legacy, struct pickle *const *pickles,
                        struct rnn_err *err)
{
    const struct pickle_node *version = pickle_root(pickles[PROTOCOL]);
    const struct pickle_node *little = pickle_get(pickle_root(pickles[SYSTEM]), "little_endian");

    if (version->kind != PICKLE_INT || version->whole != 1001)
        return rnn_fail(err, RNN_EUNSUPPORTED, "PyTorch's container is not of version 1001");
    legacy->store.big_endian = little && little->kind == PICKLE_BOOL && !little->truth;
    return 0;
}

static int read_pickles(struct legacy_store *legacy, const struct input *input,
                        struct pickle **pickles, struct rnn_err *err)
{
    size_t at = 0;
    int rc = 0;

    for (size_t i = 0; i < PICKLES && rc == 0; i++) {
        size_t used = 0;

        rc = pickle_read(&pickles[i], input->bytes + at, input->len - at, &used, err);
        at += used;
        if (rc < 0)
            rnn_err_prefix(err, "pickle %zu of %d: ", i + 1, PICKLES);
    }
    if (rc == 0)
        rc = check_system(legacy, pickles, err);
    if (rc < 0)
        return rc;
    legacy->raw = (const unsigned char *)input->bytes + at;
    legacy->raw_len = input->len - at;
    legacy->keys = pickle_root(pickles[KEYS]);
    return 0;
}

static int read_legacy(struct archive *archive, struct input *input, struct rnn_err *err)
{
    struct legacy_store legacy = {.store = {.bytes = storage_bytes}, .archive = archive};
    struct pickle *pickles[PICKLES] = {0};
    int rc = input_load(input, err);

    archive->format = "PyTorch (before 1.6)";
    if (rc == 0)
        rc = read_pickles(&legacy, input, pickles, err);
    if (rc == 0)
        rc = cut_up(&legacy, pickles[OBJECT], err);
    if (rc == 0)
        rc = torch_walk(archive, &legacy.store, pickle_root(pickles[OBJECT]), err);
    for (size_t i = 0; i < PICKLES; i++)
        pickle_free(pickles[i]);
    free(legacy.storages);
    return rc;
}

const struct reader reader_torch_legacy = {"PyTorch", probe, read_legacy};
