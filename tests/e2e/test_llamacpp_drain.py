"""Shutdown while a model answers (README 12): what runs and waits is finished, at the limit it is ended with a frame."""
import signal

import pytest

from llama_fixtures import (  # noqa: F401
    COUNT, endless, engine_pid, engines, greedy, running, start_llama, text_of,
    words)
from wire import assert_error


def begin_drain(daemon, number=signal.SIGTERM):
    admin = daemon.admin()
    daemon.signal(number)
    assert admin.frame()["status"] == "draining"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_and_waiting_requests_are_finished(start_llama, number):
    """README 12: whole answers, then EOF, exit 0, no engine left."""
    daemon = start_llama("--active-permits", "1")
    first = running(daemon, endless("first", max_tokens=40))
    waiting = daemon.submit("waiting", grammar='root ::= "at last"')
    begin_drain(daemon, number)
    assert first.answer()[-1]["usage"]["completion_tokens"] == 40 and first.ends()
    assert text_of(waiting.answer()) == "at last" and waiting.ends()
    assert daemon.wait() == 0
    assert not engines(daemon.pid)


def test_at_the_limit_what_runs_is_cancelled_and_what_waits_is_refused(start_llama):
    """README 12: `done` with `cancelled`, the text so far and its counts; `backend_unavailable`."""
    daemon = start_llama("--active-permits", "2", "--drain-timeout-secs", "1")
    conns = [daemon.connect().send(endless(str(n), max_tokens=8000)) for n in range(2)]
    first = [[conn.frame()] for conn in conns]
    waiting = daemon.submit("waiting")
    daemon.signal()
    for frames, conn in zip(first, conns):
        frames += conn.answer()
        assert text_of(frames).isalpha() and frames[-1]["stop_reason"] == "cancelled"
        assert frames[-1]["usage"]["completion_tokens"] > 0 and frames[-1]["usage"]["prompt_tokens"] > 10
        assert conn.ends()
    assert_error(waiting.answer()[-1], "backend_unavailable", "waiting")
    assert daemon.wait() == 0


def test_at_the_limit_a_request_in_its_prefill_ends_too(start_llama):
    """README 12: started, nothing produced yet."""
    daemon = start_llama("--drain-timeout-secs", "1")
    conn = daemon.submit("long", messages=[{"role": "user", "content": words(5000)}])
    daemon.signal()
    last = conn.answer()[-1]
    assert (last["type"], last["content"], last["stop_reason"]) == ("done", "", "cancelled")
    assert daemon.wait() == 0


def test_a_request_that_comes_late_is_told_draining(start_llama):
    """README 12."""
    daemon = start_llama()
    first, late = running(daemon, endless("first", max_tokens=60)), daemon.connect()
    daemon.settle()
    begin_drain(daemon)
    assert_error(late.send(greedy(COUNT, id="late")).answer()[-1], "backend_unavailable", "late", "draining")
    assert first.answer()[-1]["usage"]["completion_tokens"] == 60
    assert daemon.wait() == 0


def test_a_second_signal_ends_at_once(start_llama, place):
    """README 12: exit 0, no socket and no engine left."""
    daemon = start_llama("--drain-timeout-secs", "100000")
    pid = engine_pid(daemon)
    running(daemon, endless("endless", max_tokens=8000))
    begin_drain(daemon)
    daemon.signal()
    assert daemon.wait() == 0
    assert [p.name for p in place.runtime.iterdir()] == ["inferd.lock"]
    assert pid not in engines(daemon.pid)


def test_the_drain_ends_when_the_last_client_hangs_up(start_llama):
    """README 11 and 12."""
    daemon = start_llama("--drain-timeout-secs", "100000")
    conn = running(daemon, endless("endless", max_tokens=8000))
    begin_drain(daemon)
    conn.close()
    assert daemon.wait() == 0
