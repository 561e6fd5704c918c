#!/usr/bin/python3
"""Makes the files of tests/import/onnx: small models as PyTorch's exporter writes them, graphs as tf2onnx writes them, and
one for every attribute of RNN, LSTM and GRU, each with the outputs that ONNX Runtime computes.

    ONNXRUNTIME_NODE=DIR/node_modules/onnxruntime-node /usr/bin/python3 make_onnx.py onnx

Debian's python3-torch 1.13, python3-onnx 1.12 and python3-numpy; npm's onnxruntime-node 1.x.

NAME.onnx    the file
NAME.json    {"options", "input", "output": for --expect, "config": what it must find}
bad/NAME.onnx, bad/NAME.txt    a file that is refused, and words of the refusal

ONNX Runtime refuses layout 1: such a file's outputs are those of its twin in layout 0, of the same weights.  What a graph gives
as log-probabilities is kept as probabilities, which is what is served."""
import io
import itertools
import json
import os
import subprocess
import sys
import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
V, E, H, F = 11, 4, 5, 3
IDS = [3, 1, 4, 1, 5, 9, 2]
rng = np.random.default_rng(7)


def plain(number):
    return float("%.9g" % number)


def nested(array):
    return [nested(a) for a in array] if array.ndim else (int(array) if array.dtype.kind == "i" else plain(array))


class Maker:
    """Collects files and what is to be run, then runs it all at once."""

    def __init__(self, folder):
        self.folder = folder
        self.jobs = []
        os.makedirs(os.path.join(folder, "bad"), exist_ok=True)

    def add(self, name, model, feeds, pick, source, options=(), config=None, twin=None, log=False):
        """`feeds`: inputs of the graph; `pick`: its output → what --expect has; `source`: --expect's input."""
        data = model if isinstance(model, bytes) else model.SerializeToString()
        path = os.path.join(self.folder, name + ".onnx")
        with open(path, "wb") as f:
            f.write(data)
        file = os.path.abspath(path)
        if twin is not None:
            file = os.path.abspath(os.path.join(self.folder, name + ".twin"))
            with open(file, "wb") as f:
                f.write(twin.SerializeToString())
        inputs = {k: {"type": {"i8": "int64", "i4": "int32", "f4": "float32"}[v.dtype.str[1:]], "dims": v.shape,
                      "data": v.ravel().tolist()} for k, v in feeds.items()}
        self.jobs.append((name, {"file": file, "inputs": inputs}, pick, nested(source), list(options), config or {}, log))

    def bad(self, name, model, words):
        data = model if isinstance(model, bytes) else model.SerializeToString()
        with open(os.path.join(self.folder, "bad", name + ".onnx"), "wb") as f:
            f.write(data)
        with open(os.path.join(self.folder, "bad", name + ".txt"), "w") as f:
            f.write(words + "\n")

    def finish(self):
        run = subprocess.run(["node", os.path.join(HERE, "onnx_reference.js")], input=json.dumps([j[1] for j in self.jobs]),
                             capture_output=True, text=True, check=True)
        for (name, job, pick, source, options, config, log), found in zip(self.jobs, json.loads(run.stdout)):
            if job["file"].endswith(".twin"):
                os.unlink(job["file"])
            if "error" in found:
                sys.exit(f"{name}: {found['error']}")
            arrays = {k: np.array(v["data"], "f4").reshape([int(d) for d in v["dims"]]) for k, v in found.items()}
            output = pick(arrays)
            output = np.exp(output) if log else output
            with open(os.path.join(self.folder, name + ".json"), "w") as f:
                json.dump({"options": options, "input": source, "output": nested(output.astype("f8")), "config": config}, f)
                f.write("\n")


# ---- PyTorch's exporter


class Net(nn.Module):
    def __init__(self, cell, kind, head, pick, **kw):
        super().__init__()
        self.first = {"embedding": lambda: nn.Embedding(V, E), "dense": nn.Identity}[kind]()
        self.rnn = cell(E if kind == "embedding" else F, H, **kw)
        width = H * (2 if kw.get("bidirectional") else 1)
        self.out = nn.Linear(width, V) if head != "none" else nn.Identity()
        self.head, self.pick = head, pick

    def forward(self, x, *state):
        lstm = isinstance(self.rnn, nn.LSTM)
        state = None if not state else state if lstm else state[0]
        y, last = self.rnn(self.first(x), state)
        h = last[0] if lstm else last
        if self.pick == "last":
            y = y[:, -1] if self.rnn.batch_first else y[-1]
        elif self.pick == "final":
            y = torch.cat((h[-2], h[-1]), 1) if self.rnn.bidirectional else h[-1]
        elif self.pick == "mean":
            y = y.mean(1 if self.rnn.batch_first else 0)
        y = self.out(y)
        if self.head == "softmax":
            y = torch.softmax(y, -1)
        elif self.head == "log_softmax":
            y = torch.log_softmax(y, -1)
        elif self.head == "sigmoid":
            y = torch.sigmoid(y)
        return y if state is None else (y, *(last if lstm else (last,)))


def export(model, args, names, outputs, dynamic, opset=13, **kw):
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, args, out, input_names=names, output_names=outputs, opset_version=opset,
                          dynamic_axes=dynamic, **kw)
    return out.getvalue()


