/* Slots, and the digits of time that name them.  See wheel.h.
 *
 * The level of an entry is the highest digit, to base 64, in which its time differs from now; the
 * slot is that digit of its time.  So its slot comes up, at the latest, when the digits above have
 * become those of its time: at the start of the span that holds it, never behind it.  Then it is
 * filed again, on a lower level, until it is due.
 *
 * When the clock has gone back, the digits of what lies in the slots are no longer apart from now
 * in the way that filing made them.  But all of it is due behind the old now, so behind the new
 * one, and its slot still comes up before its time; perhaps a rotation too early, which costs
 * filing. */
#include "server/wheel.h"

#include <stdbool.h>

void wheel_init(struct wheel *wheel, uint32_t now, uint32_t (*when)(const struct wheel_entry *due))
{
    *wheel = (struct wheel){.now = now, .when = when};
}

static unsigned digit(uint32_t tick, unsigned level)
{
    return tick >> (level * WHEEL_BITS) & (WHEEL_SLOTS - 1);
}

static void push(struct wheel_entry **list, struct wheel_entry *entry)
{
    entry->next = *list;
    entry->at = list;
    if (entry->next)
        entry->next->at = &entry->next;
    *list = entry;
}

static void file(struct wheel *wheel, struct wheel_entry *entry, uint32_t tick)
{
    unsigned level, slot;

    if (tick <= wheel->now) {
        push(&wheel->turned, entry);
        return;
    }
    level = (31 - (unsigned)__builtin_clz(tick ^ wheel->now)) / WHEEL_BITS;
    slot = digit(tick, level);
    wheel->filled[level] |= (uint64_t)1 << slot;
    push(&wheel->slots[level][slot], entry);
}

void wheel_insert(struct wheel *wheel, struct wheel_entry *entry)
{
    file(wheel, entry, wheel->when(entry));
}

void wheel_insert_soon(struct wheel *wheel, struct wheel_entry *entry)
{
    file(wheel, entry, wheel->now < UINT32_MAX ? wheel->now + 1 : wheel->now);
}

void wheel_remove(struct wheel_entry *entry)
{
    if (!entry->at)
        return;
    *entry->at = entry->next;
    if (entry->next)
        entry->next->at = entry->at;
    *entry = (struct wheel_entry){0};
}

void wheel_move(struct wheel *wheel, struct wheel_entry *entry)
{
    wheel_remove(entry);
    wheel_insert(wheel, entry);
}

/* Takes up what lies in a slot that now stands at; false: there is nothing in any. */
static bool take_up(struct wheel *wheel)
{
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        unsigned slot = digit(wheel->now, level);
        struct wheel_entry **list = &wheel->slots[level][slot];

        wheel->filled[level] &= ~((uint64_t)1 << slot);
        if (*list) {
            wheel->turned = *list;
            wheel->turned->at = &wheel->turned;
            *list = NULL;
            return true;
        }
    }
    return false;
}

/* The first tick behind now, and not behind `until`, at which a slot comes up. */
static uint32_t next_stop(const struct wheel *wheel, uint32_t until)
{
    uint64_t first = until;

    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        uint64_t filled = wheel->filled[level];
        unsigned behind = (digit(wheel->now, level) + 1) % WHEEL_SLOTS;
        uint64_t span, stop;

        if (filled == 0)
            continue;
        if (behind > 0)
            filled = filled >> behind | filled << (WHEEL_SLOTS - behind);
        span = (wheel->now >> (level * WHEEL_BITS)) + 1 + (uint64_t)__builtin_ctzll(filled);
        stop = span << (level * WHEEL_BITS);
        if (stop < first)
            first = stop;
    }
    return (uint32_t)first;
}

struct wheel_entry *wheel_next(struct wheel *wheel, uint32_t now, size_t *work)
{
    if (wheel->now > now)
        wheel->now = now;
    for (; *work > 0; --*work) {
        struct wheel_entry *entry = wheel->turned;

        if (entry) {
            wheel_remove(entry);
            if (wheel->when(entry) <= wheel->now) {
                --*work;
                return entry;
            }
            wheel_insert(wheel, entry);
        } else if (!take_up(wheel)) {
            if (wheel->now == now)
                return NULL;
            wheel->now = next_stop(wheel, now);
        }
    }
    return NULL;
}
