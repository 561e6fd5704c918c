/* Generate: feeds each input, then draws token after token and feeds them back.
 *
 * A request has n_inputs × n texts, one sequence each: text j of input i is sequence i * n + j.
 * Text 0 of an input reads the prompt; when it has, all n draw their first token from the same
 * logits, each with its own stream of random numbers, and the others branch off.  So the prompt is
 * computed once, and text j is the same whatever n is.
 *
 * Every text, streamed or not, goes through the same decoder and stop matcher; a stream writes what
 * the matcher lets out as an event at once, else it gathers in the text.  A session that is to be
 * advanced also takes the step of the last token drawn, so that it stands behind it.  On the work
 * shard. */
#include "server/task_generate_inner.h"

#include <stdlib.h>
#include <string.h>

#include "server/metrics.h"

static bool leads(const struct generate_job *g, const struct job_sequence *sequence)
{
    return sequence->index % g->what.n == 0;
}

static const struct job_sequence *leader_of(const struct generate_job *g,
                                            const struct job_sequence *sequence)
{
    return sequence - sequence->index % g->what.n;
}

static int no_memory(struct rnn_err *err)
{
    return rnn_fail(err, RNN_ENOMEM, "out of memory");
}

/* ---- Preparing ---- */

/* Keys are entries of the vocabulary, or else ids in decimal digits. */
static int64_t bias_token(const struct rnn_model *model, const char *key)
{
    int64_t id = rnn_token_id(model, key, strlen(key));
    char *end;
    unsigned long number;

    if (id >= 0 || key[0] < '0' || key[0] > '9')
        return id;
    number = strtoul(key, &end, 10);
    return *end == '\0' && number < rnn_model_info(model)->output_size ? (int64_t)number : -1;
}

static int resolve_bias(const struct generate_job *g, struct rnn_logit_bias *out,
                        struct rnn_err *err)
{
    for (size_t i = 0; i < g->what.n_bias; i++) {
        const struct bias_entry *entry = &g->what.bias[i];
        int64_t id = bias_token(g->job.model, entry->key);

        if (id < 0)
            return rnn_fail_at(err, REPLY_EINPUT, "logit_bias", -1,
                               "logit_bias: this model has no token '%.40s'", entry->key);
        out[i] = (struct rnn_logit_bias){(uint32_t)id, entry->ban, entry->bias};
    }
    return 0;
}

static int prepare_text(struct generate_job *g, struct text *text,
                        const struct rnn_sampling *sampling, struct rnn_err *err)
{
    if (!stop_match_init(&text->match, &g->stops))
        return no_memory(err);
    return rnn_sampler_new(&text->sampler, g->info->output_size, sampling, err);
}

static int prepare_texts(struct generate_job *g, struct rnn_err *err)
{
    struct rnn_sampling sampling = g->what.sampling;
    struct rnn_logit_bias *bias = calloc(g->what.n_bias + 1, sizeof *bias);
    int rc;

    g->texts = calloc(g->job.n_sequences, sizeof *g->texts);
    g->top = calloc((size_t)(g->what.logprobs + 2), sizeof *g->top);
    if (!bias || !g->texts || !g->top ||
        !stop_set_init(&g->stops, (const char *const *)g->what.stop, g->what.n_stop)) {
        free(bias);
        return no_memory(err);
    }
    rc = resolve_bias(g, bias, err);
    sampling.bias = bias;
    sampling.n_bias = g->what.n_bias;
    for (size_t i = 0; rc == 0 && i < g->job.n_sequences; i++)
        rc = prepare_text(g, &g->texts[i], &sampling, err);
    free(bias);
    return rc;
}

/* The prompt's tokens have their place in `logprobs` where it is echoed. */
static bool scores_prompt(const struct generate_job *g)
{
    return g->what.echo && g->what.logprobs >= 0;
}

static int check_model(struct generate_job *g, struct rnn_err *err)
{
    if (g->info->writes_frames)
        return generate_check_frames(g, err);
    if (!g->info->language_model && !api_decodes(g->info))
        return rnn_fail_at(err, REPLY_EINPUT, "model", -1,
                           "model: only a model whose output can be its next input, a token or a "
                           "frame, can generate");
    if (strcmp(g->what.max_name, "max_frames") == 0)
        return rnn_fail_at(err, REPLY_EINPUT, "max_frames", -1,
                           "max_frames: this model writes tokens; want max_tokens");
    if (g->what.n_stop > 0 && !g->info->tokenizer)
        return rnn_fail_at(err, RNN_EUNSUPPORTED, "stop", -1,
                           "stop: this model has no vocabulary, so it writes no text");
    if (g->what.echo && api_decodes(g->info))
        return rnn_fail_at(err, REPLY_EINPUT, "echo", -1,
                           "echo: this model writes about its input, it does not continue it");
    return 0;
}

