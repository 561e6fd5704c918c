"""Sessions on disk: what was acknowledged is there after the daemon's death, exactly as it was.

A session is known by its text: the state after a text is what a stateless request over the same text has, so
every check of "exactly" compares logits, printed to the last bit.
"""
import base64
import os
import random
import shutil
import sqlite3
import threading

import pytest

from client import SHIPPED, SLOW, expect, wait_until, without

DURABLE = ["process", "power"]
KILLS = int(os.environ.get("RNND_TEST_KILLS", "2" if SLOW else "6"))  # of the storm
LETTERS = "abcdefghijklmnopqrstuvwxyz "


@pytest.fixture
def keep(tmp_path):
    return str(tmp_path / "state")


@pytest.fixture
def open_daemon(start, keep):
    def opener(*args, workers=2, **more):
        return start(workers=workers, args=["--state-dir", keep, *args], **more)
    return opener


def kill(daemon):
    daemon.process.kill()
    daemon.process.wait()


def feed(daemon, session, text, **more):
    return expect(daemon.post("/predict", {"session": session, "input": text}, **more), 200)["session"]["position"]


def logits(daemon, **body):
    return daemon.ok("/predict", {"return": ["logits"], "top_k": 0, **body})["outputs"][-1]["logits"]


def assert_stands_after(daemon, session, text, model="kjv"):
    """The session is what a state after this text is."""
    assert daemon.position(session) == len(text)
    if text:
        assert logits(daemon, session=session, commit=False) == logits(daemon, model=model, input=text)


def text_of(daemon, session, **more):
    return daemon.ok("/generate", {"session": session, "max_tokens": 20, "commit": False, **more})["choices"][0]["tokens"]


def database(keep):
    return sqlite3.connect(os.path.join(keep, "sessions.db"))


# ---- surviving ----

@pytest.mark.parametrize("durability", DURABLE)
def test_a_session_survives_kill_minus_nine(open_daemon, durability):
    daemon = open_daemon("--durability", durability)
    session = daemon.session("kjv", ttl_seconds=900)
    feed(daemon, session, "In the beginning ")
    expect(daemon.post(f"/sessions/{session}/snapshots", {"name": "here"}), 201)
    daemon.ok("/generate", {"session": session, "max_tokens": 10, "seed": 4})
    before = expect(daemon.get(f"/sessions/{session}"), 200)
    file, text = daemon.get(f"/sessions/{session}/state").body, text_of(daemon, session)
    kill(daemon)
    daemon = open_daemon("--durability", durability)
    after = expect(daemon.get(f"/sessions/{session}"), 200)
    assert without(after, "bytes", "resident", "last_used_at", "expires_at", "layers") == \
        without(before, "bytes", "resident", "last_used_at", "expires_at", "layers")
    assert after["resident"] is False
    assert daemon.get(f"/sessions/{session}/state").body == file
    assert text_of(daemon, session) == text
    expect(daemon.post(f"/sessions/{session}/rewind", {"to": "here"}), 200)
    assert_stands_after(daemon, session, "In the beginning ")


@pytest.mark.parametrize("durability", ["none", *DURABLE])
def test_a_session_survives_an_orderly_end(open_daemon, durability):
    daemon = open_daemon("--durability", durability)
    session = daemon.session("kjv")
    for c in "And God said":
        feed(daemon, session, c)
    assert daemon.stop() is None
    daemon = open_daemon("--durability", durability, workers=1)  # ids fall on other workers now
    assert_stands_after(daemon, session, "And God said")


def test_every_change_survives(open_daemon):
    daemon = open_daemon()
    a, gone, reset, put = (daemon.session("kjv", id=name) for name in ("a", "gone", "reset", "put"))
    for session in (a, gone, reset):
        feed(daemon, session, "Moses ")
    children = [s["id"] for s in expect(daemon.post(f"/sessions/{a}/fork", {"count": 3}), 201)["sessions"]]
    feed(daemon, children[1], "went")
    for name in ("p", "q"):
        expect(daemon.post(f"/sessions/{a}/snapshots", {"name": name}), 201)
    feed(daemon, a, "up")
    expect(daemon.post(f"/sessions/{a}/snapshots", {"name": "p", "replace": True}), 201)
    expect(daemon.delete(f"/sessions/{a}/snapshots/q"), 200)
    expect(daemon.post(f"/sessions/{a}/rewind", {"steps": 1}), 200)
    expect(daemon.delete(f"/sessions/{gone}"), 200)
    expect(daemon.post(f"/sessions/{reset}/reset", None), 200)
    expect(daemon.request("PUT", f"/sessions/{put}/state", daemon.get(f"/sessions/{a}/state").body), 200)
    kill(daemon)
    daemon = open_daemon()
    assert_stands_after(daemon, a, "Moses u")
    assert_stands_after(daemon, put, "Moses u")
    assert_stands_after(daemon, reset, "")
    assert_stands_after(daemon, children[0], "Moses ")
    assert_stands_after(daemon, children[1], "Moses went")
    expect(daemon.get(f"/sessions/{gone}"), 404, "no_session")
    points = expect(daemon.get(f"/sessions/{a}/snapshots"), 200)
    assert points == {"snapshots": [{"name": "p", "position": 8}], "trail": []}
    expect(daemon.post(f"/sessions/{a}/rewind", {"to": "p"}), 200)
    assert_stands_after(daemon, a, "Moses up")


