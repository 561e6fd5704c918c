/* Strict JSON (RFC 8259) in front of cJSON.
 *
 * A recursive-descent scan of the text checks grammar, UTF-8, escapes, numbers and depth and builds
 * nothing; only then cJSON builds the tree, which is searched for duplicate keys (sorted, so that a
 * hostile object of n keys costs n log n).  A duplicate's offset is found by scanning once more up
 * to its ordinal number, because cJSON keeps no offsets.  Any thread; no state. */
#include "base/json.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum {
    NUMBER_MAX = 63, /* characters; cJSON cuts longer ones */
    DEPTH_MAX = 512, /* of the scan's own recursion; cJSON stops at 1000 */
    FEW_KEYS = 8     /* up to here each is compared with each */
};

/* ---- Scan ---- */

struct scan {
    const char *text;
    size_t len;
    size_t at;
    unsigned depth_max;
    size_t n_keys;     /* seen so far */
    size_t key_wanted; /* ordinal of the key whose offset is asked for; SIZE_MAX: none */
    size_t wanted_offset;
    struct rnn_err *err;
};

static int refuse(const struct scan *scan, size_t at, const char *what)
{
    return rnn_fail_at(scan->err, RNN_EFORMAT, NULL, (int64_t)at, "JSON: %s at byte %zu", what, at);
}

static int peek(const struct scan *scan)
{
    return scan->at < scan->len ? (unsigned char)scan->text[scan->at] : -1;
}

static void skip_space(struct scan *scan)
{
    for (int c = peek(scan); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(scan))
        scan->at++;
}

static bool scan_hex4(struct scan *scan, unsigned *out)
{
    unsigned value = 0;

    for (int i = 0; i < 4; i++, scan->at++) {
        int c = peek(scan);
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;

        if (digit < 0)
            return false;
        value = value << 4 | (unsigned)digit;
    }
    *out = value;
    return true;
}

/* After "\u". */
static int scan_unicode_escape(struct scan *scan, size_t start)
{
    unsigned unit;

    if (!scan_hex4(scan, &unit))
        return refuse(scan, start, "\\u wants four hexadecimal digits");
    if (unit == 0)
        return refuse(scan, start, "\\u0000 is not accepted");
    if (unit < 0xD800 || unit > 0xDFFF)
        return 0;
    if (unit > 0xDBFF || scan->len - scan->at < 2 || scan->text[scan->at] != '\\' ||
        scan->text[scan->at + 1] != 'u')
        return refuse(scan, start, "half of a surrogate pair");
    scan->at += 2;
    if (!scan_hex4(scan, &unit) || unit < 0xDC00 || unit > 0xDFFF)
        return refuse(scan, start, "half of a surrogate pair");
    return 0;
}

static int scan_escape(struct scan *scan)
{
    size_t start = scan->at++;
    int c = peek(scan);

    if (c == 'u') {
        scan->at++;
        return scan_unicode_escape(scan, start);
    }
    if (c <= 0 || !strchr("\"\\/bfnrt", c))
        return refuse(scan, start, "unknown escape");
    scan->at++;
    return 0;
}

static int scan_string(struct scan *scan)
{
    size_t start = scan->at++;
    int rc;

    for (;;) {
        int c = peek(scan);

        if (c < 0)
            return refuse(scan, start, "string without an end");
        if (c == '"')
            break;
        if (c < ' ')
            return refuse(scan, scan->at, "control character in a string");
        if (c == '\\') {
            rc = scan_escape(scan);
            if (rc < 0)
                return rc;
        } else if (c < 0x80) {
            scan->at++;
        } else {
            int n = utf8_decode(scan->text + scan->at, scan->len - scan->at, NULL);

            if (n <= 0)
                return refuse(scan, scan->at, "invalid UTF-8");
            scan->at += (size_t)n;
        }
    }
    scan->at++;
    return 0;
}

static bool scan_digits(struct scan *scan)
{
    size_t start = scan->at;

    while (peek(scan) >= '0' && peek(scan) <= '9')
        scan->at++;
    return scan->at > start;
}

