"""Crowds: many streams, many sessions, many connections, all at once."""
import concurrent.futures
import resource
import socket
import time

import pytest

from client import SLOW, Stream, collect, expect, wait_until


def descriptors(wanted):
    """Raises our own limit of open files; returns what we got."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = min(wanted, hard) if hard != resource.RLIM_INFINITY else wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def test_64_streams(daemon):
    fields = [{"model": "kjv", "input": "And God said, ", "max_tokens": 250, "seed": i % 8} for i in range(64)]

    def one(f):
        with daemon.stream("/generate", f) as stream:
            return collect(stream)
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        got = list(pool.map(one, fields))
    by_seed = {}
    for f, (status, texts, done, tokens) in zip(fields, got):
        assert status == 200 and len(tokens) >= 1 and done["usage"]["output_steps"] == 250
        by_seed.setdefault(f["seed"], set()).add(texts[0])
    assert all(len(texts) == 1 for texts in by_seed.values())
    assert len(by_seed) == 8
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 0, "all done")


def test_64_streams_share_steps(start):
    """Batching is real: 64 clients take far fewer calls of the engine than tokens."""
    daemon = start(workers=1)
    streams = [daemon.stream("/generate", {"model": "kjv", "input": "And ", "max_tokens": 300, "seed": i})
               for i in range(64)]
    for stream in streams:
        assert collect(stream)[0] == 200
        stream.close()
    metrics = daemon.metrics()
    steps = sum(v for (n, _), v in metrics.items() if n == "rnnd_steps_total")
    rows = sum(v for (n, _), v in metrics.items() if n == "rnnd_step_rows_total")
    assert rows >= 64 * 300
    assert rows / steps > 4


@pytest.mark.parametrize("workers", [1, 2])
def test_10000_open_idle_sessions(start, workers):
    daemon = start(workers=workers)

    def some(n):
        connection = daemon.connect()
        ids = []
        for _ in range(n):
            answer = daemon.request("POST", "/sessions", {"model": "hello"}, connection=connection)
            assert answer.status == 201, answer
            ids.append(answer.json["id"])
        connection.close()
        return ids
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        ids = [i for part in pool.map(some, [2500] * 4) for i in part]
    assert len(set(ids)) == 10000
    assert daemon.metric("rnnd_sessions") == 10000
    # any of them works, and the daemon answers as ever
    for id_ in ids[::500]:
        answer = daemon.ok("/predict", {"session": id_, "input": "hell"})
        assert answer["session"]["position"] == 4 and answer["outputs"][-1]["top"][0]["token"] == "o"
    # all of them can be listed, page by page
    seen, after = set(), None
    while True:
        page = daemon.get("/sessions?limit=1000" + (f"&after={after}" if after else "")).json
        seen |= {view["id"] for view in page["sessions"]}
        after = page["next"]
        if not after:
            break
    assert seen == set(ids)


def test_2000_idle_connections(start):
    descriptors(6000)
    daemon = start(workers=2)
    crowd = []
    for i in range(2000):
        sock = daemon.raw(b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n")
        crowd.append(sock)
        if i % 100 == 99:
            for s in crowd[i - 99:i + 1]:
                assert read_answer_open(s) == 200
    assert daemon.metric("rnnd_connections") >= 2000
    # they cost nobody anything
    whole = daemon.ok("/generate", {"model": "kjv", "input": "And ", "max_tokens": 200, "seed": 3})
    with daemon.stream("/generate", {"model": "kjv", "input": "And ", "max_tokens": 200, "seed": 3}) as stream:
        assert collect(stream)[1][0] == whole["choices"][0]["text"]
    # and each still works
    for sock in crowd[::50]:
        sock.sendall(b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n")
        assert read_answer_open(sock) == 200
    for sock in crowd:
        sock.close()
    wait_until(lambda: daemon.metric("rnnd_connections") <= 2, "all gone")


def read_answer_open(sock):
    """Reads one small answer by hand and leaves the socket open."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = sock.recv(4096)
        assert piece, "closed"
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    length = int([l for l in head.lower().split(b"\r\n") if l.startswith(b"content-length:")][0].split(b":")[1])
    while len(body) < length:
        body += sock.recv(4096)
    return int(head.split()[1])


