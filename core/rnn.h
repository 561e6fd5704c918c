/* The door to the engine: models, states, steps, sampling.
 *
 * A *model* is shapes and weights: immutable once open, shared by all threads under a reference
 * count. A *state* is the recurrent memory of one sequence: flat, a few KiB, copied with memcpy. A
 * *row* is one sequence taking part in the next time step. *Scratch* is one thread's working memory
 * for n rows of one model.
 *
 * rnn_step() advances n unrelated sequences by one time step; everything the daemon offers is built
 * from it. The result of a row is the same, bit for bit, for every batch size, every place in the
 * batch, and every instruction set: kernels vectorise over outputs and sum over inputs in one fixed
 * order of fused multiply-adds. */
#ifndef CORE_RNN_H
#define CORE_RNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf;

/* ---- Kernels ---- */

enum rnn_isa { RNN_ISA_AUTO, RNN_ISA_SCALAR, RNN_ISA_AVX2, RNN_ISA_AVX512 };

/* Chooses the kernels for the whole process: before the first model is opened, and by tests between
 * runs while no step is running.  RNN_EUNSUPPORTED where this CPU lacks them.  Without a call the
 * best supported are used. */
int rnn_kernels_select(enum rnn_isa isa, struct rnn_err *err);
const char *rnn_kernels_name(void); /* "scalar", "avx2", "avx512" */

/* ---- Model ---- */

struct rnn_model;

enum rnn_topology {
    RNN_SYNCED,
    RNN_MANY_TO_ONE,
    RNN_ONE_TO_MANY,
    RNN_SEQ2SEQ,
    RNN_REPEAT /* the vector that an input comes to is fed to a decoder, again and again */
};
enum rnn_input_kind { RNN_INPUT_DENSE, RNN_INPUT_ONEHOT, RNN_INPUT_EMBEDDING };
enum rnn_head_activation {
    RNN_HEAD_NONE, /* plain numbers */
    RNN_HEAD_SOFTMAX,
    RNN_HEAD_SIGMOID,
    RNN_HEAD_GAUSSIAN, /* means, then logarithms of standard deviations */
    RNN_HEAD_MIXTURE   /* pen states and bivariate Gaussians (Graves 2013) */
};

struct rnn_open_options {
    size_t table_max_bytes; /* layer 0's token table is built up to this size; 0: never */
};

/* What a caller may know of a model.  All pointers live as long as the model. */
struct rnn_model_info {
    const char *name; /* the folder's own name */
    const char *cell; /* "rnn_tanh", "rnn_relu", "rnn", "lstm", "gru"; "dense": nothing recurrent */
    const char *dtype; /* type of the tensors on disk: "F32", "F16", "BF16", "F64" */
    enum rnn_topology topology;
    enum rnn_input_kind input_kind; /* of what a client gives: the encoder's, a captioner's frame */
    size_t input_size;              /* frame width (dense) or number of token ids */
    size_t decoder_size;   /* ids (or width of frames) that the decoder or only stack reads; of
                              topology repeat, whose decoder no client feeds, input_size */
    size_t embedding_dim;  /* 0 unless embedded */
    size_t layers;         /* recurrent ones, of the decoder or the only stack */
    size_t encoder_layers; /* 0: no encoder */
    size_t hidden_size;
    size_t proj_size; /* 0: no projection */
    bool bidirectional;
    bool has_head;
    enum rnn_head_activation activation;
    size_t hidden_width; /* floats in what is read out under the head and its layers */
    size_t step_width;  /* floats in a step's output under the readout; the same but for a window */
    size_t window;      /* steps that every input has to have, as they stand side by side; 0: any */
    size_t repeat;      /* outputs of every input, of topology repeat; else 0 */
    size_t gates_width; /* floats of all gates; 0: no cell of it has any */
    size_t output_size; /* floats in a row's logits; the top layer's width where there is no head */
    size_t n_values;    /* numbers that a regression tells of: means, values; 0: labels or tokens */
    size_t components;  /* of a mixture; 0: none */
    unsigned pen;       /* its pen logits: 1 or 3 */
    bool language_model;   /* it gives a distribution over its own input tokens, one of which can be
                              its next input */
    bool writes_frames;    /* what it gives can be its next frame: rnn_sample_frame() */
    const char *attention; /* "additive", "dot", "general", or NULL */
    const char *unsteppable; /* why the state between two steps is not the whole memory, so that no
                                session can be held, in words; NULL: it is */
    size_t max_len;          /* tokens that the model's makers let it write at most; 0: unsaid */
    uint64_t parameters;
    size_t state_bytes;
    const char *const *initial_states; /* names of those it ships, NULL at the end */
    size_t weight_bytes;               /* packed weights in memory, table included */
    size_t table_bytes;                /* 0: layer 0's input product is computed */
    char fingerprint[65];              /* SHA-256 of shape and weights, hexadecimal */
    const char *tokenizer; /* "char", "word", "symbol": of the texts that it gives and takes; NULL:
                              ids and frames only */
    const char *source_tokenizer; /* of the texts that it takes, where it is another one; or NULL */
    const char *const *labels;    /* [output_size] or NULL */
    int64_t unk, bos, eos;        /* token ids, -1: none */
    int64_t source_eos;           /* what a walk puts behind every source, -1: nothing */
    const char *metrics_json;     /* the card's metrics.json as it stands (valid JSON), or NULL */
};

