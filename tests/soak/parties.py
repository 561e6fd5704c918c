"""Who takes part in the soak.  Each party has a session that it uses in its own way, and a twin of it that is told the same over
plain HTTP: their answers must be equal to the byte, and their positions to the step.

A party lives in `live()`, deed after deed with a rest between, until the world calms down; then it stands still, with its
socket open, until it is sent home by `part()`.
"""
import array
import asyncio
import random

from client import without
from link import Lost, Socket, plain

WORDS = "In the beginning God created the heaven and the earth. And the earth was without form, and void; "
LETTERS = "abß€日 😀"  # of the model `multibyte`


class Party:
    model, ttl_s, rest_s, trait = "kjv", 60, 8, ""

    def __init__(self, world, number):
        self.world, self.number = world, number
        self.kind = type(self).__name__.lower()
        self.name = f"{self.kind}-{number}"
        self.twin = f"{self.name}-twin"
        self.random = random.Random(f"{world.seed} {self.name}")
        self.ws, self.position, self.n_asked = None, 0, 0

    # ---- what all need ----

    def count(self, what, n=1):
        self.world.count(self.kind, what, n)

    async def ask(self, verb, body, **more):
        self.count("plain")
        return await self.world.plain.ask("POST", verb, body, **more)

    async def create(self):
        for name, ttl_s in ((self.name, self.ttl_s), (self.twin, 86400)):
            await self.ask("/sessions", {"model": self.model, "id": name, "ttl_seconds": ttl_s}, status=201)

    async def delete(self):
        for name in (self.name, self.twin):
            await self.world.plain.ask("DELETE", f"/sessions/{name}")

    async def connect(self, **more):
        self.count("sockets")
        self.ws = await Socket.open(self.world.address, f"/sessions/{self.name}/stream{self.trait}", **more)

    def note_pings(self):
        self.count("pings", self.ws.pings)
        self.count("pongs", self.ws.pongs)
        self.ws.pings = self.ws.pongs = 0

    def text(self, most=12):
        n, at = self.random.randint(1, most), self.random.randrange(len(WORDS) - most)
        return WORDS[at:at + n] if self.model == "kjv" else "".join(self.random.choice(LETTERS) for _ in range(n))

    def check(self, ours, twins, steps):
        """The same answer, and both sessions `steps` further than before."""
        assert plain(ours) == plain(twins), f"{self.name}: {plain(ours)} is not {plain(twins)}"
        self.position += steps
        for answer, name in ((ours, self.name), (twins, self.twin)):
            said = {"id": name, "position": str(self.position), "expires_at": answer["session"]["expires_at"]}
            assert answer["session"] == said, (answer["session"], said)
        self.count("checked")

    async def free(self):
        """Waits until nothing runs on the session; its position."""
        while True:
            view = await self.world.plain.ask("GET", f"/sessions/{self.name}")
            if not view["busy"]:
                return int(view["position"])
            await asyncio.sleep(0.3)

    # ---- requests, of which the twin is asked the same ----

    def draw(self):
        """(verb, fields, steps that stay)"""
        text, kind = self.text(), self.random.random()
        keep = {"commit": False} if self.random.random() < 0.15 else {}
        steps = 0 if keep else len(text)
        if kind < 0.4:
            return "predict", {"input": text, "top_k": 3, "return": ["logits"], **keep}, steps
        if kind < 0.6:
            return "score", {"input": text, **keep}, steps
        n = self.random.randint(1, 24)
        body = {"input": text, "max_tokens": n, "seed": self.random.randrange(1000), **keep}
        return "generate", body, 0 if keep else steps + n

    def send(self, **fields):
        self.n_asked += 1
        self.ws.send(id=self.n_asked, **fields)
        return self.n_asked

    async def compare(self, id_, verb, fields, steps):
        tokens, done = await self.ws.answer(id_)
        twins = await self.ask("/" + verb, {"session": self.twin, **fields})
        if verb == "generate":
            text = twins["choices"][0].pop("text")
            assert "".join(t["text"] or "" for t in tokens) == text, (self.name, tokens, text)
            self.count("tokens", len(done["choices"][0]["tokens"]))
        self.check(done, twins, steps)

    async def deeds(self, most=1):
        """Some requests at once, answered in order."""
        drawn = [self.draw() for _ in range(self.random.randint(1, most))]
        for id_, request in [(self.send(**{verb: fields}), (verb, fields, steps)) for verb, fields, steps in drawn]:
            await self.compare(id_, *request)

    async def until(self, tokens, **fields):
        """Starts a long text and reads so many of its tokens: (id, body)."""
        body = {"input": self.text(), "max_tokens": 600, "seed": self.random.randrange(1000), **fields}
        id_ = self.send(generate=body)
        for _ in range(tokens):
            message = await self.ws.read()
            assert message["id"] == str(id_) and "token" in message, message
        return id_, body

    async def follow(self, body, position):
        """The twin writes as much of the text as the session has, which then stand alike."""
        n = position - self.position - len(body["input"])
        assert n >= 0, (self.name, position, self.position, body)
        await self.ask("/generate", {"session": self.twin, **body, "max_tokens": n})
        self.position = position

    # ---- a life ----

    async def deed(self):
        await self.deeds(3)

    async def begin(self):
        await self.create()
        await self.connect()
        await self.deeds()

    async def named(self, life):
        """What goes wrong in it says whose it was."""
        try:
            await life
        except Exception as fault:
            fault.add_note(f"this was {self.name}, at {self.position}")
            raise

    async def rest(self):
        """Whether the world has calmed down meanwhile."""
        for _ in range(round(self.random.uniform(0.5, 1.5) * self.rest_s)):
            if await self.world.calm_within(1):
                return True
            if self.ws and self.ws.lost:
                raise self.ws.lost
        return False

    async def excused(self, deed):
        """Where this program was too late for a pong, the daemon was right to give the socket up: goes on from there."""
        try:
            return await deed
        except Lost as end:
            if end.code is not None or not self.world.was_late():
                raise
        self.count("late")
        self.position = await self.free()
        status, state = await self.world.plain.request("GET", f"/sessions/{self.name}/state")
        assert status == 200, state
        status, text = await self.world.plain.request("PUT", f"/sessions/{self.twin}/state", state)
        assert status == 200, text
        await self.connect()
        return False

    async def live(self):
        await asyncio.sleep(self.random.uniform(0, min(self.rest_s, self.world.gather_s)))
        await self.excused(self.begin())
        while not await self.excused(self.rest()):
            await self.excused(self.deed())
            if self.ws:
                self.note_pings()

    async def part(self):
        """What it has said goodbye to leaves nothing behind."""
        if self.ws:
            await self.excused(self.deeds())
            self.note_pings()
            await self.ws.finish()
        await self.delete()


