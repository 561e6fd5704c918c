/* SQLite for the store.  See store_db.h.
 *
 *     session   a row for each session: what does not change
 *     progress  when it was used and how far it is: with the state, what every commit writes
 *     state     its state; where the stream began that this is of, and the stream's number
 *     point     its snapshots, and where a reset goes, under names that no client can give
 *
 * A start reads session and progress, of which 40 and 250 rows lie on a page of 4 KiB, and no page
 * of a state: of a million sessions of 4 KiB 29,000 pages of 1.2 million, scattered over the file.
 * (With the progress in the rows of `state`, whose pages hold the beginnings of eight states each,
 * they were 158,000 and took three times as long; the table of its own costs a commit 8 % more
 * bytes and 2 of 27 us of the writer.  In the rows of `session` it would cost 25 % more bytes, for
 * there a sixth as many share a page.  Pages of 8 KiB write as much, those of 1 KiB take longer.)
 *
 * synchronous is NORMAL (the log is synced when it is folded: a power cut may take the last
 * commits, never the database) or FULL (each commit is).  Folding is store_fold.c's affair. */
#include "server/store_db.h"

#include <assert.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/store_image.h"

#define FORM          3 /* of the tables; PRAGMA user_version */

#define INITIAL_STATE "=state" /* of a point: the state that a reset goes to */
#define INITIAL_NAME  "=name"  /* or, in place of an image, its name in the model */

enum { BUSY_MS = 10000 };

enum statement {
    S_BEGIN,
    S_COMMIT,
    S_ROLLBACK,
    S_CREATE,
    S_FIRST,
    S_FIRST_PROGRESS,
    S_STATE,
    S_PROGRESS,
    S_TOUCH,
    S_REMOVE,
    S_REMOVE_PROGRESS,
    S_REMOVE_STATE,
    S_REMOVE_POINTS,
    S_POINT,
    S_FORGET,
    S_MOVE,
    S_LOAD,
    S_LOAD_POINTS,
    S_FACTS,
    S_NEXT,
    S_TOUCH_SESSIONS,
    S_TOUCH_PROGRESS,
    S_LAST,
    N_STATEMENTS
};

static const char *const texts[N_STATEMENTS] = {
    [S_BEGIN] = "BEGIN IMMEDIATE",
    [S_COMMIT] = "COMMIT",
    [S_ROLLBACK] = "ROLLBACK",
    [S_CREATE] = "INSERT INTO session VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)",
    [S_FIRST] = "INSERT INTO state VALUES (?1,?2,?3,?4)",
    [S_FIRST_PROGRESS] = "INSERT INTO progress VALUES (?1,?2,?3)",
    [S_STATE] = "UPDATE state SET image=?2, stream=?3, begin=?4 WHERE row=?1",
    [S_PROGRESS] = "UPDATE progress SET used_ms=?2, position=?3 WHERE row=?1",
    [S_TOUCH] = "UPDATE progress SET used_ms=?2 WHERE row=?1",
    [S_REMOVE] = "DELETE FROM session WHERE row=?1",
    [S_REMOVE_PROGRESS] = "DELETE FROM progress WHERE row=?1",
    [S_REMOVE_STATE] = "DELETE FROM state WHERE row=?1",
    [S_REMOVE_POINTS] = "DELETE FROM point WHERE row=?1",
    [S_POINT] =
        "INSERT INTO point SELECT ?1,?2,?3 WHERE EXISTS (SELECT 1 FROM session WHERE row=?1) "
        "ON CONFLICT (row,name) DO UPDATE SET image=excluded.image",
    [S_FORGET] = "DELETE FROM point WHERE row=?1 AND name=?2",
    [S_MOVE] = "UPDATE session SET fingerprint=?2 WHERE row=?1",
    [S_LOAD] = "SELECT image, stream, begin FROM state WHERE row=?1",
    [S_LOAD_POINTS] = "SELECT name, image FROM point WHERE row=?1 ORDER BY name",
    [S_FACTS] = "SELECT s.row, owner, id, model, fingerprint, seed, created_ms, ttl_ms, "
                "state_bytes, used_ms, position FROM session s LEFT JOIN progress p ON s.row=p.row "
                "WHERE s.row>?1 ORDER BY s.row LIMIT ?2",
    [S_NEXT] = "SELECT min(row) FROM session WHERE row>?1",
    [S_TOUCH_SESSIONS] = "SELECT count(state_bytes) FROM session WHERE row BETWEEN ?1 AND ?2",
    [S_TOUCH_PROGRESS] = "SELECT count(position) FROM progress WHERE row BETWEEN ?1 AND ?2",
    [S_LAST] = "SELECT max(row) FROM session",
};

