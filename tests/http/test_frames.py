"""POST /generate, of models that write frames: drawings off a mixture, numbers off a Gaussian, roll-outs."""
import math

import pytest

from client import expect, wait_until

SKETCH = {"model": "sketch", "input": [[0, 0, 1, 0, 0]], "max_frames": 60, "seed": 5}
HANDWRITING = {"model": "handwriting", "input": [[0, 0, 0], [1, 1, 0]], "max_frames": 25, "seed": 6}
WEATHER = {"model": "weather", "input": [[10, 1000], [11, 990]], "max_frames": 25, "seed": 7}
PENDULUM = {"model": "pendulum", "input": [[0.5, -0.5]], "max_frames": 25, "seed": 8}
WINDOW = {"model": "window", "input": [[0.5, -0.5], [0.25, 1]], "max_frames": 25, "seed": 9}
ALL = [SKETCH, HANDWRITING, WEATHER, PENDULUM, WINDOW]
DRAWN = [SKETCH, HANDWRITING, WEATHER]


def every(requests):
    return pytest.mark.parametrize("request_", requests, ids=[r["model"] for r in requests])


def generate(daemon, request, **fields):
    """The only choice."""
    choice, = daemon.ok("/generate", {**request, **fields})["choices"]
    return choice


def drawn(daemon, request, **fields):
    return generate(daemon, request, **fields)["frames"]


def streamed(daemon, request, **fields):
    """({(input, index): frames}, done)"""
    frames, done = {}, None
    with daemon.stream("/generate", {**request, **fields}) as stream:
        assert stream.open() == 200
        for event in stream:
            assert done is None
            if event.name == "frame":
                data = event.data
                frames.setdefault((data.get("input"), data["index"]), []).append(data["frame"])
                assert set(data) - {"input"} == {"index", "frame"}
            else:
                assert event.name == "done", event
                done = event.data
    return frames, done


def ending(daemon, request, finish):
    """A seed whose drawing ends so."""
    return next(s for s in range(500) if generate(daemon, request, seed=s)["finish_reason"] == finish)


# ---- form ----

@every(ALL)
def test_form(daemon, request_):
    answer = daemon.ok("/generate", request_)
    choice, = answer["choices"]
    width = len(request_["input"][0])
    assert set(choice) == {"index", "frames", "finish_reason"} and choice["index"] == 0
    assert answer["seed"] == request_["seed"]
    assert answer["usage"] == {"input_steps": len(request_["input"]), "output_steps": len(choice["frames"])}
    assert 1 <= len(choice["frames"]) <= request_["max_frames"]
    assert all(len(f) == width and all(math.isfinite(x) for x in f) for f in choice["frames"])
    assert choice["finish_reason"] == ("length" if len(choice["frames"]) == request_["max_frames"] else "stop")


def test_a_sketch_ends_with_its_pen(daemon):
    lengths = set()
    for seed in range(40):
        choice = generate(daemon, SKETCH, seed=seed)
        pens = [f[2:] for f in choice["frames"]]
        assert all(sorted(pen) == [0, 0, 1] for pen in pens)
        ends = [pen == [0, 0, 1] for pen in pens]
        assert ends == [False] * (len(ends) - 1) + [choice["finish_reason"] == "stop"]
        lengths.add(len(ends))
    assert len(lengths) > 3


def test_one_pen_lifts_and_goes_on(daemon):
    frames = drawn(daemon, HANDWRITING, max_frames=200)
    assert len(frames) == 200 and {f[2] for f in frames} == {0, 1}


@every(ALL)
def test_max_frames(daemon, request_):
    seed = ending(daemon, {**request_, "max_frames": 3}, "length")
    frames = drawn(daemon, request_, seed=seed, max_frames=3)
    for n in (1, 2):
        choice = generate(daemon, request_, seed=seed, max_frames=n)
        assert choice["frames"] == frames[:n] and choice["finish_reason"] == "length"
    by_its_other_name = {k: v for k, v in request_.items() if k != "max_frames"}
    assert drawn(daemon, by_its_other_name, seed=seed, max_tokens=2) == frames[:2]
    assert drawn(daemon, request_, max_frames=0) == []
    assert len(drawn(daemon, {**PENDULUM, "max_frames": None})) == 256


# ---- what is drawn ----

