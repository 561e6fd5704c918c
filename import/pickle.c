/* The pickle machine with its teeth drawn.  See pickle.h.
 *
 * Nodes are cut from chunks and never move, so that the stack, the memo and other nodes may point
 * to them.  A mark on the stack is a null pointer.  Texts stay in the pickle's own bytes. */
#include "import/pickle.h"

#include <stdlib.h>
#include <string.h>

enum {
    NODES_MAX = 4000000,
    ITEMS_MAX = 16000000, /* in all lists together */
    STACK_MAX = 8000000,
    MEMO_MAX = 4000000,
    STRING_MAX = 1 << 26,
    CHUNK_NODES = 512
};

struct chunk {
    struct chunk *next;
    struct pickle_node nodes[CHUNK_NODES];
};

struct memo_entry {
    uint64_t key; /* one more than what the pickle says; 0: free */
    struct pickle_node *node;
};

struct pickle {
    struct chunk *chunks;
    size_t n_nodes, n_items;
    struct pickle_node *root;
};

/* A reading in progress. */
struct machine {
    struct pickle *pickle;
    const unsigned char *bytes;
    size_t len, at;
    size_t opcode_at; /* where the present instruction began */
    struct pickle_node **stack;
    size_t depth, stack_cap;
    struct memo_entry *memo; /* open addressing, a power of two */
    size_t n_memo, memo_cap;
    uint64_t next_memo; /* for MEMOIZE */
    bool stopped;
    struct rnn_err *err;
};

/* ---- Faults ---- */

static int bad(struct machine *m, const char *what)
{
    return rnn_fail_at(m->err, RNN_EFORMAT, NULL, (int64_t)m->opcode_at, "pickle, byte %zu: %s",
                       m->opcode_at, what);
}

static int too_much(struct machine *m, const char *what, size_t max)
{
    return rnn_fail_at(m->err, RNN_ELIMIT, NULL, (int64_t)m->opcode_at,
                       "pickle, byte %zu: more than %zu %s", m->opcode_at, max, what);
}

static int no_memory(struct machine *m)
{
    return rnn_fail(m->err, RNN_ENOMEM, "out of memory");
}

/* ---- Nodes ---- */

static int new_node(struct machine *m, enum pickle_kind kind, struct pickle_node **out)
{
    struct pickle *pickle = m->pickle;
    size_t i = pickle->n_nodes % CHUNK_NODES;

    if (pickle->n_nodes == NODES_MAX)
        return too_much(m, "values", NODES_MAX);
    if (i == 0) {
        struct chunk *chunk = malloc(sizeof *chunk);

        if (!chunk)
            return no_memory(m);
        chunk->next = pickle->chunks;
        pickle->chunks = chunk;
    }
    pickle->n_nodes++;
    *out = &pickle->chunks->nodes[i];
    **out = (struct pickle_node){.kind = kind, .is_map = kind == PICKLE_DICT};
    return 0;
}

static int push(struct machine *m, struct pickle_node *node)
{
    if (m->depth == m->stack_cap) {
        size_t cap = m->stack_cap ? m->stack_cap * 2 : 256;
        struct pickle_node **stack;

        if (m->depth >= STACK_MAX)
            return too_much(m, "values on the stack", STACK_MAX);
        stack = realloc(m->stack, cap * sizeof *stack);
        if (!stack)
            return no_memory(m);
        m->stack = stack;
        m->stack_cap = cap;
    }
    m->stack[m->depth++] = node;
    return 0;
}

static int push_new(struct machine *m, enum pickle_kind kind, struct pickle_node **out)
{
    struct pickle_node *node = NULL;
    int rc = new_node(m, kind, &node);

    if (rc < 0)
        return rc;
    *out = node;
    return push(m, node);
}

/* The topmost value, taken off; a mark is none. */
static int pop(struct machine *m, struct pickle_node **out)
{
    if (m->depth == 0 || !m->stack[m->depth - 1])
        return bad(m, "the stack holds no value");
    *out = m->stack[--m->depth];
    return 0;
}

