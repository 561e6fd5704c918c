"""A WebSocket client over plain sockets, of the standard library alone: one that can also misbehave.

`WebSocket` shakes hands and sends and reads whole messages; `frame` makes any frame, sound or not; `Closed`
carries the close code.  Every frame of the server is checked against RFC 6455 as it is read.
"""
import base64
import hashlib
import json
import os
import socket
import struct

from client import GUARD

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(opcode, payload=b"", fin=True, mask=b"\x12\x34\x56\x78", rsv=0, length=None, width=None):
    """One frame; `length` announces another length than the payload's, `width` (0, 2, 8) another form of it."""
    n = len(payload) if length is None else length
    if width is None:
        width = 0 if n < 126 else 2 if n < 65536 else 8
    first = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    flag = 0x80 if mask else 0
    head = bytes([flag | n]) if width == 0 else bytes([flag | (126 if width == 2 else 127)]) + n.to_bytes(width, "big")
    if mask:
        wide = int.from_bytes((mask * (len(payload) // 4 + 1))[:len(payload)], "big")
        payload = (int.from_bytes(payload, "big") ^ wide).to_bytes(len(payload), "big")
    return first + head + (mask or b"") + payload


def close_frame(code=None, reason=b"", **more):
    return frame(CLOSE, b"" if code is None else struct.pack(">H", code) + reason, **more)


class Closed(Exception):
    """The server has closed: `code` (None: no close frame came) and `reason`."""

    def __init__(self, code, reason=""):
        super().__init__(f"closed with {code} {reason!r}")
        self.code, self.reason = code, reason


class Refused(Exception):
    def __init__(self, status, headers, body):
        super().__init__(f"refused with {status}: {body[:300]!r}")
        self.status, self.headers, self.body = status, headers, body


def handshake(path, key=None, protocols="rnnd.v1", headers=(), nonce=None, version="13", host="test", leave_out=()):
    """The opening request as bytes, and the Sec-WebSocket-Accept that it wants."""
    nonce = nonce or base64.b64encode(os.urandom(16)).decode()
    lines = {"Host": host, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": nonce,
             "Sec-WebSocket-Version": version}
    if protocols:
        lines["Sec-WebSocket-Protocol"] = protocols
    if key:
        lines["Authorization"] = f"Bearer {key}"
    for name in leave_out:
        lines.pop(name)
    lines.update(headers)
    head = f"GET {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n"
    accept = base64.b64encode(hashlib.sha1((nonce + GUID).encode()).digest()).decode()
    return head.encode(), accept


class WebSocket:
    def __init__(self, daemon, path, early=b"", receive_buffer=None, timeout=None, sock=None, **opening):
        self.sock = sock or socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout or GUARD)
        if not sock:
            self.sock.connect(daemon.address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.pongs = []
        self.pings = 0
        request, accept = handshake(path, **opening)
        self.sock.sendall(request + early)
        self._read_head(accept)

    def _read_head(self, accept):
        while b"\r\n\r\n" not in self.buffer:
            more = self.sock.recv(65536)
            if not more:
                raise Closed(None, "during the handshake")
            self.buffer += more
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
        if self.status != 101:
            body = self._take(int(self.headers.get("content-length", 0)))
            self.sock.close()
            raise Refused(self.status, self.headers, body)
        assert self.headers["upgrade"].lower() == "websocket", self.headers
        assert self.headers["connection"].lower() == "upgrade", self.headers
        assert self.headers["sec-websocket-accept"] == accept, self.headers
        assert "sec-websocket-extensions" not in self.headers
        self.protocol = self.headers.get("sec-websocket-protocol")

    # ---- out ----

    def raw(self, data):
        self.sock.sendall(data)

    def send(self, message=None, **fields):
        """A message as JSON: send(predict={…}, id=1); or a text or bytes as they are."""
        if isinstance(message, bytes):
            self.raw(frame(BINARY, message))
        elif isinstance(message, str):
            self.raw(frame(TEXT, message.encode()))
        else:
            self.raw(frame(TEXT, json.dumps(message or fields).encode()))

    # ---- in ----

    def _take(self, n):
        while len(self.buffer) < n:
            try:
                more = self.sock.recv(1 << 20)
            except ConnectionResetError:
                more = b""
            if not more:
                raise Closed(None, "no close frame")
            self.buffer += more
        taken, self.buffer = self.buffer[:n], self.buffer[n:]
        return taken

    def read_frame(self):
        """(opcode, payload) of the next frame, which must be as the standard has it."""
        first, second = self._take(2)
        assert first & 0x70 == 0, "reserved bits"
        assert first & 0x80, "rnnd sends whole messages"
        assert second & 0x80 == 0, "a server does not mask"
        n, width = second & 0x7f, 0
        if n >= 126:
            width = 2 if n == 126 else 8
            n = int.from_bytes(self._take(width), "big")
            assert n >= (126 if width == 2 else 65536), "the shortest form"
        opcode = first & 15
        assert opcode in (TEXT, BINARY, CLOSE, PING, PONG)
        assert opcode < 8 or (n < 126 and width == 0)
        return opcode, self._take(n)

    def read(self):
        """The next message: a dict, or bytes of a binary one.  Answers pings; raises Closed."""
        while True:
            opcode, payload = self.read_frame()
            if opcode == TEXT:
                return json.loads(payload.decode("utf-8"))
            if opcode == BINARY:
                return payload
            if opcode == PING:
                self.pings += 1
                self.raw(frame(PONG, payload))
            elif opcode == PONG:
                self.pongs.append(payload)
            else:
                assert len(payload) != 1
                raise Closed(*((struct.unpack(">H", payload[:2])[0], payload[2:].decode()) if payload else (1005, "")))

    def closed(self):
        """Reads to the close frame and then to the end of the stream; returns the Closed."""
        closed = None
        while not closed:
            try:
                self.read()
            except Closed as end:
                closed = end
        if closed.code is not None:
            try:
                self.raw(close_frame(1000))
            except OSError:
                pass
        try:
            while self.sock.recv(65536):
                pass
        except OSError:
            pass
        self.close()
        return closed

    def ask(self, **fields):
        """Sends a request and reads to its last word: (token messages, done); an error is an AssertionError."""
        self.send(fields)
        tokens = []
        while True:
            message = self.read()
            assert message["id"] == fields.get("id"), message
            if "token" in message:
                assert set(message) - {"event_id"} == {"id", "token"}
                tokens.append(message["token"])
            else:
                assert set(message) == {"id", "done"}, message
                return tokens, message["done"]

    def error(self):
        """The next message, which is an error: (id, error)."""
        message = self.read()
        assert set(message) == {"id", "error"}, message
        assert set(message["error"]) == {"message", "type", "param", "code"}
        return message["id"], message["error"]

    # ---- end ----

    def finish(self, code=1000):
        """The closing handshake from our side; returns the server's code."""
        self.raw(close_frame(code) if code else close_frame())
        try:
            while True:
                self.read()
        except Closed as closed:
            result = closed.code
        assert self.sock.recv(1) == b"", "the server closes the connection"
        self.close()
        return result

    def close(self):
        self.sock.close()

    def reset(self):
        """Leaves with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
