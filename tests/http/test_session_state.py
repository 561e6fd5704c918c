"""The state as a resource: snapshots, rewinding, the state as a file, states that clients keep.

Everything is exact: what is replayed from a point has the same bytes, tokens and numbers alike.
"""
import base64
import json
import os
import struct

import pytest

from client import SHIPPED, Daemon, collect, expect, without

KEPT = {"1worker": (1, None), "2workers": (2, None), "stored": (2, "64M"), "evicted": (2, "1")}
# a trail is of memory only
in_memory = pytest.mark.parametrize("daemon", [v for k, v in KEPT.items() if k != "evicted"], indirect=True,
                                    ids=[k for k in KEPT if k != "evicted"])


@pytest.fixture(scope="module", params=KEPT.values(), ids=KEPT.keys())
def daemon(request, models_dir, tmp_path_factory):
    """The same promises, whether sessions are in memory only, on disk as well, or on disk between any two requests."""
    workers, memory = request.param
    args = [] if memory is None else ["--state-dir", str(tmp_path_factory.mktemp("state")),
                                      "--session-memory-bytes", memory]
    with Daemon(models_dir, workers=workers, args=args) as running:
        yield running


MODELS = ["hello", "kjv"]
TEXT = {"hello": "hell", "kjv": "In the beginning God created "}


def say(daemon, session, n=30, **more):
    """The tokens of a text that the session goes on with."""
    answer = daemon.ok("/generate", {"session": session, "max_tokens": n, **more})
    return answer["choices"][0]["tokens"]


def read(daemon, session, text):
    return without(daemon.ok("/predict", {"session": session, "input": text, "return": ["logits"]}),
                   "id", "timings", "session")["outputs"]


def rewind(daemon, session, **where):
    return expect(daemon.post(f"/sessions/{session}/rewind", where), 200)


def state_of(daemon, session, **more):
    answer = daemon.get(f"/sessions/{session}/state", **more)
    assert answer.status == 200, answer
    return answer.body


def put(daemon, session, body, **more):
    return daemon.request("PUT", f"/sessions/{session}/state", body, **more)


def metadata(file):
    n = struct.unpack("<Q", file[:8])[0]
    return json.loads(file[8:8 + n])


@pytest.fixture(params=MODELS)
def model(request):
    return request.param


@pytest.fixture
def session(daemon, model):
    name = daemon.session(model)
    read(daemon, name, TEXT[model])
    return name


# ---- snapshots ----

def test_a_snapshot_is_an_exact_way_back(daemon, session):
    here = daemon.position(session)
    assert expect(daemon.post(f"/sessions/{session}/snapshots", {"name": "here"}), 201) == \
        {"name": "here", "position": here}
    first = say(daemon, session)
    assert daemon.position(session) == here + 30
    for _ in range(2):
        assert rewind(daemon, session, to="here")["position"] == here
        assert say(daemon, session) == first


def test_a_snapshot_outlives_reset_and_other_points(daemon, session):
    here = daemon.position(session)
    for name in ("a", "b"):
        expect(daemon.post(f"/sessions/{session}/snapshots", {"name": name}), 201)
        say(daemon, session, 3)
    expect(daemon.post(f"/sessions/{session}/reset", None), 200)
    assert rewind(daemon, session, to="b")["position"] == here + 3
    assert rewind(daemon, session, to="a")["position"] == here
    points = expect(daemon.get(f"/sessions/{session}/snapshots"), 200)
    assert points["snapshots"] == [{"name": "a", "position": here}, {"name": "b", "position": here + 3}]


def test_a_snapshot_moves_only_where_it_is_told_to(daemon, session):
    here = daemon.position(session)
    expect(daemon.post(f"/sessions/{session}/snapshots", {"name": "p"}), 201)
    say(daemon, session, 4)
    expect(daemon.post(f"/sessions/{session}/snapshots", {"name": "p"}), 409, "snapshot_exists", "name")
    assert rewind(daemon, session, to="p")["position"] == here
    say(daemon, session, 4)
    expect(daemon.post(f"/sessions/{session}/snapshots", {"name": "p", "replace": True}), 201)
    assert rewind(daemon, session, to="p")["position"] == here + 4


def test_forgetting(daemon, session):
    expect(daemon.post(f"/sessions/{session}/snapshots", {"name": "p"}), 201)
    assert expect(daemon.delete(f"/sessions/{session}/snapshots/p"), 200) == {"name": "p", "deleted": True}
    expect(daemon.delete(f"/sessions/{session}/snapshots/p"), 404, "no_snapshot", "name")
    expect(daemon.post(f"/sessions/{session}/rewind", {"to": "p"}), 404, "no_snapshot")


