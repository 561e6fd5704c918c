#!/usr/bin/python3
"""Trains `g2p`: from the spelling of an English word to its sounds, by an encoder, a decoder and attention.

    models/pretrained/g2p/prepare.py --npm NPM/node_modules --out DATA
    models/pretrained/g2p/train.py --data DATA --out FOLDER

Writes a model folder to FOLDER/g2p, weights in half precision, and measures it as it stands on disk, in float64.
`--steps-max 300` is a trial of a minute.  Needs Debian's python3-torch, python3-numpy and libopenblas0-pthread.
"""
import argparse
import os
import sys

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import exact  # noqa: E402
import fit  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

ENCODER, EMBEDDING, DROPOUT = 128, 64, 0.2  # units of one direction
DECODER = 2 * ENCODER                       # its first state is the encoder's two last ones, side by side
PAD = -1                                    # a target that no loss counts
LONGEST = 32
WIDTH = 5     # of the beam
SHOWN = 1000  # examples in test.jsonl
GOLDEN = ("daemon", "recurrent", "colonel", "o'brien", "unthinkable", "rnnd")
DATA = ("CMU Pronouncing Dictionary (2-clause BSD, (c) Carnegie Mellon University), npm package cmu-pronouncing-dictionary 3.0.0")
NOTES = ("greedy, and with a beam of 5 (texts ranked by log p over length). A phoneme error is a substitution, an insertion or a deletion against the nearest of the dictionary's pronunciations; the rate is "
         "errors by the phonemes of that pronunciation; a word counts as right if it equals one of them. without_stress: digits cut off. "
         "All figures: float64 from the stored half-precision weights")


class Net(nn.Module):
    """Modules carry the names of the folder's tensors."""

    def __init__(self, n_source, n_target):
        super().__init__()
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.embedding = nn.Embedding(n_source, EMBEDDING)
        self.encoder.rnn = nn.GRU(EMBEDDING, ENCODER, batch_first=True, bidirectional=True)
        self.decoder.embedding = nn.Embedding(n_target, EMBEDDING)
        self.decoder.rnn = nn.GRU(EMBEDDING, DECODER, batch_first=True)
        self.decoder.attention = nn.Module()
        self.decoder.attention.key = nn.Linear(2 * ENCODER, DECODER, bias=False)
        self.decoder.attention.combine = nn.Linear(2 * ENCODER + DECODER, DECODER, bias=False)
        self.decoder.head = nn.Linear(DECODER, n_target)

    def drop(self, x):
        return F.dropout(x, DROPOUT, self.training)

    def forward(self, source, fed):
        """source [B,S], fed [B,T]: bos and the target -> logits [B,T,C]"""
        memory, ends = self.encoder.rnn(self.drop(self.encoder.embedding(source)))
        memory = self.drop(memory)
        h, _ = self.decoder.rnn(self.drop(self.decoder.embedding(fed)), torch.cat((ends[0], ends[1]), -1)[None])
        weights = (h @ self.decoder.attention.key(memory).transpose(1, 2)).softmax(-1)
        answer = torch.tanh(self.decoder.attention.combine(torch.cat((weights @ memory, h), -1)))
        return self.decoder.head(self.drop(answer))


def config(vocab):
    def stack(tokens, hidden, bidirectional):
        return {"topology": "synced", "input": {"kind": "embedding", "size": tokens, "dim": EMBEDDING},
                "rnn": {"cell": "gru", "hidden_size": hidden, "num_layers": 1, "bidirectional": bidirectional, "bias": True, "proj_size": 0}}
    n = len(vocab["target"])
    return {"schema": "rnnd-ref-1", "name": "g2p", "topology": "seq2seq", "state_transfer": "concat",
            "bos": vocab["bos"], "eos": vocab["eos"], "max_len": LONGEST,
            "encoder": stack(len(vocab["source"]), ENCODER, True),
            "decoder": {**stack(n, DECODER, False), "head": {"size": n, "bias": True, "tied": False, "activation": "softmax"},
                        "attention": {"kind": "general", "combine": DECODER}}}


def vocabulary(rows):
    letters = sorted({letter for row in rows for letter in row[0]})
    sounds = sorted({sound for row in rows for some in row[1:] for sound in some.split()})
    return {"kind": "char to symbol", "lowercase": True, "source": letters, "target": ["<s>", "</s>", *sounds], "bos": 0, "eos": 1}


class Coder:
    def __init__(self, vocab):
        self.vocab = vocab
        self.source = {token: i for i, token in enumerate(vocab["source"])}
        self.target = {token: i for i, token in enumerate(vocab["target"])}

    def word(self, text):
        return [self.source[letter] for letter in text]

    def sounds(self, text):
        return [self.target[sound] for sound in text.split()]

    def text(self, ids):
        return " ".join(self.vocab["target"][i] for i in ids if i not in (self.vocab["bos"], self.vocab["eos"]))


