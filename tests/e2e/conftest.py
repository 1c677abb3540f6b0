"""End-to-end tests of inferd: the real binaries over real sockets.

Binaries come from INFERD_BIN_DIR (default build/dev/bin). Each test names a behaviour, its docstring the line of the
specification (spec 10's ids, or file and section). Run: pytest -q tests/e2e
"""
import os

import pytest

from daemon_process import DAEMON, Daemon, Place


def pytest_configure(config):
    config.option.reportchars = (config.option.reportchars or "") + "s"  # no skip without a printed reason


def pytest_collection_modifyitems(items):
    if not os.access(DAEMON, os.X_OK):
        pytest.exit(f"{DAEMON} is not there: build it or set INFERD_BIN_DIR", returncode=3)


class Starter:
    """Starts daemons in one place and stops those that still run at the end."""

    def __init__(self, place: Place) -> None:
        self.place, self.daemons = place, []

    def __call__(self, *args, ready: bool = True, **options) -> Daemon:
        daemon = Daemon(self.place, *args, **options)
        self.daemons.append(daemon)
        if ready:
            daemon.wait_ready()
        return daemon

    def fails(self, *args, code: int = 1, says: tuple | list | str | os.PathLike = (), **options) -> str:
        """A start that has to end by itself with `code` and a diagnostic that contains each of `says`."""
        daemon = self(*args, ready=False, **options)
        assert daemon.wait() == code, daemon.output
        for word in [says] if isinstance(says, (str, os.PathLike)) else says:
            assert str(word) in daemon.output, daemon.output
        return daemon.output

    def stop(self) -> None:
        failures = []
        for daemon in self.daemons:
            try:
                daemon.stop()
            except AssertionError as failure:
                failures.append(failure)
        if failures:
            raise failures[0]


@pytest.fixture
def place():
    here = Place()
    yield here
    here.remove()


@pytest.fixture
def start(place):
    starter = Starter(place)
    yield starter
    starter.stop()


@pytest.fixture(scope="module")
def served():
    """One mock daemon for all tests of a file that leave nothing behind: three pieces, no delay."""
    here = Place()
    starter = Starter(here)
    try:
        yield starter(tape=["alpha ", "beta ", "gamma"])
        starter.stop()
    finally:
        here.remove()


@pytest.fixture
def conn(served):
    connection = served.connect()
    yield connection
    connection.close()
