/* config.json: whatever passes is a complete spec within the limits of core/spec.h. */
#include "base/json.h"
#include "core/cell.h"
#include "core/spec_check.h"
#include "fuzz.h"
#include "models/config_json.h"

static void check_id(int64_t id, const struct rnn_stack_spec *stack)
{
    HOLDS(id == -1 || (id >= 0 && (size_t)id < stack->input_size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct model_config config;
    struct rnn_err err = {0};
    bool repeats;
    int rc = model_config_parse(&config, (const char *)data, size, &err);

    if (rc < 0) {
        check_failure(rc, &err);
        return 0;
    }
    repeats = config.spec.topology == RNN_REPEAT;
    HOLDS(config.spec.n_stacks == (config.spec.topology == RNN_SEQ2SEQ || repeats ? 2 : 1));
    HOLDS((config.spec.repeat > 0) == repeats);
    check_id(config.spec.bos, &config.spec.stacks[repeats]);
    check_id(config.spec.eos, &config.spec.stacks[repeats]);
    HOLDS(rnn_spec_check(&config.spec, &err) == 0);
    HOLDS((config.spec.features > 0) == (config.spec.topology == RNN_ONE_TO_MANY));
    for (const struct cJSON *w = config.tensors ? config.tensors->child : NULL; w; w = w->next) {
        rc = model_config_check_shape(w, 2, (const size_t[]){3, 4}, &err);
        if (rc < 0)
            check_failure(rc, &err);
        (void)model_config_owns_tensor(&config.spec, w->string);
    }
    model_config_free(&config);
    return 0;
}
