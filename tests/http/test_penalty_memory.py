"""What penalties look back on over the requests of a session.

A text that comes in pieces is the text that comes at once: the prompt by any endpoint, drawn tokens by any number of
requests, with whatever happens to the session in between.
"""
import base64
import random

import pytest

from client import Daemon, expect
from test_session_state import metadata, put, read, rewind, say, state_of
from websocket import Refused, WebSocket

KEPT = {"1worker": (1, None), "2workers": (2, None), "stored": (2, "64M"), "evicted": (2, "1")}
in_memory = pytest.mark.parametrize("daemon", [v for k, v in KEPT.items() if k != "evicted"], indirect=True,
                                    ids=[k for k in KEPT if k != "evicted"])
PENALTIES = {"repetition": {"repetition_penalty": 1.7}, "presence": {"presence_penalty": 1.1},
             "frequency": {"frequency_penalty": 0.6},
             "all": {"repetition_penalty": 1.3, "presence_penalty": 0.4, "frequency_penalty": 0.3}}
DRAWS = {"greedy": {"temperature": 0}, "drawn": {"temperature": 0.9, "top_k": 20}}
PROMPT = "And God said unto him, "
N = 40  # tokens drawn


@pytest.fixture(scope="module", params=KEPT.values(), ids=KEPT.keys())
def daemon(request, models_dir, tmp_path_factory):
    """Sessions in memory only, on disk as well, or on disk between any two requests."""
    workers, memory = request.param
    args = [] if memory is None else ["--state-dir", str(tmp_path_factory.mktemp("state")),
                                      "--session-memory-bytes", memory]
    with Daemon(models_dir, workers=workers, args=args) as running:
        yield running


@pytest.fixture(params=PENALTIES.values(), ids=PENALTIES.keys())
def penalties(request):
    return request.param


@pytest.fixture(params=DRAWS.values(), ids=DRAWS.keys())
def how(request, penalties):
    """Fields of every request that draws."""
    return {**penalties, **request.param}


def at_once(daemon, window, how, n=N):
    session = daemon.session("kjv", penalty_memory=window)
    answer = daemon.ok("/generate", {"session": session, "input": PROMPT, "max_tokens": n, "seed": 11, **how})
    return answer["choices"][0]["tokens"]


def behind_prompt(daemon, window, text=PROMPT):
    """A session that stands behind the prompt, with the generator of at_once()."""
    session = daemon.session("kjv", penalty_memory=window)
    daemon.ok("/generate", {"session": session, "input": text, "max_tokens": 0, "seed": 11})
    return session


# ---- one text ----

@pytest.mark.parametrize("window", [1, 6, 4096])
def test_a_text_in_two_requests_is_the_text_in_one(daemon, window, how):
    want = at_once(daemon, window, how)
    for cut in (1, 2, 13, N - 1):
        session = behind_prompt(daemon, window)
        assert say(daemon, session, cut, **how) + say(daemon, session, N - cut, **how) == want


def test_a_text_cut_anywhere(daemon, how):
    want, chance = at_once(daemon, 9, how), random.Random(5)
    for _ in range(3):
        session, got = behind_prompt(daemon, 9), []
        while len(got) < N:
            got += say(daemon, session, min(chance.randint(1, 9), N - len(got)), **how)
        assert got == want


FEEDS = {
    "predict": lambda daemon, session, text: read(daemon, session, text),
    "score": lambda daemon, session, text: daemon.ok("/score", {"session": session, "input": text}),
    "generate": lambda daemon, session, text: daemon.ok(
        "/generate", {"session": session, "input": text, "max_tokens": 0}),
    "candidates": lambda daemon, session, text: daemon.ok(
        "/predict", {"session": session, "input": text, "candidates": ["zzz", "qq"]}),
}


