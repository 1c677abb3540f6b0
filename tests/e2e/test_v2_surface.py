"""The v2 surface in the daemon (spec 02 §4, spec 06): admission and breaker that it shares with v1, drain, log events, capabilities. What it has
in common with embed (sockets, TCP, access lists): test_surfaces.py; backends that cannot: test_llamacpp_surfaces.py. Tests of the published
checklist (spec 10) carry its number."""
import os
import signal

import pytest

from callers import accepted, arrived, frozen
from daemon_process import HELD
from surfaces import ENDLESS, V2, message, text_deltas, use, v2_request
from wire import Conn, assert_error, compact

CAPABILITIES = {"accelerator": "cpu", "audio": False, "backend": "mock", "embed": True, "gpu_layers": 0, "id": "admin", "name": "mock",
                "status": "capabilities", "thinking": True, "tools": False, "type": "status", "v2": True, "vision": False}
SHORT = {"tape": ["a", "b", "c"], "delay_ms": 20}
IMAGE = {"kind": "image", "id": "img", "width": 1, "height": 1, "bytes": "AAEC"}
TOOL = {"name": "look_up", "description": "", "input_schema": {}}


def finished(daemon):
    return [record["req_id"] for record in daemon.place.records() if record.get("msg") in ("request_done", "v2_request_done")]


def queued(id, position):
    return compact({"type": "status", "id": id, "status": "queued", "position": position})


def begin_drain(daemon):
    admin = daemon.admin()
    daemon.signal()
    assert admin.frame()["status"] == "draining"


# ---------------------------------------------------------------- capabilities


@pytest.mark.parametrize("options", [(), ("--v2",), ("--v2", "--embed")], ids=" ".join)
def test_d33_the_capabilities_of_the_mock_are_told_whatever_is_served(start, options):
    """D33, E8, spec 04 §3 and §4: what the backend can do, before `ready`."""
    admin = (daemon := start(*options)).track(Conn(daemon.admin_path))
    assert [admin.frame(), admin.frame()] == [CAPABILITIES, {"id": "admin", "status": "ready", "type": "status"}]


# ---------------------------------------------------------------- admission: one for all surfaces


@pytest.mark.parametrize("args, capacity", [((), 11), (("--queue-depth", "0"), 1), (("--active-permits", "2", "--queue-depth", "1"), 3)])
def test_d51_a_request_beyond_running_and_waiting_places_is_refused_at_once(start, args, capacity):
    """D51, spec 02 §4: the id comes back."""
    daemon = start("--v2", *args, delay_ms=HELD)
    for n in range(capacity):
        V2.submit(daemon, f"r{n}")
    [error] = V2.dial(daemon).ask(id="over")
    assert_error(error, "queue_full", "over", "queue full")


def test_places_are_shared_with_v1(start):
    """Spec 06 §2: one gate for the daemon, whichever surface its places are taken on."""
    daemon = start("--v2", "--queue-depth", "1", delay_ms=HELD)
    running, waiting = daemon.submit("v1"), V2.submit(daemon, "v2")
    assert_error(V2.dial(daemon).ask()[0], "queue_full")
    assert_error(daemon.connect().ask()[0], "queue_full")
    running.close()
    daemon.logged("request_cancelled", req_id="v1")
    daemon.submit("v1 again")
    assert_error(V2.dial(daemon).ask()[0], "queue_full")
    waiting.close()
    daemon.logged("v2_request_cancelled", req_id="v2")
    V2.submit(daemon, "v2 again")
    assert_error(daemon.connect().ask()[0], "queue_full")


def test_d50_everybody_who_has_a_place_is_answered(start):
    """D50: capacity 2, three slow requests: one `queue_full`, the rest done."""
    daemon = start("--v2", "--queue-depth", "1", tape=["a", "b"], delay_ms=300)
    running, waiting = V2.submit(daemon, "running"), V2.submit(daemon, "waiting")
    refused = V2.dial(daemon)
    assert_error(refused.ask()[0], "queue_full")
    for conn in (running, waiting):
        *frames, done = conn.answer()
        assert (text_deltas(frames), done["stop_reason"]) == (["a", "b"], "end_turn")
    assert refused.text() == "ab"


def test_d52_fifty_clients_at_once_are_all_answered(start):
    """D52."""
    daemon = start("--v2", "--queue-depth", "50", tape=["a", "b", "c"])
    conns = [V2.dial(daemon) for _ in range(50)]
    for n, conn in enumerate(conns):
        conn.send(v2_request(id=str(n)))
    for n, conn in enumerate(conns):
        frames = conn.answer()
        assert [frame["id"] for frame in frames] == [str(n)] * 4 and frames[-1]["type"] == "done"


