"""From start to end: configuration, model folders, signals, ports."""
import json
import os
import shutil
import signal
import socket
import struct
import time

import pytest

import folders
from client import SHIPPED, Daemon, Stream, collect, expect, read_answer, run, wait_until

LONG = {"model": "kjv", "input": "And ", "max_tokens": 60000, "seed": 1}


# ---- the end ----

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", [1, 2])
def test_idle_daemon_ends_at_once(start, number, workers):
    daemon = start(workers=workers)
    idle = daemon.connect()
    daemon.request("GET", "/livez", connection=idle)
    daemon.signal(number)
    assert daemon.wait_end() == 0
    idle.close()


def test_what_it_may_have_of_the_machine_is_logged_once(start):
    daemon = start()
    daemon.wait_log(lambda e: "address" in e)
    machine, = [e for e in daemon.log if e["message"] == "machine"]
    assert 0 < machine["memory_bytes"] <= machine["host_memory_bytes"]
    assert machine["session_memory_bytes"] == machine["memory_bytes"] // 2
    assert machine["workers"] >= 1
    model = daemon.request("GET", "/models/hello").json
    assert model["sessions_in_memory"] == machine["session_memory_bytes"] // model["session_bytes"]


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_lets_running_requests_finish(start, workers):
    daemon = start(workers=workers, args=["--grace-s", "3600"])  # however slow: the grace must not decide
    # two running: a stream and a whole answer, each some thousand steps
    fields = {**LONG, "max_tokens": 12000}
    stream = daemon.stream("/generate", fields)
    events = iter(stream)
    first = next(events).data
    whole = Stream(daemon, "/generate", {**fields, "seed": 2})
    wait_until(lambda: daemon.metric("rnnd_sequences_active") == 2, "both run")
    keep = daemon.connect()
    daemon.request("GET", "/readyz", connection=keep)
    daemon.signal(signal.SIGTERM)
    # readiness is off, on connections that are there already
    wait_until(lambda: _draining(daemon, keep), "not ready any more")
    rest = list(events)
    assert rest[-1].name == "done"
    text = first["text"] + "".join(e.data["text"] for e in rest[:-1])
    assert len(text) == 12000
    answer = whole.answer()
    assert answer.status == 200 and len(answer.json["choices"][0]["text"]) == 12000
    stream.close()
    whole.close()
    keep.close()
    assert daemon.wait_end() == 0


def _draining(daemon, connection):
    try:
        return daemon.request("GET", "/readyz", connection=connection).status == 503
    except OSError:
        return True  # closed, or no longer listening


def test_no_new_work_while_draining(start):
    daemon = start(workers=1, args=["--grace-s", "30"])
    keep = daemon.connect()
    daemon.request("GET", "/livez", connection=keep)
    with daemon.stream("/generate", LONG, receive_buffer=4096) as stream:
        stream.open()
        daemon.signal(signal.SIGTERM)
        daemon.wait_log(lambda e: "drain" in e.get("message", "").lower() or "signal" in json.dumps(e).lower())
        try:
            answer = daemon.request("POST", "/predict", {"model": "hello", "input": "h"}, connection=keep)
            expect(answer, 503, "draining")
            assert answer.headers["retry-after"]
            assert answer.headers["connection"].lower() == "close"
        except (OSError, AssertionError) as fault:
            if isinstance(fault, AssertionError):
                raise
    keep.close()
    assert daemon.wait_end() == 0


def test_grace_period_ends_in_cancelling(start):
    daemon = start(workers=2, args=["--grace-s", "1", "--stream-buffer-bytes", "4096"])
    stuck = daemon.stream("/generate", LONG, receive_buffer=4096)  # never reads
    stuck.open()
    whole = Stream(daemon, "/generate", {**LONG, "n": 8})
    wait_until(lambda: daemon.metric("rnnd_sequences_active") >= 2, "both run")
    daemon.signal(signal.SIGTERM)
    assert daemon.wait_end() == 0
    stuck.close()
    whole.close()


def test_second_signal_ends_at_once(start):
    daemon = start(workers=1, args=["--grace-s", "3600", "--stream-buffer-bytes", "4096"])
    stuck = daemon.stream("/generate", LONG, receive_buffer=4096)
    stuck.open()
    daemon.signal(signal.SIGTERM)
    time.sleep(0.5)
    assert daemon.process.poll() is None
    daemon.signal(signal.SIGTERM)
    daemon.wait_end()
    stuck.close()


