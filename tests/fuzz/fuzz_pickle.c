/* A pickle: whatever passes is a graph whose every node can be looked at, its texts inside of the
 * bytes that it was read from. */
#include "fuzz.h"
#include "import/pickle.h"

static const uint8_t *begin, *end;
static size_t steps;

static void check_text(struct pickle_text text)
{
    const uint8_t *at = (const uint8_t *)text.bytes;

    HOLDS(text.len == 0 || (at >= begin && at + text.len <= end));
}

static void look_at(const struct pickle_node *node, int depth)
{
    if (!node || depth == 0 || steps++ > 100000)
        return;
    HOLDS(!node->is_map || node->n_items % 2 == 0);
    if (node->kind == PICKLE_STRING || node->kind == PICKLE_BYTES || node->kind == PICKLE_BIG)
        check_text(node->text);
    if (node->kind == PICKLE_GLOBAL) {
        check_text(node->global.module);
        check_text(node->global.name);
    }
    if (node->kind == PICKLE_OBJECT) {
        look_at(node->object.callee, depth - 1);
        look_at(node->object.args, depth - 1);
        look_at(node->object.state, depth - 1);
    }
    if (node->kind == PICKLE_PERSISTENT)
        look_at(node->id, depth - 1);
    for (uint32_t i = 0; i < node->n_items; i++)
        look_at(node->items[i], depth - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pickle *pickle = NULL;
    struct rnn_err err = {0};
    size_t used = 0;
    int rc = pickle_read(&pickle, data, size, &used, &err);

    if (rc < 0) {
        check_failure(rc, &err);
        HOLDS(pickle == NULL);
        return 0;
    }
    HOLDS(used <= size);
    begin = data;
    end = data + used;
    steps = 0;
    look_at(pickle_root(pickle), 40);
    pickle_free(pickle);
    return 0;
}
