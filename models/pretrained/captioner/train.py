#!/usr/bin/python3
"""Trains `captioner`: what a small picture shows, in words.  A convolutional eye (features.py) and an LSTM that speaks, trained together.

    models/pretrained/captioner/prepare.py --npm NPM/node_modules --out DATA
    models/pretrained/captioner/train.py --data DATA --out FOLDER

Writes a model folder to FOLDER/captioner, with the eye's numbers beside it in eye.npz, all in half precision, and measures it as
it stands on disk, in float64 and without PyTorch.  `--steps-max 300` is a trial of a minute.
Needs Debian's python3-torch, python3-numpy, python3-pil and libopenblas0-pthread.
"""
import argparse
import collections
import copy
import json
import math
import os
import sys

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import exact  # noqa: E402
import features  # noqa: E402
import fit  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

CHANNELS, FEATURES = (3, 16, 32, 64), 128
HIDDEN, EMBEDDING = 192, 64
DROPOUT, BLINDNESS = 0.1, 0.05  # of what the words go through, and the picture
SHIFT = 2      # pixels that a picture is moved by at most, each way
CONTRAST = 0.1
TWICE = 2      # times in a pass that a picture without skin tone is shown: it has fewer like it
PAD = -1       # a target that no loss counts
LONGEST = 16   # words; the longest caption has fewer
PARTS = ("train", "val", "test", "subjects")
SHOWN = 250    # pictures in test.jsonl
EXAMPLES = 4   # in example.json
DATA = ("pictures: Noto Emoji (Apache-2.0) of npm package emoji-datasource-google 16.0.0, Twemoji (CC-BY-4.0, (c) Twitter, Inc and other "
        "contributors) of npm package emoji-datasource-twitter 16.0.0, Fluent Emoji (MIT, (c) Microsoft Corporation) of npm package "
        "@iconify-json/fluent-emoji-flat 1.2.6; names: emoji-test.txt of Debian package unicode-data 15.0.0 (Unicode licence)")
NOTES = ("greedy, features rounded to three digits. test: pictures that were kept back, their subject mostly known by another hand or in another "
         "skin tone; subjects: subjects of which no picture was trained. exact: the whole caption is right; bleu1: modified unigram precision "
         "of the corpus times the brevity penalty; word_recall: words of the names that were said. "
         "All figures: float64 from the stored half-precision weights")


class Net(nn.Module):
    """Modules carry the names of the folder's tensors; those of the eye stand under `eye`."""

    def __init__(self, n_words):
        super().__init__()
        self.eye = nn.Module()
        for i, (inner, outer) in enumerate(zip(CHANNELS, CHANNELS[1:])):
            setattr(self.eye, "conv%d" % i, nn.Conv2d(inner, outer, 3, padding=1))
            setattr(self, "norm_conv%d" % i, nn.BatchNorm2d(outer))
        side = features.SIDE >> features.CONVOLUTIONS
        self.eye.linear = nn.Linear(CHANNELS[-1] * side * side, FEATURES)
        self.norm_linear = nn.BatchNorm1d(FEATURES)
        self.bridge = nn.Linear(FEATURES, 2 * HIDDEN)
        self.embedding = nn.Embedding(n_words, EMBEDDING)
        self.rnn = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, n_words)

    def drop(self, x):
        return F.dropout(x, DROPOUT, self.training)

    def look(self, x):
        """x [B,3,32,32], -1 to 1 -> features [B,F]"""
        for i in range(features.CONVOLUTIONS):
            x = F.max_pool2d(F.relu(getattr(self, "norm_conv%d" % i)(getattr(self.eye, "conv%d" % i)(x))), 2)
        return self.norm_linear(self.eye.linear(F.dropout(x.flatten(1), BLINDNESS, self.training)))

    @torch.no_grad()
    def take_eye(self):
        """-> the eye, each normalisation made a part of the layer before it; the net is the folder's then"""
        eye = self.eye
        for name, layer in eye.named_children():
            norm = getattr(self, "norm_" + name)
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            layer.weight *= scale.reshape(-1, *[1] * (layer.weight.dim() - 1))
            layer.bias.copy_((layer.bias - norm.running_mean) * scale + norm.bias)
            delattr(self, "norm_" + name)
        del self.eye
        return eye

    def forward(self, x, fed):
        """fed [B,T]: bos and the words -> logits [B,T,C]"""
        h, c = torch.tanh(self.bridge(F.dropout(self.look(x), BLINDNESS, self.training))).chunk(2, -1)
        y, _ = self.rnn(self.drop(self.embedding(fed)), (h[None].contiguous(), c[None].contiguous()))
        return self.head(self.drop(y))


