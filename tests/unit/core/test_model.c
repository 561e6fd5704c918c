/* Opening a model: what it says of itself, every refusal in words, nothing leaked at any failing
 * allocation, the state's layout, references, texts. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/tokenizer.h"
#include "fake.h"

static const struct fake_shape usual = {.cell = &rnn_cell_lstm,
                                        .input = RNN_INPUT_EMBEDDING,
                                        .input_size = 11,
                                        .embedding_dim = 5,
                                        .layers = 2,
                                        .hidden = 20,
                                        .proj = 7,
                                        .outputs = 11,
                                        .activation = RNN_HEAD_SOFTMAX};

/* ---- Allocations that fail ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

static long allocations_left = -1; /* negative: no limit */

static bool may_allocate(void)
{
    if (allocations_left < 0)
        return true;
    if (allocations_left == 0)
        return false;
    allocations_left--;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return may_allocate() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
    return may_allocate() ? __real_calloc(n, size) : NULL;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return may_allocate() ? __real_aligned_alloc(alignment, size) : NULL;
}

START_TEST(every_failing_allocation_is_survived)
{
    struct fake fake;
    bool done = false;

    fake_make(&fake, &usual, 1);
    for (long n = 0; !done; n++) {
        struct rnn_model *model = NULL;
        struct rnn_scratch *scratch = NULL;
        struct rnn_sampler *sampler = NULL;
        struct rnn_sampling set = RNN_SAMPLING_DEFAULT;
        struct rnn_err err = {0};
        int rc;

        set.presence_penalty = 1.0f;
        allocations_left = n;
        rc = fake_open(&fake, &model, NULL, &err);
        if (rc == 0)
            rc = rnn_scratch_new(&scratch, model, 3, &err);
        if (rc == 0)
            rc = rnn_sampler_new(&sampler, 11, &set, &err);
        done = allocations_left > 0;
        allocations_left = -1;
        ck_assert_int_eq(rc, rc == 0 ? 0 : RNN_ENOMEM);
        ck_assert(rc == 0 || err.code == RNN_ENOMEM);
        ck_assert_uint_eq(fake.opened, fake.closed);
        rnn_sampler_free(sampler);
        rnn_scratch_free(scratch);
        rnn_model_unref(model);
        ck_assert_int_lt(n, 100);
    }
    fake_free(&fake);
}
END_TEST

/* ---- Facts ---- */

START_TEST(a_model_says_what_it_is)
{
    struct rnn_model *model = fake_model(&usual, 1, true);
    const struct rnn_model_info *info = rnn_model_info(model);
    size_t layer0 = 80 * 5 + 80 * 7 + 160 + 7 * 20, layer1 = 80 * 7 + 80 * 7 + 160 + 7 * 20;

    ck_assert_str_eq(info->name, "fake");
    ck_assert_str_eq(info->cell, "lstm");
    ck_assert_str_eq(info->dtype, "F32");
    ck_assert_uint_eq(info->input_size, 11);
    ck_assert_uint_eq(info->embedding_dim, 5);
    ck_assert_uint_eq(info->layers, 2);
    ck_assert_uint_eq(info->hidden_size, 20);
    ck_assert_uint_eq(info->proj_size, 7);
    ck_assert_uint_eq(info->hidden_width, 7);
    ck_assert_uint_eq(info->output_size, 11);
    ck_assert(info->has_head && info->activation == RNN_HEAD_SOFTMAX && !info->bidirectional);
    ck_assert_uint_eq(info->parameters, 11 * 5 + layer0 + layer1 + 11 * 7 + 11);
    ck_assert_uint_eq(info->state_bytes, sizeof(struct rnn_state) + 2 * (16 + 32) * 4);
    ck_assert_uint_eq(info->table_bytes, 11 * 2 * 64 * 4);
    ck_assert_uint_gt(info->weight_bytes, info->table_bytes);
    ck_assert_uint_eq(strlen(info->fingerprint), 64);
    ck_assert_ptr_null(info->tokenizer);
    rnn_model_unref(model);
}
END_TEST

