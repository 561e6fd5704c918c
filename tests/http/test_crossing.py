"""Requests that cross: the connection belongs to one worker, the session to the other.

Clients leave midway through them in every way; the session must be free soon, stand where its promise says, and
nothing may be left on either side.
"""
import concurrent.futures
import random
import socket
import time

import pytest

from client import GUARD, SLOW, Stream, collect, expect, read_answer, wait_until

WORKERS = 2
LONG = {"input": "And ", "max_tokens": 60000, "seed": 1}
LENGTH = 1500 if SLOW else 6000
TEXT = "In the beginning God created the heaven and the earth. " * 5000


def worker_of(session):
    """Which worker has the session: the daemon's hash of its id."""
    h = 0xcbf29ce484222325
    for byte in session.encode():
        h = (h ^ byte) * 0x100000001b3 & (1 << 64) - 1
    return ((h ^ h >> 32) & 0xffffffff) % WORKERS


def mint(daemon, sock):
    """A session made over this connection; ids are minted by the connection's worker for itself."""
    body = b'{"model":"kjv"}'
    sock.sendall(b"POST /sessions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
                 b"Content-Length: %d\r\n\r\n" % len(body) + body)
    return expect(read_answer(sock), 201)["id"]


def connection_of(daemon, worker, receive_buffer=None):
    """A connection that this worker serves."""
    others = []
    while True:
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(GUARD)
        sock.connect(daemon.address)
        session = mint(daemon, sock)
        daemon.delete(f"/sessions/{session}")
        if worker_of(session) == worker:
            break
        others.append(sock)  # open for now: the next is dealt to whoever has fewer
    for other in others:
        other.close()
    return sock


def crossed(daemon, session, receive_buffer=None):
    """A connection that is served by another worker than the session."""
    return connection_of(daemon, 1 - worker_of(session), receive_buffer)


def busy(daemon, session):
    return daemon.get(f"/sessions/{session}").json["busy"]


def free(daemon, session):
    """Waits until nobody holds the session; its position then."""
    wait_until(lambda: not busy(daemon, session), "the session is free")
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 0, "nothing runs")
    return daemon.position(session)


@pytest.fixture
def two(start):
    """A daemon of two workers that is left as it was found."""
    daemon = start(workers=WORKERS, args=["--stream-buffer-bytes", "4096"])
    yield daemon
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 0, "no sequence left")
    wait_until(lambda: daemon.metric("rnnd_queue_depth") == 0, "no queue left")
    wait_until(lambda: daemon.metric("rnnd_connections") <= 1, "no connection left")


@pytest.fixture(params=range(WORKERS))
def session(two, request):
    """A session of each worker in turn."""
    with connection_of(two, request.param) as sock:
        made = mint(two, sock)
    assert worker_of(made) == request.param
    return made


leaving = pytest.mark.parametrize("leave", ["close", "reset"])


def test_ids_are_minted_by_the_worker_of_the_connection(two):
    """What every test here stands on."""
    for worker in range(WORKERS):
        with connection_of(two, worker) as sock:
            made = [mint(two, sock) for _ in range(24)]
        assert {worker_of(id_) for id_ in made} == {worker}
        for id_ in made:
            two.delete(f"/sessions/{id_}")


@leaving
@pytest.mark.parametrize("stream", [False, True])
def test_leaving_while_it_generates(two, session, leave, stream):
    whole = two.ok("/generate", {"model": "kjv", **LONG, "max_tokens": LENGTH})
    text = "And " + whole["choices"][0]["text"]
    request = Stream(two, "/generate", {"session": session, **LONG, "max_tokens": LENGTH, "stream": stream},
                     sock=crossed(two, session))
    if stream:
        events = iter(request)
        seen = [next(events).data for _ in range(20)]
    else:
        wait_until(lambda: busy(two, session), "running")
        seen = []
    getattr(request, leave)()
    position = free(two, session)
    # the state is that of a prefix: nothing half done, and no token that was seen is lost
    assert len(seen) <= position <= len(text)
    if position == 0:  # gone before the first token
        return
    here = two.ok("/predict", {"session": session, "input": "", "return": ["logits"]})
    there = two.ok("/predict", {"model": "kjv", "input": text[:position], "steps": "last", "return": ["logits"]})
    assert here["outputs"][-1]["logits"] == there["outputs"][-1]["logits"]


@leaving
@pytest.mark.parametrize("path,more", [("/predict", {"steps": "last"}), ("/score", {})])
def test_leaving_while_it_reads(two, session, leave, path, more):
    two.ok("/predict", {"session": session, "input": "And ", "steps": "last"})
    gone = two.metric("rnnd_cancelled_total", cause="client_gone")
    request = Stream(two, path, {"session": session, "input": TEXT, **more}, sock=crossed(two, session))
    wait_until(lambda: busy(two, session), "running")
    getattr(request, leave)()
    assert free(two, session) == 4
    assert two.metric("rnnd_cancelled_total", cause="client_gone") == gone + 1
    assert two.metric("rnnd_tokens_total", kind="prompt") < len(TEXT)


