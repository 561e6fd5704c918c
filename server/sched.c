/* The scheduler: lanes, turns, and the walk through a step's results.
 *
 * A lane is one model on this shard: its scratch, its rows, and a ring of ready sequences.  A turn
 * visits each lane once.  It takes up to batch_rows_max sequences off the head of the ring, steps
 * them together, asks each what comes next, and puts the ready ones back at the tail: that is the
 * round robin.  Those of the same batch that read their prompt go on together for a bounded number
 * of steps.  Everything a step needs is allocated with the lane, so that a step allocates nothing.
 *
 * While the results are handed out, a `stepped` may start sequences and remove any sequence, its
 * own and others of the same batch included: the batch is an array of pointers, and a removed one
 * leaves a hole. */
#include "server/sched.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

#include "base/checked.h"
#include "server/metrics.h"
#include "server/shard.h"

enum where { OUT, READY, STEPPING, PAUSED };

struct lane {
    struct lane *next;
    struct rnn_model *model; /* a reference */
    struct rnn_scratch *scratch;
    size_t output_size, hidden_width;
    struct sequence **batch; /* [rows_max]; NULL: removed meanwhile */
    struct rnn_row *rows;    /* [rows_max] */
    float *logits;           /* [rows_max][output_size] */
    float *hidden;           /* [rows_max][hidden_width] */
    struct sequence ready;   /* head of a ring: oldest first */
    size_t n_ready;
    size_t n_active; /* ready, stepping and paused */
    bool forgotten;  /* goes when its last sequence has left */
};

struct sched {
    struct shard *shard;
    struct lane *lanes;
    size_t rows_max;
    size_t n_active;
    size_t n_ready;
    bool turning;
};

/* ---- The ring ---- */

static void ring_append(struct sched *sched, struct lane *lane, struct sequence *sequence)
{
    sequence->prev = lane->ready.prev;
    sequence->next = &lane->ready;
    lane->ready.prev->next = sequence;
    lane->ready.prev = sequence;
    sequence->where = READY;
    lane->n_ready++;
    sched->n_ready++;
}

static void ring_remove(struct sched *sched, struct lane *lane, struct sequence *sequence)
{
    sequence->prev->next = sequence->next;
    sequence->next->prev = sequence->prev;
    sequence->next = sequence->prev = NULL;
    lane->n_ready--;
    sched->n_ready--;
}

static void leave(struct sched *sched, struct lane *lane)
{
    lane->n_active--;
    sched->n_active--;
    metrics_gauge_add(sched->shard->metrics, G_ACTIVE, -1);
}

/* ---- Lanes ---- */

static void lane_free(struct lane *lane)
{
    if (lane == NULL)
        return;
    rnn_scratch_free(lane->scratch);
    rnn_model_unref(lane->model);
    free(lane->batch);
    free(lane->rows);
    free(lane->logits);
    free(lane->hidden);
    free(lane);
}

static float *matrix_new(size_t rows, size_t width)
{
    size_t n;

    if (!checked_mul(rows, width > 0 ? width : 1, &n))
        return NULL;
    return calloc(n, sizeof(float));
}

static int lane_new(struct lane **out, struct rnn_model *model, size_t rows_max,
                    struct rnn_err *err)
{
    const struct rnn_model_info *info = rnn_model_info(model);
    struct lane *lane = calloc(1, sizeof(*lane));
    int rc;

