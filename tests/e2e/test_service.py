"""The daemon under a service manager: what it tells it (sd_notify), and sockets that it is given (README 15)."""
import json
import os
import select
import signal
import socket
import sys
import threading

import pytest

from daemon_process import HELD, until
from wire import Conn, request

CONFIG = {"model": {"name": "m", "sha256": "0" * 64, "source_url": "https://models.example.com/m.gguf"}}

# Becomes the command behind "--", with the descriptors before it as 3, 4, ...: the environment names the process that gets them.
PASS_SOCKETS = """
import fcntl, os, sys
split = sys.argv.index("--")
moved = [fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, 100) for number in sys.argv[1:split]]
for number, descriptor in enumerate(moved, 3):
    os.dup2(descriptor, number)
os.closerange(3 + len(moved), 100)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[split + 1], sys.argv[split + 1:])
"""


class Manager:
    """The service manager's end of NOTIFY_SOCKET: keeps every message."""

    def __init__(self, path) -> None:
        self.path, self.messages = str(path), []
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        # A thread: a message that nobody reads would hold up the daemon.
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        while message := self.sock.recv(8192):
            self.messages.append(message.decode())

    def close(self) -> None:
        self.sock.sendto(b"", self.path)
        self.reader.join()
        self.sock.close()

    @property
    def env(self) -> dict:
        return {"NOTIFY_SOCKET": self.path}

    def told(self, begin: str, times: int = 1) -> str:
        """Waits until that many messages begin so, and returns the last of them."""
        def find():
            found = [message for message in self.messages if message.startswith(begin)]
            return found[times - 1] if len(found) >= times else None
        return until(find, f"{begin!r} {times} times in {self.messages}")


@pytest.fixture
def manager(place):
    manager = Manager(place.base / "notify")
    yield manager
    manager.close()


class Held:
    """Options of a daemon that is not ready until its config file, a pipe, is written."""

    def __init__(self, path) -> None:
        self.path, self.args = path, ("--backend", "mock", "--config", str(path))
        os.mkfifo(path)

    def release(self) -> None:
        self.path.write_text(json.dumps(CONFIG))


@pytest.fixture
def held(place):
    return Held(place.base / "config.json")


def listen(path, mode=0o600) -> socket.socket:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    os.chmod(path, mode)
    sock.listen(8)
    return sock


def passing(**sockets: socket.socket) -> dict:
    """Options of a daemon that gets these sockets as systemd passes them."""
    numbers = [sock.fileno() for sock in sockets.values()]
    return {"under": [sys.executable, "-Ic", PASS_SOCKETS, *map(str, numbers), "--"], "pass_fds": numbers,
            "env": {"LISTEN_FDS": str(len(numbers)), "LISTEN_FDNAMES": ":".join(sockets)}}


# What it tells.


def test_ready_is_told_when_v1_accepts_and_not_before(start, place, held, manager):
    """README 15: whoever starts after the service gets through."""
    daemon = start(*held.args, ready=False, env=manager.env)
    status = daemon.track(until(daemon.dial_admin, "admin accepts"))
    assert status.frame()
    assert "READY=1" not in manager.messages and not place.v1.exists()
    held.release()
    manager.told("READY=1")
    assert daemon.connect().text() == "mock-response"


def test_a_start_that_fails_says_why_and_is_never_ready(start, place, manager):
    (place.base / "config.json").write_text("{")
    start.fails("--config", str(place.base / "config.json"), env=manager.env)
    assert str(place.base / "config.json") in manager.told("STATUS=start failed")
    assert "READY=1" not in manager.messages


def test_stopping_is_told_at_the_signal_and_time_to_drain_is_asked_for(start, manager):
    """README 12: also where drain_timeout_secs is above the unit's TimeoutStopSec=."""
    daemon = start("--drain-timeout-secs", "100000", delay_ms=HELD, env=manager.env)
    running = daemon.submit("running")
    assert "STOPPING=1" not in manager.messages
    before = sum(message.startswith("EXTEND_TIMEOUT_USEC=") for message in manager.messages)
    daemon.signal()
    manager.told("STOPPING=1")
    assert int(manager.told("EXTEND_TIMEOUT_USEC=", before + 1).partition("=")[2]) >= 100_000 * 1_000_000
    assert daemon.process.poll() is None
    running.close()
    assert daemon.wait() == 0
    assert manager.messages.index("READY=1") < manager.messages.index("STOPPING=1")


