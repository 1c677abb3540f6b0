"""Connections, drain, options and logs on the mock backend: bugs that reviews found, each with what went wrong."""
import fcntl
import os
import re
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon_process import until
from wire import assert_error, compact, request

MIB = 1 << 20
TAPE = [f"{n} " for n in range(20)]
LONG_ID = "x" * 60_000  # with TAPE: an answer of 1.2 MB, far more than a Unix socket's buffers hold


def memory_mib(pid: int, what: str) -> int:
    """VmRSS (now) or VmHWM (the most so far) of a process in MiB."""
    return int(re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) >> 10


def assert_memory_below(daemon, mib: int) -> None:
    """Sanitizers keep what was freed: there is nothing to see with them."""
    if re.search(r"lib[atm]san\.", daemon.hidden("maps").read_text()):
        return
    assert memory_mib(daemon.pid, "VmHWM") < mib


@contextmanager
def popen_with(**more):
    """Processes that are started meanwhile get these arguments of Popen."""
    real = subprocess.Popen
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", lambda *args, **options: real(*args, **options | more))
        yield


@pytest.mark.parametrize("tcp", ["", "127.0.0.1"], ids=["unix", "tcp"])
def test_a_half_closed_client_that_reads_slowly_gets_every_byte(start, tcp):
    """What was unsent when the client's end of input had been read was thrown away at the next sign of room, if it did not fit into
    that room: with the right sizes, of which one is among these."""
    daemon = start("--active-permits", "16", "--queue-depth", "100", tape=TAPE, tcp=tcp)
    for size in range(4_000, 7_000, 250):
        ids = [f"{n:0{size}}" for n in range(20)]  # up to 140 KB of requests, which buffers hold, and 2.9 MB of answers, which they do not
        conn = daemon.connect()
        if tcp:
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        conn.send(*[request(id=id) for id in ids]).half_close()
        daemon.settle()
        received = bytearray()
        while data := conn.sock.recv(10_000):
            received += data
        lines = bytes(received).split(b"\n")
        assert lines.pop() == b"", "the last line is not whole"
        assert len(lines) == len(ids) * (len(TAPE) + 1)
        for n, id in enumerate(ids):
            *tokens, done = lines[n * (len(TAPE) + 1):(n + 1) * (len(TAPE) + 1)]
            assert tokens == [compact({"type": "token", "id": id, "content": piece}) for piece in TAPE]
            assert done.startswith(compact({"type": "done", "id": id, "content": "".join(TAPE)})[:-1])


def test_a_half_closed_client_whose_answer_comes_late_gets_all_of_it(start):
    """The same with the end of input there before the first piece of the answer."""
    daemon = start("--active-permits", "16", tape=TAPE * 5, delay_ms=1)
    conns = [daemon.connect().send(request(id="x" * size)).half_close() for size in range(50_000, 60_000, 1_000)]
    daemon.settle()
    for conn in conns:
        assert [frame["content"] for frame in conn.answer()] == [*TAPE * 5, "".join(TAPE * 5)]
        assert conn.ends()


def test_a_client_that_never_reads_is_closed_before_its_answer_fills_the_memory(start):
    """All of an answer was kept for a client that did not read: here 400 MB of it, without a bound."""
    daemon = start("--active-permits", "8", "--write-timeout-secs", "100000", tape=["w "] * 400, delay_ms=1)
    lazy, other = daemon.connect().send(request(id="x" * MIB)), daemon.connect()
    served = 0
    while not lazy.hung_up():
        assert other.text() == "w " * 400
        served += 1
        assert served < 100, "100 answers later it is still connected"
    assert_memory_below(daemon, 250)
    assert other.text() == "w " * 400


def test_a_client_that_always_leaves_something_unread_costs_no_memory(start):
    """The output buffer kept every byte ever sent until it was empty for once."""
    daemon = start(tape=TAPE)
    line, left = compact(request(id=LONG_ID)) + b"\n", b""
    conn = daemon.connect()
    conn.sock.setblocking(False)
    received, waits = 0, 0
    while received < 300 * MIB:
        try:  # more requests than are answered, so that there is always an answer that has not gone out
            while True:
                left = left or line
                left = left[conn.sock.send(left):]
        except BlockingIOError:
            pass
        try:
            received += len(conn.sock.recv(30_000))
            waits = 0
        except BlockingIOError:
            waits += 1
            assert waits < 10_000, "no answer comes any more"
            daemon.settle()
    assert_memory_below(daemon, 100)