    if (lane == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory to compute in");
    lane->model = rnn_model_ref(model);
    lane->output_size = info->output_size;
    lane->hidden_width = info->hidden_width;
    lane->ready.next = lane->ready.prev = &lane->ready;
    lane->batch = calloc(rows_max, sizeof(struct sequence *));
    lane->rows = calloc(rows_max, sizeof(struct rnn_row));
    lane->logits = matrix_new(rows_max, lane->output_size);
    lane->hidden = matrix_new(rows_max, lane->hidden_width);
    if (lane->batch == NULL || lane->rows == NULL || lane->logits == NULL || lane->hidden == NULL)
        rc = rnn_fail(err, RNN_ENOMEM, "no memory to compute in");
    else
        rc = rnn_scratch_new(&lane->scratch, model, rows_max, err);
    if (rc < 0) {
        lane_free(lane);
        return rc;
    }
    *out = lane;
    return 0;
}

static int lane_of(struct sched *sched, struct rnn_model *model, struct lane **out,
                   struct rnn_err *err)
{
    struct lane *lane;
    int rc;

    for (lane = sched->lanes; lane != NULL; lane = lane->next) {
        if (lane->model == model) {
            lane->forgotten = false;
            *out = lane;
            return 0;
        }
    }
    rc = lane_new(&lane, model, sched->rows_max, err);
    if (rc < 0)
        return rc;
    lane->next = sched->lanes;
    sched->lanes = lane;
    *out = lane;
    return 0;
}

static void sweep_forgotten(struct sched *sched)
{
    struct lane **at = &sched->lanes;

    while (*at != NULL) {
        struct lane *lane = *at;

        if (!lane->forgotten || lane->n_active > 0) {
            at = &lane->next;
            continue;
        }
        *at = lane->next;
        lane_free(lane);
    }
}

/* ---- One step ---- */

static double seconds_now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Takes up to rows_max sequences off the head of the ring. */
static size_t batch_take(struct sched *sched, struct lane *lane)
{
    size_t n = 0;

    while (n < sched->rows_max && lane->n_ready > 0) {
        struct sequence *sequence = lane->ready.next;

        ring_remove(sched, lane, sequence);
        sequence->where = STEPPING;
        lane->batch[n++] = sequence;
    }
    return n;
}

/* After a step: takes back those of the last batch that went on reading. */
static size_t batch_keep_readers(struct sched *sched, struct lane *lane, size_t n_batch)
{
    size_t n = 0;

    for (size_t i = 0; i < n_batch; i++) {
        struct sequence *sequence = lane->batch[i];

        if (sequence == NULL || sequence->where != READY || !sequence->reading)
            continue;
        ring_remove(sched, lane, sequence);
        sequence->where = STEPPING;
        lane->batch[n++] = sequence;
    }
    return n;
}

static size_t rows_fill(struct lane *lane, size_t n)
{
    size_t n_head = 0;

    for (size_t i = 0; i < n; i++) {
        const struct sequence *sequence = lane->batch[i];

        lane->rows[i] = (struct rnn_row){
            .state = sequence->state,
            .input = sequence->input,
            .token = sequence->token,
            .frame = sequence->frame,
            .pass = sequence->pass,
            .memory = sequence->memory,
            .logits = sequence->want_logits ? lane->logits + i * lane->output_size : NULL,
            .hidden =
                sequence->want_hidden ? lane->hidden + i * lane->hidden_width : sequence->hidden_to,
            .gates = sequence->gates_to,
        };
        n_head += sequence->want_logits;
    }
    return n_head;
}

static void step(struct sched *sched, struct lane *lane, size_t n)
{
    struct metrics *metrics = sched->shard->metrics;
    size_t n_head = rows_fill(lane, n);
    double began = seconds_now();

    rnn_step(lane->model, lane->scratch, lane->rows, n);
    metrics_observe(metrics, H_STEP, seconds_now() - began);
    metrics_observe(metrics, H_BATCH, (double)n);
    metrics_count(metrics, M_STEPS, 1);
    metrics_count(metrics, M_STEP_ROWS, n);
    metrics_count(metrics, M_HEAD_ROWS, n_head);
}

/* Tells each sequence of the batch; leaves in batch[] only what may still be looked at. */
static void hand_out(struct sched *sched, struct lane *lane, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct sequence *sequence = lane->batch[i];
        enum sequence_next next;

        if (sequence == NULL)
            continue;
        sequence->where = OUT; /* it may be gone when `stepped` returns SEQUENCE_DONE */
        next = sequence->stepped(sequence, lane->rows[i].logits, lane->rows[i].hidden);
        switch (next) {
        case SEQUENCE_READY:
            ring_append(sched, lane, sequence);
            break;
        case SEQUENCE_PAUSED:
            sequence->where = PAUSED;
            lane->batch[i] = NULL;
            break;
        case SEQUENCE_DONE:
            lane->batch[i] = NULL;
            leave(sched, lane);
            break;
        }
    }
}

