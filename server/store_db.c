/* SQLite for the store: the tables, a connection to them, its transactions and its log.  See
 * store_db.h; the rows are store_db_task.c's affair, and store_db_facts.c's.
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
#include "server/store_db_inner.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define FORM 3 /* of the tables; PRAGMA user_version */

enum { BUSY_MS = 10000 };

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

/* ---- Statements ---- */

void db_assert_mine(struct db *db)
{
    if (!db->used)
        db->thread = pthread_self();
    db->used = true;
    assert(pthread_equal(db->thread, pthread_self()));
}

int db_fail(const struct db *db, struct rnn_err *err)
{
    return rnn_fail(err, RNN_EIO, "the store: %s (SQLite %d)", sqlite3_errmsg(db->sqlite),
                    sqlite3_extended_errcode(db->sqlite));
}

int db_run(struct db *db, enum statement which, struct rnn_err *err)
{
    sqlite3_stmt *statement = db->statements[which];
    int rc = sqlite3_step(statement) == SQLITE_DONE ? 0 : db_fail(db, err);

    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return rc;
}

/* ---- Opening ---- */

static int exec(struct db *db, const char *text, struct rnn_err *err)
{
    return sqlite3_exec(db->sqlite, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_fail(db, err);
}

static int form_of(struct db *db, int *form, struct rnn_err *err)
{
    sqlite3_stmt *statement;

    if (sqlite3_prepare_v2(db->sqlite, "PRAGMA user_version", -1, &statement, NULL) != SQLITE_OK)
        return db_fail(db, err);
    *form = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int(statement, 0) : -1;
    sqlite3_finalize(statement);
    return *form < 0 ? db_fail(db, err) : 0;
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
        rc = db_fail(db, err);
    if (rc == 0)
        rc = configure(db, durability, cache_kib, err);
    for (int i = 0; rc == 0 && i < N_STATEMENTS; i++)
        if (sqlite3_prepare_v3(db->sqlite, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &db->statements[i], NULL) != SQLITE_OK)
            rc = db_fail(db, err);
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

/* ---- Transactions and the log ---- */

int db_begin(struct db *db, struct rnn_err *err)
{
    return db_run(db, S_BEGIN, err);
}

int db_commit(struct db *db, struct rnn_err *err)
{
    return db_run(db, S_COMMIT, err);
}

void db_rollback(struct db *db)
{
    if (sqlite3_get_autocommit(db->sqlite) == 0)
        (void)db_run(db, S_ROLLBACK, NULL); /* what fails here was rolled back by SQLite itself */
}

size_t db_log_pages(const struct db *db)
{
    return db->log_pages;
}

static int fold(struct db *db, int mode, size_t *folded, struct rnn_err *err)
{
    int in_log, done, rc;

    db_assert_mine(db);
    rc = sqlite3_wal_checkpoint_v2(db->sqlite, NULL, mode, &in_log, &done);
    if (rc != SQLITE_OK && sqlite3_extended_errcode(db->sqlite) == SQLITE_IOERR_FSYNC)
        return db_fail(db, err);
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

/* Where a reader that is not the store's, or a write, is under way: some other time. */
static int fold_all(struct db *db, int mode, struct rnn_err *err)
{
    size_t folded;
    int rc;

    sqlite3_busy_timeout(db->sqlite, 0);
    rc = fold(db, mode, &folded, err);
    sqlite3_busy_timeout(db->sqlite, BUSY_MS);
    return rc;
}

int db_fold_rest(struct db *db, struct rnn_err *err)
{
    return fold_all(db, SQLITE_CHECKPOINT_RESTART, err);
}

int db_empty_log(struct db *db, struct rnn_err *err)
{
    return fold_all(db, SQLITE_CHECKPOINT_TRUNCATE, err);
}

void db_keep_log(struct db *db)
{
    (void)sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
}