def test_the_watchdog_is_fed_from_the_start_to_the_end(start, held, manager):
    daemon = start(*held.args, "--drain-timeout-secs", "100000", ready=False, delay_ms=HELD, env=manager.env | {"WATCHDOG_USEC": "100000"})
    manager.told("WATCHDOG=1", times=2)
    held.release()
    manager.told("READY=1")
    fed = manager.messages.count("WATCHDOG=1")
    manager.told("WATCHDOG=1", times=fed + 2)
    running = daemon.submit("running")
    daemon.signal()
    manager.told("STOPPING=1")
    fed = manager.messages.count("WATCHDOG=1")
    manager.told("WATCHDOG=1", times=fed + 2)
    running.close()


def test_without_a_watchdog_none_is_fed(start, manager):
    start(env=manager.env).stop()
    assert "WATCHDOG=1" not in manager.messages


def test_a_reload_is_told_from_its_begin_to_its_end(start, manager):
    daemon = start(env=manager.env)
    manager.told("READY=1")
    daemon.process.send_signal(signal.SIGHUP)
    assert "\nMONOTONIC_USEC=" in manager.told("RELOADING=1")
    manager.told("READY=1", times=2)
    assert daemon.connect().text() == "mock-response"


def test_a_service_manager_that_is_gone_changes_nothing(start, place):
    daemon = start(env={"NOTIFY_SOCKET": str(place.base / "nobody"), "WATCHDOG_USEC": "100000"})
    assert daemon.connect().text() == "mock-response"


# What it is given.


def test_a_client_that_comes_before_ready_is_answered_after(start, place, held):
    """README 15: it waits in the backlog, also while there is no daemon at all; the sockets stay for the next one."""
    with listen(place.v1) as v1, listen(place.admin) as admin:
        files = [path.lstat().st_ino for path in (place.v1, place.admin)]
        early = Conn(place.v1).send(request())
        daemon = start(*held.args, ready=False, **passing(v1=v1, admin=admin))
        status = daemon.track(daemon.dial_admin())
        assert status.frame()
        assert not select.select([early.sock], [], [], 0)[0]
        held.release()
        assert early.answer()[-1]["content"] == "mock-response"
        daemon.wait_ready()
        assert daemon.connect().text() == "mock-response"
        early.close()
        daemon.stop()
        assert [path.lstat().st_ino for path in (place.v1, place.admin)] == files
        late = Conn(place.v1).send(request())
        start(**passing(admin=admin, v1=v1)).track(late)  # in whichever order
        assert late.answer()[-1]["content"] == "mock-response"


@pytest.mark.parametrize("name", ["v1", "admin"])
def test_what_is_not_given_the_daemon_makes(start, place, name):
    path = {"v1": place.v1, "admin": place.admin}[name]
    with listen(path) as sock:
        daemon = start(**passing(**{name: sock}))
        assert daemon.connect().text() == "mock-response"
        daemon.stop()
    assert sorted(p.name for p in place.runtime.iterdir()) == sorted([path.name, "inferd.lock"])


def test_a_given_socket_may_be_anywhere(start, place):
    """ListenStream= of the operator's choice."""
    elsewhere = place.base / "elsewhere" / "v1"
    with listen(elsewhere) as sock:
        daemon = start(**passing(v1=sock))
        daemon.v1 = elsewhere
        assert daemon.connect().text() == "mock-response"
        assert not place.v1.exists()


def test_a_given_tcp_socket_serves_and_asks_for_the_key(start):
    """README 22."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        daemon = start("--api-key", "k", **passing(v1=sock))
        daemon.v1 = sock.getsockname()
        assert daemon.connect().send({"type": "auth", "key": "k"}).text() == "mock-response"
        assert daemon.connect().send({"type": "auth", "key": "wrong"}).ends()


def test_a_given_tcp_socket_that_others_reach_needs_a_key(start):
    """README 22: as where the daemon binds it."""
    with socket.create_server(("0.0.0.0", 0)) as sock:
        start.fails(says=(f"0.0.0.0:{sock.getsockname()[1]}", "key"), **passing(v1=sock))


def test_a_socket_of_an_unknown_name_is_a_start_error_that_lists_the_names(start, place):
    """A name that is wrong must not leave a surface unserved."""
    with listen(place.v1) as sock:
        start.fails(says=('"inferd.socket"', "admin", "v1", "v2", "embed"), **passing(**{"inferd.socket": sock}))


def test_a_socket_that_does_not_listen_is_a_start_error(start):
    one, other = socket.socketpair()
    with one, other:
        start.fails(says=('"v1"', "listens"), **passing(v1=one))


def test_sockets_for_another_process_are_left_alone(start, place):
    """LISTEN_PID names somebody else: the variables were inherited by mistake."""
    daemon = start(env={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "v1", "LISTEN_PID": "1"})
    assert daemon.connect().text() == "mock-response"
