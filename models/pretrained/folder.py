"""What the training scripts of the shipped models share: the network, and the writer of a model folder.

A folder holds model.safetensors (float32, tensors named as PyTorch names them), config.json (schema rnnd-ref-1), vocab.json,
metrics.json and golden.json (schema rnnd-golden-1: inputs with what float64 makes of them, and how far float32 was from that).
Needs PyTorch and NumPy: Debian's python3-torch and python3-numpy.  Nothing here reads the clock or draws a random number
but through PyTorch's generator, which the scripts seed: the same versions on the same kind of CPU write the same bytes.
"""
import copy
import json
import os
import struct
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

ZERO_STATE = None
NEAR_TIE = 1e-3  # logits closer than this may swap under another order of summation


# ------------------------------------------------------------------ network --
class Net(nn.Module):
    """One-hot or embedded tokens -> a stack of recurrent layers -> linear head.  Batch first."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        tokens, rnn, head = shape["input"], shape["rnn"], shape["head"]
        width = tokens["size"]
        if tokens["kind"] == "embedding":
            width = tokens["dim"]
            self.embedding = nn.Embedding(tokens["size"], width)
        self.is_lstm = rnn["cell"] == "lstm"
        sizes = dict(input_size=width, hidden_size=rnn["hidden_size"],
                     num_layers=rnn["num_layers"], batch_first=True)
        self.rnn = nn.LSTM(**sizes) if self.is_lstm else nn.RNN(nonlinearity="tanh", **sizes)
        self.head = nn.Linear(rnn["hidden_size"], head["size"])

    def forward(self, ids, state=ZERO_STATE):
        """ids [batch, steps] -> logits [batch, steps, tokens], state: a tuple of [layers, batch, hidden]"""
        if self.shape["input"]["kind"] == "embedding":
            x = self.embedding(ids)
        else:
            x = F.one_hot(ids, self.shape["input"]["size"]).to(self.head.weight.dtype)
        if state is not ZERO_STATE and not self.is_lstm:
            state = state[0]
        y, state = self.rnn(x, state)
        return self.head(y), state if self.is_lstm else (state,)


def shape_of(name, tokens, cell, hidden, layers=1, embedding=0):
    """The architecture part of config.json, of a model that predicts the next of `tokens`."""
    return {
        "schema": "rnnd-ref-1",
        "name": name,
        "topology": "synced",
        "input": ({"kind": "embedding", "size": len(tokens), "dim": embedding} if embedding
                  else {"kind": "onehot", "size": len(tokens)}),
        "rnn": {"cell": cell, "hidden_size": hidden, "num_layers": layers,
                "bidirectional": False, "bias": True, "proj_size": 0},
        "head": {"size": len(tokens), "bias": True, "tied": False, "activation": "softmax"},
    }


class Vocabulary:
    """Characters and their ids; a character outside is a mistake of the caller."""

    def __init__(self, tokens):
        self.tokens = list(tokens)
        self.id_of = {token: i for i, token in enumerate(self.tokens)}

    def __len__(self):
        return len(self.tokens)

    def encode(self, text):
        return [self.id_of[character] for character in text]

    def decode(self, ids):
        return "".join(self.tokens[i] for i in ids)


# ------------------------------------------------------------- golden values --
class Gap(dict):
    """Largest difference seen between float32 and float64, for each kind of value."""

    def note(self, kind, exact, single):
        """-> the float64 value, as float32"""
        gap = float((exact - single.double()).abs().max())
        self[kind] = max(self.get(kind, 0.0), gap)
        return exact.float().numpy()


def note_state(entry, gap, exact, single):
    for kind, e, s in zip(("h_n", "c_n"), exact, single):
        entry[kind] = gap.note(kind, e, s)


@torch.no_grad()
def golden_texts(net, vocabulary, texts):
    """Each text by itself from a zero state: logits and probabilities of every step, the state after it."""
    exact_net, gap = copy.deepcopy(net).double(), Gap()
    ids = [vocabulary.encode(text) for text in texts]
    run = {"kind": "lengths", "lengths": [len(i) for i in ids], "input_ids": ids, "texts": texts,
           "logits": [], "probs": []}
    states = []
    for sequence in ids:
        exact, exact_state = exact_net(torch.tensor([sequence]))
        single, single_state = net(torch.tensor([sequence]))
        run["logits"].append(gap.note("logits", exact, single)[0])
        run["probs"].append(gap.note("probs", exact.softmax(-1), single.softmax(-1))[0])
        states.append({})
        note_state(states[-1], gap, exact_state, single_state)
    for kind in states[0]:
        run[kind] = np.concatenate([state[kind] for state in states], axis=1)
    run["max_abs_diff_f32_f64"] = dict(gap)
    return run


@torch.no_grad()
def greedy(net, prompt, n):
    """-> n ids by argmax after `prompt`, and the logits they were chosen by [n, tokens]"""
    logits, state = net(torch.tensor([prompt]))
    ids, rows = [], []
    while True:
        rows.append(logits[0, -1])
        ids.append(int(rows[-1].argmax()))
        if len(ids) == n:
            return ids, torch.stack(rows)
        logits, state = net(torch.tensor([[ids[-1]]]), state)


def golden_greedy(net, vocabulary, prompt, n, with_logits=False):
    """A greedy continuation of up to n tokens, cut before the first near-tie, so that every float32
    implementation repeats it."""
    first = vocabulary.encode(prompt)
    ids, rows = greedy(copy.deepcopy(net).double(), first, n)
    best = rows.topk(2).values
    ties = ((best[:, 0] - best[:, 1]) < NEAR_TIE).nonzero()
    n = int(ties[0]) if len(ties) else n
    single_ids, single_rows = greedy(net, first, n)
    assert ids[:n] == single_ids, "float32 and float64 part before the first near-tie"
    gap = Gap()
    logits = gap.note("logits", rows[:n], single_rows)
    run = {"kind": "greedy", "prompt_ids": first, "generated_ids": ids[:n],
           "min_margin": float((best[:n, 0] - best[:n, 1]).min()),
           "prompt_text": prompt, "generated_text": vocabulary.decode(ids[:n])}
    if with_logits:
        run["logits"] = logits
    run["max_abs_diff_f32_f64"] = dict(gap)
    return run


@torch.no_grad()
def golden_chunks(net, vocabulary, pieces):
    """One sequence in pieces, the state carried over: logits of each piece, the state after the last."""
    exact_net, gap = copy.deepcopy(net).double(), Gap()
    exact_state = single_state = ZERO_STATE
    chunks = []
    for piece in pieces:
        ids = torch.tensor([vocabulary.encode(piece)])
        exact, exact_state = exact_net(ids, exact_state)
        single, single_state = net(ids, single_state)
        chunks.append({"text": piece, "input_ids": ids.numpy(),
                       "logits": gap.note("logits", exact, single)})
    note_state(chunks[-1], gap, exact_state, single_state)
    return {"kind": "chunked", "chunks": chunks, "max_abs_diff_f32_f64": dict(gap)}


# -------------------------------------------------------------------- quality --
@torch.no_grad()
def bits_per_character(net, ids, piece=2000):
    """Mean of -log2 p(next character) over one sequence from a zero state, all but the first character;
    read in pieces with the state carried, which changes nothing but the memory needed."""
    ids = torch.tensor(ids)[None]
    last = ids.shape[1] - 1
    state, nats = ZERO_STATE, 0.0
    for at in range(0, last, piece):
        end = min(at + piece, last)
        logits, state = net(ids[:, at:end], state)
        nats += float(F.cross_entropy(logits[0].double(), ids[0, at + 1:end + 1], reduction="sum"))
    return nats / np.log(2) / last


# -------------------------------------------------------------------- writers --
def json_text(value, indent=0):
    """JSON with a row of numbers or words on a line.  float32 values get nine digits: reading them back gives the same."""
    inner, pad = " " * (indent + 1), " " * indent
    if isinstance(value, np.ndarray):
        if value.ndim > 1:
            value = list(value)
        elif value.dtype.kind == "f":
            return "[" + ",".join("%.9g" % v for v in value) + "]"
        else:
            value = value.tolist()
    if isinstance(value, dict) and value:
        body = ["%s: %s" % (json.dumps(k), json_text(v, indent + 1)) for k, v in value.items()]
        return "{\n" + ",\n".join(inner + line for line in body) + "\n" + pad + "}"
    if isinstance(value, list) and any(isinstance(v, (list, dict, np.ndarray)) for v in value):
        return "[\n" + ",\n".join(inner + json_text(v, indent + 1) for v in value) + "\n" + pad + "]"
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return json.dumps(value, ensure_ascii=False)


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        f.write(json_text(value) + "\n")


SAFETENSORS = {"F32": "<f4", "F16": "<f2"}  # the types that the shipped models store


def write_safetensors(path, tensors, metadata, dtype="F32"):
    """8 bytes of header length, a JSON header padded with spaces to a multiple of 8, then the tensors without gaps,
    little-endian and row-major.  tensors: name -> array; all are stored as `dtype`, a key of SAFETENSORS."""
    tensors = {name: np.ascontiguousarray(array, dtype=SAFETENSORS[dtype]) for name, array in tensors.items()}
    header, at = {"__metadata__": metadata}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            f.write(array.tobytes())


def read_safetensors(path):
    """-> name -> float32 array, of a file that write_safetensors() wrote"""
    with open(path, "rb") as f:
        blob = f.read()
    start = 8 + struct.unpack("<Q", blob[:8])[0]
    header = json.loads(blob[8:start])
    header.pop("__metadata__", None)
    return {name: np.frombuffer(blob[start:][slice(*entry["data_offsets"])], SAFETENSORS[entry["dtype"]])
            .reshape(entry["shape"]).astype("f4") for name, entry in header.items()}


def load_weights(net, path):
    """Puts the weights of a folder's model.safetensors into `net`."""
    net.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in read_safetensors(path).items()})


