/* Sessions when the weights of their model change: pinned, moved, ended, now or when they are let
 * go. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"
#include "server/models.h"
#include "server/session_change.h"

static struct fake_world world;
static struct sessions *sessions;
static struct models *models;
static struct rnn_model *before, *after;

static void setup(void)
{
    fake_world_init(&world, 1);
    ck_assert_int_eq(models_new(&models, "/nowhere", NULL, NULL), 0);
    world.server.models = models;
    before = fake_model_of("11", "h");
    ck_assert_int_eq(sessions_new(&sessions, &world.shards[0], NULL), 0);
    world.shards[0].sessions = sessions;
}

static void serve(struct rnn_model *model)
{
    struct model_entry entry = {.name = "m", .model = rnn_model_ref(model)}, old;

    ck_assert_int_eq(models_serve(models, &entry, &old, NULL), 0);
    rnn_model_unref(old.model);
}

static void teardown(void)
{
    sessions_free(sessions);
    models_free(models);
    ck_assert_uint_eq(fake_model_refs(before), 1); /* nothing was left behind */
    ck_assert_uint_eq(fake_model_refs(after), 1);
    rnn_model_unref(before);
    rnn_model_unref(after);
    world.server.models = NULL;
    ck_assert_double_eq(fake_metric(&world, "rnnd_sessions"), 0);
    fake_world_deinit(&world);
}

static void create_with(const char *id, const char *key, const char *name, size_t window)
{
    const struct session_spec spec = {.id = id,
                                      .key_name = key,
                                      .model_name = name,
                                      .model = before,
                                      .seed = 42,
                                      .state_bytes = rnn_state_bytes(before, window)};
    struct session_view view;

    ck_assert_int_eq(session_create(sessions, &spec, &view), 0);
    ck_assert_uint_eq(view.window, window);
}

static void create(const char *id, const char *key, const char *name)
{
    create_with(id, key, name, 0);
}

/* Three of the model, of two owners, and one of another name. */
static void begin(struct rnn_model *new_model)
{
    after = new_model;
    serve(before);
    create("a", "k", "m");
    create("b", "k", "m");
    create("a", "l", "m");
    create("c", "k", "other");
    serve(after);
}

struct guest {
    struct session_hold hold;
    int granted, refused;
    enum reply_error reason;
};

static void on_granted(struct session_hold *hold)
{
    ((struct guest *)hold)->granted++;
}

static void on_refused(struct session_hold *hold, enum reply_error reason)
{
    ((struct guest *)hold)->refused++;
    ((struct guest *)hold)->reason = reason;
}

static session_result enter(struct guest *guest, const char *id, const char *key)
{
    session_result rc;
    bool granted;

    *guest = (struct guest){.hold = {.granted = on_granted, .refused = on_refused}};
    rc = session_acquire(sessions, id, key, true, &guest->hold, &granted);
    guest->granted += granted;
    return rc;
}

static const struct rnn_model *stands_on(const char *id, const char *key)
{
    const struct rnn_model *model;
    struct guest guest;

    ck_assert_int_eq(enter(&guest, id, key), 0);
    ck_assert_int_eq(guest.granted, 1);
    model = session_model(&guest.hold);
    session_release(sessions, &guest.hold, NULL, NULL);
    return model;
}

static void no_task(struct sessions_change *change)
{
    (void)change;
    ck_abort_msg("there is no store");
}

static struct sessions_change change(enum sessions_policy policy, struct rnn_model *model)
{
    struct sessions_change walk = {
        .model_name = "m", .model = model, .policy = policy, .task_ended = no_task};
    size_t n = 0, n_sessions = atomic_load(&world.server.n_sessions);

    while (sessions_change_some(sessions, &walk, 1)) /* the smallest slices */
        n++;
    ck_assert_uint_le(n, n_sessions); /* each once */
    return walk;
}

static struct model_entry version(bool old, size_t at)
{
    struct model_entry *list, entry = {0};
    size_t n;

