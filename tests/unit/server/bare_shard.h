/* What the tests may want of a shard without contents. */
#ifndef TESTS_UNIT_SERVER_BARE_SHARD_H
#define TESTS_UNIT_SERVER_BARE_SHARD_H

#include <stdatomic.h>

/* Calls of sessions_expire(), of any shard, that are still to be made before all that was due has
 * ended; for the test to set. */
extern atomic_uint bare_due;

#endif