static int scan_number(struct scan *scan)
{
    char copy[NUMBER_MAX + 1];
    size_t start = scan->at, len;
    bool leading_zero;

    if (peek(scan) == '-')
        scan->at++;
    leading_zero = peek(scan) == '0';
    if (leading_zero)
        scan->at++;
    else if (!scan_digits(scan))
        return refuse(scan, start, "a value is wanted");
    if (leading_zero && peek(scan) >= '0' && peek(scan) <= '9')
        return refuse(scan, start, "number with a leading zero");
    if (peek(scan) == '.') {
        scan->at++;
        if (!scan_digits(scan))
            return refuse(scan, start, "number without digits after the point");
    }
    if (peek(scan) == 'e' || peek(scan) == 'E') {
        scan->at++;
        if (peek(scan) == '+' || peek(scan) == '-')
            scan->at++;
        if (!scan_digits(scan))
            return refuse(scan, start, "number without digits in the exponent");
    }
    len = scan->at - start;
    if (len > NUMBER_MAX)
        return refuse(scan, start, "number of more than 63 characters");
    memcpy(copy, scan->text + start, len);
    copy[len] = '\0';
    if (!isfinite(strtod(copy, NULL)))
        return refuse(scan, start, "number beyond the range of a double");
    return 0;
}

static int scan_word(struct scan *scan, const char *word)
{
    size_t len = strlen(word);

    if (scan->len - scan->at < len || memcmp(scan->text + scan->at, word, len) != 0)
        return refuse(scan, scan->at, "a value is wanted");
    scan->at += len;
    return 0;
}

static int scan_value(struct scan *scan, unsigned depth);

/* A key and its colon. */
static int scan_key(struct scan *scan)
{
    int rc;

    if (peek(scan) != '"')
        return refuse(scan, scan->at, "a key is wanted");
    if (scan->n_keys++ == scan->key_wanted)
        scan->wanted_offset = scan->at;
    rc = scan_string(scan);
    if (rc < 0)
        return rc;
    skip_space(scan);
    if (peek(scan) != ':')
        return refuse(scan, scan->at, "':' is wanted");
    scan->at++;
    return 0;
}

/* An object (close = '}') or an array (close = ']'). */
static int scan_members(struct scan *scan, unsigned depth, char close)
{
    if (depth >= scan->depth_max)
        return refuse(scan, scan->at, "nested too deeply");
    scan->at++;
    skip_space(scan);
    if (peek(scan) == close) {
        scan->at++;
        return 0;
    }
    for (;;) {
        int rc = 0;

        skip_space(scan);
        if (close == '}')
            rc = scan_key(scan);
        if (rc == 0)
            rc = scan_value(scan, depth + 1);
        if (rc < 0)
            return rc;
        skip_space(scan);
        if (peek(scan) == close)
            break;
        if (peek(scan) != ',')
            return refuse(scan, scan->at,
                          close == '}' ? "',' or '}' is wanted" : "',' or ']' is wanted");
        scan->at++;
    }
    scan->at++;
    return 0;
}

/* `depth`: containers around this value. */
static int scan_value(struct scan *scan, unsigned depth)
{
    skip_space(scan);
    switch (peek(scan)) {
    case '{':
        return scan_members(scan, depth, '}');
    case '[':
        return scan_members(scan, depth, ']');
    case '"':
        return scan_string(scan);
    case 't':
        return scan_word(scan, "true");
    case 'f':
        return scan_word(scan, "false");
    case 'n':
        return scan_word(scan, "null");
    default:
        return scan_number(scan);
    }
}

static int scan_text(struct scan *scan)
{
    int rc;

    skip_space(scan);
    if (scan->at == scan->len)
        return refuse(scan, scan->at, "empty text");
    rc = scan_value(scan, 0);
    if (rc < 0)
        return rc;
    skip_space(scan);
    if (scan->at != scan->len)
        return refuse(scan, scan->at, "text after the end of the value");
    return 0;
}

/* ---- Duplicate keys ---- */

static int by_key(const void *a, const void *b)
{
    const struct cJSON *const *left = a, *const *right = b;

    return strcmp((*left)->string, (*right)->string);
}

