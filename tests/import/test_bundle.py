"""TensorFlow checkpoints: what the cells of TensorFlow 1 and Keras compute of the variables is what the model gives."""
import json
import shutil

import numpy as np
import pytest

import bundle

V, E, H = 11, 6, 5
IDS = [3, 1, 4, 1, 5, 9, 2, 6]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_tf1(xs, kernel, bias):
    h, c, out = np.zeros(H), np.zeros(H), []
    for x in xs:
        i, j, f, o = np.split(np.concatenate([x, h]) @ kernel + bias, 4)
        c = sigmoid(f + 1.0) * c + sigmoid(i) * np.tanh(j)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.array(out)


def gru_tf1(xs, gates, gates_bias, candidate, candidate_bias):
    h, out = np.zeros(H), []
    for x in xs:
        r, u = np.split(sigmoid(np.concatenate([x, h]) @ gates + gates_bias), 2)
        h = u * h + (1 - u) * np.tanh(np.concatenate([x, r * h]) @ candidate + candidate_bias)
        out.append(h)
    return np.array(out)


def rnn_tf1(xs, kernel, bias):
    h, out = np.zeros(H), []
    for x in xs:
        h = np.tanh(np.concatenate([x, h]) @ kernel + bias)
        out.append(h)
    return np.array(out)


def gru_keras(xs, kernel, recurrent, bias):
    h, out = np.zeros(H), []
    after = bias.ndim == 2
    own, other = bias if after else (bias, np.zeros(3 * H))
    for x in xs:
        xz, xr, xh = np.split(x @ kernel + own, 3)
        hz, hr, hh = np.split(h @ recurrent + other, 3)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        if not after:
            hh = (r * h) @ recurrent[:, 2 * H:]
        h = z * h + (1 - z) * np.tanh(xh + (r * hh if after else hh))
        out.append(h)
    return np.array(out)


def lstm_keras(xs, kernel, recurrent, bias):
    h, c, out = np.zeros(H), np.zeros(H), []
    for x in xs:
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.array(out)


class Maker:
    def __init__(self, seed=5):
        self.rng, self.arrays = np.random.default_rng(seed), {}

    def __call__(self, name, *shape):
        self.arrays[name] = self.rng.uniform(-1, 1, shape).astype(np.float32)
        return self.arrays[name].astype(np.float64)


def char_rnn(kernel="kernel", bias="bias", cells=2):
    """sherjilozair/char-rnn-tensorflow, as ml5 trains it; returns the maker and the outputs."""
    make = Maker()
    xs = make("rnnlm/embedding", V, E)[IDS]
    for k in range(cells):
        path = f"rnnlm/multi_rnn_cell/cell_{k}/basic_lstm_cell/"
        xs = lstm_tf1(xs, make(path + kernel, (E if k == 0 else H) + H, 4 * H), make(path + bias, 4 * H))
    return make, xs @ make("rnnlm/softmax_w", H, V) + make("rnnlm/softmax_b", V)


def expect(folder, outputs):
    path = folder / "expect.json"
    path.write_text(json.dumps({"input": IDS, "output": outputs.tolist()}))
    return path


def config_of(tmp_path, name="m"):
    return json.loads((tmp_path / name / "config.json").read_text())


@pytest.mark.parametrize("kernel,bias", [("kernel", "bias"), ("weights", "biases"), ("Linear/Matrix", "Linear/Bias")])
def test_names_of_three_versions(rnnd, tmp_path, kernel, bias):
    make, outputs = char_rnn(kernel, bias)
    bundle.write(tmp_path / "model.ckpt-7", make.arrays)
    out = rnnd.ok("import", "--expect", expect(tmp_path, outputs), "--out", "m", "model.ckpt-7.index")
    assert f"Expected outputs: {len(IDS) * V} agree" in out
    assert "Second opinion: 11 outputs" in out
    assert "gates i j f o put in the order i f g o; forget bias 1.0" in out
    assert config_of(tmp_path)["rnn"]["num_layers"] == 2


