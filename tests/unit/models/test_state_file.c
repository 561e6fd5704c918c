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

static void write_state(const struct rnn_model *model, const struct rnn_state *state,
                        struct buf *out)
{
    struct rnn_err err = {0};

    if (rnn_state_write(model, state, out, &err) != 0)
        ck_abort_msg("%s", err.text);
}

static void assert_refused(const struct rnn_model *model, const void *bytes, size_t len, int code,
                           const char *words)
{
    size_t size = rnn_model_info(model)->state_bytes;
    struct rnn_state *state = state_new(model), *before = malloc(size);
    struct rnn_err err = {0};

    ck_assert_ptr_nonnull(before);
    memcpy(before, state, size);
    ck_assert_int_eq(rnn_state_read(model, bytes, len, state, &err), code);
    ck_assert_msg(strstr(err.text, words) != NULL, "'%s' is not in '%s'", words, err.text);
    ck_assert_mem_eq(state, before, size);
    free(before);
    free(state);
}

START_TEST(a_state_is_the_same_when_it_is_back)
{
    static const char *const names[] = {"hello", "kjv"};

    for (size_t i = 0; i < 2; i++) {
        struct rnn_model *model = open_shipped(names[i]);
        size_t size = rnn_model_info(model)->state_bytes;
        struct rnn_state *state = state_after(model, 40), *back = state_new(model);
        struct buf file = {0};

        write_state(model, state, &file);
        ck_assert_int_eq(rnn_state_read(model, file.data, file.len, back, NULL), 0);
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

START_TEST(no_changed_byte_goes_unnoticed)
{
    struct rnn_model *model = open_shipped("hello");
    size_t size = rnn_model_info(model)->state_bytes;
    struct rnn_state *state = state_after(model, 5), *back = state_new(model);
    struct rnn_state *before = state_new(model);
    struct buf file = {0};
    const char *name;
    size_t name_at, name_end;

    write_state(model, state, &file);
    name = memmem(file.data, file.len, "\"model\":\"hello\"", 15);
    ck_assert_ptr_nonnull(name);
    name_at = (size_t)(name - file.data) + 9;
    name_end = name_at + 5;
    for (size_t i = 0; i < file.len; i++) {
        if (i >= name_at && i < name_end)
            continue; /* a folder may have another name by now: weights are told by fingerprint */
        for (unsigned bit = 0; bit < 8; bit++) {
            file.data[i] ^= (char)(1u << bit);
            if (rnn_state_read(model, file.data, file.len, back, NULL) == 0)
                ck_assert_msg(memcmp(back, state, size) == 0, "byte %zu, bit %u", i, bit);
            else
                ck_assert_mem_eq(back, before, size);
            memcpy(back, before, size);
            file.data[i] ^= (char)(1u << bit);
        }
    }
    for (size_t len = 0; len < file.len; len++)
        ck_assert_int_ne(rnn_state_read(model, file.data, len, back, NULL), 0);
    buf_free(&file);
    free(before);
    free(back);
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
    struct rnn_state *state = state_after(model, 2);
    struct buf file = {0};

    state->memory[0] = FLT_MIN / 4;
    write_state(model, state, &file);
    ck_assert_int_eq(rnn_state_read(model, file.data, file.len, state, NULL), 0);
    ck_assert(state->memory[0] == 0);
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
        a_state_of_another_model_is_refused,
        numbers_that_are_none_are_refused,
        a_denormal_becomes_zero,
        garbage_is_refused,
        a_folder_ships_initial_states,
        a_folder_with_a_damaged_state_does_not_open,
        NULL,
    };

    return run_tests("models/state_file", tests);
}
