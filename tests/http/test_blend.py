"""Blending: a new session whose state is a weighted sum of others' states."""
import hashlib
import math
import struct

import pytest

from client import expect

from test_session_state import metadata, read, state_of


def numbers(file):
    n = struct.unpack("<Q", file[:8])[0]
    data = file[8 + n:]
    return struct.unpack(f"<{len(data) // 4}f", data)


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def opened(daemon, model, text):
    session = daemon.session(model)
    read(daemon, session, text)
    return session


def blend(daemon, weights, **more):
    body = {"sessions": [{"id": s, "weight": w} for s, w in weights], **more}
    return daemon.post("/sessions/blend", body)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (1, 0), (2, -1), (0.1, 0.3)])
def test_a_blend_is_the_weighted_sum(daemon, weights):
    a, b = opened(daemon, "kjv", "In the beginning "), opened(daemon, "kjv", "And God said")
    made = expect(blend(daemon, list(zip((a, b), weights))), 201)
    assert made["position"] == 17
    states = [numbers(state_of(daemon, s)) for s in (a, b, made["id"])]
    want = tuple(f32(weights[0] * x + weights[1] * y) for x, y in zip(states[0], states[1]))
    assert states[2] == want
    assert daemon.position(a) == 17 and daemon.position(b) == 12


def test_one_of_weight_one_is_a_copy_with_random_numbers_of_its_own(daemon):
    a = opened(daemon, "kjv", "And ")
    made = expect(blend(daemon, [(a, 1)], id="copy", ttl_seconds=60), 201)
    assert made["id"] == "copy" and made["ttl_seconds"] == 60
    assert numbers(state_of(daemon, "copy")) == numbers(state_of(daemon, a))
    assert metadata(state_of(daemon, "copy"))["__metadata__"]["seed"] != \
        metadata(state_of(daemon, a))["__metadata__"]["seed"]
    file = state_of(daemon, "copy")
    daemon.ok("/generate", {"session": "copy", "max_tokens": 5})
    expect(daemon.post("/sessions/copy/reset", None), 200)
    assert state_of(daemon, "copy") == file
    expect(blend(daemon, [(a, 1)], id="copy"), 409, "session_exists")
    daemon.delete("/sessions/copy")


def test_what_cannot_be_blended(daemon):
    kjv, hello = opened(daemon, "kjv", "And "), opened(daemon, "hello", "he")
    expect(blend(daemon, [(kjv, 1), (hello, 1)]), 422, "not_possible", "sessions[1]")
    expect(blend(daemon, [(kjv, 1), ("nobody", 1)]), 404, "no_session", "sessions[1]")


def test_a_number_that_would_not_be_finite_is_refused(daemon):
    """An unbounded cell can hold numbers as large as a float goes."""
    grown = daemon.session("kjv")
    file = bytearray(state_of(daemon, grown))
    head = struct.unpack("<Q", file[:8])[0]
    file[8 + head + 4 * 256:8 + head + 4 * 257] = struct.pack("<f", 3e38)  # c.l0
    facts = metadata(bytes(file))["__metadata__"]

    lines = "".join(f"{facts[k]}\n" for k in ("format", "fingerprint", "position", "seed", "draws", "stream"))
    sum_ = hashlib.sha256(lines.encode() + bytes(file[8 + head:])).hexdigest()
    file = bytes(file).replace(facts["checksum"].encode(), sum_.encode())
    expect(daemon.request("PUT", f"/sessions/{grown}/state", file), 200)
    before = daemon.metric("rnnd_sessions")
    expect(blend(daemon, [(grown, 1), (grown, 1)]), 422, "not_possible", "sessions")
    assert daemon.metric("rnnd_sessions") == before
    assert math.isfinite(numbers(state_of(daemon, grown))[256])
    expect(blend(daemon, [(grown, 0.5), (grown, 0.25)]), 201)


def test_a_source_that_is_busy_is_waited_for(daemon):
    a = opened(daemon, "kjv", "And ")
    with daemon.stream("/generate", {"session": a, "max_tokens": 300}) as stream:
        stream.open()
        made = expect(blend(daemon, [(a, 1)]), 201)
        list(stream)
    assert made["position"] == 304


def test_blends_of_other_keys(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("one:first\ntwo:second\n")
    keys.chmod(0o600)
    daemon = start(workers=2, args=["--keys", str(keys)])
    session = daemon.session("hello", key="first")
    body = {"sessions": [{"id": session, "weight": 1}]}
    expect(daemon.post("/sessions/blend", body, key="second"), 404, "no_session")
    expect(daemon.post("/sessions/blend", body, key="first"), 201)
