"""A request that kills engines is found (issue "2 of 5" item 6, doc/decisions/0007): after two deaths it runs alone, after a third, alone,
it is refused; nobody else is. And an engine that stands still counts as dead."""
import os
import re
import signal
from pathlib import Path

from callers import frozen  # noqa: F401
from daemon_process import until
from llama_fixtures import (  # noqa: F401
    COUNT, ENDLESS, STORY, endless, engine_pid, greedy, is_silent, records, running,
    start_llama, tell, text_of, words)
from wire import assert_error, request

CRASHES = [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE]


def suspect(id, name="Somebody", **fields):
    """The same content for the same name, whatever the id."""
    return request(f"{name} asks: {STORY}", id=id, grammar=ENDLESS, max_tokens=100, **fields)


def ready_again(admin):
    """Reads admin from `restarting` until `ready`."""
    states = [admin.frame()["status"]]
    while states[-1] != "ready":
        states.append(admin.frame()["status"])
    assert states[0] == "restarting", states
    admin.close()


def end_engine(daemon, number):
    """Returns when the next one serves."""
    admin = daemon.admin()
    os.kill(engine_pid(daemon), number)
    ready_again(admin)


def present_at_a_death(daemon, *requests, number=signal.SIGSEGV):
    """The engine dies by the signal while it answers these, which get their error."""
    conns = [running(daemon, request) for request in requests]
    end_engine(daemon, number)
    for conn, request in zip(conns, requests):
        assert_error(conn.answer()[-1], "backend_unavailable", request["id"])
        conn.close()


def waits_for_others(daemon, request):
    """Asserts that the request runs only when another one has ended; returns its connection."""
    other = running(daemon, endless("other"))
    conn = daemon.connect().send(request)
    daemon.settle()
    for _ in range(10):
        assert other.frame()["type"] == "token"
    assert is_silent(conn)
    other.close()
    assert conn.frame()["type"] == "token"
    return conn


def test_after_two_deaths_a_request_runs_alone(start_llama):
    """Item 6: the client sent it again each time; who comes meanwhile waits until it has ended."""
    daemon = start_llama()
    for n in range(2):
        present_at_a_death(daemon, suspect(f"death {n}"))
    alone = running(daemon, suspect("alone"))
    other = daemon.connect().send(greedy(COUNT, id="other", max_tokens=2))
    daemon.settle()
    for _ in range(10):
        assert alone.frame()["type"] == "token"
    assert is_silent(other)
    assert alone.answer()[-1]["stop_reason"] == "length"
    assert text_of(other.answer())
    daemon.logged("request_done", req_id="other")
    assert [r["req_id"] for r in records(daemon, "request_done")] == ["alone", "other"]


def test_to_run_alone_it_waits_until_the_others_have_ended(start_llama):
    """Item 6: nobody is thrown out for it."""
    daemon = start_llama()
    for n in range(2):
        present_at_a_death(daemon, suspect(f"death {n}"))
    waits_for_others(daemon, suspect("alone"))


def test_a_suspect_that_hangs_up_lets_the_others_run(start_llama):
    """README 11: waiting for its turn, and alone."""
    daemon = start_llama()
    for n in range(2):
        present_at_a_death(daemon, suspect(f"death {n}"))
    first = running(daemon, endless("first"))
    waits = daemon.connect().send(suspect("waits"))
    daemon.settle()
    waits.close()
    assert daemon.logged("request_cancelled", req_id="waits")
    second = running(daemon, endless("second"))
    first.close(), second.close()
    alone = running(daemon, suspect("alone"))
    other = daemon.connect().send(greedy(COUNT, id="other", max_tokens=2))
    alone.close()
    assert text_of(other.answer())