class Idle(Party):
    """Says a word every few minutes; pings keep the socket, and the socket the session, which is due to expire long before."""
    rest_s = 120


class Busy(Party):
    """Feeds, peeks, scores and generates, several requests at once; cancels; sends pings of its own."""

    async def deed(self):
        if self.random.random() < 0.3:
            self.ws.ping()
        if self.random.random() < 0.8:
            return await self.deeds(3)
        id_, body = await self.until(self.random.randint(1, 20))
        self.ws.send(cancel=id_)
        _, done = await self.ws.answer(id_)
        assert done["choices"][0]["finish_reason"] in ("cancelled", "length"), done
        await self.follow(body, int(done["session"]["position"]))
        self.count("cancels")
        return await self.deeds()


class Slow(Party):
    """Reads long texts more slowly than they are written, from a socket that holds little."""
    model, ttl_s, rest_s = "multibyte", 900, 60

    async def connect(self, **more):
        await super().connect(receive_buffer=4096, **more)

    async def deed(self):
        self.ws.pause_s = self.random.choice((0.001, 0.003, 0.006))  # so that a pong is not late
        body = {"input": self.text(), "max_tokens": 1500, "logprobs": 8, "seed": self.random.randrange(1000)}
        id_ = self.send(generate=body)
        await self.compare(id_, "generate", body, len(body["input"]) + 1500)
        self.ws.pause_s = 0


class Frames(Party):
    """Sends frames of numbers as float32 and is answered in kind."""
    model, trait, rest_s = "sensor", "?format=f32", 3

    async def deeds(self, most=1):
        n = self.random.randint(1, most)
        values = array.array("f", [self.random.uniform(-2, 2) for _ in range(3 * n)])
        self.ws.send_bytes(values.tobytes())
        twins = await self.ask("/predict", {"session": self.twin,
                                            "input": [list(values[3 * i:3 * i + 3]) for i in range(n)]})
        want = array.array("f", [float(v) for output in twins["outputs"] for v in output["values"]])
        assert await self.ws.read() == want.tobytes(), self.name
        self.position += n
        assert twins["session"]["position"] == str(self.position), twins
        self.count("checked")

    async def part(self):
        assert await self.free() == self.position, self.name
        await super().part()


