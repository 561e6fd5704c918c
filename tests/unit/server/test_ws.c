/* A streaming session's socket: what is asked is answered under its id, who does not read stops
 * itself alone, who vanishes takes its work along, and time and close frames end what they should.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ws_world.h"

static const struct ws_spec foreign = {.session_id = "s", .ttl_s = 100};

static void assert_closed_with(const char *code, double n)
{
    char sample[64];

    snprintf(sample, sizeof(sample), "rnnd_websocket_closed_total{code=\"%s\"}", code);
    ck_assert(fake_metric(&world, sample) == n);
}

/* Its client has left: within the turn that notices, nothing is under way any more. */
static void assert_dropped(struct work *work)
{
    ck_assert(work->gone);
    ck_assert(!work->cancelled);
    ck_assert_ptr_null(work->sink);
}

/* ---- Requests ---- */

START_TEST(a_message_is_asked_and_answered)
{
    struct peer *peer = peer_usual();

    ck_assert(fake_metric(&world, "rnnd_websockets") == 1);
    says(peer, "7 predict");
    settle();
    ck_assert_uint_eq(n_works, 1);
    ck_assert_int_eq(works[0].verb, WS_PREDICT);
    assert_silent(peer);
    answer(&works[0], "{\"a\":1}");
    settle();
    assert_hears(peer, "{\"id\":7,\"done\":{\"a\":1}}");
    ck_assert(fake_metric(&world, "rnnd_websocket_messages_total{direction=\"in\"}") == 1);
    ck_assert(fake_metric(&world, "rnnd_websocket_messages_total{direction=\"out\"}") == 1);
}
END_TEST

START_TEST(a_stream_is_messages_and_a_last_one)
{
    struct peer *peer = peer_usual();

    says(peer, "\"g\" generate");
    settle();
    ck_assert_int_eq(works[0].verb, WS_GENERATE);
    (void)writes_event(&works[0], "token", "{\"t\":1}");
    settle();
    assert_hears(peer, "{\"id\":\"g\",\"token\":{\"t\":1}}");
    (void)writes_event(&works[0], "token", "{\"t\":2}");
    (void)writes_event(&works[0], "done", "{}");
    ends(&works[0]);
    settle();
    assert_hears(peer, "{\"id\":\"g\",\"token\":{\"t\":2}}");
    assert_hears(peer, "{\"id\":\"g\",\"done\":{}}");
    assert_silent(peer);
}
END_TEST

START_TEST(a_failure_carries_its_id)
{
    struct peer *peer = peer_usual();

    says(peer, "1 score");
    settle();
    ck_assert_int_eq(works[0].verb, WS_SCORE);
    fails(&works[0], REPLY_DEADLINE, "too late");
    settle();
    ck_assert_ptr_nonnull(
        strstr(hears(peer)->bytes, "{\"id\":1,\"error\":{\"message\":\"too late\""));
    says(peer, "2 predictt");
    says(peer, "null");
    settle();
    ck_assert_uint_eq(n_works, 1);
    ck_assert_ptr_nonnull(strstr(hears(peer)->bytes, "{\"id\":2,\"error\":"));
    ck_assert_ptr_nonnull(strstr(hears(peer)->bytes, "{\"id\":null,\"error\":"));
    ck_assert(fake_metric(&world, "rnnd_rejected_total{reason=\"input\"}") == 2);
}
END_TEST

START_TEST(ids_may_be_under_way_together_but_once_each)
{
    struct peer *peer = peer_usual();

    says(peer, "1 predict");
    says(peer, "\"1\" predict");
    says(peer, "1 predict");
    settle();
    ck_assert_uint_eq(n_works, 2);
    ck_assert_ptr_nonnull(strstr(hears(peer)->bytes, "\"param\":\"id\",\"code\":\"malformed\""));
    answer(&works[1], "\"b\"");
    answer(&works[0], "\"a\"");
    settle();
    assert_hears(peer, "{\"id\":\"1\",\"done\":\"b\"}");
    assert_hears(peer, "{\"id\":1,\"done\":\"a\"}");
    says(peer, "1 predict"); /* it is free again */
    settle();
    ck_assert_uint_eq(n_works, 3);
}
END_TEST

