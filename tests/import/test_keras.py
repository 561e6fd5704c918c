"""Files that Keras 1, 2 and 3 write: every layer and layout becomes a model with the same numbers (make_keras.py)."""
import copy
import json
import os
import random
import re
import shutil
import subprocess
import zipfile

import pytest

from conftest import BIN, GUARD, HERE, read_json, read_safetensors
from test_damage import flipped, import_bytes

KERAS = os.path.join(HERE, "keras")
FILES = {f.split(".")[0]: f for f in sorted(os.listdir(KERAS)) if not f.endswith(".json") and f != "harm"}
HARM = os.path.join(KERAS, "harm")  # files at which libhdf5 1.10 reads where it should not
MODELS = [n for n in FILES if not n.startswith("odd_")]


def file_of(name):
    return os.path.join(KERAS, FILES[name])


def entry_of(name):
    entry = read_json(KERAS, name + ".json")
    entry["options"] = [os.path.join(KERAS, w) if w.endswith(".json") else w for w in entry["options"]]
    return entry


def import_ok(rnnd, name, *options):
    entry = entry_of(name)
    out = rnnd.ok("import", *entry["options"], *options, "--expect", os.path.join(KERAS, name + ".json"), "--out", "m", file_of(name))
    assert f"Expected outputs: {len(entry['output']) * len(entry['output'][0])} agree" in out
    return out


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_keras(rnnd, name):
    out = import_ok(rnnd, name)
    for words in entry_of(name)["says"]:
        assert words in out, out


@pytest.mark.parametrize("name", ["char_keras1", "sentiment_keras2", "norms", "backwards_twice", "cu_gru"])
def test_other_outputs_fail_the_import(rnnd, tmp_path, name):
    entry = entry_of(name)
    entry["output"][0][0] += 0.01
    (tmp_path / "wrong.json").write_text(json.dumps(entry))
    assert "1 of" in rnnd.fails("import", "--expect", "wrong.json", "--out", "m", file_of(name))


@pytest.mark.parametrize("name", [n for n in MODELS if n.startswith("char_") and not re.search("16|64", n)])
def test_a_model_is_the_same_in_every_layout(rnnd, tmp_path, name):
    rnnd.ok("import", "--out", "a", file_of("char_keras2"))
    rnnd.ok("import", *entry_of(name)["options"], "--out", "b", file_of(name))
    assert read_safetensors(tmp_path / "a/model.safetensors") == read_safetensors(tmp_path / "b/model.safetensors")
    a, b = (read_json(tmp_path, d, "config.json") for d in "ab")
    assert {**a, "name": ""} == {**b, "name": ""}


def test_predict_gives_what_keras_gives(rnnd):
    """Through rnnd's own engine, from the finished folder."""
    import_ok(rnnd, "sentiment_keras2")
    entry = entry_of("sentiment_keras2")
    answer = json.loads(rnnd.ok("predict", "--json", "--ids", "./m", " ".join(map(str, entry["input"]))))
    assert entry["output"][0][0] == pytest.approx(answer["outputs"][0]["top"][0]["probability"], abs=2e-5), answer


def test_padding_is_passed_over_wherever_it_stands(rnnd):
    """The same bits with padding and without."""
    import_ok(rnnd, "sentiment_keras2")
    ids = [str(i) for i in entry_of("sentiment_keras2")["input"] if i]
    answers = {rnnd.ok("predict", "--json", "--ids", "./m", " ".join(words)).replace(f'"input_steps":{len(words)}', "")
               .replace(f'"step":{len(words) - 1}', "")
               for words in (ids, ["0"] * 5 + ids, ids + ["0"] * 3, ids[:2] + ["0"] + ids[2:])}
    assert len(answers) == 1, answers


# ---- What is refused, by name and place


def described(name):
    """The model that a file holds beside its weights: to be changed, and given with --config."""
    return read_json(KERAS, name)


def refused(rnnd, tmp_path, model, name="char_weights"):
    (tmp_path / "model.json").write_text(json.dumps(model))
    err = rnnd.fails("import", "--config", "model.json", "--out", "m", file_of(name))
    return err.split(": ", 2)[2].strip()


