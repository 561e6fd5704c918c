/* Generate, taking up a stream where it broke off.  See resume.h.
 *
 * The text is computed again from where it began, by the same steps; the events of what has been
 * seen are not sent.  When it has come to that place, the check value in the id says whether this
 * is the stream that the id is of.  If not, nothing has been sent or committed by then, and the
 * answer is an error.  On the work shard. */
#include "server/task_generate_inner.h"

#include <string.h>

#include "server/metrics.h"

static void add(struct generate_job *g, const void *bytes, size_t len)
{
    g->check = resume_check(g->check, bytes, len);
}

static void refuse(struct generate_job *g, const char *why)
{
    job_fail(&g->job, REPLY_OTHER_STREAM, g->what.resume_by, "%s: %s", g->what.resume_by, why);
}

/* At the place that has been seen last. */
static void compare(struct generate_job *g)
{
    if (resume_fold(g->check) != g->what.resume.check)
        refuse(g, "this request does not write the stream that the id is of; the body, the weights "
                  "or where it begins are others");
    else
        metrics_count(g->job.work->metrics, M_RESUMED, 1);
}

void generate_begin(struct generate_job *g, const struct job_sequence *sequence)
{
    const struct rnn_walk_input *input = &sequence->input;

    if (!g->job.resumable)
        return;
    g->begin = sequence->step.state->position;
    g->check = g->what.check;
    add(g, g->info->fingerprint, sizeof g->info->fingerprint);
    add(g, sequence->step.state, g->job.state_bytes);
    if (input->tokens)
        add(g, input->tokens, input->n * sizeof *input->tokens);
    if (input->frames)
        add(g, input->frames, input->n * g->info->input_size * sizeof *input->frames);
    if (g->job.resumes && g->what.resume.seen == 0)
        compare(g);
    else if (g->what.resume.seen > g->what.max_tokens)
        refuse(g, "the id is of an event that this request never comes to");
}

void generate_note_drawn(struct generate_job *g, const void *bytes, size_t len)
{
    if (g->job.resumable)
        add(g, bytes, len);
}

bool generate_replays(const struct generate_job *g, const struct text *text)
{
    return g->job.resumes && text->n_tokens <= g->what.resume.seen;
}

bool generate_reach(struct generate_job *g, const struct text *text)
{
    if (!generate_replays(g, text))
        return true;
    metrics_count(g->job.work->metrics, M_TOKENS_REPLAYED, 1);
    if (text->n_tokens == g->what.resume.seen)
        compare(g);
    else if (text->end != TEXT_RUNNING)
        refuse(g, "the id is of an event that this request never comes to");
    return g->job.end != JOB_FAILED;
}

void generate_id(const struct generate_job *g, const struct text *text, enum resume_cut cut,
                 char id[RESUME_BYTES])
{
    const struct resume place = {.start = g->begin,
                                 .seen = text->n_tokens,
                                 .stream =
                                     g->job.session_id[0] ? g->job.stream_number : g->job.seed,
                                 .check = resume_fold(g->check),
                                 .cut = cut};

    id[0] = '\0';
    if (g->job.resumable)
        resume_write(id, &place);
}
