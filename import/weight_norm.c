/* Weights that are not stored as they are used: weight normalisation, pruning, spectral
 * normalisation.
 *
 *     NAME_g, NAME_v                        w = g v / |v|, the norm over all but one dimension
 *     parametrizations.NAME.original0, 1    (Salimans and Kingma 2016); the same
 *     NAME_orig, NAME_mask                  w = orig * mask, torch.nn.utils.prune
 *     NAME_orig, NAME_u                     spectral normalisation: refused
 *
 * Computed in double precision and rounded once. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "import/forms.h"

/* Which dimension g keeps; rank: none.  False: g does not fit. */
static bool kept_dimension(const struct archive_tensor *g, const struct archive_tensor *v,
                           size_t *kept)
{
    *kept = v->rank;
    if (g->elements == 1)
        return true;
    if (g->rank != v->rank)
        return false;
    for (size_t i = 0; i < v->rank; i++) {
        if (g->shape[i] == 1)
            continue;
        if (*kept < v->rank || g->shape[i] != v->shape[i])
            return false;
        *kept = i;
    }
    return true;
}

static int unfit(const struct archive_tensor *g, struct rnn_err *err)
{
    return rnn_fail_at(err, RNN_ESHAPE, g->name, -1,
                       "tensor '%.80s' does not fit the weight that it is the length of", g->name);
}

/* The place of element i in the dimension that g keeps. */
struct places {
    size_t inner, n;
};

static size_t place_of(const struct places *places, size_t i)
{
    return i / places->inner % places->n;
}

static void fill_normed(const struct archive_tensor *g, const struct archive_tensor *v,
                        const struct places *places, double *scales,
                        const struct archive_type *type, unsigned char *out)
{
    for (size_t i = 0; i < v->elements; i++) {
        double x = archive_number(v, i);

        scales[place_of(places, i)] += x * x;
    }
    for (size_t i = 0; i < places->n; i++)
        scales[i] = archive_number(g, i) / sqrt(scales[i]);
    for (size_t i = 0; i < v->elements; i++)
        forms_put(type, out, i, scales[place_of(places, i)] * archive_number(v, i));
}

/* `len` bytes of v's name and `end` name the weight. */
static int make_normed(struct archive *archive, struct archive_tensor *g_in,
                       struct archive_tensor *v_in, size_t len, const char *end,
                       struct rnn_err *err)
{
    struct archive_tensor g = *g_in, v = *v_in, proto = v;
    struct places places = {.inner = 1, .n = g.elements};
    unsigned char *bytes;
    double *scales;
    size_t kept;
    int rc;

    if (!g.type->usable || !v.type->usable || g.elements == 0 || !kept_dimension(&g, &v, &kept))
        return unfit(&g, err);
    g_in->used = v_in->used = true;
    proto.type = forms_computed(v.type);
    rc = forms_make(archive, &proto, v.name, len, end, &bytes, err);
    if (rc < 0)
        return rc;
    for (size_t i = kept + 1; i < v.rank; i++)
        places.inner *= v.shape[i];
    scales = calloc(places.n, sizeof *scales);
    if (!scales)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    fill_normed(&g, &v, &places, scales, proto.type, bytes);
    free(scales);
    archive_note(archive, "'%.*s%s': weight normalisation computed, g v / |v|", (int)len, v.name,
                 end);
    return 0;
}

/* NAME_g beside NAME_v. */
static int convert_pair(struct archive *archive, size_t index, struct rnn_err *err)
{
    struct archive_tensor *g = &archive->tensors[index], *v;
    size_t len = strlen(g->name);

    if (!forms_ends_with(g->name, "_g") || !strstr(g->name, "weight"))
        return 0;
    v = forms_find(archive, g->name, len - 1, "v");
    return v ? make_normed(archive, g, v, len - 2, "", err) : 0;
}

/* "fc.parametrizations.weight.original0" beside "….original1". */
static int convert_parametrized(struct archive *archive, size_t index, struct rnn_err *err)
{
    static const char word[] = "parametrizations.";
    struct archive_tensor *g = &archive->tensors[index], *v;
    const char *at = strstr(g->name, word);
    size_t len = strlen(g->name);
    char end[256];

    if (!at || !forms_ends_with(g->name, ".original0"))
        return 0;
    v = forms_find(archive, g->name, len - 1, "1");
    if (!v)
        return 0;
    snprintf(end, sizeof end, "%.*s",
             (int)(len - strlen(".original0")) - (int)(at - g->name) - (int)strlen(word),
             at + strlen(word));
    return make_normed(archive, g, v, (size_t)(at - g->name), end, err);
}

static int convert_pruned(struct archive *archive, size_t index, struct rnn_err *err)
{
    struct archive_tensor *found = &archive->tensors[index], *mask, whole, kept, proto;
    size_t len = strlen(found->name) - strlen("_orig");
    unsigned char *bytes;
    int rc;

    mask = forms_find(archive, found->name, len, "_mask");
    if (!mask && forms_find(archive, found->name, len, "_u"))
        return rnn_fail_at(err, RNN_EUNSUPPORTED, found->name, -1,
                           "tensor '%.80s' is under spectral normalisation; in Python, "
                           "torch.nn.utils.remove_spectral_norm() makes plain weights of it",
                           found->name);
    if (!mask)
        return 0;
    if (mask->elements != found->elements || !mask->type->usable || !found->type->usable)
        return unfit(mask, err);
    found->used = mask->used = true;
    whole = *found;
    kept = *mask;
    proto = whole;
    proto.type = forms_computed(whole.type);
    rc = forms_make(archive, &proto, whole.name, len, "", &bytes, err);
    for (size_t i = 0; rc == 0 && i < whole.elements; i++)
        forms_put(proto.type, bytes, i, archive_number(&whole, i) * archive_number(&kept, i));
    if (rc == 0)
        archive_note(archive, "'%.*s': pruned weights set to zero by their mask", (int)len,
                     whole.name);
    return rc;
}

int convert_norms(struct archive *archive, const struct import_options *options,
                  struct rnn_err *err)
{
    size_t n = archive->n_tensors;
    int rc = 0;

    (void)options;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = convert_pair(archive, i, err);
        if (rc == 0)
            rc = convert_parametrized(archive, i, err);
        if (rc == 0 && forms_ends_with(archive->tensors[i].name, "_orig"))
            rc = convert_pruned(archive, i, err);
    }
    return rc;
}
