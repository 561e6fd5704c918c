#!/usr/bin/python3
"""Writes models that are too large for the tree, with golden values, into DIR (the one argument).

Weights and inputs come from a seeded generator; the expected values are the cells' equations in float64,
rounded to float32.  Sizes are chosen against the kernels: not a multiple of any vector or block, exactly a
multiple, and wide enough that the weights leave the first caches.  NumPy only."""
import os
import sys

import numpy as np

import folder as folders
from folder import numbers

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
CASES = [
    # name, cell, layers, hidden, projection, input, head (size, tied, activation) or None
    ("large-lstm-h257", "lstm", 1, 257, 0, ("dense", 40, 0), None),
    ("large-lstm-h512-l2", "lstm", 2, 512, 0, ("embedding", 301, 64), (301, False, "softmax")),
    ("large-lstm-h512-proj64", "lstm", 1, 512, 64, ("embedding", 97, 64), (97, True, "softmax")),
    ("large-gru-h384", "gru", 2, 384, 0, ("onehot", 130, 0), (130, False, "softmax")),
    ("large-rnn_tanh-h1024", "rnn_tanh", 1, 1024, 0, ("dense", 33, 0), (5, False, "sigmoid")),
    ("large-rnn_relu-h640", "rnn_relu", 1, 640, 0, ("dense", 17, 0), (3, False, "none")),
    ("large-lstm-l16-h24", "lstm", 16, 24, 0, ("onehot", 9, 0), (9, False, "softmax")),
]
SEQUENCES, STEPS = 3, 12


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def make_tensors(rng, cell, layers, hidden, proj, inp, head):
    """name → float32 array, scaled so that neither states nor logits saturate."""
    kind, size, dim = inp
    out, width = {}, dim or size
    state = proj or hidden

    def draw(*shape):
        return (rng.uniform(-1, 1, shape) / np.sqrt(shape[-1] if len(shape) > 1 else state)).astype("<f4")

    if kind == "embedding":
        out["embedding.weight"] = rng.uniform(-1, 1, (size, dim)).astype("<f4")
    for k in range(layers):
        rows = GATES[cell] * hidden
        out[f"rnn.weight_ih_l{k}"] = draw(rows, width)
        out[f"rnn.weight_hh_l{k}"] = draw(rows, state)
        out[f"rnn.bias_ih_l{k}"], out[f"rnn.bias_hh_l{k}"] = draw(rows), draw(rows)
        if proj:
            out[f"rnn.weight_hr_l{k}"] = draw(proj, hidden)
        width = state
    if head:
        if not head[1]:
            out["head.weight"] = draw(head[0], width)
        out["head.bias"] = draw(head[0])
    return out


def step(cell, t, k, x, h, c):
    gx = t[f"rnn.weight_ih_l{k}"] @ x + t[f"rnn.bias_ih_l{k}"]
    gh = t[f"rnn.weight_hh_l{k}"] @ h + t[f"rnn.bias_hh_l{k}"]
    if cell == "rnn_tanh":
        return np.tanh(gx + gh), c
    if cell == "rnn_relu":
        return np.maximum(gx + gh, 0), c
    if cell == "gru":
        (xr, xz, xn), (hr, hz, hn) = np.split(gx, 3), np.split(gh, 3)
        z = sigmoid(xz + hz)
        return (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * h, c
    i, f, g, o = np.split(gx + gh, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    name = f"rnn.weight_hr_l{k}"
    return (t[name] @ h if name in t else h), c


def run(cell, tensors, layers, hidden, proj, inp, head, inputs):
    t = {k: v.astype(np.float64) for k, v in tensors.items()}
    h = np.zeros((layers, proj or hidden))
    c = np.zeros((layers, hidden))
    outputs, logits, probs = [], [], []
    for x in inputs:
        if inp[0] == "dense":
            y = np.asarray(x, np.float64)
        elif inp[0] == "onehot":
            y = np.eye(inp[1])[x]
        else:
            y = t["embedding.weight"][x]
        for k in range(layers):
            h[k], c[k] = step(cell, t, k, y, h[k], c[k])
            y = h[k]
        outputs.append(y.copy())
        if head:
            lo = t["embedding.weight" if head[1] else "head.weight"] @ y + t["head.bias"]
            e = np.exp(lo - lo.max())
            logits.append(lo)
            probs.append({"softmax": e / e.sum(), "sigmoid": sigmoid(lo), "none": lo}[head[2]])
    return outputs, logits, probs, h, c


def write_case(folder, seed, name, cell, layers, hidden, proj, inp, head):
    rng = np.random.default_rng(seed)
    tensors = make_tensors(rng, cell, layers, hidden, proj, inp, head)
    config = {"topology": "synced",
              "input": {"kind": inp[0], "size": inp[1], **({"dim": inp[2]} if inp[2] else {})},
              "rnn": {"cell": cell, "hidden_size": hidden, "num_layers": layers, "bidirectional": False,
                      "bias": True, "proj_size": proj},
              "head": head and {"size": head[0], "bias": True, "tied": head[1], "activation": head[2]}}
    if inp[0] == "dense":
        inputs = rng.normal(size=(SEQUENCES, STEPS, inp[1])).astype(np.float32)
    else:
        inputs = rng.integers(inp[1], size=(SEQUENCES, STEPS))
    results = [run(cell, tensors, layers, hidden, proj, inp, head, x) for x in inputs]
    batch = {"kind": "batch", ("input" if inp[0] == "dense" else "input_ids"):
             numbers(inputs) if inp[0] == "dense" else inputs.tolist(),
             "output": numbers([r[0] for r in results]),
             "h_n": numbers(np.stack([r[3] for r in results], 1))}
    if head:
        batch["logits"] = numbers([r[1] for r in results])
        if head[2] != "none":
            batch["probs"] = numbers([r[2] for r in results])
    if cell == "lstm":
        batch["c_n"] = numbers(np.stack([r[4] for r in results], 1))
    folders.write(os.path.join(folder, name), config, tensors, [batch], "make_large.py")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for seed, case in enumerate(CASES):
        write_case(sys.argv[1], 1000 + seed, *case)


main()
