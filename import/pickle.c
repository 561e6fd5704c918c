/* The pickle machine with its teeth drawn: its instructions.  See pickle.h.
 *
 * Texts stay in the pickle's own bytes. */
#include "import/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "import/pickle_inner.h"

enum { STRING_MAX = 1 << 26, IDS_MAX = 100000 };

/* ---- Bytes ---- */

static int take(struct machine *m, size_t n, const unsigned char **out)
{
    if (n > m->len - m->at)
        return machine_bad(m, "it is cut");
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
        return machine_too_much(m, "bytes in a string", STRING_MAX);
    rc = take(m, (size_t)len, &bytes);
    *out = (struct pickle_text){(const char *)bytes, (size_t)len};
    return rc;
}

static int take_line(struct machine *m, struct pickle_text *out)
{
    const unsigned char *begin = m->bytes + m->at;
    const unsigned char *end = memchr(begin, '\n', m->len - m->at);

    if (!end)
        return machine_bad(m, "it is cut");
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
        rc = machine_push_new(m, kind, &node);
    if (rc == 0)
        node->text = text;
    return rc;
}

static int push_int(struct machine *m, int64_t value)
{
    struct pickle_node *node;
    int rc = machine_push_new(m, PICKLE_INT, &node);

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
        rc = machine_push_new(m, PICKLE_BIG, &node);
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
        rc = machine_push_new(m, PICKLE_FLOAT, &node);
    if (rc == 0)
        memcpy(&node->real, &bits, sizeof bits);
    return rc;
}

static int push_bool(struct machine *m, bool value)
{
    struct pickle_node *node;
    int rc = machine_push_new(m, PICKLE_BOOL, &node);

    if (rc == 0)
        node->truth = value;
    return rc;
}

static int push_empty(struct machine *m, enum pickle_kind kind)
{
    struct pickle_node *node;

    return machine_push_new(m, kind, &node);
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
    int rc = machine_push_new(m, PICKLE_GLOBAL, &node);

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
    int rc = machine_pop(m, &name);

    if (rc == 0)
        rc = machine_pop(m, &module);
    if (rc < 0)
        return rc;
    if (name->kind != PICKLE_STRING || module->kind != PICKLE_STRING)
        return machine_bad(m, "the name of a class is no string");
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
    rc = machine_push_new(m, PICKLE_OBJECT, &node);
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
    int rc = keywords ? machine_pop(m, &ignored) : 0;

    if (rc == 0)
        rc = machine_pop(m, &args);
    if (rc == 0)
        rc = machine_pop(m, &callee);
    return rc < 0 ? rc : push_object(m, callee, args);
}

/* MARK class args… OBJ */
static int op_obj(struct machine *m)
{
    struct pickle_node *tuple = NULL, *args = NULL;
    int rc = machine_push_marked(m, PICKLE_TUPLE);

    if (rc == 0)
        rc = machine_pop(m, &tuple);
    if (rc == 0 && tuple->n_items == 0)
        return machine_bad(m, "no class for an object");
    if (rc == 0)
        rc = machine_node(m, PICKLE_TUPLE, &args);
    if (rc == 0)
        rc = machine_append(m, args, tuple->items + 1, tuple->n_items - 1);
    return rc < 0 ? rc : push_object(m, tuple->items[0], args);
}

/* A dictionary's own attributes (a state dict's _metadata) are of no use here. */
static int op_build(struct machine *m)
{
    struct pickle_node *state = NULL, *object = NULL;
    int rc = machine_pop(m, &state);

    if (rc == 0)
        rc = machine_peek(m, &object);
    if (rc == 0 && object->kind == PICKLE_OBJECT)
        object->object.state = state;
    return rc;
}

