"""What a person and a script see of inferdctl, on the mock backend: output, exit codes, the terminal."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import termios
import threading
import time
from pathlib import Path

import pytest

from daemon_process import CTL, HELD, until
from wire import DEADLINE

TAPE = ["alpha ", "beta ", "gamma"]
TEXT = "alpha beta gamma\n"
NOBODY = 65534


def ctl(place, *args, stdin: str = "", **options):
    """Runs inferdctl to its end with what `place` calls its home and runtime folder."""
    return subprocess.run([CTL, *map(str, args)], input=stdin, env=place.env, capture_output=True, text=True, timeout=DEADLINE, **options)


def begun(place, *args, **options) -> subprocess.Popen:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([CTL, *map(str, args)], env=place.env, text=True, **streams | options)


def sockets(place) -> tuple:
    """Named, so that no daemon elsewhere on this machine is found."""
    return "--uds", place.v1, "--admin-addr", place.admin


def ended(process: subprocess.Popen) -> int:
    try:
        return process.wait(DEADLINE)
    finally:
        process.kill()


def sleeps_or_ended(process: subprocess.Popen) -> None:
    """Returns when it waits for something outside, or is no more."""
    until(lambda: Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "SZ", "inferdctl waits or has ended")


class Admin:
    """An admin socket that says these lines to everyone."""

    def __init__(self, place, *lines: dict):
        place.runtime.mkdir(0o700)
        self.lines = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        self.sock, self.conns = socket.socket(socket.AF_UNIX), []
        self.sock.bind(str(place.admin))
        self.sock.listen()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            self.conns.append(conn)
            try:
                conn.sendall(self.lines)
            except OSError:
                pass  # it only looked whether anybody is there

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        for sock in (self.sock, *self.conns):
            sock.close()


def test_run_prints_the_answer(served):
    """The text and one line end on standard output, nothing on standard error."""
    got = ctl(served.place, "run", "hi")
    assert (got.returncode, got.stdout, got.stderr) == (0, TEXT, "")


def test_run_streams_the_answer(start, place):
    """Pieces come as the daemon sends them: the first one is there while the answer goes on without end."""
    start(tape=["piece "] * 10_000, delay_ms=5)
    process = begun(place, "run", "hi")
    assert process.stdout.read(12) == "piece piece "
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert ended(process) == 130


def test_run_takes_the_prompt_from_standard_input(served):
    """Of any length; an empty one is a usage error."""
    got = ctl(served.place, "run", stdin="line one\nline two\n" * 10_000)
    assert (got.returncode, got.stdout) == (0, TEXT)
    got = ctl(served.place, "run", stdin="")
    assert got.returncode == 2 and "prompt" in got.stderr


@pytest.mark.parametrize("args", [("--json", "run", "hi"), ("run", "--json", "hi")], ids=" ".join)
def test_run_json_prints_the_frames(served, args):
    """One JSON object a line, as they came, before or after the command."""
    got = ctl(served.place, *args)
    frames = [json.loads(line) for line in got.stdout.splitlines()]
    assert got.returncode == 0
    assert [f["type"] for f in frames] == ["token"] * 3 + ["done"]
    assert [f["content"] for f in frames] == [*TAPE, "".join(TAPE)]


def test_status_of_a_ready_daemon(served):
    """Exit code 0; for people a line a backend and the status, for scripts the admin frames."""
    got = ctl(served.place, "status")
    assert got.returncode == 0 and got.stdout.splitlines()[-1] == "ready" and "mock" in got.stdout
    got = ctl(served.place, "status", "--json")
    frames = [json.loads(line) for line in got.stdout.splitlines()]
    assert got.returncode == 0 and [f["status"] for f in frames] == ["capabilities", "ready"]


def test_status_of_a_loading_daemon_is_exit_code_1(place):
    """It answers and is not ready."""
    admin = Admin(place, {"id": "admin", "phase": "verify", "status": "loading_model", "total_bytes": 200, "type": "status", "verified_bytes": 50})
    got = ctl(place, "status", *sockets(place))
    admin.close()
    assert got.returncode == 1 and "25 %" in got.stdout, got


@pytest.mark.parametrize("command", ["status", "watch"])
def test_without_a_daemon_status_and_watch_are_exit_code_2(place, command):
    """With a hint on standard error and nothing on standard output."""
    got = ctl(place, command, *sockets(place))
    assert (got.returncode, got.stdout) == (2, "") and "Is inferd-daemon running?" in got.stderr, got


def test_run_without_a_daemon_is_exit_code_3(place):
    """With a hint on standard error."""
    got = ctl(place, "run", "hi", *sockets(place))
    assert (got.returncode, got.stdout) == (3, "") and "Is inferd-daemon running?" in got.stderr, got


def test_run_wait_outlasts_a_daemon_that_has_not_been_started(start, place):
    """`--wait` gave up at once when nobody listened yet: it waited for loading daemons only."""
    process = begun(place, "run", "--wait", "600", "hi")
    sleeps_or_ended(process)
    assert process.poll() is None, process.communicate()
    start(tape=TAPE)
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (0, TEXT), err


def test_run_wait_outlasts_a_daemon_that_ends_before_it_is_ready(start, place):
    """One that answered on admin and went away is followed by another."""
    admin = Admin(place, {"id": "admin", "status": "starting", "type": "status"})
    process = begun(place, "run", "--wait", "600", "hi")
    until(lambda: admin.conns, "inferdctl looks at admin")
    place.admin.unlink()
    admin.close()
    start(tape=TAPE)
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (0, TEXT), err


def test_run_wait_ends_when_the_start_fails(place):
    """Nobody waits ten minutes for a daemon that has said it will not come: exit code 3 and its reason."""
    admin = Admin(place, {"id": "admin", "reason": "the model is damaged", "status": "error", "type": "status"})
    got = ctl(place, "run", "hi", *sockets(place))
    admin.close()
    assert got.returncode == 3 and "the model is damaged" in got.stderr, got


def test_queue_full_is_exit_code_5(start, place):
    """With the code on standard error."""
    daemon = start("--active-permits", "1", "--queue-depth", "0", delay_ms=HELD)
    daemon.submit("running")
    got = ctl(place, "run", "hi")
    assert got.returncode == 5 and "queue_full" in got.stderr, got


def test_backend_unavailable_is_exit_code_6(start, place):
    """With the code on standard error."""
    start(fault="unavailable")
    got = ctl(place, "run", "hi")
    assert got.returncode == 6 and "backend_unavailable" in got.stderr, got


@pytest.mark.parametrize("args", [["--stop", ""], ["--stop", "x" * 257], ["--stop", "x"] * 17], ids=["empty", "257 bytes", "17 stops"])
def test_invalid_request_is_exit_code_4(served, args):
    """The daemon's message names the field."""
    got = ctl(served.place, "run", "hi", *args)
    assert got.returncode == 4 and "invalid_request" in got.stderr and "stop" in got.stderr, got


