"""Graphs as exporters write them, and one for every attribute of a recurrent operator: ONNX Runtime's outputs; what cannot be a
model is refused with the node that stands in the way."""
import json
import os
import random
import shutil

import pytest

from conftest import HERE, read_json, read_safetensors
from test_damage import flipped, import_bytes

FILES = os.path.join(HERE, "onnx")
NAMES = sorted(n[:-5] for n in os.listdir(FILES) if n.endswith(".json"))
BAD = sorted(n[:-5] for n in os.listdir(os.path.join(FILES, "bad")) if n.endswith(".onnx"))


def file_of(name):
    return os.path.join(FILES, name + ".onnx")


def import_file(rnnd, name, *options):
    entry = read_json(FILES, name + ".json")
    out = rnnd.ok("import", *entry["options"], *options, "--expect", os.path.join(FILES, name + ".json"), "--out", "m", file_of(name))
    return entry, out


def numbers_in(output):
    return sum(map(numbers_in, output)) if isinstance(output, list) else 1


def subset(found, wanted, path=""):
    """What a config must say; null: the key is absent."""
    for key, value in wanted.items():
        if isinstance(value, dict):
            subset(found[key], value, path + key + ".")
        elif value is None:
            assert key not in found, path + key
        else:
            assert found[key] == value, path + key


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_onnx_runtime(rnnd, tmp_path, name):
    entry, out = import_file(rnnd, name)
    assert f"Expected outputs: {numbers_in(entry['output'])} agree" in out
    assert "ONNX (operators of version " in out
    subset(read_json(tmp_path, "m", "config.json"), entry["config"])


@pytest.mark.parametrize("name", BAD)
def test_other_graphs_are_refused_with_the_node(rnnd, name):
    with open(os.path.join(FILES, "bad", name + ".txt"), encoding="utf-8") as f:
        words = f.read().strip()
    assert words in rnnd.fails("import", "--out", "m", os.path.join(FILES, "bad", name + ".onnx"))


# ---- Files that lie


