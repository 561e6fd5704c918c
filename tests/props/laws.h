/* Running laws over seeds: every law once for each of [0, n_seeds), or of SEEDS=FROM:TO in the
 * environment, with the range printed first and the seed in every fault's name. */
#ifndef TESTS_PROPS_LAWS_H
#define TESTS_PROPS_LAWS_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static inline int run_laws(const char *name, const TTest *const *laws, int n_seeds)
{
    const char *seeds = getenv("SEEDS");
    int from = 0, to = n_seeds, failed;
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create("laws");
    SRunner *runner;

    if (seeds && (sscanf(seeds, "%d:%d", &from, &to) != 2 || from < 0 || to <= from)) {
        fprintf(stderr, "SEEDS: want FROM:TO, found '%s'\n", seeds);
        return EXIT_FAILURE;
    }
    printf("SEEDS=%d:%d\n", from, to);
    tcase_set_timeout(tcase, 0);
    for (; *laws; laws++)
        tcase_add_loop_test(tcase, *laws, from, to);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
