"""The single-instance lock (spec 06 §6, README 18)."""
import os
import signal
import stat

import pytest

from wire import Conn


def test_a_second_daemon_is_refused_and_the_first_is_not_disturbed(start, place):
    """D25: exit 1, the message names the lock; sockets and streams of the first stay."""
    first = start(tape=["a"] * 200, delay_ms=2)
    running = first.submit("running")
    inodes = [p.stat().st_ino for p in (place.v1, place.admin)]
    start.fails("--mock-tape", '["second"]', says=(place.lock, "held"))
    assert running.answer()[-1]["content"] == "a" * 200
    assert inodes == [p.stat().st_ino for p in (place.v1, place.admin)]
    assert Conn(place.v1).send(b"\n").frame()["code"] == "invalid_request"


def test_the_lock_is_free_again_after_a_clean_end_and_the_file_stays(start, place):
    """D25, spec 06 §6: released by closing, never deleted."""
    start().stop()
    assert place.lock.is_file()
    assert start().connect().text() == "mock-response"


def test_the_lock_is_free_again_after_a_kill(start):
    """Spec 06 §6: stale files are harmless; sockets of the killed daemon are replaced (README 19)."""
    start().kill()
    assert start().connect().text() == "mock-response"


def test_the_lock_file_is_private_and_empty(start, place):
    """Spec 06 §6 (no PID), README 23 (0600)."""
    start(umask=0)
    assert stat.S_IMODE(place.lock.stat().st_mode) == 0o600
    assert place.lock.read_bytes() == b""


def test_a_file_that_is_there_is_locked_and_keeps_its_content(start, place):
    """Spec 06 §6: create, no truncate."""
    lock = place.base / "my.lock"
    lock.write_text("mine")
    start("--lock", str(lock))
    assert lock.read_text() == "mine"


def test_lock_and_its_variable_place_the_file_and_make_its_folder(start, place):
    """Spec 05 §4: the parent is created; the command line beats the environment."""
    env = {"INFERD_LOCK": str(place.base / "never" / "y.lock")}
    daemon = start("--lock", str(place.base / "a" / "b" / "x.lock"), env=env)
    assert (place.base / "a" / "b" / "x.lock").is_file()
    assert not (place.base / "never").exists()
    daemon.stop()
    start(env={"INFERD_LOCK": str(place.base / "c" / "z.lock")})
    assert (place.base / "c" / "z.lock").is_file()


def test_daemons_with_different_locks_and_sockets_live_side_by_side(start, place):
    """Spec 06 §6: the lock, not the program, is single."""
    first = start()
    other = place.base / "other"
    second = start("--lock", str(other / "lock"), v1=other / "v1.sock", admin=other / "admin.sock")
    assert first.connect().text() == second.connect().text() == "mock-response"


def symlink_to_file(path):
    target = path.with_name("target")
    target.write_text("kept")
    path.symlink_to(target)


def dangling_symlink(path):
    path.symlink_to(path.with_name("nowhere"))


@pytest.mark.parametrize("make", [symlink_to_file, dangling_symlink, os.mkdir, os.mkfifo])
def test_a_lock_path_that_is_no_regular_file_is_a_start_error_that_names_it(start, place, make):
    """D25, README 18 (O_NOFOLLOW): nothing is created, followed or waited for."""
    lock = place.base / "odd.lock"
    make(lock)
    before = sorted(place.base.glob("*"))
    start.fails("--lock", str(lock), says=lock)
    made = set(place.base.glob("*")) - set(before)
    assert {p.name.split("-")[0] for p in made} <= {"out", "logs"}
    assert os.path.lexists(lock)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_next_daemon_starts_whatever_ended_the_last(start, number):
    """Spec 06 §6, with a request running at the end."""
    daemon = start("--drain-timeout-secs", "0", tape=["a"] * 10_000, delay_ms=5)
    assert daemon.submit("running").frame()["type"] == "token"
    daemon.signal(number)
    assert daemon.wait() == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert start().connect().text() == "mock-response"
