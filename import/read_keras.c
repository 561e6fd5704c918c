/* Keras' files: .h5 (a whole model, or weights beside a model's JSON), .weights.h5, and .keras.
 *
 *     .h5        HDF5; the model's JSON is the root's attribute model_config
 *     .keras     zip: metadata.json (the version), config.json, model.weights.h5
 *
 * Either becomes a chain of layers (import/keras_model.h) with arrays (import/keras_weights.h),
 * which is converted (import/keras_build.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "import/confine.h"
#include "import/hdf5file.h"
#include "import/keras_build.h"
#include "import/keras_model.h"
#include "import/keras_weights.h"
#include "import/reader.h"
#include "models/file.h"

enum { PARSING_S = 30 }; /* longest time to read a small file */
#define MODEL_MAX_BYTES ((size_t)1 << 24)

static bool begins_hdf5(const void *bytes, size_t len)
{
    return len >= 8 && memcmp(bytes, "\x89HDF\r\n\x1a\n", 8) == 0;
}

static bool probe(const struct input *input)
{
    size_t index;

    if (input->zip)
        return zipfile_find(input->zip, "config.json", &index) &&
               zipfile_find(input->zip, "metadata.json", &index);
    return begins_hdf5(input->head, input->head_len);
}

/* ---- Texts ---- */

/* An attribute of one text; NULL in *out: there is none.  The archive keeps it. */
static int attribute(struct hdf5file *file, struct archive *archive, const char *path,
                     const char *name, const char **out, struct rnn_err *err)
{
    struct hdf5_texts texts = {0};
    bool found = false;
    int rc = hdf5file_attribute(file, path, name, &texts, &found, err);

    *out = NULL;
    if (rc == 0 && texts.n == 1) {
        *out = archive_text(archive, texts.list[0], strlen(texts.list[0]), err);
        rc = *out ? 0 : RNN_ENOMEM;
    }
    hdf5_texts_free(&texts);
    return rc;
}

/* The version stands at the root, or beside the weights. */
static int find_version(struct hdf5file *file, struct archive *archive, const char **out,
                        struct rnn_err *err)
{
    int rc = attribute(file, archive, "", "keras_version", out, err);

    if (rc == 0 && !*out && hdf5file_has_group(file, "model_weights"))
        rc = attribute(file, archive, "model_weights", "keras_version", out, err);
    return rc;
}

/* The user's --config. */
static int load_config(const char *path, struct archive *archive, const char **out,
                       struct rnn_err *err)
{
    size_t len;
    char *text;
    int rc = file_load(&text, &len, path, MODEL_MAX_BYTES, err);

    if (rc == 0) {
        *out = archive_text(archive, text, len, err);
        rc = *out ? 0 : RNN_ENOMEM;
        free(text);
    }
    return rc;
}

/* ---- Both containers ---- */

static int weights_alone(struct hdf5file *file, struct archive *archive, struct rnn_err *err)
{
    const char *words = "";
    int rc = keras_weights_words(file, archive, &words, err);

    if (rc < 0)
        return rc;
    return rnn_fail(err, RNN_EUNSUPPORTED,
                    "it holds weights alone, of %.120s; give the model's JSON, as "
                    "model.to_json() writes it, with --config",
                    words);
}

static void note_version(struct archive *archive, const struct keras_model *model)
{
    if (*model->version)
        archive_note(archive, "written by Keras %s", model->version);
    else
        archive_note(archive, "the file does not say which Keras wrote it; taken for one before 3");
}

static int convert(struct hdf5file *file, struct archive *archive, const char *text,
                   const char *version, const struct import_options *options, bool own,
                   struct rnn_err *err)
{
    struct keras_model model;
    int rc = keras_model_parse(&model, text, strlen(text), version, err);

    if (rc < 0) {
        if (!own)
            rnn_err_prefix(err, "--config %.60s: ", options->config);
        return rc;
    }
    note_version(archive, &model);
    rc = keras_weights_read(file, archive, &model, err);
    if (rc == 0)
        rc = keras_convert(archive, &model, options, err);
    keras_model_free(&model);
    return rc;
}

