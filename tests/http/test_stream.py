"""Streaming: server-sent events, their joins, cancelling, slow readers."""
import json
import select
import time

import pytest

from client import GUARD, SLOW, Stream, collect, expect, read_all, wait_until

KJV = {"model": "kjv", "input": "And God said, ", "max_tokens": 80, "seed": 5}
LONG = {"model": "kjv", "input": "And ", "max_tokens": 60000, "seed": 1}


def test_events(daemon):
    with daemon.stream("/generate", KJV) as stream:
        status, texts, done, tokens = collect(stream)
    assert status == 200
    whole = daemon.ok("/generate", KJV)
    choice = whole["choices"][0]
    assert texts == {0: choice["text"]}
    assert [t["token"] for t in tokens] == choice["tokens"]
    assert all(set(t) <= {"index", "text", "token", "logprob"} for t in tokens)
    assert done["seed"] == 5 and done["usage"] == whole["usage"]
    last = done["choices"][0]
    assert "text" not in last and last["finish_reason"] == "length" and last["index"] == 0


def test_stream_false_is_a_whole_answer(daemon):
    assert daemon.ok("/generate", {**KJV, "stream": False})["choices"][0]["text"]


def test_headers_of_a_stream(daemon):
    with daemon.stream("/generate", KJV, headers=[("X-Request-Id", "abc-1")]) as stream:
        assert stream.open() == 200
        assert stream.headers["cache-control"] and "no-" in stream.headers["cache-control"]
        assert stream.headers["x-request-id"] == "abc-1"
        assert stream.headers["content-length"] is None
        collect(stream)


CASES = [
    {"model": "multibyte", "input": "日本", "seed": s, "max_tokens": 90} for s in range(3)
] + [
    {"model": "multibyte", "input": "é", "seed": 4, "max_tokens": 150, "stop": [stop]}
    for stop in ("😀", "日本", "\u0301", "\n", "\r", "€ ", "本😀", "\"\\", "\u2028")
] + [
    {"model": "kjv", "input": "Now ", "seed": 6, "max_tokens": 150, "stop": stop}
    for stop in (["the "], [" "], ["e", "x"], ["aaaa"], ["and", "andz", "an"], [". ", ".\n"])
] + [
    {"model": "kjv", "input": "Now ", "seed": 7, "max_tokens": 50, "echo": True},
    {"model": "kjv", "input": "Now ", "seed": 7, "max_tokens": 50, "echo": True, "stop": ["e"]},
    {"model": "kjv", "input": "Now ", "seed": 7, "max_tokens": 40, "n": 4, "stop": ["th"]},
    {"model": "kjv", "input": "Now ", "seed": 7, "max_tokens": 1},
    {"model": "hello", "input": "hell", "temperature": 0, "max_tokens": 1, "seed": 1},
    {"model": "ids", "input": [3, 1], "seed": 3, "max_tokens": 20},
    {"model": "unknown", "input": "xqy", "seed": 3, "max_tokens": 60},
]


@pytest.mark.parametrize("fields", CASES, ids=range(len(CASES)))
def test_streamed_equals_unstreamed(daemon, fields):
    whole = daemon.ok("/generate", fields)
    with daemon.stream("/generate", fields) as stream:
        status, texts, done, _ = collect(stream)
    assert status == 200
    for choice in whole["choices"]:
        assert texts.get(choice["index"], "") == (choice["text"] or "")
    assert [{k: v for k, v in c.items() if k not in ("text", "tokens", "logprobs")} for c in done["choices"]] == \
           [{k: v for k, v in c.items() if k not in ("text", "tokens", "logprobs")} for c in whole["choices"]]
    assert done["usage"] == whole["usage"] and done["seed"] == whole["seed"]


def test_logprobs_stand_in_the_tokens(daemon):
    fields = {**KJV, "logprobs": 2, "max_tokens": 10}
    whole = daemon.ok("/generate", fields)["choices"][0]["logprobs"]
    with daemon.stream("/generate", fields) as stream:
        _, _, _, tokens = collect(stream)
    assert [t["logprob"] for t in tokens] == [entry["logprob"] for entry in whole]


@pytest.mark.parametrize("fields,status", [
    ({"model": "nobody", "input": "a"}, 404),
    ({"model": "kjv", "input": "a", "temperature": -1}, 400),
    ({"model": "kjv", "input": "日"}, 422),
    ({"model": "kjv", "input": "a", "session": "nosuchsession"}, 404),
    ({"model": "sensor", "input": [[1, 2, 3]]}, 422),
])
def test_early_faults_have_a_true_status(daemon, fields, status):
    with daemon.stream("/generate", fields) as stream:
        stream.open()
        expect(stream.answer(), status)