/* Sets *duplicate to a member whose key stands twice in `object`, or leaves it alone. */
static int sorted_duplicate(const struct cJSON *object, size_t n, const struct cJSON **duplicate)
{
    const struct cJSON **members = malloc(n * sizeof *members);
    size_t i = 0;

    if (!members)
        return RNN_ENOMEM;
    for (const struct cJSON *m = object->child; m; m = m->next)
        members[i++] = m;
    qsort(members, n, sizeof *members, by_key);
    for (i = 1; i < n && !*duplicate; i++)
        if (by_key(&members[i - 1], &members[i]) == 0)
            *duplicate = members[i];
    free(members);
    return 0;
}

static int object_duplicate(const struct cJSON *object, const struct cJSON **duplicate)
{
    size_t n = 0;

    for (const struct cJSON *m = object->child; m; m = m->next)
        n++;
    if (n > FEW_KEYS)
        return sorted_duplicate(object, n, duplicate);
    for (const struct cJSON *m = object->child; m && !*duplicate; m = m->next)
        for (const struct cJSON *other = object->child; other != m; other = other->next)
            if (strcmp(other->string, m->string) == 0)
                *duplicate = m;
    return 0;
}

static int tree_duplicate(const struct cJSON *node, const struct cJSON **duplicate)
{
    int rc = 0;

    if (cJSON_IsObject(node))
        rc = object_duplicate(node, duplicate);
    for (const struct cJSON *m = node->child; m && rc == 0 && !*duplicate; m = m->next)
        if (m->child)
            rc = tree_duplicate(m, duplicate);
    return rc;
}

/* Whether `wanted` is in the tree; *ordinal grows by the keys before it in the text. */
static bool key_ordinal(const struct cJSON *node, const struct cJSON *wanted, size_t *ordinal)
{
    bool keyed = cJSON_IsObject(node);

    for (const struct cJSON *m = node->child; m; m = m->next) {
        if (m == wanted)
            return true;
        *ordinal += keyed;
        if (m->child && key_ordinal(m, wanted, ordinal))
            return true;
    }
    return false;
}

static int refuse_duplicate(const struct cJSON *root, const struct cJSON *duplicate,
                            struct scan *scan)
{
    struct rnn_err *err = scan->err;
    size_t ordinal = 0;

    (void)key_ordinal(root, duplicate, &ordinal); /* it came from this tree */
    *scan = (struct scan){
        .text = scan->text, .len = scan->len, .depth_max = scan->depth_max, .key_wanted = ordinal};
    (void)scan_text(scan); /* passed before */
    return rnn_fail_at(err, RNN_EFORMAT, duplicate->string, (int64_t)scan->wanted_offset,
                       "JSON: key \"%.64s\" stands twice in one object, again at byte %zu",
                       duplicate->string, scan->wanted_offset);
}

int json_parse(struct cJSON **out, const char *text, size_t len, unsigned max_depth,
               struct rnn_err *err)
{
    struct scan scan = {.text = text,
                        .len = len,
                        .depth_max = max_depth < DEPTH_MAX ? max_depth : DEPTH_MAX,
                        .key_wanted = SIZE_MAX,
                        .err = err};
    const struct cJSON *duplicate = NULL;
    struct cJSON *root;
    int rc;

    rc = scan_text(&scan);
    if (rc < 0)
        return rc;
    root = cJSON_ParseWithLength(text, len);
    if (!root)
        return rnn_fail(err, RNN_ENOMEM, "out of memory for %zu bytes of JSON", len);
    rc = tree_duplicate(root, &duplicate);
    if (rc == 0 && duplicate)
        rc = refuse_duplicate(root, duplicate, &scan);
    else if (rc < 0)
        rc = rnn_fail(err, rc, "out of memory for %zu bytes of JSON", len);
    if (rc < 0) {
        cJSON_Delete(root);
        return rc;
    }
    *out = root;
    return 0;
}

void json_free(struct cJSON *json)
{
    cJSON_Delete(json);
}

/* ---- Typed readers ---- */

const struct cJSON *json_get(const struct cJSON *object, const char *key)
{
    const struct cJSON *member = cJSON_GetObjectItemCaseSensitive(object, key);

    return !member || cJSON_IsNull(member) ? NULL : member;
}

