/* Limits and a filter of system calls.  See confine.h.
 *
 * The filter is a list of what is allowed, put together here as classic BPF: libseccomp would be a
 * library more for forty numbers.  What is not on the list fails with EPERM instead of killing the
 * process, so that libraries can do without (a memory hint, a processor count) and an attempt on
 * the network ends as an error. */
#include "import/confine.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

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
    SYS_ioctl,
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
    SYS_mmap,
    SYS_munmap,
    SYS_mremap,
    SYS_mprotect,
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
    SYS_tgkill,
    SYS_futex,
    SYS_getrandom,
    SYS_getrusage,
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

enum { N_ALLOWED = sizeof allowed / sizeof *allowed, HEAD = 4 };

static void set_filter(void)
{
    struct sock_filter code[HEAD + 2 * N_ALLOWED + 1];
    struct sock_fprog program = {.filter = code};
    size_t n = 0;

    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MACHINE, 1, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < N_ALLOWED; i++) {
        code[n++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (__u32)allowed[i], 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
                                             SECCOMP_RET_ERRNO | (EPERM & SECCOMP_RET_DATA));
    program.len = (unsigned short)n;
    (void)prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program); /* the limits hold without it */
}
#else
static void set_filter(void)
{
}
#endif

void confine(uint64_t file_bytes)
{
    if (SANITIZED)
        return;
    set_limits(file_bytes);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        set_filter();
}
