/* Values into a JSON object under construction.  See put.h. */
#include "import/put.h"

#include "base/json.h"

bool put(struct cJSON *object, const char *key, struct cJSON *value)
{
    if (value && cJSON_AddItemToObject(object, key, value))
        return true;
    cJSON_Delete(value);
    return false;
}

bool put_number(struct cJSON *object, const char *key, size_t value)
{
    return put(object, key, cJSON_CreateNumber((double)value));
}

bool put_bool(struct cJSON *object, const char *key, bool value)
{
    return put(object, key, cJSON_CreateBool(value));
}

bool put_text(struct cJSON *object, const char *key, const char *value)
{
    return put(object, key, cJSON_CreateString(value));
}

/* A new object under `key`; NULL: out of memory. */
struct cJSON *put_object(struct cJSON *object, const char *key)
{
    struct cJSON *value = cJSON_CreateObject();

    return put(object, key, value) ? value : NULL;
}
