/* Model folders made on the spot: a temporary folder, files with given bytes, safetensors with
 * given headers.  For the tests of this room; faults of the helpers end the test. */
#ifndef TESTS_UNIT_MODELS_FOLDER_H
#define TESTS_UNIT_MODELS_FOLDER_H

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct folder {
    char path[64];
};

static inline void folder_make(struct folder *folder)
{
    strcpy(folder->path, "/tmp/rnnd-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder->path));
}

static inline char *folder_path(const struct folder *folder, const char *file)
{
    static char path[256];

    snprintf(path, sizeof path, "%s/%s", folder->path, file);
    return path;
}

static inline void folder_write(const struct folder *folder, const char *file, const void *bytes,
                                size_t len)
{
    FILE *f = fopen(folder_path(folder, file), "wb");

    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, len, f), len);
    ck_assert_int_eq(fclose(f), 0);
}

static inline void folder_puts(const struct folder *folder, const char *file, const char *text)
{
    folder_write(folder, file, text, strlen(text));
}

static inline void folder_delete(const struct folder *folder)
{
    static const char *const files[] = {"config.json",  "model.safetensors", "vocab.json",
                                        "metrics.json", "golden.json",       "other"};

    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(folder_path(folder, files[i]));
    rmdir(folder->path);
}

/* Length, header, then `data_len` bytes of data (all 0 where `data` is NULL).  The caller frees. */
static inline unsigned char *file_of(const char *header, const void *data, size_t data_len,
                                     size_t *len)
{
    size_t n = strlen(header);
    unsigned char *bytes = calloc(1, 8 + n + data_len);

    ck_assert_ptr_nonnull(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)n >> (8 * i));
    memcpy(bytes + 8, header, n);
    if (data)
        memcpy(bytes + 8 + n, data, data_len);
    *len = 8 + n + data_len;
    return bytes;
}

static inline void folder_tensors(const struct folder *folder, const char *header, const void *data,
                                  size_t data_len)
{
    size_t len;
    unsigned char *bytes = file_of(header, data, data_len, &len);

    folder_write(folder, "model.safetensors", bytes, len);
    free(bytes);
}

/* Runs a suite of one case; the program's exit status. */
static inline int run_tests(const char *name, const TTest *const *tests)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 120);
    for (; *tests; tests++)
        tcase_add_test(tcase, *tests);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
