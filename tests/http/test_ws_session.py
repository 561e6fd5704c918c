"""The streaming session: requests on a WebSocket say what the endpoints say, in order, and end as they should."""
import array
import base64
import json
import signal
import time

import pytest

from client import SLOW, expect, without, wait_until, write_temporary
from test_crossing import crossed
from websocket import PING, TEXT, Closed, Refused, WebSocket, close_frame, frame

KJV = "/stream?model=kjv"
LONG = {"input": "And ", "max_tokens": 60000, "seed": 1}
TEXT_ = "In the beginning God created the heaven and the earth. "


def plain(answer):
    """An answer but for what names, times and places one request."""
    return without(answer, "id", "timings", "session")


def floats(values):
    return array.array("f", values).tobytes()


@pytest.fixture
def kjv(daemon):
    with WebSocket(daemon, KJV) as ws:
        yield ws


# ---- The same answers as over HTTP ----

GENERATES = [
    ("multibyte", {"input": "日本", "seed": 1, "max_tokens": 90}),
    ("multibyte", {"input": "é", "seed": 4, "max_tokens": 150, "stop": ["😀"]}),
    ("multibyte", {"input": "é", "seed": 4, "max_tokens": 150, "stop": ["\"\\"]}),
    ("multibyte", {"input": "é", "seed": 5, "max_tokens": 60, "stop": ["\n", "\u2028"]}),
    ("kjv", {"input": "Now ", "seed": 6, "max_tokens": 150, "stop": ["the ", ". "]}),
    ("kjv", {"input": "Now ", "seed": 7, "max_tokens": 50, "echo": True}),
    ("kjv", {"input": "Now ", "seed": 7, "max_tokens": 1}),
    ("kjv", {"input": "Now ", "seed": 7, "max_tokens": 0}),
    ("kjv", {"input": "Now ", "seed": 8, "max_tokens": 40, "n": 4, "stop": ["th"], "commit": False}),
    ("ids", {"input": [3, 1], "seed": 3, "max_tokens": 20}),
]


@pytest.mark.parametrize("model,fields", GENERATES, ids=range(len(GENERATES)))
def test_streamed_here_is_unstreamed_there(daemon, model, fields):
    whole = plain(daemon.ok("/generate", {"model": model, **fields}))
    with WebSocket(daemon, f"/stream?model={model}") as ws:
        tokens, done = ws.ask(generate=fields, id="g")
    texts = {c["index"]: "" for c in whole["choices"]}
    for token in tokens:
        texts[token["index"]] += token["text"] or ""
    for choice in whole["choices"]:
        if model != "ids":
            assert texts[choice["index"]] == choice["text"]
        choice.pop("text")
    assert plain(done) == whole
    drawn = [t["token"] for t in tokens if t["token"] is not None]
    assert sorted(drawn) == sorted(t for c in whole["choices"] for t in c["tokens"][len("Now ") if fields.get("echo") else 0:])


@pytest.mark.parametrize("fields", [
    {"stream": False}, {"beam_width": 3, "commit": False}, {"best_of": 3, "commit": False}])
def test_unstreamed_on_request_and_where_the_end_decides(daemon, kjv, fields):
    body = {"input": "And ", "max_tokens": 30, **fields}
    if "beam_width" not in fields:
        body["seed"] = 3
    tokens, done = kjv.ask(generate=body, id=1)
    assert not tokens
    assert plain(done) == plain(daemon.ok("/generate", {"model": "kjv", **body}))


@pytest.mark.parametrize("verb,fields", [
    ("predict", {"input": "In the ", "top_k": 3}), ("predict", {"input": "In", "return": ["logits", "hidden"]}),
    ("predict", {"input": "In the ", "steps": "all", "top_k": 1}),
    ("score", {"input": "In the beginning God created"})])
def test_predict_and_score(daemon, kjv, verb, fields):
    tokens, done = kjv.ask(**{verb: fields}, id=1)
    assert not tokens and plain(done) == plain(daemon.ok("/" + verb, {"model": "kjv", **fields}))