static void lane_turn(struct sched *sched, struct lane *lane)
{
    int64_t steps_max = shard_config(sched->shard)->prompt_steps_per_turn;
    size_t n = batch_take(sched, lane);

    for (int64_t i = 0; n > 0; n = batch_keep_readers(sched, lane, n)) {
        step(sched, lane, n);
        hand_out(sched, lane, n);
        if (++i >= steps_max)
            return;
    }
}

/* ---- Public ---- */

int sched_new(struct sched **out, struct shard *shard, struct rnn_err *err)
{
    struct sched *sched = calloc(1, sizeof(*sched));

    if (sched == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for a scheduler");
    sched->shard = shard;
    sched->rows_max = (size_t)shard_config(shard)->batch_rows_max;
    *out = sched;
    return 0;
}

void sched_free(struct sched *sched)
{
    if (sched == NULL)
        return;
    while (sched->lanes != NULL) {
        struct lane *lane = sched->lanes;

        assert(lane->n_active == 0);
        sched->lanes = lane->next;
        lane_free(lane);
    }
    free(sched);
}

int sched_start(struct sched *sched, struct sequence *sequence, struct rnn_err *err)
{
    struct lane *lane;
    int rc = lane_of(sched, sequence->model, &lane, err);

    if (rc < 0)
        return rc;
    sequence->lane = lane;
    ring_append(sched, lane, sequence);
    lane->n_active++;
    sched->n_active++;
    metrics_gauge_add(sched->shard->metrics, G_ACTIVE, 1);
    shard_keep_turning(sched->shard);
    return 0;
}

void sched_resume(struct sched *sched, struct sequence *sequence)
{
    if (sequence->where != PAUSED)
        return;
    ring_append(sched, sequence->lane, sequence);
    shard_keep_turning(sched->shard);
}

static void batch_forget(struct lane *lane, const struct sequence *sequence, size_t rows_max)
{
    for (size_t i = 0; i < rows_max; i++)
        if (lane->batch[i] == sequence)
            lane->batch[i] = NULL;
}

void sched_remove(struct sched *sched, struct sequence *sequence)
{
    struct lane *lane = sequence->lane;

    if (sequence->where == OUT)
        return;
    if (sequence->where == READY)
        ring_remove(sched, lane, sequence);
    if (sched->turning)
        batch_forget(lane, sequence, sched->rows_max);
    sequence->where = OUT;
    leave(sched, lane);
    if (!sched->turning)
        sweep_forgotten(sched);
}

bool sched_turn(struct sched *sched)
{
    bool swept = false;

    sched->turning = true;
    for (struct lane *lane = sched->lanes; lane != NULL; lane = lane->next) {
        lane_turn(sched, lane);
        swept |= lane->forgotten;
    }
    sched->turning = false;
    if (swept)
        sweep_forgotten(sched);
    return sched->n_ready > 0;
}

bool sched_idle(const struct sched *sched)
{
    return sched->n_ready == 0;
}

size_t sched_active(const struct sched *sched)
{
    return sched->n_active;
}

void sched_forget(struct sched *sched, const struct rnn_model *model)
{
    for (struct lane *lane = sched->lanes; lane != NULL; lane = lane->next)
        if (lane->model == model)
            lane->forgotten = true;
    if (!sched->turning)
        sweep_forgotten(sched);
}
