/* The sequences of a job: their states, their first step, and every step after.
 *
 * Each sequence steps a copy of the session's state, so that a job that fails has changed nothing.
 * The task says what to feed next; what it has written is counted here, shipped where it streams,
 * and the last sequence to close ends the job.  On the work shard. */
#include "server/job_inner.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/checked.h"
#include "server/seal.h"

#define NUMBER_BITS 53
#define STATE_ALIGN 64u /* a cache line: neighbours are written in the same step */

/* ---- States ---- */

bool job_draw_number(uint64_t *out)
{
    if (getrandom(out, sizeof(*out), 0) != (ssize_t)sizeof(*out))
        return false;
    *out >>= 64 - NUMBER_BITS;
    return true;
}

/* What was sealed, with the window that was asked for. */
static int open_sealed(struct job *job, struct rnn_err *err)
{
    struct rnn_state *sealed;
    size_t bytes;
    int rc = seal_read(job->sealed, job->work->server->seal_key, job->key_name, job->model, &sealed,
                       &bytes, err);

    if (rc < 0)
        return rc;
    if (!job->has_window || bytes == job->state_bytes) {
        job->given = sealed;
        job->state_bytes = bytes;
        return 0;
    }
    job->given = malloc(job->state_bytes);
    if (job->given)
        rnn_state_copy(job->model, job->given, job->state_bytes, sealed, bytes);
    explicit_bzero(sealed, bytes);
    free(sealed);
    return job->given ? 0 : rnn_fail(err, RNN_ENOMEM, "no memory for a state");
}

static int open_given(struct job *job, struct rnn_err *err)
{
    uint64_t seed;

    if (job->sealed)
        return open_sealed(job, err);
    if (!job_draw_number(&seed))
        return rnn_fail(err, RNN_EIO, "the system gives no random numbers");
    job->given = calloc(1, job->state_bytes);
    if (!job->given)
        return rnn_fail(err, RNN_ENOMEM, "no memory for a state");
    rnn_state_forget(job->model, job->given, job->state_bytes);
    return rnn_state_init_named(job->model, job->initial_state, job->given, seed, err);
}

void job_given_state(struct job *job)
{
    const struct rnn_model_info *info = rnn_model_info(job->model);
    struct rnn_err err = {0};

    job->state_bytes = job_has_session(job) ? session_state_bytes(&job->hold)
                                            : rnn_state_bytes(job->model, job->window);
    if (!job->sealed && !job->initial_state[0] && !job->return_state)
        return;
    if (info->unsteppable) {
        job_fail(job, REPLY_NOT_POSSIBLE, "model", "model: there is no state to go on from: %s",
                 info->unsteppable);
        return;
    }
    if ((job->sealed || job->initial_state[0]) && open_given(job, &err) < 0)
        job_fail(job, reply_error_of_state(&err), err.param, "%s", err.text);
}

void job_seal(struct job *job)
{
    struct rnn_err err = {0};

    buf_putc(&job->out, '"');
    if (seal_write(&job->out, job->work->server->seal_key, job->key_name, job->model,
                   job_state(job, 0), job->state_bytes, &err) < 0)
        job_fail(job, reply_error_of(&err), NULL, "%s", err.text);
    buf_putc(&job->out, '"');
}

const struct rnn_state *job_from(const struct job *job)
{
    const struct rnn_state *begin;

    if (!job_has_session(job))
        return job->given;
    if (job->resumes == NULL)
        return session_state(&job->hold);
    begin = session_begin(&job->hold);
    return begin->position == job->begin ? begin : NULL;
}

