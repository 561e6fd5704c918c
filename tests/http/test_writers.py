"""Models that write about their input: a translator (symbols about letters), a captioner (letters about a frame)."""
import concurrent.futures
import math

import pytest

from client import collect, expect

TRANSLATOR = ("translator", "ach", ["A B", "C", "I H G F E"])
CAPTIONER = ("captioner", [[0.5, -1, 2, 0, 1, -2]], ["kl", "q", "mmnop"])
ATTENDING = ("attending", "abcdefgh", ["A B", "C", "I H G F E"])
EVERY = pytest.mark.parametrize("model,source,targets", [TRANSLATOR, CAPTIONER, ATTENDING],
                                ids=["translator", "captioner", "attending"])
BOTH = pytest.mark.parametrize("model,source,targets", [TRANSLATOR, CAPTIONER], ids=["translator", "captioner"])
EOS = 1


def generate(daemon, model, source, **fields):
    choice, = daemon.ok("/generate", {"model": model, "input": source, "max_tokens": 12, **fields})["choices"]
    return choice


# ---- generate ----

@EVERY
def test_text_is_of_the_target_vocabulary(daemon, model, source, targets):
    for seed in range(20):
        choice = generate(daemon, model, source, seed=seed)
        shown = daemon.ok("/detokenize", {"model": model, "tokens": choice["tokens"],
                                          **({"side": "target"} if model != "captioner" else {})})["text"]
        assert choice["text"] == shown
        ended = choice["tokens"][-1] == EOS
        assert choice["finish_reason"] == ("stop" if ended else "length") and EOS not in choice["tokens"][:-1]
        assert ended or len(choice["tokens"]) == 12


@EVERY
def test_a_stream_is_the_text(daemon, model, source, targets):
    request = {"model": model, "input": source, "max_tokens": 12, "seed": 4, "n": 3}
    whole = daemon.ok("/generate", request)
    with daemon.stream("/generate", request) as stream:
        _, texts, done, _ = collect(stream)
    assert texts == {c["index"]: c.pop("text") for c in whole["choices"]}
    assert done["choices"] == whole["choices"]


@EVERY
def test_greedy_is_the_most_probable_next_token(daemon, model, source, targets):
    tokens = generate(daemon, model, source, temperature=0)["tokens"]
    for step, token in enumerate(tokens):
        every = [[*tokens[:step], v] for v in range(9)]
        answer = daemon.ok("/predict", {"model": model, "input": source, "candidates": every})["candidates"]
        assert max(range(9), key=lambda v: answer[v]["logprobs"][step]) == token or token >= 9


@EVERY
def test_echo_has_no_place(daemon, model, source, targets):
    expect(daemon.post("/generate", {"model": model, "input": source, "echo": True}), 422, "not_possible", "echo")


# ---- score ----

@EVERY
def test_form_of_a_score(daemon, model, source, targets):
    for target in targets:
        answer = daemon.ok("/score", {"model": model, "input": source, "target": target})
        ids = [t["id"] for t in answer["tokens"]]
        assert ids[-1] == EOS and answer["scored"] == len(ids) == len(target.replace(" ", "")) + 1
        assert all(t["logprob"] <= 0 and t["rank"] >= 1 and t["entropy"] >= 0 for t in answer["tokens"])
        assert math.isclose(answer["nats"], -sum(t["logprob"] for t in answer["tokens"]), rel_tol=1e-5)
        assert math.isclose(answer["perplexity"], math.exp(answer["nats"] / len(ids)), rel_tol=1e-5)
        assert daemon.ok("/score", {"model": model, "input": source, "target": ids[:-1]})["tokens"] == answer["tokens"]
        assert daemon.ok("/score", {"model": model, "input": source, "target": ids})["tokens"] == answer["tokens"]


@EVERY
def test_what_is_drawn_is_scored_alike(daemon, model, source, targets):
    choice = generate(daemon, model, source, seed=9, logprobs=0)
    score = daemon.ok("/score", {"model": model, "input": source, "target": choice["tokens"]})
    n = len(choice["tokens"])
    assert [t["logprob"] for t in score["tokens"][:n]] == [t["logprob"] for t in choice["logprobs"]]


@EVERY
def test_a_batch_of_targets(daemon, model, source, targets):
    sources = [source, source, source[:1]]
    batch = daemon.ok("/score", {"model": model, "inputs": sources, "targets": targets})
    for one, target, result in zip(sources, targets, batch["results"], strict=True):
        alone = daemon.ok("/score", {"model": model, "input": one, "target": target})
        assert all(result[k] == alone[k] for k in ("tokens", "nats", "scored"))