static int prepare(struct job *job, struct rnn_err *err)
{
    struct generate_job *g = generate_of(job);
    int rc;

    g->info = rnn_model_info(job->model);
    rc = check_model(g, err);
    if (rc < 0)
        return rc;
    if (!g->what.has_max_tokens && g->info->max_len > 0 && g->info->max_len < g->what.max_tokens)
        g->what.max_tokens = g->info->max_len;
    rc = api_sequences(job, &g->what.common.inputs, g->what.n, &g->input_steps, err);
    for (size_t i = 0; rc == 0 && i < job->n_sequences; i += g->what.n)
        job->sequences[i].input.last_only = !scores_prompt(g);
    if (rc == 0)
        rc = layers_prepare(&g->layers, job, api_layers(g->what.returns), err);
    if (rc < 0)
        return rc;
    return g->info->writes_frames ? generate_prepare_frames(g, err) : prepare_texts(g, err);
}

/* ---- Drawing ---- */

static bool keep_token(struct text *text, uint32_t token)
{
    if (text->n_tokens == text->cap) {
        size_t cap = text->cap ? 2 * text->cap : 64;
        uint32_t *grown = realloc(text->tokens, cap * sizeof *grown);

        if (!grown)
            return false;
        text->tokens = grown;
        text->cap = cap;
    }
    text->tokens[text->n_tokens++] = token;
    return true;
}

static void measure(struct generate_job *g, struct text *text)
{
    struct metrics *metrics = g->job.work->metrics;
    uint64_t now_ns = g->job.work->now_ns;
    bool first = text->n_tokens == g->what.resume.seen + 1;
    uint64_t since_ns = first ? g->job.received_ns : text->last_ns;
    double seconds = now_ns > since_ns ? (double)(now_ns - since_ns) / 1e9 : 0;

    metrics_observe(metrics, first ? H_FIRST_TOKEN : H_INTER_TOKEN, seconds);
    metrics_count(metrics, M_TOKENS_GENERATED, 1);
    text->last_ns = now_ns;
}

/* A text that was cut short and has let out what it held back does not go on. */
static enum text_end cut_short(enum resume_cut cut)
{
    static const enum text_end ends[] = {[RESUME_NOT_CUT] = TEXT_RUNNING,
                                         [RESUME_DEADLINE] = TEXT_DEADLINE,
                                         [RESUME_CANCELLED] = TEXT_CANCELLED};

    return ends[cut];
}

/* What the token adds to the text, and whether the text ends with it. */
static void add_token(struct generate_job *g, struct text *text, uint32_t token)
{
    const char *piece = "";
    size_t len = 0;

    if (g->info->eos >= 0 && token == (uint32_t)g->info->eos)
        text->end = TEXT_STOP;
    if (g->info->tokenizer)
        len = rnn_decode(g->job.model, &text->decoder, token, &piece);
    if (stop_match_feed(&text->match, piece, len, &text->bytes))
        text->end = TEXT_STOP;
    if (text->end == TEXT_RUNNING && text->n_tokens == g->what.max_tokens)
        text->end = TEXT_LENGTH;
    if (text->end == TEXT_RUNNING && text->n_tokens == g->what.resume.seen)
        text->end = cut_short(g->what.resume.cut);
    if (text->end != TEXT_RUNNING && text->match.found < 0)
        stop_match_flush(&text->match, &text->bytes);
}

/* Where the state remembers tokens, penalties look at those and no others.  A text's first token is
 * drawn before it has branched off from its leader. */
static void recall(struct generate_job *g, struct text *text, const struct job_sequence *sequence)
{
    const struct job_sequence *at = text->n_tokens == 0 ? leader_of(g, sequence) : sequence;
    const struct rnn_recent *recent =
        rnn_state_recent(g->job.model, at->step.state, g->job.state_bytes);

    if (recent)
        rnn_sampler_recall(text->sampler, recent);
}

static bool draw_token(struct generate_job *g, struct job_sequence *sequence, const float *logits,
                       struct rnn_rng *rng)
{
    struct text *text = &g->texts[sequence->index];
    uint32_t token;