    ck_assert_int_eq((old ? models_list_old : models_list)(models, &list, &n, NULL), 0);
    if (at < n)
        entry = list[at];
    models_list_free(list, n);
    return entry;
}

START_TEST(pinned_ones_stay)
{
    struct sessions_change walk;

    begin(fake_model_of("22", "h"));
    walk = change(SESSIONS_PIN, after);
    ck_assert_uint_eq(walk.n_pinned, 3);
    ck_assert_uint_eq(walk.n_migrated + walk.n_same + walk.n_closed + walk.n_busy, 0);
    ck_assert_ptr_eq(stands_on("a", "k"), before);
    ck_assert_ptr_eq(stands_on("a", "l"), before);
    ck_assert_uint_eq(version(false, 0).n_sessions, 0);
    ck_assert_uint_eq(version(true, 0).n_sessions, 4); /* with the one of another name */
    ck_assert_int_eq(session_delete(sessions, "a", "k"), 0);
    ck_assert_int_eq(session_delete(sessions, "b", "k"), 0);
    ck_assert_int_eq(session_delete(sessions, "c", "k"), 0);
    ck_assert(models_know(models, before));
    ck_assert_int_eq(session_delete(sessions, "a", "l"), 0);
    ck_assert(!models_know(models, before)); /* gone with its last */
}
END_TEST

START_TEST(those_that_fit_go_over)
{
    struct sessions_change walk;

    begin(fake_model_of("22", "h"));
    walk = change(SESSIONS_MIGRATE, after);
    ck_assert_uint_eq(walk.n_migrated, 3);
    ck_assert_uint_eq(walk.n_pinned, 0);
    ck_assert_ptr_eq(stands_on("a", "k"), after);
    ck_assert_ptr_eq(stands_on("b", "k"), after);
    ck_assert_ptr_eq(stands_on("a", "l"), after);
    ck_assert_ptr_eq(stands_on("c", "k"), before);
    ck_assert_uint_eq(version(false, 0).n_sessions, 3);
    ck_assert_uint_eq(version(true, 0).n_sessions, 1);
}
END_TEST

START_TEST(those_of_other_parts_stay)
{
    struct sessions_change walk;

    begin(fake_model_of("22", "c"));
    walk = change(SESSIONS_MIGRATE, after);
    ck_assert_uint_eq(walk.n_migrated, 0);
    ck_assert_uint_eq(walk.n_pinned, 3);
    ck_assert_ptr_eq(stands_on("a", "k"), before);
}
END_TEST

/* Three more that remember tokens, one of them in use. */
static void begin_with_windows(struct rnn_model *new_model, struct guest *holder)
{
    begin(new_model);
    serve(before);
    create_with("w", "k", "m", 3);
    create_with("x", "k", "m", 9);
    create_with("y", "k", "m", 3);
    serve(after);
    ck_assert_int_eq(enter(holder, "y", "k"), 0);
}

static void release_window(struct guest *holder)
{
    session_release(sessions, &holder->hold, NULL, NULL);
    fake_run_messages();
}

START_TEST(what_is_remembered_goes_over_too)
{
    struct guest holder;
    struct sessions_change walk;
    struct session_view view;

    begin_with_windows(fake_model_of("22", "h"), &holder);
    walk = change(SESSIONS_MIGRATE, after);
    ck_assert_uint_eq(walk.n_migrated, 5);
    ck_assert_uint_eq(walk.n_busy, 1);
    release_window(&holder);
    ck_assert_ptr_eq(stands_on("w", "k"), after);
    ck_assert_ptr_eq(stands_on("y", "k"), after);
    ck_assert_int_eq(session_view(sessions, "x", "k", &view), 0);
    ck_assert_uint_eq(view.window, 9);
}
END_TEST

