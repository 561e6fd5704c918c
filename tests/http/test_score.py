"""POST /score: the cost function, whole and in pieces."""
import concurrent.futures
import itertools
import json
import math
import os
import random

import pytest

from client import SHIPPED, SLOW, expect

TEXT = "And God said, Let there be light: and there was light."


def tokens_of(daemon, text, model="kjv"):
    return daemon.ok("/tokenize", {"model": model, "text": text})["tokens"]


def scored(answer):
    """The tokens that had a prediction before them."""
    return [entry for entry in answer["tokens"] if entry["logprob"] is not None]


def test_form(daemon):
    answer = daemon.ok("/score", {"model": "kjv", "input": TEXT})
    assert answer["model"] == "kjv" and answer["usage"]["input_steps"] >= len(TEXT) - 1
    # from a zero state nothing predicts the first character
    assert [entry["token"] for entry in answer["tokens"]] == list(TEXT)
    assert [entry["logprob"] is None for entry in answer["tokens"]] == [True] + [False] * (len(TEXT) - 1)
    assert answer["tokens"][0]["rank"] is None and answer["tokens"][0]["entropy"] is None
    for entry in scored(answer):
        assert entry["logprob"] <= 0 and 1 <= entry["rank"] <= 63
        assert 0 <= entry["entropy"] <= math.log(63) + 1e-6
    nats = -sum(entry["logprob"] for entry in scored(answer))
    n = len(TEXT) - 1
    assert math.isclose(answer["nats"], nats, rel_tol=1e-5)
    assert math.isclose(answer["bits_per_token"], nats / math.log(2) / n, rel_tol=1e-5)
    assert math.isclose(answer["bits_per_character"], nats / math.log(2) / n, rel_tol=1e-5)
    assert math.isclose(answer["perplexity"], math.exp(nats / n), rel_tol=1e-5)


def test_agrees_with_predict(daemon):
    scores = scored(daemon.ok("/score", {"model": "kjv", "input": TEXT}))
    predicted = daemon.ok("/predict", {"model": "kjv", "input": TEXT, "steps": "all",
                                       "return": ["probabilities"]})["outputs"]
    ids = tokens_of(daemon, TEXT)
    for entry, output, following in zip(scores, predicted, ids[1:]):
        probabilities = output["probabilities"]
        assert math.isclose(math.exp(entry["logprob"]), probabilities[following], rel_tol=1e-4, abs_tol=1e-7)
        assert entry["rank"] == 1 + sum(p > probabilities[following] for p in probabilities)
        entropy = -sum(p * math.log(p) for p in probabilities if p > 0)
        assert math.isclose(entry["entropy"], entropy, rel_tol=1e-3, abs_tol=1e-4)


def score_in_pieces(daemon, text, cuts):
    """(nats, tokens scored) of a text over a session, cut at these places."""
    session = daemon.session("kjv")
    nats, n, begin = 0.0, 0, 0
    for end in [*cuts, len(text)]:
        answer = daemon.ok("/score", {"session": session, "input": text[begin:end]})
        nats += answer["nats"]
        n += len(scored(answer))
        assert answer["session"]["position"] == end
        begin = end
    assert n == len(text) - 1
    daemon.delete(f"/sessions/{session}")
    return nats, n


@pytest.mark.parametrize("seed", range(4))
def test_pieces_add_up_to_the_whole(daemon, seed):
    whole = daemon.ok("/score", {"model": "kjv", "input": TEXT})
    rng = random.Random(seed)
    cuts = sorted(rng.sample(range(1, len(TEXT)), rng.randint(1, 12)))
    nats, _ = score_in_pieces(daemon, TEXT, cuts)
    assert math.isclose(nats, whole["nats"], rel_tol=1e-6)


def test_each_piece_scores_its_tokens_to_the_bit(daemon):
    whole = daemon.post("/score", {"model": "kjv", "input": TEXT}).exact["tokens"]
    session = daemon.session("kjv")
    got = []
    for begin in range(0, len(TEXT), 5):
        got += daemon.post("/score", {"session": session, "input": TEXT[begin:begin + 5]}).exact["tokens"]
    assert got == whole


