"""POST /generate with `beam_width` and with `best_of`: the most probable texts, by search and by draw."""
import concurrent.futures
import itertools
import math

import pytest

from client import expect

KJV = {"model": "kjv", "input": "And God said, ", "max_tokens": 20}
TRANSLATOR = {"model": "translator", "input": "ach", "max_tokens": 9}
CAPTIONER = {"model": "captioner", "input": [[0.5, -1, 2, 0, 1, -2]], "max_tokens": 9}
IDS = {"model": "ids", "input": [3, 1, 4], "max_tokens": 6}
ATTENDING = {"model": "attending", "input": "abcdefgh", "max_tokens": 9}
ALL = [KJV, TRANSLATOR, CAPTIONER, ATTENDING, IDS]


def every(requests):
    return pytest.mark.parametrize("request_", requests, ids=[r["model"] for r in requests])


def choices(daemon, request, **fields):
    return daemon.ok("/generate", {**request, **fields})["choices"]


def logprob_of(daemon, request, tokens):
    """Of a text behind the input, by /predict's candidates; an end of its own is not asked for."""
    answer = daemon.ok("/predict", {"model": request["model"], "input": request["input"], "candidates": [tokens]})
    return sum(answer["candidates"][0]["logprobs"][:len(tokens)])


# ---- beam search ----

@every(ALL)
def test_width_one_is_greedy(daemon, request_):
    narrow, = choices(daemon, request_, beam_width=1)
    greedy, = choices(daemon, request_, temperature=0)
    assert {k: narrow[k] for k in greedy} == greedy
    assert set(narrow) - set(greedy) == {"logprob", "score"}


@every(ALL)
@pytest.mark.parametrize("penalty", [None, 0, 0.6, 2])
def test_the_best_come_first(daemon, request_, penalty):
    found = choices(daemon, request_, beam_width=6, n=6, length_penalty=penalty)
    assert [c["index"] for c in found] == list(range(len(found))) and len(found) == 6
    assert len({tuple(c["tokens"]) for c in found}) == 6
    scores = [c["score"] for c in found]
    assert scores == sorted(scores, reverse=True)
    for choice in found:
        length = len(choice["tokens"])
        assert math.isclose(choice["score"], choice["logprob"] / length ** (1 if penalty is None else penalty),
                            rel_tol=1e-6)
        assert math.isclose(choice["logprob"], logprob_of(daemon, request_, choice["tokens"]), rel_tol=1e-5)
        assert choice["finish_reason"] == ("length" if length == request_["max_tokens"] and not ends(request_, choice)
                                           else "stop")
    fewer = choices(daemon, request_, beam_width=6, n=2, length_penalty=penalty)
    assert fewer == found[:2]
    assert choices(daemon, request_, beam_width=6, length_penalty=penalty) == found[:1]


def ends(request, choice):
    """The decoders of the zoo have eos 1."""
    return request in (TRANSLATOR, CAPTIONER, ATTENDING) and choice["tokens"][-1] == 1


@every([IDS, CAPTIONER, TRANSLATOR, ATTENDING])
def test_wide_enough_it_finds_all_there_are(daemon, request_):
    """Two tokens: a beam as wide as the vocabulary loses no beginning."""
    size = {"ids": 12, "captioner": 9, "translator": 11, "attending": 11}[request_["model"]]
    texts = list(itertools.product(range(size), repeat=2))
    if request_ is not IDS:
        texts = [(1,)] + [t for t in texts if t[0] != 1]
    found = choices(daemon, request_, beam_width=32, n=20, length_penalty=0, max_tokens=2)
    ranked = sorted(texts, key=lambda t: -logprob_of(daemon, request_, list(t)))
    for choice, text in zip(found, ranked):
        assert math.isclose(choice["logprob"], logprob_of(daemon, request_, list(text)), rel_tol=1e-6)
    assert [tuple(c["tokens"]) for c in found] == ranked[:20]


def test_a_wider_beam_finds_what_greedy_misses(daemon):
    narrow, = choices(daemon, KJV, beam_width=1, length_penalty=0)
    wide, = choices(daemon, KJV, beam_width=16, length_penalty=0)
    assert wide["logprob"] > narrow["logprob"]


@every(ALL)
def test_a_batch_is_one_by_one(daemon, request_):
    inputs = [request_["input"], request_["input"] * (2 if request_ is not CAPTIONER else 1)]
    answer = daemon.ok("/generate", {**request_, "input": None, "inputs": inputs, "beam_width": 4, "n": 3})
    for sequence, result in zip(inputs, answer["results"], strict=True):
        assert result["choices"] == choices(daemon, request_, input=sequence, beam_width=4, n=3)
        assert result["usage"]["input_steps"] == len(sequence)


