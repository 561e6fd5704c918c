"""What the soak's parties speak with, on one thread: HTTP and WebSockets over asyncio, of the standard library alone.

Answers keep every number as it is spelled, so that equal means equal to the byte.  `GUARD_S` bounds every wait: it catches
hangs and measures nothing.
"""
import asyncio
import json
import os
import socket
import struct
import time

from client import exact, without
from websocket import BINARY, CLOSE, PING, PONG, TEXT, close_frame, frame, handshake

GUARD_S = 300
KEEP_S = 30  # well under the daemon's idle_timeout_s


def plain(answer):
    """An answer but for what names, times and places one request."""
    return without(answer, "id", "timings", "session")


async def soon(waiting):
    async with asyncio.timeout(GUARD_S):
        return await waiting


class Plain:
    """Plain HTTP over a few connections that are kept alive."""

    def __init__(self, address):
        self.address = address
        self.spare = []  # (since, reader, writer), the latest last
        self.asked = 0

    async def _connection(self):
        while self.spare:
            since, reader, writer = self.spare.pop()
            if time.monotonic() - since < KEEP_S:
                return reader, writer
            writer.close()
        return await soon(asyncio.open_connection(*self.address))

    async def request(self, method, path, body=b""):
        """(status, the answer's bytes)"""
        self.asked += 1
        reader, writer = await self._connection()
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: soak\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        head = (await soon(reader.readuntil(b"\r\n\r\n"))).decode().split("\r\n")
        fields = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:])}
        answer = await soon(reader.readexactly(int(fields["content-length"])))
        self.spare.append((time.monotonic(), reader, writer))
        return int(head[0].split()[1]), answer

    async def ask(self, method, path, obj=None, status=200):
        body = b"" if obj is None else as_json(obj)
        got, answer = await self.request(method, path, body)
        assert got == status, f"{method} {path} {obj}: {got} {answer[:300]!r}"
        return exact(answer) if answer else None

    async def events(self, obj, last=None):
        """A streamed /generate: yields (name, data, id) of each event."""
        reader, writer = await soon(asyncio.open_connection(*self.address))
        self.asked += 1
        body = as_json(obj)
        resume = f"Last-Event-ID: {last}\r\n" if last else ""
        writer.write(f"POST /generate HTTP/1.0\r\nHost: soak\r\n{resume}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        try:
            head = (await soon(reader.readuntil(b"\r\n\r\n"))).decode()
            assert head.split()[1] == "200", (head, await soon(reader.read()))
            event = {}
            while line := (await soon(reader.readline())).decode():
                assert line.endswith("\n"), "the stream ended inside an event"
                name, _, value = line[:-1].partition(": ")
                if name:
                    event[name] = value
                elif event:
                    yield event["event"], exact(event["data"]), event.get("id")
                    event = {}
            assert not event, "the stream ended inside an event"
        finally:
            writer.transport.abort()


def as_json(obj):
    return json.dumps(obj).encode()


class Lost(Exception):
    """The connection is at its end: `code` of the close frame, None without one."""

    def __init__(self, code):
        super().__init__(f"closed with {code}")
        self.code = code


class Socket:
    """A WebSocket whose pings are answered whatever its owner is doing."""

    def __init__(self):
        self.messages = asyncio.Queue()
        self.pings = self.pongs = self.n_out = 0
        self.owed = []  # payloads of pings that we sent, to be echoed in order
        self.pause_s = 0  # before each frame is read: a slow reader
        self.code = self.lost = self.listener = None

    @classmethod
    async def open(cls, address, path, receive_buffer=None):
        ws = cls()
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await soon(asyncio.get_running_loop().sock_connect(sock, address))
        ws.reader, ws.writer = await asyncio.open_connection(sock=sock, limit=receive_buffer or 65536)
        request, accept = handshake(path)
        ws.writer.write(request)
        head = (await soon(ws.reader.readuntil(b"\r\n\r\n"))).decode()
        assert head.startswith("HTTP/1.1 101 ") and f"\r\nSec-WebSocket-Accept: {accept}\r\n" in head, head
        ws.listener = asyncio.ensure_future(ws._listen())
        return ws

    async def _frame(self):
        first, second = await self.reader.readexactly(2)
        assert first & 0xF0 == 0x80 and second < 128, "whole, without extensions, not masked"
        if second == 126:
            second = int.from_bytes(await self.reader.readexactly(2), "big")
            assert second >= 126
        elif second == 127:
            second = int.from_bytes(await self.reader.readexactly(8), "big")
            assert second >= 65536
        return first & 15, await self.reader.readexactly(second)

    async def _take(self, kind, payload):
        if kind == TEXT:
            self.messages.put_nowait(exact(payload.decode("utf-8")))
        elif kind == BINARY:
            self.messages.put_nowait(payload)
        elif kind == PING:
            self.pings += 1
            self._write(frame(PONG, payload, mask=os.urandom(4)))
        elif kind == PONG:
            assert payload == self.owed.pop(0), "a pong that nobody waits for"
            self.pongs += 1
        else:
            assert kind == CLOSE and len(payload) != 1, kind
            self.code = int.from_bytes(payload[:2], "big") if payload else 1005
            raise EOFError

    async def _listen(self):
        try:
            while True:
                if self.pause_s:
                    await asyncio.sleep(self.pause_s)
                await self._take(*await self._frame())
        except (EOFError, OSError):  # asyncio's IncompleteReadError is an EOFError
            self.lost = Lost(self.code)
            self.messages.put_nowait(self.lost)
        except AssertionError as fault:
            self.messages.put_nowait(fault)

    def _write(self, data):
        if not self.writer.is_closing():
            self.writer.write(data)

    def send(self, **fields):
        self.n_out += 1
        self._write(frame(TEXT, as_json(fields), mask=os.urandom(4)))

    def send_bytes(self, data):
        self.n_out += 1
        self._write(frame(BINARY, data, mask=os.urandom(4)))

    def ping(self):
        self.owed.append(os.urandom(8))
        self._write(frame(PING, self.owed[-1], mask=os.urandom(4)))

    async def read(self):
        message = await soon(self.messages.get())
        if isinstance(message, Exception):
            raise message
        return message

    async def answer(self, id_):
        """(the token messages, done) of the request `id_`; an error is an AssertionError."""
        tokens = []
        while True:
            message = await self.read()
            assert message["id"] == str(id_), message
            if "done" in message:
                return tokens, message["done"]
            assert {"id", "token"} <= set(message) <= {"id", "token", "event_id"}, message
            tokens.append(message["token"])

    async def finish(self):
        """The closing handshake; nothing else may come."""
        self._write(close_frame(1000, mask=os.urandom(4)))
        try:
            raise AssertionError(f"after the close: {await self.read()}")
        except Lost as end:
            assert end.code == 1000, end
        assert await soon(self.reader.read()) == b""
        await self.leave("close")

    async def leave(self, how):
        """Without a word: "close" (FIN), "reset" (RST), or "mute" (nothing more is read or answered)."""
        self.listener.cancel()
        await asyncio.gather(self.listener, return_exceptions=True)
        if how == "reset":
            sock = self.writer.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how != "mute":
            self.writer.transport.abort()

    async def is_dropped(self):
        """Whether the daemon gives up one that is mute."""
        try:
            while await soon(self.reader.read(65536)):
                pass
        except OSError:
            pass
        self.writer.transport.abort()
