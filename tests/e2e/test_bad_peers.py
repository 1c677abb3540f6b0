"""Peers that misbehave (issue 3's list, README 14): none disturbs another client's stream, none ends the process."""
import errno
import resource
import socket
import threading

import pytest

from daemon_process import until
from wire import FRAME_LIMIT, assert_error, compact, request

TAPE = [f"{n} " for n in range(20)]
GOOD = compact(request())
LONG_ID = "x" * 60_000  # with TAPE: an answer of 1.2 MB, far more than a Unix socket's buffers hold


class Witness(threading.Thread):
    """Another client on the same daemon: streams answer after answer and checks each, until it is released."""

    def __init__(self, daemon):
        super().__init__()
        self.conn, self.daemon_process = daemon.connect(), daemon
        self.streaming, self.released, self.failure = threading.Event(), threading.Event(), None

    def run(self):
        try:
            while not self.released.is_set():
                self.conn.send(request(id="witness"))
                frames = [self.conn.frame()]
                self.streaming.set()
                frames += self.conn.answer()
                assert [f["content"] for f in frames] == [*TAPE, "".join(TAPE)], frames[-1]
        except BaseException as failure:
            self.failure = failure
        finally:
            self.streaming.set()

    def __enter__(self):
        self.start()
        self.streaming.wait()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.join()
        if self.failure:
            raise self.failure
        assert self.daemon_process.connect().text() == "".join(TAPE)


@pytest.fixture(params=["", "127.0.0.1"], ids=["unix", "tcp"])
def daemon(request, start):
    return start("--active-permits", "8", "--queue-depth", "100", tape=TAPE, delay_ms=5, tcp=request.param)


def test_a_thousand_unfinished_lines_disturb_nobody_and_can_still_be_finished(daemon):
    """Issue 3, README 14."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2_000:
        if hard < 2_000:
            pytest.skip(f"this process may open {hard} descriptors only")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    daemon.settle()
    before = daemon.descriptors()
    with Witness(daemon):
        peers = [daemon.connect().send(GOOD[:-1] + b" " * n) for n in range(1_000)]
        for peer in peers[::100]:
            assert peer.send(b"}\n").answer()[-1]["type"] == "done"
        for peer in peers:
            peer.reset()
    until(lambda: daemon.descriptors() <= before + 4, "descriptors of a thousand peers are given back")


def test_unfinished_lines_are_bounded_together_and_the_largest_is_dropped(start):
    """README 14: `--max-buffered-bytes`; the others' lines are not touched."""
    mib = 1 << 20
    daemon = start("--max-buffered-bytes", str(20 * mib), "--active-permits", "8", tape=TAPE, delay_ms=5)
    with Witness(daemon):
        small, large, last = (daemon.connect() for _ in range(3))
        small.send(GOOD[:-1] + b" " * mib)
        large.send(GOOD[:-1] + b" " * (11 * mib))
        last.send(GOOD[:-1] + b" " * (9 * mib))
        assert_error(large.frame(), "frame_too_large", "")
        assert large.ends()
        assert [c.send(b"}\n").answer()[-1]["type"] for c in (small, last)] == ["done", "done"]


def test_a_frame_that_never_ends_is_cut_off(daemon):
    """P13: more than 64 MiB without an LF."""
    with Witness(daemon):
        peer = daemon.connect()
        peer.send_until_closed(b'{"id":"' + b"x" * (FRAME_LIMIT + 100))
        assert_error(peer.frame(), "frame_too_large", "")
        assert peer.ends()


def test_a_reader_that_reads_nothing_does_not_hold_the_backend(start):
    """README 14: answers never push back; with one running place the next client is served."""
    daemon = start(tape=TAPE)
    lazy = daemon.submit(LONG_ID)
    with Witness(daemon):
        assert daemon.connect().text() == "".join(TAPE)
    assert lazy.answer()[-1]["content"] == "".join(TAPE)