START_TEST(frames_are_answered_in_kind)
{
    static const struct ws_spec spec = {
        .session_id = "s", .ttl_s = 100, .takes_frames = true, .raw = true};
    static const float values[3] = {1, 2, 3};
    const struct heard *heard;

    ck_assert_int_eq(peer_open(0, &spec), 0);
    says_frame(&peers[0], OP_BINARY, values, sizeof(values));
    settle();
    ck_assert_uint_eq(n_works, 1);
    ck_assert_int_eq(works[0].verb, WS_PREDICT);
    ck_assert(works[0].raw);
    answer(&works[0], "0123");
    settle();
    heard = hears(&peers[0]);
    ck_assert_uint_eq(heard->opcode, OP_BINARY);
    ck_assert_str_eq(heard->bytes, "0123");
}
END_TEST

START_TEST(frames_for_a_model_of_text_close)
{
    struct peer *peer = peer_usual();

    says_frame(peer, OP_BINARY, "0123", 4);
    settle();
    ck_assert_uint_eq(n_works, 0);
    assert_close(peer, WS_UNSUPPORTED);
}
END_TEST

START_TEST(cancel_is_told_to_the_one_that_is_meant)
{
    struct peer *peer = peer_usual();

    says(peer, "1 generate");
    says(peer, "2 generate");
    says(peer, "\"2\" cancel"); /* a string is another id */
    says(peer, "3 cancel");
    settle();
    ck_assert(!works[0].cancelled && !works[1].cancelled);
    says(peer, "2 cancel");
    settle();
    ck_assert(!works[0].cancelled && works[1].cancelled);
    (void)writes_event(&works[1], "done", "{}");
    ends(&works[1]);
    says(peer, "2 cancel"); /* answered meanwhile */
    settle();
    assert_hears(peer, "{\"id\":2,\"done\":{}}");
    assert_silent(peer);
}
END_TEST

/* ---- Limits ---- */

static void ask_many(struct peer *peer, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        says(peer, "null predict");
}

START_TEST(who_asks_too_much_is_read_no_further)
{
    struct peer *peer = peer_usual();

    ask_many(peer, 20); /* all come with one read, and wait behind the third */
    settle();
    ck_assert_uint_eq(n_works, 3);
    ck_assert(!peer->to_read);
    for (unsigned i = 0; i < 20; i++) {
        answer(&works[i], "1");
        settle();
        ck_assert_uint_eq(n_works, i + 4 < 20 ? i + 4 : 20);
        assert_hears(peer, "{\"id\":null,\"done\":1}");
    }
    ck_assert(peer->to_read);
}
END_TEST

START_TEST(a_pause_outlasts_the_ping)
{
    struct peer *peer = peer_usual();

    ask_many(peer, 4);
    settle();
    ck_assert(!peer->to_read);
    pass_ms(300000); /* its pong could not be seen */
    ck_assert_int_ge(peer->server_fd, 0);
    answer(&works[0], "1");
    settle();
    ck_assert_uint_eq(hears(peer)->opcode, OP_PING);
    assert_hears(peer, "{\"id\":null,\"done\":1}");
    ck_assert_uint_eq(n_works, 4);
}
END_TEST

START_TEST(messages_over_the_limit_close)
{
    struct peer *peer = peer_usual();
    char text[1026];

    memset(text, ' ', sizeof(text));
    memcpy(text, "null predict", 12);
    text[1024] = '\0';
    says(peer, text);
    settle();
    ck_assert_uint_eq(n_works, 1);
    text[1024] = ' ';
    text[1025] = '\0';
    says(peer, text);
    settle();
    assert_close(peer, WS_TOO_BIG);
    assert_dropped(&works[0]);
}
END_TEST

START_TEST(messages_over_the_rate_close)
{
    struct peer *peer;

    world.config.messages_per_s = 4;
    peer = peer_usual();
    for (int i = 0; i < 4; i++) /* a second's worth at once */
        says_frame(peer, OP_PONG, "", 0);
    settle();
    for (int i = 0; i < 40; i++) { /* and so much as long as one likes */
        pass_ms(250);
        says_frame(peer, OP_PONG, "", 0);
        settle();
    }
    ck_assert(peer->to_read);
    says_frame(peer, OP_PONG, "", 0);
    says_frame(peer, OP_PONG, "", 0);
    settle();
    assert_close(peer, WS_POLICY);
}
END_TEST

