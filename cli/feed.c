/* See feed.h.  Text goes through the model's own tokenizer, frames through base/json; ids are read
 * here.  Standard input is taken to the byte: a newline at its end is part of it. */
#include "cli/feed.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/checked.h"
#include "base/json.h"
#include "cli/signals.h"

char *feed_slurp(FILE *in, const char *name, size_t *len)
{
    struct buf buf = {0};
    char block[65536], *text;
    size_t n;

    do {
        n = fread(block, 1, sizeof block, in);
        buf_put(&buf, block, n);
    } while (n == sizeof block);
    if (ferror(in)) {
        if (!signals_arrived())
            cli_fail("%s: %s", name, strerror(errno));
        buf_free(&buf);
        return NULL;
    }
    buf_putc(&buf, '\0');
    text = buf_take(&buf, len);
    if (!text)
        cli_fail("%s: out of memory", name);
    else
        (*len)--;
    return text;
}

/* ---- Text ---- */

int feed_bad_text(const struct rnn_err *err)
{
    return cli_fail("input: %s", err->text);
}

static int read_text(struct feed *out, const struct engine *engine, const char *text, size_t len)
{
    struct rnn_encoder encoder = {0};
    struct rnn_err err = {0};
    size_t bytes;

    if (!checked_mul(len + 1, sizeof *out->ids, &bytes) || !(out->ids = malloc(bytes)))
        return cli_fail("input: out of memory");
    if (rnn_encode(engine->model, &encoder, text, len, true, out->ids, &out->n, &err) < 0)
        return feed_bad_text(&err);
    return CLI_OK;
}

/* ---- Ids ---- */

static bool separates(char c)
{
    return c == ' ' || c == ',' || c == '\n' || c == '\t' || c == '\r';
}

static int take_id(struct feed *out, const struct engine *engine, const char **text)
{
    char *end;
    unsigned long long id;

    errno = 0;
    id = strtoull(*text, &end, 10);
    if (**text < '0' || **text > '9' || (*end && !separates(*end)))
        return cli_fail("input[%zu]: want a token id, found '%.20s'", out->n, *text);
    if (errno == ERANGE || id >= engine->info->input_size)
        return cli_fail("input[%zu]: want a token id below %zu, found %.*s", out->n,
                        engine->info->input_size, (int)(end - *text > 20 ? 20 : end - *text),
                        *text);
    out->ids[out->n++] = (uint32_t)id;
    *text = end;
    return CLI_OK;
}

int feed_ids(struct feed *out, const struct engine *engine, const char *text, size_t len)
{
    const char *end = text + len;
    size_t bytes;

    if (engine->info->input_kind == RNN_INPUT_DENSE)
        return cli_fail("input: this model takes frames of %zu numbers (--frames)",
                        engine->info->input_size);
    if (!checked_mul(len / 2 + 1, sizeof *out->ids, &bytes) || !(out->ids = malloc(bytes)))
        return cli_fail("input: out of memory");
    for (;;) {
        while (separates(*text))
            text++;
        if (text == end)
            return CLI_OK;
        if (take_id(out, engine, &text) != CLI_OK)
            return CLI_FAILURE;
    }
}

/* "[1,2]" as well as "1 2": the brackets around a JSON array are let go. */
static int read_ids(struct feed *out, const struct engine *engine, char *text, size_t len)
{
    while (len > 0 && separates(text[len - 1]))
        text[--len] = '\0';
    while (separates(*text))
        text++, len--;
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text[len - 1] = '\0';
        text++;
        len -= 2;
    }
    return feed_ids(out, engine, text, len);
}

/* ---- Frames ---- */

static int read_frame(float *out, const struct cJSON *frame, size_t at, size_t width)
{
    const struct cJSON *item = cJSON_IsArray(frame) ? frame->child : NULL;
    size_t i = 0;

    if (!cJSON_IsArray(frame))
        return cli_fail("input[%zu]: want an array of %zu numbers", at, width);
    for (; item; item = item->next, i++) {
        if (i == width)
            break;
        if (!cJSON_IsNumber(item) || !isfinite((float)item->valuedouble))
            return cli_fail("input[%zu][%zu]: want a number that a float32 holds", at, i);
        out[i] = (float)item->valuedouble;
    }
    if (item || i < width)
        return cli_fail("input[%zu]: want %zu numbers, found %d", at, width,
                        cJSON_GetArraySize(frame));
    return CLI_OK;
}

static int take_frames(struct feed *out, const struct engine *engine, const struct cJSON *json)
{
    size_t width = engine->info->input_size, bytes;
    const struct cJSON *frame = json->child;

    if (!cJSON_IsArray(json))
        return cli_fail("input: want an array of frames");
    if (!checked_mul((size_t)cJSON_GetArraySize(json) + 1, width * sizeof(float), &bytes) ||
        !(out->frames = malloc(bytes)))
        return cli_fail("input: out of memory");
    for (; frame; frame = frame->next, out->n++)
        if (read_frame(out->frames + out->n * width, frame, out->n, width) != CLI_OK)
            return CLI_FAILURE;
    return CLI_OK;
}

static int read_frames(struct feed *out, const struct engine *engine, const char *text, size_t len)
{
    struct cJSON *json;
    struct rnn_err err = {0};
    int status;

    if (engine->info->input_kind != RNN_INPUT_DENSE)
        return cli_fail("input: this model takes %s", engine->info->tokenizer
                                                          ? "text or token ids (--ids)"
                                                          : "token ids (--ids)");
    if (json_parse(&json, text, len, 4, &err) < 0)
        return cli_fail("input: %s", err.text);
    status = take_frames(out, engine, json);
    json_free(json);
    return status;
}

/* ---- The whole ---- */

static int read_as_asked(struct feed *out, const struct engine *engine, const struct cli_args *args,
                         char *text, size_t len)
{
    if (cli_given(args, "frames"))
        return read_frames(out, engine, text, len);
    if (cli_given(args, "ids"))
        return read_ids(out, engine, text, len);
    if (engine->info->input_kind == RNN_INPUT_DENSE)
        return cli_fail("input: this model takes frames of %zu numbers (--frames)",
                        engine->info->input_size);
    if (!engine->info->tokenizer)
        return cli_fail("input: this model has no vocabulary and takes token ids (--ids)");
    return read_text(out, engine, text, len);
}

int feed_read(struct feed *out, const struct engine *engine, const struct cli_args *args,
              const char *operand)
{
    size_t len = strlen(operand);
    char *text;
    int status;

    *out = (struct feed){0};
    if (strcmp(operand, "-") == 0)
        text = feed_slurp(stdin, "standard input", &len);
    else if (!(text = strdup(operand)))
        cli_fail("input: out of memory");
    if (!text)
        return CLI_FAILURE;
    status = read_as_asked(out, engine, args, text, len);
    free(text);
    if (status != CLI_OK)
        feed_free(out);
    return status;
}

void feed_free(struct feed *input)
{
    free(input->ids);
    free(input->frames);
    *input = (struct feed){0};
}

void feed_step(struct engine *engine, const struct feed *input, size_t i, bool want)
{
    if (input->frames)
        engine_frame(engine, input->frames + i * engine->info->input_size, want);
    else
        engine_token(engine, input->ids[i], want);
}
