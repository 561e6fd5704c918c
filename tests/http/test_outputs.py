"""POST /predict: what each kind of head says, and what `return` adds, for every topology."""
import math

import pytest

import folders
from client import expect

RETURN = ["logits", "probabilities", "hidden"]
POINTS = [[0, 0, 1, 0, 0], [1.5, -2, 1, 0, 0], [0.25, 0.5, 0, 1, 0]]


def predict(daemon, model, sequence, **fields):
    return daemon.ok("/predict", {"model": model, "input": sequence, **fields})["outputs"]


def close(got, want):
    assert len(got) == len(want)
    assert all(math.isclose(g, w, rel_tol=1e-5, abs_tol=1e-6) for g, w in zip(got, want)), (got, want)


def softmax(logits):
    total = sum(math.exp(x) for x in logits)
    return [math.exp(x) / total for x in logits]


# ---- numbers with a doubt ----

@pytest.mark.parametrize("model,units", [("weather", ([10, 1000], [3, 20])),
                                         ("doubtful", ([0, 0, 0], [1, 1, 1]))])
def test_a_gaussian_says_values_and_deviations(daemon, model, units):
    n = len(units[0])
    outputs = predict(daemon, model, [[9, 1010], [12, 990], [10, 1000]], **{"return": RETURN})
    assert len(outputs) == 3
    for output in outputs:
        assert "top" not in output and len(output["logits"]) == 2 * n
        close(output["values"], [m + s * x for x, m, s in zip(output["logits"], *units)])
        close(output["std"], [s * math.exp(x) for x, s in zip(output["logits"][n:], units[1])])
        assert output["probabilities"] == output["values"] + output["std"]


@pytest.mark.parametrize("model,m,pen,units", [("sketch", 4, 3, ([0, 0], [1, 1])),
                                               ("handwriting", 2, 1, ([0.5, -0.25], [2, 3]))])
def test_a_mixture_says_its_parameters(daemon, model, m, pen, units):
    points = [p[:2 + pen] for p in POINTS]
    outputs = predict(daemon, model, points, **{"return": ["logits"]})
    assert len(outputs) == len(points)
    for output in outputs:
        raw, mixture = output["logits"], output["mixture"]
        part = [raw[pen + k * m:pen + (k + 1) * m] for k in range(6)]
        assert "top" not in output and "values" not in output
        close(output["pen"], softmax(raw[:3]) if pen == 3 else [1 / (1 + math.exp(-raw[0]))])
        close(mixture["weights"], softmax(part[0]))
        for axis in (0, 1):
            close([pair[axis] for pair in mixture["mean"]],
                  [units[0][axis] + units[1][axis] * x for x in part[1 + axis]])
            close([pair[axis] for pair in mixture["std"]], [units[1][axis] * math.exp(x) for x in part[3 + axis]])
        close(mixture["correlation"], [math.tanh(x) for x in part[5]])


def test_models_say_what_their_heads_are(daemon):
    models = {m["name"]: m for m in daemon.get("/models").json["models"]}
    assert models["sketch"]["output"] == {"head": True, "activation": "mixture", "size": 27, "hidden_width": 24,
                                          "values": 2, "components": 4, "pen": 3}
    assert models["weather"]["output"] == {"head": True, "activation": "gaussian", "size": 4, "hidden_width": 24,
                                           "values": 2}
    assert (models["sketch"]["task"], models["weather"]["task"]) == ("drawing", "regression")
    assert models["both-ways"]["task"] == "classification"  # it sees what comes next: no language model


# ---- return, by topology ----

CASES = [  # model, input, outputs, floats under the head
    ("tagger", "abc", 3, 24), ("sensor", [[1, 2, 3]] * 2, 2, 24), ("sketch", POINTS, 3, 24), ("hello", "hell", 1, 3),
    ("both-ways", [1, 2, 3, 4], 4, 32), ("both-flags", [[1, 2, 3, 4, 5]] * 3, 3, 20), ("both-ends", [1, 2, 3], 1, 18),
    ("translator", "abc", 1, 10), ("captioner", [[1, 2, 3, 4, 5, 6]], 1, 10),
]


@pytest.mark.parametrize("model,sequence,n,width", CASES, ids=[c[0] for c in CASES])
def test_return_stands_in_each_output(daemon, model, sequence, n, width):
    info = daemon.get(f"/models/{model}").json["output"]
    outputs = predict(daemon, model, sequence, **{"return": RETURN})
    assert len(outputs) == n and info["hidden_width"] == width
    for output in outputs:
        assert [len(output[k]) for k in RETURN] == [info["size"], info["size"], width]
        if info["activation"] == "softmax":
            close(output["probabilities"], softmax(output["logits"]))
        if info["activation"] == "sigmoid":
            close(output["probabilities"], [1 / (1 + math.exp(-x)) for x in output["logits"]])
    for name in RETURN:  # one alone is what it is beside the others
        alone = predict(daemon, model, sequence, **{"return": [name]})
        assert [o[name] for o in alone] == [o[name] for o in outputs]
        assert all(set(RETURN) & set(o) == {name} for o in alone)


