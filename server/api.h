/* The endpoints: requests as plain structs, their readers, and the handlers that the router calls.
 *
 * A reader turns a body into a struct and checks all that can be checked without the model; it
 * touches nothing else, so that the fuzzer can hold it.  A handler reads, makes a job or answers at
 * once; from then on nobody sees JSON.  Handlers run on the shard of their request; `arg` is the
 * variable part of the path ("" where there is none; with a '/' between two), good for the call. */
#ifndef SERVER_API_H
#define SERVER_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/rnn.h"
#include "server/http.h"
#include "server/input.h"
#include "server/job.h"
#include "server/json.h"
#include "server/layers.h"
#include "server/models.h"
#include "server/resume.h"

/* What reads a body into `out`, a zeroed or unset request struct of the reader's own kind.  On
 * failure nothing is left to free. */
typedef int api_reader(void *out, const char *text, size_t len, const struct config *config,
                       struct rnn_err *err);

/* ---- Fields that predict, generate and score share ---- */

struct api_common {
    char model[128]; /* "": not named */
    char session[SESSION_ID_MAX + 1];
    bool commit;
    bool reject_busy;
    bool has_expect_position;
    uint64_t expect_position;
    int64_t deadline_ms;
    char initial_state[SESSION_ID_MAX + 1]; /* one that the model ships; "": none */
    char *state;                            /* a sealed one; NULL: none */
    bool return_state;
    int64_t penalty_memory; /* tokens, without a session; -1: not said */
    struct input_list inputs;
};

#define API_COMMON_FIELDS                                                                          \
    "model", "input", "inputs", "session", "commit", "if_busy", "expect_position", "deadline_ms",  \
        "state", "initial_state", "return_state", "penalty_memory"

/* On failure nothing is left to free. */
int api_common_read(struct api_common *out, const struct cJSON *body, const struct config *config,
                    struct rnn_err *err);
void api_common_free(struct api_common *common);

/* ---- What tasks share ---- */

/* Makes a job in a zeroed struct of `size` bytes whose first member it is, with the fields of
 * `common` and the model where no session names it.  The caller moves its request struct in and
 * calls job_submit().  NULL: the sink has been answered with what is wrong. */
struct job *api_job(struct sink *sink, size_t size, const struct job_ops *ops,
                    const struct api_common *common);

/* In prepare: makes `each` sequences for every input and resolves the inputs; the first sequence of
 * each is given the input to feed.  *input_steps is the sum of their lengths. */
int api_sequences(struct job *job, struct input_list *inputs, size_t each, uint64_t *input_steps,
                  struct rnn_err *err);

/* Whether an input has an output at every step: of its own, or of those that the model is fed. */
bool api_answers_steps(const struct rnn_model_info *info);

/* Whether the model writes tokens about what it was given: a translator, a captioner. */
bool api_decodes(const struct rnn_model_info *info);

/* Refuses any other; `verb` is what only such a model can do. */
int api_want_writer(const struct rnn_model_info *info, const char *verb, struct rnn_err *err);

/* ---- Compute requests ---- */

enum predict_steps { PREDICT_STEPS_LAST, PREDICT_STEPS_ALL, PREDICT_STEPS_MODEL };
enum predict_return {
    PREDICT_PROBABILITIES = 1,
    PREDICT_LOGITS = 2,
    PREDICT_HIDDEN = 4,
    PREDICT_CELL = 8,  /* of each layer, with its hidden state */
    PREDICT_GATES = 16 /* the same with its gates */
};

struct predict_request {
    struct api_common common;
    unsigned steps; /* enum predict_steps */
    uint32_t top_k;
    unsigned returns; /* bits of enum predict_return */
    bool raw; /* no field: answer with the outputs of the steps alone, as float32 (little-endian) */
    struct input_list candidates;
};

struct bias_entry {
    char *key; /* a token's text or an id in decimal digits */
    bool ban;
    float bias;
};

struct generate_request {
    struct api_common common;
    bool has_max_tokens;
    uint64_t max_tokens;     /* or frames */
    const char *max_name;    /* the field that it came by: "max_tokens", "max_frames"; static */
    const char *token_field; /* one that was given, of those that only tokens know; NULL: none */
    bool has_temperature;
    struct rnn_sampling sampling; /* but for `bias` */
    struct bias_entry *bias;      /* [n_bias] */
    size_t n_bias;
    char **stop; /* [n_stop] */
    size_t n_stop;
    bool has_seed;
    uint64_t seed;
    size_t n;      /* texts drawn for each input */
    size_t n_best; /* of them answered with, the most probable ones */
    int logprobs;  /* alternatives per token; -1: none asked for */
    bool echo;
    bool stream;
    unsigned returns;      /* bits of enum predict_return, of hidden, cell and gates */
    uint64_t check;        /* of its own fields, in any order: the same in the same request */
    struct resume resume;  /* no field: where the stream broke off that this one continues */
    const char *resume_by; /* the name that this came by; static */
    size_t beam_width;     /* 0: no beam search */
    double length_penalty; /* of a beam search */
};

struct score_request {
    struct api_common common;
    struct input_list targets; /* of models that write about their input; else one empty item */
};

/* The bits of layers.h among those of enum predict_return. */
static inline unsigned api_layers(unsigned returns)
{
    return (returns & PREDICT_CELL ? LAYERS_CELL : 0u) |
           (returns & PREDICT_GATES ? LAYERS_GATES : 0u);
}

api_reader predict_read, generate_read, score_read;
body_fields predict_fields, generate_fields, score_fields; /* the same, of a parsed body */
void predict_request_free(struct predict_request *request);
void generate_request_free(struct generate_request *request);
void score_request_free(struct score_request *request);