def make_torch(m, name, cell, kind="embedding", head="linear", pick="all", states=False, first=True, dynamic=True, opset=13,
               options=(), layers=1, both=False, **kw):
    net = Net(cell, kind, head, pick, num_layers=layers, bidirectional=both, batch_first=first, **kw).eval()
    x = torch.tensor([IDS]) if kind == "embedding" else torch.randn(1, len(IDS), F)
    if not first:
        x = x.transpose(0, 1).contiguous()
    n = layers * (2 if both else 1)
    state = [torch.zeros(n, 1, H)] * (0 if not states else 2 if cell is nn.LSTM else 1)
    names = ["x", "h0", "c0"][:1 + len(state)]
    axes = {"x": {0: "b", 1: "t"} if first else {0: "t", 1: "b"}, **{s: {1: "b"} for s in names[1:]}}
    data = export(net, (x, *state), names, ["y", "hn", "cn"][:1 + len(state)], axes if dynamic else None, opset)
    feeds = dict(zip(names, [t.numpy() for t in (x, *state)]))
    time = 1 if first else 0
    source = x.numpy()[0] if first else x.numpy()[:, 0]

    def choose(found):
        y = found["y"]
        return y.take(0, 1 - time) if pick == "all" else y
    bidirectional = {"bidirectional": both, "num_layers": layers, "hidden_size": H}
    m.add(name, data, feeds, choose, source, options,
          {"topology": "synced" if pick == "all" else "many_to_one"}, log=head == "log_softmax")
    m.jobs[-1][5]["rnn"] = bidirectional


CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def make_grid(m):
    """Cells × layers × directions × layouts, with and without states; kinds of heads and inputs are dealt out among them."""
    heads = itertools.cycle(["linear", "softmax", "log_softmax", "none", "sigmoid"])
    kinds = itertools.cycle(["embedding", "dense", "embedding"])
    dynamics = itertools.cycle([True, False])
    for cell, layers, both, first, states in itertools.product(CELLS, (1, 2), (False, True), (False, True), (False, True)):
        name = f"torch-{cell}-l{layers}-{'bi' if both else 'uni'}-{'bt' if first else 'tb'}-{'state' if states else 'zero'}"
        make_torch(m, name, CELLS[cell], next(kinds), next(heads), layers=layers, both=both, first=first, states=states,
                   dynamic=next(dynamics))


def make_picks(m):
    for cell, both, pick in itertools.product(CELLS, (False, True), ("last", "final", "mean")):
        make_torch(m, f"torch-{cell}-{'bi' if both else 'uni'}-{pick}", CELLS[cell], "dense", "softmax", pick, both=both,
                   dynamic=cell != "gru", layers=2 if cell == "lstm" else 1)
    make_torch(m, "torch-relu", nn.RNN, nonlinearity="relu")
    make_torch(m, "torch-nobias", nn.LSTM, bias=False)
    for opset in (9, 11, 12, 16):
        make_torch(m, f"torch-opset{opset}", nn.GRU, opset=opset, both=opset == 12, head="softmax")


class Deep(nn.Module):
    """a batch norm, two kinds of recurrent layers, a dense layer between, dropout"""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(F)
        self.gru = nn.GRU(F, 6, batch_first=True)
        self.fc1 = nn.Linear(6, 4)
        self.drop = nn.Dropout(0.5)
        self.lstm = nn.LSTM(4, H, batch_first=True)
        self.fc2 = nn.Linear(H, 2)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(self.norm.weight)
        nn.init.uniform_(self.norm.bias)

    def forward(self, x):
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        x = self.drop(torch.relu(self.fc1(self.gru(x)[0])))
        return self.fc2(self.lstm(x)[0])


class Learned(nn.Module):
    """an initial state that has been learned, made as large as the batch"""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(F, H, 2, batch_first=True)
        self.h = nn.Parameter(torch.randn(2, 1, H))
        self.c = nn.Parameter(torch.randn(2, 1, H))

    def forward(self, x):
        b = x.size(0)
        return self.rnn(x, (self.h.expand(-1, b, -1).contiguous(), self.c.repeat(1, b, 1)))[0]


class Step(nn.Module):
    """one step of a stream: ids [batch], states in and out"""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(V, E)
        self.rnn = nn.GRU(E, H, 2)
        self.out = nn.Linear(H, V)

    def forward(self, x, h):
        y, h = self.rnn(self.emb(x).unsqueeze(0), h)
        return self.out(y.squeeze(0)), h


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.LSTM(F, F, batch_first=True)
        self.b = nn.GRU(F, F, batch_first=True)
        self.fc = nn.Linear(F, F)
        self.out = nn.Linear(F, 2)

    def forward(self, x):
        x = x + self.a(x)[0]
        x = self.b(x)[0] + x
        x = x + torch.tanh(self.fc(x))
        return torch.tanh(self.out(x))


class Normal(nn.Module):
    """layer normalisations, which this version of the exporter writes out, of steps and of what was read out of them"""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(F, H, bidirectional=True, batch_first=True)
        self.low = nn.LayerNorm(2 * H)
        self.up = nn.LSTM(2 * H, H, batch_first=True)
        self.high = nn.LayerNorm(H, eps=1e-3)
        self.out = nn.Linear(H, 3)
        for norm in (self.low, self.high):
            nn.init.uniform_(norm.weight)
            nn.init.uniform_(norm.bias)

    def forward(self, x):
        y, (h, _) = self.up(self.low(self.rnn(x)[0]))
        return self.out(self.high(h[-1]))


class Manual(nn.Module):
    """zeros for the first state, made of the input's size; the last step taken before the linear layer's twin above it"""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(V, E)
        self.rnn = nn.LSTM(E, H, 2)
        self.out = nn.Linear(H, 4)

    def forward(self, x):
        x = x.t()
        h = torch.zeros(2, x.size(1), H)
        y, _ = self.rnn(self.emb(x), (h, h))
        y = self.out(y.view(y.size(0) * y.size(1), H)).view(y.size(0), y.size(1), 4)
        return torch.log_softmax(y[-1], 1)