def padded(rows, value):
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


def train(rows, coder, args):
    bos, eos = coder.vocab["bos"], coder.vocab["eos"]
    net = Net(len(coder.source), len(coder.target))
    pairs = {part: [(coder.word(row[0]), coder.sounds(some)) for row in rows[part] for some in row[1:]] for part in ("train", "val")}

    def loss_of(places, part="train"):
        """Padding after the end changes nothing before it, and counts for nothing."""
        chosen = [pairs[part][i] for i in places]
        fed = padded([[bos] + target for _, target in chosen], eos)
        wanted = padded([target + [eos] for _, target in chosen], PAD)
        logits = net(torch.tensor([source for source, _ in chosen]), fed)
        return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=PAD)

    def look():
        groups = exact.by_length([source for source, _ in pairs["val"]])
        return "validation loss %.4f nats per sound" % np.mean([float(loss_of(group, "val")) for group in groups])

    return net, fit.train(net, [len(source) for source, _ in pairs["train"]], loss_of, look, args)


def errors(got, want):
    """Smallest number of substitutions, insertions and deletions between two lists."""
    row = list(range(len(want) + 1))
    for i, g in enumerate(got, 1):
        before, row[0] = row[0], i
        for j, w in enumerate(want, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (g != w))
    return row[-1]


def nearest(got, wants):
    """-> errors against the nearest pronunciation, its length"""
    return min((errors(got, want), -len(want)) for want in wants)


def answers(model, coder, rows):
    """-> (text, smallest gap between best and second logit) of each word"""
    def compute(batch):
        ids, gap = model.translate(batch, LONGEST)
        return [(coder.text(i), float(g)) for i, g in zip(ids, gap)]
    return exact.over_batches([coder.word(row[0]) for row in rows], compute)


def searched(model, coder, rows):
    """-> (text, score of the best less that of the second) of each word, by a beam"""
    found = []
    for row in rows:
        (best, first), (_, second) = model.beam(coder.word(row[0]), WIDTH, LONGEST)[:2]
        found.append((coder.text(best), first - second))
    return found


def measure(said, rows):
    quality = {}
    for name, clean in (("", lambda text: text), ("_without_stress", lambda text: "".join(c for c in text if not c.isdigit()))):
        found = [nearest(clean(got).split(), [clean(want).split() for want in row[1:]]) for (got, _), row in zip(said, rows)]
        quality["phoneme_error_rate" + name] = sum(e for e, _ in found) / sum(-n for _, n in found)
        quality["word_accuracy" + name] = sum(e == 0 for e, _ in found) / len(found)
    return quality


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args = fit.options(parser, epochs=9, batch=128, learning_rate=3e-3)
    out = os.path.join(args.out, "g2p")
    rows = {part: fit.read_rows(os.path.join(args.data, "g2p.%s.tsv" % part)) for part in ("train", "val", "test")}
    training = None
    if not args.measure_only:
        vocab = vocabulary(rows["train"])
        net, training = train(rows, Coder(vocab), args)
        fit.write_model(out, net, config(vocab), vocab)
    model = exact.Model(out)
    coder = Coder(model.vocab)
    said, best = answers(model, coder, rows["test"]), searched(model, coder, rows["test"])
    quality = {"test_n": len(rows["test"])}
    for name, some in (("test", said), ("test_beam", best)):
        quality.update({"%s_%s" % (name, key): value for key, value in measure(some, rows["test"]).items()})
    examples = [{"text": row[0], "label": list(row[1:]), "pred": got, "margin": float("%.4g" % gap), "beam": found,
                 "beam_margin": float("%.4g" % lead)}
                for row, (got, gap), (found, lead) in zip(rows["test"], said, best)][:SHOWN]
    quality["testfile_n"] = len(examples)
    for name, key in (("word_accuracy", "pred"), ("beam_word_accuracy", "beam")):
        quality["testfile_" + name] = float(np.mean([e[key] in e["label"] for e in examples]))
    runs = []
    for word, (text, _) in zip(GOLDEN, answers(model, coder, [(word,) for word in GOLDEN])):
        runs.append(exact.golden_translate(out, [coder.word(word)], [coder.sounds(text)], [word], coder.text, LONGEST))
    fit.write_measured(out, DATA, args.seed, training, quality, runs, NOTES)
    fit.write_lines(os.path.join(out, "test.jsonl"), examples)


if __name__ == "__main__":
    main()
