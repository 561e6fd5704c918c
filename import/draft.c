/* Which tensors a model is made of, and under which names.  See draft.h.
 *
 * Three ways lead to a config: the reader knew it; the user gives one, and tensors are taken by
 * name, or, where the names are others, by what inference makes of them; or inference alone.  A
 * file may hold several dictionaries of tensors (a model and its moving average); the one with
 * recurrent weights is the model, and if there are two, the user says which (--part). */
#include "import/draft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "import/elements.h"
#include "import/forms.h"
#include "import/infer.h"
#include "import/told.h"

/* ---- Tensors of a draft ---- */

int draft_push(struct draft *draft, const char *name, const struct archive_tensor *tensor,
               const void *data, struct rnn_err *err)
{
    struct draft_tensor *entry;

    if (strlen(name) >= sizeof entry->name)
        return rnn_fail_at(err, RNN_EFORMAT, name, -1, "tensor '%.80s': its name is too long",
                           name);
    if (draft->n == draft->cap) {
        size_t cap = draft->cap ? draft->cap * 2 : 64;
        struct draft_tensor *larger = realloc(draft->tensors, cap * sizeof *larger);

        if (!larger)
            return rnn_fail(err, RNN_ENOMEM, "out of memory");
        draft->tensors = larger;
        draft->cap = cap;
    }
    entry = &draft->tensors[draft->n++];
    *entry = (struct draft_tensor){.type = tensor->type, .rank = tensor->rank, .data = data};
    memcpy(entry->shape, tensor->shape, sizeof entry->shape);
    snprintf(entry->name, sizeof entry->name, "%s", name);
    return 0;
}

int draft_add(struct draft *draft, const char *name, struct archive_tensor *tensor,
              struct rnn_err *err)
{
    tensor->used = true;
    return draft_push(draft, name, tensor, tensor->data, err);
}

int draft_add_transposed(struct draft *draft, const char *name, struct archive_tensor *tensor,
                         struct rnn_err *err)
{
    size_t rows = tensor->shape[0], columns = tensor->shape[1], size = tensor->type->bytes;
    struct archive_tensor turned = *tensor;
    unsigned char *to = archive_alloc(draft->archive, tensor->elements * size, err);
    const unsigned char *from = tensor->data;

    if (!to)
        return err ? err->code : RNN_ENOMEM;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            memcpy(to + (j * rows + i) * size, from + (i * columns + j) * size, size);
    turned.shape[0] = columns;
    turned.shape[1] = rows;
    tensor->used = true;
    return draft_push(draft, name, &turned, to, err);
}

int draft_add_computed(struct draft *draft, const char *name, const double *values, size_t n,
                       struct rnn_err *err)
{
    struct archive_tensor tensor = {.type = archive_type("F32"), .rank = 1, .shape = {n}};
    float *to = archive_alloc(draft->archive, n * sizeof *to, err);

    if (!to)
        return err ? err->code : RNN_ENOMEM;
    for (size_t i = 0; i < n; i++)
        to[i] = (float)values[i];
    return draft_push(draft, name, &tensor, to, err);
}

/* ---- Parts ---- */

static bool is_recurrent(const struct archive_tensor *tensor)
{
    return name_parse(tensor->name + tensor->part).role == NAME_WEIGHT_HH;
}

static bool same_part(const struct archive_tensor *a, const struct archive_tensor *b)
{
    return a->part == b->part && memcmp(a->name, b->name, a->part) == 0;
}

static bool is_part(const struct archive_tensor *tensor, const char *word)
{
    size_t len = strlen(word);

    return tensor->part == len + (len > 0) && memcmp(tensor->name, word, len) == 0;
}

static int several_parts(const struct archive *archive, struct rnn_err *err)
{
    const struct archive_tensor *last = NULL;
    char list[160] = "";
    size_t used = 0;

    for (size_t i = 0; i < archive->n_tensors; i++) {
        const struct archive_tensor *t = &archive->tensors[i];

        if (!is_recurrent(t) || (last && same_part(t, last)) || used >= sizeof list)
            continue;
        used += (size_t)snprintf(list + used, sizeof list - used, "%s--part %.*s",
                                 last ? " or " : "", (int)(t->part ? t->part - 1 : 0), t->name);
        last = t;
    }
    return rnn_fail(err, RNN_EFORMAT, "it holds more than one model; choose: %.160s", list);
}

/* One encoder and one decoder, each saved as a dictionary of its own. */
static bool are_sides(const struct archive_tensor *a, const struct archive_tensor *b)
{
    int left = name_side(a->name, a->part), right = name_side(b->name, b->part);

    return left && right && left != right;
}

/* The tensor whose part is the model's; NULL with no fault: the whole file is one. */
static int choose_part(const struct archive *archive, const struct import_options *options,
                       const struct archive_tensor **out, struct rnn_err *err)
{
    const struct archive_tensor *found = NULL;

    *out = NULL;
    for (size_t i = 0; i < archive->n_tensors; i++) {
        const struct archive_tensor *t = &archive->tensors[i];

        if (t->used || (options->part ? !is_part(t, options->part) : !is_recurrent(t)))
            continue;
        if (found && !same_part(found, t))
            return are_sides(found, t) ? 0 : several_parts(archive, err);
        found = t;
    }
    if (!found && options->part)
        return rnn_fail(err, RNN_ENOENT, "--part %s: the file has no such dictionary",
                        options->part);
    *out = found;
    return 0;
}

