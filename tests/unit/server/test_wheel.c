/* The timing wheel against a plain list: whatever is inserted, put off, brought forward and taken
 * out, and wherever the clock jumps, what comes up is due, and all that is due comes up. */
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "server/wheel.h"

#define N 400

/* What is due, and what the plain list knows of it. */
struct item {
    struct wheel_entry entry;
    uint32_t when;
    bool in;        /* the wheel */
    uint32_t after; /* inserted "soon": it may stay until then */
    bool seen;
};

static struct item items[N];
static struct wheel wheel;
static uint32_t now;
static uint64_t seed;

static struct item *item_of(const struct wheel_entry *entry)
{
    return (struct item *)(uintptr_t)entry; /* its first member */
}

static uint32_t when(const struct wheel_entry *entry)
{
    return item_of(entry)->when;
}

/* SplitMix64. */
static uint64_t draw(uint64_t below)
{
    uint64_t x = seed += 0x9e3779b97f4a7c15u;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (x ^ x >> 31) % below;
}

static void begin(uint32_t at)
{
    memset(items, 0, sizeof(items));
    now = at;
    wheel_init(&wheel, at, when);
}

/* Up to 64^level ticks on, within what 32 bits hold. */
static uint32_t ahead(uint32_t from)
{
    uint64_t span = (uint64_t)1 << (WHEEL_BITS * draw(WHEEL_LEVELS) + draw(WHEEL_BITS));
    uint64_t tick = from + draw(span + 2);

    return tick > UINT32_MAX ? UINT32_MAX : (uint32_t)tick;
}

static void insert(struct item *item, uint32_t tick)
{
    item->when = item->after = tick;
    item->in = true;
    wheel_insert(&wheel, &item->entry);
}

/* Up to `work` at a time until nothing is left: what comes up, and what does not. */
static void collect(uint32_t at, size_t each)
{
    size_t work, early = 0, late = 0;

    now = at;
    for (int i = 0; i < N; i++)
        items[i].seen = false;
    do {
        struct wheel_entry *entry;

        work = each;
        while ((entry = wheel_next(&wheel, now, &work)) != NULL) {
            struct item *item = item_of(entry);

            early += !item->in || item->when > now || item->entry.at != NULL;
            item->in = false;
            item->seen = true;
        }
    } while (work == 0);
    for (int i = 0; i < N; i++)
        late += items[i].in && items[i].when <= now && items[i].after <= now;
    ck_assert_uint_eq(early + late, 0);
}

static void disturb(struct item *item)
{
    switch (item->in ? 1 + draw(4) : 0) {
    case 0:
        insert(item, draw(10) == 0 && now > 5 ? now - (uint32_t)draw(5) : ahead(now));
        break;
    case 1: /* put off: the wheel finds out by itself */
        item->when = ahead(item->when > now ? item->when : now);
        item->after = item->after > item->when ? item->after : item->when;
        break;
    case 2: /* brought forward */
        item->when = item->after = now + (uint32_t)draw(item->when > now ? item->when - now : 1);
        wheel_move(&wheel, &item->entry);
        break;
    default:
        wheel_remove(&item->entry);
        wheel_remove(&item->entry); /* out already */
        item->in = false;
    }
}

/* The beginning of the next span of that level. */
static uint32_t brink(unsigned level)
{
    uint64_t span = (uint64_t)1 << (WHEEL_BITS * level);
    uint64_t next = (now / span + 1) * span;

    return next > UINT32_MAX ? UINT32_MAX : (uint32_t)next;
}

static uint32_t jump(void)
{
    switch (draw(8)) {
    case 0:
        return now;
    case 1:
        return brink((unsigned)draw(WHEEL_LEVELS)) - (uint32_t)draw(2);
    case 2: /* back */
        return now - (uint32_t)draw((draw(2) == 0 ? now : now % 5000) + (uint64_t)1);
    case 3:
        return ahead(now);
    default:
        return now < UINT32_MAX - 100 ? now + (uint32_t)draw(100) : now;
    }
}

