"""A model folder computed from its files with NumPy: what the cards' figures and the golden values are made with.

    model = exact.Model("models/pretrained/g2p")            float64; dtype=np.float32 is the twin that says how far float32 is off
    model.classify(ids), model.label(ids), model.translate(ids), model.caption(features)

Reads model.safetensors, config.json and vocab.json (if there is one) and nothing else: the stored weights are judged, not those that a
training had in memory.  Batch first; all sequences of a batch have one length (by_length() sorts them so), hence nothing is padded.  Knows one stack of
rnn, lstm or gru layers in one or both directions, the four topologies, and an encoder's memory under "general" attention (Luong 2015):
the decoder's output h asks each of the memory's rows m_j for e_j = h . (Wk m_j); the mean of the rows by softmax(e), beside h, gives
tanh(Wc [context ; h]), which the head reads.  Dense input may be normalised.  Heads beside softmax:

gaussian  2 D numbers: D means, D logarithms of standard deviations; denormalize brings both back to the units of the data
mixture   P + 6 M numbers: P pen logits, then M each of weight logits, mu_x, mu_y, log sigma_x, log sigma_y, and rho before tanh:
          M bivariate Gaussians (Graves 2013, "Generating sequences with recurrent neural networks")
"""
import json
import os
import struct
import sys

import numpy as np

sys.dont_write_bytecode = True
NEAR_TIE = 1e-3  # logits closer than this may swap under another order of summation
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


