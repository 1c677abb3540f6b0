"""The embed surface in the daemon (spec 03 §1 and §4): what it shares with text, many clients, drain, log events. What it has in common with v2
(sockets, TCP, access lists): test_surfaces.py. When it is served: test_llamacpp_surfaces.py. What the mock has no time for, a request that waits
or is cut off by a drain: test_llamacpp_embed.py. Tests of the published checklist (spec 10) carry its number."""
import os

import pytest

from daemon_process import HELD
from surfaces import EMBED, ENDLESS, V2, embed_request, served  # noqa: F401
from wire import assert_error

KEYS = ["backend", "component", "dimensions", "duration_ms", "input_tokens", "level", "msg", "n_inputs", "peer", "peer_gid", "peer_pid", "peer_uid",
        "queue_ms", "req_id", "route", "t", "wire_version"]


def row(text):
    return [(n + 1) / (len(text.encode()) + 1) for n in range(8)]


def assert_answers(frame, *texts, id="r"):
    assert (frame["type"], frame["id"]) == ("embeddings", id), frame
    for found, text in zip(frame["embeddings"], texts, strict=True):
        assert found == pytest.approx(row(text))


def test_e8_the_mock_says_that_it_makes_embeddings(start):
    """E8, spec 04 §3."""
    [event] = [event for event in start("--embed").start_events if event["status"] == "capabilities"]
    assert event["embed"] is True


# ---------------------------------------------------------------- beside text


def test_text_and_embeddings_do_not_wait_for_each_other(start):
    """README 9: a stream goes on, and each embedding is answered between its frames."""
    daemon = start("--v2", "--embed", "--queue-depth", "0", **ENDLESS)
    stream, conn = V2.submit(daemon, "stream"), EMBED.dial(daemon)
    for n in range(20):
        assert stream.frame()["type"] == "frame"
        assert_answers(conn.ask("x" * (n + 1))[0], "x" * (n + 1))
    assert_error(daemon.connect().ask()[0], "queue_full")


def test_waiting_text_takes_no_place_from_embeddings(start):
    """README 9: with every place of text taken and every waiting one too."""
    daemon = start("--embed", "--queue-depth", "1", delay_ms=HELD)
    daemon.submit("running"), daemon.submit("waiting")
    assert_error(daemon.connect().ask()[0], "queue_full")
    assert EMBED.works(EMBED.dial(daemon))


def test_failures_of_embeddings_and_of_text_count_for_one_backend(start):
    """Spec 03 §1, spec 06 §3: router and breaker are shared."""
    daemon = start("--v2", "--embed", fault="unavailable")
    conns = [daemon.connect(), V2.dial(daemon), EMBED.dial(daemon)]
    for conn in conns:
        assert_error(conn.ask()[-1], "backend_unavailable", says="mock")
    for conn in conns:
        assert_error(conn.ask()[-1], "backend_unavailable", says="no backend available")


# ---------------------------------------------------------------- many clients


def test_d52_fifty_clients_at_once_are_all_answered(served):
    """D52: each its own vectors, whoever is served first."""
    conns = [EMBED.dial(served) for _ in range(50)]
    for n, conn in enumerate(conns):
        conn.send(embed_request("x" * (n + 1), "y", id=str(n)))
    for n, conn in reversed(list(enumerate(conns))):
        assert_answers(conn.frame(), "x" * (n + 1), "y", id=str(n))
        conn.close()


def test_a_small_request_does_not_wait_for_the_parsing_of_large_ones(served):
    """Architecture §3: megabytes of several clients are on the pool; all are answered, and so is everybody else."""
    large = [EMBED.dial(served).send(embed_request("x" * 10_000_000, id=str(n), dimensions=1)) for n in range(5)]
    small = EMBED.dial(served)
    for n in range(20):
        assert_answers(small.ask("x" * (n + 1))[0], "x" * (n + 1))
    for n, conn in enumerate(large):
        assert (conn.frame() | {"embeddings": None})["usage"] == {"input_tokens": 10_000_000}, n
        conn.close()


