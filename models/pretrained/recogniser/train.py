#!/usr/bin/python3
"""Trains `recogniser`: a GRU of 2 x 128 that hears speech frame by frame and names the phoneme being spoken.  10 minutes on one core.

    models/pretrained/kjv/prepare.py --out TEXTS
    models/pretrained/recogniser/prepare.py --kjv TEXTS --out DATA
    models/pretrained/recogniser/train.py --data DATA --out FOLDER

Writes a model folder to FOLDER/recogniser, weights in half precision, and measures it as it stands on disk, in float64.  What a frame is
answered with is the sound of four frames before: the network may hear 40 ms more before it decides.  Utterances are shuffled before each
pass and joined into parallel strands, whose state is carried on: the network learns to go on for hours, from one speaker to the next.
Loudness and noise vary at random.  `--steps-max 100` is a trial of a minute.  Needs Debian's python3-torch and python3-numpy.
"""
import argparse
import math
import os
import sys

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import exact  # noqa: E402
import fit  # noqa: E402
import folder  # noqa: E402
import frames  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

NAME, HIDDEN, LAYERS, DROPOUT = "recogniser", 128, 2, 0.2
SILENCE = 0
DELAY = 4  # frames between a sound and its name
STEPS = 100  # frames the gradient goes back
LOUDNESS = 1.0  # standard deviation of a gain for each strand and window, in natural logarithms of energy
NOISE = (-13.0, -8.0)  # noise floor of a window is drawn from here
SHOWN = 14  # utterances in test.jsonl: one of each test voice
DATA = ("the King James Bible (public domain, Debian package bible-kjv-text) spoken by Debian's espeak-ng (GPL-3+): "
        "voice en-us in 80 variants; no human voice")
NOTES = ("test utterances: other voices and other verses than in training, each by itself from a zero state. phoneme_error: edits (insert, "
         "delete, replace) that turn the names heard, repeats joined and silence left out, into those spoken, over the number spoken. "
         "lone_frames: a linear classifier of single frames, without memory and without delay. human: five sentences that a person reads "
         "(LibriVox, Debian package pocketsphinx-testdata), against the phonemes that espeak-ng would speak. All figures: float64 from the stored "
         "half-precision weights")


class Speech:
    """A part that prepare.py made."""

    def __init__(self, path):
        with np.load(path) as part:
            self.frames, self.labels, self.ends = part["frames"], part["labels"].astype(np.int64), part["ends"]
            self.voices, self.texts, self.names = (part[key].tolist() for key in ("voices", "texts", "names"))
        self.begins = np.concatenate([[0], self.ends[:-1]])

    def utterance(self, at):
        """-> frames, labels, delayed labels"""
        piece = slice(self.begins[at], self.ends[at])
        return self.frames[piece], self.labels[piece], delayed(self.labels[piece])


def delayed(labels):
    return np.concatenate([np.full(DELAY, SILENCE), labels[:-DELAY]])


# ------------------------------------------------------------------ training --
def strands(speech, batch, draw):
    """-> frames [batch, length, F] and delayed labels [batch, length]: all utterances in random order"""
    order = draw.permutation(len(speech.ends))
    parts = [speech.utterance(at) for at in order]
    x, y = np.concatenate([p[0] for p in parts]), np.concatenate([p[2] for p in parts])
    length = len(x) // batch
    return (torch.from_numpy(a[:batch * length].reshape(batch, length, *a.shape[1:])) for a in (x, y))


def roughened(x, draw):
    """A window of all strands, each louder or softer and with a noise floor of its own"""
    gain = torch.from_numpy(draw.normal(0, LOUDNESS, (len(x), 1, 1)).astype(np.float32))
    floor = torch.from_numpy(draw.uniform(*NOISE, (len(x), 1, 1)).astype(np.float32))
    noise = floor + torch.from_numpy(draw.gumbel(0, 0.5, x.shape).astype(np.float32)).neg()
    return torch.logaddexp(x + gain, noise)