static void random_life(uint32_t start, int n_rounds)
{
    begin(start);
    for (int i = 0; i < n_rounds; i++) {
        for (uint64_t n = draw(40); n > 0; n--)
            disturb(&items[draw(N)]);
        collect(jump(), 1 + draw(50));
        for (int j = 0; j < N; j++) /* what is due but in use comes up again */
            if (items[j].seen && draw(4) == 0) {
                items[j].in = true;
                items[j].after = now < UINT32_MAX ? now + 1 : now;
                wheel_insert_soon(&wheel, &items[j].entry);
            }
        if (now > UINT32_MAX - 1000000)
            begin((uint32_t)draw(UINT32_MAX));
    }
}

START_TEST(what_is_due_comes_up_and_nothing_else)
{
    for (uint64_t life = 0; life < 8; life++) {
        seed = life;
        random_life((uint32_t)draw(UINT32_MAX), 1500);
    }
}
END_TEST

/* From just before the turn of each level, to both sides of the turns of every level. */
START_TEST(every_level_wraps_around)
{
    for (unsigned from = 0; from < WHEEL_LEVELS; from++)
        for (uint32_t before = 0; before < 3; before++)
            for (unsigned to = 0; to < WHEEL_LEVELS; to++) {
                uint32_t span = (uint32_t)1 << (WHEEL_BITS * from), stop;

                begin(3 * span - before);
                stop = brink(to);
                for (uint32_t i = 0; i < 5; i++)
                    insert(&items[i], stop - 2 + i);
                for (uint32_t i = 0; i < 5; i++) {
                    if (stop - 2 + i < now)
                        continue;
                    collect(stop - 2 + i, 1000);
                    ck_assert(items[i].seen || stop - 2 + i == 3 * span - before);
                    ck_assert(!items[i].in);
                }
            }
}
END_TEST

START_TEST(a_clock_set_back_makes_nothing_late_or_early)
{
    size_t n_wrong = 0;

    begin(1000000);
    for (uint32_t i = 0; i < N; i++)
        insert(&items[i], 1000000 + i * i);
    collect(1000000 + 50 * 50, 1000);
    collect(900000, 1000); /* and once more through all of it */
    for (uint32_t i = 0; i < 50; i++)
        insert(&items[i], 900000 + i * i);
    for (uint32_t tick = 900000; tick < 1000000 + N * N; tick += 37) {
        collect(tick, 7);
        for (uint32_t i = 51; i < N; i++)
            n_wrong += items[i].in != (items[i].when > tick);
    }
    ck_assert_uint_eq(n_wrong, 0);
}
END_TEST

/* However many come up at once, a caller that bounds its work gets its turn. */
START_TEST(work_is_bounded_where_many_are_due_in_one_tick)
{
    enum { MANY = 200000, EACH = 256 };
    struct item *many = calloc(MANY, sizeof(*many));
    size_t n = 0, n_calls = 0, work;

    ck_assert_ptr_nonnull(many);
    begin(5);
    for (size_t i = 0; i < MANY; i++)
        insert(&many[i], 100000);
    do {
        size_t before = n;

        work = EACH;
        while (wheel_next(&wheel, 100000, &work) != NULL)
            n++;
        ck_assert_uint_le(n - before, EACH);
        n_calls++;
    } while (work == 0);
    ck_assert_uint_eq(n, MANY);
    ck_assert_uint_ge(n_calls, MANY / EACH);
    ck_assert_uint_le(n_calls, 3 * MANY / EACH + 3); /* filed anew on two levels, then due */
    free(many);
}
END_TEST

START_TEST(centuries_of_nothing_cost_nothing)
{
    size_t work = 100;

    begin(0);
    insert(&items[0], UINT32_MAX);
    ck_assert_ptr_null(wheel_next(&wheel, UINT32_MAX - 1, &work));
    ck_assert_ptr_eq(wheel_next(&wheel, UINT32_MAX, &work), &items[0].entry);
    ck_assert_uint_gt(work, 50);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wheel");
    TCase *tcase = tcase_create("wheel");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 100);
    tcase_add_test(tcase, what_is_due_comes_up_and_nothing_else);
    tcase_add_test(tcase, every_level_wraps_around);
    tcase_add_test(tcase, a_clock_set_back_makes_nothing_late_or_early);
    tcase_add_test(tcase, work_is_bounded_where_many_are_due_in_one_tick);
    tcase_add_test(tcase, centuries_of_nothing_cost_nothing);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