START_TEST(the_state_lists_its_parts)
{
    struct rnn_model *model = fake_model(&usual, 1, true);
    size_t n;
    const struct rnn_state_part *parts = rnn_state_parts(model, &n);
    static const struct rnn_state_part want[] = {{"h", 0, 0, 0, 0, 7},
                                                 {"c", 0, 0, 0, 16, 20},
                                                 {"h", 0, 1, 0, 48, 7},
                                                 {"c", 0, 1, 0, 64, 20}};
    struct rnn_state *state = malloc(rnn_model_info(model)->state_bytes);

    ck_assert_uint_eq(n, 4);
    for (size_t i = 0; i < n; i++) {
        ck_assert_str_eq(parts[i].kind, want[i].kind);
        ck_assert_uint_eq(parts[i].layer, want[i].layer);
        ck_assert_uint_eq(parts[i].offset, want[i].offset);
        ck_assert_uint_eq(parts[i].size, want[i].size);
    }
    rnn_state_init(model, state, 99);
    ck_assert_uint_eq(state->rng.seed, 99);
    ck_assert_uint_eq(state->rng.counter, 0);
    ck_assert_uint_eq(state->position, 0);
    for (size_t i = 0; i < 96; i++)
        ck_assert_float_eq(state->memory[i], 0.0f);
    free(state);
    rnn_model_unref(model);
}
END_TEST

START_TEST(the_table_keeps_to_its_limit)
{
    struct rnn_open_options options = {.table_max_bytes = 11 * 2 * 64 * 4};
    struct rnn_model *model = NULL;
    struct fake fake;

    fake_make(&fake, &usual, 1);
    ck_assert_int_eq(fake_open(&fake, &model, &options, NULL), 0);
    ck_assert_uint_eq(rnn_model_info(model)->table_bytes, options.table_max_bytes);
    rnn_model_unref(model);
    options.table_max_bytes--;
    ck_assert_int_eq(fake_open(&fake, &model, &options, NULL), 0);
    ck_assert_uint_eq(rnn_model_info(model)->table_bytes, 0);
    rnn_model_unref(model);
    fake_free(&fake);
}
END_TEST

START_TEST(the_last_reference_ends_it)
{
    struct rnn_model *model = fake_model(&usual, 1, true);

    ck_assert_ptr_eq(rnn_model_ref(model), model);
    rnn_model_unref(model);
    ck_assert_str_eq(rnn_model_info(model)->name, "fake");
    rnn_model_unref(model);
    rnn_model_unref(NULL);
}
END_TEST

/* ---- Refusals ---- */

static void refused(struct fake *fake, int code, const char *words)
{
    struct rnn_model *model = NULL;
    struct rnn_err err = {0};

    ck_assert_int_eq(fake_open(fake, &model, NULL, &err), code);
    ck_assert_msg(strstr(err.text, words) != NULL, "'%s' does not say '%s'", err.text, words);
    ck_assert_int_eq(err.code, code);
    ck_assert_ptr_null(model);
    ck_assert_uint_eq(fake->opened, fake->closed);
    fake_free(fake);
}

static struct rnn_tensor *tensor_of(struct fake *fake, const char *name)
{
    for (size_t i = 0; i < fake->n_tensors; i++)
        if (strcmp(fake->names[i], name) == 0)
            return &fake->tensors[i];
    ck_abort_msg("no tensor %s", name);
}