static int keep_id(struct machine *m, const struct pickle_node *id)
{
    struct pickle *pickle = m->pickle;

    if (pickle->n_ids == IDS_MAX)
        return machine_too_much(m, "persistent ids", IDS_MAX);
    if (pickle->n_ids == pickle->ids_cap) {
        size_t cap = pickle->ids_cap ? pickle->ids_cap * 2 : 64;
        const struct pickle_node **larger = realloc(pickle->ids, cap * sizeof *larger);

        if (!larger)
            return machine_no_memory(m);
        pickle->ids = larger;
        pickle->ids_cap = cap;
    }
    pickle->ids[pickle->n_ids++] = id;
    return 0;
}

static int op_persistent(struct machine *m)
{
    struct pickle_node *id = NULL, *node;
    int rc = machine_pop(m, &id);

    if (rc == 0)
        rc = machine_push_new(m, PICKLE_PERSISTENT, &node);
    if (rc == 0) {
        node->id = id;
        rc = keep_id(m, id);
    }
    return rc;
}

/* ---- Instructions ---- */

static int op_protocol(struct machine *m)
{
    uint64_t version = 0;
    int rc = take_number(m, 1, &version);

    return rc == 0 && version > 5 ? machine_bad(m, "a protocol from after 5") : rc;
}

static int op_frame(struct machine *m)
{
    uint64_t len = 0;
    int rc = take_number(m, 8, &len);

    return rc == 0 && len > m->len - m->at ? machine_bad(m, "it is cut") : rc;
}

static int op_dup(struct machine *m)
{
    struct pickle_node *node = NULL;
    int rc = machine_peek(m, &node);

    return rc < 0 ? rc : machine_push(m, node);
}

static int op_pop(struct machine *m)
{
    if (m->depth == 0)
        return machine_bad(m, "the stack holds no value");
    m->depth--;
    return 0;
}

static int op_pop_mark(struct machine *m)
{
    size_t mark = 0;
    int rc = machine_find_mark(m, &mark);

    if (rc == 0)
        m->depth = mark - 1;
    return rc;
}

static int op_stop(struct machine *m)
{
    m->stopped = true;
    return machine_pop(m, &m->pickle->root);
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
        return machine_push(m, NULL);
    case ')':
        return push_empty(m, PICKLE_TUPLE);
    case ']':
        return push_empty(m, PICKLE_LIST);
    case '}':
        return push_empty(m, PICKLE_DICT);
    case 0x8f:
        return push_empty(m, PICKLE_SET);
    case 't':
        return machine_push_marked(m, PICKLE_TUPLE);
    case 'l':
        return machine_push_marked(m, PICKLE_LIST);
    case 'd':
        return machine_push_marked(m, PICKLE_DICT);
    case 0x91: /* FROZENSET */
        return machine_push_marked(m, PICKLE_SET);
    case 0x85:
        return machine_push_tuple(m, 1);
    case 0x86:
        return machine_push_tuple(m, 2);
    case 0x87:
        return machine_push_tuple(m, 3);
    case 'a':
        return machine_fill_last(m, 1, false);
    case 's':
        return machine_fill_last(m, 2, true);
    case 'e':
    case 0x90: /* ADDITEMS */
        return machine_fill_marked(m, false);
    case 'u':
        return machine_fill_marked(m, true);
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
        return memo_op(m, 1, machine_memo_put);
    case 'r':
        return memo_op(m, 4, machine_memo_put);
    case 'h':
        return memo_op(m, 1, machine_memo_get);
    case 'j':
        return memo_op(m, 4, machine_memo_get);
    case 0x94:
        return machine_memo_put(m, m->next_memo);
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
        rc = m->at < m->len ? run_one(m, m->bytes[m->at++]) : machine_bad(m, "it is cut");
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
        return machine_no_memory(&m);
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

const struct pickle_node *pickle_root(const struct pickle *pickle)
{
    return pickle->root;
}

size_t pickle_n_ids(const struct pickle *pickle)
{
    return pickle->n_ids;
}

const struct pickle_node *pickle_id(const struct pickle *pickle, size_t i)
{
    return pickle->ids[i];
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