/* Opens the model folder at `path`, checks every tensor against its layer, packs the weights for
 * the kernels. `options` may be NULL.  The caller owns *out and ends it with rnn_model_unref().
 * Reads the disk and computes: start-up or pool thread only.  On failure *out is untouched; `err`
 * names the file, the tensor or the key, what was wanted and what was found. */
int rnn_model_open(struct rnn_model **out, const char *path, const struct rnn_open_options *options,
                   struct rnn_err *err);
struct rnn_model *rnn_model_ref(struct rnn_model *model); /* any thread */
void rnn_model_unref(struct rnn_model *model);            /* any thread; NULL is fine */
const struct rnn_model_info *rnn_model_info(const struct rnn_model *model);

/* ---- State ---- */

/* A counter-based generator (Philox 4x32-10, Salmon et al. 2011): the n-th draw is a pure function
 * of these three. */
struct rnn_rng {
    uint64_t seed;
    uint64_t counter; /* draws made so far */
    uint32_t stream;  /* index of the choice, where one request draws several texts */
    uint32_t reserved;
};

/* The recurrent memory of one sequence.  Copy, compare and keep info->state_bytes of it as plain
 * bytes; more where it remembers tokens (rnn_state_bytes()). */
struct rnn_state {
    uint64_t position; /* time steps taken */
    struct rnn_rng rng;
    float memory[]; /* h, c, … as rnn_state_parts() lists them; padding between parts is always zero
                     */
};

/* To the initial state: position 0, generator {seed, 0, 0}.  The model's part alone. */
void rnn_state_init(const struct rnn_model *model, struct rnn_state *state, uint64_t seed);

/* Where the parts of `memory` are: one entry for each layer, direction and kind, in the order of
 * layers. */
struct rnn_state_part {
    const char
        *kind;      /* "h" hidden state, "c" cell state, "y" last output, "pool" mean or maximum */
    unsigned stack; /* 0: the only one, or the decoder; 1: the encoder */
    unsigned layer; /* recurrent layers of the stack, from 0 */
    unsigned direction;
    size_t offset; /* in floats from memory[0] */
    size_t size;   /* in floats */
};
const struct rnn_state_part *rnn_state_parts(const struct rnn_model *model, size_t *n_parts);

/* The gates of the recurrent layers, in the order of layers and of PyTorch: where each stands in a
 * row's `gates`. */
struct rnn_gate {
    const char *name; /* "input", "forget", "candidate", "output"; "reset", "update", "candidate" */
    unsigned stack, layer, direction; /* as in a state's parts */
    size_t offset, size;              /* in floats */
};
const struct rnn_gate *rnn_gates(const struct rnn_model *model, size_t *n_gates);

/* What a part is called: "h.l0", "c.l1", "encoder.h.l0_reverse", "y", "pool".  `out` holds
 * RNN_PART_NAME_MAX bytes. */
#define RNN_PART_NAME_MAX 48
void rnn_state_part_name(const struct rnn_state_part *part, char *out);

/* To the initial state of that name which the model ships (info->initial_states), with the
 * generator {seed, 0, 0} and the position that it was saved at.  The model's part alone: no tokens
 * are shipped.  RNN_ENOENT, which lists the names. */
int rnn_state_init_named(const struct rnn_model *model, const char *name, struct rnn_state *state,
                         uint64_t seed, struct rnn_err *err);

/* ---- Recent tokens ---- */

