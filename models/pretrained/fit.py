"""What the training scripts of the shipped models share beyond folder.py: batches without padding, a schedule, the training loop,
the writer of half-precision weights, and splits that hang on the words alone.
"""
import hashlib
import math
import os
import random
import subprocess
import sys

import numpy as np
import torch
from torch import nn

sys.dont_write_bytecode = True
import exact  # noqa: E402
import folder  # noqa: E402


# ---------------------------------------------------------------------- data --
def file_of(package, end):
    """The path of the file of an installed Debian package that ends in `end`."""
    files = subprocess.run(["dpkg", "-L", package], stdout=subprocess.PIPE, check=True, text=True).stdout.split("\n")
    return next(path for path in files if path.endswith(end))


def number_of(text):
    """A number from the text alone: splits and samples that hang on it are the same everywhere."""
    return int.from_bytes(hashlib.md5(text.encode()).digest()[:8], "big")


def split_of(text, percent=5):
    """-> "train", "val" (of a hundred texts, `percent`) or "test" (as many)"""
    place = number_of("split " + text) % 100
    return "val" if place < percent else "test" if place < 2 * percent else "train"


def write_rows(path, rows):
    with open(path, "w", encoding="utf-8") as f:
        f.writelines("\t".join(row) + "\n" for row in rows)
    print("%s: %d" % (os.path.basename(path), len(rows)), flush=True)


def read_rows(path):
    with open(path, encoding="utf-8") as f:
        return [line.rstrip("\n").split("\t") for line in f]


# ------------------------------------------------------------------ training --
def shuffled_batches(lengths, size, rng):
    """Lists of places, each list of one length, in random order."""
    order = list(range(len(lengths)))
    rng.shuffle(order)
    groups, batches = {}, []
    for place in order:
        group = groups.setdefault(lengths[place], [])
        group.append(place)
        if len(group) == size:
            batches.append(groups.pop(lengths[place]))
    batches += groups.values()
    rng.shuffle(batches)
    return batches


def train(net, lengths, loss_of, look, args):
    """Adam, warm-up over 100 updates, half a cosine down to 2 %, gradient norm cut at 1.  loss_of(places) is the loss of a batch,
    look() what to print after each pass.  -> what metrics.json says of the training"""
    clock, rng = folder.Clock(), random.Random(args.seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=args.learning_rate, weight_decay=getattr(args, "weight_decay", 0))
    a_pass = len(shuffled_batches(lengths, args.batch, random.Random(args.seed)))
    total = min(args.epochs * a_pass, args.steps_max or math.inf)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / 100) * (
        0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1, step / total)))))
    step = 0
    while step < total:
        net.train()
        for places in shuffled_batches(lengths, args.batch, rng)[:total - step]:
            optimizer.zero_grad()
            loss = loss_of(places)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            step += 1
            if step % args.report == 0:
                print("step %d of %d: loss %.4f, %s" % (step, total, float(loss), clock), flush=True)
        net.eval()
        with torch.no_grad():
            print("after step %d: %s" % (step, look()), flush=True)
    return {"epochs": args.epochs, "updates": step, "batch": args.batch, "learning_rate": args.learning_rate,
            "train_examples": len(lengths), "train_seconds": round(clock.seconds()), "threads": args.threads}


def options(parser, epochs, batch, learning_rate):
    """The options that all scripts have."""
    parser.add_argument("--data", help="folder that prepare.py made")
    parser.add_argument("--out", required=True, help="folder to put the model folder into")
    parser.add_argument("--epochs", type=int, default=epochs, help="passes over the data (default: %(default)s)")
    parser.add_argument("--steps-max", type=int, help="stop after that many updates")
    parser.add_argument("--batch", type=int, default=batch, help="examples of one update (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=learning_rate, help="at its highest (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="another number may give other last digits")
    parser.add_argument("--report", type=int, default=200, help="updates between two lines (default: %(default)s)")
    parser.add_argument("--measure-only", action="store_true",
                        help="train nothing: measure the finished folder again and rewrite its metrics.json and golden.json")
    args = parser.parse_args()
    if not args.data:
        parser.error("--data is needed")
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    return args


# ------------------------------------------------------------------- writers --
def write_model(out, net, config, vocab=None):
    """Weights in half precision, config.json and, if there is a vocabulary, vocab.json.  The folder is then measured as it stands on
    disk: exact.py."""
    os.makedirs(out, exist_ok=True)
    tensors = {name: tensor.detach().numpy().astype("<f2") for name, tensor in net.state_dict().items()}
    assert all(np.isfinite(tensor).all() for tensor in tensors.values()), "a weight is beyond half precision"
    folder.write_safetensors(os.path.join(out, "model.safetensors"), tensors,
                             {"format": "pt", "task": config["name"]}, "F16")
    folder.write_json(os.path.join(out, "config.json"), {
        **config, "dtype": "F16", "tensors": {name: list(array.shape) for name, array in tensors.items()}})
    if vocab:
        folder.write_json(os.path.join(out, "vocab.json"), vocab)


def write_measured(out, data, seed, training, quality, runs, notes):
    """metrics.json and golden.json.  training None: what the folder's metrics.json says."""
    path = os.path.join(out, "metrics.json")
    if training is None:
        training = exact.read_json(path)["training"]
    model = exact.Model(out)
    name = model.config["name"]
    folder.write_json(path, {
        "task": name, "data": data, "parameters": int(sum(t.size for t in model.tensors.values())),
        "made_with": "PyTorch " + torch.__version__, "seed": seed, "training": training, "quality": quality, "notes": notes})
    folder.write_golden_runs(out, name, "NumPy %s, float64 from the stored weights" % np.__version__, quality, runs)
    print("%s: %s" % (out, folder.json_text(quality)), flush=True)


def write_lines(path, rows):
    """Examples, one JSON object a line."""
    import json
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