static const char *type_name(const struct cJSON *value)
{
    switch (value->type & 0xFF) {
    case cJSON_False:
    case cJSON_True:
        return "a boolean";
    case cJSON_Number:
        return "a number";
    case cJSON_String:
        return "a string";
    case cJSON_Array:
        return "an array";
    case cJSON_Object:
        return "an object";
    default:
        return "null";
    }
}

struct place {
    char text[sizeof((struct rnn_err *)0)->param];
};

static struct place place_of(const char *path, const char *key)
{
    struct place place;

    snprintf(place.text, sizeof place.text, "%s%s%s", path, *path ? "." : "", key);
    return place;
}

static int wrong_type(const char *path, const char *key, const char *want,
                      const struct cJSON *value, struct rnn_err *err)
{
    struct place place = place_of(path, key);

    return rnn_fail_at(err, RNN_ETYPE, place.text, -1, "%s: want %s, found %s", place.text, want,
                       type_name(value));
}

int json_read_bool(const struct cJSON *object, const char *path, const char *key, bool *out,
                   struct rnn_err *err)
{
    const struct cJSON *value = json_get(object, key);

    if (!value)
        return 0;
    if (!cJSON_IsBool(value))
        return wrong_type(path, key, "true or false", value, err);
    *out = cJSON_IsTrue(value);
    return 0;
}

int json_read_int(const struct cJSON *object, const char *path, const char *key, int64_t min,
                  int64_t max, int64_t *out, struct rnn_err *err)
{
    const struct cJSON *value = json_get(object, key);
    const double exact_max = 9007199254740992.0; /* 2^53: above, doubles skip integers */
    struct place place;
    double number;

    if (!value)
        return 0;
    if (!cJSON_IsNumber(value))
        return wrong_type(path, key, "an integer", value, err);
    place = place_of(path, key);
    number = value->valuedouble;
    if (number != trunc(number))
        return rnn_fail_at(err, RNN_ETYPE, place.text, -1, "%s: want an integer, found %.9g",
                           place.text, number);
    if (fabs(number) > exact_max || (int64_t)number < min || (int64_t)number > max)
        return rnn_fail_at(err, RNN_ERANGE, place.text, -1,
                           "%s: want an integer from %lld to %lld, found %.17g", place.text,
                           (long long)min, (long long)max, number);
    *out = (int64_t)number;
    return 0;
}

int json_read_double(const struct cJSON *object, const char *path, const char *key, double min,
                     double max, double *out, struct rnn_err *err)
{
    const struct cJSON *value = json_get(object, key);

    if (!value)
        return 0;
    if (!cJSON_IsNumber(value))
        return wrong_type(path, key, "a number", value, err);
    if (!(value->valuedouble >= min && value->valuedouble <= max)) {
        struct place place = place_of(path, key);

        return rnn_fail_at(err, RNN_ERANGE, place.text, -1,
                           "%s: want a number from %g to %g, found %.9g", place.text, min, max,
                           value->valuedouble);
    }
    *out = value->valuedouble;
    return 0;
}

int json_read_string(const struct cJSON *object, const char *path, const char *key,
                     const char **out, struct rnn_err *err)
{
    const struct cJSON *value = json_get(object, key);

    if (!value)
        return 0;
    if (!cJSON_IsString(value))
        return wrong_type(path, key, "a string", value, err);
    *out = value->valuestring;
    return 0;
}

static bool is_allowed(const char *key, const char *const *allowed)
{
    for (; *allowed; allowed++)
        if (strcmp(key, *allowed) == 0)
            return true;
    return false;
}

int json_only(const struct cJSON *object, const char *path, const char *const *allowed,
              struct rnn_err *err)
{
    for (const struct cJSON *m = object->child; m; m = m->next) {
        char list[224];
        size_t used = 0;
        struct place place;

        if (is_allowed(m->string, allowed))
            continue;
        list[0] = '\0';
        for (const char *const *a = allowed; *a && used < sizeof list; a++)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", *a);
        place = place_of(path, m->string);
        return rnn_fail_at(err, RNN_EFORMAT, place.text, -1, "unknown field %.64s; there is: %s",
                           place.text, list);
    }
    return 0;
}
