/* A job: the life of one compute request (predict, generate, score).
 *
 * A handler on the shard that read the request (`home`) makes a job and submits it; the job runs on
 * the shard of its session, or at home without one (`work`); its answer comes back home.  Where the
 * two differ, what crosses is a message; where they are the same, the same functions are called at
 * once.
 *
 *   home                               work
 *   job_submit ─────── admit ────────▶ line of the session → model known → ops->prepare
 *                                      → queue → states copied → ops->first → steps → ops->stepped
 *   sink->events ◀───── pieces ─────── (a stream's events, after each step that wrote some)
 *   hooks->drained ──── ack ─────────▶ paused sequences go on
 *   hooks->cancel ───── stop ────────▶ what there is becomes the answer
 *   hooks->gone ─────── cancel ──────▶ out of the batch within one step
 *   sink->whole ◀────── done ───────── ops->finish, commit, release
 *
 * These files own admission (429), the session's line (404, 409, 410), deadlines (504), cancelling,
 * commit and roll-back, flow control and delivery.  A task (task_predict.c, …) owns what to feed
 * next and what to write: it embeds `struct job` and fills in a `struct job_ops`.  Times are
 * monotonic nanoseconds.
 *
 * What a session is left with: predict and score commit only when the whole request succeeded.  A
 * job that has set `partial` (a generate that has given out its first token) also commits when its
 * deadline passes or its client leaves: each sequence then takes the one step that is filled in
 * already, so that the session stands after the last token given out.  `commit` false never
 * commits.
 *
 * A job that resumes a stream starts where that began, wherever the session stands by now, and asks
 * an older part of it that still holds the session to stop.  Cut short, it does not take the
 * session back behind what that has of the stream already. */
#ifndef SERVER_JOB_H
#define SERVER_JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "server/heap.h"
#include "server/reply.h"
#include "server/sched.h"
#include "server/session.h"
#include "server/shard.h"
#include "server/sink.h"
#include "server/trail.h"

struct job;

enum job_end {
    JOB_RUNNING,
    JOB_COMPLETE,  /* all sequences are done */
    JOB_DEADLINE,  /* the deadline passed and the job is partial: answer with what there is */
    JOB_CANCELLED, /* the asker wants no more, likewise */
    JOB_GONE,      /* nobody waits for the answer any more */
    JOB_FAILED     /* job_fail() was called, or the job was refused */
};

/* One state going through time steps for a job.  `step` is what the scheduler sees; tasks fill in
 * its input, token, frame, want_logits, want_hidden and reading. */
struct job_sequence {
    struct sequence step;
    struct job *job;
    size_t index;
    struct rnn_walk_input
        input;             /* filled in by the task; what it points to lives as long as the job
                            */
    struct rnn_walk *walk; /* of the input, from the first job_feed() on */
    size_t n_fed;          /* rows that job_feed() has filled in */
    bool drawn;            /* the step feeds what came out, not what was sent */
    struct buf out;        /* for the task: its part of the answer; freed with the job */
    size_t counted;        /* bytes of `out` in job->answer_bytes */
    bool started;          /* has been in the scheduler */
    bool closed;           /* done, or never to be started */
};

/* What a kind of request does.  All but `free` run on the work shard. */
struct job_ops {
    /* Once, as soon as job->model is known (from the session, or given) and before any waiting for
     * a place: checks and tokenises the input, then calls job_sequences().  On failure `err` says
     * why (answered through reply_error_of), or job_fail() was called; both end the job. */
    int (*prepare)(struct job *job, struct rnn_err *err);

    /* Once a sequence, after its state has been set up: fills in the first step.  SEQUENCE_READY:
     * start it.  SEQUENCE_PAUSED: not yet, job_branch() will.  SEQUENCE_DONE: nothing to compute.
     */
    enum sequence_next (*first)(struct job *job, struct job_sequence *sequence);

    /* After each step.  As in struct sequence; SEQUENCE_PAUSED: it waits for job_continue().  A
     * full stream pauses by itself.  Events that a stream should send (event.h) go to job->out.
     * Where job->end is not JOB_RUNNING something has ended the job: this step was the last, draw
     * nothing and return SEQUENCE_DONE. */
    enum sequence_next (*stepped)(struct job *job, struct job_sequence *sequence, float *logits,
                                  const float *hidden);

    /* Once, where an answer is wanted (JOB_COMPLETE, JOB_DEADLINE or JOB_CANCELLED): appends the
     * body, or the stream's last events, to job->out.  job->view, queue_ms and compute_ms are set.
     * May fail by job_fail(); nothing is committed then. */
    void (*finish)(struct job *job, enum job_end end);

    /* Frees the task's own memory and the job's (the struct that embeds it).  Any thread. */
    void (*free)(struct job *job);
};

struct job {
    /* ---- Filled in by the handler, between job_init and job_submit ---- */
    const struct job_ops *ops;
    struct rnn_model *model; /* a reference that the job owns; NULL: the session's */
    char model_name[128];    /* "": the session's; else a session of another model is refused */
    char session_id[SESSION_ID_MAX + 1]; /* "": none */
    bool commit;                         /* default true */
    bool reject_busy;                    /* if_busy: "reject" */
    bool has_expect_position;
    uint64_t expect_position;
    bool resumable;      /* a stream that can be taken up: its session remembers where it began */
    const char *resumes; /* it goes on with one: the name of what says so, static; or NULL */
    uint64_t begin;      /* where that began: a position */
    uint64_t stream_number; /* what its session knows it by; out: of a new one, drawn */
    int64_t deadline_ms;    /* from the request's arrival; 0: the configured one */
    char initial_state[SESSION_ID_MAX + 1]; /* without a session: one that the model ships, or "" */
    char *sealed;                           /* without a session: where to begin; owned, or NULL */
    bool return_state;                      /* the answer is to hold the last state, sealed */
    bool has_window; /* without a session: the states remember so many tokens, whatever they begin
                        with; of a language model */
    size_t window;
    bool stream;
    bool has_seed;
    uint64_t seed; /* out: the one that is used (drawn, or the session's, where none was given) */

