"""Shutdown by signal (README 12): what runs and waits is served, what comes late is told, then everything is gone."""
import signal

import pytest

from daemon_process import HELD
from wire import Conn, assert_error, request

ENDLESS = {"tape": ["word "] * 10_000, "delay_ms": 10}
SECONDS = {"tape": [f"{n} " for n in range(20)], "delay_ms": 50}


def begin_drain(daemon, number=signal.SIGTERM):
    """Sends the signal and returns when `draining` was published."""
    admin = daemon.admin()
    daemon.signal(number)
    assert admin.frame()["status"] == "draining"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_daemon_ends_with_0_and_unlinks_its_sockets_but_not_its_lock(start, place, number):
    """Spec 05 §8, 06 §5, README 12."""
    daemon = start()
    daemon.signal(number)
    assert daemon.wait() == 0
    assert [p.name for p in place.runtime.iterdir()] == ["inferd.lock"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_and_waiting_requests_are_finished(start, number):
    """D54, README 12: the answers come whole, then EOF, then exit 0."""
    daemon = start(**SECONDS)
    running, waiting = daemon.submit("running"), daemon.submit("waiting")
    begin_drain(daemon, number)
    for conn, id in ((running, "running"), (waiting, "waiting")):
        done = conn.answer()[-1]
        assert (done["id"], done["stop_reason"], done["content"]) == (id, "end", "".join(SECONDS["tape"]))
        assert conn.ends()
    assert daemon.wait() == 0


@pytest.mark.parametrize("tcp", ["", "127.0.0.1"], ids=["unix", "tcp"])
def test_listeners_are_closed_while_the_drain_goes_on(start, tcp):
    """README 12: nobody new gets in."""
    daemon = start(tcp=tcp, **ENDLESS)
    running = daemon.submit("running")
    begin_drain(daemon)
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        Conn(daemon.v1)
    assert running.frame()["type"] == "token"


def test_a_request_that_comes_late_on_an_open_connection_is_told_draining(start):
    """README 12: `backend_unavailable`, although a waiting place is free."""
    daemon = start(**ENDLESS)
    running, late = daemon.submit("running"), daemon.connect()
    assert_error(late.ask(messages=[])[0], "invalid_request")
    begin_drain(daemon)
    assert_error(late.ask(id="late")[0], "backend_unavailable", "late", "draining")
    assert running.frame()["type"] == "token"


def test_a_request_behind_a_running_one_is_late_too(start):
    """README 12 with spec 01 §5.1: a pipelined request is read when its predecessor has ended."""
    daemon = start(tape=["a"] * 20, delay_ms=20)
    conn = daemon.submit("first").send(request(id="second"))
    begin_drain(daemon)
    assert conn.answer()[-1]["content"] == "a" * 20
    last = conn.line()
    assert last is None or b'"backend_unavailable"' in last
    assert daemon.wait() == 0


def test_at_the_time_limit_what_runs_is_cancelled_and_what_waits_is_refused(start):
    """README 12: `done` with `cancelled` and the text so far; `backend_unavailable`; exit 0."""
    daemon = start("--drain-timeout-secs", "1", **ENDLESS)
    running, waiting = daemon.submit("running"), daemon.submit("waiting")
    begin_drain(daemon)
    *tokens, done = running.answer()
    assert (done["type"], done["stop_reason"], done["backend"]) == ("done", "cancelled", "mock")
    assert done["content"] == "".join(t["content"] for t in tokens) != ""
    assert done["usage"]["completion_tokens"] == len(tokens)
    assert_error(waiting.frame(), "backend_unavailable", "waiting")
    assert running.ends() and waiting.ends()
    assert daemon.wait() == 0


def test_at_the_time_limit_a_stream_false_answer_is_cancelled_with_its_text(start):
    """README 1 and 12."""
    daemon = start("--drain-timeout-secs", "1", **ENDLESS)
    running = daemon.submit("running", stream=False)
    daemon.signal()
    [done] = running.answer()
    assert done["stop_reason"] == "cancelled" and done["content"].startswith("word word ")
    assert daemon.wait() == 0


def test_at_the_time_limit_a_request_without_a_token_ends_too(start):
    """README 12: started, nothing produced yet."""
    daemon = start("--drain-timeout-secs", "0", delay_ms=HELD)
    running = daemon.submit("running")
    daemon.signal()
    [done] = running.answer()
    assert (done["stop_reason"], done["content"]) == ("cancelled", "")
    assert daemon.wait() == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once_with_0_and_leaves_no_socket(start, place, second):
    """README 12: however long the drain would take."""
    daemon = start("--drain-timeout-secs", "100000", delay_ms=HELD)
    daemon.submit("running"), daemon.submit("waiting")
    begin_drain(daemon)
    daemon.signal(second)
    assert daemon.wait() == 0
    assert [p.name for p in place.runtime.iterdir()] == ["inferd.lock"]


def test_a_second_signal_while_the_drain_ends_anyway_does_not_change_the_exit_code(start):
    """README 12: exit 0, in whichever step of the end it arrives; many starts meet many steps."""
    for _ in range(60):
        daemon = start(delay_ms=HELD)
        running = daemon.submit("running")
        begin_drain(daemon)
        running.close()
        daemon.signal()
        assert daemon.wait() == 0


def test_idle_and_half_spoken_connections_do_not_hold_up_the_end(start):
    """README 12: only requests are waited for."""
    daemon = start("--drain-timeout-secs", "100000", "--api-key", "k", tcp="127.0.0.1")
    silent, half_auth, open_ = daemon.connect(), daemon.connect().send(b'{"type'), daemon.connect()
    open_.send({"type": "auth", "key": "k"}).ask()
    half = daemon.connect().send({"type": "auth", "key": "k"}, request(id="whole"), b'{"messages":[')
    assert half.answer()[-1]["type"] == "done"
    daemon.signal()
    assert daemon.wait() == 0
    assert all(conn.ends() for conn in (silent, half_auth, open_, half))


def test_clients_that_hang_up_during_the_drain_let_it_end(start):
    """README 11 and 12: nobody left to serve."""
    daemon = start("--drain-timeout-secs", "100000", delay_ms=HELD)
    conns = [daemon.submit("running"), daemon.submit("waiting")]
    begin_drain(daemon)
    for conn in conns:
        conn.close()
    assert daemon.wait() == 0


def test_fifty_requests_in_flight_are_all_ended_with_a_frame(start):
    """D54, promise 3: none of them just sees EOF."""
    daemon = start("--queue-depth", "60", "--drain-timeout-secs", "1", **ENDLESS)
    conns = [daemon.submit(f"r{n}") for n in range(50)]
    begin_drain(daemon)
    assert conns[0].answer()[-1]["stop_reason"] == "cancelled"
    for n, conn in enumerate(conns[1:], 1):
        assert_error(conn.frame(), "backend_unavailable", f"r{n}")
    assert daemon.wait() == 0


def test_a_reader_that_reads_nothing_does_not_outlast_the_drain(start):
    """README 12 and 14: its unread answer is not waited for beyond the limit."""
    daemon = start("--drain-timeout-secs", "1", tape=["a"] * 100)
    reader = daemon.submit("x" * 60_000)
    assert daemon.connect().text() == "a" * 100  # served in turn: the first answer exists
    daemon.signal()
    assert daemon.wait() == 0
    assert reader.frame()["type"] == "token"


def test_the_next_daemon_starts_in_the_same_place(start):
    """README 18, 19: nothing of the first stands in the way."""
    for _ in range(3):
        daemon = start()
        assert daemon.connect().text() == "mock-response"
        daemon.stop()
