/* config.json: good files of every topology become the right spec, and every wrong key, type, bound
 * and contradiction is refused under its own path. */
#include "models/config_json.h"

#include "base/json.h"
#include "core/cell.h"
#include "folder.h"

#define TOP         "\"schema\":\"rnnd-ref-1\","
#define DENSE       "\"input\":{\"kind\":\"dense\",\"size\":3}"
#define EMBED       "\"input\":{\"kind\":\"embedding\",\"size\":5,\"dim\":4}"
#define RNN         "\"rnn\":{\"cell\":\"gru\",\"hidden_size\":4,\"num_layers\":2}"
#define LSTM        "\"rnn\":{\"cell\":\"lstm\",\"hidden_size\":6,\"num_layers\":3,\"proj_size\":4}"
#define HEAD        "\"head\":{\"size\":5,\"activation\":\"softmax\"}"
#define SYNCED(...) "{" TOP "\"topology\":\"synced\"," __VA_ARGS__ "}"

static int parse(const char *text, struct model_config *config, struct rnn_err *err)
{
    return model_config_parse(config, text, strlen(text), err);
}

START_TEST(a_synced_stack_is_read)
{
    const char *text = SYNCED(
        EMBED "," LSTM
              ",\"head\":{\"size\":5,\"bias\":false,\"tied\":true,\"activation\":\"softmax\"},"
              "\"dtype\":\"BF16\",\"name\":\"x\",\"tensors\":{\"a\":[1]}");
    struct model_config config;
    const struct rnn_stack_spec *stack = &config.spec.stacks[0];

    ck_assert_int_eq(parse(text, &config, NULL), 0);
    ck_assert_int_eq(config.spec.topology, RNN_SYNCED);
    ck_assert_uint_eq(config.spec.n_stacks, 1);
    ck_assert(config.has_dtype && config.spec.dtype == RNN_BF16);
    ck_assert_ptr_nonnull(config.tensors);
    ck_assert_str_eq(stack->prefix, "");
    ck_assert_int_eq(stack->input_kind, RNN_INPUT_EMBEDDING);
    ck_assert_uint_eq(stack->input_size, 5);
    ck_assert_uint_eq(stack->embedding_dim, 4);
    ck_assert_uint_eq(stack->n_layers, 3);
    for (int k = 0; k < 3; k++) {
        ck_assert_str_eq(stack->layers[k].cell->name, "lstm");
        ck_assert_uint_eq(stack->layers[k].hidden, 6);
        ck_assert_uint_eq(stack->layers[k].proj, 4);
        ck_assert_uint_eq(stack->layers[k].input_width, 4);
        ck_assert_uint_eq(stack->layers[k].directions, 1);
        ck_assert(stack->layers[k].bias);
    }
    ck_assert(stack->head.present && stack->head.tied && !stack->head.bias);
    ck_assert_int_eq(stack->head.activation, RNN_HEAD_SOFTMAX);
    ck_assert(config.spec.bos == -1 && config.spec.eos == -1 && config.spec.unk == -1);
    model_config_free(&config);
}
END_TEST

START_TEST(what_is_left_out_has_its_natural_meaning)
{
    struct model_config config;
    const struct rnn_stack_spec *stack = &config.spec.stacks[0];

    ck_assert_int_eq(parse(SYNCED(DENSE "," RNN ",\"head\":null"), &config, NULL), 0);
    ck_assert(!config.has_dtype && !config.tensors && !stack->head.present);
    ck_assert(stack->layers[0].bias && stack->layers[0].directions == 1);
    ck_assert_uint_eq(stack->layers[0].input_width, 3);
    ck_assert_uint_eq(stack->layers[1].input_width, 4);
    model_config_free(&config);
    ck_assert_int_eq(parse(SYNCED(DENSE "," RNN "," HEAD), &config, NULL), 0);
    ck_assert(stack->head.bias && !stack->head.tied);
    model_config_free(&config);
}
END_TEST

START_TEST(all_topologies_are_known)
{
    static const char *const texts[] = {
        "{" TOP "\"topology\":\"many_to_one\",\"pool\":\"final\"," EMBED ","
        "\"rnn\":{\"cell\":\"gru\",\"hidden_size\":4,\"num_layers\":2,\"bidirectional\":true}," HEAD
        "}",
        "{" TOP "\"topology\":\"one_to_many\",\"features\":6,\"bridge\":\"tanh\",\"bos\":0,"
        "\"eos\":1," EMBED "," RNN "," HEAD "}",
        "{" TOP "\"topology\":\"seq2seq\",\"bos\":2,\"eos\":3,\"source_eos\":1,\"max_len\":20,"
        "\"state_transfer\":\"copy\",\"encoder\":{\"topology\":\"synced\"," EMBED "," RNN "},"
        "\"decoder\":{" EMBED "," RNN "," HEAD "}}"};
    struct model_config config;

    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(parse(texts[i], &config, NULL), 0);
        ck_assert_int_eq(config.spec.topology, (enum rnn_topology)(i + 1));
        ck_assert_uint_eq(config.spec.features, i == 1 ? 6 : 0);
        model_config_free(&config);
    }
    ck_assert_int_eq(parse(texts[2], &config, NULL), 0);
    ck_assert_uint_eq(config.spec.n_stacks, 2);
    ck_assert_str_eq(config.spec.stacks[0].prefix, "decoder.");
    ck_assert_str_eq(config.spec.stacks[1].prefix, "encoder.");
    ck_assert_int_eq(config.spec.bos, 2);
    ck_assert_int_eq(config.spec.eos, 3);
    model_config_free(&config);
}
END_TEST

