/* systemd's notification protocol: one datagram a message to the socket named in NOTIFY_SOCKET, a
 * path or, with a leading '@', an abstract name.  A library for that would be larger than this
 * file.  A message that cannot be sent is dropped: a manager that does not listen must not stop
 * the daemon.  Main thread only. */
#include "server/notify.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void notify(const char *text)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t address_len;
    size_t len;
    int fd;

    if (!name || (name[0] != '/' && name[0] != '@'))
        return;
    len = strlen(name);
    if (len < 2 || len >= sizeof(address.sun_path))
        return;
    memcpy(address.sun_path, name, len);
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);

    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
                 (const struct sockaddr *)&address, address_len);
    close(fd);
}

void notify_ready(void)
{
    notify("READY=1");
}

void notify_reloading(void)
{
    char text[64];
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
             (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u);
    notify(text);
}

void notify_stopping(void)
{
    notify("STOPPING=1");
}

void notify_watchdog(void)
{
    notify("WATCHDOG=1");
}

uint64_t notify_watchdog_us(void)
{
    const char *period = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");

    if (!period || !getenv("NOTIFY_SOCKET"))
        return 0;
    if (pid && strtoll(pid, NULL, 10) != (long long)getpid())
        return 0;
    return strtoull(period, NULL, 10);
}
