/* Vocabularies of any form into vocab.json.  See vocabulary.h.
 *
 * Read are: vocab.json itself; a list of strings; a map string → id or id → string; an object that
 * has one of these under a usual name; a Keras tokenizer; and plain text, one token per line.  A
 * damaged list (characters that some script has turned into two blanks and nothing) is refused with
 * the entries that are wrong, because a model that spells with them is wrong, too. */
#include "import/vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/utf8.h"
#include "core/spec.h"
#include "import/put.h"
#include "models/file.h"

enum { VOCAB_DEPTH = 8, NAMED_MAX = 5 };
#define VOCAB_MAX_BYTES ((size_t)1 << 26)

/* Tokens by id. */
struct tokens {
    char **list; /* [n], each its own block; NULL: an id without an entry */
    size_t n;
    size_t outside; /* entries whose id is not below n */
    int64_t first_outside;
    struct buf twice; /* ids that two entries claim, in words */
    size_t n_twice;
};

static int no_memory(struct rnn_err *err)
{
    return rnn_fail(err, RNN_ENOMEM, "out of memory");
}

/* ---- Tokens ---- */

static void tokens_free(struct tokens *tokens)
{
    for (size_t i = 0; i < tokens->n; i++)
        free(tokens->list[i]);
    free(tokens->list);
    buf_free(&tokens->twice);
    *tokens = (struct tokens){0};
}

static int tokens_init(struct tokens *tokens, size_t n, struct rnn_err *err)
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

static int set(struct tokens *tokens, double id, const char *text, struct rnn_err *err)
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

/* ---- Forms ---- */

static bool all_strings(const struct cJSON *json)
{
    for (const struct cJSON *item = json->child; item; item = item->next)
        if (!cJSON_IsString(item))
            return false;
    return json->child != NULL;
}

static bool all_numbers(const struct cJSON *json)
{
    for (const struct cJSON *item = json->child; item; item = item->next)
        if (!cJSON_IsNumber(item))
            return false;
    return json->child != NULL;
}

static bool all_id_keys(const struct cJSON *json)
{
    for (const struct cJSON *item = json->child; item; item = item->next)
        if (!*item->string || item->string[strspn(item->string, "0123456789")] != '\0' ||
            strlen(item->string) > 9)
            return false;
    return true;
}

static bool is_list(const struct cJSON *json)
{
    return cJSON_IsArray(json) && all_strings(json);
}

static bool is_map(const struct cJSON *json)
{
    return cJSON_IsObject(json) && (all_numbers(json) || (all_strings(json) && all_id_keys(json)));
}

/* The list or map, wherever in the object it lies; NULL: none. */
static const struct cJSON *find_tokens(const struct cJSON *json, int depth)
{
    static const char *const keys[] = {"tokens",      "itos",       "idx2char",    "index_word",
                                       "id_to_token", "int2char",   "idx2word",    "stoi",
                                       "char2idx",    "word_index", "token_to_id", "char2int",
                                       "word2idx",    "vocab",      "vocabulary",  "chars",
                                       "char_to_ix",  "ix_to_char", NULL};

    if (is_list(json) || is_map(json))
        return json;
    if (!cJSON_IsObject(json) || depth == 0)
        return NULL;
    for (size_t i = 0; keys[i]; i++) {
        const struct cJSON *part = json_get(json, keys[i]);
        const struct cJSON *found = part ? find_tokens(part, depth - 1) : NULL;

        if (found)
            return found;
    }
    return NULL;
}

static int read_tokens(struct tokens *tokens, const struct cJSON *json, size_t n_ids,
                       struct rnn_err *err)
{
    size_t n = cJSON_IsArray(json) ? (size_t)cJSON_GetArraySize(json) : n_ids;
    double index = 0;
    int rc = tokens_init(tokens, n, err);

    for (const struct cJSON *item = json->child; item && rc == 0; item = item->next) {
        if (cJSON_IsArray(json))
            rc = set(tokens, index++, item->valuestring, err);
        else if (cJSON_IsNumber(item))
            rc = set(tokens, item->valuedouble, item->string, err);
        else
            rc = set(tokens, strtod(item->string, NULL), item->valuestring, err);
    }
    return rc;
}