def test_keep_alive_connection_survives_a_stream(daemon):
    connection = daemon.connect()
    for _ in range(3):
        answer = daemon.request("POST", "/generate", {**KJV, "stream": True}, connection=connection)
        assert answer.status == 200 and b"event: done" in answer.body
        assert daemon.request("GET", "/livez", connection=connection).status == 200
    connection.close()


def test_stream_on_http_1_0_ends_with_the_connection(daemon):
    body = json.dumps({**KJV, "stream": True}).encode()
    sock = daemon.raw(b"POST /generate HTTP/1.0\r\nHost: t\r\nContent-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n" % len(body) + body)
    with sock:
        got = read_all(sock)
    head, _, text = got.partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0]
    assert b"chunked" not in head.lower()
    assert text.rstrip().split(b"\n\n")[-1].startswith(b"event: done")


def test_session_after_a_stream(daemon):
    session = daemon.session("kjv")
    with daemon.stream("/generate", {"session": session, "input": "And ", "max_tokens": 30, "seed": 1}) as stream:
        _, texts, done, _ = collect(stream)
    assert done["session"]["position"] == 34 == daemon.position(session)
    here = daemon.ok("/predict", {"session": session, "input": "", "return": ["logits"]})
    whole = daemon.ok("/predict", {"model": "kjv", "input": "And " + texts[0], "steps": "last",
                                   "return": ["logits"]})
    assert here["outputs"][-1]["logits"] == whole["outputs"][-1]["logits"]


# ---- cancelling ----

def quiet(daemon):
    """Waits until no work is left; then the number of steps stands still."""
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 0
               and daemon.metric("rnnd_queue_depth") == 0, "no work left")
    steps = daemon.metric("rnnd_steps_total")
    time.sleep(0.1)
    assert daemon.metric("rnnd_steps_total") == steps
    return steps


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_closing_a_stream_cancels(start, leave):
    daemon = start(workers=1)
    gone = daemon.metric("rnnd_cancelled_total", cause="client_gone")
    stream = daemon.stream("/generate", LONG)
    events = iter(stream)
    for _ in range(5):
        assert next(events).name == "token"
    getattr(stream, leave)()
    steps = quiet(daemon)
    assert steps < 40000, "the work went on to its end"
    assert daemon.metric("rnnd_cancelled_total", cause="client_gone") == gone + 1


def test_a_client_that_vanishes_unstreamed_cancels(start):
    daemon = start(workers=1)
    unstreamed = Stream(daemon, "/generate", LONG)
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 1, "started")
    unstreamed.close()
    assert quiet(daemon) < 40000
    assert daemon.metric("rnnd_cancelled_total", cause="client_gone") == 1


def test_a_client_that_vanishes_while_queued_cancels(start):
    daemon = start(workers=1, args=["--rows-active-max", "1"])
    with daemon.stream("/generate", LONG) as first:
        first.open()
        queued = Stream(daemon, "/generate", {**LONG, "seed": 2})
        streamed = daemon.stream("/generate", {**LONG, "seed": 3})
        wait_until(lambda: daemon.metric("rnnd_queue_depth") == 2, "queued")
        queued.close()
        streamed.reset()
        wait_until(lambda: daemon.metric("rnnd_queue_depth") == 0, "both left the queue")
        assert daemon.metric("rnnd_cancelled_total", cause="client_gone") == 2
        assert daemon.metric("rnnd_sequences_active") == 1
    quiet(daemon)


def test_a_client_that_vanishes_while_waiting_for_a_session(start):
    daemon = start(workers=2)
    session = daemon.session("kjv")
    with daemon.stream("/generate", {"session": session, "input": "And ", "max_tokens": 60000}) as first:
        first.open()
        waiting = Stream(daemon, "/predict", {"session": session, "input": "xyz"})
        wait_until(lambda: daemon.get(f"/sessions/{session}").json["waiting"] == 1, "in line")
        waiting.close()
        wait_until(lambda: daemon.get(f"/sessions/{session}").json["waiting"] == 0, "out of the line")
    wait_until(lambda: not daemon.get(f"/sessions/{session}").json["busy"], "free")
    quiet(daemon)


