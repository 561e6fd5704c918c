"""What the training scripts of models of dense frames share: the network, and config.json's part of it.

Such a model reads frames of F numbers and gives one output a frame, forward only, so it can be fed as its stream comes in:
normalised input -> a stack of lstm or gru layers -> a linear head.  exact.py says what the heads mean and judges the written folder.
"""
import numpy as np
import torch
from torch import nn


class Scale(nn.Module):
    """Constants of normalisation: stored with the weights, not trained.  Rounded to half precision before the training, so that what
    is stored is what was trained with."""

    def __init__(self, mean, std):
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.from_numpy(np.asarray(values, "f2").astype("f4")))

    def forward(self, x):
        return (x - self.mean) / self.std


class Net(nn.Module):
    """Frames [batch, steps, F] -> logits [batch, steps, C].  input, output: Scale; output is for the caller to apply, or None."""

    def __init__(self, shape, scale, output=None, dropout=0.0):
        super().__init__()
        rnn = shape["rnn"]
        sizes = dict(input_size=shape["input"]["size"], hidden_size=rnn["hidden_size"], num_layers=rnn["num_layers"], batch_first=True)
        self.input, self.output = scale, output
        self.rnn = nn.LSTM(**sizes) if rnn["cell"] == "lstm" else nn.GRU(**sizes)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(rnn["hidden_size"], shape["head"]["size"])

    def forward(self, frames, state=None):
        """-> logits, state as PyTorch has it"""
        y, state = self.rnn(self.input(frames), state)
        return self.head(self.dropout(y)), state


def config(name, frame, cell, hidden, layers, head):
    """config.json but for its tensors"""
    return {"schema": "rnnd-ref-1", "name": name, "topology": "synced",
            "input": {"kind": "dense", "size": frame, "normalize": True},
            "rnn": {"cell": cell, "hidden_size": hidden, "num_layers": layers, "bidirectional": False, "bias": True, "proj_size": 0},
            "head": {"bias": True, "tied": False, **head}}