def test_a_text_in_chunks_is_the_text_in_one(daemon, kjv):
    nats = 0
    for i in range(0, len(TEXT_), 7):
        nats += kjv.ask(score={"input": TEXT_[i:i + 7]}, id=i)[1]["nats"]
    assert abs(nats - daemon.ok("/score", {"model": "kjv", "input": TEXT_})["nats"]) < 1e-6


def test_a_named_session_is_the_one_of_http(daemon):
    session = daemon.session()
    with WebSocket(daemon, f"/sessions/{session}/stream") as ws:
        answer = ws.ask(predict={"input": "In the "})[1]["session"]
        assert answer["id"] == session and answer["position"] == 7
        assert daemon.position(session) == 7
        daemon.ok("/predict", {"session": session, "input": "beginning"})
        assert ws.ask(predict={"input": " "})[1]["session"]["position"] == 17
        assert ws.ask(predict={"input": "x", "session": session, "model": "kjv"})[1]["session"]["id"] == session
    assert daemon.position(session) == 18  # the session outlives the socket
    daemon.delete(f"/sessions/{session}")


# ---- Frames of numbers ----

FRAMES = [[0.1, -0.2, 0.3], [1.5, 0, -1], [0.25, 0.5, 0.75]]


def test_binary_messages_are_frames(daemon):
    with WebSocket(daemon, "/stream?model=sensor") as ws:
        for k in range(1, 4):
            ws.send(floats(FRAMES[k - 1]))
            done = ws.read()
            assert done["id"] is None and done["done"]["session"]["position"] == k
            want = daemon.ok("/predict", {"model": "sensor", "input": FRAMES[:k], "steps": "last"})
            assert done["done"]["outputs"][-1]["values"] == want["outputs"][-1]["values"]


def test_binary_answers_in_kind(daemon):
    want = daemon.ok("/predict", {"model": "sensor", "input": FRAMES})
    with WebSocket(daemon, "/stream?model=sensor&format=f32") as ws:
        got = b""
        for values in FRAMES:
            ws.send(floats(values))
            got += ws.read()
        assert list(array.array("f", got)) == list(array.array("f", [v for o in want["outputs"] for v in o["values"]]))
        ws.send(floats(FRAMES[0] + FRAMES[1]))  # two frames, two outputs
        assert len(ws.read()) == 2 * 2 * 4
        assert ws.ask(predict={"input": [FRAMES[0]]}, id=1)[1]["session"]["position"] == 6  # JSON is answered as JSON
        # probabilities, where the head gives those
    with WebSocket(daemon, "/stream?model=flags&format=f32") as ws:
        ws.send(floats([0.5, 1]))
        top = daemon.ok("/predict", {"model": "flags", "input": [[0.5, 1]]})["outputs"][0]["top"]
        by_id = {entry["id"]: entry["probability"] for entry in top}
        assert list(array.array("f", ws.read())) == list(array.array("f", [by_id[i] for i in range(3)]))


@pytest.mark.parametrize("data,code", [
    (b"", "malformed"), (b"abc", "malformed"), (floats([1, 2]), "frame_width"), (floats([1, 2, 3, 4]), "frame_width"),
    (floats([1, float("nan"), 3]), "out_of_range"), (floats([1, float("inf"), 3]), "out_of_range")])
@pytest.mark.parametrize("query", ["", "&format=f32"])
def test_binary_messages_that_are_no_frames(daemon, data, code, query):
    with WebSocket(daemon, "/stream?model=sensor" + query) as ws:
        ws.send(data)
        assert ws.error()[1]["code"] == code
        ws.send(floats(FRAMES[0]))  # nothing has changed
        answer = ws.read()
        assert query or answer["done"]["session"]["position"] == 1


# ---- Messages that are none ----

