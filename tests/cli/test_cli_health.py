"""rnnd health, and rnnd serve as far as the command line goes."""
import signal
import socket
import subprocess
import threading
import time

import pytest

from client import GUARD, Daemon


@pytest.fixture(scope="module")
def daemon(models_dir):
    with Daemon(models_dir, workers=1) as running:
        yield running


def where(daemon):
    return "%s:%d" % daemon.address


class Peer:
    """A server that accepts one connection and answers with these pieces, whatever is asked."""

    def __init__(self, *pieces, pause=0.0, hold=False):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.asked = b""
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._serve, args=(pieces, pause, hold), daemon=True)
        self.thread.start()

    def _serve(self, pieces, pause, hold):
        sock = self.listener.accept()[0]
        with sock:
            self.asked = sock.recv(4096)
            for piece in pieces:
                sock.sendall(piece)
                time.sleep(pause)
            if hold:
                self.done.wait(GUARD)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join(GUARD)
        self.listener.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/x?y=1"


def test_ready(rnnd, daemon):
    assert rnnd.ok("health", "--listen", where(daemon)) == "ready\n"
    assert rnnd.ok("health", env={"RNND_LISTEN": where(daemon)}) == "ready\n"
    assert rnnd.ok("health", env={"RNND_LISTEN": "0.0.0.0:%d" % daemon.address[1]}) == "ready\n"
    assert rnnd.ok("health", "--url", f"http://{where(daemon)}/livez") == "ready\n"


def test_address_of_the_settings_file(rnnd, daemon, tmp_path):
    conf = tmp_path / "rnnd.conf"
    conf.write_text(f"[server]\nlisten = {where(daemon)}\n")
    assert rnnd.ok("health", "--config", conf) == "ready\n"


def test_not_ready(rnnd, daemon):
    assert "status 404" in rnnd.fails(1, "health", "--url", f"http://{where(daemon)}/nothing")
    with Peer(b"HTTP/1.1 503 Service Unavailable\r\n\r\n") as peer:
        assert "not ready: status 503" in rnnd.fails(1, "health", "--url", peer.url)


def test_what_is_asked(rnnd):
    with Peer(b"HTTP/1.1 200 OK\r\n\r\n") as peer:
        assert rnnd.ok("health", "--url", peer.url) == "ready\n"
    lines = peer.asked.decode().split("\r\n")
    assert lines[0] == "GET /x?y=1 HTTP/1.1"
    assert f"Host: 127.0.0.1:{peer.port}" in lines and "Connection: close" in lines
    assert peer.asked.endswith(b"\r\n\r\n")


def test_an_answer_in_pieces(rnnd):
    with Peer(b"HT", b"TP/1.", b"1 20", b"0 OK", b"\r\n", pause=0.02) as peer:
        assert rnnd.ok("health", "--url", peer.url) == "ready\n"


@pytest.mark.parametrize("answer, wanted", [
    ([b"SSH-2.0-OpenSSH\r\n"], "no HTTP answer"),
    ([b"\r\n"], "no HTTP answer"),
    ([b"x" * 5000], "no HTTP answer"),
    ([], "Connection reset by peer"),
    ([b"HTTP/1.1 200"], "Connection reset by peer"),
])
def test_other_answers(rnnd, answer, wanted):
    with Peer(*answer) as peer:
        assert wanted in rnnd.fails(1, "health", "--url", peer.url)


def test_nobody_there(rnnd):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert f"127.0.0.1 port {port}: Connection refused" in rnnd.fails(1, "health", "--listen", f"127.0.0.1:{port}")
    assert rnnd.fails(1, "health", "--url", "http://[::1]:1/").startswith("rnnd: ::1 port 1: ")
    assert rnnd.fails(1, "health", "--url", "http://no-such-host.invalid/").startswith("rnnd: no-such-host.invalid: ")
    assert "any free port; say which by --url" in rnnd.fails(1, "health", "--listen", "127.0.0.1:0")


@pytest.mark.parametrize("pieces", [[], [b"HTTP/1.1 200 "]])
def test_silence_has_an_end(rnnd, pieces):
    with Peer(*pieces, hold=True) as peer:
        start = time.monotonic()
        assert "Connection timed out" in rnnd.fails(1, "health", "--timeout", 1, "--url", peer.url)
        assert time.monotonic() - start >= 1


# ---- serve ----

def test_without_a_command_it_serves(rnnd, models_dir):
    process = rnnd.start("--listen", "127.0.0.1:0", "--workers", "1", stderr=subprocess.PIPE,
                         stdin=subprocess.DEVNULL)
    for line in process.stderr:
        if b'"address"' in line:
            break
    process.send_signal(signal.SIGTERM)
    process.stderr.read()
    process.stderr.close()
    assert process.wait(GUARD) == 0


def test_flag_over_environment_over_file(models_dir, tmp_path):
    conf = tmp_path / "rnnd.conf"
    conf.write_text("[server]\nworkers = 1\n[limits]\ninputs_max = 3\nchoices_max = 3\nstop_max = 3\n")
    with Daemon(models_dir, workers=None, env={"RNND_CHOICES_MAX": "2", "RNND_STOP_MAX": "2"},
                args=["--config", str(conf), "--stop-max", "1"]) as daemon:
        def status(**body):
            return daemon.post("/generate", {"model": "hello", "max_tokens": 1, "input": "h", **body}).status
        assert status(n=2) == 200 and status(n=3) == 400
        assert status(stop=["a"]) == 200 and status(stop=["a", "b"]) == 400
        assert daemon.post("/predict", {"model": "hello", "inputs": ["h"] * 3}).status == 200
        assert daemon.post("/predict", {"model": "hello", "inputs": ["h"] * 4}).status >= 400


def test_port_in_use(rnnd, daemon):
    run = rnnd("serve", "--listen", where(daemon))
    assert run.returncode == 1 and run.err


def test_no_models(rnnd):
    run = rnnd("serve", "--listen", "127.0.0.1:0", "--models", "/nowhere")
    assert run.returncode == 1 and "/nowhere" in run.err