def make_modules(m):
    x = torch.randn(1, len(IDS), F)
    feeds = {"x": x.numpy()}
    axes = {"x": {0: "b", 1: "t"}}
    for name, net in (("torch-deep", Deep()), ("torch-learned", Learned()), ("torch-residual", Residual())):
        m.add(name, export(net.eval(), (x,), ["x"], ["y"], axes), feeds, lambda f: f["y"][0], x[0].numpy())
    ids = torch.tensor([IDS])
    m.add("torch-manual", export(Manual().eval(), (ids,), ["x"], ["y"], axes), {"x": ids.numpy()}, lambda f: f["y"],
          ids[0].numpy(), log=True, config={"topology": "many_to_one"})
    net = Step().eval()
    data = export(net, (ids[0, :1], torch.zeros(2, 1, H)), ["x", "h"], ["y", "hn"], {"x": {0: "b"}, "h": {1: "b"}})
    m.add("torch-step", data, {"x": ids[0, :1].numpy(), "h": np.zeros((2, 1, H), "f4")}, lambda f: f["y"],
          ids[0, :1].numpy(), config={"topology": "synced"})
    m.add("torch-norm", export(Normal().eval(), (x,), ["x"], ["y"], axes), feeds, lambda f: f["y"], x[0].numpy(),
          config={"topology": "many_to_one"})


# ---- Graphs by hand


def weights(*shape):
    return rng.uniform(-0.6, 0.6, shape).astype("f4")


class Graph:
    def __init__(self, opset=13):
        self.nodes, self.constants, self.opset = [], [], opset

    def const(self, name, array, node=False):
        """An initializer, or a Constant node."""
        if node:
            self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(array))))
        else:
            self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def ints(self, name, *values):
        return self.const(name, np.array(values, "i8"))

    def node(self, op, inputs, outputs, **attributes):
        name = attributes.pop("name", f"{op.lower()}_{len(self.nodes)}")
        outputs = [outputs] if isinstance(outputs, str) else outputs
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return outputs[0]

    def model(self, inputs, outputs, extra=()):
        """inputs: {name: (type, shape)}; outputs: names."""
        ins = [helper.make_tensor_value_info(k, t, s) for k, (t, s) in inputs.items()]
        outs = [helper.make_tensor_value_info(k, TensorProto.FLOAT, None) for k in outputs]
        graph = helper.make_graph(self.nodes, "g", ins, outs, self.constants)
        return helper.make_model(graph, producer_name="by hand", ir_version=7,
                                 opset_imports=[helper.make_opsetid("", self.opset), *extra])


GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FLOATS = (TensorProto.FLOAT, ["t", "b", F])


def recurrent(g, op, x, name="", dirs=1, reads=F, hidden=H, bias=True, state=None, peepholes=False, lengths="", node=False, **a):
    n = GATES[op]
    ins = [x, g.const(name + "W", weights(dirs, n * hidden, reads), node), g.const(name + "R", weights(dirs, n * hidden, hidden), node),
           g.const(name + "B", weights(dirs, 2 * n * hidden), node) if bias else "", lengths]
    if state == "constant":
        shape = (dirs, 1, hidden) if not a.get("layout") else (1, dirs, hidden)
        ins += [g.const(name + s, weights(*shape)) for s in ("h0", "c0")[:2 if op == "LSTM" else 1]]
    elif state:
        ins += state
    if peepholes:
        ins += [""] * (7 - len(ins)) + [g.const(name + "P", weights(dirs, 3 * hidden))]
    while ins[-1] == "":
        ins.pop()
    g.node(op, ins, [name + "Y", name + "Yh", name + "Yc"][:3 if op == "LSTM" else 2], name=name + op, hidden_size=hidden, **a)
    return name + "Y"


def sequence(steps=6):
    return rng.uniform(-1, 1, (steps, 1, F)).astype("f4")


def merged(g, y, dirs=1):
    """[T, D, B, H] → [T, B, D H]"""
    if dirs == 1:
        return g.node("Squeeze", [y, g.ints("one", 1)], "out")
    g.node("Transpose", [y], "turned", perm=[0, 2, 1, 3])
    return g.node("Reshape", ["turned", g.ints("shape", 0, 0, -1)], "out")


