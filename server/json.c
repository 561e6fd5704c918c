/* Readers of a request's body.  See json.h. */
#include "server/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int body_parse(struct cJSON **out, const char *text, size_t len, bool may_be_empty,
               const struct config *config, struct rnn_err *err)
{
    struct cJSON *json;
    int rc;

    if (len == 0 && may_be_empty) {
        text = "{}";
        len = 2;
    }
    if (len == 0)
        return rnn_fail(err, RNN_EFORMAT, "the body is empty: want a JSON object");
    rc = json_parse(&json, text, len, (unsigned)config->json_depth_max, err);
    if (rc < 0)
        return rc;
    if (!cJSON_IsObject(json)) {
        json_free(json);
        return rnn_fail(err, RNN_ETYPE, "the body is no JSON object");
    }
    *out = json;
    return 0;
}

int body_read(void *out, const char *text, size_t len, bool may_be_empty, body_fields *fields,
              const struct config *config, struct rnn_err *err)
{
    struct cJSON *body;
    int rc = body_parse(&body, text, len, may_be_empty, config, err);

    if (rc < 0)
        return rc;
    rc = fields(out, body, config, err);
    json_free(body);
    return rc;
}

int body_bind(struct cJSON *body, const char *key, const char *value, const char *why,
              struct rnn_err *err)
{
    const struct cJSON *said = json_get(body, key);

    if (said && (!cJSON_IsString(said) || strcmp(said->valuestring, value) != 0))
        return rnn_fail_at(err, RNN_EFORMAT, key, -1, "%s: want '%s' or none: %s", key, value, why);
    if (said)
        return 0;
    cJSON_DeleteItemFromObjectCaseSensitive(body, key); /* a null */
    if (!cJSON_AddStringToObject(body, key, value))
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    return 0;
}

bool word_in(const char *text, const char *const *words, unsigned *index)
{
    for (unsigned i = 0; words && words[i]; i++) {
        if (strcmp(text, words[i]) == 0) {
            if (index)
                *index = i;
            return true;
        }
    }
    return false;
}

int body_only(const struct cJSON *body, const char *const *allowed, const char *const *later,
              struct rnn_err *err)
{
    const struct cJSON *member;

    cJSON_ArrayForEach(member, body)
    {
        if (word_in(member->string, later, NULL))
            return rnn_fail_at(err, RNN_EUNSUPPORTED, member->string, -1,
                               "%s: known, but not supported by this version", member->string);
    }
    return json_only(body, "", allowed, err);
}

int body_name(const struct cJSON *body, const char *key, char *out, size_t size,
              struct rnn_err *err)
{
    const char *text = "";
    int rc = json_read_string(body, "", key, &text, err);

    if (rc < 0)
        return rc;
    if (strlen(text) >= size)
        return rnn_fail_at(err, RNN_ERANGE, key, -1, "%s: want at most %zu bytes", key, size - 1);
    strcpy(out, text);
    return 0;
}

int body_share(const struct cJSON *body, const char *key, double *out, struct rnn_err *err)
{
    double value = *out;
    int rc = json_read_double(body, "", key, 0, 1, &value, err);

    if (rc < 0)
        return rc;
    if ((float)value <= 0)
        return rnn_fail_at(err, RNN_ERANGE, key, -1, "%s: want more than 0 and at most 1", key);
    *out = value;
    return 0;
}

int body_text(const struct cJSON *body, const char *key, char **out, struct rnn_err *err)
{
    const char *text = NULL;
    int rc = json_read_string(body, "", key, &text, err);

    if (rc < 0 || !text)
        return rc;
    *out = strdup(text);
    return *out ? 0 : rnn_fail(err, RNN_ENOMEM, "out of memory");
}

void body_strings_free(char **strings, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(strings[i]);
    free(strings);
}

static int copy_string(const struct cJSON *item, const char *path, char **out, struct rnn_err *err)
{
    if (!cJSON_IsString(item))
        return rnn_fail_at(err, RNN_ETYPE, path, -1, "%s: want a string", path);
    if (!item->valuestring[0])
        return rnn_fail_at(err, RNN_ERANGE, path, -1, "%s: want at least one character", path);
    *out = strdup(item->valuestring);
    return *out ? 0 : rnn_fail(err, RNN_ENOMEM, "out of memory");
}

int body_strings(const struct cJSON *body, const char *key, size_t max, char ***out, size_t *n,
                 struct rnn_err *err)
{
    const struct cJSON *value = json_get(body, key), *item;
    char **strings;
    char path[96];
    size_t count, i = 0;
    int rc = 0;

    if (!value)
        return 0;
    if (!cJSON_IsArray(value) && !cJSON_IsString(value))
        return rnn_fail_at(err, RNN_ETYPE, key, -1, "%s: want a string or an array of strings",
                           key);
    count = cJSON_IsString(value) ? 1 : (size_t)cJSON_GetArraySize(value);
    if (count > max)
        return rnn_fail_at(err, RNN_ERANGE, key, -1, "%s: want at most %zu strings, found %zu", key,
                           max, count);
    strings = calloc(count + 1, sizeof *strings);
    if (!strings)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    if (cJSON_IsString(value)) {
        rc = copy_string(value, key, &strings[i++], err);
    } else {
        for (item = value->child; item && rc == 0; item = item->next, i++) {
            snprintf(path, sizeof path, "%s[%zu]", key, i);
            rc = copy_string(item, path, &strings[i], err);
        }
    }
    if (rc < 0) {
        body_strings_free(strings, count);
        return rc;
    }
    *out = strings;
    *n = count;
    return 0;
}

int body_words(const struct cJSON *body, const char *key, const char *const *words,
               const char *const *later, unsigned *bits, struct rnn_err *err)
{
    const struct cJSON *value = json_get(body, key), *item;
    char path[96];
    size_t i = 0;

    if (!value)
        return 0;
    if (!cJSON_IsArray(value))
        return rnn_fail_at(err, RNN_ETYPE, key, -1, "%s: want an array of strings", key);
    for (item = value->child; item; item = item->next, i++) {
        unsigned bit;

        snprintf(path, sizeof path, "%s[%zu]", key, i);
        if (!cJSON_IsString(item))
            return rnn_fail_at(err, RNN_ETYPE, path, -1, "%s: want a string", path);
        if (word_in(item->valuestring, later, NULL))
            return rnn_fail_at(err, RNN_EUNSUPPORTED, path, -1,
                               "%s: '%s' is known, but not supported by this version", path,
                               item->valuestring);
        if (!word_in(item->valuestring, words, &bit))
            return rnn_fail_at(err, RNN_EFORMAT, path, -1, "%s: there is no '%.40s'", path,
                               item->valuestring);
        *bits |= 1u << bit;
    }
    return 0;
}

int body_word(const struct cJSON *body, const char *key, const char *const *words, unsigned *index,
              struct rnn_err *err)
{
    const char *text = NULL;
    int rc = json_read_string(body, "", key, &text, err);

    if (rc < 0 || !text)
        return rc;
    if (!word_in(text, words, index))
        return rnn_fail_at(err, RNN_EFORMAT, key, -1, "%s: want \"%s\" or \"%s\", found '%.40s'",
                           key, words[0], words[1], text);
    return 0;
}
