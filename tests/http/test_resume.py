"""A stream that broke off is taken up behind the last event that was seen, to the byte: Last-Event-ID.

The measure is always a stream that nobody disturbed: what was read before and after the break, event for event
with all that they hold, is what that one sent, and where its session stands afterwards is where this one's does.
"""
import base64
import json
import shutil
import time

import pytest

import folders
from client import SLOW, expect, wait_until, without
from websocket import WebSocket

TEXT = {"model": "kjv", "input": "And God said, ", "max_tokens": 30, "seed": 7}
LONG = {"model": "kjv", "input": "And God said, ", "max_tokens": 300, "seed": 7}

# Of each, whether a session can hold its model.
KINDS = {
    "plain": (TEXT, True),
    "own-generator": (without(TEXT, "seed"), True),
    "greedy": ({**TEXT, "temperature": 0}, True),
    "samplers": ({**TEXT, "top_p": 0.9, "top_k": 12, "min_p": 0.01, "logit_bias": {"e": -2, "z": False}}, True),
    "penalties": ({**TEXT, "repetition_penalty": 1.4, "presence_penalty": 0.5, "frequency_penalty": 0.3}, True),
    "held-back": ({**TEXT, "stop": ["the Lord of all", "and the", " zz"], "seed": 3, "max_tokens": 40}, True),
    "stopped": ({**TEXT, "stop": ["the ", "and "], "seed": 2, "max_tokens": 200}, True),
    "echo": ({**TEXT, "echo": True, "logprobs": 2}, True),
    "echo-alone": ({**TEXT, "echo": True, "max_tokens": 0}, True),
    "layers": ({**TEXT, "max_tokens": 8, "return": ["hidden", "cell", "gates"]}, True),
    "multibyte": ({"model": "multibyte", "input": "", "max_tokens": 30, "seed": 5}, True),
    "words": ({"model": "words", "input": "the cat", "max_tokens": 30, "seed": 5}, True),
    "ids": ({"model": "ids", "input": [1, 2, 3], "max_tokens": 30, "seed": 5}, True),
    "sketch": ({"model": "sketch", "input": [[0, 0, 1, 0, 0]], "max_frames": 30, "seed": 5, "return": ["hidden"]}, True),
    "weather": ({"model": "weather", "input": [[10, 1000], [11, 990]], "max_frames": 15, "seed": 7}, True),
    "pendulum": ({"model": "pendulum", "input": [[0.5, -0.5]], "max_frames": 15}, True),
    "window": ({"model": "window", "input": [[0.5, -0.5], [0.25, 1]], "max_frames": 15}, False),
    "translator": ({"model": "translator", "input": "ach", "max_tokens": 12, "seed": 4, "logprobs": 1}, False),
    "attending": ({"model": "attending", "input": "abcdefgh", "max_tokens": 12, "seed": 4}, False),
    "captioner": ({"model": "captioner", "input": [[0.5, -1, 2, 0, 1, -2]], "max_tokens": 12, "seed": 4}, False),
    "batch-of-one": ({**without(TEXT, "input"), "inputs": [TEXT["input"]]}, False),
}
STATELESS = pytest.mark.parametrize("body", [b for b, _ in KINDS.values() if b.get("input", 1) != ""],
                                    ids=[k for k, (b, _) in KINDS.items() if b.get("input", 1) != ""])
HELD = pytest.mark.parametrize("body", [b for b, held in KINDS.values() if held],
                               ids=[k for k, (_, held) in KINDS.items() if held])


class Heard:
    """What a reader of an event stream has: the events, and the id to come back with."""

    def __init__(self):
        self.events, self.last, self.done = [], None, None

    def read(self, stream, n=None):
        """n events more, or all there are."""
        assert stream.open() == 200, stream.answer()
        for event in stream:
            if event.name == "done":
                self.done = event.data
                return self
            assert event.name in ("token", "frame"), event
            assert event.id, event
            self.last = event.id
            self.events.append(event.data)
            n = None if n is None else n - 1
            if n == 0:
                return self
        return self

    def resume(self, daemon, body, n=None, **more):
        with daemon.stream("/generate", body, headers=[("Last-Event-ID", self.last)] if self.last else [],
                           **more) as stream:
            return self.read(stream, n)


def of(body, session):
    """The same request of a session."""
    return {**without(body, "model"), "session": session}


def whole(daemon, body):
    """Undisturbed: (events, ids, done)"""
    heard, ids = Heard(), []
    with daemon.stream("/generate", body) as stream:
        assert stream.open() == 200, stream.answer()
        for event in stream:
            if event.name == "done":
                heard.done = event.data
            else:
                heard.events.append(event.data)
                ids.append(event.id)
    assert len(set(ids)) == len(ids) and all(ids)
    return heard.events, ids, heard.done


