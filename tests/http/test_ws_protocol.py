"""WebSocket as RFC 6455 has it: the handshake, every form of frame, every fault and its close code."""
import base64
import os
import socket
import struct

import pytest

from client import expect, read_answer, wait_until
from websocket import (BINARY, CLOSE, PING, PONG, TEXT, Closed, Refused, WebSocket, close_frame, frame, handshake)

PATH = "/stream?model=hello"
ASK = b'{"id":1,"predict":{"input":"hell","top_k":1,"commit":false}}'


@pytest.fixture
def ws(daemon):
    with WebSocket(daemon, PATH) as socket_:
        yield socket_


def answered(ws, id_=1):
    message = ws.read()
    assert message["id"] == id_ and message["done"]["outputs"][0]["top"][0]["token"] == "o", message


def padded(n):
    """The same request as a message of n bytes."""
    return ASK + b" " * (n - len(ASK))


# ---- The handshake ----

def test_handshake(daemon):
    with WebSocket(daemon, PATH, headers={"X-Request-Id": "abc-7"}) as ws:
        assert ws.protocol == "rnnd.v1" and ws.headers["x-request-id"] == "abc-7"
        tokens, done = ws.ask(predict={"input": "h"})
        assert done["id"] == "abc-7.1" and not tokens
        assert ws.finish() == 1000


@pytest.mark.parametrize("offer,want", [
    ("rnnd.v1", "rnnd.v1"), ("chat, rnnd.v1", "rnnd.v1"), ("rnnd.v1,chat", "rnnd.v1"), (None, None),
    ("rnnd.key.eA, rnnd.v1", "rnnd.v1")])
def test_subprotocol(daemon, offer, want):
    with WebSocket(daemon, PATH, protocols=offer) as ws:
        assert ws.protocol == want
        ws.raw(frame(TEXT, ASK))
        answered(ws)


@pytest.mark.parametrize("offer", ["chat", "rnnd.v2", "rnnd.v1x", "RNND.V1", "rnnd", "rnnd.key.eA"])
def test_unknown_subprotocols_are_refused(daemon, offer):
    with pytest.raises(Refused) as refused:
        WebSocket(daemon, PATH, protocols=offer)
    assert refused.value.status == 400 and b"rnnd.v1" in refused.value.body


@pytest.mark.parametrize("opening,status,header", [
    ({"leave_out": ["Upgrade"]}, 426, ("upgrade", "websocket")),
    ({"leave_out": ["Connection"]}, 426, ("upgrade", "websocket")),
    ({"headers": {"Upgrade": "h2c"}}, 426, ("upgrade", "websocket")),
    ({"headers": {"Connection": "keep-alive"}}, 426, ("upgrade", "websocket")),
    ({"headers": {"Connection": "keep-alive, Upgrade"}}, 101, None),
    ({"headers": {"Connection": "UPGRADE", "Upgrade": "WebSocket"}}, 101, None),
    ({"version": "8"}, 426, ("sec-websocket-version", "13")),
    ({"version": "14"}, 426, ("sec-websocket-version", "13")),
    ({"leave_out": ["Sec-WebSocket-Version"]}, 426, ("sec-websocket-version", "13")),
    ({"leave_out": ["Sec-WebSocket-Key"]}, 400, None),
    ({"nonce": "short"}, 400, None),
    ({"nonce": base64.b64encode(b"x" * 15).decode()}, 400, None),
    ({"nonce": base64.b64encode(b"x" * 17).decode()}, 400, None),
    ({"nonce": "!" * 24}, 400, None),
    ({"leave_out": ["Host"]}, 400, None),
    ({"headers": {"Content-Length": "0"}}, 101, None)])
def test_handshakes_sound_and_not(daemon, opening, status, header):
    try:
        with WebSocket(daemon, PATH, **opening) as ws:
            assert status == 101 and ws.finish() == 1000
    except Refused as refused:
        assert refused.status == status, refused
        assert b'"code":' in refused.body
        if header:
            assert refused.headers[header[0]] == header[1]


