"""A streamed text that broke off is taken up behind the last event that was seen, to the byte: Last-Event-ID."""
import pytest

import folders
from client import expect, wait_until

BODY = {"input": "And God said, ", "max_tokens": 300, "seed": 7}


@pytest.fixture(params=[1, 2], ids=["1worker", "2workers"])
def far(request, start):
    """A daemon whose sessions remember far back."""
    return start(workers=request.param, args=["--session-trail", "4096"])


def read(stream, n=None):
    """n token events (all: to the end): (text, id of the last, done or None)."""
    text, last, done = "", None, None
    assert stream.open() == 200
    for event in stream:
        if event.name == "done":
            done = event.data
            break
        assert event.name == "token", event
        text += event.data["text"]
        last = event.id or last
        n = None if n is None else n - 1
        if n == 0:
            break
    return text, last, done


def drop(daemon, session, body, n, last=None):
    """Reads n events and leaves; waits until the session is free.  (text, id)"""
    headers = [("Last-Event-ID", last)] if last else []
    with daemon.stream("/generate", {**body, "session": session}, headers=headers) as stream:
        text, id_, _ = read(stream, n)
    wait_until(lambda: not daemon.get(f"/sessions/{session}").json["busy"], "free")
    return text, id_


def rest(daemon, session, body, last):
    with daemon.stream("/generate", {**body, "session": session}, headers=[("Last-Event-ID", last)]) as stream:
        return read(stream)


def logits(daemon, session):
    return daemon.ok("/predict", {"session": session, "input": "", "return": ["logits"]})["outputs"][-1]["logits"]


BODIES = [BODY, {**BODY, "temperature": 0}, {**BODY, "seed": 1, "top_p": 0.9, "logit_bias": {"e": -2}},
          {**BODY, "seed": 2, "stop": ["the ", "zzz"]}, {**BODY, "seed": 3, "max_tokens": 5}]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@pytest.mark.parametrize("n", [1, 2, 4, 40])
def test_taken_up_behind_the_last_event_seen(far, body, n):
    whole, broken = far.session(), far.session()
    with far.stream("/generate", {**body, "session": whole}) as stream:
        want, _, done = read(stream)
    text, last = drop(far, broken, body, n)
    assert want.startswith(text) and last
    more, _, done_later = rest(far, broken, body, last)
    # behind an id nothing is held back: what came after it, once more, is what was lost
    drawn = int(last.split("-")[1])
    assert done_later["choices"][0]["tokens"] == done["choices"][0]["tokens"][drawn:]
    assert done_later["choices"][0]["finish_reason"] == done["choices"][0]["finish_reason"]
    assert done_later["seed"] == done["seed"]
    assert want.endswith(more)
    if "stop" not in body:
        assert text + more == want
    assert far.position(broken) == far.position(whole)
    assert logits(far, broken) == logits(far, whole)


def test_dropped_again_and_again(far):
    whole = far.ok("/generate", {"model": "kjv", **BODY})["choices"][0]["text"]
    session, text, last = far.session(), "", None
    while len(text) < 280:
        more, last = drop(far, session, BODY, 20, last)
        text += more
    more, _, done = rest(far, session, BODY, last)
    assert text + more == whole
    assert done["session"]["position"] == len(BODY["input"]) + 300


def test_every_event_of_a_text_can_be_the_last(far):
    session = far.session()
    with far.stream("/generate", {**BODY, "max_tokens": 30, "session": session}) as stream:
        events = [e for e in stream if e.name == "token"]
    text = "".join(e.data["text"] for e in events)
    for k in range(len(events) - 1, -1, -1):  # each time further back
        more, _, done = rest(far, session, {**BODY, "max_tokens": 30}, events[k].id)
        assert "".join(e.data["text"] for e in events[:k + 1]) + more == text
        assert done["usage"] == {"input_steps": 0, "output_steps": 29 - k}
        assert done["session"]["position"] == len(BODY["input"]) + 30


