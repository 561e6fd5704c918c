/* The model folder: a good one opens with all its parts, every missing, cut or inconsistent file is
 * an error that names the file and the thing. */
#include "models/format_folder.h"

#include <sys/stat.h>

#include "core/rnn.h"
#include "core/tokenizer.h"
#include "folder.h"

#define CONFIG_OF(more)                                                                            \
    "{\"schema\":\"rnnd-ref-1\",\"topology\":\"synced\",\"input\":{\"kind\":\"onehot\",\"size\":"  \
    "2},"                                                                                          \
    "\"rnn\":{\"cell\":\"rnn_tanh\",\"hidden_size\":1,\"num_layers\":1,\"bias\":false},"           \
    "\"head\":{\"size\":2,\"bias\":false,\"activation\":\"softmax\"}" more "}"

/* w_ih [1,2], w_hh [1,1], head [2,1]: 20 bytes in all */
#define TENSORS                                                                                    \
    "\"rnn.weight_ih_l0\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"             \
    "\"rnn.weight_hh_l0\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[8,12]},"            \
    "\"head.weight\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[12,20]}"

static const float weights[] = {1, 2, 3, 4, 5, 6, 7, 8};
static const char vocab[] = "{\"kind\":\"char\",\"tokens\":[\"a\",\"b\"]}";

static void make_good(struct folder *folder)
{
    folder_make(folder);
    folder_puts(folder, "config.json", CONFIG_OF(""));
    folder_tensors(folder, "{" TENSORS "}", weights, 20);
    folder_puts(folder, "vocab.json", vocab);
    folder_puts(folder, "metrics.json", "{\"bpc\":1.5}\n");
}

static struct rnn_source *open_good(const struct folder *folder)
{
    struct rnn_source *source = NULL;
    struct rnn_err err = {0};

    if (format_folder.open(&source, folder->path, &err) != 0)
        ck_abort_msg("%s", err.text);
    return source;
}

START_TEST(a_folder_opens_with_all_its_parts)
{
    struct folder folder;
    struct rnn_source *source;
    struct rnn_tensor tensor;
    struct rnn_texts texts;

    make_good(&folder);
    ck_assert(format_folder.probe(folder.path));
    ck_assert(!format_folder.probe(folder_path(&folder, "config.json")));
    source = open_good(&folder);
    ck_assert_str_eq(format_folder.spec(source)->name, strrchr(folder.path, '/') + 1);
    ck_assert_int_eq(format_folder.spec(source)->dtype, RNN_F32);
    ck_assert_uint_eq(format_folder.n_tensors(source), 3);
    ck_assert(format_folder.tensor(source, "rnn.weight_hh_l0", &tensor));
    ck_assert(tensor.rank == 2 && tensor.shape[0] == 1 && tensor.bytes == 4);
    ck_assert_mem_eq(tensor.data, &weights[2], 4);
    ck_assert(!format_folder.tensor(source, "rnn.bias_ih_l0", &tensor));
    format_folder.tensor_at(source, 0, &tensor);
    ck_assert_str_eq(tensor.name, "head.weight");
    format_folder.take_texts(source, &texts);
    ck_assert_uint_eq(texts.tokenizer->n_tokens, 2);
    ck_assert_str_eq(texts.metrics_json, "{\"bpc\":1.5}\n");
    ck_assert_ptr_null(texts.labels);
    texts.tokenizer->ops->free(texts.tokenizer);
    free(texts.metrics_json);
    format_folder.take_texts(source, &texts);
    ck_assert(!texts.tokenizer && !texts.metrics_json && !texts.labels);
    format_folder.close(source);
    format_folder.close(NULL);
    folder_delete(&folder);
}
END_TEST

START_TEST(texts_that_nobody_takes_are_freed)
{
    struct folder folder;

    make_good(&folder);
    format_folder.close(open_good(&folder));
    unlink(folder_path(&folder, "vocab.json"));
    unlink(folder_path(&folder, "metrics.json"));
    format_folder.close(open_good(&folder));
    folder_delete(&folder);
}
END_TEST

START_TEST(the_name_is_the_folders_own)
{
    struct folder folder;
    char path[128], before[256];
    struct rnn_source *source;

    make_good(&folder);
    snprintf(path, sizeof path, "%s///", folder.path);
    ck_assert_int_eq(format_folder.open(&source, path, NULL), 0);
    ck_assert_str_eq(format_folder.spec(source)->name, strrchr(folder.path, '/') + 1);
    format_folder.close(source);
    ck_assert_ptr_nonnull(getcwd(before, sizeof before));
    ck_assert_int_eq(chdir(folder.path), 0);
    ck_assert_int_eq(format_folder.open(&source, ".", NULL), 0);
    ck_assert_int_eq(chdir(before), 0);
    ck_assert_str_eq(format_folder.spec(source)->name, strrchr(folder.path, '/') + 1);
    format_folder.close(source);
    folder_delete(&folder);
}
END_TEST

