"""Callers other than the test itself: child processes that dial, so that the kernel vouches for their pid and uid, and hand the open
connection to the test, which talks on it as on one of its own. And processes that stand still while a test arranges something."""
from __future__ import annotations

import contextlib
import grp
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from daemon_process import Daemon, Place, until
from wire import DEADLINE, Conn, assert_error, request

NOBODY = 65534  # a uid that is not the test's
DIAL = """
import socket
home = socket.socket(fileno=0)
while path := home.recv(4096):
    conn = socket.socket(socket.AF_UNIX)
    conn.connect(path.decode())
    socket.send_fds(home, [b"dialled"], [conn.fileno()])
    conn.close()
"""


class Handed(Conn):
    """A connection that somebody else has opened."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE)
        self.sock, self.buffer = sock, bytearray()


def accepted(conn: Conn) -> Conn:
    """Returns when the daemon has the connection: it has answered on it."""
    assert_error(conn.ask(messages=[])[-1], "invalid_request")
    return conn


def dial_tcp(daemon: Daemon, source: str, key: str) -> Conn:
    """A connection from this loopback address that has shown its key; skips where there is no such address."""
    try:
        sock = socket.create_connection(daemon.v1, source_address=(source, 0))
    except OSError as error:
        pytest.skip(f"no loopback address {source} on this machine: {error}")
    return accepted(daemon.track(Handed(sock)).send({"type": "auth", "key": key}))


def arrived(conn: Conn) -> list[bytes]:
    """All lines that are there by now; takes them."""
    conn.sock.setblocking(False)
    try:
        while part := conn.sock.recv(1 << 16):
            conn.buffer += part
    except BlockingIOError:
        pass
    finally:
        conn.sock.settimeout(DEADLINE)
    return [conn.line() for _ in range(conn.buffer.count(b"\n"))]


class Caller:
    """A process of its own; `user` and `group`: whose (as root only)."""

    def __init__(self, daemon: Daemon, user: int | None = None, group: int | None = None) -> None:
        self.daemon = daemon
        self.home, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.home.settimeout(DEADLINE)
        python = [sys.executable] if user is None else ["/usr/bin/env", "python3"]  # another user may not reach the test's own one
        who = {} if user is None else {"user": user, "group": group, "extra_groups": []}
        with theirs:
            self.process = subprocess.Popen([*python, "-c", DIAL], stdin=theirs, stderr=subprocess.PIPE, cwd="/", text=True, **who)
        self.pid = self.process.pid

    def dial(self) -> Conn:
        """A new connection of this process, which the daemon has accepted."""
        try:
            self.home.send(str(self.daemon.v1).encode())
            descriptors = socket.recv_fds(self.home, 64, 1)[1]
        except (BrokenPipeError, ConnectionResetError):
            descriptors = []
        assert descriptors, self.process.communicate()[1]
        return accepted(self.daemon.track(Handed(socket.socket(fileno=descriptors[0]))))

    def submit(self, id: str, **fields) -> Conn:
        """Sends a request on a connection of its own and returns when the daemon has it: running, waiting or refused."""
        conn = self.dial().send(request(id=id, **fields))
        self.daemon.settle()
        return conn

    def close(self) -> None:
        self.home.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def caller():
    """Makes callers of a daemon; ends them with the test."""
    made = []

    def go(daemon: Daemon, **who) -> Caller:
        made.append(Caller(daemon, **who))
        return made[-1]

    yield go
    for each in made:
        each.close()


def open_to(place: Place) -> grp.struct_group:
    """Makes the folders above the sockets passable, and names a group that the daemon can be started with (`--group`) and that NOBODY can
    dial as; skips where that needs root."""
    if os.geteuid():
        pytest.skip("needs root, to dial as another user")
    place.base.chmod(0o755)
    place.run.chmod(0o755)
    return next(g for g in grp.getgrall() if g.gr_gid)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


@contextlib.contextmanager
def frozen(pid: int):
    """The process stands still inside the block: what is sent to it meanwhile it finds all at once."""
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: state_of(pid) == "T", "the process stands still")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
