/* Listing which sessions there are, and reading ahead for that, at a start.  See store_db.h; the
 * tables are in store_db.c.  What is in a row is checked, as all that comes from a disk. */
#include "server/store_db_inner.h"

#include <string.h>

#include "server/store_image.h"

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

    db_assert_mine(db);
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
