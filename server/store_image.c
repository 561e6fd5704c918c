/* The codec of stored states.  See store_image.h. */
#include "server/store_image.h"

#include <string.h>

#define XXH_INLINE_ALL /* no library at run time */
#include <xxhash.h>

#define MAGIC "RNNDST2\n"

enum { SUM_BYTES = 16, SUM_AT = STORE_IMAGE_HEAD - SUM_BYTES };

struct head {
    char magic[8];
    int64_t row;
    uint64_t state_bytes;
    unsigned char fingerprint[STORE_PRINT_BYTES];
    unsigned char sum[SUM_BYTES];
};
_Static_assert(sizeof(struct head) == STORE_IMAGE_HEAD, "the head has no padding");

static unsigned nibble(char c)
{
    return c >= 'a' ? (unsigned)(c - 'a') + 10 : (unsigned)(c - '0');
}

void store_print_pack(const char *hex, unsigned char out[STORE_PRINT_BYTES])
{
    for (size_t i = 0; i < STORE_PRINT_BYTES; i++)
        out[i] = (unsigned char)(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
}

void store_print_unpack(const unsigned char print[STORE_PRINT_BYTES],
                        char out[2 * STORE_PRINT_BYTES + 1])
{
    for (size_t i = 0; i < STORE_PRINT_BYTES; i++) {
        out[2 * i] = "0123456789abcdef"[print[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[print[i] & 15];
    }
    out[2 * STORE_PRINT_BYTES] = '\0';
}

static void head_fill(struct head *head, const struct store_image_of *of)
{
    *head = (struct head){.row = of->row, .state_bytes = of->state_bytes};
    memcpy(head->magic, MAGIC, sizeof(head->magic));
    store_print_pack(of->fingerprint, head->fingerprint);
}

/* Of the state, begun with what the head comes to. */
static void sum_of(const struct head *head, const void *state, size_t bytes,
                   unsigned char out[SUM_BYTES])
{
    XXH128_hash_t begin = XXH3_128bits(head, SUM_AT), whole;
    XXH128_canonical_t canonical;

    whole = XXH3_128bits_withSeed(state, bytes, begin.low64 ^ begin.high64);
    XXH128_canonicalFromHash(&canonical, whole);
    memcpy(out, canonical.digest, SUM_BYTES);
}

void store_image_write(const struct store_image_of *of, const struct rnn_state *state, void *out)
{
    struct head head;

    head_fill(&head, of);
    sum_of(&head, state, of->state_bytes, head.sum);
    memcpy(out, &head, sizeof(head));
    memcpy((char *)out + sizeof(head), state, of->state_bytes);
}

int store_image_read(const struct store_image_of *of, const void *image, size_t len,
                     struct rnn_state *state, struct rnn_err *err)
{
    unsigned char sum[SUM_BYTES];
    struct head head, want;
    const char *bytes = (const char *)image + sizeof(head);

    if (len < sizeof(head))
        return rnn_fail(err, RNN_EFORMAT, "the stored state is cut short: %zu bytes", len);
    memcpy(&head, image, sizeof(head));
    if (memcmp(head.magic, MAGIC, sizeof(head.magic)) != 0)
        return rnn_fail(err, RNN_EFORMAT, "the stored state is of no known form");
    sum_of(&head, bytes, len - sizeof(head), sum);
    if (memcmp(sum, head.sum, sizeof(sum)) != 0 || head.state_bytes != len - sizeof(head))
        return rnn_fail(err, RNN_EFORMAT, "the stored state is damaged: its checksum does not fit");
    head_fill(&want, of);
    if (head.row != want.row)
        return rnn_fail(err, RNN_ESHAPE, "the stored state is of another session");
    if (memcmp(head.fingerprint, want.fingerprint, STORE_PRINT_BYTES) != 0 ||
        head.state_bytes != want.state_bytes)
        return rnn_fail(err, RNN_ESHAPE, "the stored state is of other weights");
    memcpy(state, bytes, of->state_bytes);
    return 0;
}
