"""The shipped models of frames, through the daemon: the quality of their cards, measured again.

Each answers its own test file, and what comes of it is compared with metrics.json, which the training script wrote from float64.
Each is also fed frame by frame through a session, which gives the same answers to the byte; those that write frames roll out what
comes next.
"""
import csv
import json
import math
import os
import subprocess
import sys
import xml.etree.ElementTree

import pytest

from client import SHIPPED, Daemon


@pytest.fixture(scope="module")
def shipped():
    with Daemon(SHIPPED) as daemon:
        yield daemon


def quality(name):
    with open(os.path.join(SHIPPED, name, "metrics.json"), encoding="utf-8") as f:
        return json.load(f)["quality"]


def lines_of(name):
    with open(os.path.join(SHIPPED, name, "test.jsonl"), encoding="utf-8") as f:
        return [row for row in map(json.loads, f) if "frames" in row]


def check_streamed(daemon, model, frames, **more):
    """Frame by frame through a session = all at once, to the byte"""
    whole = daemon.post("/predict", {"model": model, "input": frames, "steps": "all", **more}).exact["outputs"]
    assert len(whole) == len(frames)
    session, connection = daemon.session(model), daemon.connect()
    for position, (frame, want) in enumerate(zip(frames, whole)):
        answer = daemon.post("/predict", {"session": session, "input": [frame], "expect_position": position, **more}, connection=connection)
        assert answer.status == 200, answer
        (got,) = answer.exact["outputs"]
        assert {**got, "step": None} == {**want, "step": None}
    connection.close()
    assert daemon.position(session) == len(frames)
    daemon.delete(f"/sessions/{session}")


# ---- recogniser ----

EXAMPLE = "HH AH L OW D V W ER L D".split()  # "hello world", and a V too many


def spoken(labels):
    """Repeats joined, silence left out"""
    return [b for a, b in zip([None] + labels, labels) if a != b and b != "sil"]


def edits(heard, said):
    row = list(range(len(said) + 1))
    for i, one in enumerate(heard, 1):
        above, row = row, [i]
        for j, other in enumerate(said):
            row.append(min(above[j + 1] + 1, row[j] + 1, above[j] + (one != other)))
    return row[-1]


def test_recogniser_hears_as_well_as_its_card_says(shipped):
    rows, want = lines_of("recogniser"), quality("recogniser")["testfile"]
    names = shipped.get("/models/recogniser").json["labels"]
    answer = shipped.ok("/predict", {"model": "recogniser", "inputs": [row["frames"] for row in rows], "steps": "all", "top_k": 1})
    frames = right = phonemes = wrong = 0
    for row, result in zip(rows, answer["results"], strict=True):
        heard = [output["top"][0]["label"] for output in result["outputs"]]
        said = [names[label] for label in row["labels"]]
        frames += len(said)
        right += sum(a == b for a, b in zip(heard, said, strict=True))
        wrong += edits(spoken(heard), spoken(said))
        phonemes += len(spoken(said))
        assert row["phonemes"] == spoken(said)
    assert (frames, phonemes) == (want["frames"], want["phonemes"])
    assert right / frames == pytest.approx(want["frame_accuracy"], abs=1.5 / frames)  # a near-tie may fall the other way
    assert wrong / phonemes == pytest.approx(want["phoneme_error"], abs=1.5 / phonemes)


def test_recogniser_streamed(shipped):
    check_streamed(shipped, "recogniser", lines_of("recogniser")[0]["frames"], top_k=3)


def test_recogniser_hears_its_example(shipped):
    with open(os.path.join(SHIPPED, "recogniser", "example.json"), encoding="utf-8") as f:
        example = json.load(f)
    outputs = shipped.ok("/predict", example)["outputs"]
    assert len(outputs) == len(example["input"])
    assert spoken([output["top"][0]["label"] for output in outputs]) == EXAMPLE


# ---- forecaster ----

WEEK, DAY = 336, 48


@pytest.fixture(scope="module")
def demand():
    with open(os.path.join(SHIPPED, "forecaster", "test.csv"), newline="", encoding="utf-8") as f:
        return [float(row["demand"]) for row in csv.DictReader(f)]


def rms(values):
    return math.sqrt(sum(v * v for v in values) / len(values))


