/* The model table: a sorted array of entries under one lock, and beside it the versions that are
 * served no more.
 *
 * Opened at start, by the main thread; each folder by itself, so that one that is damaged keeps
 * none of the others from serving.  The lock guards the arrays and the taking of references,
 * nothing slower: models are opened and let go outside of it. */
#include "server/models.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buf.h"
#include "server/foreign.h"
#include "server/log.h"

struct models {
    char *dir;
    struct rnn_open_options options;
    atomic_bool changing;
    pthread_mutex_t lock;        /* of what follows, but for to_import */
    struct model_entry *entries; /* [n] in use of [cap], by name */
    size_t n, cap;
    struct model_entry *old; /* [n_old] in use of [cap_old]; n_sessions > 0, a reference each */
    size_t n_old, cap_old;
    char **failed; /* [n_failed + 1], NULL at the end; names */
    size_t n_failed;
    char **to_import; /* [n_to_import + 1], the same of commands; fixed after models_open */
    size_t n_to_import;
};

static bool is_model_folder(const char *dir, const char *name)
{
    char path[4096];
    struct stat st;
    int len = snprintf(path, sizeof(path), "%s/%s/config.json", dir, name);

    return name[0] != '.' && len > 0 && (size_t)len < sizeof(path) && stat(path, &st) == 0 &&
           S_ISREG(st.st_mode);
}

static double seconds_now(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t); /* cannot fail for these clocks */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int open_one(const struct models *models, const char *name, struct model_entry *entry,
                    struct rnn_err *err)
{
    double began = seconds_now(CLOCK_MONOTONIC);
    char path[4096];
    int rc;

    *entry = (struct model_entry){0};
    if (strlen(name) >= sizeof(entry->name))
        return rnn_fail(err, RNN_ELIMIT, "a model's name is at most %zu bytes",
                        sizeof(entry->name) - 1);
    (void)snprintf(path, sizeof(path), "%s/%s", models->dir,
                   name); /* is_model_folder had room for more */
    rc = rnn_model_open(&entry->model, path, &models->options, err);
    if (rc < 0)
        return rc;
    (void)snprintf(entry->name, sizeof(entry->name), "%s", name);
    entry->load_seconds = seconds_now(CLOCK_MONOTONIC) - began;
    entry->loaded_unix_ms = (int64_t)(seconds_now(CLOCK_REALTIME) * 1000);
    return 0;
}

static void open_or_note(struct models *models, const char *name)
{
    struct model_entry *entry = &models->entries[models->n];
    struct rnn_err err = {0};

    if (open_one(models, name, entry, &err) == 0) {
        models->n++;
        log_line(CONFIG_LOG_INFO, "model loaded", LOG_TEXT("model", name),
                 LOG_NUMBER("seconds", entry->load_seconds),
                 LOG_NUMBER("parameters", rnn_model_info(entry->model)->parameters));
        return;
    }
    log_line(CONFIG_LOG_ERROR, "model failed to load", LOG_TEXT("model", name),
             LOG_TEXT("where", err.param), LOG_TEXT("why", err.text));
    models->failed[models->n_failed] = strdup(name);
    if (models->failed[models->n_failed] != NULL)
        models->n_failed++;
}

/* A checkpoint of another program: whoever put it here is told what to type. */
static void note_foreign(struct models *models, const char *name)
{
    char *command;

    if (!foreign_find(models->dir, name, &command) || command == NULL)
        return;
    log_line(CONFIG_LOG_WARNING, "no model folder yet", LOG_TEXT("file", name),
             LOG_TEXT("type", command));
    models->to_import[models->n_to_import++] = command;
}