def test_a_checkpoint_is_named_in_four_ways(rnnd, tmp_path):
    make, outputs = char_rnn()
    folder = tmp_path / "save"
    folder.mkdir()
    bundle.write(folder / "model.ckpt-9", make.arrays)
    for i, name in enumerate(["save/model.ckpt-9.index", "save/model.ckpt-9", "save"]):
        rnnd.ok("import", "--expect", expect(tmp_path, outputs), "--out", f"m{i}", name)
    bundle.write(folder / "model.ckpt-1", Maker().arrays | {"x": np.zeros(3, np.float32)})
    assert "a folder without" in rnnd.fails("import", "--out", "n", "save")
    (folder / "checkpoint").write_text('model_checkpoint_path: "/home/other/save/model.ckpt-9"\n'
                                       'all_model_checkpoint_paths: "/home/other/save/model.ckpt-1"\n')
    rnnd.ok("import", "--expect", expect(tmp_path, outputs), "--out", "m4", "save")
    assert "model.ckpt-9.index" not in rnnd.fails("import", "--out", "n", "save/model.ckpt-1")
    assert "name the .index file" in rnnd.fails("import", "--out", "n", "save/model.ckpt-9.data-00000-of-00001")


def test_several_parts_and_other_variables(rnnd, tmp_path):
    make, outputs = char_rnn()
    for name in list(make.arrays):
        make.arrays[name + "/Adam"] = make.arrays[name] * 2
        make.arrays[name + "/Adam_1"] = make.arrays[name] * 3
    make.arrays["beta1_power"] = np.float32(0.9)
    make.arrays["global_step"] = np.int64(7)
    bundle.write(tmp_path / "c", make.arrays, shards=3, per_block=2, strings=["a_graph"])
    out = rnnd.ok("import", "--expect", expect(tmp_path, outputs), "--out", "m", "c.index")
    assert "variables of the optimizer, passed over" in out
    assert "beta1_power" in out and "/Adam" not in out
    shown = rnnd.ok("inspect", "c.index")
    assert "rnnlm/softmax_w/Adam  (not of the model)" in shown
    assert "F32   5x11           rnnlm/softmax_w\n" in shown
    assert "global_step  (not used)" in shown


def test_gru_cell_resets_before(rnnd, tmp_path):
    make = Maker()
    xs = make("embedding", V, E)[IDS]
    path = "rnn/gru_cell/"
    xs = gru_tf1(xs, make(path + "gates/kernel", E + H, 2 * H), make(path + "gates/bias", 2 * H),
                 make(path + "candidate/kernel", E + H, H), make(path + "candidate/bias", H))
    outputs = xs @ make("dense/kernel", H, V) + make("dense/bias", V)
    bundle.write(tmp_path / "c", make.arrays)
    out = rnnd.ok("import", "--expect", expect(tmp_path, outputs), "--out", "m", "c.index")
    assert config_of(tmp_path)["rnn"]["reset"] == "before"
    assert "reset before the product" in out and "Second opinion: 11 outputs" in out


def test_basic_rnn_cell_and_two_directions(rnnd, tmp_path):
    make = Maker()
    xs = make("embedding", V, E)[IDS]
    sides = [rnn_tf1(side, make(f"bidirectional_rnn/{d}/basic_rnn_cell/kernel", E + H, H),
                     make(f"bidirectional_rnn/{d}/basic_rnn_cell/bias", H)) for d, side in (("fw", xs), ("bw", xs[::-1]))]
    outputs = np.concatenate([sides[0], sides[1][::-1]], 1) @ make("W", 2 * H, V) + make("b", V)
    bundle.write(tmp_path / "c", make.arrays)
    out = rnnd.ok("import", "--expect", expect(tmp_path, outputs), "--out", "m", "c.index")
    assert config_of(tmp_path)["rnn"]["bidirectional"] and "Second opinion: 11 outputs" in out


KERAS = {"gru, reset after": (gru_keras, 3, (2, 3 * H)), "gru, reset before": (gru_keras, 3, (3 * H,)),
         "lstm": (lstm_keras, 4, (4 * H,))}


@pytest.mark.parametrize("name", KERAS)
def test_keras_layers_by_their_paths(rnnd, tmp_path, name):
    cell, gates, bias = KERAS[name]
    make = Maker()

    def at(layer, part):
        return f"layer_with_weights-{layer}/{part}/.ATTRIBUTES/VARIABLE_VALUE"

    xs = make(at(0, "embeddings"), V, E)[IDS]
    xs = cell(xs, make(at(1, "cell/kernel"), E, gates * H), make(at(1, "cell/recurrent_kernel"), H, gates * H),
              make(at(1, "cell/bias"), *bias))
    outputs = xs @ make(at(2, "kernel"), H, V) + make(at(2, "bias"), V)
    for part in ("kernel", "bias"):
        make(f"layer_with_weights-2/{part}/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE", *make.arrays[at(2, part)].shape)
    make.arrays["optimizer/iter/.ATTRIBUTES/VARIABLE_VALUE"] = np.int64(3)
    bundle.write(tmp_path / "ckpt_10", make.arrays, strings=["_CHECKPOINTABLE_OBJECT_GRAPH"])
    out = rnnd.ok("import", "--expect", expect(tmp_path, outputs), "--out", "m", "ckpt_10")
    assert config_of(tmp_path)["rnn"].get("reset", "after") == ("before" if "before" in name else "after")
    assert "taken for Keras' defaults" in out and "Second opinion: 11 outputs" in out
    assert "3 variables of the training, passed over" in out


