#!/usr/bin/python3
"""Writes small models with every setting of a cell and every kind of layer into DIR (the one
argument), with the outputs and states that their equations give in float64.

A plain reading of config.json in NumPy, one row at a time; it shares nothing with the program.
Weights and inputs come from a seeded generator: the same bytes each time (NumPy 1.24)."""
import os
import sys

import numpy as np

import folder

GATES = {"rnn": 1, "rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
SEQUENCES, STEPS = 2, 6


# ---- Activations ----


def activation(what, default, x):
    """x through an activation as config.json names it: a name, an object, or None."""
    what = what or default
    given = what if isinstance(what, dict) else {}
    kind = given.get("kind", what)
    a = {"hard_sigmoid": 0.2, "hard_sigmoid6": 1 / 6, "leaky_relu": 0.01}.get(kind, 1.0)
    b = {"hard_sigmoid": 0.5, "hard_sigmoid6": 0.5, "scaled_tanh": 1.0}.get(kind, 0.0)
    a, b = given.get("alpha", a), given.get("beta", b)
    return {
        "tanh": lambda: np.tanh(x),
        "relu": lambda: np.maximum(x, 0),
        "sigmoid": lambda: 1 / (1 + np.exp(-x)),
        "linear": lambda: a * x + b,
        "hard_sigmoid": lambda: np.clip(a * x + b, 0, 1),
        "hard_sigmoid6": lambda: np.clip(a * x + b, 0, 1),
        "leaky_relu": lambda: np.where(x < 0, a * x, x),
        "thresholded_relu": lambda: np.where(x > a, x, 0),
        "scaled_tanh": lambda: a * np.tanh(b * x),
        "elu": lambda: np.where(x < 0, a * np.expm1(x), x),
        "softsign": lambda: x / (1 + np.abs(x)),
    }[kind]()


# ---- Cells ----


class Cell:
    """One layer's settings and weights."""

    def __init__(self, spec, weights):
        self.spec, self.w = spec, weights
        self.clip = spec.get("clip", np.inf)

    def act(self, key, x, default="tanh"):
        return activation(self.spec.get(key), default, np.clip(x, -self.clip, self.clip))

    def gate(self, x):
        return self.act("gate_activation", x, "sigmoid")

    def step(self, x, h, c):
        return {"lstm": self.lstm, "gru": self.gru}.get(self.spec["cell"], self.plain)(x, h, c)

    def plain(self, x, h, c):
        default = {"rnn_relu": "relu"}.get(self.spec["cell"], "tanh")
        return self.act("activation", self.w["ih"] @ x + self.w["bih"] + self.w["hh"] @ h + self.w["bhh"],
                        default), c

    def gru(self, x, h, c):
        xr, xz, xn = np.split(self.w["ih"] @ x + self.w["bih"], 3)
        ur, uz, un = np.split(self.w["hh"], 3)
        br, bz, bn = np.split(self.w["bhh"], 3)
        r, z = self.gate(xr + ur @ h + br), self.gate(xz + uz @ h + bz)
        if self.spec.get("reset") == "before":
            n = self.act("activation", xn + un @ (r * h) + bn)
        else:
            n = self.act("activation", xn + r * (un @ h + bn))
        return (1 - z) * n + z * h, c

    def lstm(self, x, h, c):
        i, f, g, o = np.split(self.w["ih"] @ x + self.w["bih"] + self.w["hh"] @ h + self.w["bhh"], 4)
        pi, pf, po = np.split(self.w.get("peephole", np.zeros(3 * len(c))), 3)
        i = self.gate(i + pi * c)
        f = 1 - i if self.spec.get("input_forget") else self.gate(f + pf * c)
        c = f * c + i * self.act("activation", g)
        o = self.gate(o + po * c)
        h = o * self.act("output_activation", c, self.spec.get("activation", "tanh"))
        return (self.w["hr"] @ h if "hr" in self.w else h), c


# ---- Models ----


class Model:
    def __init__(self, rng, config):
        self.rng, self.config, self.tensors = rng, config, {}
        self.layers = []  # (kind, spec, weights), bottom first
        inp = config["input"]
        width = inp.get("dim", inp["size"])
        if inp["kind"] == "embedding":
            self.draw("embedding.weight", inp["size"], width)
        if inp.get("normalize"):
            self.draw("input.mean", width)
            self.positive("input.std", width)
        if "rnn" in config:
            width = self.add_recurrent("rnn", config["rnn"], width)
        for m, spec in enumerate(config.get("layers", [])):
            if spec["kind"] == "rnn":
                width = self.add_recurrent(f"layers.{m}", spec, width)
            else:
                width = self.add_plain(f"layers.{m}", spec, width)
        self.head = None
        if config.get("head"):
            size = config["head"]["size"]
            self.head = self.draw("head.weight", size, width), self.draw("head.bias", size)
            if config["head"].get("denormalize"):
                self.draw("output.mean", size)
                self.positive("output.std", size)

    def draw(self, name, *shape):
        scale = 1.5 / np.sqrt(shape[-1]) if len(shape) > 1 else 0.5
        self.tensors[name] = (scale * self.rng.uniform(-1, 1, shape)).astype("<f4")
        return self.tensors[name].astype(float)

    def positive(self, name, *shape):
        self.tensors[name] = np.exp(self.rng.uniform(-1, 1, shape)).astype("<f4")
        return self.tensors[name].astype(float)

    def add_recurrent(self, module, spec, width):
        hidden, proj = spec["hidden_size"], spec.get("proj_size", 0)
        rows, state = GATES[spec["cell"]] * hidden, proj or hidden
        for k in range(spec.get("num_layers", 1)):
            w = {"ih": self.draw(f"{module}.weight_ih_l{k}", rows, width),
                 "hh": self.draw(f"{module}.weight_hh_l{k}", rows, state),
                 "bih": self.draw(f"{module}.bias_ih_l{k}", rows),
                 "bhh": self.draw(f"{module}.bias_hh_l{k}", rows)}
            if proj:
                w["hr"] = self.draw(f"{module}.weight_hr_l{k}", proj, hidden)
            if spec.get("peepholes"):
                w["peephole"] = self.draw(f"{module}.peephole_l{k}", 3 * hidden)
            w["h_0"], w["c_0"] = np.zeros(state), np.zeros(hidden)
            if spec.get("initial_state") == "learned":
                w["h_0"] = self.draw(f"{module}.h_0_l{k}", state)
                if spec["cell"] == "lstm":
                    w["c_0"] = self.draw(f"{module}.c_0_l{k}", hidden)
            self.layers.append(("rnn", {**spec, "residual": spec.get("residual") and width == state}, w))
            width = state
        return width

    def add_plain(self, module, spec, width):
        if spec["kind"] == "dense":
            w = self.draw(f"{module}.weight", spec["size"], width), self.draw(f"{module}.bias", spec["size"])
        else:
            names = {"affine": ("scale", "shift"), "layer_norm": ("weight", "bias")}[spec["kind"]]
            w = self.draw(f"{module}.{names[0]}", width), self.draw(f"{module}.{names[1]}", width)
        self.layers.append((spec["kind"], spec, w))
        return spec.get("size", width)

    def read(self, x):
        t = self.tensors
        if self.config["input"]["kind"] == "embedding":
            return t["embedding.weight"][x].astype(float)
        if self.config["input"].get("normalize"):
            return (x.astype(float) - t["input.mean"]) / t["input.std"].astype(float)
        return x.astype(float)

    def through(self, y, states):
        """One step; states: [h, c] of each recurrent layer, in place.  All layers' outputs."""
        outputs, states = [], iter(states)
        for kind, spec, w in self.layers:
            x = y
            if kind == "rnn":
                state = next(states)
                state[:] = Cell(spec, w).step(x, *state)
                y = state[0]
            elif kind == "dense":
                y = activation(spec.get("activation"), "linear", w[0] @ x + w[1])
            elif kind == "affine":
                y = x * w[0] + w[1]
            else:
                y = (x - x.mean()) / np.sqrt(x.var() + spec.get("epsilon", 1e-5)) * w[0] + w[1]
            if spec.get("residual"):
                y = x + y
            outputs.append(y)
        return outputs

    def result(self, y):
        logits = self.head[0] @ y + self.head[1]
        kind = self.config["head"]["activation"]
        if kind == "softmax":
            e = np.exp(logits - logits.max())
            return logits, e / e.sum()
        if self.config["head"].get("denormalize"):
            return logits, logits * self.tensors["output.std"] + self.tensors["output.mean"]
        return logits, logits

    def run(self, inputs):
        states = [[w["h_0"], w["c_0"]] for kind, _, w in self.layers if kind == "rnn"]
        top = max((i for i, layer in enumerate(self.layers) if layer[0] == "rnn"), default=-1)
        out = {"output": [], "logits": [], "probs": []}
        for x in inputs:
            outputs = self.through(self.read(x), states)
            if top >= 0:
                out["output"].append(outputs[top])
            if self.head:
                logits, probs = self.result(outputs[-1])
                out["logits"].append(logits)
                out["probs"].append(probs)
        return out, states


# ---- Cases ----

DENSE = {"kind": "dense", "size": 4}
IDS = {"kind": "embedding", "size": 9, "dim": 5}
SOFTMAX = {"size": 9, "bias": True, "activation": "softmax"}


def cell(kind, hidden=7, layers=1, **settings):
    return {"cell": kind, "hidden_size": hidden, "num_layers": layers, **settings}


def rnn_with(kind, **shape):
    return {"input": DENSE, "rnn": cell("rnn", activation={"kind": kind, **shape} if shape else kind)}


CASES = {
    "gru-before": {"input": IDS, "rnn": cell("gru", 20, 2, reset="before"), "head": SOFTMAX},
    "gru-before-relu-clip": {"input": DENSE, "rnn": cell("gru", 17, reset="before", clip=0.5,
                             activation="relu", gate_activation="hard_sigmoid")},
    "gru-softsign": {"input": DENSE, "rnn": cell("gru", 18, activation="softsign",
                     gate_activation="hard_sigmoid6")},
    "gru-clip": {"input": IDS, "rnn": cell("gru", clip=0.3)},
    "lstm-peepholes": {"input": IDS, "rnn": cell("lstm", 19, 2, peepholes=True), "head": SOFTMAX},
    "lstm-peepholes-forget-clip": {"input": DENSE, "rnn": cell("lstm", peepholes=True, input_forget=True,
                                   clip=0.4)},
    "lstm-input-forget": {"input": DENSE, "rnn": cell("lstm", 2, input_forget=True)},
    "lstm-activations": {"input": DENSE, "rnn": cell("lstm", 33, proj_size=6, activation="elu",
                         gate_activation="hard_sigmoid", output_activation="softsign")},
    "lstm-one-activation": {"input": DENSE, "rnn": cell("lstm", activation={"kind": "scaled_tanh",
                            "alpha": 1.7159, "beta": 0.6667})},
    "lstm-clip": {"input": IDS, "rnn": cell("lstm", clip=0.25), "head": SOFTMAX},
    "lstm-learned": {"input": IDS, "rnn": cell("lstm", 7, 2, proj_size=3, initial_state="learned")},
    "gru-learned": {"input": DENSE, "rnn": cell("gru", 7, 2, initial_state="learned")},
    "rnn-tanh-clip": {"input": DENSE, "rnn": cell("rnn_tanh", clip=0.5)},
    "rnn-tanh": rnn_with("tanh"),
    "rnn-relu": rnn_with("relu"),
    "rnn-sigmoid": rnn_with("sigmoid"),
    "rnn-linear": rnn_with("linear", alpha=0.5, beta=-0.25),
    "rnn-hard-sigmoid": rnn_with("hard_sigmoid"),
    "rnn-leaky-relu": rnn_with("leaky_relu"),
    "rnn-leaky-relu-steep": rnn_with("leaky_relu", alpha=0.3),
    "rnn-thresholded-relu": rnn_with("thresholded_relu", alpha=0.2),
    "rnn-elu": rnn_with("elu", alpha=0.6),
    "rnn-softsign": rnn_with("softsign"),
    "residual-gru": {"input": IDS, "rnn": cell("gru", 5, 3, residual=True), "head": SOFTMAX},
    "residual-wider": {"input": DENSE, "rnn": cell("lstm", 6, 3, residual=True)},
    "layers-regression": {
        "input": {**DENSE, "normalize": True},
        "layers": [{"kind": "dense", "size": 20, "activation": "relu"},
                   {"kind": "affine"},
                   {"kind": "rnn", **cell("lstm", 18, peepholes=True)},
                   {"kind": "layer_norm"},
                   {"kind": "rnn", **cell("gru", 18, reset="before", residual=True)},
                   {"kind": "dense", "size": 18, "activation": "tanh", "residual": True},
                   {"kind": "layer_norm", "epsilon": 0.01}],
        "head": {"size": 3, "bias": True, "activation": "none", "denormalize": True}},
    "layers-feedforward": {
        "input": DENSE,
        "layers": [{"kind": "dense", "size": 12, "activation": {"kind": "elu", "alpha": 0.5}},
                   {"kind": "affine"},
                   {"kind": "dense", "size": 5}],
        "head": {"size": 4, "bias": True, "activation": "softmax"}},
}


def write_case(out, seed, name, case):
    rng = np.random.default_rng(seed)
    config = {"name": name, "topology": "synced", "head": None, **case}
    model = Model(rng, config)
    dense = config["input"]["kind"] == "dense"
    if dense:
        inputs = rng.normal(size=(SEQUENCES, STEPS, config["input"]["size"])).astype(np.float32)
    else:
        inputs = rng.integers(config["input"]["size"], size=(SEQUENCES, STEPS))
    results = [model.run(x) for x in inputs]
    run = {"kind": "batch", "input" if dense else "input_ids":
           folder.numbers(inputs) if dense else inputs.tolist()}
    for key in ("output", "logits", "probs"):
        values = [r[0][key] for r in results]
        if values[0]:
            run[key] = folder.numbers(values)
    specs = [spec for kind, spec, _ in model.layers if kind == "rnn"]
    for which, key in enumerate(("h_n", "c_n")):
        layers = [k for k, spec in enumerate(specs) if which == 0 or spec["cell"] == "lstm"]
        if layers and len(layers) == len(specs):
            run[key] = [[folder.numbers(r[1][k][which]) for r in results] for k in layers]
    folder.write(os.path.join(out, name), config, model.tensors, [run], "make_cells.py")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for seed, (name, case) in enumerate(CASES.items()):
        write_case(sys.argv[1], 3000 + seed, name, case)


main()