@every(ALL)
def test_temperature_zero_is_the_mean_fed_back(daemon, request_):
    """Frame for frame what a client would do that asks /predict and feeds the answer itself."""
    session = daemon.session(request_["model"])
    output = daemon.ok("/predict", {"session": session, "input": request_["input"], "steps": "last"})["outputs"][0]
    fed = list(request_["input"])
    for frame in drawn(daemon, request_, temperature=0, max_frames=12):
        if "mixture" in output:
            mixture, pen = output["mixture"], output["pen"]
            best = max(range(len(mixture["weights"])), key=lambda k: mixture["weights"][k])
            one = [float(p == max(pen)) for p in pen] if len(pen) == 3 else [float(pen[0] > 0.5)]
            want = [*mixture["mean"][best], *one]
        else:
            want = output["values"]
        assert frame == want
        fed.append(frame)
        output = daemon.ok("/predict", {"session": session, "input": [frame]})["outputs"][0]
        whole = daemon.ok("/predict", {"model": request_["model"], "input": fed, "steps": "last"})["outputs"][0]
        assert {k: v for k, v in whole.items() if k != "step"} == {k: v for k, v in output.items() if k != "step"}


def test_a_seed_changes_nothing_where_nothing_is_drawn(daemon):
    for request in ALL:
        assert drawn(daemon, request, temperature=0, seed=1) == drawn(daemon, request, temperature=0, seed=2)
    assert drawn(daemon, PENDULUM) == drawn(daemon, PENDULUM, temperature=0, seed=99)


def test_a_gaussian_is_drawn_as_wide_as_it_says(daemon):
    request = {**WEATHER, "max_frames": 1, "n": 32}
    output = daemon.ok("/predict", {"model": "weather", "input": WEATHER["input"], "steps": "last"})["outputs"][0]
    for temperature in (1, 0.25):
        draws = [c["frames"][0] for seed in range(40)
                 for c in daemon.ok("/generate", {**request, "seed": seed, "temperature": temperature})["choices"]]
        for i, (mean, std) in enumerate(zip(output["values"], output["std"])):
            std *= math.sqrt(temperature)
            z = [(d[i] - mean) / std for d in draws]
            m = sum(z) / len(z)
            assert abs(m) < 5 / math.sqrt(len(z))
            assert abs(sum((x - m) ** 2 for x in z) / len(z) - 1) < 5 * math.sqrt(2 / len(z))


def test_a_pen_is_drawn_as_often_as_it_says(daemon):
    pen = daemon.ok("/predict", {"model": "sketch", "input": SKETCH["input"]})["outputs"][0]["pen"]
    draws = [c["frames"][0][2:] for seed in range(40)
             for c in daemon.ok("/generate", {**SKETCH, "seed": seed, "max_frames": 1, "n": 32})["choices"]]
    for state, p in enumerate(pen):
        share = sum(d[state] for d in draws) / len(draws)
        assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / len(draws))


@every(DRAWN)
def test_seeds(daemon, request_):
    first = daemon.ok("/generate", {**request_, "seed": None})
    again = daemon.ok("/generate", {**request_, "seed": first["seed"]})
    assert again["choices"] == first["choices"]
    assert len({str(drawn(daemon, request_, seed=s)) for s in range(6)}) == 6


@every(DRAWN)
def test_n_drawings_of_one_input(daemon, request_):
    answer = daemon.ok("/generate", {**request_, "n": 5})
    assert [c["index"] for c in answer["choices"]] == list(range(5))
    assert len({str(c["frames"]) for c in answer["choices"]}) == 5
    assert answer["choices"][0]["frames"] == drawn(daemon, request_)
    assert daemon.ok("/generate", {**request_, "n": 3})["choices"] == answer["choices"][:3]
    assert answer["usage"]["output_steps"] == sum(len(c["frames"]) for c in answer["choices"])


@every(ALL)
def test_a_batch_is_one_by_one(daemon, request_):
    inputs = [request_["input"], request_["input"] * 3, request_["input"][:1] * 2]
    answer = daemon.ok("/generate", {**request_, "input": None, "inputs": inputs})
    for sequence, result in zip(inputs, answer["results"], strict=True):
        assert result["choices"] == daemon.ok("/generate", {**request_, "input": sequence})["choices"]
        assert result["usage"]["input_steps"] == len(sequence)


# ---- streams ----

@every(ALL)
def test_streamed_is_unstreamed(daemon, request_):
    whole = daemon.ok("/generate", request_)
    frames, done = streamed(daemon, request_)
    assert frames == {(None, 0): whole["choices"][0].pop("frames")}
    assert done["choices"] == whole["choices"] and done["usage"] == whole["usage"] and done["seed"] == whole["seed"]


def test_streamed_batch_of_several(daemon):
    request = {**SKETCH, "input": None, "inputs": [SKETCH["input"], SKETCH["input"] * 2], "n": 3}
    whole = daemon.ok("/generate", request)
    frames, _ = streamed(daemon, request)
    assert frames == {(i, c["index"]): c["frames"] for i, r in enumerate(whole["results"]) for c in r["choices"]}


# ---- sessions ----

