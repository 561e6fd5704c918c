/* What tokenizers ask of a character: its lower case, whether words are made of it, whether it is
 * white space.  By Unicode (models/letters.def names the version); the locale plays no part.  Any
 * thread. */
#ifndef MODELS_LETTERS_H
#define MODELS_LETTERS_H

#include <stdbool.h>
#include <stdint.h>

/* Simple lower-casing: one character for one, wherever it stands (capital sigma becomes σ at the
 * end of a word, too; İ becomes i).  All scripts that have two cases. */
uint32_t letters_lower(uint32_t c);

/* Letters, marks and digits: general categories L, M and N. */
bool letters_in_word(uint32_t c);

/* The property White_Space: blanks, line ends, no-break spaces. */
bool letters_space(uint32_t c);

#endif
