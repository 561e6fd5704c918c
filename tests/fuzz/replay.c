/* Runs a fuzz target over kept inputs: every file of the folders on the command line.  Past
 * crashers and the corpus so run with the unit tests, in every build. */
#include <dirent.h>

#include "fuzz.h"

static size_t replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes;
    long size;

    if (!file || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0) {
        if (file)
            fclose(file);
        return 0;
    }
    rewind(file);
    bytes =
        malloc(size ? (size_t)size : 1); /* exact, so that a sanitizer sees a read past the end */
    HOLDS(bytes && fread(bytes, 1, (size_t)size, file) == (size_t)size);
    fclose(file);
    LLVMFuzzerTestOneInput(bytes, (size_t)size);
    free(bytes);
    return 1;
}

static size_t replay_folder(const char *path)
{
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);
    size_t ran = 0;

    for (int i = 0; i < n; i++) {
        char *file;

        HOLDS(asprintf(&file, "%s/%s", path, entries[i]->d_name) >= 0);
        if (entries[i]->d_name[0] != '.')
            ran += replay_file(file);
        free(file);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return ran;
}

int main(int argc, char **argv)
{
    size_t ran = 0;

    for (int i = 1; i < argc; i++)
        ran += replay_folder(argv[i]);
    printf("%d%%: Checks: %zu, Failures: %d, Errors: 0\n", ran ? 100 : 0, ran, ran == 0);
    return ran ? EXIT_SUCCESS : EXIT_FAILURE;
}