def test_refused_requests_take_no_place_and_never_get_queue_full(start):
    """Spec 02 §4: validation comes before admission."""
    daemon = start("--v2", "--queue-depth", "0", delay_ms=HELD)
    V2.submit(daemon, "running")
    conn = V2.dial(daemon)
    for fields in ({"messages": []}, {"attachments": [{"kind": "x"}]}, {"tools": [TOOL, TOOL]}, {"messages": [message(use("image", "a"))]},
                   {"stop": [""]}, {"tool_choice": "required"}):
        assert_error(conn.ask(**fields)[0], "invalid_request")
    assert_error(conn.ask()[0], "queue_full")


def test_requests_of_both_surfaces_run_in_the_order_of_arrival(start):
    """README 9: one caller, one class."""
    daemon = start("--v2", **SHORT)
    conns = [daemon.submit("r0"), V2.submit(daemon, "r1"), daemon.submit("r2"), V2.submit(daemon, "r3"), V2.submit(daemon, "r4")]
    assert [conn.answer()[-1]["type"] for conn in conns] == ["done"] * 5
    daemon.logged("v2_request_done", req_id="r4")
    assert finished(daemon) == [f"r{n}" for n in range(5)]


def test_batch_requests_fill_at_most_half_of_the_waiting_places(start):
    """README 9, over both surfaces."""
    daemon = start("--v2", "--queue-depth", "2", delay_ms=HELD)
    V2.submit(daemon, "running")
    daemon.submit("v1 batch", priority="batch")
    assert_error(V2.dial(daemon).ask(priority="batch")[0], "queue_full")
    V2.submit(daemon, "interactive", priority="interactive")
    assert_error(V2.dial(daemon).ask()[0], "queue_full")


def test_who_asked_for_progress_is_told_its_place_among_both_surfaces(start):
    """README 3: 1 = next; published clients know no `status` frame and get none."""
    daemon = start("--v2", delay_ms=HELD)
    running = V2.submit(daemon, "running", progress=True)
    first, quiet, third = V2.submit(daemon, "w1", progress=True), V2.submit(daemon, "w2"), daemon.submit("w3", progress=True)
    assert (first.line(), third.line()) == (queued("w1", 1), queued("w3", 3))
    running.close()
    daemon.logged("v2_request_cancelled", req_id="running")
    assert third.line() == queued("w3", 2)
    first.close()
    daemon.logged("v2_request_cancelled", req_id="w1")
    assert third.line() == queued("w3", 1)
    assert arrived(quiet) == []


@pytest.mark.parametrize("fields", [{}, {"stream": False}], ids=str)
def test_status_frames_come_before_the_first_block(start, fields):
    """README 1 and 3: with and without a stream, the frames of the answer are as without progress."""
    daemon = start("--v2", **SHORT)
    conns = [accepted(V2.dial(daemon)) for _ in range(2)]
    with frozen(daemon.pid):
        for conn in conns:
            conn.send(v2_request(progress=True, **fields))
    first, second = (conn.answer() for conn in conns)
    assert [frame["type"] for frame in first] == ["frame"] * (1 if fields else 3) + ["done"]
    assert second == [{"type": "status", "id": "r", "status": "queued", "position": 1}, *first]


# ---------------------------------------------------------------- the breaker


def test_failures_on_either_surface_count_for_the_backend(start):
    """Spec 02 §1, spec 06 §3: router and breaker are shared."""
    daemon = start("--v2", fault="unavailable")
    conn = daemon.connect()
    for ask in (conn.ask, V2.dial(daemon).ask, conn.ask):
        assert_error(ask()[-1], "backend_unavailable", says="mock")
    for ask in (conn.ask, V2.dial(daemon).ask):
        assert_error(ask()[-1], "backend_unavailable", says="no backend available")


# ---------------------------------------------------------------- drain


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_d54_running_and_waiting_requests_are_finished(start, number):
    """D54, README 12: the answers come whole, then EOF, then exit 0."""
    daemon = start("--v2", tape=[f"{n} " for n in range(20)], delay_ms=50)
    running, waiting, quiet = V2.submit(daemon, "running"), V2.submit(daemon, "waiting"), V2.submit(daemon, "quiet", stream=False)
    admin = daemon.admin()
    daemon.signal(number)
    assert admin.frame()["status"] == "draining"
    for conn in (running, waiting, quiet):
        *frames, done = conn.answer()
        assert ("".join(text_deltas(frames)), done["stop_reason"]) == ("".join(f"{n} " for n in range(20)), "end_turn")
        assert conn.ends()
    assert daemon.wait() == 0


def test_at_the_time_limit_what_runs_is_cancelled_and_what_waits_is_refused(start):
    """README 12: `done` with `cancelled` and the usage so far; `backend_unavailable`; exit 0."""
    daemon = start("--v2", "--drain-timeout-secs", "1", **ENDLESS)
    running, waiting = V2.submit(daemon, "running"), V2.submit(daemon, "waiting")
    begin_drain(daemon)
    *frames, done = running.answer()
    assert (done["type"], done["stop_reason"], done["backend"]) == ("done", "cancelled", "mock")
    assert done["usage"]["output_tokens"] == len(text_deltas(frames)) > 0
    assert_error(waiting.frame(), "backend_unavailable", "waiting")
    assert running.ends() and waiting.ends()
    assert daemon.wait() == 0


