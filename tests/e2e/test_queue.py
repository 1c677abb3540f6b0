"""Admission (spec 01 §7, README 9): how many run, how many wait, who is refused, in which order the others follow."""
import pytest

from daemon_process import HELD
from wire import assert_error, request

ENDLESS = {"tape": ["word "] * 10_000, "delay_ms": 10}
SHORT = {"tape": ["a", "b", "c"], "delay_ms": 20}


def assert_refused(daemon, id="over", **fields):
    conn = daemon.connect()
    assert_error(conn.ask(id=id, **fields)[0], "queue_full", id, "queue full")
    return conn


def fill(daemon, count, **fields):
    return [daemon.submit(f"r{n}", **fields) for n in range(count)]


def finished(daemon):
    return [r["req_id"] for r in daemon.place.records() if r.get("msg") == "request_done"]


@pytest.mark.parametrize("args, capacity", [((), 11), (("--queue-depth", "0"), 1), (("--queue-depth", "2"), 3),
                                            (("--active-permits", "2", "--queue-depth", "1"), 3),
                                            (("--active-permits", "0", "--queue-depth", "0"), 1)])
def test_a_request_beyond_running_and_waiting_places_is_refused_at_once(start, args, capacity):
    """D21, D51, spec 01 §7: the id comes back; defaults are 1 running and 10 waiting."""
    daemon = start(*args, delay_ms=HELD)
    fill(daemon, capacity)
    assert_refused(daemon)


def test_a_refused_connection_stays_and_is_served_when_a_place_is_free(start):
    """Spec 01 §7: the connection remains usable."""
    daemon = start("--queue-depth", "0", **ENDLESS)
    [running] = fill(daemon, 1)
    conn = assert_refused(daemon)
    running.close()
    daemon.logged("request_cancelled", req_id="r0")
    assert conn.send(request(id="again")).frame() == {"type": "token", "id": "again", "content": "word "}


def test_everybody_who_has_a_place_is_answered(start):
    """D50: capacity 2, three requests: one `queue_full`, the rest done."""
    daemon = start("--queue-depth", "1", tape=["a", "b"], delay_ms=300)
    running, waiting = fill(daemon, 2)
    assert_refused(daemon)
    assert [c.answer()[-1]["content"] for c in (running, waiting)] == ["ab", "ab"]


def test_fifty_clients_at_once_are_all_answered(start):
    """D52: 50 parallel clients get all tokens and done."""
    daemon = start("--queue-depth", "50", tape=["a", "b", "c"])
    conns = [daemon.connect() for _ in range(50)]
    for n, conn in enumerate(conns):
        conn.send(request(id=str(n)))
    for n, conn in enumerate(conns):
        frames = conn.answer()
        assert [f["id"] for f in frames] == [str(n)] * 4
        assert frames[-1]["content"] == "abc"


def test_a_place_is_held_until_the_terminal_frame_and_then_free(start):
    """D21, spec 01 §4: with no waiting place, one request after the other is served."""
    conn = start("--queue-depth", "0", tape=["a"]).connect()
    assert [conn.ask()[-1]["type"] for _ in range(50)] == ["done"] * 50


def test_refused_requests_take_no_place_and_never_get_queue_full(start):
    """Spec 01 §4: validation comes before admission."""
    daemon = start("--queue-depth", "0", delay_ms=HELD)
    fill(daemon, 1)
    conn = daemon.connect()
    for fields in ({"messages": []}, {"image_token_budget": 1}, {"stop": [""]}, {"priority": "x"}):
        assert_error(conn.ask(**fields)[0], "invalid_request")
    assert_refused(daemon)


def test_places_are_shared_by_all_connections_and_counted_by_request(start):
    """Spec 06 §2: connections are not counted; one connection has one request at a time."""
    daemon = start("--queue-depth", "1", delay_ms=HELD)
    idle = [daemon.connect() for _ in range(20)]
    first = daemon.submit("first").send(request(id="behind"), request(id="far behind"))
    daemon.settle()
    daemon.submit("waiting")
    assert_refused(daemon)
    assert len(idle) == 20 and first is not None


def test_waiting_requests_run_in_the_order_of_arrival(start):
    """README 9: one caller, one class."""
    daemon = start(**SHORT)
    conns = fill(daemon, 6)
    assert [c.answer()[-1]["type"] for c in conns] == ["done"] * 6
    daemon.logged("request_done", req_id="r5")
    assert finished(daemon) == [f"r{n}" for n in range(6)]


def test_order_of_arrival_holds_when_one_in_the_middle_hangs_up(start):
    """README 9 and 11."""
    daemon = start(**SHORT)
    conns = fill(daemon, 5)
    conns[2].close()
    daemon.logged("request_done", req_id="r4")
    assert finished(daemon) == ["r0", "r1", "r3", "r4"]


def test_one_runs_at_a_time_on_mock(start):
    """README 9: a waiting request gets no token before the running one has ended."""
    daemon = start(**ENDLESS)
    running, waiting = fill(daemon, 2)
    assert [running.frame()["id"] for _ in range(30)] == ["r0"] * 30
    waiting.half_close()
    waiting.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        waiting.sock.recv(1)


def test_active_permits_lets_that_many_run_side_by_side(start):
    """README 9: `--active-permits` sets it for every entry."""
    daemon = start("--active-permits", "3", **ENDLESS)
    conns = fill(daemon, 3)
    for _ in range(10):
        assert [c.frame()["type"] for c in conns] == ["token"] * 3


def test_batch_requests_fill_at_most_half_of_the_waiting_places(start):
    """README 9: the other half stays for interactive requests."""
    daemon = start("--queue-depth", "4", delay_ms=HELD)
    daemon.submit("running")
    fill(daemon, 2, priority="batch")
    assert_refused(daemon, priority="batch")
    daemon.submit("third", priority="interactive")
    daemon.submit("fourth")
    assert_refused(daemon)


def test_interactive_requests_may_fill_all_waiting_places(start):
    """README 9: only batch is limited; absent priority is interactive."""
    daemon = start("--queue-depth", "4", delay_ms=HELD)
    daemon.submit("running", priority="batch")
    fill(daemon, 4)
    assert_refused(daemon, priority="interactive")
    assert_refused(daemon, priority="batch")
