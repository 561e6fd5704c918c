#!/usr/bin/python3
"""Makes the files of tests/import/files: small models saved by PyTorch and NumPy in every way that people save them, each
with the outputs that PyTorch computes.

    /usr/bin/python3 make_files.py files        (Debian's python3-torch 1.13 and python3-numpy)

NAME.pt, NAME.npz    the file
NAME.json            {"options": what to say to `rnnd import`, "input", "output": for --expect, "config": what it must find}
"""
import argparse
import collections
import copy
import json
import os
import sys

import numpy as np
import torch
import torch.nn.utils.prune
from torch import nn

V, E, H = 11, 6, 8
IDS = [3, 1, 4, 1, 5, 9, 2, 6]


class CharModel(nn.Module):
    """embedding → recurrent → linear"""

    def __init__(self, cell=nn.LSTM, out=V, dtype=torch.float32, **kw):
        super().__init__()
        self.embedding = nn.Embedding(V, E)
        self.rnn = cell(E, H, batch_first=True, **kw)
        width = (kw.get("proj_size") or H) * (2 if kw.get("bidirectional") else 1)
        self.fc = nn.Linear(width, out)
        self.to(dtype)

    def forward(self, x):
        return self.fc(self.rnn(self.embedding(x))[0])


class Cells(nn.Module):
    """two LSTMCells one above the other"""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(V, E)
        self.lower = nn.LSTMCell(E, H)
        self.upper = nn.LSTMCell(H, H)
        self.out = nn.Linear(H, V)

    def forward(self, x):
        a = b = None
        rows = []
        for step in self.emb(x).unbind(1):
            a = self.lower(step, a)
            b = self.upper(a[0], b)
            rows.append(self.out(b[0]))
        return torch.stack(rows, 1)


class Deep(nn.Module):
    """a batch norm, two kinds of recurrent layers, a dense layer between, frames"""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(5)
        self.gru = nn.GRU(5, 7, batch_first=True)
        self.fc1 = nn.Linear(7, 4)
        self.lstm = nn.LSTM(4, 6, batch_first=True)
        self.fc2 = nn.Linear(6, 3)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(self.norm.weight)
        nn.init.uniform_(self.norm.bias)

    def forward(self, x):
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        x = torch.relu(self.fc1(self.gru(x)[0]))
        return self.fc2(self.lstm(x)[0])


class OneHot(nn.Module):
    """what a course on deep learning saves: no embedding, tokens beside the weights"""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(V, H, 2, batch_first=True)
        self.fc = nn.Linear(H, V)

    def forward(self, x):
        return self.fc(self.lstm(nn.functional.one_hot(x, V).to(self.fc.weight.dtype))[0])


class CharRNN(nn.Module):
    """char-rnn.pytorch: an encoder that is an embedding, a decoder that is a matrix, Python's string.printable"""

    def __init__(self, model="gru", n=100):
        super().__init__()
        self.model, self.input_size, self.hidden_size, self.output_size, self.n_layers = model, n, H, n, 2
        self.encoder = nn.Embedding(n, H)
        self.rnn = (nn.GRU if model == "gru" else nn.LSTM)(H, H, 2)
        self.decoder = nn.Linear(H, n)

    def forward(self, x):
        return self.decoder(self.rnn(self.encoder(x).transpose(0, 1))[0]).transpose(0, 1)


class Tutorial(nn.Module):
    """PyTorch's first tutorial on names: both layers read the input and the state, and there is no activation"""

    def __init__(self, reads=V, writes=4, top=False):
        super().__init__()
        self.hidden_size = H
        self.i2h = nn.Linear(reads + H, H)
        self.i2o = nn.Linear(reads + H, writes)
        self.o2o = nn.Linear(H + writes, writes) if top else None
        self.softmax = nn.LogSoftmax(dim=1)

    def forward(self, x):
        x = x if x.is_floating_point() else nn.functional.one_hot(x, V).to(self.i2h.weight.dtype)
        h, rows = torch.zeros(x.shape[0], H, dtype=x.dtype), []
        for step in x.unbind(1):
            joined = torch.cat((step, h), 1)
            h, y = self.i2h(joined), self.i2o(joined)
            rows.append(self.o2o(torch.cat((h, y), 1)) if self.o2o else y)
        return torch.stack(rows, 1)


