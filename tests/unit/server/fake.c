/* The fake engine, the fake shards, and an allocator that can be told to fail: the linker puts the
 * __wrap_ functions in the place of libc's in everything that is linked statically. */
#include "fake.h"

#include <stdlib.h>
#include <string.h>

#include "server/metrics.h"

struct fake_steps fake_steps;
bool fake_keep_turning;
bool fake_no_scratch;
size_t fake_fail_at;

/* ---- Allocator ---- */

/* The names are the linker's. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
char *__wrap_strdup(const char *text);

static bool fails(void)
{
    return fake_fail_at > 0 && --fake_fail_at == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return fails() ? NULL : __real_aligned_alloc(align, size);
}

char *__wrap_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = fails() ? NULL : __real_malloc(size);

    return copy == NULL ? NULL : memcpy(copy, text, size);
}

struct rnn_model {
    struct rnn_model_info info;
    struct rnn_state_part part;
    unsigned refs;
};

struct rnn_scratch {
    size_t rows_max;
};

/* ---- Engine ---- */

struct rnn_model *fake_model(size_t output_size)
{
    struct rnn_model *model = calloc(1, sizeof(*model));

    if (model == NULL)
        abort();
    model->refs = 1;
    model->info = (struct rnn_model_info){
        .name = "fake",
        .input_size = output_size,
        .output_size = output_size,
        .hidden_width = 2,
        .language_model = true,
        .state_bytes = sizeof(struct rnn_state) + sizeof(uint64_t),
        .unk = -1,
        .bos = -1,
        .eos = -1,
    };
    return model;
}

struct rnn_model *fake_model_of(const char *fingerprint, const char *part)
{
    struct rnn_model *model = fake_model(5);

    memcpy(model->info.fingerprint, fingerprint, strlen(fingerprint) + 1);
    model->part = (struct rnn_state_part){.kind = part, .size = 2};
    return model;
}

void fake_model_reads(struct rnn_model *fake, size_t n_tokens)
{
    fake->info.input_size = fake->info.output_size = n_tokens;
}

const struct rnn_state_part *rnn_state_parts(const struct rnn_model *model, size_t *n_parts)
{
    *n_parts = 1;
    return &model->part;
}

int rnn_model_open(struct rnn_model **out, const char *path, const struct rnn_open_options *options,
                   struct rnn_err *err)
{
    (void)out;
    (void)options;
    return rnn_fail(err, RNN_EIO, "%s: there are no folders here", path);
}

unsigned fake_model_refs(const struct rnn_model *model)
{
    return model->refs;
}

const struct rnn_model_info *rnn_model_info(const struct rnn_model *model)
{
    return &model->info;
}

struct rnn_model *rnn_model_ref(struct rnn_model *model)
{
    model->refs++;
    return model;
}

void rnn_model_unref(struct rnn_model *model)
{
    if (model != NULL && --model->refs == 0)
        free(model);
}

void rnn_state_init(const struct rnn_model *model, struct rnn_state *state, uint64_t seed)
{
    memset(state, 0, model->info.state_bytes);
    state->rng.seed = seed;
}

int rnn_state_init_named(const struct rnn_model *model, const char *name, struct rnn_state *state,
                         uint64_t seed, struct rnn_err *err)
{
    if (strcmp(name, "fake") != 0)
        return rnn_fail_at(err, RNN_ENOENT, "initial_state", -1, "no such state");
    rnn_state_init(model, state, seed);
    state->position = 100;
    return 0;
}

/* The bytes as they stand in memory. */
int rnn_state_write(const struct rnn_model *model, const struct rnn_state *state, size_t bytes,
                    struct buf *out, struct rnn_err *err)
{
    (void)model;
    buf_put(out, state, bytes);
    return out->failed ? rnn_fail(err, RNN_ENOMEM, "no memory") : 0;
}