def test_one_client_that_reads_nothing_holds_up_nobody(start):
    """README 14: its answers are no business of others'."""
    daemon = start("--embed")
    lazy = EMBED.dial(daemon).send(*(embed_request(id=str(n), dimensions=65_536) for n in range(3)))
    for _ in range(5):
        assert EMBED.works(EMBED.dial(daemon))
    assert [lazy.frame()["id"] for _ in range(3)] == ["0", "1", "2"]


# ---------------------------------------------------------------- drain


def test_answers_that_were_asked_for_before_the_signal_are_sent(start):
    """README 12: megabytes that are still on their way when the signal comes."""
    daemon = start("--embed")
    conn = EMBED.dial(daemon)
    assert EMBED.works(conn)
    conn.send(embed_request("a", "b", dimensions=65_536))
    daemon.settle()
    daemon.signal()
    frame = conn.frame()
    assert (frame["type"], frame["dimensions"], len(frame["embeddings"])) == ("embeddings", 65_536, 2)
    assert conn.ends()
    assert daemon.wait() == 0


# ---------------------------------------------------------------- log events


def test_d38_a_request_is_recorded_when_it_is_done(start):
    """D38, spec 06 §7.2: the published fields, plus peer, route and times."""
    daemon = start("--embed")
    EMBED.dial(daemon).ask("hello", "world!", id="r1", dimensions=3)
    record = daemon.logged("embed_request_done", req_id="r1")
    expected = {"level": "info", "component": "activity", "backend": "mock", "wire_version": "embed", "n_inputs": 2, "input_tokens": 11,
                "dimensions": 3, "route": "mock", "peer": f"unix:{os.geteuid()}:{os.getpid()}", "peer_uid": os.geteuid(),
                "peer_pid": os.getpid()}
    assert expected.items() <= record.items(), record
    assert list(record) == KEYS
    assert 0 <= record["queue_ms"] <= record["duration_ms"]


def test_a_request_over_tcp_is_recorded_with_its_address_alone(start):
    """Spec 06 §7.2."""
    daemon = start("--embed", "--embed-tcp", "127.0.0.1:0")
    port = int(daemon.told(r"embed listens on 127\.0\.0\.1:([1-9]\d*)")[1])
    (conn := EMBED.dial(daemon, ("127.0.0.1", port))).ask(id="far")
    record = daemon.logged("embed_request_done", req_id="far", peer="tcp:127.0.0.1:%d" % conn.sock.getsockname()[1])
    assert not {"peer_uid", "peer_gid", "peer_pid"} & record.keys()


def test_refused_and_failed_requests_have_no_record(start):
    """Spec 06 §7.2: embed has no stream that could break."""
    daemon = start("--embed", fault="unavailable")
    conn = EMBED.dial(daemon)
    for fields in ({"input": []}, {"task": "x"}, {}, {}, {}, {}):
        assert conn.ask(id="no record", **fields)[0]["type"] == "error"
    daemon.stop()
    assert "no record" not in [record.get("req_id") for record in daemon.place.records()]


def test_texts_are_in_no_log(start, place):
    """Spec 06 §7.3: with the filter wide open; nor in what is told of wrong requests."""
    marker = "xyzzy4711"
    daemon = start("--embed", env={"INFERD_LOG": "trace"})
    conn = EMBED.dial(daemon)
    conn.ask(marker, f"{marker} " * 100_000, task="similarity", future=marker)
    for fields in ({"input": [marker, ""]}, {"task": marker}, {"input": [marker], "dimensions": 65_537}):
        assert_error(conn.ask(**fields)[0], "invalid_request")
    conn.send({"id": "r", "input": [marker, 5]}).answer()
    EMBED.dial(daemon).ask(id="last")
    daemon.logged("embed_request_done", req_id="last")
    daemon.stop()
    assert marker not in daemon.output + place.log_file.read_text()
