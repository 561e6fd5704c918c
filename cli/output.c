/* See output.h. */
#include "cli/output.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "cli/signals.h"

void output_json_token(struct buf *out, const struct engine *engine, uint32_t id)
{
    size_t len = 0;
    const char *text;

    if (engine->info->labels) {
        text = engine->info->labels[id];
        buf_puts(out, "\"label\":");
        buf_json_string(out, text, strlen(text));
        buf_putc(out, ',');
    } else if ((text = rnn_token_text(engine->model, id, &len)) != NULL) {
        buf_puts(out, "\"token\":");
        buf_json_string(out, text, len);
        buf_putc(out, ',');
    }
    buf_puts(out, "\"id\":");
    buf_u64(out, id);
}

void output_plain_token(struct buf *out, const struct engine *engine, uint32_t id)
{
    size_t len = 0;
    const char *text = engine->info->labels ? NULL : rnn_token_text(engine->model, id, &len);

    if (engine->info->labels)
        buf_puts(out, engine->info->labels[id]);
    else if (text)
        buf_json_string(out, text, len);
    else
        buf_printf(out, "#%u", (unsigned)id);
}

bool output_flush(struct buf *out)
{
    bool written = !out->failed;

    if (!written)
        errno = ENOMEM;
    else if (fwrite(out->data, 1, out->len, stdout) != out->len || fflush(stdout) != 0)
        written = false;
    if (!written && errno == EPIPE)
        signals_note(SIGPIPE);
    buf_clear(out);
    return written;
}

int output_status(bool written)
{
    if (written || signals_arrived())
        return written ? CLI_OK : CLI_FAILURE;
    return cli_fail("output: %s", strerror(errno));
}