def result(done, *but):
    """An answer without what names and times one request."""
    return without(done, "id", "timings", "expires_at", *but)


def idle(daemon, session):
    wait_until(lambda: not daemon.get(f"/sessions/{session}").json["busy"], "free")


def every(ids):
    """All places, but for an instrumented daemon."""
    return range(0, len(ids), 6 if SLOW else 1)


def state_of(daemon, session):
    """Where a session stands, to the last bit, generator included."""
    answer = daemon.get(f"/sessions/{session}/state")
    assert answer.status == 200, answer
    return answer.body


def refused(daemon, body, last, status=409, code="position"):
    return expect(daemon.post("/generate", {**body, "stream": True}, headers={"Last-Event-ID": last}),
                  status, code, "Last-Event-ID")["error"]["message"]


# ---- every event as the last one ----

@STATELESS
def test_every_event_can_be_the_last_without_a_session(daemon, body):
    events, ids, done = whole(daemon, body)
    for k in every(ids):
        heard = Heard()
        heard.last = ids[k]
        heard.resume(daemon, body)
        assert heard.events == events[k + 1:]
        assert result(heard.done) == result(done)
        assert heard.last == (ids[-1] if heard.events else ids[k])


@HELD
def test_every_event_can_be_the_last_of_a_session(daemon, body):
    """Again and again from anywhere: the beginning stays where it was."""
    session = daemon.session(body["model"])
    if body.get("input"):
        daemon.ok("/predict", {"session": session, "input": body["input"]})
    events, ids, done = whole(daemon, of(body, session))
    state = state_of(daemon, session)
    for k in [*reversed(every(ids)), *range(0, len(ids), 7)]:
        heard = Heard()
        heard.last = ids[k]
        heard.resume(daemon, of(body, session))
        assert heard.events == events[k + 1:]
        assert result(heard.done) == result(done)
        assert state_of(daemon, session) == state
    daemon.delete(f"/sessions/{session}")


@pytest.mark.parametrize("seed", [{}, {"seed": 11}], ids=["drawn", "seed"])
def test_from_a_sealed_state_and_a_named_one(daemon, seed):
    sealed = daemon.ok("/predict", {"model": "kjv", "input": "In the ", "return_state": True})["state"]
    body = {"model": "kjv", "state": sealed, "input": "beginning ", "max_tokens": 12, "return_state": True, **seed}
    events, ids, done = whole(daemon, body)
    for k in (0, 5, 11):
        heard = Heard()
        heard.last = ids[k]
        heard.resume(daemon, body)
        assert heard.events == events[k + 1:]
        assert result(heard.done, "state") == result(done, "state")
        opened = [daemon.ok("/generate", {"model": "kjv", "state": d["state"], "max_tokens": 9})["choices"][0]
                  for d in (done, heard.done)]
        assert opened[0] == opened[1]
    refused(daemon, {**body, "state": daemon.ok("/predict", {"model": "kjv", "input": "To the ",
                                                             "return_state": True})["state"]},
            ids[3], 409, "other_stream")


def test_a_session_that_is_not_advanced(daemon):
    session = daemon.session()
    body = {**of(without(TEXT, "seed"), session), "commit": False}
    state = state_of(daemon, session)
    events, ids, done = whole(daemon, body)
    for k in (0, 9, 29):
        heard = Heard()
        heard.last = ids[k]
        heard.resume(daemon, body)
        assert heard.events == events[k + 1:] and result(heard.done) == result(done)
        assert state_of(daemon, session) == state


# ---- drops ----

def drop(daemon, heard, session, body, n):
    """Reads n events more and leaves."""
    heard.resume(daemon, of(body, session), n)
    idle(daemon, session)


@HELD
@pytest.mark.parametrize("args", [[], ["--session-trail", "0"]], ids=["preset", "no-trail"])
def test_dropped_and_taken_up(start, body, args):
    daemon = start(workers=2, args=args)
    for n in (1, 2, 9, 25):
        one, other = (daemon.session(body["model"]) for _ in range(2))
        sync(daemon, one, other)
        events, _, done = whole(daemon, of(body, one))
        heard = Heard()
        drop(daemon, heard, other, body, n)
        heard.resume(daemon, of(body, other))
        assert heard.events == events
        assert result(heard.done, "session") == result(done, "session")
        assert heard.done["session"]["position"] == done["session"]["position"]
        assert state_of(daemon, one) == state_of(daemon, other)


def sync(daemon, one, other):
    """Brings a session to where another stands, generator included."""
    file = state_of(daemon, one)
    daemon.delete(f"/sessions/{other}")
    assert daemon.post("/sessions", {"id": other, "state": base64.b64encode(file).decode(),
                                     "model": daemon.get(f"/sessions/{one}").json["model"]}).status == 201


