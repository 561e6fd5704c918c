/* The rows that `rnnd bench` steps.  Of a model whose state is its whole memory: sequences that go
 * on for ever, fed with random tokens or frames.  Of any other, and of one that answers: walks over
 * sources of BENCH_STEPS random steps, or of the model's own window, with as many tokens of an
 * answer, one after another. */
#ifndef CLI_BENCH_ROWS_H
#define CLI_BENCH_ROWS_H

#include "cli/engine.h"

enum { BENCH_ROWS_MAX = 64, BENCH_STEPS = 32 };

struct bench_rows {
    const struct rnn_model *model;
    const struct rnn_model_info *info;
    bool walks_on; /* walks, not endless sequences */
    uint64_t random;
    char *states;     /* [BENCH_ROWS_MAX] of stride bytes */
    size_t stride;    /* state_bytes, rounded up */
    float *logits;    /* [BENCH_ROWS_MAX][output_size] */
    size_t steps;     /* of a source */
    float *frames;    /* [BENCH_ROWS_MAX or steps, whichever is more][input_size], or NULL */
    uint32_t *tokens; /* [steps] */
    uint32_t target[BENCH_STEPS];
    struct rnn_walk *walks[BENCH_ROWS_MAX];
    struct rnn_row rows[BENCH_ROWS_MAX];
};

/* CLI_OK, or the exit status after printing why not; bench_rows_free() in any case. */
int bench_rows_init(struct bench_rows *b, const struct engine *engine);
void bench_rows_free(struct bench_rows *b);

/* n rows at their beginning; then, before each step, their next inputs.  The second is CLI_FAILURE
 * after printing that memory ran out. */
void bench_rows_begin(struct bench_rows *b, size_t n);
int bench_rows_next(struct bench_rows *b, size_t n);

#endif
