"""Bad input and trouble: each gives the documented error, harms nobody, changes nothing."""
import json
import resource
import socket

import pytest

from client import SLOW, Daemon, Stream, expect, read_all, read_answer, wait_until

PATHS = ["/predict", "/generate", "/score"]
EVERY = PATHS + ["/sessions", "/tokenize", "/detokenize"]


def alive(daemon):
    answer = daemon.ok("/predict", {"model": "hello", "input": "hell"})
    assert answer["outputs"][-1]["top"][0]["token"] == "o"


BAD_JSON = {
    "empty": b"",
    "space": b"   \n",
    "truncated object": b'{"model":"hello","input":"he',
    "truncated string": b'{"model":"hello","input":"he\\',
    "no value": b'{"model":}',
    "single quotes": b"{'model':'hello'}",
    "trailing comma": b'{"model":"hello","input":"h",}',
    "two values": b'{"model":"hello","input":"h"}{}',
    "text after": b'{"model":"hello","input":"h"} x',
    "comment": b'{"model":"hello",/* x */"input":"h"}',
    "bare word": b"hello",
    "NaN": b'{"model":"sensor","input":[[NaN,0,0]]}',
    "Infinity": b'{"model":"sensor","input":[[Infinity,0,0]]}',
    "leading zero": b'{"model":"hello","input":[01]}',
    "plus": b'{"model":"hello","input":[+1]}',
    "hex": b'{"model":"hello","input":[0x1]}',
    "bare point": b'{"model":"hello","input":[1.]}',
    "control character": b'{"model":"hello","input":"h\x01"}',
    "raw newline": b'{"model":"hello","input":"h\n"}',
    "bad escape": b'{"model":"hello","input":"\\x41"}',
    "short escape": b'{"model":"hello","input":"\\u12"}',
    "lone surrogate": b'{"model":"hello","input":"\\ud800"}',
    "reversed surrogates": b'{"model":"hello","input":"\\udc00\\ud800"}',
    "not UTF-8": b'{"model":"hello","input":"\xff\xfe"}',
    "overlong UTF-8": b'{"model":"hello","input":"\xc0\x80"}',
    "UTF-8 surrogate": b'{"model":"hello","input":"\xed\xa0\x80"}',
    "cut UTF-8": b'{"model":"hello","input":"\xe2\x82"}',
    "above Unicode": b'{"model":"hello","input":"\xf4\x90\x80\x80"}',
    "UTF-16": '{"model":"hello","input":"h"}'.encode("utf-16"),
    "zero bytes": b"\0" * 100,
    "nested arrays": b"[" * 100000,
    "nested objects": b'{"input":' * 20000,
    "nested and closed": b'{"model":"hello","input":' + b"[" * 2000 + b"]" * 2000 + b"}",
    "duplicate field": b'{"model":"hello","input":"h","input":"e"}',
    "array": b"[]",
    "string": b'"hello"',
    "null": b"null",
    "number": b"12",
}


@pytest.mark.parametrize("path", EVERY)
@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json(daemon, path, name):
    answer = daemon.post(path, BAD_JSON[name])
    assert answer.status == 400, (name, answer)
    assert answer.error["code"] in ("malformed", "out_of_range")


def test_after_bad_json_all_is_well(daemon):
    connection = daemon.connect()
    for body in BAD_JSON.values():
        assert daemon.request("POST", "/predict", body, connection=connection).status == 400
    alive(daemon)
    connection.close()


@pytest.mark.parametrize("number", ["1e309", "-1e400", "1e39", "-3.5e38", "9" * 400])
def test_numbers_beyond_float32(daemon, number):
    body = b'{"model":"sensor","input":[[0,%s,0]]}' % number.encode()
    answer = daemon.post("/predict", body)
    assert answer.status == 400 and answer.error["param"] in ("input[0][1]", None), answer


@pytest.mark.parametrize("number", ["1e-400", "1e-46", "3.4e38", "-0.0", "1E5", "0.1e-3", "1e-45"])
def test_odd_but_finite_numbers(daemon, number):
    answer = daemon.post("/predict", b'{"model":"sensor","input":[[0,%s,0]]}' % number.encode())
    assert answer.status == 200, answer
    assert b"NaN" not in answer.body and b"nan" not in answer.body and b"inf" not in answer.body