def test_after_a_third_death_it_is_refused_and_told_for_how_long(start_llama):
    """Item 6: ten minutes, on a connection that stays; all others are served."""
    daemon = start_llama()
    for n in range(3):
        present_at_a_death(daemon, suspect(f"death {n}"))
    pid = engine_pid(daemon)
    conn = daemon.connect()
    for n in range(2):
        [error] = conn.send(suspect(f"refused {n}")).answer()
        assert_error(error, "invalid_request", f"refused {n}")
        assert re.search(r"\b(ten|10) minutes|\b600 s", error["message"]), error
    assert text_of(conn.send(greedy(COUNT, max_tokens=2)).answer())
    assert running(daemon, suspect("of another", "Somebody else")).frame()["type"] == "token"
    assert engine_pid(daemon) == pid


def test_a_refusal_is_no_failure_of_the_backend(start_llama):
    """README 6: the breaker stays closed."""
    daemon = start_llama()
    for n in range(3):
        present_at_a_death(daemon, suspect(f"death {n}"))
    for n in range(6):
        assert_error(tell(daemon, suspect("refused"))[0], "invalid_request", "refused")
    assert text_of(tell(daemon, greedy(COUNT, max_tokens=2)))


def test_each_signal_of_a_crash_counts(start_llama):
    """Item 6: SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE."""
    daemon = start_llama()
    for number in CRASHES:
        for n in range(2):
            present_at_a_death(daemon, suspect(f"{number.name} {n}", number.name), number=number)
        waits_for_others(daemon, suspect(f"{number.name} alone", number.name)).close()


def test_deaths_by_sigkill_do_not_count(start_llama):
    """Item 6: that is a person, or the system when memory is short; three of them, and it runs beside others."""
    daemon = start_llama()
    for n in range(3):
        present_at_a_death(daemon, suspect(f"death {n}"), number=signal.SIGKILL)
    conns = [running(daemon, endless("other")), running(daemon, suspect("beside"))]
    for _ in range(10):
        assert [conn.frame()["type"] for conn in conns] == ["token"] * 2


def test_one_death_is_none_too_many(start_llama):
    """Item 6: two."""
    daemon = start_llama()
    present_at_a_death(daemon, suspect("death"))
    conns = [running(daemon, endless("other")), running(daemon, suspect("beside"))]
    for _ in range(10):
        assert [conn.frame()["type"] for conn in conns] == ["token"] * 2


def test_who_merely_waited_at_the_deaths_is_no_suspect(start_llama):
    """Item 6: it is answered by the next engine each time, and runs beside others afterwards."""
    daemon = start_llama("--active-permits", "2")
    for n in range(2):
        conns = [running(daemon, suspect(f"{n} {place}", f"{n} {place}")) for place in "ab"]
        waiting = daemon.connect().send(suspect(f"waits {n}", "Waiting"))
        for _ in range(3):  # prepared in turn: when these have been refused, it has been prepared
            assert_error(tell(daemon, request("x", grammar="root ::= ("))[0], "invalid_request")
        end_engine(daemon, signal.SIGSEGV)
        for conn in conns:
            assert_error(conn.answer()[-1], "backend_unavailable", (f"{n} a", f"{n} b"))
        assert waiting.answer()[-1]["stop_reason"] == "length"
    other = running(daemon, endless("other"))
    beside = running(daemon, suspect("beside", "Waiting"))
    for _ in range(10):
        assert [conn.frame()["type"] for conn in (other, beside)] == ["token"] * 2


def test_two_suspects_run_one_after_the_other(start_llama):
    """Item 6: both were there at both deaths; neither is to blame, and both are answered."""
    daemon = start_llama()
    for n in range(2):
        present_at_a_death(daemon, suspect(f"a {n}", "A"), suspect(f"b {n}", "B"))
    first = running(daemon, suspect("first", "A"))
    second = daemon.connect().send(suspect("second", "B"))
    daemon.settle()
    for _ in range(10):
        assert first.frame()["type"] == "token"
    assert is_silent(second)
    assert [conn.answer()[-1]["stop_reason"] for conn in (first, second)] == ["length", "length"]