@pytest.mark.parametrize("path,status,code", [
    ("/stream?model=none", 404, "no_model"), ("/stream?model=hello&format=xml", 400, "malformed"),
    ("/sessions/none/stream", 404, "no_session"), ("/sessions/a:b/stream", 404, "no_session"),
    ("/stream", 400, "malformed"), ("/sessions//stream", 404, "no_route")])
def test_openings_that_name_nothing(daemon, path, status, code):
    with pytest.raises(Refused) as refused:
        WebSocket(daemon, path)
    assert refused.value.status == status and f'"code":"{code}"'.encode() in refused.value.body
    assert "sec-websocket-accept" not in refused.value.headers


def test_no_sessions_are_left_by_refusals(daemon):
    wait_until(lambda: daemon.metric("rnnd_websockets") == 0, "those of other tests have ended")
    before = daemon.metric("rnnd_sessions")
    for opening in ({"nonce": "x"}, {"version": "1"}, {"protocols": "chat"}):
        with pytest.raises(Refused):
            WebSocket(daemon, PATH, **opening)
    assert daemon.metric("rnnd_sessions") == before


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_without_upgrade(daemon, method):
    assert daemon.request(method, PATH).status == 426


def test_other_methods(daemon):
    expect(daemon.post(PATH, {}), 405, "method")


def test_http_1_0_cannot_be_upgraded(daemon):
    request, _ = handshake(PATH)
    with daemon.raw(request.replace(b"HTTP/1.1", b"HTTP/1.0")) as sock:
        assert sock.recv(4096).split(b"\r\n")[0].split()[1] == b"426"


def test_a_handshake_with_a_body_is_none(daemon):
    request, _ = handshake(PATH, headers={"Content-Length": "2"})
    with daemon.raw(request + b"{}") as sock:
        assert sock.recv(4096).split(b"\r\n")[0].split()[1] == b"426"