def test_bare_object_paths_are_no_model(rnnd, tmp_path):
    make = Maker()
    for i, shape in enumerate([(V, E), (E, 4 * H), (H, 4 * H), (4 * H,)]):
        make(f"variables/{i}/.ATTRIBUTES/VARIABLE_VALUE", *shape)
    bundle.write(tmp_path / "c", make.arrays)
    assert "no recurrent layer" in rnnd.fails("import", "--out", "m", "c.index")
    assert "variables/1/.ATTRIBUTES" in rnnd("inspect", "c.index").out


# ---- Damage


def both(tmp_path):
    make, _ = char_rnn()
    bundle.write(tmp_path / "c", make.arrays)
    return (tmp_path / "c.index"), (tmp_path / "c.data-00000-of-00001")


def test_damaged_numbers_are_noticed(rnnd, tmp_path):
    _, data = both(tmp_path)
    whole = bytearray(data.read_bytes())
    for at in (0, len(whole) // 2, len(whole) - 1):
        spoiled = bytearray(whole)
        spoiled[at] ^= 4
        data.write_bytes(spoiled)
        assert "its checksum differs: the file is damaged" in rnnd.fails("import", "--out", "m", "c.index")
    data.write_bytes(whole[:-1])
    assert "leads past the end of its file" in rnnd.fails("import", "--out", "m", "c.index")
    data.unlink()
    assert "data-00000-of-00001: No such file" in rnnd.fails("import", "--out", "m", "c.index")


def test_a_damaged_index_is_noticed(rnnd, tmp_path):
    index, _ = both(tmp_path)
    whole = index.read_bytes()
    harmless = 0
    for at in range(0, len(whole) - 48, 7):
        index.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1:])
        run = rnnd("import", "--out", "m", "c.index")
        if run.returncode == 0:
            harmless += 1
            shutil.rmtree(tmp_path / "m")
        else:
            assert "index, byte" in run.err
    assert harmless <= 2  # of 13 bytes of the meta-index, which are nobody's business
    for keep in (0, 10, 47, 48, len(whole) // 2, len(whole) - 1):
        index.write_bytes(whole[:keep])
        assert rnnd.fails("import", "--out", "m", "c.index")


@pytest.mark.parametrize("how,words", [
    ({"packing": 1}, "packed by method 1"),
    ({"endianness": 1}, "big-endian"),
    ({"sliced": ["rnnlm/softmax_w"]}, "'rnnlm/softmax_w': stored in slices, not read"),
    ({"shards": 1001}, "header is damaged"),
])
def test_what_is_not_read_is_refused(rnnd, tmp_path, how, words):
    make, _ = char_rnn()
    bundle.write(tmp_path / "c", make.arrays, **how)
    run = rnnd("import", "--out", "m", "c.index")
    assert words in run.out + run.err


@pytest.mark.parametrize("spoil,words", [
    (lambda a: a.pop("rnnlm/multi_rnn_cell/cell_1/basic_lstm_cell/bias"), "there is no 'rnnlm/multi_rnn_cell/cell_1/basic_lstm_cell/bias'"),
    (lambda a: a.update({"rnnlm/multi_rnn_cell/cell_1/basic_lstm_cell/w_f_diag": np.zeros(H, np.float32)}), "peepholes"),
    (lambda a: a.update({"rnnlm/multi_rnn_cell/cell_1/basic_lstm_cell/bias": np.zeros(7, np.float32)}), "want 20 floats"),
    (lambda a: a.update({"rnnlm/multi_rnn_cell/cell_1/basic_lstm_cell/kernel": np.zeros((3, 20), np.float32)}), "no kernel of a cell of 4 blocks"),
])
def test_cells_that_are_none(rnnd, tmp_path, spoil, words):
    make, _ = char_rnn()
    spoil(make.arrays)
    bundle.write(tmp_path / "c", make.arrays)
    assert words in rnnd.fails("import", "--out", "m", "c.index")
