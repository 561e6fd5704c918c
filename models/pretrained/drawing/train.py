#!/usr/bin/python3
"""Trains `drawing`: an LSTM of 256 that draws Chinese characters stroke by stroke, real ones and such as never were.  15 minutes on
one core.

    models/pretrained/drawing/prepare.py --package node_modules/hanzi-writer-data --out DATA
    models/pretrained/drawing/train.py --data DATA --out FOLDER

Writes a model folder to FOLDER/drawing, weights in half precision, and measures it as it stands on disk, in float64.  Trained by maximum
likelihood: what is said before each point is a mixture of bivariate Gaussians for its offset and odds for the pen (Graves 2013; the three
states of the pen are those of Ha and Eck 2017).  Drawings are stretched, slanted and turned a little at random each time; offsets, which
are whole numbers, get half a unit of noise, so that no density grows without bound.  `--steps-max 300` is a trial of a minute.
Needs Debian's python3-torch and python3-numpy.
"""
import argparse
import json
import math
import os
import sys

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import exact  # noqa: E402
import fit  # noqa: E402
import frames  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

NAME, HIDDEN, COMPONENTS, PEN = "drawing", 256, 16, 3
DROPOUT, WEIGHT_DECAY, STRETCHED, TURNED, ROUNDED = 0.25, 1e-5, 0.12, 0.06, 0.5
FIRST = [0, 0, 0, 0, 1]  # what is read before the first point: a drawing has ended
SHOWN = slice(0, 280, 7)  # of the test drawings, those in test.jsonl
NOTICE = ("Made in 2026 from the stroke centre lines of npm's hanzi-writer-data 2.0.1: simplified, cut and written as offsets. Derived from fonts "
          "of Arphic Technology, copyright 1999 Arphic Technology Co., Ltd., under the Arphic Public License: ARPHICPL.TXT")
PLAIN = ([[-250, -250, 1, 0, 0], [500, 0, 0, 1, 0], [-250, 0, 1, 0, 0], [0, 500, 0, 0, 1]],
         [[-200, -200, 1, 0, 0], [0, 400, 0, 1, 0], [0, -400, 1, 0, 0], [400, 0, 1, 0, 0], [0, 400, 0, 1, 0], [-400, 0, 1, 0, 0], [400, 0, 0, 0, 1]],
         [[0, -300, 1, 0, 0], [-80, 240, 1, 0, 0], [-170, 210, 0, 1, 0], [220, -300, 1, 0, 0], [90, 170, 1, 0, 0], [190, 180, 0, 0, 1]])
DATA = ("centre lines of the strokes of 5,791 Chinese characters of up to 12 strokes, npm package hanzi-writer-data 2.0.1, from the project "
        "Make Me a Hanzi, from fonts of Arphic Technology (Arphic Public License, ARPHICPL.TXT)")
NOTES = ("nats per point: mean of -log of the density of a point's offset (in thousandths of the em square; they are whole numbers, so about the "
         "probability of that very point) and of the probability of the pen's state after it, each drawing by itself behind the frame "
         "[0,0,0,0,1]; memoryless: a mixture of 16 Gaussians and odds of the pen for each state of the pen before. All figures: float64 "
         "from the stored half-precision weights")


