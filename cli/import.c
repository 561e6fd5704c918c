/* rnnd import: a checkpoint of another program into a model folder.  The work is rnnd-import's. */
#include "cli/commands.h"
#include "cli/foreign.h"

static const struct cli_option options[] = {
#define IMPORT_OPTION(name, metavar, help) {name, metavar, help},
#include "import/options.def"
#undef IMPORT_OPTION
    {NULL},
};

static int run(const struct cli_args *args)
{
    int status;

    if (!foreign_run(args, "import", &status))
        return cli_fail("rnnd-import is not there: this rnnd was built without it");
    return status;
}

const struct cli_command command_import = {
    .name = "import",
    .operands = "FILE",
    .n_operands = 1,
    .summary = "make a model folder of another program's checkpoint",
    .about =
        "Makes a model folder of FILE: PyTorch (.pt, .pth: a state dict, a training checkpoint, a "
        "whole model), Keras 1 to 3 (.h5, .keras; a file of weights with the model's JSON as "
        "--config), ONNX (.onnx: a chain of RNN, LSTM or GRU nodes), safetensors, NumPy (.npz), "
        "TensorFlow (a checkpoint's .index, its name without an ending, or its folder; a folder of "
        "variables with manifest.json). Nothing in the file is run. What the model was taken for "
        "and every conversion is printed; what the file cannot tell is asked, with the options "
        "that answer. The finished folder is opened and run on a fixed input before it gets its "
        "name, and compared, where that can be done, with what the file's own tensors compute in "
        "double precision.",
    .options = options,
    .run = run,
};