@pytest.mark.parametrize("text,id_,code,param", [
    ("", None, "malformed", None), ("{", None, "malformed", None), ("[]", None, "malformed", None),
    ("null", None, "malformed", None), ('"x"', None, "malformed", None), ("{}", None, "malformed", None),
    ('{"id":1}', 1, "malformed", None), ('{"id":"a","predict":1}', "a", "malformed", "predict"),
    ('{"id":1,"predict":{},"score":{}}', 1, "malformed", "score"),
    ('{"id":1,"predict":{"inptu":"x"}}', 1, "malformed", "inptu"),
    ('{"id":1,"generate":{"temperature":-1}}', 1, "out_of_range", "temperature"),
    ('{"id":1,"predict":{"inputs":["a"]}}', 1, "malformed", "inputs"),
    ('{"id":1,"predict":{"input":"x","session":"other"}}', 1, "malformed", "session"),
    ('{"id":1,"predict":{"input":"x","model":"hello"}}', 1, "not_possible", "model"),
    ('{"id":1,"predict":{"input":"\\u00e9"}}', 1, "unknown_character", "input"),
    ('{"id":1,"predict":{"input":"x","expect_position":9}}', 1, "position", "expect_position"),
    ('{"id":1,"forget":{}}', 1, "malformed", "forget"),
    ('{"id":[1],"predict":{}}', None, "malformed", "id"), ('{"id":1.5,"predict":{}}', None, "malformed", "id"),
    ('{"id":true,"predict":{}}', None, "malformed", "id"),
    ('{"id":"' + "x" * 65 + '","predict":{}}', None, "malformed", "id"),
    ('{"id":1,"id":2,"predict":{}}', None, "malformed", None),
    ('{"cancel":{}}', None, "malformed", "cancel"), ('{"cancel":[1]}', None, "malformed", "cancel"),
    ("[" * 50, None, "malformed", None)])
def test_messages_that_are_none(kjv, text, id_, code, param):
    kjv.send(text)
    got, error = kjv.error()
    assert got == id_ and error["code"] == code, error
    assert param is None or error["param"] == param
    assert kjv.ask(predict={"input": "a"}, id=2)[1]["session"]["position"] == 1  # nothing has changed


@pytest.mark.parametrize("id_", [0, 1, -1, 2**53 - 1, -(2**53) + 1, "", "a", "日本", "x" * 64, "\"\\\n\u0001", None])
def test_ids_come_back_as_they_were(kjv, id_):
    kjv.send({"id": id_, "predict": {"input": "a"}})
    assert kjv.read()["id"] == id_
    kjv.send({"id": id_, "predict": {"input": 5}})
    assert kjv.error()[0] == id_


def test_an_id_that_is_under_way(kjv):
    kjv.send(id=1, generate=LONG)
    kjv.read()
    kjv.send(id=1, predict={"input": "x"})
    while True:
        message = kjv.read()
        if "error" in message:
            break
    assert message["id"] == 1 and message["error"]["param"] == "id"
    kjv.send(cancel=1)
    while "token" in (message := kjv.read()):
        pass
    assert message["done"]["choices"][0]["finish_reason"] == "cancelled"
    assert kjv.ask(id=1, predict={"input": "x"})  # free again


# ---- Many at once ----

def test_requests_run_in_order_of_arrival(kjv):
    n = 100  # more than may be under way: the socket waits, nothing is refused
    for i in range(n):
        if i % 3 == 0:
            kjv.send(id=i, generate={"input": "a", "max_tokens": 1, "seed": i})
        else:
            kjv.send(id=i, **{"predict" if i % 3 == 1 else "score": {"input": "ab"}})
    position, last = 0, []
    for i in range(n):
        while "token" in (message := kjv.read()):
            assert message["id"] == i
        assert message["id"] == i
        position += 2
        assert message["done"]["session"]["position"] == position
        last.append(message)


def test_two_sockets_on_one_session(daemon):
    """Each keeps its own order; together they are one line."""
    session = daemon.session()
    a, b = (WebSocket(daemon, f"/sessions/{session}/stream") for _ in range(2))
    for i in range(16):
        for ws in (a, b):
            ws.send(id=i, predict={"input": "abc", "top_k": 0})
    positions = []
    for ws in (a, b):
        mine = []
        for i in range(16):
            message = ws.read()
            assert message["id"] == i
            mine.append(message["done"]["session"]["position"])
        assert mine == sorted(mine)
        positions += mine
    assert sorted(positions) == list(range(3, 99, 3))
    for ws in (a, b):
        assert ws.finish() == 1000
    daemon.delete(f"/sessions/{session}")


