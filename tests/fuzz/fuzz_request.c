/* Request bodies: the first byte says for which endpoint, the rest is the body (or, behind 0xff,
 * the id of an event, Last-Event-ID).  Whatever is read keeps the bounds that handlers and tasks
 * rely on; whatever is refused says why; and the stop strings of a request, fed with its own text,
 * let out the same in one piece and byte by byte. */
#include <math.h>

#include "base/stop.h"
#include "fuzz.h"
#include "server/api.h"
#include "server/reply.h"

static const struct config config = {.json_depth_max = 32,
                                     .input_steps_max = 4096,
                                     .inputs_max = 16,
                                     .output_tokens_max = 1000,
                                     .choices_max = 8,
                                     .stop_max = 8,
                                     .session_ttl_max_s = 100000};

static void check_refusal(int rc, const struct rnn_err *err)
{
    check_failure(rc, err);
    HOLDS(reply_status(reply_error_of(err)) < 500);
}

static size_t check_input(const struct input *input)
{
    size_t steps = input->n;

    switch (input->kind) {
    case INPUT_EMPTY:
        HOLDS(input->n == 0);
        break;
    case INPUT_TEXT:
        HOLDS(input->text_len == strlen(input->text));
        HOLDS(input->text_len > 0 && utf8_valid(input->text, input->text_len, NULL));
        steps = utf8_length(input->text, input->text_len);
        break;
    case INPUT_TOKENS:
        HOLDS(input->n > 0 && input->tokens);
        break;
    case INPUT_FRAMES:
        HOLDS(input->n > 0 && input->odd_at > 0 && input->odd_at <= input->n);
        HOLDS(input->odd_at == input->n || input->odd_width != input->width);
        for (size_t i = 0; i < input->odd_at * input->width; i++)
            HOLDS(isfinite(input->frames[i]));
        break;
    case INPUT_FLOATS:
        HOLDS(input->n > 0);
        for (size_t i = 0; i < input->n; i++)
            HOLDS(isfinite(input->frames[i]));
        steps = 0; /* the model's width tells */
        break;
    }
    return steps;
}

static void check_common(const struct api_common *common)
{
    size_t steps = 0;

    HOLDS(common->inputs.n >= 1 && common->inputs.n <= (size_t)config.inputs_max);
    for (size_t i = 0; i < common->inputs.n; i++)
        steps += check_input(&common->inputs.items[i]);
    HOLDS(steps <= (size_t)config.input_steps_max);
    HOLDS(!common->session[0] || session_id_valid(common->session));
    HOLDS(common->session[0] || common->inputs.items[0].kind != INPUT_EMPTY);
    HOLDS(!common->inputs.batch || !common->session[0]);
    HOLDS(common->session[0] || !common->has_expect_position);
    HOLDS(common->deadline_ms >= 0);
}

static void feed_stops(const struct stop_set *set, const char *text, size_t len, size_t piece,
                       struct buf *out, int *found)
{
    struct stop_match match;
    bool ended = false;

    HOLDS(stop_match_init(&match, set));
    for (size_t at = 0; at < len && !ended; at += piece)
        ended = stop_match_feed(&match, text + at, len - at < piece ? len - at : piece, out);
    if (!ended)
        stop_match_flush(&match, out);
    *found = match.found;
    stop_match_free(&match);
}

static void check_stops(const struct generate_request *request)
{
    const struct input *input = &request->common.inputs.items[0];
    struct buf whole = {0}, bytes = {0};
    struct stop_set set;
    int found_whole, found_bytes;

    if (input->kind != INPUT_TEXT)
        return;
    HOLDS(stop_set_init(&set, (const char *const *)request->stop, request->n_stop));
    feed_stops(&set, input->text, input->text_len, input->text_len, &whole, &found_whole);
    feed_stops(&set, input->text, input->text_len, 1, &bytes, &found_bytes);
    HOLDS(found_whole == found_bytes && whole.len == bytes.len);
    HOLDS(whole.len == 0 || memcmp(whole.data, bytes.data, whole.len) == 0);
    HOLDS(utf8_valid(whole.data ? whole.data : "", whole.len, NULL));
    buf_free(&whole);
    buf_free(&bytes);
    stop_set_free(&set);
}