WRONG_TYPES = {
    "model": [7, True, ["hello"], {}],
    "session": [7, True, ["x"], {}],
    "commit": ["true", 1, [], {}],
    "if_busy": ["maybe", 1, True, []],
    "expect_position": ["0", -1, 1.5, True, []],
    "deadline_ms": ["10", -1, 1.5, True, 1e300],
}
OWN_TYPES = {
    "/predict": {
        "steps": ["first", 1, True, []],
        "top_k": ["5", -1, 2.5, True, [], 1e300],
        "return": ["logits", ["logit"], [1], 1, {}],
    },
    "/generate": {
        "max_tokens": ["5", -1, 2.5, True, [], 1e300, 10 ** 12],
        "temperature": ["1", -0.1, True, [], 1e300],
        "top_k": ["5", -1, 2.5, True, []],
        "top_p": ["1", -0.1, 1.1, True, []],
        "min_p": ["1", -0.1, 1.1, True, []],
        "typical_p": ["1", -0.1, 1.1, True, []],
        "repetition_penalty": ["1", 0, -1, True, []],
        "presence_penalty": ["1", True, []],
        "frequency_penalty": ["1", True, []],
        "logit_bias": ["e", 1, [1], {"e": "x"}, {"e": True}, {"e": []}],
        "stop": [1, True, [1], [""], "", {}, [["a"]], ["a"] * 1000],
        "seed": ["1", -1, 1.5, True, [], 1e300],
        "n": ["1", 0, -1, 1.5, True, [], 10 ** 6],
        "logprobs": ["1", -1, 1.5, [], 10 ** 6],
        "echo": ["true", 1, []],
        "stream": ["true", 1, []],
    },
    "/score": {},
}


@pytest.mark.parametrize("path", PATHS)
def test_wrong_types_name_the_field(daemon, path):
    for field, values in {**WRONG_TYPES, **OWN_TYPES[path]}.items():
        for value in values:
            answer = daemon.post(path, {"model": "hello", "input": "he", field: value})
            assert answer.status in (400, 422), (field, value, answer)
            error = answer.error
            assert error["param"] and error["param"].startswith(field), (field, value, answer)
            assert field in error["message"], (field, value, answer)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("value,param", [
    (7, "input"), (True, "input"), ({}, "input"), (None, "input"),
    ([0, "h"], "input[1]"), ([0, None], "input[1]"), ([0, 1.5], "input[1]"), ([0, -1], "input[1]"),
    ([0, 4], "input[1]"), ([0, 1e18], "input[1]"), ([0, [1]], "input[1]"), ([[1], 0], "input[1]"),
    ([0, True], "input[1]"), ([{}], "input[0]"),
])
def test_bad_input(daemon, path, value, param):
    answer = daemon.post(path, {"model": "hello", "input": value})
    assert answer.status in (400, 422), answer
    assert answer.error["param"] == param, answer


@pytest.mark.parametrize("value,status,param", [
    ([[1, 2]], 422, "input[0]"), ([[1, 2, 3], [1, 2, 3, 4]], 422, "input[1]"), ([[]], 422, "input[0]"),
    ([[1, 2, "3"]], 400, "input[0][2]"), ([[1, 2, None]], 400, "input[0][2]"),
    ([[1, 2, 3], [1, 2, [3]]], 400, "input[1][2]"), ("abc", 422, "input"), ([1, 2, 3], 422, "input"),
])
def test_bad_frames(daemon, value, status, param):
    answer = daemon.post("/predict", {"model": "sensor", "input": value})
    assert answer.status == status, answer
    assert answer.error["param"].startswith(param), answer


def test_frames_for_a_model_of_tokens(daemon):
    expect(daemon.post("/predict", {"model": "hello", "input": [[1, 0, 0, 0]]}), 422)


def test_inputs_name_the_faulty_one(daemon):
    answer = daemon.post("/predict", {"model": "hello", "inputs": ["he", [0, 9], "h"]})
    assert answer.status in (400, 422) and answer.error["param"] == "inputs[1][1]", answer
    answer = daemon.post("/predict", {"model": "hello", "inputs": ["he", "hex"]})
    assert answer.status == 422 and answer.error["param"] == "inputs[1]", answer


@pytest.mark.parametrize("fields", [{"input": "h", "inputs": ["h"]}, {"inputs": "h"}, {"inputs": []},
                                    {"inputs": {}}, {}, {"inputs": ["h"] * 5000}])
