/* Reads the key file and looks keys up in constant time.
 *
 * Every key is kept in a slot of fixed width, padded with zeros, and a look-up compares all slots
 * over their whole width without a branch on what it finds: the time says nothing of how much of a
 * guess was right.  Hashing was refused: with 256-byte slots the plain comparison is cheaper.
 * Loading is for the main thread; looking up for any. */
#include "server/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

#define NAME_MAX_BYTES 64
#define KEY_SLOT       (KEYS_KEY_MAX + 1)
#define KEYS_MAX       10000

struct key {
    char name[NAME_MAX_BYTES + 1];
    unsigned char text[KEY_SLOT]; /* padded with zeros */
};

struct keys {
    struct key *entries;
    size_t n, cap;
};

struct reading {
    struct keys *keys;
    const char *path;
    FILE *faults;
    unsigned line;
    unsigned n_faults;
};

static void fault(struct reading *r, const char *text)
{
    fprintf(r->faults, "%s:%u: %s\n", r->path, r->line, text);
    r->n_faults++;
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static bool name_ok(const char *name, size_t len)
{
    if (len == 0 || len > NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!name_char(name[i]))
            return false;
    return true;
}

static bool key_ok(const char *key, size_t len)
{
    if (len == 0 || len > KEYS_KEY_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (key[i] <= ' ' || key[i] > '~')
            return false;
    return true;
}

static bool keys_grow(struct keys *keys)
{
    size_t cap = keys->cap ? keys->cap * 2 : 16;
    struct key *entries = realloc(keys->entries, cap * sizeof(*entries));

    if (!entries)
        return false;
    keys->entries = entries;
    keys->cap = cap;
    return true;
}

static const char *clash(const struct keys *keys, const struct key *new)
{
    for (size_t i = 0; i < keys->n; i++) {
        if (strcmp(keys->entries[i].name, new->name) == 0)
            return "this name stands in the file twice";
        if (memcmp(keys->entries[i].text, new->text, KEY_SLOT) == 0)
            return "this key stands in the file twice";
    }
    return NULL;
}

static int add(struct reading *r, const char *name, size_t name_len, const char *key,
               size_t key_len)
{
    struct key entry = {0};
    const char *complaint;

    memcpy(entry.name, name, name_len);
    memcpy(entry.text, key, key_len);
    complaint = clash(r->keys, &entry);
    if (!complaint && r->keys->n == KEYS_MAX)
        complaint = "more than 10000 keys";
    if (complaint) {
        fault(r, complaint);
        return 0;
    }
    if (r->keys->n == r->keys->cap && !keys_grow(r->keys))
        return RNN_ENOMEM;
    r->keys->entries[r->keys->n++] = entry;
    explicit_bzero(&entry, sizeof(entry));
    return 0;
}

static int read_line(struct reading *r, const char *line, size_t len)
{
    const char *colon;
    size_t name_len;

    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r' || line[len - 1] == ' ' ||
                       line[len - 1] == '\t'))
        len--;
    while (len > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        len--;
    }
    if (len == 0 || *line == '#')
        return 0;

    colon = memchr(line, ':', len);
    if (!colon) {
        fault(r, "want name:key, found no colon");
        return 0;
    }
    name_len = (size_t)(colon - line);
    if (!name_ok(line, name_len)) {
        fault(r, "want a name of 1 to 64 of [A-Za-z0-9._-] before the colon");
        return 0;
    }
    if (!key_ok(colon + 1, len - name_len - 1)) {
        fault(r, "want a key of 1 to 255 visible ASCII characters after the colon");
        return 0;
    }
    return add(r, line, name_len, colon + 1, len - name_len - 1);
}

/* Opens without blocking on a fifo and looks at the very file that is read afterwards. */
static FILE *open_private(struct reading *r)
{
    int fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    FILE *file;

    if (fd < 0 || fstat(fd, &st) < 0) {
        fprintf(r->faults, "%s: %s\n", r->path, strerror(errno));
        goto fail;
    }
    if (!S_ISREG(st.st_mode)) {
        fprintf(r->faults, "%s: want a regular file\n", r->path);
        goto fail;
    }
    if (st.st_mode & 077) {
        fprintf(r->faults, "%s: mode is %04o, want 0600: others must not read keys\n", r->path,
                (unsigned)(st.st_mode & 07777));
        goto fail;
    }
    file = fdopen(fd, "r");
    if (!file) {
        fprintf(r->faults, "%s: %s\n", r->path, strerror(errno));
        goto fail;
    }
    return file;

fail:
    if (fd >= 0)
        close(fd);
    return NULL;
}

static int read_file(struct reading *r, FILE *file)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    int rc = 0;

    while (rc == 0 && (len = getline(&line, &cap, file)) >= 0) {
        r->line++;
        rc = read_line(r, line, (size_t)len);
    }
    if (rc < 0)
        fault(r, "out of memory");
    else if (ferror(file)) {
        fprintf(r->faults, "%s: %s\n", r->path, strerror(errno));
        rc = RNN_EIO;
    }
    if (line)
        explicit_bzero(line, cap);
    free(line);
    return rc;
}

int keys_load(struct keys **out, const char *path, FILE *faults)
{
    struct reading r = {.path = path, .faults = faults};
    FILE *file = open_private(&r);
    int rc;

    if (!file)
        return RNN_EIO;
    r.keys = calloc(1, sizeof(*r.keys));
    if (!r.keys) {
        fprintf(faults, "%s: out of memory\n", path);
        (void)fclose(file); /* read only: nothing can be lost */
        return RNN_ENOMEM;
    }
    rc = read_file(&r, file);
    (void)fclose(file);
    if (rc == 0 && r.n_faults == 0 && r.keys->n == 0) {
        fprintf(faults, "%s: no key in it: everybody would be refused\n", path);
        r.n_faults++;
    }
    if (rc == 0 && r.n_faults > 0)
        rc = RNN_EFORMAT;
    if (rc < 0) {
        keys_free(r.keys);
        return rc;
    }
    *out = r.keys;
    return 0;
}

void keys_free(struct keys *keys)
{
    if (!keys)
        return;
    if (keys->entries)
        explicit_bzero(keys->entries, keys->cap * sizeof(*keys->entries));
    free(keys->entries);
    free(keys);
}

size_t keys_count(const struct keys *keys)
{
    return keys->n;
}

/* 0 where equal.  The asm statement hides the running value from the optimiser, which could
 * otherwise leave the loop early. */
static unsigned difference(const unsigned char *a, const unsigned char *b)
{
    unsigned diff = 0;

    for (size_t i = 0; i < KEY_SLOT; i++)
        diff |= (unsigned)(a[i] ^ b[i]);
    __asm__("" : "+r"(diff));
    return diff;
}

const char *keys_name(const struct keys *keys, const char *key)
{
    unsigned char guess[KEY_SLOT] = {0};
    size_t len = strnlen(key, KEY_SLOT);
    size_t found = 0; /* index + 1 */

    if (len == 0 || len > KEYS_KEY_MAX)
        return NULL;
    memcpy(guess, key, len);
    for (size_t i = 0; i < keys->n; i++) {
        unsigned diff = difference(guess, keys->entries[i].text);
        size_t equal = (size_t)0 - (size_t)((diff - 1u) >> 31); /* all ones where diff is 0 */

        found |= equal & (i + 1);
    }
    explicit_bzero(guess, sizeof(guess));
    return found ? keys->entries[found - 1].name : NULL;
}
