"""A daemon under test and a client for it, of the standard library alone.

`Daemon` starts `rnnd serve` on a free port, waits for the log line that carries the bound address, keeps
every log line, and stops by pid.  Stopping checks the exit code and that no sanitizer has spoken, so every
test that uses a daemon is also a test of a clean end.  `Answer` is a whole answer; `Stream` reads server-sent
events as they come.  `GUARD` bounds every wait: it catches hangs and measures nothing.
"""
import http.client
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.abspath(os.environ.get("RNND_BIN") or os.path.join(TOP, "build", "rnnd"))
SHIPPED = os.path.join(TOP, "models", "pretrained")
SLOW = bool(os.environ.get("RNND_TEST_SLOW"))  # a sanitizer's build: the same tests, more patience
GUARD = 900 if SLOW else 200

# what a sanitizer or the C library says when something is badly wrong
ALARMS = re.compile(r"Sanitizer|runtime error:|stack smashing|malloc\(\)|free\(\)|Assertion|MHD_PANIC")


def exact(body):
    """JSON with every number kept as it is spelled, so that equal means equal to the byte."""
    return json.loads(body, parse_float=str, parse_int=str)


def without(obj, *names):
    """A copy without the fields that name or time one request."""
    if isinstance(obj, dict):
        return {k: without(v, *names) for k, v in obj.items() if k not in names}
    if isinstance(obj, list):
        return [without(v, *names) for v in obj]
    return obj


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def exact(self):
        return without(exact(self.body), "id", "timings", "session")

    @property
    def error(self):
        """The error, with its form checked."""
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        assert isinstance(error["message"], str) and error["message"]
        assert isinstance(error["type"], str) and error["type"]
        assert error["param"] is None or isinstance(error["param"], str)
        assert error["code"] is None or isinstance(error["code"], str)
        assert self.headers["content-type"].startswith("application/json")
        return error

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


def expect(answer, status, code=None, param=None):
    """Asserts status and, for an error, its form, code and field; returns the JSON."""
    assert answer.status == status, answer
    if status >= 400:
        error = answer.error
        assert code is None or error["code"] == code, answer
        assert param is None or error["param"] == param, answer
    return answer.json if answer.body else None


class Event:
    def __init__(self, name, data, id_=None):
        self.name, self.text, self.id = name, data, id_

    @property
    def data(self):
        return json.loads(self.text)

    def __repr__(self):
        return f"<{self.name} {self.text[:200]}>"


