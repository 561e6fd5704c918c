/* Strict JSON: whatever passes is a finite tree of valid UTF-8 without duplicate keys that prints
 * and reads back; whatever fails says where. */
#include <math.h>

#include "base/buf.h"
#include "base/json.h"
#include "fuzz.h"

enum { DEPTH_MAX = 32, COMPARED_MAX = 64 };

static void check_string(const char *text)
{
    struct buf buf = {0};
    struct cJSON *again = NULL;
    size_t len = strlen(text);

    HOLDS(utf8_valid(text, len, NULL));
    buf_json_string(&buf, text, len);
    HOLDS(json_parse(&again, buf.data, buf.len, 1, NULL) == 0);
    HOLDS(strcmp(again->valuestring, text) == 0);
    json_free(again);
    buf_free(&buf);
}

static void check_keys(const struct cJSON *object)
{
    size_t n = 0;

    for (const struct cJSON *m = object->child; m && n < COMPARED_MAX; m = m->next, n++) {
        check_string(m->string);
        HOLDS(cJSON_GetObjectItemCaseSensitive(object, m->string) == m);
    }
}

static void check_tree(const struct cJSON *node, unsigned depth)
{
    HOLDS(depth <= DEPTH_MAX + 1);
    if (cJSON_IsNumber(node))
        HOLDS(isfinite(node->valuedouble));
    if (cJSON_IsString(node))
        check_string(node->valuestring);
    if (cJSON_IsObject(node))
        check_keys(node);
    for (const struct cJSON *m = node->child; m; m = m->next)
        check_tree(m, depth + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cJSON *json = NULL, *again = NULL;
    struct rnn_err err = {0};
    int rc = json_parse(&json, (const char *)data, size, DEPTH_MAX, &err);
    char *text;

    if (rc < 0) {
        check_failure(rc, &err);
        HOLDS(rc == RNN_EFORMAT);
        HOLDS(err.offset >= 0 && (size_t)err.offset <= size);
        HOLDS(json == NULL);
        return 0;
    }
    check_tree(json, 1);
    text = cJSON_PrintUnformatted(json);
    HOLDS(text && json_parse(&again, text, strlen(text), DEPTH_MAX, NULL) == 0);
    HOLDS(cJSON_Compare(json, again, true));
    free(text);
    json_free(again);
    json_free(json);
    return 0;
}
