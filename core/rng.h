/* Philox 4x32-10 (Salmon, Moraes, Dror, Shaw 2011): four 32-bit words from a counter and a key,
 * without any state of its own.  Any thread. */
#ifndef CORE_RNG_H
#define CORE_RNG_H

#include <stdint.h>

void rnn_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