def test_http_and_socket_in_one_line(daemon):
    session = daemon.session()
    with WebSocket(daemon, f"/sessions/{session}/stream") as ws:
        ws.send(id=1, generate={"input": "And ", "max_tokens": 300, "seed": 1})
        ws.read()
        assert daemon.ok("/predict", {"session": session, "input": "x"})["session"]["position"] == 305
    daemon.delete(f"/sessions/{session}")


def test_many_sockets_do_not_hear_each_other(daemon):
    want = daemon.ok("/generate", {"model": "kjv", "input": "And ", "max_tokens": 60, "seed": 9})["choices"][0]
    sockets = [WebSocket(daemon, KJV) for _ in range(40)]
    for k, ws in enumerate(sockets):
        ws.send(id=f"socket {k}", generate={"input": "And ", "max_tokens": 60, "seed": 9})
    for k, ws in enumerate(sockets):
        text = ""
        while "token" in (message := ws.read()):
            assert message["id"] == f"socket {k}"
            text += message["token"]["text"]
        assert text == want["text"] and message["done"]["choices"][0]["tokens"] == want["tokens"]
        ws.close()


# ---- Cancelling and leaving ----

def stands_at_a_prefix(daemon, session, prompt, whole):
    """The session is where it would be after a prefix of the text."""
    position = daemon.position(session)
    assert 0 <= position <= len(prompt + whole)
    if position == 0:
        return 0
    here = daemon.ok("/predict", {"session": session, "input": "", "return": ["logits"]})
    there = daemon.ok("/predict", {"model": "kjv", "input": (prompt + whole)[:position], "steps": "last",
                                   "return": ["logits"]})
    assert here["outputs"][-1]["logits"] == there["outputs"][-1]["logits"]
    return position


@pytest.fixture(params=["home", "crossed"])
def place(request, start):
    """A daemon, a session, and a way to open sockets to it: on its own worker or on the other."""
    daemon = start(workers=1 if request.param == "home" else 2,
                   args=["--stream-buffer-bytes", "4096", "--ping-s", "600"])  # some read nothing for long
    session = daemon.session()

    def opener(receive_buffer=None):
        if request.param == "home":
            return WebSocket(daemon, f"/sessions/{session}/stream", receive_buffer=receive_buffer)
        return WebSocket(daemon, f"/sessions/{session}/stream", sock=crossed(daemon, session, receive_buffer))
    yield daemon, session, opener
    wait_until(lambda: daemon.metric("rnnd_websockets") == 0, "no socket left")
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 0, "no sequence left")
    wait_until(lambda: daemon.metric("rnnd_queue_depth") == 0, "no queue left")
    wait_until(lambda: daemon.metric("rnnd_connections") <= 1, "no connection left")


def test_cancel(place):
    daemon, session, opener = place
    with opener() as ws:
        ws.send(id=1, generate=LONG)
        for i in (2, 3):
            ws.send(id=i, predict={"input": "x"})
        tokens = [ws.read()["token"] for _ in range(10)]
        ws.send(cancel=2)
        ws.send(cancel="nobody")
        ws.send(cancel=1)
        ended = {}
        while len(ended) < 3:
            message = ws.read()
            if "token" in message:
                tokens.append(message["token"])
            else:
                ended[message["id"]] = message
        done = ended[1]["done"]
        assert done["choices"][0]["finish_reason"] == "cancelled"
        assert done["choices"][0]["tokens"] == [t["token"] for t in tokens if t["token"] is not None]
        assert done["session"]["position"] == 4 + len(done["choices"][0]["tokens"])
        assert ended[2]["error"]["code"] == "cancelled"
        assert ended[3]["done"]["session"]["position"] == done["session"]["position"] + 1
    assert daemon.metric("rnnd_cancelled_total", cause="asked") == 2


