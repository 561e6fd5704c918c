/* The next frame, by the kind of head: drawn as the head's own file draws, plain values as they
 * stand, the end of a drawing told, and which models can be fed what they give. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/gaussian.h"
#include "core/mixture.h"
#include "core/model.h"
#include "fake.h"

static const float mean[2] = {10, -10}, std[2] = {2, 0.5f};
static const struct rnn_rng start = {.seed = 7};

static struct rnn_model model_of(enum rnn_head_activation activation, size_t n_values, unsigned pen)
{
    struct rnn_model model = {.top = {.mean = mean, .std = std}};

    model.info.activation = activation;
    model.info.n_values = n_values;
    model.info.components = pen ? 1 : 0;
    model.info.pen = pen;
    model.info.output_size = pen ? pen + 6 : n_values;
    return model;
}

START_TEST(a_mixture_draws_a_point)
{
    const float raw[9] = {0.5f, 0.25f, -1, 0, 1, -2, 0.1f, 0.2f, 0.3f};
    struct rnn_model model = model_of(RNN_HEAD_MIXTURE, 2, 3);
    const struct mixture head = {1, 3, mean, std};
    struct rnn_rng rng = start, other = start;
    float frame[5], want[5];
    size_t ends = 0;

    for (int i = 0; i < 200; i++) {
        bool end = rnn_sample_frame(&model, raw, 0.5f, &rng, frame);

        mixture_sample(&head, raw, 0.5f, &other, want);
        ck_assert_mem_eq(frame, want, sizeof want);
        ck_assert_int_eq(end, frame[4] == 1);
        ends += end;
    }
    ck_assert_uint_eq(rng.counter, 800);
    ck_assert(ends > 0 && ends < 100);
}
END_TEST

START_TEST(one_pen_never_ends_a_drawing)
{
    const float raw[7] = {50, 0, 1, -2, 0.1f, 0.2f, 0.3f};
    struct rnn_model model = model_of(RNN_HEAD_MIXTURE, 2, 1);
    struct rnn_rng rng = start;
    float frame[3];

    ck_assert(!rnn_sample_frame(&model, raw, 1, &rng, frame));
    ck_assert(frame[2] == 1);
}
END_TEST

START_TEST(a_gaussian_draws_its_values)
{
    const float raw[4] = {1, 2, -1, 0.5f};
    struct rnn_model model = model_of(RNN_HEAD_GAUSSIAN, 2, 0);
    const struct gaussian head = {2, mean, std};
    struct rnn_rng rng = start, other = start;
    float frame[2], want[2];

    ck_assert(!rnn_sample_frame(&model, raw, 2, &rng, frame));
    gaussian_sample(&head, raw, 2, &other, want);
    ck_assert_mem_eq(frame, want, sizeof want);
    ck_assert_uint_eq(rng.counter, 2);

    ck_assert(!rnn_sample_frame(&model, raw, 0, &rng, frame));
    ck_assert(frame[0] == 12 && frame[1] == -9);
    ck_assert_uint_eq(rng.counter, 2);
}
END_TEST

START_TEST(plain_values_are_taken_as_they_are)
{
    const float raw[2] = {1, 2}, wild[2] = {INFINITY, NAN};
    struct rnn_model model = model_of(RNN_HEAD_NONE, 2, 0);
    struct rnn_rng rng = start;
    float frame[2];

    ck_assert(!rnn_sample_frame(&model, raw, 1, &rng, frame));
    ck_assert(frame[0] == 12 && frame[1] == -9);
    model.top.mean = model.top.std = NULL;
    ck_assert(!rnn_sample_frame(&model, wild, 1, &rng, frame));
    ck_assert(frame[0] == FLT_MAX && fabsf(frame[1]) == FLT_MAX);
    ck_assert_uint_eq(rng.counter, 0);
}
END_TEST

START_TEST(a_frame_is_scored_by_its_head)
{
    const float raw[9] = {0.5f, 0.25f, -1, 0, 1, -2, 0.1f, 0.2f, 0.3f},
                point[5] = {11, -9, 0, 1, 0};
    const struct mixture mixture = {1, 3, mean, std};
    const struct gaussian gaussian = {2, mean, std};
    struct mixture_score want = mixture_nll(&mixture, raw, point);
    struct rnn_model model = model_of(RNN_HEAD_MIXTURE, 2, 3);
    struct rnn_frame_score got;

    rnn_score_frame(&model, raw, point, &got);
    ck_assert(got.nats == want.offset + want.pen && got.pen == want.pen && got.pen > 0);
    model = model_of(RNN_HEAD_GAUSSIAN, 2, 0);
    rnn_score_frame(&model, raw, point, &got);
    ck_assert(got.nats == gaussian_nll(&gaussian, raw, point) && got.pen == 0);
}
END_TEST

/* ---- Who writes frames ---- */

static bool writes_frames(const struct fake_shape *shape)
{
    struct rnn_model *model = fake_model(shape, 1, false);
    bool writes = rnn_model_info(model)->writes_frames;

    rnn_model_unref(model);
    return writes;
}

START_TEST(what_is_as_wide_as_the_input_can_be_fed_back)
{
    struct fake_shape shape = {.cell = &rnn_cell_gru, .input_size = 2, .layers = 1, .hidden = 3};

    shape.outputs = 2;
    ck_assert(writes_frames(&shape));
    shape.activation = RNN_HEAD_SIGMOID;
    ck_assert(!writes_frames(&shape));
    shape.activation = RNN_HEAD_NONE;
    shape.input = RNN_INPUT_ONEHOT;
    ck_assert(!writes_frames(&shape));
    shape.input = RNN_INPUT_DENSE;
    shape.outputs = 4;
    ck_assert(!writes_frames(&shape));
    shape.activation = RNN_HEAD_GAUSSIAN;
    ck_assert(writes_frames(&shape));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("frame");
    TCase *tests = tcase_create("frame");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tests);
    tcase_add_test(tests, a_mixture_draws_a_point);
    tcase_add_test(tests, one_pen_never_ends_a_drawing);
    tcase_add_test(tests, a_gaussian_draws_its_values);
    tcase_add_test(tests, plain_values_are_taken_as_they_are);
    tcase_add_test(tests, a_frame_is_scored_by_its_head);
    tcase_add_test(tests, what_is_as_wide_as_the_input_can_be_fed_back);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
