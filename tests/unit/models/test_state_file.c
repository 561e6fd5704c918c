/* States as files: out and in again bit for bit, into the state that they came from; every damaged
 * byte, every foreign file is refused and changes nothing; initial states that a folder ships. */
#include <float.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "core/rnn.h"
#include "folder.h"
#include "models/safetensors.h"

static struct rnn_model *open_shipped(const char *name)
{
    struct rnn_model *model = NULL;
    struct rnn_err err = {0};
    char path[512];

    snprintf(path, sizeof path, "%s/%s", PRETRAINED, name);
    if (rnn_model_open(&model, path, NULL, &err) != 0)
        ck_abort_msg("%s", err.text);
    return model;
}

static struct rnn_state *state_new(const struct rnn_model *model)
{
    struct rnn_state *state = malloc(rnn_model_info(model)->state_bytes);

    ck_assert_ptr_nonnull(state);
    rnn_state_init(model, state, 7);
    return state;
}

/* A state that has read `n` tokens. */
static struct rnn_state *state_after(const struct rnn_model *model, size_t n)
{
    struct rnn_state *state = state_new(model);
    struct rnn_scratch *scratch;
    struct rnn_row row = {.state = state, .input = RNN_ROW_TOKEN};

    ck_assert_int_eq(rnn_scratch_new(&scratch, model, 1, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        row.token = (uint32_t)(i * 7 % rnn_model_info(model)->input_size);
        rnn_step(model, scratch, &row, 1);
    }
    rnn_scratch_free(scratch);
    state->rng = (struct rnn_rng){.seed = UINT64_MAX, .counter = 12345678901234567u, .stream = 3};
    return state;
}

static void write_long_state(const struct rnn_model *model, const struct rnn_state *state,
                             size_t bytes, struct buf *out)
{
    struct rnn_err err = {0};

    if (rnn_state_write(model, state, bytes, out, &err) != 0)
        ck_abort_msg("%s", err.text);
}

static void write_state(const struct rnn_model *model, const struct rnn_state *state,
                        struct buf *out)
{
    write_long_state(model, state, rnn_model_info(model)->state_bytes, out);
}

/* The state in a file, which the caller frees; NULL where it is refused. */
static struct rnn_state *read_state(const struct rnn_model *model, const void *bytes, size_t len,
                                    size_t *size)
{
    struct rnn_state *state = NULL;

    *size = 0;
    if (rnn_state_read(model, bytes, len, &state, size, NULL) < 0)
        ck_assert_ptr_null(state);
    return state;
}

static void assert_refused(const struct rnn_model *model, const void *bytes, size_t len, int code,
                           const char *words)
{
    struct rnn_state *state = NULL;
    struct rnn_err err = {0};
    size_t size = 77;

    ck_assert_int_eq(rnn_state_read(model, bytes, len, &state, &size, &err), code);
    ck_assert_msg(strstr(err.text, words) != NULL, "'%s' is not in '%s'", words, err.text);
    ck_assert_ptr_null(state);
    ck_assert_uint_eq(size, 77);
}

START_TEST(a_state_is_the_same_when_it_is_back)
{
    static const char *const names[] = {"hello", "kjv"};

    for (size_t i = 0; i < 2; i++) {
        struct rnn_model *model = open_shipped(names[i]);
        struct rnn_state *state = state_after(model, 40), *back;
        struct buf file = {0};
        size_t size;

        write_state(model, state, &file);
        back = read_state(model, file.data, file.len, &size);
        ck_assert_uint_eq(size, rnn_model_info(model)->state_bytes);
        ck_assert_mem_eq(back, state, size);
        buf_free(&file);
        free(back);
        free(state);
        rnn_model_unref(model);
    }
}
END_TEST

START_TEST(the_file_is_a_safetensors_file_that_names_its_parts)
{
    struct rnn_model *model = open_shipped("kjv");
    struct rnn_state *state = state_after(model, 3);
    struct safetensors *file;
    struct buf bytes = {0};
    const struct safetensors_entry *entry;

    write_state(model, state, &bytes);
    ck_assert_int_eq(safetensors_parse(&file, bytes.data, bytes.len, NULL), 0);
    ck_assert_uint_eq(safetensors_count(file), 4);
    entry = safetensors_find(file, "c.l1");
    ck_assert_ptr_nonnull(entry);
    ck_assert_str_eq(entry->dtype, "F32");
    ck_assert_uint_eq(entry->shape[0], 256);
    safetensors_free(file);
    buf_free(&bytes);
    free(state);
    rnn_model_unref(model);
}
END_TEST

/* A state that remembers tokens: `n` of them went by, every third was drawn. */
static struct rnn_state *remembering(const struct rnn_model *model, size_t window, size_t n,
                                     size_t *bytes)
{
    struct rnn_state *plain = state_after(model, 5), *state;

    *bytes = rnn_state_bytes(model, window);
    state = malloc(*bytes);
    ck_assert_ptr_nonnull(state);
    rnn_state_copy(model, state, *bytes, plain, rnn_model_info(model)->state_bytes);
    for (size_t i = 0; i < n; i++)
        rnn_state_remember(model, state, *bytes,
                           (uint32_t)(i * 5 % rnn_model_info(model)->input_size), i % 3 == 0);
    free(plain);
    return state;
}

static void assert_same(const struct rnn_model *model, const struct rnn_state *a,
                        const struct rnn_state *b, size_t bytes)
{
    const struct rnn_recent *left = rnn_state_recent(model, a, bytes);
    const struct rnn_recent *right = rnn_state_recent(model, b, bytes);
    bool drawn, drawn_too;

    ck_assert_mem_eq(a, b, rnn_model_info(model)->state_bytes);
    ck_assert_uint_eq(rnn_recent_count(left), rnn_recent_count(right));
    for (size_t i = 0; i < rnn_recent_count(left); i++) {
        ck_assert_uint_eq(rnn_recent_at(left, i, &drawn), rnn_recent_at(right, i, &drawn_too));
        ck_assert_int_eq(drawn, drawn_too);
    }
}

/* Every bit of a file turned, one at a time, and every length it could be cut to. */
static void assert_tight(const struct rnn_model *model, const struct rnn_state *state, size_t bytes)
{
    struct rnn_state *back;
    struct buf file = {0};
    size_t name_at, name_end, size;
    const char *name;

    write_long_state(model, state, bytes, &file);
    name = memmem(file.data, file.len, "\"model\":\"hello\"", 15);
    ck_assert_ptr_nonnull(name);
    name_at = (size_t)(name - file.data) + 9;
    name_end = name_at + 5;
    for (size_t i = 0; i < file.len; i++) {
        if (i >= name_at && i < name_end)
            continue; /* a folder may have another name by now: weights are told by fingerprint */
        for (unsigned bit = 0; bit < 8; bit++) {
            file.data[i] ^= (char)(1u << bit);
            back = read_state(model, file.data, file.len, &size);
            if (back) {
                ck_assert_msg(size == bytes, "byte %zu, bit %u", i, bit);
                assert_same(model, back, state, bytes);
            }
            free(back);
            file.data[i] ^= (char)(1u << bit);
        }
    }
    for (size_t len = 0; len < file.len; len++)
        ck_assert_ptr_null(read_state(model, file.data, len, &size));
    buf_free(&file);
}

START_TEST(no_changed_byte_goes_unnoticed)
{
    struct rnn_model *model = open_shipped("hello");
    struct rnn_state *state = state_after(model, 5);
    size_t bytes;

    assert_tight(model, state, rnn_model_info(model)->state_bytes);
    free(state);
    state = remembering(model, 6, 9, &bytes);
    assert_tight(model, state, bytes);
    free(state);
    rnn_model_unref(model);
}
END_TEST

START_TEST(tokens_are_back_in_their_order)
{
    static const size_t counts[] = {0, 1, 5, 8, 9, 100};
    struct rnn_model *model = open_shipped("kjv");

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct buf file = {0}, again = {0};
        struct rnn_state *state, *back;
        size_t bytes, size;

        state = remembering(model, 8, counts[i], &bytes);
        write_long_state(model, state, bytes, &file);
        back = read_state(model, file.data, file.len, &size);
        ck_assert_uint_eq(size, bytes);
        assert_same(model, back, state, bytes);
        ck_assert(rnn_state_recalls(model, back, bytes));
        write_long_state(model, back, bytes, &again);
        ck_assert_uint_eq(again.len, file.len);
        ck_assert_mem_eq(again.data, file.data, file.len);
        buf_free(&again);
        buf_free(&file);
        free(back);
        free(state);
    }
    rnn_model_unref(model);
}
END_TEST

