#!/usr/bin/python3
"""Writes mixture_values.h: what test_mixture.c compares with.

Every number is computed in float64 by the formulas as the papers print them (Graves 2013,
equations 16 to 26; Ha and Eck 2017, section 3.3), with NumPy.  The same bytes each time:
`python3 mixture_values.py | clang-format > mixture_values.h`.
Made with Python 3.11 and NumPy 1.24.
"""
import math

import numpy as np

FLOAT = np.float32


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def bivariate(x, y, mx, my, sx, sy, rho):
    """N(x, y | mu, sigma, rho), equations 24 and 25 of Graves."""
    z = ((x - mx) / sx) ** 2 + ((y - my) / sy) ** 2
    z -= 2 * rho * (x - mx) * (y - my) / (sx * sy)
    return np.exp(-z / (2 * (1 - rho**2))) / (2 * np.pi * sx * sy * np.sqrt(1 - rho**2))


def mixture(raw, pen, m, mean, std, point):
    raw = raw.astype(np.float64)
    pi, mx, my, sx, sy, rho = raw[pen:].reshape(6, m)
    pi, sx, sy, rho = softmax(pi), np.exp(sx), np.exp(sy), np.tanh(rho)
    mx, my = mx * std[0] + mean[0], my * std[1] + mean[1]
    sx, sy = sx * std[0], sy * std[1]
    pens = sigmoid(raw[:1]) if pen == 1 else softmax(raw[:3])
    offset = -np.log(np.sum(pi * bivariate(point[0], point[1], mx, my, sx, sy, rho)))
    if pen == 1:
        lift = -math.log(pens[0] if point[2] else 1 - pens[0])
    else:
        lift = -math.log(pens[np.argmax(point[2:])])
    return np.concatenate([pens, pi, mx, my, sx, sy, rho]), offset, lift


def gaussian(raw, n, mean, std, values):
    raw = raw.astype(np.float64)
    mu, sigma = raw[:n] * std + mean, np.exp(raw[n:]) * std
    density = np.exp(-(((values - mu) / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * np.pi))
    return np.concatenate([mu, sigma]), -np.log(density).sum()


def floats(values):
    return "{" + ", ".join(f"{float(v)!r}f" for v in np.asarray(values, FLOAT)) + "}"


def doubles(values):
    return "{" + ", ".join(repr(float(v)) for v in values) + "}"


def main():
    rng = np.random.default_rng(2013)
    print("/* Made by mixture_values.py; see there. */")
    print("static const struct mixture_case mixture_cases[] = {")
    for m, pen, scaled in [(1, 1, 0), (1, 3, 1), (2, 1, 1), (5, 3, 0), (20, 1, 0), (20, 3, 1)]:
        raw = rng.normal(0, 1, pen + 6 * m).astype(FLOAT)
        mean = (rng.normal(0, 2, 2) * scaled).astype(FLOAT)
        std = (np.exp(rng.normal(0, 1, 2) * scaled)).astype(FLOAT)
        point = np.zeros(2 + pen, FLOAT)
        point[:2] = rng.normal(0, 2, 2)
        point[2 + int(rng.integers(pen))] = 1 if pen == 3 else int(rng.integers(2))
        want, offset, lift = mixture(raw, pen, m, mean.astype(float), std.astype(float),
                                     point.astype(float))
        print(f"    {{{m}, {pen}, {'true' if scaled else 'false'}, {floats(mean)}, {floats(std)},")
        print(f"     {floats(raw)},\n     {floats(point)},\n     {doubles(want)},")
        print(f"     {offset!r}, {lift!r}}},")
    print("};\n\nstatic const struct gaussian_case gaussian_cases[] = {")
    for n, scaled in [(1, 0), (3, 1)]:
        raw = rng.normal(0, 1, 2 * n).astype(FLOAT)
        mean = (rng.normal(0, 2, n) * scaled).astype(FLOAT)
        std = (np.exp(rng.normal(0, 1, n) * scaled)).astype(FLOAT)
        values = rng.normal(0, 2, n).astype(FLOAT)
        want, nll = gaussian(raw, n, mean.astype(float), std.astype(float), values.astype(float))
        print(f"    {{{n}, {'true' if scaled else 'false'}, {floats(mean)}, {floats(std)},")
        print(f"     {floats(raw)}, {floats(values)},\n     {doubles(want)}, {float(nll)!r}}},")
    print("};")


main()
