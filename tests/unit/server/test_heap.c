/* The heap of due times against a plain search, over random insertions, moves and removals. */
#include <check.h>
#include <stdlib.h>

#include "server/heap.h"

#define N 300

START_TEST(smallest_first_whatever_happened)
{
    static struct due entries[N];
    struct heap heap = {0};

    srand(3);
    ck_assert_ptr_null(heap_first(&heap));
    for (int i = 0; i < 100000; i++) {
        struct due *due = &entries[rand() % N], *smallest = NULL;
        size_t n = 0;

        if (due->place == 0) {
            ck_assert(heap_reserve(&heap));
            heap_insert(&heap, due, rand() % 1000);
        } else if (rand() % 2 == 0) {
            heap_move(&heap, due, rand() % 1000);
        } else {
            heap_remove(&heap, due);
            heap_remove(&heap, due); /* out already */
        }
        for (size_t j = 0; j < N; j++) {
            n += entries[j].place > 0;
            if (entries[j].place > 0 && (smallest == NULL || entries[j].when < smallest->when))
                smallest = &entries[j];
        }
        ck_assert_uint_eq(heap.n, n);
        if (n > 0)
            ck_assert_int_eq(heap_first(&heap)->when, smallest->when);
        else
            ck_assert_ptr_null(heap_first(&heap));
    }
    heap_free(&heap);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("heap");
    TCase *tcase = tcase_create("heap");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(tcase, smallest_first_whatever_happened);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