def test_the_text_goes_on_after_a_cancel(place):
    daemon, session, opener = place
    whole = daemon.ok("/generate", {"model": "kjv", "input": "And ", "max_tokens": 400, "temperature": 0})
    with opener() as ws:
        ws.send(id=1, generate={"input": "And ", "max_tokens": 60000, "temperature": 0})
        tokens = [ws.read() for _ in range(5)]
        ws.send(cancel=1)
        while "token" in (message := ws.read()):
            tokens.append(message)
        text = "".join(t["token"]["text"] for t in tokens)
        n = 300
        more, _ = ws.ask(id=2, generate={"input": "", "max_tokens": n, "temperature": 0})
        text += "".join(t["text"] for t in more)
    assert text.startswith(whole["choices"][0]["text"][:300])


@pytest.mark.parametrize("leave", ["close", "reset", "close frame"])
@pytest.mark.parametrize("verb,body", [("generate", LONG), ("predict", {"input": TEXT_ * 3000, "steps": "last"})])
def test_work_stops_when_the_client_goes(place, leave, verb, body):
    daemon, session, opener = place
    length = 1500 if SLOW else 6000
    whole = daemon.ok("/generate", {"model": "kjv", **LONG, "max_tokens": length})["choices"][0]["text"]
    ws = opener()
    ws.send(id=1, **{verb: body})
    ws.send(id=2, predict={"input": "x"})
    seen = [ws.read() for _ in range(20)] if verb == "generate" else []
    wait_until(lambda: daemon.get(f"/sessions/{session}").json["busy"], "running")
    steps = daemon.metric("rnnd_steps_total")
    if leave == "close frame":
        assert ws.finish(1001) == 1001
    else:
        getattr(ws, leave)()
    wait_until(lambda: not daemon.get(f"/sessions/{session}").json["busy"], "free")
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 0, "nothing runs")
    assert daemon.metric("rnnd_steps_total") - steps < 60000
    if verb == "generate":
        assert stands_at_a_prefix(daemon, session, "And ", whole) >= 4 + len(seen)
    else:
        assert daemon.position(session) == 0
    assert daemon.metric("rnnd_cancelled_total", cause="client_gone") == 2


@pytest.mark.long
def test_a_slow_reader_stops_itself_alone(place):
    daemon, session, opener = place
    body = {**LONG, "max_tokens": 7000, "logprobs": 20}  # more than the kernel holds for a socket
    want = daemon.ok("/generate", {"model": "kjv", **body})["choices"][0]["tokens"]
    slow = opener(receive_buffer=4096)
    slow.send(id=1, generate=body)
    slow.send(id=2, predict={"input": "x"})
    tokens = [slow.read()["token"]["token"]]

    def still():
        before = daemon.metric("rnnd_steps_total")
        time.sleep(0.3)
        return daemon.metric("rnnd_steps_total") == before
    wait_until(still, "paused")
    assert daemon.metric("rnnd_sequences_active") == 1
    with WebSocket(daemon, KJV) as other:
        assert len(other.ask(id=1, generate={"input": "And ", "max_tokens": 200, "seed": 1})[0]) == 200
    while "token" in (message := slow.read()):
        tokens.append(message["token"]["token"])
    assert message["id"] == 1 and tokens == want
    assert slow.read()["done"]["session"]["position"] == 7005
    assert slow.finish() == 1000


def test_a_slow_reader_that_leaves(place):
    daemon, session, opener = place
    slow = opener(receive_buffer=4096)
    slow.send(id=1, generate={**LONG, "logprobs": 20})
    slow.read()
    time.sleep(0.3)
    slow.reset()
    wait_until(lambda: not daemon.get(f"/sessions/{session}").json["busy"], "free")


def test_a_reader_of_nothing_is_not_read_either(place):
    """Answers that pile up stop the reading: memory is bounded by the limits, not by the client's zeal."""
    daemon, session, opener = place
    ws = opener(receive_buffer=4096)
    ws.sock.settimeout(2)
    sent = 0
    message = frame(TEXT, json.dumps({"predict": {"input": "a", "commit": False, "return": ["logits"]}}).encode())
    with pytest.raises(TimeoutError):
        while sent < 50000:
            ws.sock.sendall(message)
            sent += 1
    assert sent < 50000
    ws.reset()