def config(words):
    return {"schema": "rnnd-ref-1", "name": "captioner", "topology": "one_to_many", "features": FEATURES,
            "bridge": "tanh", "bos": 0, "eos": 1,
            "input": {"kind": "embedding", "size": words, "dim": EMBEDDING},
            "rnn": {"cell": "lstm", "hidden_size": HIDDEN, "num_layers": 1, "bidirectional": False, "bias": True, "proj_size": 0},
            "head": {"size": words, "bias": True, "tied": False, "activation": "softmax"}}


def vocabulary(rows):
    count = collections.Counter(word for caption, *_ in rows for word in caption.split())
    return {"kind": "word", "lowercase": True, "tokens": ["<s>", "</s>", *sorted(count, key=lambda word: (-count[word], word))],
            "bos": 0, "eos": 1}


class Coder:
    def __init__(self, vocab):
        self.vocab, self.id_of = vocab, {token: i for i, token in enumerate(vocab["tokens"])}

    def ids(self, caption):
        return [self.id_of[word] for word in caption.split()]

    def text(self, ids):
        return " ".join(self.vocab["tokens"][i] for i in ids if i not in (self.vocab["bos"], self.vocab["eos"]))


def padded(rows, value):
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


def moved(pixels):
    """uint8 [B,32,32,3] -> float [B,3,32,32], each picture a little elsewhere, lighter or darker"""
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    x = F.pad(x, [SHIFT] * 4, value=1.0)
    places = torch.randint(0, 2 * SHIFT + 1, (len(x), 2)).tolist()
    x = torch.stack([one[:, i:i + features.SIDE, j:j + features.SIDE] for one, (i, j) in zip(x, places)])
    return (x * (1 + CONTRAST * torch.randn(len(x), 1, 1, 1))).clamp(-1, 1)


def train(parts, vocab, args):
    """-> the net as it was after the pass with the smallest loss on the validation pictures, what metrics.json says of the training"""
    coder = Coder(vocab)
    net = Net(len(vocab["tokens"]))
    ids = {part: [coder.ids(caption) for caption, *_ in parts[part][1]] for part in ("train", "val")}

    def loss(part, places, x):
        chosen = [ids[part][i] for i in places]
        fed, wanted = padded([[0] + c for c in chosen], 1), padded([c + [1] for c in chosen], PAD)
        return F.cross_entropy(net(x, fed).flatten(0, 1), wanted.flatten(), ignore_index=PAD)

    best = {"loss": math.inf}

    def look():
        x = torch.from_numpy(parts["val"][0]).permute(0, 3, 1, 2) / 127.5 - 1
        value = float(loss("val", range(len(x)), x))
        if value < best["loss"]:
            best.update(loss=value, state=copy.deepcopy(net.state_dict()))
        return "validation loss %.4f nats per word" % value

    shown = [i for i, (caption, *_) in enumerate(parts["train"][1]) for _ in range(1 if "skin tone" in caption else TWICE)]

    def loss_of(turns):
        places = [shown[turn] for turn in turns]
        return loss("train", places, moved(parts["train"][0][places]))

    training = fit.train(net, [0] * len(shown), loss_of, look, args)
    net.load_state_dict(best["state"])
    return net, {**training, "validation_loss": round(best["loss"], 4)}


def answers(model, coder, vectors):
    """-> (text, smallest gap between best and second logit) of each picture"""
    ids, gaps = model.caption(vectors, LONGEST)
    return [(coder.text(i), float(gap)) for i, gap in zip(ids, gaps)]