static void check_generate(const struct generate_request *g)
{
    const struct rnn_sampling *s = &g->sampling;

    check_common(&g->common);
    HOLDS(g->max_tokens <= (uint64_t)config.output_tokens_max && g->max_name);
    HOLDS(g->n >= 1 && g->n <= (size_t)config.choices_max);
    HOLDS(g->n == 1 || !g->common.session[0] || !g->common.commit);
    HOLDS(s->temperature >= 0 && s->temperature <= 100);
    HOLDS(s->top_p > 0 && s->top_p <= 1 && s->typical_p > 0 && s->typical_p <= 1);
    HOLDS(s->min_p >= 0 && s->min_p <= 1 && s->repetition_penalty > 0);
    HOLDS(isfinite(s->presence_penalty) && isfinite(s->frequency_penalty));
    HOLDS(g->logprobs >= -1 && g->seed <= (uint64_t)JSON_INT_MAX);
    HOLDS(g->n_stop <= (size_t)config.stop_max);
    for (size_t i = 0; i < g->n_stop; i++)
        HOLDS(g->stop[i][0] != '\0');
    for (size_t i = 0; i < g->n_bias; i++)
        HOLDS(g->bias[i].key && isfinite(g->bias[i].bias));
    check_stops(g);
}

/* ---- One endpoint each ---- */

static void try_predict(const char *text, size_t len)
{
    struct predict_request request;
    struct rnn_err err = {0};
    int rc = predict_read(&request, text, len, &config, &err);

    if (rc < 0) {
        check_refusal(rc, &err);
        return;
    }
    check_common(&request.common);
    HOLDS(request.steps <= PREDICT_STEPS_MODEL && request.returns < 8);
    HOLDS(request.candidates.n >= 1 && request.candidates.n <= (size_t)config.inputs_max);
    predict_request_free(&request);
}

static void try_generate(const char *text, size_t len)
{
    struct generate_request request;
    struct rnn_err err = {0};
    int rc = generate_read(&request, text, len, &config, &err);

    if (rc < 0) {
        check_refusal(rc, &err);
        return;
    }
    check_generate(&request);
    generate_request_free(&request);
}

static void try_score(const char *text, size_t len)
{
    struct score_request request;
    struct rnn_err err = {0};
    int rc = score_read(&request, text, len, &config, &err);

    if (rc < 0) {
        check_refusal(rc, &err);
        return;
    }
    check_common(&request.common);
    score_request_free(&request);
}

static void try_session(const char *text, size_t len)
{
    struct session_request request;
    struct rnn_err err = {0};
    size_t count = 0;
    int rc = session_request_read(&request, text, len, &config, &err);

    if (rc < 0)
        check_refusal(rc, &err);
    else
        HOLDS((!request.id[0] || session_id_valid(request.id)) && request.ttl_s >= 0);
    err = (struct rnn_err){0};
    rc = fork_request_read(&count, text, len, &config, &err);
    if (rc < 0)
        check_refusal(rc, &err);
    else
        HOLDS(count >= 1 && count <= 1024);
}

static void try_tokens(const char *text, size_t len)
{
    struct tokens_request request;
    struct rnn_err err = {0};
    int rc = tokenize_read(&request, text, len, &config, &err);

    if (rc < 0)
        check_refusal(rc, &err);
    else
        HOLDS(utf8_valid(request.text, strlen(request.text), NULL));
    if (rc == 0)
        tokens_request_free(&request);
    err = (struct rnn_err){0};
    rc = detokenize_read(&request, text, len, &config, &err);
    if (rc < 0) {
        check_refusal(rc, &err);
        return;
    }
    HOLDS(request.n <= (size_t)config.input_steps_max);
    tokens_request_free(&request);
}

static void try_resume(const char *text, size_t len)
{
    struct resume resume = {0}, again = {0};
    char *id = malloc(len + 1), written[RESUME_BYTES];

    HOLDS(id);
    memcpy(id, text, len);
    id[len] = '\0';
    if (resume_read(&resume, id)) {
        HOLDS(resume.given && strlen(id) == len);
        resume_write(written, &resume);
        HOLDS(strlen(written) < RESUME_BYTES && resume_read(&again, written));
        HOLDS(again.start == resume.start && again.seen == resume.seen);
        HOLDS(again.stream == resume.stream && again.check == resume.check);
        HOLDS(again.cut == resume.cut);
    } else {
        HOLDS(!resume.given);
    }
    free(id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(const char *, size_t) = {try_predict, try_generate, try_score,
                                                          try_session, try_tokens};
    const char *text = (const char *)data + 1;

    if (size > 0 && data[0] == 0xff)
        try_resume(text, strnlen(text, size - 1));
    else if (size > 0)
        tries[data[0] % 5](text, size - 1);
    return 0;
}