static int by_code_point(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int open_all(struct models *models, struct dirent **names, size_t n_names,
                    struct rnn_err *err)
{
    const char *dir = models->dir;

    models->cap = n_names + 1;
    models->entries = calloc(models->cap, sizeof(*models->entries));
    models->failed = calloc(n_names + 1, sizeof(*models->failed));
    models->to_import = calloc(n_names + 1, sizeof(*models->to_import));
    if (models->entries == NULL || models->failed == NULL || models->to_import == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for the model table");
    for (size_t i = 0; i < n_names; i++) {
        if (is_model_folder(dir, names[i]->d_name))
            open_or_note(models, names[i]->d_name);
        else
            note_foreign(models, names[i]->d_name);
    }
    if (models->n > 0)
        return 0;
    if (models->n_failed > 0)
        return rnn_fail(err, RNN_EFORMAT, "%s: none of its %zu models could be loaded", dir,
                        models->n_failed);
    if (models->n_to_import > 0)
        return rnn_fail(err, RNN_ENOENT,
                        "%s: no model folder in it, but %zu checkpoints of other programs; the "
                        "warnings say what to type",
                        dir, models->n_to_import);
    return rnn_fail(err, RNN_ENOENT, "%s: no model in it (a folder with a config.json)", dir);
}

int models_new(struct models **out, const char *dir, const struct rnn_open_options *options,
               struct rnn_err *err)
{
    struct models *models = calloc(1, sizeof(*models));

    if (models == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for the model table");
    pthread_mutex_init(&models->lock, NULL); /* cannot fail with default attributes */
    models->dir = strdup(dir);
    if (models->dir == NULL) {
        models_free(models);
        return rnn_fail(err, RNN_ENOMEM, "no memory for the model table");
    }
    if (options != NULL)
        models->options = *options;
    *out = models;
    return 0;
}

int models_open(struct models **out, const char *dir, const struct rnn_open_options *options,
                struct rnn_err *err)
{
    struct models *models = NULL;
    struct dirent **names;
    int n_names = scandir(dir, &names, NULL, by_code_point);
    int rc;

    if (n_names < 0)
        return rnn_fail(err, errno == ENOENT ? RNN_ENOENT : RNN_EIO, "%s: %s", dir,
                        strerror(errno));
    rc = models_new(&models, dir, options, err);
    if (rc == 0)
        rc = open_all(models, names, (size_t)n_names, err);
    for (int i = 0; i < n_names; i++)
        free(names[i]);
    free(names);
    if (rc < 0)
        models_free(models);
    else
        *out = models;
    return rc;
}

void models_free(struct models *models)
{
    if (models == NULL)
        return;
    for (size_t i = 0; i < models->n; i++)
        rnn_model_unref(models->entries[i].model);
    for (size_t i = 0; i < models->n_old; i++)
        rnn_model_unref(models->old[i].model);
    for (size_t i = 0; i < models->n_failed; i++)
        free(models->failed[i]);
    for (size_t i = 0; i < models->n_to_import; i++)
        free(models->to_import[i]);
    free(models->dir);
    free(models->entries);
    free(models->old);
    free(models->failed);
    free(models->to_import);
    pthread_mutex_destroy(&models->lock);
    free(models);
}

static int by_name(const void *name, const void *entry)
{
    return strcmp(name, ((const struct model_entry *)entry)->name);
}

/* Under the lock. */
static struct model_entry *find(const struct models *models, const char *name)
{
    if (models->n == 0)
        return NULL;
    if (name == NULL || name[0] == '\0')
        return models->n == 1 ? models->entries : NULL;
    return bsearch(name, models->entries, models->n, sizeof(*models->entries), by_name);
}

/* Under the lock. */
static int refuse(const struct models *models, const char *name, struct rnn_err *err)
{
    bool named = name != NULL && name[0] != '\0';
    struct buf list = {0};
    int rc;

    for (size_t i = 0; i < models->n; i++)
        buf_printf(&list, "%s%s", i > 0 ? ", " : "", models->entries[i].name);
    buf_putc(&list, '\0');
    rc = rnn_fail_at(err, RNN_ENOENT, "model", -1,
                     named ? "no such model; there are: %s" : "which model? There are: %s",
                     list.failed ? "?" : list.data);
    buf_free(&list);
    return rc;
}

int models_get(struct models *models, const char *name, struct model_entry *out,
               struct rnn_err *err)
{
    const struct model_entry *entry;
    int rc = 0;

    pthread_mutex_lock(&models->lock);
    entry = find(models, name);
    if (entry != NULL) {
        *out = *entry;
        (void)rnn_model_ref(out->model);
    } else {
        rc = refuse(models, name, err);
    }
    pthread_mutex_unlock(&models->lock);
    return rc;
}

/* A copy of an array of the table. */
static int list(struct models *models, bool old, struct model_entry **out, size_t *n,
                struct rnn_err *err)
{
    struct model_entry *copy;
    int rc = 0;

    pthread_mutex_lock(&models->lock);
    *n = old ? models->n_old : models->n;
    copy = malloc((*n + 1) * sizeof(*copy));
    if (copy == NULL)
        rc = rnn_fail(err, RNN_ENOMEM, "no memory for a list of models");
    for (size_t i = 0; rc == 0 && i < *n; i++) {
        copy[i] = (old ? models->old : models->entries)[i];
        (void)rnn_model_ref(copy[i].model);
    }
    pthread_mutex_unlock(&models->lock);
    *out = copy;
    if (rc < 0)
        *n = 0;
    return rc;
}

int models_list(struct models *models, struct model_entry **out, size_t *n, struct rnn_err *err)
{
    return list(models, false, out, n, err);
}

int models_list_old(struct models *models, struct model_entry **out, size_t *n, struct rnn_err *err)
{
    return list(models, true, out, n, err);
}

void models_list_free(struct model_entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++)
        rnn_model_unref(entries[i].model);
    free(entries);
}

char **models_failed(struct models *models)
{
    size_t size = 0, used;
    char **copy, *text;

    pthread_mutex_lock(&models->lock);
    for (size_t i = 0; i < models->n_failed; i++)
        size += strlen(models->failed[i]) + 1;
    used = (models->n_failed + 1) * sizeof(char *);
    copy = malloc(used + size);
    if (copy != NULL) {
        text = (char *)copy + used;
        for (size_t i = 0; i < models->n_failed; i++) {
            copy[i] = text;
            text = stpcpy(text, models->failed[i]) + 1;
        }
        copy[models->n_failed] = NULL;
    }
    pthread_mutex_unlock(&models->lock);
    return copy;
}

const char *const *models_to_import(const struct models *models)
{
    return (const char *const *)models->to_import;
}

/* ---- Versions that somebody stands on ---- */

/* Room for one more at the end of an array of the table; under the lock. */
static bool grow(struct model_entry **array, size_t n, size_t *cap)
{
    size_t more = *cap > 0 ? *cap * 2 : 4;
    struct model_entry *larger;

    if (n < *cap)
        return true;
    larger = realloc(*array, more * sizeof(*larger));
    if (larger == NULL)
        return false;
    *array = larger;
    *cap = more;
    return true;
}

/* Under the lock. */
static struct model_entry *version_of(const struct models *models, const struct rnn_model *model)
{
    for (size_t i = 0; i < models->n; i++)
        if (models->entries[i].model == model)
            return &models->entries[i];
    for (size_t i = 0; i < models->n_old; i++)
        if (models->old[i].model == model)
            return &models->old[i];
    return NULL;
}

bool models_enter(struct models *models, const struct rnn_model *model)
{
    struct model_entry *version;

    if (models == NULL)
        return true;
    pthread_mutex_lock(&models->lock);
    version = version_of(models, model);
    if (version != NULL)
        version->n_sessions++;
    pthread_mutex_unlock(&models->lock);
    return version != NULL;
}

void models_leave(struct models *models, const struct rnn_model *model)
{
    struct model_entry *version;
    struct rnn_model *last = NULL;

    if (models == NULL)
        return;
    pthread_mutex_lock(&models->lock);
    version = version_of(models, model);
    if (version != NULL && --version->n_sessions == 0 && find(models, version->name) != version) {
        last = version->model;
        *version = models->old[--models->n_old];
    }
    pthread_mutex_unlock(&models->lock);
    rnn_model_unref(last);
}

bool models_know(struct models *models, const struct rnn_model *model)
{
    bool known;

    if (models == NULL)
        return true;
    pthread_mutex_lock(&models->lock);
    known = version_of(models, model) != NULL;
    pthread_mutex_unlock(&models->lock);
    return known;
}

bool models_serves(struct models *models, const char *name, const char *fingerprint)
{
    const struct model_entry *entry;
    bool serves;

    if (models == NULL)
        return true;
    pthread_mutex_lock(&models->lock);
    entry = name[0] != '\0' ? find(models, name) : NULL;
    serves = entry != NULL && strcmp(rnn_model_info(entry->model)->fingerprint, fingerprint) == 0;
    pthread_mutex_unlock(&models->lock);
    return serves;
}

/* ---- Changes ---- */

int models_change_begin(struct models *models, struct rnn_err *err)
{
    if (atomic_exchange(&models->changing, true))
        return rnn_fail(err, RNN_EBUSY, "another change of a model is under way");
    return 0;
}

void models_change_end(struct models *models)
{
    atomic_store(&models->changing, false);
}

int models_open_again(const struct models *models, const char *name, struct model_entry *out,
                      struct rnn_err *err)
{
    if (!is_model_folder(models->dir, name))
        return rnn_fail_at(err, RNN_ENOENT, "model", -1,
                           "%s: there is no folder '%.128s' with a config.json in it", models->dir,
                           name);
    return open_one(models, name, out, err);
}

/* The served version is served no more: with sessions on it, it becomes an old one, for which there
 * is room.  Returns a reference that is nobody's any more, or NULL.  Under the lock. */
static struct rnn_model *put_aside(struct models *models, const struct model_entry *entry)
{
    if (entry->n_sessions == 0)
        return entry->model;
    models->old[models->n_old++] = *entry;
    return NULL;
}

/* It serves again, or for the first time.  Under the lock. */
static void forget_failure(struct models *models, const char *name)
{
    for (size_t i = 0; i < models->n_failed; i++)
        if (strcmp(models->failed[i], name) == 0) {
            free(models->failed[i]);
            memmove(&models->failed[i], &models->failed[i + 1],
                    (models->n_failed - i) * sizeof(*models->failed));
            models->n_failed--;
            return;
        }
}

/* Behind the names that sort before it.  Under the lock, with room. */
static void insert(struct models *models, const struct model_entry *entry)
{
    size_t at = models->n;

    while (at > 0 && strcmp(models->entries[at - 1].name, entry->name) > 0)
        at--;
    memmove(&models->entries[at + 1], &models->entries[at],
            (models->n - at) * sizeof(*models->entries));
    models->entries[at] = *entry;
    models->n++;
}

int models_serve(struct models *models, const struct model_entry *entry, struct model_entry *old,
                 struct rnn_err *err)
{
    struct model_entry *served;
    struct rnn_model *last = NULL;
    bool room;

    *old = (struct model_entry){0};
    pthread_mutex_lock(&models->lock);
    room = grow(&models->old, models->n_old, &models->cap_old) &&
           grow(&models->entries, models->n, &models->cap);
    served = room ? find(models, entry->name) : NULL;
    if (served != NULL) {
        *old = *served;
        (void)rnn_model_ref(old->model);
        last = put_aside(models, served);
        *served = *entry;
    } else if (room) {
        insert(models, entry);
    }
    if (room)
        forget_failure(models, entry->name);
    pthread_mutex_unlock(&models->lock);
    rnn_model_unref(last);
    return room ? 0 : rnn_fail(err, RNN_ENOMEM, "no memory for the model table");
}

int models_retire(struct models *models, const char *name, struct model_entry *old,
                  struct rnn_err *err)
{
    struct model_entry *served;
    struct rnn_model *last = NULL;
    int rc = 0;

    pthread_mutex_lock(&models->lock);
    served = find(models, name);
    if (served == NULL) {
        rc = refuse(models, name, err);
    } else if (!grow(&models->old, models->n_old, &models->cap_old)) {
        rc = rnn_fail(err, RNN_ENOMEM, "no memory for the model table");
    } else {
        *old = *served;
        (void)rnn_model_ref(old->model);
        last = put_aside(models, served);
        models->n--;
        memmove(served, served + 1,
                (size_t)(models->entries + models->n - served) * sizeof(*served));
    }
    pthread_mutex_unlock(&models->lock);
    rnn_model_unref(last);
    return rc;
}