def test_snapshots_are_bounded_and_counted(start):
    daemon = start(workers=1, args=["--snapshots-max", "2"])
    session = daemon.session("hello")
    bytes_before = expect(daemon.get(f"/sessions/{session}"), 200)["bytes"]
    for name in "ab":
        expect(daemon.post(f"/sessions/{session}/snapshots", {"name": name}), 201)
    expect(daemon.post(f"/sessions/{session}/snapshots", {"name": "c"}), 429, "snapshot_limit")
    expect(daemon.post(f"/sessions/{session}/snapshots", {"name": "a", "replace": True}), 201)
    held = expect(daemon.get(f"/sessions/{session}"), 200)["bytes"]
    assert held >= 3 * bytes_before
    assert daemon.metric("rnnd_session_state_bytes") == held
    daemon.delete(f"/sessions/{session}")
    assert daemon.metric("rnnd_session_state_bytes") == 0


# ---- the trail ----

@in_memory
def test_steps_back_are_exact(daemon, session):
    here = daemon.position(session)
    text = say(daemon, session, 20)
    for back in (1, 5, 2):
        position = daemon.position(session)
        assert rewind(daemon, session, steps=back)["position"] == position - back
        assert say(daemon, session, back) == text[20 - back:]
    assert daemon.position(session) == here + 20


@in_memory
def test_steps_back_into_a_prompt(daemon, model):
    session, other = daemon.session(model), daemon.session(model)
    read(daemon, session, TEXT[model])
    rewind(daemon, session, steps=2)
    want = read(daemon, other, TEXT[model][:-2])
    got = without(daemon.ok("/predict", {"session": session, "return": ["logits"]}), "step")["outputs"]
    assert [o["logits"] for o in got] == [o["logits"] for o in want]


@in_memory
def test_the_trail_reaches_over_requests(daemon):
    session, other = daemon.session("kjv"), daemon.session("kjv")
    for c in "And God":
        read(daemon, session, c)
    read(daemon, other, "And G")
    assert rewind(daemon, session, steps=2)["position"] == 5
    assert state_of(daemon, session)[8:] != b""
    assert read(daemon, session, "o")[0]["logits"] == read(daemon, other, "o")[0]["logits"]


def test_no_trail_leads_over_a_jump(daemon, session):
    expect(daemon.post(f"/sessions/{session}/snapshots", {"name": "p"}), 201)
    say(daemon, session, 5)
    rewind(daemon, session, to="p")
    assert expect(daemon.get(f"/sessions/{session}/snapshots"), 200)["trail"] == []
    answer = daemon.post(f"/sessions/{session}/rewind", {"steps": 1})
    expect(answer, 422, "no_point", "steps")


def test_a_peek_leaves_no_trail(daemon, session):
    trail = expect(daemon.get(f"/sessions/{session}/snapshots"), 200)["trail"]
    say(daemon, session, 9, commit=False)
    assert expect(daemon.get(f"/sessions/{session}/snapshots"), 200)["trail"] == trail


@pytest.mark.parametrize("length", [0, 1, 3])
def test_the_trail_is_as_long_as_configured(start, length):
    daemon = start(workers=1, args=["--session-trail", str(length)])
    session = daemon.session("hello")
    read(daemon, session, "hellohello")
    trail = expect(daemon.get(f"/sessions/{session}/snapshots"), 200)["trail"]
    assert trail == list(range(10 - length, 10))
    expect(daemon.post(f"/sessions/{session}/rewind", {"steps": length + 1}), 422, "no_point")


@pytest.mark.parametrize("stored", [False, True], ids=["memory", "stored"])
def test_trails_make_room_before_sessions_do(start, tmp_path, stored):
    """Over the budget a session that nobody uses loses its trail; its state stays in memory while that fits."""
    budget = 80000  # of some 15 sessions of kjv with their trails, 19 without
    daemon = start(workers=1, args=["--session-memory-bytes", str(budget),
                                    *(["--state-dir", str(tmp_path / "state")] if stored else [])])
    sessions = [daemon.session("kjv") for _ in range(16)]
    for session in sessions:
        read(daemon, session, "In the beginning")
    kept = daemon.metric("rnnd_session_state_bytes")
    assert 16 * 4096 < kept <= budget
    assert daemon.metric("rnnd_session_events_total", event="trail_dropped") >= 15
    assert daemon.metric("rnnd_session_events_total", event="evicted") == 0
    assert all(expect(daemon.get(f"/sessions/{s}"), 200)["resident"] for s in sessions)
    assert expect(daemon.get(f"/sessions/{sessions[0]}/snapshots"), 200)["trail"] == []
    expect(daemon.post(f"/sessions/{sessions[0]}/rewind", {"steps": 1}), 422, "no_point", "steps")
    for session in sessions + [daemon.session("kjv") for _ in range(20)]:  # more than there is room for
        read(daemon, session, "And")
    assert (daemon.metric("rnnd_session_state_bytes") <= budget) == stored
    assert daemon.metric("rnnd_session_state_bytes") < 36 * 4400  # states, no trails
    assert [daemon.position(s) for s in sessions] == [19] * 16


