/* Layers and their arrays.  See keras_weights.h.
 *
 * Names of arrays are never parsed: they differ between versions and say less than the order.  As
 * Keras itself does, the k-th group with arrays belongs to the k-th layer that has weights.  Since
 * Keras 3.4 a group carries its layer's name as an attribute; it then decides. */
#include "import/keras_weights.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "import/keras_classes.h"

enum { PATH_BYTES = 1024, WEIGHTS_MAX = 64, SPLIT_MAX = 1000, SHOWN = 12 };

struct store {
    struct hdf5file *file;
    struct archive *archive;
    const char *root;        /* "", "model_weights", "layers", … */
    struct hdf5_texts names; /* of groups that have arrays, in order */
    struct rnn_err *err;
};

static int no_memory(struct rnn_err *err)
{
    return rnn_fail(err, RNN_ENOMEM, "out of memory");
}

/* One that is too long becomes one that is not there. */
static void join(char out[PATH_BYTES], const char *path, const char *name)
{
    int n = snprintf(out, PATH_BYTES, "%s%s%s", path, *path && *name ? "/" : "", name);

    if (n < 0 || n >= PATH_BYTES)
        snprintf(out, PATH_BYTES, "(a path that is too long)");
}

/* ---- Which layers have weights ---- */

static bool has_weights(const struct keras_layer *layer)
{
    struct keras_layer inner;

    switch (layer->kind->kind) {
    case KERAS_EMBEDDING:
    case KERAS_RECURRENT:
    case KERAS_BIDIRECTIONAL:
    case KERAS_DENSE:
    case KERAS_BATCH_NORM:
        return true;
    case KERAS_LAYER_NORM:
        return keras_flag(layer->config, "scale", true) ||
               keras_flag(layer->config, "center", true);
    case KERAS_NORMALIZATION:
        return !json_get(layer->config, "mean");
    case KERAS_TIME_DISTRIBUTED:
        return keras_inner(layer, "layer", &inner) && has_weights(&inner);
    default:
        return false;
    }
}

/* Pointers to the layers that have weights, in the file's order; the caller frees them. */
static struct keras_layer **in_file_order(struct keras_model *model, size_t *n)
{
    struct keras_layer **list = calloc(model->n + 1, sizeof(struct keras_layer *));

    *n = 0;
    for (size_t i = 0; list && i < model->n; i++) {
        size_t at = *n;

        if (!has_weights(&model->layers[i]))
            continue;
        for (; at > 0 && list[at - 1]->place > model->layers[i].place; at--)
            list[at] = list[at - 1];
        list[at] = &model->layers[i];
        ++*n;
    }
    return list;
}

/* ---- Arrays ---- */

/* Room for one more array of the layer. */
static struct archive_tensor *next_array(struct store *s, struct keras_layer *layer)
{
    if (!layer->weights)
        layer->weights = archive_alloc(s->archive, WEIGHTS_MAX * sizeof *layer->weights, s->err);
    if (!layer->weights)
        return NULL;
    if (layer->n_weights == WEIGHTS_MAX) {
        (void)keras_layer_fail(s->err, RNN_EUNSUPPORTED, layer, "it has more than %d arrays",
                               WEIGHTS_MAX);
        return NULL;
    }
    return &layer->weights[layer->n_weights];
}

static int read_array(struct store *s, struct keras_layer *layer, const char *path)
{
    struct archive_tensor *array = next_array(s, layer);
    int rc;

    if (!array)
        return s->err ? s->err->code : RNN_ENOMEM;
    rc = hdf5file_read(s->file, path, s->archive, array, s->err);
    if (rc == 0)
        layer->n_weights++;
    return rc;
}

/* ---- Attributes that name the order ---- */

/* A list that is too long for one attribute stands in NAME0, NAME1, … */
static int read_names(struct store *s, const char *path, const char *name, struct hdf5_texts *out,
                      bool *found)
{
    int rc = hdf5file_attribute(s->file, path, name, out, found, s->err);
    bool more = rc == 0 && !*found;

    for (int i = 0; rc == 0 && more && i < SPLIT_MAX; i++) {
        char part[64];

        snprintf(part, sizeof part, "%s%d", name, i);
        rc = hdf5file_attribute(s->file, path, part, out, &more, s->err);
        *found |= more;
    }
    return rc;
}

/* Layers that have arrays, into s->names. */
static int list_groups(struct store *s, const struct hdf5_texts *all)
{
    int rc = 0;

    for (size_t i = 0; i < all->n && rc == 0; i++) {
        struct hdf5_texts weights = {0};
        char path[PATH_BYTES];
        bool found;

        join(path, s->root, all->list[i]);
        rc = read_names(s, path, "weight_names", &weights, &found);
        if (rc == 0 && weights.n > 0) {
            char **larger = realloc(s->names.list, (s->names.n + 1) * sizeof *larger);

            if (larger) {
                s->names.list = larger;
                larger[s->names.n] = strdup(all->list[i]);
            }
            rc = larger && larger[s->names.n++] ? 0 : no_memory(s->err);
        }
        hdf5_texts_free(&weights);
    }
    return rc;
}

