"""Runs inferdctl in the place of a test, and a peer that answers it with frames that the test chooses."""
from __future__ import annotations

import json
import socket
import subprocess
import threading
from pathlib import Path

from daemon_process import CTL, Place, until
from wire import DEADLINE, compact


def ctl(place: Place, *args, stdin: str | bytes = "", env: dict | None = None) -> subprocess.CompletedProcess:
    """Runs it to its end with what `place` calls its home and runtime folder."""
    text = stdin if isinstance(stdin, bytes) else stdin.encode()
    done = subprocess.run([CTL, *map(str, args)], input=text, env=place.env | (env or {}), capture_output=True, timeout=DEADLINE)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def begun(place: Place, *args, env: dict | None = None, **streams) -> subprocess.Popen:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.Popen([CTL, *map(str, args)], env=place.env | (env or {}), text=True, **streams)


def ended(process: subprocess.Popen) -> int:
    try:
        return process.wait(DEADLINE)
    finally:
        process.kill()
        process.communicate()


def sleeps(process: subprocess.Popen) -> None:
    """Returns when it waits for something outside."""
    until(lambda: Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S", "inferdctl waits")


class Peer:
    """Listens at `path` and answers the n-th request with the n-th of `answers`, a list of frames each; `None` hangs up instead."""

    def __init__(self, path: Path, *answers: list[dict] | None) -> None:
        self.path, self.requests, self.answers = path, [], list(answers)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            with conn, conn.makefile("rb") as lines:
                for line in lines:
                    self.requests.append(json.loads(line))
                    frames = self.answers.pop(0)
                    if frames is None:
                        break
                    try:
                        conn.sendall(b"".join(compact(frame) + b"\n" for frame in frames))
                    except OSError:
                        break  # it has what it wanted

    def asked(self, times: int) -> None:
        """Waits until so many requests have come."""
        until(lambda: len(self.requests) >= times, f"{times} requests")

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(DEADLINE)


def error(code: str, message: str = "because") -> dict:
    return {"type": "error", "id": "", "code": code, "message": message}