@pytest.mark.parametrize("steps", [1, 10 ** 6, 2 ** 53 - 1])
def test_further_back_than_the_trail(daemon, steps):
    session = daemon.session("hello")
    answer = daemon.post(f"/sessions/{session}/rewind", {"steps": steps})
    expect(answer, 422, "no_point", "steps")
    assert rewind(daemon, session, steps=0)["position"] == 0


# ---- the state as a file ----

def test_a_state_file_is_the_whole_session(daemon, session, model):
    file = state_of(daemon, session)
    head = metadata(file)
    assert head["__metadata__"]["position"] == str(daemon.position(session))
    assert head["__metadata__"]["model"] == model
    text = say(daemon, session)
    other = daemon.session(model)
    assert expect(put(daemon, other, file), 200)["position"] == int(head["__metadata__"]["position"])
    assert state_of(daemon, other) == file
    assert say(daemon, other) == text


def test_a_session_begins_with_a_state(daemon, session, model):
    file = state_of(daemon, session)
    text = say(daemon, session)
    body = {"model": model, "state": base64.b64encode(file).decode()}
    other = expect(daemon.post("/sessions", body), 201)
    assert other["position"] == int(metadata(file)["__metadata__"]["position"])
    assert say(daemon, other["id"]) == text


def reset(daemon, session):
    return expect(daemon.post(f"/sessions/{session}/reset", None), 200)


def test_a_reset_goes_to_the_state_that_the_session_began_with(daemon, session, model):
    say(daemon, session, 3, seed=9)
    file = state_of(daemon, session)
    other = expect(daemon.post("/sessions", {"model": model, "state": base64.b64encode(file).decode()}), 201)
    size = expect(daemon.get(f"/models/{model}"), 200)["state_bytes"]
    assert other["bytes"] == 0 or 2 * size < other["bytes"] < 2 * size + 400
    other = other["id"]
    text = say(daemon, other)
    for _ in range(2):
        assert reset(daemon, other)["position"] == int(metadata(file)["__metadata__"]["position"])
        assert state_of(daemon, other) == file
        assert say(daemon, other) == text
    # it is no snapshot to a client
    assert expect(daemon.get(f"/sessions/{other}/snapshots"), 200)["snapshots"] == []
    for i in range(16):
        expect(daemon.post(f"/sessions/{other}/snapshots", {"name": f"p{i}"}), 201)
    for name in ("=state", "=name"):
        expect(daemon.post(f"/sessions/{other}/rewind", {"to": name}), 400)
        expect(daemon.post(f"/sessions/{other}/snapshots", {"name": name, "replace": True}), 400)
        expect(daemon.delete(f"/sessions/{other}/snapshots/{name}"), 404)
    # a fork has its parent's beginning, a state that is put changes none
    child = expect(daemon.post(f"/sessions/{other}/fork", None), 201)["sessions"][0]["id"]
    fresh = state_of(daemon, daemon.session(model))
    for s in (other, child):
        expect(put(daemon, s, fresh), 200)
        assert state_of(daemon, s) == fresh != file
        reset(daemon, s)
        assert state_of(daemon, s) == file


def test_a_reset_of_a_plain_session_and_of_its_fork_is_the_same_beginning(daemon, session):
    reset(daemon, session)
    file = state_of(daemon, session)
    say(daemon, session, 5, seed=3)
    child = expect(daemon.post(f"/sessions/{session}/fork", None), 201)["sessions"][0]["id"]
    expect(put(daemon, session, state_of(daemon, child)), 200)
    for s in (session, child):
        reset(daemon, s)
        assert state_of(daemon, s) == file


