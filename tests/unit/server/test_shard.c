/* The mailbox and the turn: order kept, nothing lost under many senders, no message run inside the
 * call that posts it, and a shard that sleeps when nothing is to do. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bare_shard.h"
#include "server/http.h"
#include "server/router.h"
#include "server/shard.h"

#define SENDERS  4
#define LETTERS  20000
#define PATIENCE 60.0

static struct server server;
static struct config *config;
static struct shard *shards[2];

void router_dispatch(struct request *request)
{
    struct buf body = {0};

    http_reply(request, 200, NULL, &body);
}

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

#define EVENTUALLY(condition)                                                                      \
    do {                                                                                           \
        double until_ = seconds_now() + PATIENCE;                                                  \
        while (!(condition) && seconds_now() < until_)                                             \
            usleep(1000);                                                                          \
        ck_assert_msg(condition, "never: %s", #condition);                                         \
    } while (0)

static void setup(void)
{
    char *no_environment[] = {NULL};
    struct rnn_err err = {0};

    memset(&server, 0, sizeof(server));
    ck_assert_int_eq(config_load(&config, NULL, no_environment, 0, NULL, stderr), 0);
    atomic_store(&server.config, config);
    server.shards = shards;
    server.n_shards = 2;
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(shard_new(&shards[i], &server, i, &err), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(shard_start(shards[i], &err), 0);
}

static void teardown(void)
{
    for (unsigned i = 0; i < 2; i++)
        shard_close(shards[i]);
    EVENTUALLY(shard_closed(shards[0]) && shard_closed(shards[1]));
    for (unsigned i = 0; i < 2; i++)
        shard_stop(shards[i]);
    for (unsigned i = 0; i < 2; i++)
        shard_free(shards[i]);
    config_free(config);
}

struct letter {
    struct message message;
    unsigned sender, number;
};

static unsigned expected[SENDERS]; /* the receiving shard's own */
static atomic_uint n_received, n_out_of_order;

static void on_letter(struct shard *shard, struct message *message)
{
    struct letter *letter = (struct letter *)(void *)message;

    if (shard != shards[0] || expected[letter->sender] != letter->number)
        atomic_fetch_add(&n_out_of_order, 1);
    expected[letter->sender] = letter->number + 1;
    free(letter);
    atomic_fetch_add(&n_received, 1);
}

static void *send_letters(void *argument)
{
    unsigned sender = (unsigned)(uintptr_t)argument;

    for (unsigned i = 0; i < LETTERS; i++) {
        struct letter *letter = malloc(sizeof(*letter));

        *letter = (struct letter){.message.run = on_letter, .sender = sender, .number = i};
        shard_post(shards[0], &letter->message);
        if (i % 1000 == 0)
            usleep(100); /* lets the box run empty now and then */
    }
    return NULL;
}

START_TEST(messages_of_each_sender_arrive_all_and_in_order)
{
    pthread_t threads[SENDERS];

    memset(expected, 0, sizeof(expected));
    atomic_store(&n_received, 0);
    atomic_store(&n_out_of_order, 0);
    for (unsigned i = 0; i < SENDERS; i++)
        pthread_create(&threads[i], NULL, send_letters, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    EVENTUALLY(atomic_load(&n_received) == SENDERS * LETTERS);
    ck_assert_uint_eq(atomic_load(&n_out_of_order), 0);
}
END_TEST

/* A ball that goes to and fro between the shards, and to itself, a given number of times. */
struct ball {
    struct message message;
    atomic_uint left;
    atomic_bool nested, done;
    bool inside;
    bool to_self;
};

static void on_ball(struct shard *shard, struct message *message)
{
    struct ball *ball = (struct ball *)(void *)message;
    unsigned to = ball->to_self ? shard->index : 1 - shard->index;

    if (ball->inside)
        atomic_store(&ball->nested, true);
    if (atomic_load(&ball->left) == 0) {
        atomic_store(&ball->done, true); /* the last touch: the ball is on the test's stack */
        return;
    }
    ball->inside = ball->to_self; /* another shard may run it before the post returns */
    atomic_fetch_sub(&ball->left, 1);
    shard_post(shards[to], message);
    if (ball->to_self)
        ball->inside = false;
}

START_TEST(posting_to_oneself_runs_later_never_inside)
{
    struct ball ball = {.message.run = on_ball, .left = 1000, .to_self = true};

    shard_post(shards[0], &ball.message);
    EVENTUALLY(atomic_load(&ball.done));
    ck_assert(!atomic_load(&ball.nested));
}
END_TEST

START_TEST(shards_wake_each_other)
{
    struct ball ball = {.message.run = on_ball, .left = 1000};

    shard_post(shards[0], &ball.message);
    EVENTUALLY(atomic_load(&ball.done));
    ck_assert(!atomic_load(&ball.nested));
}
END_TEST

START_TEST(a_shard_with_nothing_to_do_sleeps_but_beats)
{
    uint64_t before, after;

    usleep(100000);
    before = shard_beats(shards[0]);
    usleep(1500000);
    after = shard_beats(shards[0]);
    ck_assert_uint_ge(after - before, 1);
    ck_assert_uint_le(after - before, 60);
}
END_TEST

/* Each call ends a part of what is due; the timer alone would take as many seconds. */
START_TEST(what_is_due_is_ended_in_turns_that_follow)
{
    uint64_t before = shard_beats(shards[0]) + shard_beats(shards[1]), after;

    atomic_store(&bare_due, 10000);
    EVENTUALLY(atomic_load(&bare_due) == 0);
    after = shard_beats(shards[0]) + shard_beats(shards[1]);
    ck_assert_uint_ge(after - before, 9000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shard");
    TCase *tcase = tcase_create("mailbox");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 300);
    tcase_add_test(tcase, messages_of_each_sender_arrive_all_and_in_order);
    tcase_add_test(tcase, posting_to_oneself_runs_later_never_inside);
    tcase_add_test(tcase, shards_wake_each_other);
    tcase_add_test(tcase, a_shard_with_nothing_to_do_sleeps_but_beats);
    tcase_add_test(tcase, what_is_due_is_ended_in_turns_that_follow);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