def sequential():
    model = described("char_weights.model.json")
    return model, model["config"]["layers"]


@pytest.mark.parametrize("cls,words", [
    ("Lambda", "is Python code, which is not run"),
    ("Conv1D", "looks at neighbouring steps at once"),
    ("MyAttention", "is of its makers' own class"),
    ("Sequential", "is a model inside of the model"),
    ("Concatenate", "joins several layers"),
])
def test_layers_without_a_place_are_named(rnnd, tmp_path, cls, words):
    model, layers = sequential()
    layers.insert(1, {"class_name": cls, "config": {"name": "extra_1"}})
    assert f"layer 2 'extra_1' ({cls}) {words}" in refused(rnnd, tmp_path, model)


def test_a_registered_class_of_a_known_name_is_its_makers_own(rnnd, tmp_path):
    model, layers = sequential()
    layers[1]["registered_name"] = "mine>LSTM"
    assert "layer 2 'lstm_7' (LSTM) is of its makers' own class" in refused(rnnd, tmp_path, model)


def graph(*layers):
    """Functional, of (name, class, names that it reads)."""
    return {"class_name": "Model", "config": {
        "name": "model_1", "input_layers": [["input", 0, 0]], "output_layers": [[layers[-1][0], 0, 0]],
        "layers": [{"class_name": cls, "name": name, "config": {"name": name},
                    "inbound_nodes": [[[r, 0, 0, {}] for r in reads]] if reads else []}
                   for name, cls, reads in (("input", "InputLayer", []), *layers)]}}


def test_a_skip_connection_and_an_attention_of_ones_own_are_named(rnnd, tmp_path):
    """As textgenrnn builds its models."""
    model = graph(("embedding", "Embedding", ["input"]), ("rnn_1", "LSTM", ["embedding"]), ("rnn_2", "LSTM", ["rnn_1"]),
                  ("rnn_concat", "Concatenate", ["embedding", "rnn_1", "rnn_2"]), ("attention", "AttentionWeightedAverage", ["rnn_concat"]),
                  ("output", "Dense", ["attention"]))
    err = refused(rnnd, tmp_path, model)
    assert "layer 5 'rnn_concat' (Concatenate) joins several layers" in err
    assert "layer 6 'attention' (AttentionWeightedAverage) is of its makers' own class" in err


def test_branches_are_named(rnnd, tmp_path):
    model = graph(("a", "LSTM", ["input"]), ("b", "LSTM", ["input"]), ("c", "Dense", ["a"]))
    assert "layer 3 'b' (LSTM): it is a branch" in refused(rnnd, tmp_path, model)
    model = graph(("a", "LSTM", ["input", "input"]), ("c", "Dense", ["a"]))
    assert "layer 2 'a' (LSTM) reads more than one tensor" in refused(rnnd, tmp_path, model)
    model = graph(("a", "LSTM", ["input"]), ("c", "Dense", ["a"]))
    model["config"]["layers"][1]["inbound_nodes"] *= 2
    assert "layer 2 'a' (LSTM) is used more than once" in refused(rnnd, tmp_path, model)
    model["config"]["layers"][1]["inbound_nodes"] = [[["input", 0, 0, {"initial_state": ["c", 0, 1]}]]]
    assert "layer 2 'a' (LSTM) reads more than one tensor" in refused(rnnd, tmp_path, model)
    model = graph(("a", "LSTM", ["c"]), ("c", "Dense", ["a"]))
    assert "form a circle" in refused(rnnd, tmp_path, model)
    model = graph(("a", "LSTM", ["nobody"]), ("c", "Dense", ["a"]))
    assert "a layer reads one that is not there" in refused(rnnd, tmp_path, model)
    model["config"]["output_layers"] = [["a", 0, 0], ["c", 0, 0]]
    assert "more than one input or output" in refused(rnnd, tmp_path, model)