def test_a_state_moves_to_another_daemon(start, daemon, session, model):
    file = state_of(daemon, session)
    text = say(daemon, session)
    other = start(workers=2)
    there = other.session(model)
    expect(put(other, there, file), 200)
    assert say(other, there) == text


def test_a_foreign_state_changes_nothing(daemon):
    kjv, hello = daemon.session("kjv"), daemon.session("hello")
    read(daemon, hello, "he")
    before = state_of(daemon, hello)
    answer = put(daemon, hello, state_of(daemon, kjv))
    expect(answer, 422, "state_foreign")
    assert "'kjv'" in answer.error["message"] and "'hello'" in answer.error["message"]
    assert state_of(daemon, hello) == before
    body = {"model": "hello", "state": base64.b64encode(state_of(daemon, kjv)).decode()}
    expect(daemon.post("/sessions", body), 422, "state_foreign", "state")


def test_a_damaged_state_changes_nothing(daemon):
    session = daemon.session("hello")
    read(daemon, session, "he")
    file = state_of(daemon, session)
    read(daemon, session, "l")
    before = state_of(daemon, session)
    name = file.index(b'"model":"hello"')
    for at in range(0, len(file), 7):
        if name + 9 <= at < name + 14:
            continue
        bad = bytearray(file)
        bad[at] ^= 0x10
        answer = put(daemon, session, bytes(bad))
        if answer.status == 200:  # white space in the header says the same
            assert state_of(daemon, session) == file
            expect(put(daemon, session, before), 200)
            continue
        assert answer.status == 422 and answer.error["code"] in ("state_damaged", "state_foreign"), answer
        assert state_of(daemon, session) == before
    for n in (0, 1, 8, 100, len(file) - 1):
        assert put(daemon, session, file[:n]).status in (400, 422)
    assert state_of(daemon, session) == before


def test_a_state_is_of_one_moment(daemon, session):
    """It waits for whatever is running, and takes its place among what waits."""
    here = daemon.position(session)
    with daemon.stream("/generate", {"session": session, "max_tokens": 400}) as stream:
        stream.open()
        file = state_of(daemon, session)
        list(stream)
    assert metadata(file)["__metadata__"]["position"] == str(here + 400)


