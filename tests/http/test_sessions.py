"""Sessions: the recurrent state as a resource."""
import concurrent.futures
import re
import time
from datetime import datetime

import pytest

from client import SLOW, Stream, collect, expect, wait_until

MINTED = re.compile(r"^[0-9a-f]{32}$")


def when(value):
    """A time of an answer as seconds: ISO 8601 in UTC."""
    if isinstance(value, (int, float)):
        return value / 1000 if value > 1e11 else value
    return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()


def listed(answer):
    """The entries of a list answer."""
    return answer["sessions"]


def test_create_mints_an_id(daemon):
    answer = daemon.post("/sessions", {"model": "kjv"})
    view = expect(answer, 201)
    assert MINTED.match(view["id"])
    assert view["model"] == "kjv" and view["position"] == 0
    assert view["bytes"] >= 2 * 2 * 256 * 4
    assert answer.headers.get("location", f"/sessions/{view['id']}") == f"/sessions/{view['id']}"
    assert abs(when(view["expires_at"]) - time.time() - 3600) < 120


def test_minted_ids_do_not_repeat(daemon):
    ids = [daemon.session("hello") for _ in range(200)]
    assert len(set(ids)) == 200
    for id_ in ids:
        assert daemon.delete(f"/sessions/{id_}").status in (200, 204)


def test_ids_of_any_shard_are_served_on_any_connection(daemon):
    """A connection belongs to one shard, a session to another: no difference."""
    connections = [daemon.connect() for _ in range(4)]
    ids = [f"any-{i}" for i in range(12)]
    for i, id_ in enumerate(ids):
        expect(daemon.request("POST", "/sessions", {"model": "hello", "id": id_},
                              connection=connections[i % 4]), 201)
    for turn, connection in enumerate(connections):
        for id_ in ids:
            answer = daemon.request("POST", "/predict", {"session": id_, "input": "l"}, connection=connection)
            assert expect(answer, 200)["session"]["position"] == turn + 1
    for id_ in ids:
        daemon.delete(f"/sessions/{id_}")
    for connection in connections:
        connection.close()


def test_given_id(daemon):
    id_ = "My-session_1.a"
    expect(daemon.post("/sessions", {"model": "hello", "id": id_}), 201)
    expect(daemon.post("/sessions", {"model": "hello", "id": id_}), 409, "session_exists")
    assert daemon.get(f"/sessions/{id_}").json["id"] == id_
    assert daemon.delete(f"/sessions/{id_}").status in (200, 204)
    expect(daemon.get(f"/sessions/{id_}"), 404, "no_session")
    expect(daemon.post("/sessions", {"model": "hello", "id": id_}), 201)  # free again
    daemon.delete(f"/sessions/{id_}")


@pytest.mark.parametrize("id_", ["", "a/b", "a b", "é", "x" * 65, "..%2f", 7, ["a"]])
def test_bad_ids(daemon, id_):
    answer = daemon.post("/sessions", {"model": "hello", "id": id_})
    assert answer.status == 400 and answer.error["param"] == "id", answer


def test_get_and_list(daemon):
    ids = {daemon.session("hello") for _ in range(7)}
    seen, after = [], None
    for _ in range(1000):
        answer = daemon.get("/sessions?limit=3" + (f"&after={after}" if after else ""))
        page = listed(expect(answer, 200))
        assert len(page) <= 3
        if not page:
            break
        seen += [view["id"] for view in page]
        after = page[-1]["id"]
    assert len(seen) == len(set(seen)) and ids <= set(seen)
    for id_ in ids:
        view = expect(daemon.get(f"/sessions/{id_}"), 200)
        assert view["id"] == id_ and view["model"] == "hello"
        assert {"position", "created_at", "last_used_at", "expires_at", "bytes"} <= set(view)
        daemon.delete(f"/sessions/{id_}")
    assert not ids & {view["id"] for view in listed(daemon.get("/sessions").json)}


def test_unknown_session(daemon):
    for method, path in [("GET", "/sessions/none"), ("DELETE", "/sessions/none"),
                         ("POST", "/sessions/none/fork"), ("POST", "/sessions/none/reset")]:
        expect(daemon.request(method, path), 404, "no_session")
    for path in ("/predict", "/generate", "/score"):
        expect(daemon.post(path, {"session": "none", "input": "ab"}), 404, "no_session")


