"""Model folders made on the spot: random weights in every shape that the tests need.

Weights come from Python's Mersenne twister with a fixed seed, so a folder has the same bytes each time.
"""
import array
import base64
import json
import math
import os
import random
import shutil
import struct

CASES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "golden", "cases")

TRANSLATION = {"kind": "char to symbol", "source": list("abcdefgh"),
               "target": ["<s>", "</s>"] + list("ABCDEFGHI"), "bos": 0, "eos": 1}

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}

# one, two, three and four bytes in UTF-8, a combining mark, and characters with a meaning in JSON and SSE
MULTIBYTE = ["\n", " ", "a", "b", "\"", "\\", ":", "\r", "é", "ß", "ж", "\u0301", "€", "日", "本", "\u2028",
             "😀", "𝄞"]


def write_safetensors(path, tensors, metadata=None):
    """`tensors`: list of (name, shape, float list), written as F32 in that order."""
    header, offset, data = {}, 0, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, shape, values in tensors:
        assert math.prod(shape) == len(values)
        size = 4 * len(values)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, _, values in tensors:
            f.write(array.array("f", values).tobytes())
    return data


def tensor_list(config, seed, scale=1.0):
    rng = random.Random(seed)
    rnn, head = config["rnn"], config["head"]
    hidden, gates = rnn["hidden_size"], GATES[rnn["cell"]]
    width = rnn["proj_size"] or hidden
    bound = scale / math.sqrt(hidden)

    def draw(*shape):
        return shape, [rng.uniform(-bound, bound) for _ in range(math.prod(shape))]

    out = []
    first = config["input"]["size"]
    if config["input"]["kind"] == "embedding":
        first = config["input"]["dim"]
        shape = (config["input"]["size"], first)
        out.append(("embedding.weight", shape, [rng.uniform(-1, 1) for _ in range(math.prod(shape))]))
    for k in range(rnn["num_layers"]):
        out.append((f"rnn.weight_ih_l{k}", *draw(gates * hidden, width if k else first)))
        out.append((f"rnn.weight_hh_l{k}", *draw(gates * hidden, width)))
        if rnn["bias"]:
            out.append((f"rnn.bias_ih_l{k}", *draw(gates * hidden)))
            out.append((f"rnn.bias_hh_l{k}", *draw(gates * hidden)))
        if rnn["proj_size"]:
            out.append((f"rnn.weight_hr_l{k}", *draw(width, hidden)))
    if head:
        shape, values = draw(head["size"], width)
        out.append(("head.weight", shape, [8 * v for v in values]))  # sharp enough to be worth sampling
        if head["bias"]:
            out.append(("head.bias", *draw(head["size"])))
    return out


def make(path, *, cell="lstm", layers=1, hidden=24, kind="onehot", size=None, dim=8, outputs=None,
         activation="softmax", head=True, tokens=None, labels=None, seed=1, bias=True, proj=0,
         topology="synced", specials=None, files=None, scale=1.0, head_more=None, units=None):
    """Writes the folder `path` and returns its configuration.  `head_more` goes into the head's part of it;
    `units`: (means, deviations) of the values that the head gives."""
    os.makedirs(path)
    if size is None:
        size = len(tokens)
    outputs = outputs or (len(labels) if labels else size)
    entry = {"kind": kind, "size": size}
    if kind == "embedding":
        entry["dim"] = dim
    config = {
        "schema": "rnnd-ref-1", "name": os.path.basename(path), "topology": topology, "input": entry,
        "rnn": {"cell": cell, "hidden_size": hidden, "num_layers": layers, "bidirectional": False,
                "bias": bias, "proj_size": proj},
        "head": {"size": outputs, "bias": True, "tied": False, "activation": activation,
                 **(head_more or {}), **({"denormalize": True} if units else {})}
        if head else None,
        "dtype": "F32",
    }
    if topology == "many_to_one":
        config["pool"] = "final"
    tensors = tensor_list(config, seed, scale)
    for name, values in zip(("mean", "std"), units or ()):
        tensors.append((f"output.{name}", (len(values),), values))
    config["tensors"] = {name: list(shape) for name, shape, _ in tensors}
    write_safetensors(os.path.join(path, "model.safetensors"), tensors)
    with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=1)
    if tokens or labels:
        vocab = {"kind": "char", "tokens": tokens} if tokens else {}
        if labels:
            vocab["labels"] = labels
        vocab.update(specials or {})
        with open(os.path.join(path, "vocab.json"), "w", encoding="utf-8") as f:
            json.dump(vocab, f, ensure_ascii=False)
    for name, text in (files or {}).items():
        with open(os.path.join(path, name), "w", encoding="utf-8") as f:
            f.write(text)
    return config


def base64_floats(values):
    return base64.b64encode(array.array("f", values).tobytes()).decode()


