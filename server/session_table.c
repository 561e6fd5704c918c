/* Finding sessions: by owner and id, in order, and the names that they share.
 *
 * The hash table grows by one bucket an insertion (linear hashing, Litwin 1980), so that no request
 * pays for a million entries being moved; SipHash with a random key, so that nobody can aim at one
 * bucket.  The treap (Seidel and Aragon 1996) keeps the order of owner and id for paged listings;
 * its priorities are the hashes.  Knows nothing of life spans and lines.  Own shard's thread. */
#include "server/session_inner.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BUCKETS_MIN 64u

/* ---- Hashing ---- */

static inline uint64_t rotl(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

static void sip_text(uint64_t v[4], const char *text)
{
    size_t len = strlen(text);
    uint64_t word;

    for (; len >= 8; len -= 8, text += 8) {
        memcpy(&word, text, 8);
        sip_word(v, word);
    }
    word = 0;
    memcpy(&word, text, len);
    sip_word(v, word | (uint64_t)(len + 1) << 56);
}

uint64_t session_hash(const struct sessions *sessions, const char *owner, const char *id)
{
    uint64_t v[4] = {
        sessions->secret[0] ^ 0x736f6d6570736575u,
        sessions->secret[1] ^ 0x646f72616e646f6du,
        sessions->secret[0] ^ 0x6c7967656e657261u,
        sessions->secret[1] ^ 0x7465646279746573u,
    };

    sip_text(v, owner);
    sip_text(v, id);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- Names ---- */

const char *session_name_keep(struct sessions *sessions, const char *text)
{
    size_t bucket = session_hash(sessions, text, "") % NAMES_BUCKETS;
    size_t size = strlen(text) + 1;
    struct name *name;

    for (name = sessions->names[bucket]; name != NULL; name = name->next)
        if (strcmp(name->text, text) == 0)
            return name->text;
    name = malloc(sizeof(*name) + size);
    if (name == NULL)
        return NULL;
    memcpy(name->text, text, size);
    name->next = sessions->names[bucket];
    sessions->names[bucket] = name;
    return name->text;
}

/* ---- Hash table ---- */

static struct session **bucket_of(const struct sessions *sessions, uint64_t hash)
{
    size_t at = hash & sessions->mask;

    if (at < sessions->split)
        at = hash & (2 * sessions->mask + 1);
    return &sessions->buckets[at];
}

/* Grows by one bucket; without memory the chains grow longer instead. */
static void table_grow(struct sessions *sessions)
{
    size_t added = sessions->mask + 1 + sessions->split;
    struct session *chain;

    if (added == sessions->cap) {
        struct session **buckets =
            realloc(sessions->buckets, 2 * sessions->cap * sizeof(*sessions->buckets));

        if (buckets == NULL)
            return;
        sessions->buckets = buckets;
        sessions->cap *= 2;
    }
    chain = sessions->buckets[sessions->split];
    sessions->buckets[sessions->split] = sessions->buckets[added] = NULL;
    sessions->split++;
    while (chain != NULL) {
        struct session *session = chain, **bucket = bucket_of(sessions, session->hash);

        chain = session->chain;
        session->chain = *bucket;
        *bucket = session;
    }
    if (sessions->split == sessions->mask + 1) {
        sessions->mask = 2 * sessions->mask + 1;
        sessions->split = 0;
    }
}

void session_table_insert(struct sessions *sessions, struct session *session)
{
    struct session **bucket;

    if (++sessions->n_entries > sessions->mask + 1 + sessions->split)
        table_grow(sessions);
    bucket = bucket_of(sessions, session->hash);
    session->chain = *bucket;
    *bucket = session;
}

void session_table_remove(struct sessions *sessions, struct session *session)
{
    struct session **at = bucket_of(sessions, session->hash);

    while (*at != session)
        at = &(*at)->chain;
    *at = session->chain;
    sessions->n_entries--;
}

struct session *session_table_find(const struct sessions *sessions, const char *owner,
                                   const char *id)
{
    uint64_t hash = session_hash(sessions, owner, id);
    struct session *session = *bucket_of(sessions, hash);

    for (; session != NULL; session = session->chain)
        if (session->hash == hash && strcmp(session->id, id) == 0 &&
            strcmp(session->owner, owner) == 0)
            return session;
    return NULL;
}

void session_table_clear(struct sessions *sessions,
                         void (*taken)(struct sessions *sessions, struct session *session))
{
    size_t n = sessions->n_entries > 0 ? sessions->mask + 1 + sessions->split : 0;

    for (size_t i = 0; i < n; i++) {
        struct session *chain = sessions->buckets[i];

        sessions->buckets[i] = NULL;
        while (chain != NULL) {
            struct session *session = chain;

            chain = session->chain;
            sessions->n_entries--;
            taken(sessions, session);
        }
    }
}

/* ---- Treap ---- */

int session_order(const struct session *session, const char *owner, const char *id)
{
    int diff = session->owner == owner ? 0 : strcmp(session->owner, owner);

    return diff != 0 ? diff : strcmp(session->id, id);
}

struct session *session_order_after(const struct sessions *sessions, const char *owner,
                                    const char *id)
{
    struct session *first = NULL;

    for (struct session *node = sessions->root; node != NULL;) {
        bool behind = session_order(node, owner, id) > 0;

        if (behind)
            first = node;
        node = behind ? node->left : node->right;
    }
    return first;
}

/* Everything before (owner, id) to *left, the rest to *right. */
static void treap_split(struct session *node, const char *owner, const char *id,
                        struct session **left, struct session **right)
{
    while (node != NULL) {
        if (session_order(node, owner, id) < 0) {
            *left = node;
            left = &node->right;
            node = node->right;
        } else {
            *right = node;
            right = &node->left;
            node = node->left;
        }
    }
    *left = *right = NULL;
}

static struct session *treap_merge(struct session *left, struct session *right)
{
    struct session *root = NULL, **at = &root;

    while (left != NULL && right != NULL) {
        if (left->hash > right->hash) {
            *at = left;
            at = &left->right;
            left = left->right;
        } else {
            *at = right;
            at = &right->left;
            right = right->left;
        }
    }
    *at = left != NULL ? left : right;
    return root;
}

void session_order_insert(struct sessions *sessions, struct session *session)
{
    struct session **at = &sessions->root;

    while (*at != NULL && (*at)->hash > session->hash)
        at = session_order(*at, session->owner, session->id) < 0 ? &(*at)->right : &(*at)->left;
    treap_split(*at, session->owner, session->id, &session->left, &session->right);
    *at = session;
}

void session_order_remove(struct sessions *sessions, struct session *session)
{
    struct session **at = &sessions->root;

    while (*at != session)
        at = session_order(*at, session->owner, session->id) < 0 ? &(*at)->right : &(*at)->left;
    *at = treap_merge(session->left, session->right);
}

/* A session to be sorted: what its place follows from, but for ids that begin alike. */
struct place {
    const char *owner;
    uint64_t id_begin; /* its first eight bytes, to compare as one number */
    struct session *session;
};

static int place_compare(const void *one, const void *other)
{
    const struct place *a = one, *b = other;
    int diff = a->owner == b->owner ? 0 : strcmp(a->owner, b->owner);

    if (diff == 0 && a->id_begin != b->id_begin)
        diff = a->id_begin < b->id_begin ? -1 : 1;
    return diff != 0 ? diff : strcmp(a->session->id, b->session->id);
}

static struct place place_of(struct session *session)
{
    struct place place = {.owner = session->owner, .session = session};
    unsigned char begin[sizeof(place.id_begin)] = {0};

    memcpy(begin, session->id, strnlen(session->id, sizeof(begin)));
    for (size_t i = 0; i < sizeof(begin); i++)
        place.id_begin = place.id_begin << 8 | begin[i];
    return place;
}

static size_t places_fill(const struct sessions *sessions, struct place *places)
{
    size_t n = 0;

    for (size_t i = 0; i <= sessions->mask + sessions->split; i++)
        for (struct session *s = sessions->buckets[i]; s != NULL; s = s->chain)
            if (!s->tombstone)
                places[n++] = place_of(s);
    return n;
}

/* In order from the left: each becomes the end of the right spine, which is kept in `places` up to
 * where the reading is, and takes what is below it there as its left child (Vuillemin 1980). */
static void treap_build(struct sessions *sessions, struct place *places, size_t n)
{
    size_t depth = 0;

    sessions->root = NULL;
    for (size_t i = 0; i < n; i++) {
        struct session *node = places[i].session;

        node->left = node->right = NULL;
        while (depth > 0 && places[depth - 1].session->hash < node->hash)
            node->left = places[--depth].session;
        *(depth > 0 ? &places[depth - 1].session->right : &sessions->root) = node;
        places[depth++].session = node;
    }
}

static void order_one_by_one(struct sessions *sessions)
{
    sessions->root = NULL;
    for (size_t i = 0; i <= sessions->mask + sessions->split; i++)
        for (struct session *s = sessions->buckets[i]; s != NULL; s = s->chain)
            if (!s->tombstone)
                session_order_insert(sessions, s);
}

void session_order_build(struct sessions *sessions)
{
    struct place *places = calloc(sessions->n_entries + 1, sizeof(*places));
    size_t n;

    if (places == NULL) {
        order_one_by_one(sessions);
        return;
    }
    n = places_fill(sessions, places);
    qsort(places, n, sizeof(*places), place_compare);
    treap_build(sessions, places, n);
    free(places);
}

/* ---- Life ---- */

int session_table_init(struct sessions *sessions, struct rnn_err *err)
{
    sessions->cap = BUCKETS_MIN;
    sessions->mask = BUCKETS_MIN - 1;
    sessions->buckets = calloc(BUCKETS_MIN, sizeof(struct session *));
    if (sessions->buckets == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for sessions");
    if (getrandom(sessions->secret, sizeof(sessions->secret), 0) !=
        (ssize_t)sizeof(sessions->secret))
        return rnn_fail(err, RNN_EIO, "the system gives no random numbers");
    return 0;
}

void session_table_deinit(struct sessions *sessions)
{
    for (size_t i = 0; i < NAMES_BUCKETS; i++) {
        while (sessions->names[i] != NULL) {
            struct name *name = sessions->names[i];

            sessions->names[i] = name->next;
            free(name);
        }
    }
    free(sessions->buckets);
}