def test_reset(daemon):
    session = daemon.session("hello")
    fresh = daemon.post("/predict", {"session": session, "input": "he", "return": ["logits"]}).exact
    answer = expect(daemon.post(f"/sessions/{session}/reset", None), 200)
    assert answer["position"] == 0
    assert daemon.post("/predict", {"session": session, "input": "he", "return": ["logits"]}).exact == fresh


def test_fork(daemon):
    parent = daemon.session("kjv")
    daemon.ok("/predict", {"session": parent, "input": "The LORD is "})
    answer = daemon.post(f"/sessions/{parent}/fork", {"count": 3})
    assert answer.status in (200, 201)
    children = [view["id"] for view in listed(answer.json)]
    assert len(children) == 3 and len({parent, *children}) == 4
    for child in children:
        assert daemon.position(child) == 12
    texts = {daemon.ok("/generate", {"session": s, "max_tokens": 40, "seed": 3})["choices"][0]["text"]
             for s in (parent, *children)}
    assert len(texts) == 1
    # they are independent from here on
    daemon.ok("/predict", {"session": children[0], "input": "zzz"})
    assert [daemon.position(s) for s in (parent, *children)] == [52, 55, 52, 52]


def test_fork_replays_its_parent_without_a_seed(daemon):
    """The generator is part of the state."""
    parent = daemon.session("kjv")
    daemon.ok("/predict", {"session": parent, "input": "And "})
    child = listed(daemon.post(f"/sessions/{parent}/fork", None).json)[0]["id"]
    one = daemon.ok("/generate", {"session": parent, "max_tokens": 60})
    two = daemon.ok("/generate", {"session": child, "max_tokens": 60})
    assert one["choices"] == two["choices"]
    again = daemon.ok("/generate", {"session": parent, "max_tokens": 60})
    assert again["choices"] != one["choices"]


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", 10 ** 9])
def test_bad_fork_counts(daemon, count):
    parent = daemon.session("hello")
    before = daemon.metric("rnnd_sessions")
    answer = daemon.post(f"/sessions/{parent}/fork", {"count": count})
    assert answer.status == 400 and answer.error["param"] == "count", answer
    assert daemon.metric("rnnd_sessions") == before


def test_session_of_an_unknown_model(daemon):
    expect(daemon.post("/sessions", {"model": "nobody"}), 404, "no_model")


@pytest.mark.parametrize("ttl", [0, -5, 1.5, "60", 10 ** 12, True])
def test_bad_ttl(daemon, ttl):
    answer = daemon.post("/sessions", {"model": "hello", "ttl_seconds": ttl})
    assert answer.status == 400 and answer.error["param"] == "ttl_seconds", answer


# ---- expiry ----

def test_expiry(start):
    daemon = start(workers=2, args=["--session-gone-s", "2"])
    ids = [expect(daemon.post("/sessions", {"model": "hello", "ttl_seconds": 1, "id": f"short{i}"}), 201)["id"]
           for i in range(4)]
    keep = daemon.session("hello", ttl_seconds=100)
    wait_until(lambda: all(daemon.get(f"/sessions/{i}").status != 200 for i in ids), "expired")
    for id_ in ids:
        for answer in (daemon.get(f"/sessions/{id_}"), daemon.post("/predict", {"session": id_, "input": "h"})):
            expect(answer, 410, "session_expired")
    assert not set(ids) & {view["id"] for view in listed(daemon.get("/sessions").json)}
    wait_until(lambda: all(daemon.get(f"/sessions/{i}").status == 404 for i in ids), "forgotten")
    assert daemon.position(keep) == 0
    assert daemon.metric("rnnd_session_events_total", event="expired") == 4
    wait_until(lambda: daemon.metric("rnnd_sessions") == 1, "counted out")


def test_use_puts_expiry_off(start):
    daemon = start(workers=1)
    session = daemon.session("hello", ttl_seconds=2)
    first = when(daemon.get(f"/sessions/{session}").json["expires_at"])
    for _ in range(8):
        time.sleep(0.4)
        answer = daemon.ok("/predict", {"session": session, "input": "h"})
    assert when(answer["session"]["expires_at"]) >= first + 2


@pytest.mark.long
def test_a_session_at_work_does_not_expire(start):
    daemon = start(workers=1)
    session = daemon.session("kjv", ttl_seconds=1)
    text = "In the beginning God created the heaven and the earth. " * 200
    answers = []
    turns = 1 if SLOW else 3
    for _ in range(turns):
        answers.append(daemon.ok("/predict", {"session": session, "input": text, "steps": "last"}))
    assert answers[-1]["session"]["position"] == turns * len(text)


# ---- the line ----