bool job_states_new(struct job *job)
{
    const struct rnn_state *from = job_from(job);
    size_t length = (size_t)shard_config(job->work)->session_trail;
    size_t size;

    if (from != NULL && !job->has_seed)
        job->seed = from->rng.seed;
    else if (!job->has_seed && !job_draw_number(&job->seed))
        return false;
    job->state_stride = (job->state_bytes + STATE_ALIGN - 1) / STATE_ALIGN * STATE_ALIGN;
    if (!checked_mul(job->n_sequences, job->state_stride, &size))
        return false;
    job->states = aligned_alloc(STATE_ALIGN, size);
    if (job->states == NULL)
        return false;
    for (size_t i = 0; i < job->n_sequences; i++) {
        struct rnn_state *state = (void *)(job->states + i * job->state_stride);

        if (from != NULL) {
            memcpy(state, from, job->state_bytes);
        } else {
            rnn_state_init(job->model, state, job->seed);
            rnn_state_forget(job->model, state, job->state_bytes);
        }
        if (from != NULL && job->has_seed)
            state->rng = (struct rnn_rng){.seed = job->seed};
        job->sequences[i].step.state = state;
    }
    if (job_has_session(job) && job->commit && length > 0) {
        trail_init(&job->trail, length + 1, job->state_bytes); /* and where it comes to stand */
        trail_push(&job->trail, from);
    }
    return true;
}

void job_states_free(struct job *job)
{
    if (job->states != NULL)
        explicit_bzero(job->states, job->n_sequences * job->state_stride);
    trail_free(&job->trail);
    if (job->given != NULL)
        explicit_bzero(job->given, job->state_bytes);
    free(job->given);
    job->given = NULL;
    free(job->states);
    job->states = NULL;
}

const struct rnn_state *job_state(const struct job *job, size_t index)
{
    return (const struct rnn_state *)(const void *)(job->states + index * job->state_stride);
}

/* ---- Stepping ---- */

static bool answer_fits(struct job *job, struct job_sequence *sequence)
{
    size_t max = (size_t)shard_config(job->work)->answer_max_bytes;

    job->answer_bytes += sequence->out.len - sequence->counted;
    sequence->counted = sequence->out.len;
    if (sequence->out.failed || job->out.failed) {
        job_fail(job, REPLY_NO_MEMORY, NULL, "no memory for the answer");
        return false;
    }
    if (job->answer_bytes + job->out.len > max) {
        job_fail(job, REPLY_TOO_LARGE, NULL, "the answer would be larger than %zu bytes", max);
        return false;
    }
    return true;
}

static enum sequence_next on_step(struct sequence *step, float *logits, const float *hidden)
{
    struct job_sequence *sequence = step->owner;
    struct job *job = sequence->job;
    enum sequence_next next;

    if (step->input == RNN_ROW_TOKEN)
        rnn_state_remember(job->model, step->state, job->state_bytes, step->token, sequence->drawn);
    if (sequence->index == 0)
        trail_push(&job->trail, step->state);
    next = job->ops->stepped(job, sequence, logits, hidden);

    if (job->end == JOB_FAILED || !answer_fits(job, sequence)) {
        sequence->closed = true; /* the scheduler lets go of this one by itself */
        job_settle(job, JOB_FAILED);
        return SEQUENCE_DONE;
    }
    if (next == SEQUENCE_DONE || job->end != JOB_RUNNING) {
        sequence->closed = true;
        if (--job->n_open == 0) {
            job_settle(job, job->end == JOB_RUNNING ? JOB_COMPLETE : job->end);
            return SEQUENCE_DONE;
        }
        next = SEQUENCE_DONE;
    }
    if (job->stream)
        job_ship(job);
    if (job->end == JOB_FAILED) {
        sequence->closed = true;
        job_settle(job, JOB_FAILED);
        return SEQUENCE_DONE;
    }
    return next == SEQUENCE_READY && job->paused ? SEQUENCE_PAUSED : next;
}

static void sequence_start(struct job_sequence *sequence)
{
    struct job *job = sequence->job;
    struct rnn_err err = {0};

    sequence->started = true;
    if (sched_start(job->work->sched, &sequence->step, &err) == 0)
        return;
    sequence->started = false;
    job_fail(job, REPLY_NO_MEMORY, NULL, "%s", err.text);
}

