"""`progress` on v1 (README 3, promise 3): who waits is told its place in the queue, 1 = next to run; who did not ask is told nothing."""
import json
import random

import pytest

from callers import accepted, arrived, caller, frozen  # noqa: F401
from daemon_process import HELD
from llama_fixtures import is_silent
from wire import assert_decode_error, assert_error, compact, request

SHORT = {"tape": ["a", "b", "c"], "delay_ms": 20}
HI = '"messages":[{"role":"user","content":"hi"}]'


def queued(id, position):
    """The line of such a frame, byte by byte."""
    return compact({"type": "status", "id": id, "status": "queued", "position": position})


def waiters(daemon, count, **fields):
    """A request that runs for ever, and `count` that wait and have read that they do."""
    running = daemon.submit("running")
    conns = [daemon.submit(f"w{n}", progress=True, **fields) for n in range(count)]
    for n, conn in enumerate(conns):
        assert conn.line() == queued(f"w{n}", n + 1)
    return running, conns


def hang_up(daemon, conn, id):
    """Returns when the daemon has noticed and told the others."""
    conn.close()
    daemon.logged("request_cancelled", req_id=id)
    daemon.settle()


def test_a_waiting_request_is_told_its_position_and_each_change_of_it(start):
    """README 3: keys in their order; nothing more comes while nothing changes."""
    daemon = start(delay_ms=HELD)
    running, (first, second, third) = waiters(daemon, 3)
    assert all(is_silent(conn) for conn in (first, second, third))
    hang_up(daemon, running, "running")
    assert (second.line(), third.line()) == (queued("w1", 1), queued("w2", 2))
    assert is_silent(first), "it runs: there is no position 0"
    hang_up(daemon, first, "w0")
    assert third.line() == queued("w2", 1)
    assert is_silent(second)


def test_who_waits_behind_one_that_hangs_up_moves_and_who_is_before_it_does_not(start):
    """README 3 and 11."""
    daemon = start(delay_ms=HELD)
    _, (first, second, third, fourth) = waiters(daemon, 4)
    hang_up(daemon, second, "w1")
    assert (third.line(), fourth.line()) == (queued("w2", 2), queued("w3", 3))
    assert is_silent(first)


def test_a_newcomer_behind_changes_nobodys_position(start):
    """README 3: a frame when the position changes, not when the queue does."""
    daemon = start(delay_ms=HELD)
    _, conns = waiters(daemon, 2)
    daemon.submit("newcomer")
    assert all(is_silent(conn) for conn in conns)


def test_a_batch_request_is_told_that_interactive_ones_overtake_it(start):
    """README 9: positions are those of the order in which they will run."""
    daemon = start(delay_ms=HELD)
    daemon.submit("running")
    batch = daemon.submit("batch", progress=True, priority="batch")
    assert batch.line() == queued("batch", 1)
    first, second = (daemon.submit(f"i{n}", progress=True) for n in range(2))
    assert (first.line(), second.line()) == (queued("i0", 1), queued("i1", 2))
    assert (batch.line(), batch.line()) == (queued("batch", 2), queued("batch", 3))
    hang_up(daemon, first, "i0")
    assert (second.line(), batch.line()) == (queued("i1", 1), queued("batch", 2))


def test_the_final_frames_are_as_without_progress(start):
    """README 3: only `status` frames are added, all of them before the first token."""
    daemon = start(**SHORT)
    conns = [accepted(daemon.connect()) for _ in range(4)]
    with frozen(daemon.pid):
        for n, conn in enumerate(conns):
            conn.send(request(progress=n > 0))
    plain, *asked = [conn.answer() for conn in conns]
    assert [frame["type"] for frame in plain] == ["token"] * 3 + ["done"]
    for frames in asked:
        positions = [frame["position"] for frame in frames[:-4]]
        assert positions == sorted(positions, reverse=True) and positions[-1] == 1, frames
        assert {frame["status"] for frame in frames[:-4]} == {"queued"}
        assert frames[-4:] == plain


