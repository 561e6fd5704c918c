/* One word, or one symbol, one token.
 *
 * "symbol" (or "phoneme"): symbols stand between white space ("AE2 K T").  "word" the same, unless
 * the vocabulary says "split": "words": then runs of letters, marks, digits and apostrophes (' and
 * ’) are words, and every other character that is no white space is a token of its own.  White
 * space (Unicode's property) only parts tokens.  A word (its lower case, character for character,
 * where the vocabulary says "lowercase") becomes the token that is exactly this word; the special
 * tokens (unk, bos, eos) never come from text.  A word without a token becomes `unk` where there is
 * one, and is an error (RNN_ECHAR with the offset of its first byte) where there is none, as does a
 * word of more than RNN_WORD_MAX bytes.
 *
 * Decoding puts one space between tokens; not, with "split": "words", in front of . , ; : ! ? ) ] }
 * and a closing ", nor behind ( [ { and an opening " (they open and close in turn).  Text so
 * written is read as the same tokens again.  An apostrophe that stands alone keeps its spaces for
 * that reason: next to a word it would be part of it. */
#ifndef MODELS_TOKENIZER_WORD_H
#define MODELS_TOKENIZER_WORD_H

#include "models/vocab.h"

extern const struct vocab_kind vocab_word;
extern const struct vocab_kind vocab_symbol;

#endif