def test_after_a_request_on_the_same_connection(daemon):
    sock = daemon.raw(b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n")
    expect(read_answer(sock), 200)
    with WebSocket(daemon, PATH, sock=sock) as ws:
        ws.raw(frame(TEXT, ASK))
        answered(ws)


@pytest.mark.parametrize("n", [1, 2, 50])
def test_frames_in_the_segment_of_the_handshake(daemon, n):
    early = b"".join(frame(TEXT, b'{"id":%d,"predict":{"input":"h"}}' % i) for i in range(n))
    with WebSocket(daemon, PATH, early=early) as ws:
        assert [ws.read()["id"] for _ in range(n)] == list(range(n))


def test_half_a_frame_in_the_segment_of_the_handshake(daemon):
    whole = frame(TEXT, ASK)
    for cut in (1, 2, 5, 6, 20):
        with WebSocket(daemon, PATH, early=whole[:cut]) as ws:
            ws.raw(whole[cut:])
            answered(ws)


def test_the_handshake_byte_by_byte(daemon):
    request, _ = handshake(PATH)
    with daemon.raw() as sock:
        for byte in request + frame(TEXT, ASK):
            sock.sendall(bytes([byte]))
        got = b""
        while b'"done"' not in got:
            got += sock.recv(4096)
        assert got.startswith(b"HTTP/1.1 101 ")


# ---- Frames ----

@pytest.mark.parametrize("n", [len(ASK), 125, 126, 127, 128, 65535, 65536, 65537, 200000])
@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_every_form_of_length(ws, n, pieces):
    data = padded(max(n, len(ASK)))
    step = len(data) // pieces + 1
    for at in range(0, len(data), step):
        ws.raw(frame(TEXT if at == 0 else 0, data[at:at + step], fin=at + step >= len(data)))
    answered(ws)


def test_empty_frames_among_fragments(ws):
    ws.raw(frame(TEXT, b"", fin=False) + frame(0, ASK[:10], fin=False) + frame(0, b"", fin=False)
           + frame(0, ASK[10:], fin=False) + frame(0, b""))
    answered(ws)


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_in_small_pieces(ws, step):
    data = frame(TEXT, ASK[:9], fin=False) + frame(PING, b"p") + frame(0, ASK[9:])
    data += frame(TEXT, padded(300).replace(b":1,", b":2,", 1))
    for at in range(0, len(data), step):
        ws.raw(data[at:at + step])
    answered(ws)
    answered(ws, 2)
    assert ws.pongs == [b"p"]


def test_a_character_split_among_fragments(daemon):
    with WebSocket(daemon, "/stream?model=multibyte") as ws:
        data = '{"id":1,"predict":{"input":"日本😀é"}}'.encode()
        for cut in range(1, len(data)):
            ws.raw(frame(TEXT, data[:cut], fin=False) + frame(0, data[cut:]))
            assert ws.read()["done"]["usage"]["input_steps"] == 4


@pytest.mark.parametrize("mask", [b"\0\0\0\0", b"\xff\xff\xff\xff", os.urandom(4)])
def test_masks(ws, mask):
    ws.raw(frame(TEXT, ASK, mask=mask))
    answered(ws)


@pytest.mark.parametrize("payload", [b"", b"x", b"\x00\xff\xfe", b"p" * 125])
def test_pings(ws, payload):
    ws.raw(frame(PING, payload) + frame(TEXT, ASK))
    answered(ws)
    assert ws.pongs == [payload]


def test_ten_pings_in_one_segment(ws):
    ws.raw(b"".join(frame(PING, b"%d" % i) for i in range(10)) + frame(TEXT, ASK))
    answered(ws)
    assert ws.pongs == [b"%d" % i for i in range(10)]


def test_pongs_that_nobody_asked_for(ws):
    ws.raw(frame(PONG, b"x") + frame(PONG) + frame(TEXT, ASK))
    answered(ws)
    assert not ws.pongs


def test_control_frames_between_fragments(ws):
    ws.raw(frame(TEXT, ASK[:5], fin=False) + frame(PING, b"1") + frame(0, ASK[5:9], fin=False)
           + frame(PONG, b"2") + frame(PING, b"3") + frame(0, ASK[9:]))
    answered(ws)
    assert ws.pongs == [b"1", b"3"]


# ---- Faults ----

BAD = {
    "a reserved bit": (frame(TEXT, ASK, rsv=4), 1002),
    "another": (frame(TEXT, ASK, rsv=2), 1002),
    "a third": (frame(PING, b"", rsv=1), 1002),
    "opcode 3": (frame(3, b"x"), 1002),
    "opcode 7": (frame(7, b""), 1002),
    "opcode 11": (frame(11, b"x"), 1002),
    "opcode 15": (frame(15, b""), 1002),
    "unmasked": (frame(TEXT, ASK, mask=None), 1002),
    "an unmasked ping": (frame(PING, b"", mask=None), 1002),
    "an unmasked close": (close_frame(1000, mask=None), 1002),
    "a long ping": (frame(PING, b"x" * 126), 1002),
    "a long close": (close_frame(1000, b"x" * 124), 1002),
    "a ping in fragments": (frame(PING, b"x", fin=False), 1002),
    "a close in fragments": (close_frame(1000, fin=False), 1002),
    "a continuation of nothing": (frame(0, ASK), 1002),
    "a continuation of nothing, to be continued": (frame(0, ASK, fin=False), 1002),
    "a continuation of a whole message": (frame(TEXT, b"{}") + frame(0, b"{}"), 1002),
    "a message in a message": (frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), 1002),
    "binary in text": (frame(TEXT, b"{", fin=False) + frame(BINARY, b"}"), 1002),
    "a length not in its shortest form": (frame(TEXT, ASK, width=2), 1002),
    "another such": (frame(TEXT, ASK, width=8), 1002),
    "a length with the top bit": (frame(TEXT, b"", length=1 << 63, width=8), 1002),
    "a close body of one byte": (frame(CLOSE, b"\x03"), 1002),
    "bad UTF-8": (frame(TEXT, b'{"id":"\xff"}'), 1007),
    "an overlong form": (frame(TEXT, b"\xc0\xaf"), 1007),
    "a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "beyond Unicode": (frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
    "an unfinished character": (frame(TEXT, b'"\xe2\x82'), 1007),
    "one that a fragment breaks": (frame(TEXT, b"\xe2\x82", fin=False) + frame(0, b"x"), 1007),
    "bad UTF-8 in a close reason": (close_frame(1000, b"\xff"), 1007),
    "too big": (frame(TEXT, padded((1 << 20) + 1)), 1009),
    "too big, in fragments": (frame(TEXT, b" " * (1 << 19), fin=False) + frame(0, b" " * (1 << 19), fin=False)
                              + frame(0, ASK), 1009),
    "announced too big": (frame(TEXT, b"", length=(1 << 20) + 1), 1009),
    "announced very much too big": (frame(BINARY, b"", length=(1 << 63) - 1, width=8), 1009),
    "binary for a model of characters": (frame(BINARY, b"\0\0\0\0"), 1003),
}


