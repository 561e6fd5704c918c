/* What a pickle holds that looks like a vocabulary.  See torch_inner.h. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "import/torch_inner.h"

bool walk_is_clean(const struct pickle_node *node)
{
    return node->kind == PICKLE_STRING && utf8_valid(node->text.bytes, node->text.len, NULL) &&
           !memchr(node->text.bytes, '\0', node->text.len);
}

static bool all_text(const struct pickle_node *node, size_t first, size_t step)
{
    for (size_t i = first; i < node->n_items; i += step)
        if (!walk_is_clean(node->items[i]))
            return false;
    return true;
}

static bool all_whole(const struct pickle_node *node, size_t first)
{
    for (size_t i = first; i < node->n_items; i += 2)
        if (node->items[i]->kind != PICKLE_INT || node->items[i]->whole < 0 ||
            node->items[i]->whole > TORCH_VOCAB_MAX)
            return false;
    return true;
}

static struct cJSON *json_text(const struct pickle_node *node)
{
    char *text = strndup(node->text.bytes, node->text.len);
    struct cJSON *json = text ? cJSON_CreateString(text) : NULL;

    free(text);
    return json;
}

/* One entry of a map: the string's id, as {"string": id}. */
static bool put_pair(struct cJSON *object, const struct pickle_node *text,
                     const struct pickle_node *id)
{
    char *key = strndup(text->text.bytes, text->text.len);
    struct cJSON *number = cJSON_CreateNumber((double)id->whole);
    bool done = key && number && cJSON_AddItemToObject(object, key, number);

    if (!done)
        cJSON_Delete(number);
    free(key);
    return done;
}

static struct cJSON *vocab_json(const struct pickle_node *node)
{
    bool text_first = node->is_map && all_text(node, 0, 2);
    struct cJSON *json = node->is_map ? cJSON_CreateObject() : cJSON_CreateArray();
    bool good = json != NULL;

    for (size_t i = 0; good && i < node->n_items; i += node->is_map ? 2 : 1) {
        struct cJSON *item;

        if (node->is_map) {
            good = put_pair(json, node->items[i + !text_first], node->items[i + text_first]);
            continue;
        }
        item = json_text(node->items[i]);
        good = item && cJSON_AddItemToArray(json, item);
        if (!good)
            cJSON_Delete(item);
    }
    if (good)
        return json;
    cJSON_Delete(json);
    return NULL;
}

bool walk_is_vocab(const struct pickle_node *node)
{
    if (node->n_items < 2 || node->n_items > TORCH_VOCAB_MAX)
        return false;
    if (node->is_map)
        return (all_text(node, 0, 2) && all_whole(node, 1)) ||
               (all_whole(node, 0) && all_text(node, 1, 2));
    return (node->kind == PICKLE_LIST || node->kind == PICKLE_TUPLE) && all_text(node, 0, 1);
}

static int add(struct walk *w, struct cJSON *json)
{
    const char *name = walk_path(w);

    if (!json || !name) {
        json_free(json);
        return rnn_fail(w->err, RNN_ENOMEM, "out of memory");
    }
    return archive_add_vocab(w->archive, name, json, w->err);
}

int walk_add_vocab(struct walk *w, const struct pickle_node *node)
{
    return add(w, vocab_json(node));
}

int walk_add_letters(struct walk *w, const struct pickle_node *node)
{
    static const char *const words[] = {"char", "vocab", "alphabet", "token", "letter", NULL};
    struct cJSON *list;
    bool named = false, good = true;

    for (size_t i = 0; words[i]; i++)
        named = named || strcasestr(w->path, words[i]);
    if (!named || !walk_is_clean(node) || node->text.len < 2 || node->text.len > 1 << 16)
        return 0;
    list = cJSON_CreateArray();
    for (size_t at = 0; list && good && at < node->text.len;) {
        int n = utf8_decode(node->text.bytes + at, node->text.len - at, NULL);
        struct pickle_node one = {.text = {node->text.bytes + at, (size_t)n}};
        struct cJSON *item = json_text(&one);

        good = item && cJSON_AddItemToArray(list, item);
        at += (size_t)n;
    }
    return add(w, list);
}
