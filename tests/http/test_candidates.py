"""POST /predict with `candidates`: continuations scored behind an input, and nothing but that."""
import math

import pytest

from client import expect

INPUT = "And God said, Let there be "
CANDIDATES = ["light", "lights", "darkness", "a", "Let there be light: and there was light."]


def candidates(daemon, **fields):
    return daemon.ok("/predict", {"model": "kjv", "input": INPUT, "candidates": CANDIDATES, **fields})["candidates"]


def scored_apart(daemon, text, model="kjv"):
    """What /score says of a text behind INPUT."""
    tokens = daemon.ok("/score", {"model": model, "input": INPUT + text})["tokens"]
    return [t["logprob"] for t in tokens[len(INPUT):]]


def test_form(daemon):
    answer = daemon.ok("/predict", {"model": "kjv", "input": INPUT, "candidates": CANDIDATES})
    assert [c["text"] for c in answer["candidates"]] == CANDIDATES
    for entry, text in zip(answer["candidates"], CANDIDATES):
        assert entry["tokens"] == daemon.ok("/tokenize", {"model": "kjv", "text": text})["tokens"]
        assert entry["count"] == len(entry["logprobs"]) == len(text)
        assert math.isclose(entry["logprob"], sum(entry["logprobs"]), rel_tol=1e-6)
    total = sum(math.exp(c["logprob"]) for c in answer["candidates"])
    for entry in answer["candidates"]:
        assert math.isclose(entry["probability"], math.exp(entry["logprob"]) / total, rel_tol=1e-5, abs_tol=1e-30)
    assert answer["usage"] == {"input_steps": len(INPUT)}
    plain = daemon.ok("/predict", {"model": "kjv", "input": INPUT})
    assert answer["outputs"] == plain["outputs"] and "candidates" not in plain


def test_each_is_what_score_says(daemon):
    for entry, text in zip(candidates(daemon), CANDIDATES):
        assert entry["logprobs"] == scored_apart(daemon, text)


def test_alone_and_among_many(daemon):
    many = candidates(daemon, candidates=CANDIDATES * 20)
    for i, text in enumerate(CANDIDATES):
        alone, = candidates(daemon, candidates=[text])
        assert alone["probability"] == 1
        for k in ("logprobs", "logprob", "tokens"):
            assert all(many[j][k] == alone[k] for j in range(i, len(many), len(CANDIDATES)))


def test_ids_are_the_same_as_texts(daemon):
    ids = [c["tokens"] for c in candidates(daemon)]
    assert candidates(daemon, candidates=ids) == candidates(daemon)
    assert candidates(daemon, candidates=[CANDIDATES[0], *ids[1:]]) == candidates(daemon)
    answer = daemon.ok("/predict", {"model": "ids", "input": [1, 2], "candidates": [[3, 4], [0]]})["candidates"]
    assert [c["tokens"] for c in answer] == [[3, 4], [0]] and all("text" not in c for c in answer)


def test_a_batch_has_them_behind_each_input(daemon):
    texts = ["And God ", "In the beginning ", "Z"]
    batch = daemon.ok("/predict", {"model": "kjv", "inputs": texts, "candidates": CANDIDATES, "steps": "all"})
    for text, result in zip(texts, batch["results"], strict=True):
        alone = daemon.ok("/predict", {"model": "kjv", "input": text, "candidates": CANDIDATES, "steps": "all"})
        assert result["candidates"] == alone["candidates"] and result["outputs"] == alone["outputs"]
        assert result["usage"]["input_steps"] == len(text)


# ---- sessions ----

def test_a_session_stands_behind_the_input(daemon):
    session, other = daemon.session("kjv"), daemon.session("kjv")
    answer = daemon.ok("/predict", {"session": session, "input": INPUT, "candidates": CANDIDATES})
    assert answer["session"]["position"] == len(INPUT)
    assert answer["candidates"] == candidates(daemon)
    daemon.ok("/predict", {"session": other, "input": INPUT})
    after = [daemon.ok("/predict", {"session": s, "input": "", "return": ["logits"]})["outputs"]
             for s in (session, other)]
    assert after[0] == after[1]


def test_of_the_state_as_it_stands(daemon):
    session = daemon.session("kjv")
    daemon.ok("/predict", {"session": session, "input": INPUT})
    for _ in range(2):
        answer = daemon.ok("/predict", {"session": session, "candidates": CANDIDATES})
        assert answer["session"]["position"] == len(INPUT)
        assert answer["candidates"] == candidates(daemon)


def test_a_peek_leaves_the_session(daemon):
    session = daemon.session("kjv")
    answer = daemon.ok("/predict", {"session": session, "input": INPUT, "candidates": CANDIDATES, "commit": False})
    assert answer["candidates"] == candidates(daemon)
    assert daemon.position(session) == 0


