/* Tasks of the store: made, cleared of what they hold, freed.  See store.h.  No thread, no disk, so
 * that tests with a store of their own have the same tasks. */
#include <stdlib.h>
#include <string.h>

#include "server/store.h"

struct store_task *store_task_new(enum store_kind kind, const struct store_facts *facts,
                                  const struct rnn_state *state)
{
    struct store_task *task = calloc(1, sizeof(*task));

    if (task == NULL)
        return NULL;
    task->kind = kind;
    task->facts = *facts;
    if (state == NULL)
        return task;
    task->state = malloc(facts->state_bytes);
    if (task->state == NULL) {
        free(task);
        return NULL;
    }
    memcpy(task->state, state, facts->state_bytes);
    return task;
}

static void state_free(struct rnn_state *state, size_t bytes)
{
    if (state != NULL)
        explicit_bzero(state, bytes);
    free(state);
}

void store_task_clear(struct store_task *task)
{
    state_free(task->state, task->facts.state_bytes);
    state_free(task->begin, task->facts.state_bytes);
    state_free(task->initial.state, task->facts.state_bytes);
    for (size_t i = 0; i < task->n_points; i++)
        state_free(task->points[i].state, task->facts.state_bytes);
    free(task->points);
    task->state = task->begin = task->initial.state = NULL;
    task->points = NULL;
    task->n_points = 0;
}

void store_task_free(struct store_task *task)
{
    if (task == NULL)
        return;
    store_task_clear(task);
    free(task);
}
