"""A storm over sessions: no answer, however it came about, has a byte of another session in it.

Every session has a secret: a text of its own that only its owner knows, and that the session has read.  Owners
work at the same time, each on sessions of its own: they feed, peek, generate, stream, cut streams, leave in the
middle, fork, snapshot, rewind, reset, save and restore states, delete, and let some expire; memory holds a few
states only, and the daemon is killed now and then.  Since the state after a text is what a stateless request
over that text has, each answer's numbers must equal, to the last digit, those of the owner's own text.

Where an answer is lost (the owner left, the daemon died), either text may be the session's: the position tells
which, and the numbers must agree with it.  A session that was left in the middle rests until the daemon has ended,
since only then is it certain that nothing of it is still under way.

RNND_STORM_SECONDS is how long, RNND_STORM_SEED which storm (the seed is printed; threads still run as they like).
"""
import os
import random
import socket
import threading
import time

from client import SLOW, Daemon, Stream, expect, parse_metrics

SECONDS = float(os.environ.get("RNND_STORM_SECONDS", "10"))
SEED = int(os.environ.get("RNND_STORM_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
OWNERS = 8
DIGITS = str.maketrans("0123456789", "ABCDEFGHIJ")
LETTERS = "abcdefghijklmnopqrstuvwxyz "
ARGS = ["--durability", "process", "--session-memory-bytes", "60000", "--session-gone-s", "2"]


class Away(Exception):
    """The daemon died under the request: nothing is known of its effect."""


class Session:
    """What its owner knows: the texts that may be its past, and its points."""

    def __init__(self, name, text=""):
        self.name = name
        self.maybe = {text}   # exactly one of them is true
        self.points = {}      # name: texts that it may stand for
        self.gone = False     # perhaps deleted
        self.ends = None      # time from which it may have expired
        self.rests = None     # the daemon that may still be at work on it

    @property
    def text(self):
        (text,) = self.maybe
        return text


class Owner(threading.Thread):
    def __init__(self, world, number):
        super().__init__(daemon=True)
        self.world, self.number = world, number
        self.random = random.Random(f"{SEED} {number}")
        self.sessions, self.made, self.counts = [], 0, {}
        self.link = self.current = None

    # ---- asking ----

    def died(self, daemon):
        """Whether this one has ended, or is being ended."""
        return self.world.ending or daemon is not self.world.daemon

    def request(self, method, path, body=None):
        """An answer of the daemon as it is now."""
        daemon = self.world.daemon
        try:
            if self.link is None or self.link[0] is not daemon:
                self.link = (daemon, daemon.connect())
            answer = daemon.request(method, path, body, connection=self.link[1])
        except Exception as failure:  # of many kinds: cut in the head, in the body, refused
            self.link = None
            if self.died(daemon):
                raise Away from None
            raise AssertionError(f"a connection broke without a reason: {failure!r}") from failure
        if answer.status == 503 and self.died(daemon):
            raise Away
        return answer

    def numbers_of(self, text):
        """The logits after this text, of a stateless request."""
        if len(self.world.known) > 20000:
            self.world.known.clear()
        if text not in self.world.known:
            answer = self.request("POST", "/predict", {"model": "kjv", "input": text, "top_k": 0, "return": ["logits"]})
            numbers = expect(answer, 200)["outputs"][-1]["logits"]
            self.world.known[text] = numbers
            return numbers
        return self.world.known.get(text) or self.numbers_of(text)

    # ---- checking ----

    def settle(self, session):
        """Finds out which of its texts is true; False where it is gone."""
        answer = self.request("GET", f"/sessions/{session.name}")
        if answer.status in (404, 410):
            assert session.gone or (session.ends and time.time() >= session.ends), f"{session.name} is lost"
            self.sessions.remove(session)
            return False
        position = expect(answer, 200)["position"]
        fits = {text for text in session.maybe if len(text) == position}
        assert fits, (session.name, position, session.maybe)
        session.maybe, session.gone = fits, False
        if len(fits) > 1:
            logits = self.peek(session)
            session.maybe = {text for text in fits if self.numbers_of(text) == logits}
        assert len(session.maybe) == 1, (session.name, fits)
        return True

    def peek(self, session):
        """The logits that the session gives to one more letter, which it then forgets; the letter is the last."""
        body = {"session": session.name, "commit": False, "top_k": 0, "return": ["logits"]}
        return expect(self.request("POST", "/predict", body), 200)["outputs"][-1]["logits"]

    def check(self, session):
        if session.text:
            assert self.peek(session) == self.numbers_of(session.text), f"{session.name} is not what its owner told it"

    def letters(self, most=8):
        return "".join(self.random.choice(LETTERS) for _ in range(self.random.randint(1, most)))

    # ---- what is done ----

    def change(self, session, texts, method, path, body=None, status=200):
        """A request that makes one of `texts` true, or nothing."""
        before = set(session.maybe)
        session.maybe = before | texts
        answer = self.request(method, path, body)
        view = expect(answer, status)
        session.maybe = texts
        return view

    def create(self):
        self.made += 1
        session = Session(f"o{self.number}-{self.made}-{SEED}")
        self.sessions.append(session)
        self.current = session
        session.gone = True  # until it is known to be there
        body = {"model": "kjv", "id": session.name, "ttl_seconds": 900}
        if self.random.random() < 0.1:
            body["ttl_seconds"] = 1
            session.ends = time.time() + 0.9
        expect(self.request("POST", "/sessions", body), 201)
        session.gone = False
        self.feed(session, f"secret of {self.letters(1)}{self.number} {self.letters(12)}".translate(DIGITS))

    def feed(self, session, text=None):
        text = text or self.letters()
        after = session.text + text
        view = self.change(session, {after}, "POST", "/predict",
                           {"session": session.name, "input": text, "top_k": 0, "return": ["logits"]})
        assert view["session"]["position"] == len(after)
        assert view["outputs"][-1]["logits"] == self.numbers_of(after), f"{session.name} answered of another text"

    def generate(self, session):
        n, seed = self.random.randint(1, 12), self.random.randrange(1000)
        body = {"session": session.name, "max_tokens": n, "seed": seed, "commit": False}
        text = expect(self.request("POST", "/generate", body), 200)["choices"][0]["text"]
        if session.text:
            same = {"model": "kjv", "input": session.text, "max_tokens": n, "seed": seed}
            assert expect(self.request("POST", "/generate", same), 200)["choices"][0]["text"] == text

    def stream(self, session):
        """To its end, or cut: then any beginning of the text may stand."""
        n = self.random.randint(2, 40)
        cut = self.random.randint(0, n) if self.random.random() < 0.6 else None
        daemon, before = self.world.daemon, session.text + "a"
        same = {"model": "kjv", "input": before, "max_tokens": n, "temperature": 0}
        whole = expect(self.request("POST", "/generate", same), 200)["choices"][0]["text"]
        session.maybe |= {before + whole[:i] for i in range(len(whole) + 1)}
        session.rests = daemon
        body = {"session": session.name, "input": "a", "max_tokens": n, "temperature": 0, "stream": True}
        try:
            self.read_stream(daemon, body, whole, cut)
        except (OSError, ValueError, AssertionError) as failure:
            if self.died(daemon):
                raise Away from None
            raise AssertionError(f"a stream: {failure!r}") from failure
        if cut is None:
            session.maybe, session.rests = {before + whole}, None
            self.check(session)

    def read_stream(self, daemon, body, whole, cut):
        got, done = "", False
        with Stream(daemon, "/generate", body) as stream:
            assert stream.open() == 200, stream.answer()
            for i, event in enumerate(stream):
                if event.name == "token":
                    got += event.data["text"] or ""
                    assert whole.startswith(got), (got, whole)
                else:
                    assert event.name == "done" and got == whole, (event, got, whole)
                    done = True
                if i == cut:
                    (stream.reset if self.random.random() < 0.5 else stream.close)()
                    return
        assert done, "a stream ends with done"

    def leave(self, session):
        """Asks and does not wait for the answer."""
        daemon, text = self.world.daemon, self.letters()
        body = ('{"session":"%s","input":"%s"}' % (session.name, text)).encode()
        session.maybe, session.rests = {session.text, session.text + text}, daemon
        try:
            with socket.create_connection(daemon.address) as sock:
                sock.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                if self.random.random() < 0.5:
                    time.sleep(self.random.random() / 500)
        except OSError:
            raise Away from None

    def fork(self, session):
        n = self.random.randint(1, 3)
        view = expect(self.request("POST", f"/sessions/{session.name}/fork", {"count": n}), 201)
        for child in view["sessions"]:
            self.sessions.append(Session(child["id"], session.text))
            self.sessions[-1].ends = session.ends and time.time() + 0.5
            self.check(self.sessions[-1])

    def snapshot(self, session):
        name = self.random.choice("pqr")
        old = session.points.get(name, {None})  # None: perhaps there is no such point
        session.points[name] = old | {session.text}
        expect(self.request("POST", f"/sessions/{session.name}/snapshots", {"name": name, "replace": True}), 201)
        session.points[name] = {session.text}

    def rewind(self, session):
        names = [name for name, texts in session.points.items() if len(texts) == 1]
        if not names:
            return self.snapshot(session)
        name = self.random.choice(names)
        self.change(session, set(session.points[name]), "POST", f"/sessions/{session.name}/rewind", {"to": name})
        return self.check(session)

    def step_back(self, session):
        if len(session.text) < 2:
            return
        maybe = {session.text, session.text[:-1]}
        before = session.text
        session.maybe = maybe
        answer = self.request("POST", f"/sessions/{session.name}/rewind", {"steps": 1})
        if answer.status in (404, 422):  # its trail does not reach that far
            session.maybe = {before}
            return
        expect(answer, 200)
        session.maybe = {before[:-1]}
        self.check(session)

    def reset(self, session):
        self.change(session, {""}, "POST", f"/sessions/{session.name}/reset")

    def carry(self, session):
        """The state of one of its sessions into another."""
        answer = self.request("GET", f"/sessions/{session.name}/state")
        assert answer.status == 200, answer
        other = self.random.choice(self.usable())
        if other is session or self.settle(other):
            self.change(other, {session.text}, "PUT", f"/sessions/{other.name}/state", answer.body)
            self.check(other)

    def delete(self, session):
        session.gone = True
        expect(self.request("DELETE", f"/sessions/{session.name}"), 200)
        self.sessions.remove(session)
        assert self.request("GET", f"/sessions/{session.name}").status == 404

    # ---- the life of an owner ----

    DEEDS = [("feed", 30), ("generate", 6), ("stream", 10), ("leave", 8), ("fork", 4), ("snapshot", 6), ("rewind", 6),
             ("step_back", 5), ("reset", 2), ("carry", 4), ("delete", 4),
             ("create", 6)]

    def usable(self):
        return [s for s in self.sessions if s.rests is not self.world.daemon]

    def deed(self):
        session = self.current = self.random.choice(self.usable() or [None])
        name = self.random.choices([d for d, _ in self.DEEDS], [w for _, w in self.DEEDS])[0]
        if session is None or (name == "create" and len(self.sessions) < 24):
            self.create()
        elif self.settle(session):
            self.check(session)
            getattr(self, name if len(self.sessions) < 24 else "delete")(session)
        self.counts[name] = self.counts.get(name, 0) + 1

    def try_deed(self):
        try:
            self.deed()
        except AssertionError:
            session = self.current
            if session is None or session.ends is None or time.time() < session.ends:
                raise
            if session in self.sessions:  # it expired in the middle of the deed
                self.sessions.remove(session)

    def run(self):
        while not self.world.over and self.world.failure is None:
            try:
                self.try_deed()
            except Away:
                self.link = None
                self.world.up.wait(60)
            except BaseException as failure:
                self.world.failure = failure
                raise


class World:
    """The daemon that they share, and its deaths."""

    def __init__(self, models, keep):
        self.models, self.keep = models, keep
        self.known = {}
        self.over, self.ending, self.failure = False, True, None
        self.up = threading.Event()
        self.restored = self.evicted = self.expired = 0
        self.begin()

    def begin(self):
        self.daemon = Daemon(self.models, workers=2, args=["--state-dir", self.keep, *ARGS])
        self.ending = False
        self.up.set()

    def count(self):
        page = parse_metrics(self.daemon.get("/metrics").body.decode())
        self.restored += page[("rnnd_session_events_total", (("event", "restored"),))]
        self.evicted += page[("rnnd_session_events_total", (("event", "evicted"),))]
        self.expired += page[("rnnd_session_events_total", (("event", "expired"),))]
        assert page[("rnnd_session_events_total", (("event", "damaged"),))] == 0

    def end(self, orderly):
        self.up.clear()
        self.ending = True
        if orderly:
            self.daemon.stop()
        else:
            self.daemon.process.kill()
            self.daemon.wait_end()
            self.daemon.check_alarms()


def test_no_byte_of_another_session_in_a_storm(models_dir, tmp_path):
    print(f"RNND_STORM_SEED={SEED}")
    chance = random.Random(SEED)
    world = World(models_dir, str(tmp_path / "state"))
    owners = [Owner(world, i) for i in range(OWNERS)]
    for owner in owners:
        owner.start()
    end = time.monotonic() + SECONDS
    kills = 0
    while time.monotonic() < end and world.failure is None:
        time.sleep(chance.uniform(1, 4) * (3 if SLOW else 1))
        if world.failure is None:
            assert world.daemon.process.poll() is None, (world.daemon.log[-5:], world.daemon.other[-80:])
            world.count()
            world.end(orderly=chance.random() < 0.3)
            world.begin()
            kills += 1
    world.over = True
    for owner in owners:
        owner.join(300)
        assert not owner.is_alive(), "an owner hangs"
    try:
        if world.failure is not None:
            told = [line for line in world.daemon.log if line.get("level") in ("warning", "error")][-10:]
            raise AssertionError(f"seed {SEED}; the daemon's log: {told}") from world.failure
        world.end(orderly=True)
        world.begin()
        for owner in owners:  # the calm after it: every session is its owner's
            for session in list(owner.sessions):
                if owner.settle(session):
                    owner.check(session)
        world.count()
        assert kills > 0 and world.evicted > 0 and world.restored > 0
        assert sum(sum(owner.counts.values()) for owner in owners) > 20
    finally:
        world.end(orderly=world.failure is None)
        total = {}
        for owner in owners:
            for name, n in owner.counts.items():
                total[name] = total.get(name, 0) + n
        print(f"{kills} ends of the daemon; {total}; evicted {world.evicted:.0f}, restored {world.restored:.0f}, "
              f"expired {world.expired:.0f}")
