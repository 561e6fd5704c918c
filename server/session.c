/* The sessions of one shard.
 *
 * A session is found by owner and id: two keys may each have a session of one name, and neither can
 * learn of the other's.  Three structures hold it:
 *   - a hash table (linear hashing: it grows by one bucket an insertion, so that no request pays
 *     for a million entries being moved; SipHash with a random key, so that nobody can aim at one
 *     bucket);
 *   - a treap in the order of owner and id, for paged listings; its priorities are the hashes;
 *   - a binary heap by due time.  A use does not touch the heap: an entry that comes up too early
 *     goes back in with its true time.
 * An expired session stays in table and heap as a tombstone, without state and model, so that it
 * can be answered with 410 for a while; tombstones are bounded in number.
 *
 * Memory of a state is overwritten before it is freed.  Own shard's thread only, but for
 * session_shard() and session_id_valid(). */
#include "server/session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "server/heap.h"
#include "server/metrics.h"
#include "server/server.h"
#include "server/shard.h"

#define BUCKETS_MIN      64u
#define NAMES_BUCKETS    64u
#define RETRY_EXPIRY_MS  1000
#define TOMBSTONES_SPARE 1024u

/* Names of keys and models: few, shared by many sessions, kept until the shard ends. */
struct name {
    struct name *next;
    char text[];
};

struct session {
    uint64_t hash;
    struct session *chain;        /* hash table */
    struct session *left, *right; /* treap; of live sessions only */
    const char *owner, *model_name;
    struct rnn_model *model; /* a reference; NULL: a tombstone */
    struct rnn_state *state; /* [bytes] */
    size_t bytes;
    uint64_t seed;
    int64_t created_ms, used_ms, expires_ms, ttl_ms;
    struct due due; /* milliseconds; at most the true time */
    struct session_hold *holder;
    struct session_hold *first, **last; /* the line */
    uint32_t n_waiting;
    bool granting; /* in sessions->grants */
    bool deleted;  /* out of all tables; lives until its holder lets go */
    struct session *next_grant;
    char id[]; /* NUL-terminated */
};

struct sessions {
    struct shard *shard;
    uint64_t secret[2];
    struct session **buckets; /* [mask + 1 + split] in use of [cap] */
    size_t cap, mask, split;
    size_t n_entries; /* live ones and tombstones */
    size_t n_tombstones;
    struct session *root;
    struct heap heap;
    struct name *names[NAMES_BUCKETS];
    struct session *grants;
    struct message grant;
    bool grant_posted;
};

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

/* SipHash-1-3 (Aumasson and Bernstein 2012) over both texts, each with its end marked. */
static uint64_t hash_of(const struct sessions *sessions, const char *owner, const char *id)
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

unsigned session_shard(const struct server *server, const char *id)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a: the same on every shard and in every run */

    for (; *id != '\0'; id++)
        hash = (hash ^ (unsigned char)*id) * 0x100000001b3u;
    hash ^= hash >> 32;
    return (unsigned)((hash & 0xffffffffu) % server->n_shards);
}

bool session_id_valid(const char *id)
{
    size_t len = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

    return len > 0 && len <= SESSION_ID_MAX && id[len] == '\0';
}

/* ---- Names ---- */

