/* The loader: precedence, places, all faults at once, reload, and every allocation failing. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/table.h"

/* ---- Allocations that fail: the n-th call from now, -1 never ---- */

static int fail_in = -1;

static bool fails_now(void)
{
    return fail_in >= 0 && fail_in-- == 0;
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
FILE *__real_fopen64(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);
ssize_t __real___getdelim(char **line, size_t *cap, int end, FILE *stream);
ssize_t __wrap_getline(char **line, size_t *cap, FILE *stream);
ssize_t __wrap___getdelim(char **line, size_t *cap, int end, FILE *stream);

void *__wrap_calloc(size_t n, size_t size)
{
    return fails_now() ? NULL : __real_calloc(n, size);
}

char *__wrap_strdup(const char *text)
{
    return fails_now() ? NULL : __real_strdup(text);
}

/* What fopen and getline become depends on how they are compiled. */
FILE *__wrap_fopen64(const char *path, const char *mode)
{
    if (!fails_now())
        return __real_fopen64(path, mode);
    errno = ENOMEM;
    return NULL;
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
    return __wrap_fopen64(path, mode);
}

ssize_t __wrap___getdelim(char **line, size_t *cap, int end, FILE *stream)
{
    if (!fails_now())
        return __real___getdelim(line, cap, end, stream);
    errno = ENOMEM;
    return -1;
}

ssize_t __wrap_getline(char **line, size_t *cap, FILE *stream)
{
    return __wrap___getdelim(line, cap, '\n', stream);
}

/* ---- A try at loading ---- */

static struct config *config;
static char *faults; /* what was written */
static char path[64];

static void setup(void)
{
    int fd;

    strcpy(path, "/tmp/rnnd-config-XXXXXX");
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void teardown(void)
{
    unlink(path);
    config_free(config);
    config = NULL;
    free(faults);
    faults = NULL;
}

static int load(const char *file, size_t file_len, char *const *environment, char *const *flags)
{
    size_t len;
    int argc = 0, rc;
    FILE *out, *to = file ? fopen(path, "w") : NULL;

    if (to) {
        ck_assert_uint_eq(fwrite(file, 1, file_len, to), file_len);
        ck_assert_int_eq(fclose(to), 0);
    }
    while (flags && flags[argc])
        argc++;
    config_free(config);
    config = NULL;
    free(faults);
    out = open_memstream(&faults, &len);
    rc = config_load(&config, file ? path : NULL, environment, argc, flags, out);
    fclose(out);
    ck_assert_int_eq(rc == 0, config != NULL);
    return rc;
}

#define WORDS(...) ((char *const[]){__VA_ARGS__, NULL})

static int load_text(const char *file, char *const *environment, char *const *words)
{
    return load(file, file ? strlen(file) : 0, environment, words);
}

static size_t count_lines(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* Each of `lines` ('%' stands for the file's path) is a whole line of the faults, and there are no
 * others. */
static void ck_faults(const char *const *lines)
{
    size_t n = 0;

    for (; lines[n]; n++) {
        char want[512];
        const char *rest = lines[n];
        bool in_file = *rest == '%';
        const char *at;

        snprintf(want, sizeof want, "%s%s\n", in_file ? path : "", rest + in_file);
        at = strstr(faults, want);
        ck_assert_msg(at && (at == faults || at[-1] == '\n'), "no line\n%sin\n%s", want, faults);
    }
    ck_assert_msg(count_lines(faults) == n, "want %zu lines in\n%s", n, faults);
}
#define CK_FAULTS(...) ck_faults((const char *const[]){__VA_ARGS__, NULL})

/* ---- Precedence ---- */

START_TEST(defaults_alone)
{
    ck_assert_int_eq(load_text(NULL, NULL, NULL), 0);
    ck_assert_str_eq(faults, "");
    ck_assert_str_eq(config->listen, "127.0.0.1:8080");
    ck_assert_str_eq(config->models, RNND_MODELS_DIR);
    ck_assert_str_eq(config->keys, "");
    ck_assert_int_eq(config->workers, 0);
    ck_assert_uint_eq(config->body_max_bytes, 4 << 20);
    ck_assert_int_eq(config->log_level, CONFIG_LOG_INFO);
}
END_TEST

START_TEST(later_wins)
{
    const char *file = "[server]\nworkers = 1\nlisten = a:1\nkeys = f\n"
                       "[limits]\nbody_max_bytes = 1M\n[log]\nlog_level = error\n";

    ck_assert_int_eq(load_text(file, WORDS("PATH=/bin", "RNND_WORKERS=2", "RNND_LISTEN=b:2"),
                               WORDS("--workers", "3", "--body-max-bytes=2M")),
                     0);
    ck_assert_str_eq(faults, "");
    ck_assert_int_eq(config->workers, 3);
    ck_assert_str_eq(config->listen, "b:2");
    ck_assert_uint_eq(config->body_max_bytes, 2 << 20);
    ck_assert_str_eq(config->keys, "f");
    ck_assert_int_eq(config->log_level, CONFIG_LOG_ERROR);
}
END_TEST

START_TEST(last_flag_wins)
{
    ck_assert_int_eq(load_text(NULL, NULL, WORDS("--workers", "3", "--workers=4")), 0);
    ck_assert_int_eq(config->workers, 4);
}
END_TEST

/* A contradiction in the file is none once the environment has taken it back. */
START_TEST(contradictions_are_sought_at_the_end)
{
    ck_assert_int_eq(load_text("session_ttl_s = 100\nsession_ttl_max_s = 10\n",
                               WORDS("RNND_SESSION_TTL_MAX_S=1000"), NULL),
                     0);
    ck_assert_int_eq(config->session_ttl_s, 100);
}
END_TEST

/* ---- The file's form ---- */

START_TEST(forms_of_a_file)
{
    const char *file = "\xef\xbb\xbfworkers = 5\r\n"
                       "; a comment\n# another\n#[log]\n\n"
                       "  [log]  \r\n\tlog_level=debug\t\n"
                       "   log_format : human ; after it\n"
                       "[server]\nkeys =\nmodels = /a b#c";

    ck_assert_int_eq(load_text(file, NULL, NULL), 0);
    ck_assert_str_eq(faults, "");
    ck_assert_int_eq(config->workers, 5);
    ck_assert_int_eq(config->log_level, CONFIG_LOG_DEBUG);
    ck_assert_int_eq(config->log_format, CONFIG_LOG_HUMAN);
    ck_assert_str_eq(config->keys, "");
    ck_assert_str_eq(config->models, "/a b#c");
}
END_TEST

START_TEST(an_empty_file_is_fine)
{
    ck_assert_int_eq(load_text("", NULL, NULL), 0);
    ck_assert_int_eq(load_text("\n\n", NULL, NULL), 0);
    ck_assert_int_eq(load_text("[server]", NULL, NULL), 0);
}
END_TEST

START_TEST(lines_that_are_nothing)
{
    ck_assert_int_eq(load_text("[server\nworkers\n= 3\n[]\n[server]\nworkers = 1\n", NULL, NULL),
                     RNN_EFORMAT);
    CK_FAULTS("%:1: want ']' at the end of the section's name",
              "%:2: want [section], NAME = VALUE or # comment", "%:3: there is no option ''",
              "%:4: there is no section []");
}
END_TEST

START_TEST(sections_and_names)
{
    ck_assert_int_eq(
        load_text("workers = 1\n[log]\nqueue_max = 5\n[lgo]\nlog_level = info\nnothing_"
                  "like_it = 3\nworkers = 2\nlog_levl = info\n",
                  NULL, NULL),
        RNN_EFORMAT);
    CK_FAULTS("%:3: queue_max: stands in [log], belongs in [batch]",
              "%:4: there is no section [lgo], did you mean [log]?",
              "%:6: there is no option 'nothing_like_it'", "%:7: workers: stands in line 1 already",
              "%:8: there is no option 'log_levl', did you mean log_level?");
}
END_TEST

START_TEST(long_lines_are_not_cut)
{
    char file[600];
    size_t n = (size_t)sprintf(file, "# %0300d\nmodels = /", 0);

    memset(file + n, 'x', 188); /* "models = /" and these are 198 bytes */
    strcpy(file + n + 188, "\n");
    ck_assert_int_eq(load_text(file, NULL, NULL), 0);
    ck_assert_uint_eq(strlen(config->models), 189);
    strcpy(file + n + 188, "x\nworkers = 0x\n");
    ck_assert_int_eq(load_text(file, NULL, NULL), RNN_EFORMAT);
    CK_FAULTS("%:2: longer than 198 bytes",
              "%:3: workers: want a whole number of 0 to 256, found '0x'");
}
END_TEST

START_TEST(zero_bytes)
{
    static const char file[] = "workers = 1\0\nkeys = \0x\n";

    ck_assert_int_eq(load(file, sizeof file - 1, NULL, NULL), RNN_EFORMAT);
    CK_FAULTS("%:1: a zero byte: this is no text file", "%:2: a zero byte: this is no text file");
}
END_TEST

START_TEST(files_that_cannot_be_read)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    ck_assert_int_eq(config_load(&config, "/nowhere/rnnd.conf", NULL, 0, NULL, out), RNN_EFORMAT);
    ck_assert_int_eq(config_load(&config, "/tmp", NULL, 0, NULL, out), RNN_EFORMAT);
    fclose(out);
    ck_assert_str_eq(text, "/nowhere/rnnd.conf: No such file or directory\n"
                           "/tmp: Is a directory\n");
    free(text);
}
END_TEST

/* ---- Environment and flags ---- */

START_TEST(variables)
{
    ck_assert_int_eq(
        load_text(NULL,
                  WORDS("RNND_CONFIG=/x", "RNND_SERVICE_HOST=10.0.0.1", "RNND_PORT=tcp://x",
                        "RNND_PORT_8080_TCP=y", "RNND", "RNNDX=1", "rnnd_workers=many"),
                  NULL),
        0);
    ck_assert_int_eq(load_text(NULL,
                               WORDS("RNND_WORKRES=3", "RNND_CONFIGURE=1", "RNND_PORTS=1",
                                     "RNND_=1", "RNND_WORKERS=", "RNND_QUEUE_MAX=5=6"),
                               NULL),
                     RNN_EFORMAT);
    CK_FAULTS("RNND_WORKRES: there is no such option, did you mean RNND_WORKERS?",
              "RNND_CONFIGURE: there is no such option", "RNND_PORTS: there is no such option",
              "RNND_: there is no such option",
              "RNND_WORKERS: want a whole number of 0 to 256, found ''",
              "RNND_QUEUE_MAX: want a whole number of 1 to 1000000, found '5=6'");
}
END_TEST

START_TEST(flags)
{
    ck_assert_int_eq(
        load_text(NULL, NULL,
                  WORDS("--keys=", "--workers", "-1", "--listn=a:1", "--queue_max", "7", "serve",
                        "-w", "--", "--models", "--listen", "a:1", "--grace-s")),
        RNN_EFORMAT);
    CK_FAULTS("--workers: want a whole number of 0 to 256, found '-1'",
              "--listn: there is no such option, did you mean --listen?",
              "--queue_max: there is no such option, did you mean --queue-max?",
              "serve: want --NAME VALUE", "-w: want --NAME VALUE", "--: want --NAME VALUE",
              "--models: want a value after it", "--grace-s: want a value after it");
}
END_TEST

/* ---- All at once ---- */

START_TEST(all_faults_at_once)
{
    ck_assert_int_eq(load_text("[server]\nworkers = many\nisa = sse\n[time]\ngrace_s = 99999\n",
                               WORDS("RNND_BODY_MAX_BYTES=4X"),
                               WORDS("--listen=nowhere", "--session-ttl-s=100",
                                     "--session-ttl-max-s=10", "--models=")),
                     RNN_EFORMAT);
    CK_FAULTS(
        "%:2: workers: want a whole number of 0 to 256, found 'many'",
        "%:3: isa: want one of auto|scalar|avx2|avx512, found 'sse'",
        "%:5: grace_s: want a whole number of seconds of 0 to 3600, found '99999'",
        "RNND_BODY_MAX_BYTES: want a number of bytes of 1K to 1G (K, M, G, T: powers of 1024), "
        "found '4X'",
        "--listen: want ADDRESS:PORT (an IPv6 address in brackets), found 'nowhere'",
        "--models: want the path of a folder, found ''",
        "--session-ttl-s: want at most session_ttl_max_s, which is 10 (--session-ttl-max-s), "
        "found '100'");
}
END_TEST

START_TEST(contradictions_name_both_places)
{
    ck_assert_int_eq(load_text("session_ttl_s = 7200\nstream_buffer_bytes = 128K\n",
                               WORDS("RNND_SESSION_TTL_MAX_S=3600", "RNND_ANSWER_MAX_BYTES=64K"),
                               NULL),
                     RNN_EFORMAT);
    CK_FAULTS("%:1: session_ttl_s: want at most session_ttl_max_s, which is 3600 "
              "(RNND_SESSION_TTL_MAX_S), found '7200'",
              "%:2: stream_buffer_bytes: want at most answer_max_bytes, which is 64K "
              "(RNND_ANSWER_MAX_BYTES), found '128K'");
    ck_assert_int_eq(load_text(NULL, NULL, WORDS("--session-ttl-max-s=60")), RNN_EFORMAT);
    CK_FAULTS("session_ttl_s: want at most session_ttl_max_s, which is 60 (--session-ttl-max-s), "
              "found '3600'");
}
END_TEST

/* A value that was refused does not take part in contradictions. */
START_TEST(no_contradiction_with_a_refused_value)
{
    ck_assert_int_eq(
        load_text("session_ttl_s = 9999999\n", NULL, WORDS("--session-ttl-max-s", "a lot")),
        RNN_EFORMAT);
    CK_FAULTS("--session-ttl-max-s: want a whole number of seconds of 1 to 31536000, found 'a "
              "lot'");
}
END_TEST

/* ---- Reload ---- */

START_TEST(start_options_stay)
{
    struct config *current;
    char *notes = NULL;
    size_t len;
    FILE *out = open_memstream(&notes, &len);

    ck_assert_int_eq(load_text(NULL, NULL, WORDS("--workers=2", "--listen=a:1", "--queue-max=7")),
                     0);
    current = config;
    config = NULL;
    ck_assert_int_eq(
        load_text("[server]\nworkers = 4\nlisten = b:2\nisa = auto\n[batch]\nqueue_max = 9\n", NULL,
                  NULL),
        0);
    ck_assert_int_eq(config_keep_start_options(config, current, out), 0);
    fclose(out);
    ck_assert_int_eq(config->workers, 2);
    ck_assert_str_eq(config->listen, "a:1");
    ck_assert_int_eq(config->queue_max, 9);
    ck_assert_str_eq(notes, "listen: stays 'a:1' until the next start ('b:2' is set now)\n"
                            "workers: stays '2' until the next start ('4' is set now)\n");
    ck_assert_ptr_ne(config->listen, current->listen); /* each owns its texts */
    config_free(current);
    free(notes);
}
END_TEST

/* ---- Memory ---- */

START_TEST(every_allocation_may_fail)
{
    const char *file = "[server]\nlisten = a:1\nkeys = f\n";
    char *const *words = WORDS("--models", "/m", "--keys=g");
    int rc = RNN_ENOMEM, n = 0;

    ck_assert_int_eq(load_text(file, NULL, NULL), 0); /* writes the file */
    config_free(config);
    config = NULL;
    for (; rc != 0; n++) {
        FILE *out = fopen("/dev/null", "w");

        ck_assert_ptr_nonnull(out);
        ck_assert_int_lt(n, 1000);
        fail_in = n;
        rc = config_load(&config, path, NULL, 3, words, out);
        fail_in = -1;
        fclose(out);
        ck_assert(rc == 0 || (rc == RNN_ENOMEM && !config));
    }
    ck_assert_int_gt(n, 12); /* 1 struct, 3 defaults, 1 file, 4 reads, 2 + 2 texts */
    ck_assert_str_eq(config->keys, "g");
}
END_TEST

START_TEST(reload_without_memory)
{
    struct config *current;
    FILE *out = fopen("/dev/null", "w");

    ck_assert_int_eq(load_text(NULL, NULL, WORDS("--listen=a:1")), 0);
    current = config;
    config = NULL;
    ck_assert_int_eq(load_text(NULL, NULL, NULL), 0);
    fail_in = 0;
    ck_assert_int_eq(config_keep_start_options(config, current, out), RNN_ENOMEM);
    fail_in = -1;
    fclose(out);
    config_free(current);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config/load");
    TCase *tests = tcase_create("load");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tests);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, defaults_alone);
    tcase_add_test(tests, later_wins);
    tcase_add_test(tests, last_flag_wins);
    tcase_add_test(tests, contradictions_are_sought_at_the_end);
    tcase_add_test(tests, forms_of_a_file);
    tcase_add_test(tests, an_empty_file_is_fine);
    tcase_add_test(tests, lines_that_are_nothing);
    tcase_add_test(tests, sections_and_names);
    tcase_add_test(tests, long_lines_are_not_cut);
    tcase_add_test(tests, zero_bytes);
    tcase_add_test(tests, files_that_cannot_be_read);
    tcase_add_test(tests, variables);
    tcase_add_test(tests, flags);
    tcase_add_test(tests, all_faults_at_once);
    tcase_add_test(tests, contradictions_name_both_places);
    tcase_add_test(tests, no_contradiction_with_a_refused_value);
    tcase_add_test(tests, start_options_stay);
    tcase_add_test(tests, every_allocation_may_fail);
    tcase_add_test(tests, reload_without_memory);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
