"""The engine dies (architecture §4, issue 3): its streams end with an error, the daemon lives, a new engine serves who waits."""
import os
import signal

import pytest

from daemon_process import until
from llama_fixtures import (  # noqa: F401
    COUNT, ENGINE, endless, engine_options, engine_pid, engines, greedy, records,
    running, start_llama, tell, text_of)
from wire import assert_error, request


def kill_engine(daemon):
    pid = engine_pid(daemon)
    os.kill(pid, signal.SIGKILL)
    return pid


def ready_again(admin):
    """Reads admin until `ready`; returns the states before it."""
    states = []
    while not states or states[-1] != "ready":
        states.append(admin.frame()["status"])
    return states[:-1]


def rest(conn):
    """All frames that still come, up to the terminal one."""
    return conn.answer()


def test_a_running_stream_ends_with_one_backend_unavailable(start_llama):
    """Issue 3: an error frame, not just EOF; the connection stays."""
    daemon = start_llama()
    conn = running(daemon, endless("hit"))
    admin = daemon.admin()
    kill_engine(daemon)
    frames = rest(conn)
    assert {f["type"] for f in frames[:-1]} <= {"token"}
    assert_error(frames[-1], "backend_unavailable", "hit")
    ready_again(admin)
    assert text_of(conn.send(greedy(COUNT, id="next", max_tokens=2)).answer())


def test_all_running_streams_are_told(start_llama):
    """Issue 3: each gets its own one."""
    daemon = start_llama()
    conns = [running(daemon, endless(str(n))) for n in range(5)]
    kill_engine(daemon)
    for n, conn in enumerate(conns):
        assert_error(rest(conn)[-1], "backend_unavailable", str(n))


def test_a_new_engine_serves_at_once_however_many_streams_died_with_the_old_one(start_llama):
    """Issue 3: `ready` means ready; one death is one event, not a failure for each of its streams that opens the breaker."""
    daemon = start_llama()
    conns = [running(daemon, endless(str(n))) for n in range(5)]
    admin = daemon.admin()
    kill_engine(daemon)
    ready_again(admin)
    assert text_of(tell(daemon, greedy(COUNT, max_tokens=2)))
    for n, conn in enumerate(conns):
        assert_error(rest(conn)[-1], "backend_unavailable", str(n))


def test_admin_publishes_restarting_and_then_ready(start_llama):
    """Issue 3, spec 04 §2: the phases of loading come as `restarting`; who joins later reads capabilities and `ready`."""
    daemon = start_llama()
    admin = daemon.admin()
    old = kill_engine(daemon)
    states = ready_again(admin)
    assert states[0] == "restarting" and set(states) <= {"restarting", "capabilities"}, states
    assert engine_pid(daemon) != old
    late = daemon.track(daemon.dial_admin())
    assert [late.frame()["status"] for _ in range(2)] == ["capabilities", "ready"]


def test_the_daemon_and_its_connections_live_on(start_llama):
    """Issue 3: same process, same sockets, an idle connection is served."""
    daemon = start_llama()
    idle, admin = daemon.connect(), daemon.admin()
    kill_engine(daemon)
    ready_again(admin)
    assert daemon.process.poll() is None
    assert text_of(idle.send(greedy(COUNT, max_tokens=4)).answer())


def test_requests_that_wait_survive_and_are_answered_in_their_order(start_llama):
    """Architecture §4: the queue is in the daemon; only who was running is hurt."""
    daemon = start_llama("--active-permits", "1")
    first = running(daemon, endless("first"))
    conns = [daemon.submit(str(n), max_tokens=2) for n in range(3)]
    kill_engine(daemon)
    assert_error(rest(first)[-1], "backend_unavailable", "first")
    assert [conn.answer()[-1]["type"] for conn in conns] == ["done"] * 3
    daemon.logged("request_done", req_id="2")
    assert [r["req_id"] for r in records(daemon, "request_done")] == list("012")


def test_a_request_that_waits_is_still_refused_for_its_own_fault(start_llama):
    """README 6: the new engine checks it like the old one."""
    daemon = start_llama("--active-permits", "1")
    first = running(daemon, endless("first"))
    admin = daemon.admin()
    kill_engine(daemon)
    assert_error(rest(first)[-1], "backend_unavailable", "first")
    ready_again(admin)
    assert_error(tell(daemon, request("x", id="bad", grammar="root ::= ("))[0], "invalid_request", "bad")


def test_a_client_that_hangs_up_while_the_engine_restarts_is_forgotten(start_llama):
    """README 11: during load too."""
    daemon = start_llama("--active-permits", "1")
    running_conn = running(daemon, endless("first"))
    gone, stays = daemon.submit("gone", max_tokens=2), daemon.submit("stays", max_tokens=2)
    kill_engine(daemon)
    gone.close()
    assert stays.answer()[-1]["type"] == "done"
    assert_error(rest(running_conn)[-1], "backend_unavailable", "first")


