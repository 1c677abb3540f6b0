"""Half-closes and hang-ups (spec 01 §5.2, README 11): who still reads gets the whole answer, who is gone costs nothing."""
import pytest

from daemon_process import HELD, until
from wire import assert_decode_error, assert_error, request

SLOW = {"tape": [f"{n} " for n in range(20)], "delay_ms": 10}
ENDLESS = {"tape": ["word "] * 10_000, "delay_ms": 10}
WAITING = ("queued", "prepared")


@pytest.fixture(params=["", "127.0.0.1"], ids=["unix", "tcp"])
def tcp(request):
    return request.param


def test_a_half_close_gets_the_whole_answer_and_then_eof(start, tcp):
    """Spec 01 §5.2: the write side closed while the request runs."""
    conn = start(tcp=tcp, **SLOW).connect().send(request())
    first = conn.frame()
    frames = conn.half_close().answer()
    assert [first["content"], *(f["content"] for f in frames[:-1])] == SLOW["tape"]
    assert frames[-1]["content"] == "".join(SLOW["tape"])
    assert conn.ends()


def test_a_half_close_gets_the_answers_to_all_requests_before_it(start, tcp):
    """Spec 01 §5.1 and §5.2: what was written is answered in order."""
    conn = start(tcp=tcp, tape=["a", "b"], delay_ms=10).connect().send(*(request(id=str(n)) for n in range(5))).half_close()
    assert [conn.answer()[-1]["id"] for _ in range(5)] == list("01234")
    assert conn.ends()


def test_a_half_close_while_waiting_in_the_queue_keeps_the_place(start, tcp):
    """README 11: EOF alone is a half-close, in the queue too."""
    daemon = start(tcp=tcp, **SLOW)
    running, waiting = daemon.submit("running"), daemon.submit("waiting")
    waiting.half_close()
    assert running.answer()[-1]["type"] == "done"
    assert waiting.answer()[-1]["content"] == "".join(SLOW["tape"])
    assert waiting.ends()


def test_a_client_that_hangs_up_before_its_first_token_is_noticed_and_frees_its_place(start):
    """README 11: on a Unix socket EPOLLHUP ends the request although nothing is ever written to it."""
    daemon = start("--queue-depth", "0", delay_ms=HELD)
    daemon.submit("gone").close()
    assert daemon.logged("request_cancelled", req_id="gone")["state"] == "running"
    daemon.submit("next")
    [error] = daemon.connect().ask()
    assert_error(error, "queue_full")


def test_a_client_that_hangs_up_in_the_queue_frees_its_place(start):
    """README 11: its place goes to the next, nobody else is touched."""
    daemon = start("--queue-depth", "1", **ENDLESS)
    running = daemon.submit("running")
    daemon.submit("gone").close()
    record = daemon.logged("request_cancelled", req_id="gone")
    assert record["state"] in WAITING
    assert record["backend"] == "mock"
    waiting = daemon.submit("waiting")
    assert_error(daemon.connect().ask()[0], "queue_full")
    assert [running.frame()["type"] for _ in range(20)] == ["token"] * 20
    running.close()
    assert waiting.frame()["id"] == "waiting"


def test_a_client_that_hangs_up_mid_stream_frees_the_backend_for_the_next(start, tcp):
    """D53, E5, spec 01 §5.2: on TCP it is noticed at the next frames."""
    daemon = start(tcp=tcp, **ENDLESS)
    gone = daemon.submit("gone")
    assert gone.frame()["type"] == "token"
    waiting = daemon.submit("waiting")
    gone.close()
    assert waiting.frame()["id"] == "waiting"
    assert daemon.logged("request_cancelled", req_id="gone")["state"] == "running"


def test_a_tcp_client_that_resets_frees_the_backend_for_the_next(start):
    """README 11: an RST is a hang-up at once."""
    daemon = start("--queue-depth", "0", tcp="127.0.0.1", delay_ms=HELD)
    daemon.submit("gone").reset()
    assert daemon.logged("request_cancelled", req_id="gone")["state"] == "running"


def test_a_client_that_half_closes_and_then_hangs_up_is_noticed(start):
    """README 11: the second step after a half-close is a hang-up."""
    daemon = start(delay_ms=HELD)
    daemon.submit("gone").half_close().close()
    assert daemon.logged("request_cancelled", req_id="gone")["state"] == "running"


def test_requests_behind_the_one_that_runs_are_dropped_with_the_connection(start):
    """Spec 01 §5.2: a pipelined request of a client that is gone never runs."""
    daemon = start(tape=["a"], delay_ms=300)
    gone = daemon.submit("first").send(request(id="second"))
    gone.close()
    assert daemon.logged("request_cancelled", req_id="first")
    assert daemon.connect().ask(id="third")[-1]["type"] == "done"
    assert daemon.logged("request_done", req_id="third")
    assert not [r for r in daemon.place.records() if r.get("req_id") == "second" and r.get("msg") == "request_done"]


def test_a_hang_up_counts_neither_as_failure_nor_as_done(start):
    """Spec 01 §5.2: no breaker update, no `request_done`."""
    daemon = start(**ENDLESS)
    for n in range(5):
        gone = daemon.submit(f"gone{n}")
        assert gone.frame()["type"] == "token"
        gone.close()
        daemon.logged("request_cancelled", req_id=f"gone{n}")
    assert daemon.connect().send(request(id="next")).frame()["type"] == "token"
    assert not [r for r in daemon.place.records() if r.get("msg") == "request_done"]


def test_a_client_that_leaves_half_a_request_behind_leaves_nothing(start):
    """Spec 01 §2.1: a hang-up inside a line."""
    daemon = start()
    daemon.settle()
    before = daemon.descriptors()
    for _ in range(20):
        daemon.connect().send(b'{"id":"half","messages":[').close()
    assert_decode_error(daemon.connect().send(b"{").half_close())
    assert daemon.connect().ask()[-1]["type"] == "done"
    until(lambda: daemon.descriptors() <= before + 2, "descriptors of closed connections are given back")
