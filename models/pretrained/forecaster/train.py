#!/usr/bin/python3
"""Trains `forecaster`: a GRU of 64 that reads electricity demand half-hour by half-hour and says what comes, and how sure it is.
Four minutes on one core.

    models/pretrained/forecaster/prepare.py --out DATA
    models/pretrained/forecaster/train.py --data DATA --out FOLDER

Writes a model folder to FOLDER/forecaster, weights in half precision, and measures it as it stands on disk, in float64.  Trained by
maximum likelihood (a mean and a standard deviation: Nix and Weigend 1994) on stretches that begin at random places of the ten weeks,
each from a zero state: hour and weekday it has to tell from the demand itself.  `--hold-back`, to choose settings
by, keeps back the last two of the ten weeks and says how well they are forecast; `--updates 200` is a trial of a minute.  Needs Debian's
python3-torch and python3-numpy.
"""
import argparse
import csv
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

NAME, A_DAY, A_WEEK = "forecaster", 48, 336
HIDDEN = 64
NOISE, LOUDER = 40.0, 0.03  # MW added to each demand that is read; a stretch as a whole is larger or smaller by that share
WEIGHT_DECAY = 0.05
ORDERS = {"ar_48": range(48), "ar_week": [*range(4), *range(44, 52), *range(332, 340)]}  # how many half-hours back from the present
DATA = ("half-hourly electricity demand of England and Wales, 5 June to 27 August 2000 (Taylor 2003), "
        "series `taylor` of Debian's r-cran-forecast (GPL-3)")
NOTES = ("the two weeks after the ten of the training, read behind the last of these, from a zero state; MW. half_hour: one step ahead. "
         "inside: share of values within so many of the forecast's standard deviations (a Gaussian: 0.683, 0.954, 0.997). persistence: as the "
         "half-hour before; ar_48 and ar_week: least squares on the last 48 demands, and on 20 of the last week, over the ten weeks. day: the "
         "48 half-hours after each midnight, the model's own means fed back. All figures: float64 from the stored half-precision weights")


def read(path):
    """-> demand [half-hours]"""
    with open(path, newline="", encoding="utf-8") as f:
        return np.array([float(row["demand"]) for row in csv.DictReader(f)], np.float32)


# ------------------------------------------------------------------ training --
def loss_of(net, demand):
    """-log p of each demand [batch, steps] but the first, given those before, in units of output.std"""
    mean, log_std = net(demand[:, :-1, None])[0].chunk(2, -1)
    z = (net.output(demand[:, 1:, None]) - mean) * torch.exp(-log_std)
    return log_std + 0.5 * z * z + 0.5 * math.log(2 * math.pi)


def train(net, known, held_back, args):
    """-> what metrics.json says of the training"""
    clock, draw = folder.Clock(), np.random.default_rng(args.seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.learning_rate, weight_decay=WEIGHT_DECAY)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.learning_rate, args.updates, pct_start=0.1)
    for step in range(1, args.updates + 1):
        places = draw.integers(len(known) - args.stretch + 1, size=args.batch)[:, None] + np.arange(args.stretch)
        demand = known[places] * (1 + LOUDER * draw.standard_normal((args.batch, 1), np.float32))
        demand = demand + NOISE * draw.standard_normal(demand.shape, np.float32)
        optimizer.zero_grad()
        loss = loss_of(net, torch.from_numpy(demand)).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % args.report == 0:
            print("update %d of %d: %.3f nats%s, %s" % (step, args.updates, float(loss), glimpse(net, held_back), clock), flush=True)
    return {"updates": args.updates, "batch": args.batch, "stretch": args.stretch, "learning_rate": args.learning_rate,
            "weight_decay": WEIGHT_DECAY, "noise_mw": NOISE, "louder": LOUDER, "train_half_hours": len(known),
            "train_seconds": round(clock.seconds()), "threads": args.threads}


@torch.no_grad()
def glimpse(net, held_back):
    """How well the weeks held back are forecast, behind a week that is not, as words"""
    if held_back is None:
        return ""
    demand = torch.from_numpy(held_back)[None]
    nats = float(loss_of(net, demand)[:, A_WEEK - 1:].mean())
    off = (net(demand[:, :-1, None])[0][..., :1] - net.output(demand[:, 1:, None]))[:, A_WEEK - 1:] * net.output.std
    return "; held back: nats %.3f, RMSE %.0f MW" % (nats, float(off.square().mean().sqrt()))


# ------------------------------------------------------------------- quality --
def errors(off):
    return {"rmse": float(np.sqrt(np.square(off).mean())), "mae": float(np.abs(off).mean())}