START_TEST(a_window_makes_what_stands_above_it_wide)
{
    struct model_config config;
    const struct rnn_stack_spec *stack = &config.spec.stacks[0];

    ck_assert_int_eq(parse("{" TOP "\"topology\":\"many_to_one\",\"pool\":\"flatten\","
                           "\"steps\":6," DENSE "," RNN "," HEAD "}",
                           &config, NULL),
                     0);
    ck_assert_int_eq(config.spec.pool, RNN_POOL_FLATTEN);
    ck_assert_uint_eq(stack->window, 6);
    ck_assert_uint_eq(rnn_stack_readout_width(stack), 4);
    ck_assert_uint_eq(rnn_stack_head_width(stack), 24);
    model_config_free(&config);
}
END_TEST

START_TEST(a_decoder_reads_what_its_encoder_comes_to)
{
    struct model_config config;
    const struct rnn_stack_spec *decoder = &config.spec.stacks[0],
                                *encoder = &config.spec.stacks[1];

    ck_assert_int_eq(parse("{" TOP "\"topology\":\"repeat\",\"encoder\":{" EMBED "," RNN
                           ",\"pool\":\"flatten\",\"steps\":3},\"decoder\":{\"repeat\":7," RNN
                           "," HEAD "}}",
                           &config, NULL),
                     0);
    ck_assert_int_eq(config.spec.topology, RNN_REPEAT);
    ck_assert_uint_eq(config.spec.repeat, 7);
    ck_assert_uint_eq(encoder->window, 3);
    ck_assert_int_eq(decoder->input_kind, RNN_INPUT_DENSE);
    ck_assert_uint_eq(decoder->input_size, 12);
    ck_assert_uint_eq(decoder->layers[0].input_width, 12);
    model_config_free(&config);
}
END_TEST

START_TEST(both_directions_double_the_width)
{
    struct model_config config;

    ck_assert_int_eq(parse(SYNCED(DENSE ",\"rnn\":{\"cell\":\"rnn_relu\",\"hidden_size\":4,"
                                        "\"num_layers\":2,\"bidirectional\":true,\"bias\":false}"),
                           &config, NULL),
                     0);
    ck_assert_uint_eq(config.spec.stacks[0].layers[1].input_width, 8);
    ck_assert_uint_eq(rnn_layer_width(&config.spec.stacks[0].layers[1]), 8);
    ck_assert(!config.spec.stacks[0].layers[1].bias);
    model_config_free(&config);
}
END_TEST