START_TEST(what_is_remembered_must_be_tokens_of_the_new_ones)
{
    struct rnn_model *model = fake_model_of("22", "h");
    struct guest holder;
    struct sessions_change walk;

    fake_model_reads(model, 6);
    begin_with_windows(model, &holder);
    walk = change(SESSIONS_MIGRATE, after);
    ck_assert_uint_eq(walk.n_migrated, 3);
    ck_assert_uint_eq(walk.n_pinned + walk.n_busy, 3);
    release_window(&holder);
    ck_assert_ptr_eq(stands_on("a", "k"), after); /* it remembers nothing */
    ck_assert_ptr_eq(stands_on("w", "k"), before);
    ck_assert_ptr_eq(stands_on("y", "k"), before);
}
END_TEST

START_TEST(the_same_weights_with_windows_are_the_same)
{
    struct guest holder;
    struct sessions_change walk;

    begin_with_windows(fake_model_of("11", "h"), &holder);
    walk = change(SESSIONS_PIN, after);
    ck_assert_uint_eq(walk.n_same, 5);
    release_window(&holder);
    ck_assert_ptr_eq(stands_on("w", "k"), after);
    ck_assert_ptr_eq(stands_on("y", "k"), after);
}
END_TEST

START_TEST(the_same_weights_are_gone_over_to_by_any_policy)
{
    struct sessions_change walk;

    begin(fake_model_of("11", "h"));
    walk = change(SESSIONS_PIN, after);
    ck_assert_uint_eq(walk.n_same, 3);
    ck_assert_uint_eq(walk.n_pinned, 0);
    ck_assert_ptr_eq(stands_on("a", "k"), after);
}
END_TEST

