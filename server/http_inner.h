/* What the HTTP room shares inside: connections (http.c), the requests on them
 * (http_request.c), and what handlers say to those (http_reply.c).  Nobody else includes this.  All
 * of it belongs to one shard's thread. */
#ifndef SERVER_HTTP_INNER_H
#define SERVER_HTTP_INNER_H

#include <microhttpd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/buf.h"
#include "server/http.h"
#include "server/reply.h"
#include "server/shard.h"

#define ROUTE_NONE "none" /* in logs and metrics, of a request that no route took */

struct exchange;

/* One socket.  libmicrohttpd's live from their adoption until it closes them.  Ours have a
 * descriptor of their own: what lingers after a refusal, and what has been upgraded. */
struct connection {
    struct http *http;
    struct MHD_Connection *mhd; /* NULL: ours */
    int fd;
    uint32_t slot;
    struct exchange *exchange; /* the request on it; NULL between requests */
    struct connection *next, *prev;
    uint64_t bytes_seen; /* received by the kernel, as of the last sweep between requests */
    uint64_t partial_ns; /* a request has begun to arrive since then; 0: none */
    uint64_t linger_until_ns;
    bool bytes_known;
    bool target_malformed; /* of the request that is coming in */
    bool peer_closed;      /* its side is shut */
    bool half_closed_twice;
    bool linger; /* refused with bytes still under way: take those before closing */
};

enum exchange_phase {
    EXCHANGE_UPLOADING, /* the body is still coming */
    EXCHANGE_RUNNING,   /* the handler has it */
    EXCHANGE_ANSWERED,  /* libmicrohttpd has the whole answer */
    EXCHANGE_UPGRADED   /* the socket is its handler's */
};

/* One request and its answer.  References: libmicrohttpd's until on_completed, the handler's until
 * it has ended the request, the streaming response's. */
struct exchange {
    struct request request; /* first: a request is an exchange */
    struct http *http;
    struct connection *connection; /* NULL once libmicrohttpd has let go of it, or we have */
    unsigned refs;
    enum exchange_phase phase;
    bool suspended;
    bool handler_has_it;
    bool gone;      /* no answer can be sent */
    bool shut_down; /* the server ended it, not the client */
    bool close;     /* the answer closes the connection */
    bool discard;   /* refused, but its body must be read before the answer can go */
    bool queued;    /* libmicrohttpd has the response */
    unsigned status;
    uint64_t body_max;
    struct buf body;
    struct buf headers; /* name, NUL, value, NUL, … */
    struct MHD_Response *response;

    /* ---- Streams ---- */
    bool streaming, stream_ended, stream_cut;
    struct buf out;
    size_t out_taken; /* of out.len, by libmicrohttpd */
    size_t sent_bytes;

    /* ---- Upgraded ---- */
    const struct socket_hooks *socket_hooks;
    struct MHD_UpgradeResponseHandle *upgrade; /* until the socket has been taken over */
    bool socket_taken;                         /* `connection` is ours, and NULL once closed */
    uint32_t waits_for;                        /* events of the watch */
    size_t early_taken;                        /* of `body`: what came with the handshake */
    bool accounted;                            /* in log and metrics, as of its opening */

    /* ---- What its handler is to hear at the end of the turn ---- */
    struct exchange *notice_next;
    bool noticed, tell_gone, tell_drained, tell_turn;

    char method_name[16];
    char path[];
};

/* Watched sockets refer to their connection by place and generation, so that an event that was
 * under way when the socket closed finds nothing. */