static int find_names(struct store *s, bool *found)
{
    struct hdf5_texts all = {0};
    int rc = read_names(s, s->root, "layer_names", &all, found);

    if (rc == 0)
        rc = list_groups(s, &all);
    hdf5_texts_free(&all);
    return rc;
}

static size_t most_arrays(const struct keras_layer *layer)
{
    /* behind mean and variance stands how much was seen */
    return layer->kind->kind == KERAS_NORMALIZATION ? 2 : SIZE_MAX;
}

static int read_group(struct store *s, struct keras_layer *layer, const char *group)
{
    struct hdf5_texts names = {0};
    char path[PATH_BYTES], array[PATH_BYTES];
    bool found;
    int rc;

    join(path, s->root, group);
    rc = read_names(s, path, "weight_names", &names, &found);
    for (size_t i = 0; i < names.n && i < most_arrays(layer) && rc == 0; i++) {
        join(array, path, names.list[i]);
        rc = read_array(s, layer, array);
    }
    hdf5_texts_free(&names);
    return rc;
}

/* "embedding_1, lstm_1, …" */
static void put_list(struct buf *words, const struct hdf5_texts *names)
{
    for (size_t i = 0; i < names->n && i < SHOWN; i++)
        buf_printf(words, "%s%.40s", i ? ", " : "", names->list[i]);
    if (names->n > SHOWN)
        buf_puts(words, ", …");
}

static int other_layers(struct store *s, size_t wanted)
{
    struct buf words = {0};
    int rc;

    put_list(&words, &s->names);
    rc = rnn_fail(s->err, RNN_ESHAPE,
                  "the model has %zu layers with weights, the file has arrays of %zu: %.*s", wanted,
                  s->names.n, (int)(words.len < 150 ? words.len : 150),
                  words.data ? words.data : "");
    buf_free(&words);
    return rc;
}

static int read_by_names(struct store *s, struct keras_layer **layers, size_t n)
{
    int rc = s->names.n == n ? 0 : other_layers(s, n);

    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = read_group(s, layers[i], s->names.list[i]);
        if (rc == 0 && strcmp(layers[i]->name, s->names.list[i]) != 0)
            archive_note(s->archive, "layer %zu '%.60s': its arrays are the file's '%.60s'",
                         layers[i]->place, layers[i]->name, s->names.list[i]);
    }
    return rc;
}

/* ---- Folders by class ---- */

/* "SimpleRNN" → "simple_rnn" */
static void snake_case(char *out, size_t size, const char *class)
{
    size_t n = 0;

    for (size_t i = 0; class[i] && n + 2 < size; i++) {
        bool capital = isupper((unsigned char)class[i]);

        if (i > 0 && capital &&
            (islower((unsigned char)class[i - 1]) || islower((unsigned char)class[i + 1])))
            out[n++] = '_';
        out[n++] = (char)tolower((unsigned char)class[i]);
    }
    out[n] = '\0';
}

/* k of "lstm_k", 0 of "lstm"; -1: of another class. */
static long number_of(const char *group, const char *class)
{
    size_t len = strlen(class);
    const char *digits = group + len + 1;

    if (strncmp(group, class, len) != 0)
        return -1;
    if (group[len] == '\0')
        return 0;
    if (group[len] != '_' || !*digits || digits[strspn(digits, "0123456789")] || strlen(digits) > 6)
        return -1;
    return strtol(digits, NULL, 10);
}

/* Where in a layer's folder its arrays lie, in order; NULL-ended. */
static const char *const *places_of(const struct keras_layer *layer)
{
    static const char *const plain[] = {"vars", NULL};
    static const char *const cell[] = {"cell/vars", NULL};
    static const char *const wrapped[] = {"layer/vars", NULL};
    static const char *const both[] = {"forward_layer/cell/vars", "backward_layer/cell/vars", NULL};

    switch (layer->kind->kind) {
    case KERAS_RECURRENT:
        return cell;
    case KERAS_BIDIRECTIONAL:
        return both;
    case KERAS_TIME_DISTRIBUTED:
        return wrapped;
    default:
        return plain;
    }
}

static size_t count_members(struct store *s, const char *path)
{
    struct hdf5_texts names = {0};
    size_t n = 0;

    if (hdf5file_has_group(s->file, path) && hdf5file_members(s->file, path, &names, NULL) == 0)
        n = names.n;
    hdf5_texts_free(&names);
    return n;
}

static bool has_arrays(struct store *s, const struct keras_layer *layer, const char *group)
{
    char folder[PATH_BYTES], path[PATH_BYTES];

    join(folder, s->root, group);
    join(path, folder, places_of(layer)[0]);
    return count_members(s, path) > 0;
}

static bool is_named(struct store *s, const struct keras_layer *layer, const char *group)
{
    char folder[PATH_BYTES], path[PATH_BYTES];
    struct hdf5_texts name = {0};
    bool found = false, same = false;

    join(folder, s->root, group);
    join(path, folder, "vars");
    if (hdf5file_has_group(s->file, path) &&
        hdf5file_attribute(s->file, path, "name", &name, &found, NULL) == 0 && found)
        same = name.n == 1 && strcmp(name.list[0], layer->name) == 0;
    hdf5_texts_free(&name);
    return same;
}

