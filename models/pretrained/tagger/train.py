#!/usr/bin/python3
"""Trains `tagger`: capital letters and punctuation for words that have none, by two GRU layers that read the words from both ends.

    models/pretrained/tagger/prepare.py --out DATA
    models/pretrained/tagger/train.py --data DATA --out FOLDER

Writes a model folder to FOLDER/tagger, weights in half precision, and measures it as it stands on disk, in float64.
`--steps-max 300` is a trial of a minute.  Needs Debian's python3-torch, python3-numpy and libopenblas0-pthread.
"""
import argparse
import collections
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

HIDDEN, LAYERS, EMBEDDING = 96, 2, 64
DROPOUT, FORGOTTEN = 0.2, 0.03  # of the words that are known, so many of a hundred are read as unknown
SEEN = 3  # times that a word has to be seen to have a token
MARKS = ",.;:?!"
LABELS = ["a", "A", *("a" + mark for mark in MARKS), *("A" + mark for mark in MARKS)]
UNKNOWN = 0
SHOWN = 200  # stretches in test.jsonl
DATA = "World English Bible with Deuterocanon (public domain), Debian package sword-text-web 426.0"
NOTES = ("whole chapters were kept back; each stretch by itself. The last word of a stretch is left out where marks are counted: it always ends a "
         "sentence. capitals: words that begin with one. by_word: every word gets the label that it has most often in training. "
         "All figures: float64 from the stored half-precision weights")


class Net(nn.Module):
    def __init__(self, tokens):
        super().__init__()
        self.embedding = nn.Embedding(tokens, EMBEDDING)
        self.rnn = nn.GRU(EMBEDDING, HIDDEN, LAYERS, batch_first=True, bidirectional=True, dropout=DROPOUT)
        self.head = nn.Linear(2 * HIDDEN, len(LABELS))

    def forward(self, ids):
        if self.training:
            ids = ids.masked_fill(torch.rand(ids.shape) < FORGOTTEN, UNKNOWN)
        y, _ = self.rnn(F.dropout(self.embedding(ids), DROPOUT, self.training))
        return self.head(F.dropout(y, DROPOUT, self.training))


def config(tokens):
    return {"schema": "rnnd-ref-1", "name": "tagger", "topology": "synced",
            "input": {"kind": "embedding", "size": tokens, "dim": EMBEDDING},
            "rnn": {"cell": "gru", "hidden_size": HIDDEN, "num_layers": LAYERS, "bidirectional": True, "bias": True, "proj_size": 0},
            "head": {"size": len(LABELS), "bias": True, "tied": False, "activation": "softmax"}}


def vocabulary(rows):
    count = collections.Counter(word for words, _ in rows for word in words.split())
    seen = sorted((word for word in count if count[word] >= SEEN), key=lambda word: (-count[word], word))
    return {"kind": "word", "split": "words", "lowercase": True, "unk": UNKNOWN, "tokens": ["<unk>", *seen], "labels": LABELS}


def encode(vocab, rows):
    """-> ids of the words, ids of the labels"""
    id_of = {token: i for i, token in enumerate(vocab["tokens"])}
    label_of = {label: i for i, label in enumerate(vocab["labels"])}
    return ([[id_of.get(word, UNKNOWN) for word in words.split()] for words, _ in rows],
            [[label_of[label] for label in labels.split()] for _, labels in rows])


def train(rows, vocab, args):
    net = Net(len(vocab["tokens"]))
    ids, gold = {}, {}
    for part in ("train", "val"):
        ids[part], gold[part] = encode(vocab, rows[part])

    def answer(part, places):
        return net(torch.tensor([ids[part][i] for i in places])), torch.tensor([gold[part][i] for i in places])

    def loss_of(places):
        logits, wanted = answer("train", places)
        return F.cross_entropy(logits.flatten(0, 1), wanted.flatten())

    def look():
        right = total = 0
        for places in exact.by_length(ids["val"]):
            logits, wanted = answer("val", places)
            right, total = right + int((logits.argmax(-1) == wanted).sum()), total + wanted.numel()
        return "%.4f of the validation words right" % (right / total)

    return net, fit.train(net, [len(i) for i in ids["train"]], loss_of, look, args)