static int peek(struct machine *m, struct pickle_node **out)
{
    int rc = pop(m, out);

    m->depth += rc == 0;
    return rc;
}

/* The place behind the topmost mark. */
static int find_mark(struct machine *m, size_t *out)
{
    size_t i = m->depth;

    while (i > 0 && m->stack[i - 1])
        i--;
    if (i == 0)
        return bad(m, "the stack holds no mark");
    *out = i;
    return 0;
}

static int append(struct machine *m, struct pickle_node *list, struct pickle_node *const *values,
                  size_t n)
{
    size_t need = list->n_items + n;

    if (n > ITEMS_MAX - m->pickle->n_items)
        return too_much(m, "items", ITEMS_MAX);
    if (need > list->cap) {
        size_t cap = need > 2 * (size_t)list->cap ? need : 2 * (size_t)list->cap;
        struct pickle_node **items = realloc(list->items, cap * sizeof *items);

        if (!items)
            return no_memory(m);
        list->items = items;
        list->cap = (uint32_t)cap; /* ≤ 2 × ITEMS_MAX */
    }
    if (n > 0)
        memcpy(list->items + list->n_items, values, n * sizeof *values);
    list->n_items = (uint32_t)need;
    m->pickle->n_items += n;
    return 0;
}

/* ---- Bytes ---- */

static int take(struct machine *m, size_t n, const unsigned char **out)
{
    if (n > m->len - m->at)
        return bad(m, "it is cut");
    *out = m->bytes + m->at;
    m->at += n;
    return 0;
}

static int take_number(struct machine *m, size_t n, uint64_t *out)
{
    const unsigned char *bytes = NULL;
    int rc = take(m, n, &bytes);

    *out = 0;
    for (size_t i = n; rc == 0 && i-- > 0;)
        *out = *out << 8 | bytes[i];
    return rc;
}

/* A length of `n` bytes, then as many bytes as it says. */
static int take_text(struct machine *m, size_t n, struct pickle_text *out)
{
    const unsigned char *bytes = NULL;
    uint64_t len = 0;
    int rc = take_number(m, n, &len);

    if (rc < 0)
        return rc;
    if (len > STRING_MAX)
        return too_much(m, "bytes in a string", STRING_MAX);
    rc = take(m, (size_t)len, &bytes);
    *out = (struct pickle_text){(const char *)bytes, (size_t)len};
    return rc;
}

static int take_line(struct machine *m, struct pickle_text *out)
{
    const unsigned char *begin = m->bytes + m->at;
    const unsigned char *end = memchr(begin, '\n', m->len - m->at);

    if (!end)
        return bad(m, "it is cut");
    *out = (struct pickle_text){(const char *)begin, (size_t)(end - begin)};
    m->at += out->len + 1;
    return 0;
}

/* ---- Plain values ---- */

static int push_text(struct machine *m, enum pickle_kind kind, size_t length_bytes)
{
    struct pickle_text text = {0};
    struct pickle_node *node;
    int rc = take_text(m, length_bytes, &text);

    if (rc == 0)
        rc = push_new(m, kind, &node);
    if (rc == 0)
        node->text = text;
    return rc;
}

static int push_int(struct machine *m, int64_t value)
{
    struct pickle_node *node;
    int rc = push_new(m, PICKLE_INT, &node);

    if (rc == 0)
        node->whole = value;
    return rc;
}

static int push_unsigned(struct machine *m, size_t bytes)
{
    uint64_t value = 0;
    int rc = take_number(m, bytes, &value);

    return rc < 0 ? rc : push_int(m, (int64_t)value);
}

static int push_int32(struct machine *m)
{
    uint64_t value = 0;
    int rc = take_number(m, 4, &value);

    return rc < 0 ? rc : push_int(m, (int32_t)(uint32_t)value);
}