/* Opens a good folder with one file replaced (or taken away: NULL). */
static int open_with(const char *file, const char *text, struct rnn_err *err)
{
    struct folder folder;
    struct rnn_source *source = NULL;
    int rc;

    make_good(&folder);
    if (!text)
        unlink(folder_path(&folder, file));
    else if (strcmp(file, "model.safetensors") == 0)
        folder_tensors(&folder, text, weights, 20);
    else
        folder_puts(&folder, file, text);
    rc = format_folder.open(&source, folder.path, err);
    ck_assert((rc == 0) == (source != NULL));
    format_folder.close(source);
    folder_delete(&folder);
    return rc;
}

START_TEST(faults_name_the_file_and_the_thing)
{
    static const struct {
        const char *file;
        const char *text;
        int code;
        const char *words;
    } bad[] = {
        {"config.json", NULL, RNN_ENOENT, "config.json: No such file"},
        {"config.json", "", RNN_EFORMAT, "config.json: JSON: empty text"},
        {"config.json", "{\"schema\":\"rnnd-ref-1\"", RNN_EFORMAT, "config.json: JSON"},
        {"config.json", "{\"schema\":\"x\"}", RNN_EUNSUPPORTED, "config.json: schema"},
        {"config.json", CONFIG_OF(",\"dtype\":\"F16\""), RNN_ESHAPE,
         "rnn.weight_ih_l0: dtype F32, config.json's dtype is F16"},
        {"config.json", CONFIG_OF(",\"tensors\":{\"head.weight\":[3,1]}"), RNN_ESHAPE,
         "config.json: tensors.head.weight: config.json says 3x1, model.safetensors has 2x1"},
        {"config.json", CONFIG_OF(",\"tensors\":{\"head.bias\":[2]}"), RNN_ESHAPE,
         "config.json: tensors.head.bias: not in model.safetensors"},
        {"model.safetensors", NULL, RNN_ENOENT, "model.safetensors: No such file"},
        {"model.safetensors", "{}", RNN_EFORMAT, "model.safetensors: tensors want 0 bytes"},
        {"model.safetensors",
         "{\"rnn.weight_hh_l0\":{\"dtype\":\"I32\",\"shape\":[5],"
         "\"data_offsets\":[0,20]}}",
         RNN_EUNSUPPORTED, "model.safetensors: rnn.weight_hh_l0: dtype I32, want F32"},
        {"model.safetensors",
         "{\"rnn.weight_hh_l0\":{\"dtype\":\"F32\",\"shape\":"
         "[5,1,1,1,1,1,1,1,1],\"data_offsets\":[0,20]}}",
         RNN_ESHAPE, "rnn.weight_hh_l0: 9 dimensions"},
        {"vocab.json", "{\"kind\":\"char\",\"tokens\":[\"a\"]}", RNN_ESHAPE,
         "vocab.json: tokens: 1 of them, config.json's input.size is 2"},
        {"vocab.json", "{\"kind\":\"char\",\"tokens\":[\"a\",\"a\"]}", RNN_EFORMAT,
         "vocab.json: tokens[1]"},
        {"vocab.json", "{", RNN_EFORMAT, "vocab.json: JSON"},
        {"metrics.json", "{\"bpc\":NaN}", RNN_EFORMAT, "metrics.json: JSON"}};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rnn_err err = {0};
        int rc = open_with(bad[i].file, bad[i].text, &err);

        if (rc != bad[i].code || !strstr(err.text, bad[i].words))
            ck_abort_msg("%s %s: %s '%s', want %s '%s'", bad[i].file, bad[i].text,
                         rnn_error_name(rc), err.text, rnn_error_name(bad[i].code), bad[i].words);
        ck_assert_int_eq(open_with(bad[i].file, bad[i].text, NULL), bad[i].code);
    }
}
END_TEST