START_TEST(tensors_that_do_not_fit_are_named)
{
    struct fake fake;

    fake_make(&fake, &usual, 1);
    tensor_of(&fake, "rnn.weight_hh_l1")->shape[1] = 20;
    refused(&fake, RNN_ESHAPE, "rnn.weight_hh_l1: want [80, 7], file has [80, 20]");

    fake_make(&fake, &usual, 1);
    strcpy(fake.names[tensor_of(&fake, "rnn.bias_hh_l0") - fake.tensors], "other");
    refused(&fake, RNN_ESHAPE, "rnn.bias_hh_l0: the file has no such tensor");

    fake_make(&fake, &usual, 1);
    fake.spec.stacks[0].layers[1].bias = false;
    refused(&fake, RNN_ESHAPE, "rnn.bias_ih_l1: the shape of the model has no place");

    fake_make(&fake, &usual, 1);
    tensor_of(&fake, "head.bias")->rank = 2;
    tensor_of(&fake, "head.bias")->shape[1] = 1;
    refused(&fake, RNN_ESHAPE, "head.bias: want [11], file has [11, 1]");

    fake_make(&fake, &usual, 1);
    fake_values(&fake, "rnn.weight_hr_l0")[33] = INFINITY;
    refused(&fake, RNN_ERANGE, "rnn.weight_hr_l0: element 33 is no finite float32");

    fake_make(&fake, &usual, 1);
    fake_values(&fake, "embedding.weight")[54] = NAN;
    refused(&fake, RNN_ERANGE, "embedding.weight: element 54");
}
END_TEST

START_TEST(shapes_that_are_not_served_are_refused_in_words)
{
    struct fake fake;
    struct rnn_stack_spec *stack = &fake.spec.stacks[0];

    fake_make(&fake, &usual, 1);
    fake.spec.topology = RNN_SEQ2SEQ;
    refused(&fake, RNN_EFORMAT, "1 stacks");

    fake_make(&fake, &usual, 1);
    fake.spec.topology = RNN_ONE_TO_MANY;
    refused(&fake, RNN_EFORMAT, "a decoder reads the tokens that it writes, after bos");

    fake_make(&fake, &usual, 1);
    stack->layers[1].directions = 3;
    refused(&fake, RNN_EFORMAT, "layer 1 has no cell or no direction");

    fake_make(&fake, &usual, 1);
    stack->layers[1].input_width = 20;
    refused(&fake, RNN_ESHAPE, "layer 1 reads 20 numbers, what is below it gives 7");

    fake_make(&fake, &usual, 1);
    stack->layers[0].cell = &rnn_cell_gru;
    refused(&fake, RNN_EUNSUPPORTED, "gru has no projection");

    fake_make(&fake, &usual, 1);
    stack->head.tied = true;
    refused(&fake, RNN_ESHAPE, "a tied head wants an embedding of [11, 7], the model has [11, 5]");

    fake_make(&fake, &usual, 1);
    stack->n_layers = 0;
    refused(&fake, RNN_ERANGE, "0 layers");

    fake_make(&fake, &usual, 1);
    stack->layers[0].hidden = RNN_HIDDEN_MAX + 1;
    refused(&fake, RNN_ERANGE, "layer 0 has 65537 units");

    fake_make(&fake, &usual, 1);
    stack->head.size = 0;
    refused(&fake, RNN_ERANGE, "the head has 0 outputs");
}
END_TEST

START_TEST(a_path_of_no_known_form)
{
    struct rnn_model *model = NULL;
    struct rnn_err err = {0};

    ck_assert_int_eq(rnn_model_open(&model, "/nowhere", NULL, &err), RNN_ENOENT);
    ck_assert_str_eq(err.text, "/nowhere: no model folder of a known form");
}
END_TEST

/* ---- Texts ---- */

static unsigned freed;

static int toy_encode(const struct rnn_tokenizer *t, struct rnn_encoder *encoder, const char *text,
                      size_t len, bool last, uint32_t *ids, size_t *n_ids, struct rnn_err *err)
{
    (void)t;
    (void)last;
    (void)err;
    for (size_t i = 0; i < len; i++)
        ids[(*n_ids)++] = (uint32_t)(text[i] - 'a');
    encoder->consumed += len;
    return 0;
}

static size_t toy_decode(const struct rnn_tokenizer *t, struct rnn_decoder *decoder, uint32_t id,
                         const char **text)
{
    (void)t;
    decoder->n_tokens++;
    *text = &"abcdefghijk"[id];
    return 1;
}

static const char *toy_text(const struct rnn_tokenizer *t, uint32_t id, size_t *len)
{
    (void)t;
    *len = 1;
    return &"abcdefghijk"[id];
}