def test_forecaster_is_as_good_and_as_sure_as_its_card_says(shipped, demand):
    want = quality("forecaster")["half_hour"]
    outputs = shipped.ok("/predict", {"model": "forecaster", "input": [[d] for d in demand[:-1]], "steps": "all"})["outputs"][WEEK - 1:]
    truth = demand[WEEK:]
    off = [output["values"][0] - d for output, d in zip(outputs, truth, strict=True)]
    assert len(truth) == want["forecasts"]
    assert rms(off) == pytest.approx(want["model"]["rmse"], rel=1e-4)
    for k, share in want["inside"].items():
        inside = sum(abs(o) <= int(k) * output["std"][0] for o, output in zip(off, outputs))
        assert inside / len(off) == pytest.approx(share, abs=1.5 / len(off))
    assert rms(off) < min(want[other]["rmse"] for other in ("persistence", "a_week_before"))


def test_forecaster_rolls_a_day_out_as_well_as_its_card_says(shipped, demand):
    want = quality("forecaster")["day"]
    midnights = range(WEEK, len(demand), DAY)
    answer = shipped.ok("/generate", {"model": "forecaster", "inputs": [[[d] for d in demand[:at]] for at in midnights],
                                      "max_frames": DAY, "temperature": 0})
    off = [frame[0] - demand[at + i] for at, result in zip(midnights, answer["results"], strict=True)
           for i, frame in enumerate(result["choices"][0]["frames"])]
    assert len(off) == want["forecasts"]
    assert rms(off) == pytest.approx(want["model"]["rmse"], rel=1e-3)


def test_forecaster_streamed(shipped, demand):
    check_streamed(shipped, "forecaster", [[d] for d in demand[:100]])


# ---- drawing ----

FIRST = [0, 0, 0, 0, 1]


def nats(mixture, pen, point):
    """-log density of a point's offset under a mixture of bivariate Gaussians, and -log probability of its pen"""
    density = 0
    for weight, mean, std, rho in zip(mixture["weights"], mixture["mean"], mixture["std"], mixture["correlation"], strict=True):
        x, y = ((point[i] - mean[i]) / std[i] for i in range(2))
        rest = 1 - rho * rho
        density += weight * math.exp(-(x * x + y * y - 2 * rho * x * y) / (2 * rest)) / (2 * math.pi * std[0] * std[1] * math.sqrt(rest))
    return -math.log(density), -math.log(pen[point[2:].index(1)])


def test_drawing_knows_strokes_as_well_as_its_card_says(shipped):
    drawings, want = [row["frames"] for row in lines_of("drawing")], quality("drawing")["testfile"]
    answer = shipped.ok("/predict", {"model": "drawing", "inputs": [[FIRST, *points[:-1]] for points in drawings], "steps": "all"})
    scores = [nats(output["mixture"], output["pen"], point)
              for points, result in zip(drawings, answer["results"], strict=True)
              for point, output in zip(points, result["outputs"], strict=True)]
    assert len(scores) == want["points"]
    for part, name in enumerate(("of_offset", "of_pen")):
        assert sum(score[part] for score in scores) / len(scores) == pytest.approx(want[name], abs=1e-3)


def test_drawing_draws_and_draw_py_makes_a_picture_of_it(shipped):
    answer = shipped.post("/generate", {"model": "drawing", "input": [FIRST], "max_frames": 150, "seed": 1, "n": 8})
    choices = answer.json["choices"]
    assert len(choices) == 8
    for choice in choices:
        *before, last = choice["frames"]
        assert choice["finish_reason"] == "stop" and last[2:] == [0, 0, 1]
        assert before and all(frame[2:] in ([1, 0, 0], [0, 1, 0]) for frame in before)
    draw = subprocess.run([sys.executable, os.path.join(SHIPPED, "drawing", "draw.py")], input=answer.body, stdout=subprocess.PIPE, check=True)
    paths = list(xml.etree.ElementTree.fromstring(draw.stdout).iter("{http://www.w3.org/2000/svg}path"))
    assert len(paths) == 8
    for path, choice in zip(paths, choices):
        assert path.get("d").count("M") == sum(not frame[2] for frame in choice["frames"])  # a stroke for each time the pen lifts
        assert path.get("d").count("L") + path.get("d").count("M") == len(choice["frames"])


def test_drawing_streamed(shipped):
    check_streamed(shipped, "drawing", [FIRST, *lines_of("drawing")[0]["frames"]], **{"return": ["logits"]})