START_TEST(faults_are_refused_under_their_path)
{
    static const struct {
        const char *text;
        int code;
        const char *param;
    } bad[] = {
        {"[]", RNN_ETYPE, ""},
        {"{", RNN_EFORMAT, ""},
        {"{}", RNN_EFORMAT, "schema"},
        {"{\"schema\":\"rnnd-ref-2\"}", RNN_EUNSUPPORTED, "schema"},
        {"{\"schema\":1}", RNN_ETYPE, "schema"},
        {"{" TOP "\"topology\":\"ring\"}", RNN_EUNSUPPORTED, "topology"},
        {"{" TOP "\"x\":1}", RNN_EFORMAT, "topology"},
        {SYNCED(DENSE "," RNN ",\"x\":1"), RNN_EFORMAT, "x"},
        {SYNCED(DENSE "," RNN ",\"pool\":\"final\""), RNN_EFORMAT, "pool"},
        {SYNCED(DENSE "," RNN ",\"name\":1"), RNN_ETYPE, "name"},
        {SYNCED(DENSE "," RNN ",\"dtype\":\"I8\""), RNN_EUNSUPPORTED, "dtype"},
        {SYNCED(DENSE "," RNN ",\"tensors\":[]"), RNN_ETYPE, "tensors"},
        {SYNCED(DENSE "," RNN ",\"bos\":1"), RNN_ESHAPE, "bos"},
        {SYNCED(EMBED "," RNN ",\"eos\":5"), RNN_ERANGE, "eos"},
        {SYNCED(RNN), RNN_EFORMAT, "input"},
        {SYNCED(DENSE), RNN_EFORMAT, "rnn"},
        {SYNCED("\"input\":3," RNN), RNN_ETYPE, "input"},
        {SYNCED("\"input\":{\"size\":3}," RNN), RNN_EFORMAT, "input.kind"},
        {SYNCED("\"input\":{\"kind\":\"image\",\"size\":3}," RNN), RNN_EUNSUPPORTED, "input.kind"},
        {SYNCED("\"input\":{\"kind\":\"dense\"}," RNN), RNN_EFORMAT, "input.size"},
        {SYNCED("\"input\":{\"kind\":\"dense\",\"size\":0}," RNN), RNN_ERANGE, "input.size"},
        {SYNCED("\"input\":{\"kind\":\"dense\",\"size\":1e9}," RNN), RNN_ERANGE, "input.size"},
        {SYNCED("\"input\":{\"kind\":\"dense\",\"size\":\"3\"}," RNN), RNN_ETYPE, "input.size"},
        {SYNCED("\"input\":{\"kind\":\"dense\",\"size\":3,\"dim\":2}," RNN), RNN_ESHAPE,
         "input.dim"},
        {SYNCED("\"input\":{\"kind\":\"embedding\",\"size\":3}," RNN), RNN_EFORMAT, "input.dim"},
        {SYNCED("\"input\":{\"kind\":\"dense\",\"size\":3,\"y\":2}," RNN), RNN_EFORMAT, "input.y"},
        {SYNCED(DENSE ",\"rnn\":{\"hidden_size\":4,\"num_layers\":1}"), RNN_EFORMAT, "rnn.cell"},
        {SYNCED(DENSE ",\"rnn\":{\"cell\":\"elman\",\"hidden_size\":4,\"num_layers\":1}"),
         RNN_EUNSUPPORTED, "rnn.cell"},
        {SYNCED(DENSE ",\"rnn\":{\"cell\":\"gru\",\"num_layers\":1}"), RNN_EFORMAT,
         "rnn.hidden_size"},
        {SYNCED(DENSE ",\"rnn\":{\"cell\":\"gru\",\"hidden_size\":65537,\"num_layers\":1}"),
         RNN_ERANGE, "rnn.hidden_size"},
        {SYNCED(DENSE ",\"rnn\":{\"cell\":\"gru\",\"hidden_size\":-1,\"num_layers\":1}"),
         RNN_ERANGE, "rnn.hidden_size"},
        {SYNCED(DENSE ",\"rnn\":{\"cell\":\"gru\",\"hidden_size\":4,\"num_layers\":65}"),
         RNN_ERANGE, "rnn.num_layers"},
        {SYNCED(DENSE ",\"rnn\":{\"cell\":\"gru\",\"hidden_size\":4,\"num_layers\":1.5}"),
         RNN_ETYPE, "rnn.num_layers"},
        {SYNCED(DENSE ",\"rnn\":{\"cell\":\"gru\",\"hidden_size\":4,\"num_layers\":1,\"bias\":1}"),
         RNN_ETYPE, "rnn.bias"},
        {SYNCED(DENSE
                ",\"rnn\":{\"cell\":\"gru\",\"hidden_size\":4,\"num_layers\":1,\"proj_size\":2}"),
         RNN_ESHAPE, "rnn.proj_size"},
        {SYNCED(DENSE ",\"rnn\":{\"cell\":\"gru\",\"hidden_size\":4,\"num_layers\":1,\"drop\":0}"),
         RNN_EFORMAT, "rnn.drop"},
        {SYNCED(DENSE "," RNN ",\"head\":{\"activation\":\"none\"}"), RNN_EFORMAT, "head.size"},
        {SYNCED(DENSE "," RNN ",\"head\":{\"size\":2}"), RNN_EFORMAT, "head.activation"},
        {SYNCED(DENSE "," RNN ",\"head\":{\"size\":2,\"activation\":\"relu\"}"), RNN_EUNSUPPORTED,
         "head.activation"},
        {SYNCED(DENSE "," RNN ",\"head\":{\"size\":2,\"activation\":\"none\",\"tied\":true}"),
         RNN_ESHAPE, "head.tied"},
        {SYNCED(EMBED "," RNN ",\"head\":{\"size\":4,\"activation\":\"none\",\"tied\":true}"),
         RNN_ESHAPE, "head.tied"},
        {SYNCED("\"input\":{\"kind\":\"embedding\",\"size\":5,\"dim\":3}," RNN
                ",\"head\":{\"size\":5,\"activation\":\"none\",\"tied\":true}"),
         RNN_ESHAPE, "head.tied"},
        {SYNCED(DENSE "," RNN ",\"head\":true"), RNN_ETYPE, "head"},
        {"{" TOP "\"topology\":\"many_to_one\",\"pool\":\"sum\"," DENSE "," RNN "," HEAD "}",
         RNN_EUNSUPPORTED, "pool"},
        {"{" TOP "\"topology\":\"one_to_many\",\"bridge\":\"tanh\"," EMBED "," RNN "," HEAD "}",
         RNN_EFORMAT, "features"},
        {"{" TOP "\"topology\":\"one_to_many\",\"features\":2,\"bridge\":\"tanh\"," EMBED "," RNN
         "," HEAD "}",
         RNN_EFORMAT, "bos"},
        {"{" TOP "\"topology\":\"one_to_many\",\"features\":2,\"bridge\":\"tanh\"," DENSE "," RNN
         "," HEAD "}",
         RNN_ESHAPE, "input.kind"},
        {"{" TOP "\"topology\":\"seq2seq\"," DENSE "}", RNN_EFORMAT, "input"},
        {"{" TOP "\"topology\":\"seq2seq\"}", RNN_EFORMAT, "encoder"},
        {"{" TOP "\"topology\":\"seq2seq\",\"encoder\":{" DENSE "," RNN "}}", RNN_EFORMAT,
         "decoder"},
        {"{" TOP "\"topology\":\"seq2seq\",\"encoder\":{" DENSE "," RNN "," HEAD "}}", RNN_EFORMAT,
         "encoder.head"},
        {"{" TOP "\"topology\":\"seq2seq\",\"encoder\":{" DENSE ",\"rnn\":{\"cell\":\"gru\","
         "\"hidden_size\":0,\"num_layers\":1}}}",
         RNN_ERANGE, "encoder.rnn.hidden_size"},
        {"{" TOP "\"topology\":\"seq2seq\",\"state_transfer\":\"copy\",\"bos\":0,\"eos\":1,"
         "\"encoder\":{" DENSE "," LSTM "},\"decoder\":{" EMBED "," RNN "," HEAD "}}",
         RNN_ESHAPE, "decoder.rnn.cell"}};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct model_config config;
        struct rnn_err err = {0};
        int rc = parse(bad[i].text, &config, &err);

        if (rc == 0)
            ck_abort_msg("taken: %s", bad[i].text);
        if (rc != bad[i].code || strcmp(err.param, bad[i].param) != 0)
            ck_abort_msg("%s: %s at '%s' (%s), want %s at '%s'", bad[i].text, rnn_error_name(rc),
                         err.param, err.text, rnn_error_name(bad[i].code), bad[i].param);
        ck_assert_str_ne(err.text, "");
    }
}
END_TEST