START_TEST(tokens_stand_behind_the_parts_in_common_types)
{
    struct rnn_model *model = open_shipped("hello");
    size_t bytes;
    struct rnn_state *state = remembering(model, 4, 6, &bytes);
    const uint32_t tokens[] = {2 * 5 % 4, 3 * 5 % 4, 4 * 5 % 4, 5 * 5 % 4};
    const char marks[] = {0, 1, 0, 0};
    const struct safetensors_entry *entry;
    struct safetensors *file;
    struct buf out = {0};

    write_long_state(model, state, bytes, &out);
    ck_assert_int_eq(safetensors_parse(&file, out.data, out.len, NULL), 0);
    ck_assert_uint_eq(rnn_model_info(model)->input_size, 4);
    entry = safetensors_at(file, safetensors_count(file) - 2);
    ck_assert_str_eq(entry->name, "sampler.tokens");
    ck_assert_str_eq(entry->dtype, "I32");
    ck_assert_uint_eq(entry->bytes, sizeof tokens);
    ck_assert_mem_eq(entry->data, tokens, sizeof tokens);
    entry = safetensors_at(file, safetensors_count(file) - 1);
    ck_assert_str_eq(entry->name, "sampler.drawn");
    ck_assert_str_eq(entry->dtype, "BOOL");
    ck_assert_uint_eq(entry->bytes, sizeof marks);
    ck_assert_mem_eq(entry->data, marks, sizeof marks);
    ck_assert_ptr_nonnull(memmem(out.data, out.len, "\"penalty_memory\":\"4\"", 20));
    safetensors_free(file);
    buf_free(&out);
    free(state);
    rnn_model_unref(model);
}
END_TEST

