/* The table of conversions, and what they share.  See forms.h. */
#include "import/forms.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"

static int (*const conversions[])(struct archive *, const struct import_options *,
                                  struct rnn_err *) = {convert_norms, convert_drops, convert_tf2,
                                                       convert_tf1, convert_handmade};

int forms_convert(struct archive *archive, const struct import_options *options,
                  struct rnn_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < sizeof conversions / sizeof *conversions && rc == 0; i++)
        rc = conversions[i](archive, options, err);
    return rc;
}

int forms_make(struct archive *archive, const struct archive_tensor *proto, const char *name,
               size_t len, const char *end, unsigned char **bytes, struct rnn_err *err)
{
    struct archive_tensor tensor = *proto;
    size_t room = tensor.type->bytes, size = len + strlen(end) + 1;
    char *text = archive_alloc(archive, size, err);

    for (size_t i = 0; i < tensor.rank; i++)
        if (!checked_mul(room, tensor.shape[i], &room))
            room = SIZE_MAX; /* more than may be had */
    *bytes = text ? archive_alloc(archive, room, err) : NULL;
    if (!*bytes)
        return err ? err->code : RNN_ENOMEM;
    snprintf(text, size, "%.*s%s", (int)len, name, end);
    memset(*bytes, 0, room);
    tensor.name = text;
    tensor.data = *bytes;
    tensor.made = true;
    tensor.used = tensor.training = false;
    return archive_add(archive, &tensor, err);
}

struct archive_tensor *forms_find(const struct archive *archive, const char *name, size_t len,
                                  const char *end)
{
    for (size_t i = 0; i < archive->n_tensors; i++)
        if (strncmp(archive->tensors[i].name, name, len) == 0 &&
            strcmp(archive->tensors[i].name + len, end) == 0)
            return &archive->tensors[i];
    return NULL;
}

bool forms_ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);

    return n >= k && strcmp(text + n - k, end) == 0;
}

const struct archive_type *forms_computed(const struct archive_type *type)
{
    return archive_type(type->dtype == RNN_F64 && type->usable ? "F64" : "F32");
}

void forms_put(const struct archive_type *computed, unsigned char *bytes, size_t i, double value)
{
    float single = (float)value;

    if (computed->bytes == sizeof value)
        memcpy(bytes + i * sizeof value, &value, sizeof value);
    else
        memcpy(bytes + i * sizeof single, &single, sizeof single);
}
