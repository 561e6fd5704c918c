/* Modules into a chain, by search.  See chain.h.
 *
 * Depth first over at most 24 modules with a bound on the steps: real models have two to ten, and
 * widths rule out nearly every branch. */
#include "import/chain.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS_MAX = 200000 };

struct search {
    const struct element *const *elements;
    size_t n, n_recurrent;
    bool ordered;
    bool used[CHAIN_MAX];
    struct chain chain;
    size_t recurrent_in, steps;
    size_t best_count;
    size_t best_disorder;
    struct chain_ways *ways;
};

/* ---- Judging a way ---- */

/* Whether two names differ in a number only, and a's is the larger: "cell_1" after "cell_0". */
static bool counts_after(const struct element *a, const struct element *b)
{
    size_t i = 0, shorter = a->name_len < b->name_len ? a->name_len : b->name_len;
    unsigned long left, right;
    char *rest_a, *rest_b;

    while (i < shorter && a->name[i] == b->name[i])
        i++;
    while (i > 0 && isdigit((unsigned char)a->name[i - 1]))
        i--;
    if (i == shorter || !isdigit((unsigned char)a->name[i]) || !isdigit((unsigned char)b->name[i]))
        return false;
    left = strtoul(a->name + i, &rest_a, 10);
    right = strtoul(b->name + i, &rest_b, 10);
    return left > right && a->name + a->name_len - rest_a == b->name + b->name_len - rest_b &&
           memcmp(rest_a, rest_b, (size_t)(a->name + a->name_len - rest_a)) == 0;
}

static bool stands_after(const struct search *s, const struct element *a, const struct element *b)
{
    if (s->ordered)
        return a->first > b->first;
    return counts_after(a, b) || (a->kind == ELEMENT_MATRIX && b->kind == ELEMENT_RNN &&
                                  name_is_head(a->name, a->name_len));
}

/* Pairs that stand the other way round in the file, or are numbered so. */
static size_t disorder_of(const struct search *s)
{
    const struct chain *chain = &s->chain;
    size_t count = 0;

    for (size_t i = 0; i < chain->n; i++) {
        count += chain->embedding && stands_after(s, chain->embedding, chain->elements[i]);
        for (size_t j = i + 1; j < chain->n; j++)
            count += stands_after(s, chain->elements[i], chain->elements[j]);
    }
    return count;
}

static bool same_way(const struct chain *a, const struct chain *b)
{
    return a->embedding == b->embedding && a->n == b->n &&
           memcmp(a->elements, b->elements, a->n * sizeof *a->elements) == 0;
}

static void keep(struct search *s)
{
    size_t count = s->chain.n + (s->chain.embedding != NULL);
    size_t disorder = disorder_of(s);
    struct chain_ways *ways = s->ways;

    if (s->recurrent_in < s->n_recurrent || count < s->best_count ||
        (count == s->best_count && disorder > s->best_disorder))
        return;
    if (count > s->best_count || disorder < s->best_disorder)
        *ways = (struct chain_ways){0};
    s->best_count = count;
    s->best_disorder = disorder;
    for (size_t i = 0; i < ways->n; i++)
        if (same_way(&ways->ways[i], &s->chain))
            return;
    if (ways->n == CHAIN_WAYS)
        ways->more = true;
    else
        ways->ways[ways->n++] = s->chain;
}

/* ---- Searching ---- */

static enum name_hint hint_of(const struct element *e)
{
    return name_hint(e->name, e->name_len);
}

static bool may_embed(const struct element *e)
{
    return e->kind == ELEMENT_MATRIX && !e->tensors[NAME_BIAS] && hint_of(e) != HINT_LINEAR;
}

static bool may_follow(const struct element *e)
{
    return e->kind != ELEMENT_MATRIX || e->tensors[NAME_BIAS] || hint_of(e) != HINT_EMBEDDING;
}