START_TEST(the_rate_is_not_saved_up)
{
    struct peer *peer;

    world.config.messages_per_s = 4;
    peer = peer_usual();
    pass_ms(20000);
    for (int i = 0; i < 4; i++)
        says_frame(peer, OP_PONG, "", 0);
    settle();
    assert_silent(peer);
    says_frame(peer, OP_PONG, "", 0);
    settle();
    assert_close(peer, WS_POLICY);
}
END_TEST

/* ---- Who does not read ---- */

/* Writes as a task does: until it is told to pause. */
static size_t write_until_full(struct work *work)
{
    char json[1024];
    size_t n = 0;

    memset(json, '1', sizeof(json) - 1);
    json[sizeof(json) - 1] = '\0';
    while (n++ < 10000 &&
           writes_event(work, "token", json) < (size_t)world.config.stream_buffer_bytes)
        settle();
    ck_assert_uint_lt(n, 10000);
    return n;
}

static size_t read_all(struct peer *peer)
{
    size_t n = 0;

    for (settle(); hears(peer)->opcode == OP_TEXT; settle())
        n++;
    return n;
}

START_TEST(a_slow_reader_pauses_itself_alone)
{
    struct peer *slow = peer_usual(), *other = &peers[1];
    size_t n;

    ck_assert_int_eq(peer_open(1, &foreign), 0);
    says(slow, "1 generate");
    settle();
    n = write_until_full(&works[0]);
    says(slow, "2 predict");
    says(other, "1 predict");
    settle();
    ck_assert_uint_eq(n_works, 2); /* the slow one's is not even read */
    ck_assert(!slow->to_read && slow->to_write);
    answer(&works[1], "1");
    settle();
    assert_hears(other, "{\"id\":1,\"done\":1}");
    ck_assert_uint_eq(works[0].n_drained, 0);

    ck_assert_uint_eq(read_all(slow), n);
    ck_assert_uint_eq(works[0].n_drained, 1);
    ck_assert_uint_eq(n_works, 3);
    ck_assert(slow->to_read && !slow->to_write);
    n = write_until_full(&works[0]);
    ck_assert_uint_eq(read_all(slow), n);
    ck_assert_uint_eq(works[0].n_drained, 2);
}
END_TEST

START_TEST(a_slow_reader_that_reads_is_alive)
{
    struct peer *slow = peer_usual();

    says(slow, "1 generate");
    settle();
    while (write_until_full(&works[0]) > 10) /* the kernel is full, and so are we */
        ;
    for (int i = 0; i < 20; i++) {
        for (int n = 0; n < 60 && hears(slow)->opcode != 0; n++)
            ; /* pings among them, which it leaves unanswered */
        settle();
        (void)write_until_full(&works[0]);
        pass_ms(20000);
        ck_assert_int_ge(slow->server_fd, 0);
    }
    pass_ms(61000); /* not any more */
    ck_assert_int_eq(slow->server_fd, -1);
    assert_dropped(&works[0]);
}
END_TEST

START_TEST(a_slow_reader_that_leaves_takes_its_work_along)
{
    struct peer *slow = peer_usual();

    says(slow, "1 generate");
    settle();
    (void)write_until_full(&works[0]);
    settle();
    leaves(slow);
    settle();
    ck_assert(slow->told_gone);
    assert_dropped(&works[0]);
    assert_closed_with("1006", 1);
}
END_TEST

/* ---- Who vanishes ---- */

START_TEST(who_vanishes_takes_its_work_along)
{
    struct peer *peer = peer_usual();

    ask_many(peer, 2);
    settle();
    if (_i == 1)
        answer(&works[0], "1"); /* which lies there unread: the end is a reset */
    leaves(peer);
    settle();
    ck_assert_int_eq(peer->server_fd, -1);
    assert_dropped(&works[1]);
    assert_closed_with("1006", 1);
    ck_assert_uint_eq(n_deleted, 0);
}
END_TEST

START_TEST(who_vanishes_behind_its_last_messages_is_not_asked_for)
{
    struct peer *peer = peer_usual();

    ask_many(peer, 2);
    leaves(peer);
    settle();
    ck_assert_int_eq(peer->server_fd, -1);
    for (size_t i = 0; i < n_works; i++)
        assert_dropped(&works[i]);
}
END_TEST