/* What penalties can look at beyond one request: the last tokens that a sequence was fed, in a
 * window of so many, each with a mark where it was drawn.
 *
 * The tokens stand behind the model's part of the state, which is longer by them: whoever copies
 * all `bytes` of a state copies them, too.  A state of info->state_bytes has none, and pays
 * nothing. Of language models only.  Any thread; a state is its owner's. */
struct rnn_recent;

#define RNN_RECENT_MAX 65536 /* tokens in a window */

/* Bytes of a state with a window of that many tokens (≤ RNN_RECENT_MAX, of a language model); 0:
 * info->state_bytes. */
size_t rnn_state_bytes(const struct rnn_model *model, size_t window);

/* The window of a state of that many bytes; false where no state of this model has so many. */
bool rnn_state_window(const struct rnn_model *model, size_t bytes, size_t *window);

/* Of a state of `bytes`; NULL where it has no window.  As good as the state. */
const struct rnn_recent *rnn_state_recent(const struct rnn_model *model,
                                          const struct rnn_state *state, size_t bytes);

/* The state has been fed a token (< info->input_size).  Nothing where it has no window. */
void rnn_state_remember(const struct rnn_model *model, struct rnn_state *state, size_t bytes,
                        uint32_t token, bool drawn);

/* It remembers no token from now on.  The bytes behind the model's part need not have been written
 * before: so a state with a window begins, after rnn_state_init(). */
void rnn_state_forget(const struct rnn_model *model, struct rnn_state *state, size_t bytes);

/* `to` comes to stand where `from` does, and remembers the newest of its tokens that fit into its
 * own window. */
void rnn_state_copy(const struct rnn_model *model, struct rnn_state *to, size_t to_bytes,
                    const struct rnn_state *from, size_t from_bytes);

/* Whether what stands behind the model's part can be what these calls have written: for bytes that
 * come back from elsewhere. */
bool rnn_state_recalls(const struct rnn_model *model, const struct rnn_state *state, size_t bytes);

/* Tokens in the window at present (of NULL: 0), and each of them, the oldest first. */
size_t rnn_recent_count(const struct rnn_recent *recent);
uint32_t rnn_recent_at(const struct rnn_recent *recent, size_t i, bool *drawn);

/* ---- States as files ---- */

/* A state of `bytes` as one safetensors file, appended to `out`: a float32 tensor for each part, by
 * its name, and in the metadata "format" ("rnnd-state-1"), "model", "fingerprint", "position",
 * "seed", "draws" and "stream" of the generator, and "checksum": SHA-256, hexadecimal, over the
 * lines format, fingerprint, position, seed, draws and stream, each with its line feed, and then
 * the bytes of all tensors in their order.
 *
 * Of a state with a window also "penalty_memory", its length, which is one line more of the
 * checksum, behind stream; and behind the parts "sampler.tokens" I32 [n], the oldest first, and
 * "sampler.drawn" BOOL [n].  RNN_ENOMEM. */
int rnn_state_write(const struct rnn_model *model, const struct rnn_state *state, size_t bytes,
                    struct buf *out, struct rnn_err *err);

/* Reads such a file, from whomever it comes: every byte is checked.  The caller frees *out, of
 * *bytes, with free().  RNN_EFORMAT for what is no such file, is damaged, or holds a number that is
 * not finite or no token of the model; RNN_ESHAPE for a state of another model, or of this one with
 * other weights.  *out and *bytes are untouched on failure. */
int rnn_state_read(const struct rnn_model *model, const void *file, size_t len,
                   struct rnn_state **out, size_t *bytes, struct rnn_err *err);

/* ---- Step ---- */

struct rnn_scratch;

/* Working memory for up to `rows_max` rows of `model`; one thread at a time uses it.  The caller
 * frees it before the model's last reference goes. */
int rnn_scratch_new(struct rnn_scratch **out, const struct rnn_model *model, size_t rows_max,
                    struct rnn_err *err);
void rnn_scratch_free(struct rnn_scratch *scratch);

enum rnn_row_input {
    RNN_ROW_TOKEN, /* feed `token`; position grows by one */
    RNN_ROW_FRAME, /* feed `frame`; position grows by one */
    RNN_ROW_READ,  /* feed nothing: only read the output off the state as it stands */
    RNN_ROW_HEAD /* feed nothing: the output of `frame` as a readout; the state is not looked at */
};

struct rnn_memory; /* what an attending decoder looks at: rnn_walk_memory() */