void job_first_steps(struct job *job)
{
    for (size_t i = 0; i < job->n_sequences && job->end == JOB_RUNNING; i++) {
        struct job_sequence *sequence = &job->sequences[i];

        switch (job->ops->first(job, sequence)) {
        case SEQUENCE_READY:
            sequence_start(sequence);
            break;
        case SEQUENCE_PAUSED:
            break;
        case SEQUENCE_DONE:
            job_close(sequence);
            break;
        }
    }
}

void job_retire(struct job *job, size_t from)
{
    for (size_t i = from; i < job->n_sequences; i++) {
        struct job_sequence *sequence = &job->sequences[i];

        if (sequence->started && !sequence->closed)
            sched_remove(job->work->sched, &sequence->step);
        sequence->closed = true;
    }
    job->n_open = from;
}

/* ---- For tasks ---- */

int job_sequences(struct job *job, size_t n, struct rnn_err *err)
{
    assert(job->sequences == NULL && n > 0);
    job->sequences = calloc(n, sizeof(*job->sequences));
    if (job->sequences == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for %zu sequences", n);
    job->n_sequences = job->n_open = n;
    for (size_t i = 0; i < n; i++)
        job->sequences[i] = (struct job_sequence){
            .job = job,
            .index = i,
            .step = {.model = job->model, .stepped = on_step, .owner = &job->sequences[i]},
        };
    return 0;
}

static bool walk_begin(struct job_sequence *sequence)
{
    struct job *job = sequence->job;
    struct rnn_err err = {.offset = -1};

    if (rnn_walk_new(&sequence->walk, job->model, sequence->step.state, &sequence->input, &err) ==
        0)
        return true;
    job_fail(job, reply_error_of(&err), err.param, "%s", err.text);
    return false;
}

enum rnn_walk_next job_feed(struct job_sequence *sequence)
{
    struct sequence *step = &sequence->step;
    enum rnn_walk_next next;
    struct rnn_row row;

    if (sequence->walk == NULL && !walk_begin(sequence))
        return RNN_WALK_DONE;
    next = rnn_walk_next(sequence->walk, &row);
    if (next == RNN_WALK_DONE)
        return next;
    step->input = row.input;
    step->token = row.token;
    step->frame = row.frame;
    step->pass = row.pass;
    step->memory = row.memory;
    step->hidden_to = row.hidden;
    step->want_logits = next == RNN_WALK_OUTPUT;
    step->want_hidden = false;
    step->reading = true;
    sequence->drawn = false;
    sequence->n_fed++;
    return next;
}

/* A step of the decoder, or of the only stack, by itself. */
static void feed_alone(struct sequence *step, enum rnn_row_input input)
{
    step->input = input;
    step->pass = 0;
    step->memory = NULL;
    step->hidden_to = NULL;
    step->want_hidden = false;
    step->reading = false;
}

void job_feed_token(struct job_sequence *sequence, const struct job_sequence *leader,
                    uint32_t token)
{
    feed_alone(&sequence->step, RNN_ROW_TOKEN);
    sequence->step.token = token;
    sequence->drawn = true;
    sequence->step.memory = leader->walk != NULL ? rnn_walk_memory(leader->walk) : NULL;
}

void job_feed_frame(struct job_sequence *sequence, const float *frame)
{
    feed_alone(&sequence->step, RNN_ROW_FRAME);
    sequence->step.frame = frame;
}

void job_branch(struct job_sequence *to, const struct job_sequence *from, const struct rnn_rng *rng)
{
    memcpy(to->step.state, from->step.state, to->job->state_bytes);
    to->step.state->rng = *rng;
    sequence_start(to);
}

void job_continue(struct job_sequence *sequence)
{
    if (sequence->started)
        sched_resume(sequence->job->work->sched, &sequence->step);
    else
        sequence_start(sequence);
}

void job_close(struct job_sequence *sequence)
{
    if (sequence->closed)
        return;
    if (sequence->started)
        sched_remove(sequence->job->work->sched, &sequence->step);
    sequence->closed = true;
    sequence->job->n_open--;
}