@pytest.mark.parametrize("at,change,words", [
    (1, {"units": 7}, "layer 2 'lstm_7' (LSTM): its kernel is 5x24; want Nx28"),
    (1, {"return_state": True}, "layer 2 'lstm_7' (LSTM): return_state"),
    (1, {"time_major": True}, "layer 2 'lstm_7' (LSTM): time_major"),
    (1, {"activation": "swish"}, "layer 2 'lstm_7' (LSTM): its activation 'swish' is not served"),
    (1, {"activation": {"class_name": "Mine", "config": {}}}, "layer 2 'lstm_7' (LSTM): its activation 'Mine'"),
    (1, {"recurrent_activation": "softmax"}, "layer 2 'lstm_7' (LSTM): a softmax inside of a cell"),
    (1, {"return_sequences": False}, "layer 3 'time_distributed_7' (TimeDistributed): there are no steps left"),
    (1, {"go_backwards": True}, "last step first (go_backwards)"),
    (0, {"output_dim": 6}, "layer 1 'embedding_7' (Embedding): its embeddings is 11x5; want 11x6"),
])
def test_settings_that_cannot_be_had_are_named(rnnd, tmp_path, at, change, words):
    model, layers = sequential()
    layers[at]["config"].update(change)
    assert words in refused(rnnd, tmp_path, model)


def test_layers_that_cannot_follow_are_named(rnnd, tmp_path):
    model, layers = sequential()
    layers[1]["config"]["return_sequences"] = False
    layers.insert(2, {"class_name": "Reshape", "config": {"name": "reshape_1", "target_shape": [2, 3]}})
    assert "layer 3 'reshape_1' (Reshape): it changes what is a step" in refused(rnnd, tmp_path, model)
    layers[1]["config"]["return_sequences"] = True
    layers[2] = {"class_name": "Flatten", "config": {"name": "flatten_1"}}
    assert "layer 3 'flatten_1' (Flatten): it puts the numbers of all steps side by side, and the model's input does not say" in refused(
        rnnd, tmp_path, model)
    layers[0]["config"].update(batch_input_shape=[None, 8], mask_zero=True)
    assert "layer 3 'flatten_1' (Flatten): it puts all steps side by side, and steps of 0 are passed over" in refused(rnnd, tmp_path, model)
    layers[0]["config"]["mask_zero"] = False
    layers[1]["config"]["go_backwards"] = True
    assert "layer 3 'flatten_1' (Flatten): it is given the last step first" in refused(rnnd, tmp_path, model)


def test_repeats_that_cannot_be_are_named(rnnd, tmp_path):
    model, layers = sequential()
    again = {"class_name": "RepeatVector", "config": {"name": "again", "n": 4}}
    layers.insert(2, again)
    assert "layer 3 'again' (RepeatVector): what is below it gives steps" in refused(rnnd, tmp_path, model)
    layers[1]["config"]["return_sequences"] = False
    for n in (0, -1, 1.5, "4", 65537, None):
        again["config"]["n"] = n
        assert "layer 3 'again' (RepeatVector): n: want 1 to 65536" in refused(rnnd, tmp_path, model)
    again["config"]["n"] = 4
    layers.insert(3, {"class_name": "RepeatVector", "config": {"name": "again_2", "n": 4}})
    assert "layer 4 'again_2' (RepeatVector): it is the second of its kind" in refused(rnnd, tmp_path, model)
    layers[3] = {"class_name": "GlobalMaxPooling1D", "config": {"name": "pool"}}
    assert "layer 4 'pool' (GlobalMaxPooling1D): it gives one vector of the steps that a RepeatVector has made" in refused(
        rnnd, tmp_path, model)
    layers[3] = {"class_name": "Flatten", "config": {"name": "flat"}}
    assert "layer 4 'flat' (Flatten): it gives one vector of the steps that a RepeatVector has made" in refused(rnnd, tmp_path, model)


