/* Control groups as the kernel shows them, on files of the test's own: both versions, from the
 * host, from a container with and without a view of its own, and files that say nothing of use. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/machine.h"

static char root[64];

static void setup(void)
{
    strcpy(root, "/tmp/rnnd-machine-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void teardown(void)
{
    char command[96];

    snprintf(command, sizeof command, "rm -r %s", root);
    ck_assert_int_eq(system(command), 0);
}

/* A file under the root, and the folders on the way to it. */
static void put(const char *path, const char *text)
{
    char full[512];
    FILE *file;

    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *slash = strchr(full + strlen(root) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(full, 0700); /* it may be there */
        *slash = '/';
    }
    file = fopen(full, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static struct machine look(void)
{
    struct machine machine;

    machine_look(&machine, root);
    ck_assert_uint_gt(machine.host_bytes, 1 << 20);
    ck_assert_uint_le(machine.memory_bytes, machine.host_bytes);
    return machine;
}

static void put_second(const char *group, const char *top)
{
    char text[256];

    snprintf(text, sizeof text, "0::%s\n", group);
    put("/proc/self/cgroup", text);
    snprintf(text, sizeof text,
             "23 1 0:21 / /proc rw - proc proc rw\n"
             "29 23 0:26 %s /sys/fs/cgroup rw,nosuid shared:4 master:2 - cgroup2 cgroup2 rw\n",
             top);
    put("/proc/self/mountinfo", text);
}

START_TEST(nothing_to_read_bounds_nothing)
{
    struct machine machine = look();

    ck_assert_uint_eq(machine.memory_bytes, machine.host_bytes);
    ck_assert(isinf(machine.cpus));
}
END_TEST

START_TEST(the_own_group_counts)
{
    put_second("/system.slice/rnnd.service", "/");
    put("/sys/fs/cgroup/system.slice/rnnd.service/memory.max", "1000000\n");
    put("/sys/fs/cgroup/system.slice/rnnd.service/cpu.max", "150000 100000\n");
    put("/sys/fs/cgroup/system.slice/memory.max", "max\n");
    put("/sys/fs/cgroup/system.slice/cpu.max", "max 100000\n");
    ck_assert_uint_eq(look().memory_bytes, 1000000);
    ck_assert_double_eq(look().cpus, 1.5);
}
END_TEST

START_TEST(a_group_above_may_be_narrower)
{
    put_second("/a/b/c", "/");
    put("/sys/fs/cgroup/a/b/c/memory.max", "3000000\n");
    put("/sys/fs/cgroup/a/b/memory.max", "2000000\n");
    put("/sys/fs/cgroup/a/b/c/cpu.max", "200000 100000\n");
    put("/sys/fs/cgroup/a/cpu.max", "30000 100000\n");
    put("/sys/fs/cgroup/other/memory.max", "5\n");
    ck_assert_uint_eq(look().memory_bytes, 2000000);
    ck_assert_double_eq_tol(look().cpus, 0.3, 1e-12);
}
END_TEST

START_TEST(a_container_sees_its_group_as_the_root)
{
    put_second("/", "/");
    put("/sys/fs/cgroup/memory.max", "67108864\n");
    ck_assert_uint_eq(look().memory_bytes, 67108864);
    put_second("/docker/abc", "/docker/abc"); /* mounted so, but named from the host */
    ck_assert_uint_eq(look().memory_bytes, 67108864);
    put_second("/docker/abc/inner", "/docker/abc");
    put("/sys/fs/cgroup/inner/memory.max", "4096\n");
    ck_assert_uint_eq(look().memory_bytes, 4096);
    put_second("/../elsewhere", "/"); /* outside of what the namespace shows */
    ck_assert_uint_eq(look().memory_bytes, 67108864);
}
END_TEST

START_TEST(version_1_has_a_tree_for_each_controller)
{
    put("/proc/self/cgroup", "9:name=systemd:/x\n5:memory:/jobs/7\n3:cpu,cpuacct:/jobs/7\n0::/\n");
    put("/proc/self/mountinfo",
        "30 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "31 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpuacct,cpu\n"
        "32 23 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    put("/sys/fs/cgroup/memory/jobs/7/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", "12345678\n");
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/7/cpu.cfs_quota_us", "250000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/7/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_period_us", "100000\n");
    ck_assert_uint_eq(look().memory_bytes, 12345678);
    ck_assert_double_eq(look().cpus, 2.5);
}
END_TEST

START_TEST(a_mount_may_have_a_blank_in_its_path)
{
    put("/proc/self/cgroup", "0::/g\n");
    put("/proc/self/mountinfo", "32 23 0:29 / /my\\040groups rw - cgroup2 none rw\n");
    put("/my groups/g/memory.max", "777216\n");
    ck_assert_uint_eq(look().memory_bytes, 777216);
}
END_TEST

START_TEST(what_makes_no_sense_bounds_nothing)
{
    static const char *const odd[] = {"",    "max\n", "-1\n", "0\n", "99999999999999999999999\n",
                                      "one", "\n"};

    put_second("/g", "/");
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        put("/sys/fs/cgroup/g/memory.max", odd[i]);
        put("/sys/fs/cgroup/g/cpu.max", odd[i]);
        ck_assert_uint_eq(look().memory_bytes, look().host_bytes);
        ck_assert(isinf(look().cpus));
    }
    put("/sys/fs/cgroup/g/cpu.max", "100000 0\n");
    ck_assert(isinf(look().cpus));
    put("/proc/self/cgroup", "0\n\n:\n0:\n::\n");
    put("/proc/self/mountinfo", "\n - \n1 2 3\n1 2 3 / - cgroup2\n1 2 3 / /x - cgroup2 a\n");
    ck_assert_uint_eq(look().memory_bytes, look().host_bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("machine");
    TCase *tcase = tcase_create("machine");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, nothing_to_read_bounds_nothing);
    tcase_add_test(tcase, the_own_group_counts);
    tcase_add_test(tcase, a_group_above_may_be_narrower);
    tcase_add_test(tcase, a_container_sees_its_group_as_the_root);
    tcase_add_test(tcase, version_1_has_a_tree_for_each_controller);
    tcase_add_test(tcase, a_mount_may_have_a_blank_in_its_path);
    tcase_add_test(tcase, what_makes_no_sense_bounds_nothing);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