START_TEST(who_vanishes_while_it_is_not_read_is_noticed)
{
    struct peer *peer = peer_usual();

    ask_many(peer, 5);
    settle();
    ck_assert(!peer->to_read);
    leaves(peer);
    settle();
    ck_assert(peer->told_gone);
    for (size_t i = 0; i < 3; i++)
        assert_dropped(&works[i]);
    ck_assert_uint_eq(n_works, 3);
}
END_TEST

START_TEST(a_session_of_its_own_ends_with_it)
{
    static const struct ws_spec spec = {.session_id = "s", .ttl_s = 100, .own_session = true};

    ck_assert_int_eq(peer_open(0, &spec), 0);
    settle();
    ck_assert_uint_eq(n_deleted, 0);
    leaves(&peers[0]);
    settle();
    ck_assert_uint_eq(n_deleted, 1);
}
END_TEST

/* ---- Time ---- */

/* The next frame is a ping, which is answered. */
static void assert_pinged(struct peer *peer)
{
    const struct heard *heard = hears(peer);

    ck_assert_uint_eq(heard->opcode, OP_PING);
    says_frame(peer, OP_PONG, heard->bytes, heard->len);
    settle();
}

START_TEST(silence_is_pinged_and_a_pong_is_life)
{
    struct peer *peer = peer_usual();

    for (int i = 0; i < 50; i++) {
        pass_ms(29000);
        assert_silent(peer);
        pass_ms(1500);
        assert_pinged(peer);
        pass_ms(500); /* so that it is silent from here on */
        says_frame(peer, OP_PONG, "", 0);
        settle();
    }
    ck_assert(peer->to_read);
}
END_TEST

START_TEST(who_talks_is_not_pinged)
{
    struct peer *peer = peer_usual();

    for (int i = 0; i < 20; i++) {
        pass_ms(20000);
        ask_many(peer, 1);
        settle();
        answer(&works[i], "1");
        settle();
        assert_hears(peer, "{\"id\":null,\"done\":1}");
    }
    assert_silent(peer);
}
END_TEST

START_TEST(no_pong_is_death)
{
    struct peer *peer = peer_usual();

    ask_many(peer, 1);
    pass_ms(30500);
    ck_assert_uint_eq(hears(peer)->opcode, OP_PING);
    pass_ms(29000);
    ck_assert_int_ge(peer->server_fd, 0);
    ck_assert(!works[0].gone);
    pass_ms(1500);
    assert_end(peer);
    assert_dropped(&works[0]);
    assert_closed_with("1006", 1);
}
END_TEST

START_TEST(who_still_takes_what_was_on_the_way_is_not_dead)
{
    struct peer *peer = peer_usual();

    peer->knows_taken = true;
    peer->on_way_bytes = 100000;
    pass_ms(30500); /* pinged, behind all of that */
    for (int i = 0; i < 10; i++) {
        peer->taken_bytes += 1000;
        pass_ms(30000);
        ck_assert_int_ge(peer->server_fd, 0);
    }
    if (_i == 0) { /* nothing moves any more */
        pass_ms(31000);
        assert_closed_with("1006", 1);
        return;
    }
    peer->taken_bytes += 1000; /* all of it, the ping too: from here on a pong is due */
    peer->on_way_bytes = 0;
    pass_ms(30500);
    ck_assert_int_ge(peer->server_fd, 0);
    peer->taken_bytes += 1000; /* of whatever else */
    pass_ms(31000);
    ck_assert_int_eq(peer->server_fd, -1);
}
END_TEST

START_TEST(an_open_socket_keeps_its_session)
{
    static const int64_t lives_s[] = {1, 40, 100, 3600};
    struct ws_spec spec = {.session_id = "s", .ttl_s = lives_s[_i]};
    int64_t half_ms = spec.ttl_s * 500 < 30000 ? spec.ttl_s * 500 : 30000;

    ck_assert_int_eq(peer_open(0, &spec), 0);
    settle();
    for (unsigned before = 0, i = 0; i < 30; i++, before = n_kept) {
        pass_ms(half_ms + 250);
        ck_assert_uint_gt(n_kept, before);
        ck_assert_uint_le(n_kept, before + 2);
        while (hears(&peers[0])->opcode == OP_PING)
            says_frame(&peers[0], OP_PONG, "", 0);
        settle();
    }
}
END_TEST