class Halves(nn.Module):
    """the later tutorials: a plain cell of one layer over both, or of two"""

    def __init__(self, joined, f):
        super().__init__()
        self.joined, self.f = joined, f
        self.i2h = nn.Linear(V + H if joined else V, H)
        if not joined:
            self.h2h = nn.Linear(H, H)
        self.h2o = nn.Linear(H, V)

    def forward(self, x):
        x = nn.functional.one_hot(x, V).to(self.i2h.weight.dtype)
        h, rows = torch.zeros(x.shape[0], H, dtype=x.dtype), []
        for step in x.unbind(1):
            h = self.f(self.i2h(torch.cat((step, h), 1)) if self.joined else self.i2h(step) + self.h2h(h))
            rows.append(self.h2o(h))
        return torch.stack(rows, 1)


class Front(nn.Module):
    """a detector as Silero's: what stands before the cell is no part of it; a relu behind, a convolution of one step"""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(3, 5, 3)
        self.lstm_cell = nn.LSTMCell(5, 7)
        self.final_conv = nn.Conv1d(7, 1, 1)

    def forward(self, x):
        state, rows = None, []
        for step in x.unbind(1):
            state = self.lstm_cell(step, state)
            rows.append(self.final_conv(torch.relu(state[0]).unsqueeze(-1))[..., 0])
        return torch.stack(rows, 1)


class Heads(nn.Module):
    """two heads above one layer, of which one does not fit above the other"""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(V, E)
        self.gru = nn.GRU(E, H, batch_first=True)
        self.words = nn.Linear(H, V)
        self.voiced = nn.Linear(H, 1)

    def forward(self, x):
        return self.words(self.gru(self.emb(x))[0])


class Rectified(CharModel):
    """an activation without a tensor, which stands somewhere"""

    def __init__(self):
        super().__init__(nn.GRU)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.fc(self.relu(self.rnn(self.embedding(x))[0]))


class Vocabulary:
    """what torchtext keeps"""


def ids():
    return torch.tensor([IDS])


def plain(number):
    return float("%.9g" % number)


def rows(tensor):
    return [[plain(v) for v in row] for row in tensor[0].detach().double().tolist()]


class Maker:
    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def describe(self, name, model, options=(), config=None, source=None, pick=None):
        """The expected outputs: of the model in float64 with the weights as they were saved."""
        x = source if source is not None else ids()
        with torch.no_grad():
            output = copy.deepcopy(model).double().eval()(x.double() if x.is_floating_point() else x)
        output = rows(output) if pick is None else rows(output[:, pick])
        entry = {"options": list(options),
                 "input": x[0].tolist() if not x.is_floating_point() else [[plain(v) for v in r] for r in x[0].tolist()],
                 "output": output, "config": config or {}}
        with open(self.path(os.path.splitext(name)[0] + ".json"), "w") as f:
            json.dump(entry, f, indent=0)

    def save(self, name, thing, model, options=(), config=None, source=None, **how):
        torch.save(thing, self.path(name), **how)
        self.describe(name, model, options, config, source)


LSTM = {"rnn": {"cell": "lstm", "hidden_size": H, "num_layers": 1, "bidirectional": False, "bias": True, "proj_size": 0}}
GRU = {"rnn": {"cell": "gru", "hidden_size": H, "num_layers": 1, "bidirectional": False, "bias": True, "proj_size": 0}}


def vocab():
    return list("\nabcdefghij")


