"""Who runs next (README 9, promise 13, doc/decisions/0007): interactive before batch, which still ends; within a class the caller that was
served least, level by level: user, process, connection; within a caller the order of arrival. On mock nothing that runs is paused.

Two ways to see an order without a clock: a tape that never ends, whose request gives its place away when its client hangs up; and a
daemon that stands still while everybody writes, and then finds all requests at once."""
import select
import time

import pytest

from callers import NOBODY, caller, dial_tcp, frozen, open_to  # noqa: F401
from llama_fixtures import is_silent
from wire import DEADLINE, assert_error, request

STREAM = {"tape": ["a"] * 20_000, "delay_ms": 5}
SHORT = {"tape": ["a", "b", "c"], "delay_ms": 20}
DEEP = ("--active-permits", "1", "--queue-depth", "64")
HEAD_START = 100  # tokens


def stream(conn, tokens):
    """Reads that many; returns the id of the last."""
    for _ in range(tokens):
        frame = conn.frame()
        assert frame["type"] == "token", frame
    return frame["id"]


def readable(conns):
    """Waits for one of them to have something."""
    poll = select.poll()
    for conn in conns:
        poll.register(conn.sock, select.POLLIN)
    found = {descriptor for descriptor, _ in poll.poll(DEADLINE * 1000)}
    assert found, "nobody got anything"
    return [conn for conn in conns if conn.sock.fileno() in found]


def order(running, waiting, tokens=5):
    """Takes the running one's place away, then that of each who gets it after some tokens; returns the ids in the order in which they ran."""
    ids = []
    while waiting:
        running.close()
        [running] = readable(waiting)
        ids.append(stream(running, tokens))
        waiting.remove(running)
    running.close()
    return ids


def all_at_once(daemon, requests):
    """Sends (connection, id, fields) of each while the daemon stands still; returns the ids in the order in which they ended."""
    with frozen(daemon.pid):
        for conn, id, fields in requests:
            conn.send(request(id=id, **fields))
    for conn, id, _ in requests:
        assert conn.answer()[-1] == {"type": "done", "id": id, "content": "abc",
                                     "usage": {"prompt_tokens": 0, "completion_tokens": 3, "cached_prompt_tokens": 0},
                                     "stop_reason": "end", "backend": "mock", "route": "mock"}
        daemon.logged("request_done", req_id=id)
    return [r["req_id"] for r in daemon.place.records() if r.get("msg") == "request_done"]


def assert_balanced(callers):
    """`callers`: who was served, in order, with requests of one size. None is more than one ahead of another that has requests left."""
    served = dict.fromkeys(callers, 0)
    total = {name: callers.count(name) for name in served}
    for name in callers:
        served[name] += 1
        left = [served[other] for other in served if served[other] < total[other]]
        assert not left or served[name] <= min(left) + 1, callers


def of(ids, *names):
    return [id for id in ids if id.startswith(names)]


@pytest.mark.parametrize("priority", ["interactive", "batch"])
def test_a_process_that_comes_late_does_not_wait_for_the_backlog_of_another(start, caller, priority):
    """README 9, promise 13: six of A wait and one runs; B's two come last and are served among the first."""
    daemon = start(*DEEP, **STREAM)
    a, b = caller(daemon), caller(daemon)
    running = a.submit("a0", priority=priority)
    waiting = [a.submit(f"a{n}", priority=priority) for n in range(1, 7)]
    waiting += [b.submit(f"b{n}", priority=priority) for n in range(2)]
    stream(running, HEAD_START)
    ids = order(running, waiting)
    assert ids[0] == "b0" and ids.index("b1") < ids.index("a3"), ids
    assert of(ids, "a") == [f"a{n}" for n in range(1, 7)] and of(ids, "b") == ["b0", "b1"]


def test_processes_of_one_user_are_served_in_balance(start, caller):
    """README 9: requests of one size; whoever has more of them gets no more at a time."""
    daemon = start(*DEEP, **SHORT)
    a, b, c = (caller(daemon) for _ in range(3))
    requests = [(a.dial(), f"a{n}", {}) for n in range(8)] + [(b.dial(), f"b{n}", {}) for n in range(4)] + [(c.dial(), f"c{n}", {}) for n in range(4)]
    ids = all_at_once(daemon, requests)
    assert_balanced([id[0] for id in ids])


def test_users_are_served_in_balance_and_within_them_their_processes(start, caller, place):
    """README 9, level by level: another user's one process gets half, not a third."""
    group = open_to(place)
    daemon = start(*DEEP, "--group", group.gr_name, **SHORT)
    p, q = caller(daemon), caller(daemon)
    other = caller(daemon, user=NOBODY, group=group.gr_gid)
    requests = [(who.dial(), f"{name}{n}", {}) for name, who, count in (("p", p, 4), ("q", q, 4), ("x", other, 8)) for n in range(count)]
    ids = all_at_once(daemon, requests)
    assert_balanced(["own" if id[0] in "pq" else "other" for id in ids])
    assert_balanced([id[0] for id in of(ids, "p", "q")])


def test_many_connections_get_a_process_no_more_than_one(start, caller):
    """README 9: B sends its requests one after the other on one connection, A has six connections."""
    daemon = start(*DEEP, **SHORT)
    a, b = caller(daemon), caller(daemon)
    one = b.dial()
    ids = all_at_once(daemon, [(a.dial(), f"a{n}", {}) for n in range(6)] + [(one, f"b{n}", {}) for n in range(3)])
    assert ids.index("b2") < ids.index("a5"), ids
    assert of(ids, "b") == ["b0", "b1", "b2"]


