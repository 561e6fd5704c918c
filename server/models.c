/* The model table: a sorted array of entries under one lock.
 *
 * Opened once, at start, by the main thread; each folder by itself, so that one that is damaged
 * keeps none of the others from serving.  The lock guards the array and the taking of references,
 * nothing slower. */
#include "server/models.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
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
    pthread_mutex_t lock;
    struct model_entry *entries; /* [n], by name */
    size_t n;
    char **failed; /* [n_failed + 1], NULL at the end; names, fixed after models_open */
    size_t n_failed;
    char **to_import; /* [n_to_import + 1], the same of commands */
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

static int open_one(struct models *models, const char *dir, const char *name,
                    const struct rnn_open_options *options, struct rnn_err *err)
{
    struct model_entry *entry = &models->entries[models->n];
    double began = seconds_now(CLOCK_MONOTONIC);
    char path[4096];
    int rc;

    if (strlen(name) >= sizeof(entry->name))
        return rnn_fail(err, RNN_ELIMIT, "a model's name is at most %zu bytes",
                        sizeof(entry->name) - 1);
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name); /* is_model_folder had room for more */
    rc = rnn_model_open(&entry->model, path, options, err);
    if (rc < 0)
        return rc;
    (void)snprintf(entry->name, sizeof(entry->name), "%s", name);
    entry->load_seconds = seconds_now(CLOCK_MONOTONIC) - began;
    entry->loaded_unix_ms = (int64_t)(seconds_now(CLOCK_REALTIME) * 1000);
    models->n++;
    log_line(CONFIG_LOG_INFO, "model loaded", LOG_TEXT("model", name),
             LOG_NUMBER("seconds", entry->load_seconds),
             LOG_NUMBER("parameters", rnn_model_info(entry->model)->parameters));
    return 0;
}

static void open_or_note(struct models *models, const char *dir, const char *name,
                         const struct rnn_open_options *options)
{
    struct rnn_err err = {0};

    if (open_one(models, dir, name, options, &err) == 0)
        return;
    log_line(CONFIG_LOG_ERROR, "model failed to load", LOG_TEXT("model", name),
             LOG_TEXT("where", err.param), LOG_TEXT("why", err.text));
    models->failed[models->n_failed] = strdup(name);
    if (models->failed[models->n_failed] != NULL)
        models->n_failed++;
}

/* A checkpoint of another program: whoever put it here is told what to type. */
static void note_foreign(struct models *models, const char *dir, const char *name)
{
    char *command;

    if (!foreign_find(dir, name, &command) || command == NULL)
        return;
    log_line(CONFIG_LOG_WARNING, "no model folder yet", LOG_TEXT("file", name),
             LOG_TEXT("type", command));
    models->to_import[models->n_to_import++] = command;
}

static int by_code_point(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int open_all(struct models *models, const char *dir, struct dirent **names, size_t n_names,
                    const struct rnn_open_options *options, struct rnn_err *err)
{
    models->entries = calloc(n_names + 1, sizeof(*models->entries));
    models->failed = calloc(n_names + 1, sizeof(*models->failed));
    models->to_import = calloc(n_names + 1, sizeof(*models->to_import));
    if (models->entries == NULL || models->failed == NULL || models->to_import == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for the model table");
    for (size_t i = 0; i < n_names; i++) {
        if (is_model_folder(dir, names[i]->d_name))
            open_or_note(models, dir, names[i]->d_name, options);
        else
            note_foreign(models, dir, names[i]->d_name);
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

int models_open(struct models **out, const char *dir, const struct rnn_open_options *options,
                struct rnn_err *err)
{
    struct models *models;
    struct dirent **names;
    int n_names = scandir(dir, &names, NULL, by_code_point);
    int rc;

    if (n_names < 0)
        return rnn_fail(err, errno == ENOENT ? RNN_ENOENT : RNN_EIO, "%s: %s", dir,
                        strerror(errno));
    models = calloc(1, sizeof(*models));
    if (models != NULL) {
        pthread_mutex_init(&models->lock, NULL); /* cannot fail with default attributes */
        rc = open_all(models, dir, names, (size_t)n_names, options, err);
    } else {
        rc = rnn_fail(err, RNN_ENOMEM, "no memory for the model table");
    }
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
    for (size_t i = 0; i < models->n_failed; i++)
        free(models->failed[i]);
    for (size_t i = 0; i < models->n_to_import; i++)
        free(models->to_import[i]);
    free(models->entries);
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
static const struct model_entry *find(const struct models *models, const char *name)
{
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

int models_list(struct models *models, struct model_entry **out, size_t *n, struct rnn_err *err)
{
    struct model_entry *copy;
    int rc = 0;

    pthread_mutex_lock(&models->lock);
    copy = malloc((models->n + 1) * sizeof(*copy));
    if (copy != NULL) {
        memcpy(copy, models->entries, models->n * sizeof(*copy));
        for (size_t i = 0; i < models->n; i++)
            (void)rnn_model_ref(copy[i].model);
        *out = copy;
        *n = models->n;
    } else {
        rc = rnn_fail(err, RNN_ENOMEM, "no memory for a list of models");
    }
    pthread_mutex_unlock(&models->lock);
    return rc;
}

const char *const *models_failed(const struct models *models)
{
    return (const char *const *)models->failed;
}

const char *const *models_to_import(const struct models *models)
{
    return (const char *const *)models->to_import;
}