def test_an_answer_that_breaks_off_is_exit_code_8(start, place):
    """The daemon is gone before the terminal frame: the text so far is printed."""
    daemon = start(tape=["piece ", "never"] + ["more"] * 10_000, delay_ms=20)
    process = begun(place, "run", "hi")
    assert process.stdout.read(6) == "piece "
    daemon.kill()
    assert ended(process) == 8


def test_watch_prints_json_lines_up_to_the_end_of_the_daemon(start, place):
    """Where standard output is no terminal: the snapshot, `draining`, then exit code 2."""
    daemon = start(tape=TAPE)
    process = begun(place, "watch")
    lines = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert [line["status"] for line in lines] == ["capabilities", "ready"]
    daemon.signal()
    out, err = process.communicate(timeout=DEADLINE)
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["draining"]
    assert process.returncode == 2 and "closed" in err


def test_without_a_subcommand_it_prints_its_help(place):
    """Exit code 2: a script that forgot the command notices."""
    got = ctl(place)
    assert got.returncode == 2 and "Subcommands:" in got.stderr and "Exit codes:" in got.stderr, got


@pytest.mark.parametrize("args", [["unknown"], ["run", "--max-tokens=-1", "x"], ["run", "--no-such-option", "x"], ["status", "extra"]], ids=" ".join)
def test_wrong_usage_is_exit_code_2(served, args):
    """For each command alike."""
    assert ctl(served.place, *args).returncode == 2


@pytest.mark.parametrize("typed", ["one\ntwo\n", "one\n\n\ntwo"], ids=["lines", "blank lines, no line end"])
def test_a_conversation_from_a_pipe_gives_an_answer_a_line(served, typed):
    """`-i` without a terminal: no prompts between the answers, end of input ends it with 0."""
    got = ctl(served.place, "run", "-i", stdin=typed)
    assert (got.returncode, got.stdout, got.stderr) == (0, TEXT * 2, "")


