/* A world around jobs, for their tests: two shards on fakes, clients that are sinks, and a task
 * that reads its input and then writes numbers, each fed back.
 *
 * A call that server/sink.h forbids fails the test at its teardown. */
#ifndef TESTS_UNIT_SERVER_JOB_WORLD_H
#define TESTS_UNIT_SERVER_JOB_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fake.h"
#include "server/job.h"

extern struct fake_world world;
extern struct rnn_model *model;
extern char id_on[2][8]; /* a session's id on each shard */

/* A checked fixture: the teardown holds that nothing is left over. */
void job_world_setup(void);
void job_world_teardown(void);

/* ---- A client: a sink that keeps what it hears ---- */

struct client {
    struct sink sink; /* first */
    bool answered, begun, ended, gone;
    unsigned status;
    struct buf text;
    size_t unread;
    bool deaf; /* reads nothing */
};

void client_init(struct client *client, unsigned shard, const char *key);
void client_leaves(struct client *client);
void client_cancels(struct client *client);

/* It takes all that was sent so far. */
void client_reads(struct client *client);

/* What it has heard; its `text` is the caller's to free. */
const char *text_of(struct client *client);

/* Also frees the client's text. */
void assert_answer(struct client *client, unsigned status, const char *part);

/* ---- A task: reads its input, then writes n_out numbers, each fed back ---- */

struct task {
    struct job job;
    uint32_t tokens[8];
    size_t n_tokens, n_sequences;
    size_t n_out;       /* of each sequence */
    bool keeps_partial; /* as generate does */
    bool branches;      /* the others branch off the first */
    bool pads;          /* a long answer */
    size_t fail_at;     /* after so many outputs of the first; 0: never */
    bool fail_prepare, fail_first, fail_finish;
    size_t *n_drawn_out; /* how far the first sequence came */
    uint32_t *drawn;     /* [n_out] of it, or NULL */
    size_t n_drawn[8];
    struct rnn_rng *rng_out; /* [n_sequences] at their first step, or NULL */
};
extern const struct job_ops task_ops;
extern size_t n_freed; /* tasks */

struct task *task_of(struct job *job);

/* One sequence with the input 11 12 13 and five outputs; to be changed and submitted. */
struct task *task_new(struct client *client, const char *session);

/* ---- Turns ---- */

/* One turn of both shards; whether there is more to do. */
bool turn_all(void);
void run_all(void);

/* ---- Sessions ---- */

void session_make(const char *id);
struct session_view look(const char *id);

/* The fake model's memory of the session. */
uint64_t memory_of(const char *id);

/* The session has read 11 12 13 and then the first n of drawn[], and its window holds the last of
 * them. */
void assert_stands_after(const char *id, const uint32_t *drawn, size_t n);

#endif