def test_idling_saves_nothing_up(start, caller):
    """README 9: B was there all the time and asked nothing, while A was served; that gives it no claim to as much in one go."""
    daemon = start(*DEEP, **STREAM)
    a, b = caller(daemon), caller(daemon)
    idle = [b.dial() for _ in range(8)]
    running, next_one = a.submit("a0"), a.submit("a1")
    stream(running, HEAD_START)
    with frozen(daemon.pid):
        for n, conn in enumerate(idle):
            conn.send(request(id=f"b{n}"))
    ids = order(running, [next_one, *idle], tokens=HEAD_START // 10)
    assert ids[-1] != "a1" and sorted(ids) == ["a1", *(f"b{n}" for n in range(8))], ids


def test_on_tcp_addresses_are_served_in_balance(start):
    """README 9: the key, then the address: six connections from one, three from another."""
    daemon = start(*DEEP, "--api-key", "k", tcp="127.0.0.1", **SHORT)
    requests = [(dial_tcp(daemon, "127.0.0.1", "k"), f"a{n}", {}) for n in range(6)] + [(dial_tcp(daemon, "127.0.0.2", "k"), f"b{n}", {}) for n in range(3)]
    ids = all_at_once(daemon, requests)
    assert_balanced([id[0] for id in ids])


def test_requests_of_one_caller_and_class_run_in_the_order_of_arrival(start, caller):
    """README 9: whatever the classes and callers between them."""
    daemon = start(*DEEP, **STREAM)
    a, b = caller(daemon), caller(daemon)
    running = a.submit("first")
    waiting = [(a, b)[n // 2 % 2].submit(f"{'ab'[n // 2 % 2]}{'ib'[n % 2]}{n:02}", priority=("interactive", "batch")[n % 2]) for n in range(12)]
    ids = order(running, waiting)
    assert len(ids) == 12
    for kind in ("ai", "ab", "bi", "bb"):
        assert of(ids, kind) == sorted(of(ids, kind)), ids


def test_interactive_requests_overtake_waiting_batch_ones(start):
    """README 9: absent priority is interactive."""
    daemon = start(*DEEP, **STREAM)
    running = daemon.submit("running")
    waiting = [daemon.submit(f"batch {n}", priority="batch") for n in range(2)]
    waiting += [daemon.submit("i0"), daemon.submit("i1", priority="interactive")]
    assert order(running, waiting) == ["i0", "i1", "batch 0", "batch 1"]


def test_interactive_requests_of_a_caller_that_had_much_overtake_batch_ones_of_one_that_had_nothing(start, caller):
    """README 9: the class comes first, then the share."""
    daemon = start(*DEEP, **STREAM)
    a, b = caller(daemon), caller(daemon)
    running = a.submit("running")
    waiting = [b.submit("batch", priority="batch"), a.submit("interactive")]
    stream(running, HEAD_START)
    assert order(running, waiting) == ["interactive", "batch"]


def test_batch_requests_of_all_callers_together_fill_at_most_half_of_the_waiting_places(start, caller):
    """README 9: one that runs counts no more; a place that became free can be taken again."""
    daemon = start("--queue-depth", "4", **STREAM)
    a, b = caller(daemon), caller(daemon)
    running = a.submit("running", priority="batch")
    waiting = [a.submit("a", priority="batch"), b.submit("b", priority="batch")]
    for who in (a, b):
        assert_error(who.submit("over", priority="batch").frame(), "queue_full", "over")
    running.close()
    [runs] = readable(waiting)
    assert stream(runs, 1) in ("a", "b")
    late = b.submit("late", priority="batch")
    interactive = a.submit("interactive")
    assert is_silent(late) and is_silent(interactive)
    assert_error(a.submit("over", priority="batch").frame(), "queue_full", "over")


def test_a_batch_request_is_answered_while_interactive_ones_keep_coming(start):
    """README 9, promise 13: batch ages as a class, 10 s after it last got something; until then the others go first."""
    daemon = start(tape=["a"], delay_ms=50)
    crowd = [daemon.connect().send(request(id=f"i{n}")) for n in range(3)]
    batch = daemon.submit("batch", priority="batch")
    served, end = 0, time.monotonic() + DEADLINE
    while batch not in (ready := readable([batch, *crowd])):
        assert time.monotonic() < end, f"{served} interactive requests were served and the batch one was not"
        for conn in ready:
            assert conn.answer()[-1]["type"] == "done"
            conn.send(request(id=f"i{served}"))
            served += 1
    assert batch.answer()[-1]["content"] == "a"
    assert served > 10, "they did not go first"
    assert all(conn.answer()[-1]["type"] == "done" for conn in crowd)


def test_what_runs_on_mock_is_never_paused(start, caller):
    """Decision 0007: a backend that cannot pause goes on, whoever waits: an interactive request, another process, another one still."""
    daemon = start("--active-permits", "2", "--queue-depth", "8", **STREAM)
    a, b = caller(daemon), caller(daemon)
    running = [a.submit("batch", priority="batch"), a.submit("interactive")]
    waiting = [b.submit("b"), a.submit("a"), b.submit("c", priority="batch")]
    for _ in range(20):
        assert [conn.frame()["type"] for conn in running] == ["token"] * 2
    assert all(is_silent(conn) for conn in waiting)