static int read_lines(struct tokens *tokens, const char *text, size_t len, struct rnn_err *err)
{
    size_t n = 0, at = 0;
    int rc;

    for (size_t i = 0; i < len; i++)
        n += text[i] == '\n';
    n += len > 0 && text[len - 1] != '\n';
    rc = tokens_init(tokens, n, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t size = end ? (size_t)(end - text) - at : len - at;
        size_t kept = size > 1 && text[at + size - 1] == '\r' ? size - 1 : size;

        tokens->list[i] = strndup(text + at, kept);
        rc = tokens->list[i] ? 0 : no_memory(err);
        at += size + 1;
    }
    return rc;
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

static int make(struct cJSON **out, struct tokens *tokens, size_t n_ids, struct archive *notes,
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

static int make_of_json(struct cJSON **out, const struct cJSON *json, size_t n_ids,
                        struct archive *notes, struct rnn_err *err)
{
    struct tokens tokens = {0};
    int rc = read_tokens(&tokens, json, n_ids, err);

    if (rc == 0)
        rc = make(out, &tokens, n_ids, notes, err);
    tokens_free(&tokens);
    return rc;
}

static int make_of_lines(struct cJSON **out, const char *text, size_t len, size_t n_ids,
                         struct archive *notes, struct rnn_err *err)
{
    struct tokens tokens = {0};
    size_t bad;
    int rc;

    if (!utf8_valid(text, len, &bad))
        return rnn_fail_at(err, RNN_EFORMAT, NULL, (int64_t)bad, "no valid UTF-8 at byte %zu", bad);
    if (memchr(text, '\0', len))
        return rnn_fail(err, RNN_EFORMAT, "a NUL in a text");
    rc = read_lines(&tokens, text, len, err);
    if (rc == 0)
        rc = make(out, &tokens, n_ids, notes, err);
    tokens_free(&tokens);
    return rc;
}

/* ---- Keras' tokenizer ---- */

/* A tokenizer of num_words knows those alone, though word_index has all that it has seen. */
static void drop_rare(struct cJSON *index, const struct cJSON *num_words)
{
    struct cJSON *next;

    if (!cJSON_IsObject(index) || !cJSON_IsNumber(num_words))
        return;
    for (struct cJSON *item = index->child; item; item = next) {
        next = item->next;
        if (cJSON_IsNumber(item) && item->valuedouble >= num_words->valuedouble)
            cJSON_Delete(cJSON_DetachItemViaPointer(index, item));
    }
}

/* {"class_name": "Tokenizer", "config": {"word_index": "{…}", "num_words": …}}: JSON in a string.
 */
static int unwrap_keras(struct cJSON **json, struct rnn_err *err)
{
    const struct cJSON *config = cJSON_IsObject(*json) ? json_get(*json, "config") : NULL;
    const struct cJSON *index =
        config && cJSON_IsObject(config) ? json_get(config, "word_index") : NULL;
    struct cJSON *inner;
    int rc;

    if (!index || !cJSON_IsString(index))
        return 0;
    rc = json_parse(&inner, index->valuestring, strlen(index->valuestring), 2, err);
    if (rc < 0) {
        rnn_err_prefix(err, "config.word_index: ");
        return rc;
    }
    drop_rare(inner, json_get(config, "num_words"));
    json_free(*json);
    *json = inner;
    return 0;
}

/* vocab.json goes through as it is; opening the model checks it. */
static bool is_ours(const struct cJSON *json)
{
    return cJSON_IsObject(json) && json_get(json, "kind") &&
           (json_get(json, "tokens") || json_get(json, "labels") || json_get(json, "source"));
}

static int parse_json(struct cJSON **out, struct cJSON *json, size_t n_ids, struct archive *notes,
                      struct rnn_err *err)
{
    const struct cJSON *found;
    int rc;

    if (is_ours(json)) {
        *out = json;
        return 0;
    }
    rc = unwrap_keras(&json, err);
    found = rc == 0 ? find_tokens(json, 3) : NULL;
    if (rc == 0 && !found)
        rc = rnn_fail(err, RNN_EFORMAT,
                      "there is no list of strings, and no map of strings and "
                      "ids, in it");
    if (rc == 0)
        rc = make_of_json(out, found, n_ids, notes, err);
    json_free(json);
    return rc;
}

int vocabulary_parse(struct cJSON **out, const char *text, size_t len, size_t n_ids,
                     struct archive *notes, struct rnn_err *err)
{
    size_t first = 0;
    struct cJSON *json;
    struct rnn_err fault = {0};
    int rc;

    while (first < len && strchr(" \t\r\n", text[first]) && text[first])
        first++;
    if (first == len || (text[first] != '{' && text[first] != '['))
        return make_of_lines(out, text, len, n_ids, notes, err);
    rc = json_parse(&json, text, len, VOCAB_DEPTH, &fault);
    if (rc == 0)
        return parse_json(out, json, n_ids, notes, err);
    if (len > first + 1 && text[first + 1] == '\n') /* a token "{" or "[" on a line of its own */
        return make_of_lines(out, text, len, n_ids, notes, err);
    if (err)
        *err = fault;
    return rc;
}

/* ---- Of a draft ---- */

/* How many ids the model reads; 0: it reads numbers, or is one of two sides. */
static size_t ids_of(const struct draft *draft)
{
    const struct cJSON *input = json_get(draft->config, "input");
    const struct cJSON *kind = input ? json_get(input, "kind") : NULL;
    const struct cJSON *size = input ? json_get(input, "size") : NULL;

    if (!cJSON_IsString(kind) || !cJSON_IsNumber(size) || strcmp(kind->valuestring, "dense") == 0 ||
        size->valuedouble > (double)RNN_INPUT_MAX)
        return 0;
    return (size_t)size->valuedouble;
}

static int from_option(struct draft *draft, size_t n_ids, struct rnn_err *err)
{
    const char *path = draft->options->vocab;
    char *text;
    size_t len;
    int rc = file_load(&text, &len, path, VOCAB_MAX_BYTES, err);

    if (rc == 0) {
        rc = vocabulary_parse(&draft->vocab, text, len, n_ids, draft->archive, err);
        free(text);
    }
    if (rc < 0)
        rnn_err_prefix(err, "--vocab %.100s: ", path);
    return rc;
}

static int from_archive(struct draft *draft, size_t n_ids, struct rnn_err *err)
{
    struct archive *archive = draft->archive;

    for (size_t i = 0; i < archive->n_vocabs; i++) {
        const struct archive_vocab *found = &archive->vocabs[i];
        struct cJSON *json = NULL;
        struct rnn_err fault = {0};
        size_t n_notes = archive->n_notes;
        int rc;

        if (found->n != n_ids && found->n + 1 != n_ids)
            continue;
        rc = make_of_json(&json, found->json, n_ids, archive, &fault);
        if (rc == RNN_ENOMEM)
            return no_memory(err);
        if (rc < 0) {
            archive_note(archive, "vocabulary '%s' is not used: %s", found->name, fault.text);
            continue;
        }
        if (!draft->vocab) {
            draft->vocab = json;
            archive_note(archive, "vocabulary: '%s' of the file", found->name);
            continue;
        }
        while (archive->n_notes > n_notes)
            free(archive->notes[--archive->n_notes]);
        if (!cJSON_Compare(draft->vocab, json, true))
            archive_note(archive, "vocabulary: '%s' would fit, too, and is another one",
                         found->name);
        json_free(json);
    }
    return 0;
}

/* The characters of Python's string.printable, in its order. */
static const char printable[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ \t\n\r\v\f";

enum { N_PRINTABLE = sizeof printable - 1 };

static int from_printable(struct draft *draft, size_t n_ids, struct rnn_err *err)
{
    struct tokens tokens;
    int rc = tokens_init(&tokens, N_PRINTABLE, err);

    for (size_t i = 0; i < N_PRINTABLE && rc == 0; i++)
        rc = set(&tokens, (double)i, (const char[]){printable[i], '\0'}, err);
    if (rc == 0)
        rc = make(&draft->vocab, &tokens, n_ids, draft->archive, err);
    tokens_free(&tokens);
    if (rc < 0)
        rnn_err_prefix(err, "--vocab printable: ");
    return rc;
}

static void note_none(struct draft *draft, size_t n_ids)
{
    if (n_ids == N_PRINTABLE)
        archive_note(draft->archive,
                     "vocabulary: none in the file; where its trainer used Python's "
                     "string.printable, as char-rnn.pytorch does: --vocab printable");
    else if (n_ids > 0)
        archive_note(draft->archive, "vocabulary: none in the file; the model takes and gives ids "
                                     "(--vocab FILE gives them names)");
}

int vocabulary_make(struct draft *draft, struct rnn_err *err)
{
    size_t n_ids = ids_of(draft);
    int rc;

    if (draft->vocab)
        return 0;
    if (draft->options->vocab && strcmp(draft->options->vocab, "none") == 0)
        return 0;
    if (draft->options->vocab && strcmp(draft->options->vocab, "printable") == 0)
        return from_printable(draft, n_ids, err);
    if (draft->options->vocab)
        return from_option(draft, n_ids, err);
    rc = n_ids ? from_archive(draft, n_ids, err) : 0;
    if (rc == 0 && !draft->vocab)
        note_none(draft, n_ids);
    return rc;
}
