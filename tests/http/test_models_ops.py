"""Models, tokenizing, health, metrics, versions, and the manners of HTTP."""
import json
import re

import pytest

import folders
from client import Answer, expect, parse_metrics


def test_models(daemon):
    models = expect(daemon.get("/models"), 200)["models"]
    names = [m["name"] for m in models]
    assert names == sorted(names)
    assert {"hello", "kjv", "multibyte", "sensor"} <= set(names)


def test_one_model(daemon):
    info = expect(daemon.get("/models/kjv"), 200)
    assert info["name"] == "kjv" and info["cell"] == "lstm"
    assert info["layers"] == 2 and info["hidden_size"] == 256
    assert info["parameters"] == 876287
    assert info["state_bytes"] >= 2 * 2 * 256 * 4
    assert info["tokenizer"]
    assert re.match(r"^[0-9a-f]{64}$", info["fingerprint"])
    assert info["load_seconds"] >= 0
    assert "1.469" in json.dumps(info)  # the card's quality figures
    listed = {m["name"]: m for m in daemon.get("/models").json["models"]}
    assert listed["kjv"]["fingerprint"] == info["fingerprint"]


def test_fingerprints_tell_models_apart(daemon):
    models = daemon.get("/models").json["models"]
    assert len({m["fingerprint"] for m in models}) == len(models)


def test_unknown_model(daemon):
    expect(daemon.get("/models/nobody"), 404, "no_model")
    for path in ("/predict", "/generate", "/score", "/tokenize"):
        answer = daemon.post(path, {"model": "nobody", "text" if path == "/tokenize" else "input": "a"})
        expect(answer, 404, "no_model", "model")


@pytest.mark.parametrize("text", ["", "And God said,\n", "ZzYy"])
def test_tokenize_and_back(daemon, text):
    ids = daemon.ok("/tokenize", {"model": "kjv", "text": text})["tokens"]
    assert len(ids) == len(text)
    assert daemon.ok("/detokenize", {"model": "kjv", "tokens": ids})["text"] == text


def test_tokenize_multibyte(daemon):
    text = "".join(folders.MULTIBYTE)
    ids = daemon.ok("/tokenize", {"model": "multibyte", "text": text})["tokens"]
    assert ids == list(range(len(folders.MULTIBYTE)))
    assert daemon.ok("/detokenize", {"model": "multibyte", "tokens": ids[::-1]})["text"] == text[::-1]


def test_tokenize_unknown_characters(daemon):
    answer = daemon.post("/tokenize", {"model": "kjv", "text": "And € God"})
    error = expect(answer, 422, "unknown_character") and answer.error
    assert "4" in error["message"]  # the offset
    assert daemon.ok("/tokenize", {"model": "unknown", "text": "xé😀y"})["tokens"] == [1, 0, 0, 2]
    assert daemon.ok("/detokenize", {"model": "unknown", "tokens": [1, 0, 2]})["text"] == "x\ufffdy"


def test_tokenizer_is_needed(daemon):
    expect(daemon.post("/tokenize", {"model": "ids", "text": "a"}), 422)
    expect(daemon.post("/detokenize", {"model": "ids", "tokens": [1]}), 422)


@pytest.mark.parametrize("tokens", [[63], [-1], [1.5], ["a"], [None], "ab", [10 ** 18], None])
def test_bad_tokens(daemon, tokens):
    answer = daemon.post("/detokenize", {"model": "kjv", "tokens": tokens})
    assert answer.status in (400, 422) and answer.error["param"].startswith("tokens"), answer


# ---- operations ----

def test_live_and_ready(daemon):
    for path in ("/livez", "/readyz"):
        answer = daemon.get(path)
        assert answer.status == 200
        head = daemon.request("HEAD", path)
        assert head.status == 200 and head.body == b""


def test_version(daemon):
    version = expect(daemon.get("/version"), 200)
    assert re.match(r"^\d+\.\d+\.\d+", version["version"])


def test_openapi_is_served(daemon):
    answer = daemon.get("/openapi.yaml")
    assert answer.status == 200 and "yaml" in answer.headers["content-type"]
    text = answer.body.decode()
    assert text.lstrip().startswith(("openapi:", "#")) and "openapi:" in text
    for path in ("/predict", "/generate", "/score", "/sessions", "/sessions/{id}/fork", "/models/{name}",
                 "/tokenize", "/detokenize", "/livez", "/readyz", "/metrics", "/version"):
        assert f"  {path}:" in text, path


def test_metrics_page(daemon):
    session = daemon.session("hello")
    daemon.ok("/predict", {"session": session, "input": "hell"})
    daemon.ok("/generate", {"model": "hello", "input": "hell", "max_tokens": 3})
    answer = daemon.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = answer.body.decode()
    samples = parse_metrics(text)
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    assert len(re.findall(r"^# TYPE ", text, re.M)) == len(kinds), "a type is declared once"
    for (name, labels), value in samples.items():
        assert re.match(r"^(rnnd|process)_[a-z0-9_]+$", name), name
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        kind = kinds.get(name) or kinds.get(base)
        assert kind in ("counter", "gauge", "histogram"), name
        if kind == "counter":
            assert name.endswith("_total"), name
        if kind in ("counter", "histogram"):
            assert value >= 0, name
        for label, text_ in labels:
            assert session not in text_ and label not in ("session", "prompt", "id")
    for name in ("rnnd_steps_total", "rnnd_tokens_total", "rnnd_sessions", "rnnd_connections",
                 "rnnd_cancelled_total", "rnnd_rejected_total", "rnnd_queue_depth"):
        assert any(n == name for n, _ in samples), name