@pytest.mark.parametrize("name", ["torch-lstm-l2-bi-bt-state", "keras-tagger", "attr-gru-layout", "numbers-typed"])
def test_cut_files(rnnd, tmp_path, name):
    data = open(file_of(name), "rb").read()
    for keep in [0, 1, 2, 3, 8, len(data) // 3, len(data) // 2, len(data) - 40, len(data) - 8, len(data) - 1]:
        run = import_bytes(rnnd, tmp_path, data[:keep], "x.onnx")
        assert run.returncode == 1, keep


@pytest.mark.parametrize("name", ["torch-gru-l2-bi-bt-zero", "keras-two-concat", "torch-learned", "numbers-bfloat"])
def test_flipped_bits(rnnd, tmp_path, name):
    data = open(file_of(name), "rb").read()
    rng = random.Random(7)
    for i in range(25):
        import_bytes(rnnd, tmp_path, flipped(data, rng, 1 + i % 5), "x.onnx")


def varint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def model(graph, opset=13):
    return field(1, 7) + field(7, graph) + field(8, field(2, opset))


def tensor(dims, data_type=1, name=b"W", **raw):
    return b"".join(field(1, d) for d in dims) + field(2, data_type) + field(8, name) + b"".join(field(9, v) for v in raw.values())


@pytest.mark.parametrize("data,words", [
    (model(b"", opset=0), "which version of ONNX's operators"),
    (field(1, 7) + field(8, field(2, 13)), "there is no graph in it"),
    (field(1, 7) + field(7, b"") * 2 + field(8, field(2, 13)), "there are two graphs in it"),
    (model(b""), "the graph has no output"),
    (model(field(12, field(1, b"y"))), "output 'y': no node gives it"),
    (model(field(5, tensor([2, 2], raw=bytes(15)))), "its bytes are not as many as its shape wants"),
    (model(field(5, tensor([2**40, 2**40]))), "its shape overflows"),
    (model(field(5, tensor([2**63]))), "a dimension below 0"),
    (model(field(5, tensor([2**40]))), "its numbers are not as many as its shape wants"),
    (model(field(5, tensor([0, 2**40, 2**40]))), "its shape overflows"),
    (model(field(5, tensor([1] * 9))), "more than 8 dimensions"),
    (model(field(1, field(1, b"\xff\xfe"))), "no text"),
    (model(field(1, b"\x0b")), "its bytes are damaged"),
    (model(field(1, field(3, b"n") + field(4, b"Identity") + field(1, b"a") + field(2, b"b"))), "nothing before it gives its input 'a'"),
])
def test_files_that_lie(rnnd, tmp_path, data, words):
    assert words in import_bytes(rnnd, tmp_path, data, "x.onnx").err


def test_a_short_list_that_unfolds(rnnd, tmp_path):
    """Constants made large by Tile, over and over: the limit on memory, not the machine's."""
    def node(op, inputs, output):
        return field(1, b"".join(field(1, i) for i in inputs) + field(2, output) + field(4, op))
    graph = field(5, tensor([1, 2], name=b"a0", raw=bytes(8))) + field(5, tensor([2], data_type=7, name=b"r", raw=bytes.fromhex(
        "0000100000000000 0100000000000000")))
    for i in range(40):
        graph += node(b"Tile", [b"a0", b"r"], b"b%d" % i)
    run = import_bytes(rnnd, tmp_path, model(graph), "x.onnx")
    assert "unfolds into more than" in run.err


def test_a_graph_of_many_nodes_is_quick(rnnd, tmp_path):
    """Names are looked up, not searched."""
    graph = b"".join(field(1, field(1, b"v%d" % i) + field(2, b"v%d" % (i + 1)) + field(4, b"Identity")) for i in range(19000))
    graph = field(5, tensor([1], name=b"v0", raw=bytes(4))) + graph + field(12, field(1, b"v19000"))
    assert "output 'v19000'" in import_bytes(rnnd, tmp_path, model(graph), "x.onnx").err


def test_data_outside_the_file(rnnd, tmp_path):
    shutil.copy(file_of("outside"), tmp_path)
    assert "its data lie in outside.data: No such file" in rnnd.fails("import", "outside.onnx")
    (tmp_path / "outside.data").write_bytes(open(os.path.join(FILES, "outside.data"), "rb").read()[:200])
    assert "past the end of that one" in rnnd.fails("import", "outside.onnx")
    os.unlink(tmp_path / "outside.data")
    os.symlink(os.path.join(FILES, "outside.data"), tmp_path / "outside.data")
    assert "in no plain file" in rnnd.fails("import", "outside.onnx")


# ---- What the user says


def test_logits_of_tokens_are_taken_for_a_softmax(rnnd, tmp_path):
    entry, out = import_file(rnnd, "torch-nobias")
    assert "logits of a softmax over the 11 tokens" in out
    assert read_json(tmp_path, "m", "config.json")["head"]["activation"] == "softmax"
    rnnd.ok("import", "--output", "none", "--out", "n", file_of("torch-nobias"))
    assert read_json(tmp_path, "n", "config.json")["head"]["activation"] == "none"


def test_a_model_of_the_next_token_is_asked_at_every_step(rnnd, tmp_path):
    entry, out = import_file(rnnd, "keras-text")
    assert "with --topology synced it is one for every step" in out
    want = json.dumps({"input": entry["input"], "output": entry["output"]})
    rnnd.ok("import", "--topology", "synced", "--out", "s", file_of("keras-text"))
    assert read_json(tmp_path, "s", "config.json")["topology"] == "synced"
    assert read_safetensors(tmp_path / "s" / "model.safetensors") == read_safetensors(tmp_path / "m" / "model.safetensors")
    (tmp_path / "want.json").write_text(want)
    assert "needs the whole input" in rnnd.fails("import", "--topology", "synced", "--out", "t", file_of("torch-lstm-bi-final"))
    assert "an output at every step" in rnnd.fails("import", "--topology", "many_to_one", "--out", "t", file_of("keras-tagger"))


def test_numbers_may_stand_for_ids(rnnd, tmp_path):
    rnnd.ok("import", "--one-hot", "--out", "m", file_of("keras-tagger"))
    assert read_json(tmp_path, "m", "config.json")["input"] == {"kind": "onehot", "size": 3}
    assert "reads token ids" in rnnd.fails("import", "--dense", "--out", "n", file_of("keras-text"))


@pytest.mark.parametrize("option", [["--cell", "gru"], ["--map", "a=b"], ["--activation", "relu"], ["--part", "x"]])
def test_what_the_file_tells_is_not_asked(rnnd, option):
    assert f"{option[0]}: an ONNX file tells that itself" in rnnd.fails("import", *option, "--out", "m", file_of("keras-text"))


def test_what_was_done_is_told(rnnd):
    notes = {
        "torch-lstm-l2-uni-bt-state": "states: 2 inputs and 2 outputs of the graph are the session's now",
        "torch-gru-l1-bi-bt-state": "states: 1 input of the graph starts at zero",
        "one-state": "states: 1 input and 1 output of the graph are the session's now",
        "onehot": "served are the probabilities",
        "attr-gru-reverse": "runs backwards only: kept as two directions, the other one of zeros",
    }
    for name, words in notes.items():
        _, out = import_file(rnnd, name)
        assert words in out
        shutil.rmtree(os.path.join(rnnd.folder, "m"))
    assert "output 'out' is left out: 'relu' is made of it" in rnnd.ok("import", "--out", "m", file_of("one-state"))


def test_inspect_shows_it(rnnd):
    out = rnnd.ok("inspect", file_of("torch-deep"))
    assert "by pytorch 1.13" in out
    assert '{"kind":"dense","size":4,"bias":true,"activation":"relu"}' in out