ATTRIBUTES = {
    "rnn-relu": ("RNN", {"activations": ["Relu"]}),
    "rnn-affine": ("RNN", {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.25]}),
    "rnn-leaky": ("RNN", {"activations": ["LeakyRelu"], "activation_alpha": [0.2]}),
    "rnn-leaky-default": ("RNN", {"activations": ["LeakyRelu"]}),
    "rnn-thresholded": ("RNN", {"activations": ["ThresholdedRelu"], "activation_alpha": [0.3]}),
    "rnn-scaled": ("RNN", {"activations": ["ScaledTanh"], "activation_alpha": [1.5], "activation_beta": [0.5]}),
    "rnn-hard": ("RNN", {"activations": ["HardSigmoid"], "activation_alpha": [0.3], "activation_beta": [0.4]}),
    "rnn-elu": ("RNN", {"activations": ["Elu"], "activation_alpha": [0.7]}),
    "rnn-softsign": ("RNN", {"activations": ["Softsign"]}),
    "rnn-clip": ("RNN", {"clip": 0.2}),
    "rnn-reverse": ("RNN", {"direction": "reverse"}),
    "lstm-activations": ("LSTM", {"activations": ["HardSigmoid", "Softsign", "ScaledTanh"], "activation_alpha": [0.25, 1.25],
                                  "activation_beta": [0.45, 0.75]}),
    "lstm-hard-default": ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Tanh"]}),
    "lstm-clip": ("LSTM", {"clip": 0.3}),
    "lstm-coupled": ("LSTM", {"input_forget": 1}),
    "lstm-peepholes": ("LSTM", {"peepholes": True}),
    "lstm-all": ("LSTM", {"peepholes": True, "input_forget": 1, "clip": 0.5, "direction": "bidirectional", "state": "constant",
                          "activations": ["Sigmoid", "Relu", "Tanh"] * 2}),
    "lstm-reverse": ("LSTM", {"direction": "reverse", "peepholes": True, "state": "constant"}),
    "lstm-initial": ("LSTM", {"state": "constant"}),
    "lstm-nobias": ("LSTM", {"bias": False}),
    "lstm-layout": ("LSTM", {"layout": 1, "state": "constant"}),
    "gru-before": ("GRU", {"linear_before_reset": 0}),
    "gru-after": ("GRU", {"linear_before_reset": 1}),
    "gru-activations": ("GRU", {"activations": ["HardSigmoid", "LeakyRelu"] * 2, "activation_alpha": [0.3, 0.1] * 2,
                                "activation_beta": [0.4] * 2, "direction": "bidirectional", "linear_before_reset": 1}),
    "gru-clip": ("GRU", {"clip": 0.25, "linear_before_reset": 1}),
    "gru-clip-before": ("GRU", {"clip": 0.25, "direction": "bidirectional"}),
    "gru-reverse": ("GRU", {"direction": "reverse", "state": "constant"}),
    "gru-layout": ("GRU", {"layout": 1, "direction": "bidirectional", "state": "constant", "linear_before_reset": 1}),
    "rnn-layout": ("RNN", {"layout": 1}),
}


def attribute_model(op, settings, layout, arrays):
    """The same weights in either layout."""
    g = Graph(14)
    settings = dict(settings)
    dirs = 2 if settings.get("direction") == "bidirectional" else 1
    if layout is not None:
        settings["layout"] = layout
    x = g.node("Identity", ["x"], "x0")
    if layout == 0:  # the twin: turned around the node
        x = g.node("Transpose", ["x0"], "xt", perm=[1, 0, 2])
    y = recurrent(g, op, x, dirs=dirs, **settings)
    for c in g.constants:  # take over the weights, and the state in the other layout
        if c.name in arrays:
            value = arrays[c.name]
            c.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value.swapaxes(0, 1)) if layout == 0 and c.name in ("h0", "c0")
                                               else value, c.name))
        else:
            arrays[c.name] = numpy_helper.to_array(c)
    if layout == 1:  # [B, T, D, H]
        g.node("Reshape", [y, g.ints("shape", 0, 0, -1)], "out")
    else:
        merged(g, y, dirs)
        if layout == 0:
            g.node("Transpose", ["out"], "back", perm=[1, 0, 2])
    return g.model({"x": FLOATS if layout is None else (TensorProto.FLOAT, ["b", "t", F])}, ["back" if layout == 0 else "out"])


def make_attributes(m):
    for name, (op, settings) in ATTRIBUTES.items():
        arrays, x = {}, sequence()
        if settings.get("layout"):
            x = np.ascontiguousarray(x.swapaxes(0, 1))
            model = attribute_model(op, settings, 1, arrays)
            twin = attribute_model(op, {k: v for k, v in settings.items() if k != "layout"}, 0, arrays)
            m.add("attr-" + name, model, {"x": x}, lambda f: f["back"][0], x[0], twin=twin)
        else:
            m.add("attr-" + name, attribute_model(op, settings, None, arrays), {"x": x}, lambda f: f["out"][:, 0], x[:, 0])


def initial_zeros(g, x, hidden, dirs=1):
    """As tf2onnx does: the batch cut out of Shape, a shape put together, ConstantOfShape."""
    g.node("Shape", [x], "s0")
    g.node("Cast", ["s0"], "s1", to=TensorProto.INT32)
    g.node("Slice", ["s1", g.ints("z", 0), g.ints("o", 1), g.ints("z2", 0)], "s2")
    g.node("Cast", ["s2"], "s3", to=TensorProto.INT64)
    g.node("Concat", [g.ints("d", dirs), "s3", g.ints("h", hidden)], "s4", axis=0)
    return g.node("ConstantOfShape", ["s4"], "s5", value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.0]))


