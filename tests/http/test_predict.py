"""POST /predict: what comes out for every kind of input, output and option."""
import math
import struct

import pytest

import folders
from client import expect

HELL = [0, 1, 2, 2]


def top_of(answer):
    return answer["outputs"][-1]["top"]


def test_hello_says_o(daemon):
    answer = daemon.ok("/predict", {"model": "hello", "input": "hell"})
    best = top_of(answer)[0]
    assert (best["token"], best["id"]) == ("o", 3)
    assert best["probability"] > 0.99
    assert answer["model"] == "hello"
    assert answer["usage"]["input_steps"] == 4
    assert answer["timings"]["queue_ms"] >= 0 and answer["timings"]["compute_ms"] >= 0
    assert "session" not in answer
    assert isinstance(answer["id"], str) and answer["id"]


def test_text_and_ids_are_the_same_input(daemon):
    text = daemon.post("/predict", {"model": "hello", "input": "hell", "return": ["logits"]})
    ids = daemon.post("/predict", {"model": "hello", "input": HELL, "return": ["logits"]})
    assert text.exact == ids.exact and text.status == 200


def test_steps_all_lists_each_step_in_order(daemon):
    every = daemon.ok("/predict", {"model": "hello", "input": "hell", "steps": "all"})
    last = daemon.ok("/predict", {"model": "hello", "input": "hell", "steps": "last"})
    assert [o["top"][0]["token"] for o in every["outputs"]] == list("ello")
    steps = [o["step"] for o in every["outputs"]]
    assert steps == list(range(steps[0], steps[0] + 4))
    assert last["outputs"] == every["outputs"][-1:]


def test_steps_default(daemon):
    """A language model says what comes next; a tagger answers each step."""
    assert len(daemon.ok("/predict", {"model": "hello", "input": "hell"})["outputs"]) == 1
    assert len(daemon.ok("/predict", {"model": "tagger", "input": "abca"})["outputs"]) == 4
    assert len(daemon.ok("/predict", {"model": "sensor", "input": [[1, 2, 3]] * 3})["outputs"]) == 3


@pytest.mark.parametrize("k", [1, 2, 5, 10, 63])
def test_top_k(daemon, k):
    answer = daemon.ok("/predict", {"model": "kjv", "input": "And God ", "steps": "last", "top_k": k})
    top = top_of(answer)
    assert len(top) == k
    probabilities = [entry["probability"] for entry in top]
    assert probabilities == sorted(probabilities, reverse=True)
    assert len({entry["id"] for entry in top}) == k
    for entry in top:
        assert math.isclose(entry["logprob"], math.log(entry["probability"]), rel_tol=1e-4, abs_tol=1e-6)
    if k == 63:
        assert math.isclose(sum(probabilities), 1, abs_tol=1e-5)


def test_top_k_default_is_five(daemon):
    assert len(top_of(daemon.ok("/predict", {"model": "kjv", "input": "A"}))) == 5


def test_return_fields(daemon):
    answer = daemon.ok("/predict", {"model": "kjv", "input": "In the", "steps": "all", "top_k": 3,
                                    "return": ["logits", "probabilities", "hidden"]})
    assert len(answer["outputs"]) == 6
    for output in answer["outputs"]:
        logits, probabilities = output["logits"], output["probabilities"]
        assert len(logits) == len(probabilities) == 63 and len(output["hidden"]) == 256
        assert math.isclose(sum(probabilities), 1, abs_tol=1e-5)
        peak = max(logits)
        total = sum(math.exp(x - peak) for x in logits)
        for x, p in zip(logits, probabilities):
            assert math.isclose(p, math.exp(x - peak) / total, rel_tol=1e-4, abs_tol=1e-6)
        order = sorted(range(63), key=lambda i: -logits[i])
        assert [entry["id"] for entry in output["top"]] == order[:3]
        assert all(-1 <= h <= 1 for h in output["hidden"])


def test_return_nothing_by_default(daemon):
    output = daemon.ok("/predict", {"model": "hello", "input": "h"})["outputs"][0]
    assert set(output) == {"step", "top"}


def test_numbers_read_back_as_the_same_float32(daemon):
    answer = daemon.ok("/predict", {"model": "kjv", "input": "Thou shalt", "steps": "all",
                                    "return": ["logits", "hidden"]})
    for output in answer["outputs"]:
        for value in output["logits"] + output["hidden"]:
            as_float = struct.unpack("f", struct.pack("f", value))[0]
            # what was printed lies closer to this float32 than to its neighbours: within half an ulp
            assert abs(value - as_float) <= abs(as_float) * 2 ** -24 + 1e-45


def test_inputs_are_answered_in_order(daemon):
    answer = daemon.ok("/predict", {"model": "hello", "inputs": ["h", "he", HELL, "hel"], "steps": "last"})
    assert [r["outputs"][-1]["top"][0]["token"] for r in answer["results"]] == list("elol")
    assert answer.get("outputs") is None


def test_single_model_needs_no_name(start, tmp_path):
    folders.make(str(tmp_path / "models" / "only"), tokens=list("ab"))
    daemon = start(models=str(tmp_path / "models"))
    assert daemon.ok("/predict", {"input": "ab"})["model"] == "only"


def test_model_needed_where_there_are_several(daemon):
    answer = daemon.post("/predict", {"input": "hell"})
    assert answer.status in (400, 404) and answer.error["param"] == "model"


