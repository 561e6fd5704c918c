"""Models that are no language models, from the command line: the same answers as the daemon's."""
import json
import math
import os
import shutil

import pytest

from client import SHIPPED, Daemon

CASES = os.path.join(os.path.dirname(SHIPPED), "..", "tests", "golden", "cases")
POINTS = [[0, 0, 1, 0, 0], [0.5, -1, 0, 1, 0]]
STROKES = [[0, 0, 0], [1, 1, 0]]
WEATHER = [[10, 1000], [11, 990]]


@pytest.fixture(scope="module")
def daemon(models_dir):
    with Daemon(models_dir, workers=1) as running:
        yield running


def width(models_dir, model):
    with open(os.path.join(models_dir, model, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    return config.get("features") or config["input"]["size"]


def frame(n, seed=0):
    return [round(math.sin(i + seed), 3) for i in range(n)]


def words_of(given):
    """An input as an operand."""
    if isinstance(given, str):
        return [given]
    if isinstance(given[0], list):
        return [json.dumps(given)]
    return [" ".join(map(str, given)), "--ids"]


def on_lines(texts):
    """What the terminal shows of several texts."""
    out = ""
    for i, text in enumerate(texts):
        if i > 0:
            out += ("\n" if out and out[-1] != "\n" else "") + "---\n"
        out += text
    return out.rstrip("\n")


# ---- predict ----

@pytest.mark.parametrize("model, given", [
    ("sketch", POINTS), ("handwriting", STROKES), ("weather", WEATHER), ("doubtful", WEATHER), ("pendulum", WEATHER),
    ("translator", "abca"), ("translator", [3, 0, 1]), ("both-ways", [1, 2, 3, 0]), ("both-ends", None),
    ("both-flags", None), ("captioner", None),
])
def test_predict_as_the_daemon_does(rnnd, daemon, models_dir, model, given):
    if given is None and model == "captioner":
        given = [frame(width(models_dir, model))]
    if given is None:
        with open(os.path.join(models_dir, model, "config.json"), encoding="utf-8") as f:
            entry = json.load(f)["input"]
        given = [frame(entry["size"], t) for t in range(4)] if entry["kind"] == "dense" else [1, 0, 2, 1]
    served = daemon.ok("/predict", {"model": model, "input": given})
    own = json.loads(rnnd.ok("predict", model, *words_of(given), "--json"))
    assert own["outputs"] == served["outputs"]
    assert own["usage"] == served["usage"]
    assert rnnd.ok("predict", model, *words_of(given))


def test_doubt_for_people(rnnd):
    words = rnnd.ok("predict", "weather", json.dumps(WEATHER), "--steps", "last").split()
    assert len(words) == 4 and words[1][0] == words[3][0] == "±"
    output, = json.loads(rnnd.ok("predict", "weather", json.dumps(WEATHER), "--steps", "last", "--json"))["outputs"]
    assert [float(words[0]), float(words[2])] == output["values"]
    assert [float(words[1][1:]), float(words[3][1:])] == output["std"]


def test_mixture_for_people(rnnd):
    lines = rnnd.ok("predict", "sketch", json.dumps(POINTS), "--steps", "last").splitlines()
    output, = json.loads(rnnd.ok("predict", "sketch", json.dumps(POINTS), "--steps", "last", "--json"))["outputs"]
    assert [float(x) for x in lines[0].split()[1:]] == output["pen"]
    assert [float(line.split()[0]) for line in lines[1:]] == pytest.approx(output["mixture"]["weights"], abs=1e-6)


@pytest.mark.parametrize("csv", [
    "10,1000\n11,990\n", "t,p\n10, 1000\n11 ,990", "10;1000\r\n\r\n11;990\r\n", "  10\t1000\n11 990",
])
def test_frames_as_csv(rnnd, tmp_path, csv):
    wanted = rnnd.ok("predict", "weather", json.dumps(WEATHER), "--json")
    path = tmp_path / "frames.csv"
    path.write_bytes(csv.encode())
    assert rnnd.ok("predict", "weather", path, "--file", "--json") == wanted
    assert rnnd.ok("predict", "weather", "-", "--json", stdin=csv.encode()) == wanted


def test_a_text_in_a_file(rnnd, tmp_path):
    (tmp_path / "text").write_text("hell")
    assert rnnd.ok("predict", "hello", tmp_path / "text", "--file") == rnnd.ok("predict", "hello", "hell")
    assert rnnd.fails(1, "predict", "hello", tmp_path, "--file")


def test_a_captioners_frame_may_stand_by_itself(rnnd, models_dir):
    values = frame(width(models_dir, "captioner"))
    wanted = rnnd.ok("generate", "captioner", json.dumps([values]), "--temperature", 0)
    assert rnnd.ok("generate", "captioner", json.dumps(values), "--temperature", 0) == wanted
    assert rnnd.ok("generate", "captioner", ",".join(map(str, values)), "--temperature", 0) == wanted


def test_the_language_of_words(rnnd):
    """The shipped classifier reads in both directions."""
    model = os.path.join(SHIPPED, "langid")
    for word, language in (("Freundschaft", "de"), ("bambino", "it"), ("przyjaciel", "pl")):
        assert rnnd.ok("predict", model, word, "--top-k", 1).split()[1] == language


# ---- generate ----

@pytest.mark.parametrize("model", ["translator", "captioner"])
@pytest.mark.parametrize("settings", [{}, {"temperature": 0}, {"n": 3, "top_k": 4, "seed": 9}])
def test_writers_about_an_input(rnnd, daemon, models_dir, model, settings):
    given = "abcad" if model == "translator" else [frame(width(models_dir, model))]
    served = daemon.ok("/generate", {"model": model, "input": given, "max_tokens": 12, "seed": 7, **settings})
    words = ["generate", model, *words_of(given), "--max-tokens", 12, "--seed", 7]
    for name, value in settings.items():
        words += ["--" + name.replace("_", "-"), value]
    own = json.loads(rnnd.ok(*words, "--json"))
    for name in ("choices", "seed", "usage"):
        assert own[name] == served[name]
    assert rnnd.ok(*words).rstrip("\n") == on_lines(c["text"] for c in own["choices"])


@pytest.mark.parametrize("model", ["translator", "captioner", "kjv", "ids", "words"])
@pytest.mark.parametrize("settings", [{"beam_width": 1}, {"beam_width": 5, "n": 3},
                                      {"beam_width": 4, "n": 4, "length_penalty": 0}])
def test_beams(rnnd, daemon, models_dir, model, settings):
    given = {"translator": "abcad", "kjv": "In the ", "ids": [1, 2], "words": "the cat"}.get(model) or \
        [frame(width(models_dir, model))]
    served = daemon.ok("/generate", {"model": model, "input": given, "max_tokens": 8, **settings})
    words = ["generate", model, *words_of(given), "--max-tokens", 8]
    for name, value in settings.items():
        words += ["--" + name.replace("_", "-"), value]
    own = json.loads(rnnd.ok(*words, "--json"))
    assert own["choices"] == served["choices"]
    assert own["usage"] == served["usage"]
    assert len(own["choices"]) <= settings.get("n", 1)
    if model != "ids":
        assert rnnd.ok(*words).rstrip("\n") == on_lines(c["text"] for c in own["choices"])


def test_words_that_were_searched_for_continue_the_prompt(daemon):
    """Drawn greedily or found by a beam of one, they stand behind a space."""
    body = {"model": "words", "input": "the cat", "max_tokens": 3}
    drawn, = daemon.ok("/generate", {**body, "temperature": 0})["choices"]
    found, = daemon.ok("/generate", {**body, "beam_width": 1})["choices"]
    assert found["tokens"] == drawn["tokens"] and found["text"] == drawn["text"]
    assert found["text"][0] in " ,."


@pytest.mark.parametrize("model, given", [("sketch", POINTS), ("handwriting", STROKES), ("weather", WEATHER),
                                          ("pendulum", WEATHER)])
@pytest.mark.parametrize("n", [1, 3])
def test_frames(rnnd, daemon, model, given, n):
    body = {"model": model, "input": given, "max_frames": 20, "seed": 5, "n": n}
    served = daemon.ok("/generate", body)
    words = ["generate", model, json.dumps(given), "--max-tokens", 20, "--seed", 5, "--n", n]
    own = json.loads(rnnd.ok(*words, "--json"))
    for name in ("choices", "seed", "usage"):
        assert own[name] == served[name]
    drawings = [[json.loads(line) for line in text.splitlines()] for text in rnnd.ok(*words).split("---\n")]
    assert drawings == [c["frames"] for c in own["choices"]]
    lines = rnnd.ok(*words, "--csv").split("---\n")
    assert [[[float(x) for x in line.split(",")] for line in text.splitlines()] for text in lines] == drawings


def test_frames_go_on_from_what_was_drawn(rnnd):
    """A roll-out is the same in one go and with its own beginning as the input."""
    words = ["generate", "pendulum", "--csv", "--max-tokens"]
    whole = rnnd.ok(*words, 9, "0.5,-0.5").splitlines()
    assert rnnd.ok(*words, 5, "-", stdin="\n".join(["0.5,-0.5", *whole[:4]]).encode()).splitlines() == whole[4:]


@pytest.mark.parametrize("words, wanted", [
    (["sketch", "[]", "--top-k", 3], "--top-k: this model writes frames, not tokens"),
    (["sketch", "[]", "--stop", "x"], "--stop: this model writes frames"),
    (["sketch", "[]", "--beam-width", 2], "--beam-width: this model writes frames"),
    (["pendulum", "1,2", "--temperature", 1], "--temperature: this model gives its values without a deviation"),
    (["kjv", "a", "--csv"], "--csv: this model writes tokens"),
    (["translator", "a", "--echo"], "--echo: this model writes about its input"),
    (["translator", "a", "--frames"], "takes text or token ids (--ids)"),
    (["sensor", "1,2,3"], "only a model whose output can be its next input"),
    (["both-ends", "1,2,3"], "only a model whose output can be its next input"),
])
def test_what_cannot_be_written(rnnd, words, wanted):
    run = rnnd("generate", *words)
    assert (run.returncode, run.out) == (1, "")
    assert wanted in run.err


@pytest.mark.parametrize("words, wanted", [
    (["--beam-width", 0], "--beam-width: want a whole number of 1 to"),
    (["--beam-width", 2, "--temperature", 1], "--beam-width and --temperature exclude each other"),
    (["--beam-width", 2, "--top-k", 1], "--beam-width and --top-k exclude each other"),
    (["--beam-width", 2, "--n", 3], "--n: want at most --beam-width, which is 2"),
    (["--beam-width", 2, "--max-tokens", 0], "--max-tokens: want 1 or more"),
    (["--length-penalty", 1], "--length-penalty: want --beam-width, too"),
    (["--beam-width", 2, "--penalty-memory", 4], "--beam-width and --penalty-memory exclude each other"),
    (["--json", "--csv"], "--json and --csv exclude each other"),
    (["--ids", "--frames"], "--ids and --frames exclude each other"),
])
def test_settings_at_odds(rnnd, words, wanted):
    assert wanted in rnnd.fails(2, "generate", "translator", "a", *words)


# ---- score ----

def test_score_of_translations(rnnd, daemon):
    pairs = [("abc", "A B"), ("d", "C C C"), ("hgf", "")]
    served = [daemon.ok("/score", {"model": "translator", "input": a, "target": b}) for a, b in pairs]
    text = "".join(f"{a}\t{b}\n" for a, b in pairs)
    own = json.loads(rnnd.ok("score", "translator", "-", "--json", stdin=text.encode()))
    assert own["examples"] == 3
    assert own["tokens"] == sum(len(b.split()) + 1 for _, b in pairs)
    assert own["nats"] == pytest.approx(sum(s["nats"] for s in served), rel=1e-8)
    lines = rnnd.ok("score", "translator", "-", stdin=text.encode()).splitlines()
    assert [line.split()[0] for line in lines] == ["examples", "tokens", "nats", "bits", "perplexity", "accuracy"]


def test_score_of_what_it_would_write_itself(rnnd):
    text = rnnd.ok("generate", "translator", "abc", "--temperature", 0, "--max-tokens", 30).rstrip("\n")
    own = json.loads(rnnd.ok("score", "translator", "-", "--json", stdin=f"abc\t{text}".encode()))
    assert own["accuracy"] > 1 - 2 / (len(text) + 1)  # all of it but maybe an end that came too early


def test_score_of_captions(rnnd, daemon, models_dir):
    values = frame(width(models_dir, "captioner"))
    served = daemon.ok("/score", {"model": "captioner", "input": [values], "target": "kll"})
    line = json.dumps(values) + "\tkll\n"
    own = json.loads(rnnd.ok("score", "captioner", "-", "--json", stdin=line.encode()))
    assert own["nats"] == pytest.approx(served["nats"], rel=1e-8)


def test_score_of_labels(rnnd):
    """Of the shipped classifier: logarithms of what predict says."""
    model = os.path.join(SHIPPED, "langid")
    pairs = [("Freundschaft", "de"), ("question", "fr"), ("question", "en")]
    nats = 0
    for word, language in pairs:
        output, = json.loads(rnnd.ok("predict", model, word, "--top-k", 100, "--json"))["outputs"]
        nats -= next(entry["logprob"] for entry in output["top"] if entry["label"] == language)
    text = "".join(f"{a}\t{b}\n" for a, b in pairs)
    own = json.loads(rnnd.ok("score", model, "-", "--json", stdin=text.encode()))
    assert own["nats"] == pytest.approx(nats, rel=1e-5)
    assert own["tokens"] == own["examples"] == 3 and own["accuracy"] == pytest.approx(2 / 3)


def test_score_of_tags(rnnd):
    own = json.loads(rnnd.ok("score", "tagger", "-", "--json", stdin=b"abca\tvowel consonant consonant vowel\n"))
    assert own["tokens"] == 4 and own["examples"] == 1
    outputs = json.loads(rnnd.ok("predict", "tagger", "abca", "--json"))["outputs"]
    nats = -sum(next(e["logprob"] for e in o["top"] if e["label"] == label)
                for o, label in zip(outputs, ["vowel", "consonant", "consonant", "vowel"]))
    assert own["nats"] == pytest.approx(nats, rel=1e-5)


# ---- bench ----

@pytest.mark.parametrize("model", ["translator", "captioner", "both-ways", "both-ends", "both-flags", "sketch"])
def test_bench(rnnd, model):
    out = json.loads(rnnd.ok("bench", model, "--rounds", 1, "--round-ms", 2, "--json"))
    assert [b["rows"] for b in out["batches"]] == [1, 4, 16, 64] and all(b["step_ns"] > 0 for b in out["batches"])


# ---- One vector of an input ----

VECTORS = os.path.join(CASES, "..", "vectors")


@pytest.mark.parametrize("name, given", [("flatten-lstm", [frame(3, t) for t in range(5)]), ("repeat-lstm", [frame(3, t) for t in range(9)]),
                                         ("repeat-gru-bi", [1, 5, 2])])
def test_vectors_are_what_the_daemon_says(rnnd, tmp_path, name, given):
    shutil.copytree(os.path.join(VECTORS, name), tmp_path / name)
    with Daemon(str(tmp_path)) as running:
        want = running.ok("/predict", {"model": name, "input": given})["outputs"]
    assert json.loads(rnnd.ok("predict", str(tmp_path / name), *words_of(given), "--json"))["outputs"] == want


def test_a_window_of_another_size_is_refused(rnnd):
    said = rnnd.fails(1, "predict", os.path.join(VECTORS, "flatten-lstm"), json.dumps([frame(3)] * 4))
    assert "a window of exactly 5 steps, found 4" in said