def test_an_engine_that_dies_while_nobody_asks_is_replaced(start_llama):
    """Issue 3: noticed without a request."""
    daemon = start_llama()
    admin = daemon.admin()
    kill_engine(daemon)
    assert "restarting" in ready_again(admin)
    assert text_of(tell(daemon, greedy(COUNT, max_tokens=2)))


def test_a_death_is_in_the_log_with_its_signal(start_llama):
    """Issue 3: an operator can see what happened."""
    daemon = start_llama()
    kill_engine(daemon)
    daemon.told(r"engine.*(signal 9|SIGKILL|killed)")


def test_sigterm_while_the_engine_restarts_ends_with_0(start_llama):
    """README 12."""
    daemon = start_llama()
    admin = daemon.admin()
    kill_engine(daemon)
    assert admin.frame()["status"] == "restarting"
    daemon.signal()
    assert daemon.wait() == 0


def test_the_engine_ends_with_the_daemon(start_llama):
    """Architecture §4: no orphan holds the model, however the daemon ended."""
    daemon = start_llama()
    pid = engine_pid(daemon)
    running(daemon, endless("r"))
    daemon.kill()
    until(lambda: not os.path.exists(f"/proc/{pid}") or "Z" in open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0], "the engine is gone")


def test_an_engine_gets_no_descriptor_of_a_client(start_llama):
    """Architecture §4: a process of its own; sockets of clients and listeners stay in the daemon."""
    daemon = start_llama()
    running(daemon, endless("r"))
    folder = f"/proc/{engine_pid(daemon)}/fd"
    sockets = [name for name in os.listdir(folder) if os.readlink(f"{folder}/{name}").startswith("socket:")]
    assert len(sockets) == 1, sockets


def best_variant(daemon):
    return daemon.told(r"tries CPU variant (\w+)")[1]


def test_a_cpu_variant_that_dies_is_skipped_with_a_warning(start_llama):
    """Architecture §4: proven by a fresh engine before it is trusted; the next one answers."""
    best = best_variant(daemon := start_llama())
    daemon.stop()
    daemon = start_llama(*engine_options("--test-die-in-variant", best))
    assert text_of(tell(daemon, greedy(COUNT, max_tokens=4)))
    daemon.told(rf"warn.*{best}.*skipped|warn.*skip.*{best}")
    assert engine_pid(daemon)


def test_a_variant_that_was_skipped_is_not_tried_again_after_a_death(start_llama):
    """Architecture §4: the daemon remembers."""
    best = best_variant(daemon := start_llama())
    daemon.stop()
    daemon = start_llama(*engine_options("--test-die-in-variant", best))
    admin = daemon.admin()
    kill_engine(daemon)
    ready_again(admin)
    assert text_of(tell(daemon, greedy(COUNT, max_tokens=2)))
    assert daemon.output.count(f"tries CPU variant {best}") == 1, daemon.output


def test_without_a_variant_that_lives_the_start_fails_by_name(start_llama, place):
    """Architecture §4: no variant left is a start error, not an endless restart."""
    program = place.base / "inferd-engine"
    program.write_text(f'#!/bin/sh\nfor v in x64 haswell skylakex icelake zen4; do set -- --skip-variant $v "$@"; done\nexec {ENGINE} "$@"\n')
    program.chmod(0o755)
    daemon = start_llama("--engine", str(program), ready=False)
    assert daemon.wait() == 1
    assert "variant" in daemon.output


@pytest.mark.parametrize("program", ["/nowhere/inferd-engine", "/bin/true", "/bin/false", "/etc/hostname", "/"])
def test_an_engine_program_that_is_none_is_a_start_error(start_llama, program):
    """Architecture §5: it ends, and says which program."""
    daemon = start_llama("--engine", program, ready=False)
    assert daemon.wait() == 1
    assert program in daemon.output or "engine" in daemon.output


def test_an_engine_that_dies_at_each_start_is_given_up(start_llama, place):
    """Issue 3: after a first good start; requests get an error instead of waiting for ever, and the daemon can be ended."""
    program = place.base / "inferd-engine"
    program.write_text(f'#!/bin/sh\n[ -e {place.base}/broken ] && exit 7\nexec {ENGINE} "$@"\n')
    program.chmod(0o755)
    daemon = start_llama("--engine", str(program))
    (place.base / "broken").touch()
    os.kill(engine_pid(daemon), signal.SIGKILL)
    until(lambda: not engines(daemon.pid), "the engine is gone")
    assert_error(tell(daemon, greedy(COUNT, id="late"))[-1], "backend_unavailable", "late")
    assert daemon.process.poll() is None