int rnn_state_read(const struct rnn_model *model, const void *file, size_t len,
                   struct rnn_state **out, size_t *bytes, struct rnn_err *err)
{
    size_t window;

    if (!rnn_state_window(model, len, &window))
        return rnn_fail(err, RNN_EFORMAT, "damaged");
    *out = malloc(len);
    if (*out == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory");
    memcpy(*out, file, len);
    *bytes = len;
    return 0;
}

static uint64_t mix(uint64_t memory, uint64_t token)
{
    memory = (memory ^ (token + 0x9e3779b97f4a7c15u)) * 0xbf58476d1ce4e5b9u;
    return memory ^ memory >> 29;
}

uint64_t fake_memory(const struct rnn_state *state)
{
    uint64_t memory;

    memcpy(&memory, state->memory, sizeof(memory));
    return memory;
}

uint64_t fake_memory_after(const uint32_t *tokens, size_t n)
{
    uint64_t memory = 0;

    for (size_t i = 0; i < n; i++)
        memory = mix(memory, tokens[i]);
    return memory;
}

int rnn_scratch_new(struct rnn_scratch **out, const struct rnn_model *model, size_t rows_max,
                    struct rnn_err *err)
{
    (void)model;
    if (fake_no_scratch)
        return rnn_fail(err, RNN_ENOMEM, "no scratch");
    *out = calloc(1, sizeof(**out));
    if (*out == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no scratch");
    (*out)->rows_max = rows_max;
    fake_steps.scratches++;
    return 0;
}

void rnn_scratch_free(struct rnn_scratch *scratch)
{
    if (scratch != NULL)
        fake_steps.scratches--;
    free(scratch);
}

static void row_step(const struct rnn_model *model, const struct rnn_row *row)
{
    uint64_t memory = fake_memory(row->state);

    if (row->input != RNN_ROW_READ) {
        memory = mix(memory, row->input == RNN_ROW_TOKEN ? row->token : (uint64_t)row->frame[0]);
        memcpy(row->state->memory, &memory, sizeof(memory));
        row->state->position++;
    }
    for (size_t i = 0; row->logits != NULL && i < model->info.output_size; i++)
        row->logits[i] = (float)(mix(memory, i) % 1000);
    if (row->hidden != NULL)
        row->hidden[0] = row->hidden[1] = (float)(memory % 1000);
    fake_steps.n_heads += row->logits != NULL;
}

void rnn_step(const struct rnn_model *model, struct rnn_scratch *scratch,
              const struct rnn_row *rows, size_t n_rows)
{
    fake_steps.n_steps++;
    fake_steps.n_rows += n_rows;
    fake_steps.last_rows = n_rows;
    fake_steps.shared |= n_rows > scratch->rows_max || n_rows == 0;
    for (size_t i = 0; i < n_rows; i++) {
        for (size_t j = 0; j < i; j++)
            fake_steps.shared |= rows[i].state == rows[j].state;
        row_step(model, &rows[i]);
    }
}

/* A walk as a model of one direction has it. */
struct rnn_walk {
    struct rnn_state *state;
    struct rnn_walk_input input;
    size_t t;
};

int rnn_walk_new(struct rnn_walk **out, const struct rnn_model *model, struct rnn_state *state,
                 const struct rnn_walk_input *input, struct rnn_err *err)
{
    (void)model;
    *out = calloc(1, sizeof(**out));
    if (*out == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no walk");
    **out = (struct rnn_walk){.state = state, .input = *input};
    return 0;
}

void rnn_walk_free(struct rnn_walk *walk)
{
    free(walk);
}

enum rnn_walk_next rnn_walk_next(struct rnn_walk *walk, struct rnn_row *row)
{
    size_t t = walk->t++;

    *row = (struct rnn_row){.state = walk->state, .input = RNN_ROW_READ};
    if (walk->input.n == 0 && t == 0)
        return RNN_WALK_OUTPUT;
    if (t >= walk->input.n)
        return RNN_WALK_DONE;
    row->input = RNN_ROW_TOKEN;
    row->token = walk->input.tokens[t];
    return t + 1 == walk->input.n ? RNN_WALK_OUTPUT : RNN_WALK_ON;
}

const struct rnn_memory *rnn_walk_memory(const struct rnn_walk *walk)
{
    (void)walk;
    return NULL;
}

/* ---- Shards ---- */

static struct letter {
    struct letter *next;
    struct shard *to;
    struct message *message;
} * letters, **letters_end = &letters;

void shard_post(struct shard *shard, struct message *message)
{
    struct letter *letter = __real_malloc(sizeof(*letter));

    if (letter == NULL)
        abort();
    *letter = (struct letter){.to = shard, .message = message};
    *letters_end = letter;
    letters_end = &letter->next;
}

void shard_post_all(struct shard *shard, struct message *first, struct message *last)
{
    last->next = NULL;
    while (first != NULL) {
        struct message *next = first->next;

        shard_post(shard, first);
        first = next;
    }
}

size_t fake_run_messages(void)
{
    size_t n = 0;

    for (; letters != NULL; n++) {
        struct letter *letter = letters;

        letters = letter->next;
        if (letters == NULL)
            letters_end = &letters;
        letter->message->run(letter->to, letter->message);
        free(letter);
    }
    return n;
}

void shard_keep_turning(struct shard *shard)
{
    (void)shard;
    fake_keep_turning = true;
}

void shard_clock(struct shard *shard)
{
    (void)shard; /* the test sets the time */
}

void fake_advance_ms(struct fake_world *world, int64_t ms)
{
    for (unsigned i = 0; i < world->server.n_shards; i++) {
        world->shards[i].now_unix_ms += ms;
        world->shards[i].now_ns += (uint64_t)ms * 1000000u;
    }
}

void fake_world_init(struct fake_world *world, unsigned n_shards)
{
    *world = (struct fake_world){
        .config =
            {
                .batch_rows_max = 4,
                .prompt_steps_per_turn = 3,
                .queue_max = 8,
                .rows_active_max = 6,
                .answer_max_bytes = 1 << 16,
                .stream_buffer_bytes = 64,
                .sessions_max = 1000,
                .session_queue_max = 4,
                .session_ttl_s = 100,
                .session_ttl_max_s = 1000,
                .session_gone_s = 50,
                .session_trail = 4,
                .snapshots_max = 3,
                .keepalive_s = 15,
            },
    };
    fake_steps = (struct fake_steps){0};
    fake_keep_turning = fake_no_scratch = false;
    fake_fail_at = 0;
    world->server.machine.memory_bytes = 1 << 30;
    world->server.shards = world->list;
    world->server.n_shards = n_shards;
    atomic_init(&world->server.config, &world->config);
    for (unsigned i = 0; i < n_shards; i++) {
        world->list[i] = &world->shards[i];
        world->shards[i].server = &world->server;
        world->shards[i].index = i;
        world->shards[i].metrics = metrics_new();
        world->shards[i].now_unix_ms = 1000000000;
        world->shards[i].now_ns = 1000000000;
        if (world->shards[i].metrics == NULL)
            abort();
    }
}

void fake_world_deinit(struct fake_world *world)
{
    (void)fake_run_messages();
    for (unsigned i = 0; i < world->server.n_shards; i++)
        metrics_free(world->shards[i].metrics);
}

double fake_metric(struct fake_world *world, const char *sample)
{
    struct buf page = {0};
    const char *line;
    double value = -1;

    metrics_page(&page, &world->server);
    buf_putc(&page, '\0');
    for (line = page.data; !page.failed && (line = strstr(line, sample)) != NULL; line++) {
        if ((line == page.data || line[-1] == '\n') && line[strlen(sample)] == ' ') {
            value = strtod(line + strlen(sample), NULL);
            break;
        }
    }
    buf_free(&page);
    return value;
}
