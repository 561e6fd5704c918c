"""Fixtures of the command line's tests: the program, and models to try it on.

The daemon and the folders of random models are those of tests/http."""
import os
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "http"))

import folders  # noqa: E402
from client import ALARMS, BIN, GUARD, SHIPPED  # noqa: E402


def clean_environment(**more):
    """The environment without settings: what starts the tests has RNND_… variables of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RNND_")}
    return {**kept, "LC_ALL": "C.UTF-8", **more}


class Program:
    """Runs rnnd with the test's folder of models; every run is checked for a sanitizer's words."""

    def __init__(self, models):
        self.models = models

    def command(self, *words):
        return [BIN, *map(str, words)]

    def environment(self, **more):
        return clean_environment(**{"RNND_MODELS": self.models, **more})

    def __call__(self, *words, stdin=b"", env=None, **more):
        run = subprocess.run(self.command(*words), input=stdin, env=self.environment(**(env or {})),
                             stdout=more.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE,
                             timeout=GUARD, **more)
        run.out = (run.stdout or b"").decode()
        run.err = run.stderr.decode()
        assert not ALARMS.search(run.err), run.err
        return run

    def ok(self, *words, **more):
        """The output of a run that succeeds and says nothing on standard error."""
        run = self(*words, **more)
        assert (run.returncode, run.err) == (0, ""), run
        return run.out

    def fails(self, status, *words, **more):
        """Standard error of a run that ends with this status and prints no result."""
        run = self(*words, **more)
        assert run.returncode == status, run
        assert run.err, run
        return run.err

    def start(self, *words, env=None, **more):
        return subprocess.Popen(self.command(*words), env=self.environment(**(env or {})), **more)


def pytest_configure(config):
    if not os.access(BIN, os.X_OK):
        raise pytest.UsageError(f"no program at {BIN}: build first, or set RNND_BIN")


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory):
    """The shipped models beside the zoo."""
    root = tmp_path_factory.mktemp("models")
    for name in ("hello", "kjv"):
        shutil.copytree(os.path.join(SHIPPED, name), root / name)
    folders.make_zoo(str(root))
    return str(root)


@pytest.fixture(scope="session")
def rnnd(models_dir):
    return Program(models_dir)