def test_among_others_it_is_what_it_is_alone(daemon):
    alone = [choices(daemon, r, beam_width=5, n=5) for r in ALL]
    busy = {**KJV, "max_tokens": 150, "seed": 1, "n": 8}
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        load = [pool.submit(choices, daemon, busy) for _ in range(4)]
        beams = [pool.submit(choices, daemon, r, beam_width=5, n=5) for _ in range(3) for r in ALL]
        assert [b.result() for b in beams] == alone * 3
        assert all(one.result() == load[0].result() for one in load)


def test_from_a_session_that_is_not_advanced(daemon):
    session = daemon.session("kjv")
    daemon.ok("/predict", {"session": session, "input": KJV["input"]})
    peek = {"session": session, "max_tokens": KJV["max_tokens"], "commit": False, "beam_width": 4, "n": 4}
    assert choices(daemon, peek) == choices(daemon, KJV, beam_width=4, n=4)
    assert daemon.position(session) == len(KJV["input"])


@pytest.mark.parametrize("field,value", [
    ("temperature", 0.5), ("top_k", 3), ("top_p", 0.5), ("min_p", 0.1), ("typical_p", 0.5),
    ("repetition_penalty", 1.1), ("presence_penalty", 1), ("frequency_penalty", 1), ("logit_bias", {"1": 2}),
    ("seed", 1), ("stop", "x"), ("logprobs", 1), ("echo", True), ("stream", True),
])
def test_what_a_search_excludes_is_named(daemon, field, value):
    error = expect(daemon.post("/generate", {**KJV, "beam_width": 2, field: value}), 400, "malformed", field)["error"]
    assert error["message"] == f"{field}: excluded by beam_width"


@pytest.mark.parametrize("fields,status,param,code", [
    ({"beam_width": 0}, 400, "beam_width", "out_of_range"),
    ({"beam_width": 33}, 400, "beam_width", "out_of_range"),
    ({"beam_width": "2"}, 400, "beam_width", "malformed"),
    ({"beam_width": 2, "n": 3}, 400, "n", "out_of_range"),
    ({"beam_width": 2, "max_tokens": 0}, 400, "max_tokens", "out_of_range"),
    ({"beam_width": 2, "length_penalty": -1}, 400, "length_penalty", "out_of_range"),
    ({"length_penalty": 1}, 400, "length_penalty", "malformed"),
    ({"beam_width": 2, "model": "flags", "input": [[1, 2]]}, 422, "model", "not_possible"),
    ({"beam_width": 2, "model": "both-ways", "input": [1, 2]}, 422, "model", "not_possible"),
])
def test_refusals(daemon, fields, status, param, code):
    expect(daemon.post("/generate", {**KJV, **fields}), status, code, param)


def test_a_session_that_is_to_be_advanced_is_refused(daemon):
    session = daemon.session("kjv")
    expect(daemon.post("/generate", {"session": session, "input": "A", "beam_width": 2}), 400, "malformed",
           "beam_width")
    expect(daemon.post("/generate", {"session": session, "input": "A", "best_of": 2}), 400, "malformed", "best_of")
    assert daemon.position(session) == 0


# ---- best_of ----

def mean_logprob(choice):
    return sum(t["logprob"] for t in choice["logprobs"]) / len(choice["logprobs"])


@every(ALL)
def test_the_best_of_several(daemon, request_):
    several = choices(daemon, request_, n=8, seed=3, logprobs=0)
    ranked = sorted(several, key=mean_logprob, reverse=True)
    best = choices(daemon, request_, n=3, best_of=8, seed=3, logprobs=0)
    assert [c["index"] for c in best] == [0, 1, 2]
    assert [c["tokens"] for c in best] == [c["tokens"] for c in ranked[:3]]
    assert [c["logprobs"] for c in best] == [c["logprobs"] for c in ranked[:3]]


def test_best_of_counts_what_was_drawn(daemon):
    answer = daemon.ok("/generate", {**KJV, "best_of": 5, "seed": 3})
    assert len(answer["choices"]) == 1 and answer["usage"]["output_steps"] == 100
    assert choices(daemon, KJV, best_of=1, seed=3) == choices(daemon, KJV, seed=3)


@pytest.mark.parametrize("fields,param,code", [
    ({"best_of": 1, "n": 2}, "best_of", "out_of_range"), ({"best_of": 33}, "best_of", "out_of_range"),
    ({"best_of": 2, "stream": True}, "best_of", "malformed"),
])
def test_refusals_of_best_of(daemon, fields, param, code):
    expect(daemon.post("/generate", {**KJV, **fields}), 400, code, param)


def test_as_many_as_are_drawn_may_stream(daemon):
    with daemon.stream("/generate", {**KJV, "n": 2, "best_of": 2, "seed": 1}) as stream:
        assert stream.open() == 200 and [e.name for e in stream][-1] == "done"
