"""rnnd predict, score, inspect, verify, bench."""
import json
import math
import os
import shutil
import subprocess

import pytest

from client import GUARD, SHIPPED, SLOW, Daemon

FRAMES = [[0.5, -1.25, 3], [0.001, 2, -0.75], [1, 1, 1]]


@pytest.fixture(scope="module")
def daemon(models_dir):
    with Daemon(models_dir, workers=1) as running:
        yield running


# ---- predict ----

@pytest.mark.parametrize("model, given, words", [
    ("hello", "hell", ["hell"]),
    ("hello", "hell", ["hell", "--steps", "all"]),
    ("hello", [0, 1, 2], ["0 1,2", "--ids"]),
    ("hello", [0, 1, 2], ["[0, 1, 2]", "--ids", "--top-k", "2"]),
    ("kjv", "And God", ["And God", "--top-k", "100"]),
    ("multibyte", "日€", ["日€", "--steps", "all"]),
    ("unknown", "x?y", ["x?y", "--steps", "all"]),
    ("ids", [11, 0], ["11 0", "--ids"]),
    ("sensor", FRAMES, [json.dumps(FRAMES), "--frames"]),
    ("sensor", FRAMES, [json.dumps(FRAMES), "--frames", "--steps", "last"]),
    ("flags", [[0.5, -1]], ["[[0.5,-1]]", "--frames", "--top-k", "1"]),
    ("tagger", "abca", ["abca"]),
    ("headless", [[1, 2, 3, 4]], ["[[1,2,3,4]]", "--frames"]),
])
def test_predict_as_the_daemon_does(rnnd, daemon, model, given, words):
    body = {"model": model, "input": given}
    for flag, field in (("--steps", "steps"), ("--top-k", "top_k")):
        if flag in words:
            value = words[words.index(flag) + 1]
            body[field] = int(value) if value.isdigit() else value
    served = daemon.ok("/predict", body)
    own = json.loads(rnnd.ok("predict", model, *words, "--json"))
    assert own["outputs"] == served["outputs"]
    assert own["usage"] == served["usage"]
    assert own["model"] == model


def test_predict_for_people(rnnd):
    lines = rnnd.ok("predict", "hello", "hell", "--top-k", 2).split("\n")
    assert lines[0].split() == ["0.993971", '"o"'] and len(lines) == 3
    lines = rnnd.ok("predict", "hello", "he", "--steps", "all", "--top-k", 1).split("\n")
    assert lines[0] == "step 0" and lines[1].endswith('"e"') and lines[2] == "step 1" and lines[3].endswith('"l"')
    assert rnnd.ok("predict", "tagger", "a").split("\n")[1].split()[1] in ("vowel", "consonant")
    assert rnnd.ok("predict", "ids", "1", "--ids").split()[1].startswith("#")
    assert len(rnnd.ok("predict", "sensor", json.dumps(FRAMES), "--frames").split("\n")) == 7


def test_predict_from_nothing_is_the_initial_state(rnnd):
    output, = json.loads(rnnd.ok("predict", "kjv", "", "--json", "--top-k", 100))["outputs"]
    assert output["step"] is None
    assert math.isclose(sum(entry["probability"] for entry in output["top"]), 1, abs_tol=1e-5)


def test_predict_from_standard_input(rnnd):
    assert rnnd.ok("predict", "hello", "-", stdin=b"hell") == rnnd.ok("predict", "hello", "hell")


@pytest.mark.parametrize("words, wanted", [
    (["hello", "hellx"], "no U+0078, at byte 4"),
    (["sensor", "x"], "input, line 1, number 1: want a number that a float32 holds"),
    (["sensor", "1 2", "--ids"], "takes frames of 3 numbers"),
    (["sensor", "1 2"], "input, line 1: want 3 numbers, found 2"),
    (["sensor", "1 2 3\n1;2;3;4"], "input, line 2: want 3 numbers, found 4"),
    (["sensor", "1,2,"], "line 1, number 2: want a number"),
    (["sensor", "1,,2"], "line 1, number 2: want a number"),
    (["sensor", "1,2,3x"], "line 1, number 3: want a number"),
    (["sensor", "1,2,1e39"], "line 1, number 3: want a number"),
    (["sensor", "1,2,nan"], "line 1, number 3: want a number"),
    (["sensor", "/nowhere.csv", "--file"], "/nowhere.csv: No such file"),
    (["captioner", "[1,2]"], "numbers, found 2"),
    (["captioner", "[]"], "input: "),
    (["translator", "xyz"], "input: "),
    (["both-ways", "", "--ids"], "wants at least one step"),
    (["sensor", "[[1,2]]", "--frames"], "input[0]: want 3 numbers, found 2"),
    (["sensor", "[[1,2,3],[1,2,3,4]]", "--frames"], "input[1]: want 3 numbers, found 4"),
    (["sensor", "[[1,2,\"x\"]]", "--frames"], "input[0][2]: want a number"),
    (["sensor", "[[1,2,1e39]]", "--frames"], "input[0][2]: want a number"),
    (["sensor", "[1]", "--frames"], "input[0]: want an array of 3 numbers"),
    (["sensor", "{}", "--frames"], "want an array of frames"),
    (["sensor", "[[1,2", "--frames"], "input: "),
    (["hello", "[[1]]", "--frames"], "takes text or token ids"),
    (["ids", "[[1]]", "--frames"], "takes token ids"),
    (["hello", "4", "--ids"], "want a token id below 4"),
])
def test_impossible_inputs(rnnd, words, wanted):
    run = rnnd("predict", *words)
    assert (run.returncode, run.out) == (1, "")
    assert run.err.startswith("rnnd: ") and wanted in run.err