#define GRU(...) "\"rnn\":{\"cell\":\"gru\",\"hidden_size\":4,\"num_layers\":1" __VA_ARGS__ "}"
#define CELL(cell, ...)                                                                            \
    "\"rnn\":{\"cell\":\"" cell "\",\"hidden_size\":4,\"num_layers\":1," __VA_ARGS__ "}"
#define TO_ONE(...) "{" TOP "\"topology\":\"many_to_one\"," __VA_ARGS__ "}"
#define CAPTION(...)                                                                               \
    "{" TOP "\"topology\":\"one_to_many\",\"features\":2,\"bos\":0,\"eos\":1," __VA_ARGS__ "}"
#define PAIR(transfer, encoder, decoder)                                                           \
    "{" TOP "\"topology\":\"seq2seq\",\"bos\":0,\"eos\":1,\"state_transfer\":\"" transfer          \
    "\",\"encoder\":{" encoder "},\"decoder\":{" decoder "}}"
#define BRIDGE "\"bridge\":\"tanh\","
#define AGAIN(encoder, decoder)                                                                    \
    "{" TOP "\"topology\":\"repeat\",\"encoder\":{" encoder "},\"decoder\":{" decoder "}}"
#define FLATTEN(steps) "\"pool\":\"flatten\",\"steps\":" steps