@pytest.mark.parametrize("request_,status,param,code", [
    ({"model": "translator", "input": "a"}, 400, "target", "malformed"),
    ({"model": "translator", "input": "a", "targets": ["A"]}, 400, "target", "malformed"),
    ({"model": "translator", "inputs": ["a", "b"], "targets": ["A"]}, 400, "target", "malformed"),
    ({"model": "translator", "inputs": ["a"], "target": "A"}, 400, "target", "malformed"),
    ({"model": "translator", "input": "a", "target": "A", "targets": ["A"]}, 400, "targets", "malformed"),
    ({"model": "translator", "input": "a", "target": "A Z"}, 422, "target", "unknown_character"),
    ({"model": "translator", "inputs": ["a", "b"], "targets": ["A", "Z"]}, 422, "targets[1]", "unknown_character"),
    ({"model": "translator", "input": "A", "target": "A"}, 422, "input", "unknown_character"),
    ({"model": "translator", "input": "a", "target": [3, 11]}, 422, "target[1]", "not_possible"),
    ({"model": "translator", "input": "a", "target": [[1.5]]}, 422, "target", "not_possible"),
    ({"model": "kjv", "input": "a", "target": "b"}, 422, "target", "not_possible"),
    ({"model": "sensor", "input": [[1, 2, 3]]}, 422, "model", "not_possible"),
    ({"model": "both-ways", "input": [1, 2]}, 422, "model", "not_possible"),
    ({"model": "captioner", "input": [[1, 2, 3, 4, 5]], "target": "k"}, 422, "input[0]", "frame_width"),
    ({"model": "captioner", "input": [[0] * 6, [0] * 6], "target": "k"}, 400, "input", "out_of_range"),
    ({"model": "captioner", "input": "k", "target": "k"}, 422, "input", "not_possible"),
])
def test_refusals(daemon, request_, status, param, code):
    expect(daemon.post("/score", request_), status, code, param)


# ---- sessions ----

@BOTH
def test_a_session_goes_on_where_it_stopped_writing(daemon, model, source, targets):
    seed = next(s for s in range(100) if generate(daemon, model, source, seed=s)["finish_reason"] == "length")
    whole = generate(daemon, model, source, seed=seed)["tokens"]
    session = daemon.session(model)
    first = daemon.ok("/generate", {"session": session, "input": source, "max_tokens": 5, "seed": seed})
    assert first["choices"][0]["tokens"] == whole[:5]
    rest = daemon.ok("/generate", {"session": session, "max_tokens": 7})
    assert rest["choices"][0]["tokens"] == whole[5:]
    assert rest["session"]["position"] == first["session"]["position"] + 7
    # another source begins anew
    again = daemon.ok("/generate", {"session": session, "input": source, "max_tokens": 5, "seed": seed})
    assert again["choices"] == first["choices"] and again["session"]["position"] == first["session"]["position"]


@BOTH
def test_a_session_predicts_behind_what_was_written(daemon, model, source, targets):
    session = daemon.session(model)
    tokens = daemon.ok("/generate", {"session": session, "input": source, "max_tokens": 3,
                                     "temperature": 0, "logit_bias": {str(EOS): False}})["choices"][0]["tokens"]
    answer = daemon.ok("/predict", {"session": session, "candidates": [[2, 3], [EOS]]})
    fresh = daemon.ok("/predict", {"model": model, "input": source,
                                   "candidates": [[*tokens, 2, 3], [*tokens, EOS]]})
    assert [c["logprobs"] for c in answer["candidates"]] == [c["logprobs"][3:] for c in fresh["candidates"]]


def test_what_looks_back_holds_none(daemon):
    error = expect(daemon.post("/sessions", {"model": "attending"}), 422, "not_possible", "model")["error"]
    assert "looks back at the whole source" in error["message"]


# ---- among others ----

def test_among_others_they_are_what_they_are_alone(daemon):
    requests = [{"model": m, "input": s, "max_tokens": 12, "seed": i, "n": 4}
                for i, (m, s, _) in enumerate([TRANSLATOR, CAPTIONER, ATTENDING] * 4)]
    alone = [daemon.ok("/generate", r)["choices"] for r in requests]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        together = [pool.submit(daemon.ok, "/generate", r) for _ in range(4) for r in requests]
        assert [t.result()["choices"] for t in together] == alone * 4
