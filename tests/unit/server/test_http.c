/* The HTTP room over real sockets: what comes in whole, late, torn, too large or not at all, and
 * what goes out.  The server and the client are in http_world.h. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_world.h"
#include "server/keys.h"
#include "server/metrics.h"

/* ---- Whole requests ---- */

START_TEST(a_request_reaches_its_handler_once_and_whole)
{
    int fd = dial();
    struct answer a;

    put(fd, "POST /echo?sign=a%20b HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n"
            "X-Request-Id: mine-1\r\n\r\nhel");
    usleep(20000);
    put(fd, "lo ");
    usleep(20000);
    put(fd, "world");
    a = get(fd);
    ck_assert_uint_eq(a.status, 200);
    ck_assert_str_eq(a.body, "hello world");
    ck_assert_str_eq(header(&a, "X-Sign"), "a b");
    ck_assert_str_eq(header(&a, "X-Request-Id"), "mine-1");
    ck_assert_uint_eq(atomic_load(&n_dispatched), 1);
    free(a.head);
    close(fd);
}
END_TEST

START_TEST(a_chunked_body_is_put_together)
{
    int fd = dial();
    struct answer a;

    put(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    a = get(fd);
    ck_assert_str_eq(a.body, "abcde");
    free(a.head);
    close(fd);
}
END_TEST

START_TEST(every_byte_may_come_alone)
{
    const char *text = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    int fd = dial();
    struct answer a;

    for (; *text; text++) {
        put_bytes(fd, text, 1);
        usleep(500);
    }
    a = get(fd);
    ck_assert_str_eq(a.body, "abc");
    free(a.head);
    close(fd);
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
    int fd = dial();

    for (int i = 0; i < 100; i++) {
        char text[128];

        snprintf(text, sizeof(text), "GET /%s?sign=%d HTTP/1.1\r\nHost: x\r\n\r\n",
                 i % 10 == 3 ? "later" : "echo", i);
        put(fd, text);
    }
    for (int i = 0; i < 100; i++) {
        struct answer a = get(fd);
        char want[16];

        snprintf(want, sizeof(want), "%d", i);
        ck_assert_uint_eq(a.status, 200);
        if (i % 10 == 3)
            ck_assert_str_eq(a.body, "later");
        else
            ck_assert_str_eq(header(&a, "X-Sign"), want);
        free(a.head);
    }
    close(fd);
}
END_TEST

START_TEST(an_unsafe_request_id_is_replaced)
{
    const char *bad[] = {"a b", "a\"b", "", "<x>",
                         "12345678901234567890123456789012345678901234567890123456789012345"};

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int fd = dial();
        char text[256];
        struct answer a;

        snprintf(text, sizeof(text), "GET /echo HTTP/1.1\r\nHost: x\r\nX-Request-Id: %s\r\n\r\n",
                 bad[i]);
        put(fd, text);
        a = get(fd);
        ck_assert_uint_eq(a.status, 200);
        ck_assert_uint_eq(strlen(header(&a, "X-Request-Id")), 16);
        ck_assert_str_ne(header(&a, "X-Request-Id"), bad[i]);
        free(a.head);
        close(fd);
    }
}
END_TEST