def read(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def points_of(drawings):
    return [np.array(drawing["frames"], np.float32) for drawing in drawings]


def read_before(points):
    """points [..., steps, 5] -> what the network has read when it speaks of each"""
    first = np.broadcast_to(np.array(FIRST, np.float32), (*points.shape[:-2], 1, 5))
    return np.concatenate([first, points[..., :-1, :]], -2)


# ---------------------------------------------------------------- likelihood --
def nats(logits, offsets, pen):
    """-> -log density of offsets [...,2], in units of output.std, and -log probability of pen states [...] by logits [...,P+6M]"""
    pi, mu_x, mu_y, log_x, log_y, rho = logits[..., PEN:].chunk(6, -1)
    x, y = (offsets[..., :1] - mu_x) * torch.exp(-log_x), (offsets[..., 1:] - mu_y) * torch.exp(-log_y)
    log_cosh = rho.abs() + F.softplus(-2 * rho.abs()) - math.log(2)  # 1 - tanh² = cosh⁻²
    power = (x * x + y * y - 2 * torch.tanh(rho) * x * y) * torch.exp(2 * log_cosh)
    density = F.log_softmax(pi, -1) - math.log(2 * math.pi) - log_x - log_y + log_cosh - 0.5 * power
    return -density.logsumexp(-1), F.cross_entropy(logits[..., :PEN].movedim(-1, 1), pen, reduction="none")


def varied(batch, generator):
    """points [drawings, steps, 5], each drawing stretched, slanted and turned a little, and its offsets unrounded"""
    n = len(batch)
    matrix = torch.eye(2) + STRETCHED * (2 * torch.rand((n, 2, 2), generator=generator) - 1) * torch.eye(2)
    matrix = matrix + TURNED * torch.randn((n, 2, 2), generator=generator) * (1 - torch.eye(2))
    offsets = batch[..., :2] @ matrix
    offsets = offsets + ROUNDED * (2 * torch.rand(offsets.shape, generator=generator) - 1)
    return torch.cat([offsets, batch[..., 2:]], -1)


def loss_of(net, batch):
    """-> nats of each point of points [drawings, steps, 5], in units of output.std"""
    before = torch.cat([torch.tensor(FIRST).float().expand(len(batch), 1, 5), batch[:, :-1]], 1)
    return sum(nats(net(before)[0], net.output(batch[..., :2]), batch[..., 2:].argmax(-1)))


def train(net, points, args):
    generator = torch.Generator().manual_seed(args.seed)
    args.weight_decay = WEIGHT_DECAY

    def loss(places):
        return loss_of(net, varied(torch.from_numpy(np.stack([points["train"][i] for i in places])), generator)).mean()

    def look():
        total = sum(float(loss_of(net, torch.from_numpy(np.stack([points["val"][i] for i in places]))).sum())
                    for places in exact.by_length(points["val"]))
        n = sum(map(len, points["val"]))
        return "%.4f nats per point of the validation drawings" % (total / n + float(net.output.std.log().sum()))

    return fit.train(net, [len(p) for p in points["train"]], loss, look, args)


# ------------------------------------------------------------------- quality --
def nats_of(model, points):
    """-> nats of offset and pen of each point, in the units of the data"""
    def of_batch(batch):
        logits = torch.from_numpy(model.label(read_before(batch))[0])
        mean, std = model.tensors["output.mean"], model.tensors["output.std"]
        offsets = torch.from_numpy((batch[..., :2].astype(np.float64) - mean) / std)
        offset, pen = nats(logits, offsets, torch.from_numpy(batch[..., 2:].argmax(-1)))
        return np.stack([offset.numpy() + np.log(std).sum(), pen.numpy()], -1)
    return np.concatenate(exact.over_batches(points, of_batch))


def memoryless(points, scale):
    """-> logits [3, P+6M] for each state of the pen before, by 1,500 updates on the training points"""
    rows = np.concatenate(points["train"])
    before = np.concatenate([read_before(p) for p in points["train"]])[:, 2:].argmax(-1)
    table = nn.Embedding(3, PEN + 6 * COMPONENTS)
    optimizer = torch.optim.Adam(table.parameters(), lr=0.02)
    for _ in range(1500):
        pick = torch.randint(len(rows), (2048,))
        batch = torch.from_numpy(rows[pick])
        offsets = scale(batch[:, :2] + ROUNDED * (2 * torch.rand(len(pick), 2) - 1))
        optimizer.zero_grad()
        sum(nats(table(torch.from_numpy(before[pick])), offsets, batch[:, 2:].argmax(-1))).mean().backward()
        optimizer.step()
    return table


@torch.no_grad()
def memoryless_nats(table, points, scale):
    rows = torch.from_numpy(np.concatenate(points))
    before = torch.from_numpy(np.concatenate([read_before(p) for p in points])[:, 2:].argmax(-1))
    offset, pen = nats(table(before), scale(rows[:, :2]), rows[:, 2:].argmax(-1))
    return np.stack([(offset + scale.std.log().sum()).numpy(), pen.numpy()], -1)


def means(rows):
    offset, pen = rows.astype(np.float64).mean(0)
    return {"points": len(rows), "nats_per_point": float(offset + pen), "of_offset": float(offset), "of_pen": float(pen)}


def measure(model, points, scale):
    torch.manual_seed(1)
    table = memoryless(points, scale)
    return {"val": means(nats_of(model, points["val"])), "test": means(nats_of(model, points["test"])),
            "memoryless_test": means(memoryless_nats(table, points["test"], scale)),
            "testfile": means(nats_of(model, points["test"][SHOWN]))}


def golden_runs(out):
    """Of drawings made for it: the test drawings are under a licence of their own"""
    read = [[FIRST, *drawing] for drawing in PLAIN]
    return [exact.golden_lengths(out, read[:2], {}), exact.golden_chunks(out, read[2], [1, 2, 4])]


def scale_of(points):
    """Of offsets; the states of the pen are read as they are"""
    offsets = np.concatenate(points)[:, :2]
    mean, std = offsets.mean(0), offsets.std(0)
    return (frames.Scale([*mean, 0, 0, 0], [*std, 1, 1, 1]), frames.Scale(mean, std))


def build(points):
    config = frames.config(NAME, 5, "lstm", HIDDEN, 1, {"size": PEN + 6 * COMPONENTS, "activation": "mixture", "denormalize": True,
                                                        "components": COMPONENTS, "pen": PEN})
    net = frames.Net(config, *scale_of(points), dropout=DROPOUT)
    with torch.no_grad():  # forget gates open at the start
        net.rnn.bias_ih_l0[HIDDEN:2 * HIDDEN] = 1
    return config, net


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args = fit.options(parser, epochs=36, batch=64, learning_rate=4e-3)
    out = os.path.join(args.out, NAME)
    drawings = {part: read(os.path.join(args.data, part + ".jsonl")) for part in ("train", "val", "test")}
    points = {part: points_of(some) for part, some in drawings.items()}
    config, net = build(points["train"])
    training = None
    if not args.measure_only:
        training = train(net, points, args)
        fit.write_model(out, net, config)
    model = exact.Model(out)
    quality = measure(model, points, net.output)
    fit.write_measured(out, DATA, args.seed, training, quality, golden_runs(out), NOTES)
    fit.write_lines(os.path.join(out, "test.jsonl"), [{"notice": NOTICE}, *drawings["test"][SHOWN]])


if __name__ == "__main__":
    main()