@every(ALL)
def test_a_session_goes_on_as_the_whole(daemon, request_):
    seed = ending(daemon, {**request_, "max_frames": 8}, "length")
    whole = drawn(daemon, request_, seed=seed, max_frames=8)
    session = daemon.session(request_["model"])
    go_on = {"session": session, "model": request_["model"]}
    n = len(request_["input"])
    first = daemon.ok("/generate", {**go_on, "input": request_["input"], "seed": seed, "max_frames": 3})
    assert first["choices"][0]["frames"] == whole[:3]
    assert first["session"]["position"] == n + 3  # it stands behind the last frame
    peek = daemon.ok("/generate", {**go_on, "max_frames": 2, "commit": False})
    assert peek["choices"][0]["frames"] == whole[3:5] and peek["session"]["position"] == n + 3
    frames, done = streamed(daemon, go_on, max_frames=5)
    assert frames[None, 0] == whole[3:]
    assert done["session"]["position"] == n + 8
    after = daemon.ok("/predict", {**go_on, "input": [], "return": ["logits"]})["outputs"][0]["logits"]
    fed = daemon.ok("/predict", {"model": request_["model"], "input": request_["input"] + whole, "steps": "last",
                                 "return": ["logits"]})["outputs"][0]["logits"]
    assert after == fed


@every(DRAWN)
def test_a_state_that_is_returned_goes_on_as_the_whole(daemon, request_):
    seed = ending(daemon, {**request_, "max_frames": 8}, "length")
    whole = drawn(daemon, request_, seed=seed, max_frames=8)
    first = daemon.ok("/generate", {**request_, "seed": seed, "max_frames": 3, "return_state": True})
    assert first["choices"][0]["frames"] == whole[:3]
    assert drawn(daemon, {"model": request_["model"], "state": first["state"]}, max_frames=5) == whole[3:]


def test_a_session_stands_behind_the_end_of_a_sketch(daemon):
    seed = ending(daemon, SKETCH, "stop")
    session = daemon.session("sketch")
    answer = daemon.ok("/generate", {**SKETCH, "session": session, "seed": seed})
    assert answer["session"]["position"] == 1 + len(answer["choices"][0]["frames"])


# ---- refusals ----

OF_TOKENS = {"top_k": 3, "top_p": 0.5, "min_p": 0.1, "typical_p": 0.5, "repetition_penalty": 1.1,
             "presence_penalty": 1, "frequency_penalty": 1, "logit_bias": {"1": 2}, "stop": "x", "logprobs": 1,
             "echo": True, "best_of": 2, "beam_width": 2}


@every(ALL)
@pytest.mark.parametrize("field", OF_TOKENS)
def test_what_only_tokens_know_is_refused_by_name(daemon, request_, field):
    request = {"model": request_["model"], "input": request_["input"], field: OF_TOKENS[field]}
    error = expect(daemon.post("/generate", request), 422, "not_possible", field)["error"]
    assert "frames, not tokens" in error["message"]


@pytest.mark.parametrize("request_,status,param,code", [
    ({**PENDULUM, "temperature": 0.5}, 422, "temperature", "not_possible"),
    ({"model": "sensor", "input": [[1, 2, 3]]}, 422, "model", "not_possible"),  # three numbers in, two out
    ({"model": "doubtful", "input": [[1, 2]]}, 422, "model", "not_possible"),
    ({"model": "flags", "input": [[1, 2]]}, 422, "model", "not_possible"),
    ({"model": "both-ways", "input": [1, 2]}, 422, "model", "not_possible"),
    ({**SKETCH, "input": [[0, 0, 1]]}, 422, "input[0]", "frame_width"),
    ({**SKETCH, "input": "abc"}, 422, "input", "not_possible"),
    ({**SKETCH, "input": [1, 2]}, 422, "input", "not_possible"),
    ({**SKETCH, "input": []}, 400, "input", "malformed"),
    ({**SKETCH, "max_tokens": 3}, 400, "max_frames", "malformed"),
    ({**SKETCH, "max_frames": -1}, 400, "max_frames", "out_of_range"),
    ({**SKETCH, "max_frames": 10 ** 9}, 400, "max_frames", "out_of_range"),
    ({"model": "kjv", "input": "A", "max_frames": 3}, 422, "max_frames", "not_possible"),
    ({"model": "kjv", "input": "A", "max_frames": 3, "beam_width": 2}, 400, "max_frames", "malformed"),
    ({"model": "sketch", "input": [[0, 0, 1, 0, 0]], "target": "x"}, 400, "target", "malformed"),
])
def test_refusals(daemon, request_, status, param, code):
    expect(daemon.post("/generate", request_), status, code, param)


