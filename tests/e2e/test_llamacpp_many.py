"""Many requests at once on one engine (README 9 and 10, promise 3): who runs, who waits, who is refused."""
import re

import pytest

from llama_fixtures import (  # noqa: F401
    COUNT, endless, greedy, is_silent, llama, records, running, start_llama, tell,
    text_of)
from wire import assert_error, request


def named(n, **fields):
    """A request whose answer has its number in it."""
    return request(f"I am client {n}.", id=str(n), grammar=f'root ::= "client {n} says " [a-z]{{8}}', **fields)


def test_eight_clients_at_once_each_get_their_own_answer(llama):
    """Promise 3: no text, grammar or count of one reaches another."""
    conns = [llama.connect().send(named(n)) for n in range(8)]
    texts = []
    for n, conn in enumerate(conns):
        frames = conn.answer()
        texts.append(text_of(frames))
        assert re.fullmatch(rf"client {n} says [a-z]{{8}}", texts[-1])
        assert {f["id"] for f in frames} == {str(n)}
        conn.close()
    assert len(set(texts)) == 8


def test_eight_requests_run_side_by_side_by_default(llama):
    """README 10: eight endless ones all stream; the activity log's states say that none waited."""
    conns = [running(llama, endless(str(n))) for n in range(8)]
    for _ in range(3):
        for conn in conns:
            assert conn.frame()["type"] == "token"
    for conn in conns:
        conn.close()


def test_a_ninth_waits_and_is_answered_when_a_sequence_is_free(llama):
    """README 9."""
    conns = [running(llama, endless(f"eight {n}")) for n in range(8)]
    ninth = llama.connect().send(greedy(COUNT, id="ninth", max_tokens=4))
    for _ in range(3):
        for conn in conns:
            assert conn.frame()["type"] == "token"
    assert is_silent(ninth)
    conns[3].close()
    assert text_of(ninth.answer())
    for conn in conns:
        conn.close()


def test_beyond_the_waiting_places_queue_full_is_the_answer(start_llama):
    """README 9, promise 3: at once, the connection stays, those who run and wait are served."""
    daemon = start_llama("--active-permits", "2", "--queue-depth", "2")
    first, second = running(daemon, endless("first")), running(daemon, endless("second", max_tokens=60))
    waiting = [daemon.submit(f"waiting {n}", max_tokens=2) for n in range(2)]
    over = daemon.connect()
    for _ in range(3):
        assert_error(over.send(greedy(COUNT, id="over")).answer()[0], "queue_full", "over", "queue full")
    assert first.frame()["type"] == "token"
    assert second.answer()[-1]["stop_reason"] == "length"
    assert [conn.answer()[-1]["type"] for conn in waiting] == ["done", "done"]
    assert text_of(over.send(greedy(COUNT, id="over", max_tokens=2)).answer())


def test_waiting_requests_run_in_the_order_of_arrival(start_llama):
    """README 9: one caller, one class, one sequence; a refusal in between takes nobody's turn."""
    daemon = start_llama("--active-permits", "1")
    first = running(daemon, endless("first"))
    conns = [daemon.submit(str(n), max_tokens=2) for n in range(5)]
    assert_error(tell(daemon, request("x", id="bad", grammar="root ::= ("))[0], "invalid_request", "bad")
    first.close()
    for conn in conns:
        assert conn.answer()[-1]["type"] == "done"
    daemon.logged("request_done", req_id="4")
    assert [r["req_id"] for r in records(daemon, "request_done")] == list("01234")


def test_clients_far_beyond_the_sequences_are_all_answered(start_llama):
    """D52 on a real model: eight run, the others wait."""
    daemon = start_llama("--queue-depth", "30")
    conns = [daemon.connect().send(named(n)) for n in range(30)]
    for n, conn in enumerate(conns):
        assert re.fullmatch(rf"client {n} says [a-z]{{8}}", text_of(conn.answer()))


@pytest.mark.parametrize("permits", ["1", "3", "12"])
def test_active_permits_sets_how_many_run(start_llama, permits):
    """README 9 and 10: that many sequences."""
    daemon = start_llama("--active-permits", permits, "--n-ctx", "512")
    conns = [running(daemon, endless(str(n), max_tokens=400)) for n in range(int(permits))]
    over = daemon.connect().send(greedy(COUNT, id="over", max_tokens=2))
    assert all(conn.frame()["type"] == "token" for conn in conns)
    assert is_silent(over)
    conns[0].close()
    assert text_of(over.answer())


def test_admin_answers_while_eight_generate(llama):
    """Promise 9."""
    conns = [running(llama, endless(str(n))) for n in range(8)]
    for _ in range(20):
        llama.admin().close()
    for conn in conns:
        assert conn.frame()["type"] == "token"
        conn.close()
