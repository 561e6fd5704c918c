/* ADDRESS:PORT taken apart.  Any thread; allocates nothing. */
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

static int port_of(const char *text, uint16_t *port)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long value;

    if (digits == 0 || digits > 5 || text[digits] != '\0')
        return RNN_EFORMAT;
    value = strtoul(text, NULL, 10);
    if (value > 65535)
        return RNN_EFORMAT;
    if (port)
        *port = (uint16_t)value;
    return 0;
}

int config_listen_split(const char *listen, char *host, size_t cap, uint16_t *port)
{
    const char *begin = listen, *colon = strrchr(listen, ':'), *end;

    if (!colon)
        return RNN_EFORMAT;
    end = colon;
    if (*begin == '[') {
        if (end[-1] != ']' || end - begin < 3)
            return RNN_EFORMAT;
        begin++;
        end--;
    } else if (memchr(begin, ':', (size_t)(end - begin))) {
        return RNN_EFORMAT;
    }
    if (memchr(begin, '[', (size_t)(end - begin)) || memchr(begin, ']', (size_t)(end - begin)))
        return RNN_EFORMAT;
    if (end == begin || (host && (size_t)(end - begin) >= cap))
        return RNN_EFORMAT;
    if (port_of(colon + 1, port) < 0)
        return RNN_EFORMAT;
    if (host) {
        memcpy(host, begin, (size_t)(end - begin));
        host[end - begin] = '\0';
    }
    return 0;
}
