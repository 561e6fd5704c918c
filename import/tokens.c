/* Tokens of a vocabulary: what is wrong with them, and vocab.json.  See tokens.h.
 *
 * A damaged list (characters that some script has turned into two blanks and nothing) is refused
 * with the entries that are wrong, because a model that spells with them is wrong, too. */
#include "import/tokens.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/utf8.h"
#include "import/put.h"

enum { NAMED_MAX = 5 };

static int no_memory(struct rnn_err *err)
{
    return rnn_fail(err, RNN_ENOMEM, "out of memory");
}

/* ---- Tokens ---- */

void tokens_free(struct tokens *tokens)
{
    for (size_t i = 0; i < tokens->n; i++)
        free(tokens->list[i]);
    free(tokens->list);
    buf_free(&tokens->twice);
    *tokens = (struct tokens){0};
}

int tokens_init(struct tokens *tokens, size_t n, struct rnn_err *err)
{
    *tokens = (struct tokens){.n = n, .list = calloc(n + 1, sizeof *tokens->list)};
    return tokens->list ? 0 : no_memory(err);
}

static void name_twice(struct tokens *tokens, size_t id, const char *text)
{
    if (tokens->n_twice++ >= NAMED_MAX)
        return;
    buf_printf(&tokens->twice, "%s%zu (", tokens->n_twice > 1 ? ", " : "", id);
    buf_json_string(&tokens->twice, tokens->list[id], strlen(tokens->list[id]));
    buf_puts(&tokens->twice, " and ");
    buf_json_string(&tokens->twice, text, strlen(text));
    buf_putc(&tokens->twice, ')');
}

int tokens_set(struct tokens *tokens, double id, const char *text, struct rnn_err *err)
{
    size_t index;

    if (!(id >= 0 && id < (double)tokens->n) || id != (double)(size_t)id) {
        if (tokens->outside++ == 0)
            tokens->first_outside = id > -1e9 && id < 1e9 ? (int64_t)id : -1;
        return 0;
    }
    index = (size_t)id;
    if (tokens->list[index]) {
        name_twice(tokens, index, text);
        return 0;
    }
    tokens->list[index] = strdup(text);
    return tokens->list[index] ? 0 : no_memory(err);
}

/* ---- Checks ---- */

/* A list of ids in words, at most NAMED_MAX of them. */
struct naming {
    struct buf words;
    size_t n;
};

static void name(struct naming *naming, size_t id, const char *text)
{
    if (naming->n++ >= NAMED_MAX)
        return;
    buf_printf(&naming->words, "%s%zu", naming->n > 1 ? ", " : "", id);
    if (text) {
        buf_puts(&naming->words, " (");
        buf_json_string(&naming->words, text, strlen(text));
        buf_putc(&naming->words, ')');
    }
}

/* Appends "WHAT: ids" to the faults, where there are any. */
static void report(struct naming *naming, const char *what, struct buf *faults)
{
    if (naming->n > 0) {
        buf_printf(faults, "%s%s: ", faults->len ? "; " : "", what);
        buf_put(faults, naming->words.data, naming->words.len);
        buf_puts(faults, naming->n > NAMED_MAX ? ", …" : "");
    }
    buf_free(&naming->words);
}

/* Ids without an entry; where 0 alone has none, it is for padding. */
static int check_holes(struct tokens *tokens, struct archive *notes, struct buf *faults,
                       struct rnn_err *err)
{
    struct naming naming = {0};

    if (tokens->n > 1 && !tokens->list[0] && tokens->list[1]) {
        tokens->list[0] = strdup("<pad>"); /* ids that begin with 1 leave 0 for padding */
        if (!tokens->list[0])
            return no_memory(err);
        archive_note(notes, "vocabulary: its ids begin with 1; 0 is called <pad>");
    }
    for (size_t i = 0; i < tokens->n; i++)
        if (!tokens->list[i])
            name(&naming, i, NULL);
    report(&naming, "ids without an entry", faults);
    return 0;
}

static void check_empty(const struct tokens *tokens, struct buf *faults)
{
    struct naming naming = {0};

    for (size_t i = 0; i < tokens->n; i++)
        if (tokens->list[i] && tokens->list[i][0] == '\0')
            name(&naming, i, NULL);
    report(&naming, "empty entries", faults);
}

static int by_text(const void *a, const void *b)
{
    char *const *const *left = a, *const *const *right = b;
    int order = strcmp(**left, **right);

    return order ? order : (*left > *right) - (*left < *right);
}

static int check_duplicates(const struct tokens *tokens, struct buf *faults, struct rnn_err *err)
{
    char ***sorted = calloc(tokens->n + 1, sizeof *sorted);
    struct naming naming = {0};
    size_t n = 0;

    if (!sorted)
        return no_memory(err);
    for (size_t i = 0; i < tokens->n; i++)
        if (tokens->list[i] && tokens->list[i][0])
            sorted[n++] = &tokens->list[i];
    qsort(sorted, n, sizeof *sorted, by_text);
    for (size_t i = 1; i < n; i++)
        if (strcmp(*sorted[i - 1], *sorted[i]) == 0)
            name(&naming, (size_t)(sorted[i] - tokens->list), *sorted[i]);
    free(sorted);
    report(&naming, "entries that are there twice", faults);
    return 0;
}

