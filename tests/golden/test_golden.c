/* Golden values: every folder below the given directories is opened and replayed, once with the
 * kernels of each instruction set that this CPU has.
 *
 * The values come from another implementation (README.md beside this file says which).  A folder
 * counts where it has a golden.json; each is one test for each instruction set, with its largest
 * errors in the report when it fails or when GOLDEN_VERBOSE is set.  A model that cannot be served
 * is a failure, too, unless --allow-unserved comes first. */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/rnn.h"
#include "models/verify.h"

struct counts {
    int passed;
    int failed;
    int unserved; /* RNN_EUNSUPPORTED, where the command line allows it */
    bool allow_unserved;
};

static bool has_golden(const char *folder)
{
    char *path;
    bool found;

    if (asprintf(&path, "%s/golden.json", folder) < 0)
        abort();
    found = access(path, F_OK) == 0;
    free(path);
    return found;
}

static void check_folder(const char *folder, struct counts *counts)
{
    struct rnn_err err = {0};
    char *text = NULL;
    size_t len = 0;
    FILE *report = open_memstream(&text, &len);
    int rc = report ? model_verify(folder, report, &err) : RNN_ENOMEM;

    if (report)
        fclose(report);
    if (rc == RNN_EUNSUPPORTED && counts->allow_unserved) {
        counts->unserved++;
        free(text);
        return;
    }
    if (rc < 0)
        printf("FAIL %s with %s: %s %s\n", folder, rnn_kernels_name(), rnn_error_name(rc),
               err.text);
    if (text && (rc < 0 || getenv("GOLDEN_VERBOSE")))
        fputs(text, stdout);
    free(text);
    counts->passed += rc == 0;
    counts->failed += rc < 0;
}

static void check_below(const char *path, struct counts *counts)
{
    struct dirent **entries;
    int n;

    if (has_golden(path)) {
        check_folder(path, counts);
        return;
    }
    n = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char *below;

        if (asprintf(&below, "%s/%s", path, entries[i]->d_name) < 0)
            abort();
        if (entries[i]->d_name[0] != '.' && has_golden(below))
            check_folder(below, counts);
        free(below);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

/* With one instruction set; not at all where the CPU lacks it. */
static void check_all(enum rnn_isa isa, char **paths, int n, struct counts *counts)
{
    struct rnn_err err = {0};
    int before = counts->passed;

    if (rnn_kernels_select(isa, &err) < 0) {
        printf("left out: %s\n", err.text);
        return;
    }
    for (int i = 0; i < n; i++)
        check_below(paths[i], counts);
    printf("%s: %d folders agree\n", rnn_kernels_name(), counts->passed - before);
}

int main(int argc, char **argv)
{
    static const enum rnn_isa each[] = {RNN_ISA_SCALAR, RNN_ISA_AVX2, RNN_ISA_AVX512};
    struct counts counts = {0};
    int first = 1, total;

    if (argc > 1 && strcmp(argv[1], "--allow-unserved") == 0) {
        counts.allow_unserved = true;
        first = 2;
    }
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        check_all(each[i], argv + first, argc - first, &counts);
    total = counts.passed + counts.failed;
    if (counts.unserved)
        printf("%d times a model is not served\n", counts.unserved);
    printf("%d%%: Checks: %d, Failures: %d, Errors: 0\n", total ? counts.passed * 100 / total : 0,
           total, counts.failed);
    return counts.failed || total == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