def test_zero_bytes_in_the_input(rnnd):
    for words in (["--ids"], ["--frames"], []):
        model = "sensor" if words == ["--frames"] else "hello"
        assert rnnd("predict", model, "-", *words, stdin=b"0\0 1").returncode == 1


# ---- score ----

@pytest.fixture(scope="module")
def text():
    with open(os.path.join(SHIPPED, "kjv", "test.txt"), encoding="utf-8") as f:
        return f.read()


def test_score_of_the_whole_test_text(rnnd, text, tmp_path):
    """The figure of the model's card: 1.469 bits per character.  A sanitizer's build reads a part, which has no figure."""
    path, n = os.path.join(SHIPPED, "kjv", "test.txt"), 215016
    if SLOW:
        path, n = tmp_path / "part.txt", 20000
        path.write_text(text[:n + 1], encoding="utf-8")  # the first one is not foretold
    out = rnnd.ok("score", "kjv", path, "--json")
    score = json.loads(out)
    assert score["characters"] == score["tokens"] == n
    assert SLOW or abs(score["bits_per_character"] - 1.469) < 0.0005
    assert score["bits_per_token"] == score["bits_per_character"]
    assert math.isclose(score["perplexity"], 2 ** score["bits_per_token"], rel_tol=1e-6)
    assert math.isclose(score["nats"] / math.log(2) / n, score["bits_per_character"], rel_tol=1e-6)


def test_score_as_the_daemon_does(rnnd, daemon, text):
    served = daemon.ok("/score", {"model": "kjv", "input": text[:5000]})
    own = json.loads(rnnd.ok("score", "kjv", "-", "--json", stdin=text[:5000].encode()))
    for name in ("nats", "bits_per_token", "bits_per_character", "perplexity"):
        assert own[name] == served[name]


def test_score_for_people(rnnd, text):
    lines = rnnd.ok("score", "kjv", "-", stdin=text[:1001].encode()).split("\n")
    assert [" ".join(line.split()[:-1]) for line in lines[:-1]] == \
        ["characters", "nats", "bits per character", "perplexity"]
    assert lines[0].split()[-1] == "1000"


