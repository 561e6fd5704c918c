/* See bench_daemon.h.  The address is read off the log: only the daemon knows which port was free.
 */
#include "cli/bench_daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/signals.h"

enum { START_MS = 1800000, PAUSE_US = 2000, TAIL = 2000 };

/* ---- Folders ---- */

static void each_file(const char *dir, void (*each)(const char *path, void *context), void *context)
{
    DIR *folder = opendir(dir);
    const struct dirent *entry;
    char path[8192];

    if (!folder)
        return;
    while ((entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        each(path, context);
    }
    closedir(folder);
}

static void remove_one(const char *path, void *context)
{
    (void)context;
    (void)unlink(path); /* what stays keeps its folder, which is told */
}

static void add_bytes(const char *path, void *context)
{
    struct stat about;

    if (stat(path, &about) == 0)
        *(uint64_t *)context += (uint64_t)about.st_blocks * 512;
}

uint64_t bench_daemon_disk(const struct bench_daemon *daemon)
{
    uint64_t bytes = 0;

    each_file(daemon->state_dir, add_bytes, &bytes);
    return bytes;
}

int bench_daemon_init(struct bench_daemon *daemon, const char *state_dir)
{
    const char *parent = getenv("TMPDIR");

    *daemon = (struct bench_daemon){0};
    snprintf(daemon->dir, sizeof daemon->dir, "%s/rnnd-bench-XXXXXX",
             parent && *parent ? parent : "/tmp");
    if (!mkdtemp(daemon->dir)) {
        cli_fail("%s: %s", daemon->dir, strerror(errno));
        daemon->dir[0] = '\0';
        return CLI_FAILURE;
    }
    if (state_dir)
        snprintf(daemon->state_dir, sizeof daemon->state_dir, "%s", state_dir);
    else
        snprintf(daemon->state_dir, sizeof daemon->state_dir, "%s/state", daemon->dir);
    return CLI_OK;
}

void bench_daemon_flag(struct bench_daemon *daemon, const char *name, const char *value)
{
    if (daemon->n_flags < BENCH_FLAGS_MAX)
        snprintf(daemon->flags[daemon->n_flags++], sizeof *daemon->flags, "--%s=%s", name, value);
}

/* ---- The child ---- */

static void log_path(const struct bench_daemon *daemon, char *out, size_t cap)
{
    snprintf(out, cap, "%s/log", daemon->dir);
}

static void become_daemon(struct bench_daemon *daemon, int log)
{
    static char name[] = "rnnd", serve[] = "serve", address[] = "--listen=127.0.0.1:0",
                form[] = "--log-format=json", level[] = "--log-level=info";
    char *argv[BENCH_FLAGS_MAX + 6] = {name, serve, address, form, level};
    int n = 5;

    for (int i = 0; i < daemon->n_flags; i++)
        argv[n++] = daemon->flags[i];
    argv[n] = NULL;
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* must not outlive a parent that was killed */
    (void)dup2(log, STDERR_FILENO);
    execv("/proc/self/exe", argv);
    _exit(127);
}

/* The last of the log, NUL-terminated. */
static void read_log(const struct bench_daemon *daemon, char *out, size_t cap, off_t from_end)
{
    char path[4200];
    ssize_t n = 0;
    int fd;

    log_path(daemon, path, sizeof path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (from_end > 0 && lseek(fd, -from_end, SEEK_END) < 0)
            (void)lseek(fd, 0, SEEK_SET); /* it is shorter */
        n = read(fd, out, cap - 1);
        close(fd);
    }
    out[n > 0 ? n : 0] = '\0';
}

static bool find_address(struct bench_daemon *daemon)
{
    static const char mark[] = "\"address\":\"";
    char log[65536], url[300];
    const char *at;

    read_log(daemon, log, sizeof log, 0);
    at = strstr(log, mark);
    if (!at || !strchr(at, '\n'))
        return false;
    at += sizeof mark - 1;
    snprintf(url, sizeof url, "http://%.*s/readyz", (int)strcspn(at, "\""), at);
    return client_parse_url(&daemon->target, url);
}

static bool is_ready(struct bench_daemon *daemon)
{
    struct buf body = {0};
    int status;

    if (!find_address(daemon))
        return false;
    status = client_ask(&daemon->target, "GET", NULL, true, client_now_ms() + 10000, &body);
    buf_free(&body);
    return status == 200;
}

static int tell_log(const struct bench_daemon *daemon)
{
    char tail[TAIL];

    read_log(daemon, tail, sizeof tail, TAIL - 1);
    return cli_fail("the daemon does not get ready; its log ends:\n%s", tail);
}

/* A signal that comes between the fork and the program's own handlers ends the child: the handler
 * that it inherits, and the program then knows nothing of, would swallow the one that stops it. */
static pid_t fork_to_be_stopped(void)
{
    sigset_t ends, before;
    pid_t pid;

    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &ends, &before);
    pid = fork();
    if (pid == 0) {
        (void)signal(SIGINT, SIG_DFL);
        (void)signal(SIGTERM, SIG_DFL);
    }
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return pid;
}

int bench_daemon_start(struct bench_daemon *daemon)
{
    int64_t begun_ms = client_now_ms();
    char path[4200];
    int log, status;

    log_path(daemon, path, sizeof path);
    log = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0)
        return cli_fail("%s: %s", path, strerror(errno));
    fflush(NULL);
    daemon->pid = fork_to_be_stopped();
    if (daemon->pid == 0)
        become_daemon(daemon, log);
    close(log);
    if (daemon->pid < 0) {
        daemon->pid = 0;
        return cli_fail("no process could be started: %s", strerror(errno));
    }
    while (!is_ready(daemon)) {
        if (waitpid(daemon->pid, &status, WNOHANG) == daemon->pid) {
            daemon->pid = 0;
            return tell_log(daemon);
        }
        if (signals_arrived() || client_now_ms() - begun_ms > START_MS)
            return signals_arrived() ? CLI_FAILURE : tell_log(daemon);
        usleep(PAUSE_US);
    }
    daemon->start_s = (double)(client_now_ms() - begun_ms) / 1e3;
    return CLI_OK;
}

void bench_daemon_stop(struct bench_daemon *daemon)
{
    int status;

    if (daemon->pid == 0)
        return;
    (void)kill(daemon->pid, SIGTERM);
    while (waitpid(daemon->pid, &status, 0) < 0 && errno == EINTR)
        ;
    daemon->pid = 0;
}

void bench_daemon_end(struct bench_daemon *daemon)
{
    bench_daemon_stop(daemon);
    if (!daemon->dir[0])
        return;
    if (strncmp(daemon->state_dir, daemon->dir, strlen(daemon->dir)) == 0) {
        each_file(daemon->state_dir, remove_one, NULL);
        (void)rmdir(daemon->state_dir); /* not there without a store */
    }
    each_file(daemon->dir, remove_one, NULL);
    if (rmdir(daemon->dir) < 0)
        cli_fail("%s: %s", daemon->dir, strerror(errno));
}