struct slot {
    struct connection *connection; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct http {
    struct shard *shard;
    struct MHD_Daemon *daemon;
    int watch_fd; /* our own epoll set: who has left */
    uv_poll_t mhd_poll, watch_poll;
    uv_timer_t sweep_timer;
    unsigned handles_open;
    struct slot *slots;
    uint32_t n_slots, first_free;
    struct connection connections; /* ring */
    size_t n_connections;
    size_t sweep_share; /* connections to visit at each tick of this round */
    unsigned sweep_part;
    struct exchange *notices, **notices_end;
    size_t busy;
    bool run_again; /* libmicrohttpd has work */
    bool draining;
    struct connection *asked; /* whose request line was read last; NULL: its request has begun, or
                                 it is closed */
    unsigned refused[16];     /* statuses of libmicrohttpd's own refusals, not yet in the log */
    size_t n_refused;
    uint64_t id_seed[2];
    uint64_t id_count;
};

/* What the headers say of a request's framing. */
struct http_head {
    unsigned hosts, lengths, encodings; /* how often each stands there */
    bool malformed;
    bool chunked;
    uint64_t length;
};

/* ---- http_head.c ---- */
void http_head_read(struct http_head *head, struct MHD_Connection *mhd);
/* What is wrong with it, in words, or NULL. */
const char *http_head_fault(const struct http_head *head, const char *version);

/* ---- http_request.c, called by http.c ---- */
enum MHD_Result http_on_request(void *http, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **context);
void http_on_completed(void *http, struct MHD_Connection *mhd, void **context,
                       enum MHD_RequestTerminationCode code);
/* The client is gone, or is to be treated so. */
void exchange_gone(struct exchange *exchange);
/* Answers a request whose body is late, past libmicrohttpd, and shuts the connection. */
void exchange_refuse_raw(struct exchange *exchange, enum reply_error error, const char *message);

/* Log line and metrics of a request that ends or is upgraded; once. */
void exchange_account(struct exchange *exchange, struct MHD_Connection *mhd,
                      enum MHD_RequestTerminationCode code);

/* ---- http_request.c, called by http_reply.c and http_upgrade.c ---- */
static inline struct exchange *exchange_of(struct request *request)
{
    return (struct exchange *)(void *)request; /* its first member */
}
void exchange_unref(struct exchange *exchange);
/* The handler has said its last word, or heard that nobody listens; it may be told so twice. */
void exchange_handler_ends(struct exchange *exchange);
/* Exactly one resume for each suspend: wake does nothing unless it is suspended. */
void exchange_suspend(struct exchange *exchange);
void exchange_wake(struct exchange *exchange);
/* Tells the handler what tell_gone and tell_drained say, at the end of the turn. */
void exchange_notice(struct exchange *exchange);

/* ---- http_request.c, called by http_refused.c ---- */
void http_mint_id(struct http *http, char *id); /* 17 bytes */

/* ---- http_reply.c, called by http_upgrade.c ---- */
/* Adds what http_reply_header() has gathered, the id, and the type where it is not NULL. */
void exchange_put_headers(struct exchange *exchange, const char *content_type);

/* ---- http_upgrade.c, called by http.c and http_request.c ---- */
/* Events of the watch on an upgraded connection. */
void upgrade_on_events(struct exchange *exchange, uint32_t events);
void upgrade_drain(struct exchange *exchange);
void upgrade_cancel(struct exchange *exchange);
/* Takes the socket over from libmicrohttpd; the exchange is gone where that fails. */
void upgrade_take(struct exchange *exchange);
/* Closes the socket; nothing where it is not upgraded, or closed. */
void upgrade_end(struct exchange *exchange);

/* ---- http_refused.c, called by http.c and http_request.c ---- */
/* libmicrohttpd's logger; cls is the struct http. */
void http_on_words(void *cls, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
/* A request ends that has an exchange and got none of our answers: the status that libmicrohttpd
 * gave it, which is the exchange's to log; 0: none. */
unsigned http_refused_claim(struct http *http, struct MHD_Connection *mhd);
/* Logs and counts the refusals that nobody has claimed. */
void http_refused_tell(struct http *http);

/* ---- http.c, called by http_upgrade.c ---- */
/* Sets the events to watch for; level-triggered. */
void connection_watch(struct connection *connection, uint32_t events);
void connection_unwatch(struct connection *connection);
/* Another connection on the same socket, ours and watched for these events; NULL: no descriptor or
 * no memory.  The first is to be closed soon. */
struct connection *connection_take(const struct connection *connection, uint32_t events);
/* One of ours. */
void connection_close(struct connection *connection);

/* ---- http.c, called by http_request.c and http_refused.c ---- */
/* Sends a whole error answer on a connection that is not in an answer; the caller ends it.  Returns
 * the length of the body. */
size_t connection_refuse_raw(struct connection *connection, const char *request_id,
                             enum reply_error error, const char *message);

#endif
