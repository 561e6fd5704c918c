/* Signals that end a command early: noted while it works, acted upon when it has cleaned up. */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

/* From now on ^C and SIGTERM are noted instead of ending the process at once. */
void signals_catch(void);

/* The signal that has arrived, 0: none.  A long loop looks after each step. */
int signals_arrived(void);

/* Notes one that was seen otherwise: SIGPIPE, as a failed write. */
void signals_note(int number);

/* Ends the process by the signal that was noted; returns where there is none. */
void signals_end(void);

#endif
