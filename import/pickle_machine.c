/* The memory of the pickle machine: nodes, stack, containers, memo.  See pickle_inner.h. */
#include "import/pickle_inner.h"

#include <stdlib.h>
#include <string.h>

enum {
    NODES_MAX = 4000000,
    ITEMS_MAX = 16000000, /* in all lists together */
    STACK_MAX = 8000000,
    MEMO_MAX = 4000000,
    CHUNK_NODES = 512
};

struct pickle_chunk {
    struct pickle_chunk *next;
    struct pickle_node nodes[CHUNK_NODES];
};

struct memo_entry {
    uint64_t key; /* one more than what the pickle says; 0: free */
    struct pickle_node *node;
};

/* ---- Faults ---- */

int machine_bad(struct machine *m, const char *what)
{
    return rnn_fail_at(m->err, RNN_EFORMAT, NULL, (int64_t)m->opcode_at, "pickle, byte %zu: %s",
                       m->opcode_at, what);
}

int machine_too_much(struct machine *m, const char *what, size_t max)
{
    return rnn_fail_at(m->err, RNN_ELIMIT, NULL, (int64_t)m->opcode_at,
                       "pickle, byte %zu: more than %zu %s", m->opcode_at, max, what);
}

int machine_no_memory(struct machine *m)
{
    return rnn_fail(m->err, RNN_ENOMEM, "out of memory");
}

/* ---- Nodes ---- */

int machine_node(struct machine *m, enum pickle_kind kind, struct pickle_node **out)
{
    struct pickle *pickle = m->pickle;
    size_t i = pickle->n_nodes % CHUNK_NODES;

    if (pickle->n_nodes == NODES_MAX)
        return machine_too_much(m, "values", NODES_MAX);
    if (i == 0) {
        struct pickle_chunk *chunk = malloc(sizeof *chunk);

        if (!chunk)
            return machine_no_memory(m);
        chunk->next = pickle->chunks;
        pickle->chunks = chunk;
    }
    pickle->n_nodes++;
    *out = &pickle->chunks->nodes[i];
    **out = (struct pickle_node){.kind = kind, .is_map = kind == PICKLE_DICT};
    return 0;
}

int machine_push(struct machine *m, struct pickle_node *node)
{
    if (m->depth == m->stack_cap) {
        size_t cap = m->stack_cap ? m->stack_cap * 2 : 256;
        struct pickle_node **stack;

        if (m->depth >= STACK_MAX)
            return machine_too_much(m, "values on the stack", STACK_MAX);
        stack = realloc(m->stack, cap * sizeof *stack);
        if (!stack)
            return machine_no_memory(m);
        m->stack = stack;
        m->stack_cap = cap;
    }
    m->stack[m->depth++] = node;
    return 0;
}

int machine_push_new(struct machine *m, enum pickle_kind kind, struct pickle_node **out)
{
    struct pickle_node *node = NULL;
    int rc = machine_node(m, kind, &node);

    if (rc < 0)
        return rc;
    *out = node;
    return machine_push(m, node);
}

/* The topmost value, taken off; a mark is none. */
int machine_pop(struct machine *m, struct pickle_node **out)
{
    if (m->depth == 0 || !m->stack[m->depth - 1])
        return machine_bad(m, "the stack holds no value");
    *out = m->stack[--m->depth];
    return 0;
}

int machine_peek(struct machine *m, struct pickle_node **out)
{
    int rc = machine_pop(m, out);

    m->depth += rc == 0;
    return rc;
}

/* The place behind the topmost mark. */
int machine_find_mark(struct machine *m, size_t *out)
{
    size_t i = m->depth;

    while (i > 0 && m->stack[i - 1])
        i--;
    if (i == 0)
        return machine_bad(m, "the stack holds no mark");
    *out = i;
    return 0;
}

int machine_append(struct machine *m, struct pickle_node *list, struct pickle_node *const *values,
                   size_t n)
{
    size_t need = list->n_items + n;

    if (n > ITEMS_MAX - m->pickle->n_items)
        return machine_too_much(m, "items", ITEMS_MAX);
    if (need > list->cap) {
        size_t cap = need > 2 * (size_t)list->cap ? need : 2 * (size_t)list->cap;
        struct pickle_node **items = realloc(list->items, cap * sizeof *items);

        if (!items)
            return machine_no_memory(m);
        list->items = items;
        list->cap = (uint32_t)cap; /* ≤ 2 × ITEMS_MAX */
    }
    if (n > 0)
        memcpy(list->items + list->n_items, values, n * sizeof *values);
    list->n_items = (uint32_t)need;
    m->pickle->n_items += n;
    return 0;
}

/* ---- Lists ---- */

/* The topmost n values as a tuple. */
int machine_push_tuple(struct machine *m, size_t n)
{
    struct pickle_node *node = NULL;
    int rc;

    for (size_t i = 0; i < n; i++)
        if (i >= m->depth || !m->stack[m->depth - 1 - i])
            return machine_bad(m, "the stack holds no value");
    rc = machine_node(m, PICKLE_TUPLE, &node);
    if (rc == 0)
        rc = machine_append(m, node, m->stack + m->depth - n, n);
    if (rc < 0)
        return rc;
    m->depth -= n;
    return machine_push(m, node);
}