/* The same file with `with` in the place of `what`, which is as long. */
static void assert_refused_with(const struct rnn_model *model, const struct buf *file,
                                const char *what, const char *with, size_t len, const char *words)
{
    char *copy = malloc(file->len), *at;

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, file->data, file->len);
    at = memmem(copy, file->len, what, len);
    ck_assert_ptr_nonnull(at);
    memcpy(at, with, len);
    assert_refused(model, copy, file->len, RNN_EFORMAT, words);
    free(copy);
}

START_TEST(tokens_that_are_none_are_refused)
{
    struct rnn_model *model = open_shipped("hello");
    size_t bytes;
    struct rnn_state *state = remembering(model, 4, 3, &bytes);
    struct buf file = {0};

    write_long_state(model, state, bytes, &file);
    /* 0, 1, 2, and that the first was drawn, are the last bytes of the file */
    assert_refused_with(model, &file, "\2\0\0\0\1\0\0", "\4\0\0\0\1\0\0", 7,
                        "sampler.tokens: number 2 is no token of the model, which has 4");
    assert_refused_with(model, &file, "\2\0\0\0\1\0\0", "\2\0\0\x80\1\0\0", 7,
                        "sampler.tokens: number 2 is no token");
    assert_refused_with(model, &file, "\2\0\0\0\1\0\0", "\2\0\0\0\2\0\0", 7,
                        "sampler.drawn: number 0 is neither 0 nor 1");
    assert_refused_with(model, &file, "\"penalty_memory\":\"4\"", "\"penalty_memory\":\"2\"", 20,
                        "sampler.tokens: want I32 [2]");
    assert_refused_with(model, &file, "\"penalty_memory\":\"4\"", "\"penalty_memory\":\"0\"", 20,
                        "penalty_memory: want 1 or more");
    assert_refused_with(model, &file, "\"penalty_memory\":\"4\"", "\"penalty_memory\":\"x\"", 20,
                        "penalty_memory: want a whole number");
    assert_refused_with(model, &file, "\"penalty_memory\":\"4\"", "\"penalty_memorx\":\"4\"", 20,
                        "tensors, the model's state has");
    assert_refused_with(model, &file, "\"penalty_memory\":\"4\"", "\"penalty_memory\":\"9\"", 20,
                        "checksum");
    assert_refused_with(model, &file, "sampler.drawn", "sampler.drewn", 13,
                        "tensor sampler.drawn: is missing");
    assert_refused_with(model, &file, "\"I32\"", "\"U32\"", 5, "sampler.tokens: want I32 [3]");
    assert_refused_with(model, &file, "\"BOOL\"", "\"U8\"  ", 6, "sampler.drawn: want BOOL [3]");
    buf_free(&file);
    free(state);
    rnn_model_unref(model);
}
END_TEST

