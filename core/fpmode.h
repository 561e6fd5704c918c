/* Floating-point mode of the engine: denormals count as zero, going in and coming out.
 *
 * A state that decays towards zero would otherwise pass through denormals, on which many CPUs are a
 * hundred times slower.  Whoever computes sets the mode first and puts the caller's back after it.
 * The mode is the thread's own. */
#ifndef CORE_FPMODE_H
#define CORE_FPMODE_H

#include <stdint.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

struct fpmode {
    uint64_t saved;
};

static inline struct fpmode fpmode_enter(void)
{
    struct fpmode mode = {0};

#if defined(__x86_64__)
    mode.saved = _mm_getcsr();
    _mm_setcsr(0x9fc0); /* flush to zero, denormals are zero, all masked, round to nearest */
#elif defined(__aarch64__)
    uint64_t flush = (uint64_t)1 << 24; /* FZ; the rest zero: round to nearest, no traps */

    __asm__ volatile("mrs %0, fpcr" : "=r"(mode.saved));
    __asm__ volatile("msr fpcr, %0" : : "r"(flush) : "memory");
#endif
    return mode;
}

static inline void fpmode_leave(struct fpmode mode)
{
#if defined(__x86_64__)
    _mm_setcsr((unsigned)mode.saved);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(mode.saved) : "memory");
#else
    (void)mode;
#endif
}

#endif
