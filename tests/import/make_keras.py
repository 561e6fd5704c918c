#!/usr/bin/python3
"""Makes the files of tests/import/keras: small Keras models in every layout that Keras 1, 2 (keras-team's, tf.keras) and 3
have written, each with its outputs.

    /usr/bin/python3 make_keras.py keras NODE_MODULES        (Debian's python3-h5py and python3-numpy; node; npm's
                                                              @tensorflow/tfjs 4.22 in NODE_MODULES)

The outputs are those of TensorFlow.js wherever it has the layer.  What it lacks (a GRU that resets after the product,
cuDNN's layout, Keras 3's hard_sigmoid, Normalization, a mean or a repeated vector that heeds a mask) is evaluated
in NumPy (keras_equations.py), float64, from the equations in Keras' documentation; both are compared wherever both can be
had.

NAME.h5, NAME.keras    the file; NAME.model.json: the model beside a file of weights
NAME.json              {"options": what to say to `rnnd import`, "input", "output": for --expect, "says": words of the report}
"""
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile

import h5py
import numpy as np

from keras_equations import run
from keras_json import functional, sequential, sequential1, windowed

rng = np.random.default_rng(3)

# ---- Models: lists of layers (class, name, config in Keras 2's words, weights as Keras 2 lists them)


def layer(cls, name, weights=(), **config):
    return {"class": cls, "name": name, "config": config, "weights": [np.asarray(w, np.float32) for w in weights]}


def numbers(*shape, scale=0.6):
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def embedding(name, v, e, **config):
    return layer("Embedding", name, [numbers(v, e)], input_dim=v, output_dim=e, **{"mask_zero": False, **config})


def recurrent(cls, name, n, h, use_bias=True, reset_after=False, activation="tanh", **config):
    gates = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[cls]
    weights = [numbers(n, gates * h), numbers(h, gates * h)]
    if use_bias:
        weights.append(numbers(2, gates * h) if reset_after else numbers(gates * h))
    if gates > 1:
        config = {"recurrent_activation": "sigmoid", **config}
    if gates == 3:
        config = {"reset_after": reset_after, **config}
    return layer(cls, name, weights, units=h, activation=activation, use_bias=use_bias,
                 **{"return_sequences": False, "go_backwards": False, **config})


def dense(name, n, m, activation="linear", use_bias=True):
    return layer("Dense", name, [numbers(n, m)] + [numbers(m)] * use_bias, units=m, activation=activation, use_bias=use_bias)


def bidirectional(name, one, merge="concat"):
    other = [numbers(*w.shape) for w in one["weights"]]
    return layer("Bidirectional", name, one["weights"] + other, layer={**one, "weights": []}, merge_mode=merge)


def distributed(name, one):
    return layer("TimeDistributed", name, one["weights"], layer={**one, "weights": []})


def batch_norm(name, n, **config):
    weights = [numbers(n) + 1] * config.get("scale", True) + [numbers(n)] * config.get("center", True)
    return layer("BatchNormalization", name, weights + [numbers(n), rng.uniform(0.3, 2, n)],
                 **{"axis": -1, "momentum": 0.99, "epsilon": 0.001, "center": True, "scale": True, **config})


def layer_norm(name, n, **config):
    weights = [numbers(n) + 1] * config.get("scale", True) + [numbers(n)] * config.get("center", True)
    return layer("LayerNormalization", name, weights, **{"axis": [-1], "epsilon": 0.001, "center": True, "scale": True, **config})


def plain(cls, name, **config):
    return layer(cls, name, **config)


# ---- The same in TensorFlow.js


def camel(key):
    head, *rest = key.split("_")
    return head + "".join(w.capitalize() for w in rest)


def job_layer(one):
    config = {camel(k): v for k, v in one["config"].items() if k != "reset_after"}
    if "layer" in config:
        config["layer"] = job_layer(config["layer"])
    if one["class"] == "Activation" and "activation" in config:
        pass
    activation = config.get("activation")
    if config.get("recurrentActivation") == "hard_sigmoid":
        config["recurrentActivation"] = "hardSigmoid"
    if activation == "hard_sigmoid":
        config["activation"] = "hardSigmoid"
    return {"class": one["class"], "config": config,
            "weights": [{"shape": list(w.shape), "values": [float(v) for v in w.ravel()]} for w in one["weights"]]}


def can_run(one):
    config = one["config"]
    if one["class"] in ("Normalization", "Rescaling") or config.get("reset_after"):
        return False
    if not isinstance(config.get("activation", ""), str) or config.get("activation") == "leaky_relu":
        return False
    return can_run(config["layer"]) if "layer" in config else True


