/* Control groups, found by way of the mounts that show them.  See machine.h. */
#include "base/machine.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 8192, PATH_BYTES = 4096 };

struct search {
    const char *root;
    struct machine *found;
};

/* ---- Files ---- */

static FILE *open_under(const char *root, const char *path)
{
    char full[2 * PATH_BYTES];
    int len = snprintf(full, sizeof full, "%s%s", root, path);

    return len > 0 && (size_t)len < sizeof full ? fopen(full, "re") : NULL;
}

/* The first line of a group's file; false: there is none. */
static bool first_line(const struct search *search, const char *group, const char *name,
                       char line[64])
{
    char path[PATH_BYTES + 64];
    FILE *file;
    bool good;

    snprintf(path, sizeof path, "%s/%s", group, name);
    file = open_under(search->root, path);
    if (!file)
        return false;
    good = fgets(line, 64, file) != NULL;
    (void)fclose(file);
    return good;
}

/* A number at the start of `text`; false: there is none, as in "max", or it is not above 0. */
static bool read_number(const char *text, uint64_t *out)
{
    char *end;
    unsigned long long value;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    value = strtoull(text, &end, 10);
    *out = value;
    return errno == 0 && value > 0;
}

/* ---- The limits of one group ---- */

static void bound_memory(const struct search *search, const char *group, const char *name)
{
    uint64_t bytes;
    char line[64];

    if (first_line(search, group, name, line) && read_number(line, &bytes) &&
        bytes < search->found->memory_bytes)
        search->found->memory_bytes = bytes;
}

static void bound_cpus(const struct search *search, uint64_t quota, uint64_t period)
{
    search->found->cpus = fmin(search->found->cpus, (double)quota / (double)period);
}

static void look_at_second(const struct search *search, const char *group)
{
    uint64_t quota, period;
    const char *blank;
    char line[64];

    bound_memory(search, group, "memory.max");
    if (!first_line(search, group, "cpu.max", line))
        return;
    blank = strchr(line, ' '); /* QUOTA PERIOD, in microseconds */
    if (blank && read_number(line, &quota) && read_number(blank + 1, &period))
        bound_cpus(search, quota, period);
}

static void look_at_first(const struct search *search, const char *group)
{
    uint64_t quota, period;
    char line[64];

    bound_memory(search, group, "memory.limit_in_bytes");
    if (first_line(search, group, "cpu.cfs_quota_us", line) && read_number(line, &quota) &&
        first_line(search, group, "cpu.cfs_period_us", line) && read_number(line, &period))
        bound_cpus(search, quota, period);
}

/* The group and those above it, up to the mount's own. */
static void climb(const struct search *search, const char *mount, const char *below, bool second)
{
    char group[PATH_BYTES];
    size_t top = strlen(mount);
    int len = snprintf(group, sizeof group, "%s%s", mount, below);

    if (len < 0 || (size_t)len >= sizeof group)
        return;
    for (;;) {
        char *slash;

        (second ? look_at_second : look_at_first)(search, group);
        slash = strrchr(group + top, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

/* ---- Mounts ---- */

/* A mount of a hierarchy of groups, in place in a line of mountinfo. */
struct mount {
    char *top;   /* the group that is seen at `point` */
    char *point; /* where */
    char *type;
    char *options; /* of the hierarchy */
};

/* Octal escapes of blanks and the like, in place. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *at = text; *at; to++) {
        if (at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] >= '0' && at[2] <= '7' &&
            at[3] >= '0' && at[3] <= '7') {
            *to = (char)((at[1] - '0') << 6 | (at[2] - '0') << 3 | (at[3] - '0'));
            at += 4;
        } else {
            *to = *at++;
        }
    }
    *to = '\0';
}

/* "36 35 98:0 /top /point options optional… - type source options" */
static bool read_mount(char *line, struct mount *out)
{
    char *rest = line, *dash = strstr(line, " - ");

    if (!dash)
        return false;
    *dash = '\0';
    for (int i = 0; i < 3; i++)
        (void)strsep(&rest, " ");
    out->top = strsep(&rest, " ");
    out->point = strsep(&rest, " ");
    rest = dash + 3;
    out->type = strsep(&rest, " ");
    (void)strsep(&rest, " ");
    out->options = strsep(&rest, " \n");
    if (!out->top || !out->point || !out->type || !out->options)
        return false;
    unescape(out->top);
    unescape(out->point);
    return true;
}

/* Whether a word of a list with commas. */
static bool lists(const char *list, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, len) == 0 && (at[len] == ',' || at[len] == '\0'))
            return true;
    }
    return false;
}

/* The part of a group's path below what the mount shows; "" for what it does not show. */
static const char *below(const struct mount *mount, const char *group)
{
    size_t len = strcmp(mount->top, "/") == 0 ? 0 : strlen(mount->top);

    if (strncmp(group, mount->top, len) != 0 || group[len] != '/' || group[len + 1] == '\0' ||
        strstr(group, "/.."))
        return "";
    return group + len;
}

/* The process's group in the hierarchy of `controllers`, "" for version 2: at each mount of it. */
static void look_at_mounts(const struct search *search, const char *controllers, const char *group)
{
    FILE *file = open_under(search->root, "/proc/self/mountinfo");
    bool second = controllers[0] == '\0';
    char line[LINE_MAX_BYTES];

    while (file && fgets(line, sizeof line, file)) {
        struct mount mount;

        if (!read_mount(line, &mount))
            continue;
        if (second ? strcmp(mount.type, "cgroup2") == 0
                   : strcmp(mount.type, "cgroup") == 0 &&
                         ((lists(controllers, "memory") && lists(mount.options, "memory")) ||
                          (lists(controllers, "cpu") && lists(mount.options, "cpu"))))
            climb(search, mount.point, below(&mount, group), second);
    }
    if (file)
        (void)fclose(file);
}

void machine_look(struct machine *out, const char *root)
{
    const struct search search = {.root = root, .found = out};
    FILE *file = open_under(root, "/proc/self/cgroup");
    char line[LINE_MAX_BYTES];

    out->host_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    out->memory_bytes = out->host_bytes;
    out->cpus = INFINITY;
    while (file && fgets(line, sizeof line, file)) { /* "4:memory:/group", "0::/group" */
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;

        if (!group)
            continue;
        *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        look_at_mounts(&search, controllers + 1, group);
    }
    if (file)
        (void)fclose(file);
}
