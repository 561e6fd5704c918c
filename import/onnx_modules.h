/* Modules of a model, and the stages of an ONNX graph that they are made of.  One thread. */
#ifndef IMPORT_ONNX_MODULES_H
#define IMPORT_ONNX_MODULES_H

#include "import/onnx_model.h"

struct cJSON;

/* A module of the model, and the stages that it is made of. */
enum module_kind { MODULE_RNN, MODULE_DENSE, MODULE_AFFINE, MODULE_NORM, MODULE_READOUT };

struct module {
    enum module_kind kind;
    const struct onnx_stage *first; /* the lowest of its stages */
    size_t n_layers;                /* recurrent: how many alike, one above the other, */
    const struct onnx_layer **layers;
    enum rnn_merge merge;
    const struct onnx_stage *product, *shift, *scale, *norm; /* NULL: none */
    const struct onnx_stage *activation;                     /* NULL: linear */
    bool residual;
    bool head;
    const char *head_activation;
    size_t gives;       /* features */
    struct cJSON *json; /* recurrent: all but num_layers */
};

struct emitter {
    struct onnx_run *run;
    const struct onnx_chain *chain;
    struct module *modules;
    size_t n;
    const char *prefix; /* of the present module's tensors */
};

/* Groups the stages of e->chain into e->modules, which has room for as many.  The caller ends each
 * with cJSON_Delete(json).  Stops at a stage that is no part of a module. */
int onnx_modules_read(struct emitter *e);

/* Stage `i` of the chain; NULL: there are not as many. */
const struct onnx_stage *onnx_stage_at(const struct emitter *e, size_t i);

/* import/onnx_words.c: parts of config.json; NULL: out of memory. */
struct cJSON *onnx_layer_json(const struct module *module);
struct cJSON *onnx_activation_json(const struct rnn_activation *activation);
double onnx_plain(float value); /* the shortest decimal number that is this float */
bool onnx_has_learned(const struct onnx_layer *layer); /* an initial state that is not zero */
/* Takes `value` over; false: out of memory. */
bool onnx_put(struct cJSON *object, const char *key, struct cJSON *value);

#endif
