/* Which kernels run: the best table that this CPU can execute, unless one was asked for.
 *
 * The choice is one atomic pointer, so that it may be read from any thread; it is only changed
 * while no step is running, as core/rnn.h asks. */
#include "core/kernels.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "core/rnn.h"

struct level {
    enum rnn_isa isa;
    const struct rnn_kernels *kernels;
    bool (*supported)(void);
};

#if defined(__x86_64__)
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f");
}
#endif

static bool has_anything(void)
{
    return true;
}

/* Best first. */
static const struct level levels[] = {
#if defined(__x86_64__)
    {RNN_ISA_AVX512, &rnn_kernels_avx512, has_avx512},
    {RNN_ISA_AVX2, &rnn_kernels_avx2, has_avx2},
#endif
    {RNN_ISA_SCALAR, &rnn_kernels_scalar, has_anything},
};

static _Atomic(const struct rnn_kernels *) current;

static const struct rnn_kernels *find(enum rnn_isa isa)
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if ((isa == RNN_ISA_AUTO || isa == levels[i].isa) && levels[i].supported())
            return levels[i].kernels;
    return NULL;
}

int rnn_kernels_select(enum rnn_isa isa, struct rnn_err *err)
{
    static const char *const names[] = {"auto", "scalar", "avx2", "avx512"};
    const struct rnn_kernels *kernels = find(isa);

    if (!kernels)
        return rnn_fail(err, RNN_EUNSUPPORTED, "this CPU cannot run the %s kernels",
                        (unsigned)isa < 4 ? names[isa] : "unknown");
    atomic_store_explicit(&current, kernels, memory_order_release);
    return 0;
}

const struct rnn_kernels *rnn_kernels_current(void)
{
    const struct rnn_kernels *kernels = atomic_load_explicit(&current, memory_order_acquire);

    if (!kernels) {
        kernels = find(RNN_ISA_AUTO);
        atomic_store_explicit(&current, kernels, memory_order_release);
    }
    return kernels;
}

const char *rnn_kernels_name(void)
{
    return rnn_kernels_current()->name;
}