def test_words_go_on_behind_a_space(start, tmp_path):
    folders.make(str(tmp_path / "m" / "words"), tokens=["one", "two", ",", "\""], seed=5, hidden=8)
    vocab = (tmp_path / "m" / "words" / "vocab.json")
    vocab.write_text(vocab.read_text().replace('"char"', '"word"'))
    daemon = start(models=str(tmp_path / "m"), workers=1, args=["--session-trail", "64"])
    body = {"input": "", "max_tokens": 40, "seed": 3}
    session = daemon.session("words")
    with daemon.stream("/generate", {**body, "session": session}) as stream:
        events = [e for e in stream if e.name == "token"]
    text = "".join(e.data["text"] for e in events)
    assert " " in text
    for k in range(len(events) - 1, -1, -1):
        more, _, _ = rest(daemon, session, body, events[k].id)
        assert "".join(e.data["text"] for e in events[:k + 1]) + more == text


def test_a_text_that_has_ended_stays_ended(start, tmp_path):
    folders.make(str(tmp_path / "m" / "short"), tokens=["a", "b", "."], specials={"eos": 2}, seed=5)
    daemon = start(models=str(tmp_path / "m"), workers=1, args=["--session-trail", "64"])
    session, body = daemon.session("short"), {"input": "a", "max_tokens": 500, "seed": 1}
    with daemon.stream("/generate", {**body, "session": session}) as stream:
        _, last, done = read(stream)
    assert done["choices"][0]["finish_reason"] == "stop"
    more, _, again = rest(daemon, session, body, last)
    assert more == "" and again["choices"][0]["tokens"] == [] and again["choices"][0]["finish_reason"] == "stop"
    assert again["session"]["position"] == done["session"]["position"]


def test_beyond_what_the_session_remembers(start):
    daemon = start(workers=2, args=["--session-trail", "0"])
    session = daemon.session()
    with daemon.stream("/generate", {**BODY, "session": session}) as stream:
        events = [e for e in stream if e.name == "token"]
    position = daemon.position(session)
    answer = daemon.post("/generate", {**BODY, "session": session, "stream": True},
                         headers={"Last-Event-ID": events[100].id})
    expect(answer, 409, "position", "Last-Event-ID")
    assert str(position) in answer.error["message"]
    assert daemon.position(session) == position  # nothing has changed
    # where it stands it can always be taken up
    more, _, done = rest(daemon, session, {**BODY, "max_tokens": 310}, events[-1].id)
    assert len(done["choices"][0]["tokens"]) == 10 and len(more) == 10


@pytest.mark.parametrize("id_", ["x", "1", "1-2", "5-9-0", "20-1-99", "-1-1-0"])
def test_ids_that_are_none(far, id_):
    session = far.session()
    expect(far.post("/generate", {**BODY, "session": session, "stream": True}, headers={"Last-Event-ID": id_}),
           400, "malformed", "Last-Event-ID")
    assert far.position(session) == 0


def test_an_id_of_the_future(far):
    session = far.session()
    expect(far.post("/generate", {**BODY, "session": session, "stream": True}, headers={"Last-Event-ID": "99-5-0"}),
           409, "position", "Last-Event-ID")


@pytest.mark.parametrize("fields", [
    {"stream": False}, {"commit": False}, {"repetition_penalty": 1.1}, {"presence_penalty": 1},
    {"frequency_penalty": -1}, {"n": 2, "commit": False}, {"session": None, "model": "kjv"}])
def test_what_cannot_be_taken_up_has_no_ids_and_says_so(far, fields):
    session = far.session()
    body = {k: v for k, v in {**BODY, "max_tokens": 5, "session": session, "stream": True, **fields}.items()
            if v is not None}
    if body["stream"]:
        with far.stream("/generate", body) as stream:
            assert all(e.id is None for e in stream)
    expect(far.post("/generate", body, headers={"Last-Event-ID": "19-5-0"}), 400, "malformed", "Last-Event-ID")


def test_an_empty_id_is_none(far):
    session = far.session()
    with far.stream("/generate", {**BODY, "session": session}, headers=[("Last-Event-ID", "")]) as stream:
        assert read(stream)[2]["usage"]["input_steps"] == len(BODY["input"])