def test_deleting_the_session(place):
    daemon, session, opener = place
    with opener() as ws:
        ws.send(id=1, generate=LONG)
        ws.read()
        expect(daemon.delete(f"/sessions/{session}"), 200)
        while "token" in (message := ws.read()):
            pass
        assert message["id"] == 1 and message["error"]["code"] == "no_session"
        ws.send(id=2, predict={"input": "x"})
        assert ws.error()[1]["code"] == "no_session"
        assert ws.finish() == 1000


# ---- Sessions of sockets ----

@pytest.mark.parametrize("leave", ["close", "reset", "finish"])
def test_the_sockets_own_session_ends_with_it(daemon, leave):
    wait_until(lambda: daemon.metric("rnnd_websockets") == 0, "those of other tests have ended")
    before = daemon.metric("rnnd_sessions")
    ws = WebSocket(daemon, KJV)
    session = ws.ask(predict={"input": "a"})[1]["session"]["id"]
    assert daemon.position(session) == 1
    if leave != "finish":
        ws.send(generate=LONG)
        ws.read()
    getattr(ws, leave)()
    wait_until(lambda: daemon.get(f"/sessions/{session}").status == 404, "gone")
    wait_until(lambda: daemon.metric("rnnd_sessions") == before, "counted")


def test_an_open_socket_keeps_its_session(start):
    daemon = start(workers=2, args=["--session-gone-s", "60", "--session-ttl-s", "1"])
    kept, lost = (daemon.session() for _ in range(2))
    with WebSocket(daemon, f"/sessions/{kept}/stream") as ws, WebSocket(daemon, KJV) as own:
        wait_until(lambda: daemon.get(f"/sessions/{lost}").status == 410, "expired")
        time.sleep(2)
        assert ws.ask(predict={"input": "a"})[1]["session"]["position"] == 1
        assert own.ask(predict={"input": "a"})[1]["session"]["position"] == 1
    wait_until(lambda: daemon.get(f"/sessions/{kept}").status == 410, "expired, too")


# ---- Keys ----

KEYS = "alice:sk-alice/+0123456789\nbob:sk-bob-0123456789\n"
ALICE, BOB = "sk-alice/+0123456789", "sk-bob-0123456789"


def as_protocol(key):
    return "rnnd.key." + base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


@pytest.fixture(scope="module")
def keyed(models_dir):
    from client import Daemon
    with Daemon(models_dir, workers=2, args=["--keys", write_temporary(KEYS), "--log-level", "debug"]) as daemon:
        yield daemon


@pytest.mark.parametrize("opening", [
    {"key": ALICE}, {"protocols": f"rnnd.v1, {as_protocol(ALICE)}"}, {"protocols": f"{as_protocol(ALICE)},rnnd.v1"},
    {"key": ALICE, "protocols": f"rnnd.v1, {as_protocol('sk-wrong')}"}])
def test_keys(keyed, opening):
    with WebSocket(keyed, KJV, **opening) as ws:
        assert ws.protocol == "rnnd.v1"
        session = ws.ask(predict={"input": "a"})[1]["session"]["id"]
        assert keyed.position(session, key=ALICE) == 1
        expect(keyed.get(f"/sessions/{session}", key=BOB), 404, "no_session")
        with pytest.raises(Refused) as refused:
            WebSocket(keyed, f"/sessions/{session}/stream", key=BOB)
        assert refused.value.status == 404 and b"no_session" in refused.value.body


@pytest.mark.parametrize("opening,code", [
    ({}, "key_missing"), ({"key": "sk-wrong"}, "key_unknown"),
    ({"protocols": f"rnnd.v1, {as_protocol('sk-wrong')}"}, "key_unknown"),
    ({"protocols": "rnnd.v1, rnnd.key."}, "key_missing"), ({"protocols": "rnnd.v1, rnnd.key.*"}, "key_missing"),
    ({"protocols": "rnnd.v1, rnnd.key." + "A" * 400}, "key_missing"),
    ({"protocols": f"rnnd.v1, rnnd.key.{base64.b64encode(ALICE.encode()).decode()}"}, "key_missing")])
def test_wrong_keys(keyed, opening, code):
    with pytest.raises(Refused) as refused:
        WebSocket(keyed, KJV, **opening)
    assert refused.value.status == 401 and f'"code":"{code}"'.encode() in refused.value.body