/* Whether a stream of this request can be taken up where it broke off: one text or drawing. */
bool generate_may_resume(const struct generate_request *request);

/* The request was sent anew, with the id of the last event that was seen of its stream; `name` is
 * what the id came by.  Malformed where it has no stream to take up, or that is no id. */
int generate_take_up(struct generate_request *request, const char *name, const char *id,
                     struct rnn_err *err);

/* Makes the job, which takes what the struct owns (leaving it empty), and submits it; or answers
 * with what is wrong. */
void task_predict(struct sink *sink, struct predict_request *what);
void task_generate(struct sink *sink, struct generate_request *what);
void task_beam(struct sink *sink, struct generate_request *what);
void task_score(struct sink *sink, struct score_request *what);

/* ---- Sessions and text ---- */

struct session_request {
    char model[128];
    char id[SESSION_ID_MAX + 1];
    int64_t ttl_s;                          /* 0: the configured one */
    char initial_state[SESSION_ID_MAX + 1]; /* one that the model ships; "": none */
    char *state;                            /* an exported one, [state_len]; NULL: none */
    size_t state_len;
    int64_t penalty_memory; /* tokens; -1: not said */
};
api_reader session_request_read;
void session_request_free(struct session_request *request);

struct blend_source {
    char id[SESSION_ID_MAX + 1];
    double weight;
};

struct blend_request {
    char id[SESSION_ID_MAX + 1]; /* of the new one; "": mint */
    int64_t ttl_s;
    struct blend_source *sources; /* [n] */
    size_t n;
};
api_reader blend_request_read;
void blend_request_free(struct blend_request *request);

struct snapshot_request {
    char name[SESSION_ID_MAX + 1];
    bool replace;
};
api_reader snapshot_request_read;

struct rewind_request {
    char to[SESSION_ID_MAX + 1]; /* "": */
    int64_t steps;
};
api_reader rewind_request_read;

api_reader fork_request_read; /* into a size_t: how many */

/* Which of a model's two vocabularies: that of the texts it takes, or of those it gives. */
enum tokens_side { SIDE_SOURCE, SIDE_TARGET, SIDE_UNSAID };

struct tokens_request {
    char model[128];
    unsigned side;    /* enum tokens_side */
    const char *key;  /* the name that the one field was sent by; static */
    char *text;       /* tokenize */
    uint32_t *tokens; /* [n], detokenize */
    size_t n;
};
api_reader tokenize_read, detokenize_read;
void tokens_request_free(struct tokens_request *request);

/* ---- Helpers of handlers ---- */

/* 415 unless the body is sent as JSON (or as what a bare `curl -d` says), uncompressed; answers and
 * returns false otherwise. */
bool api_accepts(struct request *request);

/* Reads the body into `out`; answers and returns false where it is not as it should be. */
bool api_read(struct request *request, api_reader *read, void *out);

/* Answers with what a reader found, and counts it. */
void api_refuse(struct request *request, const struct rnn_err *err);

/* The model of that name ("" for the only one); answers and returns false where there is none. */
bool api_model(struct request *request, const char *name, struct model_entry *out);

/* The fields of every call that opens a session: id and ttl_seconds. */
int api_new_session_fields(const struct cJSON *body, char id[SESSION_ID_MAX + 1], int64_t *ttl_s,
                           const struct config *config, struct rnn_err *err);

/* How many tokens the penalties of a session look back on: as many as were asked for (-1: nothing
 * was said), as the state that it begins with remembers (0: none), or as are configured. */
int api_window(const struct rnn_model_info *info, const struct config *config, int64_t asked,
               size_t kept, size_t *window, struct rnn_err *err);
size_t api_window_preset(const struct rnn_model_info *info, const struct config *config);

/* Opens a session at a state (copied) with a fresh seed, and answers. */
void api_session_open(struct request *request, const char *id, int64_t ttl_s,
                      struct rnn_model *model, const char *model_name,
                      const struct rnn_state *state, size_t state_bytes);

/* ---- Handlers ---- */

void api_predict(struct request *request, const char *arg);
void api_generate(struct request *request, const char *arg);
void api_score(struct request *request, const char *arg);
void api_session_create(struct request *request, const char *arg);
void api_session_list(struct request *request, const char *arg);
void api_session_get(struct request *request, const char *arg);
void api_session_delete(struct request *request, const char *arg);
void api_session_reset(struct request *request, const char *arg);
void api_session_fork(struct request *request, const char *arg);
void api_session_blend(struct request *request, const char *arg);
void api_session_stream(struct request *request, const char *arg);
void api_stream(struct request *request, const char *arg);
void api_session_snapshot(struct request *request, const char *arg);
void api_session_snapshot_list(struct request *request, const char *arg);
void api_session_snapshot_delete(struct request *request, const char *arg);
void api_session_rewind(struct request *request, const char *arg);
void api_session_state_get(struct request *request, const char *arg);
void api_session_state_put(struct request *request, const char *arg);
void api_model_list(struct request *request, const char *arg);
void api_model_get(struct request *request, const char *arg);
void api_model_load(struct request *request, const char *arg);
void api_model_unload(struct request *request, const char *arg);
void api_model_reload(struct request *request, const char *arg);
void api_tokenize(struct request *request, const char *arg);
void api_detokenize(struct request *request, const char *arg);
void api_livez(struct request *request, const char *arg);
void api_readyz(struct request *request, const char *arg);
void api_metrics(struct request *request, const char *arg);
void api_version(struct request *request, const char *arg);
void api_openapi(struct request *request, const char *arg);
void api_index(struct request *request, const char *arg);

#endif
