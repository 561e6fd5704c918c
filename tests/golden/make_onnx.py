#!/usr/bin/python3
"""Writes ONNX's own tests of its operators RNN, LSTM and GRU as model folders into DIR (the one
argument).

Weights, inputs and expected values are those of the node tests of ONNX 1.12 (Debian's
libonnx-testdata, read with python3-onnx), put into another order and nothing else:

    gates        LSTM i, o, f, c → i, f, g, o;  GRU z, r, h → r, z, n;  peepholes i, o, f → i, f, o
    bias         [Wb ; Rb] → bias_ih, bias_hh; left out where there is none
    steps        [T][B] (layout 0) or [B][T] (layout 1) → [B][T]

GRU resets before the product unless linear_before_reset says otherwise.  The tests have one layer,
one direction, and no sequence shorter than the others; anything else is refused here."""
import glob
import os
import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper

import folder

NODES = "/usr/share/libonnx-testdata/data/node"
ORDERS = {"RNN": [0], "LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2]}
CELLS = {"RNN": "rnn_tanh", "LSTM": "lstm", "GRU": "gru"}
KNOWN = {"hidden_size", "layout", "linear_before_reset"}


def load(path):
    tensor = onnx.TensorProto()
    with open(path, "rb") as f:
        tensor.ParseFromString(f.read())
    return numpy_helper.to_array(tensor)


def read_test(path):
    """The node's operator, its attributes, its inputs and outputs by name."""
    node = onnx.load(os.path.join(path, "model.onnx")).graph.node[0]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    values = {}
    for names, kind in ((node.input, "input"), (node.output, "output")):
        files = sorted(glob.glob(f"{path}/test_data_set_0/{kind}_*.pb"))
        for name, file in zip([n for n in names if n], files):
            values[name] = load(file)
    assert set(attributes) <= KNOWN, attributes
    assert values["W"].shape[0] == 1, "one direction"
    return node.op_type, attributes, values


def gates(a, order):
    """Blocks of rows in another order."""
    parts = np.split(a, len(order))
    return np.concatenate([parts[i] for i in order]).astype("<f4")


def weights(op, v):
    order = ORDERS[op]
    rows = v["W"].shape[1]
    tensors = {"rnn.weight_ih_l0": gates(v["W"][0], order), "rnn.weight_hh_l0": gates(v["R"][0], order)}
    if "B" in v:
        tensors["rnn.bias_ih_l0"] = gates(v["B"][0][:rows], order)
        tensors["rnn.bias_hh_l0"] = gates(v["B"][0][rows:], order)
    if "P" in v:
        tensors["rnn.peephole_l0"] = gates(v["P"][0], [0, 2, 1])
    return tensors


def expectations(attributes, v):
    """A run: layouts to [B][T], states to [1][B][H]."""
    batch_first = attributes.get("layout", 0) == 1
    x = v["X"] if batch_first else v["X"].swapaxes(0, 1)
    run = {"kind": "state" if "initial_h" in v else "batch", "input": folder.numbers(x)}
    if "sequence_lens" in v:
        assert (v["sequence_lens"] == x.shape[1]).all(), "every sequence runs to the end"
    for theirs, ours in (("initial_h", "h_0"), ("initial_c", "c_0"), ("Y_h", "h_n"), ("Y_c", "c_n")):
        if theirs in v:
            run[ours] = folder.numbers(v[theirs].swapaxes(0, 1) if batch_first else v[theirs])
    if "Y" in v:
        y = v["Y"][:, :, 0] if batch_first else v["Y"][:, 0].swapaxes(0, 1)
        run["output"] = folder.numbers(y)
    return run


def convert(path, out):
    op, attributes, v = read_test(path)
    name = os.path.basename(path).replace("test_", "onnx-").replace("_", "-")
    rnn = {"cell": CELLS[op], "hidden_size": attributes["hidden_size"], "num_layers": 1,
           "bias": "B" in v}
    if op == "GRU":
        rnn["reset"] = "after" if attributes.get("linear_before_reset") else "before"
    if "P" in v:
        rnn["peepholes"] = True
    config = {"name": name, "topology": "synced",
              "input": {"kind": "dense", "size": v["X"].shape[2]}, "rnn": rnn, "head": None}
    folder.write(os.path.join(out, name), config, weights(op, v), [expectations(attributes, v)],
                 f"node tests of ONNX {onnx.__version__}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for kind in ("gru", "lstm", "rnn", "simple_rnn"):
        for path in sorted(glob.glob(f"{NODES}/test_{kind}_*")):
            convert(path, sys.argv[1])


main()
