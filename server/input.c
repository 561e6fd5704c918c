/* The input of a compute request.  See input.h. */
#include "server/input.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"
#include "server/base64.h"
#include "server/reply.h"

/* A path is "inputs[i]" with an item's "[j][k]" behind it: three numbers of at most 20 digits. */
enum { PATH_MAX_BYTES = 96 };

/* What is read, and where. */
struct reading {
    struct input *input;
    const char *path;
    size_t *steps_left; /* of the whole request */
    struct rnn_err *err;
};

static int out_of_memory(struct rnn_err *err)
{
    return rnn_fail(err, RNN_ENOMEM, "out of memory");
}

static int take_steps(struct reading *r, size_t n)
{
    if (n > *r->steps_left)
        return rnn_fail_at(r->err, RNN_ELIMIT, r->path, -1,
                           "%s: more steps than one request may have (input_steps_max)", r->path);
    *r->steps_left -= n;
    return 0;
}

static int read_text(struct reading *r, const struct cJSON *json)
{
    size_t len = strlen(json->valuestring);
    int rc = take_steps(r, utf8_length(json->valuestring, len));

    if (rc < 0 || len == 0)
        return rc;
    r->input->text = strdup(json->valuestring);
    if (!r->input->text)
        return out_of_memory(r->err);
    r->input->kind = INPUT_TEXT;
    r->input->text_len = len;
    return 0;
}

static int wrong_item(struct reading *r, size_t i, const char *want)
{
    char path[PATH_MAX_BYTES];

    snprintf(path, sizeof path, "%.40s[%zu]", r->path, i);
    return rnn_fail_at(r->err, RNN_ETYPE, path, -1, "%s: want %s", path, want);
}

static int read_tokens(struct reading *r, const struct cJSON *json, size_t n)
{
    const struct cJSON *item;
    size_t i = 0;

    r->input->tokens = calloc(n, sizeof *r->input->tokens);
    if (!r->input->tokens)
        return out_of_memory(r->err);
    r->input->kind = INPUT_TOKENS;
    r->input->n = n;
    for (item = json->child; item; item = item->next, i++) {
        double id = item->valuedouble;

        if (!cJSON_IsNumber(item) || id != floor(id))
            return wrong_item(r, i, "a token id (a whole number)");
        r->input->tokens[i] = id >= 0 && id < UINT32_MAX ? (uint32_t)id : UINT32_MAX;
    }
    return 0;
}

static int read_frame(struct reading *r, const struct cJSON *frame, size_t i, float *out)
{
    const struct cJSON *item;
    char path[PATH_MAX_BYTES];
    size_t j = 0;

    for (item = frame->child; item; item = item->next, j++) {
        if (cJSON_IsNumber(item) && isfinite((float)item->valuedouble)) {
            if (out)
                out[j] = (float)item->valuedouble;
            continue;
        }
        snprintf(path, sizeof path, "%.40s[%zu][%zu]", r->path, i, j);
        if (cJSON_IsNumber(item))
            return rnn_fail_at(r->err, RNN_ERANGE, path, -1, "%s: too large for a float32", path);
        return rnn_fail_at(r->err, RNN_ETYPE, path, -1, "%s: want a number", path);
    }
    return 0;
}

/* Frames of another width than the first are remembered, not kept: only the model's width tells
 * which of them is wrong. */
