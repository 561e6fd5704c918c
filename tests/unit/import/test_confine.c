/* The walls: what a parser that has been taken over would try is refused, and what an import does
 * still works.  Each attempt is made in a process of its own, which tells by its exit status. */
#include "import/confine.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HELD = 0, BROKEN = 1, NO_WALLS = 2 };

static char inside[] = "/tmp/confine-in-XXXXXX", outside[] = "/tmp/confine-out-XXXXXX";

static void make_folders(void)
{
    ck_assert_ptr_nonnull(mkdtemp(inside));
    ck_assert_ptr_nonnull(mkdtemp(outside));
}

static void drop_folders(void)
{
    rmdir(inside);
    rmdir(outside);
    memcpy(inside + sizeof inside - 7, "XXXXXX", 6);
    memcpy(outside + sizeof outside - 7, "XXXXXX", 6);
}

/* Runs `attempt` behind the walls; HELD where it returns true. */
static int behind_walls(bool (*attempt)(void))
{
    int status;
    pid_t child = fork();

    ck_assert_int_ge(child, 0);
    if (child == 0) {
        if (!confine(1 << 20, inside))
            _exit(NO_WALLS);
        _exit(attempt() ? HELD : BROKEN);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status), "signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

static bool refused(long result)
{
    return result < 0 && errno == EPERM;
}

/* ---- What is refused ---- */

static bool no_socket(void)
{
    return refused(socket(AF_INET, SOCK_STREAM, 0)) && refused(socket(AF_UNIX, SOCK_STREAM, 0));
}

static bool no_program(void)
{
    char *const words[] = {(char[]){"true"}, NULL};

    return refused(execve("/bin/true", words, words + 1));
}

static bool no_process(void)
{
    return refused(fork()) && refused(vfork());
}

static bool no_debugging(void)
{
    return refused(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL)) &&
           refused(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0));
}

static bool no_signals_to_others(void)
{
    return refused(kill(getppid(), 0)) && refused(syscall(SYS_tgkill, getppid(), getppid(), 0)) &&
           syscall(SYS_tgkill, getpid(), getpid(), 0) == 0;
}

static bool no_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return page != MAP_FAILED && refused(mprotect(page, 4096, PROT_READ | PROT_EXEC)) &&
           mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
               MAP_FAILED;
}

static bool no_typing(void)
{
    char c = 'x';

    return refused(ioctl(STDIN_FILENO, TIOCSTI, &c));
}

START_TEST(what_a_parser_never_needs_is_refused)
{
    static const struct {
        const char *what;
        bool (*attempt)(void);
    } attempts[] = {{"socket", no_socket},
                    {"execve", no_program},
                    {"fork", no_process},
                    {"ptrace", no_debugging},
                    {"signals", no_signals_to_others},
                    {"executable memory", no_code},
                    {"TIOCSTI", no_typing}};

    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        int status = behind_walls(attempts[i].attempt);

        ck_assert_msg(status == HELD || status == NO_WALLS, "%s goes through", attempts[i].what);
    }
}
END_TEST

/* ---- Limits ---- */

static bool little_memory(void)
{
    return malloc((size_t)1 << 33) == NULL && errno == ENOMEM;
}

/* A file as large as no model of so small a checkpoint, of which one byte is written. */
static bool few_bytes(void)
{
    char path[64];
    int fd, fault;

    snprintf(path, sizeof path, "%s/large", inside);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    signal(SIGXFSZ, SIG_IGN);
    fault = fd >= 0 && pwrite(fd, "", 1, (off_t)1 << 32) < 0 ? errno : 0;
    unlink(path);
    return fault == EFBIG;
}

static bool limits_stay(void)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

    return refused(setrlimit(RLIMIT_CPU, &limit));
}

START_TEST(memory_and_bytes_are_limited)
{
    ck_assert_int_ne(behind_walls(little_memory), BROKEN);
    ck_assert_int_ne(behind_walls(few_bytes), BROKEN);
    ck_assert_int_ne(behind_walls(limits_stay), BROKEN);
}
END_TEST

/* ---- One folder ---- */

static int create(const char *folder)
{
    char path[64];
    int fd;

    snprintf(path, sizeof path, "%s/file", folder);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd >= 0 && close(fd) == 0)
        unlink(path);
    return fd;
}

static bool an_import_works(void)
{
    char from[64], to[64];
    int fd = open("/proc/self/maps", O_RDONLY);
    bool good = fd >= 0 && read(fd, from, sizeof from) > 0 && close(fd) == 0;

    snprintf(from, sizeof from, "%s/a", inside);
    snprintf(to, sizeof to, "%s/b", inside);
    return good && create(inside) >= 0 && mkdir(from, 0755) == 0 && rename(from, to) == 0 &&
           rmdir(to) == 0;
}

static bool nothing_outside(void)
{
    return create(outside) < 0 && errno == EACCES;
}

static bool has_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 1;
}

START_TEST(an_import_writes_in_one_folder_only)
{
    ck_assert_int_ne(behind_walls(an_import_works), BROKEN);
    if (has_landlock())
        ck_assert_int_ne(behind_walls(nothing_outside), BROKEN);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("confine");
    TCase *tests = tcase_create("walls");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tests, make_folders, drop_folders);
    tcase_add_test(tests, what_a_parser_never_needs_is_refused);
    tcase_add_test(tests, memory_and_bytes_are_limited);
    tcase_add_test(tests, an_import_writes_in_one_folder_only);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