def test_where_a_reset_goes_survives(open_daemon):
    daemon = open_daemon()
    before = daemon.session("kjv")
    feed(daemon, before, "Moses ")
    file = daemon.get(f"/sessions/{before}/state").body
    given = expect(daemon.post("/sessions", {"model": "kjv", "state": base64.b64encode(file).decode()}), 201)["id"]
    feed(daemon, given, "went ")
    child = expect(daemon.post(f"/sessions/{given}/fork", None), 201)["sessions"][0]["id"]
    feed(daemon, child, "up ")
    expect(daemon.post(f"/sessions/{child}/snapshots", {"name": "p"}), 201)
    kill(daemon)
    daemon = open_daemon("--session-memory-bytes", "1")  # from the disk each time
    assert_stands_after(daemon, child, "Moses went up ")
    for session in (given, child):
        for _ in range(2):
            expect(daemon.post(f"/sessions/{session}/reset", None), 200)
            assert daemon.get(f"/sessions/{session}/state").body == file
            feed(daemon, session, "x")
    assert [p["name"] for p in expect(daemon.get(f"/sessions/{child}/snapshots"), 200)["snapshots"]] == ["p"]


def test_a_request_that_is_refused_writes_nothing(open_daemon):
    daemon = open_daemon()
    session = daemon.session("kjv")
    feed(daemon, session, "And ")
    expect(daemon.post("/predict", {"session": session, "input": "\u00e9"}), 422)
    expect(daemon.post(f"/sessions/{session}/rewind", {"to": "nowhere"}), 404)
    expect(daemon.request("PUT", f"/sessions/{session}/state", b"nothing"), 422)
    daemon.ok("/predict", {"session": session, "input": "x", "commit": False})
    kill(daemon)
    assert_stands_after(open_daemon(), session, "And ")