def test_a_key_among_the_subprotocols_opens_nothing_else(keyed):
    expect(keyed.get("/models", headers={"Sec-WebSocket-Protocol": as_protocol(ALICE)}), 401, "key_missing")


def test_keys_stand_in_no_log(keyed):
    with WebSocket(keyed, KJV, protocols=f"rnnd.v1, {as_protocol(ALICE)}") as ws:
        ws.ask(predict={"input": "secret words"})
        ws.finish()
    log = str(keyed.log) + str(keyed.other)
    assert ALICE not in log and as_protocol(ALICE) not in log and "secret words" not in log


# ---- Limits ----

def test_origins(start):
    daemon = start(workers=1, args=["--origins", "https://app.example http://localhost:3000"])
    for origin in ("https://app.example", "http://localhost:3000", "HTTPS://APP.example"):
        WebSocket(daemon, KJV, headers={"Origin": origin}).close()
    WebSocket(daemon, KJV).close()
    for origin in ("https://evil.example", "null", "https://app.example.evil", "http://app.example", ""):
        with pytest.raises(Refused) as refused:
            WebSocket(daemon, KJV, headers={"Origin": origin})
        assert refused.value.status == 403


def test_message_size(start):
    daemon = start(workers=1, args=["--message-max-bytes", "1024"])
    with WebSocket(daemon, KJV) as ws:
        ws.send('{"predict":{"input":"a"}}' + " " * 999)
        ws.read()
        ws.send('{"predict":{"input":"a"}}' + " " * 1000)
        assert ws.closed().code == 1009


def test_message_rate(start):
    daemon = start(workers=1, args=["--messages-per-s", "20"])
    with WebSocket(daemon, KJV) as ws:
        for _ in range(20):  # a second's worth at once
            ws.send(predict={"input": "a"})
        for _ in range(20):
            assert "done" in ws.read()
        ws.raw(frame(PING) * 40)
        closed = ws.closed()
        assert closed.code == 1008 and "messages_per_s" in closed.reason
    with WebSocket(daemon, KJV) as ws:
        for _ in range(60):  # beneath it for as long as one likes
            ws.ask(predict={"input": "a"})
            time.sleep(0.06)


def test_answers_too_large_are_refused(start):
    daemon = start(workers=1, args=["--answer-max-bytes", "65536"])
    with WebSocket(daemon, KJV) as ws:
        ws.send(id=1, predict={"input": "a" * 1000, "steps": "all", "return": ["logits"]})
        assert ws.error()[1]["code"] == "too_large"


# ---- Time ----

def test_pings_and_the_dead(start):
    daemon = start(workers=1, args=["--ping-s", "1"])
    with WebSocket(daemon, KJV) as alive, WebSocket(daemon, KJV) as dead:
        alive.sock.settimeout(0.2)
        wait_until(lambda: daemon.metric("rnnd_websockets") == 2, "both open")

        def one_is_left():
            try:
                alive.read()  # answers pings
            except TimeoutError:
                pass
            return daemon.metric("rnnd_websockets") == 1
        wait_until(one_is_left, "the dead one is noticed")
        assert alive.pings >= 1
        with pytest.raises(Closed):
            while True:
                dead.read_frame()
        alive.sock.settimeout(100)
        alive.ask(predict={"input": "a"})
    assert daemon.metric("rnnd_websocket_closed_total", code="1006") >= 1


def test_a_slow_reader_is_not_dead(start):
    """What the kernel holds for it takes longer to read than the wait for its pong, which comes behind all of that."""
    daemon = start(workers=1, args=["--ping-s", "1"])
    n = 1500
    body = {"input": "And ", "max_tokens": n, "logprobs": 20, "temperature": 0}
    want = daemon.ok("/generate", {"model": "kjv", **body})["choices"][0]["tokens"]
    with WebSocket(daemon, KJV, receive_buffer=4096) as ws:
        ws.send(id=1, generate=body)
        tokens = []
        while "token" in (message := ws.read()):
            tokens.append(message["token"]["token"])
            time.sleep(0.006)
        assert tokens == want and message["done"]["session"]["position"] == 4 + n
        assert ws.ask(id=2, predict={"input": "a"})[1]["session"]["position"] == 5 + n
        assert ws.pings >= 1


