/* LevelDB's tables, read in one pass.  See table.h.
 *
 * Keys are put together in one buffer; values stay where they are.  A handle that leads outside of
 * the file, an entry that leads outside of its block, a checksum that differs: the file is refused,
 * because offsets that point anywhere would otherwise become weights. */
#include "import/table.h"

#include <stdio.h>
#include <string.h>

static const unsigned char magic[8] = {0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb};

enum { BLOCK_TAIL = 5 };

struct handle {
    uint64_t offset, size;
};

struct table {
    const unsigned char *bytes;
    size_t len;
    size_t n_entries;
    uint64_t seen; /* bytes of blocks so far: blocks lie apart from one another */
    int (*each)(void *arg, const struct table_entry *entry, struct rnn_err *err);
    void *arg;
    struct rnn_err *err;
};

/* ---- Numbers ---- */

bool table_varint(const unsigned char *bytes, size_t len, size_t *at, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        unsigned char byte;

        if (*at >= len)
            return false;
        byte = bytes[(*at)++];
        if (shift == 63 && byte > 1)
            return false;
        *out |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static uint32_t read_u32(const unsigned char *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* Four bits at a time: a table of sixteen words, and fast enough for a checkpoint. */
uint32_t table_checksum(const unsigned char *bytes, size_t len)
{
    uint32_t step[16], crc = UINT32_MAX;

    for (uint32_t i = 0; i < 16; i++) {
        step[i] = i;
        for (int bit = 0; bit < 4; bit++)
            step[i] = step[i] & 1 ? step[i] >> 1 ^ 0x82F63B78U : step[i] >> 1;
    }
    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ step[crc & 15];
        crc = crc >> 4 ^ step[crc & 15];
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8U;
}

/* ---- Blocks ---- */

static int bad(struct table *t, uint64_t at, const char *what)
{
    return rnn_fail_at(t->err, RNN_EFORMAT, NULL, (int64_t)at, "index, byte %llu: %s",
                       (unsigned long long)at, what);
}

static bool read_handle(const unsigned char *bytes, size_t len, size_t *at, struct handle *out)
{
    return table_varint(bytes, len, at, &out->offset) && table_varint(bytes, len, at, &out->size);
}

/* The block's entries without their restart points. */
static int open_block(struct table *t, const struct handle *handle, const unsigned char **out,
                      size_t *len)
{
    const unsigned char *block;
    uint64_t restarts, size = handle->size;

    if (size < 4 || t->len < BLOCK_TAIL || size > t->len - BLOCK_TAIL ||
        handle->offset > t->len - BLOCK_TAIL - size)
        return bad(t, handle->offset, "a block leads past the end");
    t->seen += size;
    if (t->seen > t->len)
        return bad(t, handle->offset, "blocks overlap");
    block = t->bytes + handle->offset;
    if (block[size] != 0)
        return rnn_fail_at(t->err, RNN_EUNSUPPORTED, NULL, (int64_t)handle->offset,
                           "index, byte %llu: a block packed by method %u, which is not read",
                           (unsigned long long)handle->offset, block[size]);
    if (table_checksum(block, size + 1) != read_u32(block + size + 1))
        return bad(t, handle->offset, "the block's checksum differs: it is damaged");
    restarts = read_u32(block + size - 4);
    if (restarts > (size - 4) / 4)
        return bad(t, handle->offset, "the block has no room for its restart points");
    *out = block;
    *len = (size_t)(size - 4 - restarts * 4);
    return 0;
}

struct cursor {
    const unsigned char *block;
    size_t len, at;
    char key[TABLE_KEY_MAX + 1];
    size_t key_len;
};

/* The next entry; RNN_EFORMAT for one that leads outside. */
static int next_entry(struct table *t, struct cursor *c, struct table_entry *out)
{
    uint64_t shared, rest, value;
    size_t place = (size_t)(c->block - t->bytes) + c->at;

    if (++t->n_entries > TABLE_ENTRIES_MAX)
        return rnn_fail(t->err, RNN_ELIMIT, "index: more than %d entries", TABLE_ENTRIES_MAX);
    if (!table_varint(c->block, c->len, &c->at, &shared) ||
        !table_varint(c->block, c->len, &c->at, &rest) ||
        !table_varint(c->block, c->len, &c->at, &value))
        return bad(t, place, "an entry is cut");
    if (shared > c->key_len || rest > TABLE_KEY_MAX - shared)
        return bad(t, place, "an entry's key is too long, or shares more than there is");
    if (rest > c->len - c->at || value > c->len - c->at - rest)
        return bad(t, place, "an entry leads past its block");
    memcpy(c->key + shared, c->block + c->at, (size_t)rest);
    c->key_len = (size_t)(shared + rest);
    c->key[c->key_len] = '\0';
    c->at += (size_t)rest;
    *out = (struct table_entry){c->key, c->key_len, c->block + c->at, (size_t)value};
    c->at += (size_t)value;
    return 0;
}

static int walk_block(struct table *t, const struct handle *handle)
{
    struct cursor cursor = {0};
    int rc = open_block(t, handle, &cursor.block, &cursor.len);

    while (rc == 0 && cursor.at < cursor.len) {
        struct table_entry entry;

        rc = next_entry(t, &cursor, &entry);
        if (rc == 0)
            rc = t->each(t->arg, &entry, t->err);
    }
    return rc;
}

/* Each entry of the index block is a block's handle. */
static int walk_index(struct table *t, const struct handle *index)
{
    struct cursor cursor = {0};
    int rc = open_block(t, index, &cursor.block, &cursor.len);

    while (rc == 0 && cursor.at < cursor.len) {
        struct table_entry entry;
        struct handle handle;
        size_t at = 0;

        rc = next_entry(t, &cursor, &entry);
        if (rc == 0 && !read_handle(entry.value, entry.value_len, &at, &handle))
            rc = bad(t, index->offset, "a block's place is cut");
        if (rc == 0)
            rc = walk_block(t, &handle);
    }
    return rc;
}

bool table_ends(const unsigned char *footer, size_t len)
{
    return len >= TABLE_FOOTER && memcmp(footer + len - sizeof magic, magic, sizeof magic) == 0;
}

int table_walk(const unsigned char *bytes, size_t len,
               int (*each)(void *arg, const struct table_entry *entry, struct rnn_err *err),
               void *arg, struct rnn_err *err)
{
    struct table table = {.bytes = bytes, .len = len, .each = each, .arg = arg, .err = err};
    const unsigned char *footer = bytes + len - TABLE_FOOTER;
    struct handle meta, index;
    size_t at = 0;

    if (!table_ends(bytes, len))
        return rnn_fail(err, RNN_EFORMAT,
                        "index: it does not end as one: it is cut, or another "
                        "file");
    if (!read_handle(footer, TABLE_FOOTER - sizeof magic, &at, &meta) ||
        !read_handle(footer, TABLE_FOOTER - sizeof magic, &at, &index))
        return bad(&table, len - TABLE_FOOTER, "the places of its blocks are cut");
    return walk_index(&table, &index);
}
