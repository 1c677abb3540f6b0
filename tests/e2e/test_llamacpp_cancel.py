"""A client that hangs up (README 11, promise 4): its work stops wherever it is, is recorded, and nobody else notices."""
import pytest

from llama_fixtures import (  # noqa: F401
    COUNT, ENDLESS, computing, cpu_ticks, endless, engine_pid, greedy, llama,
    records, running, start_llama, tell, text_of, words)
from daemon_process import until
from wire import request


@pytest.fixture
def single(start_llama):
    """A daemon that runs one request at a time. Each place is taken until the engine has let go of its request, so a busy machine needs
    more of them."""
    return start_llama("--active-permits", "1", "--queue-depth", "32")


def cancelled(daemon, id):
    return daemon.logged("request_cancelled", req_id=id)["state"]


def idle(pid):
    """Returns when the process has used no CPU time for a while."""
    seen = [cpu_ticks(pid)]

    def still():
        seen.append(cpu_ticks(pid))
        return len(seen) > 40 and seen[-1] == seen[-40]
    until(still, "the engine is idle")


def test_a_client_that_hangs_up_while_it_waits_takes_no_turn(single):
    """README 11: in the queue, whether prepared already or not."""
    first = running(single, endless("first"))
    gone, stays = single.submit("gone"), single.submit("stays", max_tokens=2)
    gone.close()
    assert cancelled(single, "gone") in ("queued", "prepared")
    assert first.frame()["type"] == "token"
    first.close()
    assert stays.answer()[-1]["type"] == "done"
    assert "gone" not in [r["req_id"] for r in records(single, "request_done")]


def test_a_client_that_hangs_up_during_its_prefill_frees_the_sequence(single):
    """README 11: 4,000 tokens are being computed; the next request does not wait for them."""
    pid = engine_pid(single)
    gone = single.connect().send(greedy(words(4000), id="gone"))
    computing(pid)
    gone.close()
    assert cancelled(single, "gone") == "running"
    assert text_of(tell(single, greedy(COUNT, max_tokens=4)))
    single.logged("request_done", req_id="r")
    assert [r["req_id"] for r in records(single, "request_done")] == ["r"]


def test_the_engine_is_idle_after_a_hang_up(single):
    """README 11: nothing goes on for a client that is gone."""
    pid = engine_pid(single)
    running(single, endless("decode", max_tokens=8000)).close()
    assert cancelled(single, "decode") == "running"
    idle(pid)
    gone = single.connect().send(greedy(words(4000), id="prefill"))
    computing(pid)
    gone.close()
    assert cancelled(single, "prefill") == "running"
    idle(pid)


def test_a_client_that_hangs_up_during_decode_frees_the_sequence(single):
    """E14, README 11: one token was read."""
    running(single, endless("gone")).close()
    assert cancelled(single, "gone") == "running"
    assert text_of(tell(single, greedy(COUNT, max_tokens=4)))


def test_clients_that_hang_up_as_soon_as_the_daemon_has_their_request_leave_nothing(single):
    """README 11: whatever state it is in by then."""
    for n in range(20):
        single.submit(f"gone {n}", grammar=ENDLESS).close()
    for n in range(20):
        assert cancelled(single, f"gone {n}") in ("queued", "prepared", "running")
    assert text_of(tell(single, greedy(COUNT, max_tokens=4)))


def test_clients_that_hang_up_before_their_request_was_read_leave_nothing(single):
    """README 11."""
    for n in range(50):
        single.connect().send(endless(f"gone {n}")).close()
    assert text_of(tell(single, greedy(COUNT, max_tokens=4)))


def test_a_cancel_changes_no_other_stream(llama):
    """Promise 4: others come and go beside it, in prefill and in decode; the greedy text stays the same."""
    expected = text_of(tell(llama, greedy(COUNT, max_tokens=50)))
    stream = running(llama, greedy(COUNT, id="stays", max_tokens=50))
    for n in range(4):
        long = llama.connect().send(greedy(f"{n} " + words(200), id=f"long {n}"))
        running(llama, endless(f"short {n}")).close()
        long.close()
    assert stream.answer()[-1]["content"] == expected
    for n in range(4):
        assert cancelled(llama, f"long {n}") and cancelled(llama, f"short {n}")


def test_a_hang_up_over_tcp_is_noticed_at_the_next_frames(start_llama):
    """README 11: at the reset that answers a write."""
    daemon = start_llama("--active-permits", "1", tcp="127.0.0.1")
    running(daemon, endless("gone")).reset()
    assert cancelled(daemon, "gone") == "running"
    assert text_of(tell(daemon, greedy(COUNT, max_tokens=4)))


def test_hundreds_of_hang_ups_leave_every_sequence_usable(llama):
    """D53: eight run side by side after 100 hang-ups in all states."""
    for n in range(100):
        conn = llama.connect().send(request(f"{n} " + words(n % 7), id=f"hundred {n}", max_tokens=50))
        if n % 3 == 0:
            conn.frame()
        conn.close()
    conns = [running(llama, endless(f"after {n}")) for n in range(8)]
    for conn in conns:
        assert conn.frame()["type"] == "token"
        conn.close()


def test_a_cancelled_request_is_no_failure(single):
    """Spec 06 §3: the breaker stays closed."""
    for n in range(6):
        running(single, endless(f"gone {n}")).close()
    assert text_of(tell(single, greedy(COUNT, max_tokens=4)))


def test_a_request_in_a_row_on_a_closed_connection_is_not_started(single):
    """Spec 01 §5.1: what was written behind it goes with the connection."""
    conn = running(single, endless("first"))
    conn.send(greedy(COUNT, id="behind"))
    conn.close()
    assert cancelled(single, "first") == "running"
    assert text_of(tell(single, greedy(COUNT, max_tokens=4)))
    assert "behind" not in [r.get("req_id") for r in single.place.records()]
