/* What the files of a job share, and nobody else.
 *
 *   job.c         admission, the session's line, the queue, deadlines, cancelling, the end
 *   job_steps.c   its sequences and their states: the first step, every step
 *   job_stream.c  at home: streams, flow control, the answer
 *
 * All on the work shard unless it says home. */
#ifndef SERVER_JOB_INNER_H
#define SERVER_JOB_INNER_H

#include <stddef.h>
#include <uv.h>

#include "server/job.h"

#define NS_PER_MS 1000000u
#define NS_PER_S  1000000000u

enum stage { NEW, LINED, QUEUED, RUNNING, ENDED };

struct jobs {
    struct shard *shard;
    struct job *queue, **queue_end;
    size_t n_waiting; /* in lines and in the queue */
    size_t n_rows;    /* sequences of running jobs */
    size_t n_home, n_work;
    struct heap deadlines;
    struct job *streams; /* at home: those that have begun and want no silence */
    bool starting;       /* start_waiting() is running */
    uv_timer_t due_timer, keepalive_timer;
    unsigned n_closing;
};

#define JOB_OF(pointer, member) ((struct job *)((char *)(pointer)-offsetof(struct job, member)))

/* ---- job.c ---- */

static inline bool job_has_session(const struct job *job)
{
    return job->session_id[0] != '\0';
}

/* Home or work: takes off a reference; the last frees the job. */
void job_unref(struct job *job);

/* Runs `run` on the shard `to`: at once where that is the caller's own. */
void job_cross(struct shard *from, struct shard *to, struct message *message,
               void (*run)(struct shard *, struct message *));

/* Takes the job out of whatever it waits in or computes, then sends it home.  The job may be gone
 * when it returns. */
void job_settle(struct job *job, enum job_end end);

/* ---- job_steps.c ---- */

/* A random number that a JSON reader who knows only doubles can keep.  False: the system has none.
 */
bool job_draw_number(uint64_t *out);

/* The state that the job starts from: the session's as it stands, or as it stood where the stream
 * began that the job resumes; or the one given.  NULL: the initial one, or one that the session
 * does not know. */
const struct rnn_state *job_from(const struct job *job);

/* A private copy of the session's state, or an initial one, for each sequence.  All have the same
 * generator: which sequences are texts of one input, to be drawn apart, the task knows. */
bool job_states_new(struct job *job);

/* Once the model is known: how long the states are, and what the client sent to begin with, opened;
 * the job has failed where it is not to be had. */
void job_given_state(struct job *job);

/* Wipes and frees them; may be called twice. */
void job_states_free(struct job *job);

/* Where sequence `index` stands. */
const struct rnn_state *job_state(const struct job *job, size_t index);

/* Asks the task for every sequence's first step and starts those that have one. */
void job_first_steps(struct job *job);

/* Closes the sequences from `from` on: out of the batch with those that are in it. */
void job_retire(struct job *job, size_t from);

/* ---- job_stream.c ---- */

/* Sends home what a stream has to say; may pause the job, or fail it. */
void job_ship(struct job *job);

/* Lets paused sequences go on. */
void job_resume(struct job *job);

/* Home: tells work that the client has taken what was written. */
void job_ack(struct job *job);

/* Home: there is nobody to write to any more. */
void job_detach(struct job *job);

/* Home: answers; the last that a job does there.  Run by job->done. */
void job_deliver(struct shard *home, struct message *message);

#endif
