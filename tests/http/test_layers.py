"""What a client may see inside: hidden states, cell states and gates of every layer, at every step.

What is shown must be what happened: the states are those of the session, and the gates make each state out of
the one before it by the cell's own equations.
"""
import math

import pytest

from client import expect

LSTM, GRU, RNN = "kjv", "ids", "hello"
TEXT = "In the beginning"


def look(daemon, model, text, **more):
    answer = daemon.ok("/predict", {"model": model, "input": text, "steps": "all", "top_k": 0,
                                    "return": ["hidden", "cell", "gates"], **more})
    return answer["outputs"]


def close(got, want):
    assert len(got) == len(want)
    for g, w in zip(got, want):
        assert abs(g - w) <= 2e-6 * (1 + abs(w)), (g, w)


def test_gates_of_an_lstm_make_its_states(daemon):
    before = None
    for output in look(daemon, LSTM, TEXT):
        assert len(output["layers"]) == 2
        for i, layer in enumerate(output["layers"]):
            assert list(layer["gates"]) == ["input", "forget", "candidate", "output"]
            i_, f, g, o = layer["gates"].values()
            c0 = before[i]["cell"] if before else [0] * len(f)
            close(layer["cell"], [f * c + i * g for f, c, i, g in zip(f, c0, i_, g)])
            close(layer["hidden"], [o * math.tanh(c) for o, c in zip(o, layer["cell"])])
        assert output["layers"][-1]["hidden"] == output["hidden"]
        before = output["layers"]


def test_gates_of_a_gru_make_its_states(daemon):
    before = None
    for output in look(daemon, GRU, [1, 5, 2, 2, 7]):
        for i, layer in enumerate(output["layers"]):
            assert list(layer["gates"]) == ["reset", "update", "candidate"] and "cell" not in layer
            z, n = layer["gates"]["update"], layer["gates"]["candidate"]
            h0 = before[i]["hidden"] if before else [0] * len(z)
            close(layer["hidden"], [(1 - z) * n + z * h for z, n, h in zip(z, n, h0)])
        before = output["layers"]


def test_a_plain_cell_has_states_and_no_gates(daemon):
    for output in look(daemon, RNN, "hell"):
        layer, = output["layers"]
        assert layer == {"hidden": output["hidden"], "gates": {}}


@pytest.mark.parametrize("model,text", [(LSTM, TEXT), (GRU, [1, 5, 2, 2, 7]), (RNN, "hell")])
def test_looking_changes_nothing(daemon, model, text):
    plain = daemon.ok("/predict", {"model": model, "input": text, "steps": "all", "return": ["logits"]})["outputs"]
    seen = look(daemon, model, text, **{"return": ["logits", "cell", "gates"]})
    assert [o["logits"] for o in seen] == [o["logits"] for o in plain]


def test_only_what_was_asked_for_is_shown(daemon):
    for words, members in ((["cell"], {"hidden", "cell"}), (["gates"], {"hidden", "gates"}),
                           (["cell", "gates"], {"hidden", "cell", "gates"})):
        output = look(daemon, LSTM, "ab", **{"return": words})[0]
        assert all(set(layer) == members for layer in output["layers"]) and "hidden" not in output
    assert "layers" not in look(daemon, LSTM, "ab", **{"return": ["hidden"]})[0]


def test_a_session_and_a_batch_show_the_same(daemon):
    want = look(daemon, LSTM, TEXT)
    session = daemon.session(LSTM)
    got = [look(daemon, LSTM, c, session=session)[0]["layers"] for c in TEXT]
    assert got == [o["layers"] for o in want]
    batch = daemon.ok("/predict", {"model": LSTM, "inputs": [TEXT, "x", TEXT], "steps": "all", "top_k": 0,
                                   "return": ["cell", "gates"]})["results"]
    for i in (0, 2):
        assert [o["layers"] for o in batch[i]["outputs"]] == got


def test_a_stream_shows_each_step(daemon):
    body = {"model": LSTM, "input": "And ", "max_tokens": 12, "seed": 3, "return": ["hidden", "cell", "gates"]}
    with daemon.stream("/generate", {**body, "stream": True}) as stream:
        events = [e.data for e in stream if e.name == "token"]
    text = "And " + "".join(e["text"] for e in events)
    want = look(daemon, LSTM, text)[3:15]
    assert [e["layers"] for e in events] == [o["layers"] for o in want]
    assert [e["hidden"] for e in events] == [o["hidden"] for o in want]


def test_a_prediction_without_input_shows_the_state_as_it_stands(daemon):
    session = daemon.session(LSTM)
    last = look(daemon, LSTM, TEXT, session=session)[-1]
    now = daemon.ok("/predict", {"session": session, "return": ["cell", "gates"]})["outputs"][0]
    assert all("gates" not in layer for layer in now["layers"])  # there was no step
    assert [(x["hidden"], x["cell"]) for x in now["layers"]] == [(x["hidden"], x["cell"]) for x in last["layers"]]


def test_what_would_be_too_big_is_refused_before_it_is_computed(start):
    daemon = start(workers=1, args=["--answer-max-bytes", "65536"])
    answer = daemon.post("/predict", {"model": LSTM, "input": TEXT, "steps": "all", "return": ["gates"]})
    expect(answer, 413, "too_large")
    assert daemon.metric("rnnd_steps_total") == 0


def test_where_there_is_nothing_to_look_into(daemon):
    expect(daemon.post("/generate", {"model": LSTM, "input": "a", "return": ["cell"]}), 400, "malformed", "return")
    expect(daemon.post("/predict", {"model": LSTM, "input": "a", "return": ["gate"]}), 400, "malformed", "return[0]")


def test_the_session_in_numbers(daemon):
    session = daemon.session(LSTM)
    assert all(layer["hidden"] == {"norm": 0, "saturated": 0} for layer in
               expect(daemon.get(f"/sessions/{session}"), 200)["layers"])
    last = look(daemon, LSTM, TEXT, session=session)[-1]["layers"]
    shown = expect(daemon.get(f"/sessions/{session}"), 200)["layers"]
    for layer, numbers in zip(last, shown):
        close([numbers["hidden"]["norm"], numbers["cell"]["norm"], numbers["cell"]["largest"]],
              [math.hypot(*layer["hidden"]), math.hypot(*layer["cell"]), max(map(abs, layer["cell"]))])
        share = sum(abs(h) > 0.95 for h in layer["hidden"]) / len(layer["hidden"])
        close([numbers["hidden"]["saturated"]], [share])