def test_a_conversation_keeps_its_history(place):
    """The second request holds the first question and its answer; system message and options stay."""
    place.runtime.mkdir(0o700)
    received = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place.v1))
        listener.listen()

        def serve():
            conn, _ = listener.accept()
            with conn, conn.makefile("rw") as lines:
                for n, line in enumerate(lines):
                    received.append(json.loads(line))
                    lines.write(json.dumps({"type": "token", "id": "", "content": f"answer {n}"}) + "\n")
                    lines.write(json.dumps({"type": "done", "id": "", "content": f"answer {n}", "stop_reason": "end", "backend": "mock", "route": "mock",
                                            "usage": {"prompt_tokens": 1, "completion_tokens": 1}}) + "\n")
                    lines.flush()
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        got = ctl(place, "run", "-i", "--system", "be kind", "--max-tokens", "7", *sockets(place), stdin="one\ntwo\n")
        server.join(DEADLINE)
    assert (got.returncode, got.stdout) == (0, "answer 0\nanswer 1\n"), got
    talk = [("system", "be kind"), ("user", "one"), ("assistant", "answer 0"), ("user", "two")]
    assert [[(m["role"], m["content"]) for m in r["messages"]] for r in received] == [talk[:2], talk]
    assert [r["max_tokens"] for r in received] == [7, 7]


class Terminal:
    """inferdctl on a terminal of its own, and what it has written there."""

    def __init__(self, place, *args):
        self.master, slave = pty.openpty()
        self.text, self.seen = "", 0
        self.process = begun(place, *args, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                             preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def told(self, pattern: str) -> None:
        """Waits for `pattern` in what has come since the last call."""
        end = time.monotonic() + DEADLINE
        while not (found := re.compile(pattern).search(self.text, self.seen)):
            ready, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            assert ready, f"{pattern!r} has not come: {self.text[-500:]!r}"
            try:
                self.text += os.read(self.master, 65_536).decode()
            except OSError:  # how a terminal tells that the last writer has gone
                raise AssertionError(f"ended before {pattern!r}: {self.text[-500:]!r}") from None
        self.seen = found.end()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal():
    opened = []

    def open_(*args):
        opened.append(Terminal(*args))
        return opened[-1]
    yield open_
    for one in opened:
        one.close()


def test_ctrl_c_stops_the_answer_and_not_the_conversation(start, place, terminal):
    """On a terminal: the daemon ends the work, the next line is answered, Ctrl-D ends with 0."""
    daemon = start("--active-permits", "1", tape=["piece "] * 10_000, delay_ms=5)
    conversation = terminal(place, "run", "-i")
    for line in ("first", "second"):
        conversation.told("> ")
        conversation.type(f"{line}\n")
        conversation.told("piece piece ")
        conversation.type("\x03")
        conversation.told(r"\(stopped\)")
    daemon.logged("request_cancelled")
    conversation.told("> ")
    conversation.type("\x04")
    assert ended(conversation.process) == 0


def test_ctrl_c_at_the_prompt_does_not_end_the_conversation(start, place, terminal):
    """It drops what was typed and says how to leave."""
    start(tape=TAPE)
    conversation = terminal(place, "run", "-i")
    conversation.told("> ")
    sleeps_or_ended(conversation.process)
    conversation.type("half a li\x03")
    conversation.told("Ctrl-D ends")
    conversation.told("> ")
    conversation.type("a line\n")
    conversation.told("alpha beta gamma\r\n> ")
    conversation.type("\x04")
    assert ended(conversation.process) == 0


def test_run_without_a_prompt_on_a_terminal_is_a_usage_error(start, place, terminal):
    """It does not wait for a person who does not know."""
    start(tape=TAPE)
    asked = terminal(place, "run")
    asked.told("no prompt")
    assert ended(asked.process) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_default_runtime_folder_of_another_user_is_not_used(start, place):
    """Who owns the folder reads the prompts: in /tmp anybody could make one first. A socket that is named is used all the same."""
    start(tape=TAPE)
    assert ctl(place, "run", "hi").returncode == 0
    os.chown(place.runtime, NOBODY, NOBODY)
    for command, code in (("run", 3), ("status", 2), ("watch", 2)):
        got = ctl(place, command, *(["hi"] if command == "run" else []))
        assert (got.returncode, got.stdout) == (code, "") and "belongs to another user" in got.stderr, got
    assert ctl(place, "run", "hi", *sockets(place)).stdout == TEXT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_link_in_the_place_of_the_runtime_folder_is_not_used(start, place):
    """It is its maker's choice where that leads."""
    start(tape=TAPE)
    other = place.base / "other"
    other.mkdir(0o700)
    (other / "inferd").symlink_to(place.runtime)
    os.lchown(other / "inferd", NOBODY, NOBODY)
    place.env["XDG_RUNTIME_DIR"] = str(other)
    got = ctl(place, "run", "hi")
    assert (got.returncode, got.stdout) == (3, ""), got