@pytest.mark.parametrize("workers", [1, 2])
def test_dropped_again_and_again(start, workers):
    daemon = start(workers=workers)
    one, other = daemon.session(), daemon.session()
    events, _, done = whole(daemon, of(LONG, one))
    heard = Heard()
    while len(heard.events) < 280:
        drop(daemon, heard, other, LONG, 20)
        assert daemon.position(other) >= len(LONG["input"]) + len(heard.events)
    heard.resume(daemon, of(LONG, other))
    assert heard.events == events and result(heard.done, "session") == result(done, "session")
    assert state_of(daemon, one) == state_of(daemon, other)
    assert daemon.metric("rnnd_streams_resumed_total") == 14


def test_left_while_it_is_replayed_nothing_is_lost(start):
    """The session has more of the stream than a resume that was given up before it came so far."""
    daemon = start(workers=1)
    session = daemon.session()
    events, ids, _ = whole(daemon, of({**LONG, "max_tokens": 3000}, session))
    state = state_of(daemon, session)
    for k in (2990, 1500, 40):
        stream = daemon.stream("/generate", of({**LONG, "max_tokens": 3000}, session),
                               headers=[("Last-Event-ID", ids[k])])
        wait_until(lambda: daemon.metric("rnnd_sequences_active") >= 1 or
                   not daemon.get(f"/sessions/{session}").json["busy"], "started")
        stream.reset()
        idle(daemon, session)
        assert state_of(daemon, session) == state
    heard = Heard()
    heard.last = ids[7]
    assert heard.resume(daemon, of({**LONG, "max_tokens": 3000}, session)).events == events[8:]


def test_given_up_before_it_is_known_to_be_the_same_it_changes_nothing(start):
    """Whose stream it is shows only at the place that was seen: until then there is nothing to keep."""
    daemon = start(workers=1)
    session = daemon.session()
    body, last = of({**LONG, "max_tokens": 60000}, session), "0-e000-7-00000000"
    deadline_ms = 30
    while daemon.metric("rnnd_tokens_total", kind="replayed") == 0:  # so slow may a machine be
        deadline_ms *= 2
        expect(daemon.post("/generate", {**body, "stream": True, "deadline_ms": deadline_ms},
                           headers={"Last-Event-ID": last}), 504, "deadline")
        assert daemon.position(session) == 0
    stream = daemon.stream("/generate", body, headers=[("Last-Event-ID", last)])
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 1, "started")
    stream.reset()
    idle(daemon, session)
    assert daemon.position(session) == 0
    assert daemon.metric("rnnd_tokens_total", kind="generated") == 0


def test_a_text_that_the_deadline_cut_stays_cut(start):
    """What a stop string held back was let out at the end: it cannot be taken back, so nothing follows."""
    daemon = start(workers=1, args=["--stop-max", "64"])
    letters = [daemon.ok("/detokenize", {"model": "kjv", "tokens": [t]})["text"] for t in range(63)]
    body = {**LONG, "max_tokens": 60000, "temperature": 1, "deadline_ms": 1500,
            "stop": [c + "#" for c in letters]}  # the last letter is always held back
    session = daemon.session()
    events, ids, done = whole(daemon, of(body, session))
    assert done["choices"][0]["finish_reason"] == "deadline"
    assert events[-1]["token"] is None and events[-1]["text"]
    state, position = state_of(daemon, session), daemon.position(session)
    patient = {**of(body, session), "deadline_ms": 100000}
    heard = Heard()
    heard.last = ids[-1]
    heard.resume(daemon, patient)
    assert heard.events == [] and result(heard.done) == result(done)
    assert state_of(daemon, session) == state
    # one event earlier the end was not shown yet: the text goes on past it
    with daemon.stream("/generate", patient, headers=[("Last-Event-ID", ids[-2])]) as stream:
        more = [event for event, _ in zip(stream, range(40))]
    idle(daemon, session)
    assert daemon.position(session) > position
    assert "".join(e.data["text"] for e in more).startswith(events[-1]["text"])


def test_words_go_on_behind_a_space(start, tmp_path):
    folders.make(str(tmp_path / "m" / "words"), tokens=["one", "two", ",", "\""], seed=5, hidden=8)
    vocab = (tmp_path / "m" / "words" / "vocab.json")
    vocab.write_text(vocab.read_text().replace('"char"', '"word"'))
    daemon = start(models=str(tmp_path / "m"), workers=1)
    session = daemon.session("words")
    body = {"input": "", "max_tokens": 40, "seed": 3, "session": session}
    events, ids, _ = whole(daemon, body)
    assert " " in "".join(e["text"] for e in events)
    for k in range(len(events)):
        heard = Heard()
        heard.last = ids[k]
        assert heard.resume(daemon, body).events == events[k + 1:]


