/* What there is: one line for each format, cell and tokenizer.
 *
 * The tables are const, made here and nowhere else; core and models reach each entry through its
 * struct of operations only.  Any thread. */
#include <string.h>

#include "core/cell.h"
#include "core/format.h"
#include "models/format_folder.h"
#include "models/state_file.h"
#include "models/tokenizer_char.h"
#include "models/tokenizer_word.h"
#include "models/vocab.h"

const struct rnn_format_ops *const rnn_formats[] = {&format_folder, NULL};

const struct rnn_state_format *const rnn_state_format = &state_file;

const struct rnn_cell_ops *const rnn_cells[] = {
    &rnn_cell_tanh, &rnn_cell_relu,       &rnn_cell_rnn, &rnn_cell_lstm,
    &rnn_cell_gru,  &rnn_cell_gru_before, NULL};

const struct rnn_cell_ops *rnn_cell_find(const char *name, bool resets_before)
{
    for (size_t i = 0; rnn_cells[i]; i++)
        if (strcmp(rnn_cells[i]->name, name) == 0 && rnn_cells[i]->resets_before == resets_before)
            return rnn_cells[i];
    return NULL;
}

const struct vocab_kind *const vocab_kinds[] = {&vocab_char, &vocab_word, &vocab_symbol, NULL};