# ---- the shapes of output ----

def test_regression_gives_values(daemon):
    frames = [[0.5, -1.25, 3], [1e-3, 2, -0.75]]
    answer = daemon.ok("/predict", {"model": "sensor", "input": frames, "steps": "all", "return": ["logits"]})
    assert len(answer["outputs"]) == 2
    for output in answer["outputs"]:
        assert len(output["values"]) == 2 and "top" not in output
        assert output["values"] == output["logits"]  # no activation


def test_sigmoid_head_lists_every_label(daemon):
    answer = daemon.ok("/predict", {"model": "flags", "input": [[0.5, -1]], "top_k": 1,
                                    "return": ["logits", "probabilities"]})
    output = answer["outputs"][-1]
    assert {entry["label"] for entry in output["top"]} == {"low", "high", "odd"}
    for entry in output["top"]:
        p = output["probabilities"][entry["id"]]
        assert math.isclose(entry["probability"], p, rel_tol=1e-6)
        assert math.isclose(p, 1 / (1 + math.exp(-output["logits"][entry["id"]])), rel_tol=1e-5)


def test_tagger_gives_labels(daemon):
    answer = daemon.ok("/predict", {"model": "tagger", "input": "abca", "steps": "all"})
    assert len(answer["outputs"]) == 4
    for output in answer["outputs"]:
        assert {entry["label"] for entry in output["top"]} == {"vowel", "consonant"}
        assert [entry["label"] == "vowel" for entry in output["top"]] == \
               [entry["id"] == 0 for entry in output["top"]]


def test_headless_model_gives_its_hidden_output(daemon):
    answer = daemon.ok("/predict", {"model": "headless", "input": [[1, 2, 3, 4]], "return": ["hidden"]})
    output = answer["outputs"][-1]
    assert len(output["hidden"]) == 5
    assert output["values"] == output["hidden"]


def test_model_without_vocabulary_takes_and_gives_ids(daemon):
    top = top_of(daemon.ok("/predict", {"model": "ids", "input": [3, 0, 11]}))
    assert len(top) == 5 and all("id" in entry and not entry.get("token") for entry in top)
    expect(daemon.post("/predict", {"model": "ids", "input": "abc"}), 422)


def test_multibyte_tokens_come_whole(daemon):
    top = top_of(daemon.ok("/predict", {"model": "multibyte", "input": "日本€\n", "top_k": len(folders.MULTIBYTE)}))
    assert {entry["token"] for entry in top} == set(folders.MULTIBYTE)
    assert all(folders.MULTIBYTE[entry["id"]] == entry["token"] for entry in top)


# ---- sessions ----

def test_session_advances_and_says_where_it_stands(daemon):
    session = daemon.session("hello")
    answer = daemon.ok("/predict", {"session": session, "input": "he"})
    assert answer["session"]["id"] == session and answer["session"]["position"] == 2
    assert answer["session"]["expires_at"]
    assert answer["model"] == "hello"
    answer = daemon.ok("/predict", {"session": session, "input": "ll"})
    assert answer["session"]["position"] == 4
    assert top_of(answer)[0]["token"] == "o"
    assert daemon.position(session) == 4


def test_empty_input_reads_the_state_as_it_stands(daemon):
    session = daemon.session("hello")
    fed = daemon.ok("/predict", {"session": session, "input": "hell", "return": ["logits", "hidden"]})
    for empty in ("", []):
        read = daemon.ok("/predict", {"session": session, "input": empty, "return": ["logits", "hidden"]})
        assert read["session"]["position"] == 4 and read["usage"]["input_steps"] == 0
        assert len(read["outputs"]) == 1
        for field in ("logits", "hidden", "top"):
            assert read["outputs"][-1][field] == fed["outputs"][-1][field]


def test_empty_input_on_a_new_session(daemon):
    session = daemon.session("hello")
    answer = daemon.ok("/predict", {"session": session, "input": "", "return": ["probabilities"]})
    assert answer["session"]["position"] == 0
    assert math.isclose(sum(answer["outputs"][-1]["probabilities"]), 1, abs_tol=1e-5)


def test_expect_position(daemon):
    session = daemon.session("hello")
    daemon.ok("/predict", {"session": session, "input": "he", "expect_position": 0})
    expect(daemon.post("/predict", {"session": session, "input": "l", "expect_position": 1}), 409, "position")
    assert daemon.position(session) == 2
    daemon.ok("/predict", {"session": session, "input": "l", "expect_position": 2})


def test_session_of_another_model_is_refused(daemon):
    session = daemon.session("hello")
    answer = daemon.post("/predict", {"session": session, "model": "kjv", "input": "A"})
    assert answer.status in (409, 422)
    assert daemon.position(session) == 0


def test_session_excludes_inputs(daemon):
    session = daemon.session("hello")
    assert daemon.post("/predict", {"session": session, "inputs": ["h", "e"]}).status in (400, 422)
    assert daemon.position(session) == 0


def test_long_input(daemon):
    text = "In the beginning God created the heaven and the earth. " * 200
    answer = daemon.ok("/predict", {"model": "kjv", "input": text, "steps": "last"})
    assert answer["usage"]["input_steps"] == len(text)
    assert len(answer["outputs"]) == 1