def test_score_does_not_depend_on_the_pieces(rnnd):
    """Multi-byte characters across the borders of what is read at once."""
    text = "a😀é日" * 5000
    whole = rnnd.ok("score", "multibyte", "-", stdin=text.encode())
    process = rnnd.start("score", "multibyte", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    raw, sizes = text.encode(), [1, 2, 3, 5, 7, 4096]
    for i in range(len(raw)):
        piece, raw = raw[:sizes[i % 6]], raw[sizes[i % 6]:]
        process.stdin.write(piece)
        process.stdin.flush()
        if not raw:
            break
    assert process.communicate(timeout=GUARD)[0].decode() == whole


def test_score_ids(rnnd, daemon):
    served = daemon.ok("/score", {"model": "ids", "input": [1, 2, 3, 4]})
    own = json.loads(rnnd.ok("score", "ids", "-", "--ids", "--json", stdin=b"1 2\n3,4\n"))
    assert own["nats"] == served["nats"] and own["tokens"] == 3
    assert own["bits_per_character"] is None


@pytest.mark.parametrize("given", [b"", b"h"])
def test_score_of_nothing(rnnd, given):
    out = json.loads(rnnd.ok("score", "hello", "-", "--json", stdin=given))
    assert out["tokens"] == 0 and out["nats"] == 0 and out["bits_per_character"] is None
    assert rnnd.ok("score", "hello", "-", stdin=given)


@pytest.mark.parametrize("words, given, wanted", [
    (["kjv", "/nowhere"], b"", "/nowhere: No such file or directory"),
    (["kjv", "/"], b"", "/: Is a directory"),
    (["kjv", "-"], b"abc\xff", "standard input: "),
    (["multibyte", "-"], "a😀".encode()[:-1], "standard input: "),
    (["hello", "-"], b"hexx", "standard input: "),
    (["ids", "-"], b"1", "(--ids)"),
    (["sensor", "-"], b"1", "only tokens and labels can be scored; this model gives numbers"),
    (["flags", "-"], b"1", "this model gives independent labels"),
    (["translator", "-"], b"abc", "line 1: want an input, a tab"),
    (["translator", "-"], b"abc\tA B\nabc\tA x", "line 2: "),
    (["tagger", "-"], b"ab\tvowel", "line 1: want 2 labels behind the tab, found 1"),
    (["tagger", "-"], b"ab\tvowel x", "line 1: this model has no label 'x'"),
])
def test_score_faults(rnnd, words, given, wanted):
    run = rnnd("score", *words, stdin=given)
    assert (run.returncode, run.out) == (1, "")
    assert run.err.startswith("rnnd: ") and wanted in run.err


def test_progress_on_a_terminal_only(rnnd, tmp_path, text):
    path = tmp_path / "text"
    path.write_text(text[:20000])
    master, slave = os.openpty()
    process = rnnd.start("score", "kjv", path, stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    out = process.communicate(timeout=GUARD)[0].decode()
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert process.returncode == 0
    assert "bits per character" in shown and shown.endswith("\r\033[K")
    assert rnnd.ok("score", "kjv", path) == out  # ok: nothing on standard error


# ---- inspect and verify ----

def test_inspect_a_folder(rnnd):
    out = rnnd.ok("inspect", "kjv")
    for wanted in ("lstm", "rnn.weight_ih_l1", "1024x256", "63"):
        assert wanted in out


def test_inspect_a_file(rnnd, models_dir):
    out = rnnd.ok("inspect", os.path.join(models_dir, "hello", "model.safetensors"))
    assert "rnn.weight_hh_l0" in out and "F32" in out
    here = rnnd.ok("inspect", "model.safetensors", cwd=os.path.join(models_dir, "hello"))
    assert here.split("\n")[1:] == out.split("\n")[1:]


def test_inspect_what_is_broken(rnnd, models_dir, tmp_path):
    shutil.copytree(os.path.join(models_dir, "hello"), tmp_path / "m")
    (tmp_path / "m" / "vocab.json").write_text("{")
    run = rnnd("inspect", tmp_path / "m")
    assert run.returncode == 1 and "rnn.weight_hh_l0" in run.out and "vocab.json" in run.err
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00")
    assert "cut.safetensors" in rnnd.fails(1, "inspect", tmp_path / "cut.safetensors")
    assert rnnd.fails(1, "inspect", tmp_path / "nothing").startswith("rnnd: ")
    assert rnnd.fails(1, "inspect", "nobody").startswith("rnnd: no model 'nobody'")


@pytest.mark.parametrize("model", ["hello", "kjv"])
def test_verify_shipped_models(rnnd, model):
    assert " 0 off" in rnnd.ok("verify", model)


def test_verify_a_model_without_golden_values(rnnd):
    assert rnnd.ok("verify", "multibyte")


def test_verify_notices_a_changed_weight(rnnd, models_dir, tmp_path):
    shutil.copytree(os.path.join(models_dir, "hello"), tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 0x40  # in the exponent of a bias of the head
    path.write_bytes(bytes(raw))
    run = rnnd("verify", tmp_path / "m")
    assert run.returncode == 1 and run.err.startswith(f"rnnd: model {tmp_path}/m: ")


# ---- bench ----

def test_bench(rnnd):
    out = json.loads(rnnd.ok("bench", "kjv", "--rounds", 3, "--round-ms", 5, "--json"))
    assert [b["rows"] for b in out["batches"]] == [1, 4, 16, 64]
    for batch in out["batches"]:
        assert batch["step_ns"] > 0
        assert math.isclose(batch["tokens_per_second"], batch["rows"] * 1e9 / batch["step_ns"], rel_tol=0.01)
    assert out["kernels"] in ("scalar", "avx2", "avx512", "neon") and out["stream_bound_ns"] > 0


def test_bench_for_people(rnnd):
    out = rnnd.ok("bench", "sensor", "--rounds", 1, "--round-ms", 1, "--isa", "scalar")
    assert "kernels  scalar" in out and "tokens/s" in out and "bound " in out
