/* Reads the headers that say where a request ends, and finds what is ambiguous in them.
 *
 * libmicrohttpd 0.9.75 takes Content-Length beside Transfer-Encoding, either of them twice, any
 * Transfer-Encoding at all, and a request without Host: each lets a client and a proxy disagree on
 * where the next request begins, and so smuggle one.  Own shard's thread only. */
#include <string.h>
#include <strings.h>

#include "server/http_inner.h"

/* A field name with a space before its colon, or worse, is how requests are smuggled past proxies.
 */
static bool is_token(const char *name)
{
    static const char extra[] = "!#$%&'*+-.^_`|~";

    if (*name == '\0')
        return false;
    for (; *name; name++) {
        unsigned char c = (unsigned char)*name;
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        if (!word && !strchr(extra, c))
            return false;
    }
    return true;
}

static bool read_length(const char *text, uint64_t *out)
{
    uint64_t value = 0;

    if (*text == '\0')
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || value > UINT64_MAX / 10 - 1)
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    *out = value;
    return true;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    struct http_head *head = cls;

    (void)kind;
    if (!value)
        value = "";
    if (!is_token(name)) {
        head->malformed = true;
    } else if (strcasecmp(name, "Host") == 0) {
        head->hosts++;
    } else if (strcasecmp(name, "Content-Length") == 0) {
        head->lengths++;
        head->malformed |= !read_length(value, &head->length);
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        head->encodings++;
        head->chunked = strcasecmp(value, "chunked") == 0;
    }
    return MHD_YES;
}

void http_head_read(struct http_head *head, struct MHD_Connection *mhd)
{
    *head = (struct http_head){0};
    (void)MHD_get_connection_values(mhd, MHD_HEADER_KIND, on_header, head);
}

const char *http_head_fault(const struct http_head *head, const char *version)
{
    bool old = strcmp(version, "HTTP/1.0") == 0;

    if (strncmp(version, "HTTP/1.", 7) != 0)
        return "want HTTP/1.1 or HTTP/1.0";
    if (head->malformed)
        return "the request line or a header is malformed";
    if (head->lengths > 1)
        return "Content-Length stands in the request more than once";
    if (head->encodings > 0 && head->lengths > 0)
        return "Content-Length and Transfer-Encoding exclude each other";
    if (head->encodings > 1 || (head->encodings == 1 && (!head->chunked || old)))
        return "the only Transfer-Encoding is chunked, once, and from HTTP/1.1 on";
    if (head->hosts > 1 || (head->hosts == 0 && !old))
        return "want exactly one Host header";
    return NULL;
}