def adam(model):
    """An optimizer that has taken a step, so that it has moments of the weights' shapes."""
    optimizer = torch.optim.Adam(model.parameters())
    model(ids()).sum().backward()
    optimizer.step()
    return optimizer


def make_states(m):
    model = CharModel()
    m.save("state.pt", model.state_dict(), model, config=LSTM)
    m.save("legacy.pth", model.state_dict(), model, config=LSTM, _use_new_zipfile_serialization=False)
    m.save("protocol4.pt", model.state_dict(), model, config=LSTM, pickle_protocol=4)
    model = CharModel(nn.GRU, num_layers=2, bidirectional=True)
    m.save("parallel.pt", collections.OrderedDict(("module." + k, v) for k, v in model.state_dict().items()), model,
           config={"rnn": {**GRU["rnn"], "num_layers": 2, "bidirectional": True}})
    for name, dtype in (("half", torch.float16), ("bfloat16", torch.bfloat16), ("double", torch.float64)):
        model = CharModel(nn.GRU, dtype=dtype)
        m.save(f"{name}.pt", model.state_dict(), model, config=GRU)
    model = CharModel(nn.LSTM, proj_size=3)
    m.save("projected.pt", model.state_dict(), model, config={"rnn": {**LSTM["rnn"], "proj_size": 3}})


def make_views(m):
    model = CharModel(nn.GRU)
    state = model.state_dict()
    flat = torch.cat([v.reshape(-1) for v in state.values()])
    at, views = 0, collections.OrderedDict()
    for k, v in state.items():
        views[k] = flat[at:at + v.numel()].view(v.shape)
        at += v.numel()
    m.save("views.pt", views, model, config=GRU)
    m.save("views_legacy.pt", views, model, config=GRU, _use_new_zipfile_serialization=False)
    turned = collections.OrderedDict((k, v.t().contiguous().t() if v.dim() == 2 else v) for k, v in state.items())
    m.save("turned.pt", turned, model, config=GRU)


def make_checkpoints(m):
    model = CharModel()
    optimizer = adam(model)
    stoi = {c: i for i, c in enumerate(vocab())}
    m.save("checkpoint.pt", {"epoch": 7, "losses": [2.5, 1.25], "model_state_dict": model.state_dict(),
                             "optimizer_state_dict": optimizer.state_dict(), "args": argparse.Namespace(lr=0.1, units=H),
                             "stoi": stoi, "itos": {i: c for c, i in stoi.items()}}, model, config=LSTM)
    model, average = CharModel(nn.GRU), CharModel(nn.GRU)
    m.save("average.pt", {"model": model.state_dict(), "ema": average.state_dict()}, model,
           options=["--part", "model"], config=GRU)
    model = OneHot()
    m.save("course.net", {"n_hidden": H, "n_layers": 2, "state_dict": model.state_dict(), "tokens": tuple(vocab())}, model,
           config={"input": {"kind": "onehot", "size": V}})


def make_modules(m):
    model = CharModel(nn.RNN, nonlinearity="relu")
    m.save("whole.pt", model, model, config={"rnn": {**LSTM["rnn"], "cell": "rnn_relu"}})
    m.save("whole_legacy.pt", model, model, config={"rnn": {**LSTM["rnn"], "cell": "rnn_relu"}},
           _use_new_zipfile_serialization=False)
    m.save("plain.pt", model.state_dict(), model, options=["--activation", "relu"])
    model = Cells()
    m.save("cells.pt", model.state_dict(), model, config={"rnn": {**LSTM["rnn"], "num_layers": 2}})
    model = CharModel(nn.LSTM)
    model.fc = nn.Linear(H, V)
    model.rnn = nn.LSTM(E, E, batch_first=True)
    model.fc = nn.Linear(E, V)
    model.fc.weight = model.embedding.weight
    m.save("tied.pt", model.state_dict(), model, config={"head": {"size": V, "bias": True, "tied": True,
                                                                  "activation": "softmax"}})
    model = CharModel(nn.LSTM, out=4, bidirectional=True)
    m.save("tagger.pt", model.state_dict(), model, options=["--topology", "synced"])
    torch.jit.script(nn.Linear(2, 2)).save(m.path("script.pt"))


