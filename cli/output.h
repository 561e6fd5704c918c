/* What commands print of a model's output: tokens, labels, JSON. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "base/buf.h"
#include "cli/engine.h"

/* "token":…,"id":… or "label":…,"id":… as the daemon's answers have it. */
void output_json_token(struct buf *out, const struct engine *engine, uint32_t id);

/* The token or label for a person: quoted, with control characters escaped; "#7" where there is no
 * vocabulary. */
void output_plain_token(struct buf *out, const struct engine *engine, uint32_t id);

/* Writes the buffer to standard output and empties it; false where that failed (signals_note() has
 * been told if the reader is gone). */
bool output_flush(struct buf *out);

/* CLI_OK, or the exit status after a failed output. */
int output_status(bool written);

#endif