def test_histograms_are_cumulative(daemon):
    daemon.ok("/generate", {"model": "hello", "input": "hell", "max_tokens": 3})
    samples = daemon.metrics()
    series = {}
    for (name, labels), value in samples.items():
        if name.endswith("_bucket"):
            rest = tuple(l for l in labels if l[0] != "le")
            bound = float(dict(labels)["le"].replace("+Inf", "inf"))
            series.setdefault((name[:-7], rest), []).append((bound, value))
    assert series
    for (name, rest), buckets in series.items():
        buckets.sort()
        values = [value for _, value in buckets]
        assert values == sorted(values) and buckets[-1][0] == float("inf")
        # counted by other threads meanwhile: the total may be newer than the buckets
        assert samples[(name + "_count", rest)] >= values[-1]
        assert (name + "_sum", rest) in samples


def test_counters_count(start):
    daemon = start(workers=1)
    daemon.ok("/predict", {"model": "hello", "input": "hell"})
    daemon.ok("/generate", {"model": "hello", "input": "hell", "max_tokens": 5})
    daemon.post("/predict", {"model": "hello", "input": "hellX"})
    metrics = daemon.metrics()

    def value(name, **labels):
        return sum(v for (n, ls), v in metrics.items() if n == name and set(labels.items()) <= set(ls))
    assert value("rnnd_tokens_total", kind="prompt") == 8
    assert value("rnnd_tokens_total", kind="generated") == 5
    assert value("rnnd_rejected_total", reason="input") == 1
    assert value("rnnd_sequences_active") == 0
    assert value("rnnd_step_rows_total") >= value("rnnd_steps_total") > 0
    requests = {ls: v for (n, ls), v in metrics.items() if n == "rnnd_requests_total"}
    assert sum(v for ls, v in requests.items() if ("/predict" in dict(ls).values())) == 2


def test_metrics_know_templates_not_paths(daemon):
    session = daemon.session("hello")
    daemon.get(f"/sessions/{session}")
    daemon.get("/made/up/path")
    text = daemon.get("/metrics").body.decode()
    assert session not in text and "made" not in text and "/sessions/{id}" in text


# ---- the manners of HTTP ----

@pytest.mark.parametrize("method,path,allow", [
    ("GET", "/predict", "POST"), ("DELETE", "/generate", "POST"), ("PUT", "/sessions", "GET"),
    ("POST", "/models", "GET"), ("POST", "/livez", "GET"), ("DELETE", "/metrics", "GET"),
    ("PATCH", "/sessions/x", "GET"), ("GET", "/sessions/x/fork", "POST"),
])
def test_wrong_method(daemon, method, path, allow):
    answer = daemon.request(method, path)
    expect(answer, 405, "method")
    assert allow in [m.strip() for m in answer.headers["allow"].split(",")]


@pytest.mark.parametrize("path", ["/nothing", "/predict/", "/predict/x", "/sessions/a/b/c", "//predict", "/..",
                                  "/Predict", "/sessions/%00", "/v3"])
def test_no_such_path(daemon, path):
    assert daemon.get(path).status in (404, 400), path
    assert daemon.get(path).error


def test_request_id(daemon):
    assert daemon.get("/livez", headers={"X-Request-Id": "Abc-123._x"}).headers["x-request-id"] == "Abc-123._x"
    minted = [daemon.get("/livez").headers["x-request-id"] for _ in range(3)]
    assert len(set(minted)) == 3 and all(re.match(r"^[A-Za-z0-9._-]{8,64}$", m) for m in minted)
    for bad in ("a b", "x" * 200, "a\"b", "<script>", "é".encode().decode("latin-1")):
        echoed = daemon.get("/livez", headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert echoed != bad and re.match(r"^[A-Za-z0-9._-]{1,64}$", echoed)
    error = daemon.post("/predict", b"{", headers={"X-Request-Id": "err-1"})
    assert error.headers["x-request-id"] == "err-1"


def test_request_id_stands_in_the_log(start):
    daemon = start(workers=1)
    daemon.get("/models", headers={"X-Request-Id": "find-me"})
    line = daemon.wait_log(lambda e: "find-me" in map(str, e.values()))
    assert "/models" in map(str, line.values()) and 200 in line.values()


def test_nothing_secret_in_the_log(start):
    daemon = start(workers=1, args=["--log-level", "debug"])
    daemon.ok("/generate", {"model": "kjv", "input": "Pharaoh and his chariots", "max_tokens": 5})
    daemon.post("/generate", b'{"input": "Pharaoh", "model": "kjv", "x": 1}')
    daemon.stop()
    assert "Pharaoh" not in json.dumps(daemon.log) + "".join(daemon.other)


def test_curl_form_type_is_accepted_as_json(daemon):
    """`curl -d '{…}'` says application/x-www-form-urlencoded; people type that."""
    answer = daemon.post("/predict", b'{"model":"hello","input":"hell"}',
                         headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status == 200


def test_json_with_charset(daemon):
    answer = daemon.post("/predict", b'{"model":"hello","input":"hell"}',
                         headers={"Content-Type": "application/json; charset=utf-8"})
    assert answer.status == 200


@pytest.mark.parametrize("kind", ["application/xml", "multipart/form-data; boundary=x", "image/png"])
def test_other_media_types(daemon, kind):
    expect(daemon.post("/predict", b'{"model":"hello","input":"hell"}', headers={"Content-Type": kind}),
           415, "media_type")


def test_head_of_a_resource(daemon):
    got = daemon.get("/models/hello")
    head = daemon.request("HEAD", "/models/hello")
    assert head.status == 200 and head.body == b"" and isinstance(got, Answer)
    assert int(head.headers["content-length"]) == len(got.body)
