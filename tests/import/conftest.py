"""Fixtures of the import's tests: the program, and files that others have saved (make_files.py)."""
import json
import os
import re
import struct
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "http"))

from client import ALARMS, BIN, GUARD  # noqa: E402

FILES = os.path.join(HERE, "files")
GOLDEN = os.path.join(HERE, "..", "golden", "cases")


def read_safetensors(path):
    """name → (dtype, shape, bytes)"""
    with open(path, "rb") as f:
        raw = f.read()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    header.pop("__metadata__", None)
    data = raw[8 + n:]
    return {k: (v["dtype"], v["shape"], data[slice(*v["data_offsets"])]) for k, v in header.items()}


def read_json(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return json.load(f)


class Program:
    """Runs rnnd in a folder of its own; every run is checked for a sanitizer's words and for leavings."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __call__(self, *words):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RNND_")}
        run = subprocess.run([BIN, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, timeout=GUARD,
                             cwd=self.folder, env={**kept, "LC_ALL": "C.UTF-8"})
        run.out, run.err = run.stdout.decode(), run.stderr.decode()
        assert not ALARMS.search(run.err), run.err
        assert run.returncode in (0, 1, 2), run
        return run

    def ok(self, *words):
        run = self(*words)
        assert (run.returncode, run.err) == (0, ""), run.out + run.err
        return run.out

    def fails(self, *words):
        """Standard error of a run that fails; nothing half-done stays behind."""
        before = sorted(os.listdir(self.folder))
        run = self(*words)
        assert run.returncode == 1, run.out + run.err
        assert sorted(os.listdir(self.folder)) == before
        assert run.err.startswith("rnnd: "), run.err
        return run.err


def pytest_configure(config):
    if not os.access(BIN, os.X_OK):
        raise pytest.UsageError(f"no program at {BIN}: build first, or set RNND_BIN")


@pytest.fixture
def rnnd(tmp_path):
    return Program(tmp_path)