static const char tables[] =
    "CREATE TABLE session (row INTEGER PRIMARY KEY, owner TEXT NOT NULL, id TEXT NOT NULL, "
    "model TEXT NOT NULL, fingerprint BLOB NOT NULL, seed INTEGER NOT NULL, "
    "created_ms INTEGER NOT NULL, ttl_ms INTEGER NOT NULL, state_bytes INTEGER NOT NULL);"
    "CREATE TABLE progress (row INTEGER PRIMARY KEY, used_ms INTEGER NOT NULL, "
    "position INTEGER NOT NULL);"
    "CREATE TABLE state (row INTEGER PRIMARY KEY, image BLOB NOT NULL, stream INTEGER, "
    "begin BLOB);"
    "CREATE TABLE point (row INTEGER NOT NULL, name TEXT NOT NULL, image BLOB NOT NULL, "
    "UNIQUE (row, name));"
    "PRAGMA user_version=3;";

struct db {
    sqlite3 *sqlite;
    sqlite3_stmt *statements[N_STATEMENTS];
    char *images; /* of the state being written, and of where its stream began */
    size_t images_cap;
    size_t log_pages;
    pthread_t thread; /* that uses it, from its first use on */
    bool used;
};

/* SQLite checks nothing here: two threads on one connection damage it now and then. */
static void assert_mine(struct db *db)
{
    if (!db->used)
        db->thread = pthread_self();
    db->used = true;
    assert(pthread_equal(db->thread, pthread_self()));
}

/* ---- Opening ---- */

static int fail(const struct db *db, struct rnn_err *err)
{
    return rnn_fail(err, RNN_EIO, "the store: %s (SQLite %d)", sqlite3_errmsg(db->sqlite),
                    sqlite3_extended_errcode(db->sqlite));
}

