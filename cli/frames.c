/* Frames of numbers: JSON, an array of arrays, or CSV, a frame on each line with commas,
 * semicolons, tabs or spaces between its numbers.  A first line of CSV that begins with a letter or
 * a quotation mark is a heading and passed over; so are empty lines. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/json.h"
#include "cli/feed.h"

/* ---- JSON ---- */

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

static int take_frames(struct feed *out, size_t width, bool one, const struct cJSON *json)
{
    const struct cJSON *frame = json->child;
    size_t bytes;

    if (!cJSON_IsArray(json))
        return cli_fail("input: want an array of frames");
    if (!checked_mul((size_t)cJSON_GetArraySize(json) + 1, width * sizeof(float), &bytes) ||
        !(out->frames = malloc(bytes)))
        return cli_fail("input: out of memory");
    if (one && cJSON_IsNumber(frame)) {
        out->n = 1;
        return read_frame(out->frames, json, 0, width);
    }
    for (; frame; frame = frame->next, out->n++)
        if (read_frame(out->frames + out->n * width, frame, out->n, width) != CLI_OK)
            return CLI_FAILURE;
    return CLI_OK;
}

static int read_json(struct feed *out, size_t width, bool one, const char *text, size_t len)
{
    struct cJSON *json;
    struct rnn_err err = {0};
    int status;

    if (json_parse(&json, text, len, 4, &err) < 0)
        return cli_fail("input: %s", err.text);
    status = take_frames(out, width, one, json);
    json_free(json);
    return status;
}

/* ---- CSV ---- */

static const char *skip(const char *at, const char *end, const char *what)
{
    while (at < end && *at && strchr(what, *at))
        at++;
    return at;
}

/* A number at *at, and what separates it from the next. */
static bool take_number(const char **at, const char *end, float *out)
{
    const char *rest;
    char *behind;

    *out = strtof(*at, &behind);
    if (behind == *at || behind > end || !isfinite(*out))
        return false;
    rest = skip(behind, end, " \t\r");
    *at = rest;
    if (rest == end)
        return true;
    if (*rest != ',' && *rest != ';')
        return rest > behind;
    *at = skip(rest + 1, end, " \t\r");
    return *at < end; /* a number has to follow */
}

static int read_line(float *out, size_t width, size_t line, const char *at, const char *end)
{
    size_t n = 0;

    for (; at < end; n++) {
        float number;

        if (!take_number(&at, end, &number))
            return cli_fail("input, line %zu, number %zu: want a number that a float32 holds", line,
                            n + 1);
        if (n < width)
            out[n] = number;
    }
    if (n != width)
        return cli_fail("input, line %zu: want %zu numbers, found %zu", line, width, n);
    return CLI_OK;
}

static size_t count_lines(const char *text, size_t len)
{
    size_t n = 1;

    for (size_t i = 0; i < len; i++)
        n += text[i] == '\n';
    return n;
}

static bool is_heading(const char *at, const char *end)
{
    return at < end &&
           (*at == '"' || *at == '_' || (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z'));
}

static int read_csv(struct feed *out, size_t width, const char *text, size_t len)
{
    const char *end = text + len;
    size_t bytes, line = 1;

    if (!checked_mul(count_lines(text, len), width * sizeof(float), &bytes) ||
        !(out->frames = malloc(bytes)))
        return cli_fail("input: out of memory");
    for (const char *at = text, *next; at < end; at = next, line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end;

        next = newline ? newline + 1 : end;
        at = skip(at, stop, " \t\r");
        if (at == stop || (line == 1 && newline && is_heading(at, stop)))
            continue;
        if (read_line(out->frames + out->n * width, width, line, at, stop) != CLI_OK)
            return CLI_FAILURE;
        out->n++;
    }
    return CLI_OK;
}

int feed_frames(struct feed *out, size_t width, bool one, const char *text, size_t len)
{
    const char *first = skip(text, text + len, " \t\r\n");

    if (strlen(text) != len)
        return cli_fail("input: there is a zero byte at %zu", strlen(text));
    return *first == '[' || *first == '{' ? read_json(out, width, one, text, len)
                                          : read_csv(out, width, text, len);
}
