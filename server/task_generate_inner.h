/* What the files of generate share, and nobody else.
 *
 *   task_generate.c         preparing, drawing, stepping
 *   task_generate_frames.c  what is other where a model writes frames, not tokens
 *   task_generate_answer.c  what goes out: events of a stream, logprobs, the answer
 *   task_generate_resume.c  taking up a stream where it broke off
 *
 * On the work shard. */
#ifndef SERVER_TASK_GENERATE_INNER_H
#define SERVER_TASK_GENERATE_INNER_H

#include "base/stop.h"
#include "server/api.h"

enum text_end { TEXT_RUNNING, TEXT_STOP, TEXT_LENGTH, TEXT_DEADLINE, TEXT_CANCELLED };

/* One text being written.  Its logprobs, as JSON, stand in its sequence's `out`, where the limit on
 * answers counts them.  Of a drawing, its frames stand there, n_tokens counts them, and sampler,
 * decoder, bytes and tokens are not used. */
struct text {
    struct rnn_sampler *sampler;
    struct rnn_decoder decoder;
    struct stop_match match;
    struct buf bytes; /* unstreamed: the text; streamed: what the next event carries */
    uint32_t *tokens; /* [n_tokens] of [cap], drawn */
    size_t n_tokens, cap;
    double logprob;   /* of the tokens, where texts are ranked by it */
    uint64_t last_ns; /* when the last token was drawn */
    enum text_end end;
    bool closing; /* the step under way is the last token's own */
    float *frame; /* [input_size], the last one of a drawing; else NULL */
    bool prompted;
};

struct generate_job {
    struct job job;
    struct generate_request what;
    const struct rnn_model_info *info;
    struct stop_set stops;
    struct text *texts;   /* [n_sequences] */
    uint32_t *top;        /* [logprobs + 1] */
    struct layers layers; /* what a stream's events show of them */
    const float *hidden;  /* of the step under way, where it is shown */
    uint64_t input_steps, output_steps;
    uint64_t begin; /* of a stream that can be taken up: the position that it began at, */
    uint64_t check; /* and the check value of all that has made it, up to what is drawn last */
};

static inline struct generate_job *generate_of(struct job *job)
{
    return (struct generate_job *)job; /* its first member */
}

/* ---- task_generate_resume.c ---- */

/* Before the first step of a stream that can be taken up, from the state that it begins at. */
void generate_begin(struct generate_job *g, const struct job_sequence *sequence);

/* The running check value takes in what was drawn: a token, or a frame. */
void generate_note_drawn(struct generate_job *g, const void *bytes, size_t len);

/* Whether what text says next has been seen, and is kept back. */
bool generate_replays(const struct generate_job *g, const struct text *text);

/* After each draw: at the place that has been seen last, whether this is the same stream, else the
 * job fails.  False: it has. */
bool generate_reach(struct generate_job *g, const struct text *text);

/* The id of an event that the text is about to send; "" where it cannot be taken up. */
void generate_id(const struct generate_job *g, const struct text *text, enum resume_cut cut,
                 char id[RESUME_BYTES]);

/* ---- task_generate_frames.c ---- */

/* In prepare, before and after the sequences are made. */
int generate_check_frames(struct generate_job *g, struct rnn_err *err);
int generate_prepare_frames(struct generate_job *g, struct rnn_err *err);

/* Draws the next frame of a drawing, gives it out, and fills in the step that feeds it. */
void generate_draw_frame(struct generate_job *g, struct job_sequence *sequence, const float *logits,
                         struct rnn_rng *rng);

/* ,"frames":[…] of a drawing that was not streamed. */
void generate_put_frames(struct generate_job *g, struct buf *out, size_t index);

/* ---- task_generate_answer.c ---- */

/* {"index":…[,"input":…] where an event of text `index` begins. */
void generate_event_place(struct generate_job *g, size_t index);

/* Lets the prompt through the decoder of text `index`, once, so that what is drawn continues it (a
 * word stands behind a space); its own text goes in front where that was asked for. */
void generate_prompt(struct generate_job *g, size_t index);

/* Adds an entry to the sequence's logprobs, where they were asked for; logits NULL: the token was
 * not predicted. */
void generate_note_logprob(struct generate_job *g, struct job_sequence *sequence,
                           const float *logits, uint32_t token);

/* What an event shows of the step that its token or frame was drawn from. */
void generate_put_layers(struct generate_job *g, const struct job_sequence *sequence);

/* Writes the event of a drawn token, with all the text that the matcher has let out. */
void generate_event(struct generate_job *g, struct job_sequence *sequence, const float *logits,
                    uint32_t token);

/* Ends the texts that were cut short and writes the answer, or a stream's last
 * event. */
void generate_finish(struct job *job, enum job_end end);

#endif
