"""The README's "Five minutes with curl": every line of it, in its order, as it stands there, by curl itself.

Only the address is another one.  The lines are run from the top of the tree (some send a file of it) against a daemon with the
shipped models, which is what `make run` serves; each must be answered with success and JSON, a stream to its end, a file in
the form of its name.
"""
import json
import os
import re
import shlex
import subprocess

import pytest

from client import GUARD, SHIPPED, TOP, Daemon

ADDRESS = "http://127.0.0.1:8080"


def five_minutes():
    """The commands of the section and the one before it, as lists of words."""
    with open(os.path.join(TOP, "README.md"), encoding="utf-8") as f:
        text = f.read()
    chapter = text[:text.index("\n## ", text.index("\n## Five minutes with curl\n") + 1)]
    blocks = "".join(re.findall(r"^```(?:sh|console)\n(.*?)^```", chapter, re.M | re.S))
    lines = [re.sub(r"^\$ ", "", line) for line in blocks.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("curl ")], chapter


COMMANDS, CHAPTER = five_minutes()


def title(words):
    return " ".join(words[2:])[:70].replace(ADDRESS, "")


@pytest.fixture(scope="module")
def shipped():
    with Daemon(SHIPPED) as daemon:
        yield daemon


def curl(daemon, words, body_file):
    """(status, content type, body) of the command with the daemon's address, and with the test's file for one that it writes."""
    assert any(word.startswith(ADDRESS + "/") for word in words), "the address that make run prints"
    mine = "http://{}:{}".format(*daemon.address)
    words = [mine + word[len(ADDRESS):] if word.startswith(ADDRESS) else word for word in words]
    if "-o" in words:
        del words[words.index("-o"):words.index("-o") + 2]
    done = subprocess.run([*words, "-o", str(body_file), "-w", "%{http_code} %{content_type}"], cwd=TOP, timeout=GUARD,
                          capture_output=True, text=True, check=True)
    status, content_type = done.stdout.split(" ", 1)
    return int(status), content_type, body_file.read_bytes()


def test_no_line_of_curl_is_overlooked():
    assert len(COMMANDS) == len(re.findall(r"\bcurl -s", CHAPTER)) >= 15


@pytest.mark.parametrize("words", COMMANDS, ids=title)
def test_works_as_written(shipped, words, tmp_path):
    status, content_type, body = curl(shipped, words, tmp_path / "body")
    assert status in (200, 201), body
    if "-o" in words:
        assert words[words.index("-o") + 1].endswith(".safetensors")
        header_bytes = int.from_bytes(body[:8], "little")
        assert "__metadata__" in json.loads(body[8:8 + header_bytes])
        return
    if not content_type.startswith("text/event-stream"):
        assert content_type.startswith("application/json") and "error" not in json.loads(body)
        return
    events = re.findall(r"^event: (\w+)\n(?:.*\n)*?data: (.*)$", body.decode(), re.M)
    assert events and events[-1][0] == "done" and all(json.loads(data) for _, data in events)
