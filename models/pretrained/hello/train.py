#!/usr/bin/python3
"""Trains `hello`: a vanilla RNN of three units that spells the word h, e, l, l, o.  A second on one core.

    models/pretrained/hello/train.py --out FOLDER

Writes a model folder to FOLDER/hello.  Needs Debian's python3-torch and python3-numpy.
"""
import argparse
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import folder  # noqa: E402
import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402

WORD = "hello"
VOCABULARY = folder.Vocabulary("helo")


def train(seed, learning_rate, steps_max, good_enough):
    """-> net, steps taken, loss in nats per character; a start that gets stuck is the caller's to notice"""
    torch.manual_seed(seed)
    net = folder.Net(folder.shape_of("hello", VOCABULARY, "rnn_tanh", hidden=3))
    ids = torch.tensor([VOCABULARY.encode(WORD)])
    optimizer = torch.optim.Adam(net.parameters(), lr=learning_rate)
    for step in range(1, steps_max + 1):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(ids[:, :-1])[0][0], ids[0, 1:])
        loss.backward()
        optimizer.step()
        if float(loss) < good_enough:
            break
    return net, step, float(loss)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder to put the model folder into")
    parser.add_argument("--seed", type=int, default=0, help="first start tried (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=0.02)
    parser.add_argument("--steps-max", type=int, default=3000, help="steps before another start is tried")
    parser.add_argument("--loss", type=float, default=0.005, help="good enough, in nats per character")
    args = parser.parse_args()

    torch.set_num_threads(1)
    for seed in range(args.seed, args.seed + 50):
        net, steps, loss = train(seed, args.learning_rate, args.steps_max, args.loss)
        if loss < args.loss:
            break
        print("seed %d: stuck at %.3f nats per character" % (seed, loss))
    else:
        sys.exit("no start of fifty got below %g nats per character" % args.loss)

    net.eval()
    runs = [folder.golden_texts(net, VOCABULARY, [WORD[:-1], WORD[:1]]),
            folder.golden_greedy(net, VOCABULARY, WORD[:1], len(WORD) - 1, with_logits=True)]
    spelled = runs[1]["generated_text"]
    if spelled != WORD[1:]:
        sys.exit("it learned to say %s%s" % (WORD[0], spelled))
    folder.write_folder(os.path.join(args.out, "hello"), net, VOCABULARY,
                        data="the four letters of the word 'hello'; no data set", seed=seed,
                        training={"steps": steps, "learning_rate": args.learning_rate},
                        quality={"loss_nats_per_char": loss, "greedy_from_h": spelled}, runs=runs)


if __name__ == "__main__":
    main()