/* ---- Names ---- */

/* --map FROM=TO: a whole name or the beginning of one, up to a dot.  NULL: left out. */
static const char *map_name(struct draft *draft, const char *name, bool *mapped,
                            struct rnn_err *err)
{
    const struct import_options *options = draft->options;

    for (size_t i = 0; i < options->n_maps; i++) {
        const struct import_pair *map = &options->maps[i];
        const char *rest = name + map->from_len;
        char *text;
        size_t size;

        if (strncmp(name, map->from, map->from_len) != 0 || (*rest && !strchr("./_", *rest)))
            continue;
        *mapped = true;
        if (strcmp(map->to, "-") == 0)
            return NULL;
        size = strlen(map->to) + strlen(rest) + 1;
        text = archive_alloc(draft->archive, size, err);
        if (text)
            snprintf(text, size, "%s%s", map->to, rest);
        return text;
    }
    return name;
}

/* The tensors that may become the model, with the names they go by. */
static int name_tensors(struct draft *draft, struct named_tensor **out, size_t *n,
                        struct rnn_err *err)
{
    struct archive *archive = draft->archive;
    const struct archive_tensor *part = NULL;
    int rc = choose_part(archive, draft->options, &part, err);

    *n = 0;
    *out = rc < 0 ? NULL : calloc(archive->n_tensors + 1, sizeof **out);
    if (rc < 0)
        return rc;
    if (!*out)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (size_t i = 0; i < archive->n_tensors; i++) {
        struct archive_tensor *t = &archive->tensors[i];
        bool mapped = false;
        const char *name;

        if (t->used || t->training || (part && !same_part(part, t)))
            continue;
        name = map_name(draft, t->name + (part ? part->part : 0), &mapped, err);
        if (!name && !mapped)
            return rnn_fail(err, RNN_ENOMEM, "out of memory");
        if (name)
            (*out)[(*n)++] = (struct named_tensor){name, t};
    }
    if (part && part->part)
        archive_note(archive, "the model is what stands under '%.*s'", (int)part->part - 1,
                     part->name);
    return 0;
}

static void strip(struct draft *draft, struct named_tensor *tensors, size_t n, size_t len)
{
    archive_note(draft->archive, "'%.*s' is taken off every name", (int)len, tensors[0].name);
    for (size_t i = 0; i < n; i++)
        tensors[i].name += len;
}

/* What wrappers put in front of every name: DataParallel, torch.compile(). */
static void strip_wrappers(struct draft *draft, struct named_tensor *tensors, size_t n)
{
    for (;;) {
        size_t len = elements_shared_prefix(tensors, n);

        if (len == 0 || (strncmp(tensors[0].name, "module.", len) != 0 &&
                         strncmp(tensors[0].name, "_orig_mod.", len) != 0))
            return;
        strip(draft, tensors, n, len);
    }
}

/* ---- Inference alone ---- */

static int make_by_inference(struct draft *draft, const struct named_tensor *tensors, size_t n,
                             struct rnn_err *err)
{
    struct elements elements;
    int rc = elements_find(&elements, tensors, n, err);

    if (rc < 0)
        return rc;
    elements.ordered = draft->archive->ordered;
    rc = infer(draft, &elements, err);
    elements_free(&elements);
    return rc;
}

/* ---- The whole ---- */

static int take_finished(struct draft *draft, struct rnn_err *err)
{
    struct archive *archive = draft->archive;
    int rc = 0;

    draft->config = archive->config;
    archive->config = NULL;
    for (size_t i = 0; i < archive->n_tensors && rc == 0; i++)
        rc = draft_add(draft, archive->tensors[i].name, &archive->tensors[i], err);
    return rc;
}

static int make(struct draft *draft, struct rnn_err *err)
{
    struct named_tensor *tensors = NULL;
    size_t n = 0;
    int rc;

    if (draft->archive->finished)
        return take_finished(draft, err);
    rc = forms_convert(draft->archive, draft->options, err);
    if (rc == 0)
        rc = name_tensors(draft, &tensors, &n, err);
    if (rc == 0) {
        strip_wrappers(draft, tensors, n);
        rc = draft->options->config ? draft_as_told(draft, tensors, n, err)
                                    : make_by_inference(draft, tensors, n, err);
    }
    free(tensors);
    return rc;
}

int draft_make(struct draft *out, struct archive *archive, const struct import_options *options,
               struct rnn_err *err)
{
    struct draft draft = {.archive = archive, .options = options};
    int rc = make(&draft, err);

    if (rc == 0 && (draft.questions.failed || draft.words.failed))
        rc = rnn_fail(err, RNN_ENOMEM, "out of memory");
    if (rc < 0) {
        draft_free(&draft);
        return rc;
    }
    *out = draft;
    return 0;
}

void draft_free(struct draft *draft)
{
    json_free(draft->config);
    json_free(draft->vocab);
    free(draft->tensors);
    buf_free(&draft->questions);
    buf_free(&draft->words);
    opinion_free(&draft->opinion);
}
