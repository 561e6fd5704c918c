#!/usr/bin/python3
"""Looks at a picture: from its pixels to the 128 numbers that `captioner` reads.

    models/pretrained/captioner/features.py PICTURE.png            a request body for POST /generate
    models/pretrained/captioner/features.py PICTURE.png | curl -s localhost:8080/generate -d @-

The picture is laid on white and shrunk to 32 x 32.  Three times a convolution of 3 x 3 pixels (border: zeros), what is negative set to
zero, and the largest of each 2 x 2 pixels kept; then one linear layer.  eye.npz beside this file holds the numbers, in
half precision.  Needs Debian's python3-numpy and python3-pil.
"""
import json
import os
import sys

import numpy as np
from PIL import Image

SIDE = 32
CONVOLUTIONS = 3
DIGITS = 3  # after the point: what a request carries, and what all figures of the card were computed with


def pixels_of(picture):
    """-> uint8 [32, 32, 3]"""
    picture = picture.convert("RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(ground, picture).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))


def convolve(x, weight, bias):
    """x [B,C,H,W], weight [D,C,3,3] -> [B,D,H,W]"""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))  # [B,C,H,W,3,3]
    return np.tensordot(windows, weight, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2) + bias[:, None, None]


def largest(x):
    batch, channels, height, width = x.shape
    return x.reshape(batch, channels, height // 2, 2, width // 2, 2).max((3, 5))


class Eye:
    def __init__(self, path=os.path.join(os.path.dirname(os.path.abspath(__file__)), "eye.npz")):
        with np.load(path) as stored:
            self.tensors = {name: stored[name].astype(np.float64) for name in stored}

    def part(self, name):
        return self.tensors[name + ".weight"], self.tensors[name + ".bias"]

    def features(self, pixels):
        """uint8 [B,32,32,3] -> [B,128]"""
        x = pixels.transpose(0, 3, 1, 2) / 127.5 - 1
        for i in range(CONVOLUTIONS):
            x = largest(np.maximum(convolve(x, *self.part("conv%d" % i)), 0))
        weight, bias = self.part("linear")
        return (x.reshape(len(x), -1) @ weight.T + bias).round(DIGITS)


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    vector = Eye().features(pixels_of(Image.open(sys.argv[1]))[None])[0]
    print(json.dumps({"model": "captioner", "input": [vector.tolist()], "temperature": 0}))


if __name__ == "__main__":
    main()
