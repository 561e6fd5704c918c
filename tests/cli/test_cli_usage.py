"""Words and statuses: help, usage faults, missing models, outputs that cannot be written."""
import os
import re
import signal
import subprocess

import pytest

from client import GUARD

COMMANDS = ["serve", "generate", "predict", "score", "inspect", "import", "verify", "bench", "health", "version", "help"]
WITH_MODEL = {"generate": ["x"], "predict": ["x"], "score": ["/dev/null"], "verify": [], "bench": []}


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(rnnd, words):
    out = rnnd.ok(*words)
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", out, re.M), command


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(rnnd, command):
    out = rnnd.ok(command, "--help")
    assert out.startswith("Usage: rnnd " + command)
    assert rnnd.ok("help", command) == out
    assert all(len(line) <= 100 for line in out.split("\n"))


def test_serve_help_names_every_setting(rnnd):
    out = rnnd.ok("serve", "--help")
    settings = re.findall(r"^#(\w+) =", rnnd.ok("help", "--sample"), re.M)
    assert len(settings) > 30
    for name in settings:
        assert f"--{name.replace('_', '-')} " in out


def test_version(rnnd):
    out = rnnd.ok("version")
    assert re.fullmatch(r"rnnd \d+\.\d+\.\d+ \(kernels: (scalar|avx2|avx512|neon)\)\n", out)
    assert rnnd.ok("--version") == out == rnnd.ok("-V")


@pytest.mark.parametrize("words, wanted", [
    (["frobnicate"], "there is no command 'frobnicate'"),
    (["genrate", "kjv", "x"], "did you mean generate?"),
    (["help", "frobnicate"], "there is no command"),
    (["help", "serve", "predict"], "'predict' is too much"),
    (["predict"], "want MODEL INPUT"),
    (["predict", "kjv"], "want MODEL INPUT"),
    (["predict", "kjv", "a", "b"], "'b' is too much"),
    (["version", "x"], "'x' is too much"),
    (["predict", "kjv", "a", "--topk", "3"], "no option --topk, did you mean --top-k?"),
    (["predict", "kjv", "a", "--nothing-like-it"], "no option --nothing-like-it\n"),
    (["predict", "kjv", "a", "-x"], "no option -x"),
    (["predict", "kjv", "a", "--top-k"], "--top-k: want a value after it"),
    (["predict", "kjv", "a", "--json=3"], "--json takes no value"),
    (["predict", "kjv", "a", "--top-k", "many"], "--top-k: want a whole number of 1 to "),
    (["predict", "kjv", "a", "--top-k", "0"], "found '0'"),
    (["predict", "kjv", "a", "--top-k", "99999999999999999999"], "--top-k: want"),
    (["predict", "kjv", "a", "--top-k", " 3"], "found ' 3'"),
    (["predict", "kjv", "a", "--steps", "some"], "--steps: want last or all, found 'some'"),
    (["predict", "kjv", "1", "--ids", "--frames"], "exclude each other"),
    (["generate", "kjv", "a", "--temperature", "hot"], "--temperature: want a number of 0 to 100, found 'hot'"),
    (["generate", "kjv", "a", "--temperature", "nan"], "--temperature: want"),
    (["generate", "kjv", "a", "--temperature=-1"], "--temperature: want"),
    (["generate", "kjv", "a", "--top-p", "0"], "--top-p: want a number above 0"),
    (["generate", "kjv", "a", "--typical-p", "1.5"], "--typical-p: want a number of 0 to 1"),
    (["generate", "kjv", "a", "--repetition-penalty", "0"], "--repetition-penalty: want a number above 0"),
    (["generate", "kjv", "a", "--stop", ""], "--stop: want a text"),
    (["generate", "kjv", "a", "--seed", "-1"], "--seed: want"),
    (["generate", "kjv", "a", "--n", "0"], "--n: want"),
    (["bench", "hello", "--rounds", "0"], "--rounds: want"),
    (["health", "--url", "https://127.0.0.1/"], "--url: want http://HOST[:PORT][/PATH]"),
    (["health", "--url", "http://"], "--url: want"),
    (["health", "--url", "http://h/a b"], "--url: want"),
    (["health", "--timeout", "0"], "--timeout: want"),
    (["predict", "kjv", "a", "--isa", "sse"], "--isa: want one of auto|scalar|avx2|avx512, found 'sse'"),
    (["serve", "--workers", "many"], "--workers: want a whole number of 0 to 256, found 'many'"),
    (["--workers", "many"], "--workers: want"),
    (["serve", "--confg", "x"], "--confg: there is no such option"),
    (["serve", "--config"], "--config: want a file after it"),
    (["serve", "--config", "/nowhere/rnnd.conf"], "/nowhere/rnnd.conf: No such file or directory"),
    (["serve", "models"], "models: want --NAME VALUE"),
])
def test_usage_faults(rnnd, words, wanted):
    run = rnnd(*words)
    assert (run.returncode, run.out) == (2, ""), run
    assert wanted in run.err
    assert run.err.split("\n")[-2].startswith("Try 'rnnd ")


def test_all_usage_faults_are_told_at_once(rnnd):
    err = rnnd.fails(2, "generate", "kjv", "x", "--temperature", "hot", "--top-k", "-1", "--seed", "s", "--n", "0")
    for name in ("--temperature", "--top-k", "--seed", "--n"):
        assert f"rnnd generate: {name}: want" in err


