/* What a model says at one output: labels or tokens with their probabilities, numbers, numbers with
 * a doubt, a mixture of pen strokes; as JSON in the form of POST /predict, or for people. */
#ifndef CLI_SAID_H
#define CLI_SAID_H

#include "base/buf.h"
#include "cli/engine.h"

struct said {
    const struct engine *engine; /* whose logits are read */
    size_t top_k;                /* tokens or labels to list; independent labels are all listed */
    float *activated;            /* [output_size] */
    uint32_t *top;               /* [output_size] */
};

/* CLI_OK, or the exit status after printing why not; said_free() in any case. */
int said_init(struct said *said, const struct engine *engine, int64_t top_k);
void said_free(struct said *said);

/* The members of an output behind its step: ,"top":[…] or ,"values":[…] and so on. */
void said_json(struct said *said, struct buf *out);

/* Lines. */
void said_plain(struct said *said, struct buf *out);

#endif