class Vanishing(Party):
    """Goes without a close frame, now and then in the middle of a text, and comes back to its session."""
    ttl_s, rest_s = 900, 10

    async def deed(self):
        how, lost = self.random.choice(("close", "reset", "mute")), None
        if self.random.random() < 0.5:
            _, lost = await self.until(self.random.randint(1, 30))
        self.note_pings()
        gone = self.ws
        await gone.leave(how)
        await asyncio.sleep(self.random.uniform(0, 2))
        if lost:
            await self.follow(lost, await self.free())
        await self.connect()  # beside the mute one, which the daemon still takes for alive
        await self.deeds(2)
        self.count("comebacks")
        if how == "mute":
            await gone.is_dropped()
            self.count("dropped")


class Passing(Party):
    """Opens a socket with a session of its own, which ends with it."""
    rest_s = 12

    async def begin(self):
        await self.deed()

    async def deed(self):
        self.count("sockets")
        self.ws = ws = await Socket.open(self.world.address, "/stream?model=kjv")
        text, pieces = "", [self.text() for _ in range(self.random.randint(1, 4))]
        for piece in pieces:
            text += piece
            id_ = self.send(predict={"input": piece, "return": ["logits"]})
            _, done = await ws.answer(id_)
            assert done["session"]["position"] == str(len(text)), done
        want = await self.ask("/predict", {"model": "kjv", "input": text, "return": ["logits"]})
        assert without(done["outputs"], "step") == without(want["outputs"], "step"), (text, done, want)
        self.count("checked")
        await asyncio.sleep(self.random.uniform(0, 6))
        self.note_pings()
        self.ws = None
        how = self.random.choice(("finish", "close", "reset"))
        await (ws.finish() if how == "finish" else ws.leave(how))
        while (await self.world.plain.request("GET", f"/sessions/{done['session']['id']}"))[0] != 404:
            await asyncio.sleep(0.3)

    async def excused(self, deed):
        try:
            return await deed
        except Lost as end:
            if end.code is not None or not self.world.was_late():
                raise
        self.count("late")
        self.ws = None
        return False

    async def part(self):
        pass


class Expiring(Party):
    """Makes sessions and forgets them: they expire, and are forgotten in turn."""
    rest_s = 4

    async def begin(self):
        await self.deed()

    async def deed(self):
        made = await self.ask("/sessions", {"model": self.model, "ttl_seconds": 1}, status=201)
        await self.ask("/predict", {"session": made["id"], "input": self.text()})
        wanted = [200, 410, 404]  # in this order
        while wanted[0] != 404:
            status, _ = await self.world.plain.request("GET", f"/sessions/{made['id']}")
            assert status in wanted, status
            wanted = wanted[wanted.index(status):]
            await asyncio.sleep(2.5)  # asking is no use of it
        self.count("expired")

    async def part(self):
        pass


class Events(Party):
    """Reads streams of events, which break off and are taken up behind the last event that was seen."""
    model, ttl_s, rest_s = "multibyte", 900, 10

    async def begin(self):
        await self.create()

    async def deed(self):
        n = self.random.randint(4, 60)
        body = {"input": self.text(), "max_tokens": n, "seed": self.random.randrange(1000)}
        whole = await self.ask("/generate", {"session": self.twin, **body})
        text, last, done = "", None, None
        while done is None:
            cut = self.random.randint(1, 2 * n)
            self.count("streams")
            stream = self.world.plain.events({"session": self.name, **body, "stream": True}, last)
            async for name, data, id_ in stream:
                if name == "done":
                    done = data
                    break
                text, last = text + data["text"], id_ or last
                cut -= 1
                if cut == 0 and last:
                    break
            await stream.aclose()
            if done is None:
                self.count("resumed")
                await self.free()
        assert text == whole["choices"][0]["text"], (text, whole)
        self.position += len(body["input"]) + n
        assert int(done["session"]["position"]) == int(whole["session"]["position"]) == self.position, (done, whole)
        self.count("tokens", n)
        self.count("checked")

    async def part(self):
        await self.deed()
        await self.delete()


# kind: how many of them
WORLD = ((Idle, 50), (Busy, 24), (Slow, 6), (Frames, 16), (Vanishing, 16), (Passing, 8), (Expiring, 4), (Events, 12))
