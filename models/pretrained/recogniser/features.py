#!/usr/bin/python3
"""Frames of `recogniser` from sound: 24 numbers a frame, about 100 frames a second.

    models/pretrained/recogniser/features.py SPEECH.wav      prints them as a request to /predict

The sound is 16-bit mono of 22,050 samples a second (`espeak-ng -w SPEECH.wav "…"` writes that; sox converts the rest).  A frame is
the natural logarithm of the energy in 24 bands, spaced evenly on the mel scale from 100 to 8,000 Hz, of 512 samples (23 ms) under
a Hann window; frames start every 220 samples (10 ms).  Each frame is made of its own samples alone, so a stream can be cut anywhere.
Needs NumPy.
"""
import json
import sys
import wave

import numpy as np

RATE, WINDOW, HOP, BANDS = 22050, 512, 220, 24
LOWEST, HIGHEST = 100.0, 8000.0
FLOOR = 1e-6  # of a full-scale square wave: silence is log(1e-6) = -13.8


def mel(hertz):
    return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)


def bands():
    """-> [24, 257]: triangles over the bins of the spectrum, each reaching from the middle of one neighbour to that of the other"""
    edges = np.linspace(mel(LOWEST), mel(HIGHEST), BANDS + 2)
    bins = mel(np.arange(WINDOW // 2 + 1) * RATE / WINDOW)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling))


HANN = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
WEIGHTS = bands() / np.square(HANN.sum())


def log_mel(samples):
    """int16 samples [n] -> float32 frames [(n - 512) // 220 + 1, 24]"""
    x = np.asarray(samples, np.float64) / 32768.0
    windows = np.lib.stride_tricks.sliding_window_view(x, WINDOW)[::HOP]
    power = np.square(np.abs(np.fft.rfft(windows * HANN)))
    return np.log(power @ WEIGHTS.T + FLOOR).astype(np.float32)


def read_wave(path):
    with wave.open(path) as f:
        if (f.getframerate(), f.getnchannels(), f.getsampwidth()) != (RATE, 1, 2):
            sys.exit("%s: want 22050 Hz, mono, 16 bits; found %d Hz, %d channels, %d bits"
                     % (path, f.getframerate(), f.getnchannels(), 8 * f.getsampwidth()))
        return np.frombuffer(f.readframes(f.getnframes()), "<i2")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sound = [[round(float(v), 2) for v in frame] for frame in log_mel(read_wave(sys.argv[1]))]
    print(json.dumps({"model": "recogniser", "top_k": 1, "input": sound}, separators=(",", ":")))
