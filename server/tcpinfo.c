/* TCP_INFO, in a file of its own: the struct with tcpi_bytes_received is in <linux/tcp.h>, which
 * cannot be included beside libc's header of the same job, and libuv includes that one.  Any
 * thread. */
#include "server/tcpinfo.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define STATE_ESTABLISHED 1 /* TCP_ESTABLISHED, of libc's header */

static bool get_info(int fd, struct tcp_info *info)
{
    socklen_t len = sizeof(*info);

    memset(info, 0, sizeof(*info)); /* an old kernel fills in less */
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) == 0;
}

bool tcpinfo_look(int fd, uint64_t *received_bytes, bool *shut)
{
    struct tcp_info info;

    if (!get_info(fd, &info))
        return false;
    *received_bytes = info.tcpi_bytes_received;
    *shut = info.tcpi_state != STATE_ESTABLISHED;
    return true;
}

bool tcpinfo_taken(int fd, uint64_t *taken_bytes, uint64_t *on_way_bytes)
{
    struct tcp_info info;
    int n;

    if (!get_info(fd, &info) || ioctl(fd, SIOCOUTQ, &n) < 0)
        return false;
    *taken_bytes = info.tcpi_bytes_acked;
    *on_way_bytes = (uint64_t)n;
    return true;
}