def test_sessions_and_queue_at_the_end(start):
    """Ends cleanly with open sessions, waiting requests and requests in a session's line."""
    daemon = start(workers=2, args=["--grace-s", "0", "--rows-active-max", "2"])
    sessions = [daemon.session("kjv") for _ in range(20)]
    streams = [daemon.stream("/generate", {**LONG, "seed": i}) for i in range(12)]
    streams += [daemon.stream("/generate", {"session": sessions[0], "input": "a", "max_tokens": 60000})
                for _ in range(5)]
    wait_until(lambda: daemon.metric("rnnd_queue_depth") > 0, "a queue")
    daemon.signal(signal.SIGTERM)
    assert daemon.wait_end() == 0
    for stream in streams:
        stream.close()


def test_sighup_reads_settings_again(start, tmp_path):
    conf = tmp_path / "rnnd.conf"
    conf.write_text("[limits]\ninputs_max = 2\n")
    daemon = start(workers=2, args=["--config", str(conf)])
    fields = {"model": "hello", "inputs": ["h", "e", "l"]}
    assert daemon.post("/predict", fields).status in (400, 413, 422)
    conf.write_text("[limits]\ninputs_max = 5\n")
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: daemon.post("/predict", fields).status == 200, "the new limit")
    # a fault leaves everything as it was, and is told
    conf.write_text("[limits]\ninputs_max = many\n")
    before = len(daemon.log)
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: any(e["level"] in ("error", "warning") for e in daemon.log[before:]), "told")
    assert daemon.post("/predict", fields).status == 200


@pytest.mark.long
def test_sighup_under_load(start):
    daemon = start(workers=2)
    whole = daemon.ok("/generate", {**LONG, "max_tokens": 5000})["choices"][0]["text"]
    with daemon.stream("/generate", {**LONG, "max_tokens": 5000}) as stream:
        stream.open()
        for _ in range(10):
            daemon.signal(signal.SIGHUP)
            time.sleep(0.01)
        _, texts, _, _ = collect(stream)
    assert texts[0] == whole


def test_log_of_a_life(start):
    daemon = start(workers=1)
    daemon.ok("/predict", {"model": "hello", "input": "h"})
    daemon.stop()
    assert not daemon.other, daemon.other  # nothing but JSON lines
    for entry in daemon.log:
        assert {"time", "level", "message"} <= set(entry)
        assert entry["level"] in ("debug", "info", "warning", "error")


# ---- the start ----

def test_port_in_use(models_dir):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("serve", "--models", models_dir, "--listen", address)
    assert done.returncode > 0
    assert address in done.err and "use" in done.err


