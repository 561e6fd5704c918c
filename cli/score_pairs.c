/* rnnd score, of models that answer: each line of the file is an input, a tab, and what should come
 * out: a text or ids for a translator or captioner, scored to its end as POST /score does; a label
 * for an input, or one for each of its steps. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "cli/score.h"
#include "cli/signals.h"

bool score_in_pairs(const struct rnn_model_info *info)
{
    return engine_decodes(info) ||
           (info->has_head && info->activation == RNN_HEAD_SOFTMAX && !info->language_model);
}

/* ---- What should come out ---- */

static int read_text(struct feed *out, const struct score *s, const char *text, size_t len)
{
    struct rnn_encoder encoder = {0};
    struct rnn_err err = {0};
    size_t bytes;

    if (!checked_mul(len + 1, sizeof *out->ids, &bytes) || !(out->ids = malloc(bytes)))
        return cli_fail("out of memory");
    if (rnn_encode_target(s->engine.model, &encoder, text, len, true, out->ids, &out->n, &err) < 0)
        return cli_fail("%s, line %llu: %s", s->name, (unsigned long long)s->examples, err.text);
    return CLI_OK;
}

static int64_t find_label(const struct rnn_model_info *info, const char *name, size_t len)
{
    for (size_t i = 0; i < info->output_size; i++)
        if (strlen(info->labels[i]) == len && memcmp(info->labels[i], name, len) == 0)
            return (int64_t)i;
    return -1;
}

/* One label, spaces and all; or one for each step, between spaces. */
static int read_labels(struct feed *out, const struct score *s, const char *text, size_t len)
{
    const struct rnn_model_info *info = s->engine.info;
    bool one = info->topology == RNN_MANY_TO_ONE;

    if (!(out->ids = calloc(len / 2 + 1, sizeof *out->ids)))
        return cli_fail("out of memory");
    for (size_t at = 0; at < len;) {
        size_t n = one ? len : strcspn(text + at, " ");
        int64_t id = find_label(info, text + at, n);

        if (id < 0)
            return cli_fail("%s, line %llu: this model has no label '%.*s'", s->name,
                            (unsigned long long)s->examples, (int)(n > 40 ? 40 : n), text + at);
        out->ids[out->n++] = (uint32_t)id;
        at += n + 1;
    }
    return CLI_OK;
}

static int read_target(struct feed *out, const struct score *s, const char *text, size_t len)
{
    const struct rnn_model_info *info = s->engine.info;

    if (info->labels)
        return read_labels(out, s, text, len);
    if (cli_given(s->args, "ids") || !info->tokenizer || !engine_decodes(info))
        return feed_ids(out, info->output_size, text, len);
    return read_text(out, s, text, len);
}

/* ---- A line ---- */

/* The token that the output of a step should have been; -1: none is known. */
static int64_t wanted(const struct score *s, const struct feed *target, size_t step)
{
    int64_t eos = s->engine.info->eos;

    if (s->engine.info->topology == RNN_MANY_TO_ONE)
        step = 0;
    if (step < target->n)
        return (int64_t)target->ids[step];
    return target->n > 0 && target->ids[target->n - 1] == eos ? -1 : eos;
}

static int score_pair(struct score *s, const struct feed *input, const struct feed *target)
{
    const struct rnn_model_info *info = s->engine.info;
    struct rnn_walk_input from = feed_walk(input);
    size_t step, n = info->topology == RNN_MANY_TO_ONE ? 1 : info->repeat ? info->repeat : input->n;
    int status;

    if (!engine_decodes(info) && target->n != n)
        return cli_fail("%s, line %llu: want %zu labels behind the tab, found %zu", s->name,
                        (unsigned long long)s->examples, n, target->n);
    if (engine_decodes(info)) {
        from.target = target->ids;
        from.n_target = target->n;
    }
    from.last_only = false;
    engine_reset(&s->engine, 0);
    status = engine_begin(&s->engine, &from);
    while (status == CLI_OK && engine_next(&s->engine, &step)) {
        int64_t id = wanted(s, target, step);

        if (id >= 0)
            score_token(s, (uint32_t)id);
    }
    return status;
}

static int score_line(struct score *s, char *line, size_t len)
{
    char *tab = memchr(line, '\t', len);
    struct feed input = {0}, target = {0};
    int status;

    s->examples++;
    if (!tab)
        return cli_fail("%s, line %llu: want an input, a tab, and what should come out", s->name,
                        (unsigned long long)s->examples);
    *tab = '\0';
    status = feed_parse(&input, &s->engine, s->args, line, (size_t)(tab - line));
    if (status == CLI_OK)
        status = read_target(&target, s, tab + 1, len - (size_t)(tab + 1 - line));
    if (status == CLI_OK)
        status = score_pair(s, &input, &target);
    feed_free(&input);
    feed_free(&target);
    return status;
}

int score_pairs(struct score *s)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    int status = CLI_OK;

    while (status == CLI_OK && !signals_arrived() && (len = getline(&line, &cap, s->in)) >= 0) {
        while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
            line[--len] = '\0';
        if (len > 0)
            status = score_line(s, line, (size_t)len);
    }
    if (status == CLI_OK && ferror(s->in) && !signals_arrived())
        status = cli_fail("%s: %s", s->name, strerror(errno));
    free(line);
    return status;
}
