"""A log that cannot be written as it should (spec 06 §7, issue 5): no request notices, lines wait in memory, a gap is announced, nothing is
lost by a rotation, and admin says what is wrong for as long as it is."""
import contextlib
import os
import shutil
import stat
import subprocess

import pytest

from daemon_process import until
from wire import Conn, assert_error, request

READY = {"id": "admin", "status": "ready", "type": "status"}
CAP = 16 << 20  # of the file
REQUESTS, PIPELINED = 2_000, 10
LONG_ID = '"' * 4_000  # 8 KB in a record: those of all requests are twice what is kept in memory


@pytest.fixture
def small_disk(place):
    """The log folder, on a disk of its own of 32 MiB."""
    place.logs.mkdir(0o700)
    options = f"size=32m,mode=700,uid={os.geteuid()}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place.logs], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
    yield place.logs
    subprocess.run(["umount", "-l", place.logs], check=True)


def fill(folder):
    """Leaves no free page."""
    with open(folder / "filler", "wb", buffering=0) as filler:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while filler.write(bytes(size)) == size:
                    pass


def free(folder):
    (folder / "filler").unlink()


def status(daemon) -> dict:
    """The lifecycle status that a client of admin reads when it comes now."""
    conn = Conn(daemon.admin_path)
    while (frame := conn.frame())["status"] == "capabilities":
        pass
    conn.close()
    return frame


def test_no_request_notices_and_the_gap_is_announced(start, place, small_disk):
    """Issue 5: requests with the log disk full, then freed."""
    daemon = start()
    conns = [daemon.connect() for _ in range(4)]
    for conn in conns:
        conn.ask(id="before")
    admin = daemon.admin()
    fill(small_disk)
    ends = []
    for _ in range(REQUESTS // (len(conns) * PIPELINED)):
        for conn in conns:
            conn.send(*(request(id=LONG_ID) for _ in range(PIPELINED)))
        for conn in conns:
            ends += [conn.answer()[-1]["type"] for _ in range(PIPELINED)]
    assert ends == ["done"] * REQUESTS
    warned = admin.frame()
    assert {**READY, "warning": warned["warning"]} == warned == status(daemon)
    assert f"{place.log_file}: No space left" in warned["warning"]
    daemon.told(r"inferd\.ndjson: No space left")
    free(small_disk)
    assert admin.frame() == READY == status(daemon)
    gap = daemon.logged("lines_lost")
    assert (gap["level"], gap["component"]) == ("warn", "log") and gap["first_lost"] <= gap["last_lost"] <= gap["t"]
    records = place.records()  # each whole line is JSON
    kept = [r for r in records if r.get("req_id") == LONG_ID]
    lost = sum(r["count"] for r in records if r["msg"] == "lines_lost")
    assert lost > 0 and len(kept) + lost == REQUESTS
    assert place.log_file.read_bytes().endswith(b"}\n")
    conns[0].ask(id="after")
    daemon.logged("request_done", req_id="after")


def test_a_short_lack_of_space_loses_nothing(start, place, small_disk):
    """Issue 5: lines wait in memory; the clients before, during and after it are in the log, in order."""
    daemon = start(tape=["a"] * 100, delay_ms=5)
    running = daemon.submit("running")
    admin = daemon.admin()
    fill(small_disk)
    assert running.answer()[-1]["content"] == "a" * 100
    for n in range(20):
        assert_error(daemon.connect().ask(id="x" * 5_000, messages=[])[0], "invalid_request", "x" * 5_000)
    assert "warning" in admin.frame()
    free(small_disk)
    assert admin.frame() == READY
    daemon.connect().ask(id="last")
    daemon.logged("request_done", req_id="last")
    records = place.records()
    messages = [r["msg"] for r in records]
    assert "lines_lost" not in messages and messages.count("connection_accepted") == 23  # two are submit()'s
    assert [r["req_id"] for r in records if r["msg"] == "request_done"] == ["running", "last"]


def test_the_daemon_starts_on_a_full_disk_and_says_so(start, place, small_disk):
    """Issue 3: the file can be made, but nothing written."""
    place.log_file.touch(0o600)
    fill(small_disk)
    daemon = start()
    assert daemon.connect().text() == "mock-response"
    until(lambda: "No space left" in status(daemon).get("warning", ""), "the warning")
    free(small_disk)
    until(lambda: status(daemon) == READY, "the end of the warning")
    daemon.logged("connection_accepted")


def test_the_daemon_ends_while_the_disk_is_full(start, place, small_disk):
    """Issue 5: it does not wait for space; what it could not write it counts on standard error."""
    daemon = start()
    admin = daemon.admin()
    fill(small_disk)
    conn = daemon.connect()
    for n in range(100):
        conn.ask(id=f"{n}".ljust(1_000))
    assert "warning" in admin.frame()
    daemon.signal()
    assert daemon.wait() == 0
    daemon.told(r"the last \d+ lines are lost")
    assert place.log_file.read_bytes()[-1:] in (b"\n", b"")
    place.records()  # each whole line is JSON


def test_a_file_that_cannot_be_rotated_goes_on_nothing_is_lost_and_admin_says_so(start, place):
    """Issue 5: a folder is where a file has to be moved to."""
    place.logs.mkdir(0o700)
    live = b'{"msg":"live","x":"%s"}\n' % (b"x" * (CAP - 23))
    place.log_file.write_bytes(live)
    old = {n: place.logs / f"inferd.ndjson.{n}" for n in (1, 2, 3)}
    for n, path in old.items():
        path.write_text(f'{{"msg":"old {n}"}}\n')
    (place.logs / "inferd.ndjson.4" / "in the way").mkdir(parents=True)
    daemon = start()
    daemon.connect().ask(id="after")
    daemon.logged("request_done", req_id="after")
    assert place.log_file.read_bytes().startswith(live)
    assert [path.read_text() for path in old.values()] == [f'{{"msg":"old {n}"}}\n' for n in old]
    daemon.told("inferd.ndjson is not rotated")
    until(lambda: f"{place.log_file} is not rotated: rename" in status(daemon).get("warning", ""), "the warning")


def test_a_log_folder_that_is_removed_is_made_again(start, place):
    """Issue 5: somebody cleans up while the daemon runs."""
    daemon = start()
    conn = daemon.connect()
    conn.ask(id="before")
    daemon.logged("request_done", req_id="before")
    shutil.rmtree(place.logs)

    def recorded():
        conn.ask(id="again")
        return "again" in [r.get("req_id") for r in place.records()]

    until(recorded, "records in a new folder")
    assert stat.S_IMODE(place.logs.stat().st_mode) == 0o700 and stat.S_IMODE(place.log_file.stat().st_mode) == 0o600