START_TEST(closed_ones_are_gone)
{
    struct session_view view;
    struct sessions_change walk;

    begin(fake_model_of("22", "h"));
    world.config.session_gone_s = 60;
    walk = change(SESSIONS_CLOSE, after);
    ck_assert_uint_eq(walk.n_closed, 3);
    ck_assert_int_eq(session_view(sessions, "a", "k", &view), SESSION_FAIL(REPLY_SESSION_EXPIRED));
    ck_assert_int_eq(session_view(sessions, "c", "k", &view), 0);
    fake_advance_ms(&world, 60001);
    (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
    ck_assert_int_eq(session_view(sessions, "a", "k", &view), SESSION_FAIL(REPLY_NO_SESSION));
    ck_assert_double_eq(fake_metric(&world, "rnnd_session_events_total{event=\"closed\"}"), 3);
}
END_TEST

START_TEST(an_unload_closes_or_pins)
{
    struct model_entry old;

    begin(fake_model_of("22", "h"));
    ck_assert_int_eq(models_retire(models, "m", &old, NULL), 0);
    rnn_model_unref(old.model);
    ck_assert_uint_eq(change(SESSIONS_PIN, NULL).n_pinned, 3);
    ck_assert_ptr_eq(stands_on("a", "k"), before);
    ck_assert_uint_eq(change(SESSIONS_CLOSE, NULL).n_closed, 3);
}
END_TEST

START_TEST(one_in_use_goes_over_before_the_next_in_line)
{
    struct guest holder, waiting;
    struct sessions_change walk;

    begin(fake_model_of("22", "h"));
    ck_assert_int_eq(enter(&holder, "a", "k"), 0);
    ck_assert_int_eq(enter(&waiting, "a", "k"), 0);
    walk = change(SESSIONS_MIGRATE, after);
    ck_assert_uint_eq(walk.n_migrated, 2);
    ck_assert_uint_eq(walk.n_busy, 1);
    ck_assert_ptr_eq(session_model(&holder.hold), before); /* under its hands nothing changes */
    session_release(sessions, &holder.hold, NULL, NULL);
    fake_run_messages();
    ck_assert_int_eq(waiting.granted, 1);
    ck_assert_ptr_eq(session_model(&waiting.hold), after);
    session_release(sessions, &waiting.hold, NULL, NULL);
    ck_assert_uint_eq(version(false, 0).n_sessions, 3);
}
END_TEST

START_TEST(one_in_use_ends_when_it_is_let_go)
{
    struct guest holder, waiting;
    struct session_view view;

    begin(fake_model_of("22", "h"));
    world.config.session_gone_s = 60;
    ck_assert_int_eq(enter(&holder, "a", "k"), 0);
    ck_assert_int_eq(enter(&waiting, "a", "k"), 0);
    ck_assert_uint_eq(change(SESSIONS_CLOSE, after).n_busy, 1);
    ck_assert_int_eq(session_view(sessions, "a", "k", &view), 0);
    ck_assert_int_eq(waiting.refused, 0);
    session_release(sessions, &holder.hold, NULL, &view);
    ck_assert_int_eq(waiting.refused, 1);
    ck_assert_int_eq(waiting.reason, REPLY_SESSION_EXPIRED);
    ck_assert_int_eq(session_view(sessions, "a", "k", &view), SESSION_FAIL(REPLY_SESSION_EXPIRED));
}
END_TEST

START_TEST(a_later_order_replaces_an_earlier_one)
{
    struct guest holder;

    begin(fake_model_of("22", "h"));
    ck_assert_int_eq(enter(&holder, "a", "k"), 0);
    ck_assert_uint_eq(change(SESSIONS_CLOSE, after).n_busy, 1);
    ck_assert_uint_eq(change(SESSIONS_PIN, after).n_pinned, 1); /* the others have ended */
    session_release(sessions, &holder.hold, NULL, NULL);
    ck_assert_ptr_eq(stands_on("a", "k"), before);
}
END_TEST

/* Replaced while the walk was under way: a later one will come. */
START_TEST(to_weights_that_are_served_no_more_nobody_goes)
{
    struct model_entry old;

    begin(fake_model_of("22", "h"));
    ck_assert_int_eq(models_retire(models, "m", &old, NULL), 0);
    rnn_model_unref(old.model);
    ck_assert_uint_eq(change(SESSIONS_MIGRATE, after).n_failed, 3);
    ck_assert_ptr_eq(stands_on("a", "k"), before);
    ck_assert_ptr_eq(stands_on("a", "l"), before);
}
END_TEST

START_TEST(on_weights_that_nobody_knows_none_begins)
{
    struct session_view view;

    begin(fake_model_of("22", "h"));
    (void)change(SESSIONS_MIGRATE, after);
    ck_assert_int_eq(session_delete(sessions, "c", "k"), 0); /* the last on the old ones */
    ck_assert_int_eq(
        session_create(
            sessions,
            &(struct session_spec){.id = "d", .key_name = "k", .model_name = "m", .model = before},
            &view),
        SESSION_FAIL(REPLY_SESSION_ORPHANED));
    ck_assert_int_eq(session_view(sessions, "a", "k", &view), 0);
    ck_assert_str_eq(view.fingerprint, "22");
    ck_assert(models_serves(models, view.model, view.fingerprint));
    ck_assert(!models_serves(models, view.model, "11"));
    ck_assert(!models_serves(models, "other", "22"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session_change");
    TCase *tcase = tcase_create("session_change");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, pinned_ones_stay);
    tcase_add_test(tcase, those_that_fit_go_over);
    tcase_add_test(tcase, those_of_other_parts_stay);
    tcase_add_test(tcase, what_is_remembered_goes_over_too);
    tcase_add_test(tcase, what_is_remembered_must_be_tokens_of_the_new_ones);
    tcase_add_test(tcase, the_same_weights_with_windows_are_the_same);
    tcase_add_test(tcase, the_same_weights_are_gone_over_to_by_any_policy);
    tcase_add_test(tcase, closed_ones_are_gone);
    tcase_add_test(tcase, an_unload_closes_or_pins);
    tcase_add_test(tcase, one_in_use_goes_over_before_the_next_in_line);
    tcase_add_test(tcase, one_in_use_ends_when_it_is_let_go);
    tcase_add_test(tcase, a_later_order_replaces_an_earlier_one);
    tcase_add_test(tcase, to_weights_that_are_served_no_more_nobody_goes);
    tcase_add_test(tcase, on_weights_that_nobody_knows_none_begins);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