/* Settings at odds: the path, and what the words say of what was wanted and found. */
START_TEST(faults_say_what_was_wanted_and_found)
{
    static const struct {
        const char *text, *param, *words;
    } bad[] = {
        /* cells */
        {SYNCED(DENSE "," CELL("gru", "\"peepholes\":true")), "rnn.peepholes",
         "only an lstm can have that, found 'gru'"},
        {SYNCED(DENSE "," CELL("rnn", "\"input_forget\":true")), "rnn.input_forget",
         "only an lstm can have that, found 'rnn'"},
        {SYNCED(DENSE "," CELL("lstm", "\"reset\":\"before\"")), "rnn.reset",
         "only a gru has a reset gate, found 'lstm'"},
        {SYNCED(DENSE "," CELL("gru", "\"reset\":\"never\"")), "rnn.reset",
         "want one of after, before, found 'never'"},
        {SYNCED(DENSE "," CELL("rnn_tanh", "\"activation\":\"relu\"")), "rnn.activation",
         "cell 'rnn_tanh' has none to choose: want cell rnn"},
        {SYNCED(DENSE "," CELL("rnn", "\"gate_activation\":\"relu\"")), "rnn.gate_activation",
         "cell 'rnn' has none to choose"},
        {SYNCED(DENSE "," CELL("gru", "\"output_activation\":\"relu\"")), "rnn.output_activation",
         "cell 'gru' has none to choose"},
        {SYNCED(DENSE "," CELL("gru", "\"activation\":\"gelu\"")), "rnn.activation",
         "want one of tanh, relu, sigmoid, linear, hard_sigmoid, hard_sigmoid6, leaky_relu, "
         "thresholded_relu, scaled_tanh, elu, softsign, found 'gelu'"},
        {SYNCED(DENSE "," CELL("gru", "\"activation\":{\"kind\":\"tanh\",\"alpha\":2}")),
         "rnn.activation.alpha", "this activation takes none"},
        {SYNCED(DENSE "," CELL("gru", "\"activation\":{\"kind\":\"elu\",\"beta\":2}")),
         "rnn.activation.beta", "this activation takes none"},
        {SYNCED(DENSE "," CELL("gru", "\"activation\":{\"kind\":\"elu\",\"alpha\":1e9}")),
         "rnn.activation.alpha", "want a number from -1e+06 to 1e+06, found 1e+09"},
        {SYNCED(DENSE "," CELL("gru", "\"clip\":0")), "rnn.clip",
         "want a number greater than 0, found 0"},
        {SYNCED(DENSE "," CELL("gru", "\"clip\":-1")), "rnn.clip", "found -1"},
        {SYNCED(DENSE "," CELL("gru", "\"clip\":true")), "rnn.clip", "want a number, found"},
        {SYNCED(DENSE "," CELL("gru", "\"initial_state\":\"ones\"")), "rnn.initial_state",
         "want one of zero, learned, found 'ones'"},
        {SYNCED(DENSE "," CELL("gru", "\"merge\":\"sum\"")), "rnn.merge",
         "there is one direction: want bidirectional true"},
        {SYNCED(DENSE "," CELL("gru", "\"bidirectional\":true,\"merge\":\"max\"")), "rnn.merge",
         "want one of concat, sum, average, multiply, found 'max'"},
        {SYNCED(DENSE "," CELL("gru", "\"residual\":true")), "rnn.residual",
         "no layer gives as many numbers as it reads"},
        {SYNCED(DENSE "," CELL("gru", "\"kind\":\"rnn\"")), "rnn.kind", "unknown field"},
        /* modules */
        {SYNCED(DENSE "," GRU() ",\"layers\":[]"), "layers", "want one of them"},
        {SYNCED(DENSE ",\"layers\":{}"), "layers", "want an array"},
        {SYNCED(DENSE ",\"layers\":[1]"), "layers[0]", "want an object"},
        {SYNCED(DENSE ",\"layers\":[{}]"), "layers[0].kind", "is missing"},
        {SYNCED(DENSE ",\"layers\":[{\"kind\":\"conv\"}]"), "layers[0].kind",
         "want one of rnn, dense, affine, layer_norm, readout, found 'conv'"},
        {SYNCED(DENSE ",\"layers\":[{\"kind\":\"affine\"},{\"kind\":\"dense\"}]"), "layers[1].size",
         "is missing"},
        {SYNCED(DENSE ",\"layers\":[{\"kind\":\"dense\",\"size\":2,\"residual\":true}]"),
         "layers[0].residual", "reads 3 numbers and gives 2; want as many"},
        {SYNCED(DENSE ",\"layers\":[{\"kind\":\"layer_norm\",\"epsilon\":0}]"), "layers[0].epsilon",
         "want a number from 1e-12 to 1, found 0"},
        {SYNCED(DENSE ",\"layers\":[{\"kind\":\"layer_norm\",\"size\":3}]"), "layers[0].size",
         "unknown field"},
        {SYNCED(DENSE ",\"layers\":[{\"kind\":\"readout\"}]"), "layers[0].kind",
         "only a model of topology many_to_one has a readout"},
        {TO_ONE(DENSE ",\"layers\":[{\"kind\":\"readout\"},{\"kind\":\"readout\"}]"),
         "layers[1].kind", "a second readout"},
        {TO_ONE(DENSE ",\"layers\":[{\"kind\":\"readout\"},{\"kind\":\"rnn\",\"cell\":\"gru\","
                      "\"hidden_size\":2,\"num_layers\":1}]"),
         "layers[1].kind", "a recurrent layer above the readout"},
        {TO_ONE(DENSE ",\"pool\":\"max\",\"layers\":[{\"kind\":\"readout\",\"pool\":\"mean\"}]"),
         "pool", "the module of kind readout says 'mean'"},
        /* windows */
        {TO_ONE(DENSE "," RNN ",\"pool\":\"flatten\""), "steps", "is missing"},
        {TO_ONE(DENSE "," RNN "," FLATTEN("0")), "steps",
         "want an integer from 1 to 65536, found 0"},
        {TO_ONE(DENSE "," RNN ",\"pool\":\"mean\",\"steps\":4"), "steps",
         "only pool flatten reads a window of so many, found 'mean'"},
        {SYNCED(DENSE "," RNN ",\"steps\":4"), "steps", "no meaning where topology is 'synced'"},
        {TO_ONE(DENSE ",\"layers\":[{\"kind\":\"readout\",\"pool\":\"flatten\"}]"),
         "layers[0].steps", "is missing"},
        {TO_ONE(DENSE "," FLATTEN("3") ",\"layers\":[{\"kind\":\"readout\"," FLATTEN("4") "}]"),
         "steps", "the module of kind readout says 4"},
        {TO_ONE("\"input\":{\"kind\":\"dense\",\"size\":65},\"layers\":[]," FLATTEN("65536")),
         "steps", "65536 steps of 65 numbers are 4259840 side by side; up to 4194304 are served"},
        {TO_ONE("\"input\":{\"kind\":\"dense\",\"size\":3,\"mask\":0}," RNN "," FLATTEN("4")),
         "input.mask", "flatten wants all 4 steps of the window"},
        {TO_ONE(DENSE "," FLATTEN("2") ",\"layers\":[{\"kind\":\"rnn\",\"cell\":\"gru\","
                                       "\"hidden_size\":4,\"num_layers\":1},{\"kind\":\"dense\","
                                       "\"size\":4,\"residual\":true}]"),
         "layers[1].residual", "reads 8 numbers and gives 4; want as many"},
        /* vectors that are repeated */
        {AGAIN(DENSE "," RNN, RNN), "decoder.repeat", "is missing"},
        {AGAIN(DENSE "," RNN, RNN ",\"repeat\":65537"), "decoder.repeat",
         "want an integer from 1 to 65536, found 65537"},
        {AGAIN(DENSE "," RNN, EMBED "," RNN ",\"repeat\":2"), "decoder.input", "unknown field"},
        {AGAIN(DENSE "," RNN "," HEAD, RNN ",\"repeat\":2"), "encoder.head", "unknown field"},
        {AGAIN(DENSE "," RNN ",\"pool\":\"sum\"", RNN ",\"repeat\":2"), "encoder.pool",
         "want one of final, last, mean, max, flatten, found 'sum'"},
        {AGAIN(DENSE "," RNN ",\"steps\":2", RNN ",\"repeat\":2"), "encoder.steps",
         "found 'final'"},
        {AGAIN("\"input\":{\"kind\":\"dense\",\"size\":3,\"mask\":0}," RNN "," FLATTEN("4"),
               RNN ",\"repeat\":2"),
         "encoder.input.mask", "flatten wants all 4 steps of the window"},
        {AGAIN(DENSE "," RNN, "\"layers\":[{\"kind\":\"readout\"}],\"repeat\":2"),
         "decoder.layers[0].kind", "only a model of topology many_to_one has a readout"},
        {AGAIN(DENSE "," RNN, RNN ",\"repeat\":2,\"head\":{\"size\":5,\"activation\":\"none\","
                                  "\"tied\":true}"),
         "decoder.head.tied", "there is no embedding to be tied to"},
        {"{" TOP "\"topology\":\"repeat\",\"state_transfer\":\"copy\"}", "state_transfer",
         "no meaning where topology is 'repeat'"},
        /* inputs and heads */
        {SYNCED("\"input\":{\"kind\":\"onehot\",\"size\":5,\"normalize\":true}," RNN),
         "input.normalize", "want kind dense, found 'onehot'"},
        {SYNCED("\"input\":{\"kind\":\"onehot\",\"size\":5,\"mask\":5}," RNN), "input.mask",
         "want an integer from 0 to 4, found 5"},
        {SYNCED("\"input\":{\"kind\":\"dense\",\"size\":5,\"mask\":\"x\"}," RNN), "input.mask",
         "want a number"},
        {SYNCED("\"input\":{\"kind\":\"dense\",\"size\":3,\"mask\":0},\"rnn\":{\"cell\":\"gru\","
                "\"hidden_size\":4,\"num_layers\":1,\"bidirectional\":true}"),
         "input.mask", "a bidirectional layer has no output at a step that is passed over"},
        {SYNCED("\"input\":{\"kind\":\"onehot\",\"size\":5,\"dim\":2}," RNN), "input.dim",
         "want kind embedding, found 'onehot'"},
        {SYNCED(EMBED "," RNN ",\"bos\":5"), "bos", "want an integer from 0 to 4, found 5"},
        {SYNCED(EMBED "," RNN ",\"eos\":-1"), "eos", "want an integer from 0 to 4, found -1"},
        {SYNCED(DENSE "," RNN ",\"eos\":1"), "eos", "frames has no token ids"},
        {SYNCED(EMBED "," RNN ",\"head\":{\"size\":4,\"activation\":\"none\",\"tied\":true}"),
         "head.tied", "head.size is 4, the embedding has 5 ids"},
        {SYNCED("\"input\":{\"kind\":\"embedding\",\"size\":5,\"dim\":3}," RNN
                ",\"head\":{\"size\":5,\"activation\":\"none\",\"tied\":true}"),
         "head.tied", "the top layer gives 4 floats, the embedding's dim is 3"},
        {SYNCED(DENSE "," RNN ",\"head\":{\"size\":5,\"activation\":\"gaussian\"}"), "head.size",
         "want an even number, found 5"},
        {SYNCED(DENSE "," RNN ",\"head\":{\"size\":5,\"activation\":\"softmax\","
                      "\"denormalize\":true}"),
         "head.denormalize", "found 'softmax'"},
        {SYNCED(DENSE "," RNN ",\"head\":{\"size\":5,\"activation\":\"none\",\"pen\":1}"),
         "head.pen", "only a mixture has that, found 'none'"},
        {SYNCED(DENSE "," RNN ",\"head\":{\"size\":13,\"activation\":\"mixture\"}"),
         "head.components", "is missing"},
        {SYNCED(DENSE "," RNN ",\"head\":{\"size\":12,\"activation\":\"mixture\","
                      "\"components\":2}"),
         "head.size", "a mixture of 2 with pen 1 wants 13, found 12"},
        {SYNCED(DENSE "," RNN ",\"head\":{\"size\":14,\"activation\":\"mixture\","
                      "\"components\":2,\"pen\":2}"),
         "head.pen", "want 1 or 3, found 2"},
        {SYNCED(DENSE "," RNN ",\"head\":{\"size\":15,\"activation\":\"mixture\","
                      "\"components\":2,\"pen\":3}"),
         "head.activation", "want dense input of size 5"},
        {TO_ONE(DENSE "," RNN ",\"head\":{\"size\":13,\"activation\":\"mixture\","
                      "\"components\":2}"),
         "head.activation", "want topology synced, found 'many_to_one'"},
        /* captioners */
        {CAPTION(EMBED "," RNN "," HEAD), "bridge", "is missing"},
        {CAPTION("\"bridge\":{\"to\":\"head\"}," EMBED "," RNN "," HEAD), "bridge.to",
         "want one of state, input, found 'head'"},
        {CAPTION("\"bridge\":{\"into\":\"state\"}," EMBED "," RNN "," HEAD), "bridge.into",
         "unknown field"},
        {CAPTION(BRIDGE EMBED ",\"layers\":[{\"kind\":\"dense\",\"size\":4}]," HEAD), "bridge",
         "there is no state to set"},
        {CAPTION(BRIDGE EMBED "," RNN), "head", "a decoder needs one, of size 5"},
        {CAPTION(BRIDGE EMBED "," RNN ",\"head\":{\"size\":6,\"activation\":\"softmax\"}"),
         "head.size", "want 5 (input.size), found 6"},
        {CAPTION(BRIDGE EMBED "," RNN ",\"head\":{\"size\":5,\"activation\":\"sigmoid\"}"),
         "head.activation", "want softmax, found 'sigmoid'"},
        {CAPTION(BRIDGE EMBED "," CELL("gru", "\"bidirectional\":true") "," HEAD),
         "rnn.bidirectional", "want false"},
        /* translators */
        {PAIR("move", EMBED "," RNN, EMBED "," RNN "," HEAD), "state_transfer",
         "want one of copy, concat, bridge, none, found 'move'"},
        {PAIR("copy", EMBED "," RNN, EMBED "," GRU() "," HEAD), "state_transfer",
         "2 recurrent layers of the encoder, 1 of the decoder"},
        {PAIR("copy", EMBED "," CELL("gru", "\"bidirectional\":true"), EMBED "," GRU() "," HEAD),
         "state_transfer", "the encoder runs in both: want concat"},
        {PAIR("concat", EMBED "," RNN, EMBED "," RNN "," HEAD), "state_transfer",
         "the encoder runs in one direction: want copy"},
        {PAIR("concat", EMBED "," CELL("gru", "\"bidirectional\":true"), EMBED "," GRU() "," HEAD),
         "decoder.rnn.hidden_size", "the encoder hands over states of 8, found 4"},
        {PAIR("copy", EMBED "," CELL("lstm", "\"proj_size\":3"),
              EMBED "," CELL("lstm", "\"proj_size\":2") "," HEAD),
         "decoder.rnn.proj_size", "the encoder hands over states of 3, found 2"},
        {PAIR("copy", EMBED "," CELL("lstm", "\"bias\":true"),
              EMBED ",\"layers\":[{\"kind\":\"affine\"},{\"kind\":\"rnn\",\"cell\":\"gru\","
                    "\"hidden_size\":4,\"num_layers\":1}]," HEAD),
         "decoder.layers[1].cell", "'gru' cannot take over the state of the encoder's 'lstm'"},
        {PAIR("none", EMBED "," RNN, EMBED "," RNN "," HEAD), "state_transfer",
         "the decoder would hear nothing"},
        {PAIR("bridge", EMBED ",\"layers\":[]", EMBED "," RNN "," HEAD), "state_transfer",
         "there is no state to hand over"},
        {PAIR("copy", DENSE "," RNN, DENSE "," RNN "," HEAD), "decoder.input.kind",
         "want onehot or embedding"},
        {PAIR("copy", DENSE "," RNN, EMBED "," RNN "," HEAD ",\"attention\":{\"kind\":\"self\"}"),
         "decoder.attention.kind", "want one of additive, dot, general, found 'self'"},
        {PAIR("copy", DENSE "," RNN,
              EMBED "," RNN "," HEAD ",\"attention\":{\"kind\":\"additive\"}"),
         "decoder.attention.size", "is missing"},
        {PAIR("copy", DENSE "," RNN,
              EMBED "," RNN "," HEAD ",\"attention\":{\"kind\":\"dot\",\"size\":2}"),
         "decoder.attention.size", "unknown field"},
        {PAIR("none", DENSE "," CELL("gru", "\"bidirectional\":true"),
              EMBED "," RNN "," HEAD ",\"attention\":{\"kind\":\"dot\"}"),
         "decoder.attention.kind", "4 numbers of the decoder with 8 of the encoder"},
        {PAIR("none", DENSE "," RNN,
              EMBED ",\"layers\":[{\"kind\":\"affine\"},{\"kind\":\"rnn\",\"cell\":\"gru\","
                    "\"hidden_size\":4,\"num_layers\":1}]," HEAD
                    ",\"attention\":{\"kind\":\"additive\",\"size\":2}"),
         "decoder.layers[0].kind", "want rnn or dense"},
        {PAIR("none", DENSE "," RNN,
              EMBED ",\"layers\":[{\"kind\":\"dense\",\"size\":4,\"residual\":true},"
                    "{\"kind\":\"rnn\",\"cell\":\"gru\",\"hidden_size\":4,\"num_layers\":1}]," HEAD
                    ",\"attention\":{\"kind\":\"additive\",\"size\":2}"),
         "decoder.layers[0].residual", "reads an attention's context, too; want false"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct model_config config;
        struct rnn_err err = {0};

        if (parse(bad[i].text, &config, &err) == 0)
            ck_abort_msg("taken: %s", bad[i].text);
        if (strcmp(err.param, bad[i].param) != 0 || !strstr(err.text, bad[i].words) ||
            !strstr(err.text, bad[i].param))
            ck_abort_msg("%s: '%s' at '%s', want '%s' at '%s'", bad[i].text, err.text, err.param,
                         bad[i].words, bad[i].param);
    }
}
END_TEST

START_TEST(states_are_handed_over_whatever_stands_below_them)
{
    const char *text =
        PAIR("concat",
             EMBED ",\"layers\":[{\"kind\":\"affine\"},{\"kind\":\"rnn\",\"cell\":\"gru\","
                   "\"hidden_size\":4,\"num_layers\":2,\"bidirectional\":true}]",
             EMBED ",\"rnn\":{\"cell\":\"gru\",\"hidden_size\":8,\"num_layers\":2}," HEAD);
    struct model_config config;

    ck_assert_int_eq(parse(text, &config, NULL), 0);
    ck_assert_int_eq(config.spec.transfer, RNN_TRANSFER_CONCAT);
    model_config_free(&config);
}
END_TEST

START_TEST(own_tensors_are_told_from_others)
{
    struct model_config config;

    ck_assert_int_eq(parse(SYNCED(DENSE "," RNN), &config, NULL), 0);
    ck_assert(model_config_owns_tensor(&config.spec, "rnn.weight_ih_l0"));
    ck_assert(model_config_owns_tensor(&config.spec, "rnn.weight_ih_l9"));
    ck_assert(model_config_owns_tensor(&config.spec, "head.bias"));
    ck_assert(model_config_owns_tensor(&config.spec, "embedding.weight"));
    ck_assert(!model_config_owns_tensor(&config.spec, "decoder.head.bias"));
    ck_assert(!model_config_owns_tensor(&config.spec, "optimizer.rnn.step"));
    ck_assert(!model_config_owns_tensor(&config.spec, "bridge.weight"));
    model_config_free(&config);
}
END_TEST

static int shape_check(const char *wanted, size_t rank, const size_t *shape)
{
    struct cJSON *json = NULL;
    int rc;

    ck_assert_int_eq(json_parse(&json, wanted, strlen(wanted), 3, NULL), 0);
    rc = model_config_check_shape(json->child, rank, shape, NULL);
    json_free(json);
    return rc;
}

START_TEST(listed_shapes_are_compared)
{
    const size_t shape[] = {3, 4};
    char text[16];

    ck_assert_int_eq(shape_check("{\"w\":[3,4]}", 2, shape), 0);
    ck_assert_int_eq(shape_check("{\"w\":[]}", 0, shape), 0);
    ck_assert_int_eq(shape_check("{\"w\":[4,3]}", 2, shape), RNN_ESHAPE);
    ck_assert_int_eq(shape_check("{\"w\":[3]}", 2, shape), RNN_ESHAPE);
    ck_assert_int_eq(shape_check("{\"w\":[3,4,1]}", 2, shape), RNN_ESHAPE);
    ck_assert_int_eq(shape_check("{\"w\":[3,4.5]}", 2, shape), RNN_ESHAPE);
    ck_assert_int_eq(shape_check("{\"w\":[3,\"4\"]}", 2, shape), RNN_ETYPE);
    ck_assert_int_eq(shape_check("{\"w\":12}", 2, shape), RNN_ETYPE);
    model_config_shape_text(text, sizeof text, 2, shape);
    ck_assert_str_eq(text, "3x4");
    model_config_shape_text(text, sizeof text, 0, shape);
    ck_assert_str_eq(text, "()");
}
END_TEST

int main(void)
{
    const TTest *tests[] = {a_synced_stack_is_read,
                            what_is_left_out_has_its_natural_meaning,
                            all_topologies_are_known,
                            a_window_makes_what_stands_above_it_wide,
                            a_decoder_reads_what_its_encoder_comes_to,
                            both_directions_double_the_width,
                            faults_are_refused_under_their_path,
                            faults_say_what_was_wanted_and_found,
                            states_are_handed_over_whatever_stands_below_them,
                            own_tensors_are_told_from_others,
                            listed_shapes_are_compared,
                            NULL};

    return run_tests("models/config_json", tests);
}
