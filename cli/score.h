/* What the parts of `rnnd score` share: the file, and the sums. */
#ifndef CLI_SCORE_H
#define CLI_SCORE_H

#include <time.h>

#include "cli/feed.h"

struct score {
    struct engine engine;
    const struct cli_args *args;
    const char *name; /* of the file */
    FILE *in;
    uint64_t size;  /* of the file in bytes; 0: not known */
    bool progress;  /* standard error is a terminal */
    time_t shown;   /* when it was last brought up to date */
    uint64_t bytes; /* read so far */
    bool begun;     /* a token has been fed: there are logits */

    uint64_t examples;           /* pairs; 0: the file is one text */
    uint64_t tokens, characters; /* scored */
    uint64_t right;              /* of the tokens: they were the most probable */
    double nats;
};

/* Adds a token that engine->logits predicted. */
void score_token(struct score *s, uint32_t id);

/* Whether the model's answers can be scored in pairs: those of a translator or captioner, and
 * labels. */
bool score_in_pairs(const struct rnn_model_info *info);

/* All lines of the file: an input, a tab, and what should come out.  CLI_OK or the exit status. */
int score_pairs(struct score *s);

#endif
