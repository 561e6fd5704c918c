/* Beam search (as Sutskever, Vinyals and Le 2014 use it for translation).  See core/rnn.h.
 *
 * Tokens stand in a tree that only grows: a hypothesis is its last node, and its text is read from
 * there to the root when the search is over. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "core/rnn.h"

#define ROOT SIZE_MAX

struct node {
    size_t parent; /* ROOT: it is a first token */
    uint32_t token;
};

struct hypothesis {
    size_t node; /* ROOT: nothing yet */
    size_t length;
    double logprob;
    bool ended;
};

struct candidate {
    size_t live;
    uint32_t token;
    double logprob; /* of the whole beginning */
};

struct rnn_beam {
    struct rnn_beam_options options;
    size_t n_tokens;
    struct node *nodes;
    size_t n_nodes, cap_nodes;
    struct hypothesis *live, *next; /* [width] */
    size_t n_live;
    struct hypothesis *finished; /* [2 * width] */
    size_t n_finished;
    struct candidate *candidates; /* [width * per_live] */
    size_t n_candidates, per_live;
    uint32_t *top; /* [per_live] */
    uint32_t **texts;
    size_t n_texts;
    size_t length; /* tokens of every live beginning */
};

int rnn_beam_new(struct rnn_beam **out, size_t n_tokens, const struct rnn_beam_options *options,
                 struct rnn_err *err)
{
    struct rnn_beam *beam = calloc(1, sizeof *beam);
    size_t width = options->width, n;

    if (!beam)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    beam->options = *options;
    beam->n_tokens = n_tokens;
    beam->per_live = width < n_tokens ? width + 1 : n_tokens; /* one of them may be eos */
    if (!checked_mul(width, beam->per_live, &n))
        n = SIZE_MAX / sizeof *beam->candidates; /* more than there is */
    beam->live = calloc(width, sizeof *beam->live);
    beam->next = calloc(width, sizeof *beam->next);
    beam->finished = calloc(2 * width, sizeof *beam->finished);
    beam->candidates = calloc(n, sizeof *beam->candidates);
    beam->top = calloc(beam->per_live, sizeof *beam->top);
    if (!beam->live || !beam->next || !beam->finished || !beam->candidates || !beam->top) {
        rnn_beam_free(beam);
        return rnn_fail(err, RNN_ENOMEM, "out of memory: a beam of %zu", width);
    }
    beam->live[0] = (struct hypothesis){.node = ROOT};
    beam->n_live = 1;
    *out = beam;
    return 0;
}

void rnn_beam_free(struct rnn_beam *beam)
{
    if (!beam)
        return;
    for (size_t i = 0; i < beam->n_texts; i++)
        free(beam->texts[i]);
    free(beam->texts);
    free(beam->nodes);
    free(beam->live);
    free(beam->next);
    free(beam->finished);
    free(beam->candidates);
    free(beam->top);
    free(beam);
}

void rnn_beam_offer(struct rnn_beam *beam, size_t live, const float *logits)
{
    double norm = rnn_log_sum_exp(logits, beam->n_tokens);
    size_t n = rnn_top(logits, beam->n_tokens, beam->per_live, beam->top);

    for (size_t i = 0; i < n; i++)
        beam->candidates[beam->n_candidates++] = (struct candidate){
            .live = live,
            .token = beam->top[i],
            .logprob = beam->live[live].logprob + ((double)logits[beam->top[i]] - norm)};
}

static int by_logprob(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;

    if (a->logprob != b->logprob)
        return a->logprob > b->logprob ? -1 : 1;
    if (a->live != b->live)
        return a->live < b->live ? -1 : 1;
    return a->token < b->token ? -1 : a->token > b->token;
}

static bool extend(struct rnn_beam *beam, const struct candidate *candidate, struct hypothesis *out)
{
    if (beam->n_nodes == beam->cap_nodes) {
        size_t cap = beam->cap_nodes ? 2 * beam->cap_nodes : 64;
        struct node *grown = realloc(beam->nodes, cap * sizeof *grown);

        if (!grown)
            return false;
        beam->nodes = grown;
        beam->cap_nodes = cap;
    }
    beam->nodes[beam->n_nodes] = (struct node){beam->live[candidate->live].node, candidate->token};
    *out = (struct hypothesis){.node = beam->n_nodes++,
                               .length = beam->length,
                               .logprob = candidate->logprob,
                               .ended = (int64_t)candidate->token == beam->options.eos};
    return true;
}