def regression(demand, n_known, lags):
    """Forecasts of the last len(demand) - n_known of demand from those `lags` before the half-hour before, by least squares over the rest"""
    first = max(lags) + 1
    design = np.stack([demand[first - 1 - lag:len(demand) - 1 - lag] for lag in lags] + [np.full(len(demand) - first, 1000.0)], -1)
    weights = np.linalg.lstsq(design[:n_known - first], demand[first:n_known], rcond=None)[0]
    return design[n_known - first:] @ weights


def one_step(model, demand):
    """demand [steps] -> mean and standard deviation of each but the first, state after the last"""
    logits, state = model.label(demand[None, :-1, None])
    said = model.meaning(logits)
    return said["values"][0, :, 0], said["std"][0, :, 0], state


def a_day_ahead(model, demand, at):
    """The 48 half-hours from place `at`, of which the model has read nothing; its own means fed back"""
    logits, state = model.label(demand[None, :at, None])
    ahead = []
    for _ in range(A_DAY):
        ahead.append(model.meaning(logits[:, -1:])["values"])
        logits, state = model.label(ahead[-1], state)
    return np.concatenate(ahead, 1)[0, :, 0]


def calibration(off, std):
    z = off / std
    return {"inside": {str(k): float((np.abs(z) <= k).mean()) for k in (1, 2, 3)}, "mean_std": float(std.mean()),
            "nats": float((np.log(std) + 0.5 * np.square(z) + 0.5 * np.log(2 * np.pi)).mean())}


def measure(model, known, test):
    """test: behind a week that is known already"""
    test, known = test.astype(np.float64), known.astype(np.float64)
    scored = slice(A_WEEK, None)
    truth = test[scored]
    mean, std, _ = one_step(model, test)
    off = mean[A_WEEK - 1:] - truth
    everything = np.concatenate([known, truth])
    half_hour = {"forecasts": len(truth), "model": errors(off), **calibration(off, std[A_WEEK - 1:]),
                 "persistence": errors(test[A_WEEK - 1:-1] - truth),
                 "a_week_before": errors(test[:-A_WEEK] - truth),
                 **{name: errors(regression(everything, len(known), lags) - truth) for name, lags in ORDERS.items()}}
    midnights = range(A_WEEK, len(test), A_DAY)
    days = np.concatenate([a_day_ahead(model, test, at) for at in midnights])
    return {"half_hour": half_hour,
            "day": {"forecasts": len(days), "model": errors(days - truth), "a_day_before": errors(test[A_WEEK - A_DAY:-A_DAY] - truth),
                    "a_week_before": errors(test[:-A_WEEK] - truth)}}


def golden_runs(out, test):
    frames_ = test[:, None].tolist()
    return [exact.golden_lengths(out, [frames_[:30], frames_[100:101], frames_[400:460]], {}),
            exact.golden_chunks(out, frames_[500:560], [1, 1, 10, 48])]


def build(known):
    config = frames.config(NAME, 1, "gru", HIDDEN, 1, {"size": 2, "activation": "gaussian", "denormalize": True})
    constants = [known.mean()], [known.std()]
    return config, frames.Net(config, frames.Scale(*constants), frames.Scale(*constants))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder that prepare.py made")
    parser.add_argument("--out", required=True, help="folder to put the model folder into")
    parser.add_argument("--updates", type=int, default=700, help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="stretches of one update (default: %(default)s)")
    parser.add_argument("--stretch", type=int, default=8 * A_DAY, help="half-hours of one (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=1e-2, help="at its highest (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="another number may give other last digits")
    parser.add_argument("--report", type=int, default=100, help="updates between two lines (default: %(default)s)")
    parser.add_argument("--hold-back", action="store_true",
                        help="train without the last two of the ten weeks, say how well they are forecast, and write nothing")
    parser.add_argument("--measure-only", action="store_true",
                        help="train nothing: measure the finished folder again and rewrite its metrics.json and golden.json")
    return parser.parse_args()


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    out = os.path.join(args.out, NAME)
    known, test = (read(os.path.join(args.data, part + ".csv")) for part in ("train", "test"))
    if args.hold_back:
        train(build(known[:-2 * A_WEEK])[1], known[:-2 * A_WEEK], known[-3 * A_WEEK:], args)
        return
    training = None
    if not args.measure_only:
        config, net = build(known)
        training = train(net, known, None, args)
        fit.write_model(out, net, config)
    model = exact.Model(out)
    fit.write_measured(out, DATA, args.seed, training, measure(model, known, test), golden_runs(out, test), NOTES)
    with open(os.path.join(args.data, "test.csv"), encoding="utf-8") as source, \
            open(os.path.join(out, "test.csv"), "w", encoding="utf-8") as copy:
        copy.write(source.read())


if __name__ == "__main__":
    main()
