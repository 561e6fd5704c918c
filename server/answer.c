/* What answers have in common.  See answer.h. */
#include "server/answer.h"

#include <string.h>
#include <time.h>

void answer_text(struct buf *out, const char *text)
{
    if (text)
        buf_json_string(out, text, strlen(text));
    else
        buf_puts(out, "null");
}

void answer_time(struct buf *out, int64_t unix_ms)
{
    int64_t ms = unix_ms % 1000;
    time_t seconds = (time_t)(unix_ms / 1000 - (ms < 0));
    struct tm tm = {0};

    if (ms < 0)
        ms += 1000;
    if (!gmtime_r(&seconds, &tm)) {
        buf_puts(out, "null");
        return;
    }
    buf_printf(out, "\"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\"", tm.tm_year + 1900, tm.tm_mon + 1,
               tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)ms);
}

void answer_open(struct job *job)
{
    struct buf *out = &job->out;
    const char *model = job->model_name[0] ? job->model_name : rnn_model_info(job->model)->name;

    buf_puts(out, "{\"id\":");
    answer_text(out, job->request_id);
    buf_puts(out, ",\"model\":");
    answer_text(out, model);
    if (job->return_state) {
        buf_puts(out, ",\"state\":");
        job_seal(job);
    }
    if (!job->session_id[0])
        return;
    buf_puts(out, ",\"session\":{\"id\":");
    answer_text(out, job->session_id);
    buf_puts(out, ",\"position\":");
    buf_u64(out, job->view.position);
    buf_puts(out, ",\"expires_at\":");
    answer_time(out, job->view.expires_unix_ms);
    buf_putc(out, '}');
}

void answer_close(struct buf *out, const struct job *job, uint64_t input_steps,
                  int64_t output_steps)
{
    buf_puts(out, ",\"usage\":{\"input_steps\":");
    buf_u64(out, input_steps);
    if (output_steps >= 0) {
        buf_puts(out, ",\"output_steps\":");
        buf_i64(out, output_steps);
    }
    buf_puts(out, "},\"timings\":{\"queue_ms\":");
    buf_f32(out, (float)job->queue_ms);
    buf_puts(out, ",\"compute_ms\":");
    buf_f32(out, (float)job->compute_ms);
    buf_puts(out, "}}");
}

static void put_result(struct buf *out, const struct job_sequence *sequence,
                       void (*put)(struct buf *out, const struct job_sequence *sequence))
{
    buf_puts(out, sequence->index ? ",{" : "{");
    put(out, sequence);
    buf_puts(out, ",\"usage\":{\"input_steps\":");
    buf_u64(out, sequence->input.n);
    buf_puts(out, "}}");
}

void answer_results(struct job *job, bool batch, size_t each, uint64_t input_steps,
                    void (*put)(struct buf *out, const struct job_sequence *sequence))
{
    answer_open(job);
    buf_puts(&job->out, batch ? ",\"results\":[" : ",");
    for (size_t i = 0; i < job->n_sequences; i += each) {
        if (batch)
            put_result(&job->out, &job->sequences[i], put);
        else
            put(&job->out, &job->sequences[i]);
        buf_free(&job->sequences[i].out);
    }
    if (batch)
        buf_putc(&job->out, ']');
    answer_close(&job->out, job, input_steps, -1);
}

void answer_token(struct buf *out, const struct rnn_model *model, uint32_t id)
{
    size_t len = 0;
    const char *text = rnn_token_text(model, id, &len);

    if (text) {
        buf_puts(out, "\"token\":");
        buf_json_string(out, text, len);
        buf_putc(out, ',');
    }
    buf_puts(out, "\"id\":");
    buf_u64(out, id);
}

static void put_bool(struct buf *out, const char *name, bool value)
{
    buf_puts(out, name);
    buf_puts(out, value ? "true" : "false");
}

void answer_ids(struct buf *out, const uint32_t *tokens, size_t n)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_putc(out, ',');
        buf_u64(out, tokens[i]);
    }
    buf_putc(out, ']');
}

void answer_decoded(struct buf *out, const struct rnn_model *model, struct rnn_decoder decoder,
                    const uint32_t *tokens, size_t n)
{
    struct buf bytes = {0};

    for (size_t i = 0; i < n; i++) {
        const char *piece = "";
        size_t len = rnn_decode(model, &decoder, tokens[i], &piece);

        buf_put(&bytes, piece, len);
    }
    buf_json_string(out, bytes.data ? bytes.data : "", bytes.len);
    out->failed |= bytes.failed;
    buf_free(&bytes);
}

void answer_session(struct buf *out, const struct session_view *view, struct models *models)
{
    buf_puts(out, "{\"id\":");
    answer_text(out, view->id);
    buf_puts(out, ",\"model\":");
    answer_text(out, view->model);
    buf_puts(out, ",\"fingerprint\":");
    answer_text(out, view->fingerprint);
    put_bool(out, ",\"current\":", models_serves(models, view->model, view->fingerprint));
    buf_puts(out, ",\"position\":");
    buf_u64(out, view->position);
    buf_puts(out, ",\"created_at\":");
    answer_time(out, view->created_unix_ms);
    buf_puts(out, ",\"last_used_at\":");
    answer_time(out, view->used_unix_ms);
    buf_puts(out, ",\"expires_at\":");
    answer_time(out, view->expires_unix_ms);
    buf_puts(out, ",\"ttl_seconds\":");
    buf_i64(out, view->ttl_s);
    buf_puts(out, ",\"bytes\":");
    buf_u64(out, view->bytes);
    if (view->usable) {
        buf_puts(out, ",\"penalty_memory\":");
        buf_u64(out, view->window);
    }
    put_bool(out, ",\"resident\":", view->resident);
    put_bool(out, ",\"usable\":", view->usable);
    put_bool(out, ",\"busy\":", view->busy);
    buf_puts(out, ",\"waiting\":");
    buf_u64(out, view->waiting);
}