# ---- an engine that stands still


WATCHED = ("--step-timeout-secs", "1")


def test_an_engine_that_stands_still_is_replaced_and_who_waits_is_answered(start_llama):
    """Promise 9, item 6: each stream gets one error and keeps its connection; `restarting`, then `ready`."""
    daemon = start_llama("--active-permits", "2", *WATCHED)
    conns = [running(daemon, endless(str(n))) for n in range(2)]
    waiting = [daemon.submit(f"waits {n}", max_tokens=2) for n in range(2)]
    admin, old = daemon.admin(), engine_pid(daemon)
    os.kill(old, signal.SIGSTOP)
    for n, conn in enumerate(conns):
        *tokens, error = conn.answer()
        assert {frame["type"] for frame in tokens} <= {"token"}
        assert_error(error, "backend_unavailable", str(n))
    ready_again(admin)
    assert [conn.answer()[-1]["type"] for conn in waiting] == ["done"] * 2
    assert engine_pid(daemon) != old
    until(lambda: not os.path.exists(f"/proc/{old}"), "the old engine is gone")
    for conn in conns:
        frames = conn.send(greedy(COUNT, id="next", max_tokens=4)).answer()
        assert {frame["id"] for frame in frames} == {"next"} and text_of(frames)


def test_an_idle_engine_that_was_stopped_is_replaced_when_somebody_asks(start_llama):
    """Item 6: it was in no step, so there is none that does not end; the request is answered by the next engine."""
    daemon = start_llama(*WATCHED)
    old = engine_pid(daemon)
    os.kill(old, signal.SIGSTOP)
    assert text_of(tell(daemon, greedy(COUNT, max_tokens=4)))
    assert engine_pid(daemon) != old


def test_the_engine_sees_nothing_of_the_operators_environment_and_input(start_llama):
    """Architecture §4: what it does not have, nobody can take from it."""
    pid = engine_pid(start_llama(env={"OPENAI_API_KEY": "sk-plugh-xyzzy"}))
    assert b"plugh" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"


def test_standing_still_counts_like_a_crash(start_llama):
    """Item 6: two, then alone, then refused."""
    daemon = start_llama(*WATCHED)
    for n in range(2):
        present_at_a_death(daemon, suspect(f"stop {n}"), number=signal.SIGSTOP)
    alone = waits_for_others(daemon, suspect("alone"))
    end_engine(daemon, signal.SIGSTOP)
    assert_error(alone.answer()[-1], "backend_unavailable", "alone")
    assert_error(tell(daemon, suspect("refused"))[0], "invalid_request", "refused")


def test_a_long_prompt_is_not_standing_still(start_llama):
    """Item 6: the limit is for one step; a prompt of some seconds is many steps."""
    daemon = start_llama(*WATCHED)
    pid = engine_pid(daemon)
    frames = tell(daemon, greedy(words(800), max_tokens=1, progress=True))
    assert len(frames) > 2 and frames[-1]["usage"]["prompt_tokens"] > 800, frames[-1]
    assert engine_pid(daemon) == pid


def test_an_engine_that_goes_on_in_time_is_left_alone(start_llama):
    """Item 6: the default is ten seconds; it stands still for a moment."""
    daemon = start_llama()
    conn, pid = running(daemon, endless("goes on")), engine_pid(daemon)
    with frozen(pid):
        daemon.settle()
    for _ in range(20):
        assert conn.frame()["type"] == "token"
    assert engine_pid(daemon) == pid


def test_a_step_timeout_of_0_is_a_usage_error(start):
    """Issue "2 of 5": at least 1; by name, exit 2, also from the environment."""
    start.fails("--step-timeout-secs", "0", code=2, says="step-timeout-secs")
    start.fails(env={"INFERD_STEP_TIMEOUT_SECS": "0"}, code=2, says="step-timeout-secs")