struct rnn_row {
    struct rnn_state *state; /* in and out; no two rows of a step may share one */
    enum rnn_row_input input;
    uint32_t token;     /* < the size of its pass's input: the caller has checked */
    const float *frame; /* [input_size], finite: the caller has checked */
    unsigned pass;      /* 0: the only stack, or the decoder; others are for walks to name */
    const struct rnn_memory *memory; /* of an attending decoder's row */
    float *logits; /* out [output_size], before the activation; NULL: the head is not computed for
                      this row */
    float *hidden; /* out [hidden_width]: with logits, or fed nothing, the vector that they are made
                      of, under the readout and before an attention; else the step's output under
                      the readout.  The two differ only in a many-to-one model.  NULL: not wanted */
    float *gates;  /* out [gates_width], what the gates were, of the layers that are stepped; NULL:
                      not wanted */
};

/* One time step of n_rows ≤ rows_max rows.  Cannot fail, allocates nothing.  Flushes denormals to
 * zero while it runs and restores the caller's floating-point mode. */
void rnn_step(const struct rnn_model *model, struct rnn_scratch *scratch,
              const struct rnn_row *rows, size_t n_rows);

/* Head activation over one row: softmax; sigmoid; values, denormalised; means and standard
 * deviations of a Gaussian, denormalised; parameters of a mixture.  logits and out are
 * [output_size] and may be the same. */
void rnn_activate(const struct rnn_model *model, const float *logits, float *out);

/* ---- Walk ---- */

/* A whole input on its way through a model, row by row.
 *
 * A stack of one direction is stepped as the input comes.  A layer of two directions has to see the
 * whole input before the layer above it sees the first step; an encoder is done before its decoder
 * begins; a captioner's frame becomes a state.  A walk knows all of this: it names the row to step
 * next, and which rows have an output.  A synced model has an output at every step of the input, a
 * many-to-one model one after the last, an encoder–decoder or captioner one after bos and one after
 * each token of the target, a repeating one info->repeat of them once the input has been read. */
struct rnn_walk;

struct rnn_walk_input {
    const uint32_t *tokens; /* [n], or */
    const float *frames;    /* [n][input_size]; both live as long as the walk steps */
    size_t n;
    const uint32_t *target; /* [n_target] fed to the decoder after bos */
    size_t n_target;
    bool last_only; /* of a synced or repeating model's outputs only the last is wanted */
};

enum rnn_walk_next {
    RNN_WALK_ON,     /* step the row; nothing comes out */
    RNN_WALK_OUTPUT, /* step the row; its logits and hidden are an output, if they are wanted */
    RNN_WALK_DONE    /* there is no further row */
};

/* A walk of `state`, from where it stands; the caller ends it with rnn_walk_free().  Allocates what
 * the whole walk needs; where that could be much, rnn_walk_bytes() says how much.  RNN_ERANGE for
 * an input of no steps where the model wants some, or of others than info->window.  One thread. */
int rnn_walk_new(struct rnn_walk **out, const struct rnn_model *model, struct rnn_state *state,
                 const struct rnn_walk_input *input, struct rnn_err *err);
void rnn_walk_free(struct rnn_walk *walk);
size_t rnn_walk_bytes(const struct rnn_model *model, size_t n); /* SIZE_MAX where it overflows */

/* Fills in the next row (all but logits; hidden only where the walk needs it itself), after the
 * last one has been stepped. */
enum rnn_walk_next rnn_walk_next(struct rnn_walk *walk, struct rnn_row *row);

/* Of the row just filled in: the step of the input (synced, many to one), of the target (0: bos) or
 * of the repeats that the output belongs to. */
size_t rnn_walk_step(const struct rnn_walk *walk);

/* [n][step_width], what the layer under the readout gave at each step, once the walk has an
 * output; NULL where it is not kept because the input is stepped as it comes. */
const float *rnn_walk_outputs(const struct rnn_walk *walk);

/* For rows of the decoder that follow the walk; NULL without attention.  Lives as long as the
 * walk; rows that share it are stepped on one thread. */
const struct rnn_memory *rnn_walk_memory(const struct rnn_walk *walk);

/* ---- Distributions
 * ------------------------------------------------------------------------------------------ */

/* log Σ exp(logits[i]), in double, the same bits on every CPU.  log p(i) = logits[i] - this. */
double rnn_log_sum_exp(const float *logits, size_t n);

/* Ids of the k largest values, largest first, equal ones by smaller id; returns min(k, n). */
size_t rnn_top(const float *values, size_t n, size_t k, uint32_t *ids);

struct rnn_token_score {
    double logprob; /* natural logarithm */
    double entropy; /* of the whole distribution, in nats */
    uint32_t rank;  /* 1: the most probable */
};
void rnn_score_token(const float *logits, size_t n, uint32_t token, struct rnn_token_score *out);