def test_faults_of_settings_have_their_places(rnnd, tmp_path):
    conf = tmp_path / "rnnd.conf"
    conf.write_text("[server]\nworkers = many\n[time]\nqueue_max = 1\n")
    err = rnnd.fails(2, "serve", "--config", conf, "--grace-s", "-1", env={"RNND_WORKRES": "1"})
    assert f"{conf}:2: workers: want" in err
    assert f"{conf}:4: queue_max: stands in [time], belongs in [batch]" in err
    assert "RNND_WORKRES: there is no such option, did you mean RNND_WORKERS?" in err
    assert "--grace-s: want" in err


def test_config_variable_names_the_file(rnnd, tmp_path, models_dir):
    conf = tmp_path / "rnnd.conf"
    conf.write_text(f"models = {models_dir}\nisa = scalar\n")
    out = rnnd.ok("bench", "hello", "--rounds", 1, "--round-ms", 1, "--json", env={"RNND_CONFIG": str(conf)})
    assert '"kernels":"scalar"' in out
    conf.write_text("isa = mmx\n")
    assert f"{conf}:1: isa:" in rnnd.fails(2, "predict", "hello", "h", env={"RNND_CONFIG": str(conf)})
    assert rnnd.ok("predict", "hello", "h", "--config", "/dev/null", env={"RNND_CONFIG": str(conf)})


# ---- models that are not there, or broken ----

@pytest.mark.parametrize("command", WITH_MODEL)
def test_no_such_model(rnnd, command, models_dir):
    run = rnnd(command, "nobody", *WITH_MODEL[command])
    assert (run.returncode, run.out) == (1, "")
    start = f"rnnd: no model 'nobody' in {models_dir}; there are: "
    assert run.err.startswith(start)
    names = run.err[len(start):].strip().split(", ")
    assert names == sorted(names) and {"flags", "hello"} <= set(names)
    assert "hello, ids, kjv" in run.err
    run = rnnd(command, "/nowhere/model", *WITH_MODEL[command])
    assert (run.returncode, run.out) == (1, "")
    assert "/nowhere/model" in run.err


def test_no_folder_of_models(rnnd):
    err = rnnd.fails(1, "predict", "hello", "h", "--models", "/nowhere")
    assert "no model 'hello' in /nowhere (No such file or directory)" in err


@pytest.mark.parametrize("command", WITH_MODEL)
def test_broken_model_is_named(rnnd, command, models_dir, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    (broken / "model.safetensors").write_bytes(b"\x00" * 20)
    run = rnnd(command, broken, *WITH_MODEL[command])
    assert (run.returncode, run.out) == (1, "")
    assert run.err.startswith(f"rnnd: model {broken}: ")
    assert "config.json" in run.err


def test_a_folder_here_is_found_by_its_bare_name(rnnd, models_dir):
    assert '"o"' in rnnd.ok("predict", "hello", "hell", "--models", "/nowhere", cwd=models_dir).split("\n")[0]


# ---- outputs ----

@pytest.mark.parametrize("words", [["help"], ["version"], ["predict", "hello", "h"], ["generate", "hello", "h"],
                                   ["score", "hello", "-"], ["help", "--man"], ["bench", "hello", "--rounds", "1"]])
def test_full_disk_is_a_failure(rnnd, words):
    with open("/dev/full", "wb") as full:
        err = rnnd.fails(1, *words, stdout=full, stdin=b"hello")
    assert "No space left on device" in err


@pytest.mark.parametrize("words", [["help", "--man"], ["generate", "kjv", "A", "--max-tokens", "1000000000"],
                                   ["predict", "kjv", "A" * 5000, "--steps", "all"]])
def test_reader_that_goes_away(rnnd, words):
    """The command ends by SIGPIPE, says nothing, and does not go on working."""
    process = rnnd.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                         pipesize=4096)  # less than any of them writes
    os.read(process.stdout.fileno(), 1)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(GUARD) == -signal.SIGPIPE
    assert err == b""


def test_output_that_is_closed(rnnd):
    run = subprocess.run(["/bin/sh", "-c", 'exec "$@" >&-', "sh", *rnnd.command("predict", "hello", "h")],
                         env=rnnd.environment(), stderr=subprocess.PIPE, timeout=GUARD)
    assert run.returncode == 1 and b"Bad file descriptor" in run.stderr


# ---- the manual ----

def test_manual_has_no_roff_faults(rnnd, tmp_path):
    page = tmp_path / "rnnd.1"
    page.write_text(rnnd.ok("help", "--man"))
    run = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-P", "cat", str(page)], capture_output=True,
                         text=True, env={**rnnd.environment(), "MANWIDTH": "80"}, timeout=GUARD)
    assert (run.returncode, run.stderr) == (0, "")
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "SETTINGS", "FILES", "ENVIRONMENT", "SIGNALS",
                    "EXIT STATUS", "EXAMPLES", "SEE ALSO"):
        assert re.search(rf"^{section}$", run.stdout, re.M), section
    for command in COMMANDS:
        assert re.search(rf"^   rnnd {command}\b", run.stdout, re.M), command


def test_manual_names_every_option(rnnd):
    page = rnnd.ok("help", "--man").replace("\\-", "-")
    for command in COMMANDS:
        for option in re.findall(r"^  (--[a-z-]+)", rnnd.ok(command, "--help"), re.M):
            assert option in page or option == "--help", option


def test_markdown_reference(rnnd):
    out = rnnd.ok("help", "--markdown")
    assert "| `workers` | `0` |" in out