    generate_prompt(g, sequence->index);
    recall(g, text, sequence);
    if (rnn_sample(text->sampler, logits, rng, &token) < 0) {
        job_fail(&g->job, REPLY_NOT_POSSIBLE, "logit_bias", "logit_bias: every token is banned");
        return false;
    }
    rnn_sampler_observe(text->sampler, token, true);
    if (!keep_token(text, token)) {
        job_fail(&g->job, REPLY_NO_MEMORY, NULL, "no memory for the answer");
        return false;
    }
    if (g->what.n_best < g->what.n)
        text->logprob += (double)logits[token] - rnn_log_sum_exp(logits, g->info->output_size);
    g->output_steps++;
    generate_note_drawn(g, &token, sizeof token);
    add_token(g, text, token);
    generate_note_logprob(g, sequence, logits, token);
    if (g->job.stream)
        generate_event(g, sequence, logits, token);
    job_feed_token(sequence, leader_of(g, sequence), token);
    return true;
}

static void want_hidden(const struct generate_job *g, struct job_sequence *sequence)
{
    if (sequence->step.want_logits && (g->what.returns & PREDICT_HIDDEN))
        sequence->step.want_hidden = true;
}

/* Draws what comes next in a text and fills in the step that feeds it; false where the job has
 * failed. */
static bool draw(struct generate_job *g, struct job_sequence *sequence, const float *logits,
                 struct rnn_rng *rng)
{
    struct text *text = &g->texts[sequence->index];

    if (text->frame)
        generate_draw_frame(g, sequence, logits, rng);
    else if (!draw_token(g, sequence, logits, rng))
        return false;
    if (!generate_reach(g, text))
        return false;
    if (!generate_replays(g, text))
        measure(g, text);
    sequence->step.reading = text->n_tokens < g->what.resume.seen; /* as fast as a prompt */
    g->job.partial = text->n_tokens >= g->what.resume.seen;
    sequence->step.want_logits = text->end == TEXT_RUNNING;
    want_hidden(g, sequence);
    return true;
}

/* ---- Stepping ---- */

/* Whether somebody goes on from where this text ends. */
static bool keeps_state(const struct job *job)
{
    return job->return_state || (job->session_id[0] && job->commit);
}

/* After a draw: on with it, one last step for the state's sake, or out. */
static enum sequence_next proceed(struct generate_job *g, struct job_sequence *sequence)
{
    struct text *text = &g->texts[sequence->index];

    if (text->end == TEXT_RUNNING)
        return SEQUENCE_READY;
    text->closing = true;
    return keeps_state(&g->job) ? SEQUENCE_READY : SEQUENCE_DONE;
}

/* The leader has read its prompt: the first token of each text of this input. */
static enum sequence_next draw_first(struct generate_job *g, struct job_sequence *leader,
                                     const float *logits)
{
    const struct rnn_rng start = leader->step.state->rng;

    if (!draw(g, leader, logits, &leader->step.state->rng))
        return SEQUENCE_DONE;
    for (size_t j = 1; j < g->what.n; j++) {
        struct job_sequence *sequence = leader + j;
        struct rnn_rng rng = start;

        rng.stream += (uint32_t)j;
        if (!draw(g, sequence, logits, &rng))
            return SEQUENCE_DONE;
        if (proceed(g, sequence) == SEQUENCE_READY)
            job_branch(sequence, leader, &rng);
        else
            job_close(sequence);
    }
    return proceed(g, leader);
}

static void observe_prompt(struct generate_job *g, const struct job_sequence *leader)
{
    if (g->what.sampling.repetition_penalty == 1 || api_decodes(g->info))
        return; /* nothing else looks at the prompt, and a source is of another language */
    for (size_t j = 0; j < g->what.n; j++) {
        for (size_t i = 0; i < leader->input.n; i++)
            rnn_sampler_observe(g->texts[leader->index + j].sampler, leader->input.tokens[i],
                                false);
    }
}

static void note_prompt_token(struct generate_job *g, struct job_sequence *leader,
                              const float *logits)
{
    for (size_t j = 0; scores_prompt(g) && j < g->what.n; j++)
        generate_note_logprob(g, leader + j, logits, leader->input.tokens[leader->n_fed]);
}

