"""Files that PyTorch has saved: every one becomes a model with the very same numbers."""
import os
import re
import zipfile

import pytest

from conftest import FILES, GOLDEN, read_json, read_safetensors

CASES = os.path.join(FILES, "cases")
NAMES = sorted(n[:-5] for n in os.listdir(FILES) if n.endswith(".json"))
MODELS = [(case, name) for case in sorted(os.listdir(CASES)) for name in sorted(os.listdir(os.path.join(CASES, case)))]


def file_of(name):
    return next(os.path.join(FILES, f) for f in os.listdir(FILES) if f.startswith(name + ".") and not f.endswith(".json"))


def floats(path):
    """What a twin saved in F16, BF16 or F64 holds is in the .pt file as F32: compared by the golden values instead."""
    return {k: v for k, v in read_safetensors(path).items() if v[0] == "F32"}


@pytest.mark.parametrize("case,name", MODELS)
def test_a_golden_case_equals_its_safetensors_twin(rnnd, tmp_path, case, name):
    twin = os.path.join(GOLDEN, case)
    rnnd.ok("import", "--config", os.path.join(twin, "config.json"), "--out", "m", os.path.join(CASES, case, name))
    made = read_safetensors(tmp_path / "m" / "model.safetensors")
    for key, tensor in floats(os.path.join(twin, "model.safetensors")).items():
        assert made[key] == tensor, key
    assert made.keys() == read_safetensors(os.path.join(twin, "model.safetensors")).keys()
    (tmp_path / "m" / "golden.json").write_bytes(open(os.path.join(twin, "golden.json"), "rb").read())
    assert "compared, 0 off" in rnnd.ok("verify", "./m")


def options_of(config):
    """What the file alone cannot tell."""
    words = ["--topology", config["topology"]]
    if config["rnn"]["cell"].startswith("rnn_"):
        words += ["--activation", config["rnn"]["cell"][4:]]
    if config["topology"] == "many_to_one" and config["rnn"]["bidirectional"]:
        words += ["--pool", "final"]
    if config["input"]["kind"] == "onehot":
        words.append("--one-hot")
    if config["input"]["kind"] == "dense":
        words.append("--dense")
    if config.get("head"):
        words += ["--output", config["head"]["activation"]]
    return words


@pytest.mark.parametrize("case,name", [m for m in MODELS if not m[0].startswith(("seq2seq", "one_to_many"))])
def test_a_golden_case_is_inferred(rnnd, tmp_path, case, name):
    config = read_json(GOLDEN, case, "config.json")
    rnnd.ok("import", *options_of(config), "--out", "m", os.path.join(CASES, case, name))
    found = read_json(tmp_path, "m", "config.json")
    for key in ("topology", "input", "rnn", "head"):
        assert found.get(key) == config.get(key), key
    assert found["tensors"] == config["tensors"]


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_pytorch(rnnd, tmp_path, name):
    entry = read_json(FILES, name + ".json")
    out = rnnd.ok("import", *entry["options"], "--expect", os.path.join(FILES, name + ".json"), "--out", "m", file_of(name))
    assert f"Expected outputs: {len(entry['output']) * len(entry['output'][0])} agree" in out
    found = read_json(tmp_path, "m", "config.json")
    for key, value in entry["config"].items():
        assert found[key] == value


@pytest.mark.parametrize("name", ["state", "deep", "tied"])
def test_other_outputs_fail_the_import(rnnd, tmp_path, name):
    import json
    entry = read_json(FILES, name + ".json")
    entry["output"][2][1] += 0.01
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(entry))
    err = rnnd.fails("import", *entry["options"], "--expect", wrong, "--out", "m", file_of(name))
    width = len(entry["output"][0])
    assert re.search(rf"1 of {len(entry['output']) * width} outputs are off, the first is number {2 * width + 1}", err)


def test_the_ending_of_a_name_says_nothing(rnnd, tmp_path):
    (tmp_path / "thing.txt").write_bytes(open(file_of("course"), "rb").read())
    rnnd.ok("import", "thing.txt")
    assert sorted(os.listdir(tmp_path / "thing")) == ["config.json", "model.safetensors", "vocab.json"]


def test_locations_are_of_no_interest(rnnd, tmp_path):
    """Weights that lay on a graphics card: the word in the pickle is another one, nothing else."""
    for location in (b"cuda:0", b"mps"):
        with zipfile.ZipFile(file_of("state")) as old, zipfile.ZipFile(tmp_path / "moved.pt", "w") as new:
            for name in old.namelist():
                data = old.read(name)
                if name.endswith("data.pkl"):
                    assert b"X\x03\x00\x00\x00cpu" in data
                    data = data.replace(b"X\x03\x00\x00\x00cpu", b"X" + bytes([len(location), 0, 0, 0]) + location)
                new.writestr(name, data)
        rnnd.ok("import", "--expect", os.path.join(FILES, "state.json"), "--out", location.decode(), "moved.pt")