/* Uniform in [0, 1) with 24 bits; advances the counter. */
float rnn_rng_uniform(struct rnn_rng *rng);

struct rnn_logit_bias {
    uint32_t token;
    bool ban;
    float bias;
};

/* Applied in this order: bias → penalties → temperature → top_k → typical_p → top_p → min_p → draw.
 */
struct rnn_sampling {
    float temperature; /* 0: greedy (largest logit after bias and penalties, smaller id on a tie) */
    uint32_t top_k;    /* 0: off */
    float top_p;       /* 1: off */
    float min_p;       /* 0: off */
    float typical_p;   /* 1: off (Meister et al. 2022) */
    float repetition_penalty; /* 1: off; over prompt and generated tokens (Keskar et al. 2019) */
    float presence_penalty;   /* 0: off; over generated tokens */
    float frequency_penalty;  /* 0: off; over generated tokens */
    const struct rnn_logit_bias *bias; /* [n_bias]; copied by rnn_sampler_new */
    size_t n_bias;
};
#define RNN_SAMPLING_DEFAULT                                                                       \
    ((struct rnn_sampling){.temperature = 1, .top_p = 1, .typical_p = 1, .repetition_penalty = 1})

/* One text being drawn: the settings and what penalties must remember. */
struct rnn_sampler;
int rnn_sampler_new(struct rnn_sampler **out, size_t n_tokens, const struct rnn_sampling *sampling,
                    struct rnn_err *err);
void rnn_sampler_free(struct rnn_sampler *sampler);
/* Tells the sampler of a token of the prompt (generated = false) or of a generated one. */
void rnn_sampler_observe(struct rnn_sampler *sampler, uint32_t token, bool generated);
/* From now on penalties look at these tokens alone (the drawn ones are the generated ones), in
 * place of all that it was told. */
void rnn_sampler_recall(struct rnn_sampler *sampler, const struct rnn_recent *recent);
/* Draws a token; greedy leaves the generator alone, each other draw takes one number.  RNN_ERANGE
 * where every token is banned.  Allocates nothing. */
int rnn_sample(struct rnn_sampler *sampler, const float *logits, struct rnn_rng *rng,
               uint32_t *token);

/* ---- Frames ---- */

#define RNN_PEN_END 2 /* the third of three pen states: the drawing ends with this point */

/* Of a model that writes frames: the next one, in the units of the data, drawn from the logits of
 * the last; frame [input_size], finite, to be fed back.  True where nothing comes after it.
 *
 * A mixture gives a point, dx, dy and the pen, and takes four numbers of the generator; the
 * temperature divides the logits of weights and pen and multiplies the variances (Graves 2013; Ha
 * and Eck 2017).  A Gaussian takes one for each value, its variances multiplied likewise.  Plain
 * values are taken as they are, at any temperature.  With temperature 0 the means, and no draw. */
bool rnn_sample_frame(const struct rnn_model *model, const float *logits, float temperature,
                      struct rnn_rng *rng, float *frame);

struct rnn_frame_score {
    double nats; /* - log of the frame's density: offset and pen, or all values, together */
    double pen;  /* the pen's part of it: - log of its probability; 0 without a pen */
};

/* Of a mixture or a Gaussian: how probable `frame`, in the units of the data, was by the logits of
 * the step before it. */
void rnn_score_frame(const struct rnn_model *model, const float *logits, const float *frame,
                     struct rnn_frame_score *out);

/* ---- Beam search ---- */

/* The `width` most probable beginnings of an output, grown token by token together.
 *
 * At each step every live beginning is continued by every token; the continuations are looked at in
 * order of their probability until `width` of them live on, and those met on the way that end in
 * eos are finished.  The search ends with `width` finished texts, or at max_tokens, where what is
 * live counts, too.  Texts are ranked by log p / length^length_penalty, eos counted in the length.
 * Width 1 is greedy; a width that nothing falls out of is exhaustive.  Equal ones rank by the
 * beginning they continue, then by smaller id, so that a search gives the same on every CPU. */
struct rnn_beam;

struct rnn_beam_options {
    size_t width;          /* 1 and more */
    double length_penalty; /* 0: none */
    int64_t eos;           /* -1: none */
    size_t max_tokens;     /* 1 and more */
};

int rnn_beam_new(struct rnn_beam **out, size_t n_tokens, const struct rnn_beam_options *options,
                 struct rnn_err *err);