@leaving
@pytest.mark.parametrize("path,body", [
    ("/predict", {"input": "xyz"}), ("/generate", {"input": "xyz", "max_tokens": 5}),
    ("/generate", {"input": "xyz", "max_tokens": 5, "stream": True}), ("/score", {"input": "xyz"}),
    ("reset", {}), ("fork", {"count": 3})])
def test_leaving_while_it_waits_in_line(two, session, leave, path, body):
    with Stream(two, "/generate", {"session": session, **LONG, "stream": True}, receive_buffer=4096) as first:
        first.open()
        if path.startswith("/"):
            waiting = Stream(two, path, {"session": session, **body}, sock=crossed(two, session))
        else:
            waiting = Stream(two, f"/sessions/{session}/{path}", body, sock=crossed(two, session))
        wait_until(lambda: two.get(f"/sessions/{session}").json["waiting"] == 1, "in line")
        getattr(waiting, leave)()
        wait_until(lambda: two.metric("rnnd_connections") <= 2, "the daemon has seen it leave")
        if path.startswith("/"):
            wait_until(lambda: two.get(f"/sessions/{session}").json["waiting"] == 0, "out of the line")
    position = free(two, session)
    assert position >= 5, "nobody has reset it"
    assert two.metric("rnnd_sessions") == 1, "nobody has forked it"
    assert two.ok("/predict", {"session": session, "input": "a"})["session"]["position"] == position + 1


@pytest.mark.long
@leaving
def test_leaving_while_its_stream_is_full(two, session, leave):
    """The sequence waits on one worker for an acknowledgement from the other, which never comes."""
    request = Stream(two, "/generate", {"session": session, **LONG, "stream": True, "logprobs": 20},
                     sock=crossed(two, session, receive_buffer=4096))
    request.open()

    def still():
        before = two.metric("rnnd_steps_total")
        time.sleep(0.3)
        return two.metric("rnnd_steps_total") == before
    wait_until(still, "paused")
    assert two.metric("rnnd_sequences_active") == 1
    getattr(request, leave)()
    assert 4 <= free(two, session) <= 60004


@leaving
def test_deleting_while_its_client_leaves(two, leave):
    """Both ends of a stream end it at once: from one worker the deletion, from the other the leaving."""
    for turn in range(4 if SLOW else 20):
        with connection_of(two, turn % WORKERS) as sock:
            session = mint(two, sock)
        request = Stream(two, "/generate", {"session": session, **LONG, "stream": True}, sock=crossed(two, session))
        next(iter(request))
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            deleting = pool.submit(two.delete, f"/sessions/{session}")
            pool.submit(getattr(request, leave)).result()
            expect(deleting.result(), 200)
        expect(two.get(f"/sessions/{session}"), 404, "no_session")
    assert two.metric("rnnd_sessions") == 0


def test_a_crowd_that_crosses_and_leaves(two):
    """Beside them, others whose requests cross too notice nothing."""
    def rude(k):
        rng = random.Random(k)
        with connection_of(two, k % WORKERS) as sock:
            session = mint(two, sock)
        for _ in range(3 if SLOW else 10):
            path, more = rng.choice([("/generate", {**LONG, "stream": True}), ("/generate", LONG),
                                     ("/predict", {"input": TEXT, "steps": "last"}), ("/score", {"input": TEXT})])
            request = Stream(two, path, {"session": session, **more}, sock=crossed(two, session))
            if more.get("stream"):
                events = iter(request)
                for _ in range(rng.choice([0, 1, 30])):
                    next(events)
            getattr(request, rng.choice(["close", "reset"]))()
        return session

    def polite(k):
        with connection_of(two, k % WORKERS) as sock:
            session = mint(two, sock)
        texts = []
        for _ in range(3):
            with Stream(two, "/generate", {"session": session, "input": "And ", "max_tokens": 300, "seed": 9,
                                           "stream": True}, sock=crossed(two, session)) as request:
                texts.append(collect(request)[1][0])
            expect(two.post(f"/sessions/{session}/reset", None), 200)
        return texts, session

    want = two.ok("/generate", {"model": "kjv", "input": "And ", "max_tokens": 300, "seed": 9})["choices"][0]["text"]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        rudes = [pool.submit(rude, k) for k in range(10)]
        for texts, session in pool.map(polite, range(6)):
            assert texts == [want] * 3
            expect(two.delete(f"/sessions/{session}"), 200)
        sessions = [future.result() for future in rudes]
    for session in sessions:
        free(two, session)
        expect(two.delete(f"/sessions/{session}"), 200)
    assert two.metric("rnnd_sessions") == 0