def test_input_or_inputs(daemon, fields):
    answer = daemon.post("/predict", {"model": "hello", **fields})
    assert answer.status in (400, 413, 422), answer
    assert answer.error["param"].startswith("input"), answer


def test_empty_input_without_a_session(daemon):
    for path in PATHS:
        for empty in ("", []):
            answer = daemon.post(path, {"model": "hello", "input": empty, "max_tokens": 2}
                                 if path == "/generate" else {"model": "hello", "input": empty})
            assert answer.status in (200, 400, 422), answer


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("text,offset", [("And € God", 4), ("€", 0), ("And God ©", 8), ("a😀", 1)])
def test_unknown_character(daemon, path, text, offset):
    answer = daemon.post(path, {"model": "kjv", "input": text})
    expect(answer, 422, "unknown_character", "input")
    assert str(offset) in answer.error["message"], answer


def test_unknown_character_offset_counts_bytes_or_characters_consistently(daemon):
    answer = daemon.post("/predict", {"model": "multibyte", "input": "日本€Q"})
    expect(answer, 422, "unknown_character", "input")
    assert "9" in answer.error["message"], answer  # bytes


def test_declared_unknown_id_is_used(daemon):
    known = daemon.post("/predict", {"model": "unknown", "input": [1, 0, 2], "return": ["logits"]})
    text = daemon.post("/predict", {"model": "unknown", "input": "xQy", "return": ["logits"]})
    assert text.status == 200 and text.exact == known.exact


@pytest.mark.parametrize("path", EVERY)
@pytest.mark.parametrize("field", ["modle", "Input", "tempreature", "a.b", "", "x" * 300, "日本"])
def test_unknown_fields_are_named(daemon, path, field):
    base = {"model": "hello", "input": "he"}
    if path == "/sessions":
        base = {"model": "hello"}
    if path == "/tokenize":
        base = {"model": "hello", "text": "he"}
    if path == "/detokenize":
        base = {"model": "hello", "tokens": [1]}
    answer = daemon.post(path, {**base, field: 1})
    expect(answer, 400, "malformed")
    if 0 < len(field) < 50:
        assert answer.error["param"] == field and field in answer.error["message"], answer


# ---- a rejected request has changed nothing ----

REJECTED = [
    ("/predict", {"input": "he", "top_k": -1}), ("/predict", {"input": "heQ"}),
    ("/predict", {"input": "he", "expect_position": 77}), ("/predict", {"input": "he", "candidates": ["x"]}),
    ("/predict", {"input": [[1, 2]]}), ("/generate", {"input": "he", "temperature": -3}),
    ("/generate", {"input": "hQ"}), ("/generate", {"input": "h", "stop": [""]}),
    ("/generate", {"input": "h", "logit_bias": {"nope": 1}}), ("/generate", {"input": "h", "n": 3}),
    ("/score", {"input": "heQ"}), ("/score", {"input": "he", "nonsense": 1}),
    ("/predict", {"input": "he", "model": "kjv"}),
]


@pytest.mark.parametrize("path,fields", REJECTED)
def test_rejected_request_changes_nothing(daemon, path, fields):
    session = daemon.session("hello")
    daemon.ok("/predict", {"session": session, "input": "he"})
    state = daemon.post("/predict", {"session": session, "input": "", "return": ["logits", "hidden"]}).exact
    steps = daemon.metric("rnnd_tokens_total")
    answer = daemon.post(path, {"session": session, **fields})
    assert 400 <= answer.status < 500, answer
    assert daemon.metric("rnnd_tokens_total") == steps
    assert daemon.position(session) == 2
    assert daemon.post("/predict", {"session": session, "input": "", "return": ["logits", "hidden"]}).exact == state


def test_rejected_batch_computes_nothing(daemon):
    steps = daemon.metric("rnnd_tokens_total")
    assert daemon.post("/predict", {"model": "hello", "inputs": ["hell"] * 20 + ["Q"]}).status == 422
    assert daemon.metric("rnnd_tokens_total") == steps


# ---- limits ----