def judge(model, rows):
    """-> labels of each row, logits of each row"""
    ids, gold = encode(model.vocab, rows)
    return gold, exact.over_batches(ids, lambda batch: model.label(batch)[0], 128)


def f1(gold, said):
    """Of a list of true and false"""
    return 2 * int((gold & said).sum()) / max(1, int(gold.sum() + said.sum()))


def measure(gold, said):
    """gold, said: label ids of each row"""
    ends = [len(row) - 1 for row in gold]
    inner = np.concatenate([np.arange(end + 1) < end for end in ends])
    gold, said = (np.array(LABELS)[np.concatenate(rows)] for rows in (gold, said))
    quality = {"n": len(gold), "accuracy": float((gold == said).mean())}
    first, mark = (lambda some: np.array([label[0] for label in some])), (lambda some: np.array([label[1:] for label in some]))
    quality["capitals_f1"] = f1(first(gold) == "A", first(said) == "A")
    gold_marks, said_marks = mark(gold[inner]), mark(said[inner])
    quality["marks_f1"] = 2 * int(((gold_marks == said_marks) & (gold_marks != "")).sum()) / int((gold_marks != "").sum() + (said_marks != "").sum())
    quality["marks_f1_by_mark"] = {m: round(f1(gold_marks == m, said_marks == m), 4) for m in MARKS}
    ended = np.isin(gold_marks, list(".?!")), np.isin(said_marks, list(".?!"))
    quality["sentence_ends_f1"] = f1(*ended)
    return quality


def by_word(model, rows):
    """-> what measure() says of the labels that each word has most often"""
    count = {}
    for ids, labels in zip(*encode(model.vocab, rows["train"])):
        for i, label in zip(ids, labels):
            count.setdefault(i, collections.Counter())[label] += 1
    best = {i: labels.most_common(1)[0][0] for i, labels in count.items()}
    ids, gold = encode(model.vocab, rows["test"])
    return measure(gold, [[best.get(i, 0) for i in row] for row in ids])


def shown(rows, gold, logits):
    examples = []
    for (words, labels), row in zip(rows, logits):
        two = np.sort(row, -1)[:, -2:]
        examples.append({"text": words, "label": labels, "pred": " ".join(LABELS[i] for i in row.argmax(-1)),
                         "margin": float("%.4g" % (two[:, 1] - two[:, 0]).min())})
    return examples


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args = fit.options(parser, epochs=4, batch=32, learning_rate=3e-3)
    out = os.path.join(args.out, "tagger")
    rows = {part: fit.read_rows(os.path.join(args.data, "tagger.%s.tsv" % part)) for part in ("train", "val", "test")}
    training = None
    if not args.measure_only:
        vocab = vocabulary(rows["train"])
        net, training = train(rows, vocab, args)
        fit.write_model(out, net, config(len(vocab["tokens"])), vocab)
    model, quality = exact.Model(out), {}
    for part in ("val", "test"):
        gold, logits = judge(model, rows[part])
        quality.update({"%s_%s" % (part, name): value
                        for name, value in measure(gold, [row.argmax(-1).tolist() for row in logits]).items()})
    for name, value in by_word(model, rows).items():
        if name != "n":
            quality["by_word_test_" + name] = value
    examples = shown(rows["test"][:SHOWN], gold, logits)
    right = [g == p for e in examples for g, p in zip(e["label"].split(), e["pred"].split())]
    quality.update({"testfile_n": len(right), "testfile_accuracy": float(np.mean(right))})
    few = sorted(examples, key=lambda e: len(e["text"]))[10:60:10]
    runs = [exact.golden_lengths(out, encode(model.vocab, [(e["text"], e["label"]) for e in few])[0],
                                 {"texts": [e["text"] for e in few], "labels": [e["label"] for e in few], "pred": [e["pred"] for e in few]})]
    fit.write_measured(out, DATA, args.seed, training, quality, runs, NOTES)
    fit.write_lines(os.path.join(out, "test.jsonl"), examples)


if __name__ == "__main__":
    main()
