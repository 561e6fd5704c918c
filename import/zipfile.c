/* Entries of a zip file.  See zipfile.h.
 *
 * What libzip says of an entry is looked up once and judged when the file is opened, so that the
 * readers see an array of names and sizes.  zipfile_read() reads exactly that many bytes and wants
 * the end behind them: libzip then has compared the checksum. */
#include "import/zipfile.h"

#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "base/utf8.h"

enum { ENTRIES_MAX = 200000, UNFOLDS_MAX = 1040 /* times its size, by deflate */ };

struct entry {
    const char *name;
    size_t size;
};

struct zipfile {
    struct zip *zip;
    struct entry *entries; /* [count] */
    const char **sorted;   /* [count] */
    size_t count;
};

static int zip_fault(const char *what, const zip_error_t *error, struct rnn_err *err)
{
    zip_error_t copy = *error;
    int code = zip_error_code_zip(error) == ZIP_ER_MEMORY ? RNN_ENOMEM : RNN_EFORMAT;

    copy.str = NULL; /* the text is made anew, and is the copy's */
    (void)rnn_fail(err, code, "%s: %s", what, zip_error_strerror(&copy));
    zip_error_fini(&copy);
    return code;
}

static int read_entry(struct zipfile *file, size_t index, struct rnn_err *err)
{
    const zip_uint64_t wanted =
        ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    struct entry *entry = &file->entries[index];
    zip_stat_t info;

    if (zip_stat_index(file->zip, index, ZIP_FL_ENC_RAW, &info) < 0 ||
        (info.valid & wanted) != wanted)
        return rnn_fail(err, RNN_EFORMAT, "zip: entry %zu is damaged", index);
    if (!utf8_valid(info.name, strlen(info.name), NULL))
        return rnn_fail(err, RNN_EFORMAT, "zip: the name of entry %zu is no valid UTF-8", index);
    if ((info.valid & ZIP_STAT_ENCRYPTION_METHOD) && info.encryption_method != ZIP_EM_NONE)
        return rnn_fail(err, RNN_EUNSUPPORTED, "zip: entry '%.80s' is encrypted", info.name);
    if (info.comp_method != ZIP_CM_STORE && info.comp_method != ZIP_CM_DEFLATE)
        return rnn_fail(err, RNN_EUNSUPPORTED,
                        "zip: entry '%.80s' is packed by method %u; stored and deflated are read",
                        info.name, info.comp_method);
    if (info.size / UNFOLDS_MAX > info.comp_size)
        return rnn_fail(err, RNN_EFORMAT, "zip: entry '%.80s' unfolds from %llu to %llu bytes",
                        info.name, (unsigned long long)info.comp_size,
                        (unsigned long long)info.size);
    *entry = (struct entry){info.name, (size_t)info.size};
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const char *const *left = a, *const *right = b;

    return strcmp(*left, *right);
}

static int read_entries(struct zipfile *file, struct rnn_err *err)
{
    zip_int64_t n = zip_get_num_entries(file->zip, 0);
    int rc = 0;

    if (n < 0 || n > ENTRIES_MAX)
        return rnn_fail(err, RNN_ELIMIT, "zip: more than %d entries", ENTRIES_MAX);
    file->entries = calloc((size_t)n + 1, sizeof *file->entries);
    file->sorted = calloc((size_t)n + 1, sizeof *file->sorted);
    if (!file->entries || !file->sorted)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    file->count = (size_t)n;
    for (size_t i = 0; i < file->count && rc == 0; i++) {
        rc = read_entry(file, i, err);
        file->sorted[i] = file->entries[i].name;
    }
    if (rc < 0)
        return rc;
    qsort(file->sorted, file->count, sizeof *file->sorted, by_name);
    for (size_t i = 1; i < file->count; i++)
        if (strcmp(file->sorted[i - 1], file->sorted[i]) == 0)
            return rnn_fail(err, RNN_EFORMAT, "zip: entry '%.80s' is there twice", file->sorted[i]);
    return 0;
}

/* Takes the source over, also where it fails. */
static int open_source(struct zipfile **out, zip_source_t *source, struct rnn_err *err)
{
    struct zipfile *file = calloc(1, sizeof *file);
    zip_error_t error;
    int rc;

    if (!file) {
        zip_source_free(source);
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    zip_error_init(&error);
    file->zip = zip_open_from_source(source, ZIP_RDONLY, &error);
    if (!file->zip) {
        rc = zip_fault("zip", &error, err);
        zip_source_free(source);
    } else {
        rc = read_entries(file, err);
    }
    zip_error_fini(&error);
    if (rc < 0) {
        zipfile_close(file);
        return rc;
    }
    *out = file;
    return 0;
}

static int with_source(struct zipfile **out, zip_source_t *source, zip_error_t *error,
                       struct rnn_err *err)
{
    int rc = source ? open_source(out, source, err) : zip_fault("zip", error, err);

    zip_error_fini(error);
    return rc;
}

int zipfile_open(struct zipfile **out, const char *path, struct rnn_err *err)
{
    zip_error_t error;

    zip_error_init(&error);
    return with_source(out, zip_source_file_create(path, 0, -1, &error), &error, err);
}

int zipfile_open_bytes(struct zipfile **out, const void *bytes, size_t len, struct rnn_err *err)
{
    zip_error_t error;

    zip_error_init(&error);
    return with_source(out, zip_source_buffer_create(bytes, len, 0, &error), &error, err);
}

void zipfile_close(struct zipfile *file)
{
    if (!file)
        return;
    if (file->zip)
        zip_discard(file->zip);
    free(file->entries);
    free(file->sorted);
    free(file);
}

size_t zipfile_count(const struct zipfile *file)
{
    return file->count;
}

const char *zipfile_name(const struct zipfile *file, size_t index)
{
    return file->entries[index].name;
}

size_t zipfile_size(const struct zipfile *file, size_t index)
{
    return file->entries[index].size;
}

bool zipfile_find(const struct zipfile *file, const char *name, size_t *index)
{
    for (size_t i = 0; i < file->count; i++)
        if (strcmp(file->entries[i].name, name) == 0) {
            *index = i;
            return true;
        }
    return false;
}

bool zipfile_find_last(const struct zipfile *file, const char *name, size_t *index)
{
    size_t len = strlen(name);

    if (zipfile_find(file, name, index))
        return true;
    for (size_t i = 0; i < file->count; i++) {
        const char *entry = file->entries[i].name, *slash = strchr(entry, '/');

        if (slash && strlen(slash + 1) == len && strcmp(slash + 1, name) == 0) {
            *index = i;
            return true;
        }
    }
    return false;
}

int zipfile_read(struct zipfile *file, size_t index, void *out, struct rnn_err *err)
{
    const struct entry *entry = &file->entries[index];
    zip_file_t *stream = zip_fopen_index(file->zip, index, 0);
    unsigned char *at = out, extra;
    size_t left = entry->size;
    zip_int64_t n = 1;
    int rc = 0;

    if (!stream)
        return zip_fault("zip", zip_get_error(file->zip), err);
    while (left > 0 && n > 0) {
        n = zip_fread(stream, at, left);
        if (n > 0) {
            at += n;
            left -= (size_t)n;
        }
    }
    if (left > 0 || zip_fread(stream, &extra, 1) != 0)
        rc = rnn_fail(err, RNN_EFORMAT, "zip: entry '%.80s' is cut or damaged", entry->name);
    zip_fclose(stream);
    return rc;
}
