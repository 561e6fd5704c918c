/* Stop strings: one Knuth-Morris-Pratt automaton for each, run side by side over the bytes.
 *
 * The state of an automaton is the length of the longest prefix of its string that ends the text,
 * so the largest state is exactly what must be held back.  Stop strings are valid UTF-8 and begin
 * with the first byte of a character, so a match never begins inside one. */
#include "base/stop.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"

static void find_borders(struct stop_string *string)
{
    uint32_t k = 0;

    string->border[0] = 0;
    for (size_t i = 1; i < string->len; i++) {
        while (k > 0 && string->text[i] != string->text[k])
            k = string->border[k - 1];
        if (string->text[i] == string->text[k])
            k++;
        string->border[i] = k;
    }
}

static bool add_string(struct stop_set *set, const char *text)
{
    struct stop_string *string = &set->strings[set->n];
    size_t len = strlen(text);

    string->text = strdup(text);
    string->border = calloc(len, sizeof *string->border);
    set->n++; /* from here on stop_set_free() takes care of the halves */
    if (!string->text || !string->border)
        return false;
    string->len = len;
    if (len > set->longest)
        set->longest = len;
    find_borders(string);
    return true;
}

bool stop_set_init(struct stop_set *set, const char *const *strings, size_t n)
{
    *set = (struct stop_set){0};
    if (n == 0)
        return true;
    set->strings = calloc(n, sizeof *set->strings);
    if (!set->strings)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!add_string(set, strings[i])) {
            stop_set_free(set);
            return false;
        }
    }
    return true;
}

void stop_set_free(struct stop_set *set)
{
    for (size_t i = 0; i < set->n; i++) {
        free(set->strings[i].text);
        free(set->strings[i].border);
    }
    free(set->strings);
    *set = (struct stop_set){0};
}

bool stop_match_init(struct stop_match *match, const struct stop_set *set)
{
    *match = (struct stop_match){.set = set, .found = -1};
    match->states = calloc(set->n + 1, sizeof *match->states);
    match->held = malloc(set->longest + 4);
    if (match->states && match->held)
        return true;
    stop_match_free(match);
    return false;
}

void stop_match_free(struct stop_match *match)
{
    free(match->states);
    free(match->held);
    *match = (struct stop_match){.found = -1};
}

/* One more byte for one string; true when it is complete. */
static bool advance(const struct stop_string *string, uint32_t *state, char byte)
{
    uint32_t k = *state;

    while (k > 0 && (k == string->len || string->text[k] != byte))
        k = string->border[k - 1];
    if (string->text[k] == byte)
        k++;
    *state = k;
    return k == string->len;
}

/* One more byte for all; the longest string that it completes, or -1. */
static int advance_all(struct stop_match *match, char byte)
{
    const struct stop_set *set = match->set;
    int found = -1;

    for (size_t i = 0; i < set->n; i++) {
        if (advance(&set->strings[i], &match->states[i], byte) &&
            (found < 0 || set->strings[i].len > set->strings[found].len))
            found = (int)i;
    }
    return found;
}

/* Bytes at the end of text[0..len) that are the beginning of a character: at most 3. */
static size_t unfinished(const char *text, size_t len)
{
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        unsigned char byte = (unsigned char)text[len - back];

        if ((byte & 0xC0) == 0x80)
            continue;
        return byte >= 0xC0 && utf8_decode(text + len - back, back, NULL) == 0 ? back : 0;
    }
    return 0;
}

/* Bytes that must stay: the longest beginning of a stop string, or an unfinished character. */
static size_t to_hold(const struct stop_match *match, const char *tail, size_t tail_len)
{
    size_t hold = unfinished(tail, tail_len);

    for (size_t i = 0; i < match->set->n; i++) {
        if (match->states[i] > hold)
            hold = match->states[i];
    }
    return hold;
}

/* The last up to three bytes of held + piece; returns how many. */
static size_t last_bytes(const struct stop_match *match, const char *piece, size_t len, char *tail)
{
    size_t total = match->n_held + len;
    size_t n = total < 3 ? total : 3;

    for (size_t i = 0; i < n; i++) {
        size_t at = total - n + i;

        tail[i] = at < match->n_held ? match->held[at] : piece[at - match->n_held];
    }
    return n;
}

/* Lets out the first `n` bytes of held + piece. */
static void let_out(struct stop_match *match, const char *piece, size_t n, struct buf *out)
{
    size_t from_held = n < match->n_held ? n : match->n_held;

    buf_put(out, match->held, from_held);
    buf_put(out, piece, n - from_held);
    match->n_held -= from_held;
    memmove(match->held, match->held + from_held, match->n_held);
}

bool stop_match_feed(struct stop_match *match, const char *piece, size_t len, struct buf *out)
{
    size_t total = match->n_held + len, hold, kept;
    char tail[3];

    if (match->found >= 0)
        return true;
    for (size_t i = 0; match->set->n > 0 && i < len; i++) {
        match->found = advance_all(match, piece[i]);
        if (match->found >= 0) {
            size_t end = match->n_held + i + 1;

            let_out(match, piece, end - match->set->strings[match->found].len, out);
            match->n_held = 0;
            return true;
        }
    }
    hold = to_hold(match, tail, last_bytes(match, piece, len, tail));
    let_out(match, piece, total - hold, out);
    kept = hold - match->n_held; /* what stays of the piece */
    memcpy(match->held + match->n_held, piece + len - kept, kept);
    match->n_held = hold;
    return false;
}

void stop_match_flush(struct stop_match *match, struct buf *out)
{
    size_t whole = match->n_held - unfinished(match->held, match->n_held);

    buf_put(out, match->held, whole);
    match->n_held = 0;
}
