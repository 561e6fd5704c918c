"""The transport under a real daemon: framing that could smuggle, clients that half-close, stall or vanish,
what a connection costs afterwards (nothing), the access log, and the words to the service manager."""
import json
import os
import select
import signal
import socket
import struct
import time

import pytest

from client import GUARD, Daemon, expect, read_all, read_answer, wait_until

LONG = {"model": "kjv", "input": "In the beginning ", "max_tokens": 60000, "seed": 1}


def post(path, obj, *headers):
    body = json.dumps(obj).encode()
    head = [f"POST {path} HTTP/1.1", "Host: t", f"Content-Length: {len(body)}",
            "Content-Type: application/json", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


GET = b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n"


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


def connections(daemon):
    """Open connections, without the one that asks."""
    return daemon.metric("rnnd_connections") - 1


@pytest.fixture
def level(start):
    """A daemon, and the check that it holds as many descriptors and connections as before."""
    daemon = start(workers=2, args=["--request-timeout-s", "2", "--idle-timeout-s", "4"])
    before = descriptors(daemon)
    yield daemon
    wait_until(lambda: connections(daemon) == 0, "all connections closed")
    wait_until(lambda: descriptors(daemon) <= before, "all descriptors closed")
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 0, "no sequence left")


# ---- Framing ----

@pytest.mark.parametrize("head", [
    "Content-Length: 4\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 4",
    "Content-Length: 4\r\nContent-Length: 4",
    "Content-Length: 4\r\nContent-Length: 40",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: gzip, chunked",
    "Content-Length : 4",
    "Content-Length: -1",
    "Content-Length: 0x4",
    "Content-Length: 4, 4",
    "Content-Length: 99999999999999999999999",
])
def test_ambiguous_framing_smuggles_nothing(daemon, head):
    with daemon.raw(f"POST /predict HTTP/1.1\r\nHost: t\r\n{head}\r\n\r\n".encode()
                    + b"0\r\n\r\n" + b"GET /version HTTP/1.1\r\nHost: t\r\n\r\n") as sock:
        answer = read_all(sock)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 ")), answer[:200]
    assert b" 200 " not in answer, answer


@pytest.mark.parametrize("lines", ["", "Host: a\r\nHost: b\r\n", "Host : a\r\n"])
def test_host_is_needed_once(daemon, lines):
    with daemon.raw(f"GET /livez HTTP/1.1\r\n{lines}\r\n".encode()) as sock:
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 400 "), answer


def test_http_1_0_needs_no_host(daemon):
    with daemon.raw(b"GET /livez HTTP/1.0\r\n\r\n") as sock:
        assert read_all(sock).startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 "))


def test_refusals_carry_a_json_error_and_an_id(daemon):
    with daemon.raw(b"GET /livez HTTP/1.1\r\nX-Request-Id: abc-1\r\n\r\n") as sock:
        response = read_answer(sock)
        assert response.status == 400
        assert response.headers["x-request-id"] == "abc-1"
        assert response.headers["connection"] == "close"
        assert response.error["code"] == "malformed"


@pytest.mark.parametrize("value,status,code", [
    ("-1", 400, "malformed"), ("0x4", 400, "malformed"), ("4, 4", 400, "malformed"), ("", 400, "malformed"),
    ("99999999999999999999999", 413, "too_large")])
def test_a_bad_length_is_told_in_json(daemon, value, status, code):
    """libmicrohttpd refuses it before it asks anybody."""
    head = f"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: {value}\r\n\r\n".encode()
    for pieces in ([head + b"x" * 100], [head[:40], head[40:]], [GET, head]):
        with daemon.raw() as sock:
            for piece in pieces:
                sock.sendall(piece)
                if piece is GET:
                    assert read_answer(sock).status == 200
            response = read_answer(sock)
            assert response.status == status and response.error["code"] == code
            assert "Content-Length" in response.error["message"]
            assert response.headers["connection"] == "close"
            assert read_all(sock) == b""