static bool is_over(const struct rnn_beam *beam)
{
    return beam->n_finished >= beam->options.width || beam->n_live == 0 ||
           beam->length == beam->options.max_tokens;
}

/* What is live at the end counts, as far as there is room behind the finished ones. */
static void finish_live(struct rnn_beam *beam)
{
    for (size_t i = 0; i < beam->n_live && beam->length == beam->options.max_tokens &&
                       beam->n_finished < 2 * beam->options.width;
         i++)
        beam->finished[beam->n_finished++] = beam->live[i];
    beam->n_live = 0;
}

int rnn_beam_advance(struct rnn_beam *beam, struct rnn_beam_step *steps, size_t *n,
                     struct rnn_err *err)
{
    size_t width = beam->options.width, n_next = 0;
    struct hypothesis *last = beam->live;

    qsort(beam->candidates, beam->n_candidates, sizeof *beam->candidates, by_logprob);
    beam->length++;
    for (size_t i = 0; i < beam->n_candidates && n_next < width && beam->n_finished < width; i++) {
        const struct candidate *candidate = &beam->candidates[i];
        struct hypothesis grown;

        if (!extend(beam, candidate, &grown))
            return rnn_fail(err, RNN_ENOMEM, "out of memory: a beam of %zu", width);
        if (grown.ended) {
            beam->finished[beam->n_finished++] = grown;
            continue;
        }
        steps[n_next] = (struct rnn_beam_step){candidate->live, candidate->token};
        beam->next[n_next++] = grown;
    }
    beam->live = beam->next;
    beam->next = last;
    beam->n_live = n_next;
    beam->n_candidates = 0;
    if (is_over(beam))
        finish_live(beam);
    *n = beam->n_live;
    return 0;
}

/* ---- Texts ---- */

static double score(const struct rnn_beam *beam, const struct hypothesis *hypothesis)
{
    return hypothesis->logprob / pow((double)hypothesis->length, beam->options.length_penalty);
}

/* Finished ones from best to worst; they are few, and equal ones keep their order. */
static void rank(struct rnn_beam *beam)
{
    for (size_t i = 1; i < beam->n_finished; i++) {
        struct hypothesis moving = beam->finished[i];
        size_t at = i;

        for (; at > 0 && score(beam, &beam->finished[at - 1]) < score(beam, &moving); at--)
            beam->finished[at] = beam->finished[at - 1];
        beam->finished[at] = moving;
    }
}

static uint32_t *spell(const struct rnn_beam *beam, const struct hypothesis *hypothesis)
{
    uint32_t *tokens = malloc(hypothesis->length * sizeof *tokens);
    size_t node = hypothesis->node;

    for (size_t i = hypothesis->length; tokens && i > 0; i--) {
        tokens[i - 1] = beam->nodes[node].token;
        node = beam->nodes[node].parent;
    }
    return tokens;
}

int rnn_beam_texts(struct rnn_beam *beam, struct rnn_beam_text *texts, size_t max, size_t *n,
                   struct rnn_err *err)
{
    rank(beam);
    *n = beam->n_finished < max ? beam->n_finished : max;
    beam->texts = calloc(*n + 1, sizeof *beam->texts);
    for (size_t i = 0; beam->texts && i < *n; i++) {
        const struct hypothesis *hypothesis = &beam->finished[i];

        beam->texts[i] = spell(beam, hypothesis);
        if (!beam->texts[i])
            return rnn_fail(err, RNN_ENOMEM, "out of memory: texts of a beam");
        beam->n_texts++;
        texts[i] = (struct rnn_beam_text){beam->texts[i], hypothesis->length, hypothesis->logprob,
                                          score(beam, hypothesis), hypothesis->ended};
    }
    return beam->texts ? 0 : rnn_fail(err, RNN_ENOMEM, "out of memory: texts of a beam");
}