def test_a_deflated_container(rnnd, tmp_path):
    with zipfile.ZipFile(file_of("state")) as old, zipfile.ZipFile(tmp_path / "d.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    rnnd.ok("import", "--expect", os.path.join(FILES, "state.json"), "d.pt")


def test_torchscript_is_refused_with_a_way_out(rnnd):
    assert "TorchScript" in rnnd.fails("import", "--out", "m", file_of("script"))
    assert "state_dict()" in rnnd.fails("import", "--out", "m", file_of("script"))


# ---- What the file cannot tell


@pytest.mark.parametrize("name,question", [
    ("plain", "--activation tanh, --activation relu or --activation linear: 'rnn' is a plain RNN"),
    ("halves", "'i2h' is a plain RNN, and its weights do not say which"),
    ("tutorial", "--topology synced or --topology many_to_one"),
    ("classifier", "--pool final, --pool last, --pool mean or --pool max"),
    ("heads", "--map voiced=-: 'voiced' reads 8 numbers and gives 1, and has no place in the chain"),
    ("rectified", "behind which module does 'relu' (ReLU) stand?"),
    ("front", "--output sigmoid or --output none: is the output a probability, or a number?"),
    ("letters", "--one-hot or --dense"),
    ("tagger", "--topology synced or --topology many_to_one: are there 4 outputs"),
    ("deep", "--activation fc1=NAME: what follows the dense layer 'fc1'"),
    ("deep", "--output softmax, --output sigmoid or --output none: are the 3 outputs"),
    ("average", "choose: --part model or --part ema"),
])
def test_open_questions_are_asked(rnnd, name, question):
    options = ["--topology", "many_to_one"] if name == "classifier" else []
    assert question in rnnd.fails("import", *options, "--out", "m", file_of(name))


def test_one_hot_or_numbers_is_asked_where_there_is_no_vocabulary(rnnd, tmp_path):
    case = os.path.join(CASES, "grid-lstm-l1-uni-h7-onehot", "model.pt")
    assert "--one-hot or --dense" in rnnd.fails("import", "--out", "m", case)


def test_the_cell_that_is_wanted_must_be_the_one(rnnd):
    err = rnnd.fails("import", "--cell", "gru", "--out", "m", file_of("state"))
    assert "--cell gru: the weights of 'rnn' have 4 blocks of 8 rows, as a lstm has" in err


def test_a_part_that_is_not_there(rnnd):
    assert "--part x: the file has no such dictionary" in rnnd.fails("import", "--part", "x", file_of("average"))


def test_names_can_be_mapped(rnnd, tmp_path):
    out = rnnd.ok("import", "--map", "fc=-", "--out", "m", file_of("state"))
    assert "Not used: 2 tensors" in out
    assert read_json(tmp_path, "m", "config.json")["head"] is None
    err = rnnd.fails("import", "--map", "rnn.weight_hh_l0=-", "--out", "n", file_of("state"))
    assert "module 'rnn'" in err and "weight_hh" in err


def test_a_config_answers_everything(rnnd, tmp_path):
    """Names that are others than the config's: modules are matched by their shapes."""
    rnnd.ok("import", "--out", "a", file_of("state"))
    config = tmp_path / "a" / "config.json"
    rnnd.ok("import", "--config", config, "--out", "b", file_of("state"))
    assert read_safetensors(tmp_path / "a/model.safetensors") == read_safetensors(tmp_path / "b/model.safetensors")


@pytest.mark.parametrize("name,options,words", [
    ("tutorial", ["--activation", "tanh"], "'i2o' reads the state before the step"),
    ("tutorial", ["--activation", "i2h=relu"], "'i2o' reads the state before the step"),
    ("handmade_lstm", [], "the order of an LSTM's or GRU's gates is not in the file"),
    ("spectral", [], "remove_spectral_norm() makes plain weights of it"),
    ("char_rnn", ["--vocab", "printable", "--map", "decoder=-", "--activation", "x"], None),
])
def test_what_cannot_be_imported_is_refused_in_words(rnnd, name, options, words):
    if words is None:  # an unknown activation is a fault of the command line
        assert rnnd("import", *options, "--out", "m", file_of(name)).returncode == 2
    else:
        assert words in rnnd.fails("import", *options, "--out", "m", file_of(name))


def test_a_config_may_say_what_the_second_opinion_does_not_know(rnnd, tmp_path):
    import json
    rnnd.ok("import", "--out", "a", file_of("state"))
    config = read_json(tmp_path, "a", "config.json")
    (tmp_path / "same.json").write_text(json.dumps(config))
    assert "Second opinion: 11 outputs" in rnnd.ok("import", "--config", "same.json", "--out", "b", file_of("state"))
    config["rnn"]["activation"] = "relu"
    (tmp_path / "other.json").write_text(json.dumps(config))
    assert "Second opinion: none" in rnnd.ok("import", "--config", "other.json", "--out", "c", file_of("state"))


# ---- What is told


def test_the_report_names_what_was_done(rnnd):
    out = rnnd.ok("import", "--out", "m", file_of("checkpoint"))
    assert "PyTorch (zip)" in out
    assert "embedding (embedding) → rnn (lstm) → fc (dense)" in out
    assert "the model is what stands under 'model_state_dict'" in out
    assert "optimizer_state_dict: of the training, passed over" in out
    assert "vocabulary: 'stoi' of the file" in out
    assert "Check: ids 1 2 3 4 5" in out
    assert "Second opinion: 11 outputs computed in double precision from the file's own tensors agree" in out
    assert "'module.' is taken off every name" in rnnd.ok("import", "--out", "p", file_of("parallel"))
    assert "its weight is the embedding's, kept once" in rnnd.ok("import", "--out", "t", file_of("tied"))
    assert "batch normalisation folded" in rnnd.ok("import", *read_json(FILES, "deep.json")["options"], "--out", "d",
                                                   file_of("deep"))


def test_inspect_shows_a_foreign_file(rnnd):
    out = rnnd.ok("inspect", file_of("checkpoint"))
    assert re.search(r"F32 +32x6 +model_state_dict\.rnn\.weight_ih_l0$", out, re.M)
    assert "embedding (embedding) → rnn (lstm) → fc (dense)" in out
    out = rnnd.ok("inspect", file_of("whole"))
    assert "module rnn: torch.nn.modules.rnn.RNN" in out and "module (all): __main__.CharModel" in out
    out = rnnd.ok("inspect", file_of("plain"))
    assert "To be said when it is imported" in out


def test_vocabularies_of_the_file(rnnd, tmp_path):
    rnnd.ok("import", "--out", "m", file_of("course"))
    vocab = read_json(tmp_path, "m", "vocab.json")
    assert vocab == {"kind": "char", "tokens": list("\nabcdefghij")}
    rnnd.ok("import", "--one-hot", "--vocab", "none", "--out", "n", file_of("course"))
    assert not os.path.exists(tmp_path / "n" / "vocab.json")


def test_a_vocabulary_that_everybody_knows(rnnd, tmp_path):
    import string
    out = rnnd.ok("import", "--out", "m", file_of("char_rnn"))
    assert "none in the file; where its trainer used Python's string.printable" in out
    rnnd.ok("import", "--vocab", "printable", "--out", "n", file_of("char_rnn"))
    assert read_json(tmp_path, "n", "vocab.json") == {"kind": "char", "tokens": list(string.printable)}
    assert "100 entries, the model has 11 ids" in rnnd.fails("import", "--vocab", "printable", "--out", "o", file_of("state"))


def test_forms_are_told(rnnd, tmp_path):
    def notes(name):
        entry = read_json(FILES, name + ".json")
        return rnnd.ok("import", *entry["options"], "--out", name, file_of(name))

    assert "the outputs became a part of the state, 8 + 4 units" in notes("tutorial")
    assert "outputs: softmax, which is among the model's modules" in rnnd.ok(
        "import", "--one-hot", "--topology", "synced", "--out", "t", file_of("tutorial"))
    assert "cut into weight_ih and weight_hh" in notes("joined")
    assert "'rnn.weight_hh_l0': weight normalisation computed" in notes("normed")
    assert "'fc.weight': weight normalisation computed" in rnnd.ok("import", "--out", "x", file_of("normed"))
    assert "pruned weights set to zero" in notes("pruned")
    out = notes("dropped")
    assert "'model.0.rnns.1.weight_hh_l0_raw': the weights without dropout" in out
    assert "opt: of the training, passed over" in out and "Not used" not in out
    out = notes("vocabulary")
    assert "adamw: of the training, passed over" in out and "vocabulary: 'vocab.itos' of the file" in out
    assert "would fit, too" not in out
    out = notes("front")
    assert "'lstm_cell': relu behind it, as said" in out and "Not used: 2 tensors, without which" in out
    assert "a convolution over one step, which is a dense layer" in out
    assert "taken for min-char-rnn, whose activation is tanh" in notes("letters")


# ---- Folders


def test_a_folder_that_is_there_is_left_alone(rnnd, tmp_path):
    (tmp_path / "m").mkdir()
    assert "m is there already" in rnnd.fails("import", "--out", "m", file_of("state"))
    assert os.listdir(tmp_path / "m") == []


def test_a_folder_that_cannot_be_made(rnnd):
    assert "No such file or directory" in rnnd.fails("import", "--out", "none/such/m", file_of("state"))


def test_a_file_that_is_not_there(rnnd):
    assert "No such file or directory" in rnnd.fails("import", "none.pt")
