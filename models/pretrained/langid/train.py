#!/usr/bin/python3
"""Trains `langid`: the language of a single word, by a GRU that reads it from both ends.  Ten minutes on one core.

    models/pretrained/langid/prepare.py --out DATA
    models/pretrained/langid/train.py --data DATA --out FOLDER

Writes a model folder to FOLDER/langid, weights in half precision, and measures it as it stands on disk, in float64.
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

HIDDEN, EMBEDDING = 128, 32
LABELS = ["en", "fr", "de", "es", "it", "nl", "pt", "pl", "sv", "da", "cs", "hu", "ro", "tr", "el", "bg", "uk"]
SHOWN = 3000  # examples in test.jsonl
DATA = ("Debian packages wamerican (SCOWL, permissive), wfrench (GPL-2+), wngerman (GPL-2+), wspanish (public domain), witalian (GPL-3+), "
        "wdutch (BSD or CC-BY-3.0), wportuguese (GPL-2+/LGPL-2.1+/MPL-1.1), wpolish (GPL-2/LGPL-2.1/MPL-1.1/Apache-2.0/CC-BY-4.0), "
        "wswedish (GPL-2+), wdanish (GPL-2+), wbulgarian (GPL-2), wukrainian (GPL/LGPL), aspell-cs (GPL-2), aspell-el (GPL), "
        "aspell-hu (GPL-2), aspell-ro (GPL-2+), hunspell-tr (the dictionary's own licence: its copyright file)")
NOTES = ("a word's characters by the tokens, lower case; a character that is not there is unk. Words on the lists of two languages were left "
         "out. All figures: float64 from the stored half-precision weights")


class Net(nn.Module):
    def __init__(self, tokens, labels):
        super().__init__()
        self.embedding = nn.Embedding(tokens, EMBEDDING)
        self.rnn = nn.GRU(EMBEDDING, HIDDEN, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * HIDDEN, labels)

    def forward(self, ids):
        _, ends = self.rnn(self.embedding(ids))
        return self.head(torch.cat((ends[0], ends[1]), -1))


def config(tokens):
    return {"schema": "rnnd-ref-1", "name": "langid", "topology": "many_to_one", "pool": "final",
            "input": {"kind": "embedding", "size": tokens, "dim": EMBEDDING},
            "rnn": {"cell": "gru", "hidden_size": HIDDEN, "num_layers": 1, "bidirectional": True, "bias": True, "proj_size": 0},
            "head": {"size": len(LABELS), "bias": True, "tied": False, "activation": "softmax"}}


def vocabulary(rows):
    """unk, then the characters seen in ten words or more, most frequent first"""
    count = {}
    for _, word in rows:
        for character in word:
            count[character] = count.get(character, 0) + 1
    seen = sorted((c for c in count if count[c] >= 10), key=lambda c: (-count[c], c))
    return {"kind": "char", "lowercase": True, "unk": 0, "tokens": ["<unk>", *seen], "labels": LABELS}


def encode(vocab, words):
    id_of = {token: i for i, token in enumerate(vocab["tokens"])}
    return [[id_of.get(c, vocab["unk"]) for c in word] for word in words]


def train(rows, vocab, args):
    net = Net(len(vocab["tokens"]), len(LABELS))
    ids = {part: encode(vocab, [word for _, word in rows[part]]) for part in ("train", "val")}
    gold = {part: torch.tensor([LABELS.index(label) for label, _ in rows[part]]) for part in ("train", "val")}

    def logits(part, places):
        return net(torch.tensor([ids[part][i] for i in places]))

    def look():
        right = sum(int((logits("val", places).argmax(-1) == gold["val"][places]).sum()) for places in exact.by_length(ids["val"]))
        return "%.4f of the validation words right" % (right / len(ids["val"]))

    training = fit.train(net, [len(i) for i in ids["train"]],
                         lambda places: F.cross_entropy(logits("train", places), gold["train"][places]), look, args)
    return net, training


def judge(model, rows):
    """-> right or wrong of each row, logits of each row"""
    ids = encode(model.vocab, [word for _, word in rows])
    logits = np.array(exact.over_batches(ids, lambda batch: model.classify(batch)[0]))
    return np.array([LABELS.index(label) for label, _ in rows]), logits


def measure(model, rows):
    quality = {}
    for part in ("val", "test"):
        gold, logits = judge(model, rows[part])
        answer = logits.argmax(-1)
        quality.update({part + "_n": len(gold), part + "_accuracy": float((gold == answer).mean())})
    quality["test_top3_accuracy"] = float((np.argsort(-logits, -1)[:, :3] == gold[:, None]).any(-1).mean())
    f1 = [2 * int(((gold == k) & (answer == k)).sum()) / max(1, int((gold == k).sum() + (answer == k).sum())) for k in range(len(LABELS))]
    quality["test_f1_by_label"] = {label: round(f, 4) for label, f in zip(LABELS, f1)}
    return quality


def shown(model, rows):
    gold, logits = judge(model, rows)
    two = np.sort(logits, -1)[:, -2:]
    return [{"text": word, "label": label, "pred": LABELS[int(row.argmax())], "margin": float("%.4g" % (b - a))}
            for (label, word), row, (a, b) in zip(rows, logits, two)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args = fit.options(parser, epochs=6, batch=128, learning_rate=4e-3)
    out = os.path.join(args.out, "langid")
    rows = {part: fit.read_rows(os.path.join(args.data, "langid.%s.tsv" % part)) for part in ("train", "val", "test")}
    training = None
    if not args.measure_only:
        vocab = vocabulary(rows["train"])
        net, training = train(rows, vocab, args)
        fit.write_model(out, net, config(len(vocab["tokens"])), vocab)
    model = exact.Model(out)
    examples = shown(model, rows["test"][:SHOWN])
    few = examples[:6]
    runs = [exact.golden_lengths(out, encode(model.vocab, [e["text"] for e in few]),
                                 {"texts": [e["text"] for e in few], "labels": [e["label"] for e in few], "pred": [e["pred"] for e in few]})]
    quality = measure(model, rows)
    quality.update({"testfile_n": len(examples), "testfile_accuracy": float(np.mean([e["label"] == e["pred"] for e in examples]))})
    fit.write_measured(out, DATA, args.seed, training, quality, runs, NOTES)
    fit.write_lines(os.path.join(out, "test.jsonl"), examples)


if __name__ == "__main__":
    main()
