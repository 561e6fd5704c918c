/* Texts of a model: forwards to its tokenizer.  See core/rnn.h for what the calls promise.
 *
 * A model without tokenizer takes and gives ids only.  Any thread: what moves is in the caller's
 * encoder and decoder. */
#include "core/model.h"
#include "core/tokenizer.h"

int rnn_encode(const struct rnn_model *model, struct rnn_encoder *encoder, const char *text,
               size_t len, bool last, uint32_t *ids, size_t *n_ids, struct rnn_err *err)
{
    const struct rnn_tokenizer *tokenizer = model->texts.tokenizer;

    if (!tokenizer)
        return rnn_fail(err, RNN_EUNSUPPORTED,
                        "the model has no vocabulary: it takes token ids, not text");
    return tokenizer->ops->encode(tokenizer, encoder, text, len, last, ids, n_ids, err);
}

size_t rnn_decode(const struct rnn_model *model, struct rnn_decoder *decoder, uint32_t id,
                  const char **text)
{
    const struct rnn_tokenizer *tokenizer = model->texts.tokenizer;

    if (!tokenizer) {
        *text = "";
        return 0;
    }
    return tokenizer->ops->decode(tokenizer, decoder, id, text);
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
