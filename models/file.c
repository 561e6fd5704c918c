/* Whole files in memory, with short reads and files that change under us accounted for.  See
 * file.h. */
#include "models/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int file_open(struct file *out, const char *path, struct rnn_err *err)
{
    struct stat info;
    /* not blocking, so that a pipe in the place of a file is refused instead of waited for */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return rnn_fail(err, errno == ENOENT || errno == ENOTDIR ? RNN_ENOENT : RNN_EIO, "%s",
                        strerror(errno));
    if (fstat(fd, &info) < 0) {
        int rc = rnn_fail(err, RNN_EIO, "%s", strerror(errno));

        close(fd);
        return rc;
    }
    if (!S_ISREG(info.st_mode)) {
        close(fd);
        return rnn_fail(err, RNN_EIO, "not a regular file");
    }
    out->fd = fd;
    out->size = (uint64_t)info.st_size;
    return 0;
}

void file_close(struct file *file)
{
    close(file->fd);
    file->fd = -1;
}

int file_read(const struct file *file, uint64_t offset, void *out, size_t len, struct rnn_err *err)
{
    char *at = out;

    while (len > 0) {
        ssize_t n = pread(file->fd, at, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return rnn_fail(err, RNN_EIO, "%s", strerror(errno));
        if (n == 0)
            return rnn_fail(err, RNN_EIO, "became shorter while it was read");
        at += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

int file_load(char **text, size_t *len, const char *path, size_t max_bytes, struct rnn_err *err)
{
    struct file file;
    char *bytes;
    int rc;

    rc = file_open(&file, path, err);
    if (rc < 0)
        return rc;
    if (file.size > max_bytes) {
        rc = rnn_fail(err, RNN_ELIMIT, "%llu bytes, at most %zu are read",
                      (unsigned long long)file.size, max_bytes);
        goto close_file;
    }
    bytes = malloc((size_t)file.size + 1);
    if (!bytes) {
        rc = rnn_fail(err, RNN_ENOMEM, "out of memory");
        goto close_file;
    }
    rc = file_read(&file, 0, bytes, (size_t)file.size, err);
    if (rc < 0) {
        free(bytes);
        goto close_file;
    }
    bytes[file.size] = '\0';
    *text = bytes;
    *len = (size_t)file.size;

close_file:
    file_close(&file);
    return rc;
}