def make_keras(m):
    """As tf2onnx writes Keras' models: [batch, time] in, Transpose before and behind."""
    ids = np.array([IDS], "i4")
    g = Graph()
    g.node("Cast", ["x"], "ids", to=TensorProto.INT32)
    g.node("Gather", [g.const("table", weights(V, E)), "ids"], "e", axis=0)
    g.node("Transpose", ["e"], "et", perm=[1, 0, 2])
    zeros = initial_zeros(g, "e", H)
    recurrent(g, "LSTM", "et", reads=E, state=[zeros, zeros])
    g.node("Squeeze", ["Yh", g.ints("sq", 0)], "last")
    g.node("MatMul", ["last", g.const("k", weights(H, V))], "mm")
    g.node("Add", ["mm", g.const("b", weights(V))], "logits")
    g.node("Softmax", ["logits"], "out", axis=-1)
    m.add("keras-text", g.model({"x": (TensorProto.FLOAT, ["b", "t"])}, ["out"]), {"x": ids.astype("f4")}, lambda f: f["out"],
          ids[0].astype("i8"), config={"topology": "many_to_one", "input": {"kind": "embedding", "size": V, "dim": E}})

    x = np.ascontiguousarray(sequence().swapaxes(0, 1))
    batch_first = {"x": (TensorProto.FLOAT, ["b", "t", F])}
    g = Graph()
    g.node("Transpose", ["x"], "xt", perm=[1, 0, 2])
    recurrent(g, "GRU", "xt", linear_before_reset=1, activations=["HardSigmoid", "Relu"], activation_alpha=[0.2], activation_beta=[0.5])
    g.node("Squeeze", ["Y", g.ints("sq", 1)], "y")
    g.node("Transpose", ["y"], "yt", perm=[1, 0, 2])
    # Dense on three dimensions, as Tensordot: all but the features in one
    g.node("Shape", ["yt"], "s0")
    g.node("Gather", ["s0", g.ints("lead", 0, 1)], "outer", axis=0)
    g.node("Reshape", ["yt", g.ints("flat", -1, H)], "rows")
    g.node("MatMul", ["rows", g.const("k", weights(H, 4))], "mm")
    g.node("Concat", ["outer", g.ints("four", 4)], "s1", axis=0)
    g.node("Reshape", ["mm", "s1"], "yd")
    g.node("Add", ["yd", g.const("b", weights(4))], "pre")
    g.node("Sigmoid", ["pre"], "out")
    m.add("keras-tagger", g.model(batch_first, ["out"]), {"x": x}, lambda f: f["out"][0], x[0],
          config={"topology": "synced", "head": {"size": 4, "bias": True, "tied": False, "activation": "sigmoid"}})

    # Bidirectional(return_sequences=False): the two final states, cut apart and joined
    g = Graph()
    g.node("Transpose", ["x"], "xt", perm=[1, 0, 2])
    recurrent(g, "LSTM", "xt", dirs=2, direction="bidirectional")
    g.node("Slice", ["Yh", g.ints("a0", 0), g.ints("a1", 1), g.ints("ax", 0)], "fw")
    g.node("Slice", ["Yh", g.ints("b0", 1), g.ints("b1", 2), g.ints("bx", 0)], "bw")
    g.node("Squeeze", ["fw", g.ints("s", 0)], "fws")
    g.node("Squeeze", ["bw", g.ints("s2", 0)], "bws")
    g.node("Concat", ["fws", "bws"], "both", axis=-1)
    g.node("Gemm", ["both", g.const("k", weights(2, 2 * H)), g.const("b", weights(2))], "out", transB=1)
    m.add("keras-bidirectional", g.model(batch_first, ["out"]), {"x": x}, lambda f: f["out"], x[0])

    # two nodes, one of which reads the sequence turned around, as an exporter that fuses nothing writes it
    for merge in ("Concat", "Add", "Mul"):
        g = Graph()
        g.node("Transpose", ["x"], "xt", perm=[1, 0, 2])
        recurrent(g, "GRU", "xt", "f_")
        g.node("Slice", ["xt", g.ints("m1", -1), g.ints("far", -2**63), g.ints("ax", 0), g.ints("st", -1)], "flip")
        recurrent(g, "GRU", "flip", "b_")
        g.node("Squeeze", ["f_Y", g.ints("q", 1)], "fy")
        g.node("Squeeze", ["b_Y", g.ints("q2", 1)], "by")
        g.node("Slice", ["by", g.ints("m2", -1), g.ints("far2", -2**63), g.ints("ax2", 0), g.ints("st2", -1)], "byf")
        g.node(merge, ["fy", "byf"], "both", **({"axis": 2} if merge == "Concat" else {}))
        g.node("Transpose", ["both"], "out", perm=[1, 0, 2])
        m.add(f"keras-two-{merge.lower()}", g.model(batch_first, ["out"]), {"x": x}, lambda f: f["out"][0], x[0],
              config={"rnn": {"merge": {"Concat": None, "Add": "sum", "Mul": "multiply"}[merge], "bidirectional": True}})
        if merge == "Concat":  # and the last steps of each
            g.nodes.pop()
            g.node("Slice", ["fy", g.ints("l0", -1), g.ints("l1", 2**63 - 1), g.ints("lx", 0)], "f1")
            g.node("Gather", ["byf", g.ints("first", 0)], "b1", axis=0)
            g.nodes = [n for n in g.nodes if "both" not in n.output]
            g.node("Concat", ["f1", "b1"], "j", axis=2)
            g.node("Squeeze", ["j", g.ints("jq", 0)], "out")
            m.add("keras-two-last", g.model(batch_first, ["out"]), {"x": x}, lambda f: f["out"], x[0])
            # the backward one's before it is turned around again: its last is the sequence's first
            for n in g.nodes:
                if "b1" in n.output:
                    n.input[:] = ["by", "end"]
            g.ints("end", -1)
            m.add("keras-two-final", g.model(batch_first, ["out"]), {"x": x}, lambda f: f["out"], x[0],
                  config={"topology": "many_to_one", "pool": "final"})

    # the directions' average, and a layer normalisation above it; sequence lengths of the whole
    g = Graph(17)
    g.node("Transpose", ["x"], "xt", perm=[1, 0, 2])
    g.node("Shape", ["xt"], "s0")
    g.node("Gather", ["s0", g.const("zero", np.int64(0))], "t", axis=0)
    g.node("Gather", ["s0", g.ints("i1", 1)], "bb", axis=0)
    g.node("Cast", ["t"], "t32", to=TensorProto.INT32)
    g.node("Expand", ["t32", "bb"], "lens")
    recurrent(g, "LSTM", "xt", dirs=2, direction="bidirectional", lengths="lens")
    g.node("ReduceMean", ["Y"], "avg", axes=[1], keepdims=0)
    g.node("LayerNormalization", ["avg", g.const("g", weights(H)), g.const("be", weights(H))], "n")
    g.node("Mul", ["n", g.const("two", np.array(2, "f4"))], "n2")
    g.node("Sub", [g.const("three", weights(1, 1, H)), "n2"], "n3")
    g.node("Transpose", ["n3"], "out", perm=[1, 0, 2])
    m.add("keras-average", g.model(batch_first, ["out"]), {"x": x}, lambda f: f["out"][0], x[0])


