"""The shipped models at work: the examples that were kept back from training, through the daemon.

Each line of a model's test.jsonl has an input, what should come out (`label`), and what float64 made of it (`pred`), with the gap
to the next best answer.  The daemon must give the same but where the gap is too small for float32, and be as good as metrics.json
says.  One real request for each model goes before, as the tree's README shows it.
"""
import json
import os

import pytest

from client import SHIPPED, Daemon

NEAR_TIE = 1e-3
AT_ONCE = 128  # inputs of a request


@pytest.fixture(scope="module")
def shipped():
    with Daemon(SHIPPED) as daemon:
        yield daemon


def examples(name):
    with open(os.path.join(SHIPPED, name, "test.jsonl"), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def quality(name):
    with open(os.path.join(SHIPPED, name, "metrics.json"), encoding="utf-8") as f:
        return json.load(f)["quality"]


def ask(daemon, path, name, inputs, **more):
    """The results of all inputs, in order."""
    results = []
    for at in range(0, len(inputs), AT_ONCE):
        results += daemon.ok(path, {"model": name, "inputs": inputs[at:at + AT_ONCE], **more})["results"]
    assert len(results) == len(inputs)
    return results


def check(answers, wanted, margins):
    """-> how many answers may differ, and none does where it may not"""
    assert len(answers) == len(wanted) == len(margins) > 0
    for got, want, margin in zip(answers, wanted, margins):
        assert got == want or margin < NEAR_TIE, (got, want, margin)
    return sum(margin < NEAR_TIE for margin in margins)


def share(of):
    return sum(of) / len(of)


def test_every_folder_is_served(shipped):
    folders = {name for name in os.listdir(SHIPPED) if os.path.exists(os.path.join(SHIPPED, name, "config.json"))}
    assert {model["name"] for model in shipped.get("/models").json["models"]} == folders


def test_langid_knows_a_language(shipped):
    answer = shipped.ok("/predict", {"model": "langid", "input": "Freundschaft", "top_k": 3})
    best = answer["outputs"][0]["top"][0]
    assert best["label"] == "de" and best["probability"] > 0.99


def test_langid_is_as_good_as_it_says(shipped):
    some, says = examples("langid"), quality("langid")
    results = ask(shipped, "/predict", "langid", [e["text"] for e in some], top_k=1)
    answers = [result["outputs"][0]["top"][0]["label"] for result in results]
    ties = check(answers, [e["pred"] for e in some], [e["margin"] for e in some])
    right = share([got == e["label"] for got, e in zip(answers, some)])
    assert len(some) == says["testfile_n"]
    assert abs(right - says["testfile_accuracy"]) <= ties / len(some) + 1e-9


# ---- g2p: from spelling to sounds ----

def texts_of(results):
    return [result["choices"][0]["text"] for result in results]


def test_g2p_pronounces(shipped):
    answer = shipped.ok("/generate", {"model": "g2p", "input": "loudspeaker", "beam_width": 5, "n": 3})
    assert answer["choices"][0]["text"] == "L AW1 D S P IY2 K ER0"
    assert len({choice["text"] for choice in answer["choices"]}) == 3


@pytest.mark.parametrize("how, said, margin, word_accuracy", [
    ({"temperature": 0}, "pred", "margin", "testfile_word_accuracy"),
    ({"beam_width": 5, "max_tokens": 32}, "beam", "beam_margin", "testfile_beam_word_accuracy")], ids=["greedy", "beam"])
def test_g2p_is_as_good_as_it_says(shipped, how, said, margin, word_accuracy):
    some, says = examples("g2p"), quality("g2p")
    answers = texts_of(ask(shipped, "/generate", "g2p", [e["text"] for e in some], **how))
    ties = check(answers, [e[said] for e in some], [e[margin] for e in some])
    right = share([got in e["label"] for got, e in zip(answers, some)])
    assert len(some) == says["testfile_n"]
    assert abs(right - says[word_accuracy]) <= ties / len(some) + 1e-9


# ---- captioner: from a picture's features to words ----

def test_captioner_says_what_the_example_shows(shipped):
    with open(os.path.join(SHIPPED, "captioner", "example.json"), "rb") as f:
        body = f.read()
    results = shipped.ok("/generate", body)["results"]
    known = {tuple(e["features"]): e["label"] for e in examples("captioner")}
    shown = [known[tuple(frame)] for (frame,) in json.loads(body)["inputs"]]
    assert texts_of(results) == shown and len(set(shown)) == 4


def test_captioner_is_as_good_as_it_says(shipped):
    some, says = examples("captioner"), quality("captioner")
    answers = texts_of(ask(shipped, "/generate", "captioner", [[e["features"]] for e in some], temperature=0))
    ties = check(answers, [e["pred"] for e in some], [e["margin"] for e in some])
    right = share([got == e["label"] for got, e in zip(answers, some)])
    assert len(some) == says["testfile_n"]
    assert abs(right - says["testfile_exact"]) <= ties / len(some) + 1e-9


# ---- tagger: a label for each word ----

def labels_of(result):
    return [output["top"][0]["label"] for output in result["outputs"]]


def test_tagger_writes_a_sentence(shipped):
    answer = shipped.ok("/predict", {"model": "tagger", "input": "where are you going he said i am going to jerusalem", "steps": "all", "top_k": 1})
    assert labels_of(answer) == "A a a a? A a, A a a a A.".split()


def test_tagger_is_as_good_as_it_says(shipped):
    some, says = examples("tagger"), quality("tagger")
    results = ask(shipped, "/predict", "tagger", [e["text"] for e in some], steps="all", top_k=1)
    answers = [labels_of(result) for result in results]
    ties = check(answers, [e["pred"].split() for e in some], [e["margin"] for e in some])
    right = [got == label for row, e in zip(answers, some) for got, label in zip(row, e["label"].split(), strict=True)]
    assert len(right) == says["testfile_n"]
    assert abs(share(right) - says["testfile_accuracy"]) <= ties / len(right) + 1e-9
