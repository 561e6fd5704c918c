/* TCP_INFO, in a file of its own: the struct with tcpi_bytes_received is in <linux/tcp.h>, which
 * cannot be included beside libc's header of the same job, and libuv includes that one.  Any
 * thread. */
#include "server/tcpinfo.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#define STATE_ESTABLISHED 1 /* TCP_ESTABLISHED, of libc's header */

bool tcpinfo_look(int fd, uint64_t *received_bytes, bool *shut)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);

    memset(&info, 0, sizeof(info)); /* an old kernel fills in less */
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        return false;
    *received_bytes = info.tcpi_bytes_received;
    *shut = info.tcpi_state != STATE_ESTABLISHED;
    return true;
}