def copy_case(path, case, vocab=None):
    """A model of tests/golden/cases, with texts of its own."""
    os.makedirs(path)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(os.path.join(CASES, case, name), path)
    if vocab:
        with open(os.path.join(path, "vocab.json"), "w", encoding="utf-8") as f:
            json.dump(vocab, f, ensure_ascii=False)


def make_attending(path, seed):
    """A translator whose encoder reads both ways and whose decoder looks back at all of it (Luong et al. 2015)."""
    rng = random.Random(seed)
    hidden, units, memory = 6, 10, 12
    shapes = {"encoder.embedding.weight": (8, 5), "decoder.embedding.weight": (11, 4),
              "decoder.attention.key.weight": (units, memory),
              "decoder.attention.combine.weight": (units, memory + units), "decoder.head.weight": (11, units), "decoder.head.bias": (11,)}
    for prefix, n, reads, ends in (("encoder", hidden, 5, ("", "_reverse")), ("decoder", units, 4, ("",))):
        for end in ends:
            shapes |= {f"{prefix}.rnn.weight_ih_l0{end}": (3 * n, reads), f"{prefix}.rnn.weight_hh_l0{end}": (3 * n, n),
                       f"{prefix}.rnn.bias_ih_l0{end}": (3 * n,), f"{prefix}.rnn.bias_hh_l0{end}": (3 * n,)}

    def part(size, dim, n, **more):
        return {"input": {"kind": "embedding", "size": size, "dim": dim}, **more,
                "rnn": {"cell": "gru", "hidden_size": n, "num_layers": 1, "bidirectional": n == hidden}}
    os.makedirs(path)
    write_safetensors(os.path.join(path, "model.safetensors"),
                      [(name, shape, [rng.uniform(-1.2, 1.2) for _ in range(math.prod(shape))])
                       for name, shape in shapes.items()])
    with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as f:
        json.dump({"schema": "rnnd-ref-1", "topology": "seq2seq", "bos": 0, "eos": 1, "state_transfer": "none",
                   "encoder": part(8, 5, hidden),
                   "decoder": part(11, 4, units, attention={"kind": "general"},
                                   head={"size": 11, "activation": "softmax"})}, f)
    with open(os.path.join(path, "vocab.json"), "w", encoding="utf-8") as f:
        json.dump(TRANSLATION, f)


def make_zoo(root):
    """One folder for every kind of input and output that the tests ask for."""
    def at(name):
        return os.path.join(root, name)
    make(at("multibyte"), tokens=MULTIBYTE, hidden=32, layers=2, kind="embedding", seed=11)
    make(at("unknown"), tokens=["<unk>", "x", "y", "z"], specials={"unk": 0}, seed=12)
    make(at("words"), tokens=["<unk>", "the", "cat", "sat", "on", ",", "."], specials={"kind": "word", "unk": 0},
         cell="gru", seed=23)
    make(at("ids"), size=12, cell="gru", seed=13)  # no vocabulary at all
    make(at("sensor"), kind="dense", size=3, outputs=2, activation="none", cell="gru", seed=14)
    make(at("flags"), kind="dense", size=2, labels=["low", "high", "odd"], activation="sigmoid",
         cell="rnn_tanh", seed=15)
    make(at("tagger"), tokens=list("abc"), labels=["vowel", "consonant"], cell="rnn_relu", seed=16)
    make(at("headless"), kind="dense", size=4, hidden=6, head=False, proj=5, seed=17)
    # numbers with a doubt, and what can be fed back
    make(at("sketch"), kind="dense", size=5, outputs=3 + 6 * 4, activation="mixture", seed=18,
         head_more={"components": 4, "pen": 3}, scale=0.3)
    make(at("handwriting"), kind="dense", size=3, outputs=1 + 6 * 2, activation="mixture", cell="gru", seed=19,
         head_more={"components": 2, "pen": 1}, units=([0.5, -0.25], [2.0, 3.0]), scale=0.3)
    make(at("weather"), kind="dense", size=2, outputs=4, activation="gaussian", cell="gru", seed=20,
         units=([10.0, 1000.0], [3.0, 20.0]), scale=0.3)
    make(at("doubtful"), kind="dense", size=2, outputs=6, activation="gaussian", seed=21)
    make(at("window"), kind="dense", size=2, outputs=2, activation="none", topology="many_to_one", seed=24)
    make(at("pendulum"), kind="dense", size=2, outputs=2, activation="none", cell="rnn_tanh", seed=22)
    # texts in other topologies
    copy_case(at("translator"), "seq2seq-lstm", TRANSLATION)
    make_attending(at("attending"), 23)
    copy_case(at("captioner"), "one_to_many-gru",
              {"kind": "char", "tokens": ["<s>", "</s>"] + list("klmnopq"), "bos": 0, "eos": 1})
    copy_case(at("both-ways"), "grid-lstm-l1-bi-h16-embedding")
    copy_case(at("both-flags"), "multilabel-gru-bi")
    copy_case(at("both-ends"), "many_to_one-lstm-bi")