def test_body_too_large(start):
    daemon = start(workers=1, args=["--body-max-bytes", "10000"])
    expect(daemon.post("/predict", {"model": "hello", "input": "h" * 9000}), 200)
    # told by its length: refused before it is read
    sock = daemon.raw(b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
                      b"Content-Length: 99999999\r\n\r\n")
    with sock:
        expect(read_answer(sock), 413, "too_large")
    # chunked, with no length to tell
    sock = daemon.raw(b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
                      b"Transfer-Encoding: chunked\r\n\r\n")
    with sock:
        try:
            for _ in range(40):
                sock.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
        except OSError:
            pass  # closed while we were still sending
        try:
            expect(read_answer(sock), 413, "too_large")
        except ConnectionResetError:
            pass
    alive(daemon)


def test_headers_too_large(start):
    daemon = start(workers=1)
    sock = daemon.raw(b"GET /livez HTTP/1.1\r\nHost: t\r\nX-Big: " + b"a" * 60000 + b"\r\n\r\n")
    with sock:
        got = read_all(sock)
    assert got == b"" or b" 431 " in got.split(b"\r\n")[0] or b" 400 " in got.split(b"\r\n")[0]
    sock = daemon.raw(b"GET /" + b"a" * 60000 + b" HTTP/1.1\r\nHost: t\r\n\r\n")
    with sock:
        got = read_all(sock)
    assert got == b"" or b" 414 " in got.split(b"\r\n")[0] or b" 431 " in got.split(b"\r\n")[0]
    alive(daemon)


def test_limits_of_a_request(start):
    daemon = start(workers=1, args=["--input-steps-max", "100", "--inputs-max", "3", "--output-tokens-max", "50",
                                    "--choices-max", "2", "--stop-max", "2", "--json-depth-max", "8"])
    daemon.ok("/predict", {"model": "hello", "input": "h" * 100})
    for path, fields, param in [
            ("/predict", {"input": "h" * 101}, "input"), ("/predict", {"input": [0] * 101}, "input"),
            ("/predict", {"inputs": ["h" * 60, "h" * 60]}, "inputs"), ("/predict", {"inputs": ["h"] * 4}, "inputs"),
            ("/generate", {"input": "h", "max_tokens": 51}, "max_tokens"), ("/generate", {"input": "h", "n": 3}, "n"),
            ("/generate", {"input": "h", "stop": ["a", "b", "c"]}, "stop"), ("/score", {"input": "h" * 101}, "input")]:
        answer = daemon.post(path, {"model": "hello", **fields})
        assert answer.status in (400, 413, 422), (path, fields, answer)
        assert answer.error["param"].startswith(param), (path, fields, answer)
    expect(daemon.post("/predict", b'{"model":"hello","input":' + b"[" * 9 + b"]" * 9 + b"}"), 400)
    alive(daemon)


def test_answer_too_large(start):
    daemon = start(workers=1, args=["--answer-max-bytes", "65536"])
    session = daemon.session("kjv")
    answer = daemon.post("/predict", {"session": session, "input": "And God said " * 100, "steps": "all",
                                      "return": ["logits", "hidden"]})
    assert answer.status in (400, 413, 422), answer
    assert daemon.position(session) == 0
    alive(daemon)


def test_queue_full(start):
    daemon = start(workers=1, args=["--queue-max", "2", "--rows-active-max", "1"])
    long = {"model": "kjv", "input": "And ", "max_tokens": 60000}
    with daemon.stream("/generate", long) as running:
        running.open()
        waiting = []
        for i in range(2):
            waiting.append(Stream(daemon, "/predict", {"model": "hello", "input": "hell"}))
            wait_until(lambda n=i + 1: daemon.metric("rnnd_queue_depth") == n, "queued")
        answer = daemon.post("/predict", {"model": "hello", "input": "hell"})
        expect(answer, 429, "queue_full")
        assert int(answer.headers["retry-after"]) >= 1
        assert daemon.metric("rnnd_rejected_total", reason="queue_full") == 1
        with daemon.stream("/generate", long) as refused:  # a stream has a true status, too
            refused.open()
            expect(refused.answer(), 429, "queue_full")
        assert daemon.get("/livez").status == 200
    for stream in waiting:
        assert stream.answer().status == 200
        stream.close()


# ---- deadlines ----

def test_deadline_of_a_prediction(daemon):
    session = daemon.session("kjv")
    text = "In the beginning God created the heaven and the earth. " * 15000
    answer = daemon.post("/predict", {"session": session, "input": text, "steps": "last", "deadline_ms": 30})
    expect(answer, 504, "deadline")
    assert daemon.position(session) == 0
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 0, "given up")