def test_without_a_stream_status_frames_come_all_the_same(start):
    """README 1 and 3: they tell whoever cannot see tokens that it is alive."""
    daemon = start(**SHORT)
    conns = [accepted(daemon.connect()) for _ in range(2)]
    with frozen(daemon.pid):
        for n, conn in enumerate(conns):
            conn.send(request(id=str(n), progress=True, stream=False))
    first, second = (conn.answer() for conn in conns)
    assert [frame["type"] for frame in first] == ["done"]
    assert [frame["type"] for frame in second] == ["status", "done"]
    assert second[0] == {"type": "status", "id": "1", "status": "queued", "position": 1}
    assert second[1] == first[0] | {"id": "1"}


def test_a_request_that_runs_at_once_is_told_nothing(conn):
    """README 3: it has no position."""
    assert conn.ask(progress=True) == conn.ask()


@pytest.mark.parametrize("fields", [{}, {"progress": False}, {"progress": None}], ids=str)
def test_a_published_client_never_gets_a_status_frame(start, fields):
    """Spec 01 §6: 0.2.1 never sent one; absent and null are false."""
    daemon = start(**SHORT)
    with frozen(daemon.pid):
        conns = [daemon.connect().send(request(id=str(n), **fields)) for n in range(5)]
    for conn in conns:
        assert [frame["type"] for frame in conn.answer()] == ["token"] * 3 + ["done"]


def test_each_request_of_a_connection_has_its_own_choice(start):
    """README 3: the flag belongs to the request."""
    daemon = start(delay_ms=HELD)
    daemon.submit("running")
    quiet = daemon.connect().send(request(id="bad", messages=[], progress=True), request(id="quiet"))
    assert_error(quiet.frame(), "invalid_request", "bad")
    daemon.settle()
    told = daemon.connect().send(request(id="bad", messages=[]), request(id="told", progress=True))
    assert_error(told.frame(), "invalid_request", "bad")
    assert told.line() == queued("told", 2)
    assert is_silent(quiet)


def test_the_id_comes_back_on_status_frames(start):
    """Spec 01 §3: any string."""
    daemon = start(delay_ms=HELD)
    daemon.submit("running")
    for position, id in enumerate(("", "ü☃𝄞", '"\n\\', "x" * 10_000), 1):
        assert daemon.submit(id, progress=True).line() == queued(id, position)


def test_a_refused_request_gets_its_error_and_no_position(start):
    """Spec 01 §4: no place was taken."""
    daemon = start("--queue-depth", "1", delay_ms=HELD)
    daemon.submit("running")
    assert_error(daemon.connect().ask(messages=[], progress=True)[0], "invalid_request")
    waiting = daemon.submit("waiting", progress=True)
    assert waiting.line() == queued("waiting", 1)
    assert_error(daemon.connect().ask(progress=True)[0], "queue_full")
    assert is_silent(waiting)


@pytest.mark.parametrize("value", ['"true"', "1", "0", "[]", "{}", '"queued"', "true,\"progress\":true"])
def test_progress_of_a_wrong_type_gets_a_decode_error_that_names_it(conn, value):
    """Spec 01 §2.3, README 2: never a default; given twice is wrong too."""
    conn.send(f'{{"id":"r",{HI},"progress":{value}}}\n'.encode(), request())
    assert_decode_error(conn, "r", "progress")


@pytest.mark.parametrize("permits", [1, 3])
def test_the_positions_of_all_are_those_from_one_to_the_number_that_wait(start, caller, permits):
    """README 3 and 9: with several callers, classes and hang-ups, in whatever order: no two have the same, none is left out."""
    dice = random.Random(permits)
    daemon = start("--active-permits", str(permits), "--queue-depth", "40", delay_ms=HELD)
    callers = [caller(daemon) for _ in range(2)]
    for n in range(permits):
        daemon.submit(f"running {n}")
    conns, positions = {}, {}  # by id; the last position that it was told
    for n in range(30):
        if len(conns) > 2 and dice.random() < 0.4:
            gone = dice.choice(list(conns))
            del positions[gone]
            hang_up(daemon, conns.pop(gone), gone)
        else:
            conns[f"r{n}"] = dice.choice(callers).submit(f"r{n}", progress=True, priority=dice.choice(["interactive", "batch"]))
            positions[f"r{n}"] = 0
        for id, conn in conns.items():
            for line in arrived(conn):
                before, positions[id] = positions[id], json.loads(line)["position"]
                assert line == queued(id, positions[id]) and positions[id] != before
        assert sorted(positions.values()) == list(range(1, len(conns) + 1)), n
