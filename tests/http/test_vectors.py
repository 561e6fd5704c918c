"""Models whose input comes to one vector: a window that is read whole, and a vector that a decoder reads at every step."""
import os
import shutil

import pytest

from client import TOP, Daemon, expect

VECTORS = os.path.join(TOP, "tests", "golden", "vectors")
WINDOW = [[0.1 * t, -0.2, 0.3] for t in range(5)]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    root = tmp_path_factory.mktemp("vectors")
    for name in os.listdir(VECTORS):
        shutil.copytree(os.path.join(VECTORS, name), root / name)
    with Daemon(str(root)) as daemon:
        yield daemon


def refused(*args):
    return expect(*args)["error"]


def test_models_tell_of_their_steps(vectors):
    flatten, repeat = (vectors.get(f"/models/{name}").json for name in ("flatten-lstm", "repeat-lstm"))
    assert flatten["topology"] == "many_to_one" and flatten["input"]["steps"] == 5
    assert flatten["output"]["hidden_width"] == 5 * 5 and "steps" not in flatten["output"]
    assert repeat["topology"] == "repeat" and repeat["output"]["steps"] == 4 and "steps" not in repeat["input"]


@pytest.mark.parametrize("steps", [1, 4, 6])
def test_a_window_of_another_size_is_refused(vectors, steps):
    frames = [[0.1, 0.2, 0.3]] * steps
    error = refused(vectors.post("/predict", {"model": "flatten-lstm", "input": frames}), 422, "not_possible", "input")
    assert f"a window of exactly 5 steps, found {steps}" in error["message"]


def test_a_window_of_another_size_in_a_batch_is_named(vectors):
    body = {"model": "flatten-lstm", "inputs": [WINDOW, WINDOW, WINDOW[:3]]}
    error = refused(vectors.post("/predict", body), 422, "not_possible", "inputs[2]")
    assert "a window of exactly 5 steps, found 3" in error["message"]
    error = refused(vectors.post("/predict", {"model": "repeat-flatten", "input": [1, 2]}), 422, "not_possible", "input")
    assert "a window of exactly 5 steps, found 2" in error["message"]


def test_a_window_has_one_output(vectors):
    output, = vectors.ok("/predict", {"model": "flatten-lstm", "input": WINDOW, "return": ["hidden"]})["outputs"]
    assert output["step"] == 5 - 1 and len(output["hidden"]) == 25 and len(output["top"]) == 3
    expect(vectors.post("/predict", {"model": "flatten-lstm", "input": WINDOW, "steps": "all"}), 422, "not_possible", "steps")


def test_a_repeated_vector_has_an_output_at_each_of_its_steps(vectors):
    """However long the input is."""
    for n in (1, 3, 40):
        outputs = vectors.ok("/predict", {"model": "repeat-lstm", "input": [WINDOW[t % 5] for t in range(n)]})["outputs"]
        assert [o["step"] for o in outputs] == [0, 1, 2, 3]
        assert all(len(o["values"]) == 3 for o in outputs) and len({tuple(o["values"]) for o in outputs}) == 4
    whole = vectors.ok("/predict", {"model": "repeat-lstm", "input": WINDOW})["outputs"]
    for steps, want in (("all", whole), ("last", whole[-1:])):
        assert vectors.ok("/predict", {"model": "repeat-lstm", "input": WINDOW, "steps": steps})["outputs"] == want


@pytest.mark.parametrize("name, ids, words", [("flatten-lstm", None, "whole window"), ("repeat-lstm", None, "each input begins anew"),
                                              ("repeat-gru-bi", [1, 2, 3], "both directions")])
def test_there_is_no_session_and_nothing_is_written(vectors, name, ids, words):
    error = refused(vectors.post("/sessions", {"model": name}), 422)
    assert words in error["message"]
    ask = {"model": name, "input": ids or WINDOW}
    assert words in refused(vectors.post("/predict", {**ask, "return_state": True}), 422)["message"]
    expect(vectors.post("/generate", ask), 422, "not_possible", "model")
    expect(vectors.post("/score", ask), 422, "not_possible", "model")
    assert words in refused(vectors.post("/predict", {**ask, "return": ["gates"]}), 422, "not_possible", "return")["message"]


def test_an_answer_of_many_steps_is_bounded(tmp_path):
    shutil.copytree(os.path.join(VECTORS, "repeat-lstm"), tmp_path / "repeat-lstm")
    with Daemon(str(tmp_path), args=["--answer-max-bytes", "64K"]) as daemon:
        expect(daemon.post("/predict", {"model": "repeat-lstm", "inputs": [WINDOW] * 120}), 413, None, "steps")
        daemon.ok("/predict", {"model": "repeat-lstm", "inputs": [WINDOW] * 120, "steps": "last"})