/* ---- .h5 ---- */

static int read_file(struct hdf5file *file, struct archive *archive,
                     const struct import_options *options, struct rnn_err *err)
{
    bool own = !options || !options->config;
    const char *version, *text = NULL;
    int rc = find_version(file, archive, &version, err);

    if (rc == 0)
        rc = own ? attribute(file, archive, "", "model_config", &text, err)
                 : load_config(options->config, archive, &text, err);
    if (rc < 0)
        return rc;
    return text ? convert(file, archive, text, version, options, own, err)
                : weights_alone(file, archive, err);
}

static int read_hdf5(struct archive *archive, struct input *input, struct rnn_err *err)
{
    struct hdf5file *file;
    int rc = input_load(input, err);

    if (rc == 0)
        rc = hdf5file_open(&file, input->bytes, input->len, err);
    if (rc < 0)
        return rc;
    rc = read_file(file, archive, input->options, err);
    hdf5file_close(file);
    return rc;
}

/* ---- .keras ---- */

static int entry(struct input *input, struct archive *archive, const char *name, const char **bytes,
                 size_t *len, struct rnn_err *err)
{
    size_t index;
    int rc;

    if (!zipfile_find(input->zip, name, &index))
        return rnn_fail(err, RNN_EFORMAT, "a Keras file without %s", name);
    rc = input_entry(input, archive, index, bytes, len, err);
    if (rc < 0)
        rnn_err_prefix(err, "%s: ", name);
    return rc;
}

/* The version of metadata.json; "": it is not said. */
static int read_metadata(const char *text, size_t len, char version[16], struct rnn_err *err)
{
    struct cJSON *json;
    int rc = json_parse(&json, text, len, 8, err);

    if (rc < 0) {
        rnn_err_prefix(err, "metadata.json: ");
        return rc;
    }
    snprintf(version, 16, "%s", cJSON_IsObject(json) ? keras_word(json, "keras_version", "") : "");
    json_free(json);
    return 0;
}

static int no_weights(const struct input *input, struct rnn_err *err)
{
    size_t index;

    if (zipfile_find(input->zip, "model.weights.npz", &index))
        return rnn_fail(err, RNN_EUNSUPPORTED,
                        "its weights are a pickle (model.weights.npz); save the model again");
    return rnn_fail(err, RNN_EFORMAT, "a Keras file without model.weights.h5");
}

static int read_zip(struct archive *archive, struct input *input, struct rnn_err *err)
{
    const char *metadata, *config, *weights;
    size_t metadata_len, config_len, weights_len, index;
    struct hdf5file *file;
    char version[16];
    int rc;

    if (!zipfile_find(input->zip, "model.weights.h5", &index))
        return no_weights(input, err);
    rc = entry(input, archive, "metadata.json", &metadata, &metadata_len, err);
    if (rc == 0)
        rc = read_metadata(metadata, metadata_len, version, err);
    if (rc == 0)
        rc = entry(input, archive, "config.json", &config, &config_len, err);
    if (rc == 0)
        rc = entry(input, archive, "model.weights.h5", &weights, &weights_len, err);
    if (rc == 0)
        rc = hdf5file_open(&file, weights, weights_len, err);
    if (rc < 0)
        return rc;
    rc = convert(file, archive, config, version, input->options, true, err);
    hdf5file_close(file);
    return rc;
}

static int read_keras(struct archive *archive, struct input *input, struct rnn_err *err)
{
    int rc;

    if (input->zip && input->options && input->options->config)
        return rnn_fail(err, RNN_EUNSUPPORTED, "--config: a Keras model says that itself");
    archive->format = input->zip ? "Keras (.keras)" : "Keras (.h5)";
    confine_time(PARSING_S + (unsigned)(input->size >> 24));
    rc = input->zip ? read_zip(archive, input, err) : read_hdf5(archive, input, err);
    confine_time(0);
    return rc;
}

const struct reader reader_keras = {"Keras", probe, read_keras};