def in_common(said, name):
    return sum((collections.Counter(said.split()) & collections.Counter(name.split())).values())


def measure(said, names):
    common = sum(in_common(*pair) for pair in zip(said, names))
    n_said, n_names = (sum(len(text.split()) for text in texts) for texts in (said, names))
    return {"n": len(names), "exact": sum(s == name for s, name in zip(said, names)) / len(names),
            "bleu1": common / n_said * min(1, math.exp(1 - n_names / n_said)), "word_recall": common / n_names}


def quality_of(said, rows):
    """said: part -> captions"""
    quality = {}
    for part in PARTS[1:]:
        names = [row[0] for row in rows[part]]
        quality.update({"%s_%s" % (part, name): value for name, value in measure(said[part], names).items()})
    for label, wanted in (("with_skin_tone", True), ("without", False)):
        pairs = [(s, name) for s, (name, *_) in zip(said["test"], rows["test"]) if ("skin tone" in name) == wanted]
        quality.update({"test_%s_n" % label: len(pairs), "test_%s_exact" % label: sum(s == name for s, name in pairs) / len(pairs)})
    return quality


def shown(rows, vectors, said):
    """Every so-manieth of the test pictures, SHOWN in all."""
    places = [i * len(rows) // SHOWN for i in range(SHOWN)]
    return [{"picture": rows[i][1] + " " + rows[i][2], "label": rows[i][0], "pred": said[i][0], "margin": float("%.4g" % said[i][1]),
             "features": vectors[i].tolist()} for i in places]


def chosen(examples):
    """For example.json: right ones of different first words"""
    found = {}
    for example in examples:
        if example["pred"] == example["label"]:
            found.setdefault(example["label"].split()[0], example)
    every = list(found.values())
    return [every[(2 * i + 1) * len(every) // (2 * EXAMPLES)] for i in range(EXAMPLES)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args = fit.options(parser, epochs=14, batch=64, learning_rate=3e-3)
    out = os.path.join(args.out, "captioner")
    parts = {part: (np.load(os.path.join(args.data, "captioner.%s.npy" % part)),
                    fit.read_rows(os.path.join(args.data, "captioner.%s.tsv" % part))) for part in PARTS}
    rows = {part: own for part, (_, own) in parts.items()}
    training = None
    if not args.measure_only:
        vocab = vocabulary(rows["train"])
        net, training = train(parts, vocab, args)
        eye = net.take_eye()
        fit.write_model(out, net, config(len(vocab["tokens"])), vocab)
        np.savez(os.path.join(out, "eye.npz"), **{name: tensor.numpy().astype("<f2") for name, tensor in eye.state_dict().items()})
    model, eye = exact.Model(out), features.Eye(os.path.join(out, "eye.npz"))
    coder = Coder(model.vocab)
    vectors = {part: eye.features(parts[part][0]) for part in PARTS[1:]}
    said = {part: answers(model, coder, vectors[part]) for part in PARTS[1:]}
    quality = quality_of({part: [text for text, _ in some] for part, some in said.items()}, rows)
    examples = shown(rows["test"], vectors["test"], said["test"])
    quality.update({"testfile_n": len(examples), "testfile_exact": float(np.mean([e["label"] == e["pred"] for e in examples]))})
    few = chosen(examples)
    runs = [exact.golden_caption(out, np.array([e["features"] for e in few[:2]]), [coder.ids(e["label"]) for e in few[:2]], coder.text, LONGEST)]
    fit.write_measured(out, DATA, args.seed, training, quality, runs, NOTES)
    fit.write_lines(os.path.join(out, "test.jsonl"), examples)
    with open(os.path.join(out, "example.json"), "w", encoding="utf-8") as f:
        json.dump({"model": "captioner", "inputs": [[e["features"]] for e in few], "temperature": 0}, f)
        f.write("\n")
    for example in few:
        print("example.json: %(label)s, %(picture)s" % example)


if __name__ == "__main__":
    main()
