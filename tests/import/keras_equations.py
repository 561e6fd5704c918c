"""Keras' layers in NumPy, float64, from the equations in its documentation: for make_keras.py.

A model is a list of layers {"class", "name", "config": in Keras 2's words, "weights": as Keras 2 lists them}.
"""
import numpy as np


def activate(name, x, v3=False):
    if isinstance(name, dict):
        cls, config = name["class_name"], name["config"]
        if cls == "LeakyReLU":
            return np.where(x > 0, x, x * config.get("negative_slope", config.get("alpha", 0.3)))
        raise ValueError(cls)
    if name == "hard_sigmoid":
        return np.clip(x / 6 + 0.5, 0, 1) if v3 else np.clip(0.2 * x + 0.5, 0, 1)
    return {"linear": lambda x: x, "tanh": np.tanh, "relu": lambda x: np.maximum(x, 0),
            "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "softsign": lambda x: x / (1 + np.abs(x)),
            "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
            "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
            "softmax": lambda x: np.exp(x - x.max(-1, keepdims=True)) / np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)}[name](x)


def run_cell(cls, config, weights, x, v3):
    w, u = (np.asarray(a, np.float64) for a in weights[:2])
    h = np.zeros(u.shape[0])
    c = h.copy()
    b = np.asarray(weights[2], np.float64) if len(weights) > 2 else np.zeros(w.shape[1])
    f = lambda v: activate(config["activation"], v, v3)
    g = lambda v: activate(config.get("recurrent_activation", "sigmoid"), v, v3)
    rows = []
    n = len(h)
    for step in x:
        if cls == "SimpleRNN":
            h = f(step @ w + h @ u + b)
        elif cls == "LSTM":
            zi, zf, zc, zo = np.split(step @ w + h @ u + b, 4)
            c = g(zf) * c + g(zi) * f(zc)
            h = g(zo) * f(c)
        elif config["reset_after"]:
            b0, b1 = (b, b * 0) if b.ndim == 1 else b
            xz, xr, xh = np.split(step @ w + b0, 3)
            uz, ur, uh = np.split(h @ u + b1, 3)
            z = g(xz + uz)
            h = z * h + (1 - z) * f(xh + g(xr + ur) * uh)
        else:
            xz, xr, xh = np.split(step @ w + b, 3)
            z, r = g(xz + h @ u[:, :n]), g(xr + h @ u[:, n:2 * n])
            h = z * h + (1 - z) * f(xh + (r * h) @ u[:, 2 * n:])
        rows.append(h)
    return np.array(rows)


def run_recurrent(one, weights, x, v3):
    config = one["config"]
    rows = run_cell(one["class"], config, weights, x[::-1] if config["go_backwards"] else x, v3)
    return rows if config["return_sequences"] else rows[-1]


def masked_steps(first, x):
    if first["class"] == "Embedding" and first["config"]["mask_zero"]:
        return np.asarray(x) == 0
    if first["class"] == "Masking":
        return (np.asarray(x) == first["config"]["mask_value"]).all(-1)
    return np.zeros(len(x), bool)


def run(layers, x, v3=False):
    """x: [steps] ids or [steps, n].  A step that is masked leaves the state, and repeats the output, if there is one at every
    step; that is the same as leaving it out wherever the outputs become one."""
    masked = masked_steps(layers[0], x)
    if masked.any():
        kept = run(layers, np.asarray(x)[~masked], v3)
        if len(kept) != int((~masked).sum()) or np.ndim(kept) == 1:
            return kept
        places = np.cumsum(~masked) - 1
        assert places[0] >= 0  # a text that begins with padding gives zeros, which the layers above do not get here
        return kept[places]
    for one in layers:
        cls, config, w = one["class"], one["config"], [np.asarray(a, np.float64) for a in one["weights"]]
        if cls == "Embedding":
            x = w[0][x]
        elif cls in ("SimpleRNN", "LSTM", "GRU"):
            x = run_recurrent(one, w, x, v3)
        elif cls == "Bidirectional":
            inner, half = config["layer"], len(w) // 2
            a = run_recurrent(inner, w[:half], x, v3)
            b = run_recurrent(inner, w[half:], x[::-1], v3)
            if inner["config"]["return_sequences"]:
                b = b[::-1]
            x = {"concat": lambda: np.concatenate([a, b], -1), "sum": lambda: a + b, "ave": lambda: (a + b) / 2,
                 "mul": lambda: a * b}[config["merge_mode"]]()
        elif cls == "TimeDistributed":
            x = run([{**config["layer"], "weights": w}], x, v3)
        elif cls == "Dense":
            x = activate(config["activation"], x @ w[0] + (w[1] if len(w) > 1 else 0), v3)
        elif cls == "Activation":
            x = activate(config["activation"], x, v3)
        elif cls == "LeakyReLU":
            x = np.where(x > 0, x, x * config["alpha"])
        elif cls == "ELU":
            x = np.where(x > 0, x, config["alpha"] * np.expm1(np.minimum(x, 0)))
        elif cls == "ReLU":
            x = np.maximum(x, 0)
        elif cls == "BatchNormalization":
            mean, variance = w[-2:]
            gamma = w[0] if config["scale"] else 1
            beta = w[int(config["scale"])] if config["center"] else 0
            x = (x - mean) / np.sqrt(variance + config["epsilon"]) * gamma + beta
        elif cls == "LayerNormalization":
            gamma = w[0] if config["scale"] else 1
            beta = w[int(config["scale"])] if config["center"] else 0
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + config["epsilon"]) * gamma + beta
        elif cls == "Normalization":
            x = (x - w[0]) / np.maximum(np.sqrt(w[1]), 1e-7)
        elif cls == "Rescaling":
            x = x * config["scale"] + config["offset"]
        elif cls == "GlobalAveragePooling1D":
            x = x.mean(0)
        elif cls == "GlobalMaxPooling1D":
            x = x.max(0)
        elif cls == "Flatten":
            x = x.reshape(-1)
        elif cls == "RepeatVector":
            x = np.repeat(x[None], config["n"], 0)
        elif cls not in ("Dropout", "Masking"):
            raise ValueError(cls)
    return x