def make_more(m):
    x = sequence()
    # weights put together by nodes, as an exporter that folds nothing writes them: PyTorch's order of gates, cut and joined
    g = Graph()
    w, r, b = weights(4 * H, F), weights(4 * H, H), weights(4 * H)
    for name, a in (("w", w), ("r", r), ("b", b)):
        g.const(name + "_all", a, node=True)
        for i, gate in enumerate("ifgo"):
            g.node("Slice", [name + "_all", g.ints(f"{name}{gate}0", i * H), g.ints(f"{name}{gate}1", (i + 1) * H),
                             g.ints(f"{name}{gate}x", 0)], f"{name}_{gate}")
        g.node("Concat", [f"{name}_{gate}" for gate in "iofg"], name + "_c", axis=0)
        g.node("Unsqueeze", [name + "_c", g.ints(name + "u", 0)], name.upper() + "0")
    g.node("Mul", ["B0", g.const("half", np.array(0.5, "f4"))], "Bh")
    g.node("Concat", ["Bh", "Bh"], "BB", axis=1)
    g.node("LSTM", ["x", "W0", "R0", "BB"], ["Y"], hidden_size=H, name="lstm")
    merged(g, "Y")
    m.add("folded", g.model({"x": FLOATS}, ["out"]), {"x": x}, lambda f: f["out"][:, 0], x[:, 0])

    # numbers in every place where ONNX may keep them
    for kind, proto in (("typed", TensorProto.FLOAT), ("half", TensorProto.FLOAT16), ("double", TensorProto.DOUBLE)):
        g = Graph()
        recurrent(g, "GRU", "x")
        merged(g, "Y")
        for c in g.constants:
            if c.data_type == TensorProto.FLOAT:
                a = numpy_helper.to_array(c).astype({"typed": "f4", "half": "f2", "double": "f8"}[kind])
                if kind == "typed":
                    c.CopyFrom(helper.make_tensor(c.name, proto, a.shape, a.ravel().tolist()))
                else:
                    c.CopyFrom(numpy_helper.from_array(a.astype("f4"), c.name))
        twin = g.model({"x": FLOATS}, ["out"])
        if kind != "typed":
            for c in g.constants:
                if c.data_type == TensorProto.FLOAT:
                    a = numpy_helper.to_array(c).astype({"half": "f2", "double": "f8"}[kind])
                    c.CopyFrom(numpy_helper.from_array(a, c.name))
        m.add("numbers-" + kind, g.model({"x": FLOATS}, ["out"]), {"x": x}, lambda f: f["out"][:, 0], x[:, 0], twin=twin)
    g = Graph()
    recurrent(g, "GRU", "x")
    merged(g, "Y")
    for c in g.constants:  # bfloat16: the upper half of a float
        if c.data_type == TensorProto.FLOAT:
            upper = numpy_helper.to_array(c).view("u4") >> 16
            c.CopyFrom(numpy_helper.from_array((upper << 16).astype("u4").view("f4"), c.name))
    twin = g.model({"x": FLOATS}, ["out"])
    for i, c in enumerate(g.constants):
        if c.data_type == TensorProto.FLOAT:
            upper = (numpy_helper.to_array(c).view("u4") >> 16).astype("<u2")
            c.CopyFrom(TensorProto(name=c.name, dims=c.dims, data_type=TensorProto.BFLOAT16))
            if i % 2:
                c.raw_data = upper.tobytes()
            else:
                c.int32_data.extend(upper.ravel().tolist())
    m.add("numbers-bfloat", g.model({"x": FLOATS}, ["out"]), {"x": x}, lambda f: f["out"][:, 0], x[:, 0], twin=twin)

    # data outside the file
    g = Graph()
    recurrent(g, "LSTM", "x")
    merged(g, "Y")
    twin = g.model({"x": FLOATS}, ["out"])
    blob = b"\0" * 16
    for c in g.constants:
        if c.data_type == TensorProto.FLOAT:
            raw = c.raw_data
            c.ClearField("raw_data")
            c.data_location = TensorProto.EXTERNAL
            for k, v in (("location", "outside.data"), ("offset", len(blob)), ("length", len(raw))):
                c.external_data.add(key=k, value=str(v))
            blob += raw
    with open(os.path.join(m.folder, "outside.data"), "wb") as f:
        f.write(blob)
    m.add("outside", g.model({"x": FLOATS}, ["out"]), {"x": x}, lambda f: f["out"][:, 0], x[:, 0], twin=twin)
    for name, where in (("absolute", "/etc/passwd"), ("upwards", "../outside.data"), ("folder", "a/b")):
        for c in g.constants:
            if c.data_location == TensorProto.EXTERNAL:
                c.external_data[0].value = where
        m.bad("outside-" + name, g.model({"x": FLOATS}, ["out"]), "not in the same folder; want a plain name")

    # one-hot ids; what the exporter of a model with its lengths as an input writes; IR version 3's inputs
    g = Graph()
    g.node("OneHot", ["x", g.ints("depth", V), g.const("values", np.array([0, 1], "f4"))], "hot", axis=-1)
    recurrent(g, "RNN", "hot", reads=V)
    merged(g, "Y")
    g.node("MatMul", ["out", g.const("k", weights(H, V))], "logits")
    g.node("Softmax", ["logits"], "soft", axis=2)
    g.node("Log", ["soft"], "log")
    ids = np.array([IDS], "i8").T
    m.add("onehot", g.model({"x": (TensorProto.INT64, ["t", "b"])}, ["log"]), {"x": np.ascontiguousarray(ids)},
          lambda f: f["log"][:, 0], ids[:, 0], log=True, config={"input": {"kind": "onehot", "size": V}})
    g = Graph()
    recurrent(g, "GRU", "x", lengths="lens", dirs=2, direction="bidirectional")
    merged(g, "Y", 2)
    model = g.model({"x": FLOATS, "lens": (TensorProto.INT32, ["b"])}, ["out", "Yh"])
    for c in g.constants:
        model.graph.input.append(helper.make_tensor_value_info(c.name, c.data_type, c.dims))
    m.add("lengths", model, {"x": x, "lens": np.array([len(x)], "i4")}, lambda f: f["out"][:, 0], x[:, 0])

    # a state of h and c in one, as voice activity detectors have it; an output that another is made of
    g = Graph()
    for i, s in enumerate("hc"):
        g.node("Gather", ["state", g.const(f"i{s}", np.int64(i))], f"{s}3", axis=0)
        g.node("Unsqueeze", [f"{s}3", g.ints(f"u{s}", 0)], f"{s}4")
    recurrent(g, "LSTM", "x", state=["h4", "c4"])
    g.node("Concat", ["Yh", "Yc"], "stateN", axis=0)
    merged(g, "Y")
    g.node("MatMul", ["out", g.const("k", weights(H, 2))], "mm")
    g.node("Relu", ["mm"], "relu")
    inputs = {"x": FLOATS, "state": (TensorProto.FLOAT, [2, "b", H])}
    m.add("one-state", g.model(inputs, ["out", "relu", "stateN"]), {"x": x, "state": np.zeros((2, 1, H), "f4")},
          lambda f: f["relu"][:, 0], x[:, 0])
    for n in g.nodes:
        if n.output[0] == "stateN":
            n.input[:] = ["Yc", "Yh"]
    m.bad("state-order", g.model(inputs, ["relu", "stateN"]), "its states stand in another order")


