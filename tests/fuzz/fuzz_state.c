/* Bytes that claim to be states: as a client sends them, and as the store keeps them.  What is
 * taken must be whole: written again it reads the same, and no number in it is not finite. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "core/rnn.h"
#include "fuzz.h"
#include "server/store_image.h"

static struct rnn_model *model;

static void model_open(void)
{
    struct rnn_err err = {0};

    if (!model)
        HOLDS(rnn_model_open(&model, HELLO_FOLDER, NULL, &err) == 0);
}

static void try_file(const uint8_t *data, size_t size, struct rnn_state *state)
{
    size_t bytes = rnn_model_info(model)->state_bytes;
    struct rnn_state *again = malloc(bytes);
    struct buf file = {0};

    if (rnn_state_read(model, data, size, state, NULL) == 0) {
        for (size_t i = 0; i < (bytes - sizeof *state) / sizeof(float); i++)
            HOLDS(isfinite(state->memory[i]));
        HOLDS(rnn_state_write(model, state, &file, NULL) == 0);
        HOLDS(rnn_state_read(model, file.data, file.len, again, NULL) == 0);
        HOLDS(memcmp(again, state, bytes) == 0);
    }
    buf_free(&file);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store_image_of of = {.row = 1};
    struct rnn_state *state;

    model_open();
    of.fingerprint = rnn_model_info(model)->fingerprint;
    of.state_bytes = rnn_model_info(model)->state_bytes;
    state = calloc(1, of.state_bytes);
    HOLDS(state);
    try_file(data, size, state);
    (void)store_image_read(&of, data, size, state, NULL);
    free(state);
    return 0;
}