START_TEST(a_state_of_another_model_is_refused)
{
    struct rnn_model *model = open_shipped("hello"), *other = open_shipped("kjv");
    struct rnn_state *state = state_after(other, 2);
    struct buf file = {0};
    char *print;

    write_state(other, state, &file);
    assert_refused(model, file.data, file.len, RNN_ESHAPE, "of model 'kjv', not of 'hello'");
    print = memmem(file.data, file.len, "\"model\":\"kjv\"", 13);
    ck_assert_ptr_nonnull(print);
    print = memmem(file.data, file.len, rnn_model_info(other)->fingerprint, 64);
    ck_assert_ptr_nonnull(print);
    print[0] = print[0] == '0' ? '1' : '0';
    assert_refused(other, file.data, file.len, RNN_ESHAPE, "of other weights");
    buf_free(&file);
    free(state);
    rnn_model_unref(other);
    rnn_model_unref(model);
}
END_TEST

START_TEST(numbers_that_are_none_are_refused)
{
    static const float bad[] = {INFINITY, -INFINITY, NAN};
    struct rnn_model *model = open_shipped("hello");

    for (size_t i = 0; i < 3; i++) {
        struct rnn_state *state = state_after(model, 2);
        struct buf file = {0};

        state->memory[1] = bad[i];
        write_state(model, state, &file);
        assert_refused(model, file.data, file.len, RNN_EFORMAT, "h.l0: number 1 is not finite");
        buf_free(&file);
        free(state);
    }
    rnn_model_unref(model);
}
END_TEST

START_TEST(a_denormal_becomes_zero)
{
    struct rnn_model *model = open_shipped("hello");
    struct rnn_state *state = state_after(model, 2), *back;
    struct buf file = {0};
    size_t size;

    state->memory[0] = FLT_MIN / 4;
    write_state(model, state, &file);
    back = read_state(model, file.data, file.len, &size);
    ck_assert_ptr_nonnull(back);
    ck_assert(back->memory[0] == 0);
    free(back);
    buf_free(&file);
    free(state);
    rnn_model_unref(model);
}
END_TEST

START_TEST(garbage_is_refused)
{
    struct rnn_model *model = open_shipped("hello");
    static const char other[] = "\x02\0\0\0\0\0\0\0{}";

    assert_refused(model, "", 0, RNN_EFORMAT, "");
    assert_refused(model, "no such file", 12, RNN_EFORMAT, "");
    assert_refused(model, other, sizeof other - 1, RNN_EFORMAT, "metadata format");
    rnn_model_unref(model);
}
END_TEST

/* A folder with hello's files, linked, and one of its states. */
static void folder_with_state(struct folder *folder, const void *bytes, size_t len)
{
    static const char *const files[] = {"config.json", "model.safetensors", "vocab.json"};

    folder_make(folder);
    for (size_t i = 0; i < 3; i++) {
        char path[512];

        snprintf(path, sizeof path, "%s/hello/%s", PRETRAINED, files[i]);
        ck_assert_int_eq(symlink(path, folder_path(folder, files[i])), 0);
    }
    ck_assert_int_eq(mkdir(folder_path(folder, "states"), 0700), 0);
    folder_write(folder, "states/after-hell.safetensors", bytes, len);
    folder_puts(folder, "states/README.md", "not a state");
}

static void folder_with_state_delete(struct folder *folder)
{
    unlink(folder_path(folder, "states/after-hell.safetensors"));
    unlink(folder_path(folder, "states/README.md"));
    rmdir(folder_path(folder, "states"));
    folder_delete(folder);
}