def test_a_bad_length_beside_others(level):
    """The answer goes to whom it belongs: others are midway through their headers."""
    others = [level.raw(GET[:cut]) for cut in range(1, len(GET)) for _ in range(2)]
    for k in range(20):
        with level.raw(b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\n") as sock:
            assert read_answer(sock).error["code"] == "malformed"
        others[k].sendall(GET[1 + k // 2:])
    for k, sock in enumerate(others):
        if k >= 20:
            sock.sendall(GET[1 + k // 2:])
        assert read_answer(sock).status == 200
        sock.close()


# ---- Uploads ----

def test_an_upload_that_waits_for_leave_is_refused_without_it(level):
    with level.raw(b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 100000000\r\n"
                   b"Expect: 100-continue\r\n\r\n") as sock:
        assert read_all(sock).startswith(b"HTTP/1.1 413 ")


def test_an_upload_gets_leave(level):
    body = b'{"model":"hello","input":"hell"}'
    with level.raw(b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n"
                   b"Expect: 100-continue\r\n\r\n" % len(body)) as sock:
        line = b"HTTP/1.1 100 Continue\r\n\r\n"
        got = b""
        while len(got) < len(line):
            got += sock.recv(len(line) - len(got))
        assert got == line
        sock.sendall(body)
        assert read_answer(sock).status == 200


def test_a_blind_upload_still_reads_its_refusal(level):
    """The client sends all before it reads: no reset may eat the answer."""
    for head in (b"Content-Length: 8388608\r\n", b"Transfer-Encoding: chunked\r\n"):
        with level.raw() as sock:
            sock.sendall(b"POST /predict HTTP/1.1\r\nHost: t\r\n" + head + b"\r\n")
            if b"chunked" in head:
                sock.sendall(b"800000\r\n")
            sock.sendall(b"x" * 8388608)
            response = read_answer(sock)
            assert response.status == 413
            assert response.error["code"] == "too_large"


def test_chunks_of_one_byte(level):
    body = b'{"model":"hello","input":"hell"}'
    chunks = b"".join(b"1\r\n%c\r\n" % c for c in body) + b"0\r\n\r\n"
    with level.raw(b"POST /predict HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n") as sock:
        for i in range(0, len(chunks), 7):
            sock.sendall(chunks[i:i + 7])
        assert read_answer(sock).status == 200


# ---- Clients that leave ----

PHASES = {
    "nothing": b"",
    "request line": b"POST /gen",
    "headers": b"POST /generate HTTP/1.1\r\nHost: t\r\nContent-Le",
    "body": post("/generate", LONG)[:-5],
    "waiting": post("/generate", LONG),
    "streaming": post("/generate", {**LONG, "stream": True}),
    "answered": post("/predict", {"model": "hello", "input": "hell"}),
    "refused": b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 100000000\r\n\r\n",
    "two at once": post("/generate", LONG) + post("/generate", LONG),
}


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("phase", PHASES)
def test_vanishing_leaves_nothing_behind(level, phase, how):
    socks = [level.raw(PHASES[phase]) for _ in range(20)]
    time.sleep(0.05)
    for sock in socks:
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    assert level.get("/livez").status == 200


@pytest.mark.parametrize("phase", PHASES)
def test_half_closing_leaves_nothing_behind(level, phase):
    """The client shuts its sending side, in the same segment if it can, and stays."""
    socks = [level.raw(PHASES[phase]) for _ in range(20)]
    for sock in socks:
        sock.shutdown(socket.SHUT_WR)
    wait_until(lambda: connections(level) == 0, "half-closed connections ended")
    for sock in socks:
        sock.close()


def test_an_answer_given_at_once_reaches_a_half_closing_client(level):
    for _ in range(50):
        with level.raw(GET) as sock:
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock).startswith(b"HTTP/1.1 200 ")


# ---- Slow clients ----

@pytest.mark.parametrize("begin", ["GET /livez HTTP/1.1\r\nHost: t\r\nX-Fill: ",
                                   "POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n"])
def test_a_trickling_request_is_timed_out(level, begin):
    with level.raw(GET) as sock:
        assert read_answer(sock).status == 200
        sock.sendall(begin.encode())  # on a connection that was kept, too
        end = time.monotonic() + GUARD
        while not select.select([sock], [], [], 0.2)[0]:
            assert time.monotonic() < end
            sock.send(b"a")
        assert read_all(sock).startswith(b"HTTP/1.1 408 ")


def test_others_are_served_beside_many_tricklers(level):
    socks = [level.raw(b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n")
             for _ in range(200)]
    expect(level.post("/predict", {"model": "hello", "input": "hell"}), 200)
    for sock in socks:
        assert read_all(sock).startswith(b"HTTP/1.1 408 ")
        sock.close()


# ---- The log ----

def lines(daemon, request_id):
    return [e for e in daemon.log if e["message"] == "request" and e["id"] == request_id]


def test_each_request_has_one_line(start):
    daemon = start()
    cases = [("a", "GET", "/livez", None, 200), ("b", "GET", "/nowhere", None, 404),
             ("c", "POST", "/predict", {"model": "hello", "input": "hell"}, 200),
             ("d", "POST", "/predict", {"model": "hello"}, 400),
             ("e", "GET", "/predict", None, 405)]
    for name, method, path, body, status in cases:
        answer = daemon.request(method, path, body, headers={"X-Request-Id": name})
        assert answer.status == status, answer
        assert answer.headers["x-request-id"] == name
        entry = daemon.wait_log(lambda e: e.get("message") == "request" and e["id"] == name)
        assert entry["status"] == status and entry["method"] == method
        assert entry["bytes"] == len(answer.body)
        assert entry["ms"] >= 0
    for name, *_ in cases:
        assert len(lines(daemon, name)) == 1


@pytest.mark.parametrize("bytes_,status", [
    (b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\n", 400),
    (b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413),
    (b"POST /predict HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (b"GET /livez HTTP/1.1\r\nHost: t\r\nno colon\r\n\r\n", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    (b"GET /livez HTTP/1.1\r\nHost: t\r\nX-Fill: " + b"a" * 200000 + b"\r\n\r\n", 431),
    (b"GET /" + b"a" * 200000 + b" HTTP/1.1\r\nHost: t\r\n\r\n", 414),
], ids=["length", "great length", "chunk", "header line", "version", "headers", "target"])
def test_what_libmicrohttpd_refuses_has_one_line_too(start, bytes_, status):
    daemon = start()
    with daemon.raw(bytes_) as sock:
        assert read_all(sock)[9:12] in (str(status).encode(), b"")  # a reset may eat the answer
    daemon.wait_log(lambda e: e.get("message") == "request" and e["status"] == status)
    daemon.get("/livez", headers={"X-Request-Id": "after"})
    daemon.wait_log(lambda e: e.get("message") == "request" and e["id"] == "after")
    assert [e["status"] for e in daemon.log if e["message"] == "request" and e["status"] >= 400] == [status]
    assert daemon.metric("rnnd_requests_total", code=str(status)) == 1


def test_a_client_that_left_is_499_in_the_log(start):
    daemon = start()
    for stream in (False, True):
        name = f"left-{stream}"
        with daemon.raw(post("/generate", {**LONG, "stream": stream}, f"X-Request-Id: {name}")) as sock:
            if stream:
                assert sock.recv(12) == b"HTTP/1.1 200"
            else:
                wait_until(lambda: daemon.metric("rnnd_sequences_active") > 0, "running")
        entry = daemon.wait_log(lambda e: e.get("message") == "request" and e["id"] == name)
        assert entry["status"] == 499 and entry["route"] == "/generate"


# ---- The service manager ----

@pytest.fixture
def manager(tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(GUARD)
        yield path, lambda: sock.recv(4096).decode()


def next_but(read, *passed_over):
    while True:
        word = read()
        if word not in passed_over:
            return word


def test_the_manager_hears_of_start_reload_and_stop(start, manager):
    path, read = manager
    daemon = start(env={"NOTIFY_SOCKET": path}, workers=2)
    assert read() == "READY=1"
    daemon.signal(signal.SIGHUP)
    reloading = read().split("\n")
    assert reloading[0] == "RELOADING=1" and reloading[1].startswith("MONOTONIC_USEC=")
    assert read() == "READY=1"
    daemon.signal(signal.SIGTERM)
    assert read() == "STOPPING=1"
    assert daemon.wait_end() == 0


def test_the_watchdog_is_fed(start, manager):
    path, read = manager
    daemon = start(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000000"}, workers=2)
    assert read() == "READY=1"
    for _ in range(3):
        assert read() == "WATCHDOG=1"
    daemon.signal(signal.SIGTERM)
    assert next_but(read, "WATCHDOG=1") == "STOPPING=1"
    assert daemon.wait_end() == 0


def test_a_watchdog_for_another_process_is_not_fed(start, manager):
    path, read = manager
    daemon = start(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"})
    assert read() == "READY=1"
    time.sleep(0.5)
    daemon.signal(signal.SIGTERM)
    assert read() == "STOPPING=1"
    assert daemon.wait_end() == 0


# ---- The end ----

@pytest.mark.parametrize("workers", [1, 2])
def test_stopping_with_every_kind_of_connection_open(models_dir, workers):
    """libmicrohttpd aborts where it is stopped with a suspended connection."""
    daemon = Daemon(models_dir, workers=workers, args=["--grace-s", "0"])
    socks = [daemon.raw(data) for data in PHASES.values() for _ in range(5)]
    socks += [daemon.raw(GET) for _ in range(5)]
    wait_until(lambda: daemon.metric("rnnd_sequences_active") > 0, "running")
    daemon.stop()
    for sock in socks:
        sock.close()