START_TEST(nobody_is_looked_at_where_there_is_no_socket)
{
    struct peer *peer = peer_usual();

    leaves(peer);
    settle();
    pass_ms(500);
    ck_assert(!uv_loop_alive(world.shards[0].loop));
}
END_TEST

/* ---- The end ---- */

START_TEST(a_close_frame_is_answered_in_kind)
{
    static const unsigned codes[] = {1000, 1001, 3000, 4999};
    struct peer *peer = peer_usual();
    char name[8];

    ask_many(peer, 1);
    settle();
    says_close(peer, codes[_i]);
    settle();
    assert_close(peer, codes[_i]);
    assert_end(peer);
    assert_dropped(&works[0]);
    snprintf(name, sizeof(name), "%u", codes[_i]);
    assert_closed_with(codes[_i] < 3000 ? name : "other", 1);
}
END_TEST

START_TEST(a_close_frame_without_a_code_is_one_too)
{
    struct peer *peer = peer_usual();

    says_close(peer, 0);
    settle();
    ck_assert_uint_eq(hears(peer)->opcode, OP_CLOSE);
    assert_end(peer);
    assert_closed_with("1005", 1);
}
END_TEST

START_TEST(answers_before_a_close_frame_still_go_out)
{
    struct peer *peer = peer_usual();

    ask_many(peer, 1);
    settle();
    answer(&works[0], "1");
    says_close(peer, 1000);
    settle();
    assert_hears(peer, "{\"id\":null,\"done\":1}");
    assert_close(peer, 1000);
    assert_end(peer);
}
END_TEST

START_TEST(after_our_close_frame_what_comes_is_dropped)
{
    struct peer *peer = peer_usual();

    says_frame(peer, OP_TEXT, "\xff", 1);
    settle();
    assert_close(peer, WS_BAD_DATA);
    ask_many(peer, 4);
    settle();
    ck_assert_uint_eq(n_works, 0);
    pass_ms(4000);
    ck_assert_int_ge(peer->server_fd, 0); /* it has some seconds to answer */
    if (_i == 0)
        says_close(peer, WS_BAD_DATA);
    else
        pass_ms(1500); /* it does not */
    settle();
    pass_ms(_i == 0 ? 1500 : 0); /* after a fault its bytes mean nothing, a close frame neither */
    assert_end(peer);
    assert_closed_with("1007", 1);
}
END_TEST

START_TEST(our_close_frame_waits_for_theirs)
{
    struct peer *peer = peer_usual();

    peer->hooks->drain(&peer->request);
    settle();
    assert_close(peer, WS_GOING_AWAY);
    ck_assert_int_ge(peer->server_fd, 0);
    says_close(peer, WS_GOING_AWAY);
    settle();
    assert_end(peer);
    assert_closed_with("1001", 1);
}
END_TEST

/* ---- Shutting down ---- */

START_TEST(draining_lets_what_runs_come_to_its_end)
{
    struct peer *peer = peer_usual();

    ask_many(peer, 1);
    settle();
    peer->hooks->drain(&peer->request);
    says(peer, "2 predict");
    settle();
    ck_assert_uint_eq(n_works, 1);
    ck_assert_ptr_nonnull(strstr(hears(peer)->bytes, "\"code\":\"draining\""));
    answer(&works[0], "1");
    settle();
    assert_hears(peer, "{\"id\":null,\"done\":1}");
    assert_close(peer, WS_GOING_AWAY);
}
END_TEST

START_TEST(a_socket_that_opens_while_draining_closes)
{
    atomic_store(&world.server.draining, true);
    ck_assert_int_eq(peer_open(0, &foreign), 0);
    settle();
    assert_close(&peers[0], WS_GOING_AWAY);
}
END_TEST

START_TEST(the_end_of_the_grace_period_ends_all)
{
    struct peer *peer = peer_usual();

    ask_many(peer, 2);
    settle();
    peer->hooks->cancel(&peer->request);
    assert_dropped(&works[0]);
    assert_dropped(&works[1]);
    assert_close(peer, WS_GOING_AWAY);
    assert_end(peer);
}
END_TEST

/* ---- Without memory ---- */

START_TEST(opening_without_memory_leaves_nothing)
{
    int rc = RNN_ENOMEM;

    for (size_t n = 1; rc != 0; n++) {
        fake_fail_at = n;
        rc = peer_open(0, &foreign);
        ck_assert(rc == 0 || rc == RNN_ENOMEM);
        ck_assert_uint_lt(n, 20);
    }
    fake_fail_at = 0;
    settle();
}
END_TEST