def test_a_text_that_has_ended_stays_ended(start, tmp_path):
    folders.make(str(tmp_path / "m" / "short"), tokens=["a", "b", "."], specials={"eos": 2}, seed=5)
    daemon = start(models=str(tmp_path / "m"), workers=1)
    session = daemon.session("short")
    drawn = ({"model": "short", "input": "a", "max_tokens": 500, "seed": seed} for seed in range(1000))
    body = of(next(b for b in drawn if len(daemon.ok("/generate", b)["choices"][0]["tokens"]) > 3), session)
    events, ids, done = whole(daemon, body)
    assert done["choices"][0]["finish_reason"] == "stop" and len(events) > 3
    heard = Heard()
    heard.last = ids[-1]
    heard.resume(daemon, body)
    assert heard.events == [] and result(heard.done) == result(done)
    assert daemon.position(session) == done["session"]["position"]


def test_expect_position_is_of_the_beginning(daemon):
    session = daemon.session()
    daemon.ok("/predict", {"session": session, "input": "In the "})
    body = {**of(TEXT, session), "expect_position": 7}
    events, ids, done = whole(daemon, body)
    expect(daemon.post("/generate", {**body, "stream": True}), 409, "position", "expect_position")
    heard = Heard()
    heard.last = ids[4]
    assert heard.resume(daemon, body).events == events[5:]
    expect(daemon.post("/generate", {**body, "expect_position": 8, "stream": True},
                       headers={"Last-Event-ID": ids[4]}), 409, "position", "expect_position")


# ---- what it is not taken up from ----

LATER = {
    "predict": lambda d, s: d.ok("/predict", {"session": s, "input": "x"}),
    "generate": lambda d, s: d.ok("/generate", {"session": s, "max_tokens": 1}),
    "stream": lambda d, s: whole(d, {"session": s, "max_tokens": 3}),
    "score": lambda d, s: d.ok("/score", {"session": s, "input": "x"}),
    "reset": lambda d, s: expect(d.post(f"/sessions/{s}/reset", {}), 200),
    "rewind": lambda d, s: expect(d.post(f"/sessions/{s}/rewind", {"steps": 2}), 200),
    "rewind-to": lambda d, s: expect(d.post(f"/sessions/{s}/rewind", {"to": "before"}), 200),
    "new": lambda d, s: (d.delete(f"/sessions/{s}"), d.session(id=s), d.ok("/predict", {"session": s, "input": "Be "})),
}


@pytest.mark.parametrize("later", LATER.values(), ids=LATER)
def test_what_came_later_is_never_thrown_away(daemon, later):
    session = daemon.session()
    daemon.ok("/predict", {"session": session, "input": "I"})
    daemon.post(f"/sessions/{session}/snapshots", {"name": "before"})
    daemon.ok("/predict", {"session": session, "input": "n the"})
    _, ids, _ = whole(daemon, of(TEXT, session))
    later(daemon, session)
    state = state_of(daemon, session)
    message = refused(daemon, of(TEXT, session), ids[5])
    assert f"{daemon.position(session)} " in message and " 6," in message
    assert state_of(daemon, session) == state
    daemon.delete(f"/sessions/{session}")


def test_what_changes_nothing_ends_nothing(daemon):
    session = daemon.session()
    events, ids, _ = whole(daemon, of(TEXT, session))
    daemon.ok("/predict", {"session": session, "input": "", "return": ["logits"]})
    daemon.ok("/predict", {"session": session, "input": "zz", "commit": False})
    expect(daemon.post(f"/sessions/{session}/snapshots", {"name": "here"}), 201)
    expect(daemon.post(f"/sessions/{session}/fork", {"count": 1}), 201)
    expect(daemon.post("/predict", {"session": session, "input": "\u2603"}), 422)
    state_of(daemon, session)
    heard = Heard()
    heard.last = ids[3]
    assert heard.resume(daemon, of(TEXT, session)).events == events[4:]


def test_a_fork_and_an_exported_state_are_others(daemon):
    session = daemon.session()
    _, ids, _ = whole(daemon, of(TEXT, session))
    fork, = daemon.post(f"/sessions/{session}/fork", {"count": 1}).json["sessions"]
    refused(daemon, of(TEXT, fork["id"]), ids[3])
    file = base64.b64encode(state_of(daemon, session)).decode()
    refused(daemon, of(TEXT, daemon.session(state=file)), ids[3])