@pytest.mark.parametrize("what", BAD)
def test_faults(daemon, what):
    data, code = BAD[what]
    metric = daemon.metric("rnnd_websocket_closed_total", code=str(code))
    with WebSocket(daemon, PATH) as ws:
        ws.raw(data)
        assert ws.closed().code == code
    wait_until(lambda: daemon.metric("rnnd_websocket_closed_total", code=str(code)) == metric + 1, "counted")


@pytest.mark.parametrize("what", ["unmasked", "bad UTF-8", "announced too big", "a long ping"])
def test_faults_byte_by_byte_and_with_more_behind(daemon, what):
    data, code = BAD[what]
    with WebSocket(daemon, PATH) as ws:
        for byte in data[:200]:
            ws.raw(bytes([byte]))
        assert ws.closed().code == code
    with WebSocket(daemon, PATH) as ws:
        try:
            ws.raw(data + frame(TEXT, ASK) * 3000)
        except OSError:
            pass
        assert ws.closed().code == code


def test_bad_utf8_is_noticed_before_the_message_ends(ws):
    ws.raw(frame(TEXT, b"\xff\xff", length=1000))
    assert ws.closed().code == 1007


def test_what_came_before_a_fault_is_not_answered_twice(ws):
    ws.raw(frame(TEXT, ASK))
    answered(ws)
    ws.raw(frame(3, b""))
    assert ws.closed().code == 1002


# ---- Closing ----

@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
def test_close_codes_are_echoed(ws, code):
    assert ws.finish(code) == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_bad_close_codes(ws, code):
    ws.raw(close_frame(code))
    assert ws.closed().code == 1002


def test_close_without_a_code(ws):
    assert ws.finish(None) == 1005


def test_close_with_a_reason(ws):
    ws.raw(close_frame(1000, "genug für heute".encode()))
    assert ws.closed().code == 1000


def test_nothing_is_answered_after_a_close(ws):
    ws.raw(close_frame(1000) + frame(TEXT, ASK) + frame(PING, b"x"))
    assert ws.closed().code == 1000
    assert not ws.pongs


def test_close_between_fragments(ws):
    ws.raw(frame(TEXT, ASK[:5], fin=False) + close_frame(1001))
    assert ws.closed().code == 1001


def test_close_and_end_of_stream_together(ws):
    ws.raw(close_frame(1000))
    ws.sock.shutdown(socket.SHUT_WR)
    opcode, payload = ws.read_frame()
    assert opcode == CLOSE and struct.unpack(">H", payload)[0] == 1000
    assert ws.sock.recv(1) == b""


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_leaving_without_a_close_frame(daemon, leave):
    before = daemon.metric("rnnd_websocket_closed_total", code="1006")
    ws = WebSocket(daemon, PATH)
    getattr(ws, leave)()
    wait_until(lambda: daemon.metric("rnnd_websocket_closed_total", code="1006") == before + 1, "noticed")


def test_a_client_that_does_not_answer_our_close_is_cut(start):
    daemon = start(workers=1)
    ws = WebSocket(daemon, PATH)
    ws.raw(frame(3, b""))
    with pytest.raises(Closed) as closed:
        ws.read()
    assert closed.value.code == 1002
    # not a word from us: the connection ends all the same, and nothing is left
    wait_until(lambda: daemon.metric("rnnd_websockets") == 0, "gone")
    wait_until(lambda: daemon.metric("rnnd_connections") <= 1, "cut")
    ws.close()