def test_deadline_of_a_text_gives_what_there_is(daemon):
    fields = {"model": "kjv", "input": "And ", "max_tokens": 65000, "deadline_ms": 150, "seed": 3}
    choice = daemon.ok("/generate", fields)["choices"][0]
    assert choice["finish_reason"] == "deadline"
    assert 0 < len(choice["text"]) < 65000
    again = daemon.ok("/generate", {**fields, "max_tokens": len(choice["text"]), "deadline_ms": 60000})
    assert again["choices"][0]["text"] == choice["text"]


def test_deadline_of_a_stream(daemon):
    session = daemon.session("kjv")
    with daemon.stream("/generate", {"session": session, "input": "And ", "max_tokens": 65000,
                                     "deadline_ms": 150, "seed": 3}) as stream:
        events = list(stream)
    assert events[-1].name == "done"
    done = events[-1].data
    assert done["choices"][0]["finish_reason"] == "deadline"
    assert done["session"]["position"] == daemon.position(session) == 4 + done["usage"]["output_steps"]


def test_deadline_in_the_queue(start):
    daemon = start(workers=1, args=["--rows-active-max", "1"])
    with daemon.stream("/generate", {"model": "kjv", "input": "And ", "max_tokens": 60000}) as running:
        running.open()
        expect(daemon.post("/predict", {"model": "hello", "input": "hell", "deadline_ms": 50}), 504, "deadline")
        expect(daemon.post("/generate", {"model": "hello", "input": "hell", "deadline_ms": 50}), 504, "deadline")
    assert daemon.metric("rnnd_cancelled_total", cause="deadline") == 2


def test_deadline_in_the_line_of_a_session(daemon):
    session = daemon.session("kjv")
    with daemon.stream("/generate", {"session": session, "input": "And ", "max_tokens": 60000}) as running:
        running.open()
        expect(daemon.post("/predict", {"session": session, "input": "x", "deadline_ms": 50}), 504, "deadline")
        wait_until(lambda: daemon.get(f"/sessions/{session}").json["waiting"] == 0, "out of the line")


def test_configured_deadline(start):
    daemon = start(workers=1, args=["--deadline-ms", "40"])
    text = "In the beginning God created the heaven and the earth. " * 15000
    expect(daemon.post("/predict", {"model": "kjv", "input": text, "steps": "last"}), 504, "deadline")


# ---- resources ----

def test_out_of_file_descriptors(models_dir):
    """A daemon with few descriptors refuses or delays connections, and serves again afterwards."""
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    import subprocess
    original = subprocess.Popen

    class Limited(original):
        def __init__(self, *args, **more):
            super().__init__(*args, preexec_fn=few, **more)
    subprocess.Popen = Limited
    try:
        daemon = Daemon(models_dir, workers=1)
    finally:
        subprocess.Popen = original
    with daemon:
        crowd = []
        for _ in range(150):
            try:
                crowd.append(socket.create_connection(daemon.address, timeout=5))
            except OSError:
                break
        assert daemon.process.poll() is None
        for sock in crowd:
            sock.close()
        wait_until(lambda: _alive_now(daemon), "serving again")


def _alive_now(daemon):
    try:
        return daemon.get("/livez", timeout=5).status == 200
    except OSError:
        return False


def test_connection_limit(start):
    daemon = start(workers=2, args=["--connections-max", "20"])
    crowd = []
    for _ in range(60):
        try:
            crowd.append(socket.create_connection(daemon.address, timeout=5))
        except OSError:
            break
    for sock in crowd:
        sock.close()
    wait_until(lambda: _alive_now(daemon), "serving again")
    alive(daemon)


def test_many_small_faults_in_a_row_leak_nothing(start):
    daemon = start(workers=1)
    bodies = list(BAD_JSON.values())[:20] + [json.dumps(f).encode() for f in (
        {"model": "hello", "input": "hex"}, {"model": "nobody", "input": "h"}, {"session": "none", "input": "h"})]
    connection = daemon.connect()

    def rss():
        with open(f"/proc/{daemon.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * 4096
    for body in bodies * 20:
        daemon.request("POST", "/predict", body, connection=connection)
    before = rss()
    for body in bodies * 100:
        daemon.request("POST", "/predict", body, connection=connection)
    connection.close()
    if not SLOW:  # a sanitizer keeps freed memory back
        assert rss() - before < 3_000_000
