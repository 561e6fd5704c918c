/* What a task does to the rows of its session.  See store_db.h; the tables are in store_db.c.
 *
 * A write that fails in its middle is undone by whoever began the transaction.  States go to disk
 * and come back as images that carry their sum (store_image.h). */
#include "server/store_db_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/store_image.h"

#define INITIAL_STATE "=state" /* of a point: the state that a reset goes to */
#define INITIAL_NAME  "=name"  /* or, in place of an image, its name in the model */

/* ---- Writing ---- */

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
    int rc = db_run(db, which, err);

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
    return db_run(db, S_POINT, err);
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
    return db_run(db, S_POINT, err);
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
    rc = db_run(db, S_CREATE, err);
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
    return db_run(db, S_TOUCH, err);
}

static int erase(struct db *db, const struct store_task *task, struct rnn_err *err)
{
    static const enum statement all[] = {S_REMOVE_POINTS, S_REMOVE_STATE, S_REMOVE_PROGRESS,
                                         S_REMOVE};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof(all) / sizeof(*all); i++) {
        bind_row(db->statements[all[i]], task);
        rc = db_run(db, all[i], err);
    }
    return rc;
}

static int forget(struct db *db, const struct store_task *task, struct rnn_err *err)
{
    bind_row(db->statements[S_FORGET], task);
    bind_text(db->statements[S_FORGET], 2, task->point);
    return db_run(db, S_FORGET, err);
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
        rc = db_fail(db, err);
    if (rc == 0)
        load_begin(statement, task);
    sqlite3_reset(statement);
    bind_row(points, task);
    while (rc == 0 && (step = sqlite3_step(points)) == SQLITE_ROW)
        rc = load_point(points, task, err);
    if (rc == 0 && step != SQLITE_DONE)
        rc = db_fail(db, err);
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
    rc = db_run(db, S_MOVE, err);
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
    db_assert_mine(db);
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