def ask_tfjs(models, node_modules):
    jobs = {name: {"layers": [job_layer(one) for one in m["layers"] if one["class"] != "Flatten" or m.get("window")],  # refuses a vector
                   "input": {"shape": [1, *np.shape(m["x"])], "values": np.ravel(m["x"]).tolist()}}
            for name, m in models.items() if all(can_run(one) for one in m["layers"]) and not m.get("v3") and not m.get("apart")}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(jobs, f)
        f.flush()
        here = os.path.dirname(os.path.abspath(__file__))
        out = subprocess.run(["node", os.path.join(here, "make_keras.js"), f.name], check=True, stdout=subprocess.PIPE,
                             env={**os.environ, "NODE_PATH": os.path.abspath(node_modules)}).stdout
    return {name: np.array(o["values"]).reshape(o["shape"])[0] for name, o in json.loads(out).items()}


# ---- Names of arrays


def names2(one, version):
    """weight_names of one layer: 'lstm_1/kernel:0', or with a cell between since tf.keras 2.3."""
    cls, config, name = one["class"], one["config"], one["name"]
    end = "" if version >= 3 else ":0"
    known = {"Embedding": ["embeddings"], "Dense": ["kernel", "bias"], "LayerNormalization": ["gamma", "beta"],
             "BatchNormalization": ["gamma"] * bool(config.get("scale", 1)) + ["beta"] * bool(config.get("center", 1)) + ["moving_mean", "moving_variance"],
             "Normalization": ["mean", "variance", "count"]}
    cell = ["kernel", "recurrent_kernel", "bias"]
    if cls in known:
        return [f"{name}/{part}{end}" for part in known[cls]][:len(one["weights"])]
    if cls == "TimeDistributed":
        return names2({**config["layer"], "name": name, "weights": one["weights"]}, version)
    if cls == "Bidirectional":
        between = f"{config['layer']['class'].lower()}_cell/" if version >= 2.3 else ""
        return [f"{name}/{side}_{config['layer']['name']}/{between}{part}{end}" for side in ("forward", "backward")
                for part in cell[:len(one["weights"]) // 2]]
    between = f"{cls.lower()}_cell/" if version >= 2.3 else ""
    return [f"{name}/{between}{part}{end}" for part in cell[:len(one["weights"])]]


def apart1(cls, weights, together):
    """Keras 1 has an array for each gate, LSTM i c f o, GRU z r h; or all in one, made for speed."""
    if cls not in ("LSTM", "GRU"):
        return [("W", weights[0]), ("U", weights[1]), ("b", weights[2])]
    if together:
        return [("W", weights[0]), ("U", weights[1]), ("b", weights[2])]
    gates, order = (4, "icfo") if cls == "LSTM" else (3, "zrh")
    stored = "ifco" if cls == "LSTM" else "zrh"
    out = []
    for gate in order:
        k = stored.index(gate)
        out += [(f"W_{gate}", np.split(weights[0], gates, 1)[k]), (f"U_{gate}", np.split(weights[1], gates, 1)[k]),
                (f"b_{gate}", np.split(weights[2], gates)[k])]
    return out


def arrays1(one, together):
    cls, config, name, w = one["class"], one["config"], one["name"], one["weights"]
    if cls == "Bidirectional":
        inner, half = config["layer"], len(w) // 2
        return [(f"{side}_{inner['name']}_{part}", a) for side, ws in (("forward", w[:half]), ("backward", w[half:]))
                for part, a in apart1(inner["class"], ws, together)]
    if cls in ("LSTM", "GRU", "SimpleRNN"):
        return [(f"{name}_{part}", a) for part, a in apart1(cls, w, together)]
    parts = {"Embedding": ["W"], "Dense": ["W", "b"], "TimeDistributed": ["W", "b"],
             "BatchNormalization": ["gamma", "beta", "running_mean", "running_std"]}.get(cls, [])
    return [(f"{name}_{part}", a) for part, a in zip(parts, w)]


# ---- Containers


def put_names(group, key, names, how):
    if how.get("split"):
        half = max(1, len(names) // 2)
        for i, part in enumerate([names[:half], names[half:]]):
            group.attrs[f"{key}{i}"] = np.array([n.encode() for n in part] or np.zeros(0, "S1"))
    elif how.get("str"):
        group.attrs.create(key, names, dtype=h5py.string_dtype())
    else:
        group.attrs[key] = np.array([n.encode() for n in names]) if names else np.zeros(0)


def put_array(group, name, value, how):
    if how.get("dtype") == "bfloat16":
        bits = (np.asarray(value, np.float32).view(np.uint32) >> 16).astype(np.uint16)
        data = group.create_dataset(name, value.shape, dtype=np.dtype("V2"))
        data[...] = bits.view("V2")
        data.attrs["dtype"] = "bfloat16"
    elif how.get("packed"):
        group.create_dataset(name, data=value, chunks=tuple(max(1, s // 2) for s in value.shape) or None, compression="gzip",
                             shuffle=True, fletcher32=True)
    else:
        group.create_dataset(name, data=np.asarray(value, how.get("dtype", "float32")))


def put_legacy(f, layers, arrays, version, how):
    put_names(f, "layer_names", [one["name"] for one in layers], how)
    f.attrs["backend"] = b"tensorflow"
    f.attrs["keras_version"] = version if how.get("str") else version.encode()
    for one in layers:
        group = f.create_group(one["name"])
        named = arrays(one)
        put_names(group, "weight_names", [n for n, _ in named], how)
        for name, value in named:
            put_array(group, name, value, how)


def write_h5(path, layers, model, version, arrays, **how):
    with h5py.File(path, "w", libver=how.get("libver")) as f:
        if model is None:
            return put_legacy(f, layers, arrays, version, how)
        f.attrs["keras_version"] = version if how.get("str") else version.encode()
        f.attrs["backend"] = b"tensorflow"
        f.attrs["model_config"] = json.dumps(model) if how.get("str") else json.dumps(model).encode()
        f.attrs["training_config"] = b'{"loss": "mse"}'
        put_legacy(f.create_group("model_weights"), layers, arrays, version, how)
        f.create_group("optimizer_weights").create_dataset("iteration", data=np.int64(3))


def snake(cls):
    return {"SimpleRNN": "simple_rnn", "TimeDistributed": "time_distributed", "BatchNormalization": "batch_normalization",
            "LayerNormalization": "layer_normalization", "GlobalAveragePooling1D": "global_average_pooling1d",
            "LeakyReLU": "leaky_re_lu"}.get(cls, cls.lower())


def write_v3_weights(target, layers, how):
    with h5py.File(target, "w") as f:
        counts = {}
        top = how.get("top", "layers")
        f.create_group("vars")
        f.create_group("optimizer/vars").create_dataset("0", data=np.int64(3))
        for one in layers:
            cls, w, half = one["class"], one["weights"], len(one["weights"]) // 2
            folder = snake(cls)
            k = counts.get(folder, how.get("first", {}).get(folder, 0))
            counts[folder] = k + 1
            group = f.create_group(f"{top}/{folder}" + (f"_{k}" if k else ""))
            places = {"Bidirectional": [("forward_layer/cell/vars", w[:half]), ("backward_layer/cell/vars", w[half:])],
                      "TimeDistributed": [("layer/vars", w)], "Dropout": [("seed_generator/vars", [np.zeros(2, np.uint32)])]}
            if cls in ("LSTM", "GRU", "SimpleRNN"):
                places[cls] = [("cell/vars", w)]
            vars_group = group.create_group("vars")
            if how.get("names"):
                vars_group.attrs["name"] = one["name"]
            for place, values in places.get(cls, [("vars", w)]):
                for i, value in enumerate(values):
                    if value.dtype.kind != "f":
                        group.require_group(place).create_dataset(str(i), data=value)
                    elif one["class"] == "Normalization" and i == 2:
                        group.require_group(place).create_dataset(str(i), data=np.int32(5))
                    else:
                        put_array(group.require_group(place), str(i), value, how)


def write_keras(path, layers, model, version, **how):
    weights = io.BytesIO()
    write_v3_weights(weights, layers, how)
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("metadata.json", json.dumps({"keras_version": version, "date_saved": "2024-05-17@09:41:01"}))
        z.writestr("config.json", json.dumps({"module": "keras", **model, "registered_name": None, "build_config": {"input_shape": None},
                                              "compile_config": None}))
        z.writestr("model.weights.h5", weights.getvalue())


def cudnn(one):
    """The arrays as CuDNNLSTM and CuDNNGRU keep them: every gate turned round, two biases in a row."""
    def halves(w):
        gates = {"LSTM": 4, "GRU": 3}[base]
        kernel = np.hstack([k.T.reshape(k.shape, order="C") for k in np.hsplit(w[0], gates)])
        recurrent = np.hstack([k.T for k in np.hsplit(w[1], gates)])
        bias = np.concatenate([w[2] * np.float32(0.25), w[2] * np.float32(0.75)]) if w[2].ndim == 1 else w[2].ravel()
        return [kernel, recurrent, bias]

    inner = one["config"].get("layer", one)
    base = inner["class"]
    w = one["weights"]
    n = len(w) // (2 if "layer" in one["config"] else 1)
    return [a for i in range(0, len(w), n) for a in halves(w[i:i + n])]


# ---- Which models, in which files


def ids(n, v):
    return [int(i) for i in rng.integers(1, v, n)]


def frames(n, m):
    return np.round(rng.standard_normal((n, m)), 3)


def make_models():
    m = {}

    def add(name, layers, x, **more):
        m[name] = {"layers": layers, "x": x, **more}

    add("char", [embedding("embedding_1", 11, 5), recurrent("LSTM", "lstm_1", 5, 6, return_sequences=True),
                 distributed("time_distributed_1", dense("dense_1", 6, 11, "softmax"))], ids(8, 11))
    add("sentiment", [embedding("embedding_1", 13, 4, mask_zero=True),
                      recurrent("LSTM", "lstm_1", 4, 6, recurrent_activation="hard_sigmoid"),
                      plain("Dropout", "dropout_1", rate=0.5), dense("dense_1", 6, 1, "sigmoid")], [0, 0, 0] + ids(7, 13))
    m["sentiment3"] = {**m["sentiment"], "v3": True}
    add("gru_before", [recurrent("GRU", "gru_1", 5, 4, return_sequences=True), recurrent("GRU", "gru_2", 4, 3, use_bias=False),
                       dense("dense_1", 3, 4, "relu"), dense("dense_2", 4, 2, "tanh", use_bias=False)], frames(7, 5))
    add("gru_after", [recurrent("GRU", "gru", 5, 4, reset_after=True, return_sequences=True),
                      recurrent("GRU", "gru_1", 4, 3, reset_after=True), dense("dense", 3, 2)], frames(7, 5))
    add("simple", [recurrent("SimpleRNN", "simple_rnn", 3, 4, activation="relu", return_sequences=True),
                   recurrent("SimpleRNN", "simple_rnn_1", 4, 5, return_sequences=True),
                   recurrent("SimpleRNN", "simple_rnn_2", 5, 4, activation="sigmoid", use_bias=False), dense("dense", 4, 3, "softmax")],
        frames(6, 3))
    for merge in ("concat", "sum", "ave", "mul"):
        wide = 8 if merge == "concat" else 4
        add(f"both_{merge}", [embedding("embedding", 9, 3),
                              bidirectional("bidirectional", recurrent("LSTM", "lstm", 3, 4, return_sequences=True), merge),
                              bidirectional("bidirectional_1", recurrent("GRU", "gru", wide, 3), merge),
                              dense("dense", 6 if merge == "concat" else 3, 2, "softmax")], ids(7, 9))
    add("tagger", [embedding("embedding", 9, 3), bidirectional("bidirectional", recurrent("SimpleRNN", "simple_rnn", 3, 4, return_sequences=True)),
                   distributed("time_distributed", dense("dense", 8, 3, "sigmoid"))], ids(7, 9))
    add("norms", [batch_norm("batch_normalization", 4, axis=2), recurrent("LSTM", "lstm", 4, 5, return_sequences=True),
                  batch_norm("batch_normalization_1", 5, scale=False), layer_norm("layer_normalization", 5),
                  distributed("time_distributed", dense("dense", 5, 6)), batch_norm("batch_normalization_2", 6),
                  plain("Activation", "activation", activation="relu"), recurrent("GRU", "gru", 6, 4),
                  layer_norm("layer_normalization_1", 4, axis=[1], center=False), dense("dense_1", 4, 3, "linear", use_bias=False),
                  batch_norm("batch_normalization_3", 3, center=False)], frames(6, 4))
    add("mean", [recurrent("GRU", "gru", 4, 5, return_sequences=True), plain("GlobalAveragePooling1D", "pool", data_format="channels_last"),
                 dense("dense", 5, 3, "softmax")], frames(6, 4))
    add("max", [bidirectional("bidirectional", recurrent("LSTM", "lstm", 4, 3, return_sequences=True)), plain("GlobalMaxPooling1D", "pool"),
                plain("Flatten", "flatten"), dense("dense", 6, 3, "softmax")], frames(6, 4))
    add("backwards", [recurrent("LSTM", "lstm", 4, 5, go_backwards=True), dense("dense", 5, 2)], frames(6, 4))
    add("backwards_twice", [recurrent("GRU", "gru", 4, 5, go_backwards=True, return_sequences=True),
                            recurrent("LSTM", "lstm", 5, 4, go_backwards=True, return_sequences=True),
                            distributed("time_distributed", dense("dense", 4, 2))], frames(6, 4))
    add("backwards_stack", [recurrent("SimpleRNN", "simple_rnn", 4, 5, go_backwards=True, return_sequences=True),
                            recurrent("GRU", "gru", 5, 4), dense("dense", 4, 2)], frames(6, 4))
    add("slopes", [recurrent("LSTM", "lstm", 4, 5, activation="softsign", recurrent_activation="hard_sigmoid", return_sequences=True),
                   plain("LeakyReLU", "leaky", alpha=0.1), recurrent("GRU", "gru", 5, 4, activation="elu"),
                   dense("dense", 4, 4), plain("LeakyReLU", "leaky_1", alpha=0.25), dense("dense_1", 4, 3, "elu"),
                   dense("dense_2", 3, 3, "hard_sigmoid")], frames(6, 4))
    add("objects", [recurrent("SimpleRNN", "simple_rnn", 4, 5, activation="leaky_relu", return_sequences=True),
                    recurrent("LSTM", "lstm", 5, 4, recurrent_activation="hard_sigmoid"),
                    dense("dense", 4, 3, {"module": "keras.layers", "class_name": "LeakyReLU",
                                          "config": {"name": "leaky_re_lu", "negative_slope": 0.15}, "registered_name": None})],
        frames(6, 4), v3=True)
    normalization = layer("Normalization", "normalization", [numbers(4), rng.uniform(0.3, 2, 4), np.float32(5)], axis=[-1], invert=False)
    add("prepared", [normalization, recurrent("LSTM", "lstm", 4, 3, return_sequences=True),
                     plain("Rescaling", "rescaling", scale=0.5, offset=0.25), recurrent("LSTM", "lstm_1", 3, 3), dense("dense", 3, 2)],
        frames(6, 4))
    add("padded", [embedding("embedding", 9, 4, mask_zero=True), bidirectional("bidirectional", recurrent("LSTM", "lstm", 4, 3, return_sequences=True)),
                   recurrent("GRU", "gru", 6, 4), dense("dense", 4, 2)], [0, 0] + ids(5, 9) + [0])
    gap = frames(7, 3)
    gap[[2, 3, 6]] = -1
    add("gaps", [plain("Masking", "masking", mask_value=-1.0), recurrent("LSTM", "lstm", 3, 4, return_sequences=True),
                 recurrent("SimpleRNN", "simple_rnn", 4, 4, return_sequences=True),
                 distributed("time_distributed", dense("dense", 4, 2))], gap)
    add("average", [plain("Masking", "masking", mask_value=-1.0), recurrent("GRU", "gru", 3, 4, return_sequences=True),
                    plain("GlobalAveragePooling1D", "pool"), dense("dense", 4, 2)], gap, apart=True)
    add("window", [recurrent("LSTM", "lstm_1", 7, 6), dense("dense_1", 6, 7), plain("Activation", "activation_1", activation="softmax")],
        np.eye(7)[ids(5, 7)])
    add("cu_lstm", [recurrent("LSTM", "lstm_1", 3, 5, return_sequences=True), recurrent("LSTM", "lstm_2", 5, 4), dense("dense_1", 4, 2)],
        frames(6, 3))
    add("cu_gru", [recurrent("GRU", "gru_1", 3, 5, reset_after=True, return_sequences=True),
                   bidirectional("bidirectional_1", recurrent("GRU", "gru_2", 5, 2, reset_after=True)), dense("dense_1", 4, 2)], frames(6, 3))
    add("old", [embedding("embedding_1", 9, 4), bidirectional("bidirectional_1", recurrent("LSTM", "lstm_1", 4, 3, return_sequences=True,
                                                                                          recurrent_activation="hard_sigmoid")),
                recurrent("GRU", "gru_1", 6, 4, recurrent_activation="hard_sigmoid", return_sequences=True),
                recurrent("SimpleRNN", "simplernn_1", 4, 3), dense("dense_1", 3, 2, "softmax")], ids(7, 9))
    return m


def make_vector_models():
    """All steps side by side, and a vector fed again and again; of numbers of their own.  Where there is padding, NumPy alone:
    in TensorFlow.js the mask goes on through a layer that gives one vector, which it does not in Keras."""
    global rng
    before, rng = rng, np.random.default_rng(4)
    gap = frames(7, 3)
    gap[[2, 5]] = -1
    m = {
        "flat": {"layers": [recurrent("LSTM", "lstm", 4, 5, return_sequences=True), plain("Flatten", "flatten"),
                            dense("dense", 30, 6, "relu"), dense("dense_1", 6, 3, "softmax")], "x": frames(6, 4), "window": True},
        "flat_both": {"layers": [embedding("embedding", 9, 3), bidirectional("bidirectional", recurrent("GRU", "gru", 3, 4, return_sequences=True)),
                                 plain("Flatten", "flatten"), batch_norm("batch_normalization", 40), dense("dense", 40, 2)],
                      "x": ids(5, 9), "window": True},
        "autoencoder": {"layers": [recurrent("LSTM", "lstm", 3, 6, activation="relu", return_sequences=True), recurrent("LSTM", "lstm_1", 6, 4),
                                   plain("RepeatVector", "repeat_vector", n=7), recurrent("LSTM", "lstm_2", 4, 6, return_sequences=True),
                                   distributed("time_distributed", dense("dense", 6, 3))], "x": frames(7, 3)},
        "forecast": {"layers": [bidirectional("bidirectional", recurrent("LSTM", "lstm", 3, 4)), dense("dense", 8, 5, "tanh"),
                                plain("Dropout", "dropout", rate=0.5), plain("RepeatVector", "repeat_vector", n=3),
                                bidirectional("bidirectional_1", recurrent("GRU", "gru", 5, 4, return_sequences=True)),
                                dense("dense_1", 8, 4, "relu"), distributed("time_distributed", dense("dense_2", 4, 2, "sigmoid"))],
                     "x": frames(6, 3)},
        "sums": {"layers": [embedding("embedding", 11, 4, mask_zero=True), recurrent("GRU", "gru", 4, 6),
                            plain("RepeatVector", "repeat_vector", n=4), recurrent("SimpleRNN", "simple_rnn", 6, 5, return_sequences=True),
                            dense("dense", 5, 11, "softmax")], "x": [0, 0] + ids(5, 11), "apart": True},
        "gaps_repeated": {"layers": [plain("Masking", "masking", mask_value=-1.0), recurrent("LSTM", "lstm", 3, 4),
                                     plain("RepeatVector", "repeat_vector", n=2), recurrent("LSTM", "lstm_1", 4, 3, return_sequences=True)],
                          "x": gap, "apart": True},
        "flat_repeated": {"layers": [recurrent("SimpleRNN", "simple_rnn", 3, 4, return_sequences=True), plain("Flatten", "flatten"),
                                     plain("RepeatVector", "repeat_vector", n=3), recurrent("LSTM", "lstm", 20, 3, return_sequences=True)],
                          "x": frames(5, 3), "window": True},
    }
    rng = before
    return m


class Maker:
    def __init__(self, folder, node_modules):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.models = {**make_models(), **make_vector_models()}
        self.outputs = ask_tfjs(self.models, node_modules)
        for name, m in self.models.items():
            own = run(m["layers"], np.array(m["x"]), m.get("v3"))
            if name in self.outputs:
                assert np.abs(own - self.outputs[name]).max() < 2e-6, name
            else:
                self.outputs[name] = own
            print(f"{name}: {'NumPy' if name not in self.outputs or self.outputs[name] is own else 'TensorFlow.js and NumPy'}")

    def path(self, name):
        return os.path.join(self.folder, name)

    def layers(self, model):
        return self.models[model]["layers"]

    def x(self, model):
        return self.models[model]["x"]

    def describe(self, name, model, options=(), says=(), x=None, output=None):
        output = self.outputs[model] if output is None else output
        rows = output.tolist() if output.ndim == 2 else [output.tolist()]
        x = self.x(model) if x is None else x
        x = x.tolist() if isinstance(x, np.ndarray) else x
        entry = {"options": list(options), "input": x, "output": [[float("%.8g" % v) for v in row] for row in rows], "says": list(says)}
        with open(self.path(name + ".json"), "w") as f:
            json.dump(entry, f)
            f.write("\n")

    # Keras 1.2, as keras-team wrote it
    def k1(self, name, model, together=False, **more):
        write_h5(self.path(name + ".h5"), self.layers(model), sequential1(self.layers(model), self.x(model)), "1.2.2",
                 lambda one: arrays1(one, together))
        self.describe(name, model, **more)

    def k2(self, name, model, version="2.2.4", number=2.2, graph=None, how=(), more=(), layers=None, arrays=None):
        layers = layers or self.layers(model)
        make = graph or sequential
        arrays = arrays or (lambda one: list(zip(names2(one, number), one["weights"])))
        write_h5(self.path(name + ".h5"), layers, make(layers, self.x(model), number), version, arrays, **dict(how))
        self.describe(name, model, **dict(more))

    def k3(self, name, model, version="3.3.3", graph=None, more=(), **how):
        make = graph or sequential
        write_keras(self.path(name + ".keras"), self.layers(model), make(self.layers(model), self.x(model), 3), version, **how)
        self.describe(name, model, **dict(more))


def make_layouts(m):
    """One model in every container."""
    m.k1("char_keras1", "char", says=["written by Keras 1.2.2", "one matrix for each gate"])
    m.k1("char_keras1_gpu", "char", together=True)
    m.k2("char_keras2", "char", how={"as": 1})
    m.k2("char_tf2", "char", "2.11.0", 2.3)
    m.k2("char_keras3", "char", "3.3.3", 3)
    m.k2("char_str", "char", "2.9.0", 2.3, how={"str": True})
    m.k2("char_split", "char", how={"split": True})
    m.k2("char_packed", "char", how={"packed": True})
    m.k2("char_latest", "char", how={"libver": "latest"})
    m.k2("char_graph", "char", "2.2.4", 2.2, graph=functional)
    m.k2("char_graph_tf2", "char", "2.13.1", 2.3, graph=functional)
    m.k3("char_v3", "char", more={"says": ["written by Keras 3.3.3", "'optimizer': no part of the model"]})
    m.k3("char_v3_graph", "char", graph=functional)
    m.k3("char_v3_names", "char", "3.8.0", names=True)
    m.k3("char_v3_first", "char", "2.12.0", top="_layer_checkpoint_dependencies", first={"lstm": 1})
    for dtype in ("float64", "float16", "bfloat16"):
        exact = {"float64": np.float64, "float16": np.float16}.get(dtype)
        layers = m.layers("char")
        if exact:
            rounded = [{**one, "weights": [w.astype(exact).astype(np.float32) for w in one["weights"]]} for one in layers]
        else:
            rounded = [{**one, "weights": [(w.view(np.uint32) & 0xFFFF0000).view(np.float32) for w in one["weights"]]} for one in layers]
        write_keras(m.path(f"char_{dtype}.keras"), rounded, sequential(layers, m.x("char"), 3), "3.5.0", dtype=dtype)
        m.describe(f"char_{dtype}", "char", output=run(rounded, np.array(m.x("char"))))

    layers, x = m.layers("char"), m.x("char")
    write_h5(m.path("char_weights.hdf5"), layers, None, "2.2.4", lambda one: list(zip(names2(one, 2.2), one["weights"])))
    other = [{**one, "name": one["name"].replace("_1", "_7")} for one in layers]
    model = {**sequential(other, x, 2.2), "keras_version": "2.2.4", "backend": "tensorflow"}
    with open(m.path("char_weights.model.json"), "w") as f:
        json.dump(model, f)
    m.describe("char_weights", "char", ["--config", "char_weights.model.json"], ["its arrays are the file's 'lstm_1'"])
    write_v3_weights(m.path("char_only.weights.h5"), layers, {})
    with open(m.path("char_only.model.json"), "w") as f:
        json.dump({"module": "keras", **sequential(layers, x, 3)}, f)
    m.describe("char_only", "char", ["--config", "char_only.model.json"])


def make_kinds(m):
    """Every layer and option."""
    padded = ["mask_zero: steps of id 0 are passed over", "does nothing outside of training"]
    m.k1("sentiment_keras1", "sentiment", says=padded)
    m.k2("sentiment_keras2", "sentiment", more={"says": padded + ["hard_sigmoid is 0.2 x + 0.5"]})
    m.k3("sentiment_v3", "sentiment3", graph=lambda *a: functional(*a, masks=True), more={"says": ["hard_sigmoid is x / 6 + 0.5"]})
    m.k2("gru_before", "gru_before", more={"says": ["reset gate before the product", "put in the order r z n"]})
    m.k2("gru_after", "gru_after", "2.11.0", 2.3, more={"says": ["reset gate after the product", "both biases kept"]})
    m.k3("gru_after_v3", "gru_after")
    m.k3("simple_v3", "simple")
    m.k2("simple", "simple", "2.11.0", 2.3)
    for merge in ("concat", "sum", "ave", "mul"):
        m.k2(f"both_{merge}", f"both_{merge}", "2.4.0", 2.3)
    m.k3("both_concat_v3", "both_concat")
    m.k2("tagger", "tagger")
    m.k2("norms", "norms", "2.11.0", 2.3,
         more={"says": ["becomes a scale and a shift", "folded into the weights and bias of 'dense'", "is the activation of 'dense'"]})
    m.k3("norms_v3", "norms")
    m.k2("mean", "mean")
    m.k2("max", "max")
    for name in ("padded", "gaps", "average"):
        m.k2(name, name, more={"says": ["are passed over"]})
    for name in ("backwards", "backwards_twice", "backwards_stack"):
        m.k2(name, name, more={"says": ["it runs backwards"]})
    m.k2("slopes", "slopes", more={"says": ["becomes a dense module whose matrix is the identity"]})
    m.k3("objects_v3", "objects")
    m.k3("prepared_v3", "prepared", more={"says": ["the input's mean and standard deviation"]})
    m.k2("prepared", "prepared", "2.11.0", 2.3)
    m.k2("window", "window", how={"as": 1}, more={"says": ["with --topology synced --one-hot it becomes a model that writes on"]})
    m.k1("old", "old")
    m.k1("old_gpu", "old", together=True)


def make_vectors(m):
    side, again = "steps side by side", "the layers above are fed the vector"
    m.k2("flat", "flat", graph=windowed, more={"says": ["6 " + side]})
    m.k3("flat_v3", "flat", graph=windowed)
    m.k2("flat_both", "flat_both", "2.11.0", 2.3, graph=windowed, more={"says": ["5 " + side]})
    m.k2("autoencoder", "autoencoder", graph=windowed, more={"says": [again + " 7 times", "windows of 7 steps; it is not held to that"]})
    m.k3("autoencoder_v3", "autoencoder", graph=functional)
    m.k2("forecast", "forecast", "2.11.0", 2.3, more={"says": [again + " 3 times"]})
    m.k3("forecast_v3", "forecast")
    m.k2("sums", "sums", graph=functional, more={"says": [again, "are passed over"]})
    m.k2("gaps_repeated", "gaps_repeated", more={"says": [again, "are passed over"]})
    m.k2("flat_repeated", "flat_repeated", graph=windowed, more={"says": [side, again]})


def make_cudnn(m):
    """CuDNN's layers, and their arrays under plain names."""
    for model in ("cu_lstm", "cu_gru"):
        plain_layers = m.layers(model)
        turned = [{**one, "weights": cudnn(one) if one["class"] in ("LSTM", "GRU", "Bidirectional") else one["weights"]} for one in plain_layers]
        renamed = []
        for one in turned:
            inner = one["config"].get("layer")
            if one["class"] in ("LSTM", "GRU"):
                one = {**one, "class": "CuDNN" + one["class"]}
            elif inner:
                one = {**one, "config": {**one["config"], "layer": {**inner, "class": "CuDNN" + inner["class"]}}}
            renamed.append(one)
        arrays = lambda one: list(zip(names2({**one, "class": one["class"].replace("CuDNN", "")}, 2.2), one["weights"]))
        m.k2(model, model, layers=renamed, arrays=arrays, more={"says": ["in cuDNN's layout, put in order", "both biases kept"]})
        m.k2(model + "_plain", model, layers=turned, more={"says": ["in cuDNN's layout, put in order"]})


def make_cells(m):
    """RNN(LSTMCell)."""
    layers = m.layers("cu_lstm")
    model = sequential(layers, m.x("cu_lstm"), 3)
    for entry in model["config"]["layers"]:
        if entry["class_name"] == "LSTM":
            cell = {k: entry["config"][k] for k in ("units", "activation", "recurrent_activation", "use_bias")}
            entry["class_name"] = "RNN"
            entry["config"] = {"name": entry["config"]["name"], "return_sequences": entry["config"]["return_sequences"], "go_backwards": False,
                               "cell": {"module": "keras.layers", "class_name": "LSTMCell", "config": cell, "registered_name": None}}
    weights = io.BytesIO()
    write_v3_weights(weights, layers, {})
    renamed = io.BytesIO()
    with h5py.File(weights, "r") as old, h5py.File(renamed, "w") as new:
        for key in old["layers"]:
            old.copy(f"layers/{key}", new.require_group("layers"), name=key.replace("lstm", "rnn"))
    with zipfile.ZipFile(m.path("cells_v3.keras"), "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("metadata.json", json.dumps({"keras_version": "3.5.0"}))
        z.writestr("config.json", json.dumps(model))
        z.writestr("model.weights.h5", renamed.getvalue())
    m.describe("cells_v3", "cu_lstm")


def make_odd(m):
    """Files that HDF5 allows and that are refused: links, storage elsewhere, other filters, other types."""
    layers, x = m.layers("backwards"), m.x("backwards")
    kernel = layers[0]["weights"][0]

    def write(name, change):
        path = m.path(f"odd_{name}.h5")
        write_h5(path, layers, sequential(layers, x, 2.2), "2.2.4", lambda one: list(zip(names2(one, 2.2), one["weights"])))
        with h5py.File(path, "r+") as f:
            group = f["model_weights/lstm/lstm"]
            del group["kernel:0"]
            change(f, group)

    def external_storage(f, group):
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_external(b"/etc/passwd", 0, kernel.nbytes)
        h5py.h5d.create(group.id, b"kernel:0", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(kernel.shape), plist)

    def virtual(f, group):
        layout = h5py.VirtualLayout(kernel.shape, "f4")
        layout[...] = h5py.VirtualSource("other.h5", "data", kernel.shape)
        group.create_virtual_dataset("kernel:0", layout)

    def soft(f, group):
        f.create_dataset("elsewhere", data=kernel)
        group["kernel:0"] = h5py.SoftLink("/elsewhere")

    def outside(f, group):
        group["kernel:0"] = h5py.ExternalLink("other.h5", "data")

    write("external_link", outside)
    write("soft_link", soft)
    write("external_storage", external_storage)
    write("virtual", virtual)
    write("lzf", lambda f, g: g.create_dataset("kernel:0", data=kernel, compression="lzf"))
    write("integers", lambda f, g: g.create_dataset("kernel:0", data=kernel.astype(np.int8)))
    write("missing", lambda f, g: None)
    write("shape", lambda f, g: g.create_dataset("kernel:0", data=kernel[:, :-1]))
    write("scalar", lambda f, g: g.create_dataset("kernel:0", data=np.float32(1)))
    write("group", lambda f, g: g.create_group("kernel:0"))
    write("huge", lambda f, g: g.create_dataset("kernel:0", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024), compression="gzip"))
    with h5py.File(m.path("odd_none.h5"), "w") as f:
        f.create_dataset("data", data=kernel)


def main():
    m = Maker(sys.argv[1], sys.argv[2])
    make_layouts(m)
    make_kinds(m)
    make_vectors(m)
    make_cudnn(m)
    make_cells(m)
    make_odd(m)


main()