def test_a_state_that_is_returned_is_the_inputs(daemon):
    plain = daemon.ok("/predict", {"model": "kjv", "input": INPUT, "return_state": True})
    answer = daemon.ok("/predict", {"model": "kjv", "input": INPUT, "candidates": CANDIDATES, "return_state": True})
    for state in (plain["state"], answer["state"]):
        behind = daemon.ok("/predict", {"model": "kjv", "state": state, "candidates": CANDIDATES})
        assert behind["candidates"] == answer["candidates"] == candidates(daemon)
    expect(daemon.post("/predict", {"model": "kjv", "inputs": ["a", "b"], "candidates": ["a"], "return_state": True}),
           422, "not_possible", "return_state")


# ---- models that write about their input ----

WRITERS = [("translator", "ach", ["A B", "C", "", "I H G F"], 1), ("attending", "abcd", ["A B", "C", "", "I H G F"], 1),
           ("captioner", [[0.5, -1, 2, 0, 1, -2]], ["kl", "", "qqq"], 1)]


@pytest.mark.parametrize("model,source,texts,eos", WRITERS)
def test_a_target_is_what_score_says(daemon, model, source, texts, eos):
    answer = daemon.ok("/predict", {"model": model, "input": source, "candidates": texts})
    for entry, text in zip(answer["candidates"], texts, strict=True):
        score = daemon.ok("/score", {"model": model, "input": source, "target": text})
        assert entry["logprobs"] == [t["logprob"] for t in score["tokens"]]
        assert entry["tokens"] == [t["id"] for t in score["tokens"]] and entry["tokens"][-1] == eos
        assert entry["text"] == text
        assert math.isclose(entry["logprob"], -score["nats"], rel_tol=1e-8)
    assert math.isclose(sum(c["probability"] for c in answer["candidates"]), 1, rel_tol=1e-6)
    # eos that is given is not scored twice
    ids = [c["tokens"] for c in answer["candidates"]]
    again = daemon.ok("/predict", {"model": model, "input": source, "candidates": ids})["candidates"]
    assert [c["logprobs"] for c in again] == [c["logprobs"] for c in answer["candidates"]]


# ---- refusals ----

@pytest.mark.parametrize("fields,status,param,code", [
    ({"candidates": ["light", "a", "né"]}, 422, "candidates[2]", "unknown_character"),
    ({"candidates": ["light", [1, 63]]}, 422, "candidates[1][1]", "not_possible"),
    ({"candidates": ["light", ""]}, 400, "candidates[1]", "out_of_range"),
    ({"candidates": [[]]}, 400, "candidates[0]", "out_of_range"),
    ({"candidates": []}, 400, "candidates", "out_of_range"),
    ({"candidates": "light"}, 400, "candidates", "malformed"),
    ({"candidates": ["light", 7]}, 400, "candidates[1]", "malformed"),
    ({"candidates": [[1, "a"]]}, 400, "candidates[0][1]", "malformed"),
    ({"candidates": [[[1.0]]]}, 422, "candidates[0]", "not_possible"),
    ({"candidate": ["light"]}, 400, "candidate", "malformed"),
    ({"candidates": ["a"] * 257}, 413, "candidates", "too_large"),
    ({"input": None, "inputs": ["a", "b"], "candidates": ["a"] * 129}, 413, "candidates", "too_large"),
    ({"model": "flags", "input": [[1, 2]], "candidates": [[1]]}, 422, "candidates", "not_possible"),
    ({"model": "sketch", "input": [[0, 0, 1, 0, 0]], "candidates": [[1]]}, 422, "candidates", "not_possible"),
    ({"model": "both-ways", "input": [1, 2], "candidates": [[1]]}, 422, "candidates", "not_possible"),
    ({"model": "translator", "input": "a", "candidates": ["A", "Z"]}, 422, "candidates[1]", "unknown_character"),
])
def test_refusals(daemon, fields, status, param, code):
    expect(daemon.post("/predict", {"model": "kjv", "input": INPUT, **fields}), status, code, param)


def test_a_refusal_changes_nothing(daemon):
    session = daemon.session("kjv")
    expect(daemon.post("/predict", {"session": session, "input": "And", "candidates": ["é"]}), 422)
    assert daemon.position(session) == 0


def test_an_answer_over_the_limit_is_refused_before_the_first_step(start):
    daemon = start(args=["--answer-max-bytes", "65536"])
    fields = {"model": "kjv", "input": "A", "candidates": ["a" * 3000]}
    steps = daemon.metric("rnnd_steps_total")
    expect(daemon.post("/predict", fields), 413, "too_large", "candidates")
    assert daemon.metric("rnnd_steps_total") == steps
    daemon.ok("/predict", {**fields, "candidates": ["a" * 1000]})