def test_a_reader_without_progress_is_closed_in_the_end(start):
    """README 14: `--write-timeout-secs`; an idle connection with nothing to read is not."""
    daemon = start("--write-timeout-secs", "1", "--active-permits", "8", tape=TAPE, delay_ms=5)
    with Witness(daemon):
        idle = daemon.connect()
        lazy = daemon.connect().send(request(id=LONG_ID))
        until(lazy.hung_up, "the server hangs up on a reader that does not read")
        assert idle.text() == "".join(TAPE)


def test_a_reader_that_reads_slowly_gets_everything(start):
    """README 14: progress is enough; every frame comes, in order."""
    daemon = start("--write-timeout-secs", "1", "--active-permits", "8", tape=TAPE, delay_ms=5)
    with Witness(daemon):
        slow, other = daemon.connect().send(request(id=LONG_ID)), daemon.connect()
        for _ in range(12):  # an answer for `other` takes 0.1 s: together longer than the limit
            slow.buffer += slow.sock.recv(50_000)
            assert other.text() == "".join(TAPE)
        assert [f["content"] for f in slow.answer()] == [*TAPE, "".join(TAPE)]


def test_half_a_request_that_waits_forever_holds_nothing(start):
    """Issue 3: with one running place and no waiting place, half requests take none."""
    daemon = start("--queue-depth", "0", tape=TAPE)
    halves = [daemon.connect().send(GOOD[: n * len(GOOD) // 10]) for n in range(1, 10)]
    daemon.settle()
    assert daemon.connect().text() == "".join(TAPE)
    for n, half in enumerate(halves, 1):
        assert half.send(GOOD[n * len(GOOD) // 10 :] + b"\n").answer()[-1]["type"] == "done"


def test_clients_that_vanish_mid_stream_disturb_nobody(daemon):
    """D53, issue 3: closed or reset, in every state of an answer."""
    with Witness(daemon):
        for n in range(30):
            peer = daemon.connect().send(request(id=str(n)), *[request(id="next")] * (n % 3))
            for _ in range(n % 5):
                peer.frame()
            peer.reset() if n % 2 else peer.close()


def test_connections_that_come_and_go_disturb_nobody(daemon):
    """D55: 200 connects."""
    with Witness(daemon):
        for _ in range(200):
            daemon.connect().close()


@pytest.mark.parametrize("line", [
    b"[" * 1_000_000, b"[" * 1_000_000 + b"]" * 1_000_000, b'{"x":' * 200_000,
    b'{"messages":' + b"[" * 500 + b"]" * 500 + b"}", b'{"messages":[{"role":' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}]}",
], ids=["open arrays", "arrays", "open objects", "in messages", "in a role"])
def test_deep_nesting_is_a_decode_error(daemon, line):
    """Issue 3, spec 01 §2.3: more than 127 levels."""
    with Witness(daemon):
        peer = daemon.connect().send(line + b"\n")
        assert_error(peer.frame(), "invalid_request", ("", "r"), "decode: ")
        assert peer.ends()


@pytest.mark.parametrize("value", [b"[" * 1_000_000 + b"]" * 1_000_000, b'{"a":' * 200_000 + b"1" + b"}" * 200_000],
                         ids=["arrays", "objects"])
def test_deep_nesting_in_an_unknown_field_is_ignored_or_refused(daemon, value):
    """Issue 3, spec 01 §2.3: it is not typed content; either way there is one reply and the daemon goes on."""
    with Witness(daemon):
        last = daemon.connect().send(b'{"x":' + value + b"," + GOOD[1:] + b"\n").answer()[-1]
        assert last["type"] == "done" or last["message"].startswith("decode: "), last


def test_broken_text_and_binary_noise_are_decode_errors(daemon):
    """Issue 3, spec 01 §2.1: broken UTF-8, random bytes, other protocols."""
    noise = [bytes((n * 7 + k * 31) % 256 for k in range(4_000)).replace(b"\n", b"") for n in range(20)]
    noise += [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/1.1\r", b"\xff\xfe{\0}\0", b"\0" * 100_000]
    with Witness(daemon):
        for line in noise:
            peer = daemon.connect().send(line + b"\n")
            assert_error(peer.frame(), "invalid_request", "", "decode: ")
            assert peer.ends()


def test_big_numbers_of_everything_are_answered_or_refused(daemon):
    """Issue 3, README 7: 100,000 messages, keys, digits, stops."""
    message = compact({"role": "user", "content": "hi"})
    lines = {
        "done": [b'{"id":"r","messages":[%s]}' % b",".join([message] * 100_000),
                 b'{%s,%s' % (b",".join(b'"k%d":%d' % (n, n) for n in range(100_000)), GOOD[1:]),
                 b'{"x":"%s",%s' % (b"\\u00e4" * 500_000, GOOD[1:])],
        "error": [b'{"id":"r","top_k":%s,%s' % (b"9" * 100_000, GOOD[10:]),
                  compact(request(stop=["x"] * 100_000)), compact(request(stop=["x" * 1_000_000]))],
    }
    with Witness(daemon):
        for kind in lines:
            for line in lines[kind]:
                assert daemon.connect().send(line + b"\n").answer()[-1]["type"] == kind


def test_a_client_that_writes_and_never_reads_is_not_buffered_without_end(start):
    """Spec 01 §5.1: while its answers are stuck, no more of its requests are read."""
    daemon = start("--active-permits", "8", tape=TAPE)
    limit, sent, blocked = 32 << 20, 0, 0
    frame = compact(request(id=LONG_ID)) + b"\n"
    with Witness(daemon):
        peer = daemon.connect()
        peer.sock.setblocking(False)
        while blocked < 50 and sent < limit:
            try:
                sent, blocked = sent + peer.sock.send(frame[sent % len(frame):]), 0
            except BlockingIOError:
                blocked += 1
            daemon.settle()
    assert sent < limit, f"{sent} bytes of requests were taken although no answer was read"


def dial_without_waiting(daemon):
    """Connects as far as the backlog lets it."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    code = sock.connect_ex(str(daemon.v1))
    assert code in (0, errno.EAGAIN), errno.errorcode[code]
    return sock


def test_without_descriptors_running_streams_go_on_and_accepting_resumes(start):
    """Issue 3, README 14: accept pauses and goes on."""
    daemon = start("--active-permits", "8", tape=TAPE, delay_ms=5, nofile=(64, 64))
    for _ in range(2):
        with Witness(daemon):
            crowd = [dial_without_waiting(daemon) for _ in range(200)]
            until(lambda: daemon.descriptors() >= 50, "all descriptors are in use")
            for sock in crowd:
                sock.close()
            assert daemon.connect().text() == "".join(TAPE)


def test_the_soft_limit_of_descriptors_is_raised_at_start(start):
    """README 14: 300 connections at once under a soft limit of 64."""
    daemon = start(tape=TAPE, nofile=(64, 1_000))
    conns = [daemon.connect().send(GOOD[:-1]) for _ in range(300)]
    assert [c.send(b"}\n").answer()[-1]["content"] for c in conns] == ["".join(TAPE)] * 300


def test_without_descriptors_whoever_waits_in_the_backlog_is_served_later(start):
    """README 14: nobody is turned away, and admin comes back too."""
    daemon = start(tape=TAPE, nofile=(64, 64))
    crowd = [dial_without_waiting(daemon) for _ in range(100)]
    until(lambda: daemon.descriptors() >= 50, "all descriptors are in use")
    late = daemon.connect().send(request(id="late"))
    for sock in crowd:
        sock.close()
    assert late.answer()[-1]["content"] == "".join(TAPE)
    daemon.admin().close()
