/* Random numbers as a pure function of (seed, stream, number of the draw): a forked state replays
 * its parent, and a text does not depend on what else the daemon draws.
 *
 * Philox 4x32 with ten rounds; each draw takes one block and uses the upper 24 bits of its first
 * word. */
#include "core/rng.h"

#include "core/rnn.h"

enum { ROUNDS = 10 };

void rnn_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t a = counter[0], b = counter[1], c = counter[2], d = counter[3];
    uint32_t k0 = key[0], k1 = key[1];

    for (int round = 0; round < ROUNDS; round++) {
        uint64_t p = (uint64_t)0xD2511F53u * a;
        uint64_t q = (uint64_t)0xCD9E8D57u * c;

        a = (uint32_t)(q >> 32) ^ b ^ k0;
        b = (uint32_t)q;
        c = (uint32_t)(p >> 32) ^ d ^ k1;
        d = (uint32_t)p;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = a;
    out[1] = b;
    out[2] = c;
    out[3] = d;
}

float rnn_rng_uniform(struct rnn_rng *rng)
{
    const uint32_t counter[4] = {(uint32_t)rng->counter, (uint32_t)(rng->counter >> 32),
                                 rng->stream, 0};
    const uint32_t key[2] = {(uint32_t)rng->seed, (uint32_t)(rng->seed >> 32)};
    uint32_t words[4];

    rnn_philox(counter, key, words);
    rng->counter++;
    return (float)(words[0] >> 8) * 0x1p-24f;
}
