/* See engine.h. */
#include "cli/engine.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/settings.h"
#include "cli/signals.h"

/* ---- Finding the folder ---- */

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int not_hidden(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Says which models there are, on the line that was begun. */
static void list_models(const char *folder)
{
    struct dirent **entries;
    int n = scandir(folder, &entries, not_hidden, alphasort), shown = 0;

    if (n < 0) {
        fprintf(stderr, " (%s)", strerror(errno));
        return;
    }
    for (int i = 0; i < n; i++) {
        char path[4096];

        snprintf(path, sizeof path, "%s/%s/config.json", folder, entries[i]->d_name);
        if (shown < 20 && access(path, F_OK) == 0)
            fprintf(stderr, "%s%s", shown++ ? ", " : "; there are: ", entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

bool engine_find(const struct config *config, const char *name, char *out, size_t cap)
{
    const char *folder = config->models;

    if (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        snprintf(out, cap, "%s", name);
        return true;
    }
    snprintf(out, cap, "%s/%s", folder, name);
    if (is_folder(out))
        return true;
    snprintf(out, cap, "%s", name);
    if (is_folder(out))
        return true;
    fprintf(stderr, "rnnd: no model '%s' in %s", name, folder);
    list_models(folder);
    fputc('\n', stderr);
    return false;
}

/* ---- Opening ---- */

static int make_memory(struct engine *engine, struct rnn_err *err)
{
    int rc = rnn_scratch_new(&engine->scratch, engine->model, 1, err);

    if (rc < 0)
        return rc;
    engine->state_bytes = engine->info->state_bytes;
    engine->state = calloc(1, engine->state_bytes);
    engine->logits = calloc(engine->info->output_size, sizeof *engine->logits);
    if (!engine->state || !engine->logits)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rnn_state_init(engine->model, engine->state, 0);
    return 0;
}

static int open_model(struct engine *engine, const struct config *config, const char *path,
                      struct rnn_err *err)
{
    struct rnn_open_options options = {.table_max_bytes = config->table_max_bytes};
    int rc = rnn_kernels_select((enum rnn_isa)config->isa, err);

    if (rc == 0)
        rc = rnn_model_open(&engine->model, path, &options, err);
    if (rc < 0)
        return rc;
    engine->info = rnn_model_info(engine->model);
    return make_memory(engine, err);
}

int engine_open(struct engine *engine, const struct cli_args *args, const char *name)
{
    struct config *config;
    struct rnn_err err = {0};
    char path[4096];
    int status = CLI_OK;

    *engine = (struct engine){0};
    if (!settings_load(args, &config))
        return cli_hint(args->command->name);
    if (!engine_find(config, name, path, sizeof path))
        status = CLI_FAILURE;
    else if (open_model(engine, config, path, &err) < 0)
        status = cli_fail("model %s: %s", path, err.text);
    config_free(config);
    if (status != CLI_OK)
        engine_close(engine);
    return status;
}

void engine_close(struct engine *engine)
{
    rnn_walk_free(engine->walk);
    rnn_scratch_free(engine->scratch);
    rnn_model_unref(engine->model);
    free(engine->state);
    free(engine->logits);
    *engine = (struct engine){0};
}

/* ---- Steps ---- */

bool engine_decodes(const struct rnn_model_info *info)
{
    return info->topology == RNN_ONE_TO_MANY || info->topology == RNN_SEQ2SEQ;
}

int engine_remember(struct engine *engine, size_t window)
{
    size_t bytes = rnn_state_bytes(engine->model, window);
    struct rnn_state *state = calloc(1, bytes);

    if (!state)
        return cli_fail("out of memory");
    free(engine->state);
    engine->state = state;
    engine->state_bytes = bytes;
    return CLI_OK;
}

void engine_reset(struct engine *engine, uint64_t seed)
{
    rnn_state_init(engine->model, engine->state, seed);
    rnn_state_forget(engine->model, engine->state, engine->state_bytes);
}

int engine_begin(struct engine *engine, const struct rnn_walk_input *input)
{
    struct rnn_err err = {0};

    rnn_walk_free(engine->walk);
    engine->walk = NULL;
    if (rnn_walk_new(&engine->walk, engine->model, engine->state, input, &err) < 0)
        return cli_fail("%s", err.text);
    return CLI_OK;
}

bool engine_next(struct engine *engine, size_t *step)
{
    struct rnn_row row;
    enum rnn_walk_next next;

    while (!signals_arrived() && (next = rnn_walk_next(engine->walk, &row)) != RNN_WALK_DONE) {
        row.logits = next == RNN_WALK_OUTPUT ? engine->logits : NULL;
        rnn_step(engine->model, engine->scratch, &row, 1);
        if (next == RNN_WALK_ON)
            continue;
        *step = rnn_walk_step(engine->walk);
        return true;
    }
    return false;
}

static void step(struct engine *engine, struct rnn_row row, bool want)
{
    row.state = engine->state;
    row.memory = engine->walk ? rnn_walk_memory(engine->walk) : NULL;
    row.logits = want ? engine->logits : NULL;
    rnn_step(engine->model, engine->scratch, &row, 1);
}

void engine_token(struct engine *engine, uint32_t token, bool want)
{
    step(engine, (struct rnn_row){.input = RNN_ROW_TOKEN, .token = token}, want);
    rnn_state_remember(engine->model, engine->state, engine->state_bytes, token, true);
}

void engine_frame(struct engine *engine, const float *frame)
{
    step(engine, (struct rnn_row){.input = RNN_ROW_FRAME, .frame = frame}, true);
}
