/* Out of memory at every single allocation: opening, verifying and inspecting a folder fails with
 * RNN_ENOMEM and leaves nothing behind (leaks show under ASan and valgrind), until the n-th
 * allocation is past the last.
 *
 * The program is linked with malloc, calloc and realloc wrapped; cJSON is given the same ones. */
#include "base/json.h"
#include "core/rnn.h"
#include "folder.h"
#include "models/format_folder.h"
#include "models/inspect.h"
#include "models/verify.h"
#include "models/vocab.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);

static size_t allocations_left = SIZE_MAX; /* until one fails */
static bool has_failed;

static bool fails(void)
{
    if (allocations_left == SIZE_MAX)
        return false;
    if (allocations_left-- > 0)
        return false;
    allocations_left = SIZE_MAX;
    has_failed = true;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

static int open_and_close(const char *path, FILE *out, struct rnn_err *err)
{
    struct rnn_source *source;
    int rc = format_folder.open(&source, path, err);

    (void)out;
    if (rc == 0)
        format_folder.close(source);
    return rc;
}

static void make_folder(struct folder *folder)
{
    const float numbers[] = {0, 1, 0, 0, 1, 0.5f, 0};

    folder_make(folder);
    folder_puts(folder, "config.json",
                "{\"schema\":\"rnnd-ref-1\",\"topology\":\"synced\",\"input\":{\"kind\":\"onehot\","
                "\"size\":2},\"rnn\":{\"cell\":\"rnn_relu\",\"hidden_size\":1,\"num_layers\":1,"
                "\"bias\":false},\"head\":{\"size\":2,\"activation\":\"softmax\"},"
                "\"tensors\":{\"head.bias\":[2]}}");
    folder_tensors(
        folder,
        "{\"rnn.weight_ih_l0\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
        "\"rnn.weight_hh_l0\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[8,12]},"
        "\"head.weight\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[12,20]},"
        "\"head.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[20,28]}}",
        numbers, sizeof numbers);
    folder_puts(folder, "vocab.json",
                "{\"kind\":\"char\",\"tokens\":[\"a\",\"\xC3\xA9\"],\"labels\":[\"x\",\"y\"]}");
    folder_puts(folder, "metrics.json", "{}");
    folder_puts(
        folder, "golden.json",
        "{\"runs\":[{\"kind\":\"batch\",\"input_ids\":[[0,1]],\"texts\":[\"a\xC3\xA9\"]}]}");
}

/* Returns how many allocations a call makes. */
static size_t walk(int (*call)(const char *, FILE *, struct rnn_err *))
{
    struct folder folder;
    FILE *out = fopen("/dev/null", "w");
    size_t n = 0;
    int rc;

    make_folder(&folder);
    do {
        struct rnn_err err = {0};

        has_failed = false;
        allocations_left = n++;
        rc = call(folder.path, out, &err);
        allocations_left = SIZE_MAX;
        if (has_failed && rc != RNN_ENOMEM && rc != 0)
            ck_abort_msg("allocation %zu: %s: %s", n, rnn_error_name(rc), err.text);
        if (!has_failed && rc != 0)
            ck_abort_msg("no allocation failed, but: %s", err.text);
    } while (has_failed);
    fclose(out);
    folder_delete(&folder);
    return n - 1;
}

/* The vocabulary alone, of words and of two sides. */
static int read_vocab(const char *path, FILE *out, struct rnn_err *err)
{
    static const char text[] = "{\"kind\":\"char to word\",\"source\":[\"a\",\"\xC3\xA9\"],"
                               "\"target\":[\"to\",\"be\"],\"target_split\":\"words\"}";
    struct vocab vocab;
    int rc = vocab_parse(&vocab, text, strlen(text), err);

    (void)path;
    (void)out;
    if (rc == 0)
        vocab_free(&vocab);
    return rc;
}

START_TEST(a_vocabulary_is_read_or_says_no_memory)
{
    ck_assert_uint_gt(walk(read_vocab), 20);
}
END_TEST

START_TEST(a_folder_opens_or_says_no_memory)
{
    ck_assert_uint_gt(walk(open_and_close), 40);
}
END_TEST

START_TEST(verify_passes_or_says_no_memory)
{
    ck_assert_uint_gt(walk(model_verify), 60);
}
END_TEST

START_TEST(inspect_passes_or_says_no_memory)
{
    ck_assert_uint_gt(walk(model_inspect), 40);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {a_vocabulary_is_read_or_says_no_memory,
                            a_folder_opens_or_says_no_memory, verify_passes_or_says_no_memory,
                            inspect_passes_or_says_no_memory, NULL};
    struct cJSON_Hooks hooks = {.malloc_fn = __wrap_malloc, .free_fn = free};

    cJSON_InitHooks(&hooks);
    return run_tests("models/memory", tests);
}
