#!/usr/bin/python3
"""Trains `kjv`: an LSTM of 2 x 256 that predicts the next character of the King James Bible.  40 minutes on one core.

    models/pretrained/kjv/prepare.py --out DATA
    models/pretrained/kjv/train.py --data DATA --out FOLDER

Writes a model folder, with the test text, to FOLDER/kjv.  The text is cut into `batch` parallel strands, read `steps` characters
at a time; each strand's state is carried on, so the net learns to use what it read before the gradient reaches.
`--steps-max 300` is a trial of a minute; `--golden-only` rewrites golden.json of the finished folder FOLDER/kjv.
Needs Debian's python3-torch and python3-numpy, and libopenblas0-pthread to be done today.
"""
import argparse
import json
import math
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import folder  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

HIDDEN, LAYERS, EMBEDDING = 256, 2, 64
DATA = "King James Version (public domain), Debian package bible-kjv-text"
NOTES = ("bits per character: the file test.txt as one sequence, state carried from the start, zero initial state, "
         "mean of -log2 p(next character) over all characters but the first")
PROMPTS = (("In the beginning ", 200), ("And the LORD said unto ", 200), ("Blessed ", 120))
GLIMPSE = 40000  # validation characters looked at after each pass


def build(vocabulary):
    net = folder.Net(folder.shape_of("kjv", vocabulary, "lstm", HIDDEN, LAYERS, EMBEDDING))
    for layer in range(LAYERS):  # forget gates (the second quarter) open at the start: long memory is easier to lose than to find
        getattr(net.rnn, "bias_ih_l%d" % layer).data[HIDDEN:2 * HIDDEN] = 1
    return net


def strands(ids, batch):
    """-> inputs and targets, both [batch, length]: the text side by side, targets one character on"""
    length = (len(ids) - 1) // batch
    ids = torch.tensor(ids)
    return ids[:batch * length].view(batch, length), ids[1:batch * length + 1].view(batch, length)


def schedule(total):
    """Warm up over 100 steps, then half a cosine down to 2 %."""
    def factor(step):
        cosine = 0.5 * (1 + math.cos(math.pi * min(1, step / total)))
        return min(1, (step + 1) / 100) * (0.02 + 0.98 * cosine)
    return factor


def train(net, ids, validation, args):
    """-> what metrics.json says of the training"""
    clock = folder.Clock()
    inputs, targets = strands(ids, args.batch)
    windows = math.ceil(inputs.shape[1] / args.steps)
    total = min(args.epochs * windows, args.steps_max or math.inf)
    optimizer = torch.optim.Adam(net.parameters(), lr=args.learning_rate, betas=(0.9, 0.99))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule(total))
    step, nats = 0, 0.0
    while step < total:
        window = step % windows
        if window == 0:
            state = folder.ZERO_STATE
        piece = slice(window * args.steps, (window + 1) * args.steps)
        optimizer.zero_grad()
        logits, state = net(inputs[:, piece], state)
        state = tuple(part.detach() for part in state)
        loss = F.cross_entropy(logits.flatten(0, 1), targets[:, piece].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        step, nats = step + 1, nats + float(loss)
        if step % args.report == 0:
            print("step %d of %d: %.3f bits per character, %s"
                  % (step, total, nats / args.report / math.log(2), clock), flush=True)
            nats = 0.0
        if step % windows == 0:
            print("pass %d: %.3f bits per character of validation text"
                  % (step // windows, folder.bits_per_character(net, validation[:GLIMPSE])), flush=True)
    return {"epochs": args.epochs, "updates": step, "batch": args.batch, "steps_per_chunk": args.steps,
            "learning_rate": args.learning_rate, "train_chars": len(ids),
            "train_seconds": round(clock.seconds()), "threads": args.threads}


def golden_runs(net, vocabulary, test):
    return [folder.golden_texts(net, vocabulary, ["And God said, "]),
            *(folder.golden_greedy(net, vocabulary, prompt, n) for prompt, n in PROMPTS),
            folder.golden_chunks(net, vocabulary, [test[:3], test[3:4], test[4:6]])]


def measure(net, vocabulary, validation, test):
    return {"val_bpc": folder.bits_per_character(net, validation),
            "test_bpc": folder.bits_per_character(net, vocabulary.encode(test)),
            "test_first_5000_chars_bpc_float32": folder.bits_per_character(net, vocabulary.encode(test[:5000]))}


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def rewrite_golden(out):
    vocabulary = folder.Vocabulary(json.loads(read(os.path.join(out, "vocab.json")))["tokens"])
    net = build(vocabulary)
    folder.load_weights(net, os.path.join(out, "model.safetensors"))
    net.eval()
    quality = json.loads(read(os.path.join(out, "metrics.json")))["quality"]
    folder.write_golden(out, net, quality, golden_runs(net, vocabulary, read(os.path.join(out, "test.txt"))))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder that prepare.py made")
    parser.add_argument("--out", required=True, help="folder to put the model folder into")
    parser.add_argument("--epochs", type=int, default=8, help="passes over the text (default: %(default)s)")
    parser.add_argument("--steps-max", type=int, help="stop after that many updates")
    parser.add_argument("--batch", type=int, default=48, help="strands side by side (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="characters the gradient goes back (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=4e-3, help="at its highest (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="another number may give other last digits")
    parser.add_argument("--report", type=int, default=100, help="updates between two lines (default: %(default)s)")
    parser.add_argument("--golden-only", action="store_true", help="train nothing")
    args = parser.parse_args()
    if not args.data and not args.golden_only:
        parser.error("--data is needed to train")
    return args


def main():
    args = arguments()
    out = os.path.join(args.out, "kjv")
    torch.set_num_threads(args.threads)
    if args.golden_only:
        rewrite_golden(out)
        return
    text = {part: read(os.path.join(args.data, part + ".txt")) for part in ("train", "val", "test")}
    vocabulary = folder.Vocabulary(sorted(set(text["train"])))
    validation = vocabulary.encode(text["val"])

    torch.manual_seed(args.seed)
    net = build(vocabulary)
    training = train(net, vocabulary.encode(text["train"]), validation, args)
    net.eval()
    quality = measure(net, vocabulary, validation, text["test"])
    folder.write_folder(out, net, vocabulary, DATA, args.seed, training, quality,
                        golden_runs(net, vocabulary, text["test"]), NOTES)
    with open(os.path.join(out, "test.txt"), "w", encoding="utf-8") as f:
        f.write(text["test"])


if __name__ == "__main__":
    main()
