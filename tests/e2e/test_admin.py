"""The status event stream (spec 04, README 15 to 17)."""
import json
import signal

from daemon_process import until
from wire import Conn, compact

CAPABILITIES = {"accelerator": "cpu", "audio": False, "backend": "mock", "embed": True, "gpu_layers": 0, "id": "admin",
                "name": "mock", "status": "capabilities", "thinking": True, "tools": False, "type": "status", "v2": True,
                "vision": False}
READY = {"id": "admin", "status": "ready", "type": "status"}


def test_a_late_joiner_reads_capabilities_first_and_ready_second(served):
    """D33, spec 04 §4, README 3 (`name`)."""
    admin = served.track(Conn(served.admin_path))
    assert [admin.frame(), admin.frame()] == [CAPABILITIES, READY]


def test_frames_are_compact_flat_and_alphabetical(served):
    """D29, D30, spec 04 §2."""
    admin = served.track(Conn(served.admin_path))
    for _ in range(2):
        line = admin.line()
        assert line == compact(dict(sorted(json.loads(line).items())))


def test_a_start_tells_loading_then_capabilities_then_ready(start):
    """Spec 04 §4: whoever connects early sees the events in this order, whatever of them is left."""
    order = ["starting", "loading_model", "capabilities", "ready"]
    for _ in range(5):
        daemon = start()
        seen = [e["status"] for e in daemon.start_events]
        assert seen[-2:] == ["capabilities", "ready"]
        assert sorted(seen, key=order.index) == seen
        for event in daemon.start_events:
            assert (event["id"], event["type"]) == ("admin", "status")
            if event["status"] == "loading_model":
                assert (event["phase"], event["path"]) == ("checking_local", "(mock)")
        daemon.stop()


def test_whoever_dials_on_ready_gets_through(start):
    """README 15: `ready` is published after the inference sockets accept; no retry is needed."""
    for tcp in ["", "127.0.0.1"] * 3:
        daemon = start(tcp=tcp)  # returns on the `ready` frame
        assert daemon.connect().text() == "mock-response"
        daemon.stop()


def test_sigterm_publishes_draining_to_every_client_and_then_ends_their_streams(start):
    """D31, spec 04 §5, README 12."""
    daemon = start()
    clients = [daemon.admin() for _ in range(20)]
    daemon.signal(signal.SIGTERM)
    for client in clients:
        assert client.frame() == {"id": "admin", "status": "draining", "type": "status"}
        assert client.ends()
    assert daemon.wait() == 0


def test_requests_are_no_events(start):
    """Spec 04 §2: nothing but state changes is published."""
    daemon = start()
    admin = daemon.admin()
    assert daemon.connect().text() == "mock-response"
    daemon.signal(signal.SIGTERM)
    assert admin.frame()["status"] == "draining"


def test_what_an_admin_client_writes_is_ignored(start):
    """Spec 04 §1: direction is server to client."""
    daemon = start()
    admin = daemon.admin().send(b'{"status":"ready"}\n', b"\0\xff" * 500, b"no line end")
    assert daemon.connect().text() == "mock-response"
    daemon.signal(signal.SIGTERM)
    assert admin.frame()["status"] == "draining"


def test_an_admin_client_that_half_closes_still_gets_events(start):
    """Spec 04 §1 and §4.3 with README 11: EOF alone is no hang-up (`socat - UNIX:admin.sock </dev/null`)."""
    daemon = start()
    admin = daemon.admin().half_close()
    daemon.settle()
    daemon.signal(signal.SIGTERM)
    assert admin.frame()["status"] == "draining"


def test_an_admin_client_that_closes_is_noticed_and_its_descriptor_given_back(start):
    """README 17, against spec 04 §6.3: status tools that come and go leave nothing."""
    daemon = start()
    daemon.admin().close()
    before = daemon.descriptors()
    for _ in range(100):
        daemon.admin().close()
    until(lambda: daemon.descriptors() <= before + 2, "descriptors of closed admin clients are given back")


def test_admin_answers_while_the_backend_is_busy(start):
    """Promise 9: status during a generation."""
    daemon = start(tape=["word "] * 10_000, delay_ms=5)
    running = daemon.submit("busy")
    assert running.frame()["type"] == "token"
    for _ in range(20):
        daemon.admin().close()
    assert running.frame()["type"] == "token"


def test_a_failed_start_publishes_error_with_a_reason_before_eof(start):
    """README 17: an admin client that got in before the failure learns the cause."""
    port_holder = start(tcp="127.0.0.1")
    address = f"127.0.0.1:{port_holder.v1[1]}"
    other = port_holder.place.base / "other"

    def watched_failure():
        daemon = start("--tcp", address, "--lock", f"{other}.lock", admin=other.with_suffix(".sock"), ready=False)
        while not (conn := daemon.dial_admin()) and daemon.process.poll() is None:
            pass
        events = []
        while conn and (line := conn.line()) is not None:
            events.append(json.loads(line))
        assert daemon.wait() == 1
        return events

    events = until(watched_failure, "an admin client gets in before the start fails")
    assert events[-1]["status"] == "error"
    assert address in " ".join(str(v) for v in events[-1].values()), events[-1]
    assert "ready" not in [e["status"] for e in events]


def test_admin_is_a_unix_socket_whatever_carries_v1(start, place):
    """Spec 04 §1: no TCP variant; `--tcp` alone binds no Unix inference socket."""
    start(tcp="127.0.0.1")
    assert sorted(p.name for p in place.runtime.iterdir()) == ["admin.sock", "inferd.lock"]


def test_admin_addr_places_the_socket_and_makes_its_folder(start, place):
    """Spec 04 §1, spec 05 §1."""
    daemon = start(admin=place.base / "far" / "away" / "a.sock")
    assert daemon.start_events[-1]["status"] == "ready"
    assert not place.admin.exists()
