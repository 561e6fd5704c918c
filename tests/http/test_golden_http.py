"""Golden values of another implementation, over the wire.

The cases of tests/golden/cases, and of every folder in RNND_GOLDEN_DIR (separated by colons), whose topology
is `synced` and one-directional.  Batches and unequal lengths go through /predict, chunks through a session,
greedy continuations through /generate.  A value passes within suggested_atol + 1e-5 * |want|.
"""
import json
import os

import pytest

from client import TOP, Daemon

FOLDERS = [os.path.join(TOP, "tests", "golden", "cases")]
FOLDERS += [f for f in os.environ.get("RNND_GOLDEN_DIR", "").split(":") if f]
RETURN = ["logits", "probabilities", "hidden"]


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def cases():
    found = {}
    for folder in FOLDERS:
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if not os.path.exists(os.path.join(path, "golden.json")):
                continue
            config = load(os.path.join(path, "config.json"))
            if config["topology"] == "synced" and not config["rnn"]["bidirectional"]:
                found[name] = path
    return found


CASES = cases()


@pytest.fixture(scope="module", params=[1, 2], ids=["1worker", "2workers"])
def golden(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("golden")
    for name, path in CASES.items():
        os.makedirs(root / name)
        for entry in os.listdir(path):  # only what a model folder is made of
            if entry.endswith((".safetensors", ".json")):
                os.symlink(os.path.join(path, entry), root / name / entry)
    with Daemon(str(root), workers=request.param) as daemon:
        yield daemon


class Check:
    """Compares and counts, so that a case that compared nothing fails."""

    def __init__(self, golden_json):
        self.atol, self.n = golden_json["suggested_atol"], 0

    def row(self, kind, got, want):
        assert len(got) == len(want)
        for g, w in zip(got, want):
            assert abs(g - w) <= self.atol[kind] + 1e-5 * abs(w), (kind, g, w)
            self.n += 1

    def outputs(self, outputs, run, index=None):
        """The outputs of one sequence against row `index` of a run."""
        for field, key in (("hidden", "output"), ("logits", "logits"), ("probabilities", "probs")):
            if key not in run:
                continue
            want = run[key] if index is None else run[key][index]
            assert len(outputs) == len(want)
            for output, row in zip(outputs, want):
                self.row(key, output[field], row)


def sequences(run):
    return run["input_ids"] if "input_ids" in run else run["input"]


def test_there_are_cases():
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_case(golden, name):
    case = load(os.path.join(CASES[name], "golden.json"))
    check = Check(case)
    for run in case["runs"]:
        if run["kind"] in ("batch", "lengths"):
            answer = golden.ok("/predict", {"model": name, "inputs": sequences(run), "steps": "all",
                                            "return": RETURN})
            for b, result in enumerate(answer["results"]):
                check.outputs(result["outputs"], run, b)
            alone = golden.ok("/predict", {"model": name, "input": sequences(run)[0], "steps": "all",
                                           "return": RETURN})
            check.outputs(alone["outputs"], run, 0)
        elif run["kind"] == "chunked":
            session = golden.session(name)
            position = 0
            for chunk in run["chunks"]:
                piece = sequences(chunk)[0]
                answer = golden.ok("/predict", {"session": session, "input": piece, "steps": "all",
                                                "return": RETURN, "expect_position": position})
                position += len(piece)
                check.outputs(answer["outputs"], chunk, 0)
                assert answer["session"]["position"] == position
            golden.delete(f"/sessions/{session}")
        elif run["kind"] == "greedy":
            prompts, wants = run["prompt_ids"], run["generated_ids"]
            if not isinstance(prompts[0], list):
                prompts, wants = [prompts], [wants]
            for prompt, want in zip(prompts, wants):
                answer = golden.ok("/generate", {"model": name, "input": prompt, "temperature": 0,
                                                 "max_tokens": len(want)})
                assert answer["choices"][0]["tokens"] == want
                check.n += len(want)
        else:
            assert run["kind"] == "state"  # a given state is no request of this API yet
    assert check.n > 0


# ---- Models that strangers trained ----

def strangers():
    """Folders in RNND_CHECKPOINTS_DIR with golden texts of their own (prompts, greedy, score, stateful)."""
    found = {}
    for folder in os.environ.get("RNND_CHECKPOINTS_DIR", "").split(":"):
        for name in sorted(os.listdir(folder)) if folder else []:
            path = os.path.join(folder, name, "golden.json")
            if os.path.exists(path) and "greedy" in load(path):
                found[name] = os.path.join(folder, name)
    return found


def close(got, want, tolerance):
    assert len(got) == len(want)
    for g, w in zip(got, want):
        assert abs(g - w) <= tolerance, (g, w)


def check_stranger(daemon, name, case):
    tolerance = case["logits_tolerance_f32"]
    for prompt in case["prompts"]:
        assert daemon.ok("/tokenize", {"model": name, "text": prompt["text"]})["tokens"] == prompt["ids"]
        answer = daemon.ok("/predict", {"model": name, "input": prompt["text"], "return": ["logits"]})
        close(answer["outputs"][-1]["logits"], prompt["last_logits"], tolerance)
    for run in case["greedy"]:
        answer = daemon.ok("/generate", {"model": name, "input": run["prompt"], "temperature": 0,
                                         "max_tokens": run["n"]})
        assert answer["choices"][0]["text"] == run["text"]
    scores = daemon.ok("/score", {"model": name, "input": case["score"]["text"]})["tokens"]
    close([s["logprob"] for s in scores[1:]], case["score"]["logprobs"], 2 * tolerance)
    session = daemon.session(name)
    daemon.ok("/predict", {"session": session, "input": case["stateful"]["first"]})
    answer = daemon.ok("/predict", {"session": session, "input": case["stateful"]["then"], "return": ["logits"]})
    close(answer["outputs"][-1]["logits"], case["stateful"]["last_logits_after_then"], tolerance)
    answer = daemon.ok("/predict", {"model": name, "input": case["all_steps"]["text"], "steps": "all",
                                    "return": ["logits"]})
    for output, want in zip(answer["outputs"], case["all_steps"]["logits"], strict=True):
        close(output["logits"], want, tolerance)


STRANGERS = strangers()

if STRANGERS:
    @pytest.mark.parametrize("name", STRANGERS)
    def test_strangers_model(tmp_path, name):
        os.symlink(STRANGERS[name], tmp_path / name)
        with Daemon(str(tmp_path)) as daemon:
            check_stranger(daemon, name, load(os.path.join(STRANGERS[name], "golden.json")))