def make_deep(m):
    model = Deep().eval()
    torch.manual_seed(5)
    frames = torch.randn(1, 9, 5)
    m.save("deep.pt", model.state_dict(), model,
           options=["--topology", "synced", "--output", "none", "--activation", "fc1=relu"], source=frames)


def make_arrays(m):
    model = CharModel(nn.GRU)
    arrays = {"emb": "embedding.weight", "w_ih": "rnn.weight_ih_l0", "w_hh": "rnn.weight_hh_l0", "b_ih": "rnn.bias_ih_l0",
              "b_hh": "rnn.bias_hh_l0", "fc_w": "fc.weight", "fc_b": "fc.bias"}
    state = {k: model.state_dict()[v].numpy() for k, v in arrays.items()}
    np.savez(m.path("stored.npz"), **state)
    m.describe("stored.npz", model, config=GRU)
    np.savez_compressed(m.path("deflated.npz"), **{k: np.asfortranarray(v) for k, v in state.items()})
    m.describe("deflated.npz", model, config=GRU)
    np.savez(m.path("objects.npz"), w=np.array([{}, 1], dtype=object))


def make_strangers(m):
    model = CharRNN()
    m.save("char_rnn.pt", model, model, options=["--vocab", "printable"], config={"rnn": {**GRU["rnn"], "num_layers": 2}})
    model = Tutorial()
    torch.save(model, m.path("tutorial.pt"))
    m.describe("tutorial.pt", model, options=["--one-hot", "--topology", "many_to_one"], pick=[-1],
               config={"rnn": {**LSTM["rnn"], "cell": "rnn", "activation": "linear", "hidden_size": H + 4}})
    model = Tutorial(5, 3, True)
    m.save("tutorial_top.pt", model.state_dict(), model, source=torch.randn(1, 9, 5),
           options=["--output", "softmax", "--topology", "synced"])
    for name, joined, f in (("halves", False, torch.tanh), ("joined", True, torch.relu)):
        model = Halves(joined, f)
        m.save(f"{name}.pt", model.state_dict(), model, options=["--one-hot", "--activation", f.__name__],
               config={"rnn": {**LSTM["rnn"], "cell": "rnn_" + f.__name__}})
    model = Front()
    m.save("front.pt", model.state_dict(), model, source=torch.randn(1, 9, 5),
           options=["--activation", "lstm_cell=relu", "--output", "sigmoid", "--topology", "synced"])
    model = Heads()
    m.save("heads.pt", model.state_dict(), model, options=["--map", "voiced=-"], config=GRU)
    model = Rectified()
    m.save("rectified.pt", model, model, options=["--activation", "rnn=relu"])
    torch.save({"i2h.weight": torch.zeros(4 * H, V), "h2h.weight": torch.zeros(4 * H, H)}, m.path("handmade_lstm.pt"))


def make_weights(m):
    """weights that are not stored as they are used"""
    model = CharModel(nn.GRU)
    torch.nn.utils.weight_norm(model.rnn, "weight_hh_l0")
    torch.nn.utils.weight_norm(model.fc, dim=1)
    state = model.state_dict()
    state["fc.parametrizations.weight.original0"] = state.pop("fc.weight_g")  # as newer versions name them
    state["fc.parametrizations.weight.original1"] = state.pop("fc.weight_v")
    torch.save(state, m.path("normed.pt"))
    for module, name in ((model.rnn, "weight_hh_l0"), (model.fc, "weight")):
        torch.nn.utils.remove_weight_norm(module, name)
    m.describe("normed.pt", model, config=GRU)
    model = CharModel()
    torch.nn.utils.prune.l1_unstructured(model.fc, "weight", 0.5)
    torch.save(model.state_dict(), m.path("pruned.pt"))
    torch.nn.utils.prune.remove(model.fc, "weight")
    m.describe("pruned.pt", model, config=LSTM)
    torch.nn.utils.spectral_norm(model.fc)
    torch.save(model.state_dict(), m.path("spectral.pt"))


