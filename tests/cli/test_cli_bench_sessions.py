"""rnnd bench sessions: a daemon of its own, and one that runs."""
import json
import os
import signal
import subprocess

import pytest

from client import GUARD, Daemon, wait_until

KINDS = ("open", "wake", "fork", "snapshot", "rewind", "delete")
SMALL = ("--sessions", 40, "--operations", 25, "--connections", 3, "--idle", 0, "--json")


def measured(rnnd, tmp_path, *words):
    """The report of a run whose temporary files stand in tmp_path, and are gone after it."""
    out = json.loads(rnnd.ok("bench", "sessions", *words, env={"TMPDIR": str(tmp_path)}))
    assert os.listdir(tmp_path) == []
    return out


@pytest.mark.parametrize("durability", ["off", "none", "process", "power"])
def test_a_daemon_of_its_own(rnnd, tmp_path, durability):
    out = measured(rnnd, tmp_path, "kjv", *SMALL, "--durability", durability)
    assert (out["model"], out["sessions"], out["state_bytes"], out["durability"]) == ("kjv", 40, 4128, durability)
    for kind in KINDS:
        times = out[kind]
        assert times["count"] == (40 if kind == "open" else 25)
        assert 0 < times["p50_us"] <= times["p99_us"] <= times["p999_us"] <= times["max_us"]
        assert times["per_second"] > 0 and times["cpu_us"] > 0
    assert 4128 < out["session_bytes"] <= 4128 + 200
    assert out["states_bytes"] == 40 * 4128 and out["stored"] == 0
    assert out["resident_bytes"] > out["states_bytes"]
    assert (out["disk_bytes"] > 40 * 4128) == (durability != "off")
    assert out["restart_seconds"] == 0


def test_memory_that_holds_few_and_a_restart(rnnd, tmp_path):
    out = measured(rnnd, tmp_path, "kjv", *SMALL, "--memory", "20000", "--restart", "--workers", 1)
    assert out["stored"] == 36 and out["states_bytes"] == 4 * 4128
    assert out["restart_seconds"] > 0 and out["wake"]["count"] == 25


@pytest.mark.parametrize("model", ["sensor", "ids"])
def test_frames_and_ids(rnnd, tmp_path, model):
    assert measured(rnnd, tmp_path, model, *SMALL)["wake"]["count"] == 25


def test_a_state_dir_of_the_callers_is_kept(rnnd, tmp_path):
    keep, temporary = tmp_path / "keep", tmp_path / "temporary"
    temporary.mkdir()
    measured(rnnd, temporary, "kjv", *SMALL, "--state-dir", keep)
    assert "sessions.db" in os.listdir(keep)


def test_a_daemon_that_runs_is_left_clean(rnnd, models_dir):
    with Daemon(models_dir, workers=2) as daemon:
        url = "http://%s:%d" % daemon.address
        out = json.loads(rnnd.ok("bench", "sessions", "kjv", "--url", url, *SMALL))
        assert out["durability"] is None and out["delete"]["count"] == 40
        assert daemon.metric("rnnd_sessions") == out["fork"]["count"]
        assert daemon.metric("rnnd_session_events_total", event="rewound") == 25


def test_for_people(rnnd, tmp_path):
    out = rnnd.ok("bench", "sessions", "kjv", "--sessions", 20, "--operations", 5, "--idle", 0,
                  env={"TMPDIR": str(tmp_path)})
    assert out.startswith("20 sessions of kjv, 4128 bytes of state each; 16 clients; durability process\n")
    rows = [line.split() for line in out.split("\n")]
    for kind in KINDS:
        assert any(row[:1] == [kind] and len(row) == 8 for row in rows), out


@pytest.mark.parametrize("words,fault", [
    (["--sessions", "0"], "--sessions: want"),
    (["--connections", "5000"], "--connections: want"),
    (["--durability", "high"], "--durability: want off, none, process or power, found 'high'"),
    (["--url", "ftp://x"], "--url: want http://HOST[:PORT], found 'ftp://x'"),
    (["--url", "http://127.0.0.1:1", "--memory", "1M"], "--memory: of a daemon of its own"),
    (["--restart", "--durability", "off"], "--restart: wants a durability"),
])
def test_bad_options(rnnd, words, fault):
    assert fault in rnnd.fails(2, "bench", "sessions", "kjv", *words)


def test_no_daemon_and_no_model(rnnd, models_dir, tmp_path):
    assert "port 1: Connection refused" in rnnd.fails(1, "bench", "sessions", "kjv", "--url", "http://127.0.0.1:1")
    env = {"TMPDIR": str(tmp_path)}
    err = rnnd.fails(1, "bench", "sessions", "nobody", "--idle", 0, env=env)
    assert "/models/nobody: the daemon answers 404" in err
    err = rnnd.fails(1, "bench", "sessions", "kjv", "--memory", "much", env=env)
    assert "the daemon does not get ready" in err and "session-memory-bytes" in err
    assert os.listdir(tmp_path) == []


def test_an_end_in_the_middle_leaves_nothing(rnnd, tmp_path):
    process = rnnd.start("bench", "sessions", "kjv", "--sessions", 10000000, "--durability", "off",
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"TMPDIR": str(tmp_path)})
    wait_until(lambda: os.listdir(tmp_path), "start")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=GUARD)
    assert process.returncode == -signal.SIGTERM and out == b"", err
    assert os.listdir(tmp_path) == []


def test_help(rnnd):
    assert "Usage: rnnd bench sessions" in rnnd.ok("bench", "sessions", "--help")
    assert rnnd.ok("help", "bench", "sessions") == rnnd.ok("bench", "sessions", "--help")