static int64_t toy_id(const struct rnn_tokenizer *t, const char *text, size_t len)
{
    (void)t;
    return len == 1 ? text[0] - 'a' : -1;
}

static void toy_free(struct rnn_tokenizer *t)
{
    freed++;
    free(t);
}

static const struct rnn_tokenizer_ops toy_ops = {"toy",    toy_encode, toy_decode,
                                                 toy_text, toy_id,     toy_free};

static struct rnn_tokenizer *toy(size_t n_tokens)
{
    struct rnn_tokenizer *t = malloc(sizeof *t);

    ck_assert_ptr_nonnull(t);
    *t = (struct rnn_tokenizer){&toy_ops, n_tokens};
    return t;
}

START_TEST(text_goes_to_the_models_tokenizer)
{
    struct rnn_model *model = NULL;
    struct rnn_encoder encoder = {0};
    struct rnn_decoder decoder = {0};
    struct fake fake;
    uint32_t ids[4];
    size_t n = 0, len;
    const char *text;

    fake_make(&fake, &usual, 1);
    fake.texts.tokenizer = toy(11);
    fake.texts.metrics_json = strdup("{}");
    ck_assert_int_eq(fake_open(&fake, &model, NULL, NULL), 0);
    ck_assert_str_eq(rnn_model_info(model)->tokenizer, "toy");
    ck_assert_str_eq(rnn_model_info(model)->metrics_json, "{}");
    ck_assert_int_eq(rnn_encode(model, &encoder, "cab", 3, true, ids, &n, NULL), 0);
    ck_assert_uint_eq(n, 3);
    ck_assert_uint_eq(ids[0], 2);
    ck_assert_uint_eq(rnn_decode(model, &decoder, 3, &text), 1);
    ck_assert_int_eq(text[0], 'd');
    ck_assert_int_eq(rnn_token_text(model, 1, &len)[0], 'b');
    ck_assert_int_eq(rnn_token_id(model, "e", 1), 4);
    ck_assert_int_eq(rnn_token_id(model, "", 0), -1);
    freed = 0;
    rnn_model_unref(model);
    ck_assert_uint_eq(freed, 1);
    fake_free(&fake);

    fake_make(&fake, &usual, 1);
    fake.texts.tokenizer = toy(12);
    refused(&fake, RNN_ESHAPE, "the vocabulary has 12 entries, the model's input 11");
    ck_assert_uint_eq(freed, 2);
}
END_TEST

START_TEST(without_a_tokenizer_there_are_only_ids)
{
    struct rnn_model *model = fake_model(&usual, 1, true);
    struct rnn_encoder encoder = {0};
    struct rnn_decoder decoder = {0};
    struct rnn_err err = {0};
    size_t n = 0, len = 9;
    const char *text = NULL;
    uint32_t id;

    ck_assert_int_eq(rnn_encode(model, &encoder, "a", 1, true, &id, &n, &err), RNN_EUNSUPPORTED);
    ck_assert_uint_eq(rnn_decode(model, &decoder, 0, &text), 0);
    ck_assert_ptr_nonnull(text);
    ck_assert_ptr_null(rnn_token_text(model, 0, &len));
    ck_assert_int_eq(rnn_token_id(model, "a", 1), -1);
    rnn_model_unref(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unit/core/model");
    TCase *all = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_add_test(all, every_failing_allocation_is_survived);
    tcase_add_test(all, a_model_says_what_it_is);
    tcase_add_test(all, the_state_lists_its_parts);
    tcase_add_test(all, the_table_keeps_to_its_limit);
    tcase_add_test(all, the_last_reference_ends_it);
    tcase_add_test(all, tensors_that_do_not_fit_are_named);
    tcase_add_test(all, shapes_that_are_not_served_are_refused_in_words);
    tcase_add_test(all, a_path_of_no_known_form);
    tcase_add_test(all, text_goes_to_the_models_tokenizer);
    tcase_add_test(all, without_a_tokenizer_there_are_only_ids);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
