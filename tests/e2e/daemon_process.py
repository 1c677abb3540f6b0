"""Starts the real inferd-daemon in a place of its own (home, runtime and log folder), watches it, and ends it by its pid."""
from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from wire import DEADLINE, Conn, assert_error, request

BIN_DIR = Path(os.environ.get("INFERD_BIN_DIR") or Path(__file__).resolve().parents[2] / "build/dev/bin")
DAEMON, CTL = BIN_DIR / "inferd-daemon", BIN_DIR / "inferdctl"
HELD = 3_600_000  # --mock-delay-ms of a request that never gets its first piece while a test runs
KEPT_ENV = ("PATH", "LD_LIBRARY_PATH", "ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS")
SANITIZER_MARKS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:")


def until(condition, what: str):
    """Waits for `condition()` to be true and returns its value; fails at the deadline."""
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {DEADLINE:.0f} s: {what}"
        time.sleep(0.005)
    return value


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


class Place:
    """Folders of one daemon under /tmp: socket paths must stay short."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="ie-", dir="/tmp"))
        self.home, self.run, self.logs = self.base / "home", self.base / "run", self.base / "logs"
        self.home.mkdir(0o700)
        self.run.mkdir(0o700)
        self.runtime = self.run / "inferd"
        self.v1, self.admin, self.lock = (self.runtime / n for n in ("infer.sock", "admin.sock", "inferd.lock"))
        self.log_file = self.logs / "inferd.ndjson"
        self.env = {name: os.environ[name] for name in KEPT_ENV if name in os.environ}
        self.env |= {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.run), "INFERD_LOG_DIR": str(self.logs),
                     "NO_COLOR": "1"}

    def give_to(self, uid: int) -> None:
        for path in (self.base, *self.base.rglob("*")):
            os.chown(path, uid, uid, follow_symlinks=False)

    def records(self, strict: bool = True) -> list[dict]:
        """The activity log's whole lines; strict: each of them must be JSON."""
        lines = self.log_file.read_bytes().split(b"\n")[:-1] if self.log_file.exists() else []
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:
                assert not strict, f"not JSON in the activity log: {line[:300]!r}"
        return found

    def remove(self) -> None:
        shutil.rmtree(self.base, ignore_errors=True)


class Daemon:
    """One process; options that tests use often have parameters, the rest is `args` as on the command line. `under`: a command that
    becomes the daemon, and is given these descriptors."""

    def __init__(self, place: Place, *args: str, tape: list[str] | None = None, delay_ms: int = 0, fault: str = "",
                 tcp: str = "", env: dict | None = None, nofile: tuple[int, int] | None = None, uid: int | None = None,
                 umask: int = -1, v1: Path | None = None, admin: Path | None = None, under: list[str] | None = None,
                 pass_fds: list[int] | None = None) -> None:
        self.place, self.conns, self.start_events = place, [], []
        self.code, self.signalled = None, False
        self.v1, self.admin_path = v1 or place.v1, admin or place.admin
        command = [*(under or []), str(DAEMON), *args]
        command += ["--mock-tape", json.dumps(tape)] if tape is not None else []
        command += ["--mock-delay-ms", str(delay_ms)] if delay_ms else []
        command += ["--mock-fault", fault] if fault else []
        command += ["--uds", str(v1)] if v1 else []
        command += ["--admin-addr", str(admin)] if admin else []
        if tcp:
            self.v1 = (tcp, free_port(tcp))
            command += ["--tcp", f"[{tcp}]:{self.v1[1]}" if ":" in tcp else f"{tcp}:{self.v1[1]}"]
        limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, nofile)) if nofile else None
        who = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
        descriptor, name = tempfile.mkstemp(prefix="out-", dir=place.base)
        self.output_file = Path(name)
        with os.fdopen(descriptor, "wb") as output:
            self.process = subprocess.Popen(command, env=place.env | (env or {}), stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=output, cwd=place.base, preexec_fn=limit, umask=umask, pass_fds=pass_fds or (), **who)
        self.pid = self.process.pid

    @property
    def output(self) -> str:
        """What it wrote to stdout and stderr so far."""
        return self.output_file.read_text(errors="replace")

    def told(self, pattern: str) -> re.Match:
        """Waits for `pattern` (any case) in the output."""
        return until(lambda: re.search(pattern, self.output, re.I), f"{pattern!r} in the output: {self.output}")

    def wait_ready(self) -> None:
        """Returns when admin has said `ready`; keeps the events until then in `start_events`."""
        conn = until(lambda: self.dial_admin() or self.process.poll() is not None, "admin accepts")
        assert conn is not True, f"the daemon ended with {self.process.returncode}:\n{self.output}"
        while not self.start_events or self.start_events[-1].get("status") != "ready":
            line = conn.line()
            assert line is not None, f"admin ended before ready; {self.start_events}\n{self.output}"
            self.start_events.append(json.loads(line))
        conn.close()

    def dial_admin(self) -> Conn | None:
        """A connection to admin, or None while it cannot be had."""
        try:
            return Conn(self.admin_path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None

    def admin(self) -> Conn:
        """An admin client that has read its snapshot up to `ready`."""
        conn = self.track(Conn(self.admin_path))
        while conn.frame()["status"] != "ready":
            pass
        return conn

    def connect(self) -> Conn:
        return self.track(Conn(self.v1))

    def track(self, conn: Conn) -> Conn:
        self.conns.append(conn)
        return conn

    def settle(self) -> None:
        """Returns when all that was sent on accepted connections before has been handled (one I/O thread, in order)."""
        conn = self.connect()
        assert_error(conn.ask(messages=[])[-1], "invalid_request")
        conn.close()

    def submit(self, id: str, **fields) -> Conn:
        """Sends a request on a connection of its own and returns when the daemon has it: running, waiting or refused."""
        conn = self.connect()
        assert_error(conn.ask(messages=[])[-1], "invalid_request")
        conn.send(request(id=id, **fields))
        self.settle()
        return conn

    def hidden(self, name: str) -> Path:
        """A file of /proc/PID that the daemon, which is not dumpable, leaves to root."""
        if os.geteuid() != 0:
            import pytest  # here: the soak has none

            pytest.skip(f"not root: /proc/PID/{name} of the daemon cannot be read")
        return Path(f"/proc/{self.pid}/{name}")

    def descriptors(self) -> int:
        return len(os.listdir(self.hidden("fd")))

    def logged(self, msg: str, **fields) -> dict:
        """Waits for an activity record with these fields."""
        def find():
            return next((r for r in self.place.records() if r.get("msg") == msg and fields.items() <= r.items()), None)
        return until(find, f"activity record {msg} {fields}")

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.signalled = True
        self.process.send_signal(number)

    def wait(self) -> int:
        """Waits for the end and returns the exit code."""
        if self.code is None:
            try:
                self.code = self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.code = self.process.wait()
                raise AssertionError(f"did not end within {DEADLINE:.0f} s; output:\n{self.output}") from None
            found = [mark for mark in SANITIZER_MARKS if mark in self.output]
            assert not found, self.output
        return self.code

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def stop(self) -> None:
        """Hangs up all connections, ends the process if it still runs, and asserts a clean end."""
        for conn in self.conns:
            conn.reset()
        if self.code is None:
            gone = self.process.poll()
            assert gone is None or self.signalled, f"the daemon ended by itself with {gone}:\n{self.output}"
            if not self.signalled:
                self.signal()
            assert self.wait() == 0, f"ended with {self.code}:\n{self.output}"
