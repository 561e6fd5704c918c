/* safetensors: each rule of the format is held, in memory and from disk, and what is legal but
 * unusual is read. */
#include "models/safetensors.h"

#include "base/utf8.h"
#include "folder.h"

#define HEADER(...) "{" __VA_ARGS__ "}"
#define TENSOR(name, dtype, shape, begin, end)                                                     \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end \
    "]}"

static int parse(const char *header, size_t data_len, struct rnn_err *err)
{
    struct safetensors *file = NULL;
    size_t len;
    unsigned char *bytes = file_of(header, NULL, data_len, &len);
    int rc = safetensors_parse(&file, bytes, len, err);

    safetensors_free(file);
    free(bytes);
    return rc;
}

START_TEST(rules_are_held)
{
    static const struct {
        const char *header;
        size_t data_len;
        const char *words;
    } bad[] = {
        {"", 0, "does not begin with '{'"},
        {" {}", 0, "does not begin with '{'"},
        {"[]", 0, "does not begin with '{'"},
        {"{", 0, "header: "},
        {"{}x", 0, "header: "},
        {"{}", 1, "tensors want 0 bytes of data, the file has 1"},
        {HEADER(TENSOR("a", "F32", "[2]", 0, 8)), 7, "want 8 bytes of data, the file has 7"},
        {HEADER(TENSOR("a", "F32", "[2]", 0, 8)), 9, "want 8 bytes of data, the file has 9"},
        {HEADER(TENSOR("a", "F32", "[2]", 4, 12)), 12, "leaving a hole"},
        {HEADER(TENSOR("a", "F32", "[1]", 0, 4) "," TENSOR("b", "F32", "[1]", 8, 12)), 12,
         "leaving a hole"},
        {HEADER(TENSOR("a", "F32", "[2]", 0, 8) "," TENSOR("b", "F32", "[2]", 4, 12)), 12,
         "inside the one"},
        {HEADER(TENSOR("a", "F32", "[1]", 0, 4) "," TENSOR("b", "F32", "[1]", 0, 4)), 4,
         "inside the one"},
        {HEADER(TENSOR("a", "F32", "[1]", 0, 4) "," TENSOR("a", "F32", "[1]", 4, 8)), 8, "twice"},
        {HEADER(TENSOR("a", "F32", "[2]", 0, 4)), 4, "want 8 bytes, data_offsets give 4"},
        {HEADER(TENSOR("a", "F32", "[2]", 8, 0)), 8, "run backwards"},
        {HEADER(TENSOR("a", "F4", "[3]", 0, 1)), 1, "data_offsets give 1"},
        {HEADER(TENSOR("a", "F32", "[-2]", 0, 8)), 8, "not a whole number"},
        {HEADER(TENSOR("a", "F32", "[1.5]", 0, 8)), 8, "not a whole number"},
        {HEADER(TENSOR("a", "F32", "[\"2\"]", 0, 8)), 8, "not a whole number"},
        {HEADER(TENSOR("a", "F32", "[1e300]", 0, 8)), 8, "not a whole number"},
        {HEADER(TENSOR("a", "F32", "[4294967296,4294967296]", 0, 0)), 0, "overflow"},
        {HEADER(TENSOR("a", "F64", "[4294967296,1073741824]", 0, 0)), 0, "overflow"},
        {HEADER(TENSOR("a", "F32", "2", 0, 8)), 8, "\"shape\""},
        {HEADER(TENSOR("a", "F31", "[2]", 0, 8)), 8, "unknown dtype 'F31'"},
        {HEADER(TENSOR("a", "f32", "[2]", 0, 8)), 8, "unknown dtype 'f32'"},
        {HEADER("\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}"), 4, "\"dtype\""},
        {HEADER("\"a\":{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}"), 4, "\"dtype\""},
        {HEADER("\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}"), 4, "\"shape\""},
        {HEADER("\"a\":{\"dtype\":\"F32\",\"shape\":[1]}"), 4, "\"data_offsets\""},
        {HEADER("\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}"), 4, "not a pair"},
        {HEADER("\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}"), 4,
         "not a pair"},
        {HEADER("\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}"), 4,
         "not whole numbers"},
        {HEADER("\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}"), 4,
         "unknown field a.x"},
        {HEADER("\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"),
         4, "twice"},
        {HEADER("\"a\":[1]"), 4, "not described by an object"},
        {HEADER("\"a\":null"), 4, "not described by an object"},
        {HEADER("\"__metadata__\":3"), 0, "__metadata__"},
        {HEADER("\"__metadata__\":{\"a\":1}"), 0, "not a string"},
        {HEADER("\"__metadata__\":{\"a\":{\"b\":\"c\"}}"), 0, "not a string"},
        {HEADER("\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}"), 0, "twice"},
        {HEADER("\"\xFF\":1"), 0, "UTF-8"},
        {HEADER("\"a\\u0000\":1"), 0, "u0000"}};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rnn_err err = {0};

        if (parse(bad[i].header, bad[i].data_len, &err) != RNN_EFORMAT)
            ck_abort_msg("taken: %s", bad[i].header);
        if (!strstr(err.text, bad[i].words))
            ck_abort_msg("%s: '%s' does not say '%s'", bad[i].header, err.text, bad[i].words);
    }
}
END_TEST

