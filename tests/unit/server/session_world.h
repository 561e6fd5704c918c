/* A world around the sessions of a shard, for their tests: guests that note what they are told, and
 * shards on fakes. */
#ifndef TESTS_UNIT_SERVER_SESSION_WORLD_H
#define TESTS_UNIT_SERVER_SESSION_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fake.h"
#include "server/session.h"

extern struct fake_world world;
extern struct sessions *sessions; /* of the first shard */
extern struct rnn_model *model;

/* Checked fixtures: one shard, or three; the teardown holds that nothing is left over. */
void session_world_setup(void);
void session_world_setup_three(void);
void session_world_teardown(void);

/* ---- States ---- */

enum { STATE = sizeof(struct rnn_state) + sizeof(uint64_t) };

/* Room for a state. */
union room {
    struct rnn_state state;
    char bytes[STATE];
};

void room_set(union room *room, uint64_t position, uint64_t memory);

/* ---- Guests ---- */

/* A hold that notes what it is told. */
struct guest {
    struct session_hold hold; /* first */
    int granted, refused, cancelled, superseded, saved;
    bool lets_go; /* when another goes on with its stream */
    enum reply_error reason;
    session_result result; /* of what was saved */
    unsigned turn;         /* in the order of grants */
};
extern unsigned n_grants;

session_result enter(struct guest *guest, const char *id, const char *key, bool queue);

/* As enter("s", "", queue), with (part of) the stream of that number; 0: an ordinary request. */
session_result enter_stream(struct guest *guest, uint64_t stream, bool resumes, bool queue);

/* ---- Sessions ---- */

session_result create(const char *id, const char *key, int64_t ttl_s, struct session_view *view);

#define ASSERT_REPLY(result, reply) ck_assert_int_eq((result), SESSION_FAIL(reply))

#endif