/* LONG1, LONG4: two's complement of any length. */
static int push_long(struct machine *m, size_t length_bytes)
{
    struct pickle_text text = {0};
    struct pickle_node *node;
    uint64_t value = 0;
    int rc = take_text(m, length_bytes, &text);

    if (rc < 0)
        return rc;
    if (text.len > 8) {
        rc = push_new(m, PICKLE_BIG, &node);
        if (rc == 0)
            node->text = text;
        return rc;
    }
    if (text.len > 0 && (unsigned char)text.bytes[text.len - 1] >= 0x80)
        value = ~(uint64_t)0;
    for (size_t i = text.len; i-- > 0;)
        value = value << 8 | (unsigned char)text.bytes[i];
    return push_int(m, (int64_t)value);
}

/* The only big-endian thing in a pickle. */
static int push_float(struct machine *m)
{
    const unsigned char *bytes = NULL;
    struct pickle_node *node;
    uint64_t bits = 0;
    int rc = take(m, 8, &bytes);

    for (size_t i = 0; rc == 0 && i < 8; i++)
        bits = bits << 8 | bytes[i];
    if (rc == 0)
        rc = push_new(m, PICKLE_FLOAT, &node);
    if (rc == 0)
        memcpy(&node->real, &bits, sizeof bits);
    return rc;
}

static int push_bool(struct machine *m, bool value)
{
    struct pickle_node *node;
    int rc = push_new(m, PICKLE_BOOL, &node);

    if (rc == 0)
        node->truth = value;
    return rc;
}

static int push_empty(struct machine *m, enum pickle_kind kind)
{
    struct pickle_node *node;

    return push_new(m, kind, &node);
}

/* ---- Lists ---- */

/* The topmost n values as a tuple. */
static int push_tuple(struct machine *m, size_t n)
{
    struct pickle_node *node = NULL;
    int rc;

    for (size_t i = 0; i < n; i++)
        if (i >= m->depth || !m->stack[m->depth - 1 - i])
            return bad(m, "the stack holds no value");
    rc = new_node(m, PICKLE_TUPLE, &node);
    if (rc == 0)
        rc = append(m, node, m->stack + m->depth - n, n);
    if (rc < 0)
        return rc;
    m->depth -= n;
    return push(m, node);
}

/* What stands above the mark, as one value. */
static int push_marked(struct machine *m, enum pickle_kind kind)
{
    struct pickle_node *node = NULL;
    size_t mark = 0;
    int rc = find_mark(m, &mark);

    if (rc == 0 && kind == PICKLE_DICT && (m->depth - mark) % 2)
        return bad(m, "a key without a value");
    if (rc == 0)
        rc = new_node(m, kind, &node);
    if (rc == 0)
        rc = append(m, node, m->stack + mark, m->depth - mark);
    if (rc < 0)
        return rc;
    m->depth = mark - 1;
    return push(m, node);
}

/* Puts stack[from..depth) into the container under them, which stands at `target`. */
static int fill(struct machine *m, size_t target, size_t from, bool pairs)
{
    struct pickle_node *list = m->stack[target];
    size_t n = m->depth - from;
    int rc;

    if (!list)
        return bad(m, "nothing to put items into");
    if (pairs && n % 2)
        return bad(m, "a key without a value");
    if (list->kind == PICKLE_OBJECT && list->n_items == 0)
        list->is_map = pairs;
    if ((list->kind != PICKLE_LIST && list->kind != PICKLE_SET && list->kind != PICKLE_DICT &&
         list->kind != PICKLE_OBJECT) ||
        list->is_map != pairs)
        return bad(m, "items for something that holds none of that kind");
    rc = append(m, list, m->stack + from, n);
    m->depth = target + 1;
    return rc;
}

static int fill_last(struct machine *m, size_t n, bool pairs)
{
    for (size_t i = 0; i <= n; i++)
        if (i >= m->depth || !m->stack[m->depth - 1 - i])
            return bad(m, "the stack holds too few values");
    return fill(m, m->depth - 1 - n, m->depth - n, pairs);
}

static int fill_marked(struct machine *m, bool pairs)
{
    size_t mark = 0;
    int rc = find_mark(m, &mark);

    if (rc < 0)
        return rc;
    if (mark < 2)
        return bad(m, "nothing to put items into");
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
        return too_much(m, "memo entries", MEMO_MAX);
    memo = calloc(cap, sizeof *memo);
    if (!memo)
        return no_memory(m);
    for (size_t i = 0; i < m->memo_cap; i++)
        if (m->memo[i].key)
            *memo_slot(memo, cap, m->memo[i].key) = m->memo[i];
    free(m->memo);
    m->memo = memo;
    m->memo_cap = cap;
    return 0;
}

