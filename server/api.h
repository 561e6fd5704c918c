/* The endpoints: requests as plain structs, their readers, and the handlers that the router calls.
 *
 * A reader turns a body into a struct and checks all that can be checked without the model; it
 * touches nothing else, so that the fuzzer can hold it.  A handler reads, makes a job or answers at
 * once; from then on nobody sees JSON.  Handlers run on the shard of their request; `arg` is the
 * variable part of the path ("" where there is none), good for the call. */
#ifndef SERVER_API_H
#define SERVER_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/rnn.h"
#include "server/input.h"
#include "server/job.h"
#include "server/json.h"
#include "server/models.h"

/* ---- Fields that predict, generate and score share ---- */

struct api_common {
    char model[128]; /* "": not named */
    char session[SESSION_ID_MAX + 1];
    bool commit;
    bool reject_busy;
    bool has_expect_position;
    uint64_t expect_position;
    int64_t deadline_ms;
    struct input_list inputs;
};

#define API_COMMON_FIELDS                                                                          \
    "model", "input", "inputs", "session", "commit", "if_busy", "expect_position", "deadline_ms"

int api_common_read(struct api_common *out, const struct cJSON *body, const struct config *config,
                    struct rnn_err *err);

/* Fills in the job's fields; finds the model where no session names it.  On failure the request has
 * not been answered; *error is what to answer with. */
int api_common_apply(const struct api_common *common, struct job *job, struct request *request,
                     enum reply_error *error, struct rnn_err *err);

/* Whether the inputs of all sequences can be walked within walk_max_bytes; RNN_ELIMIT. */
int api_check_walks(const struct job *job, struct rnn_err *err);

/* Whether the model writes tokens about what it was given: a translator, a captioner. */
bool api_decodes(const struct rnn_model_info *info);

/* Whether the model gives a distribution over its own input tokens, so that its output can be fed
 * back. */
bool api_language_model(const struct rnn_model_info *info);

/* ---- Compute requests ---- */

enum predict_steps { PREDICT_STEPS_LAST, PREDICT_STEPS_ALL, PREDICT_STEPS_MODEL };
enum predict_return { PREDICT_PROBABILITIES = 1, PREDICT_LOGITS = 2, PREDICT_HIDDEN = 4 };

struct predict_request {
    struct api_common common;
    unsigned steps; /* enum predict_steps */
    uint32_t top_k;
    unsigned returns; /* bits of enum predict_return */
};

struct bias_entry {
    char *key; /* a token's text or an id in decimal digits */
    bool ban;
    float bias;
};

struct generate_request {
    struct api_common common;
    bool has_max_tokens;
    uint64_t max_tokens;
    struct rnn_sampling sampling; /* but for `bias` */
    struct bias_entry *bias;      /* [n_bias] */
    size_t n_bias;
    char **stop; /* [n_stop] */
    size_t n_stop;
    bool has_seed;
    uint64_t seed;
    size_t n;
    int logprobs; /* alternatives per token; -1: none asked for */
    bool echo;
    bool stream;
};

struct score_request {
    struct api_common common;
    struct input_list targets; /* of models that write about their input; else one empty item */
};

/* Each reads a body.  On failure the struct is freed already; else its _free ends it. */
int predict_read(struct predict_request *out, const char *text, size_t len,
                 const struct config *config, struct rnn_err *err);
void predict_request_free(struct predict_request *request);
int generate_read(struct generate_request *out, const char *text, size_t len,
                  const struct config *config, struct rnn_err *err);
void generate_request_free(struct generate_request *request);
int score_read(struct score_request *out, const char *text, size_t len, const struct config *config,
               struct rnn_err *err);
void score_request_free(struct score_request *request);

/* Makes the job, which takes what the struct owns (leaving it empty), and submits it; or answers
 * with what is wrong. */
void task_predict(struct request *request, struct predict_request *what);
void task_generate(struct request *request, struct generate_request *what);
void task_score(struct request *request, struct score_request *what);

/* ---- Sessions and text ---- */

struct session_request {
    char model[128];
    char id[SESSION_ID_MAX + 1];
    int64_t ttl_s; /* 0: the configured one */
};
int session_request_read(struct session_request *out, const char *text, size_t len,
                         const struct config *config, struct rnn_err *err);
int fork_request_read(size_t *count, const char *text, size_t len, const struct config *config,
                      struct rnn_err *err);

struct tokens_request {
    char model[128];
    const char *key;  /* the name that the one field was sent by; static */
    char *text;       /* tokenize */
    uint32_t *tokens; /* [n], detokenize */
    size_t n;
};
int tokenize_read(struct tokens_request *out, const char *text, size_t len,
                  const struct config *config, struct rnn_err *err);
int detokenize_read(struct tokens_request *out, const char *text, size_t len,
                    const struct config *config, struct rnn_err *err);
void tokens_request_free(struct tokens_request *request);

/* ---- Helpers of handlers ---- */

/* 415 unless the body is sent as JSON (or as what a bare `curl -d` says), uncompressed; answers and
 * returns false otherwise. */
bool api_accepts(struct request *request);

/* Answers with what a reader found, and counts it. */
void api_refuse(struct request *request, const struct rnn_err *err);

/* The model of that name ("" for the only one); answers and returns false where there is none. */
bool api_model(struct request *request, const char *name, struct model_entry *out);

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
void api_model_list(struct request *request, const char *arg);
void api_model_get(struct request *request, const char *arg);
void api_tokenize(struct request *request, const char *arg);
void api_detokenize(struct request *request, const char *arg);
void api_livez(struct request *request, const char *arg);
void api_readyz(struct request *request, const char *arg);
void api_metrics(struct request *request, const char *arg);
void api_version(struct request *request, const char *arg);
void api_openapi(struct request *request, const char *arg);
void api_index(struct request *request, const char *arg);

#endif