@pytest.mark.parametrize("first", FEEDS)
@pytest.mark.parametrize("second", FEEDS)
def test_a_prompt_comes_by_any_endpoint(daemon, first, second):
    how = {**PENALTIES["all"], **DRAWS["drawn"]}
    want = at_once(daemon, 8, how)
    for cut in (0, 1, len(PROMPT) // 2, len(PROMPT) - 1):
        session = behind_prompt(daemon, 8, PROMPT[:1])
        if cut:
            FEEDS[first](daemon, session, PROMPT[1:cut + 1])
        if PROMPT[cut + 1:]:
            FEEDS[second](daemon, session, PROMPT[cut + 1:])
        assert say(daemon, session, N, **how) == want, cut


def test_a_prompt_and_a_text_by_messages(daemon):
    how = {**PENALTIES["all"], **DRAWS["drawn"]}
    session = behind_prompt(daemon, 8, PROMPT[:1])
    with WebSocket(daemon, f"/sessions/{session}/stream") as ws:
        ws.ask(predict={"input": PROMPT[1:9]}, id="p")
        ws.ask(score={"input": PROMPT[9:]}, id="s")
        got = []
        for n in (3, N - 3):
            tokens, _ = ws.ask(generate={"max_tokens": n, **how}, id="g")
            got += [t["token"] for t in tokens]
    assert got == at_once(daemon, 8, how)


def test_a_streamed_text_is_remembered(daemon, how):
    session = behind_prompt(daemon, 7)
    with daemon.stream("/generate", {"session": session, "max_tokens": 10, **how}) as stream:
        got = [event.data["token"] for event in stream if event.name == "token"]
    assert got + say(daemon, session, N - 10, **how) == at_once(daemon, 7, how)


def test_a_stream_taken_up_remembers_what_it_drew(daemon, how):
    session, want = behind_prompt(daemon, 7), at_once(daemon, 7, how)
    body = {"session": session, "max_tokens": 20, **how}
    with daemon.stream("/generate", body) as stream:
        seen = [event for event in stream if event.name == "token"][:9]
    with daemon.stream("/generate", body, headers=[("Last-Event-ID", seen[-1].id)]) as stream:
        rest = [event.data["token"] for event in stream if event.name == "token"]
    assert [event.data["token"] for event in seen] + rest == want[:20]
    assert say(daemon, session, N - 20, **how) == want[20:]


def test_a_window_over_everything_is_one_whole_request(daemon, how):
    """With and without a window penalties mean the same, where both see the same."""
    session = daemon.session("kjv")
    whole = daemon.ok("/generate", {"session": session, "input": PROMPT, "max_tokens": N, "seed": 11, **how})
    assert whole["choices"][0]["tokens"] == at_once(daemon, len(PROMPT) + N, how)


def test_without_a_window_a_request_knows_itself_alone(daemon, penalties):
    how = {**penalties, "temperature": 0}
    want = at_once(daemon, 4096, how)
    session = behind_prompt(daemon, 0)
    assert say(daemon, session, 5, **how) + say(daemon, session, N - 5, **how) != want


@pytest.mark.parametrize("window", [1, 3, 10])
def test_a_window_is_as_long_as_it_says(daemon, window, penalties):
    """Against a twin that counts by itself."""
    session = daemon.session("kjv")
    past = [(token, False) for token in daemon.ok("/tokenize", {"model": "kjv", "text": PROMPT})["tokens"]]
    inputs, want = {"input": PROMPT}, []
    for _ in range(N):
        answer = daemon.ok("/predict", {"session": session, "return": ["logits"], **inputs})
        logits, seen = answer["outputs"][-1]["logits"], past[-window:]
        for token in {token for token, _ in seen}:
            value, ratio = logits[token], penalties.get("repetition_penalty", 1)
            drawn = sum(t == token and d for t, d in seen)
            value = value / ratio if value > 0 else value * ratio
            if drawn:
                value -= penalties.get("presence_penalty", 0) + penalties.get("frequency_penalty", 0) * drawn
            logits[token] = value
        want.append(max(range(len(logits)), key=lambda i: (logits[i], -i)))
        past.append((want[-1], True))
        inputs = {"input": [want[-1]]}
    assert at_once(daemon, window, {**penalties, "temperature": 0}) == want


def test_several_texts_begin_with_the_same_tokens_behind_them(daemon):
    how = {**PENALTIES["all"], **DRAWS["drawn"], "commit": False, "n": 3, "seed": 4}
    session, other = behind_prompt(daemon, 8), daemon.session("kjv", penalty_memory=8)
    want = daemon.ok("/generate", {"session": session, "max_tokens": 12, **how})["choices"]
    got = daemon.ok("/generate", {"session": other, "input": PROMPT, "max_tokens": 12, **how})["choices"]
    assert [c["tokens"] for c in got] == [c["tokens"] for c in want]
    assert len({tuple(c["tokens"]) for c in want}) == 3


# ---- without a session ----

def test_a_request_may_have_a_window_of_its_own(daemon, how):
    body = {"model": "kjv", "input": PROMPT, "max_tokens": N, "seed": 11, **how}
    for window in (1, 7):
        answer = daemon.ok("/generate", {**body, "penalty_memory": window})
        assert answer["choices"][0]["tokens"] == at_once(daemon, window, how)
    assert daemon.ok("/generate", {**body, "penalty_memory": 0})["choices"] == daemon.ok("/generate", body)["choices"]


def test_each_input_has_a_window_of_its_own(daemon):
    body = {"model": "kjv", "max_tokens": 20, "penalty_memory": 5, **PENALTIES["all"], "temperature": 0}
    texts = [PROMPT, "a", "The LORD is my shepherd"]
    results = daemon.ok("/generate", {**body, "inputs": texts})["results"]
    assert [r["choices"] for r in results] == [daemon.ok("/generate", {**body, "input": t})["choices"] for t in texts]


@pytest.mark.parametrize("endpoint", ["/predict", "/score", "/generate"])
def test_a_client_keeps_it_from_the_beginning(daemon, how, endpoint):
    more = {"max_tokens": 0, "seed": 11} if endpoint == "/generate" else {}
    first = daemon.ok("/generate", {"model": "kjv", "input": PROMPT[:1], "max_tokens": 0, "seed": 11, "return_state": True,
                                    "penalty_memory": 9})
    answer = daemon.ok(endpoint, {"model": "kjv", "input": PROMPT[1:], "state": first["state"], "return_state": True, **more})
    got = []
    while len(got) < N:
        answer = daemon.ok("/generate", {"model": "kjv", "state": answer["state"], "return_state": True, "max_tokens": 8, **how})
        got += answer["choices"][0]["tokens"]
    assert got == at_once(daemon, 9, how)


def test_what_is_asked_for_stands_in_place_of_the_states_own(daemon, how):
    body = {"model": "kjv", "input": PROMPT, "max_tokens": 0, "seed": 11, "return_state": True}
    state = daemon.ok("/generate", {**body, "penalty_memory": 9})["state"]
    body = {"model": "kjv", "state": state, "max_tokens": N, **how}
    assert daemon.ok("/generate", body)["choices"][0]["tokens"] == at_once(daemon, 9, how)
    assert daemon.ok("/generate", {**body, "penalty_memory": 4})["choices"][0]["tokens"] == at_once(daemon, 4, how)
    session = behind_prompt(daemon, 0)
    assert daemon.ok("/generate", {**body, "penalty_memory": 0})["choices"][0]["tokens"] == say(daemon, session, N, **how)


def test_windows_that_a_request_cannot_have(daemon):
    for path in ("/predict", "/score", "/generate"):
        body = {"input": "a", "penalty_memory": 5}
        session = daemon.session("kjv", penalty_memory=5)
        expect(daemon.post(path, {**body, "session": session}), 400, None, "penalty_memory")
        expect(daemon.post(path, {**body, "model": "kjv", "penalty_memory": 4097}), 400, "out_of_range", "penalty_memory")
        expect(daemon.post(path, {**body, "model": "kjv", "penalty_memory": True}), 400, None, "penalty_memory")
        expect(daemon.post(path, {**body, "model": "tagger"}), 422, "not_possible", "penalty_memory")


@pytest.mark.parametrize("query,status", [("", 101), ("&penalty_memory=0", 101), ("&penalty_memory=8", 101),
                                          ("&penalty_memory=4097", 400), ("&penalty_memory=", 400),
                                          ("&penalty_memory=-1", 400), ("&penalty_memory=8x", 400)])
def test_a_socket_of_its_own_may_have_one(daemon, query, status):
    path = "/stream?model=kjv" + query
    if status != 101:
        with pytest.raises(Refused) as refused:
            WebSocket(daemon, path)
        assert refused.value.status == status and b"penalty_memory" in refused.value.body
        return
    how = {**PENALTIES["all"], "temperature": 0}
    with WebSocket(daemon, path) as ws:
        ws.ask(predict={"input": PROMPT}, id="p")
        got = [t["token"] for _ in range(2) for t in ws.ask(generate={"max_tokens": N // 2, **how}, id="g")[0]]
    assert (got == at_once(daemon, 8, how)) == (query == "&penalty_memory=8")


# ---- what happens to a session ----

@pytest.fixture
def begun(daemon, how):
    """(A session that has drawn a part of its text, the fields that it is drawn by, the rest)."""
    session = behind_prompt(daemon, 10)
    text = at_once(daemon, 10, how)
    assert say(daemon, session, 17, **how) == text[:17]
    return session, how, text[17:]


def test_what_is_not_committed_is_not_remembered(daemon, begun):
    session, how, rest = begun
    daemon.ok("/predict", {"session": session, "input": "zzz", "commit": False})
    say(daemon, session, 9, commit=False, **how)
    daemon.ok("/generate", {"session": session, "max_tokens": 5, "beam_width": 3, "commit": False})
    assert say(daemon, session, len(rest), **how) == rest


def test_snapshots_hold_it(daemon, begun):
    session, how, rest = begun
    expect(daemon.post(f"/sessions/{session}/snapshots", {"name": "here"}), 201)
    for _ in range(2):
        assert say(daemon, session, len(rest), **how) == rest
        read(daemon, session, "zzz")
        rewind(daemon, session, to="here")


@in_memory
def test_steps_back_take_it_along(daemon, begun):
    session, how, rest = begun
    for back in (1, 6, 3):
        assert say(daemon, session, 6, **how) == rest[:6]
        rewind(daemon, session, steps=6)
        read(daemon, session, "q" * back)
        rewind(daemon, session, steps=back)
    assert say(daemon, session, 6, **how) == rest[:6]
    for back in (5, 1, 3):  # into the middle of what a request has drawn
        rewind(daemon, session, steps=back)
        assert say(daemon, session, back, **how) == rest[6 - back:6]
    rewind(daemon, session, steps=4)
    assert say(daemon, session, len(rest) - 2, **how) == rest[2:]


def test_forks_have_it(daemon, begun):
    session, how, rest = begun
    made = expect(daemon.post(f"/sessions/{session}/fork", {"count": 2}), 201)["sessions"]
    assert [view["penalty_memory"] for view in made] == [10, 10]
    for one in [made[0]["id"], session, made[1]["id"]]:
        assert say(daemon, one, len(rest), **how) == rest


def test_a_reset_forgets_it(daemon, how):
    session = daemon.session("kjv", penalty_memory=10)
    body = {"session": session, "input": PROMPT, "max_tokens": 8, "seed": 11, **how}
    want = daemon.ok("/generate", body)["choices"][0]["tokens"]
    read(daemon, session, "zzz")
    expect(daemon.post(f"/sessions/{session}/reset", None), 200)
    assert metadata(state_of(daemon, session))["sampler.tokens"]["shape"] == [0]
    assert daemon.ok("/generate", body)["choices"][0]["tokens"] == want


def test_a_reset_goes_to_the_file_with_its_tokens(daemon, begun):
    session, how, rest = begun
    file = state_of(daemon, session)
    other = daemon.session("kjv", state=base64.b64encode(file).decode())
    read(daemon, other, "zzz")
    expect(daemon.post(f"/sessions/{other}/reset", None), 200)
    assert state_of(daemon, other) == file
    assert say(daemon, other, len(rest), **how) == rest


def test_a_state_file_carries_it(daemon, begun):
    session, how, rest = begun
    file = state_of(daemon, session)
    head = metadata(file)
    assert head["__metadata__"]["penalty_memory"] == "10"
    assert head["sampler.tokens"]["shape"] == head["sampler.drawn"]["shape"] == [10]
    other = expect(daemon.post("/sessions", {"model": "kjv", "state": base64.b64encode(file).decode()}), 201)
    assert other["penalty_memory"] == 10
    assert state_of(daemon, other["id"]) == file
    third = daemon.session("kjv", penalty_memory=10)
    read(daemon, third, "zzz")
    expect(put(daemon, third, file), 200)
    assert state_of(daemon, third) == file
    for one in (session, other["id"], third):
        assert say(daemon, one, len(rest), **how) == rest


def test_a_file_fits_into_the_window_of_a_session(daemon, how):
    """The newest of its tokens; what is shorter is as if it had always been."""
    text = at_once(daemon, 4, how)
    session = behind_prompt(daemon, 10)
    file = state_of(daemon, session)
    short = daemon.session("kjv", penalty_memory=4)
    expect(put(daemon, short, file), 200)
    assert metadata(state_of(daemon, short))["__metadata__"]["penalty_memory"] == "4"
    asked = daemon.session("kjv", penalty_memory=4, state=base64.b64encode(file).decode())
    for one in (short, asked):
        assert say(daemon, one, N, **how) == text
    none = daemon.session("kjv")
    expect(put(daemon, none, file), 200)
    assert "penalty_memory" not in metadata(state_of(daemon, none))["__metadata__"]
    expect(put(daemon, short, state_of(daemon, none)), 200)
    assert metadata(state_of(daemon, short))["sampler.tokens"]["shape"] == [0]


def test_a_sealed_state_carries_it(daemon, begun):
    session, how, rest = begun
    body, got = {"session": session, "commit": False}, []
    for _ in range(3):
        answer = daemon.ok("/generate", {**body, "max_tokens": 6, "return_state": True, **how})
        got += answer["choices"][0]["tokens"]
        body = {"model": "kjv", "state": answer["state"]}
    assert got == rest[:18]
    answer = daemon.ok("/predict", {**body, "input": "q", "return_state": True})
    other = behind_prompt(daemon, 10)
    say(daemon, other, 17 + 18, **how)
    read(daemon, other, "q")
    body = {"model": "kjv", "state": answer["state"], "max_tokens": 5, **how}
    assert daemon.ok("/generate", body)["choices"][0]["tokens"] == say(daemon, other, 5, **how)


def test_a_session_without_it_is_as_ever(daemon):
    """Not a byte: neither of memory, nor of the file."""
    plain, told = daemon.session("kjv"), daemon.session("kjv", penalty_memory=0)
    for session in (plain, told):
        read(daemon, session, "And")
        file = state_of(daemon, session)
        assert list(metadata(file)) == ["__metadata__", "h.l0", "c.l0", "h.l1", "c.l1"]
        assert list(metadata(file)["__metadata__"]) == ["format", "model", "fingerprint", "position", "seed", "draws",
                                                        "stream", "checksum"]
        assert expect(daemon.get(f"/sessions/{session}"), 200)["penalty_memory"] == 0
    assert state_of(daemon, plain)[-4 * 1024:] == state_of(daemon, told)[-4 * 1024:]


# ---- blending ----

def test_a_blend_remembers_what_weighs_the_most(daemon):
    sessions = [daemon.session("kjv", penalty_memory=6) for _ in range(3)]
    for session, text in zip(sessions, ("And God", "abc", "The LORD ")):
        read(daemon, session, text)
    body = {"sessions": [{"id": s, "weight": w} for s, w in zip(sessions, (0.2, 0.5, 0.5))]}
    blend = expect(daemon.post("/sessions/blend", body), 201)
    assert blend["penalty_memory"] == 6
    file, like = state_of(daemon, blend["id"]), state_of(daemon, sessions[1])
    assert metadata(file)["sampler.tokens"]["shape"] == [3]
    assert file[-15:] == like[-15:]  # three tokens of four bytes, three marks


def test_a_blend_wants_one_window(daemon):
    sessions = [daemon.session("kjv", penalty_memory=6), daemon.session("kjv", penalty_memory=6), daemon.session("kjv")]
    body = {"sessions": [{"id": s, "weight": 0.5} for s in sessions]}
    answer = daemon.post("/sessions/blend", body)
    expect(answer, 422, "not_possible", "sessions[2]")
    assert "penalty_memory" in answer.error["message"]


# ---- figures and refusals ----

def test_its_bytes_are_counted(start):
    daemon = start(workers=1, args=["--session-trail", "0"])
    plain, window = daemon.session("kjv"), daemon.session("kjv", penalty_memory=100)
    sizes = [expect(daemon.get(f"/sessions/{s}"), 200)["bytes"] for s in (plain, window)]
    assert sizes[0] == expect(daemon.get("/models/kjv"), 200)["state_bytes"]
    assert sizes[1] == sizes[0] + 4 * 100 + 12
    assert daemon.metric("rnnd_session_state_bytes") == sum(sizes)
    expect(daemon.post(f"/sessions/{window}/snapshots", {"name": "a"}), 201)
    held = expect(daemon.get(f"/sessions/{window}"), 200)["bytes"]
    assert held >= 2 * sizes[1]
    for session in (plain, window):
        daemon.delete(f"/sessions/{session}")
    assert daemon.metric("rnnd_session_state_bytes") == 0


@pytest.mark.parametrize("value,code", [(-1, "out_of_range"), (4097, "out_of_range"), (1.5, None), ("8", None), ([], None)])
def test_a_window_that_is_none(daemon, value, code):
    expect(daemon.post("/sessions", {"model": "kjv", "penalty_memory": value}), 400, code, "penalty_memory")


def test_models_that_go_on_with_nothing(daemon):
    """Of the whole zoo: taggers, translators, drawers."""
    refused = 0
    for card in expect(daemon.get("/models"), 200)["models"]:
        body = {"model": card["name"], "penalty_memory": 5}
        answer = daemon.post("/sessions", body)
        if card["task"] == "language_model":
            expect(answer, 201)
        elif answer.error["param"] != "model":  # it holds a session, but has nothing to remember
            expect(answer, 422, "not_possible", "penalty_memory")
            expect(daemon.post("/sessions", {**body, "penalty_memory": 0}), 201)
            refused += 1
    assert refused >= 3


def test_a_limit_and_a_preset(start, daemon):
    other = start(workers=2, args=["--penalty-memory", "9", "--penalty-memory-max", "9"])
    assert expect(other.post("/sessions", {"model": "kjv"}), 201)["penalty_memory"] == 9
    assert expect(other.post("/sessions", {"model": "kjv", "penalty_memory": 0}), 201)["penalty_memory"] == 0
    expect(other.post("/sessions", {"model": "kjv", "penalty_memory": 10}), 400, "out_of_range", "penalty_memory")
    card, there = (expect(d.get("/models/kjv"), 200) for d in (daemon, other))
    assert there["session_bytes"] == card["session_bytes"] + 4 * 9 + 12
    file = base64.b64encode(state_of(daemon, behind_prompt(daemon, 10))).decode()
    answer = other.post("/sessions", {"model": "kjv", "state": file})
    expect(answer, 422, "not_possible", "penalty_memory")
    assert "10" in answer.error["message"] and "penalty_memory_max" in answer.error["message"]
    assert expect(other.post("/sessions", {"model": "kjv", "state": file, "penalty_memory": 9}), 201)["penalty_memory"] == 9


def test_a_socket_of_its_own_has_the_preset(start):
    daemon = start(workers=1, args=["--penalty-memory", "8"])
    how = {**PENALTIES["all"], "temperature": 0}
    with WebSocket(daemon, "/stream?model=kjv") as ws:
        ws.ask(predict={"input": PROMPT}, id="p")
        got = [t["token"] for _ in range(2) for t in ws.ask(generate={"max_tokens": N // 2, **how}, id="g")[0]]
    assert got == at_once(daemon, 8, how)


# ---- restarts and other weights ----

@pytest.mark.parametrize("durability", ["process", "power"])
def test_it_survives_kill_minus_nine(start, tmp_path, durability):
    args = ["--state-dir", str(tmp_path / "state"), "--durability", durability]
    how = {**PENALTIES["all"], **DRAWS["drawn"]}
    daemon = start(workers=2, args=args)
    text, session = at_once(daemon, 10, how), behind_prompt(daemon, 10)
    say(daemon, session, 9, **how)
    expect(daemon.post(f"/sessions/{session}/snapshots", {"name": "here"}), 201)
    assert say(daemon, session, 8, **how) == text[9:17]
    before, file = expect(daemon.get(f"/sessions/{session}"), 200), state_of(daemon, session)
    daemon.process.kill()
    daemon.process.wait()
    daemon = start(workers=2, args=args)
    after = expect(daemon.get(f"/sessions/{session}"), 200)
    assert after["penalty_memory"] == before["penalty_memory"] == 10
    assert state_of(daemon, session) == file
    assert say(daemon, session, N - 17, **how) == text[17:]
    rewind(daemon, session, to="here")
    assert say(daemon, session, N - 9, **how) == text[9:]
