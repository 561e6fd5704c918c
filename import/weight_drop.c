/* Recurrent weights under dropout (Merity et al. 2017), as AWD-LSTM and ULMFiT save them:
 *
 *     rnns.0.weight_hh_l0_raw          the weights
 *     rnns.0.module.weight_hh_l0       the same with some of them dropped, of the last step: not
 * used rnns.0.module.weight_ih_l0       the module's other parts
 *
 * A model that is used drops nothing, so the raw weights are its weights. */
#include <stdio.h>
#include <string.h>

#include "import/forms.h"

static const char raw[] = "_raw";

/* Where the name of the last component begins. */
static size_t folder_of(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot ? (size_t)(dot - name) + 1 : 0;
}

/* A tensor under another name; its numbers stay where they are. */
static int rename_tensor(struct archive *archive, size_t index, size_t len, const char *end,
                         struct rnn_err *err)
{
    struct archive_tensor copy = archive->tensors[index];
    size_t size = len + strlen(end) + 1;
    char *text = archive_alloc(archive, size, err);

    if (!text)
        return err ? err->code : RNN_ENOMEM;
    snprintf(text, size, "%.*s%s", (int)len, copy.name, end);
    archive->tensors[index].used = true;
    copy.name = text;
    copy.made = true;
    return archive_add(archive, &copy, err);
}

/* The other parts of the module under `len` bytes of `name`. */
static int lift_module(struct archive *archive, const char *name, size_t len, struct rnn_err *err)
{
    static const char word[] = "module.";
    size_t n = archive->n_tensors;
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        const char *other = archive->tensors[i].name;

        if (archive->tensors[i].used || archive->tensors[i].training ||
            strncmp(other, name, len) != 0 || strncmp(other + len, word, strlen(word)) != 0 ||
            forms_find(archive, other, len, other + len + strlen(word)))
            continue;
        rc = rename_tensor(archive, i, len, other + len + strlen(word), err);
    }
    return rc;
}

static int convert_one(struct archive *archive, size_t index, struct rnn_err *err)
{
    const char *name = archive->tensors[index].name;
    size_t folder = folder_of(name), len = strlen(name) - strlen(raw);
    char part[256], dropped[272];
    struct archive_tensor *plain;
    int rc;

    if (len - folder >= sizeof part)
        return 0;
    snprintf(part, sizeof part, "%.*s", (int)(len - folder), name + folder);
    snprintf(dropped, sizeof dropped, "module.%s", part);
    plain = forms_find(archive, name, folder, dropped);
    if (plain)
        plain->training = true;
    plain = forms_find(archive, name, folder, part);
    if (plain)
        return rnn_fail_at(err, RNN_EFORMAT, name, -1,
                           "tensor '%.80s' and '%.80s' are both there; leave one out with --map "
                           "NAME=-",
                           name, plain->name);
    rc = rename_tensor(archive, index, len, "", err);
    if (rc == 0)
        archive_note(archive, "'%s': the weights without dropout", name);
    return rc < 0 ? rc : lift_module(archive, name, folder, err);
}

int convert_drops(struct archive *archive, const struct import_options *options,
                  struct rnn_err *err)
{
    size_t n = archive->n_tensors;
    int rc = 0;

    (void)options;
    for (size_t i = 0; i < n && rc == 0; i++)
        if (forms_ends_with(archive->tensors[i].name, raw) &&
            strstr(archive->tensors[i].name, "weight_"))
            rc = convert_one(archive, i, err);
    return rc;
}
