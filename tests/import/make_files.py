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


def main():
    m = Maker(sys.argv[1])
    torch.manual_seed(1)
    make_states(m)
    make_views(m)
    make_checkpoints(m)
    make_modules(m)
    make_deep(m)
    make_arrays(m)


main()