void rnn_beam_free(struct rnn_beam *beam);

/* The output after live beginning `live`; at first there is one, number 0.  logits [n_tokens]. */
void rnn_beam_offer(struct rnn_beam *beam, size_t live, const float *logits);

/* How a live beginning came about: beginning `parent` of the last step, and a token more. */
struct rnn_beam_step {
    size_t parent;
    uint32_t token;
};

/* After each live beginning was offered once: *n new ones, to be fed; 0: the search is over.  steps
 * [width].  RNN_ENOMEM. */
int rnn_beam_advance(struct rnn_beam *beam, struct rnn_beam_step *steps, size_t *n,
                     struct rnn_err *err);

struct rnn_beam_text {
    const uint32_t *tokens; /* [n], eos included; lives as long as the beam */
    size_t n;
    double logprob, score;
    bool ended; /* in eos */
};

/* The best `max` texts of a search that is over, best first; *n of them.  RNN_ENOMEM. */
int rnn_beam_texts(struct rnn_beam *beam, struct rnn_beam_text *texts, size_t max, size_t *n,
                   struct rnn_err *err);

/* ---- Text ---- */

/* A model has one vocabulary, or, where an encoder reads another one than its decoder writes, two:
 * source and target (info->source_tokenizer tells).  Texts to take go through the source's, texts
 * given through the target's; the calls named after the other side are for a target that is scored
 * and for looking at a source's ids.  With one vocabulary both sides are that one.  A model that
 * takes frames (info->input_kind) has the target's side only. */

#define RNN_WORD_MAX 256 /* bytes of a word or symbol; a longer one is unknown */

/* Text to ids, in pieces cut anywhere, also inside a word or a character.  Zero-initialised at the
 * start of a text; a plain copy goes on from where it was made. */
struct rnn_encoder {
    uint64_t consumed; /* bytes taken so far, but for those pending; for error offsets */
    uint64_t word_at;  /* of the word's first byte */
    uint16_t n_word;   /* RNN_WORD_MAX + 1: it did not fit */
    uint8_t n_pending;
    char pending[4];         /* beginning of a character that the next piece finishes */
    char word[RNN_WORD_MAX]; /* beginning of a word or symbol, as it is looked up */
};

/* Writes the ids of text[0..len) to ids[]; at most len + 1 of them.  `last`: the text ends here, so
 * that its last word is whole, and an unfinished character is a fault.  RNN_ECHAR with the byte
 * offset (err->offset, counted from the start of the text) for a character or word that the
 * vocabulary lacks (unless it has an `unk` id), RNN_EFORMAT for invalid UTF-8, RNN_EUNSUPPORTED for
 * a model that takes no text. */
int rnn_encode(const struct rnn_model *model, struct rnn_encoder *encoder, const char *text,
               size_t len, bool last, uint32_t *ids, size_t *n_ids, struct rnn_err *err);
int rnn_encode_target(const struct rnn_model *model, struct rnn_encoder *encoder, const char *text,
                      size_t len, bool last, uint32_t *ids, size_t *n_ids, struct rnn_err *err);

/* Ids to text, one id at a time; whole characters, whole words.  Zero-initialised at the start of a
 * text; what continues a text goes through the same decoder. */
struct rnn_decoder {
    uint32_t n_tokens;
    bool written; /* there is text already, so that a word stands behind a space */
    bool joined;  /* unless the word before it lets it stand close */
    bool quoted;  /* between opening and closing quotation marks */
};

/* The bytes that `id` adds to the text, a space in front of a word included: *text points to them,
 * until the next call with this decoder or the end of the model.  All pieces in order are the whole
 * text.  Special tokens add what the vocabulary file lists for them: nothing for bos and eos,
 * U+FFFD for unk.  id < the side's number of tokens: info->decoder_size, source: info->input_size.
 * Without a tokenizer there is no text. */
size_t rnn_decode(const struct rnn_model *model, struct rnn_decoder *decoder, uint32_t id,
                  const char **text);
size_t rnn_decode_source(const struct rnn_model *model, struct rnn_decoder *decoder, uint32_t id,
                         const char **text);

/* The target vocabulary's own entry of an id (what top_k lists as "token"); NULL without a
 * tokenizer. */
const char *rnn_token_text(const struct rnn_model *model, uint32_t id, size_t *len);

/* The id of an entry of the target's vocabulary; -1: none. */
int64_t rnn_token_id(const struct rnn_model *model, const char *text, size_t len);

#endif
