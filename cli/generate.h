/* What the parts of `rnnd generate` share: settings, the state behind the prompt, and where the
 * output gathers.  A text, a drawing or a search is written by a file of its own. */
#ifndef CLI_GENERATE_H
#define CLI_GENERATE_H

#include "base/buf.h"
#include "base/stop.h"
#include "cli/feed.h"

enum { STOPS_MAX = 16 };

struct generate {
    struct engine engine;
    struct feed prompt;
    struct rnn_sampling sampling;
    const char *stop[STOPS_MAX]; /* [n_stop] as given */
    size_t n_stop;
    struct stop_set stops;
    int64_t max_tokens, seed, n, beam_width; /* beam_width 0: texts are drawn */
    int64_t window;                          /* tokens that penalties look back on; 0: all */
    float length_penalty;
    bool echo, json, csv;

    struct rnn_state *start; /* after the prompt */
    float *first;            /* [output_size] logits after the prompt */
    struct buf text;         /* to be printed, or the text of the choice for JSON */
    struct buf answer;       /* JSON */
    uint64_t drawn;          /* tokens or frames, in all texts */
    char last;               /* last byte printed */
};

/* Back to the end of the prompt, with the random numbers of text `index`. */
void generate_restart(struct generate *g, int64_t index);

/* Lets the text out to the terminal as far as it has come; false where that failed. */
bool generate_show(struct generate *g);

/* Between texts, and at the end of one on a terminal: to the beginning of a line. */
int generate_end_line(struct generate *g, const char *more);

/* Text or drawing number `index`, or all that a search finds.  CLI_OK or the exit status. */
int generate_text(struct generate *g, int64_t index);
int generate_frames(struct generate *g, int64_t index);
int generate_search(struct generate *g);

#endif