static int memo_put(struct machine *m, uint64_t index)
{
    struct pickle_node *node = NULL;
    struct memo_entry *entry;
    int rc = peek(m, &node);

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

static int memo_get(struct machine *m, uint64_t index)
{
    struct memo_entry *entry = m->memo_cap ? memo_slot(m->memo, m->memo_cap, index + 1) : NULL;

    if (!entry || !entry->key)
        return bad(m, "a memo entry that was never made");
    return push(m, entry->node);
}

static int memo_op(struct machine *m, size_t bytes, int (*op)(struct machine *, uint64_t))
{
    uint64_t index = 0;
    int rc = take_number(m, bytes, &index);

    return rc < 0 ? rc : op(m, index);
}

/* ---- Records of what would be called ---- */

static int push_global(struct machine *m, struct pickle_text module, struct pickle_text name)
{
    struct pickle_node *node;
    int rc = push_new(m, PICKLE_GLOBAL, &node);

    if (rc == 0) {
        node->global.module = module;
        node->global.name = name;
    }
    return rc;
}

static int op_global(struct machine *m)
{
    struct pickle_text module = {0}, name = {0};
    int rc = take_line(m, &module);

    if (rc == 0)
        rc = take_line(m, &name);
    return rc < 0 ? rc : push_global(m, module, name);
}

static int op_stack_global(struct machine *m)
{
    struct pickle_node *name = NULL, *module = NULL;
    int rc = pop(m, &name);

    if (rc == 0)
        rc = pop(m, &module);
    if (rc < 0)
        return rc;
    if (name->kind != PICKLE_STRING || module->kind != PICKLE_STRING)
        return bad(m, "the name of a class is no string");
    return push_global(m, module->text, name->text);
}

/* collections.OrderedDict and its like are plain dictionaries to whoever reads the tree. */
static bool makes_dict(const struct pickle_node *callee, const struct pickle_node *args)
{
    if (args->kind != PICKLE_TUPLE || args->n_items > 0)
        return false;
    return pickle_is_global(callee, "collections", "OrderedDict") ||
           pickle_is_global(callee, "builtins", "dict") ||
           pickle_is_global(callee, "__builtin__", "dict");
}

static int push_object(struct machine *m, const struct pickle_node *callee,
                       const struct pickle_node *args)
{
    struct pickle_node *node;
    int rc;

    if (makes_dict(callee, args))
        return push_empty(m, PICKLE_DICT);
    rc = push_new(m, PICKLE_OBJECT, &node);
    if (rc == 0) {
        node->object.callee = callee;
        node->object.args = args;
        node->object.state = NULL;
    }
    return rc;
}

static int op_call(struct machine *m, bool keywords)
{
    struct pickle_node *args = NULL, *callee = NULL, *ignored = NULL;
    int rc = keywords ? pop(m, &ignored) : 0;

    if (rc == 0)
        rc = pop(m, &args);
    if (rc == 0)
        rc = pop(m, &callee);
    return rc < 0 ? rc : push_object(m, callee, args);
}

/* MARK class args… OBJ */
static int op_obj(struct machine *m)
{
    struct pickle_node *tuple = NULL, *args = NULL;
    int rc = push_marked(m, PICKLE_TUPLE);

    if (rc == 0)
        rc = pop(m, &tuple);
    if (rc == 0 && tuple->n_items == 0)
        return bad(m, "no class for an object");
    if (rc == 0)
        rc = new_node(m, PICKLE_TUPLE, &args);
    if (rc == 0)
        rc = append(m, args, tuple->items + 1, tuple->n_items - 1);
    return rc < 0 ? rc : push_object(m, tuple->items[0], args);
}

/* A dictionary's own attributes (a state dict's _metadata) are of no use here. */
static int op_build(struct machine *m)
{
    struct pickle_node *state = NULL, *object = NULL;
    int rc = pop(m, &state);

    if (rc == 0)
        rc = peek(m, &object);
    if (rc == 0 && object->kind == PICKLE_OBJECT)
        object->object.state = state;
    return rc;
}

static int op_persistent(struct machine *m)
{
    struct pickle_node *id = NULL, *node;
    int rc = pop(m, &id);

    if (rc == 0)
        rc = push_new(m, PICKLE_PERSISTENT, &node);
    if (rc == 0)
        node->id = id;
    return rc;
}

/* ---- Instructions ---- */

static int op_protocol(struct machine *m)
{
    uint64_t version = 0;
    int rc = take_number(m, 1, &version);

    return rc == 0 && version > 5 ? bad(m, "a protocol from after 5") : rc;
}

static int op_frame(struct machine *m)
{
    uint64_t len = 0;
    int rc = take_number(m, 8, &len);

    return rc == 0 && len > m->len - m->at ? bad(m, "it is cut") : rc;
}

static int op_dup(struct machine *m)
{
    struct pickle_node *node = NULL;
    int rc = peek(m, &node);

    return rc < 0 ? rc : push(m, node);
}

static int op_pop(struct machine *m)
{
    if (m->depth == 0)
        return bad(m, "the stack holds no value");
    m->depth--;
    return 0;
}

static int op_pop_mark(struct machine *m)
{
    size_t mark = 0;
    int rc = find_mark(m, &mark);

    if (rc == 0)
        m->depth = mark - 1;
    return rc;
}

static int op_stop(struct machine *m)
{
    m->stopped = true;
    return pop(m, &m->pickle->root);
}

static int unknown(struct machine *m, unsigned char opcode)
{
    return rnn_fail_at(m->err, RNN_EUNSUPPORTED, NULL, (int64_t)m->opcode_at,
                       "pickle, byte %zu: opcode 0x%02x is not one that model files have",
                       m->opcode_at, opcode);
}

/* Values: what an instruction pushes from its own bytes. */
static int run_value(struct machine *m, unsigned char opcode)
{
    switch (opcode) {
    case 'N':
        return push_empty(m, PICKLE_NONE);
    case 0x88:
        return push_bool(m, true);
    case 0x89:
        return push_bool(m, false);
    case 'J':
        return push_int32(m);
    case 'K':
        return push_unsigned(m, 1);
    case 'M':
        return push_unsigned(m, 2);
    case 0x8a:
        return push_long(m, 1);
    case 0x8b:
        return push_long(m, 4);
    case 'G':
        return push_float(m);
    case 'T': /* BINSTRING, SHORT_BINSTRING: Python 2's str */
        return push_text(m, PICKLE_STRING, 4);
    case 'U':
        return push_text(m, PICKLE_STRING, 1);
    case 'X':
        return push_text(m, PICKLE_STRING, 4);
    case 0x8c:
        return push_text(m, PICKLE_STRING, 1);
    case 0x8d:
        return push_text(m, PICKLE_STRING, 8);
    case 'B':
        return push_text(m, PICKLE_BYTES, 4);
    case 'C':
        return push_text(m, PICKLE_BYTES, 1);
    case 0x8e:
    case 0x96: /* BYTEARRAY8 */
        return push_text(m, PICKLE_BYTES, 8);
    default:
        return unknown(m, opcode);
    }
}

/* Containers and what goes into them. */
static int run_container(struct machine *m, unsigned char opcode)
{
    switch (opcode) {
    case '(':
        return push(m, NULL);
    case ')':
        return push_empty(m, PICKLE_TUPLE);
    case ']':
        return push_empty(m, PICKLE_LIST);
    case '}':
        return push_empty(m, PICKLE_DICT);
    case 0x8f:
        return push_empty(m, PICKLE_SET);
    case 't':
        return push_marked(m, PICKLE_TUPLE);
    case 'l':
        return push_marked(m, PICKLE_LIST);
    case 'd':
        return push_marked(m, PICKLE_DICT);
    case 0x91: /* FROZENSET */
        return push_marked(m, PICKLE_SET);
    case 0x85:
        return push_tuple(m, 1);
    case 0x86:
        return push_tuple(m, 2);
    case 0x87:
        return push_tuple(m, 3);
    case 'a':
        return fill_last(m, 1, false);
    case 's':
        return fill_last(m, 2, true);
    case 'e':
    case 0x90: /* ADDITEMS */
        return fill_marked(m, false);
    case 'u':
        return fill_marked(m, true);
    default:
        return run_value(m, opcode);
    }
}

static int run_one(struct machine *m, unsigned char opcode)
{
    switch (opcode) {
    case 0x80:
        return op_protocol(m);
    case 0x95:
        return op_frame(m);
    case '.':
        return op_stop(m);
    case 'c':
        return op_global(m);
    case 0x93:
        return op_stack_global(m);
    case 'R':
    case 0x81: /* NEWOBJ */
        return op_call(m, false);
    case 0x92: /* NEWOBJ_EX */
        return op_call(m, true);
    case 'o':
        return op_obj(m);
    case 'b':
        return op_build(m);
    case 'Q':
        return op_persistent(m);
    case 'q':
        return memo_op(m, 1, memo_put);
    case 'r':
        return memo_op(m, 4, memo_put);
    case 'h':
        return memo_op(m, 1, memo_get);
    case 'j':
        return memo_op(m, 4, memo_get);
    case 0x94:
        return memo_put(m, m->next_memo);
    case '2':
        return op_dup(m);
    case '0':
        return op_pop(m);
    case '1':
        return op_pop_mark(m);
    default:
        return run_container(m, opcode);
    }
}

static int run(struct machine *m)
{
    int rc = 0;

    while (rc == 0 && !m->stopped) {
        m->opcode_at = m->at;
        rc = m->at < m->len ? run_one(m, m->bytes[m->at++]) : bad(m, "it is cut");
    }
    return rc;
}

/* ---- Public ---- */

int pickle_read(struct pickle **out, const void *bytes, size_t len, size_t *used,
                struct rnn_err *err)
{
    struct machine m = {.bytes = bytes, .len = len, .err = err};
    int rc;

    m.pickle = calloc(1, sizeof *m.pickle);
    if (!m.pickle)
        return no_memory(&m);
    rc = run(&m);
    free(m.stack);
    free(m.memo);
    if (rc < 0) {
        pickle_free(m.pickle);
        return rc;
    }
    *used = m.at;
    *out = m.pickle;
    return 0;
}

void pickle_free(struct pickle *pickle)
{
    size_t n = pickle && pickle->n_nodes ? (pickle->n_nodes - 1) % CHUNK_NODES + 1 : 0;

    while (pickle && pickle->chunks) {
        struct chunk *next = pickle->chunks->next;

        for (size_t i = 0; i < n; i++)
            free(pickle->chunks->nodes[i].items);
        free(pickle->chunks);
        pickle->chunks = next;
        n = CHUNK_NODES;
    }
    free(pickle);
}

const struct pickle_node *pickle_root(const struct pickle *pickle)
{
    return pickle->root;
}

static bool same(struct pickle_text text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.bytes, word, text.len) == 0;
}

bool pickle_is_text(const struct pickle_node *node, const char *text)
{
    return node->kind == PICKLE_STRING && same(node->text, text);
}

bool pickle_is_global(const struct pickle_node *node, const char *module, const char *name)
{
    return node->kind == PICKLE_GLOBAL && same(node->global.module, module) &&
           same(node->global.name, name);
}

const struct pickle_node *pickle_get(const struct pickle_node *map, const char *key)
{
    if (!map->is_map)
        return NULL;
    for (size_t i = map->n_items / 2; i-- > 0;)
        if (pickle_is_text(map->items[2 * i], key))
            return map->items[2 * i + 1];
    return NULL;
}

const struct pickle_node *pickle_item(const struct pickle_node *list, size_t i)
{
    bool listed = list->kind == PICKLE_TUPLE || list->kind == PICKLE_LIST;

    return listed && i < list->n_items ? list->items[i] : NULL;
}