def write_golden(out, net, quality, runs):
    write_golden_runs(out, net.shape["name"], "PyTorch " + torch.__version__, quality, runs)


def write_golden_runs(out, case, made_with, quality, runs):
    """golden.json of the folder `out`; tolerances are ten times float32's own distance from float64."""
    worst = {}
    for run in runs:
        for kind, gap in run["max_abs_diff_f32_f64"].items():
            worst[kind] = max(worst.get(kind, 0.0), gap)
    write_json(os.path.join(out, "golden.json"), {
        "schema": "rnnd-golden-1", "case": case, "made_with": made_with,
        "quality": quality, "max_abs_diff_f32_f64": worst,
        "suggested_atol": {kind: float("%.1g" % max(1e-5, 10 * gap)) for kind, gap in worst.items()},
        "runs": runs})


def write_folder(out, net, vocabulary, data, seed, training, quality, runs, notes=None):
    """Writes all files of a model folder but its card."""
    os.makedirs(out, exist_ok=True)
    tensors = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    write_safetensors(os.path.join(out, "model.safetensors"), tensors, {"format": "pt", "task": net.shape["name"]})
    write_json(os.path.join(out, "config.json"), {
        **net.shape, "dtype": "F32", "tensors": {name: list(array.shape) for name, array in tensors.items()}})
    write_json(os.path.join(out, "vocab.json"), {"kind": "char", "tokens": vocabulary.tokens})
    metrics = {
        "task": net.shape["name"], "data": data, "parameters": sum(p.numel() for p in net.parameters()),
        "made_with": "PyTorch " + torch.__version__, "seed": seed, "training": training, "quality": quality}
    if notes:
        metrics["notes"] = notes
    write_json(os.path.join(out, "metrics.json"), metrics)
    write_golden(out, net, quality, runs)
    print("%s: %s" % (out, json.dumps(quality)), flush=True)


class Clock:
    """Seconds since it was made, for progress lines and metrics.json."""

    def __init__(self):
        self.start = time.monotonic()

    def __str__(self):
        return "%.0f s" % self.seconds()

    def seconds(self):
        return time.monotonic() - self.start
