/* One Unicode character, one token.
 *
 * Text is read character by character: a character (its lower case, where the vocabulary says
 * "lowercase") becomes the token that is exactly this character.  Special tokens (unk, bos, eos)
 * and entries of several characters, such as "<unk>", never come from text.  A character without a
 * token becomes `unk` where there is one, and is an error (RNN_ECHAR with offset and code point)
 * where there is none. */
#ifndef MODELS_TOKENIZER_CHAR_H
#define MODELS_TOKENIZER_CHAR_H

#include "models/vocab.h"

extern const struct vocab_kind vocab_char;

#endif
