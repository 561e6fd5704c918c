/* A peer: the same step by oneDNN's own recurrent primitives, which PyTorch 2 uses on CPUs.
 *
 * Usage: peer_onednn CELL HIDDEN BATCH…      (CELL: rnn, lstm, gru)
 * float32, both layers in one primitive, one time step a call, weights reordered once into the
 * layout that the library likes best ("any"), and a matmul for the head.  Builds with oneDNN 2
 * and 3. OMP_NUM_THREADS=1 is the caller's. */
#include <cmath>
#include <cstring>
#include <dnnl.hpp>
#include <unordered_map>

#include "tests/bench/bench.h"

using namespace dnnl;
using dims = memory::dims;
using type = memory::data_type;
using tag = memory::format_tag;
using arguments = std::unordered_map<int, memory>;

static engine &cpu()
{
    static engine it(engine::kind::cpu, 0);
    return it;
}

static stream &queue()
{
    static stream it(cpu());
    return it;
}

static memory filled(const memory::desc &desc, float scale)
{
    memory out(desc, cpu());

    bench_fill(static_cast<float *>(out.get_data_handle()), desc.get_size() / sizeof(float), scale);
    return out;
}

static memory reordered(memory from, const memory::desc &desc)
{
    memory to(desc, cpu());

    reorder(from, to).execute(queue(), from, to);
    queue().wait();
    return to;
}

#if DNNL_VERSION_MAJOR >= 3
#define DESCRIBE(primitive, ...) primitive::primitive_desc(cpu(), __VA_ARGS__)
#else
#define DESCRIBE(primitive, ...) primitive::primitive_desc(primitive::desc(__VA_ARGS__), cpu())
#endif

/* One step and its arguments; state goes from one set of memory to the other and back. */
struct net {
    primitive recurrent, head;
    arguments forth, back, head_arguments;
    bool flip = false;
};

static void step(void *arg)
{
    net *it = static_cast<net *>(arg);

    it->recurrent.execute(queue(), it->flip ? it->back : it->forth);
    it->head.execute(queue(), it->head_arguments);
    queue().wait();
    it->flip = !it->flip;
}

static void swap_states(net &it, bool cell_state)
{
    it.back = it.forth;
    std::swap(it.back[DNNL_ARG_SRC_ITER], it.back[DNNL_ARG_DST_ITER]);
    if (cell_state)
        std::swap(it.back[DNNL_ARG_SRC_ITER_C], it.back[DNNL_ARG_DST_ITER_C]);
}

static net make(const char *cell, memory::dim h, memory::dim batch)
{
    const bool lstm = !strcmp(cell, "lstm"), gru = !strcmp(cell, "gru");
    const memory::dim layers = BENCH_LAYERS, gates = lstm ? 4 : gru ? 3 : 1;
    const float scale = 1 / std::sqrt(static_cast<float>(h));
    const auto kind = prop_kind::forward_inference;
    const auto way = rnn_direction::unidirectional_left2right;
    const memory::desc sequence({1, batch, h}, type::f32, tag::tnc);
    const memory::desc state({layers, 1, batch, h}, type::f32, tag::ldnc);
    const memory::desc any({layers, 1, h, gates, h}, type::f32, tag::any);
    const memory::desc plain({layers, 1, h, gates, h}, type::f32, tag::ldigo);
    const memory::desc bias({layers, 1, gru ? 4 : gates, h}, type::f32, tag::ldgo);
    memory::desc layer_desc, iter_desc;
    memory top = filled(sequence, 0);
    net it;

    if (lstm) {
        auto pd = DESCRIBE(lstm_forward, kind, way, sequence, state, state, any, any, bias,
                           sequence, state, state);
        it.recurrent = lstm_forward(pd);
        layer_desc = pd.weights_layer_desc();
        iter_desc = pd.weights_iter_desc();
    } else if (gru) {
        auto pd =
            DESCRIBE(lbr_gru_forward, kind, way, sequence, state, any, any, bias, sequence, state);
        it.recurrent = lbr_gru_forward(pd);
        layer_desc = pd.weights_layer_desc();
        iter_desc = pd.weights_iter_desc();
    } else {
        auto pd = DESCRIBE(vanilla_rnn_forward, kind, algorithm::eltwise_tanh, way, sequence, state,
                           any, any, bias, sequence, state);
        it.recurrent = vanilla_rnn_forward(pd);
        layer_desc = pd.weights_layer_desc();
        iter_desc = pd.weights_iter_desc();
    }
    it.forth = {{DNNL_ARG_SRC_LAYER, filled(sequence, 1)},
                {DNNL_ARG_SRC_ITER, filled(state, 0)},
                {DNNL_ARG_WEIGHTS_LAYER, reordered(filled(plain, scale), layer_desc)},
                {DNNL_ARG_WEIGHTS_ITER, reordered(filled(plain, scale), iter_desc)},
                {DNNL_ARG_BIAS, filled(bias, scale)},
                {DNNL_ARG_DST_LAYER, top},
                {DNNL_ARG_DST_ITER, filled(state, 0)}};
    if (lstm) {
        it.forth.insert({DNNL_ARG_SRC_ITER_C, filled(state, 0)});
        it.forth.insert({DNNL_ARG_DST_ITER_C, filled(state, 0)});
    }
    swap_states(it, lstm);

    const memory::desc in({batch, h}, type::f32, tag::ab);
    const memory::desc weights({h, BENCH_OUTPUTS}, type::f32, tag::any);
    const memory::desc out({batch, BENCH_OUTPUTS}, type::f32, tag::ab);
    auto pd = DESCRIBE(matmul, in, weights, out);

    it.head = matmul(pd);
    it.head_arguments = {
        {DNNL_ARG_SRC, memory(in, cpu(), top.get_data_handle())},
        {DNNL_ARG_WEIGHTS,
         reordered(filled({{h, BENCH_OUTPUTS}, type::f32, tag::ab}, scale), pd.weights_desc())},
        {DNNL_ARG_DST, filled(out, 0)}};
    /* `top` must outlive the head's view of it: it is held by forth and back */
    return it;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: peer_onednn rnn|lstm|gru HIDDEN BATCH...\n");
        return 2;
    }
    const memory::dim h = strtol(argv[2], nullptr, 10);

    for (char **text = argv + 3; *text; text++) {
        const memory::dim batch = strtol(*text, nullptr, 10);
        net it = make(argv[1], h, batch);

        bench_print("oneDNN", argv[1], static_cast<size_t>(h), static_cast<size_t>(batch),
                    bench_measure(step, &it));
    }
    return 0;
}