START_TEST(a_folder_ships_initial_states)
{
    struct rnn_model *model = open_shipped("hello"), *shipping = NULL;
    struct rnn_state *state = state_after(model, 4), *begun = state_new(model);
    struct buf file = {0};
    struct folder folder;
    struct rnn_err err = {0};

    write_state(model, state, &file);
    folder_with_state(&folder, file.data, file.len);
    ck_assert_msg(rnn_model_open(&shipping, folder.path, NULL, &err) == 0, "%s", err.text);
    ck_assert_str_eq(rnn_model_info(shipping)->initial_states[0], "after-hell");
    ck_assert_ptr_null(rnn_model_info(shipping)->initial_states[1]);
    ck_assert_int_eq(rnn_state_init_named(shipping, "after-hell", begun, 9, &err), 0);
    ck_assert_uint_eq(begun->position, 4);
    ck_assert_uint_eq(begun->rng.seed, 9);
    ck_assert_uint_eq(begun->rng.counter, 0);
    ck_assert_mem_eq(begun->memory, state->memory,
                     rnn_model_info(model)->state_bytes - sizeof *state);
    ck_assert_int_eq(rnn_state_init_named(shipping, "other", begun, 9, &err), RNN_ENOENT);
    ck_assert_str_eq(err.param, "initial_state");
    ck_assert_ptr_nonnull(strstr(err.text, "there are: after-hell"));
    ck_assert_int_eq(rnn_state_init_named(model, "after-hell", begun, 9, &err), RNN_ENOENT);
    rnn_model_unref(shipping);
    folder_with_state_delete(&folder);
    buf_free(&file);
    free(begun);
    free(state);
    rnn_model_unref(model);
}
END_TEST

START_TEST(a_shipped_state_brings_no_tokens)
{
    struct rnn_model *model = open_shipped("hello"), *shipping = NULL;
    size_t bytes, plain = rnn_model_info(model)->state_bytes;
    struct rnn_state *state = remembering(model, 3, 5, &bytes), *begun = malloc(bytes);
    struct rnn_err err = {0};
    struct buf file = {0};
    struct folder folder;

    ck_assert_ptr_nonnull(begun);
    write_long_state(model, state, bytes, &file);
    folder_with_state(&folder, file.data, file.len);
    ck_assert_msg(rnn_model_open(&shipping, folder.path, NULL, &err) == 0, "%s", err.text);
    memset(begun, 0x5a, bytes);
    ck_assert_int_eq(rnn_state_init_named(shipping, "after-hell", begun, 9, &err), 0);
    ck_assert_mem_eq(begun->memory, state->memory, plain - sizeof *state);
    for (size_t i = plain; i < bytes; i++)
        ck_assert_int_eq(((char *)begun)[i], 0x5a);
    rnn_model_unref(shipping);
    folder_with_state_delete(&folder);
    buf_free(&file);
    free(begun);
    free(state);
    rnn_model_unref(model);
}
END_TEST

START_TEST(a_folder_with_a_damaged_state_does_not_open)
{
    struct rnn_model *model = NULL;
    struct folder folder;
    struct rnn_err err = {0};

    folder_with_state(&folder, "damaged", 7);
    ck_assert_int_lt(rnn_model_open(&model, folder.path, NULL, &err), 0);
    ck_assert_ptr_nonnull(strstr(err.text, "initial state 'after-hell'"));
    folder_with_state_delete(&folder);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        a_state_is_the_same_when_it_is_back,
        the_file_is_a_safetensors_file_that_names_its_parts,
        no_changed_byte_goes_unnoticed,
        tokens_are_back_in_their_order,
        tokens_stand_behind_the_parts_in_common_types,
        tokens_that_are_none_are_refused,
        a_state_of_another_model_is_refused,
        numbers_that_are_none_are_refused,
        a_denormal_becomes_zero,
        garbage_is_refused,
        a_folder_ships_initial_states,
        a_shipped_state_brings_no_tokens,
        a_folder_with_a_damaged_state_does_not_open,
        NULL,
    };

    return run_tests("models/state_file", tests);
}
