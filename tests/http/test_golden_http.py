"""Golden values of another implementation, over the wire.

The cases of tests/golden (cases, cells, onnx, vectors), and of every folder in RNND_GOLDEN_DIR (separated by colons),
of every topology: replay.py says how.  Models that strangers trained lie in the folders of RNND_CHECKPOINTS_DIR,
and a classifier with labelled words (test.jsonl) in RNND_LABELLED_DIR.
"""
import json
import os

import pytest

import replay
from client import TOP, Daemon

FOLDERS = [os.path.join(TOP, "tests", "golden", name) for name in ("cases", "cells", "onnx", "vectors")]


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def folders_of(variable):
    return [f for f in os.environ.get(variable, "").split(":") if f]


def cases():
    found = {}
    for folder in FOLDERS + folders_of("RNND_GOLDEN_DIR"):
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if os.path.exists(os.path.join(path, "golden.json")):
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


def test_there_are_cases_of_every_topology():
    topologies = [load(os.path.join(path, "config.json"))["topology"] for path in CASES.values()]
    assert all(topologies.count(t) >= 3 for t in ("synced", "many_to_one", "one_to_many", "seq2seq", "repeat"))
    assert len(CASES) >= 110


@pytest.mark.parametrize("name", CASES)
def test_case(golden, name):
    config = load(os.path.join(CASES[name], "config.json"))
    assert replay.replay(golden, name, config, load(os.path.join(CASES[name], "golden.json"))) > 0


# ---- Models that strangers trained ----

def strangers():
    """Folders with golden values of their own: of texts, or of words."""
    found = {}
    for folder in folders_of("RNND_CHECKPOINTS_DIR"):
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name, "golden.json")
            if os.path.exists(path) and {"greedy", "words"} & set(load(path)):
                found[name] = os.path.join(folder, name)
    return found


STRANGERS = strangers()

if STRANGERS:
    @pytest.mark.parametrize("name", STRANGERS)
    def test_strangers_model(tmp_path, name):
        os.symlink(STRANGERS[name], tmp_path / name)
        case = load(os.path.join(STRANGERS[name], "golden.json"))
        with Daemon(str(tmp_path)) as daemon:
            assert (replay.replay_words if "words" in case else replay.replay_texts)(daemon, name, case) > 0


# ---- A classifier's held-out words ----

def labelled(path):
    with open(os.path.join(path, "test.jsonl"), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


if folders_of("RNND_LABELLED_DIR"):
    @pytest.mark.parametrize("path", folders_of("RNND_LABELLED_DIR"))
    def test_labelled_words(tmp_path, path):
        """Each word of many in a batch; the label that the reference found, as far before the second one."""
        lines = labelled(path)
        os.symlink(path, tmp_path / "labelled")
        found = []
        with Daemon(str(tmp_path), workers=2) as daemon:
            for i in range(0, len(lines), 200):
                texts = [line["text"] for line in lines[i:i + 200]]
                found += daemon.ok("/predict", {"inputs": texts, "top_k": 2})["results"]
        for line, result in zip(lines, found, strict=True):
            best, second = result["outputs"][0]["top"]
            assert best["label"] == line["pred"], line
            assert abs(best["logprob"] - second["logprob"] - line["margin"]) \
                <= 1e-3 * max(1, line["margin"]), line