def test_a_flattened_window_and_a_repeated_vector_are_served_as_such(rnnd, tmp_path):
    import_ok(rnnd, "flat")
    config = read_json(tmp_path, "m", "config.json")
    assert config["topology"] == "many_to_one" and {"kind": "readout", "pool": "flatten", "steps": 6} in config["layers"]
    entry = entry_of("flat")
    assert "a window of exactly 6 steps, found 5" in rnnd.fails("predict", "./m", json.dumps(entry["input"][:5]))
    shutil.rmtree(tmp_path / "m")
    import_ok(rnnd, "flat_repeated")
    config = read_json(tmp_path, "m", "config.json")
    assert config["topology"] == "repeat" and config["encoder"]["steps"] == 5 and config["decoder"]["repeat"] == 3
    entry = entry_of("flat_repeated")
    answer = json.loads(rnnd.ok("predict", "--json", "./m", json.dumps(entry["input"])))
    assert [o["step"] for o in answer["outputs"]] == [0, 1, 2]
    for output, row in zip(answer["outputs"], entry["output"], strict=True):
        assert output["values"] == pytest.approx(row, abs=2e-5)


def test_a_repeated_vector_of_a_text_becomes_tokens(rnnd, tmp_path):
    """The vocabulary is the encoder's, and names what comes out at every step."""
    (tmp_path / "tokens").write_text("".join(f"{c}\n" for c in "_0123456789"))
    import_ok(rnnd, "sums", "--vocab", "tokens")
    entry = entry_of("sums")
    text = "".join("_0123456789"[i] for i in entry["input"])
    answer = json.loads(rnnd.ok("predict", "--json", "./m", text))
    for output, row in zip(answer["outputs"], entry["output"], strict=True):
        best = output["top"][0]
        assert best["token"] == "_0123456789"[best["id"]] and best["probability"] == pytest.approx(max(row), abs=2e-5)


def test_a_softmax_has_its_place_at_the_end(rnnd, tmp_path):
    model, layers = sequential()
    layers.append({"class_name": "Activation", "config": {"name": "activation_1", "activation": "tanh"}})
    assert "layer 3 'dense_1' (Dense): a softmax that is not the model's output" in refused(rnnd, tmp_path, model)


def test_layers_and_arrays_must_be_as_many(rnnd, tmp_path):
    model, layers = sequential()
    layers.insert(2, copy.deepcopy(layers[1]))
    err = refused(rnnd, tmp_path, model)
    assert "the model has 4 layers with weights, the file has arrays of 3: embedding_1, lstm_1, time_distributed_1" in err


def test_weights_alone_ask_for_the_model(rnnd):
    err = rnnd.fails("import", "--out", "m", file_of("char_weights"))
    assert "weights alone, of embedding_1, lstm_1, time_distributed_1; give the model's JSON" in err


@pytest.mark.parametrize("text,words", [
    ("{}", "want class_name and config"),
    ("[]", "want class_name and config"),
    ('{"class_name": "Mine", "config": {}}', "class of its own, 'Mine'"),
    ('{"class_name": "Sequential", "config": []}', "there are no layers"),
    ('{"class_name": "Sequential", "config": [1]}', "layer 1 is no object"),
    ('{"class_name": "Sequential", "config": {"layers": {"a": 1}}}', "there are no layers"),
    ('{"class_name": "Sequential"', "model's JSON"),
])
def test_json_that_is_no_model(rnnd, tmp_path, text, words):
    (tmp_path / "model.json").write_text(text)
    err = rnnd.fails("import", "--config", "model.json", "--out", "m", file_of("char_weights"))
    assert "--config model.json: " in err and words in err


@pytest.mark.parametrize("options", [["--cell", "lstm"], ["--output", "none"], ["--activation", "tanh"], ["--map", "a=b"], ["--max-len", "3"]])
def test_what_the_file_says_is_not_asked(rnnd, options):
    assert f"{options[0]}: a Keras model says that itself" in rnnd.fails("import", *options, "--out", "m", file_of("char_keras2"))


