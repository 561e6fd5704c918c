/* Bytes that claim to be states: as a client sends them, and as the store keeps them.  What is
 * taken must be whole: written again it reads the same, no number in it is not finite, and no token
 * in it is none of the model's. */
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

static void try_file(const uint8_t *data, size_t size)
{
    const size_t floats =
        (rnn_model_info(model)->state_bytes - sizeof(struct rnn_state)) / sizeof(float);
    struct rnn_state *state, *again;
    struct buf file = {0};
    size_t bytes, bytes_again;

    if (rnn_state_read(model, data, size, &state, &bytes, NULL) < 0)
        return;
    for (size_t i = 0; i < floats; i++)
        HOLDS(isfinite(state->memory[i]));
    HOLDS(rnn_state_recalls(model, state, bytes));
    HOLDS(rnn_state_write(model, state, bytes, &file, NULL) == 0);
    HOLDS(rnn_state_read(model, file.data, file.len, &again, &bytes_again, NULL) == 0);
    HOLDS(bytes_again == bytes && memcmp(again, state, bytes) == 0);
    buf_free(&file);
    free(again);
    free(state);
}

/* What the store keeps, of a session with a window of so many tokens. */
static void try_image(const uint8_t *data, size_t size, size_t window)
{
    struct store_image_of of = {.row = 1,
                                .fingerprint = rnn_model_info(model)->fingerprint,
                                .state_bytes = rnn_state_bytes(model, window)};
    struct rnn_state *state = calloc(1, of.state_bytes);

    HOLDS(state);
    if (store_image_read(&of, data, size, state, NULL) == 0 &&
        rnn_state_recalls(model, state, of.state_bytes))
        HOLDS(rnn_recent_count(rnn_state_recent(model, state, of.state_bytes)) <= window);
    free(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    model_open();
    try_file(data, size);
    try_image(data, size, 0);
    try_image(data, size, 4);
    return 0;
}