/* "<unk>", "[SEP]": not a text, a sign. */
static bool is_sign(const char *text)
{
    size_t len = strlen(text);

    return len > 2 &&
           ((text[0] == '<' && text[len - 1] == '>') || (text[0] == '[' && text[len - 1] == ']'));
}

static bool is_single(const char *text)
{
    return utf8_length(text, strlen(text)) == 1;
}

/* Nine of ten entries are single characters: then the others are damage. */
static bool check_single(const struct tokens *tokens, struct buf *faults)
{
    struct naming naming = {0};
    size_t single = 0, longer = 0;
    bool chars;

    for (size_t i = 0; i < tokens->n; i++) {
        const char *text = tokens->list[i] ? tokens->list[i] : "";

        single += is_single(text);
        longer += !is_single(text) && !is_sign(text) && *text;
    }
    chars = single >= 9 * longer && single > 0;
    for (size_t i = 0; chars && i < tokens->n; i++) {
        const char *text = tokens->list[i] ? tokens->list[i] : "";

        if (*text && !is_single(text) && !is_sign(text))
            name(&naming, i, text);
    }
    report(&naming, "no single characters, as the others are", faults);
    return chars;
}

static int check_size(const struct tokens *tokens, size_t n_ids, struct rnn_err *err)
{
    if (tokens->n_twice > 0)
        return rnn_fail(err, RNN_EFORMAT, "%zu ids of the vocabulary stand for two entries: %.*s",
                        tokens->n_twice, (int)tokens->twice.len, tokens->twice.data);
    if (tokens->outside > 0)
        return rnn_fail(err, RNN_ESHAPE,
                        "%zu entries of the vocabulary have ids that the model lacks; it has %zu "
                        "ids, one entry's is %lld",
                        tokens->outside, n_ids, (long long)tokens->first_outside);
    if (tokens->n != n_ids)
        return rnn_fail(err, RNN_ESHAPE, "the vocabulary has %zu entries, the model has %zu ids",
                        tokens->n, n_ids);
    return 0;
}

/* ---- vocab.json ---- */

struct sign {
    const char *key;
    const char *const *texts;
};

static const char *const unk_texts[] = {"<unk>", "[UNK]", "<oov>", "<unknown>", NULL};
static const char *const bos_texts[] = {"<s>", "<bos>", "<sos>", "<start>", "[BOS]", NULL};
static const char *const eos_texts[] = {"</s>", "<eos>", "<end>", "[EOS]", NULL};
static const struct sign signs[] = {{"unk", unk_texts}, {"bos", bos_texts}, {"eos", eos_texts}};

static int64_t find_sign(const struct tokens *tokens, const struct sign *sign)
{
    for (size_t i = 0; i < tokens->n; i++)
        for (size_t k = 0; sign->texts[k]; k++)
            if (strcasecmp(tokens->list[i], sign->texts[k]) == 0)
                return (int64_t)i;
    return -1;
}

static struct cJSON *to_json(const struct tokens *tokens, bool chars, struct archive *notes)
{
    struct cJSON *json = cJSON_CreateObject();
    struct cJSON *list = (struct cJSON *)cJSON_CreateArray();
    bool good = json && put(json, "kind", cJSON_CreateString(chars ? "char" : "word")) &&
                put(json, "tokens", list);

    for (size_t i = 0; i < tokens->n && good; i++) {
        struct cJSON *item = cJSON_CreateString(tokens->list[i]);

        good = item && cJSON_AddItemToArray(list, item);
        if (!good)
            cJSON_Delete(item);
    }
    for (size_t i = 0; i < 3 && good; i++) {
        int64_t id = find_sign(tokens, &signs[i]);

        if (id < 0)
            continue;
        good = put(json, signs[i].key, cJSON_CreateNumber((double)id));
        archive_note(notes, "vocabulary: %s is entry %lld, %s", signs[i].key, (long long)id,
                     tokens->list[id]);
    }
    if (good)
        return json;
    if (!json)
        cJSON_Delete(list);
    cJSON_Delete(json);
    return NULL;
}

int tokens_finish(struct cJSON **out, struct tokens *tokens, size_t n_ids, struct archive *notes,
                  struct rnn_err *err)
{
    struct buf faults = {0};
    bool chars = false;
    int rc = check_size(tokens, n_ids, err);

    if (rc == 0)
        rc = check_holes(tokens, notes, &faults, err);
    if (rc == 0)
        rc = check_duplicates(tokens, &faults, err);
    if (rc == 0) {
        check_empty(tokens, &faults);
        chars = check_single(tokens, &faults);
    }
    if (rc == 0 && faults.len > 0)
        rc = rnn_fail(err, RNN_EFORMAT, "the vocabulary is damaged: %.*s", (int)faults.len,
                      faults.data);
    buf_free(&faults);
    if (rc < 0)
        return rc;
    *out = to_json(tokens, chars, notes);
    return *out ? 0 : no_memory(err);
}