def train(net, speech, args):
    """-> what metrics.json says of the training"""
    clock, draw = folder.Clock(), np.random.default_rng(args.seed)
    windows = math.ceil(len(speech.frames) // args.batch / STEPS)
    total = min(args.epochs * windows, args.steps_max or math.inf)
    optimizer = torch.optim.Adam(net.parameters(), lr=args.learning_rate)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.learning_rate, total, pct_start=0.1)
    net.train()
    step, nats, right = 0, 0.0, 0.0
    while step < total:
        at = step % windows
        if at == 0:
            inputs, targets = strands(speech, args.batch, draw)
            state = None
        piece = slice(at * STEPS, (at + 1) * STEPS)
        optimizer.zero_grad()
        logits, state = net(roughened(inputs[:, piece], draw), state)
        state = state.detach()
        loss = F.cross_entropy(logits.flatten(0, 1), targets[:, piece].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        step, nats = step + 1, nats + float(loss)
        right += float((logits.argmax(-1) == targets[:, piece]).float().mean())
        if step % args.report == 0:
            print("step %d of %d: %.3f nats, %.1f %% of frames, %s"
                  % (step, total, nats / args.report, 100 * right / args.report, clock), flush=True)
            nats, right = 0.0, 0.0
    net.eval()
    return {"epochs": args.epochs, "updates": step, "batch": args.batch, "steps": STEPS, "learning_rate": args.learning_rate,
            "dropout": DROPOUT, "train_frames": len(speech.frames), "train_seconds": round(clock.seconds()), "threads": args.threads}


# ------------------------------------------------------------------- quality --
def spoken(labels):
    """Labels of frames -> the phonemes one after another, without silence"""
    changes = labels[np.concatenate([[True], labels[1:] != labels[:-1]])]
    return changes[changes != SILENCE]


def edits(heard, said):
    """Levenshtein's distance, a row at a time"""
    row = list(range(len(said) + 1))
    for i, one in enumerate(heard, 1):
        above, row = row, [i]
        for j, other in enumerate(said):
            row.append(min(above[j + 1] + 1, row[j] + 1, above[j] + int(one != other)))
    return row[-1]


class Tally:
    def __init__(self):
        self.frames = self.right = self.edits = self.said = 0

    def add(self, heard, want, said):
        """heard, want: labels of frames; said: phonemes"""
        self.frames += len(want)
        self.right += int((heard == want).sum())
        self.edits += edits(spoken(heard).tolist(), said.tolist())
        self.said += len(said)

    def result(self):
        return {"frames": self.frames, "frame_accuracy": self.right / self.frames,
                "phonemes": self.said, "phoneme_error": self.edits / self.said}


def lone_frames(speech):
    """-> frames -> labels: a linear softmax classifier of single frames, by 400 updates of 4,096 frames"""
    scale = frames.Scale(speech.frames.mean(0), speech.frames.std(0))
    x, y = torch.from_numpy(speech.frames), torch.from_numpy(speech.labels)
    layer = nn.Linear(x.shape[1], len(speech.names))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    for _ in range(400):
        pick = torch.randint(len(x), (4096,))
        optimizer.zero_grad()
        F.cross_entropy(layer(scale(x[pick])), y[pick]).backward()
        optimizer.step()
    return lambda some: layer(scale(torch.from_numpy(some))).argmax(-1).numpy()


def heard_by(model, speech):
    """-> labels heard of each utterance"""
    sounds = [speech.utterance(at)[0] for at in range(len(speech.ends))]
    return exact.over_batches(sounds, lambda batch: model.label(batch)[0].argmax(-1))


def measure(model, speech, heard, baseline):
    tally, naive, by_voice = Tally(), Tally(), {}
    for at, labels in enumerate(heard):
        sound, said, want = speech.utterance(at)
        tally.add(labels, want, spoken(want))
        naive.add(baseline(sound), said, spoken(said))
        by_voice.setdefault(speech.voices[at], []).append(labels == want)
    return {"test": tally.result(),
            "test_frame_accuracy_by_voice": {voice: round(float(np.concatenate(v).mean()), 3) for voice, v in sorted(by_voice.items())},
            "always_silence_frame_accuracy": float((speech.labels == SILENCE).mean()),
            "lone_frames": naive.result()}


def measure_human(model, path, names):
    """What a person reads, of which no frame is labelled"""
    wrong = said = 0
    with np.load(path) as part:
        for begin, end, phonemes in zip([0, *part["ends"]], part["ends"], part["phonemes"].tolist()):
            heard = spoken(model.label(part["frames"][None, begin:end])[0][0].argmax(-1))
            wrong += edits([names[i] for i in heard], phonemes.split())
            said += len(phonemes.split())
    return {"phonemes": said, "phoneme_error": wrong / said}


# --------------------------------------------------------------------- files --
def shown(speech):
    """Utterances for test.jsonl, the shortest of each voice; frames with two decimals"""
    rows = []
    for voice in sorted(set(speech.voices))[:SHOWN]:
        own = [at for at, v in enumerate(speech.voices) if v == voice]
        at = min(own, key=lambda at: speech.ends[at] - speech.begins[at])
        sound, _, want = speech.utterance(at)
        rows.append({"voice": voice, "text": speech.texts[at], "phonemes": [speech.names[i] for i in spoken(want)],
                     "labels": want.tolist(), "frames": [[round(float(v), 2) for v in frame] for frame in sound]})
    return rows


def measure_shown(model, rows):
    tally = Tally()
    for row in rows:
        want = np.array(row["labels"])
        tally.add(model.label([row["frames"]])[0][0].argmax(-1), want, spoken(want))
    return tally.result()


def golden_runs(out, rows):
    sounds = [row["frames"] for row in rows]
    return [exact.golden_lengths(out, [sounds[0][40:64], sounds[1][50:83], sounds[2][60:61]], {}),
            exact.golden_chunks(out, sounds[3][40:80], [1, 2, 10, 27])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args = fit.options(parser, epochs=18, batch=64, learning_rate=4e-3)
    out = os.path.join(args.out, NAME)
    speech, test = (Speech(os.path.join(args.data, part + ".npz")) for part in ("train", "test"))
    training = None
    if not args.measure_only:
        config = frames.config(NAME, speech.frames.shape[1], "gru", HIDDEN, LAYERS, {"size": len(speech.names), "activation": "softmax"})
        net = frames.Net(config, frames.Scale(speech.frames.mean(0), speech.frames.std(0)), dropout=DROPOUT)
        training = train(net, speech, args)
        fit.write_model(out, net, config, {"labels": speech.names})
    model, rows = exact.Model(out), shown(test)
    torch.manual_seed(1)
    quality = measure(model, test, heard_by(model, test), lone_frames(speech))
    quality["human"] = measure_human(model, os.path.join(args.data, "human.npz"), test.names)
    quality["testfile"] = measure_shown(model, rows)
    fit.write_measured(out, DATA, args.seed, training, quality, golden_runs(out, rows), NOTES)
    fit.write_lines(os.path.join(out, "test.jsonl"), rows)


if __name__ == "__main__":
    main()