def make_bad(m):
    def simple(change=None, op="LSTM", outputs=("out",), inputs=None, **kw):
        g = Graph(kw.pop("opset", 13))
        recurrent(g, op, "x", **kw)
        merged(g, "Y", kw.get("dirs", 1))
        if change:
            outputs = change(g) or outputs
        return g.model(inputs or {"x": FLOATS}, outputs)

    def after(op, *more, **a):
        def change(g):
            g.node(op, ["out", *[g.const(f"m{i}", c) if not isinstance(c, str) else c for i, c in enumerate(more)]], "z", **a)
            return ["z"]
        return change

    m.bad("conv", simple(after("Conv", weights(2, H, 1), name="front")), "'front' (Conv): an operator that is not read")
    m.bad("domain", simple(after("Swish", domain="com.example", name="own")), "(Swish): an operator of 'com.example', not of ONNX")
    body = helper.make_graph([helper.make_node("Identity", ["out"], ["q"])], "b", [], [helper.make_tensor_value_info("q", 1, None)])
    m.bad("if", simple(lambda g: [g.node("If", [g.const("c", np.array(True))], "z", then_branch=body, else_branch=body, name="choice")]),
          "'choice' (If): an operator with a graph of its own")
    m.bad("softplus", simple(op="RNN", activations=["Softplus"]), "activation 'Softplus' is not read")
    m.bad("affine", simple(op="RNN", activations=["Affine"]), "wants its activation_alpha and activation_beta")
    m.bad("two-activations", simple(op="RNN", dirs=2, direction="bidirectional", activations=["Tanh", "Relu"]),
          "its two directions have different activations")
    m.bad("backwards-sigmoid", simple(op="RNN", direction="reverse", activations=["Sigmoid"]), "an activation that is not 0 at 0")
    m.bad("first-step", simple(after("Gather", np.int64(0), axis=0)), "it reads the first step")
    m.bad("middle-step", simple(after("Gather", np.int64(2), axis=0)), "it takes a step that is neither the first nor the last")
    m.bad("several-steps", simple(after("Slice", np.array([-3]), np.array([2**63 - 1]), np.array([0]))), "it takes several of the steps")
    m.bad("part-of-features", simple(after("Slice", np.array([0]), np.array([2]), np.array([2]))), "it takes a part of the features")
    m.bad("softmax-axis", simple(after("Softmax", axis=0)), "its axis is not that of the features")
    m.bad("mixing", simple(after("Reshape", np.array([-1, 2 * H]))), "it does not keep steps, batch and features apart")
    m.bad("fixed-window", simple(lambda g: [g.node("MatMul", [g.node("Flatten", ["out"], "f", axis=0), g.const("k", weights(6 * H, 2))], "z")]),
          "it does not act on the features")
    m.bad("cell-state", simple(outputs=("Yc",)), "it reads the cell state")
    m.bad("one-direction", simple(lambda g: [g.node("Gather", ["Y", g.const("i", np.int64(0))], "z", axis=1)], dirs=2,
                                  direction="bidirectional"), "one direction of a layer without the other")
    m.bad("no-layer", Graph().model({"x": FLOATS}, ["x"]), "there is no RNN, LSTM or GRU")
    m.bad("batch-as-time", simple(lambda g: (g.node("Transpose", ["out"], "t", perm=[1, 0, 2]), recurrent(g, "GRU", "t", "b_", reads=H),
                                             ["b_Y"])[-1]), "it steps along another axis than the layers before it")
    m.bad("two-inputs", simple(lambda g: [g.node("Add", ["out", "side"], "z")], inputs={"x": FLOATS, "side": (TensorProto.FLOAT, ["t", "b", H])}),
          "it reads a second input, 'side'")
    m.bad("two-heads", simple(lambda g: [g.node("MatMul", ["out", g.const("ka", weights(H, 2))], "za"),
                                         g.node("MatMul", ["out", g.const("kb", weights(H, 2))], "zb")]), "a second head beside another")
    m.bad("softmax-inside", simple(lambda g: [g.node("MatMul", [g.node("Softmax", ["out"], "s", axis=2), g.const("k", weights(H, 2))], "z")]),
          "a softmax that is not the last of the model")
    m.bad("shape-of-w", simple(lambda g: [c.CopyFrom(numpy_helper.from_array(weights(1, 4 * H + 1, F), "W")) for c in g.constants
                                          if c.name == "W"] and None), "they do not fit")
    m.bad("wide-x", simple(inputs={"x": (TensorProto.FLOAT, ["t", "b", F + 1])}), f"its W wants {F} features")
    m.bad("no-order", simple(lambda g: g.nodes.reverse()), "nothing before it gives its input")
    m.bad("twice", simple(lambda g: g.node("Identity", ["x"], "Y") and None), "two values of the graph are called 'Y'")
    m.bad("random-state", simple(state=["rnd"], op="GRU", change=lambda g: g.nodes.insert(0, helper.make_node(
        "RandomNormal", [], ["rnd"], shape=[1, 1, H], name="dice"))), "'dice' (RandomNormal): an operator that is not read")
    m.bad("unknown-attribute", simple(cell_clip=1.0), "attribute 'cell_clip' is not known")
    m.bad("no-shape", simple(inputs={"x": (TensorProto.FLOAT, None)}), "input 'x' of the graph does not say how many dimensions")
    m.bad("strings", simple(lambda g: g.constants.append(helper.make_tensor("s", TensorProto.STRING, [1], [b"a"])) or
                            [g.node("Add", ["out", "s"], "z")]), "tensor 's': elements of type string are not read")


