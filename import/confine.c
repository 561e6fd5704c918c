/* Limits, one folder to write to, and a filter of system calls.  See confine.h.
 *
 * The filter is a list of what is allowed, put together here as classic BPF: libseccomp would be a
 * library more for forty numbers.  What is not on the list fails with EPERM instead of killing the
 * process, so that libraries can do without (a memory hint, a processor count) and an attempt on
 * the network ends as an error.  Of four calls on the list an argument is looked at, too: no memory
 * becomes executable, terminals are asked what they are and nothing else (TIOCSTI would type into
 * the user's shell), and signals reach this process only.
 *
 * The folder is held by Landlock (linux/landlock.h, since Linux 5.13), which judges paths where a
 * filter sees pointers only. */
#include "import/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#if defined(__x86_64__)
#define MACHINE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define MACHINE AUDIT_ARCH_AARCH64
#endif

/* ---- Limits ---- */

static void limit(int resource, uint64_t most)
{
    struct rlimit now, wanted = {.rlim_cur = most, .rlim_max = most};

    if (getrlimit((__rlimit_resource_t)resource, &now) < 0)
        return;
    if (now.rlim_max != RLIM_INFINITY && now.rlim_max < most)
        wanted.rlim_cur = wanted.rlim_max = now.rlim_max;
    (void)setrlimit((__rlimit_resource_t)resource, &wanted); /* a lower one is in force then */
}

static void set_limits(uint64_t file_bytes)
{
    const uint64_t gib = (uint64_t)1 << 30;

    if (file_bytes > 64 * gib)
        file_bytes = 64 * gib;
    limit(RLIMIT_AS, gib + file_bytes * 32);
    limit(RLIMIT_FSIZE, gib / 4 + file_bytes * 8);
    limit(RLIMIT_CPU, 120 + (file_bytes >> 20));
    limit(RLIMIT_NOFILE, 64);
    limit(RLIMIT_CORE, 0);
}

/* ---- The folder ---- */

/* Everything that changes a file system, and starting programs.  Cutting files to a length is
 * governed since the third version of the interface. */
static uint64_t forbidden(long version)
{
    uint64_t rights =
        LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
        LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
        LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
        LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;
#ifdef LANDLOCK_ACCESS_FS_TRUNCATE
    if (version >= 3)
        rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
#endif
    (void)version;
    return rights;
}

/* A model folder is made of folders and plain files. */
static void allow_folder(int rules, const char *folder, uint64_t rights)
{
    struct landlock_path_beneath_attr rule = {
        .allowed_access =
            rights & ~(uint64_t)(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                                 LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                                 LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM),
        .parent_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC)};

    if (rule.parent_fd < 0)
        return; /* whoever writes there says so */
    (void)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
}

static void set_folder(const char *writable)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    struct landlock_ruleset_attr all = {.handled_access_fs = forbidden(version)};
    int rules;

    if (version < 1)
        return; /* an older kernel: the limits and the filter are in force */
    rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
    if (rules < 0)
        return;
    if (writable)
        allow_folder(rules, writable, all.handled_access_fs);
    (void)syscall(SYS_landlock_restrict_self, rules, 0);
    close(rules);
}

/* ---- The filter ---- */

#ifdef MACHINE
static const int allowed[] = {
    /* files */
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_pwrite64,
    SYS_lseek,
    SYS_openat,
    SYS_close,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_faccessat,
    SYS_fcntl,
    SYS_getdents64,
    SYS_getcwd,
    SYS_readlinkat,
    SYS_mkdirat,
    SYS_unlinkat,
    SYS_renameat,
    SYS_renameat2,
    SYS_fchmodat,
    SYS_fchmod,
    SYS_fsync,
    SYS_fdatasync,
    SYS_ftruncate,
    SYS_umask,
    SYS_dup,
    /* memory */
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    /* the process itself */
    SYS_exit,
    SYS_exit_group,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_getpid,
    SYS_gettid,
    SYS_futex,
    SYS_getrandom,
    SYS_getrusage,
    SYS_setitimer,
    SYS_clock_gettime,
    SYS_gettimeofday,
    SYS_sched_getaffinity,
    SYS_sched_yield,
    SYS_uname,
    SYS_restart_syscall,
    SYS_geteuid,
    SYS_getuid,
#ifdef __x86_64__
    /* older forms of the above */
    SYS_open,
    SYS_stat,
    SYS_lstat,
    SYS_access,
    SYS_mkdir,
    SYS_rmdir,
    SYS_unlink,
    SYS_rename,
    SYS_chmod,
    SYS_readlink,
    SYS_arch_prctl,
    SYS_time,
#endif
};

/* A call that is allowed where one of its arguments, as far as the mask goes, is one value. */
struct conditional {
    int call;
    unsigned argument;
    uint32_t mask, value;
};

enum {
    N_ALLOWED = sizeof allowed / sizeof *allowed,
    N_CONDITIONAL = 4,
    CODE_MAX = 4 + 2 * N_ALLOWED + 6 * N_CONDITIONAL + 1
};

static struct sock_filter statement(unsigned code, uint32_t value)
{
    return (struct sock_filter)BPF_STMT((unsigned short)code, value);
}

/* Where the accumulator is not `value`, the next `n` instructions are passed over. */
static struct sock_filter unless_equal(uint32_t value, unsigned char n)
{
    return (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, n);
}

/* The low half of an argument: both machines are little-endian. */
static size_t put_conditional(struct sock_filter *code, const struct conditional *c)
{
    size_t n = 0;

    code[n++] = unless_equal((uint32_t)c->call, 5);
    code[n++] = statement(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offsetof(struct seccomp_data, args) +
                                                               c->argument * sizeof(uint64_t)));
    code[n++] = statement(BPF_ALU | BPF_AND | BPF_K, c->mask);
    code[n++] = unless_equal(c->value, 1);
    code[n++] = statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (EPERM & SECCOMP_RET_DATA));
    return n;
}

static void set_filter(void)
{
    const struct conditional conditionals[N_CONDITIONAL] = {
        {SYS_mmap, 2, PROT_EXEC, 0},
        {SYS_mprotect, 2, PROT_EXEC, 0},
        {SYS_ioctl, 1, UINT32_MAX, TCGETS},
        {SYS_tgkill, 0, UINT32_MAX, (uint32_t)getpid()}};
    struct sock_filter code[CODE_MAX];
    struct sock_fprog program = {.filter = code};
    size_t n = 0;

    code[n++] = statement(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MACHINE, 1, 0);
    code[n++] = statement(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    code[n++] = statement(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < N_ALLOWED; i++) {
        code[n++] = unless_equal((uint32_t)allowed[i], 1);
        code[n++] = statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    for (size_t i = 0; i < N_CONDITIONAL; i++)
        n += put_conditional(code + n, &conditionals[i]);
    code[n++] = statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (EPERM & SECCOMP_RET_DATA));
    program.len = (unsigned short)n;
    (void)prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program); /* the limits hold without it */
}
#else
static void set_filter(void)
{
}
#endif

bool confine(uint64_t file_bytes, const char *writable)
{
    if (SANITIZED)
        return false;
    set_limits(file_bytes);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return true;
    set_folder(writable);
    set_filter();
    return true;
}

void confine_time(unsigned seconds)
{
    struct itimerval timer = {.it_value = {.tv_sec = (time_t)seconds}};

    (void)setitimer(ITIMER_VIRTUAL, &timer, NULL);
}
