"""Models that are loaded, reloaded and unloaded while everything runs.

A text tells on which weights it was written: every check of "the same" compares whole token lists with those of
a daemon that served nothing else.  Versions differ in the seed of their random weights.
"""
import base64
import os
import random
import shutil
import signal
import threading
import time

import pytest

import folders
import states
from client import SLOW, Daemon, collect, expect, wait_until

TOKENS = list("abcdefghijklmnop \n")
ADMIN = ["--admin-keys", "*"]
LONG = 5000 if SLOW else 30000  # tokens of a request that is still running when something else is done


def put(root, name, seed, **more):
    """The folder in that version; an older one is replaced by renaming, as an operator would."""
    path, fresh = os.path.join(root, name), os.path.join(root, ".fresh")
    folders.make(fresh, **{"tokens": TOKENS, "hidden": 24, "layers": 2, "seed": seed, "scale": 4, **more})
    if os.path.exists(path):
        shutil.rmtree(path)
    os.rename(fresh, path)


@pytest.fixture
def root(tmp_path):
    path = str(tmp_path / "models")
    os.makedirs(path)
    put(path, "m", 1)
    put(path, "other", 9)
    return path


@pytest.fixture
def serve(start, root):
    def server(*args, workers=2, **more):
        return start(models=root, workers=workers, args=[*ADMIN, *args], **more)
    return server


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Daemons in which nothing changes, one for each version."""
    running = {}

    def at(seed, **more):
        if seed not in running:
            path = str(tmp_path_factory.mktemp("plain"))
            put(path, "m", seed, **more)
            running[seed] = Daemon(path, workers=1)
        return running[seed]
    yield at
    for daemon in running.values():
        daemon.stop()


def change(daemon, what, name="m", status=200, code=None, **body):
    return expect(daemon.post(f"/models/{name}/{what}", body or None), status, code)


def write(daemon, session=None, n=20, seed=5, **more):
    """Tokens of a text: of the session, which goes on, or of none."""
    place = {"session": session} if session else {"model": "m", "input": "ab"}
    return daemon.ok("/generate", {**place, "max_tokens": n, "seed": seed, **more})["choices"][0]["tokens"]


def fingerprint(daemon, name="m"):
    return expect(daemon.get(f"/models/{name}"), 200)["fingerprint"]


def versions(daemon, name="m"):
    """{fingerprint: sessions}, the current one first."""
    found = expect(daemon.get(f"/models/{name}"), 200)["versions"]
    assert [v["current"] for v in found] == [True] + [False] * (len(found) - 1)
    return {v["fingerprint"]: v["sessions"] for v in found}


def kill(daemon):
    daemon.process.kill()
    daemon.process.wait()


# ---- reload ----

@pytest.mark.parametrize("workers", [1, 2])
def test_pinned_sessions_go_on_and_others_are_new(serve, root, plain, workers):
    daemon = serve(workers=workers)
    old, sessions = fingerprint(daemon), [daemon.session("m") for _ in range(6)]
    begun = [write(daemon, s, seed=i) for i, s in enumerate(sessions)]
    put(root, "m", 2)
    answer = change(daemon, "reload")
    assert answer["change"] == "reload" and answer["model"] == "m"
    assert answer["old_fingerprint"] == old and answer["fingerprint"] == fingerprint(daemon) != old
    assert answer["sessions"] == {"policy": "pin", "pinned": 6, "migrated": 0, "same_weights": 0, "closed": 0,
                                  "busy": 0, "failed": 0}
    assert answer["weight_bytes"] > 0 and answer["old_weight_bytes"] > 0
    assert 0 < answer["load_seconds"] <= answer["seconds"]
    assert versions(daemon) == {answer["fingerprint"]: 0, old: 6}
    for i, s in enumerate(sessions):  # as if nothing had happened
        alone = plain(1).session("m")
        assert begun[i] == write(plain(1), alone, seed=i)
        assert write(daemon, s, seed=i + 50) == write(plain(1), alone, seed=i + 50)
    assert write(daemon) == write(plain(2)) != write(plain(1))
    fresh, alone = daemon.session("m"), plain(2).session("m")
    assert write(daemon, fresh) == write(plain(2), alone)
    assert versions(daemon) == {answer["fingerprint"]: 1, old: 6}
    child = expect(daemon.post(f"/sessions/{sessions[0]}/fork", None), 201)["sessions"][0]["id"]
    assert write(daemon, child, commit=False) == write(daemon, sessions[0], commit=False)
    assert versions(daemon)[old] == 7


def stands(daemon, session):
    found = expect(daemon.get(f"/sessions/{session}"), 200)
    return found["fingerprint"], found["current"]


def all_sessions(daemon):
    page = expect(daemon.get("/sessions?limit=1000"), 200)
    found = page["sessions"]
    while page["next"]:
        page = expect(daemon.get(f"/sessions?limit=1000&after={page['next']}"), 200)
        found += page["sessions"]
    return found


def test_a_session_says_on_which_weights_it_stands(serve, root):
    daemon = serve()
    first, stays = fingerprint(daemon), daemon.session("m")
    assert stands(daemon, stays) == (first, True)
    put(root, "m", 2)
    second = change(daemon, "reload")["fingerprint"]
    assert stands(daemon, stays) == (first, False)
    fresh = expect(daemon.post("/sessions", {"model": "m"}), 201)
    assert (fresh["fingerprint"], fresh["current"]) == (second, True)
    child, = expect(daemon.post(f"/sessions/{stays}/fork", None), 201)["sessions"]
    assert (child["fingerprint"], child["current"]) == (first, False)
    told = {s["id"]: (s["fingerprint"], s["current"]) for s in all_sessions(daemon)}
    assert told == {stays: (first, False), child["id"]: (first, False), fresh["id"]: (second, True)}
    change(daemon, "reload", sessions="migrate")
    assert {s["fingerprint"] for s in all_sessions(daemon)} == {second}
    assert all(s["current"] for s in all_sessions(daemon))
    change(daemon, "unload")
    assert stands(daemon, stays) == (second, False)


def test_sessions_made_while_the_model_changes_begin_on_what_is_served(serve, root):
    """None is left on weights that were replaced while its request was on the way to its worker."""
    daemon, stop, made = serve(workers=2), threading.Event(), []

    def make(name):
        while not stop.is_set():  # named: half of them cross to the other worker
            made.append(expect(daemon.post("/sessions", {"model": "m", "id": f"{name}-{len(made)}"}), 201)["id"])

    threads = [threading.Thread(target=make, args=[name]) for name in "abcd"]
    for t in threads:
        t.start()
    try:
        for i in range(12):
            put(root, "m", 2 + i % 2)
            had = len(made)
            answer = change(daemon, "reload", sessions="migrate")
            assert answer["sessions"]["failed"] == 0
            assert {s["fingerprint"] for s in all_sessions(daemon)} == {answer["fingerprint"]}
            for version in expect(daemon.get("/models/m"), 200)["versions"]:
                assert version["loaded_at"] > "2020"
            wait_until(lambda: len(made) > had, "some more")
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert len(versions(daemon)) == 1


def test_the_old_weights_go_with_their_last_session(serve, root):
    daemon = serve()
    sessions = [daemon.session("m") for _ in range(3)]
    bytes_of = lambda version: daemon.metric("rnnd_model_weight_bytes", model="m", version=version)  # noqa: E731
    one = bytes_of("current")
    assert one > 0 and bytes_of("old") == 0
    put(root, "m", 2)
    change(daemon, "reload")
    put(root, "m", 3)
    sessions.append(daemon.session("m"))
    change(daemon, "reload")
    assert (bytes_of("current"), bytes_of("old")) == (one, 2 * one)
    assert daemon.metric("rnnd_model_sessions", model="m", version="old") == 4
    expect(daemon.delete(f"/sessions/{sessions.pop()}"), 200)
    assert bytes_of("old") == one
    for session in sessions:
        assert bytes_of("old") == one
        expect(daemon.delete(f"/sessions/{session}"), 200)
    assert bytes_of("old") == 0 and len(versions(daemon)) == 1
    assert daemon.metric("rnnd_model_changes_total", change="reload") == 2


def test_fitting_sessions_migrate(serve, root, plain):
    daemon = serve()
    sessions = [daemon.session("m") for _ in range(5)]
    for s in sessions:
        write(daemon, s)
    expect(daemon.post(f"/sessions/{sessions[0]}/snapshots", {"name": "here"}), 201)
    put(root, "m", 2)
    answer = change(daemon, "reload", sessions="migrate")
    assert answer["sessions"]["migrated"] == 5 and answer["sessions"]["pinned"] == 0
    assert answer["old_weight_bytes"] == 0
    assert versions(daemon) == {answer["fingerprint"]: 5}
    # the state of the old weights under the new ones: what a daemon of theirs makes of the same numbers
    alone = plain(1).session("m")
    write(plain(1), alone)
    told = plain(1).ok("/predict", {"session": alone, "input": [], "return": ["hidden"], "commit": False})
    here = daemon.ok("/predict", {"session": sessions[1], "input": [], "return": ["hidden"], "commit": False})
    assert here["outputs"][0]["hidden"] == told["outputs"][0]["hidden"]
    assert here["outputs"][0]["top"] != told["outputs"][0]["top"]
    first = write(daemon, sessions[0])
    assert first == write(daemon, sessions[1])
    expect(daemon.post(f"/sessions/{sessions[0]}/rewind", {"to": "here"}), 200)
    assert write(daemon, sessions[0]) == first
    assert daemon.get(f"/sessions/{sessions[0]}/state").body != b""


def test_sessions_that_do_not_fit_are_pinned(serve, root, plain):
    daemon = serve()
    session, alone = daemon.session("m"), plain(1).session("m")
    assert write(daemon, session) == write(plain(1), alone)
    put(root, "m", 3, hidden=20)
    answer = change(daemon, "reload", sessions="migrate")
    assert (answer["sessions"]["migrated"], answer["sessions"]["pinned"]) == (0, 1)
    assert write(daemon, session) == write(plain(1), alone)
    put(root, "m", 2)  # fits the session, which stands two versions back
    assert change(daemon, "reload", sessions="migrate")["sessions"]["migrated"] == 1
    assert len(versions(daemon)) == 1


def test_closed_sessions_are_gone(serve, root):
    daemon = serve()
    sessions, other = [daemon.session("m") for _ in range(4)], daemon.session("other")
    put(root, "m", 2)
    answer = change(daemon, "reload", sessions="close")
    assert answer["sessions"]["closed"] == 4 and answer["old_weight_bytes"] == 0
    for s in sessions:
        expect(daemon.get(f"/sessions/{s}"), 410, "session_expired")
        expect(daemon.post("/predict", {"session": s, "input": "a"}), 410, "session_expired")
        expect(daemon.post(f"/sessions/{s}/reset", None), 410, "session_expired")
    assert daemon.position(other) == 0
    assert daemon.session("m", id=sessions[0]) == sessions[0]  # the name is free


def test_the_same_weights_take_everybody_over(serve, root):
    daemon = serve()
    session = daemon.session("m")
    before = write(daemon, session, commit=False)
    answer = change(daemon, "reload")
    assert answer["fingerprint"] == answer["old_fingerprint"]
    assert answer["sessions"]["same_weights"] == 1 and answer["old_weight_bytes"] == 0
    assert write(daemon, session, commit=False) == before
    put(root, "m", 2)
    change(daemon, "reload")
    put(root, "m", 1)  # back again: the pinned one is at home
    assert change(daemon, "reload")["sessions"]["same_weights"] == 1
    assert len(versions(daemon)) == 1


@pytest.mark.parametrize("policy", ["pin", "migrate", "close"])
def test_a_session_in_use_follows_when_it_is_let_go(serve, root, plain, policy):
    daemon = serve()
    session, alone = daemon.session("m"), plain(1).session("m")
    with daemon.stream("/generate", {"session": session, "max_tokens": LONG, "seed": 5}) as stream:
        assert stream.open() == 200
        put(root, "m", 2)
        answer = change(daemon, "reload", sessions=policy)
        status, _, done, tokens = collect(stream)
        assert status == 200 and len(tokens) == LONG
    want = write(plain(1), alone, n=LONG)
    assert [t["token"]["id"] if isinstance(t["token"], dict) else t["token"] for t in tokens] == want
    assert answer["sessions"]["busy"] == (0 if policy == "pin" else 1)
    if policy == "close":
        wait_until(lambda: daemon.get(f"/sessions/{session}").status == 410, "it ends")
    else:
        wait_until(lambda: list(versions(daemon).values()) == ([1] if policy == "migrate" else [0, 1]), "it follows")


def test_requests_without_session_end_on_the_weights_they_began_with(serve, root, plain):
    daemon = serve(workers=1)
    with daemon.stream("/generate", {"model": "m", "input": "ab", "max_tokens": LONG, "seed": 5}) as stream:
        assert stream.open() == 200
        put(root, "m", 2)
        change(daemon, "reload")
        assert write(daemon) == write(plain(2))  # in the same turns as the one on the old weights
        _, _, _, tokens = collect(stream)
    assert [t["token"]["id"] if isinstance(t["token"], dict) else t["token"] for t in tokens] == write(plain(1), n=LONG)


# ---- refusals ----

def damage(root, what):
    path = os.path.join(root, "m", "model.safetensors")
    if what == "cut":
        os.truncate(path, os.path.getsize(path) - 100)
    elif what == "shape":
        config = os.path.join(root, "m", "config.json")
        text = open(config, encoding="utf-8").read()
        open(config, "w", encoding="utf-8").write(text.replace('"hidden_size": 24', '"hidden_size": 32'))
    elif what == "config":
        open(os.path.join(root, "m", "config.json"), "w", encoding="utf-8").write("{")
    else:
        shutil.rmtree(os.path.join(root, "m"))


@pytest.mark.parametrize("what,words", [("cut", "model.safetensors"), ("shape", "weight_ih_l0"),
                                        ("config", "config.json"), ("gone", "config.json")])
def test_a_reload_that_fails_changes_nothing(serve, root, plain, what, words):
    daemon = serve()
    session, before = daemon.session("m"), fingerprint(daemon)
    damage(root, what)
    for policy in ("pin", "migrate", "close"):
        answer = daemon.post("/models/m/reload", {"sessions": policy})
        expect(answer, 422, "model_invalid")
        assert words in answer.error["message"]
    assert versions(daemon) == {before: 1}
    assert write(daemon) == write(plain(1)) and daemon.position(session) == 0
    assert expect(daemon.get("/readyz"), 200) == {"status": "ready"}
    assert daemon.metric("rnnd_model_changes_total", change="failed") == 3
    daemon.wait_log(lambda e: e["message"] == "model change failed, nothing has changed" and e["model"] == "m")
    shutil.rmtree(os.path.join(root, "m"), ignore_errors=True)
    put(root, "m", 2)
    change(daemon, "reload")
    assert write(daemon) == write(plain(2))


def test_what_makes_no_sense_is_refused(serve):
    daemon = serve()
    change(daemon, "reload", "nobody", 404, "no_model")
    change(daemon, "unload", "nobody", 404, "no_model")
    change(daemon, "load", "nobody", 404, "no_model")
    change(daemon, "load", "..", 404)
    change(daemon, "load", "%2e%2e", 404)
    change(daemon, "load", "m", 409, "model_exists")
    change(daemon, "reload", "m", 400, sessions="shoot")
    change(daemon, "reload", "m", 400, policy="pin")
    change(daemon, "unload", "m", 422, "not_possible", sessions="migrate")
    expect(daemon.post("/models/m/reload", b"{"), 400, "malformed")
    answer = daemon.get("/models/m/reload")
    expect(answer, 405)
    assert answer.headers["allow"] == "POST"
    change(daemon, "reload")  # none of them has left the door locked


def test_one_change_at_a_time(serve, root):
    put(root, "big", 4, hidden=500 if SLOW else 1000, layers=1)
    daemon = serve(workers=2)
    results, barrier = [], threading.Barrier(6)

    def ask():
        barrier.wait()
        results.append(daemon.post("/models/big/reload", None))
    threads = [threading.Thread(target=ask) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    statuses = sorted(r.status for r in results)
    assert statuses[0] == 200 and set(statuses) <= {200, 409} and 409 in statuses
    assert all(r.error["code"] == "model_busy" for r in results if r.status == 409)
    change(daemon, "reload", "big")


# ---- who may ----

@pytest.fixture
def keyed(start, root, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("chief:sk-chief\nworker:sk-worker\n")
    keys.chmod(0o600)
    config = tmp_path / "rnnd.conf"
    config.write_text(f"[server]\nkeys = {keys}\nadmin_keys = chief ghost\n")
    return start(models=root, workers=2, args=["--config", str(config)])


def test_only_admin_keys_may_change_models(keyed, tmp_path):
    keyed.wait_log(lambda e: e["message"] == "admin_keys names no key" and e["name"] == "ghost")
    for what in ("load", "unload", "reload"):
        expect(keyed.post(f"/models/m/{what}", None), 401, "key_missing")
        answer = keyed.post(f"/models/m/{what}", None, key="sk-worker")
        expect(answer, 403, "not_admin")
        assert "worker" in answer.error["message"]
    expect(keyed.post("/models/m/reload", None, key="sk-chief"), 200)
    config = tmp_path / "rnnd.conf"
    config.write_text(config.read_text().replace("chief ghost", "worker"))
    keyed.signal(signal.SIGHUP)
    keyed.wait_log(lambda e: e["message"] == "reloaded")
    expect(keyed.post("/models/m/reload", None, key="sk-chief"), 403, "not_admin")
    expect(keyed.post("/models/m/reload", None, key="sk-worker"), 200)


def test_without_keys_nobody_may_unless_it_is_said(start, root):
    daemon = start(models=root, workers=1)
    expect(daemon.post("/models/m/reload", None), 403, "not_admin")


def test_pages_of_other_sites_may_not(serve):
    daemon = serve()
    expect(daemon.post("/models/m/unload", None, headers={"Origin": "https://evil.example"}), 403, "origin")
    assert daemon.get("/models/m").status == 200


def test_every_key_with_a_star(start, root, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("worker:sk-worker\n")
    keys.chmod(0o600)
    daemon = start(models=root, workers=1, args=["--keys", str(keys), *ADMIN])
    expect(daemon.post("/models/m/reload", None), 401)
    expect(daemon.post("/models/m/reload", None, key="sk-worker", headers={"Origin": "https://ours.example"}), 200)


# ---- load and unload ----

def test_a_new_folder_is_loaded(serve, root):
    daemon = serve()
    expect(daemon.post("/predict", {"model": "late", "input": "a"}), 404, "no_model")
    put(root, "late", 7)
    answer = change(daemon, "load", "late")
    assert answer["change"] == "load" and answer["old_fingerprint"] is None
    assert [m["name"] for m in daemon.get("/models").json["models"]] == ["late", "m", "other"]
    daemon.ok("/predict", {"model": "late", "input": "a"})


def test_a_folder_that_failed_at_start_is_mended(start, root):
    os.truncate(os.path.join(root, "other", "model.safetensors"), 100)
    daemon = start(models=root, workers=2, args=ADMIN)
    assert expect(daemon.get("/readyz"), 200)["failed_models"] == ["other"]
    change(daemon, "load", "other", 422, "model_invalid")
    put(root, "other", 9)
    change(daemon, "load", "other")
    assert expect(daemon.get("/readyz"), 200) == {"status": "ready"}


@pytest.mark.parametrize("policy", ["pin", "close"])
def test_unload(serve, root, plain, policy):
    daemon = serve()
    session, alone, old = daemon.session("m"), plain(1).session("m"), fingerprint(daemon)
    answer = change(daemon, "unload", sessions=policy)
    assert answer["fingerprint"] is None and answer["old_fingerprint"] == old and answer["weight_bytes"] == 0
    expect(daemon.post("/predict", {"model": "m", "input": "a"}), 404, "no_model")
    expect(daemon.get("/models/m"), 404, "no_model")
    assert expect(daemon.get("/readyz"), 200) == {"status": "ready"}
    listed = daemon.get("/models").json
    assert [m["name"] for m in listed["models"]] == ["other"]
    if policy == "close":
        assert answer["sessions"]["closed"] == 1 and listed["unloaded"] == []
        expect(daemon.get(f"/sessions/{session}"), 410)
        return
    assert answer["sessions"]["pinned"] == 1
    assert [(v["name"], v["version"]["fingerprint"], v["version"]["sessions"]) for v in listed["unloaded"]] == [("m", old, 1)]
    assert write(daemon, session) == write(plain(1), alone)
    change(daemon, "load")
    assert versions(daemon) == {old: 1}
    assert write(daemon, session) == write(plain(1), alone)


def test_all_may_be_unloaded(serve):
    daemon = serve()
    change(daemon, "unload", "m")
    change(daemon, "unload", "other")
    assert daemon.get("/models").json["models"] == [] and daemon.get("/readyz").status == 200
    expect(daemon.post("/predict", {"input": "a"}), 400)
    change(daemon, "load", "m")
    daemon.ok("/predict", {"input": "a"})  # the only one again


# ---- on disk ----

@pytest.fixture
def lasting(serve, tmp_path):
    def opener(*args, **more):
        return serve("--state-dir", str(tmp_path / "state"), *args, **more)
    return opener


SMALL = ["--session-memory-bytes", "1"]  # whatever nobody uses is on disk only


@pytest.mark.parametrize("args", [[], SMALL], ids=["memory", "disk"])
def test_pinned_sessions_of_a_store(lasting, root, plain, args):
    daemon = lasting(*args)
    sessions = [daemon.session("m") for _ in range(4)]
    alone = [plain(1).session("m") for _ in sessions]
    for s, a in zip(sessions, alone):
        assert write(daemon, s) == write(plain(1), a)
    put(root, "m", 2)
    assert change(daemon, "reload")["sessions"]["pinned"] == 4
    for s, a in zip(sessions, alone):
        assert write(daemon, s) == write(plain(1), a)
    kill(daemon)
    daemon = lasting(*args)
    for s in sessions:
        expect(daemon.post("/predict", {"session": s, "input": "a"}), 409, "session_orphaned")
    put(root, "m", 1)  # the weights are there again, and so are the sessions
    assert change(daemon, "reload")["sessions"]["same_weights"] == 4
    for s, a in zip(sessions, alone):
        assert write(daemon, s) == write(plain(1), a)


@pytest.mark.parametrize("args", [[], SMALL, ["--durability", "none"], ["--durability", "power", *SMALL]],
                         ids=["memory", "disk", "none", "power"])
def test_migrated_sessions_survive(lasting, root, args):
    daemon = lasting(*args)
    sessions = [daemon.session("m") for _ in range(39)]
    for s in sessions[:5]:
        write(daemon, s, n=5)
        expect(daemon.post(f"/sessions/{s}/snapshots", {"name": "p"}), 201)
        write(daemon, s, n=5)
    begun = daemon.get(f"/sessions/{sessions[0]}/state").body  # where resets of the next one go
    given = {"model": "m", "state": base64.b64encode(begun).decode()}
    sessions.append(expect(daemon.post("/sessions", given), 201)["id"])
    put(root, "m", 2)
    answer = change(daemon, "reload", sessions="migrate")
    assert answer["sessions"]["migrated"] == 40 and answer["sessions"]["failed"] == 0
    after = [write(daemon, s, commit=False) for s in sessions[:5]]
    files = [daemon.get(f"/sessions/{s}/state").body for s in sessions]
    if "none" in args:
        daemon.stop()
    else:
        kill(daemon)
    daemon = lasting(*args)
    assert versions(daemon) == {answer["fingerprint"]: 40}
    assert [daemon.get(f"/sessions/{s}/state").body for s in sessions] == files
    assert [write(daemon, s, commit=False) for s in sessions[:5]] == after
    for s in sessions[:5]:
        expect(daemon.post(f"/sessions/{s}/rewind", {"to": "p"}), 200)
        assert daemon.position(s) == 5
    write(daemon, sessions[39])
    expect(daemon.post(f"/sessions/{sessions[39]}/reset", None), 200)
    assert states.numbers_of(daemon.get(f"/sessions/{sessions[39]}/state").body) == states.numbers_of(begun)


@pytest.mark.parametrize("args", [[], SMALL], ids=["memory", "disk"])
def test_closed_sessions_do_not_come_back(lasting, root, args):
    daemon = lasting(*args)
    sessions = [daemon.session("m") for _ in range(10)]
    put(root, "m", 2)
    assert change(daemon, "reload", sessions="close")["sessions"]["closed"] == 10
    kill(daemon)
    daemon = lasting(*args)
    for s in sessions:
        expect(daemon.get(f"/sessions/{s}"), 404, "no_session")
    assert daemon.metric("rnnd_sessions") == 0


def test_kills_in_the_middle_lose_nobody(lasting, root):
    """Each session is, after every kill, of one version or the other, and usable when that is served."""
    rng = random.Random(3)
    daemon = lasting()
    sessions, seed = [daemon.session("m") for _ in range(60)], 1
    for s in sessions:
        write(daemon, s, n=3)
    for _ in range(2 if SLOW else 5):
        seed = 3 - seed
        put(root, "m", seed)
        thread = threading.Thread(target=lambda d=daemon: _quietly(lambda: change(d, "reload", sessions="migrate")))
        thread.start()
        time.sleep(rng.uniform(0, 0.03))
        kill(daemon)
        thread.join()
        usable = []
        for served in (3 - seed, seed):
            put(root, "m", served)
            daemon = lasting()
            usable += [s for s in sessions if daemon.get(f"/sessions/{s}/state").status == 200]
            if served != seed:
                kill(daemon)
        assert sorted(usable) == sorted(sessions)
        for s in sessions:  # those of the other version are given up, and made anew
            if daemon.get(f"/sessions/{s}/state").status != 200:
                expect(daemon.delete(f"/sessions/{s}"), 200)
                daemon.session("m", id=s)
                write(daemon, s, n=3)


def _quietly(call):
    try:
        call()
    except OSError:
        pass  # the daemon was killed


# ---- under load ----

def test_nothing_is_lost_under_load(serve, root, plain):
    daemon = serve(workers=2)
    want = {seed: write(plain(seed)) for seed in (1, 2)}
    stop, faults, counts = threading.Event(), [], {1: 0, 2: 0}
    lock = threading.Lock()

    def stateless():
        connection = daemon.connect()
        while not stop.is_set():
            answer = daemon.post("/generate", {"model": "m", "input": "ab", "max_tokens": 20, "seed": 5}, connection=connection)
            tokens = answer.json["choices"][0]["tokens"] if answer.status == 200 else None
            seen = [seed for seed in want if tokens == want[seed]]
            with lock:
                if seen:
                    counts[seen[0]] += 1
                else:
                    faults.append(answer)
        connection.close()

    def stateful(session):
        connection, position = daemon.connect(), 0
        while not stop.is_set():
            answer = daemon.post("/predict", {"session": session, "input": "ab", "expect_position": position},
                                 connection=connection)
            position += 2
            if answer.status != 200 or answer.json["session"]["position"] != position:
                faults.append(answer)
                return
        connection.close()

    threads = [threading.Thread(target=stateless) for _ in range(6)]
    threads += [threading.Thread(target=stateful, args=(daemon.session("m"),)) for _ in range(6)]
    for t in threads:
        t.start()
    seed, rounds = 1, 4 if SLOW else 10
    try:
        for i in range(rounds):
            seed = 3 - seed
            put(root, "m", seed)
            change(daemon, "reload", sessions=("pin", "migrate")[i % 2])
            assert daemon.get("/readyz").status == 200
            assert write(daemon) == want[seed]
            had = counts[seed]
            wait_until(lambda: counts[seed] > had or faults, "answers of the new weights")
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not faults, faults[:3]
    change(daemon, "reload", sessions="migrate")
    wait_until(lambda: list(versions(daemon).values()) == [6], "all have come over")


def test_a_client_that_leaves_does_not_stop_the_change(serve, root):
    daemon = serve()
    old = fingerprint(daemon)
    put(root, "m", 2)
    sock = daemon.raw(b"POST /models/m/reload HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n")
    sock.close()
    wait_until(lambda: fingerprint(daemon) != old, "the reload")
    wait_until(lambda: daemon.post("/models/m/reload", None).status == 200, "the next change")


def test_a_shutdown_in_the_middle_is_clean(serve, root):
    put(root, "big", 4, hidden=300 if SLOW else 1000, layers=1)
    daemon = serve()
    thread = threading.Thread(target=lambda: _quietly(lambda: daemon.post("/models/big/reload", None)))
    thread.start()
    time.sleep(0.02)
    daemon.stop()
    thread.join()


# ---- memory ----

def resident(daemon):
    with open(f"/proc/{daemon.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_two_versions_cost_their_bytes_and_no_more(serve, root):
    put(root, "m", 1, hidden=300 if SLOW else 1200, layers=1)
    daemon = serve()
    size = daemon.metric("rnnd_model_weight_bytes", model="m")
    session = daemon.session("m")
    write(daemon, session)
    alone = resident(daemon)
    put(root, "m", 2, hidden=300 if SLOW else 1200, layers=1)
    assert change(daemon, "reload")["old_weight_bytes"] == size
    write(daemon)
    write(daemon, session)
    both = resident(daemon)
    expect(daemon.delete(f"/sessions/{session}"), 200)
    assert daemon.metric("rnnd_model_weight_bytes", model="m") == size
    if SLOW:
        return  # a sanitizer keeps what was freed
    assert 0.8 * size < both - alone < 1.4 * size, (size, alone, both)
    wait_until(lambda: resident(daemon) < alone + 0.4 * size, "the memory is given back")
    for _ in range(4):
        change(daemon, "reload")
    wait_until(lambda: resident(daemon) < alone + 0.4 * size, "no reload leaves anything")