def make_bad_moments(m):
    g = Graph()
    recurrent(g, "GRU", "x")
    merged(g, "Y")
    g.node("ReduceMean", ["out"], "mean", axes=[-1])
    g.node("Sub", ["out", "mean"], "z")
    m.bad("centred", g.model({"x": FLOATS}, ["z"]), "output 'z': it reads what is no output of a layer")


def make_node_tests(m):
    """ONNX's own tests of the operators, with W, R, B, states and peepholes as constants; what comes out is theirs."""
    nodes = "/usr/share/libonnx-testdata/data/node"
    for kind in ("gru", "lstm", "rnn", "simple_rnn"):
        for test in sorted(t for t in os.listdir(nodes) if t.startswith(f"test_{kind}_")):
            model = onnx.load(os.path.join(nodes, test, "model.onnx"))
            node, data = model.graph.node[0], os.path.join(nodes, test, "test_data_set_0")

            def load(path):
                with open(os.path.join(data, path), "rb") as f:
                    return numpy_helper.to_array(onnx.load_tensor(f))
            values = {n: load(f"input_{i}.pb") for i, n in enumerate(n for n in node.input if n)}
            outputs = {n: load(f"output_{i}.pb") for i, n in enumerate(n for n in node.output if n)}
            layout = next((a.i for a in node.attribute if a.name == "layout"), 0)
            x = values.pop("X") if "X" in values else values.pop(node.input[0])
            values.pop("sequence_lens", None)
            while len(model.graph.input) > 0:
                model.graph.input.pop()
            for i, n in enumerate(node.input):
                if n and n != node.input[0] and n not in values:
                    node.input[i] = ""
            shape = ["b", "t", x.shape[2]] if layout else ["t", "b", x.shape[2]]
            model.graph.input.append(helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, shape))
            for n, v in values.items():
                if n in node.input:
                    model.graph.initializer.append(numpy_helper.from_array(v, n))
            out = next(n for n in node.output if n)
            y = outputs[out]
            source = x if layout else x.swapaxes(0, 1)
            if y.ndim == 4:  # Y: [batch][steps][H]
                y = y[:, :, 0] if layout else y[:, :, :].swapaxes(0, 2)[:, 0]
                y = outputs[out][:, :, 0] if layout else outputs[out][:, 0].swapaxes(0, 1)
            else:  # Y_h: [batch][H]
                y = y[:, 0] if layout else y[0]
            name = "node-" + test[5:].replace("_", "-")
            with open(os.path.join(m.folder, name + ".onnx"), "wb") as f:
                f.write(model.SerializeToString())
            with open(os.path.join(m.folder, name + ".json"), "w") as f:
                json.dump({"options": [], "input": nested(source.astype("f8")), "output": nested(y.astype("f8")), "config": {}}, f)
                f.write("\n")


def main():
    m = Maker(sys.argv[1])
    torch.manual_seed(1)
    torch.set_num_threads(1)
    make_grid(m)
    make_picks(m)
    make_modules(m)
    make_attributes(m)
    make_keras(m)
    make_more(m)
    make_bad(m)
    make_bad_moments(m)
    make_node_tests(m)
    m.finish()


main()