/* `width` 0: whatever the first element reads. */
static void extend(struct search *s, size_t width)
{
    if (++s->steps > STEPS_MAX)
        return;
    keep(s);
    for (size_t i = 0; i < s->n; i++) {
        const struct element *e = s->elements[i];

        if (s->used[i] || !may_follow(e) || (width && e->reads != width))
            continue;
        s->used[i] = true;
        s->chain.elements[s->chain.n++] = e;
        s->recurrent_in += e->kind == ELEMENT_RNN;
        extend(s, e->gives);
        s->recurrent_in -= e->kind == ELEMENT_RNN;
        s->chain.n--;
        s->used[i] = false;
    }
}

static void search_all(struct search *s)
{
    extend(s, 0);
    for (size_t i = 0; i < s->n; i++) {
        if (!may_embed(s->elements[i]))
            continue;
        s->used[i] = true;
        s->chain.embedding = s->elements[i];
        extend(s, s->elements[i]->tensors[NAME_WEIGHT]->shape[1]);
        s->chain.embedding = NULL;
        s->used[i] = false;
    }
}

/* Of two ways that differ only in where a matrix without a bias stands, the embedding is the one
 * that reads ids: nothing else makes sense with a vocabulary as wide as the output. */
static void find_tied(struct chain *chain)
{
    const struct element *top = chain->n ? chain->elements[chain->n - 1] : NULL;

    chain->tied = NULL;
    if (chain->embedding && top && top->kind == ELEMENT_MATRIX && !top->transposed &&
        archive_same(chain->embedding->tensors[NAME_WEIGHT], top->tensors[NAME_WEIGHT]))
        chain->tied = top;
}

static int cannot(const struct search *s, struct rnn_err *err)
{
    const struct element *low = NULL, *high = NULL;

    for (size_t i = 0; i < s->n; i++)
        if (s->elements[i]->kind == ELEMENT_RNN) {
            low = low ? low : s->elements[i];
            high = s->elements[i];
        }
    if (!low)
        return rnn_fail(err, RNN_EFORMAT,
                        "there is no recurrent layer in it (no tensor named like weight_ih_l0)");
    return rnn_fail(err, RNN_ESHAPE,
                    "its recurrent modules do not follow one another: '%.*s' reads %zu and gives "
                    "%zu, '%.*s' reads %zu and gives %zu; a config.json (--config) can say how",
                    (int)low->name_len, low->name, low->reads, low->gives, (int)high->name_len,
                    high->name, high->reads, high->gives);
}

int chain_find(struct chain_ways *out, const struct element *const *elements, size_t n,
               bool ordered, struct rnn_err *err)
{
    struct search s = {.elements = elements, .n = n, .ordered = ordered, .ways = out};

    *out = (struct chain_ways){0};
    if (n > CHAIN_MAX)
        return rnn_fail(err, RNN_ELIMIT,
                        "%zu modules, at most %d are put in order; give a config.json (--config)",
                        n, CHAIN_MAX);
    for (size_t i = 0; i < n; i++)
        s.n_recurrent += elements[i]->kind == ELEMENT_RNN;
    s.best_disorder = SIZE_MAX;
    if (s.n_recurrent > 0)
        search_all(&s);
    if (out->n == 0)
        return cannot(&s, err);
    for (size_t i = 0; i < out->n; i++)
        find_tied(&out->ways[i]);
    return 0;
}

/* ---- Words ---- */

static const char *kind_word(const struct element *e)
{
    switch (e->kind) {
    case ELEMENT_RNN:
        return e->gates == 4 ? "lstm" : e->gates == 3 ? "gru" : "rnn";
    case ELEMENT_MATRIX:
        return "dense";
    case ELEMENT_NORM:
        return "layer norm";
    default:
        return "batch norm";
    }
}

void chain_words(struct buf *out, const struct chain *chain)
{
    const struct element *e = chain->embedding;

    if (e)
        buf_printf(out, "%.*s (embedding)", (int)e->name_len, e->name);
    for (size_t i = 0; i < chain->n; i++) {
        e = chain->elements[i];
        buf_printf(out, "%s%.*s%s(%s)", i || chain->embedding ? " → " : "", (int)e->name_len,
                   e->name, e->name_len ? " " : "", kind_word(e));
    }
}
