/* A hierarchical timing wheel (Varghese and Lauck 1987, scheme 7): what is due when, with an
 * insertion, a move and a removal in constant time and without memory of its own.
 *
 * An entry is embedded in what is due.  The wheel keeps no times: it asks for the time of an entry
 * when it files it, so that whoever is put off, as a session is by every use, need not be moved:
 * the entry is filed anew when its old time comes.  Only an entry whose time has come nearer must
 * be moved.
 *
 * Time is counted in ticks of the owner's, 32 bits of them (seconds since 1970 last until 2106).
 * Six levels of 64 slots: a slot of level n spans 64^n ticks.  It may jump ahead, past empty slots
 * at no cost, and back, after which nothing comes late and what was filed before is filed anew
 * once.
 *
 * One thread; the caller owns what the entries lie in. */
#ifndef SERVER_WHEEL_H
#define SERVER_WHEEL_H

#include <stddef.h>
#include <stdint.h>

enum { WHEEL_LEVELS = 6, WHEEL_BITS = 6, WHEEL_SLOTS = 1 << WHEEL_BITS };

/* Zero-initialised: in no wheel. */
struct wheel_entry {
    struct wheel_entry *next, **at; /* *at is this entry */
};

struct wheel {
    uint32_t now;                                    /* the tick that it stands at */
    uint32_t (*when)(const struct wheel_entry *due); /* its time, as of now */
    uint64_t filled[WHEEL_LEVELS];                   /* bit s: slot s may hold something */
    struct wheel_entry *slots[WHEEL_LEVELS][WHEEL_SLOTS];
    struct wheel_entry *turned; /* their slots have come up: due, or to be filed anew */
};

void wheel_init(struct wheel *wheel, uint32_t now, uint32_t (*when)(const struct wheel_entry *due));

/* An entry that is in no wheel; it comes up at its time, or at once where that has been. */
void wheel_insert(struct wheel *wheel, struct wheel_entry *entry);

/* The same, but it comes up at the next tick, whatever its time. */
void wheel_insert_soon(struct wheel *wheel, struct wheel_entry *entry);

void wheel_remove(struct wheel_entry *entry); /* in none: does nothing */
void wheel_move(struct wheel *wheel, struct wheel_entry *entry);

/* Takes out an entry that is due at `now`, in no order; NULL: there is none, or *work has become 0.
 * Each entry that is looked at and each slot costs one of it, so that a caller with other things to
 * do goes on later where it stopped. */
struct wheel_entry *wheel_next(struct wheel *wheel, uint32_t now, size_t *work);

#endif