static int exec(struct db *db, const char *text, struct rnn_err *err)
{
    return sqlite3_exec(db->sqlite, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(db, err);
}

static int form_of(struct db *db, int *form, struct rnn_err *err)
{
    sqlite3_stmt *statement;

    if (sqlite3_prepare_v2(db->sqlite, "PRAGMA user_version", -1, &statement, NULL) != SQLITE_OK)
        return fail(db, err);
    *form = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int(statement, 0) : -1;
    sqlite3_finalize(statement);
    return *form < 0 ? fail(db, err) : 0;
}

static int make_tables(struct db *db, struct rnn_err *err)
{
    int form = 0, rc = form_of(db, &form, err);

    if (rc < 0 || form == FORM)
        return rc;
    if (form != 0)
        return rnn_fail(
            err, RNN_EFORMAT,
            "the store: sessions.db is of form %d, this version reads form %d: move the "
            "file away, or name another state_dir",
            form, FORM);
    return exec(db, tables, err);
}

static int on_commit(void *context, sqlite3 *sqlite, const char *name, int pages)
{
    (void)sqlite;
    (void)name;
    ((struct db *)context)->log_pages = (size_t)pages;
    return SQLITE_OK;
}

static int configure(struct db *db, enum store_durability durability, int cache_kib,
                     struct rnn_err *err)
{
    char cache[48];
    int rc;

    sqlite3_busy_timeout(db->sqlite, BUSY_MS);
    rc = exec(db,
              "PRAGMA page_size=4096; PRAGMA journal_mode=WAL; "
              "PRAGMA secure_delete=FAST; PRAGMA temp_store=MEMORY;",
              err);
    if (rc == 0)
        rc = exec(
            db, durability == STORE_POWER ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL",
            err);
    (void)snprintf(cache, sizeof(cache), "PRAGMA cache_size=-%d", cache_kib);
    if (rc == 0)
        rc = exec(db, cache, err);
    if (rc == 0)
        rc = make_tables(db, err);
    sqlite3_wal_hook(db->sqlite, on_commit, db); /* in place of folding by itself */
    return rc;
}

int db_open(struct db **out, const char *path, enum store_durability durability, int cache_kib,
            struct rnn_err *err)
{
    struct db *db = calloc(1, sizeof(*db));
    int rc = 0;

    if (db == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for the store");
    if (sqlite3_open_v2(path, &db->sqlite,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        rc = fail(db, err);
    if (rc == 0)
        rc = configure(db, durability, cache_kib, err);
    for (int i = 0; rc == 0 && i < N_STATEMENTS; i++)
        if (sqlite3_prepare_v3(db->sqlite, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &db->statements[i], NULL) != SQLITE_OK)
            rc = fail(db, err);
    if (rc < 0) {
        db_close(db);
        return rc;
    }
    *out = db;
    return 0;
}

void db_close(struct db *db)
{
    if (db == NULL)
        return;
    for (int i = 0; i < N_STATEMENTS; i++)
        sqlite3_finalize(db->statements[i]);
    sqlite3_close(db->sqlite);
    free(db->images);
    free(db);
}

/* ---- Statements ---- */

/* Runs one that gives no rows, and makes it ready for the next time. */
static int run(struct db *db, enum statement which, struct rnn_err *err)
{
    sqlite3_stmt *statement = db->statements[which];
    int rc = sqlite3_step(statement) == SQLITE_DONE ? 0 : fail(db, err);

    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return rc;
}

static void bind_text(sqlite3_stmt *statement, int at, const char *text)
{
    sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
}

static void bind_print(sqlite3_stmt *statement, int at, const char *fingerprint)
{
    unsigned char print[STORE_PRINT_BYTES];

    store_print_pack(fingerprint, print);
    sqlite3_bind_blob(statement, at, print, sizeof(print), SQLITE_TRANSIENT);
}

static void bind_row(sqlite3_stmt *statement, const struct store_task *task)
{
    sqlite3_bind_int64(statement, 1, task->facts.row);
}

static size_t image_len(const struct store_task *task)
{
    return STORE_IMAGE_HEAD + task->facts.state_bytes;
}

/* Room for both images of a task, in the connection's own memory. */
static int images_reserve(struct db *db, const struct store_task *task, struct rnn_err *err)
{
    size_t cap = 2 * image_len(task);
    char *images;

    if (cap <= db->images_cap)
        return 0;
    images = realloc(db->images, cap);
    if (images == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for the store");
    db->images = images;
    db->images_cap = cap;
    return 0;
}

/* The image of one of the task's states at `image`, bound. */
static void bind_image(sqlite3_stmt *statement, int at, const struct store_task *task,
                       const struct rnn_state *state, char *image)
{
    const struct store_image_of of = {.row = task->facts.row,
                                      .fingerprint = task->facts.fingerprint,
                                      .state_bytes = task->facts.state_bytes};

    store_image_write(&of, state, image);
    sqlite3_bind_blob64(statement, at, image, image_len(task), SQLITE_STATIC);
}

/* Runs one that changes one row, which must be there. */
static int run_on_row(struct db *db, enum statement which, struct rnn_err *err)
{
    int rc = run(db, which, err);

    if (rc == 0 && sqlite3_changes(db->sqlite) == 0)
        return rnn_fail(err, RNN_ENOENT, "the store has no such session");
    return rc;
}

static int write_progress(struct db *db, enum statement which, const struct store_task *task,
                          struct rnn_err *err)
{
    sqlite3_stmt *statement = db->statements[which];

    bind_row(statement, task);
    sqlite3_bind_int64(statement, 2, task->facts.used_ms);
    sqlite3_bind_int64(statement, 3, (int64_t)task->facts.position);
    return run_on_row(db, which, err);
}

static int write_state(struct db *db, enum statement which, const struct store_task *task,
                       struct rnn_err *err)
{
    sqlite3_stmt *statement = db->statements[which];
    int rc = images_reserve(db, task, err);

    if (rc < 0)
        return rc;
    bind_row(statement, task);
    bind_image(statement, 2, task, task->state, db->images);
    if (task->begin != NULL) {
        sqlite3_bind_int64(statement, 3, (int64_t)task->stream);
        bind_image(statement, 4, task, task->begin, db->images + image_len(task));
    }
    return run_on_row(db, which, err);
}

/* The state and how far it is, in place of those that are there. */
static int commit(struct db *db, const struct store_task *task, struct rnn_err *err)
{
    int rc = write_progress(db, S_PROGRESS, task, err);

    return rc < 0 ? rc : write_state(db, S_STATE, task, err);
}

static int write_point(struct db *db, const struct store_task *task, struct rnn_err *err)
{
    sqlite3_stmt *statement = db->statements[S_POINT];
    int rc = images_reserve(db, task, err);

    if (rc < 0)
        return rc;
    bind_row(statement, task);
    bind_text(statement, 2, task->point);
    bind_image(statement, 3, task, task->state, db->images);
    return run(db, S_POINT, err);
}

static int write_initial(struct db *db, const struct store_task *task, struct rnn_err *err)
{
    struct store_task point = {.facts = task->facts, .state = task->initial.state};
    const char *name = task->initial.name;
    sqlite3_stmt *statement = db->statements[S_POINT];

    if (point.state != NULL) {
        strcpy(point.point, INITIAL_STATE);
        return write_point(db, &point, err);
    }
    if (name[0] == '\0')
        return 0;
    bind_row(statement, task);
    bind_text(statement, 2, INITIAL_NAME);
    sqlite3_bind_blob64(statement, 3, name, strlen(name), SQLITE_STATIC);
    return run(db, S_POINT, err);
}

static int create(struct db *db, const struct store_task *task, struct rnn_err *err)
{
    const struct store_facts *facts = &task->facts;
    sqlite3_stmt *statement = db->statements[S_CREATE];
    int rc;

    bind_row(statement, task);
    bind_text(statement, 2, facts->owner);
    bind_text(statement, 3, facts->id);
    bind_text(statement, 4, facts->model);
    bind_print(statement, 5, facts->fingerprint);
    sqlite3_bind_int64(statement, 6, (int64_t)facts->seed);
    sqlite3_bind_int64(statement, 7, facts->created_ms);
    sqlite3_bind_int64(statement, 8, facts->ttl_ms);
    sqlite3_bind_int64(statement, 9, (int64_t)facts->state_bytes);
    rc = run(db, S_CREATE, err);
    if (rc == 0)
        rc = write_progress(db, S_FIRST_PROGRESS, task, err);
    if (rc == 0)
        rc = write_state(db, S_FIRST, task, err);
    return rc < 0 ? rc : write_initial(db, task, err);
}

static int touch(struct db *db, const struct store_task *task, struct rnn_err *err)
{
    bind_row(db->statements[S_TOUCH], task);
    sqlite3_bind_int64(db->statements[S_TOUCH], 2, task->facts.used_ms);
    return run(db, S_TOUCH, err);
}

static int erase(struct db *db, const struct store_task *task, struct rnn_err *err)
{
    static const enum statement all[] = {S_REMOVE_POINTS, S_REMOVE_STATE, S_REMOVE_PROGRESS,
                                         S_REMOVE};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof(all) / sizeof(*all); i++) {
        bind_row(db->statements[all[i]], task);
        rc = run(db, all[i], err);
    }
    return rc;
}

static int forget(struct db *db, const struct store_task *task, struct rnn_err *err)
{
    bind_row(db->statements[S_FORGET], task);
    bind_text(db->statements[S_FORGET], 2, task->point);
    return run(db, S_FORGET, err);
}

/* ---- Loading ---- */

/* The image in a column becomes a state that the caller frees. */
static int state_in(sqlite3_stmt *statement, int column, const struct store_task *task,
                    struct rnn_state **out, struct rnn_err *err)
{
    const struct store_image_of of = {.row = task->facts.row,
                                      .fingerprint = task->facts.fingerprint,
                                      .state_bytes = task->facts.state_bytes};
    const void *image = sqlite3_column_blob(statement, column);
    size_t len = (size_t)sqlite3_column_bytes(statement, column);
    struct rnn_state *state = malloc(of.state_bytes);
    int rc = state == NULL ? rnn_fail(err, RNN_ENOMEM, "no memory for a state")
                           : store_image_read(&of, image, image ? len : 0, state, err);

    if (rc < 0)
        free(state);
    else
        *out = state;
    return rc;
}

static int load_initial_name(sqlite3_stmt *statement, struct store_task *task, struct rnn_err *err)
{
    const void *name = sqlite3_column_blob(statement, 1);
    size_t len = (size_t)sqlite3_column_bytes(statement, 1);

    if (name == NULL || len >= sizeof(task->initial.name))
        return rnn_fail(err, RNN_EFORMAT, "the name of its initial state is damaged");
    memcpy(task->initial.name, name, len);
    task->initial.name[len] = '\0';
    return 0;
}

static int load_snapshot(sqlite3_stmt *statement, struct store_task *task, struct rnn_err *err)
{
    struct store_point *points =
        realloc(task->points, (task->n_points + 1) * sizeof(*task->points));
    struct store_point *point;
    int rc;

    if (points == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for a snapshot");
    task->points = points;
    point = &points[task->n_points];
    *point = (struct store_point){0};
    (void)snprintf(point->name, sizeof(point->name), "%s",
                   (const char *)sqlite3_column_text(statement, 0));
    rc = state_in(statement, 1, task, &point->state, err);
    if (rc == 0)
        task->n_points++;
    else
        rnn_err_prefix(err, "snapshot '%s': ", point->name);
    return rc;
}

static int load_point(sqlite3_stmt *statement, struct store_task *task, struct rnn_err *err)
{
    const char *name = (const char *)sqlite3_column_text(statement, 0);

    if (name != NULL && strcmp(name, INITIAL_STATE) == 0)
        return state_in(statement, 1, task, &task->initial.state, err);
    if (name != NULL && strcmp(name, INITIAL_NAME) == 0)
        return load_initial_name(statement, task, err);
    return load_snapshot(statement, task, err);
}

/* What is damaged of it costs a way back, not the session. */
static void load_begin(sqlite3_stmt *statement, struct store_task *task)
{
    task->stream = (uint64_t)sqlite3_column_int64(statement, 1);
    if (task->stream != 0)
        (void)state_in(statement, 2, task, &task->begin, NULL);
}

static int load(struct db *db, struct store_task *task, struct rnn_err *err)
{
    sqlite3_stmt *statement = db->statements[S_LOAD], *points = db->statements[S_LOAD_POINTS];
    int step, rc;

    bind_row(statement, task);
    step = sqlite3_step(statement);
    if (step == SQLITE_ROW)
        rc = state_in(statement, 0, task, &task->state, err);
    else if (step == SQLITE_DONE)
        rc = rnn_fail(err, RNN_ENOENT, "the store has no such session");
    else
        rc = fail(db, err);
    if (rc == 0)
        load_begin(statement, task);
    sqlite3_reset(statement);
    bind_row(points, task);
    while (rc == 0 && (step = sqlite3_step(points)) == SQLITE_ROW)
        rc = load_point(points, task, err);
    if (rc == 0 && step != SQLITE_DONE)
        rc = fail(db, err);
    sqlite3_reset(points);
    return rc;
}

/* ---- Moving to other weights ---- */

/* Everything of the session that `from` has loaded is written as of the task's weights. */
static int write_moved(struct db *db, const struct store_task *task, const struct store_task *from,
                       struct rnn_err *err)
{
    struct store_task to = {.facts = task->facts, .state = from->state, .initial = from->initial};
    int rc;

    to.facts.position = from->state->position;
    bind_row(db->statements[S_MOVE], task);
    bind_print(db->statements[S_MOVE], 2, task->facts.fingerprint);
    rc = run(db, S_MOVE, err);
    if (rc == 0)
        rc = commit(db, &to, err);
    if (rc == 0)
        rc = write_initial(db, &to, err);
    for (size_t i = 0; rc == 0 && i < from->n_points; i++) {
        memcpy(to.point, from->points[i].name, sizeof(to.point));
        to.state = from->points[i].state;
        rc = write_point(db, &to, err);
    }
    return rc;
}

static int move(struct db *db, const struct store_task *task, struct rnn_err *err)
{
    struct store_task from = {.facts = task->facts};
    int rc;

    memcpy(from.facts.fingerprint, task->moved_from, sizeof(from.facts.fingerprint));
    rc = load(db, &from, err);
    if (rc == 0)
        rc = write_moved(db, task, &from, err);
    store_task_clear(&from);
    return rc;
}

int db_do(struct db *db, struct store_task *task, struct rnn_err *err)
{
    assert_mine(db);
    switch (task->kind) {
    case STORE_CREATE:
        return create(db, task, err);
    case STORE_COMMIT:
        return commit(db, task, err);
    case STORE_TOUCH:
        return touch(db, task, err);
    case STORE_REMOVE:
        return erase(db, task, err);
    case STORE_POINT:
        return write_point(db, task, err);
    case STORE_FORGET:
        return forget(db, task, err);
    case STORE_MOVE:
        return move(db, task, err);
    case STORE_LOAD:
        return load(db, task, err);
    }
    return rnn_fail(err, RNN_EUNSUPPORTED, "the store: unknown task");
}

/* ---- Transactions and the log ---- */

int db_begin(struct db *db, struct rnn_err *err)
{
    return run(db, S_BEGIN, err);
}

int db_commit(struct db *db, struct rnn_err *err)
{
    return run(db, S_COMMIT, err);
}

void db_rollback(struct db *db)
{
    if (sqlite3_get_autocommit(db->sqlite) == 0)
        (void)run(db, S_ROLLBACK, NULL); /* what fails here was rolled back by SQLite itself */
}

size_t db_log_pages(const struct db *db)
{
    return db->log_pages;
}

static int fold(struct db *db, int mode, size_t *folded, struct rnn_err *err)
{
    int in_log, done, rc;

    assert_mine(db);
    rc = sqlite3_wal_checkpoint_v2(db->sqlite, NULL, mode, &in_log, &done);
    if (rc != SQLITE_OK && sqlite3_extended_errcode(db->sqlite) == SQLITE_IOERR_FSYNC)
        return fail(db, err);
    if (rc != SQLITE_OK)
        return rnn_fail(err, RNN_EBUSY, "the store is being read, or the disk is full");
    *folded = done > 0 ? (size_t)done : 0;
    return 0;
}

int db_fold(struct db *db, size_t *folded, struct rnn_err *err)
{
    return fold(db, SQLITE_CHECKPOINT_PASSIVE, folded, err);
}

int db_sync(struct db *db, struct rnn_err *err)
{
    sqlite3_file *file = NULL;
    int rc = sqlite3_file_control(db->sqlite, "main", SQLITE_FCNTL_FILE_POINTER, &file);

    if (rc == SQLITE_OK && file != NULL && file->pMethods != NULL)
        rc = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
    return rc == SQLITE_OK ? 0 : rnn_fail(err, RNN_EIO, "the store: SQLite %d", rc);
}

int db_fold_rest(struct db *db, struct rnn_err *err)
{
    size_t folded;
    int rc;

    sqlite3_busy_timeout(db->sqlite, 0); /* a reader that is not the store's: some other time */
    rc = fold(db, SQLITE_CHECKPOINT_RESTART, &folded, err);
    sqlite3_busy_timeout(db->sqlite, BUSY_MS);
    return rc;
}

void db_keep_log(struct db *db)
{
    (void)sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
}

/* ---- Facts ---- */

static bool text_in(sqlite3_stmt *statement, int column, char *out, size_t size)
{
    const unsigned char *text = sqlite3_column_text(statement, column);

    if (text == NULL || strlen((const char *)text) >= size)
        return false;
    strcpy(out, (const char *)text);
    return true;
}

static bool print_in(sqlite3_stmt *statement, int column, char *out)
{
    const void *print = sqlite3_column_blob(statement, column);

    if (print == NULL || sqlite3_column_bytes(statement, column) != STORE_PRINT_BYTES)
        return false;
    store_print_unpack(print, out);
    return true;
}

/* False for a row that this daemon cannot have written. */
static bool facts_in(sqlite3_stmt *statement, struct store_facts *facts)
{
    *facts = (struct store_facts){
        .row = sqlite3_column_int64(statement, 0),
        .seed = (uint64_t)sqlite3_column_int64(statement, 5),
        .created_ms = sqlite3_column_int64(statement, 6),
        .ttl_ms = sqlite3_column_int64(statement, 7),
        .state_bytes = (size_t)sqlite3_column_int64(statement, 8),
        .used_ms = sqlite3_column_int64(statement, 9),
        .position = (uint64_t)sqlite3_column_int64(statement, 10),
    };
    return text_in(statement, 1, facts->owner, sizeof(facts->owner)) &&
           text_in(statement, 2, facts->id, sizeof(facts->id)) && session_id_valid(facts->id) &&
           text_in(statement, 3, facts->model, sizeof(facts->model)) &&
           print_in(statement, 4, facts->fingerprint) && facts->ttl_ms > 0 &&
           sqlite3_column_type(statement, 9) == SQLITE_INTEGER; /* it has progress */
}

int db_facts(struct db *db, int64_t row, struct store_facts *out, size_t max, size_t *n,
             struct rnn_err *err)
{
    sqlite3_stmt *statement = db->statements[S_FACTS];
    int step, rc = 0;

    assert_mine(db);
    *n = 0;
    sqlite3_bind_int64(statement, 1, row);
    sqlite3_bind_int64(statement, 2, (int64_t)max);
    while (rc == 0 && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        if (facts_in(statement, &out[*n]))
            ++*n;
        else
            rc = rnn_fail(err, RNN_EFORMAT, "the store: row %lld is damaged",
                          (long long)sqlite3_column_int64(statement, 0));
    }
    if (rc == 0 && step != SQLITE_DONE)
        rc = rnn_fail(err, RNN_EFORMAT, "the store: %s", sqlite3_errmsg(db->sqlite));
    sqlite3_reset(statement);
    return rc;
}

int db_next_row(struct db *db, int64_t row, int64_t *out)
{
    sqlite3_stmt *statement = db->statements[S_NEXT];
    int rc = RNN_EFORMAT;

    sqlite3_bind_int64(statement, 1, row);
    if (sqlite3_step(statement) == SQLITE_ROW) {
        *out = sqlite3_column_int64(statement, 0); /* 0 for the NULL that is the least of none */
        rc = 0;
    }
    sqlite3_reset(statement);
    return rc;
}

int db_touch_pages(struct db *db, int64_t first, int64_t last)
{
    static const enum statement all[] = {S_TOUCH_SESSIONS, S_TOUCH_PROGRESS};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof(all) / sizeof(*all); i++) {
        sqlite3_stmt *statement = db->statements[all[i]];

        sqlite3_bind_int64(statement, 1, first);
        sqlite3_bind_int64(statement, 2, last);
        rc = sqlite3_step(statement) == SQLITE_ROW ? 0 : RNN_EFORMAT;
        sqlite3_reset(statement);
    }
    return rc;
}

int db_last_row(struct db *db, int64_t *out, struct rnn_err *err)
{
    sqlite3_stmt *statement = db->statements[S_LAST];
    int rc = 0;

    if (sqlite3_step(statement) == SQLITE_ROW)
        *out = sqlite3_column_int64(statement, 0);
    else
        rc = rnn_fail(err, RNN_EFORMAT, "the store: %s", sqlite3_errmsg(db->sqlite));
    sqlite3_reset(statement);
    return rc;
}