def test_two_streams_from_one_place_are_not_mistaken(daemon):
    """The same request twice from the same state: the first one's id does not undo the second one."""
    session = daemon.session()
    daemon.post(f"/sessions/{session}/snapshots", {"name": "start"})
    _, first, _ = whole(daemon, of(TEXT, session))
    expect(daemon.post(f"/sessions/{session}/rewind", {"to": "start"}), 200)
    events, second, _ = whole(daemon, of(TEXT, session))
    refused(daemon, of(TEXT, session), first[3])
    heard = Heard()
    heard.last = second[3]
    assert heard.resume(daemon, of(TEXT, session)).events == events[4:]


OTHERS = [{"input": "And God saw "}, {"seed": 8}, {"temperature": 0.5}, {"top_k": 3}, {"max_tokens": 31},
          {"stop": ["xyzzy"]}, {"logit_bias": {"e": 1}}, {"echo": True}, {"logprobs": 1}, {"presence_penalty": 0.1}]


@pytest.mark.parametrize("fields", OTHERS, ids=[next(iter(f)) for f in OTHERS])
def test_another_body_is_noticed(daemon, fields):
    session = daemon.session()
    _, ids, _ = whole(daemon, of(TEXT, session))
    _, stateless, _ = whole(daemon, TEXT)
    state = state_of(daemon, session)
    refused(daemon, {**of(TEXT, session), **fields}, ids[3], 409, "other_stream")
    refused(daemon, {**TEXT, **fields}, stateless[0], 409, "other_stream")
    assert state_of(daemon, session) == state


def test_what_does_not_shape_the_text_may_be_other(daemon):
    session = daemon.session()
    events, ids, _ = whole(daemon, of({**TEXT, "top_k": 9, "top_p": 0.8}, session))
    heard = Heard()
    heard.last = ids[3]
    body = json.loads(json.dumps(of({**TEXT, "top_p": 0.8, "top_k": 9.0}, session), sort_keys=True))
    assert heard.resume(daemon, {**body, "deadline_ms": 50000, "if_busy": "reject"}).events == events[4:]


def parts(id_, **change):
    """The id with other parts."""
    names = ("start", "seen", "stream", "check")
    found = dict(zip(names, id_.split("-")))
    return "-".join({**found, **change}[n] for n in names)


def test_ids_that_were_tampered_with(daemon):
    session = daemon.session()
    daemon.ok("/predict", {"session": session, "input": "In the "})
    _, ids, _ = whole(daemon, of(TEXT, session))
    state = state_of(daemon, session)
    for last in (parts(ids[4], start="6"), parts(ids[4], start="0"), parts(ids[4], stream="1"),
                 parts(ids[4], stream="0"), parts(ids[4], start="8")):
        refused(daemon, of(TEXT, session), last)
    for last in (parts(ids[4], check="00000000"), parts(ids[4], seen="4"), parts(ids[4], seen="0"),
                 parts(ids[4], seen="6"), parts(ids[4], seen="1f"), parts(ids[4], seen="ffffffffffffffff")):
        refused(daemon, of(TEXT, session), last, 409, "other_stream")
    assert state_of(daemon, session) == state
    refused(daemon, TEXT, parts(whole(daemon, TEXT)[1][4], seen="6"), 409, "other_stream")
    refused(daemon, without(TEXT, "seed"), parts(whole(daemon, without(TEXT, "seed"))[1][4], stream="5"),
            409, "other_stream")


def test_ids_behind_the_end(daemon):
    body = {**TEXT, "stop": ["the "], "seed": 2, "max_tokens": 200}
    _, ids, done = whole(daemon, body)
    assert done["choices"][0]["finish_reason"] == "stop"
    message = refused(daemon, body, parts(ids[-1], seen=f"{len(ids) + 1:x}"), 409, "other_stream")
    assert "never comes" in message


@pytest.mark.parametrize("id_", ["x", "1", "1-2", "5-9-0", "20-1-99", "-1-1-0", "1-1-1-1", "1-1-1-0000000g", "0" * 200])
def test_ids_that_are_none(daemon, id_):
    refused(daemon, TEXT, id_, 400, "malformed")


@pytest.mark.parametrize("fields", [{"n": 2}, {"inputs": ["a", "b"], "input": None}], ids=["n", "inputs"])
def test_several_texts_have_no_ids(daemon, fields):
    body = {k: v for k, v in {**TEXT, "max_tokens": 5, **fields}.items() if v is not None}
    with daemon.stream("/generate", body) as stream:
        assert all(e.id is None for e in stream)
    refused(daemon, body, "0-5-7-00000000", 400, "malformed")


@pytest.mark.parametrize("fields", [{"stream": False}, {"beam_width": 2, "stream": None, "seed": None}],
                         ids=["whole", "beam"])
def test_what_is_no_stream_says_so(daemon, fields):
    body = {k: v for k, v in {**TEXT, "stream": True, **fields}.items() if v is not None}
    expect(daemon.post("/generate", body, headers={"Last-Event-ID": "0-5-7-00000000"}), 400, "malformed",
           "Last-Event-ID")


