"""Fixtures: daemons that many tests share, and one that a test may break.

A shared daemon serves the shipped models and a zoo of small random ones; it is stopped at the end, and its
exit code counts as a test of its own in the summary (an error in the teardown of the last test).
"""
import os
import shutil

import pytest

import folders
from client import SHIPPED, BIN, Daemon


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes many seconds with an instrumented daemon; CI's gates leave it out")
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


@pytest.fixture(scope="session", params=[1, 2], ids=["1worker", "2workers"])
def daemon(request, models_dir):
    """Shared by all tests; nobody may leave it changed or busy."""
    with Daemon(models_dir, workers=request.param) as running:
        yield running


@pytest.fixture(scope="session")
def pair(models_dir):
    """Two daemons with the same models: one worker, and two."""
    with Daemon(models_dir, workers=1) as one, Daemon(models_dir, workers=2) as two:
        yield one, two


@pytest.fixture
def start(models_dir):
    """Starts daemons of a test's own: start(workers=2, args=["--queue-max", "1"])."""
    running = []

    def starter(models=models_dir, **more):
        running.append(Daemon(models, **more))
        return running[-1]

    yield starter
    failures = []
    for daemon in running:
        if daemon.process.poll() is None:
            try:
                daemon.stop()
            except AssertionError as failure:
                failures.append(failure)
        else:
            daemon.check_alarms()
    if failures:
        raise failures[0]