# ---- Shutting down ----

@pytest.mark.parametrize("workers", [1, 2])
def test_draining(start, workers):
    daemon = start(workers=workers, args=["--grace-s", "60"])
    idle, busy = WebSocket(daemon, KJV), WebSocket(daemon, KJV)
    busy.send(id=1, generate={"input": "And ", "max_tokens": 4000 if not SLOW else 400, "seed": 1})
    busy.read()
    daemon.signal(signal.SIGTERM)
    assert idle.closed().code == 1001
    busy.send(id=2, predict={"input": "x"})
    refused, closed = None, None
    while not closed:
        try:
            message = busy.read()
        except Closed as end:
            closed = end
            break
        if "error" in message:
            refused = message
        elif "done" in message and message["id"] == 2:
            pass  # it came before its shard had heard of the end
        elif "done" in message:
            assert message["done"]["choices"][0]["finish_reason"] == "length"
            done = message
    assert done["id"] == 1 and closed.code == 1001
    assert refused is None or refused["error"]["code"] == "draining"
    try:
        busy.raw(close_frame(1001))
    except OSError:
        pass  # this reader was slower than the server waits for it
    assert daemon.wait_end() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_the_grace_period_ends(start, workers):
    daemon = start(workers=workers, args=["--grace-s", "1"])
    session = daemon.session()
    ws = WebSocket(daemon, f"/sessions/{session}/stream")
    ws.send(id=1, generate=LONG if not SLOW else {**LONG, "max_tokens": 65000})
    ws.read()
    daemon.signal(signal.SIGTERM)
    closed = None
    while not closed:
        try:
            ws.read()
        except Closed as end:
            closed = end
    assert closed.code in (1001, None)
    assert daemon.wait_end() == 0


def test_a_client_that_never_answers_does_not_hold_the_end(start):
    daemon = start(workers=2, args=["--grace-s", "60"])
    sockets = [WebSocket(daemon, KJV) for _ in range(8)]
    began = time.monotonic()
    daemon.signal(signal.SIGTERM)
    assert daemon.wait_end() == 0
    assert time.monotonic() - began < 50, "the grace period was not needed"
    for ws in sockets:
        ws.close()


# ---- Operations ----

def test_log_and_metrics(start):
    daemon = start(workers=1)
    ws = WebSocket(daemon, KJV, headers={"X-Request-Id": "phone-1"})
    ws.ask(predict={"input": "a"})
    wait_until(lambda: daemon.metric("rnnd_websockets") == 1, "open")
    assert daemon.metric("rnnd_requests_total", endpoint="/stream", code="101") == 1
    ws.finish(1000)
    line = daemon.wait_log(lambda e: e["message"] == "websocket closed")
    assert line["id"] == "phone-1" and line["code"] == 1000 and line["messages_in"] == line["messages_out"] == 1
    opened = [e for e in daemon.log if e["message"] == "request" and e["id"] == "phone-1"]
    assert len(opened) == 1 and opened[0]["status"] == 101 and opened[0]["route"] == "/stream"
    assert daemon.metric("rnnd_websockets") == 0
    for direction in ("in", "out"):
        assert daemon.metric("rnnd_websocket_messages_total", direction=direction) == 1
    assert daemon.metric("rnnd_websocket_closed_total", code="1000") == 1


def test_sockets_that_come_and_go(start):
    """Every way of going at every moment; nothing is left."""
    daemon = start(workers=2)
    for k in range(30 if SLOW else 200):
        ws = WebSocket(daemon, KJV)
        if k % 4:
            ws.send(id=1, generate={**LONG, "max_tokens": k % 7 * 10 + 1})
        if k % 4 == 2:
            ws.read()
        if k % 3 == 0:
            ws.close()
        elif k % 3 == 1:
            ws.reset()
        else:
            ws.finish()
    wait_until(lambda: daemon.metric("rnnd_websockets") == 0, "closed")
    wait_until(lambda: daemon.metric("rnnd_sessions") == 0, "no session left")
    wait_until(lambda: daemon.metric("rnnd_connections") <= 1, "no connection left")
