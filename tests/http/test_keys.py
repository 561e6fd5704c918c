"""API keys: who may ask, and whose session is whose."""
import os
import signal

import pytest

from client import Daemon, expect, run, wait_until, write_temporary

KEYS = "# two people\nalice:sk-alice-0123456789\n\nbob:sk-bob-0123456789\n"
ALICE, BOB = "sk-alice-0123456789", "sk-bob-0123456789"


@pytest.fixture(scope="module", params=[1, 2], ids=["1worker", "2workers"])
def keyed(request, models_dir):
    path = write_temporary(KEYS)
    with Daemon(models_dir, workers=request.param, args=["--keys", path]) as daemon:
        yield daemon
    os.unlink(path)


def test_a_key_is_asked_for(keyed):
    answer = keyed.post("/predict", {"model": "hello", "input": "h"})
    expect(answer, 401, "key_missing")
    assert "bearer" in answer.headers["www-authenticate"].lower()
    expect(keyed.post("/predict", {"model": "hello", "input": "h"}, key="sk-nobody"), 401, "key_unknown")
    expect(keyed.post("/predict", {"model": "hello", "input": "h"}, key=ALICE), 200)


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic YWxpY2U6eA==", ALICE, f"Bearer {ALICE}x",
                                   f"Bearer {ALICE[:-1]}", "Bearer alice", f"Token {ALICE}",
                                   f"Bearer {ALICE} {BOB}"])
def test_bad_authorizations(keyed, value):
    answer = keyed.post("/predict", {"model": "hello", "input": "h"}, headers={"Authorization": value})
    assert answer.status == 401, answer
    assert answer.error["code"] in ("key_missing", "key_unknown")
    assert ALICE not in answer.body.decode()


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_scheme_in_any_case(keyed, scheme):
    answer = keyed.post("/predict", {"model": "hello", "input": "h"},
                        headers={"Authorization": f"{scheme} {ALICE}"})
    assert answer.status == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/version"])
def test_open_paths(keyed, path):
    assert keyed.get(path).status == 200


@pytest.mark.parametrize("method,path", [
    ("GET", "/models"), ("GET", "/models/hello"), ("GET", "/metrics"), ("GET", "/sessions"),
    ("POST", "/sessions"), ("POST", "/tokenize"), ("POST", "/detokenize"), ("POST", "/score"),
    ("POST", "/generate"), ("DELETE", "/sessions/x")])
def test_closed_paths(keyed, method, path):
    expect(keyed.request(method, path, b"{}" if method == "POST" else None), 401, "key_missing")


def test_key_is_checked_before_the_body(keyed):
    expect(keyed.post("/predict", b"{"), 401, "key_missing")


def test_sessions_belong_to_their_key(keyed):
    session = keyed.session("hello", key=ALICE)
    keyed.ok("/predict", {"session": session, "input": "he"}, key=ALICE)
    for method, path, body in [
            ("GET", f"/sessions/{session}", None), ("DELETE", f"/sessions/{session}", None),
            ("POST", f"/sessions/{session}/fork", {"count": 1}), ("POST", f"/sessions/{session}/reset", {}),
            ("POST", "/predict", {"session": session, "input": "l"}),
            ("POST", "/generate", {"session": session, "input": "l", "max_tokens": 1}),
            ("POST", "/score", {"session": session, "input": "l"})]:
        answer = keyed.request(method, path, body, key=BOB)
        expect(answer, 404, "no_session")
        # the same words as for a session that never was
        other = keyed.request(method, path.replace(session, "f" * 32),
                              {**body, "session": "f" * 32} if body and "session" in body else body, key=BOB)
        assert other.json["error"]["message"].replace("f" * 32, session) == answer.json["error"]["message"]
    assert keyed.position(session, key=ALICE) == 2
    assert session in [s["id"] for s in keyed.get("/sessions", key=ALICE).json["sessions"]]
    assert session not in [s["id"] for s in keyed.get("/sessions", key=BOB).json["sessions"]]
    keyed.delete(f"/sessions/{session}", key=ALICE)


def test_child_of_a_fork_has_the_same_owner(keyed):
    parent = keyed.session("hello", key=ALICE)
    child = keyed.post(f"/sessions/{parent}/fork", {"count": 1}, key=ALICE).json["sessions"][0]["id"]
    assert keyed.position(child, key=ALICE) == 0
    expect(keyed.get(f"/sessions/{child}", key=BOB), 404, "no_session")


def test_keys_never_stand_in_the_log(models_dir):
    path = write_temporary(KEYS)
    with Daemon(models_dir, workers=1, args=["--keys", path, "--log-level", "debug"]) as daemon:
        daemon.ok("/predict", {"model": "hello", "input": "h"}, key=ALICE)
        daemon.post("/predict", {"model": "hello", "input": "h"}, key="sk-wrong-wrong-wrong")
    os.unlink(path)
    text = str(daemon.log) + str(daemon.other)
    assert ALICE not in text and BOB not in text and "sk-wrong" not in text
    assert "alice" in text  # by name


def test_keys_are_read_again_on_sighup(models_dir):
    path = write_temporary(KEYS)
    with Daemon(models_dir, workers=2, args=["--keys", path]) as daemon:
        session = daemon.session("hello", key=ALICE)
        with open(path, "w", encoding="ascii") as f:
            f.write("alice:sk-new-alice-key\ncarol:sk-carol-key\n")
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: daemon.get("/models", key="sk-carol-key").status == 200, "new keys")
        expect(daemon.get("/models", key=BOB), 401)
        expect(daemon.get("/models", key=ALICE), 401)
        assert daemon.position(session, key="sk-new-alice-key") == 0  # alice's still
        # a file with a fault leaves the keys as they are
        with open(path, "w", encoding="ascii") as f:
            f.write("alice\n:::\n")
        before = len(daemon.log)
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: any(e.get("level") in ("error", "warning") for e in daemon.log[before:]), "told")
        assert daemon.get("/models", key="sk-carol-key").status == 200
    os.unlink(path)


@pytest.mark.parametrize("text,mode", [
    (KEYS, 0o644), (KEYS, 0o640), ("alice\n", 0o600), (":key\n", 0o600), ("alice:\n", 0o600),
    ("alice:a\nalice:b\n", 0o600), ("alice:same\nbob:same\n", 0o600), ("a b:key\n", 0o600),
    ("alice:k\x01ey\n", 0o600), ("", 0o600), ("x:" + "k" * 5000 + "\n", 0o600)])
def test_bad_key_files_stop_the_start(models_dir, text, mode):
    path = write_temporary(text, mode)
    done = run("serve", "--models", models_dir, "--listen", "127.0.0.1:0", "--keys", path)
    os.unlink(path)
    assert done.returncode not in (0, -6, -11)
    assert path in done.err and "key" in done.err


def test_missing_key_file_stops_the_start(models_dir):
    done = run("serve", "--models", models_dir, "--listen", "127.0.0.1:0", "--keys", "/nonexistent/keys")
    assert done.returncode > 0 and "/nonexistent/keys" in done.err