@pytest.mark.parametrize("name,words", [
    ("odd_external_link", "not reached by hard links"),
    ("odd_soft_link", "not reached by hard links"),
    ("odd_external_storage", "lies in another file, which is not opened"),
    ("odd_virtual", "is put together of other files, which are not opened"),
    ("odd_lzf", "is packed by filter 32000 (lzf)"),
    ("odd_integers", "no array of floats"),
    ("odd_missing", "there is no such array"),
    ("odd_group", "there is no such array"),
    ("odd_shape", "layer 1 'lstm' (LSTM): its kernel is 4x19; want Nx20"),
    ("odd_scalar", "layer 1 'lstm' (LSTM): its kernel is (); want Nx20"),
    ("odd_huge", "unfolds into more than"),
    ("odd_none", "none of Keras'"),
])
def test_odd_hdf5_is_refused(rnnd, name, words):
    err = rnnd.fails("import", "--out", "m", file_of(name))
    assert words in err
    if "links" in words or "array" in words or "file," in words or "files" in words:
        assert "'model_weights/lstm/lstm/kernel:0'" in err


# ---- Options that change what is made


def test_a_window_of_one_hot_characters_becomes_a_model_that_writes_on(rnnd, tmp_path):
    """The classical generator: it reads [steps, characters] of 0 and 1 and gives one distribution."""
    entry = entry_of("window")
    ids = [row.index(1) for row in entry["input"]]
    (tmp_path / "v.txt").write_text("\n".join("abcdefg") + "\n")
    rnnd.ok("import", "--one-hot", "--topology", "synced", "--vocab", "v.txt", "--out", "m", file_of("window"))
    config = read_json(tmp_path, "m", "config.json")
    assert config["input"] == {"kind": "onehot", "size": 7} and config["topology"] == "synced"
    answer = json.loads(rnnd.ok("predict", "--json", "--ids", "--top-k", "7", "./m", " ".join(map(str, ids))))
    for row in answer["outputs"][-1]["top"]:
        assert row["probability"] == pytest.approx(entry["output"][0][row["id"]], abs=2e-5)
    assert len(rnnd.ok("generate", "--max-tokens", "5", "./m", "abc").strip()) >= 5


def test_a_topology_that_cannot_be_is_refused(rnnd):
    assert "--topology synced: the model gives one output" in rnnd.fails("import", "--topology", "synced", "--out", "m", file_of("mean"))
    assert "--topology many_to_one: the model gives an output at every step" in rnnd.fails(
        "import", "--topology", "many_to_one", "--out", "m", file_of("char_keras2"))
    assert "--topology synced: the model gives an output at each of 7 steps that it is fed (RepeatVector)" in rnnd.fails(
        "import", "--topology", "synced", "--out", "m", file_of("autoencoder"))


def test_a_keras_tokenizer_is_a_vocabulary(rnnd, tmp_path):
    words = ["the", "a", "of"] + [f"w{i}" for i in range(20)]
    index = {w: i + 1 for i, w in enumerate(words)}
    tokenizer = {"class_name": "Tokenizer", "config": {"num_words": 13, "word_index": json.dumps(index), "oov_token": None}}
    (tmp_path / "t.json").write_text(json.dumps(tokenizer))
    rnnd.ok("import", "--vocab", "t.json", "--out", "m", file_of("sentiment_keras2"))
    assert read_json(tmp_path, "m", "vocab.json")["tokens"] == ["<pad>"] + words[:12]


# ---- What is told


def test_inspect_tells_what_a_file_is(rnnd):
    out = rnnd.ok("inspect", file_of("sentiment_v3"))
    assert "Keras (.keras)" in out and "hard_sigmoid6" in out and "embedding.weight" in out
    out = rnnd.ok("inspect", file_of("norms"))
    assert "Keras (.h5)" in out and "layers.0.scale" in out


def test_a_reader_that_is_ended_by_a_signal_is_told_of(rnnd, tmp_path):
    """A crash inside of a parser, seen from outside: words and a status, as of any fault."""
    (tmp_path / "bin").mkdir()
    shutil.copy(BIN, tmp_path / "bin" / "rnnd")
    reader = tmp_path / "bin" / "rnnd-import"
    reader.write_text("#!/bin/sh\nkill -SEGV $$\n")
    reader.chmod(0o755)
    for verb in ("import", "inspect"):
        run = subprocess.run([tmp_path / "bin" / "rnnd", verb, file_of("norms")], cwd=tmp_path, capture_output=True, text=True,
                             env={**os.environ, "LC_ALL": "C.UTF-8"})
        assert run.returncode == 1
        assert f"{file_of('norms')}: the reader ended by signal 11 (Segmentation fault) on this file" in run.stderr
    assert os.listdir(tmp_path) == ["bin"]