@pytest.mark.parametrize("stream", [True, False])
def test_the_drain_ends_with_the_last_answer_not_with_its_time(start, stream):
    """After the refusal of a second request on the same connection nobody looked again whether anything was left: the drain took
    all its time."""
    daemon = start("--drain-timeout-secs", "100000", tape=TAPE, delay_ms=10)
    conn = daemon.submit("first", stream=stream).send(request(id="second"))
    admin = daemon.admin()
    daemon.signal()
    assert admin.frame()["status"] == "draining"
    done = conn.answer()[-1]
    assert (done["type"], done["id"], done["content"]) == ("done", "first", "".join(TAPE))
    assert_error(conn.frame(), "backend_unavailable", "second", "draining")
    assert conn.ends()
    assert daemon.wait() == 0


def test_the_drain_ends_when_the_last_byte_has_been_read(start):
    """An answer that was finished and unread held up the end for all of the drain's time, also after it had been read."""
    daemon = start("--drain-timeout-secs", "100000", tape=TAPE)
    conn = daemon.submit(LONG_ID)
    admin = daemon.admin()
    daemon.signal()
    assert admin.frame()["status"] == "draining"
    assert conn.answer()[-1]["content"] == "".join(TAPE)
    assert conn.ends()
    assert daemon.wait() == 0


@pytest.mark.parametrize("value", ["1000000001", "10000000000", "9223372036854775807"])
@pytest.mark.parametrize("option", ["drain-timeout-secs", "ready-timeout-secs", "write-timeout-secs"])
def test_seconds_beyond_a_thousand_million_are_a_usage_error(start, option, value):
    """They overflowed the clock: a drain of 10,000,000,000 s ended at once."""
    start.fails(f"--{option}", value, code=2, says=[f"--{option}", value])


def test_a_thousand_million_seconds_are_allowed(start):
    """The largest value that is no usage error works: the drain waits for the answer."""
    most = "1000000000"
    daemon = start("--drain-timeout-secs", most, "--ready-timeout-secs", most, "--write-timeout-secs", most, tape=TAPE, delay_ms=10)
    conn = daemon.submit("r")
    daemon.signal()
    assert conn.answer()[-1]["content"] == "".join(TAPE)
    assert daemon.wait() == 0


@pytest.fixture
def pipe():
    """A pipe of one page whose reading end is kept and never read."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, 4096)
    yield ends
    for end in ends:
        os.close(end)


def fill(end: int) -> None:
    os.set_blocking(end, False)
    try:
        while os.write(end, b"x" * 4096):
            pass
    except BlockingIOError:
        os.set_blocking(end, True)


def test_a_full_standard_error_stops_neither_the_start_nor_the_log_nor_the_end(start, pipe):
    """The thread that writes both logs waited for ever for room in a pipe that nobody reads; SIGTERM then waited for that thread."""
    fill(pipe[1])
    with popen_with(stderr=pipe[1]):
        daemon = start("--backend", "mock", env={"INFERD_LOG": "trace"})
    assert daemon.connect().text(id="before") == "mock-response"
    daemon.logged("request_done", req_id="before")
    daemon.signal()
    assert daemon.wait() == 0


def test_a_standard_error_that_fills_up_while_the_daemon_runs_stops_neither_the_log_nor_the_end(start, pipe):
    """The same, with the daemon's own lines filling the pipe: each unread answer that is given up is a warning."""
    with popen_with(stderr=pipe[1]):
        daemon = start("--active-permits", "8", "--queue-depth", "100", "--write-timeout-secs", "0", tape=TAPE)
    for _ in range(4):
        crowd = [daemon.connect().send(request(id=LONG_ID)) for _ in range(16)]
        for conn in crowd:
            until(conn.hung_up, "a client that reads nothing is closed")
    daemon.connect().text(id="after")
    daemon.logged("request_done", req_id="after")
    warnings = [r for r in daemon.place.records() if r["level"] == "warn"]
    assert sum(len(str(r)) for r in warnings) > 2 * 4096, "not enough was said to fill the pipe"
    daemon.signal()
    assert daemon.wait() == 0


def test_a_large_frame_that_is_parsed_counts_against_its_sender(start):
    """Such a frame counted for nobody while it was parsed, so the next client that sent half a line was refused in its place."""
    values = b'{"id":"big","messages":[{"role":"user","content":"hi"}],"x":[' + b",".join([b"1"] * 900_000) + b"]"
    big = values + b" " * (60 * MIB - len(values) - 2) + b"}\n"
    daemon = start("--max-buffered-bytes", str(len(big) + 8_000), "--active-permits", "8", delay_ms=1)
    line = compact(request(id="small", x="y" * 16_000))
    for _ in range(3):
        large, small = daemon.connect(), [daemon.connect() for _ in range(10)]
        large.send(big)
        daemon.settle()
        for conn in small:  # one of them falls into the time of the parsing
            conn.send(line[:12_000])
            daemon.settle()
            conn.send(line[12_000:] + b"\n")
            assert conn.answer()[-1]["type"] == "done"
        last = large.answer()[-1]
        if last["type"] == "error":
            assert_error(last, "frame_too_large", "")
            assert large.ends()
