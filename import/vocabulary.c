/* Vocabularies of any form into vocab.json.  See vocabulary.h.
 *
 * Read are: vocab.json itself; a list of strings; a map string → id or id → string; an object that
 * has one of these under a usual name; a Keras tokenizer; and plain text, one token per line. */
#include "import/vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "core/spec.h"
#include "import/tokens.h"
#include "models/file.h"

enum { VOCAB_DEPTH = 8 };
#define VOCAB_MAX_BYTES ((size_t)1 << 26)

static int no_memory(struct rnn_err *err)
{
    return rnn_fail(err, RNN_ENOMEM, "out of memory");
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
            rc = tokens_set(tokens, index++, item->valuestring, err);
        else if (cJSON_IsNumber(item))
            rc = tokens_set(tokens, item->valuedouble, item->string, err);
        else
            rc = tokens_set(tokens, strtod(item->string, NULL), item->valuestring, err);
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

static int make_of_json(struct cJSON **out, const struct cJSON *json, size_t n_ids,
                        struct archive *notes, struct rnn_err *err)
{
    struct tokens tokens = {0};
    int rc = read_tokens(&tokens, json, n_ids, err);

    if (rc == 0)
        rc = tokens_finish(out, &tokens, n_ids, notes, err);
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
        rc = tokens_finish(out, &tokens, n_ids, notes, err);
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
    const struct cJSON *topology = json_get(draft->config, "topology");
    bool repeats = cJSON_IsString(topology) && strcmp(topology->valuestring, "repeat") == 0;
    const struct cJSON *reader = repeats ? json_get(draft->config, "encoder") : draft->config;
    const struct cJSON *input = json_get(reader, "input");
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
        rc = tokens_set(&tokens, (double)i, (const char[]){printable[i], '\0'}, err);
    if (rc == 0)
        rc = tokens_finish(&draft->vocab, &tokens, n_ids, draft->archive, err);
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