static const char *name_keep(struct sessions *sessions, const char *text)
{
    size_t bucket = hash_of(sessions, text, "") % NAMES_BUCKETS;
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

static void table_insert(struct sessions *sessions, struct session *session)
{
    struct session **bucket;

    if (++sessions->n_entries > sessions->mask + 1 + sessions->split)
        table_grow(sessions);
    bucket = bucket_of(sessions, session->hash);
    session->chain = *bucket;
    *bucket = session;
}

static void table_remove(struct sessions *sessions, struct session *session)
{
    struct session **at = bucket_of(sessions, session->hash);

    while (*at != session)
        at = &(*at)->chain;
    *at = session->chain;
    sessions->n_entries--;
}

static struct session *table_find(const struct sessions *sessions, const char *owner,
                                  const char *id)
{
    uint64_t hash = hash_of(sessions, owner, id);
    struct session *session = *bucket_of(sessions, hash);

    for (; session != NULL; session = session->chain)
        if (session->hash == hash && strcmp(session->id, id) == 0 &&
            strcmp(session->owner, owner) == 0)
            return session;
    return NULL;
}

/* ---- Treap ---- */

static int order(const struct session *session, const char *owner, const char *id)
{
    int diff = session->owner == owner ? 0 : strcmp(session->owner, owner);

    return diff != 0 ? diff : strcmp(session->id, id);
}

/* Everything before (owner, id) to *left, the rest to *right. */
static void treap_split(struct session *node, const char *owner, const char *id,
                        struct session **left, struct session **right)
{
    while (node != NULL) {
        if (order(node, owner, id) < 0) {
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

static void treap_insert(struct sessions *sessions, struct session *session)
{
    struct session **at = &sessions->root;

    while (*at != NULL && (*at)->hash > session->hash)
        at = order(*at, session->owner, session->id) < 0 ? &(*at)->right : &(*at)->left;
    treap_split(*at, session->owner, session->id, &session->left, &session->right);
    *at = session;
}

static void treap_remove(struct sessions *sessions, struct session *session)
{
    struct session **at = &sessions->root;

    while (*at != session)
        at = order(*at, session->owner, session->id) < 0 ? &(*at)->right : &(*at)->left;
    *at = treap_merge(session->left, session->right);
}

/* ---- One session ---- */

static struct session *due_first(const struct sessions *sessions)
{
    struct due *due = heap_first(&sessions->heap);

    return due == NULL ? NULL : (struct session *)((char *)due - offsetof(struct session, due));
}

static bool is_tombstone(const struct session *session)
{
    return session->model == NULL;
}

static bool in_use(const struct session *session)
{
    return session->holder != NULL || session->first != NULL || session->granting;
}

static void state_free(struct session *session)
{
    if (session->state != NULL)
        explicit_bzero(session->state, session->bytes);
    free(session->state);
    rnn_model_unref(session->model);
    session->state = NULL;
    session->model = NULL;
}

/* Frees one that is in no table any more, unless someone still points to it. */
static void session_free(struct session *session)
{
    if (session->holder != NULL || session->granting)
        return;
    state_free(session);
    free(session);
}

static void uncount(struct sessions *sessions, const struct session *session)
{
    struct metrics *metrics = sessions->shard->metrics;

    atomic_fetch_sub_explicit(&sessions->shard->server->n_sessions, 1, memory_order_relaxed);
    metrics_gauge_add(metrics, G_SESSIONS, -1);
    metrics_gauge_add(metrics, G_SESSION_BYTES, -(int64_t)session->bytes);
}

static void tombstone_remove(struct sessions *sessions, struct session *session)
{
    table_remove(sessions, session);
    heap_remove(&sessions->heap, &session->due);
    sessions->n_tombstones--;
    free(session);
}

/* Takes a live session out of everything, and refuses its line. */
static void session_remove(struct sessions *sessions, struct session *session)
{
    struct session_hold *waiting = session->first;

    table_remove(sessions, session);
    treap_remove(sessions, session);
    heap_remove(&sessions->heap, &session->due);
    uncount(sessions, session);
    session->deleted = true;
    session->first = NULL;
    session->last = &session->first;
    session->n_waiting = 0;
    while (waiting != NULL) {
        struct session_hold *hold = waiting;

        waiting = hold->next;
        hold->waiting = false;
        hold->session = NULL;
        hold->refused(hold, REPLY_NO_SESSION);
    }
}

static size_t tombstones_max(const struct sessions *sessions)
{
    const struct shard *shard = sessions->shard;

    return (size_t)shard_config(shard)->sessions_max / shard->server->n_shards + TOMBSTONES_SPARE;
}

/* Nobody uses it and its time has come. */
static void session_bury(struct sessions *sessions, struct session *session)
{
    int64_t gone_ms = shard_config(sessions->shard)->session_gone_s * 1000;

    metrics_count(sessions->shard->metrics, M_SESSION_EXPIRED, 1);
    treap_remove(sessions, session);
    uncount(sessions, session);
    state_free(session);
    sessions->n_tombstones++;
    if (gone_ms == 0 || sessions->n_tombstones > tombstones_max(sessions))
        tombstone_remove(sessions, session);
    else
        heap_move(&sessions->heap, &session->due, session->expires_ms + gone_ms);
}

static session_result find(struct sessions *sessions, const char *id, const char *owner,
                           struct session **out)
{
    int64_t now_ms = sessions->shard->now_unix_ms;
    struct session *session = table_find(sessions, owner, id);

    if (session == NULL)
        return SESSION_FAIL(REPLY_NO_SESSION);
    if (!is_tombstone(session) && session->expires_ms <= now_ms && !in_use(session)) {
        session_bury(sessions, session);
        session = table_find(sessions, owner, id);
        if (session == NULL)
            return SESSION_FAIL(REPLY_NO_SESSION);
    }
    if (is_tombstone(session))
        return SESSION_FAIL(session->due.when > now_ms ? REPLY_SESSION_EXPIRED : REPLY_NO_SESSION);
    *out = session;
    return 0;
}

static void touch(const struct sessions *sessions, struct session *session)
{
    session->used_ms = sessions->shard->now_unix_ms;
    session->expires_ms = session->used_ms + session->ttl_ms;
}

static void view_fill(const struct session *session, struct session_view *view)
{
    *view = (struct session_view){
        .position = session->state->position,
        .seed = session->seed,
        .created_unix_ms = session->created_ms,
        .used_unix_ms = session->used_ms,
        .expires_unix_ms = session->expires_ms,
        .ttl_s = session->ttl_ms / 1000,
        .bytes = session->bytes,
        .busy = session->holder != NULL,
        .waiting = session->n_waiting,
    };
    memcpy(view->id, session->id, strlen(session->id) + 1);
    (void)strncpy(view->model, session->model_name, sizeof(view->model) - 1);
}

/* ---- Making ---- */

static bool id_mint(const struct sessions *sessions, const char *owner, char id[SESSION_ID_MAX + 1])
{
    const struct shard *shard = sessions->shard;
    unsigned char bytes[16];

    do {
        if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
            return false;
        for (size_t i = 0; i < sizeof(bytes); i++) {
            id[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
            id[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
        }
        id[2 * sizeof(bytes)] = '\0';
    } while (session_shard(shard->server, id) != shard->index ||
             table_find(sessions, owner, id) != NULL);
    return true;
}

static bool count_one_more(struct sessions *sessions)
{
    struct server *server = sessions->shard->server;
    size_t max = (size_t)shard_config(sessions->shard)->sessions_max;

    if (atomic_fetch_add_explicit(&server->n_sessions, 1, memory_order_relaxed) < max)
        return true;
    atomic_fetch_sub_explicit(&server->n_sessions, 1, memory_order_relaxed);
    return false;
}

static int64_t ttl_ms(const struct sessions *sessions, int64_t asked_s)
{
    const struct config *config = shard_config(sessions->shard);
    int64_t s = asked_s > 0 ? asked_s : config->session_ttl_s;

    return 1000 * (s < config->session_ttl_max_s ? s : config->session_ttl_max_s);
}

/* A session that stands in no table yet. */
static struct session *session_new(struct sessions *sessions, const struct session_spec *spec,
                                   const char *id)
{
    size_t id_size = strlen(id) + 1;
    struct session *session = calloc(1, sizeof(*session) + id_size);

    if (session == NULL)
        return NULL;
    memcpy(session->id, id, id_size);
    session->last = &session->first;
    session->bytes = rnn_model_info(spec->model)->state_bytes;
    session->model = rnn_model_ref(spec->model);
    session->owner = name_keep(sessions, spec->key_name);
    session->model_name = name_keep(sessions, spec->model_name);
    session->state = malloc(session->bytes);
    if (session->owner == NULL || session->model_name == NULL || session->state == NULL) {
        session->bytes = session->state != NULL ? session->bytes : 0;
        state_free(session);
        free(session);
        return NULL;
    }
    if (spec->state != NULL)
        memcpy(session->state, spec->state, session->bytes);
    else
        rnn_state_init(spec->model, session->state, spec->seed);
    session->seed = spec->state != NULL ? spec->state->rng.seed : spec->seed;
    session->hash = hash_of(sessions, session->owner, session->id);
    session->ttl_ms = ttl_ms(sessions, spec->ttl_s);
    session->created_ms = sessions->shard->now_unix_ms;
    touch(sessions, session);
    return session;
}

session_result session_create(struct sessions *sessions, const struct session_spec *spec,
                              struct session_view *view)
{
    struct metrics *metrics = sessions->shard->metrics;
    char minted[SESSION_ID_MAX + 1];
    const char *id = spec->id;
    struct session *session, *old;

    if (id == NULL || id[0] == '\0') {
        if (!id_mint(sessions, spec->key_name, minted))
            return SESSION_FAIL(REPLY_INTERNAL);
        id = minted;
    }
    if (find(sessions, id, spec->key_name, &old) == 0) {
        metrics_count(metrics, M_SESSION_CONFLICT, 1);
        return SESSION_FAIL(REPLY_SESSION_EXISTS);
    }
    if (!count_one_more(sessions))
        return SESSION_FAIL(REPLY_SESSION_LIMIT);
    session = heap_reserve(&sessions->heap) ? session_new(sessions, spec, id) : NULL;
    if (session == NULL) {
        atomic_fetch_sub_explicit(&sessions->shard->server->n_sessions, 1, memory_order_relaxed);
        return SESSION_FAIL(REPLY_NO_MEMORY);
    }
    old = table_find(sessions, spec->key_name, id);
    if (old != NULL)
        tombstone_remove(sessions, old);
    table_insert(sessions, session);
    treap_insert(sessions, session);
    heap_insert(&sessions->heap, &session->due, session->expires_ms);
    metrics_count(metrics, M_SESSION_CREATED, 1);
    metrics_gauge_add(metrics, G_SESSIONS, 1);
    metrics_gauge_add(metrics, G_SESSION_BYTES, (int64_t)session->bytes);
    view_fill(session, view);
    return 0;
}

/* ---- Looking and ending ---- */

session_result session_view(struct sessions *sessions, const char *id, const char *key_name,
                            struct session_view *view)
{
    struct session *session = NULL;
    session_result rc = find(sessions, id, key_name, &session);

    if (rc == 0)
        view_fill(session, view);
    return rc;
}

session_result session_delete(struct sessions *sessions, const char *id, const char *key_name)
{
    struct session *session = NULL;
    session_result rc = find(sessions, id, key_name, &session);
    struct session_hold *holder;

    if (rc != 0)
        return rc;
    metrics_count(sessions->shard->metrics, M_SESSION_CLOSED, 1);
    holder = session->holder;
    session_remove(sessions, session);
    if (holder != NULL) {
        holder->cancel_asked = true;
        holder->cancelled(holder); /* the session goes when it lets go */
    } else {
        session_free(session);
    }
    return 0;
}

struct listing {
    const char *owner, *after;
    struct session_view *views;
    size_t n, max;
    int64_t now_ms;
};

static void list_walk(const struct session *node, struct listing *listing)
{
    while (node != NULL && listing->n < listing->max) {
        bool later = order(node, listing->owner, listing->after) > 0;

        if (later) {
            list_walk(node->left, listing);
            if (listing->n == listing->max || strcmp(node->owner, listing->owner) != 0)
                return; /* what follows is of other owners, too */
            if (node->expires_ms > listing->now_ms || in_use(node))
                view_fill(node, &listing->views[listing->n++]);
        }
        node = node->right;
    }
}

size_t session_list(struct sessions *sessions, const char *key_name, const char *after, size_t max,
                    struct session_view *views)
{
    struct listing listing = {
        .owner = key_name,
        .after = after,
        .views = views,
        .max = max,
        .now_ms = sessions->shard->now_unix_ms,
    };

    list_walk(sessions->root, &listing);
    return listing.n;
}

/* ---- The line ---- */

static void grant_run(struct shard *shard, struct message *message)
{
    struct sessions *sessions =
        (struct sessions *)((char *)message - offsetof(struct sessions, grant));
    struct session *list = sessions->grants;

    (void)shard;
    sessions->grants = NULL;
    sessions->grant_posted = false;
    while (list != NULL) {
        struct session *session = list;
        struct session_hold *hold = session->first;

        list = session->next_grant;
        session->granting = false;
        if (session->deleted) {
            session_free(session);
            continue;
        }
        if (hold == NULL)
            continue; /* the whole line has left meanwhile */
        session->first = hold->next;
        if (session->first == NULL)
            session->last = &session->first;
        session->n_waiting--;
        session->holder = hold;
        hold->waiting = false;
        hold->granted(hold);
    }
}

static void grant_next(struct sessions *sessions, struct session *session)
{
    if (session->granting)
        return;
    session->granting = true;
    session->next_grant = sessions->grants;
    sessions->grants = session;
    if (sessions->grant_posted)
        return;
    sessions->grant_posted = true;
    sessions->grant = (struct message){.run = grant_run};
    shard_post(sessions->shard, &sessions->grant);
}

session_result session_acquire(struct sessions *sessions, const char *id, const char *key_name,
                               bool queue, struct session_hold *hold, bool *granted)
{
    struct session *session = NULL;
    session_result rc = find(sessions, id, key_name, &session);

    *granted = false;
    if (rc != 0)
        return rc;
    hold->next = NULL;
    hold->cancel_asked = false;
    hold->waiting = false;
    if (!in_use(session)) {
        session->holder = hold;
        hold->session = session;
        *granted = true;
        return 0;
    }
    if (!queue) {
        metrics_count(sessions->shard->metrics, M_SESSION_CONFLICT, 1);
        return SESSION_FAIL(REPLY_SESSION_BUSY);
    }
    if (session->n_waiting >= (uint64_t)shard_config(sessions->shard)->session_queue_max)
        return SESSION_FAIL(REPLY_QUEUE_FULL);
    hold->waiting = true;
    hold->session = session;
    *session->last = hold;
    session->last = &hold->next;
    session->n_waiting++;
    return 0;
}

const struct rnn_state *session_state(const struct session_hold *hold)
{
    return hold->session->state;
}

struct rnn_model *session_model(const struct session_hold *hold)
{
    return hold->session->model;
}

const char *session_model_name(const struct session_hold *hold)
{
    return hold->session->model_name;
}

void session_look(struct sessions *sessions, const struct session_hold *hold,
                  const struct rnn_state *commit, struct session_view *view)
{
    const struct session *session = hold->session;

    view_fill(session, view);
    if (commit != NULL)
        view->position = commit->position;
    view->used_unix_ms = sessions->shard->now_unix_ms;
    view->expires_unix_ms = view->used_unix_ms + session->ttl_ms;
    view->busy = false;
}

static void line_leave(struct session *session, struct session_hold *hold)
{
    struct session_hold **at = &session->first;

    while (*at != hold)
        at = &(*at)->next;
    *at = hold->next;
    if (session->last == &hold->next)
        session->last = at;
    session->n_waiting--;
    hold->waiting = false;
}

void session_release(struct sessions *sessions, struct session_hold *hold,
                     const struct rnn_state *commit, struct session_view *view)
{
    struct session *session = hold->session;

    if (session == NULL)
        return;
    hold->session = NULL;
    if (hold->waiting) {
        line_leave(session, hold);
        return;
    }
    session->holder = NULL;
    if (commit != NULL && !session->deleted)
        memcpy(session->state, commit, session->bytes);
    touch(sessions, session);
    if (view != NULL)
        view_fill(session, view);
    if (session->deleted)
        session_free(session);
    else if (session->first != NULL)
        grant_next(sessions, session);
}

/* ---- Time, birth and death ---- */

void sessions_expire(struct sessions *sessions, int64_t now_unix_ms)
{
    for (struct session *session; (session = due_first(sessions)) != NULL;) {
        if (session->due.when > now_unix_ms)
            return;

        if (is_tombstone(session))
            tombstone_remove(sessions, session);
        else if (in_use(session))
            heap_move(&sessions->heap, &session->due, now_unix_ms + RETRY_EXPIRY_MS);
        else if (session->expires_ms > now_unix_ms)
            heap_move(&sessions->heap, &session->due, session->expires_ms);
        else
            session_bury(sessions, session);
    }
}

int sessions_new(struct sessions **out, struct shard *shard, struct rnn_err *err)
{
    struct sessions *sessions = calloc(1, sizeof(*sessions));

    if (sessions == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for sessions");
    sessions->shard = shard;
    sessions->cap = BUCKETS_MIN;
    sessions->mask = BUCKETS_MIN - 1;
    sessions->buckets = calloc(BUCKETS_MIN, sizeof(struct session *));
    if (sessions->buckets == NULL) {
        sessions_free(sessions);
        return rnn_fail(err, RNN_ENOMEM, "no memory for sessions");
    }
    if (getrandom(sessions->secret, sizeof(sessions->secret), 0) !=
        (ssize_t)sizeof(sessions->secret)) {
        sessions_free(sessions);
        return rnn_fail(err, RNN_EIO, "the system gives no random numbers");
    }
    *out = sessions;
    return 0;
}

/* Deleted ones that only a message not yet run still points to. */
static void grants_free(struct sessions *sessions)
{
    while (sessions->grants != NULL) {
        struct session *session = sessions->grants;

        sessions->grants = session->next_grant;
        session->granting = false;
        if (session->deleted)
            session_free(session);
    }
}

void sessions_free(struct sessions *sessions)
{
    if (sessions == NULL)
        return;
    grants_free(sessions);
    for (struct session *session; (session = due_first(sessions)) != NULL;) {
        heap_remove(&sessions->heap, &session->due);
        assert(session->holder == NULL);
        if (!is_tombstone(session))
            uncount(sessions, session);
        state_free(session);
        free(session);
    }
    for (size_t i = 0; i < NAMES_BUCKETS; i++) {
        while (sessions->names[i] != NULL) {
            struct name *name = sessions->names[i];

            sessions->names[i] = name->next;
            free(name);
        }
    }
    free(sessions->buckets);
    heap_free(&sessions->heap);
    free(sessions);
}