START_TEST(faulty_tensors_are_named)
{
    struct rnn_err err = {0};

    ck_assert_int_eq(
        parse(HEADER(TENSOR("good", "F32", "[1]", 0, 4) "," TENSOR("bad", "F32", "[3]", 4, 8)), 8,
              &err),
        RNN_EFORMAT);
    ck_assert_str_eq(err.param, "bad");
}
END_TEST

START_TEST(lengths_are_judged_against_the_file)
{
    unsigned char bytes[32] = {2, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    struct safetensors *file = NULL;

    for (size_t len = 0; len < 10; len++)
        ck_assert_int_eq(safetensors_parse(&file, bytes, len, NULL), RNN_EFORMAT);
    ck_assert_int_eq(safetensors_parse(&file, bytes, 10, NULL), 0);
    safetensors_free(file);
    memset(bytes, 0xFF, 8);
    ck_assert_int_eq(safetensors_parse(&file, bytes, sizeof bytes, NULL), RNN_EFORMAT);
    memcpy(bytes, (unsigned char[]){1, 0xE1, 0xF5, 5, 0, 0, 0, 0}, 8); /* 100,000,001 */
    ck_assert_int_eq(safetensors_parse(&file, bytes, sizeof bytes, NULL), RNN_EFORMAT);
}
END_TEST

START_TEST(hostile_headers_cost_little)
{
    enum { N = 20000000 };
    char *header = malloc(N + 1);
    struct rnn_err err = {0};

    memset(header, ',', N);
    header[0] = '{';
    header[N] = '\0';
    ck_assert_int_eq(parse(header, 0, &err), RNN_ELIMIT);
    memset(header + 1, '[', N - 1);
    ck_assert_int_eq(parse(header, 0, &err), RNN_ELIMIT);
    free(header);
}
END_TEST

/* Empty tensors, rank 0, odd offsets, any order, all types, trailing spaces, odd names. */
START_TEST(unusual_files_are_read)
{
    const char *header =
        HEADER(TENSOR("z", "F32", "[1,1]", 1, 5) "," TENSOR("b", "U8", "[1]", 0, 1) "," TENSOR(
            "scalar", "F16", "[]", 5,
            7) "," TENSOR("none", "F64", "[0,7]", 7,
                          7) "," TENSOR("", "I64", "[0]", 7,
                                        7) "," TENSOR("\xC3\xA9\\n", "F4", "[2]", 7,
                                                      8) ","
                                                         "\"__metadata__\":{\"format\":\"pt\","
                                                         "\"n\":\"1\"}") "   ";
    unsigned char data[8] = {9, 0, 0, 0x80, 0x3F, 0, 0x3C, 5};
    const char *key, *value;
    struct safetensors *file = NULL;
    const struct safetensors_entry *entry;
    float one;
    size_t len;
    unsigned char *bytes = file_of(header, data, sizeof data, &len);

    ck_assert_int_eq(safetensors_parse(&file, bytes, len, NULL), 0);
    ck_assert_uint_eq(safetensors_count(file), 6);
    ck_assert_str_eq(safetensors_at(file, 0)->name, "b");
    ck_assert_str_eq(safetensors_at(file, 5)->name, "\xC3\xA9\n");
    entry = safetensors_find(file, "z");
    ck_assert(entry->usable && entry->number == RNN_F32 && entry->rank == 2);
    ck_assert_uint_eq(entry->bytes, 4);
    memcpy(&one, entry->data, 4);
    ck_assert(one == 1.0f);
    entry = safetensors_find(file, "scalar");
    ck_assert(entry->usable && entry->rank == 0 && entry->bytes == 2);
    entry = safetensors_find(file, "none");
    ck_assert(entry->rank == 2 && entry->shape[1] == 7 && entry->bytes == 0);
    entry = safetensors_find(file, "");
    ck_assert(!entry->usable);
    ck_assert_str_eq(entry->dtype, "I64");
    ck_assert_ptr_null(safetensors_find(file, "nothing"));
    ck_assert_ptr_null(safetensors_find(file, "__metadata__"));
    ck_assert(safetensors_metadata(file, 0, &key, &value));
    ck_assert_str_eq(key, "format");
    ck_assert_str_eq(value, "pt");
    ck_assert(safetensors_metadata(file, 1, &key, &value));
    ck_assert(!safetensors_metadata(file, 2, &key, &value));
    safetensors_free(file);
    free(bytes);
}
END_TEST

/* A good file cut at each byte, and with each byte changed: refused or read, never worse, and the
 * words stay valid UTF-8. */
START_TEST(cut_and_changed_files_do_no_harm)
{
    const char *header = HEADER(TENSOR("w", "F32", "[2,1]", 0, 8) "," TENSOR(
        "v", "BF16", "[1]", 8, 10) ",\"__metadata__\":{\"a\":\"b\"}");
    size_t len;
    unsigned char *bytes = file_of(header, NULL, 10, &len);
    struct safetensors *file = NULL;
    struct rnn_err err;

    for (size_t cut = 0; cut < len; cut++) {
        unsigned char *copy = malloc(cut + 1);

        memcpy(copy, bytes, cut);
        ck_assert_int_eq(safetensors_parse(&file, copy, cut, &err), RNN_EFORMAT);
        free(copy);
    }
    for (size_t at = 0; at < len - 10; at++)
        for (int change = 1; change < 256; change++) {
            bytes[at] ^= (unsigned char)change;
            if (safetensors_parse(&file, bytes, len, &err) == 0)
                safetensors_free(file);
            else
                ck_assert(utf8_valid(err.text, strlen(err.text), NULL));
            bytes[at] ^= (unsigned char)change;
        }
    free(bytes);
}
END_TEST

START_TEST(files_on_disk_are_read_like_bytes)
{
    struct folder folder;
    struct safetensors *file = NULL;
    struct rnn_err err;
    float value = 2.5f;

    folder_make(&folder);
    ck_assert_int_eq(safetensors_open(&file, folder_path(&folder, "other"), &err), RNN_ENOENT);
    ck_assert_int_eq(safetensors_open(&file, folder.path, &err), RNN_EIO);
    folder_puts(&folder, "other", "");
    ck_assert_int_eq(safetensors_open(&file, folder_path(&folder, "other"), &err), RNN_EFORMAT);
    folder_tensors(&folder, HEADER(TENSOR("a", "F32", "[1]", 0, 4)), &value, 4);
    ck_assert_int_eq(safetensors_open(&file, folder_path(&folder, "model.safetensors"), &err), 0);
    ck_assert_int_eq(memcmp(safetensors_at(file, 0)->data, &value, 4), 0);
    safetensors_free(file);
    folder_tensors(&folder, HEADER(TENSOR("a", "F32", "[1]", 0, 4)), &value, 3);
    ck_assert_int_eq(safetensors_open(&file, folder_path(&folder, "model.safetensors"), &err),
                     RNN_EFORMAT);
    folder_delete(&folder);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {rules_are_held,
                            faulty_tensors_are_named,
                            lengths_are_judged_against_the_file,
                            hostile_headers_cost_little,
                            unusual_files_are_read,
                            cut_and_changed_files_do_no_harm,
                            files_on_disk_are_read_like_bytes,
                            NULL};

    return run_tests("models/safetensors", tests);
}
