/* The end check: a model that was put together wrongly does not get through, whatever went wrong on
 * the way, because the second opinion comes from the file's own tensors. */
#include "import/trial.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "import/draft.h"
#include "import/folder.h"

enum { IDS = 5, H = 4, LAYERS = 2 };

struct world {
    struct archive archive;
    struct import_options options;
    struct draft draft;
    char parent[64], path[96];
    float values[4096];
    size_t used;
};

static void add(struct world *w, const char *name, size_t rows, size_t columns)
{
    struct archive_tensor tensor = {.name = name,
                                    .type = archive_type("F32"),
                                    .rank = columns ? 2 : 1,
                                    .shape = {rows, columns},
                                    .data = w->values + w->used};
    size_t n = rows * (columns ? columns : 1);

    for (size_t i = 0; i < n; i++) /* no two alike, none large */
        w->values[w->used + i] = (float)((w->used + i) * 7919 % 2003) / 2003 - 0.5F;
    w->used += n;
    ck_assert_int_eq(archive_add(&w->archive, &tensor, NULL), 0);
}

static void open_world(struct world *w)
{
    struct rnn_err err = {0};

    *w = (struct world){
        .archive = {.ordered = true},
        .options = {.file = "x", .bos = -1, .eos = -1, .source_eos = -1, .max_len = -1}};
    add(w, "emb.weight", IDS, H);
    add(w, "lstm.weight_ih_l0", 4 * H, H);
    add(w, "lstm.weight_hh_l0", 4 * H, H);
    add(w, "lstm.bias_ih_l0", 4 * H, 0);
    add(w, "lstm.bias_hh_l0", 4 * H, 0);
    add(w, "lstm.weight_ih_l1", 4 * H, H);
    add(w, "lstm.weight_hh_l1", 4 * H, H);
    add(w, "lstm.bias_ih_l1", 4 * H, 0);
    add(w, "lstm.bias_hh_l1", 4 * H, 0);
    add(w, "fc.weight", IDS, H);
    add(w, "fc.bias", IDS, 0);
    ck_assert_msg(draft_make(&w->draft, &w->archive, &w->options, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(w->draft.questions.len, 0);
    strcpy(w->parent, "/tmp/trial-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(w->parent));
    snprintf(w->path, sizeof w->path, "%s/m", w->parent);
}

static void close_world(struct world *w)
{
    draft_free(&w->draft);
    archive_deinit(&w->archive);
    rmdir(w->parent);
}

static struct draft_tensor *tensor(struct world *w, const char *name)
{
    for (size_t i = 0; i < w->draft.n; i++)
        if (strcmp(w->draft.tensors[i].name, name) == 0)
            return &w->draft.tensors[i];
    ck_abort_msg("no tensor %s", name);
}

/* Writes the draft and tries it. */
static int try(struct world *w, struct rnn_err *err)
{
    struct folder folder;
    FILE *nowhere = fopen("/dev/null", "w");
    int rc;

    ck_assert_ptr_nonnull(nowhere);
    ck_assert_int_eq(folder_write(&folder, w->path, &w->draft, err), 0);
    rc = trial_run(folder.beside, NULL, &w->draft.opinion, nowhere, err);
    folder_drop(&folder);
    fclose(nowhere);
    return rc;
}

static void swap_blocks(struct world *w, const char *name, size_t a, size_t b)
{
    static float copy[4 * H * H];
    struct draft_tensor *t = tensor(w, name);

    memcpy(copy, t->data, sizeof copy);
    memcpy(copy + a * H * H, (const float *)t->data + b * H * H, H * H * sizeof *copy);
    memcpy(copy + b * H * H, (const float *)t->data + a * H * H, H * H * sizeof *copy);
    t->data = copy;
}

static void swap_gates(struct world *w)
{
    swap_blocks(w, "rnn.weight_ih_l0", 1, 2);
}

static void swap_layers(struct world *w)
{
    struct draft_tensor *low = tensor(w, "rnn.weight_hh_l0"), *high = tensor(w, "rnn.weight_hh_l1");
    const void *data = low->data;

    low->data = high->data;
    high->data = data;
}

/* Each gate's block by itself, as cuDNN would have it. */
static void transpose_blocks(struct world *w)
{
    static float copy[4 * H * H];
    struct draft_tensor *t = tensor(w, "rnn.weight_hh_l1");
    const float *data = t->data;

    for (size_t i = 0; i < 4 * H * H; i++) {
        size_t block = i / (H * H), row = i / H % H, column = i % H;

        copy[i] = data[block * H * H + column * H + row];
    }
    t->data = copy;
}

static void lose_a_bias(struct world *w)
{
    static const float zeros[4 * H];

    tensor(w, "rnn.bias_hh_l0")->data = zeros;
}

START_TEST(a_sound_model_gets_through)
{
    struct world w;
    struct rnn_err err = {0};

    open_world(&w);
    ck_assert_uint_eq(w.draft.opinion.n, IDS);
    ck_assert_msg(try(&w, &err) == 0, "%s", err.text);
    close_world(&w);
}
END_TEST

START_TEST(what_went_wrong_on_the_way_is_noticed)
{
    void (*const faults[])(struct world *) = {swap_gates, swap_layers, transpose_blocks,
                                              lose_a_bias};

    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct world w;
        struct rnn_err err = {0};

        open_world(&w);
        faults[i](&w);
        ck_assert_int_eq(try(&w, &err), RNN_ERANGE);
        ck_assert_msg(strstr(err.text, "does not compute what the file's tensors do") != NULL, "%s",
                      err.text);
        close_world(&w);
    }
}
END_TEST

/* Without an opinion the model is run all the same, and nothing is claimed. */
START_TEST(no_opinion_is_no_fault)
{
    struct world w;
    struct rnn_err err = {0};

    open_world(&w);
    opinion_free(&w.draft.opinion);
    swap_gates(&w);
    ck_assert_msg(try(&w, &err) == 0, "%s", err.text);
    close_world(&w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trial");
    TCase *tests = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_add_test(tests, a_sound_model_gets_through);
    tcase_add_test(tests, what_went_wrong_on_the_way_is_noticed);
    tcase_add_test(tests, no_opinion_is_no_fault);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
