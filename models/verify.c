/* Opens a model, replays its golden.json, reports.  See verify.h. */
#include "models/verify.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "core/rnn.h"
#include "models/file.h"
#include "models/replay.h"

#define GOLDEN_MAX_BYTES ((size_t)1 << 28)

/* *out is NULL where the folder has no golden.json. */
static int load_golden(struct cJSON **out, const char *folder, struct rnn_err *err)
{
    char *path, *text;
    struct rnn_err fault = {0};
    size_t len;
    int rc;

    if (asprintf(&path, "%s/golden.json", folder) < 0)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = file_load(&text, &len, path, GOLDEN_MAX_BYTES, &fault);
    free(path);
    if (rc == 0) {
        rc = json_parse(out, text, len, 16, &fault);
        free(text);
    }
    if (rc == RNN_ENOENT) {
        *out = NULL;
        return 0;
    }
    if (rc < 0 && err) {
        *err = fault;
        rnn_err_prefix(err, "golden.json: ");
    }
    return rc;
}

static void report_model(FILE *report, const struct rnn_model_info *info)
{
    fprintf(report, "%s: %s, %zu layer%s of %zu, %llu parameters, %s, SHA-256 %s\n", info->name,
            info->cell, info->layers, info->layers == 1 ? "" : "s", info->hidden_size,
            (unsigned long long)info->parameters, info->dtype, info->fingerprint);
}

/* Values by kind; returns how many were off. */
static size_t report_tally(FILE *report, const struct replay *replay)
{
    size_t n_off = 0;

    for (enum replay_kind kind = 0; kind < REPLAY_KINDS; kind++) {
        const struct replay_tally *tally = &replay->tally[kind];

        n_off += tally->n_off;
        if (!report || tally->n == 0)
            continue;
        if (kind == REPLAY_IDS || kind == REPLAY_TEXT)
            fprintf(report, "  %-8s %8zu compared, %zu differ\n", replay_kind_name(kind), tally->n,
                    tally->n_off);
        else
            fprintf(report, "  %-8s %8zu compared, %zu off, largest error %.2e (tolerance %.1e)\n",
                    replay_kind_name(kind), tally->n, tally->n_off, tally->worst, tally->atol);
    }
    return n_off;
}

/* In the form that it is in. */
static int replay_form(struct replay *replay, const struct cJSON *golden)
{
    if (json_get(golden, "runs"))
        return replay_runs(replay, golden);
    return json_get(golden, "words") ? replay_words(replay, golden) : replay_texts(replay, golden);
}

static int replay_golden(struct rnn_model *model, const struct cJSON *golden, FILE *report,
                         struct rnn_err *err)
{
    struct replay replay;
    int rc = replay_init(&replay, model, err);

    if (rc < 0)
        return rc;
    replay_at(&replay, "golden.json");
    rc = replay_form(&replay, golden);
    if (rc < 0) {
        rnn_err_prefix(err, "golden.json: ");
    } else if (report_tally(report, &replay) > 0) {
        if (err)
            *err = replay.first;
        rc = RNN_ERANGE;
    }
    replay_deinit(&replay);
    return rc;
}

int model_verify(const char *folder, FILE *report, struct rnn_err *err)
{
    struct rnn_model *model;
    struct cJSON *golden = NULL;
    int rc;

    rc = rnn_model_open(&model, folder, NULL, err);
    if (rc < 0)
        return rc;
    if (report)
        report_model(report, rnn_model_info(model));
    rc = load_golden(&golden, folder, err);
    if (rc == 0 && golden)
        rc = replay_golden(model, golden, report, err);
    else if (rc == 0 && report)
        fprintf(report, "  no golden.json: the shape and the weights were checked, no values\n");
    json_free(golden);
    rnn_model_unref(model);
    return rc;
}
