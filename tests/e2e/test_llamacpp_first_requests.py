"""Many first requests while the model is being loaded (promise 7, issue "2 of 5" item 7): one load, and an answer for each."""
import itertools
import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

from callers import caller  # noqa: F401
from daemon_process import until
from llama_fixtures import endless, engine_pid, engines, running, start_llama, text_of  # noqa: F401
from recital import lines_of, recital
from wire import Conn, assert_error

EIGHT = range(1, 9)  # names


def phases(events):
    """The names of consecutive different events."""
    return [name for name, _ in itertools.groupby(event.get("phase", event["status"]) for event in events)]


def engines_started(daemon):
    return re.findall(r"process (\d+) tries CPU variant", daemon.output)


def models_loaded(daemon):
    return daemon.output.count(" is loaded: ")


def dial_when_there(daemon):
    """A client that tries again until the socket is there."""
    def tried():
        try:
            return Conn(daemon.v1)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
    return daemon.track(until(tried, "the inference socket"))


def test_eight_clients_that_wait_for_the_socket_get_eight_answers_from_one_load(start_llama):
    """Promise 7, README 15: all dial while it loads, and again until they get in; each gets its own answer."""
    daemon = start_llama(ready=False)
    admin = daemon.track(until(daemon.dial_admin, "admin accepts"))

    def client(n):
        return text_of(dial_when_there(daemon).send(recital(lines_of(n, 3), id=str(n))).answer())

    with ThreadPoolExecutor(len(EIGHT)) as pool:
        answers = list(pool.map(client, EIGHT))
    assert answers == [lines_of(n, 3) for n in EIGHT]
    events = []
    while not events or events[-1]["status"] != "ready":
        events.append(json.loads(admin.line()))
    assert phases(events)[-4:] == ["mmap", "kv_cache", "capabilities", "ready"]
    assert phases(events).count("mmap") == 1
    assert models_loaded(daemon) == 1
    assert engines(daemon.pid) == [int(engines_started(daemon)[-1])]


def test_eight_requests_while_a_new_engine_loads_get_eight_answers_from_one_load(start_llama, caller):
    """Promise 7, architecture §4: after a death the sockets are there; who comes while the model is loaded again waits for it."""
    daemon = start_llama()
    callers = [caller(daemon) for _ in range(2)]
    conns = [callers[n % 2].dial() for n in EIGHT]
    admin, old = daemon.admin(), engine_pid(daemon)
    os.kill(old, signal.SIGKILL)
    assert admin.frame()["status"] == "restarting"
    for n, conn in zip(EIGHT, conns):
        conn.send(recital(lines_of(n, 3), id=str(n)))
    for n, conn in zip(EIGHT, conns):
        assert text_of(conn.answer()) == lines_of(n, 3)
    states = [admin.frame()["status"]]
    while states[-1] != "ready":
        states.append(admin.frame()["status"])
    assert set(states) == {"restarting", "ready"}
    assert models_loaded(daemon) == 2
    assert engines(daemon.pid) == [int(engines_started(daemon)[-1])] != [old]


def test_who_hangs_up_while_it_loads_costs_the_others_nothing(start_llama):
    """README 11: half of them go; the other half is answered by the same load."""
    daemon = start_llama()
    conns = [daemon.connect() for _ in EIGHT]
    admin = daemon.admin()
    os.kill(engine_pid(daemon), signal.SIGKILL)
    assert admin.frame()["status"] == "restarting"
    for n, conn in zip(EIGHT, conns):
        conn.send(recital(lines_of(n, 3), id=str(n)))
    daemon.settle()
    for conn in conns[::2]:
        conn.close()
    for n, conn in zip(EIGHT[1::2], conns[1::2]):
        assert text_of(conn.answer()) == lines_of(n, 3)
    assert models_loaded(daemon) == 2


def test_streams_of_the_old_engine_end_and_their_clients_are_among_the_first_of_the_new_one(start_llama):
    """Architecture §4: each asks again on its connection as soon as it has its error."""
    daemon = start_llama()
    conns = [running(daemon, endless(f"old {n}")) for n in EIGHT]
    os.kill(engine_pid(daemon), signal.SIGKILL)
    for n, conn in zip(EIGHT, conns):
        assert_error(conn.answer()[-1], "backend_unavailable", f"old {n}")
        conn.send(recital(lines_of(n, 3), id=f"new {n}"))
    for n, conn in zip(EIGHT, conns):
        assert text_of(conn.answer()) == lines_of(n, 3)
    assert models_loaded(daemon) == 2