def test_an_empty_id_is_none(daemon):
    with daemon.stream("/generate", TEXT, headers=[("Last-Event-ID", "")]) as stream:
        assert len(Heard().read(stream).events) == 30


# ---- coming back while the old stream is there ----

# more than the kernel's buffers take
WIDE = {"model": "kjv", "input": "And God said, ", "max_tokens": 400, "seed": 7, "return": ["cell", "gates"]}
NARROW = ["--stream-buffer-bytes", "4096", "--idle-timeout-s", "3600"]  # however slow this machine is


def stalled(daemon, body):
    """A stream of which some events were read, and which then is full."""
    stream, heard = daemon.stream("/generate", body, receive_buffer=4096), Heard()
    heard.read(stream, 20)

    def still():
        before = daemon.metric("rnnd_steps_total")
        time.sleep(0.3)
        return daemon.metric("rnnd_steps_total") == before
    wait_until(still, "stalled")
    assert daemon.metric("rnnd_sequences_active") == 1
    return stream, heard


@pytest.mark.long
@pytest.mark.parametrize("more", [{}, {"if_busy": "reject"}], ids=["queue", "reject"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_stalled_stream_is_taken_over(start, workers, more):
    daemon = start(workers=workers, args=NARROW)
    one, other = daemon.session(), daemon.session()
    events, _, done = whole(daemon, of(WIDE, one))
    stream, heard = stalled(daemon, of(WIDE, other))
    heard.resume(daemon, {**of(WIDE, other), **more})
    assert heard.events == events and result(heard.done, "session") == result(done, "session")
    assert state_of(daemon, one) == state_of(daemon, other)
    assert daemon.metric("rnnd_cancelled_total", cause="superseded") == 1
    # whoever still reads the old one hears that it has ended, and where
    old = Heard()
    old.read(stream)
    assert old.done["choices"][0]["finish_reason"] == "cancelled"
    stream.close()


@pytest.mark.long
def test_who_waits_is_not_overtaken_by_a_stream_that_comes_back(start):
    """It keeps the place of the one that it goes on with, in front of what was sent behind that."""
    daemon = start(workers=1, args=NARROW)
    session = daemon.session()
    stream, heard = stalled(daemon, of(WIDE, session))
    with daemon.stream("/generate", {"session": session, "max_tokens": 3}) as behind:
        wait_until(lambda: daemon.get(f"/sessions/{session}").json["waiting"] == 1, "waits")
        heard.resume(daemon, of(WIDE, session))
        after = Heard().read(behind)
    stream.close()
    assert after.done["session"]["position"] == heard.done["session"]["position"] + 3


@pytest.mark.long
def test_only_its_own_stream_is_taken_over(start):
    daemon = start(workers=1, args=NARROW)
    session = daemon.session()
    _, ids, _ = whole(daemon, of(TEXT, session))
    stream, heard = stalled(daemon, of(WIDE, session))
    expect(daemon.post("/generate", {**of(TEXT, session), "stream": True, "if_busy": "reject"},
                       headers={"Last-Event-ID": ids[3]}), 409, "session_busy")
    expect(daemon.post("/generate", {**of(TEXT, session), "stream": True, "if_busy": "reject"},
                       headers={"Last-Event-ID": parts(ids[3], stream="0")}), 409, "session_busy")
    heard.read(stream)
    assert heard.done["choices"][0]["finish_reason"] == "length" and len(heard.events) == 400
    stream.close()


@pytest.mark.long
def test_a_resume_that_stalls_is_taken_over_as_well(start):
    daemon = start(workers=2, args=NARROW)
    one, session = daemon.session(), daemon.session()
    events, _, _ = whole(daemon, of(WIDE, one))
    first, heard = stalled(daemon, of(WIDE, session))
    second = daemon.stream("/generate", of(WIDE, session), headers=[("Last-Event-ID", heard.last)], receive_buffer=4096)
    heard.read(second, 20)
    heard.resume(daemon, of(WIDE, session))
    assert heard.events == events
    assert state_of(daemon, one) == state_of(daemon, session)
    first.close()
    second.close()


# ---- on a WebSocket ----

def read_socket(ws, heard, id_, n=None):
    """Reads n events more of the request of that id, or all there are."""
    while n is None or n > 0:
        message = ws.read()
        assert message.pop("id") == id_ and "error" not in message, message
        if "done" in message:
            heard.done = message["done"]
            return
        heard.last = message.pop("event_id")
        heard.events += message.values()
        n = None if n is None else n - 1


@pytest.mark.parametrize("kind", ["plain", "penalties", "echo", "sketch"])
def test_a_client_that_comes_back_on_another_socket(start, kind):
    body, _ = KINDS[kind]
    fields = without(body, "model")
    daemon = start(workers=2)
    one, other = (daemon.session(body["model"]) for _ in range(2))
    sync(daemon, one, other)
    events, _, done = whole(daemon, of(body, one))
    heard, path = Heard(), f"/sessions/{other}/stream"
    ws = WebSocket(daemon, path)
    ws.send(id=1, generate=fields)
    read_socket(ws, heard, 1, 4)
    with WebSocket(daemon, path) as later:  # the old one is still open
        later.send(id="again", generate=fields, last_event_id=heard.last)
        read_socket(later, heard, "again", 4)
    ws.close()
    idle(daemon, other)
    heard.resume(daemon, of(body, other), 4)  # over HTTP
    idle(daemon, other)
    with WebSocket(daemon, path) as last:
        last.send(generate=fields, last_event_id=heard.last)
        read_socket(last, heard, None)
        assert heard.events == events and result(heard.done, "session") == result(done, "session")
        last.send(id=2, generate={**fields, "seed": 99}, last_event_id=heard.last)
        assert last.error()[1]["code"] == "other_stream"
    assert state_of(daemon, one) == state_of(daemon, other)


def test_ids_that_a_socket_refuses(daemon):
    with WebSocket(daemon, "/stream?model=kjv") as ws:
        for message, code in (({"predict": {"input": "a"}, "last_event_id": "0-1-1-00000000"}, "malformed"),
                              ({"generate": {"input": "a"}, "last_event_id": 7}, "malformed"),
                              ({"generate": {"input": "a"}, "last_event_id": "x"}, "malformed"),
                              ({"generate": {"input": "a", "n": 2, "commit": False},
                                "last_event_id": "0-1-1-00000000"}, "malformed"),
                              ({"generate": {"input": "a", "stream": False},
                                "last_event_id": "0-1-1-00000000"}, "malformed"),
                              ({"generate": {"input": "a"}, "last_event_id": "3-1-1-00000000"}, "position"),
                              ({"generate": {"input": "a"}, "last_event_id": "0-1-1-00000000"}, "other_stream")):
            ws.send(id=5, **message)
            id_, error = ws.error()
            assert (id_, error["code"], error["param"]) == (5, code, "last_event_id")
        ws.send(id=6, generate={"input": "a", "max_tokens": 2})
        heard = Heard()
        read_socket(ws, heard, 6)
        assert len(heard.events) == 2


# ---- disk ----

@pytest.fixture
def stored(start, tmp_path, models_dir):
    """Starts daemons one after the other on one folder."""
    def starter(*args, models=models_dir, **more):
        return start(models=models, workers=2, args=["--state-dir", str(tmp_path / "state"), *args], **more)
    return starter


def kill(daemon):
    daemon.process.kill()
    daemon.process.wait()


@pytest.mark.parametrize("durability", ["process", "power"])
def test_killed_in_the_middle_and_taken_up(stored, durability):
    """Nothing had been committed: it begins where the session stands on disk."""
    args = ["--durability", durability]
    daemon = stored(*args)
    one, other = daemon.session(), daemon.session()
    for session in (one, other):
        daemon.ok("/predict", {"session": session, "input": "In the "})
    events, _, done = whole(daemon, of(LONG, one))
    stream, heard = daemon.stream("/generate", of({**LONG, "max_tokens": 300}, other)), Heard()
    heard.read(stream, 12)
    kill(daemon)
    stream.close()
    daemon = stored(*args)
    heard.resume(daemon, of(LONG, other))
    assert heard.events == events and result(heard.done, "session") == result(done, "session")
    assert state_of(daemon, one) == state_of(daemon, other)


@pytest.mark.parametrize("kind", ["plain", "own-generator", "penalties", "echo", "sketch"])
def test_dropped_killed_and_taken_up(stored, kind):
    """The drop committed a part of it: where it began is on disk, too.  And again, from the next daemon's disk."""
    body, _ = KINDS[kind]
    daemon = stored()
    one, other = (daemon.session(body["model"]) for _ in range(2))
    sync(daemon, one, other)
    daemon.ok("/predict", {"session": one, "input": body["input"]})
    daemon.ok("/predict", {"session": other, "input": body["input"]})
    events, _, done = whole(daemon, of(body, one))
    heard = Heard()
    for n in (2, 3, 4):
        drop(daemon, heard, other, body, n)
        assert daemon.position(other) > len(body["input"])
        kill(daemon)
        daemon = stored()
    heard.resume(daemon, of(body, other))
    assert heard.events == events and result(heard.done, "session") == result(done, "session")
    assert state_of(daemon, one) == state_of(daemon, other)


def test_a_session_that_remembers_what_penalties_count(stored):
    """Its memory is part of where the stream began."""
    body, _ = KINDS["penalties"]
    daemon = stored()
    one, other = (daemon.session(penalty_memory=64) for _ in range(2))
    for session in (one, other):
        daemon.ok("/generate", {"session": session, "input": "In the ", "max_tokens": 40, "seed": 5})
    events, _, done = whole(daemon, of(body, one))
    heard = Heard()
    for n in (3, 9):
        drop(daemon, heard, other, body, n)
        kill(daemon)
        daemon = stored()
    heard.resume(daemon, of(body, other))
    assert heard.events == events and result(heard.done, "session") == result(done, "session")
    assert state_of(daemon, one) == state_of(daemon, other)
    forgetful = daemon.session()
    daemon.ok("/generate", {"session": forgetful, "input": "In the ", "max_tokens": 40, "seed": 5})
    assert whole(daemon, of(body, forgetful))[0] != events  # it does matter here


@pytest.mark.parametrize("durability", ["none", "process"])
def test_evicted_and_taken_up(stored, durability):
    daemon = stored("--durability", durability, "--session-memory-bytes", "1")  # on whichever worker it is
    bodies = [{**TEXT, "seed": seed} for seed in range(6)]
    sessions = [daemon.session() for _ in bodies]
    heards = [Heard() for _ in bodies]
    for body, session, heard in zip(bodies, sessions, heards):
        drop(daemon, heard, session, body, 6)
    for body, session, heard in zip(bodies, sessions, heards):
        wait_until(lambda: not daemon.get(f"/sessions/{session}").json["resident"], "out of memory")
        heard.resume(daemon, of(body, session))
        events, _, done = whole(daemon, body)
        assert heard.events == events and result(heard.done, "session") == result(done)


def test_a_later_commit_ends_it_on_disk_as_well(stored):
    daemon = stored()
    session = daemon.session()
    _, ids, _ = whole(daemon, of(TEXT, session))
    daemon.ok("/predict", {"session": session, "input": "x"})
    kill(daemon)
    daemon = stored()
    state = state_of(daemon, session)
    refused(daemon, of(TEXT, session), ids[3])
    assert state_of(daemon, session) == state


# ---- other weights ----

LETTERS = dict(tokens=list("abcdefgh"), hidden=16, scale=4)


def put(path, seed):
    shutil.rmtree(path, ignore_errors=True)
    folders.make(path, seed=seed, **LETTERS)


@pytest.mark.parametrize("disk", [False, True], ids=["memory", "disk"])
@pytest.mark.parametrize("policy", ["pin", "migrate"])
def test_a_session_that_went_over_to_other_weights_knows_no_way_back(start, tmp_path, policy, disk):
    path = str(tmp_path / "m" / "m")
    put(path, 1)
    daemon = start(models=str(tmp_path / "m"), workers=2,
                   args=["--admin-keys", "*", *(["--state-dir", str(tmp_path / "state")] if disk else [])])
    session = daemon.session("m")
    body = {"session": session, "input": "abc", "max_tokens": 20, "seed": 3}
    events, ids, _ = whole(daemon, body)
    put(path, 2)
    expect(daemon.post("/models/m/reload", {"sessions": policy}), 200)
    state = state_of(daemon, session)
    if policy == "migrate":
        refused(daemon, body, ids[3])
        assert state_of(daemon, session) == state
    else:  # on the old ones it is what it was
        heard = Heard()
        heard.last = ids[3]
        assert heard.resume(daemon, body).events == events[4:]


def test_a_stream_of_which_nothing_was_committed_does_not_go_on_with_other_weights(start, tmp_path):
    path = str(tmp_path / "m" / "m")
    put(path, 1)
    daemon = start(models=str(tmp_path / "m"), workers=1, args=["--admin-keys", "*"])
    session = daemon.session("m")
    body = {"session": session, "input": "abc", "max_tokens": 20, "seed": 3, "commit": False}
    _, ids, _ = whole(daemon, body)
    put(path, 2)
    expect(daemon.post("/models/m/reload", {"sessions": "migrate"}), 200)
    refused(daemon, body, ids[3], 409, "other_stream")


def test_other_weights_are_noticed_without_a_session(start, tmp_path):
    path = str(tmp_path / "m" / "m")
    put(path, 1)
    daemon = start(models=str(tmp_path / "m"), workers=2, args=["--admin-keys", "*"])
    body = {"model": "m", "input": "abc", "max_tokens": 20, "seed": 3}
    events, ids, _ = whole(daemon, body)
    put(path, 2)
    expect(daemon.post("/models/m/reload", {}), 200)
    for last in ids:
        refused(daemon, body, last, 409, "other_stream")
    put(path, 1)
    expect(daemon.post("/models/m/reload", {}), 200)
    heard = Heard()
    heard.last = ids[3]
    assert heard.resume(daemon, body).events == events[4:]
