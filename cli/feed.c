/* See feed.h.  Text goes through the model's own tokenizer; ids are read here.  Standard input and
 * files are taken to the byte: a newline at their end is part of the text. */
#include "cli/feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/checked.h"
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

static int read_text(struct feed *out, const struct engine *engine, const char *text, size_t len)
{
    struct rnn_encoder encoder = {0};
    struct rnn_err err = {0};
    size_t bytes;

    if (!checked_mul(len + 1, sizeof *out->ids, &bytes) || !(out->ids = malloc(bytes)))
        return cli_fail("input: out of memory");
    if (rnn_encode(engine->model, &encoder, text, len, true, out->ids, &out->n, &err) < 0)
        return cli_fail("input: %s", err.text);
    return CLI_OK;
}

/* ---- Ids ---- */

static bool separates(char c)
{
    return c == ' ' || c == ',' || c == '\n' || c == '\t' || c == '\r';
}

static int take_id(struct feed *out, size_t limit, const char **text)
{
    char *end;
    unsigned long long id;

    errno = 0;
    id = strtoull(*text, &end, 10);
    if (**text < '0' || **text > '9' || (*end && !separates(*end)))
        return cli_fail("input[%zu]: want a token id, found '%.20s'", out->n, *text);
    if (errno == ERANGE || id >= limit)
        return cli_fail("input[%zu]: want a token id below %zu, found %.*s", out->n, limit,
                        (int)(end - *text > 20 ? 20 : end - *text), *text);
    out->ids[out->n++] = (uint32_t)id;
    *text = end;
    return CLI_OK;
}

int feed_ids(struct feed *out, size_t limit, const char *text, size_t len)
{
    const char *end = text + len;
    size_t bytes;

    if (!checked_mul(len / 2 + 1, sizeof *out->ids, &bytes) || !(out->ids = malloc(bytes)))
        return cli_fail("input: out of memory");
    for (;;) {
        while (separates(*text))
            text++;
        if (text == end)
            return CLI_OK;
        if (take_id(out, limit, &text) != CLI_OK)
            return CLI_FAILURE;
    }
}

/* "[1,2]" as well as "1 2": the brackets around a JSON array are let go. */
static int read_ids(struct feed *out, size_t limit, char *text, size_t len)
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
    return feed_ids(out, limit, text, len);
}

/* ---- The whole ---- */

bool feed_options(const struct cli_args *args)
{
    return !cli_given(args, "ids") || !cli_given(args, "frames") ||
           cli_fault(args, "--ids and --frames exclude each other");
}

int feed_parse(struct feed *out, const struct engine *engine, const struct cli_args *args,
               char *text, size_t len)
{
    const struct rnn_model_info *info = engine->info;
    bool dense = info->input_kind == RNN_INPUT_DENSE, ids = cli_given(args, "ids");

    if (dense && ids)
        return cli_fail("input: this model takes frames of %zu numbers", info->input_size);
    if (dense)
        return feed_frames(out, info->input_size, info->topology == RNN_ONE_TO_MANY, text, len);
    if (cli_given(args, "frames"))
        return cli_fail("input: this model takes %s",
                        info->tokenizer ? "text or token ids (--ids)" : "token ids (--ids)");
    if (ids)
        return read_ids(out, info->input_size, text, len);
    if (!info->tokenizer)
        return cli_fail("input: this model has no vocabulary and takes token ids (--ids)");
    return read_text(out, engine, text, len);
}

static char *read_file(const char *path, size_t *len)
{
    FILE *in = fopen(path, "re");
    char *text;

    if (!in) {
        cli_fail("%s: %s", path, strerror(errno));
        return NULL;
    }
    text = feed_slurp(in, path, len);
    fclose(in);
    return text;
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
    else if (cli_given(args, "file"))
        text = read_file(operand, &len);
    else if (!(text = strdup(operand)))
        cli_fail("input: out of memory");
    if (!text)
        return CLI_FAILURE;
    status = feed_parse(out, engine, args, text, len);
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

struct rnn_walk_input feed_walk(const struct feed *input)
{
    return (struct rnn_walk_input){
        .tokens = input->ids, .frames = input->frames, .n = input->n, .last_only = true};
}
