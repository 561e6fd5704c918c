/* The index of a TensorFlow checkpoint: blocks, keys with shared beginnings, protobuf messages.
 *
 * Checksums stand in a fuzzer's way, so the first byte chooses: odd, the rest is a whole index;
 * even, it is the content of one block, around which a sound index is put. */
#include "fuzz.h"
#include "import/bundle.h"
#include "import/table.h"

enum { ROOM = 128 };

static size_t put_varint(uint8_t *to, uint64_t value)
{
    size_t n = 0;

    for (; value > 127; value >>= 7)
        to[n++] = (uint8_t)(value | 128);
    to[n++] = (uint8_t)value;
    return n;
}

/* Behind the `size` bytes of a block that begins at `block`: its packing and its checksum. */
static size_t put_tail(uint8_t *block, size_t size)
{
    uint32_t checksum;

    block[size] = 0;
    checksum = table_checksum(block, size + 1);
    for (int i = 0; i < 4; i++)
        block[size + 1 + (size_t)i] = (uint8_t)(checksum >> 8 * i);
    return size + 5;
}

/* The index block's one entry: no shared bytes, a key of one byte, the first block's handle. */
static size_t put_index(uint8_t *to, size_t block)
{
    uint8_t handle[20];
    size_t n = 0, len;

    handle[0] = 0;
    len = 1 + put_varint(handle + 1, block);
    to[n++] = 0;
    to[n++] = 1;
    to[n++] = (uint8_t)len;
    to[n++] = 'k';
    memcpy(to + n, handle, len);
    n += len;
    memcpy(to + n, "\0\0\0\0\1\0\0\0", 8); /* one restart point */
    return n + 8;
}

static uint8_t *wrap(const uint8_t *data, size_t size, size_t *len)
{
    uint8_t *all = calloc(1, size + ROOM), *at;
    size_t index, places = 0;

    HOLDS(all != NULL);
    memcpy(all, data, size);
    at = all + put_tail(all, size);
    index = put_index(at, size);
    *len = (size_t)(at - all) + put_tail(at, index);
    places += put_varint(all + *len, 0); /* the meta-index is not looked at */
    places += put_varint(all + *len + places, 0);
    places += put_varint(all + *len + places, (uint64_t)(at - all));
    places += put_varint(all + *len + places, index);
    HOLDS(places <= 40);
    *len += 40;
    memcpy(all + *len, "\x57\xfb\x80\x8b\x24\x75\x47\xdb", 8);
    *len += 8;
    return all;
}

static void try(const uint8_t *data, size_t size)
{
    struct bundle bundle;
    struct rnn_err err = {0};
    int rc = bundle_read(&bundle, data, size, &err);

    HOLDS(bundle.n <= TABLE_ENTRIES_MAX);
    for (size_t i = 0; i < bundle.n; i++) {
        HOLDS(strlen(bundle.entries[i].name) <= TABLE_KEY_MAX);
        HOLDS(bundle.entries[i].rank <= ARCHIVE_RANK_MAX);
        HOLDS(rc < 0 || bundle.entries[i].shard < bundle.n_shards);
    }
    if (rc < 0)
        check_failure(rc, &err);
    bundle_free(&bundle);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *all;
    size_t len;

    if (size == 0)
        return 0;
    if (data[0] & 1) {
        try(data + 1, size - 1);
        return 0;
    }
    all = wrap(data + 1, size - 1, &len);
    try(all, len);
    free(all);
    return 0;
}