    /* ---- For the task, on the work shard ---- */
    struct buf out;                 /* the answer; a stream's bytes are taken out after each call */
    struct job_sequence *sequences; /* [n_sequences], by job_sequences() */
    size_t n_sequences;
    size_t state_bytes;        /* of each sequence's state, with what it remembers */
    bool asides;               /* set by prepare: all but the first look ahead, and end nowhere */
    bool partial;              /* set by the task: what has been computed so far is worth keeping */
    enum job_end end;          /* JOB_RUNNING until something ends it */
    struct session_view view;  /* in finish: the session as this answer leaves it */
    double queue_ms;           /* in finish: from the request's first byte to the first step */
    double compute_ms;         /* in finish: from there to now */
    uint64_t received_ns;      /* the request's first byte */
    uint64_t started_ns;       /* its first step */
    struct shard *home, *work; /* `work` is set by job_submit */
    char request_id[65];
    char *key_name; /* owned copy */

    /* ---- job.c's, job_steps.c's and job_stream.c's own ---- */
    atomic_uint refs;
    struct sink *sink;   /* home; NULL once answered or gone */
    bool begun;          /* home: the stream's first events were sent */
    size_t owed;         /* home: bytes written and not yet acknowledged */
    uint64_t written_ns; /* home: when the stream last wrote */
    struct job *stream_next, **stream_at;
    struct message admit, stop, cancel, ack, done;
    bool stop_posted;    /* home */
    atomic_size_t acked; /* on their way from home to work */
    atomic_bool ack_posted;
    enum reply_error error; /* with JOB_FAILED, */
    struct rnn_err err;     /* and its words */
    uint8_t stage;
    bool paused;    /* work: the stream is full */
    size_t unacked; /* work: bytes of the stream under way */
    size_t answer_bytes;
    size_t n_open; /* sequences not yet closed */
    char *states;  /* [n_sequences][state_stride] */
    size_t state_stride;
    struct rnn_state *given; /* [state_bytes] what `initial_state` or `sealed` are; NULL: neither
                                was sent */
    struct trail trail;      /* of the first sequence, where it will be the session's */
    struct due deadline;
    struct session_hold hold;
    struct job *next, **at; /* the queue */
};

/* ---- For handlers, at home ---- */

/* Zeroes *job, takes key, id and time of arrival from the sink.  The caller allocated the struct
 * that embeds it; from here on it ends with job_submit or job_drop.  RNN_ENOMEM (the job may be
 * freed with job_drop then, too). */
int job_init(struct job *job, const struct job_ops *ops, struct sink *sink, struct rnn_err *err);

/* Hands the job over: the sink will be answered, and the job freed, whatever happens. */
void job_submit(struct job *job);

/* For a handler that answers by itself (a fault found while parsing). */
void job_drop(struct job *job);

/* ---- For tasks, on the work shard ---- */

/* Makes n sequences (in prepare, once).  RNN_ENOMEM. */
int job_sequences(struct job *job, size_t n, struct rnn_err *err);

/* Fills in the next row of the walk of `input`, as one that reads; want_logits where it has an
 * output.  RNN_WALK_DONE: there is none, the step is as it was; or the input is not possible from
 * where the state stands, and the job has failed. */
enum rnn_walk_next job_feed(struct job_sequence *sequence);

/* Fills in a step that feeds a token that came out to the decoder, behind the walk of `leader` or
 * alone. */
void job_feed_token(struct job_sequence *sequence, const struct job_sequence *leader,
                    uint32_t token);

/* Fills in a step that feeds a frame [input_size], which is read when the step is taken. */
void job_feed_frame(struct job_sequence *sequence, const float *frame);

/* Starts a sequence that `first` left SEQUENCE_PAUSED, from a copy of `from`'s state but with the
 * generator `rng`; its step has been filled in. */
void job_branch(struct job_sequence *to, const struct job_sequence *from,
                const struct rnn_rng *rng);

/* Lets a sequence go on (or start) whose `first` or `stepped` said SEQUENCE_PAUSED; its step has
 * been filled in. */
void job_continue(struct job_sequence *sequence);

/* Ends such a one for good; nothing where it has ended. */
void job_close(struct job_sequence *sequence);

/* The first sequence's state, sealed for the client, appended to job->out as a JSON string; in
 * finish, where job->return_state says so. */
void job_seal(struct job *job);

/* Ends the job with an error.  From prepare, first, stepped or finish; the last word counts not,
 * the first does. */
void job_fail(struct job *job, enum reply_error error, const char *param, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- Life, for shard.c ---- */

struct jobs;

/* A shard's jobs: its queue and its timers on shard->loop.  Set shard->jobs to it. */
int jobs_new(struct jobs **out, struct shard *shard, struct rnn_err *err);

/* Closes its timers and frees it when the loop has closed them: the loop must run once more.  Only
 * when not busy. */
void jobs_free(struct jobs *jobs);

/* Jobs that this shard has as home or as work. */
size_t jobs_busy(const struct jobs *jobs);

/* Ends what is due; called by its own timer.  Also the tests' clock. */
void jobs_tick(struct jobs *jobs, uint64_t now_ns);

#endif