/* What stands above the mark, as one value. */
int machine_push_marked(struct machine *m, enum pickle_kind kind)
{
    struct pickle_node *node = NULL;
    size_t mark = 0;
    int rc = machine_find_mark(m, &mark);

    if (rc == 0 && kind == PICKLE_DICT && (m->depth - mark) % 2)
        return machine_bad(m, "a key without a value");
    if (rc == 0)
        rc = machine_node(m, kind, &node);
    if (rc == 0)
        rc = machine_append(m, node, m->stack + mark, m->depth - mark);
    if (rc < 0)
        return rc;
    m->depth = mark - 1;
    return machine_push(m, node);
}

/* Puts stack[from..depth) into the container under them, which stands at `target`. */
static int fill(struct machine *m, size_t target, size_t from, bool pairs)
{
    struct pickle_node *list = m->stack[target];
    size_t n = m->depth - from;
    int rc;

    if (!list)
        return machine_bad(m, "nothing to put items into");
    if (pairs && n % 2)
        return machine_bad(m, "a key without a value");
    if (list->kind == PICKLE_OBJECT && list->n_items == 0)
        list->is_map = pairs;
    if ((list->kind != PICKLE_LIST && list->kind != PICKLE_SET && list->kind != PICKLE_DICT &&
         list->kind != PICKLE_OBJECT) ||
        list->is_map != pairs)
        return machine_bad(m, "items for something that holds none of that kind");
    rc = machine_append(m, list, m->stack + from, n);
    m->depth = target + 1;
    return rc;
}

int machine_fill_last(struct machine *m, size_t n, bool pairs)
{
    for (size_t i = 0; i <= n; i++)
        if (i >= m->depth || !m->stack[m->depth - 1 - i])
            return machine_bad(m, "the stack holds too few values");
    return fill(m, m->depth - 1 - n, m->depth - n, pairs);
}

int machine_fill_marked(struct machine *m, bool pairs)
{
    size_t mark = 0;
    int rc = machine_find_mark(m, &mark);

    if (rc < 0)
        return rc;
    if (mark < 2)
        return machine_bad(m, "nothing to put items into");
    return fill(m, mark - 2, mark, pairs);
}

/* ---- The memo ---- */

static struct memo_entry *memo_slot(struct memo_entry *memo, size_t cap, uint64_t key)
{
    size_t i = (size_t)(key * 0x9E3779B97F4A7C15u >> 20) & (cap - 1);

    while (memo[i].key && memo[i].key != key)
        i = (i + 1) & (cap - 1);
    return &memo[i];
}

static int memo_grow(struct machine *m)
{
    size_t cap = m->memo_cap ? m->memo_cap * 2 : 64;
    struct memo_entry *memo;

    if (m->n_memo >= MEMO_MAX)
        return machine_too_much(m, "memo entries", MEMO_MAX);
    memo = calloc(cap, sizeof *memo);
    if (!memo)
        return machine_no_memory(m);
    for (size_t i = 0; i < m->memo_cap; i++)
        if (m->memo[i].key)
            *memo_slot(memo, cap, m->memo[i].key) = m->memo[i];
    free(m->memo);
    m->memo = memo;
    m->memo_cap = cap;
    return 0;
}

int machine_memo_put(struct machine *m, uint64_t index)
{
    struct pickle_node *node = NULL;
    struct memo_entry *entry;
    int rc = machine_peek(m, &node);

    if (rc == 0 && m->n_memo * 2 >= m->memo_cap)
        rc = memo_grow(m);
    if (rc < 0)
        return rc;
    entry = memo_slot(m->memo, m->memo_cap, index + 1);
    m->n_memo += entry->key == 0;
    *entry = (struct memo_entry){index + 1, node};
    m->next_memo = m->n_memo;
    return 0;
}

int machine_memo_get(struct machine *m, uint64_t index)
{
    struct memo_entry *entry = m->memo_cap ? memo_slot(m->memo, m->memo_cap, index + 1) : NULL;

    if (!entry || !entry->key)
        return machine_bad(m, "a memo entry that was never made");
    return machine_push(m, entry->node);
}

/* ---- The end ---- */

void pickle_free(struct pickle *pickle)
{
    size_t n = pickle && pickle->n_nodes ? (pickle->n_nodes - 1) % CHUNK_NODES + 1 : 0;

    while (pickle && pickle->chunks) {
        struct pickle_chunk *next = pickle->chunks->next;

        for (size_t i = 0; i < n; i++)
            free(pickle->chunks->nodes[i].items);
        free(pickle->chunks);
        pickle->chunks = next;
        n = CHUNK_NODES;
    }
    if (pickle)
        free(pickle->ids);
    free(pickle);
}