def test_hidden_of_the_last_step_is_that_of_all_steps(daemon):
    for model, sequence in [("both-ways", [5, 1, 16]), ("tagger", "abc"), ("both-flags", [[1, 0, 2, 0, 3]] * 4)]:
        every = predict(daemon, model, sequence, steps="all", **{"return": RETURN})
        assert predict(daemon, model, sequence, steps="last", **{"return": RETURN}) == every[-1:]


# ---- labels ----

def test_independent_labels_are_all_listed_at_each_step(daemon):
    outputs = predict(daemon, "both-flags", [[1, 2, 3, 4, 5]] * 3, **{"return": ["probabilities"]})
    for output in outputs:
        assert sorted(e["id"] for e in output["top"]) == [0, 1, 2, 3]
        for entry in output["top"]:
            assert entry["probability"] == output["probabilities"][entry["id"]]
            assert math.isclose(entry["logprob"], math.log(entry["probability"]), rel_tol=1e-4, abs_tol=1e-6)


def test_both_ends_are_looked_at(daemon):
    """A many-to-one model of two directions answers once, and the order of its input counts at both ends."""
    answers = [predict(daemon, "both-ends", ids)[0]["top"] for ids in ([1, 2, 3, 4], [13, 2, 3, 4], [1, 2, 3, 13])]
    assert all(answers[i] != answers[j] for i, j in [(0, 1), (0, 2), (1, 2)])
    error = expect(daemon.post("/predict", {"model": "both-ends", "input": [1], "steps": "all"}), 422)["error"]
    assert error["param"] == "steps"


def test_what_looks_back_holds_no_session(daemon):
    for model in ("both-ways", "both-flags", "both-ends"):
        error = expect(daemon.post("/sessions", {"model": model}), 422, "not_possible", "model")["error"]
        assert "both directions" in error["message"]


# ---- the same numbers in other words ----

@pytest.mark.parametrize("model,frames", [("sensor", [[0.1, -2.5, 1e-3], [7, 0, 3.25]]), ("sketch", POINTS),
                                          ("both-flags", [[1, 2, 3, 4, 5.5]] * 2)])
def test_base64_frames_are_the_same_frames(daemon, model, frames):
    packed = folders.base64_floats([x for frame in frames for x in frame])
    fields = {"model": model, "steps": "all", "return": RETURN}
    want = daemon.post("/predict", {**fields, "input": frames})
    assert want.status == 200
    assert daemon.post("/predict", {**fields, "input": {"f32": packed}}).exact == want.exact
    batch = daemon.ok("/predict", {**fields, "inputs": [frames, {"f32": packed}]})
    assert batch["results"][0] == batch["results"][1]


@pytest.mark.parametrize("value,status,words", [
    ({"f32": folders.base64_floats([1, 2])}, 422, "whole frames of 3"),
    ({"f32": folders.base64_floats([1, 2, math.inf])}, 400, "number 2 is not finite"),
    ({"f32": folders.base64_floats([1, math.nan, 2])}, 400, "number 1 is not finite"),
    ({"f32": "AAAA*A=="}, 400, "base64"), ({"f32": "AAAA"}, 400, "base64 of little-endian"),
    ({"f32": 3}, 400, "one member"), ({"f32": "", "f64": ""}, 400, "one member"), ({}, 400, "one member"),
])
def test_base64_frames_that_are_none(daemon, value, status, words):
    error = expect(daemon.post("/predict", {"model": "sensor", "input": value}), status, param="input")["error"]
    assert words in error["message"]


@pytest.mark.parametrize("model,good,bad", [("sensor", [1, 2, 3], [1, 2]), ("sketch", POINTS[0], [1, 2, 3]),
                                            ("both-flags", [1, 2, 3, 4, 5], [])])
def test_a_frame_of_another_width_is_named(daemon, model, good, bad):
    frames = [good, good, good, bad, good]
    answer = daemon.post("/predict", {"model": model, "input": frames})
    error = expect(answer, 422, "frame_width", "input[3]")["error"]
    assert f"want a frame of {len(good)} numbers, found {len(bad)}" in error["message"]
    answer = daemon.post("/predict", {"model": model, "inputs": [[good], frames]})
    expect(answer, 422, "frame_width", "inputs[1][3]")


def test_an_unknown_field_is_named(daemon):
    for path in ("/predict", "/generate", "/score"):
        expect(daemon.post(path, {"model": "hello", "input": "he", "tempo": 1}), 400, "malformed", "tempo")


# ---- forecasting as the numbers come ----

@pytest.mark.parametrize("model", ["sensor", "weather", "pendulum", "sketch", "flags"])
def test_frame_by_frame_is_the_whole_at_once(daemon, model):
    width = daemon.get(f"/models/{model}").json["input"]["size"]
    frames = [[math.sin(i * (k + 1)) for k in range(width)] for i in range(12)]
    whole = predict(daemon, model, frames, steps="all", **{"return": RETURN})
    session = daemon.session(model)
    for i, (frame, want) in enumerate(zip(frames, whole)):
        answer = daemon.ok("/predict", {"session": session, "input": [frame], "expect_position": i, "return": RETURN})
        (got,) = answer["outputs"]
        assert got["step"] == 0 and answer["session"]["position"] == i + 1
        del got["step"], want["step"]
        assert got == want