def run_alone(tmp_path, *words):
    """Without a look at what a sanitizer says of libhdf5."""
    run = subprocess.run([BIN, *map(str, words)], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, timeout=GUARD,
                         env={**{k: v for k, v in os.environ.items() if not k.startswith("RNND_")}, "LC_ALL": "C.UTF-8"})
    return run.returncode, run.stderr.decode()


@pytest.mark.parametrize("name", sorted(os.listdir(HARM)))
def test_a_crash_inside_of_libhdf5_is_an_error(tmp_path, name):
    status, words = run_alone(tmp_path, "import", "--out", "m", os.path.join(HARM, name))
    assert status == 1
    assert words.startswith("rnnd: ") or "AddressSanitizer" in words
    assert os.listdir(tmp_path) == []


# ---- Damage


CUT = ["char_keras1", "char_packed", "char_str", "char_latest", "char_v3"]


@pytest.mark.parametrize("name", CUT)
def test_cut_files(rnnd, tmp_path, name):
    data = open(file_of(name), "rb").read()
    for keep in [0, 1, 7, 8, 15, 16, 96, 600, len(data) // 3, len(data) // 2, len(data) - 200, len(data) - 1]:
        assert import_bytes(rnnd, tmp_path, data[:keep], "x.h5").returncode == 1, keep


@pytest.mark.parametrize("name", CUT)
def test_flipped_bits(tmp_path, name):
    data = open(file_of(name), "rb").read()
    rng = random.Random(11)
    for i in range(25):
        (tmp_path / "x.h5").write_bytes(flipped(data, rng, 1 + i % 5))
        status, words = run_alone(tmp_path, "import", "--out", "m", "x.h5")
        if status == 0:  # what was hit does not matter to the numbers, or is one of them
            shutil.rmtree(tmp_path / "m")
        else:
            assert status == 1 and (words.startswith("rnnd: ") or "AddressSanitizer" in words), words
        assert os.listdir(tmp_path) == ["x.h5"]


def test_a_bomb(rnnd, tmp_path):
    """An entry of the zip that unfolds to more than the program may have."""
    with zipfile.ZipFile(file_of("char_v3")) as old, zipfile.ZipFile(tmp_path / "x.keras", "w", zipfile.ZIP_DEFLATED) as new:
        for name in ("metadata.json", "config.json"):
            new.writestr(name, old.read(name))
        with new.open("model.weights.h5", "w", force_zip64=True) as f:
            f.write(old.read("model.weights.h5"))
            for _ in range(320):
                f.write(bytes(2**20))
    assert "unfolds into more than" in rnnd.fails("import", "--out", "m", "x.keras")


def test_a_zip_with_parts_missing(rnnd, tmp_path):
    with zipfile.ZipFile(file_of("char_v3")) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    for missing, words in (("model.weights.h5", "without model.weights.h5"), ("config.json", "no"), ("metadata.json", "no")):
        with zipfile.ZipFile(tmp_path / "x.keras", "w") as new:
            for name, data in parts.items():
                if name != missing:
                    new.writestr(name, data)
        assert words in rnnd.fails("import", "--out", "m", "x.keras")
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as new:
        for name, data in parts.items():
            new.writestr(name.replace(".h5", ".npz"), data)
    assert "its weights are a pickle (model.weights.npz)" in rnnd.fails("import", "--out", "m", "x.keras")


def test_names_cannot_speak_to_the_terminal(rnnd, tmp_path):
    model, layers = sequential()
    layers.insert(1, {"class_name": "Mine\u001b[31m", "config": {"name": "x\u001b[31m\ny"}})
    assert "\x1b" not in refused(rnnd, tmp_path, model)