static int read_frames(struct reading *r, const struct cJSON *json, size_t n)
{
    struct input *input = r->input;
    const struct cJSON *frame;
    size_t i = 0, floats, bytes;

    input->width = (size_t)cJSON_GetArraySize(json->child);
    input->odd_at = n;
    if (!checked_mul(n, input->width, &floats) ||
        !checked_mul(floats + 1, sizeof *input->frames, &bytes))
        return out_of_memory(r->err);
    /* The other frames may be narrow, so the product is no bound of what was sent. */
    for (frame = json->child; frame && input->odd_at == n; frame = frame->next, i++) {
        size_t width = (size_t)cJSON_GetArraySize(frame);

        if (!cJSON_IsArray(frame))
            return wrong_item(r, i, "a frame (an array of numbers)");
        if (width != input->width) {
            input->odd_at = i;
            input->odd_width = width;
            bytes = i * input->width * sizeof *input->frames + sizeof *input->frames;
        }
    }
    input->frames = malloc(bytes);
    if (!input->frames)
        return out_of_memory(r->err);
    input->kind = INPUT_FRAMES;
    input->n = n;
    i = 0;
    for (frame = json->child; frame; frame = frame->next, i++) {
        int rc;

        if (!cJSON_IsArray(frame))
            return wrong_item(r, i, "a frame (an array of numbers)");
        rc = read_frame(r, frame, i, i < input->odd_at ? input->frames + i * input->width : NULL);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Takes over bytes that malloc() gave, so that they are aligned. */
static int take_floats(struct input *input, const char *path, char *bytes, size_t len,
                       struct rnn_err *err)
{
    size_t n = len / sizeof *input->frames;

    input->frames = (float *)(void *)bytes;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(input->frames[i]))
            return rnn_fail_at(err, RNN_ERANGE, path, -1, "%s: f32: number %zu is not finite", path,
                               i);
    input->kind = INPUT_FLOATS;
    input->n = n;
    return 0;
}

/* {"f32": base64}.  How many steps that is, the model's width tells. */
static int read_floats(struct reading *r, const struct cJSON *json)
{
    const struct cJSON *text = json_get(json, "f32");
    char *bytes = NULL;
    size_t len = 0;
    int rc;

    if (!cJSON_IsString(text) || text->next || text->prev != text)
        return rnn_fail_at(r->err, RNN_ETYPE, r->path, -1,
                           "%s: want an object with one member, f32: base64 of float32 numbers",
                           r->path);
    if (!*text->valuestring)
        return 0;
    rc = base64_decode(text->valuestring, r->path, &bytes, &len, r->err);
    if (rc == RNN_ENOMEM)
        return rc;
    if (rc < 0 || len % sizeof(float) != 0) {
        free(bytes);
        return rnn_fail_at(r->err, RNN_EFORMAT, r->path, -1,
                           "%s: f32: want base64 of little-endian float32 numbers", r->path);
    }
    return take_floats(r->input, r->path, bytes, len, r->err);
}

static int read_one(struct reading *r, const struct cJSON *json)
{
    size_t n;
    int rc;

    if (cJSON_IsString(json))
        return read_text(r, json);
    if (cJSON_IsObject(json))
        return read_floats(r, json);
    if (!cJSON_IsArray(json))
        return rnn_fail_at(r->err, RNN_ETYPE, r->path, -1,
                           "%s: want a string, an array of token ids or an array of frames",
                           r->path);
    n = (size_t)cJSON_GetArraySize(json);
    rc = take_steps(r, n);
    if (rc < 0 || n == 0)
        return rc;
    if (cJSON_IsNumber(json->child))
        return read_tokens(r, json, n);
    if (cJSON_IsArray(json->child))
        return read_frames(r, json, n);
    return wrong_item(r, 0, "a token id (a whole number) or a frame (an array of numbers)");
}

static void free_input(struct input *input)
{
    free(input->text);
    free(input->tokens);
    free(input->frames);
}

void input_list_free(struct input_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free_input(&list->items[i]);
    free(list->items);
    *list = (struct input_list){0};
}

void input_path(const struct input_list *list, size_t i, char *path, size_t size)
{
    if (list->batch)
        snprintf(path, size, "%ss[%zu]", list->name, i);
    else
        snprintf(path, size, "%s", list->name);
}

static int read_items(struct input_list *list, const struct cJSON *first, bool may_be_empty,
                      const struct config *config, struct rnn_err *err)
{
    size_t steps_left = (size_t)config->input_steps_max, i = 0;
    char path[PATH_MAX_BYTES];

    for (const struct cJSON *json = first; json && i < list->n; json = json->next, i++) {
        struct reading r = {&list->items[i], path, &steps_left, err};
        int rc;

        input_path(list, i, path, sizeof path);
        rc = read_one(&r, json);
        if (rc < 0)
            return rc;
        if (list->batch && !may_be_empty && list->items[i].kind == INPUT_EMPTY)
            return rnn_fail_at(err, RNN_ERANGE, path, -1, "%s: is empty", path);
    }
    return 0;
}

static int check_batch(const char *many, const struct cJSON *inputs, const char *name,
                       const struct cJSON *input, const struct config *config, struct rnn_err *err)
{
    if (input)
        return rnn_fail_at(err, RNN_EFORMAT, many, -1, "%s: excludes %s; want one of the two", many,
                           name);
    if (!cJSON_IsArray(inputs))
        return rnn_fail_at(err, RNN_ETYPE, many, -1, "%s: want an array of inputs", many);
    if (!inputs->child)
        return rnn_fail_at(err, RNN_ERANGE, many, -1, "%s: want at least one", many);
    if (cJSON_GetArraySize(inputs) > config->inputs_max)
        return rnn_fail_at(err, RNN_ELIMIT, many, -1, "%s: want at most %lld", many,
                           (long long)config->inputs_max);
    return 0;
}

static int read_list(struct input_list *out, const char *name, bool may_be_empty,
                     const struct cJSON *body, const struct config *config, struct rnn_err *err)
{
    char many[PATH_MAX_BYTES];
    const struct cJSON *input = json_get(body, name), *inputs;
    struct input_list list = {.name = name, .n = 1, .steps_max = (size_t)config->input_steps_max};
    int rc = 0;

    *out = (struct input_list){.name = name};
    snprintf(many, sizeof many, "%ss", name);
    inputs = json_get(body, many);
    list.batch = inputs != NULL;
    list.given = inputs || input;
    if (inputs)
        rc = check_batch(many, inputs, name, input, config, err);
    if (rc < 0)
        return rc;
    if (inputs)
        list.n = (size_t)cJSON_GetArraySize(inputs);
    list.items = calloc(list.n, sizeof *list.items);
    if (!list.items)
        return out_of_memory(err);
    rc = read_items(&list, inputs ? inputs->child : input, may_be_empty, config, err);
    if (rc < 0) {
        input_list_free(&list);
        return rc;
    }
    *out = list;
    return 0;
}

int input_read(struct input_list *out, const char *name, const struct cJSON *body,
               const struct config *config, struct rnn_err *err)
{
    return read_list(out, name, false, body, config, err);
}

int input_read_candidates(struct input_list *out, const struct cJSON *body,
                          const struct config *config, struct rnn_err *err)
{
    return read_list(out, "candidate", true, body, config, err);
}

int input_from_floats(struct input_list *out, const char *bytes, size_t len,
                      const struct config *config, struct rnn_err *err)
{
    char *copy;
    int rc;

    *out = (struct input_list){
        .name = "input", .given = true, .steps_max = (size_t)config->input_steps_max};
    if (len == 0 || len % sizeof(float) != 0)
        return rnn_fail_at(err, RNN_EFORMAT, "input", -1,
                           "input: want little-endian float32 numbers, found %zu bytes", len);
    out->items = calloc(1, sizeof *out->items);
    copy = malloc(len);
    if (!out->items || !copy) {
        free(out->items);
        free(copy);
        *out = (struct input_list){0};
        return out_of_memory(err);
    }
    memcpy(copy, bytes, len);
    out->n = 1;
    rc = take_floats(out->items, out->name, copy, len, err);
    if (rc < 0)
        input_list_free(out);
    return rc;
}

/* ---- Fitting to a model ---- */

static int resolve_text(struct input *input, const char *path, const struct rnn_model *model,
                        bool target, struct rnn_err *err)
{
    const struct rnn_model_info *info = rnn_model_info(model);
    struct rnn_encoder encoder = {0};
    int rc;

    if (!info->tokenizer)
        return rnn_fail_at(err, REPLY_EINPUT, path, -1, "%s: this model has no vocabulary; want %s",
                           path,
                           !target && info->input_kind == RNN_INPUT_DENSE ? "frames" : "token ids");
    input->tokens = calloc(input->text_len + 1, sizeof *input->tokens);
    if (!input->tokens)
        return out_of_memory(err);
    rc = (target ? rnn_encode_target : rnn_encode)(model, &encoder, input->text, input->text_len,
                                                   true, input->tokens, &input->n, err);
    if (rc < 0) {
        if (err)
            snprintf(err->param, sizeof err->param, "%.40s", path);
        rnn_err_prefix(err, "%s: ", path);
        return rc;
    }
    input->kind = input->n ? INPUT_TOKENS : INPUT_EMPTY;
    return 0;
}

static int check_tokens(const struct input *input, const char *base_path, size_t n_tokens,
                        struct rnn_err *err)
{
    for (size_t i = 0; i < input->n; i++) {
        char path[PATH_MAX_BYTES];

        if (input->tokens[i] < n_tokens)
            continue;
        snprintf(path, sizeof path, "%.40s[%zu]", base_path, i);
        return rnn_fail_at(err, REPLY_EINPUT, path, -1, "%s: this model's token ids are 0 to %zu",
                           path, n_tokens - 1);
    }
    return 0;
}

static int check_frames(const struct input *input, const char *base_path, size_t width,
                        struct rnn_err *err)
{
    size_t bad = input->width != width ? 0 : input->odd_at;
    char path[PATH_MAX_BYTES];

    if (bad == input->n)
        return 0;
    snprintf(path, sizeof path, "%.40s[%zu]", base_path, bad);
    return rnn_fail_at(err, RNN_ESHAPE, path, -1, "%s: want a frame of %zu numbers, found %zu",
                       path, width, bad == 0 ? input->width : input->odd_width);
}

/* Numbers without frames: the model's width cuts them. */
static int resolve_floats(const struct input_list *list, struct input *input, const char *path,
                          size_t width, struct rnn_err *err)
{
    if (input->n % width)
        return rnn_fail_at(err, RNN_ESHAPE, path, -1,
                           "%s: f32: %zu numbers are no whole frames of %zu", path, input->n,
                           width);
    input->n /= width;
    if (input->n > list->steps_max)
        return rnn_fail_at(err, RNN_ELIMIT, path, -1,
                           "%s: more steps than one request may have (input_steps_max)", path);
    input->kind = INPUT_FRAMES;
    return 0;
}

static int want_frames(const char *path, const struct rnn_model_info *info, const char *found,
                       struct rnn_err *err)
{
    return rnn_fail_at(err, REPLY_EINPUT, path, -1,
                       "%s: this model takes frames of %zu numbers, not %s", path, info->input_size,
                       found);
}

static int resolve(const struct input_list *list, struct input *input, const char *path,
                   const struct rnn_model *model, struct rnn_err *err)
{
    const struct rnn_model_info *info = rnn_model_info(model);

    if (input->kind == INPUT_EMPTY)
        return 0;
    if (input->kind == INPUT_TEXT && info->tokenizer && info->input_kind == RNN_INPUT_DENSE)
        return want_frames(path, info, "text", err);
    if (input->kind == INPUT_TEXT)
        return resolve_text(input, path, model, false, err);
    if (input->kind == INPUT_TOKENS && info->input_kind == RNN_INPUT_DENSE)
        return want_frames(path, info, "token ids", err);
    if ((input->kind == INPUT_FRAMES || input->kind == INPUT_FLOATS) &&
        info->input_kind != RNN_INPUT_DENSE)
        return rnn_fail_at(err, REPLY_EINPUT, path, -1,
                           "%s: this model takes %stoken ids, not frames", path,
                           info->tokenizer ? "text or " : "");
    if (input->kind == INPUT_TOKENS)
        return check_tokens(input, path, info->input_size, err);
    if (input->kind == INPUT_FLOATS)
        return resolve_floats(list, input, path, info->input_size, err);
    return check_frames(input, path, info->input_size, err);
}

int input_resolve(struct input_list *list, size_t i, const struct rnn_model *model,
                  struct rnn_err *err)
{
    size_t window = rnn_model_info(model)->window;
    struct input *input = &list->items[i];
    char path[PATH_MAX_BYTES];
    int rc;

    input_path(list, i, path, sizeof path);
    rc = resolve(list, input, path, model, err);
    if (rc < 0 || !window || input->n == window)
        return rc;
    return rnn_fail_at(err, REPLY_EINPUT, path, -1,
                       "%s: this model reads a window of exactly %zu steps, found %zu", path,
                       window, input->n);
}

int input_resolve_target(struct input_list *list, size_t i, const struct rnn_model *model,
                         struct rnn_err *err)
{
    struct input *input = &list->items[i];
    char path[PATH_MAX_BYTES];

    input_path(list, i, path, sizeof path);
    if (input->kind == INPUT_EMPTY)
        return 0;
    if (input->kind == INPUT_TEXT)
        return resolve_text(input, path, model, true, err);
    if (input->kind != INPUT_TOKENS)
        return rnn_fail_at(err, REPLY_EINPUT, path, -1, "%s: want text or token ids", path);
    return check_tokens(input, path, rnn_model_info(model)->output_size, err);
}

struct rnn_walk_input input_walk(const struct input *input)
{
    return (struct rnn_walk_input){
        .tokens = input->kind == INPUT_TOKENS ? input->tokens : NULL,
        .frames = input->kind == INPUT_FRAMES ? input->frames : NULL,
        .n = input->n,
    };
}
