/* The entries of a vocabulary.  See token_list.h.
 *
 * From text to id by bisection: 22 comparisons for the longest list that is taken, whatever its
 * entries are. */
#include "models/token_list.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "models/vocab.h"

static int compare(const struct token *token, const char *text, size_t len)
{
    size_t shorter = token->len < len ? token->len : len;
    int order = memcmp(token->text, text, shorter);

    if (order != 0)
        return order;
    return token->len < len ? -1 : token->len > len;
}

static int by_text(const void *a, const void *b, void *tokens)
{
    const struct token *right = (const struct token *)tokens + *(const uint32_t *)b;

    return compare((const struct token *)tokens + *(const uint32_t *)a, right->text, right->len);
}

static void copy_texts(struct token_list *list, const struct cJSON *strings)
{
    struct token *token = list->tokens;
    char *at = list->bytes;

    for (const struct cJSON *item = strings->child; item; item = item->next, token++) {
        token->len = strlen(item->valuestring);
        *at++ = ' ';
        token->text = memcpy(at, item->valuestring, token->len + 1);
        at += token->len + 1;
    }
}

int token_list_make(struct token_list *out, const struct cJSON *strings, size_t n,
                    struct rnn_err *err)
{
    struct token_list list = {.n = n};
    size_t total = 0;

    for (const struct cJSON *item = strings->child; item; item = item->next)
        total += strlen(item->valuestring) + 2;
    list.tokens = calloc(n, sizeof *list.tokens);
    list.sorted = calloc(n, sizeof *list.sorted);
    list.bytes = malloc(total);
    if (!list.tokens || !list.sorted || !list.bytes) {
        token_list_free(&list);
        return rnn_fail(err, RNN_ENOMEM, "out of memory for %zu tokens", n);
    }
    copy_texts(&list, strings);
    for (size_t i = 0; i < n; i++)
        list.sorted[i] = (uint32_t)i;
    qsort_r(list.sorted, n, sizeof *list.sorted, by_text, list.tokens);
    *out = list;
    return 0;
}

void token_list_free(struct token_list *list)
{
    free(list->tokens);
    free(list->sorted);
    free(list->bytes);
    *list = (struct token_list){0};
}

int64_t token_list_find(const struct token_list *list, const char *text, size_t len)
{
    size_t low = 0, high = list->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(&list->tokens[list->sorted[middle]], text, len);

        if (order == 0)
            return list->sorted[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

const char *token_list_text(const struct token_list *list, uint32_t id, size_t *len)
{
    if (id >= list->n)
        return NULL;
    *len = list->tokens[id].len;
    return list->tokens[id].text;
}

const struct token *token_list_shown(const struct token_list *list, uint32_t id,
                                     const struct vocab_specials *specials)
{
    static const char replacement[] = " \xEF\xBF\xBD"; /* U+FFFD behind its space */
    static const struct token unknown = {replacement + 1, sizeof replacement - 2};
    static const struct token nothing = {replacement + sizeof replacement - 1, 0};

    if (id == specials->bos || id == specials->eos)
        return &nothing;
    return id == specials->unk ? &unknown : &list->tokens[id];
}
