/* Texts of a model: forwards to its tokenizers.  See core/rnn.h for what the calls promise.
 *
 * A model without tokenizer takes and gives ids or frames only.  Any thread: what moves is in the
 * caller's encoder and decoder. */
#include "core/model.h"
#include "core/tokenizer.h"

static const struct rnn_tokenizer *source_of(const struct rnn_model *model)
{
    if (model->texts.source)
        return model->texts.source;
    return model->info.input_kind == RNN_INPUT_DENSE ? NULL : model->texts.tokenizer;
}

static int encode(const struct rnn_tokenizer *tokenizer, struct rnn_encoder *encoder,
                  const char *text, size_t len, bool last, uint32_t *ids, size_t *n_ids,
                  struct rnn_err *err)
{
    if (!tokenizer)
        return rnn_fail(err, RNN_EUNSUPPORTED,
                        "the model has no vocabulary: it takes token ids, not text");
    return tokenizer->ops->encode(tokenizer, encoder, text, len, last, ids, n_ids, err);
}

int rnn_encode(const struct rnn_model *model, struct rnn_encoder *encoder, const char *text,
               size_t len, bool last, uint32_t *ids, size_t *n_ids, struct rnn_err *err)
{
    if (model->info.input_kind == RNN_INPUT_DENSE)
        return rnn_fail(err, RNN_EUNSUPPORTED, "the model takes frames, not text");
    return encode(source_of(model), encoder, text, len, last, ids, n_ids, err);
}

int rnn_encode_target(const struct rnn_model *model, struct rnn_encoder *encoder, const char *text,
                      size_t len, bool last, uint32_t *ids, size_t *n_ids, struct rnn_err *err)
{
    return encode(model->texts.tokenizer, encoder, text, len, last, ids, n_ids, err);
}

static size_t decode(const struct rnn_tokenizer *tokenizer, struct rnn_decoder *decoder,
                     uint32_t id, const char **text)
{
    if (!tokenizer) {
        *text = "";
        return 0;
    }
    return tokenizer->ops->decode(tokenizer, decoder, id, text);
}

size_t rnn_decode(const struct rnn_model *model, struct rnn_decoder *decoder, uint32_t id,
                  const char **text)
{
    return decode(model->texts.tokenizer, decoder, id, text);
}

size_t rnn_decode_source(const struct rnn_model *model, struct rnn_decoder *decoder, uint32_t id,
                         const char **text)
{
    return decode(source_of(model), decoder, id, text);
}

const char *rnn_token_text(const struct rnn_model *model, uint32_t id, size_t *len)
{
    const struct rnn_tokenizer *tokenizer = model->texts.tokenizer;

    if (!tokenizer) {
        *len = 0;
        return NULL;
    }
    return tokenizer->ops->token_text(tokenizer, id, len);
}

int64_t rnn_token_id(const struct rnn_model *model, const char *text, size_t len)
{
    const struct rnn_tokenizer *tokenizer = model->texts.tokenizer;

    return tokenizer ? tokenizer->ops->token_id(tokenizer, text, len) : -1;
}