def test_states_belong_to_their_key(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("one:first\ntwo:second\n")
    keys.chmod(0o600)
    daemon = start(workers=2, args=["--keys", str(keys)])
    session = daemon.session("hello", key="first")
    for method, path, body in [("GET", "state", None), ("PUT", "state", b"x"), ("GET", "snapshots", None),
                               ("POST", "snapshots", b'{"name":"a"}'), ("POST", "rewind", b'{"steps":0}'),
                               ("DELETE", "snapshots/a", None)]:
        answer = daemon.request(method, f"/sessions/{session}/{path}", body, key="second")
        expect(answer, 404, "no_session")
    assert daemon.request("GET", f"/sessions/{session}/state", key="first").status == 200


# ---- states that clients keep ----

def test_a_sealed_state_goes_on(daemon, model):
    body = {"model": model, "input": TEXT[model], "seed": 5}
    whole = daemon.ok("/generate", {**body, "max_tokens": 24})["choices"][0]["tokens"]
    tokens, state, step = [], None, dict(body)
    for _ in range(4):
        answer = daemon.ok("/generate", {**step, "max_tokens": 6, "return_state": True})
        tokens += answer["choices"][0]["tokens"]
        step = {"model": model, "state": answer["state"]}
    assert tokens == whole


def test_a_sealed_state_equals_a_session(daemon, model):
    session = daemon.session(model)
    want = [read(daemon, session, c)[0]["logits"] for c in TEXT[model]]
    got, state = [], {}
    for c in TEXT[model]:
        answer = daemon.ok("/predict", {"model": model, "input": c, "return": ["logits"], "return_state": True, **state})
        got.append(answer["outputs"][0]["logits"])
        state = {"state": answer["state"]}
    assert got == want
    assert daemon.ok("/score", {"model": model, "input": "l", **state})["tokens"][0]["logprob"] is not None


def test_a_streamed_text_returns_its_state(daemon):
    body = {"model": "kjv", "input": "And ", "seed": 3, "max_tokens": 10, "return_state": True}
    with daemon.stream("/generate", body) as stream:
        done = collect(stream)[2]
    assert done["state"] == daemon.ok("/generate", body)["state"]


@pytest.mark.parametrize("change", [
    lambda s: s[:40] + ("A" if s[40] != "A" else "B") + s[41:], lambda s: s[:-8], lambda s: "rnnd1.", lambda s: "",
    lambda s: s.replace("rnnd1.", ""), lambda s: s + "AAAA"])
def test_what_was_not_sealed_here_is_refused(daemon, change):
    state = daemon.ok("/predict", {"model": "hello", "input": "he", "return_state": True})["state"]
    answer = daemon.post("/predict", {"model": "hello", "input": "l", "state": change(state)})
    expect(answer, 422, "state_damaged", "state")


def test_a_sealed_state_is_of_one_model_and_one_key(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("one:first\ntwo:second\n")
    keys.chmod(0o600)
    daemon = start(workers=1, args=["--keys", str(keys)])
    state = daemon.ok("/predict", {"model": "hello", "input": "he", "return_state": True}, key="first")["state"]
    expect(daemon.post("/predict", {"model": "kjv", "input": "a", "state": state}, key="first"), 422, "state_foreign")
    expect(daemon.post("/predict", {"model": "hello", "input": "l", "state": state}, key="second"), 422, "state_damaged")
    assert daemon.post("/predict", {"model": "hello", "input": "l", "state": state}, key="first").status == 200


def test_daemons_with_one_seal_key_know_each_others_states(start, tmp_path):
    key = tmp_path / "seal"
    key.write_bytes(bytes(range(40)))
    key.chmod(0o600)
    one, two = (start(workers=1, args=["--seal-key", str(key)]) for _ in range(2))
    three = start(workers=1)
    state = one.ok("/predict", {"model": "hello", "input": "he", "return_state": True})["state"]
    assert two.post("/predict", {"model": "hello", "input": "l", "state": state}).status == 200
    expect(three.post("/predict", {"model": "hello", "input": "l", "state": state}), 422, "state_damaged")


@pytest.mark.parametrize("content,mode,word", [(b"x" * 31, 0o600, "at least 32"), (b"x" * 40, 0o644, "chmod 600"),
                                               (None, 0, "No such file")])
def test_a_bad_seal_key_stops_the_start(start, tmp_path, content, mode, word):
    key = tmp_path / "seal"
    if content is not None:
        key.write_bytes(content)
        key.chmod(mode)
    daemon = start(workers=1, args=["--seal-key", str(key)], wait=False)
    assert daemon.wait_end() != 0
    assert word in str(daemon.log) + str(daemon.other)


def test_where_one_state_is_not_all_there_is(daemon):
    for more in ({"n": 2}, {"inputs": ["he", "l"], "input": None}):
        answer = daemon.post("/generate", {"model": "hello", "input": "he", "return_state": True, **more})
        expect(answer, 422, "not_possible", "return_state")


def test_unknown_initial_states(daemon):
    for path, body in (("/sessions", {}), ("/predict", {"input": "he"})):
        answer = daemon.post(path, {"model": "hello", "initial_state": "calm", **body})
        expect(answer, 422, "not_possible", "initial_state")


def test_initial_states_of_a_model(start, daemon, tmp_path):
    session = daemon.session("hello")
    read(daemon, session, "hel")
    folder = tmp_path / "mine"
    (folder / "states").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "vocab.json"):
        os.symlink(os.path.join(SHIPPED, "hello", name), folder / name)
    (folder / "states" / "after-hel.safetensors").write_bytes(state_of(daemon, session))
    other = start(workers=1, models=str(tmp_path), args=["--admin-keys", "*"])
    body = {"model": "mine", "initial_state": "after-hel"}
    made = expect(other.post("/sessions", body), 201)
    assert made["position"] == 3
    got = other.ok("/predict", {"model": "mine", "initial_state": "after-hel", "input": "l", "return": ["logits"]})
    assert got["outputs"][0]["logits"] == read(daemon, session, "l")[0]["logits"]
    card = expect(other.get("/models/mine"), 200)
    assert card["initial_states"] == ["after-hel"]
    # a reset goes there, of a fork as well; the name is all that is kept of it
    file = state_of(other, made["id"])
    assert made["bytes"] < card["state_bytes"] + 400
    child = expect(other.post(f"/sessions/{made['id']}/fork", None), 201)["sessions"][0]["id"]
    for s in (made["id"], child):
        read(other, s, "lo")
        assert reset(other, s)["position"] == 3
        assert state_of(other, s) == file
    # where the folder has no state of that name any more, nothing changes
    read(other, child, "lo")
    os.remove(folder / "states" / "after-hel.safetensors")
    expect(other.post("/models/mine/reload", None), 200)
    expect(other.post(f"/sessions/{child}/reset", None), 422, "not_possible", "initial_state")
    assert other.position(child) == 5