def test_at_the_time_limit_a_stream_false_answer_is_cancelled_with_its_text(start):
    """README 1 and 12."""
    daemon = start("--v2", "--drain-timeout-secs", "1", **ENDLESS)
    running = V2.submit(daemon, "running", stream=False)
    daemon.signal()
    frame, done = running.answer()
    assert done["stop_reason"] == "cancelled"
    assert text_deltas([frame]) == ["word " * done["usage"]["output_tokens"]]
    assert daemon.wait() == 0


def test_at_the_time_limit_a_request_without_a_block_ends_too(start):
    """README 12: started, nothing produced yet."""
    daemon = start("--v2", "--drain-timeout-secs", "0", delay_ms=HELD)
    running = V2.submit(daemon, "running")
    daemon.signal()
    assert [(frame["type"], frame["stop_reason"]) for frame in running.answer()] == [("done", "cancelled")]
    assert daemon.wait() == 0


def test_a_second_signal_ends_at_once_and_leaves_no_socket(start, place):
    """README 12."""
    daemon = start("--v2", "--embed", "--drain-timeout-secs", "100000", delay_ms=HELD)
    V2.submit(daemon, "running"), V2.submit(daemon, "waiting")
    begin_drain(daemon)
    daemon.signal()
    assert daemon.wait() == 0
    assert [path.name for path in place.runtime.iterdir()] == ["inferd.lock"]


# ---------------------------------------------------------------- log events


def test_d38_a_request_is_recorded_when_it_is_done(start):
    """D38, spec 06 §7.2: the published fields, plus peer, route and times."""
    daemon = start("--v2", tape=["a", "b"])
    V2.dial(daemon).ask("x", use("image", "img"), id="r1", attachments=[IMAGE, IMAGE | {"id": "other"}], tools=[TOOL])
    record = daemon.logged("v2_request_done", req_id="r1")
    expected = {"level": "info", "component": "activity", "backend": "mock", "wire_version": "v2", "stop_reason": "EndTurn", "input_tokens": 0,
                "output_tokens": 2, "cached_input_tokens": 0, "n_attachments": 2, "n_tools": 1, "route": "mock",
                "peer": f"unix:{os.geteuid()}:{os.getpid()}", "peer_uid": os.geteuid(), "peer_pid": os.getpid()}
    assert expected.items() <= record.items(), record
    assert 0 <= record["queue_ms"] <= record["first_token_ms"] <= record["duration_ms"]
    assert not [r for r in daemon.place.records() if r.get("msg") == "request_done"]


def test_a_request_that_the_drain_cancelled_is_recorded_so(start):
    """Spec 06 §7.2: stop reasons in their log form."""
    daemon = start("--v2", "--drain-timeout-secs", "0", delay_ms=HELD)
    V2.submit(daemon, "running")
    daemon.signal()
    assert daemon.wait() == 0
    record = daemon.logged("v2_request_done", req_id="running")
    assert record["stop_reason"] == "Cancelled" and "first_token_ms" not in record


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("pieces", [0, 1])
def test_a_stream_that_breaks_is_recorded_as_a_warning(start, pieces, stream):
    """Spec 06 §7.2."""
    daemon = start("--v2", tape=["a", "b"], fault=f"drop-after:{pieces}")
    V2.dial(daemon).ask(id="broken", stream=stream)
    record = daemon.logged("v2_request_error_mid_stream", req_id="broken")
    expected = {"level": "warn", "backend": "mock", "wire_version": "v2", "peer": f"unix:{os.geteuid()}:{os.getpid()}"}
    assert expected.items() <= record.items(), record


def test_what_is_said_is_in_no_log(start, place):
    """Spec 06 §7.3: neither texts nor attachments, tools or answers, with the filter wide open; nor in what is told of wrong requests."""
    marker = "xyzzy4711"
    daemon = start("--v2", tape=[f"answer {marker}"], env={"INFERD_LOG": "trace"})
    conn = V2.dial(daemon)
    call = {"type": "tool_use", "tool_call_id": marker, "name": marker, "input": {marker: marker}}
    conn.ask(marker, call, use("image", marker), attachments=[IMAGE | {"id": marker, "bytes": marker}],
             tools=[{"name": marker, "description": marker, "input_schema": {marker: marker}}], stop=[marker], future=marker)
    for fields in ({"tools": [TOOL | {"name": marker}] * 2}, {"messages": [message(use("image", marker))]}, {"priority": marker},
                   {"tool_choice": {"type": "tool", "name": marker}}):
        assert_error(conn.ask(**fields)[0], "invalid_request")
    conn.send({"id": "r", "messages": [{"role": marker, "content": []}]}).answer()
    V2.dial(daemon).ask(id="last")
    daemon.logged("v2_request_done", req_id="last")
    daemon.stop()
    assert marker not in daemon.output + place.log_file.read_text()
