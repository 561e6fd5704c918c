/* What the step benchmarks share: the clock, the median, the loop around what is measured.
 *
 * Time is the thread's own CPU time, so that a neighbour on the machine costs accuracy but not the
 * result.  A figure is the median of `BENCH_REPS` stretches of about `BENCH_MS / BENCH_REPS` each.
 * Header only, for C and C++ alike; single-threaded. */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BENCH_REPS_MAX = 64 };

static inline double bench_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline double bench_setting(const char *name, double otherwise)
{
    const char *text = getenv(name);

    return text && *text ? atof(text) : otherwise;
}

static inline int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Microseconds of one call of `call(arg)`. */
static inline double bench_measure(void (*call)(void *arg), void *arg)
{
    double stretch_s = bench_setting("BENCH_MS", 60) / 1e3, times[BENCH_REPS_MAX], begun, one_s;
    size_t reps = (size_t)bench_setting("BENCH_REPS", 5), n;

    if (reps < 1 || reps > BENCH_REPS_MAX)
        reps = 5;
    call(arg); /* warms the caches and the library's lazy parts */
    call(arg);
    begun = bench_now();
    call(arg);
    one_s = bench_now() - begun;
    n = (size_t)(stretch_s / (double)reps / (one_s > 1e-7 ? one_s : 1e-7)) + 1;
    for (size_t r = 0; r < reps; r++) {
        begun = bench_now();
        for (size_t i = 0; i < n; i++)
            call(arg);
        times[r] = (bench_now() - begun) / (double)n * 1e6;
    }
    qsort(times, reps, sizeof *times, bench_compare);
    return times[reps / 2];
}

/* One result: who, cell, hidden size, batch, microseconds of a step of the whole batch. */
static inline void bench_print(const char *who, const char *cell, size_t hidden, size_t batch,
                               double us)
{
    printf("%s\t%s\t%zu\t%zu\t%.3f\n", who, cell, hidden, batch, us);
    fflush(stdout);
}

/* Values in [-scale, scale), from a fixed sequence. */
static inline void bench_fill(float *values, size_t n, float scale)
{
    static unsigned state = 1;

    for (size_t i = 0; i < n; i++) {
        state = state * 1103515245u + 12345u;
        values[i] = ((float)(state >> 8 & 0xffff) / 32768.0f - 1.0f) * scale;
    }
}

/* The common work: two layers of `hidden` units on an input as wide, and a linear head. */
enum { BENCH_LAYERS = 2, BENCH_OUTPUTS = 96 };

#endif