/* The folder that carries the layer's name, or else the k-th of the class that has arrays. */
static const char *find_folder(struct store *s, const struct keras_layer *layer, size_t k)
{
    const char *best = NULL;
    char class[80];
    long last = -1;

    snake_case(class, sizeof class, layer->class);
    for (size_t i = 0; i < s->names.n; i++)
        if (number_of(s->names.list[i], class) >= 0 && is_named(s, layer, s->names.list[i]))
            return s->names.list[i];
    for (size_t taken = 0; taken <= k; taken++) {
        long next = -1;

        best = NULL;
        for (size_t i = 0; i < s->names.n; i++) {
            long number = number_of(s->names.list[i], class);

            if (number > last && (next < 0 || number < next) &&
                has_arrays(s, layer, s->names.list[i])) {
                next = number;
                best = s->names.list[i];
            }
        }
        if (!best)
            return NULL;
        last = next;
    }
    return best;
}

/* Arrays 0, 1, … of one place. */
static int read_place(struct store *s, struct keras_layer *layer, const char *folder,
                      const char *place)
{
    char path[PATH_BYTES], array[PATH_BYTES], number[24];
    size_t n;
    int rc = 0;

    join(path, folder, place);
    n = count_members(s, path);
    for (size_t i = 0; i < n && i < most_arrays(layer) && rc == 0; i++) {
        snprintf(number, sizeof number, "%zu", i);
        join(array, path, number);
        rc = read_array(s, layer, array);
    }
    return rc;
}

static int read_by_class(struct store *s, struct keras_layer **layers, size_t n)
{
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        char folder[PATH_BYTES];
        const char *group;
        size_t k = 0;

        for (size_t j = 0; j < i; j++)
            k += strcmp(layers[j]->class, layers[i]->class) == 0;
        group = find_folder(s, layers[i], k);
        if (!group)
            return keras_layer_fail(s->err, RNN_ESHAPE, layers[i],
                                    "the file has no arrays of it, nor of %zu others of its class",
                                    k);
        join(folder, s->root, group);
        for (const char *const *place = places_of(layers[i]); *place && rc == 0; place++)
            rc = read_place(s, layers[i], folder, *place);
    }
    return rc;
}

/* ---- Which of the two ---- */

static const char *const folders[] = {"layers", "_layer_checkpoint_dependencies", NULL};

/* Finds out; *by_names tells which.  Fills s->root and s->names. */
static int open_store(struct store *s, bool *by_names)
{
    bool found = false;
    int rc;

    s->root = hdf5file_has_group(s->file, "model_weights") ? "model_weights" : "";
    rc = find_names(s, &found);
    *by_names = found;
    if (rc < 0 || found)
        return rc;
    for (size_t i = 0; folders[i]; i++)
        if (hdf5file_has_group(s->file, folders[i])) {
            s->root = folders[i];
            return hdf5file_members(s->file, s->root, &s->names, s->err);
        }
    return rnn_fail(s->err, RNN_EFORMAT,
                    "an HDF5 file, but none of Keras': it has neither layer_names nor layers");
}

/* Whatever lies beside the layers: an optimizer's moments, metrics. */
static int note_others(struct store *s)
{
    struct hdf5_texts members = {0};
    int rc = hdf5file_members(s->file, "", &members, s->err);

    for (size_t i = 0; i < members.n && rc == 0 && *s->root; i++) {
        const char *name = members.list[i];

        if (strcmp(name, s->root) != 0 && strcmp(name, "vars") != 0)
            archive_note(s->archive, "'%.80s': no part of the model, passed over", name);
    }
    hdf5_texts_free(&members);
    return rc;
}

int keras_weights_read(struct hdf5file *file, struct archive *archive, struct keras_model *model,
                       struct rnn_err *err)
{
    struct store s = {.file = file, .archive = archive, .err = err};
    size_t n;
    struct keras_layer **layers = in_file_order(model, &n);
    bool by_names = false;
    int rc = layers ? open_store(&s, &by_names) : no_memory(err);

    if (rc == 0)
        rc = by_names ? read_by_names(&s, layers, n) : read_by_class(&s, layers, n);
    if (rc == 0)
        rc = note_others(&s);
    hdf5_texts_free(&s.names);
    free(layers);
    return rc;
}

int keras_weights_words(struct hdf5file *file, struct archive *archive, const char **out,
                        struct rnn_err *err)
{
    struct store s = {.file = file, .archive = archive, .err = err};
    struct buf words = {0};
    bool by_names = false;
    int rc = open_store(&s, &by_names);

    if (rc == 0) {
        put_list(&words, &s.names);
        *out = archive_text(archive, words.data ? words.data : "", words.len, err);
        if (!*out)
            rc = err ? err->code : RNN_ENOMEM;
    }
    buf_free(&words);
    hdf5_texts_free(&s.names);
    return rc;
}