@pytest.mark.parametrize("workers", [1, 2])
def test_clients_that_come_and_go(start, workers):
    """Streams cut at every moment, beside others that must not notice; then nothing is left behind."""
    daemon = start(workers=workers)
    want = daemon.ok("/generate", {"model": "kjv", "input": "And ", "max_tokens": 400, "seed": 9})["choices"][0]["text"]

    def rude(i):
        for k in range(4 if SLOW else 12):
            stream = daemon.stream("/generate", {"model": "kjv", "input": "And it came to pass ",
                                                 "max_tokens": 60000, "seed": i})
            if k % 4:
                events = iter(stream)
                for _ in range(k * 3):
                    next(events)
            stream.reset() if k % 2 else stream.close()

    def polite(_):
        out = []
        for _ in range(3):
            with daemon.stream("/generate", {"model": "kjv", "input": "And ", "max_tokens": 400, "seed": 9}) as s:
                out.append(collect(s)[1][0])
        return out
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        rudes = [pool.submit(rude, i) for i in range(16)]
        texts = [t for part in pool.map(polite, range(8)) for t in part]
        for future in rudes:
            future.result()
    assert set(texts) == {want}
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 0 and daemon.metric("rnnd_queue_depth") == 0, "quiet")
    wait_until(lambda: daemon.metric("rnnd_connections") <= 1, "no connection left")


def test_half_requests_hold_nothing(start):
    """Long before the timeout of a slow request."""
    daemon = start(workers=1, args=["--request-timeout-s", "3600", "--idle-timeout-s", "3600"])
    halves = [b"", b"P", b"POST /predict HTTP/1.1\r\n", b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Le",
              b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"mod",
              b"POST /predict HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"m"]
    for k in range(240):
        sock = daemon.raw(halves[k % len(halves)])
        if k % 3 == 0:
            sock.shutdown(socket.SHUT_WR)
        sock.close()
    wait_until(lambda: daemon.metric("rnnd_connections") <= 1, "no connection left")
    daemon.ok("/predict", {"model": "hello", "input": "hell"})


@pytest.mark.long
def test_short_requests_beside_long_prompts(start):
    """A prompt of tens of thousands of characters does not starve a stream or a small question."""
    daemon = start(workers=1)
    text = "In the beginning God created the heaven and the earth. " * (500 if SLOW else 1000)
    slow = Stream(daemon, "/predict", {"model": "kjv", "input": text, "steps": "last"})
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 1, "reading")
    answered = 0
    with daemon.stream("/generate", {"model": "kjv", "input": "And ", "max_tokens": 200, "seed": 1}) as stream:
        assert collect(stream)[0] == 200
    for _ in range(20):
        daemon.ok("/predict", {"model": "hello", "input": "hell"})
        answered += 1
    assert daemon.metric("rnnd_sequences_active") >= 1, "the long prompt is still being read"
    answer = slow.answer()
    slow.close()
    assert answer.status == 200 and answer.json["usage"]["input_steps"] == len(text) and answered == 20


def test_sessions_under_concurrency_keep_their_order(daemon):
    """Many clients on many sessions: each session ends where its own sum says, with the state of its text."""
    sessions = [daemon.session("kjv") for _ in range(8)]
    pieces = ["And ", "God ", "said ", "unto ", "Moses ", "thus "]

    def talk(k):
        for piece in pieces:
            daemon.ok("/predict", {"session": sessions[k], "input": piece, "steps": "last"})
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(talk, range(8)))
    want = daemon.ok("/predict", {"model": "kjv", "input": "".join(pieces), "steps": "last", "return": ["logits"]})
    for session in sessions:
        got = daemon.ok("/predict", {"session": session, "input": "", "return": ["logits"]})
        assert got["outputs"][-1]["logits"] == want["outputs"][-1]["logits"]
        expect(daemon.delete(f"/sessions/{session}"), 200)


def test_pipelined_requests(daemon):
    sock = daemon.raw()
    body = b'{"model":"hello","input":"hell"}'
    one = (b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
           % len(body)) + body
    sock.sendall(one * 20)
    got, end = b"", time.monotonic() + 60
    while got.count(b"HTTP/1.1 200") < 20 or not got.rstrip().endswith(b"}"):
        assert time.monotonic() < end
        piece = sock.recv(65536)
        assert piece
        got += piece
    sock.close()
    assert got.count(b'"outputs"') == 20