class Stream:
    """A request whose answer is read event by event over its own connection: a new one, or `sock`."""

    def __init__(self, daemon, path, obj, key=None, headers=(), receive_buffer=None, timeout=None, sock=None):
        self.sock = sock or socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout or GUARD)
        if not sock:
            self.sock.connect(daemon.address)
        body = json.dumps(obj).encode()
        head = [f"POST {path} HTTP/1.1", "Host: test", "Content-Type: application/json",
                f"Content-Length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in headers]
        if key:
            head.append(f"Authorization: Bearer {key}")
        self.sock.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        self.response = None
        self.comments = 0

    def open(self):
        """Waits for the status line; returns the status."""
        if self.response is None:
            self.response = http.client.HTTPResponse(self.sock, method="POST")
            self.response.begin()
        return self.response.status

    @property
    def headers(self):
        self.open()
        return self.response.headers

    def answer(self):
        """The rest as one answer, where it is no stream."""
        self.open()
        return Answer(self.response.status, self.response.headers, self.response.read())

    def __iter__(self):
        self.open()
        name, data, id_ = None, [], None
        while True:
            line = self.response.readline()
            if not line:
                assert name is None and not data, "the stream ended inside an event"
                return
            assert line.endswith(b"\n"), line
            line = line.rstrip(b"\r\n").decode("utf-8")  # fails on a character that was cut
            if not line:
                if data or name:
                    yield Event(name or "message", "\n".join(data), id_)
                name, data, id_ = None, [], None
            elif line.startswith(":"):
                self.comments += 1
            else:
                field, _, value = line.partition(":")
                value = value[1:] if value.startswith(" ") else value
                if field == "event":
                    name = value
                elif field == "id":
                    id_ = value
                elif field == "data":
                    data.append(value)
                else:
                    raise AssertionError(f"a field nobody asked for: {line!r}")

    def close(self):
        if self.response is not None:
            self.response.close()  # http.client holds a second reference to the socket
        self.sock.close()

    def reset(self):
        """Leaves with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def collect(stream):
    """Reads a generate stream to its end and checks its form.
    Returns (status, {index: text}, done, token events)."""
    status = stream.open()
    if status != 200:
        return status, {}, stream.answer().json, []
    assert stream.headers["content-type"].split(";")[0] == "text/event-stream"
    texts, done, tokens = {}, None, []
    for event in stream:
        assert done is None, f"after done: {event}"
        if event.name == "token":
            data = event.data
            texts[data["index"]] = texts.get(data["index"], "") + (data["text"] or "")
            tokens.append(data)
        else:
            assert event.name == "done", event
            done = event.data
    assert done is not None, "a stream ends with done"
    return status, texts, done, tokens


class Daemon:
    def __init__(self, models=SHIPPED, workers=1, args=(), env=None, wait=True, listen="127.0.0.1:0",
                 wrapper=()):
        self.models, self.workers = models, workers
        self.log, self.other = [], []  # JSON lines, lines of another form
        self.address = None
        self.seen = threading.Condition()
        full = {k: v for k, v in os.environ.items() if not k.startswith("RNND_")}
        full.update(env or {})
        command = [*wrapper, BIN, "serve"]
        if models is not None:
            command += ["--models", models]
        if listen is not None:
            command += ["--listen", listen]
        if workers is not None:
            command += ["--workers", str(workers)]
        command += args
        self.process = subprocess.Popen(command, env=full, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        if wait:
            self.wait_ready()

    @property
    def pid(self):
        return self.process.pid

    def _read(self):
        for raw in self.process.stderr:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            with self.seen:
                try:
                    entry = json.loads(line)
                    self.log.append(entry)
                    if self.address is None and isinstance(entry.get("address"), str):
                        host, _, port = entry["address"].rpartition(":")
                        self.address = (host.strip("[]"), int(port))
                except (ValueError, AttributeError):
                    self.other.append(line)
                self.seen.notify_all()
        self.process.wait()
        with self.seen:
            self.seen.notify_all()

    def wait_log(self, predicate, guard=None):
        """The first log line that fits; waits for it."""
        with self.seen:
            ok = self.seen.wait_for(lambda: any(predicate(e) for e in self.log)
                                    or self.process.poll() is not None, guard or GUARD)
            found = [e for e in self.log if predicate(e)]
        assert ok and found, f"no such log line; log: {self.log[-20:]} {self.other[-20:]}"
        return found[0]

    def wait_ready(self):
        self.wait_log(lambda e: "address" in e)
        assert self.address, self.log
        wait_until(lambda: self.get("/readyz").status == 200, "ready")

    # ---- requests ----

    def request(self, method, path, body=None, headers=None, key=None, connection=None, timeout=None):
        """One request; `body` bytes, or an object that becomes JSON."""
        send = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None and not any(k.lower() == "content-type" for k in send):
            send["Content-Type"] = "application/json"
        if key is not None:
            send["Authorization"] = f"Bearer {key}"
        own = connection is None
        connection = connection or self.connect(timeout)
        try:
            connection.request(method, path, body=body, headers=send)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            if own:
                connection.close()

    def connect(self, timeout=None):
        """A keep-alive connection to give to request()."""
        return http.client.HTTPConnection(*self.address, timeout=timeout or GUARD)

    def raw(self, data=b"", timeout=None):
        """A plain socket with `data` sent."""
        sock = socket.create_connection(self.address, timeout=timeout or GUARD)
        if data:
            sock.sendall(data)
        return sock

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, body, **more):
        return self.request("POST", path, body, **more)

    def delete(self, path, **more):
        return self.request("DELETE", path, **more)

    def ok(self, path, body, **more):
        """POST that must succeed; the JSON of the answer."""
        answer = self.post(path, body, **more)
        assert answer.status == 200, answer
        return answer.json

    def session(self, model="kjv", key=None, **more):
        """A new session's id."""
        answer = self.post("/sessions", {"model": model, **more}, key=key)
        assert answer.status == 201, answer
        return answer.json["id"]

    def position(self, session, key=None):
        answer = self.get(f"/sessions/{session}", key=key)
        assert answer.status == 200, answer
        return answer.json["position"]

    def stream(self, path, obj, **more):
        return Stream(self, path, {**obj, "stream": True}, **more)

    def metrics(self, key=None):
        answer = self.get("/metrics", key=key)
        assert answer.status == 200
        return parse_metrics(answer.body.decode())

    def metric(self, name, key=None, **labels):
        """Sum of all samples of `name` that carry these labels."""
        return sum(value for (n, ls), value in self.metrics(key).items()
                   if n == name and all((k, v) in ls for k, v in labels.items()))

    # ---- end ----

    def signal(self, number):
        self.process.send_signal(number)

    def wait_end(self, guard=None):
        """The exit code; kills what does not end."""
        try:
            self.process.wait(guard or GUARD)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not end; log: {self.log[-10:]} {self.other[-10:]}") from None
        finally:
            self.reader.join(10)
            self.process.stdout.close()
            self.process.stderr.close()
        return self.process.returncode

    def check_alarms(self):
        alarms = [line for line in self.other if ALARMS.search(line)]
        assert not alarms, "\n".join(self.other[:80])

    def stop(self):
        """SIGTERM, a clean exit, and nothing from a sanitizer."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        code = self.wait_end()
        self.check_alarms()
        assert code == 0, f"exit code {code}: {self.log[-5:]} {self.other[-40:]}"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self.process.kill()
            self.wait_end()


def wait_until(predicate, what, guard=None, pause=0.02):
    """Polls until true; a hang guard, not a measure."""
    end = time.monotonic() + (guard or GUARD)
    while True:
        value = predicate()
        if value:
            return value
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(pause)


SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')


def parse_metrics(text):
    """Prometheus text (0.0.4) to {(name, ((label, value), …)): number}; strict."""
    out = {}
    assert text.endswith("\n")
    for line in text.split("\n")[:-1]:
        if line.startswith("#"):
            assert re.match(r"^# (HELP|TYPE) [a-z_]+ ?.*$", line), line
            continue
        m = SAMPLE.match(line)
        assert m, f"not a sample: {line!r}"
        name, labels, value = m.groups()
        pairs, rest = [], labels or ""
        while rest:
            lm = LABEL.match(rest)
            assert lm, f"not labels: {labels!r}"
            pairs.append((lm.group(1), lm.group(2)))
            rest = rest[lm.end():]
        sample = (name, tuple(pairs))
        assert sample not in out, f"twice: {sample}"
        out[sample] = float(value)
    return out


def read_all(sock, guard=None):
    """Everything until the peer closes (or nothing more comes within the guard: fails)."""
    end, out = time.monotonic() + (guard or GUARD), b""
    while True:
        left = end - time.monotonic()
        assert left > 0 and select.select([sock], [], [], left)[0], f"still open after {out[:200]!r}"
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            return out
        if not piece:
            return out
        out += piece


def read_answer(sock):
    """One whole answer from a plain socket."""
    response = http.client.HTTPResponse(sock)
    response.begin()
    return Answer(response.status, response.headers, response.read())


def run(*args, env=None, guard=None, input=None):
    """`rnnd ARGS`, run to its end."""
    full = {k: v for k, v in os.environ.items() if not k.startswith("RNND_")}
    full.update(env or {})
    done = subprocess.run([BIN, *args], env=full, capture_output=True, timeout=guard or GUARD,
                          stdin=None if input is not None else subprocess.DEVNULL, input=input)
    done.out = done.stdout.decode("utf-8", "replace")
    done.err = done.stderr.decode("utf-8", "replace")
    assert not ALARMS.search(done.err), done.err
    return done


def write_temporary(text, mode=0o600, suffix=""):
    """A file of this content in a temporary place; the caller removes it."""
    fd, path = tempfile.mkstemp(suffix=suffix)
    with os.fdopen(fd, "w") as f:
        f.write(text)
    os.chmod(path, mode)
    return path