def test_ipv6(models_dir):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        # no IPv6 here: then it must say so and end
        done = run("serve", "--models", models_dir, "--listen", "[::1]:0")
        assert done.returncode > 0 and "::1" in done.err
        return
    with Daemon(models_dir, listen="[::1]:0") as daemon:
        assert daemon.address[0] == "::1"
        assert daemon.get("/livez").status == 200


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.1:99999", "127.0.0.1:x", "[::1:80", "", ":::"])
def test_bad_listen(models_dir, listen):
    done = run("serve", "--models", models_dir, "--listen", listen)
    assert done.returncode > 0 and "listen" in done.err


def test_every_fault_of_a_configuration_is_told_at_once(models_dir, tmp_path):
    conf = tmp_path / "rnnd.conf"
    conf.write_text("[limits]\ninputs_max = many\nbody_max_bytes = 1K\n\n[serverr]\nworkers = 2\n"
                    "[time]\nno_such_option = 1\ngrace_s = -1\n")
    done = run("serve", "--config", str(conf), "--models", models_dir, "--workers", "9999", "--nonsense",
               env={"RNND_LOG_LEVEL": "loud"})
    assert done.returncode > 0
    for word in ("inputs_max", "serverr", "no_such_option", "grace_s", "workers", "nonsense", "RNND_LOG_LEVEL"):
        assert word in done.err, (word, done.err)
    assert f"{conf}:2" in done.err


def test_missing_configuration_file(models_dir):
    done = run("serve", "--models", models_dir, "--config", "/nonexistent/rnnd.conf")
    assert done.returncode > 0 and "/nonexistent/rnnd.conf" in done.err


def test_file_environment_flag_in_that_order(models_dir, tmp_path):
    conf = tmp_path / "rnnd.conf"
    conf.write_text("[limits]\ninputs_max = 1\n")
    fields = {"model": "hello", "inputs": ["h", "e", "l"]}
    with Daemon(models_dir, args=["--config", str(conf)]) as daemon:
        assert daemon.post("/predict", fields).status != 200
    with Daemon(models_dir, args=["--config", str(conf)], env={"RNND_INPUTS_MAX": "3"}) as daemon:
        assert daemon.post("/predict", fields).status == 200
    with Daemon(models_dir, args=["--config", str(conf), "--inputs-max", "2"],
                env={"RNND_INPUTS_MAX": "3"}) as daemon:
        assert daemon.post("/predict", fields).status != 200


# ---- model folders ----

def test_no_models_folder(tmp_path):
    done = run("serve", "--models", str(tmp_path / "none"), "--listen", "127.0.0.1:0")
    assert done.returncode > 0 and str(tmp_path / "none") in done.err


def test_empty_models_folder(tmp_path):
    done = run("serve", "--models", str(tmp_path), "--listen", "127.0.0.1:0")
    assert done.returncode > 0 and str(tmp_path) in done.err


def edit_config(folder, **changes):
    path = os.path.join(folder, "config.json")
    with open(path, encoding="utf-8") as f:
        config = json.load(f)
    for name, value in changes.items():
        *way, last = name.split("__")
        place = config
        for step in way:
            place = place[step]
        place[last] = value
    with open(path, "w", encoding="utf-8") as f:
        json.dump(config, f)


def edit_header(folder, change):
    """Rewrites the safetensors header in place: change(dict) -> dict."""
    path = os.path.join(folder, "model.safetensors")
    with open(path, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        header, data = json.loads(f.read(size)), f.read()
    text = json.dumps(change(header)).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def remove(name):
    return lambda folder: os.unlink(os.path.join(folder, name))


def cut(name, size):
    def spoil(folder):
        path = os.path.join(folder, name)
        length = os.path.getsize(path)
        os.truncate(path, size if size >= 0 else length + size)
    return spoil


def replace(name, data):
    def spoil(folder):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)
    return spoil


def add(name, data):
    def spoil(folder):
        with open(os.path.join(folder, name), "ab") as f:
            f.write(data)
    return spoil


def config(**changes):
    return lambda folder: edit_config(folder, **changes)


def header(change):
    return lambda folder: edit_header(folder, change)


def tensor(name, **changes):
    return header(lambda h: {k: ({**v, **changes} if k == name else v) for k, v in h.items()})


SPOILED = {
    "no weights": (remove("model.safetensors"), "model.safetensors"),
    "empty weights": (cut("model.safetensors", 0), "model.safetensors"),
    "weights cut in the length": (cut("model.safetensors", 5), "model.safetensors"),
    "weights cut in the header": (cut("model.safetensors", 50), "model.safetensors"),
    "weights cut in the data": (cut("model.safetensors", -1), "model.safetensors"),
    "weights with a tail": (add("model.safetensors", b"x"), "model.safetensors"),
    "huge header": (replace("model.safetensors", b"\xff" * 8 + b"{}"), "model.safetensors"),
    "header of 2^63": (replace("model.safetensors", struct.pack("<Q", 2 ** 63) + b"{}"), "model.safetensors"),
    "header is no JSON": (replace("model.safetensors", struct.pack("<Q", 4) + b"nope"), "model.safetensors"),
    "header is an array": (replace("model.safetensors", struct.pack("<Q", 2) + b"[]"), "model.safetensors"),
    "tensor missing": (header(lambda h: {k: v for k, v in h.items() if k != "head.bias"}), "model.safetensors"),
    "tensor left over": (header(lambda h: {("new" if k == "head.bias" else k): v for k, v in h.items()}), "head.bias"),
    "wrong shape": (tensor("head.weight", shape=[24, 4]), "head.weight"),
    "shape overflows": (tensor("head.weight", shape=[2 ** 62, 4]), "head.weight"),
    "shape is negative": (tensor("head.weight", shape=[-4, -24]), "head.weight"),
    "wrong type": (tensor("head.weight", dtype="F64"), "head.weight"),
    "unknown type": (tensor("head.weight", dtype="F8"), "head.weight"),
    "offsets reversed": (tensor("head.bias", data_offsets=[16, 0]), "head.bias"),
    "offsets overlap": (tensor("head.bias", data_offsets=[0, 16]), ""),
    "offsets beyond the end": (tensor("head.bias", data_offsets=[2 ** 60, 2 ** 60 + 16]), "head.bias"),
    "no configuration": (remove("config.json"), None),
    "empty configuration": (cut("config.json", 0), "config.json"),
    "configuration cut": (cut("config.json", -20), "config.json"),
    "configuration is no object": (replace("config.json", b"[1]"), "config.json"),
    "deep configuration": (replace("config.json", b'{"rnn":' * 5000), "config.json"),
    "unknown cell": (config(rnn__cell="transformer"), "cell"),
    "hidden size differs": (config(rnn__hidden_size=25), "weight"),
    "hidden size zero": (config(rnn__hidden_size=0), "hidden_size"),
    "hidden size negative": (config(rnn__hidden_size=-3), "hidden_size"),
    "hidden size huge": (config(rnn__hidden_size=2 ** 40), "hidden_size"),
    "hidden size is text": (config(rnn__hidden_size="24"), "hidden_size"),
    "no layers": (config(rnn__num_layers=0), "num_layers"),
    "many layers": (config(rnn__num_layers=10 ** 9), "num_layers"),
    "unknown input": (config(input__kind="pixels"), "kind"),
    "unknown topology": (config(topology="circular"), "topology"),
    "unknown activation": (config(head__activation="cube"), "activation"),
    "projection in a GRU": (config(rnn__cell="gru", rnn__proj_size=3), ""),
    "bidirectional": (config(rnn__bidirectional=True), ""),
    "vocabulary cut": (cut("vocab.json", -3), "vocab.json"),
    "vocabulary too short": (replace("vocab.json", b'{"kind":"char","tokens":["a"]}'), "vocab.json"),
    "vocabulary twice": (replace("vocab.json", b'{"kind":"char","tokens":["a","b","c","a"]}'), "vocab.json"),
    "vocabulary of numbers": (replace("vocab.json", b'{"kind":"char","tokens":[1,2,3,4]}'), "vocab.json"),
    "vocabulary not UTF-8": (replace("vocab.json", b'{"kind":"char","tokens":["a","b","c","\xff"]}'), "vocab.json"),
    "unknown id out of range": (replace("vocab.json", b'{"kind":"char","tokens":["a","b","c","d"],"unk":9}'), "vocab"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_spoiled_model_folder(tmp_path, name):
    """Alone, it stops the start and is named; beside a good one, it is told and the good one serves."""
    spoil, word = SPOILED[name]
    bad = tmp_path / "models" / "bad"
    folders.make(str(bad), tokens=list("abcd"), hidden=24, cell="lstm")
    spoil(str(bad))
    done = run("serve", "--models", str(tmp_path / "models"), "--listen", "127.0.0.1:0")
    assert done.returncode > 0, done.err
    if word is not None:
        assert "bad" in done.err and word in done.err, done.err
    shutil.copytree(os.path.join(SHIPPED, "hello"), tmp_path / "models" / "hello")
    with Daemon(str(tmp_path / "models"), wait=False) as daemon:
        daemon.wait_log(lambda e: "address" in e)
        wait_until(lambda: daemon.get("/livez").status == 200, "alive")
        wait_until(lambda: daemon.post("/predict", {"model": "hello", "input": "hell"}).status == 200, "serving")
        expect(daemon.post("/predict", {"model": "bad", "input": "a"}), 404, "no_model")
        if word is not None:
            line = next(e for e in daemon.log if e["level"] == "error")
            assert "bad" in json.dumps(line)
            assert daemon.get("/readyz").json == {"status": "ready", "failed_models": ["bad"]}


def test_foreign_checkpoints_are_told_of(tmp_path):
    """Files and folders of other programs stop nothing; the log and /readyz say what to type."""
    models = tmp_path / "models"
    models.mkdir()
    for name in ("my.pt", "it's.H5", "notes.txt", ".hidden.pt"):
        (models / name).write_bytes(b"anything")
    for folder, name in (("x", "model.h5"), ("vars", "manifest.json"), ("empty", "README.md"), ("done", "m.pt"),
                         ("done-rnnd", "config")):
        (models / folder).mkdir(exist_ok=True)
        (models / folder / name).write_bytes(b"anything")
    commands = [f"rnnd import {models}/done/m.pt --out {models}/done-rnnd",
                f"rnnd import '{models}/it'\\''s.H5' --out '{models}/it'\\''s'",
                f"rnnd import {models}/my.pt --out {models}/my",
                f"rnnd import {models}/vars --out {models}/vars-rnnd",
                f"rnnd import {models}/x/model.h5 --out {models}/x-rnnd"]
    done = run("serve", "--models", str(models), "--listen", "127.0.0.1:0")
    assert done.returncode > 0 and "4 checkpoints of other programs" in done.err, done.err
    assert [json.loads(line).get("type") for line in done.err.splitlines()][:-1] == commands[1:]
    shutil.copytree(os.path.join(SHIPPED, "hello"), models / "hello")
    with Daemon(str(models)) as daemon:
        assert daemon.get("/readyz").json == {"status": "ready", "to_import": commands[1:]}
        told = [e["type"] for e in daemon.log if e["level"] == "warning"]
        assert told == commands[1:]
        assert [m["name"] for m in daemon.get("/models").json["models"]] == ["hello"]


def test_model_without_vocabulary_loads(tmp_path):
    folders.make(str(tmp_path / "models" / "m"), tokens=list("abcd"))
    os.unlink(tmp_path / "models" / "m" / "vocab.json")
    with Daemon(str(tmp_path / "models")) as daemon:
        assert daemon.ok("/predict", {"input": [1, 2, 3]})["outputs"]


@pytest.mark.parametrize("name", ["good model", "with space", "ünï", "a" * 130])
def test_odd_folder_names(tmp_path, name):
    folders.make(str(tmp_path / "models" / name), tokens=list("abcd"))
    daemon = Daemon(str(tmp_path / "models"), wait=False)
    try:
        daemon.wait_log(lambda e: "address" in e)
    except AssertionError:
        assert daemon.wait_end() > 0  # refused
        daemon.check_alarms()
        return
    with daemon:
        assert daemon.ok("/predict", {"model": name, "input": [1, 2, 3]})["model"] == name


# ---- while it runs ----

def test_weights_may_be_replaced_by_rename_while_serving(tmp_path, start):
    """The files of a running model can be replaced on disk: it goes on with what it opened."""
    shutil.copytree(os.path.join(SHIPPED, "hello"), tmp_path / "models" / "hello")
    daemon = start(models=str(tmp_path / "models"))
    before = daemon.post("/predict", {"input": "hell", "return": ["logits"]}).exact
    target = tmp_path / "models" / "hello" / "model.safetensors"
    other = tmp_path / "other"
    other.write_bytes(b"x" * 100)
    os.replace(other, target)
    assert daemon.post("/predict", {"input": "hell", "return": ["logits"]}).exact == before


def test_client_that_sends_a_byte_a_second_is_cut(start):
    daemon = start(workers=1, args=["--request-timeout-s", "2"])
    sock = daemon.raw(b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
                      b"Content-Length: 100\r\n\r\n")
    begun = time.monotonic()
    closed = None
    while time.monotonic() - begun < 60:
        try:
            sock.sendall(b" ")
            sock.settimeout(0.5)
            got = sock.recv(4096)
            closed = got
            break
        except socket.timeout:
            continue
        except OSError:
            closed = b""
            break
    assert closed is not None, "still open"
    assert closed == b"" or b" 408 " in closed.split(b"\r\n")[0]
    sock.close()
    assert daemon.get("/livez").status == 200


def test_idle_connection_is_closed(start):
    daemon = start(workers=1, args=["--idle-timeout-s", "2"])
    sock = daemon.raw(b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n")
    assert read_answer(sock).status == 200
    sock.settimeout(60)
    assert sock.recv(10) == b""
    sock.close()
    wait_until(lambda: daemon.metric("rnnd_connections") == 1, "only our own")