@pytest.mark.long
def test_cancelled_session_stands_after_the_last_token_sent(start):
    """After a disconnect the session stands at some token of the text: the state is that of its prefix."""
    length = 6000 if SLOW else 30000
    for workers in (1, 2):
        daemon = start(workers=workers)
        whole = daemon.ok("/generate", {"model": "kjv", "input": "And ", "seed": 1, "max_tokens": length})
        text = "And " + whole["choices"][0]["text"]
        session = daemon.session("kjv")
        stream = daemon.stream("/generate", {"session": session, "input": "And ", "seed": 1,
                                             "max_tokens": length})
        events = iter(stream)
        seen = [next(events).data for _ in range(20)]
        stream.close()
        wait_until(lambda: not daemon.get(f"/sessions/{session}").json["busy"], "free")
        position = daemon.position(session)
        assert 4 + len(seen) <= position < 4 + length
        here = daemon.ok("/predict", {"session": session, "input": "", "return": ["logits"]})
        there = daemon.ok("/predict", {"model": "kjv", "input": text[:position], "steps": "last",
                                       "return": ["logits"]})
        assert here["outputs"][-1]["logits"] == there["outputs"][-1]["logits"]


def test_cancelled_prediction_changes_nothing(start):
    daemon = start(workers=1)
    session = daemon.session("kjv")
    daemon.ok("/predict", {"session": session, "input": "And "})
    text = "In the beginning God created the heaven and the earth. " * 10000
    request = Stream(daemon, "/predict", {"session": session, "input": text, "steps": "last"})
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 1, "started")
    request.close()
    quiet(daemon)
    assert daemon.position(session) == 4
    assert daemon.metric("rnnd_tokens_total", kind="prompt") < len(text)


# ---- slow readers ----

# nearly a kilobyte an event: more than the kernel's buffers take long before the last one
WIDE = {**LONG, "max_tokens": 12000, "logprobs": 20}

@pytest.mark.long
def test_a_slow_reader_pauses_only_itself(start):
    daemon = start(workers=1, args=["--stream-buffer-bytes", "4096"])
    slow = daemon.stream("/generate", WIDE, receive_buffer=4096)
    slow.open()
    # another client is served as ever
    whole = daemon.ok("/generate", {**LONG, "max_tokens": 1000})
    with daemon.stream("/generate", {**LONG, "max_tokens": 1000}) as quick:
        _, texts, _, _ = collect(quick)
    assert texts[0] == whole["choices"][0]["text"]

    # the slow one's sequence has paused: no step is taken any more
    def still():
        before = daemon.metric("rnnd_steps_total")
        time.sleep(0.3)
        return daemon.metric("rnnd_steps_total") == before
    wait_until(still, "paused")
    assert daemon.metric("rnnd_sequences_active") == 1
    assert daemon.metric("rnnd_tokens_total", kind="generated") < 12000

    # and when it reads on, nothing is lost
    status, texts, done, tokens = collect(slow)
    slow.close()
    assert status == 200 and len(tokens) == 12000
    assert texts[0].startswith(whole["choices"][0]["text"])


@pytest.mark.long
def test_paused_stream_ends_when_its_client_leaves(start):
    daemon = start(workers=1, args=["--stream-buffer-bytes", "4096"])
    slow = daemon.stream("/generate", WIDE, receive_buffer=4096)
    slow.open()

    def still():
        before = daemon.metric("rnnd_steps_total")
        time.sleep(0.3)
        return daemon.metric("rnnd_steps_total") == before
    wait_until(still, "paused")
    slow.close()
    quiet(daemon)
    assert daemon.metric("rnnd_cancelled_total", cause="client_gone") == 1


@pytest.mark.long
def test_reader_that_never_reads_is_dropped(start):
    daemon = start(workers=1, args=["--stream-buffer-bytes", "4096", "--idle-timeout-s", "2"])
    slow = daemon.stream("/generate", WIDE, receive_buffer=4096)
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 1, "started")
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 0, "dropped", guard=GUARD)
    slow.close()
    assert daemon.get("/livez").status == 200


def test_no_status_line_before_the_first_result(start):
    """A stream that waits for its session has not begun: every early fault can still have its status."""
    daemon = start(workers=1, args=["--keepalive-s", "1", "--stream-buffer-bytes", "4096"])
    session = daemon.session("kjv")
    first = daemon.stream("/generate", {**WIDE, "session": session}, receive_buffer=4096)
    first.open()
    second = daemon.stream("/generate", {"session": session, "max_tokens": 5})
    assert not select.select([second.sock], [], [], 2.5)[0]
    first.close()
    status, _, done, _ = collect(second)
    second.close()
    assert status == 200 and done["usage"]["output_steps"] == 5
