"""Files that are neither PyTorch's usual ones nor a TensorFlow checkpoint: safetensors with other people's names, ml5's
variables, NumPy's arrays, odd containers; and vocabularies beside them."""
import io
import json
import os
import struct
import tarfile
import zipfile

import numpy as np
import pytest

import test_bundle
from conftest import FILES, read_json, read_safetensors
from test_bundle import E, H, IDS, V, Maker, config_of, expect, sigmoid
from test_torch import file_of

TYPES = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64", "uint8": "U8", "int8": "I8"}


def lstm(xs, w_ih, w_hh, bias):
    h, c, out = np.zeros(w_hh.shape[1]), np.zeros(w_hh.shape[1]), []
    for x in xs:
        i, f, g, o = np.split(w_ih @ x + w_hh @ h + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.array(out)


# ---- safetensors


def write_safetensors(path, arrays, pad=0, types=None, order=None):
    """pad: blanks behind the header, whose length then is of no multiple of 8."""
    header, data = {}, b""
    for name in order or arrays:
        raw = arrays[name].tobytes()
        dtype = (types or {}).get(name) or TYPES[arrays[name].dtype.name]
        header[name] = {"dtype": dtype, "shape": list(arrays[name].shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode() + b" " * pad
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def detector():
    """A cell without layer numbers under a prefix, its head, and what else lies in such a file."""
    make = Maker()
    xs = make("model.embedding.weight", V, E)[IDS]
    xs = lstm(xs, make("model.decoder.rnn.weight_ih", 4 * H, E), make("model.decoder.rnn.weight_hh", 4 * H, H),
              make("model.decoder.rnn.bias_ih", 4 * H) + make("model.decoder.rnn.bias_hh", 4 * H))
    return make, xs @ make("model.decoder.linear.weight", V, H).T + make("model.decoder.linear.bias", V)


@pytest.mark.parametrize("pad", range(4))
def test_safetensors_with_foreign_names(rnnd, tmp_path, pad):
    make, outputs = detector()
    make("model.stft.basis", 6, 1, 4)
    make.arrays["model.steps"] = np.int64(9)
    make.arrays["model.empty"] = np.zeros((0, 3), np.float32)
    make.arrays["odd"] = np.zeros(3, np.uint8)  # everything behind it is unaligned
    order = ["odd"] + sorted(n for n in make.arrays if n != "odd")
    write_safetensors(tmp_path / "d.safetensors", make.arrays, pad, {"odd": "F8_E5M2"}, order)
    out = rnnd.ok("import", "--expect", expect(tmp_path, outputs), "--out", "m", "d.safetensors")
    assert "Not used: 4 tensors" in out and "model.stft.basis" in out
    shown = rnnd.ok("inspect", "d.safetensors")
    assert "F32   20x6           model.decoder.rnn.weight_ih\n" in shown
    assert "model.stft.basis  (not used)" in shown
    assert "embedding (embedding) → model.decoder.rnn (lstm) → model.decoder.linear (dense)" in shown


@pytest.mark.parametrize("head,known", [("fc", True), ("zlast.output", True), ("proj", False), ("fc_in", False)])
def test_a_head_is_known_by_its_name_where_no_order_is(rnnd, tmp_path, head, known):
    """Both orders fit by their widths, and safetensors keeps none."""
    make = Maker()
    xs = np.eye(V)[IDS]
    xs = lstm(xs, make("lstm.weight_ih_l0", 4 * H, V), make("lstm.weight_hh_l0", 4 * H, H),
              make("lstm.bias_ih_l0", 4 * H) + make("lstm.bias_hh_l0", 4 * H))
    outputs = xs @ make(head + ".weight", V, H).T + make(head + ".bias", V)
    write_safetensors(tmp_path / "d.safetensors", make.arrays)
    words = ["import", "--one-hot", "--expect", expect(tmp_path, outputs), "--out", "m", "d.safetensors"]
    if known:
        rnnd.ok(*words)
    else:
        assert "could follow one another in several ways" in rnnd.fails(*words)


def test_types_of_safetensors_stay(rnnd, tmp_path):
    make, _ = detector()
    for name, dtype in (("F16", np.float16), ("F64", np.float64)):
        arrays = {k: v.astype(dtype) for k, v in make.arrays.items()}
        write_safetensors(tmp_path / "d.safetensors", arrays)
        rnnd.ok("import", "--out", name, "d.safetensors")
        made = read_safetensors(tmp_path / name / "model.safetensors")
        assert made["rnn.weight_ih_l0"] == (name, [4 * H, E], arrays["model.decoder.rnn.weight_ih"].tobytes())
        assert config_of(tmp_path, name)["dtype"] == name
    write_safetensors(tmp_path / "d.safetensors", {k: v.astype(np.int8) for k, v in make.arrays.items()})
    assert "found I8 20x6, want 20x6 floats" in rnnd.fails("import", "--out", "m", "d.safetensors")


@pytest.mark.parametrize("spoil", [
    lambda h: h["model.embedding.weight"].update(data_offsets=[4, 268]),
    lambda h: h["model.embedding.weight"].update(data_offsets=[0, 10**12]),
    lambda h: h["model.embedding.weight"].update(shape=[V, E + 1]),
    lambda h: h["model.embedding.weight"].update(shape=[2**40, 2**40]),
    lambda h: h["model.embedding.weight"].update(dtype="F33"),
    lambda h: h.update({"two": h["model.embedding.weight"]}),
])
def test_safetensors_that_lie(rnnd, tmp_path, spoil):
    make, _ = detector()
    write_safetensors(tmp_path / "d.safetensors", make.arrays)
    raw = (tmp_path / "d.safetensors").read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    spoil(header)
    text = json.dumps(header).encode()
    (tmp_path / "d.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + n:])
    assert "d.safetensors: " in rnnd.fails("import", "--out", "m", "d.safetensors")


# ---- ml5's variables


def write_manifest(folder, arrays, **changes):
    folder.mkdir()
    manifest = {}
    for name, array in arrays.items():
        file = name.replace("/", "_")
        manifest[name] = {"filename": file, "shape": list(array.shape)}
        (folder / file).write_bytes(array.astype("<f4").tobytes())
    for name, change in changes.items():
        manifest[name].update(change)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("kernel,bias", [("kernel", "bias"), ("weights", "biases")])
def test_variables_with_a_manifest(rnnd, tmp_path, kernel, bias):
    make, outputs = test_bundle.char_rnn(kernel, bias)
    make.arrays["Variable"] = np.float32(0)
    write_manifest(tmp_path / "darwin", make.arrays)
    for i, name in enumerate(["darwin", "darwin/", "darwin/manifest.json"]):
        out = rnnd.ok("import", "--expect", expect(tmp_path, outputs), "--out", f"m{i}", name)
        assert "Second opinion: 11 outputs" in out and "Not used: 1 tensor" in out
    assert "F32   11x20          rnnlm/multi_rnn_cell/cell_0/basic_lstm_cell/" + kernel in rnnd.ok("inspect", "darwin")


def test_a_manifest_leads_nowhere_else(rnnd, tmp_path):
    make, _ = test_bundle.char_rnn()
    for i, (change, words) in enumerate([
            ({"filename": "../expect.json"}, "has no filename and shape"), ({"filename": "/etc/passwd"}, "has no filename"),
            ({"filename": "nothing"}, "nothing: No such file"), ({"shape": [V, V]}, "its shape wants 484"),
            ({"shape": [-1]}, "no list of sizes"), ({"shape": [2**40]}, "no list of sizes"), ({"shape": "x"}, "has no filename")]):
        write_manifest(tmp_path / f"f{i}", make.arrays, **{"rnnlm/softmax_b": change})
        assert words in rnnd.fails("import", "--out", "m", f"f{i}")


# ---- NumPy


def npy(array, version=1, descr=None):
    header = repr({"descr": descr or array.dtype.str, "fortran_order": False, "shape": array.shape}).encode() + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + array.tobytes()


def test_arrays_of_three_versions(rnnd, tmp_path):
    make, outputs = detector()
    for version in (1, 2, 3):
        with zipfile.ZipFile(tmp_path / "d.npz", "w") as z:
            for name, array in make.arrays.items():
                z.writestr(name + ".npy", npy(array, version))
        rnnd.ok("import", "--expect", expect(tmp_path, outputs), "--out", f"m{version}", "d.npz")


@pytest.mark.parametrize("data,words", [
    (npy(np.zeros(3, ">f4")), "is of type '>f4'"),
    (npy(np.zeros(3, "<f4"), 4), "version 1 to 3"),
    (npy(np.zeros(3, "<f4"))[:-1], "does not fit its bytes"),
    (npy(np.zeros(3, "<f4"), descr="|O"), "Python objects, which are not unpickled"),
    (npy(np.zeros((3, 2), "<f4")).replace(b"(3, 2)", b"(3, x)"), "no tuple"),
    (npy(np.zeros((3, 2), "<f4")).replace(b"'shape'", b"'spahe'"), "no 'shape'"),
])
def test_arrays_that_are_not_read(rnnd, tmp_path, data, words):
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as z:
        z.writestr("w.npy", data)
    assert words in rnnd.fails("import", "--out", "m", "d.npz")


def test_objects_are_not_unpickled(rnnd):
    assert "Python objects" in rnnd.fails("import", "--out", "m", os.path.join(FILES, "objects.npz"))


# ---- Containers


def repacked(tmp_path, folder, **entries):
    """state.pt under another folder's name, with further entries."""
    path = tmp_path / "r.pt"
    with zipfile.ZipFile(file_of("state")) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(folder + name.split("/", 1)[1], old.read(name))
        for name, text in entries.items():
            new.writestr(folder + name.replace("_", ".", 1) if name.startswith("_") else folder + name, text)
    return path


@pytest.mark.parametrize("folder", ["archive/", "my model v2/", "α/"])
def test_containers_of_newer_versions(rnnd, tmp_path, folder):
    path = repacked(tmp_path, folder, byteorder="little", _format_version="1", _storage_alignment="64",
                    **{"_data/serialization_id": "0123"})
    rnnd.ok("import", "--expect", os.path.join(FILES, "state.json"), "--out", "m", path)


def test_big_endian_numbers_are_refused(rnnd, tmp_path):
    assert "written big-endian" in rnnd.fails("import", "--out", "m", repacked(tmp_path, "a/", byteorder="big"))


def test_older_containers_are_named(rnnd, tmp_path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("sys_info"))
    (tmp_path / "old.pt").write_bytes(out.getvalue())
    assert "a tar file, as PyTorch before 0.1.10 wrote" in rnnd.fails("import", "--out", "m", "old.pt")
    (tmp_path / "w.gz").write_bytes(b"\x1f\x8b" + bytes(30))
    assert "a gzip file; unpack it first" in rnnd.fails("import", "--out", "m", "w.gz")


# ---- Vocabularies


TOKENS = ["\n", "\r", " ", "\"", "u", "U", "\u0308", "é", "{", "]", "ß"]


@pytest.mark.parametrize("text", [
    json.dumps(TOKENS), json.dumps({t: i for i, t in enumerate(TOKENS)}), json.dumps({str(i): t for i, t in enumerate(TOKENS)}),
    json.dumps({"itos": TOKENS, "version": 3}), json.dumps({"kind": "char", "tokens": TOKENS}),
])
def test_forms_of_vocabularies(rnnd, tmp_path, text):
    (tmp_path / "v").write_text(text, encoding="utf-8")
    rnnd.ok("import", "--vocab", "v", "--out", "m", file_of("state"))
    assert read_json(tmp_path, "m", "vocab.json")["tokens"] == TOKENS


def test_one_token_per_line(rnnd, tmp_path):
    words = ["<unk>", "<s>", "the", "of", "{", "[", "über", "o'clock", "e.g.", "U", "u"]
    (tmp_path / "v.txt").write_text("\n".join(words), encoding="utf-8")
    out = rnnd.ok("import", "--vocab", "v.txt", "--out", "m", file_of("state"))
    vocab = read_json(tmp_path, "m", "vocab.json")
    assert (vocab["kind"], vocab["tokens"], vocab["unk"], vocab["bos"]) == ("word", words, 0, 1)
    assert "vocabulary: unk is entry 0, <unk>" in out


@pytest.mark.parametrize("tokens,words", [
    (TOKENS[:-1], "10 entries, the model has 11 ids"),
    (TOKENS[:-1] + ["u"], 'there twice: 10 ("u")'),
    (TOKENS[:4] + ["  ", ""] + TOKENS[6:], 'empty entries: 5; no single characters, as the others are: 4 ("  ")'),
    ({t: i + (i > 4) for i, t in enumerate(TOKENS)}, "1 entries of the vocabulary have ids that the model lacks"),
    ({t: i for i, t in enumerate(TOKENS) if i != 4}, "ids without an entry: 4"),
    ({t: min(i, 9) for i, t in enumerate(TOKENS)}, "1 ids of the vocabulary stand for two entries: 9"),
    ({"x": [1]}, "no list of strings"),
])
def test_damaged_vocabularies(rnnd, tmp_path, tokens, words):
    """The published one of ml5's Shakespeare has two blanks and nothing where u and U belong."""
    (tmp_path / "v.json").write_text(json.dumps(tokens))
    assert words in rnnd.fails("import", "--vocab", "v.json", "--out", "m", file_of("state"))
