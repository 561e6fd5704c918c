/* Words to the service manager over NOTIFY_SOCKET (systemd's protocol), by hand.  All calls do
 * nothing where no manager listens.  Main thread only. */
#ifndef SERVER_NOTIFY_H
#define SERVER_NOTIFY_H

#include <stdint.h>

void notify_ready(void);     /* start finished, or reload finished */
void notify_reloading(void); /* settings are being read again */
void notify_stopping(void);
void notify_watchdog(void); /* still alive */

/* How often the manager wants to hear notify_watchdog(), in microseconds; 0: not at all. */
uint64_t notify_watchdog_us(void);

#endif