START_TEST(other_kinds_of_files_in_the_place_of_one_are_refused)
{
    struct folder folder;
    struct rnn_source *source = NULL;
    struct rnn_err err;

    make_good(&folder);
    unlink(folder_path(&folder, "model.safetensors"));
    ck_assert_int_eq(mkfifo(folder_path(&folder, "model.safetensors"), 0600), 0);
    ck_assert_int_eq(format_folder.open(&source, folder.path, &err), RNN_EIO);
    ck_assert_ptr_nonnull(strstr(err.text, "model.safetensors: not a regular file"));
    unlink(folder_path(&folder, "model.safetensors"));
    ck_assert_int_eq(mkdir(folder_path(&folder, "model.safetensors"), 0700), 0);
    ck_assert_int_eq(format_folder.open(&source, folder.path, &err), RNN_EIO);
    rmdir(folder_path(&folder, "model.safetensors"));
    folder_delete(&folder);
    ck_assert_int_eq(format_folder.open(&source, folder.path, &err), RNN_ENOENT);
}
END_TEST

/* Tensors of others are none of core's business; those in the model's own name space are. */
START_TEST(tensors_of_others_are_let_be)
{
    struct folder folder;
    struct rnn_source *source;
    struct rnn_tensor tensor;
    struct rnn_model *model = NULL;
    struct rnn_err err;

    make_good(&folder);
    folder_tensors(&folder,
                   "{" TENSORS ",\"optimizer.step\":{\"dtype\":\"I32\",\"shape\":[],"
                   "\"data_offsets\":[20,24]}}",
                   weights, 24);
    source = open_good(&folder);
    ck_assert_uint_eq(format_folder.n_tensors(source), 3);
    ck_assert(!format_folder.tensor(source, "optimizer.step", &tensor));
    format_folder.close(source);
    ck_assert_int_eq(rnn_model_open(&model, folder.path, NULL, &err), 0);
    rnn_model_unref(model);

    folder_tensors(&folder,
                   "{" TENSORS ",\"head.bias\":{\"dtype\":\"F32\",\"shape\":[2],"
                   "\"data_offsets\":[20,28]}}",
                   weights, 28);
    ck_assert_int_eq(rnn_model_open(&model, folder.path, NULL, &err), RNN_ESHAPE);
    ck_assert_ptr_nonnull(strstr(err.text, "head.bias"));
    folder_delete(&folder);
}
END_TEST

static void fingerprint_of(const struct folder *folder, char out[65])
{
    struct rnn_source *source = open_good(folder);

    format_folder.fingerprint(source, out);
    format_folder.close(source);
    ck_assert_uint_eq(strlen(out), 64);
}

START_TEST(the_fingerprint_is_of_shape_and_weights)
{
    struct folder folder;
    char first[65], other[65];
    float changed[5];

    make_good(&folder);
    fingerprint_of(&folder, first);
    ck_assert_str_ne(first, "0000000000000000000000000000000000000000000000000000000000000000");
    folder_puts(&folder, "config.json", CONFIG_OF(",\"name\":\"x\",\"dtype\":\"F32\""));
    folder_puts(&folder, "metrics.json", "{}");
    unlink(folder_path(&folder, "vocab.json"));
    fingerprint_of(&folder, other); /* the same numbers come out of it */
    ck_assert_str_eq(first, other);
    folder_tensors(
        &folder,
        "{\"head.weight\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
        "\"rnn.weight_hh_l0\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[8,12]},"
        "\"rnn.weight_ih_l0\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[12,20]}}",
        (const float[]){4, 5, 3, 1, 2}, 20);
    fingerprint_of(&folder, other); /* only the order in the file differs */
    ck_assert_str_eq(first, other);
    memcpy(changed, weights, sizeof changed);
    ((unsigned char *)changed)[0] ^= 1;
    folder_tensors(&folder, "{" TENSORS "}", changed, 20);
    fingerprint_of(&folder, other);
    ck_assert_str_ne(first, other);
    folder_tensors(&folder, "{" TENSORS "}", weights, 20);
    folder_puts(&folder, "config.json",
                "{\"schema\":\"rnnd-ref-1\",\"topology\":\"synced\",\"input\":{\"kind\":\"onehot\","
                "\"size\":2},\"rnn\":{\"cell\":\"rnn_relu\",\"hidden_size\":1,\"num_layers\":1,"
                "\"bias\":false},\"head\":{\"size\":2,\"bias\":false,\"activation\":\"softmax\"}}");
    fingerprint_of(&folder, other);
    ck_assert_str_ne(first, other);
    folder_delete(&folder);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {a_folder_opens_with_all_its_parts,
                            texts_that_nobody_takes_are_freed,
                            the_name_is_the_folders_own,
                            faults_name_the_file_and_the_thing,
                            other_kinds_of_files_in_the_place_of_one_are_refused,
                            tensors_of_others_are_let_be,
                            the_fingerprint_is_of_shape_and_weights,
                            NULL};

    return run_tests("models/format_folder", tests);
}