class Dropped(nn.Module):
    """AWD-LSTM"""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Embedding(V, E)
        self.rnns = nn.ModuleList([nn.LSTM(E, H, batch_first=True), nn.LSTM(H, E, batch_first=True)])
        self.decoder = nn.Linear(E, V)
        self.decoder.weight = self.encoder.weight

    def forward(self, x):
        x = self.encoder(x)
        for rnn in self.rnns:
            x = rnn(x)[0]
        return self.decoder(x)


def make_dropped(m):
    model = Dropped()
    optimizer = adam(model)
    state = collections.OrderedDict()
    for k, v in model.state_dict().items():
        k = ("1." if k.startswith("decoder") else "0.") + k
        if "weight_hh" in k:
            state[k + "_raw"] = v
            v = v * (torch.rand_like(v) > 0.5)
        state[k.replace(".weight_", ".module.weight_").replace(".bias_", ".module.bias_")] = v
    state["0.encoder_dp.emb.weight"] = state["0.encoder.weight"].clone()
    m.save("dropped.pth", {"model": state, "opt": optimizer.state_dict()}, model)


def make_vocabularies(m):
    model = CharModel()
    vocabulary = Vocabulary()
    vocabulary.itos = ["<unk>"] + vocab()[1:]
    vocabulary.stoi = collections.defaultdict(int, {t: i for i, t in enumerate(vocabulary.itos)})
    optimizer = adam(model)
    m.save("vocabulary.pt", {"net": model.state_dict(), "vocab": vocabulary, "best": np.float64(0.5),
                             "adamw": optimizer.state_dict()}, model, config=LSTM)


class Classifier(CharModel):
    """one output for a whole input: of the last step, of the final states of both directions, or of all steps"""

    def __init__(self, pool):
        super().__init__(nn.GRU, 3, bidirectional=True)
        self.pool = pool

    def forward(self, x):
        out, h = self.rnn(self.embedding(x))
        pooled = {"last": out[:, -1], "final": torch.cat((h[-2], h[-1]), 1), "mean": out.mean(1), "max": out.max(1)[0]}
        return self.fc(pooled[self.pool]).unsqueeze(1)


def make_classifiers(m):
    for pool in ("final", "last", "mean", "max"):
        model = Classifier(pool)
        name = "classifier.pt" if pool == "final" else f"pool_{pool}.pt"
        m.save(name, model.state_dict(), model, options=["--topology", "many_to_one", "--pool", pool], config={"pool": pool})


def make_letters(m):
    """min-char-rnn, in NumPy"""
    model = OneHot()
    model.lstm = nn.RNN(V, H, batch_first=True)
    model.lstm.bias_hh_l0.data.zero_()
    state = {k: v.detach().numpy().astype(np.float64) for k, v in model.state_dict().items()}
    np.savez(m.path("letters.npz"), Wxh=state["lstm.weight_ih_l0"], Whh=state["lstm.weight_hh_l0"],
             Why=state["fc.weight"], bh=state["lstm.bias_ih_l0"][:, None], by=state["fc.bias"][:, None])
    m.describe("letters.npz", model, options=["--one-hot"], config={"rnn": {**LSTM["rnn"], "cell": "rnn_tanh"}})


def main():
    m = Maker(sys.argv[1])
    torch.manual_seed(1)
    make_states(m)
    make_views(m)
    make_checkpoints(m)
    make_modules(m)
    make_deep(m)
    make_arrays(m)
    make_strangers(m)
    make_weights(m)
    make_dropped(m)
    make_vocabularies(m)
    make_letters(m)
    make_classifiers(m)


main()