/* Whatever fails, the request is answered, refused or closed upon, and nothing is left over. */
START_TEST(a_message_without_memory_is_refused_or_closes)
{
    bool passed = false;

    for (size_t n = 1; !passed; n++) {
        struct peer *peer = peer_usual();
        const struct heard *heard;
        size_t before = n_works;

        says(peer, "1 predict");
        fake_fail_at = n;
        settle();
        if (n_works > before && works[before].sink)
            answer(&works[before], "1");
        settle();
        passed = fake_fail_at > 0; /* it was not reached */
        fake_fail_at = 0;
        heard = hears(peer);
        ck_assert(heard->opcode == OP_CLOSE || heard->opcode == OP_TEXT || peer->server_fd < 0);
        ck_assert(!passed || strcmp(heard->bytes, "{\"id\":1,\"done\":1}") == 0);
        leaves(peer);
        settle();
        ck_assert_int_eq(peer->server_fd, -1);
        buf_free(&peer->heard);
        ck_assert_uint_lt(n, 60);
    }
}
END_TEST

/* ---- All of them ---- */

int main(void)
{
    Suite *suite = suite_create("ws");
    TCase *tcase = tcase_create("socket");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, ws_world_setup, ws_world_teardown);
    tcase_add_test(tcase, a_message_is_asked_and_answered);
    tcase_add_test(tcase, a_stream_is_messages_and_a_last_one);
    tcase_add_test(tcase, a_failure_carries_its_id);
    tcase_add_test(tcase, ids_may_be_under_way_together_but_once_each);
    tcase_add_test(tcase, frames_are_answered_in_kind);
    tcase_add_test(tcase, frames_for_a_model_of_text_close);
    tcase_add_test(tcase, cancel_is_told_to_the_one_that_is_meant);
    tcase_add_test(tcase, who_asks_too_much_is_read_no_further);
    tcase_add_test(tcase, a_pause_outlasts_the_ping);
    tcase_add_test(tcase, messages_over_the_limit_close);
    tcase_add_test(tcase, messages_over_the_rate_close);
    tcase_add_test(tcase, the_rate_is_not_saved_up);
    tcase_add_test(tcase, a_slow_reader_pauses_itself_alone);
    tcase_add_test(tcase, a_slow_reader_that_reads_is_alive);
    tcase_add_test(tcase, a_slow_reader_that_leaves_takes_its_work_along);
    tcase_add_loop_test(tcase, who_vanishes_takes_its_work_along, 0, 2);
    tcase_add_test(tcase, who_vanishes_behind_its_last_messages_is_not_asked_for);
    tcase_add_test(tcase, who_vanishes_while_it_is_not_read_is_noticed);
    tcase_add_test(tcase, a_session_of_its_own_ends_with_it);
    tcase_add_test(tcase, silence_is_pinged_and_a_pong_is_life);
    tcase_add_test(tcase, who_talks_is_not_pinged);
    tcase_add_test(tcase, no_pong_is_death);
    tcase_add_loop_test(tcase, who_still_takes_what_was_on_the_way_is_not_dead, 0, 2);
    tcase_add_loop_test(tcase, an_open_socket_keeps_its_session, 0, 4);
    tcase_add_test(tcase, nobody_is_looked_at_where_there_is_no_socket);
    tcase_add_loop_test(tcase, a_close_frame_is_answered_in_kind, 0, 4);
    tcase_add_test(tcase, a_close_frame_without_a_code_is_one_too);
    tcase_add_test(tcase, answers_before_a_close_frame_still_go_out);
    tcase_add_loop_test(tcase, after_our_close_frame_what_comes_is_dropped, 0, 2);
    tcase_add_test(tcase, our_close_frame_waits_for_theirs);
    tcase_add_test(tcase, draining_lets_what_runs_come_to_its_end);
    tcase_add_test(tcase, a_socket_that_opens_while_draining_closes);
    tcase_add_test(tcase, the_end_of_the_grace_period_ends_all);
    tcase_add_test(tcase, opening_without_memory_leaves_nothing);
    tcase_add_test(tcase, a_message_without_memory_is_refused_or_closes);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
