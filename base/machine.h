/* What this process may have of the machine: memory and processors, as its control groups bound
 * them.
 *
 * Reads /proc/self/cgroup and /proc/self/mountinfo (proc(5), cgroups(7)), then the limits of the
 * process's own groups and of all groups above them: of version 2 memory.max and cpu.max, of
 * version 1 memory.limit_in_bytes and cpu.cfs_quota_us.  A container sees its own group as the
 * root, a service that of its unit.  What cannot be read bounds nothing.  Reads files: at start.
 * Any thread. */
#ifndef BASE_MACHINE_H
#define BASE_MACHINE_H

#include <stdint.h>

struct machine {
    uint64_t memory_bytes; /* the smaller of the host's and the groups' */
    uint64_t host_bytes;
    double cpus; /* processor time in a second of the clock; INFINITY: not bounded */
};

/* `root` is put before every path; "" but for tests. */
void machine_look(struct machine *out, const char *root);

#endif