def test_an_answer_over_the_limit_is_refused_unless_it_streams(start):
    daemon = start(args=["--answer-max-bytes", "65536"])
    request = {**PENDULUM, "max_frames": 3000}
    expect(daemon.post("/generate", request), 413, "too_large", "max_frames")
    frames, done = streamed(daemon, request)
    assert len(frames[None, 0]) == 3000 and done["choices"][0]["finish_reason"] == "length"


def test_leaving_ends_a_drawing(start):
    """The session then stands after a frame that was drawn, and goes on from there by its seed."""
    daemon = start(args=["--stream-buffer-bytes", "4096"])
    session = daemon.session("handwriting")
    stream = daemon.stream("/generate", {**HANDWRITING, "session": session, "max_frames": 60000})
    events = iter(stream)
    got = [next(events).data["frame"] for _ in range(5)]
    stream.reset()
    wait_until(lambda: not daemon.get(f"/sessions/{session}").json["busy"], "the session is free")
    position = daemon.position(session)
    assert 2 + 5 <= position < 2 + 60000
    n = position - 2
    whole = drawn(daemon, HANDWRITING, max_frames=n + 3)
    assert whole[:5] == got
    assert drawn(daemon, {"session": session}, max_frames=3) == whole[n:]


# ---- score ----

def density(output, frame):
    """(log density of offset and pen or of all values, log probability of the pen), by /predict's parameters."""
    if "mixture" not in output:
        return sum(-0.5 * ((x - m) / s) ** 2 - math.log(s) - 0.5 * math.log(2 * math.pi)
                   for x, m, s in zip(frame, output["values"], output["std"])), None
    m, total = output["mixture"], 0.0
    for weight, mean, std, r in zip(m["weights"], m["mean"], m["std"], m["correlation"]):
        zx, zy = ((frame[i] - mean[i]) / std[i] for i in (0, 1))
        total += weight * math.exp(-(zx * zx - 2 * r * zx * zy + zy * zy) / (2 * (1 - r * r))) / (
            2 * math.pi * std[0] * std[1] * math.sqrt(1 - r * r))
    p = output["pen"]
    pen = math.log(sum(a * b for a, b in zip(p, frame[2:])) if len(p) == 3 else p[0] if frame[2] else 1 - p[0])
    return math.log(total) + pen, pen


@every(DRAWN)
def test_score_is_the_density_that_predict_tells(daemon, request_):
    frames = drawn(daemon, request_, max_frames=8)
    answer = daemon.ok("/score", {"model": request_["model"], "input": frames})
    outputs = daemon.ok("/predict", {"model": request_["model"], "input": frames, "steps": "all"})["outputs"]
    assert len(answer["frames"]) == len(frames) and answer["scored"] == len(frames) - 1
    assert all(v is None for v in answer["frames"][0].values())
    for score, output, frame in zip(answer["frames"][1:], outputs, frames[1:]):
        both, pen = density(output, frame)
        assert math.isclose(score["logprob"], both, rel_tol=1e-4, abs_tol=1e-4)
        assert pen is None and "pen_logprob" not in score or math.isclose(score["pen_logprob"], pen, rel_tol=1e-4)
    assert math.isclose(answer["nats"], -sum(s["logprob"] for s in answer["frames"][1:]), rel_tol=1e-6)
    assert math.isclose(answer["nats_per_frame"] * answer["scored"], answer["nats"], rel_tol=1e-6)
    assert "tokens" not in answer and "perplexity" not in answer


@every(DRAWN)
def test_scored_in_pieces(daemon, request_):
    frames = request_["input"] + drawn(daemon, {**request_, "seed": ending(daemon, {**request_, "max_frames": 6},
                                                                          "length")}, max_frames=6)
    whole = daemon.ok("/score", {"model": request_["model"], "input": frames})
    session, pieces = daemon.session(request_["model"]), []
    for begin, end in ((0, 1), (1, 4), (4, len(frames))):
        pieces += daemon.ok("/score", {"session": session, "input": frames[begin:end]})["frames"]
    assert pieces == whole["frames"]
    batch = daemon.ok("/score", {"model": request_["model"], "inputs": [frames, frames[:3]]})["results"]
    assert batch[0]["frames"] == whole["frames"] and batch[1]["frames"] == whole["frames"][:3]


def test_what_has_no_density_is_not_scored(daemon):
    for request in (PENDULUM, WINDOW, {"model": "doubtful", "input": [[1, 2]]}):
        expect(daemon.post("/score", {"model": request["model"], "input": request["input"]}), 422, "not_possible",
               "model")
    expect(daemon.post("/score", {**{k: SKETCH[k] for k in ("model", "input")}, "target": "x"}), 422, "not_possible",
           "target")
