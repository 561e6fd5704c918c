/* See signals.h.  The handler only stores a number. */
#include "cli/signals.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t arrived;

static void note(int number)
{
    arrived = number;
}

void signals_catch(void)
{
    struct sigaction action = {.sa_handler = note}; /* no SA_RESTART: a read in progress ends */

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int signals_arrived(void)
{
    return arrived;
}

void signals_note(int number)
{
    if (!arrived)
        arrived = number;
}

void signals_end(void)
{
    if (!arrived)
        return;
    signal(arrived, SIG_DFL);
    raise(arrived);
}
