/* Ids of events.  See resume.h. */
#include "server/resume.h"

#include <stdio.h>
#include <string.h>

enum { DIGITS_MAX = 16, CHECK_DIGITS = 8 };

static const char *const cuts[] = {
    [RESUME_NOT_CUT] = "", [RESUME_DEADLINE] = "-d", [RESUME_CANCELLED] = "-c"};

void resume_write(char out[RESUME_BYTES], const struct resume *resume)
{
    snprintf(out, RESUME_BYTES, "%llx-%llx-%llx-%0*x%s", (unsigned long long)resume->start,
             (unsigned long long)resume->seen, (unsigned long long)resume->stream, CHECK_DIGITS,
             (unsigned)resume->check, cuts[resume->cut]);
}

/* Up to `max` digits, at least one; returns where they end, or NULL. */
static const char *read_number(const char *at, int max, uint64_t *out)
{
    const char *digit = at;

    for (*out = 0; digit < at + max; digit++) {
        if (*digit >= '0' && *digit <= '9')
            *out = *out << 4 | (uint64_t)(*digit - '0');
        else if (*digit >= 'a' && *digit <= 'f')
            *out = *out << 4 | (uint64_t)(*digit - 'a' + 10);
        else
            break;
    }
    return digit > at ? digit : NULL;
}

static bool read_cut(const char *at, enum resume_cut *out)
{
    for (unsigned i = 0; i < sizeof cuts / sizeof cuts[0]; i++)
        if (strcmp(at, cuts[i]) == 0) {
            *out = (enum resume_cut)i;
            return true;
        }
    return false;
}

bool resume_read(struct resume *out, const char *id)
{
    struct resume resume = {.given = true};
    uint64_t check = 0, *const numbers[] = {&resume.start, &resume.seen, &resume.stream};
    const char *end;

    for (size_t i = 0; i < 3; i++) {
        id = read_number(id, DIGITS_MAX, numbers[i]);
        if (!id || *id++ != '-')
            return false;
    }
    end = read_number(id, CHECK_DIGITS, &check);
    if (!end || end != id + CHECK_DIGITS || !read_cut(end, &resume.cut))
        return false;
    resume.check = (uint32_t)check;
    *out = resume;
    return true;
}

uint64_t resume_check(uint64_t check, const void *bytes, size_t len)
{
    const unsigned char *byte = bytes;

    for (size_t i = 0; i < len; i++)
        check = (check ^ byte[i]) * UINT64_C(0x100000001b3);
    return check;
}

uint32_t resume_fold(uint64_t check)
{
    return (uint32_t)(check ^ check >> 32);
}