def test_sessions_of_keys_survive_with_their_owners(start, keep, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("one:first\ntwo:second\n")
    keys.chmod(0o600)
    args = ["--state-dir", keep, "--keys", str(keys)]
    daemon = start(workers=2, args=args)
    for key, text in (("first", "mine"), ("second", "yours")):  # one id, two sessions
        expect(daemon.post("/sessions", {"model": "kjv", "id": "same"}, key=key), 201)
        feed(daemon, "same", text, key=key)
    kill(daemon)
    daemon = start(workers=1, args=args)
    assert daemon.position("same", key="first") == 4 and daemon.position("same", key="second") == 5
    expect(daemon.delete("/sessions/same", key="second"), 200)
    kill(daemon)
    daemon = start(workers=2, args=args)
    assert daemon.position("same", key="first") == 4
    expect(daemon.get("/sessions/same", key="second"), 404, "no_session")


def test_what_expired_meanwhile_is_gone(open_daemon, keep):
    daemon = open_daemon()
    short, long = daemon.session("hello", ttl_seconds=1), daemon.session("hello", ttl_seconds=900)
    kill(daemon)
    with database(keep) as db:  # an hour passes
        db.execute("UPDATE progress SET used_ms = used_ms - 120000")
    db.close()
    daemon = open_daemon()
    expect(daemon.get(f"/sessions/{short}"), 404, "no_session")
    assert daemon.position(long) == 0
    assert daemon.metric("rnnd_session_events_total", event="expired") == 1
    daemon.stop()
    with database(keep) as db:
        assert db.execute("SELECT count(*) FROM session").fetchone() == (1,)
    db.close()


def test_expiry_and_deletion_reach_the_disk(open_daemon, keep):
    daemon = open_daemon()
    daemon.session("hello", ttl_seconds=1)
    session = daemon.session("hello")
    feed(daemon, session, "he")
    expect(daemon.post(f"/sessions/{session}/snapshots", {"name": "p"}), 201)
    expect(daemon.delete(f"/sessions/{session}"), 200)
    wait_until(lambda: daemon.metric("rnnd_session_events_total", event="expired") == 1, "expiry")
    daemon.stop()
    with database(keep) as db:
        for table in ("session", "progress", "state", "point"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    db.close()


# ---- a storm ----

class Pilgrim(threading.Thread):
    """Feeds a session letter by letter until the daemon dies, and knows what was acknowledged."""

    def __init__(self, daemon, session, text, seed):
        super().__init__(daemon=True)
        self.session, self.text, self.random = session, text, random.Random(seed)
        self.server, self.asked = daemon, text

    def run(self):
        connection = self.server.connect()
        while True:
            more = "".join(self.random.choice(LETTERS) for _ in range(self.random.randint(1, 6)))
            self.asked = self.text + more
            try:
                answer = self.server.request("POST", "/predict", {"session": self.session, "input": more},
                                             connection=connection)
            except OSError:
                return
            except Exception:  # an answer that was cut in the middle
                return
            assert answer.status == 200, answer
            assert answer.json["session"]["position"] == len(self.asked)
            self.text = self.asked


@pytest.mark.parametrize("durability", DURABLE)
def test_nothing_acknowledged_is_lost_in_a_storm_of_kills(open_daemon, durability):
    args = ["--durability", durability, "--session-memory-bytes", "40000"]  # some live on disk
    daemon = open_daemon(*args)
    texts = {daemon.session("kjv", id=f"pilgrim{i}"): "" for i in range(16)}
    for round_ in range(KILLS):
        pilgrims = [Pilgrim(daemon, s, text, f"{round_} {s}") for s, text in texts.items()]
        for pilgrim in pilgrims:
            pilgrim.start()
        target = sum(map(len, texts.values())) + random.Random(round_).randint(50, 400)
        wait_until(lambda: sum(len(p.text) for p in pilgrims) >= target, "steps")
        kill(daemon)
        for pilgrim in pilgrims:
            pilgrim.join()
        daemon = open_daemon(*args)
        for pilgrim in pilgrims:
            position = daemon.position(pilgrim.session)
            assert position in (len(pilgrim.text), len(pilgrim.asked)), "an acknowledged step is lost"
            texts[pilgrim.session] = pilgrim.asked[:position]
            assert_stands_after(daemon, pilgrim.session, pilgrim.asked[:position])
        assert daemon.metric("rnnd_sessions") == 16


# ---- more sessions than memory ----

def test_sessions_leave_memory_and_come_back(open_daemon):
    daemon = open_daemon("--session-memory-bytes", "20000")  # four states of kjv
    texts = {}
    for i in range(30):
        session = daemon.session("kjv")
        texts[session] = f"verse {LETTERS[i % 26]} of {LETTERS[(i * 7) % 26]} "
        feed(daemon, session, texts[session])
    assert daemon.metric("rnnd_sessions") == 30 and daemon.metric("rnnd_sessions_stored") > 20
    assert daemon.metric("rnnd_session_state_bytes") <= 20000
    for session in random.Random(1).choices(list(texts), k=90):
        c = random.Random(session).choice(LETTERS)
        texts[session] += c
        feed(daemon, session, c)
        assert daemon.metric("rnnd_session_state_bytes") <= 20000
    for session, text in texts.items():
        assert_stands_after(daemon, session, text)
    assert daemon.metric("rnnd_session_events_total", event="restored") > 60
    for session in texts:
        expect(daemon.delete(f"/sessions/{session}"), 200)
    assert daemon.metric("rnnd_sessions_stored") == 0 and daemon.metric("rnnd_sessions") == 0


def test_how_many_fit_is_told_and_true(open_daemon):
    daemon = open_daemon("--session-memory-bytes", "200000", workers=1)
    model = expect(daemon.get("/models/kjv"), 200)
    assert model["state_bytes"] < model["session_bytes"] < model["state_bytes"] + 512
    assert model["sessions_in_memory"] == 200000 // model["session_bytes"]
    for _ in range(60):
        daemon.session("kjv")
    held = daemon.metric("rnnd_sessions") - daemon.metric("rnnd_sessions_stored")
    assert model["sessions_in_memory"] <= held <= 200000 // model["state_bytes"]


def test_snapshots_leave_and_come_back_with_their_session(open_daemon):
    daemon = open_daemon("--session-memory-bytes", "1", workers=1)
    session = daemon.session("kjv")
    feed(daemon, session, "abc")
    expect(daemon.post(f"/sessions/{session}/snapshots", {"name": "p"}), 201)
    feed(daemon, session, "def")
    wait_until(lambda: daemon.metric("rnnd_sessions_stored") == 1, "eviction")
    expect(daemon.post(f"/sessions/{session}/rewind", {"to": "p"}), 200)
    assert_stands_after(daemon, session, "abc")


def test_requests_that_wait_for_the_disk_keep_their_order(open_daemon):
    daemon = open_daemon("--session-memory-bytes", "1")
    session = daemon.session("kjv")
    for round_ in range(5):
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(feed(daemon, session, "ab"))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        base = 16 * round_
        assert sorted(answers) == [base + 2 * (i + 1) for i in range(8)]
    assert_stands_after(daemon, session, "ab" * 40)


# ---- trouble ----

def test_a_full_disk_refuses_and_loses_nothing(open_daemon):
    daemon = open_daemon("--durability", "process", workers=1, wrapper=("prlimit", "--fsize=400000"))
    texts = {daemon.session("kjv"): "" for _ in range(3)}
    full = None
    for i in range(200):
        session = list(texts)[i % 3]
        answer = daemon.post("/predict", {"session": session, "input": "ab"})
        if answer.status != 200:
            full = answer
            break
        texts[session] += "ab"
    expect(full, 507, "storage", "session")
    expect(daemon.post("/sessions", {"model": "kjv", "id": "no-room"}), 507, "storage")
    expect(daemon.get("/sessions/no-room"), 404, "no_session")
    for session, text in texts.items():  # what needs no disk goes on
        assert_stands_after(daemon, session, text)
    daemon.ok("/generate", {"model": "kjv", "input": "And ", "max_tokens": 5})
    assert daemon.get("/readyz").status == 200
    assert daemon.metric("rnnd_session_events_total", event="unsaved") > 0
    kill(daemon)
    daemon = open_daemon()
    for session, text in texts.items():
        assert_stands_after(daemon, session, text)
        feed(daemon, session, "c")


def damage(keep, row, column=80):
    with database(keep) as db:
        image = bytearray(db.execute("SELECT image FROM state WHERE row = ?", (row,)).fetchone()[0])
        image[column] ^= 1
        db.execute("UPDATE state SET image = ? WHERE row = ?", (bytes(image), row))
    db.close()


def test_a_damaged_session_is_told_and_the_others_are_served(open_daemon, keep):
    daemon = open_daemon()
    good, bad = daemon.session("kjv"), daemon.session("kjv")
    for session in (good, bad):
        feed(daemon, session, "And ")
    kill(daemon)
    with database(keep) as db:
        row = db.execute("SELECT row FROM session WHERE id = ?", (bad,)).fetchone()[0]
    db.close()
    damage(keep, row)
    daemon = open_daemon()
    for _ in range(2):
        expect(daemon.post("/predict", {"session": bad, "input": "a"}), 500, "session_damaged", "session")
    expect(daemon.get(f"/sessions/{bad}/state"), 500, "session_damaged")
    assert_stands_after(daemon, good, "And ")
    assert any(e.get("session") == bad and e["level"] == "error" for e in daemon.log)
    expect(daemon.delete(f"/sessions/{bad}"), 200)
    expect(daemon.post("/sessions", {"model": "kjv", "id": bad}), 201)


def test_a_state_of_another_session_is_never_taken(open_daemon, keep):
    daemon = open_daemon()
    one, two = daemon.session("kjv"), daemon.session("kjv")
    feed(daemon, one, "one"), feed(daemon, two, "two")
    kill(daemon)
    with database(keep) as db:
        rows = dict(db.execute("SELECT id, row FROM session").fetchall())
        image = db.execute("SELECT image FROM state WHERE row = ?", (rows[one],)).fetchone()[0]
        db.execute("UPDATE state SET image = ? WHERE row = ?", (image, rows[two]))
    db.close()
    daemon = open_daemon()
    expect(daemon.post("/predict", {"session": two, "input": "a"}), 409, "session_orphaned")
    assert_stands_after(daemon, one, "one")


def test_rows_that_make_no_sense_are_passed_over(open_daemon, keep):
    daemon = open_daemon()
    sessions = [daemon.session("hello", id=f"s{i}") for i in range(7)]
    kill(daemon)
    with database(keep) as db:
        for i, change in enumerate(["id = 'a/b'", "fingerprint = 'short'", "ttl_ms = -1", f"model = '{'m' * 200}'"]):
            db.execute(f"UPDATE session SET {change} WHERE id = 's{i + 1}'")
        db.execute("DELETE FROM progress WHERE row = (SELECT row FROM session WHERE id = 's6')")
    db.close()
    daemon = open_daemon()
    assert daemon.position("s0") == 0 and daemon.position("s5") == 0
    assert daemon.metric("rnnd_sessions") == 2
    assert sum("damaged" in e.get("message", "") for e in daemon.log) == 5, daemon.log
    assert sessions


def test_a_file_that_is_no_store_stops_the_start(start, keep):
    os.makedirs(keep)
    with open(os.path.join(keep, "sessions.db"), "wb") as f:
        f.write(b"this is no database" * 1000)
    daemon = start(workers=1, args=["--state-dir", keep], wait=False)
    assert daemon.wait_end() != 0
    assert "not a database" in str(daemon.log)


def test_a_store_of_another_form_stops_the_start(open_daemon, start, keep):
    kill(open_daemon())
    with database(keep) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    daemon = start(workers=1, args=["--state-dir", keep], wait=False)
    assert daemon.wait_end() != 0
    assert "form 99" in str(daemon.log) and "move the file away" in str(daemon.log)


def test_two_daemons_cannot_have_one_store(open_daemon, start, keep):
    first = open_daemon()
    second = start(workers=1, args=["--state-dir", keep], wait=False)
    assert second.wait_end() != 0
    assert "another daemon" in str(second.log)
    first.session("hello")


# ---- models that change ----

def models_of(root, *names):
    for name in names:
        shutil.copytree(os.path.join(SHIPPED, name), os.path.join(root, name))
    return root


def test_a_session_waits_for_its_model(start, keep, tmp_path):
    both = models_of(str(tmp_path / "both"), "hello", "kjv")
    one = models_of(str(tmp_path / "one"), "hello")
    args = ["--state-dir", keep]
    daemon = start(models=both, workers=2, args=args)
    session, other = daemon.session("kjv"), daemon.session("hello")
    feed(daemon, session, "And "), feed(daemon, other, "he")
    kill(daemon)
    daemon = start(models=one, workers=2, args=args)
    assert expect(daemon.get(f"/sessions/{session}"), 200)["usable"] is False
    assert [s["usable"] for s in expect(daemon.get("/sessions"), 200)["sessions"]].count(False) == 1
    expect(daemon.post("/predict", {"session": session, "input": "a"}), 409, "session_orphaned", "session")
    expect(daemon.post(f"/sessions/{session}/reset", None), 409, "session_orphaned")
    assert_stands_after(daemon, other, "he", model="hello")
    kill(daemon)
    daemon = start(models=both, workers=1, args=args)
    assert_stands_after(daemon, session, "And ")


def test_other_weights_are_another_model(start, keep, tmp_path):
    root = models_of(str(tmp_path / "m"), "hello")
    args = ["--state-dir", keep]
    daemon = start(models=root, workers=1, args=args)
    session = daemon.session("hello")
    feed(daemon, session, "he")
    kill(daemon)
    path = os.path.join(root, "hello", "model.safetensors")
    data = bytearray(open(path, "rb").read())
    data[-2] ^= 1  # a bit of the last weight
    open(path, "wb").write(data)
    daemon = start(models=root, workers=1, args=args)
    expect(daemon.post("/predict", {"session": session, "input": "l"}), 409, "session_orphaned")
    expect(daemon.delete(f"/sessions/{session}"), 200)
    expect(daemon.get(f"/sessions/{session}"), 404, "no_session")


def test_the_files_are_private(open_daemon, keep):
    open_daemon().session("hello")
    assert os.stat(keep).st_mode & 0o077 == 0
    for name in os.listdir(keep):
        assert os.stat(os.path.join(keep, name)).st_mode & 0o077 == 0, name


@pytest.mark.parametrize("state_dir", ["/proc/nowhere/state", "/dev/null"])
def test_a_state_dir_that_cannot_be_stops_the_start(start, state_dir):
    daemon = start(workers=1, args=["--state-dir", state_dir], wait=False)
    assert daemon.wait_end() != 0
    assert "state_dir" in str(daemon.log)