/* The next row of the prompt; false where all of it has been fed. */
static bool feed(struct generate_job *g, struct job_sequence *leader)
{
    if (job_feed(leader) == RNN_WALK_DONE)
        return false;
    leader->step.want_logits &= g->what.max_tokens > 0 || scores_prompt(g);
    want_hidden(g, leader);
    return true;
}

/* max_tokens 0: the prompt was all. */
static enum sequence_next end_at_once(struct generate_job *g, struct job_sequence *sequence)
{
    g->texts[sequence->index].end = TEXT_LENGTH;
    generate_prompt(g, sequence->index);
    return SEQUENCE_DONE;
}

/* A prompt that is scored in a session has its first token predicted by the state. */
static enum sequence_next read_state(struct job_sequence *leader)
{
    leader->step.input = RNN_ROW_READ;
    leader->step.want_logits = true;
    leader->step.reading = true;
    return SEQUENCE_READY;
}

static enum sequence_next first(struct job *job, struct job_sequence *sequence)
{
    struct generate_job *g = generate_of(job);

    if (!leads(g, sequence))
        return SEQUENCE_PAUSED;
    generate_begin(g, sequence);
    observe_prompt(g, sequence);
    if (sequence->input.n > 0 && scores_prompt(g) && sequence->step.state->position > 0)
        return read_state(sequence);
    if (sequence->input.n > 0)
        note_prompt_token(g, sequence, NULL);
    return feed(g, sequence) ? SEQUENCE_READY : SEQUENCE_DONE;
}

static enum sequence_next close_all(struct generate_job *g, struct job_sequence *leader)
{
    for (size_t j = 1; j < g->what.n; j++) {
        (void)end_at_once(g, leader + j);
        job_close(leader + j);
    }
    return end_at_once(g, leader);
}

static enum sequence_next stepped(struct job *job, struct job_sequence *sequence, float *logits,
                                  const float *hidden)
{
    struct generate_job *g = generate_of(job);
    struct text *text = &g->texts[sequence->index];

    g->hidden = hidden;
    if (job->end != JOB_RUNNING || text->closing)
        return SEQUENCE_DONE;
    if (text->n_tokens == 0 && sequence->n_fed > 0 && sequence->input.n > 0)
        metrics_count(job->work->metrics, M_TOKENS_PROMPT, 1);
    if (text->n_tokens == 0) {
        if (sequence->n_fed < sequence->input.n)
            note_prompt_token(g, sequence, logits);
        if (feed(g, sequence))
            return SEQUENCE_READY;
        return g->what.max_tokens == 0 ? close_all(g, sequence) : draw_first(g, sequence, logits);
    }
    return draw(g, sequence, logits, &sequence->step.state->rng) ? proceed(g, sequence)
                                                                 : SEQUENCE_DONE;
}

static void free_job(struct job *job)
{
    struct generate_job *g = generate_of(job);

    for (size_t i = 0; g->texts && i < g->what.common.inputs.n * g->what.n; i++) {
        rnn_sampler_free(g->texts[i].sampler);
        stop_match_free(&g->texts[i].match);
        buf_free(&g->texts[i].bytes);
        free(g->texts[i].tokens);
        free(g->texts[i].frame);
    }
    free(g->texts);
    free(g->top);
    layers_free(&g->layers);
    stop_set_free(&g->stops);
    generate_request_free(&g->what);
    free(g);
}

static const struct job_ops ops = {.prepare = prepare,
                                   .first = first,
                                   .stepped = stepped,
                                   .finish = generate_finish,
                                   .free = free_job};

/* Where the stream began; without a session, and where the client does not bring it, that is the
 * seed. */
static void take_up(struct job *job, const struct generate_request *what)
{
    job->resumes = what->resume_by;
    job->begin = what->resume.start;
    if (job->session_id[0]) {
        job->stream_number = what->resume.stream;
    } else if (!job->has_seed && !job->sealed) {
        job->has_seed = true;
        job->seed = what->resume.stream;
    }
}

void task_generate(struct sink *sink, struct generate_request *what)
{
    struct generate_job *g = generate_of(api_job(sink, sizeof *g, &ops, &what->common));

    if (!g)
        return;
    g->what = *what;
    *what = (struct generate_request){0};
    g->job.stream = g->what.stream;
    g->job.has_seed = g->what.has_seed;
    g->job.seed = g->what.seed;
    g->job.resumable = generate_may_resume(&g->what);
    if (g->what.resume.given)
        take_up(&g->job, &g->what);
    job_submit(&g->job);
}
