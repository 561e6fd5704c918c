/* A small world for the tests of scheduler, sessions and jobs: an engine whose steps can be counted
 * and foretold, and shards without threads whose messages run when the test says so.
 *
 * The fake model's memory is one number: a hash of all that was fed.  So whether two states have
 * read the same is seen at a glance, and a state that leaked into another would show. */
#ifndef TESTS_UNIT_SERVER_FAKE_H
#define TESTS_UNIT_SERVER_FAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/rnn.h"
#include "server/shard.h"

#define FAKE_SHARDS_MAX 4

struct fake_world {
    struct server server;
    struct config config;
    struct shard shards[FAKE_SHARDS_MAX];
    struct shard *list[FAKE_SHARDS_MAX];
};

/* Shards with metrics, but with nothing else in them; configuration of small numbers. */
void fake_world_init(struct fake_world *world, unsigned n_shards);
void fake_world_deinit(struct fake_world *world);

/* Runs posted messages, and those that they post, until there are none; returns how many ran. */
size_t fake_run_messages(void);
void fake_advance_ms(struct fake_world *world, int64_t ms);
/* The sum over all shards, read off the metrics page; -1 if it is not there. */
double fake_metric(struct fake_world *world, const char *sample);

/* A model of which every call of rnn_step is noted.  The caller owns the reference. */
struct rnn_model *fake_model(size_t output_size);
/* Another one, of other weights by their fingerprint, whose state is in one part of that name. */
struct rnn_model *fake_model_of(const char *fingerprint, const char *part);
void fake_model_reads(struct rnn_model *model, size_t n_tokens); /* another vocabulary */
unsigned fake_model_refs(const struct rnn_model *model);

/* What a state holds that was fed these tokens from the start. */
uint64_t fake_memory_after(const uint32_t *tokens, size_t n);
uint64_t fake_memory(const struct rnn_state *state);

/* Steps so far, and the number of rows in the newest. */
struct fake_steps {
    size_t n_steps, n_rows, n_heads, last_rows, scratches;
    bool shared; /* two rows of one step shared a state, or a step was over its scratch */
};
extern struct fake_steps fake_steps;
extern bool fake_keep_turning; /* shard_keep_turning was called */
extern bool fake_no_scratch;   /* makes rnn_scratch_new fail */

/* The n-th allocation from now on fails, once; 0: none does, or it has failed already. */
extern size_t fake_fail_at;

#endif
