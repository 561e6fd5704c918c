#!/usr/bin/python3
"""Writes small models whose input comes to one vector, flattened or repeated, into DIR (the one argument), with the
outputs and states that their equations give in float64.

A plain reading of config.json in NumPy, a whole sequence at a time, for the cells and modules that the cases have; it
shares nothing with the program.  Weights and inputs come from a seeded generator: the same bytes each time (NumPy 1.24)."""
import os
import sys

import numpy as np

import folder

GATES = {"rnn_tanh": 1, "lstm": 4, "gru": 3}
SEQUENCES, STEPS = 2, 5


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


ACTIVATIONS = {"linear": lambda x: x, "tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}


class Tensors:
    """Draws what is asked for, by name."""

    def __init__(self, rng):
        self.rng, self.all = rng, {}

    def __call__(self, name, *shape, positive=False):
        if name not in self.all:
            a = self.rng.uniform(-1, 1, shape)
            a = np.exp(a) if positive else a * (1.5 / np.sqrt(shape[-1]) if len(shape) > 1 else 0.5)
            self.all[name] = a.astype("<f4")
        return self.all[name].astype(float)


def step(cell, x, h, c, wh, bh):
    """x: the input's product and bias.  The new h and c."""
    if cell == "rnn_tanh":
        return np.tanh(x + wh @ h + bh), c
    if cell == "gru":
        (xr, xz, xn), (hr, hz, hn) = np.split(x, 3), np.split(wh @ h + bh, 3)
        z = sigmoid(xz + hz)
        return (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * h, c
    i, f, g, o = np.split(x + wh @ h + bh, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def direction(t, spec, name, end, xs):
    """One direction of one layer over all steps: outputs, final h and c."""
    n, rows = spec["hidden_size"], GATES[spec["cell"]] * spec["hidden_size"]
    w = [t(name.format(p) + end, *shape) for p, shape in (("weight_ih", (rows, xs.shape[1])), ("weight_hh", (rows, n)),
                                                          ("bias_ih", (rows,)), ("bias_hh", (rows,)))]
    h, c = np.zeros(n), np.zeros(n)
    if spec.get("initial_state") == "learned":
        h = t(name.format("h_0") + end, n)
        c = t(name.format("c_0") + end, n) if spec["cell"] == "lstm" else c
    out = []
    for x in xs[::-1] if end else xs:
        h, c = step(spec["cell"], w[0] @ x + w[2], h, c, w[1], w[3])
        out.append(h)
    return np.array(out[::-1] if end else out), h, c


def recurrent(t, spec, module, xs, states):
    for k in range(spec["num_layers"]):
        ends = ["", "_reverse"] if spec.get("bidirectional") else [""]
        parts = [direction(t, spec, f"{module}.{{}}_l{k}", end, xs) for end in ends]
        states += [(h, c, spec["cell"]) for _, h, c in parts]
        xs = np.concatenate([p[0] for p in parts], 1)
    return xs, np.concatenate([p[1] for p in parts])


def pool(how, xs, final):
    return {"final": lambda: xs[-1] if final is None else final, "last": lambda: xs[-1], "mean": lambda: xs.mean(0),
            "max": lambda: xs.max(0), "flatten": lambda: xs.reshape(-1)}[how]()


def through(t, stack, prefix, xs, states, pool_of=None):
    """Steps up a stack, which `pool_of` reads out of its highest recurrent layer, or where a module says.  What comes
    out, and what went under the readout."""
    layers = [{"kind": "rnn", **stack["rnn"]}] if "rnn" in stack else stack["layers"]
    said = [m for m, spec in enumerate(layers) if spec["kind"] == "readout"]
    tops = [m for m, spec in enumerate(layers) if spec["kind"] == "rnn"]
    at, under, final = said[0] if said else max(tops) + 1 if tops else 0, xs, None
    for m, spec in enumerate([*layers, {"kind": "readout"}]):
        module = f"{prefix}rnn" if "rnn" in stack else f"{prefix}layers.{m}"
        if m == at:
            under = xs
            xs = np.array([pool(spec.get("pool", pool_of), xs, final)]) if pool_of else xs
        if spec["kind"] == "rnn":
            xs, final = recurrent(t, spec, module, xs, states)
        elif spec["kind"] == "dense":
            w, b = t(f"{module}.weight", spec["size"], xs.shape[1]), t(f"{module}.bias", spec["size"])
            xs, final = ACTIVATIONS[spec.get("activation", "linear")](xs @ w.T + b), None
        elif spec["kind"] == "layer_norm":
            w, b = t(f"{module}.weight", xs.shape[1]), t(f"{module}.bias", xs.shape[1])
            xs = (xs - xs.mean(1, keepdims=True)) / np.sqrt(xs.var(1, keepdims=True) + 1e-5) * w + b
    return xs, under


def read(t, prefix, spec, x):
    if spec["kind"] == "onehot":
        return np.eye(spec["size"])[x]
    if spec["kind"] == "embedding":
        return t(f"{prefix}embedding.weight", spec["size"], spec["dim"])[x]
    x = x.astype(float)
    if spec.get("normalize"):
        mean, std = t(f"{prefix}input.mean", spec["size"]), t(f"{prefix}input.std", spec["size"], positive=True)
        x = (x - mean) / std
    return x


def finish(t, prefix, head, xs, out):
    if not head:
        return
    logits = xs @ t(f"{prefix}head.weight", head["size"], xs.shape[1]).T + t(f"{prefix}head.bias", head["size"])
    out["logits"] = logits
    if head["activation"] == "softmax":
        out["probs"] = softmax(logits)
        return
    out["values"] = logits
    if head["activation"] == "gaussian":
        out["values"], out["std"] = logits[:, :head["size"] // 2], np.exp(logits[:, head["size"] // 2:])
    if head.get("denormalize"):
        n = out["values"].shape[1]
        mean, std = t(f"{prefix}output.mean", n), t(f"{prefix}output.std", n, positive=True)
        out["values"] = out["values"] * std + mean
        if "std" in out:
            out["std"] = out["std"] * std


def to_one(t, config, x, out):
    states = []
    xs, out["output"] = through(t, config, "", read(t, "", config["input"], x), states, config.get("pool", "final"))
    finish(t, "", config["head"], xs, out)
    out.update({key: value[0] for key, value in out.items() if key != "output"})
    return {"": states}


def repeated(t, config, x, out):
    encoder, decoder, states = config["encoder"], config["decoder"], {"encoder_": [], "": []}
    xs = read(t, "encoder.", encoder["input"], x)
    layers = [{"kind": "rnn", **encoder["rnn"]}] if "rnn" in encoder else encoder["layers"]
    whole = {"layers": [*layers, {"kind": "readout", "pool": encoder.get("pool", "final")}]}
    if "rnn" in encoder:  # one module, by its other name
        t = Renamed(t, "encoder.layers.0.", "encoder.rnn.")
    vector, _ = through(t, whole, "encoder.", xs, states["encoder_"], "final")
    xs, out["output"] = through(t, decoder, "decoder.", np.repeat(vector, decoder["repeat"], 0), states[""])
    finish(t, "decoder.", decoder["head"], xs, out)
    return states


class Renamed:
    def __init__(self, t, old, new):
        self.t, self.old, self.new = t, old, new

    def __call__(self, name, *shape, **more):
        return self.t(name.replace(self.old, self.new), *shape, **more)


def cell(kind, hidden, layers=1, **settings):
    return {"cell": kind, "hidden_size": hidden, "num_layers": layers, **settings}


FRAMES, IDS = {"kind": "dense", "size": 3}, {"kind": "embedding", "size": 7, "dim": 4}
FLATTEN = {"pool": "flatten", "steps": STEPS}
CASES = {
    "flatten-lstm": {"topology": "many_to_one", **FLATTEN, "input": FRAMES, "rnn": cell("lstm", 5),
                     "head": {"size": 3, "activation": "softmax"}},
    "flatten-gru-bi": {
        "topology": "many_to_one", "input": IDS,
        "layers": [{"kind": "rnn", **cell("gru", 6, 2, bidirectional=True)}, {"kind": "dense", "size": 4,
                   "activation": "tanh"}, {"kind": "readout", **FLATTEN}, {"kind": "layer_norm"},
                   {"kind": "dense", "size": 9, "activation": "relu"}],
        "head": {"size": 2, "activation": "none", "denormalize": True}},
    "flatten-frames": {"topology": "many_to_one", **FLATTEN, "input": {**FRAMES, "normalize": True},
                       "layers": [{"kind": "dense", "size": 17, "activation": "relu"}],
                       "head": {"size": 4, "activation": "gaussian"}},
    "repeat-lstm": {
        "topology": "repeat", "encoder": {"input": {**FRAMES, "normalize": True}, "rnn": cell("lstm", 7)},
        "decoder": {"repeat": 4, "rnn": cell("lstm", 6, 2), "head": {"size": 3, "activation": "none", "denormalize": True}}},
    "repeat-gru-bi": {
        "topology": "repeat",
        "encoder": {"input": IDS, "pool": "mean", "rnn": cell("gru", 5, 2, bidirectional=True, initial_state="learned")},
        "decoder": {"repeat": 6, "head": {"size": 7, "activation": "softmax"},
                    "layers": [{"kind": "dense", "size": 8, "activation": "tanh"},
                               {"kind": "rnn", **cell("gru", 5, bidirectional=True, initial_state="learned")},
                               {"kind": "dense", "size": 6, "activation": "relu"}]}},
    "repeat-flatten": {
        "topology": "repeat",
        "encoder": {"input": {"kind": "onehot", "size": 6}, **FLATTEN,
                    "layers": [{"kind": "rnn", **cell("lstm", 4)}, {"kind": "rnn", **cell("rnn_tanh", 3)}]},
        "decoder": {"repeat": 3, "rnn": cell("lstm", 5), "head": {"size": 4, "activation": "gaussian"}}},
}


def write_case(out, seed, name, case):
    rng = np.random.default_rng(seed)
    t = Tensors(rng)
    compute = repeated if case["topology"] == "repeat" else to_one
    spec = case.get("encoder", case)["input"]
    dense = spec["kind"] == "dense"
    if dense:
        inputs = rng.normal(size=(SEQUENCES, STEPS, spec["size"])).astype(np.float32)
    else:
        inputs = rng.integers(spec["size"], size=(SEQUENCES, STEPS))
    results, states = [], []
    for x in inputs:
        results.append({})
        states.append(compute(t, case, x, results[-1]))
    run = {"kind": "batch", "input" if dense else "input_ids": folder.numbers(inputs) if dense else inputs.tolist()}
    for key in results[0]:
        run[key] = folder.numbers([r[key] for r in results])
    for prefix, layers in states[0].items():
        for which, kind in enumerate("hc"):
            held = [k for k, layer in enumerate(layers) if kind == "h" or layer[2] == "lstm"]
            if held:
                run[f"{prefix}{kind}_n"] = [[folder.numbers(s[prefix][k][which]) for s in states] for k in held]
    folder.write(os.path.join(out, name), {"name": name, **case}, t.all, [run], "make_vectors.py")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for seed, (name, case) in enumerate(CASES.items()):
        write_case(sys.argv[1], 4000 + seed, name, case)


main()
