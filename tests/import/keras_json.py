"""Models in the JSON of Keras 1, 2 and 3, with the keys that say nothing to a reader, too: for make_keras.py."""
import numpy as np

ZEROS = {"class_name": "Zeros", "config": {}}
GLOROT = {"class_name": "VarianceScaling", "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": None}}


def config2(one, version):
    """Keras 2's and 3's get_config(), with the keys that say nothing to a reader, too."""
    cls, config = one["class"], dict(one["config"])
    out = {"name": one["name"], "trainable": True}
    if version >= 2.1:
        out["dtype"] = "float32"
    if version >= 3:
        out["dtype"] = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}
    if cls in ("LSTM", "GRU", "SimpleRNN", "CuDNNLSTM", "CuDNNGRU"):
        out.update(return_state=False, stateful=False, unroll=False, kernel_initializer=GLOROT,
                   recurrent_initializer={"class_name": "Orthogonal", "config": {"gain": 1.0, "seed": None}},
                   bias_initializer=ZEROS, kernel_regularizer=None, dropout=0.0, recurrent_dropout=0.0)
        if cls.endswith("LSTM"):
            out["unit_forget_bias"] = True
        if cls.startswith("CuDNN"):
            for key in ("activation", "recurrent_activation", "reset_after", "use_bias"):
                config.pop(key, None)
        elif version < 2.3:
            out["implementation"] = 1
    if cls == "Dense":
        out.update(kernel_initializer=GLOROT, bias_initializer=ZEROS, kernel_regularizer=None, activity_regularizer=None)
    if cls == "Embedding":
        out.update(embeddings_initializer={"class_name": "RandomUniform", "config": {"minval": -0.05, "maxval": 0.05, "seed": None}},
                   embeddings_regularizer=None)
        if version < 3:
            out["input_length"] = None
    if "layer" in config:
        inner = config.pop("layer")
        out["layer"] = entry2(inner, version)
        if cls == "Bidirectional" and version >= 3:
            out["layer"]["config"]["name"] = "forward_" + inner["name"]
            back = {**inner, "name": "backward_" + inner["name"],
                    "config": {**inner["config"], "go_backwards": not inner["config"]["go_backwards"]}}
            out["backward_layer"] = entry2(back, version)
    if version >= 3 and cls == "LeakyReLU":
        config["negative_slope"] = config.pop("alpha")
    out.update(config)
    return out


def entry2(one, version):
    out = {"class_name": one["class"], "config": config2(one, version)}
    if version >= 3:
        out = {"module": "keras.layers", **out, "registered_name": None, "build_config": {"input_shape": None}}
    return out


def shape_of(x, window=False):
    return [None, len(x) if window else None, *np.shape(x)[1:]]


def sequential(layers, x, version, as_list=False, window=False):
    entries = [entry2(one, version) for one in layers]
    if version >= 2.3:
        key = "batch_shape" if version >= 3 else "batch_input_shape"
        entries.insert(0, {"class_name": "InputLayer", "config": {key: shape_of(x, window), "dtype": "float32", "sparse": False, "name": "input_layer"}})
    else:
        entries[0]["config"]["batch_input_shape"] = shape_of(x, window)
    return {"class_name": "Sequential", "config": entries if as_list else {"name": "sequential", "layers": entries}}


def windowed(layers, x, version):
    """A model whose input has as many steps as x."""
    return sequential(layers, x, version, window=True)


def functional(layers, x, version, masks=False):
    """One after the other, as a graph; `masks`: as Keras 3 writes an embedding that masks."""
    key = "batch_shape" if version >= 3 else "batch_input_shape"
    entries = [{"class_name": "InputLayer", "config": {key: shape_of(x), "dtype": "float32", "sparse": False, "name": "input_1"},
                "name": "input_1", "inbound_nodes": []}]
    below = "input_1"

    def tensor(name):
        return {"class_name": "__keras_tensor__", "config": {"shape": [None, None], "dtype": "float32", "keras_history": [name, 0, 0]}}

    for one in layers:
        arguments = {}
        if masks and one["class"] in ("LSTM", "GRU"):
            arguments = {"training": False, "mask": tensor("not_equal")}
        node = [{"args": [tensor(below)], "kwargs": arguments}] if version >= 3 else [[[below, 0, 0, {}]]]
        entries.append({**entry2(one, version), "name": one["name"], "inbound_nodes": node})
        if masks and one["class"] == "Embedding":
            entries.append({"module": "keras.src.ops.numpy", "class_name": "NotEqual", "config": {"name": "not_equal"},
                            "registered_name": "NotEqual", "build_config": {"input_shape": [None, None]}, "name": "not_equal",
                            "inbound_nodes": [{"args": [tensor("input_1"), 0], "kwargs": {}}]})
        below = one["name"]
    ends = (["input_1", 0, 0], [below, 0, 0]) if version >= 3 else ([["input_1", 0, 0]], [[below, 0, 0]])
    return {"class_name": "Functional" if version >= 2.3 else "Model",
            "config": {"name": "model_1", "trainable": True, "layers": entries, "input_layers": ends[0], "output_layers": ends[1]}}


def config1(one):
    """Keras 1's words."""
    cls, config, out = one["class"], one["config"], {"name": one["name"], "trainable": True}
    if cls in ("LSTM", "GRU", "SimpleRNN"):
        out.update(output_dim=config["units"], init="glorot_uniform", inner_init="orthogonal", activation=config["activation"],
                   W_regularizer=None, U_regularizer=None, b_regularizer=None, dropout_W=0.0, dropout_U=0.0,
                   return_sequences=config["return_sequences"], go_backwards=config["go_backwards"], stateful=False, unroll=False,
                   consume_less="cpu", input_dim=one["weights"][0].shape[0] if one["weights"] else None, input_length=None)
        if cls != "SimpleRNN":
            out["inner_activation"] = config["recurrent_activation"]
        if cls == "LSTM":
            out["forget_bias_init"] = "one"
    elif cls == "Dense":
        out.update(output_dim=config["units"], init="glorot_uniform", activation=config["activation"], W_regularizer=None,
                   bias=config["use_bias"], input_dim=None)
    elif cls == "Embedding":
        out.update(input_dim=config["input_dim"], output_dim=config["output_dim"], init="uniform", input_length=None,
                   mask_zero=config["mask_zero"], W_regularizer=None, dropout=0.0, input_dtype="int32")
    elif cls == "Dropout":
        out["p"] = config["rate"]
    elif "layer" in config:
        out["layer"] = {"class_name": config["layer"]["class"], "config": config1({**config["layer"], "weights": []})}
        if cls == "Bidirectional":
            out["merge_mode"] = config["merge_mode"]
    else:
        out.update(config)
    return out


def sequential1(layers, x):
    entries = [{"class_name": one["class"], "config": config1(one)} for one in layers]
    entries[0]["config"]["batch_input_shape"] = shape_of(x)
    return {"class_name": "Sequential", "config": entries}