# --------------------------------------------------------------------- files --
def read_json(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def read_tensors(path):
    """-> name -> float64 array of the stored values"""
    with open(path, "rb") as f:
        blob = f.read()
    start = 8 + struct.unpack("<Q", blob[:8])[0]
    header = json.loads(blob[8:start])
    header.pop("__metadata__", None)
    return {name: np.frombuffer(blob[start:][slice(*entry["data_offsets"])], DTYPES[entry["dtype"]])
            .reshape(entry["shape"]).astype(np.float64) for name, entry in header.items()}


# ----------------------------------------------------------------- equations --
def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def cell_step(cell, weights, x, h, c):
    """x [B,I], h [B,H], c [B,H] or None -> h, c after the step"""
    w_ih, w_hh, b_ih, b_hh = weights
    from_x, from_h = x @ w_ih.T + b_ih, h @ w_hh.T + b_hh
    if cell == "gru":
        xr, xz, xn = np.split(from_x, 3, -1)
        hr, hz, hn = np.split(from_h, 3, -1)
        z = sigmoid(xz + hz)
        return (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * h, None
    if cell == "lstm":
        i, f, g, o = np.split(from_x + from_h, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    return (np.tanh if cell == "rnn_tanh" else lambda v: np.maximum(v, 0))(from_x + from_h), None


class Stack:
    """Tokens or vectors -> recurrent layers -> head.  A state is (h, c): [layers * directions, B, H], c None but for lstm."""

    def __init__(self, tensors, config, prefix, dtype):
        self.tensors, self.prefix, self.dtype = tensors, prefix, dtype
        self.input, self.rnn, self.attention = config["input"], config["rnn"], config.get("attention")
        self.directions = 2 if self.rnn["bidirectional"] else 1

    def tensor(self, name):
        return self.tensors[self.prefix + name]

    def weights(self, layer, direction):
        end = "_l%d%s" % (layer, "_reverse" if direction else "")
        return [self.tensor("rnn.%s%s" % (name, end)) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]

    def zero(self, batch):
        h = np.zeros((self.rnn["num_layers"] * self.directions, batch, self.rnn["hidden_size"]), self.dtype)
        return h, h.copy() if self.rnn["cell"] == "lstm" else None

    def inputs(self, x):
        if self.input["kind"] == "dense":
            x = np.asarray(x, self.dtype)
            return (x - self.tensor("input.mean")) / self.tensor("input.std") if self.input.get("normalize") else x
        return self.tensor("embedding.weight")[np.asarray(x)]

    def run(self, x, state=None):
        """x: ids [B,T] or vectors [B,T,F] -> outputs of the top layer [B,T,H * directions], state after the last step"""
        y = self.inputs(x)
        batch, steps = y.shape[:2]
        before, cells = state or self.zero(batch)
        h, c = before.copy(), None if cells is None else cells.copy()
        for layer in range(self.rnn["num_layers"]):
            both = []
            for direction in range(self.directions):
                at, weights = layer * self.directions + direction, self.weights(layer, direction)
                out = np.zeros((batch, steps, self.rnn["hidden_size"]), self.dtype)
                for t in reversed(range(steps)) if direction else range(steps):
                    h[at], cell = cell_step(self.rnn["cell"], weights, y[:, t], h[at], None if c is None else c[at])
                    if c is not None:
                        c[at] = cell
                    out[:, t] = h[at]
                both.append(out)
            y = np.concatenate(both, -1)
        return y, (h, c)

    def head(self, y):
        return y @ self.tensor("head.weight").T + self.tensor("head.bias")

    def attend(self, y, memory):
        """y [B,T,H], memory [B,S,M] -> what the head reads [B,T,combine], weights [B,T,S]"""
        keys = memory @ self.tensor("attention.key.weight").T
        weights = softmax(y @ keys.transpose(0, 2, 1))
        return np.tanh(np.concatenate([weights @ memory, y], -1) @ self.tensor("attention.combine.weight").T), weights


class Model:
    def __init__(self, path, dtype=np.float64):
        self.path, self.dtype = path, dtype
        self.config = read_json(os.path.join(path, "config.json"))
        vocab = os.path.join(path, "vocab.json")
        self.vocab = read_json(vocab) if os.path.exists(vocab) else None
        self.tensors = {k: v.astype(dtype) for k, v in read_tensors(os.path.join(path, "model.safetensors")).items()}
        if self.config["topology"] == "seq2seq":
            self.encoder = Stack(self.tensors, self.config["encoder"], "encoder.", dtype)
            self.stack = Stack(self.tensors, self.config["decoder"], "decoder.", dtype)
        else:
            self.stack = Stack(self.tensors, self.config, "", dtype)

    def classify(self, x):
        """many_to_one: -> logits [B,C], state"""
        _, state = self.stack.run(x)
        top = state[0][-self.stack.directions:]
        return self.stack.head(np.concatenate(list(top), -1)), state

    def label(self, x, state=None):
        """synced: -> logits [B,T,C], state"""
        y, state = self.stack.run(x, state)
        return self.stack.head(y), state

    def meaning(self, logits):
        """What logits [...,C] say, by the names of golden.json: probs; or values and std [...,D], in the units of the data"""
        head = self.config["head"]
        if head["activation"] == "gaussian":
            values, log_std = np.split(logits, 2, -1)
            return {"values": self.denormalized(values), "std": self.rescaled(np.exp(log_std))}
        if head["activation"] == "mixture":
            pen, pi, mu, log_sigma, rho = self.mixture(logits)
            shape = (*logits.shape[:-1], -1)
            in_order = lambda pairs: np.moveaxis(pairs, -1, -2).reshape(shape)
            return {"probs": np.concatenate([softmax(pen), softmax(pi), in_order(self.denormalized(mu)),
                                             in_order(self.rescaled(np.exp(log_sigma))), rho], -1)}
        return {"probs": softmax(logits)}

    def denormalized(self, values):
        return self.rescaled(values) + self.tensors["output.mean"] if self.config["head"].get("denormalize") else values

    def rescaled(self, values):
        return values * self.tensors["output.std"] if self.config["head"].get("denormalize") else values

    def mixture(self, logits):
        """logits [...,P+6M] -> pen logits [...,P], weight logits [...,M], mu [...,M,2], log sigma [...,M,2], rho [...,M], of
        normalised offsets"""
        pen = self.config["head"]["pen"]
        pi, mu_x, mu_y, sigma_x, sigma_y, rho = np.split(logits[..., pen:], 6, -1)
        return logits[..., :pen], pi, np.stack([mu_x, mu_y], -1), np.stack([sigma_x, sigma_y], -1), np.tanh(rho)

    def encode(self, source):
        """seq2seq: ids [B,S] -> memory [B,S,M], the encoder's state, the decoder's first state"""
        memory, (h, c) = self.encoder.run(source)
        if self.config["state_transfer"] == "concat":
            beside = lambda v: None if v is None else np.concatenate([v[0::2], v[1::2]], -1)
            return memory, (h, c), (beside(h), beside(c))
        return memory, (h, c), (h, c)

    def bridge(self, features):
        """one_to_many: features [B,F] -> the first state"""
        v = np.tanh(np.asarray(features, self.dtype) @ self.tensors["bridge.weight"].T + self.tensors["bridge.bias"])
        layers, hidden = self.stack.rnn["num_layers"], self.stack.rnn["hidden_size"]
        v = v.reshape(len(v), -1, layers, hidden).transpose(1, 2, 0, 3)
        return v[0], v[1] if len(v) > 1 else None

    def decode(self, ids, state, memory=None):
        """Teacher-forced: ids [B,T] -> logits [B,T,C], state"""
        y, state = self.stack.run(ids, state)
        if self.stack.attention:
            y, _ = self.stack.attend(y, memory)
        return self.stack.head(y), state

    def greedy(self, state, memory, longest):
        """-> for each of the batch its ids up to and with eos, or `longest` of them; the smallest gap between best and second"""
        bos, eos = self.config["bos"], self.config["eos"]
        batch = state[0].shape[1]
        last, ids, gap = np.full(batch, bos), [[] for _ in range(batch)], np.full(batch, np.inf)
        open_ = np.ones(batch, bool)
        for _ in range(longest):
            logits, state = self.decode(last[:, None], state, memory)
            last = logits[:, 0].argmax(-1)
            two = np.sort(logits[:, 0], -1)[:, -2:]
            for b in np.flatnonzero(open_):
                ids[b].append(int(last[b]))
                gap[b] = min(gap[b], two[b, 1] - two[b, 0])
            open_ &= last != eos
            if not open_.any():
                break
        return ids, gap

    def translate(self, source, longest=64):
        memory, _, state = self.encode(source)
        return self.greedy(state, memory, longest)

    def beam(self, source, width, longest=64, length_penalty=1.0):
        """One source by the search that core/rnn.h describes (rnn_beam) -> [(ids, score)], best first."""
        memory, _, state = self.encode([source])
        live, last, ended = [([], 0.0)], [self.config["bos"]], []
        for length in range(1, longest + 1):
            logits, state = self.decode(np.array(last)[:, None], state, np.repeat(memory, len(last), 0))
            values = np.log(softmax(logits[:, 0])) + np.array([logp for _, logp in live])[:, None]
            grown, parents = [], []
            for place in np.argsort(-values, None, "stable"):
                parent, token = divmod(int(place), values.shape[1])
                ids, logp = live[parent][0] + [token], float(values[parent, token])
                if token == self.config["eos"]:
                    ended.append((ids, logp / length ** length_penalty))
                else:
                    grown.append((ids, logp))
                    parents.append(parent)
                if len(grown) == width or len(ended) == width:
                    break
            if len(ended) == width:
                break
            live, last = grown, [ids[-1] for ids, _ in grown]
            state = tuple(None if part is None else part[:, parents] for part in state)
        else:
            ended += [(ids, logp / longest ** length_penalty) for ids, logp in live]
        return sorted(ended, key=lambda text: -text[1])

    def caption(self, features, longest=32):
        return self.greedy(self.bridge(features), None, longest)


def by_length(sequences, largest=512):
    """-> lists of places whose sequences have one length"""
    places = {}
    for place, sequence in enumerate(sequences):
        places.setdefault(len(sequence), []).append(place)
    return [group[at:at + largest] for _, group in sorted(places.items()) for at in range(0, len(group), largest)]


def over_batches(sequences, compute, largest=512):
    """compute(batch of one length) -> one result each; -> all results in the order of `sequences`"""
    results = [None] * len(sequences)
    for group in by_length(sequences, largest):
        for place, result in zip(group, compute(np.array([sequences[i] for i in group]))):
            results[place] = result
    return results


# ------------------------------------------------------------- golden values --
class Twins:
    """The folder in float64 and in float32; the largest difference seen between them, for each kind of value."""

    def __init__(self, path):
        self.exact, self.single, self.gap = Model(path), Model(path, np.float32), {}

    def note(self, kind, exact, single):
        """-> the float64 value as float32"""
        self.gap[kind] = max(self.gap.get(kind, 0.0), float(np.abs(exact - single.astype(np.float64)).max()))
        return exact.astype(np.float32)

    def note_state(self, names, exact, single):
        return {name: self.note(name, e, s) for name, e, s in zip(names, exact, single) if e is not None}


def join(states, batch_axis=1):
    return {name: np.concatenate([state[name] for state in states], batch_axis) for name in states[0]}


def input_name(model):
    """What golden.json calls a sequence of the model's input"""
    return "input" if model.config["input"]["kind"] == "dense" else "input_ids"


def note_outputs(twins, exact, single):
    """Logits [B,...] and what they say -> name -> the float64 values as float32"""
    said, said32 = twins.exact.meaning(exact), twins.single.meaning(single)
    return {"logits": twins.note("logits", exact, single), **{name: twins.note(name, said[name], said32[name]) for name in said}}


def golden_lengths(path, sequences, shown):
    """Each sequence by itself: logits, what they say, and the state after it.  shown: what a reader may want beside the input."""
    twins = Twins(path)
    one = twins.exact.config["topology"] == "many_to_one"
    run = {"kind": "lengths", "lengths": [len(s) for s in sequences], input_name(twins.exact): sequences, **shown}
    outputs, states = [], []
    for sequence in sequences:
        exact, exact_state = (twins.exact.classify if one else twins.exact.label)([sequence])
        single, single_state = (twins.single.classify if one else twins.single.label)([sequence])
        outputs.append(note_outputs(twins, exact, single))
        states.append(twins.note_state(("h_n", "c_n"), exact_state, single_state))
    run.update({name: [output[name][0] for output in outputs] for name in outputs[0]})
    return {**run, **join(states), "max_abs_diff_f32_f64": dict(twins.gap)}


def golden_chunks(path, sequence, sizes):
    """One sequence of a synced model in pieces, the state carried over, and the state after each piece."""
    twins, chunks, at = Twins(path), [], 0
    exact_state = single_state = None
    for size in sizes:
        piece = sequence[at:at + size]
        exact, exact_state = twins.exact.label([piece], exact_state)
        single, single_state = twins.single.label([piece], single_state)
        chunks.append({input_name(twins.exact): [piece], **note_outputs(twins, exact, single),
                       **twins.note_state(("h_n", "c_n"), exact_state, single_state)})
        at += size
    return {"kind": "chunked", "chunks": chunks, "max_abs_diff_f32_f64": dict(twins.gap)}


def greedy_entries(twins, one, longest, text_of):
    """one(model) -> (ids, gap) of a batch of one"""
    (ids,), (gap,) = one(twins.exact)
    (single,), _ = one(twins.single)
    assert gap < NEAR_TIE or ids == single, "float32 and float64 part without a near-tie"
    return {"generated_ids": ids, "max_new": longest, "min_margin": float(gap), "generated_text": text_of(ids)}, gap


def golden_translate(path, sources, targets, texts, text_of, longest=48):
    """Teacher-forced logits and greedy decodings of each source by itself."""
    twins = Twins(path)
    bos = twins.exact.config["bos"]
    run = {"kind": "translate", "source_ids": sources, "source_texts": texts,
           "target_input_ids": [[bos, *target] for target in targets], "logits": [], "greedy": []}
    states = []
    for source, fed in zip(sources, run["target_input_ids"]):
        (memory, end, first), (memory32, end32, first32) = (m.encode([source]) for m in (twins.exact, twins.single))
        states.append(twins.note_state(("encoder_h_n", "encoder_c_n"), end, end32))
        run["logits"].append(twins.note("logits", twins.exact.decode([fed], first, memory)[0],
                                        twins.single.decode([fed], first32, memory32)[0])[0])
        entry, gap = greedy_entries(twins, lambda m: m.translate([source], longest), longest, text_of)
        assert gap >= NEAR_TIE, "a near-tie: choose another example"
        run["greedy"].append(entry)
    return {**run, **join(states), "max_abs_diff_f32_f64": dict(twins.gap)}


def golden_caption(path, features, targets, text_of, longest=24):
    twins = Twins(path)
    bos = twins.exact.config["bos"]
    run = {"kind": "caption", "features": features, "input_ids": [[bos, *target] for target in targets], "logits": [], "greedy": []}
    first_states, states = [], []
    for vector, fed in zip(features, run["input_ids"]):
        first, first32 = twins.exact.bridge(vector[None]), twins.single.bridge(vector[None])
        first_states.append(twins.note_state(("h_0", "c_0"), first, first32))
        (logits, end), (logits32, end32) = twins.exact.decode([fed], first), twins.single.decode([fed], first32)
        run["logits"].append(twins.note("logits", logits, logits32)[0])
        states.append(twins.note_state(("h_n", "c_n"), end, end32))
        entry, gap = greedy_entries(twins, lambda m: m.caption(vector[None], longest), longest, text_of)
        assert gap >= NEAR_TIE, "a near-tie: choose another example"
        run["greedy"].append(entry)
    return {**run, **join(first_states), **join(states), "max_abs_diff_f32_f64": dict(twins.gap)}
