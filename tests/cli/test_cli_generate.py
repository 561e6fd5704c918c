"""rnnd generate: the same text as the daemon's, on the terminal as it is drawn."""
import json
import os
import signal
import socket
import subprocess

import pytest

from client import GUARD, Daemon

SETTINGS = [
    {},
    {"temperature": 0},
    {"temperature": 0.7, "top_k": 8},
    {"top_p": 0.8, "min_p": 0.05, "typical_p": 0.9},
    {"repetition_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.25},
    {"repetition_penalty": 1.4, "frequency_penalty": 0.5, "penalty_memory": 7},
    {"presence_penalty": 1.5, "penalty_memory": 3, "n": 2, "stop": ["the", " a"]},
    {"stop": ["the", " a", "and"]},
    {"echo": True, "n": 3},
]


def flags(settings):
    words = []
    for name, value in settings.items():
        flag = "--" + name.replace("_", "-")
        for one in value if isinstance(value, list) else [value]:
            words += [flag] if one is True else [flag, str(one)]
    return words


@pytest.fixture(scope="module")
def daemon(models_dir):
    with Daemon(models_dir, workers=1) as running:
        yield running


@pytest.mark.parametrize("model, prompt", [("kjv", "And God said "), ("multibyte", "aж€"), ("hello", "h"), ("ids", [3, 1])])
@pytest.mark.parametrize("settings", SETTINGS)
def test_same_as_the_daemon(rnnd, daemon, model, prompt, settings):
    if model == "ids" and "stop" in settings:
        settings = {}
    if model == "multibyte" and "stop" in settings:
        settings = {"stop": ["ж", "€日", "😀\n"]}
    served = daemon.ok("/generate", {"model": model, "input": prompt, "max_tokens": 60, "seed": 7, **settings})
    words = ["generate", model, prompt if isinstance(prompt, str) else " ".join(map(str, prompt)),
             "--max-tokens", 60, "--seed", 7, *flags(settings)]
    if not isinstance(prompt, str):
        words.append("--ids")
    own = json.loads(rnnd.ok(*words, "--json"))
    assert own["choices"] == served["choices"]
    assert own["seed"] == served["seed"] == 7
    assert own["usage"] == served["usage"]
    if len(own["choices"]) == 1 and model != "ids":
        assert rnnd.ok(*words) == own["choices"][0]["text"]


def test_greedy_hello(rnnd):
    assert rnnd.ok("generate", "hello", "h", "--temperature", 0, "--max-tokens", 4) == "ello"


def test_golden_continuations(rnnd, models_dir):
    with open(os.path.join(models_dir, "kjv", "golden.json"), encoding="utf-8") as f:
        runs = [r for r in json.load(f)["runs"] if r["kind"] == "greedy"]
    assert runs
    for run in runs:
        answer = json.loads(rnnd.ok("generate", "kjv", " ".join(map(str, run["prompt_ids"])), "--ids", "--json",
                                    "--temperature", 0, "--max-tokens", len(run["generated_ids"])))
        assert answer["choices"][0]["tokens"] == run["generated_ids"]


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512", "auto"])
def test_same_bytes_with_every_kernel(rnnd, isa):
    run = rnnd("generate", "kjv", "In the ", "--seed", 3, "--max-tokens", 50, "--isa", isa)
    if run.returncode == 1:  # this CPU lacks them, and it is said so
        assert isa in ("avx2", "avx512") and isa in run.err
        return
    assert run.returncode == 0
    assert run.out == rnnd.ok("generate", "kjv", "In the ", "--seed", 3, "--max-tokens", 50)


def test_prompt_from_standard_input_to_the_byte(rnnd):
    words = ["--seed", 5, "--max-tokens", 40, "--json"]
    piped = rnnd.ok("generate", "kjv", "-", *words, stdin=b"And it came to pass\n")
    assert piped == rnnd.ok("generate", "kjv", "And it came to pass\n", *words)
    assert json.loads(piped)["usage"]["input_steps"] == 20


def test_seeds(rnnd):
    def draw():
        return json.loads(rnnd.ok("generate", "kjv", "A", "--max-tokens", 30, "--json"))
    one, two = draw(), draw()
    assert one["seed"] != two["seed"] and one["choices"] != two["choices"]
    assert json.loads(rnnd.ok("generate", "kjv", "A", "--max-tokens", 30, "--json", "--seed", one["seed"])) == one


def test_several_texts(rnnd):
    out = rnnd.ok("generate", "hello", "h", "--n", 3, "--seed", 1, "--max-tokens", 4)
    assert len(out.split("---\n")) == 3 and out.endswith("\n")


def test_empty_prompt(rnnd):
    assert len(rnnd.ok("generate", "kjv", "", "--max-tokens", 5, "--seed", 1)) == 5


def test_no_tokens(rnnd):
    assert rnnd.ok("generate", "kjv", "A", "--max-tokens", 0) == ""
    assert rnnd.ok("generate", "kjv", "A", "--max-tokens", 0, "--echo") == "A"


def test_ids_without_vocabulary(rnnd):
    out = rnnd.ok("generate", "ids", "[1,2]", "--ids", "--seed", 1, "--max-tokens", 5).split()
    assert len(out) == 5 and all(0 <= int(i) < 12 for i in out)


@pytest.mark.parametrize("words, wanted", [
    (["kjv", "naïve"], "no U+00EF, at byte 2"),
    (["kjv", b"\xff\xfe"], "input: "),
    (["ids", "text"], "takes token ids (--ids)"),
    (["ids", "3", "--ids", "--stop", "x"], "no vocabulary"),
    (["ids", "12", "--ids"], "input[0]: want a token id below 12, found 12"),
    (["ids", "3 x", "--ids"], "input[1]: want a token id, found 'x'"),
    (["ids", "-3", "--ids"], "input[0]: want a token id"),
    (["ids", "99999999999999999999999", "--ids"], "input[0]: want a token id below 12"),
    (["sensor", "x"], "only a model whose output can be its next input"),
    (["tagger", "abc"], "only a model whose output can be its next input"),
])
def test_impossible_prompts(rnnd, words, wanted):
    words = [w.decode("utf-8", "surrogateescape") if isinstance(w, bytes) else w for w in words]
    prompt = ["--", words[1]] if words[1].startswith("-") else [words[1]]
    run = rnnd("generate", words[0], *words[2:], *prompt)
    assert (run.returncode, run.out) == (1, "")
    assert run.err.startswith("rnnd: ") and wanted in run.err


def test_each_token_is_let_out_at_once(rnnd):
    """Every write of the program is one packet here: none is more than a token."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = rnnd.start("generate", "multibyte", "a", "--seed", 2, "--max-tokens", 100, stdout=theirs,
                         stdin=subprocess.DEVNULL)
    theirs.close()
    ours.settimeout(GUARD)
    packets = []
    while packet := ours.recv(65536):
        packets.append(packet.decode())  # whole characters
    ours.close()
    assert process.wait(GUARD) == 0
    assert len(packets) == 100 and all(len(p) == 1 for p in packets)


def test_interrupt(rnnd):
    """^C: what was drawn is there, in whole characters, and the process ends by the signal."""
    process = rnnd.start("generate", "multibyte", "a", "--seed", 2, "--max-tokens", 1 << 40, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    text = process.stdout.read(1000)
    process.send_signal(signal.SIGINT)
    text += process.stdout.read()
    assert process.stderr.read() == b""
    process.stdout.close()
    process.stderr.close()
    assert process.wait(GUARD) == -signal.SIGINT
    assert len(text.decode()) > 300


def test_interrupt_at_a_prompt_that_never_ends(rnnd):
    process = rnnd.start("generate", "hello", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(b"hell")
    process.stdin.flush()
    # asleep in the read of standard input: only then does the signal meet it there
    while open(f"/proc/{process.pid}/wchan").read() not in ("pipe_read", "anon_pipe_read", "0") or \
            open(f"/proc/{process.pid}/stat").read().split()[2] != "S":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(GUARD) == -signal.SIGINT
    process.stdin.close()
    process.stdout.close()


def test_newline_on_a_terminal_only(rnnd):
    master, slave = os.openpty()
    process = rnnd.start("generate", "hello", "h", "--temperature", 0, "--max-tokens", 4, stdout=slave,
                         stdin=subprocess.DEVNULL)
    os.close(slave)
    assert process.wait(GUARD) == 0
    assert os.read(master, 100) == b"ello\r\n"
    os.close(master)