def test_kjv_bits_per_character(pair):
    """The whole held-out text gives the measured figure, in one piece and in any chunks.
    All at once, so that they share their steps."""
    daemon = pair[1]
    with open(os.path.join(SHIPPED, "kjv", "test.txt"), encoding="utf-8") as f:
        text = f.read()
    with open(os.path.join(SHIPPED, "kjv", "golden.json"), encoding="utf-8") as f:
        want = json.load(f)["quality"]["test_bpc"]
    if SLOW:  # a part of it, which has no figure of its own: the ways agree with each other
        text, want = text[:20000], None

    def whole():
        answer = daemon.ok("/score", {"model": "kjv", "input": text})
        return answer["nats"], len(scored(answer))

    def in_pieces(sizes):
        cuts, at = [], next(sizes)
        while at < len(text):
            cuts.append(at)
            at += next(sizes)
        return score_in_pieces(daemon, text, cuts)

    rng = random.Random(1)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        ways = [whole, lambda: in_pieces(itertools.repeat(50000)), lambda: in_pieces(itertools.repeat(997)),
                lambda: in_pieces(iter(lambda: rng.randint(1, 30000), None))]
        for run in [pool.submit(way) for way in ways]:
            nats, n = run.result()
            assert n == len(text) - 1
            bits = nats / math.log(2) / n
            if want is None:
                want = bits
            else:
                assert abs(bits - want) < 2e-5
            assert SLOW or f"{bits:.3f}" == "1.469"


def test_first_part_golden(daemon):
    with open(os.path.join(SHIPPED, "kjv", "test.txt"), encoding="utf-8") as f:
        text = f.read()[:5000]
    with open(os.path.join(SHIPPED, "kjv", "golden.json"), encoding="utf-8") as f:
        want = json.load(f)["quality"]["test_first_5000_chars_bpc_float64"]
    assert abs(daemon.ok("/score", {"model": "kjv", "input": text})["bits_per_character"] - want) < 1e-5


def test_commit_false(daemon):
    session = daemon.session("kjv")
    daemon.ok("/predict", {"session": session, "input": "And "})
    first = daemon.post("/score", {"session": session, "input": "God said", "commit": False})
    second = daemon.post("/score", {"session": session, "input": "God said", "commit": False})
    assert first.status == 200 and first.exact == second.exact
    assert daemon.position(session) == 4
    assert len(scored(first.json)) == 8  # the first one is predicted by the state


def test_inputs(daemon):
    answer = daemon.post("/score", {"model": "kjv", "inputs": [TEXT, "In the beginning", "xyz"]})
    assert answer.status == 200
    for got, text in zip(answer.exact["results"], [TEXT, "In the beginning", "xyz"]):
        alone = daemon.post("/score", {"model": "kjv", "input": text}).exact
        for field in ("tokens", "nats", "bits_per_token", "bits_per_character", "perplexity"):
            assert got[field] == alone[field]


def test_bits_per_character_counts_characters(daemon):
    answer = daemon.ok("/score", {"model": "multibyte", "input": "日本😀é€"})
    assert len(scored(answer)) == 4
    assert math.isclose(answer["bits_per_character"], answer["bits_per_token"], rel_tol=1e-9)


def test_one_token_has_nothing_to_score(daemon):
    answer = daemon.post("/score", {"model": "kjv", "input": "A"})
    if answer.status == 200:
        assert scored(answer.json) == [] and answer.json["nats"] == 0
    else:
        assert answer.status in (400, 422)


@pytest.mark.parametrize("model,data", [("sensor", [[1, 2, 3]]), ("tagger", "abc")])
def test_a_model_without_next_token_cannot_score(daemon, model, data):
    expect(daemon.post("/score", {"model": model, "input": data}), 422)


def test_target_is_refused_by_name(daemon):
    answer = daemon.post("/score", {"model": "kjv", "input": "And", "target": "God"})
    assert answer.status in (400, 422) and answer.error["param"] == "target"
