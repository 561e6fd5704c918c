/* Raw HDF5 bytes: heaps at which libhdf5 would loop or read past its memory are seen. */
#include "import/hdf5guard.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

enum { HEAP = 96, SIZE = 128, LEN = HEAP + SIZE };

/* A superblock, and a heap of one object of 13 bytes and the free rest. */
static void make(unsigned char file[LEN])
{
    memset(file, 0, LEN);
    memcpy(file, "\x89HDF\r\n\x1a\n", 8);
    file[13] = file[14] = 8;
    memcpy(file + HEAP, "GCOL\1\0\0\0", 8);
    file[HEAP + 8] = SIZE;
    file[HEAP + 16] = 1;             /* object 1: 16 + 16 bytes */
    file[HEAP + 24] = 13;            /* its size */
    file[HEAP + 48 + 8] = SIZE - 48; /* object 0: the rest */
}

static const char *judge(size_t at, int value)
{
    unsigned char file[LEN];

    make(file);
    if (at)
        file[at] = (unsigned char)value;
    return hdf5_guard(file, LEN);
}

START_TEST(a_sound_file_passes)
{
    ck_assert_ptr_null(judge(0, 0));
}
END_TEST

START_TEST(heaps_that_do_not_end_are_seen)
{
    ck_assert_str_eq(judge(HEAP + 48 + 8, 0), "a heap of texts in it is damaged");
    ck_assert_str_eq(judge(HEAP + 48 + 8, 32), "a heap of texts in it is damaged"); /* then 0 */
    ck_assert_str_eq(judge(HEAP + 48 + 8, 8), "a heap of texts in it is damaged");
    ck_assert_str_eq(judge(HEAP + 24, 200), "a heap of texts in it is damaged");
    ck_assert_str_eq(judge(HEAP + 24 + 7, 0xFF), "a heap of texts in it is damaged");
    ck_assert_str_eq(judge(HEAP + 48 + 15, 0x80), "a heap of texts in it is damaged");
}
END_TEST

START_TEST(a_heap_that_leaves_the_file_is_for_libhdf5)
{
    ck_assert_ptr_null(judge(HEAP + 8, SIZE + 1));
    ck_assert_ptr_null(judge(HEAP + 9, 0xFF));
}
END_TEST

START_TEST(superblocks_of_other_sizes_are_refused)
{
    ck_assert_str_eq(judge(8, 4), "its superblock is damaged");
    ck_assert_str_eq(judge(13, 4), "its superblock is damaged");
    ck_assert_str_eq(judge(14, 4), "its superblock is damaged");
    for (size_t len = 8; len < 16; len++) {
        unsigned char file[LEN], *cut = malloc(len);

        make(file);
        memcpy(cut, file, len);
        ck_assert_ptr_nonnull(hdf5_guard(cut, len));
        free(cut);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hdf5guard");
    TCase *tcase = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, a_sound_file_passes);
    tcase_add_test(tcase, heaps_that_do_not_end_are_seen);
    tcase_add_test(tcase, a_heap_that_leaves_the_file_is_for_libhdf5);
    tcase_add_test(tcase, superblocks_of_other_sizes_are_refused);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