START_TEST(a_target_in_absolute_form_is_taken)
{
    ck_assert_uint_eq(ask_status("GET http://x:80/echo?sign=1 HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
}
END_TEST

START_TEST(http_1_0_is_answered_and_closed)
{
    int fd = dial();
    struct answer a;

    put(fd, "GET /echo HTTP/1.0\r\n\r\n");
    a = get(fd);
    ck_assert_uint_eq(a.status, 200);
    ck_assert(at_end(fd));
    free(a.head);
    close(fd);
}
END_TEST

START_TEST(head_gets_the_headers_alone)
{
    int fd = dial();
    struct answer a;

    put(fd, "HEAD /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    a = get(fd);
    ck_assert_uint_eq(a.status, 404);
    ck_assert_uint_eq(a.body_len, 0);
    free(a.head);
    close(fd);
}
END_TEST

START_TEST(head_of_a_stream_ends_its_handler)
{
    int fd = dial();
    char text[64] = {0};

    put(fd, "HEAD /silent HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    ck_assert_int_gt(recv(fd, text, sizeof(text) - 1, 0), 0);
    ck_assert_ptr_nonnull(strstr(text, "200"));
    EVENTUALLY(atomic_load(&n_gone) == 1);
    close(fd);
}
END_TEST

/* ---- What the headers alone decide ---- */

START_TEST(ambiguous_framing_is_refused_and_closed)
{
    static const char *const heads[] = {
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n",
        ("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
         "Transfer-Encoding: chunked\r\n"),
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n",
        "POST /echo HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: 3\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: 3\r\n",
        "GET /echo HTTP/1.1\r\n",
        "GET /a b HTTP/1.1\r\nHost: x\r\n",
        "GET /echo%00 HTTP/1.1\r\nHost: x\r\n",
        "GET ftp://x/echo HTTP/1.1\r\nHost: x\r\n",
        "GET /echo\r\nHost: x\r\n",
    };

    for (unsigned i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        int fd = dial();
        struct answer a;

        put(fd, heads[i]);
        put(fd, "\r\nGET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
        a = get(fd);
        ck_assert_msg(a.status == 400, "%s: %u", heads[i], a.status);
        /* libmicrohttpd 0.9.75 refuses a malformed length itself, and says so twice */
        while (!at_end(fd))
            ;
        free(a.head);
        close(fd);
    }
    ck_assert_uint_eq(atomic_load(&n_dispatched), 0);
}
END_TEST

START_TEST(another_major_version_is_505)
{
    ck_assert_uint_eq(ask_status("GET /echo HTTP/2.0\r\nHost: x\r\n\r\n"), 505);
}
END_TEST

START_TEST(headers_over_their_limit_are_431)
{
    int fd = dial();
    char line[1024];

    put(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 12; i++) {
        snprintf(line, sizeof(line), "X-Fill-%d: %0900d\r\n", i, i);
        put(fd, line);
    }
    put(fd, "\r\n");
    ck_assert_uint_eq(get_status(fd), 431);
    ck_assert(at_end(fd));
    close(fd);
}
END_TEST

START_TEST(headers_under_their_limit_pass)
{
    int fd = dial();
    char line[1024];

    put(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 7; i++) {
        snprintf(line, sizeof(line), "X-Fill-%d: %0900d\r\n", i, i);
        put(fd, line);
    }
    put(fd, "\r\n");
    ck_assert_uint_eq(get_status(fd), 200);
    close(fd);
}
END_TEST

START_TEST(a_body_announced_too_large_is_refused_before_it_comes)
{
    static const char *const methods[] = {"POST", "PUT"};

    for (unsigned i = 0; i < 2; i++) {
        char text[128];
        int fd = dial();

        snprintf(text, sizeof(text),
                 "%s /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", methods[i]);
        put(fd, text);
        ck_assert_uint_eq(get_status(fd), 413);
        ck_assert(at_end(fd));
        close(fd);
    }
    ck_assert_uint_eq(atomic_load(&n_dispatched), 0);
}
END_TEST

START_TEST(an_expectation_is_refused_without_the_body_or_met)
{
    int fd = dial();
    char text[32] = {0};

    put(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\nExpect: "
            "100-continue\r\n\r\n");
    ck_assert_uint_eq(get_status(fd), 413);
    close(fd);

    fd = dial();
    put(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    ck_assert_int_eq(recv(fd, text, 25, MSG_WAITALL), 25);
    ck_assert_str_eq(text, "HTTP/1.1 100 Continue\r\n\r\n");
    put(fd, "abc");
    ck_assert_uint_eq(get_status(fd), 200);
    close(fd);
}
END_TEST

/* A client that first sends all of its body must still get the refusal, not a reset. */
START_TEST(a_refused_upload_is_answered_while_it_is_still_coming)
{
    enum { SIZE = 6 << 20 };
    char *body = calloc(1, SIZE);

    for (int chunked = 0; chunked < 2; chunked++) {
        int fd = dial();
        struct answer a;

        if (chunked)
            put(fd,
                "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n600000\r\n");
        else
            put(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 6291456\r\n\r\n");
        put_bytes(fd, body, SIZE);
        a = get(fd);
        ck_assert_uint_eq(a.status, 413);
        ck_assert(a.complete);
        ck_assert_ptr_nonnull(strstr(a.body, "too_large"));
        ck_assert_ptr_nonnull(header(&a, "X-Request-Id"));
        free(a.head);
        close(fd);
    }
    free(body);
    ck_assert_uint_eq(atomic_load(&n_dispatched), 0);
}
END_TEST

/* ---- Keys ---- */

static void with_keys(const char *text)
{
    char path[] = "/tmp/rnnd-test-keys-XXXXXX";
    int fd = mkstemp(path);
    struct keys *keys = NULL;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    ck_assert_int_eq(keys_load(&keys, path, stderr), 0);
    unlink(path);
    atomic_store(&server.keys, keys);
}

START_TEST(keys_are_asked_for_before_the_body)
{
    int fd;
    struct answer a;

    with_keys("alice:secret-one\nbob:secret-two\n");
    fd = dial();
    put(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"); /* no body follows */
    a = get(fd);
    ck_assert_uint_eq(a.status, 401);
    ck_assert_ptr_nonnull(strstr(a.body, "key_missing"));
    ck_assert_ptr_nonnull(header(&a, "WWW-Authenticate"));
    free(a.head);
    close(fd);

    fd = dial();
    put(fd, "GET /echo HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret-onE\r\n\r\n");
    a = get(fd);
    ck_assert_uint_eq(a.status, 401);
    ck_assert_ptr_nonnull(strstr(a.body, "key_unknown"));
    free(a.head);
    close(fd);

    ck_assert_uint_eq(
        ask_status("GET /echo HTTP/1.1\r\nHost: x\r\nAuthorization: bearer secret-two\r\n\r\n"),
        200);
    ck_assert_uint_eq(ask_status("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    /* a method whose early answer libmicrohttpd cannot send before the body */
    ck_assert_uint_eq(
        ask_status("DELETE /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"), 401);
    ck_assert_uint_eq(atomic_load(&n_dispatched), 2);
    keys_free((struct keys *)(uintptr_t)atomic_load(&server.keys));
}
END_TEST

/* ---- Clients that leave ---- */

static void leave_by(int fd, bool reset)
{
    struct linger linger = {.l_onoff = 1};

    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

START_TEST(a_client_that_leaves_is_noticed_in_every_phase)
{
    static const char *const texts[] = {
        "GET /never HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /silent HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /stream?n=100000 HTTP/1.1\r\nHost: x\r\n\r\n",
    };
    unsigned gone = 0, seen = 0;

    for (unsigned round = 0; round < 10; round++)
        for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
            int fd = dial();

            put(fd, texts[i]);
            seen++;
            EVENTUALLY(atomic_load(&n_dispatched) == seen);
            leave_by(fd, round % 2);
            gone++;
            EVENTUALLY(atomic_load(&n_gone) == gone);
        }
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
    EVENTUALLY(shard_busy(server.shards[0]) == 0);
}
END_TEST

START_TEST(a_client_that_leaves_in_mid_request_is_forgotten)
{
    static const char *const texts[] = {
        "", "GET /ec", "GET /echo HTTP/1.1\r\nHost:",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"};

    for (unsigned i = 0; i < 4; i++) {
        for (int reset = 0; reset < 2; reset++) {
            int fd = dial();

            put(fd, texts[i]);
            usleep(5000);
            leave_by(fd, reset);
        }
    }
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
    EVENTUALLY(shard_busy(server.shards[0]) == 0);
    ck_assert_uint_eq(atomic_load(&n_dispatched), 0);
}
END_TEST

START_TEST(half_closed_sockets_do_not_stay)
{
    int fds[50];

    for (int i = 0; i < 50; i++) {
        fds[i] = dial();
        put(fds[i], i % 2 ? "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
                          : "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
        shutdown(fds[i], SHUT_WR);
    }
    for (int i = 1; i < 50; i += 2)
        ck_assert_uint_eq(get_status(fds[i]), 200);
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
    ck_assert_uint_eq(atomic_load(&n_gone), 25);
    for (int i = 0; i < 50; i++)
        close(fds[i]);
}
END_TEST

START_TEST(a_handler_without_a_hook_may_answer_into_the_void)
{
    int fd = dial();

    put(fd, "GET /nohook HTTP/1.1\r\nHost: x\r\n\r\n");
    EVENTUALLY(atomic_load(&n_dispatched) == 1);
    close(fd);
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
    EVENTUALLY(shard_busy(server.shards[0]) == 0);
}
END_TEST

/* ---- Slow clients ---- */

START_TEST(a_slow_request_is_408)
{
    static const char *const begins[] = {
        "GET /echo HTTP/1.1\r\nX-Slow: ",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"};

    for (unsigned i = 0; i < 2; i++) {
        int fd = dial();
        double begin = seconds_now();
        char byte;

        put(fd, begins[i]);
        while (recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) != 1 && seconds_now() < begin + 10) {
            (void)send(fd, "a", 1, MSG_NOSIGNAL);
            usleep(200000);
        }
        ck_assert_uint_eq(get_status(fd), 408);
        ck_assert_double_ge(seconds_now() - begin, 0.9);
        close(fd);
    }
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
    ck_assert_uint_eq(atomic_load(&n_dispatched), 0);
}
END_TEST

START_TEST(a_kept_connection_is_no_slow_request_but_idle_at_last)
{
    int fd = dial();

    put(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_uint_eq(get_status(fd), 200);
    usleep(1600000); /* longer than request_timeout_s, shorter than idle_timeout_s */
    put(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_uint_eq(get_status(fd), 200);
    ck_assert(at_end(fd)); /* idle_timeout_s */
    close(fd);
}
END_TEST

START_TEST(an_answer_may_take_longer_than_the_idle_timeout)
{
    int answer = dial(), stream = dial();
    struct answer a;

    put(answer, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    put(stream, "GET /slowstream HTTP/1.1\r\nHost: x\r\n\r\n");
    a = get(answer);
    ck_assert_str_eq(a.body, "later");
    free(a.head);
    a = get(stream);
    ck_assert(a.complete);
    ck_assert_ptr_nonnull(strstr(a.body, "data: 1\n\n"));
    free(a.head);
    close(answer);
    close(stream);
}
END_TEST

START_TEST(a_client_that_never_reads_is_closed_and_others_go_on)
{
    int fd = dial(), small = 4096;

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    put(fd, "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_uint_eq(ask_status("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    EVENTUALLY(atomic_load(&n_gone) == 1);
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
    close(fd);
}
END_TEST

/* ---- Streams ---- */

START_TEST(a_stream_arrives_whole_and_the_connection_goes_on)
{
    int fd = dial();

    for (int round = 0; round < 2; round++) {
        struct answer a;

        put(fd, "GET /stream?n=50 HTTP/1.1\r\nHost: x\r\n\r\n");
        a = get(fd);
        ck_assert_uint_eq(a.status, 200);
        ck_assert(a.complete);
        for (unsigned i = 50; i > 0; i--) {
            char event[32];

            snprintf(event, sizeof(event), "data: %u\n\n", i);
            ck_assert_ptr_nonnull(strstr(a.body, event));
        }
        free(a.head);
    }
    close(fd);
}
END_TEST

START_TEST(a_cut_stream_has_no_last_chunk)
{
    int fd = dial();
    struct answer a;

    put(fd, "GET /cut HTTP/1.1\r\nHost: x\r\n\r\n");
    a = get(fd);
    ck_assert(!a.complete);
    free(a.head);
    close(fd);
}
END_TEST

START_TEST(a_stream_of_http_1_0_ends_with_the_connection)
{
    int fd = dial();
    struct answer a;

    put(fd, "GET /stream?n=3 HTTP/1.0\r\n\r\n");
    a = get(fd);
    ck_assert_str_eq(a.body, "data: 3\n\ndata: 2\n\ndata: 1\n\n");
    free(a.head);
    close(fd);
}
END_TEST

START_TEST(a_slow_reader_pauses_its_writer_and_nobody_else)
{
    enum { BYTES = 8 << 20 };
    int fd = dial();
    size_t got = 0, before;
    char *sink = malloc(65536);

    put(fd, "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
    EVENTUALLY(atomic_load(&flooded_bytes) > 0);
    do { /* until the sockets' buffers are full and the writer stands still */
        before = atomic_load(&flooded_bytes);
        usleep(50000);
    } while (atomic_load(&flooded_bytes) != before);
    ck_assert_uint_eq(ask_status("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    while (got < BYTES) {
        ssize_t n = recv(fd, sink, 65536, 0);

        ck_assert_int_gt(n, 0);
        got += (size_t)n;
    }
    ck_assert_uint_gt(atomic_load(&n_drained), 0);
    ck_assert_uint_gt(atomic_load(&flooded_bytes), before);
    close(fd);
    free(sink);
    EVENTUALLY(atomic_load(&n_gone) == 1);
}
END_TEST

/* ---- Connections ---- */

START_TEST(connections_over_the_limit_are_told_and_closed)
{
    int fds[8];

    for (int i = 0; i < 8; i++) {
        fds[i] = dial();
        put(fds[i], "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
        ck_assert_uint_eq(get_status(fds[i]), i < 5 ? 200 : 503);
    }
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
    ck_assert_uint_eq(ask_status("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
}
END_TEST

START_TEST(connections_are_dealt_out_evenly)
{
    int fds[20];

    for (int i = 0; i < 20; i++) {
        fds[i] = dial();
        put(fds[i], "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
        ck_assert_uint_eq(get_status(fds[i]), 200);
    }
    ck_assert_uint_eq(atomic_load(&server.shards[0]->n_connections), 10);
    ck_assert_uint_eq(atomic_load(&server.shards[1]->n_connections), 10);
    for (int i = 0; i < 20; i++)
        close(fds[i]);
}
END_TEST

START_TEST(a_port_in_use_is_said_so)
{
    struct listener *second = NULL;
    struct rnn_err err = {0};
    char address[64];

    snprintf(address, sizeof(address), "127.0.0.1:%u", port);
    ck_assert_int_eq(listener_open(&second, &server, address, &err), RNN_EBUSY);
    ck_assert_ptr_nonnull(strstr(err.text, address));
    ck_assert_ptr_nonnull(strstr(err.text, "in use"));
}
END_TEST

START_TEST(draining_closes_each_connection_after_its_answer)
{
    int kept = dial(), waiting = dial();
    struct answer a;

    put(kept, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_uint_eq(get_status(kept), 200);
    put(waiting, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    EVENTUALLY(atomic_load(&n_dispatched) == 2);
    drain();
    a = get(waiting);
    ck_assert_uint_eq(a.status, 200);
    ck_assert_str_eq(header(&a, "Connection"), "close");
    ck_assert(at_end(waiting));
    free(a.head);
    put(kept, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_uint_eq(get_status(kept), 200);
    ck_assert(at_end(kept));
    close(kept);
    close(waiting);
}
END_TEST

START_TEST(cancelling_ends_every_kind_of_request)
{
    static const char *const texts[] = {
        "GET /never HTTP/1.1\r\nHost: x\r\n\r\n", "GET /silent HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"};
    int fds[4];

    for (int i = 0; i < 4; i++) {
        fds[i] = dial();
        put(fds[i], texts[i]);
    }
    EVENTUALLY(atomic_load(&n_dispatched) == 3 && shard_busy(server.shards[0]) == 4);
    shard_cancel(server.shards[0]);
    EVENTUALLY(shard_busy(server.shards[0]) == 0);
    ck_assert_uint_eq(atomic_load(&n_gone), 3);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
}
END_TEST

START_TEST(the_page_counts_requests_by_route_and_code)
{
    struct buf page = {0};

    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(ask_status("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    ck_assert_uint_eq(ask_status("GET /x HTTP/1.1\r\nHost: x\r\n\r\n"), 404);
    ck_assert_uint_eq(ask_status("GET /x HTTP/1.1\r\n\r\n"), 400);
    EVENTUALLY(shard_busy(server.shards[0]) == 0 && atomic_load(&server.n_connections) == 0);
    metrics_page(&page, &server);
    buf_putc(&page, '\0');
    ck_assert_ptr_nonnull(
        strstr(page.data, "rnnd_requests_total{endpoint=\"/test\",code=\"200\"} 3\n"));
    ck_assert_ptr_nonnull(
        strstr(page.data, "rnnd_requests_total{endpoint=\"/test\",code=\"404\"} 1\n"));
    ck_assert_ptr_nonnull(
        strstr(page.data, "rnnd_requests_total{endpoint=\"none\",code=\"400\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(page.data, "rnnd_connections_total 5\n"));
    ck_assert_ptr_nonnull(strstr(page.data, "rnnd_connections 0\n"));
    buf_free(&page);
}
END_TEST

/* ---- Upgraded connections ---- */

/* The head of the 101; what follows is the handler's. */
static int upgrade(const char *path, const char *early)
{
    char text[256], byte, last[4] = "";
    int fd = dial();

    snprintf(text, sizeof(text),
             "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: pipe\r\n\r\n%s", path,
             early);
    put(fd, text);
    for (size_t n = 0; memcmp(last, "\r\n\r\n", 4) != 0; n++) {
        ck_assert_int_eq(read(fd, &byte, 1), 1);
        if (n < 12)
            ck_assert_int_eq(byte, "HTTP/1.1 101"[n]);
        memmove(last, last + 1, 3);
        last[3] = byte;
    }
    return fd;
}

static void expect_bytes(int fd, const char *want)
{
    for (char byte; *want; want++) {
        ck_assert_int_eq(read(fd, &byte, 1), 1);
        ck_assert_int_eq(byte, *want);
    }
}

START_TEST(an_upgraded_connection_is_its_handlers)
{
    int fd = upgrade("/pipe", "early");

    expect_bytes(fd, "early");
    for (int i = 0; i < 100; i++) {
        put(fd, "GET /echo HTTP/1.1\r\n\r\n"); /* no request any more */
        expect_bytes(fd, "GET /echo HTTP/1.1\r\n\r\n");
    }
    ck_assert_uint_eq(atomic_load(&n_dispatched), 1);
    put(fd, "q");
    ck_assert(at_end(fd));
    close(fd);
    EVENTUALLY(shard_busy(server.shards[0]) == 0 && atomic_load(&server.n_connections) == 0);
    ck_assert_uint_eq(atomic_load(&n_gone), 0);
}
END_TEST

/* libmicrohttpd, which would look at each of them whenever a request is answered, has let go. */
START_TEST(an_upgraded_connection_is_held_once)
{
    unsigned before = open_fds();
    int fds[20];

    for (unsigned i = 0; i < 20; i++)
        fds[i] = upgrade(i % 2 ? "/pipe" : "/deaf", "");
    EVENTUALLY(open_fds() == before + 2 * 20); /* both ends */
    EVENTUALLY(atomic_load(&server.n_connections) == 20);
    ck_assert_uint_eq(ask_status("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    for (unsigned i = 0; i < 20; i++) {
        if (i % 2) {
            put(fds[i], "x");
            expect_bytes(fds[i], "x");
        }
        close(fds[i]);
    }
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
    EVENTUALLY(open_fds() == before);
}
END_TEST

START_TEST(early_bytes_may_be_all_there_is)
{
    int fd = upgrade("/pipe", "ab");

    shutdown(fd, SHUT_WR);
    expect_bytes(fd, "ab");
    ck_assert(at_end(fd));
    close(fd);
}
END_TEST

START_TEST(leaving_is_noticed_by_those_who_read_nothing)
{
    for (unsigned i = 1; i <= 3; i++) {
        int fd = upgrade("/deaf", i == 2 ? "early" : "");

        if (i == 3)
            put(fd, "bytes that nobody reads");
        close(fd);
        EVENTUALLY(atomic_load(&n_gone) == i);
    }
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
}
END_TEST

START_TEST(upgraded_connections_hear_of_the_end)
{
    int reads = upgrade("/pipe", ""), deaf = upgrade("/deaf", "");

    put(reads, "x");
    expect_bytes(reads, "x");
    drain();
    expect_bytes(reads, "d");
    expect_bytes(deaf, "d");
    put(reads, "y"); /* it goes on until its handler ends it */
    expect_bytes(reads, "y");
    shard_cancel(server.shards[0]);
    expect_bytes(reads, "c");
    expect_bytes(deaf, "c");
    ck_assert(at_end(reads));
    ck_assert(at_end(deaf));
    close(reads);
    close(deaf);
    ck_assert_uint_eq(atomic_load(&n_gone), 0);
}
END_TEST

START_TEST(upgraded_connections_are_logged_and_counted_as_they_open)
{
    int fd = upgrade("/pipe", "");
    struct buf page = {0};

    put(fd, "x");
    expect_bytes(fd, "x"); /* it is open on both sides */
    metrics_page(&page, &server);
    buf_putc(&page, '\0');
    ck_assert_ptr_nonnull(
        strstr(page.data, "rnnd_requests_total{endpoint=\"/test\",code=\"101\"} 1\n"));
    buf_free(&page);
    close(fd);
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
    metrics_page(&page, &server);
    buf_putc(&page, '\0');
    ck_assert_ptr_nonnull(
        strstr(page.data, "rnnd_requests_total{endpoint=\"/test\",code=\"101\"} 1\n"));
    buf_free(&page);
}
END_TEST

/* ---- Settings of the groups ---- */

static void serve_hasty(void)
{
    char *argv[] = {"--request-timeout-s=1", "--idle-timeout-s=3"};

    serve_with(2, argv, 1);
}

static void serve_few(void)
{
    char *argv[] = {"--connections-max=5"};

    serve_with(1, argv, 1);
}

static void serve_two(void)
{
    serve_with(0, NULL, 2);
}

static void group(Suite *suite, const char *name, void (*setup)(void), const TTest *const *tests,
                  size_t n)
{
    TCase *tcase = tcase_create(name);

    tcase_add_checked_fixture(tcase, setup, stop);
    tcase_set_timeout(tcase, 120);
    for (size_t i = 0; i < n; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
}

#define GROUP(name, setup, ...)                                                                    \
    group(suite, name, setup, (const TTest *const[]){__VA_ARGS__},                                 \
          sizeof((const TTest *const[]){__VA_ARGS__}) / sizeof(TTest *))

int main(void)
{
    Suite *suite = suite_create("http");
    SRunner *runner;
    int failed;

    GROUP("requests", serve, a_request_reaches_its_handler_once_and_whole,
          a_chunked_body_is_put_together, every_byte_may_come_alone,
          pipelined_requests_are_answered_in_order, an_unsafe_request_id_is_replaced,
          a_target_in_absolute_form_is_taken, http_1_0_is_answered_and_closed,
          head_gets_the_headers_alone, head_of_a_stream_ends_its_handler);
    GROUP("headers", serve, another_major_version_is_505, ambiguous_framing_is_refused_and_closed,
          headers_over_their_limit_are_431, headers_under_their_limit_pass,
          a_body_announced_too_large_is_refused_before_it_comes,
          an_expectation_is_refused_without_the_body_or_met,
          a_refused_upload_is_answered_while_it_is_still_coming,
          keys_are_asked_for_before_the_body);
    GROUP("leaving", serve, a_client_that_leaves_is_noticed_in_every_phase,
          a_client_that_leaves_in_mid_request_is_forgotten, half_closed_sockets_do_not_stay,
          a_handler_without_a_hook_may_answer_into_the_void);
    GROUP("slow", serve_hasty, an_answer_may_take_longer_than_the_idle_timeout,
          a_slow_request_is_408, a_kept_connection_is_no_slow_request_but_idle_at_last,
          a_client_that_never_reads_is_closed_and_others_go_on);
    GROUP("streams", serve, a_stream_arrives_whole_and_the_connection_goes_on,
          a_cut_stream_has_no_last_chunk, a_stream_of_http_1_0_ends_with_the_connection,
          a_slow_reader_pauses_its_writer_and_nobody_else);
    GROUP("connections", serve, a_port_in_use_is_said_so,
          draining_closes_each_connection_after_its_answer, cancelling_ends_every_kind_of_request,
          the_page_counts_requests_by_route_and_code);
    GROUP("upgraded", serve, an_upgraded_connection_is_its_handlers,
          an_upgraded_connection_is_held_once, early_bytes_may_be_all_there_is,
          leaving_is_noticed_by_those_who_read_nothing, upgraded_connections_hear_of_the_end,
          upgraded_connections_are_logged_and_counted_as_they_open);
    GROUP("few", serve_few, connections_over_the_limit_are_told_and_closed);
    GROUP("two", serve_two, connections_are_dealt_out_evenly);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