def test_requests_on_one_session_run_in_order(daemon):
    session = daemon.session("kjv")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: daemon.ok("/predict", {"session": session, "input": "abc"}), range(48)))
    positions = sorted(a["session"]["position"] for a in answers)
    assert positions == [3 * (i + 1) for i in range(48)]
    assert daemon.position(session) == 144


def test_busy(daemon):
    session = daemon.session("kjv")
    with daemon.stream("/generate", {"session": session, "input": "And ", "max_tokens": 60000}) as stream:
        stream.open()
        for path in ("/predict", "/generate", "/score"):
            expect(daemon.post(path, {"session": session, "input": "x", "if_busy": "reject"}), 409, "session_busy")
        assert daemon.get(f"/sessions/{session}").json["busy"] is True
        waiting = Stream(daemon, "/predict", {"session": session, "input": "x", "if_busy": "queue"})
        wait_until(lambda: daemon.get(f"/sessions/{session}").json["waiting"] == 1, "in line")
    answer = waiting.answer()
    waiting.close()
    assert answer.status == 200
    assert answer.json["session"]["position"] == daemon.position(session) >= 6


def test_line_is_bounded(start):
    daemon = start(workers=1, args=["--session-queue-max", "2"])
    session = daemon.session("kjv")
    with daemon.stream("/generate", {"session": session, "input": "And ", "max_tokens": 60000}) as stream:
        stream.open()
        waiting = []
        for i in range(2):
            waiting.append(Stream(daemon, "/predict", {"session": session, "input": "x"}))
            wait_until(lambda n=i + 1: daemon.get(f"/sessions/{session}").json["waiting"] == n, "in line")
        answer = daemon.post("/predict", {"session": session, "input": "x"})
        expect(answer, 429)
        assert int(answer.headers["retry-after"]) >= 1
    for stream in waiting:
        assert stream.answer().status == 200
        stream.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_delete_cancels_what_runs(start, workers):
    daemon = start(workers=workers)
    session = daemon.session("kjv")
    stream = daemon.stream("/generate", {"session": session, "input": "And ", "max_tokens": 60000})
    events = iter(stream)
    assert next(events).name == "token"
    waiting = Stream(daemon, "/predict", {"session": session, "input": "x"})
    wait_until(lambda: daemon.get(f"/sessions/{session}").json["waiting"] == 1, "in line")
    assert daemon.delete(f"/sessions/{session}").status in (200, 204)
    names = [event.name for event in events]
    assert names[-1] == "error" and "done" not in names
    stream.close()
    expect(waiting.answer(), 404)
    waiting.close()
    expect(daemon.get(f"/sessions/{session}"), 404)
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 0, "cancelled")
    assert daemon.metric("rnnd_cancelled_total", cause="session_closed") >= 1
    assert daemon.metric("rnnd_sessions") == 0


N = 600 if SLOW else 3000  # tokens of a stream that others wait for


def test_reset_waits_its_turn(daemon):
    session = daemon.session("kjv")
    with daemon.stream("/generate", {"session": session, "input": "And ", "max_tokens": N}) as stream:
        stream.open()
        assert expect(daemon.post(f"/sessions/{session}/reset", None), 200)["position"] == 0
        assert collect(stream)[2]["session"]["position"] == N + 4
    assert daemon.position(session) == 0


def test_fork_waits_its_turn(daemon):
    session = daemon.session("kjv")
    with daemon.stream("/generate", {"session": session, "input": "And ", "max_tokens": N}) as stream:
        stream.open()
        answer = daemon.post(f"/sessions/{session}/fork", None)
        assert daemon.position(listed(expect(answer, 201))[0]["id"]) == N + 4
        collect(stream)


def test_session_limit(start):
    daemon = start(workers=2, args=["--sessions-max", "5"])
    ids = [daemon.session("hello") for _ in range(5)]
    answer = daemon.post("/sessions", {"model": "hello"})
    expect(answer, 429, "session_limit")
    assert answer.headers["retry-after"]
    expect(daemon.post(f"/sessions/{ids[0]}/fork", {"count": 1}), 429, "session_limit")
    daemon.delete(f"/sessions/{ids[0]}")
    daemon.session("hello")
    # a fork of three where there is room for none or two makes none
    daemon.delete(f"/sessions/{ids[1]}")
    daemon.delete(f"/sessions/{ids[2]}")
    expect(daemon.post(f"/sessions/{ids[3]}/fork", {"count": 3}), 429, "session_limit")
    assert daemon.metric("rnnd_sessions") == 3
