"""Unix sockets, the folders they are in, and who may use them (spec 05 §4, §5, README 18, 19, 23)."""
import grp
import os
import socket
import stat
import subprocess

import pytest

from daemon_process import DAEMON
from wire import Conn

OPTIONS = {"v1": "--uds", "admin": "--admin-addr"}
STRANGER = 64_321  # a uid that nobody has


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def uid(place):
    """A user whom file permissions bind: the test's own, or, for root, a stranger who is given the place."""
    if os.geteuid():
        return None
    tried = subprocess.run([DAEMON, "--version"], user=STRANGER, group=STRANGER, extra_groups=[], capture_output=True)
    if tried.returncode:
        pytest.skip(f"another user cannot run {DAEMON}: root is not bound by permissions")
    place.give_to(STRANGER)
    return STRANGER


@pytest.mark.parametrize("umask", [0, 0o022, 0o777], ids=oct)
def test_sockets_and_folders_have_their_modes_whatever_the_umask(start, place, umask):
    """Spec 04 §1, 05 §5, README 18, 23: v1 0660, admin 0600, folders 0700."""
    deep = place.base / "deep" / "er"
    start("--uds", str(deep / "v1.sock"), umask=umask)
    assert mode(deep / "v1.sock") == 0o660
    assert mode(place.admin) == 0o600
    assert [mode(p) for p in (place.runtime, deep, deep.parent, place.logs)] == [0o700] * 4
    assert mode(place.log_file) == 0o600


def test_the_default_socket_is_in_the_runtime_folder(start, place):
    """README 18: no transport given."""
    start()
    assert sorted(p.name for p in place.runtime.iterdir()) == ["admin.sock", "infer.sock", "inferd.lock"]
    assert Conn(place.v1).text() == "mock-response"


def test_without_xdg_runtime_dir_the_folder_is_in_the_home(start, place):
    """Spec 05 §4: unset and empty are the same."""
    run = place.home / ".inferd" / "run"
    del place.env["XDG_RUNTIME_DIR"]
    for unset in ({}, {"XDG_RUNTIME_DIR": ""}):
        daemon = start(env=unset, ready=False)
        daemon.admin_path, daemon.v1 = run / "admin.sock", run / "infer.sock"
        daemon.wait_ready()
        assert daemon.connect().text() == "mock-response"
        assert mode(run) == 0o700
        daemon.stop()


def test_without_xdg_runtime_dir_and_home_the_folder_is_in_tmp(start, place):
    """Spec 05 §4: /tmp/inferd-<uid>."""
    if os.geteuid():
        pytest.skip("needs root, to use a uid whose /tmp/inferd-<uid> nobody else uses")
    place.give_to(STRANGER)
    place.env = {k: v for k, v in place.env.items() if k not in ("XDG_RUNTIME_DIR", "HOME")}
    run = place.base.parent / f"inferd-{STRANGER}"
    daemon = start(uid=STRANGER, ready=False)
    daemon.admin_path, daemon.v1 = run / "admin.sock", run / "infer.sock"
    try:
        daemon.wait_ready()
        assert mode(run) == 0o700
        assert daemon.connect().text() == "mock-response"
        daemon.stop()
    finally:
        (run / "inferd.lock").unlink(missing_ok=True)
        if run.is_dir():
            run.rmdir()  # fails unless the sockets were unlinked


@pytest.mark.parametrize("which", OPTIONS)
def test_a_stale_socket_is_replaced(start, place, which):
    """README 19: nobody serves it."""
    path = place.base / "stale.sock"
    with socket.socket(socket.AF_UNIX) as last_run:
        last_run.bind(str(path))
        last_run.listen()
    daemon = start(**{which: path})
    assert daemon.connect().text() == "mock-response"
    assert stat.S_ISSOCK(path.lstat().st_mode)


@pytest.mark.parametrize("which", OPTIONS)
@pytest.mark.parametrize("kind", ["stream", "busy stream", "datagram", "seqpacket"])
def test_a_socket_that_a_live_process_serves_is_never_taken_over(start, place, which, kind):
    """README 19: also one whose backlog is full, or that is no stream socket."""
    path = str(place.base / "live.sock")
    types = {"datagram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}
    with socket.socket(socket.AF_UNIX, types.get(kind, socket.SOCK_STREAM)) as owner, socket.socket(socket.AF_UNIX) as guest:
        owner.bind(path)
        if kind != "datagram":
            owner.listen(0 if kind == "busy stream" else 8)
        if kind == "busy stream":
            guest.connect(path)
        before = os.lstat(path)
        start.fails(OPTIONS[which], path, says=path)
        assert os.lstat(path).st_ino == before.st_ino
        if kind == "stream":
            Conn(path).close()


def regular_file(path):
    path.write_text("precious")


def symlink_to_nothing(path):
    path.symlink_to(path.with_name("nowhere"))


def symlink_to_a_stale_socket(path):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path.with_name("target")))
    path.symlink_to("target")


def folder_with_a_file(path):
    path.mkdir()
    (path / "file").write_text("precious")


@pytest.mark.parametrize("which", OPTIONS)
@pytest.mark.parametrize("make", [regular_file, symlink_to_nothing, symlink_to_a_stale_socket, os.mkfifo, os.mkdir,
                                  folder_with_a_file])
def test_what_is_no_socket_at_a_socket_path_is_never_removed(start, place, which, make):
    """D28, README 19, spec 05 §5: a start error that names the path."""
    path = place.base / "odd.sock"
    make(path)
    before = path.lstat()
    start.fails(OPTIONS[which], str(path), says=path)
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert not path.is_file() or path.read_text() == "precious"


@pytest.mark.parametrize("which", OPTIONS)
def test_a_socket_path_that_is_too_long_is_a_start_error_that_names_it(start, place, which):
    """Issue 3: 107 bytes fit; nothing is bound at a cut-off path."""
    folder = place.base / "d"
    fits = folder / ("s" * (107 - len(str(folder)) - 1))
    daemon = start(**{which: fits})
    assert daemon.connect().text() == "mock-response"
    daemon.stop()
    too_long = fits.with_name(fits.name + "x")
    start.fails(OPTIONS[which], str(too_long), says=too_long)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("option", [*OPTIONS.values(), "--lock"])
def test_a_folder_without_permission_is_a_start_error_that_names_the_path(start, place, uid, option):
    """Issue 3: a socket or lock in a folder that the user may not write to."""
    closed = place.base / "closed"
    closed.mkdir()
    place.give_to(uid or os.geteuid())
    closed.chmod(0o555)
    start.fails(option, str(closed / "x"), uid=uid, says=(closed / "x", "ermission denied"))
    start.fails(option, str(closed / "new" / "x"), uid=uid, says=(closed / "new", "ermission denied"))


@pytest.mark.parametrize("option", [*OPTIONS.values(), "--lock"])
def test_a_folder_that_is_a_file_is_a_start_error_that_names_it(start, place, option):
    """Issue 3: a parent that cannot be made."""
    (place.base / "file").write_text("precious")
    start.fails(option, str(place.base / "file" / "x"), says=place.base / "file")
    assert (place.base / "file").read_text() == "precious"


def test_a_runtime_folder_that_is_a_symlink_is_a_start_error(start, place):
    """README 18: it must be a real directory."""
    (place.base / "elsewhere").mkdir(0o700)
    place.runtime.symlink_to(place.base / "elsewhere")
    start.fails(says=place.runtime)
    assert list((place.base / "elsewhere").iterdir()) == []


def test_a_runtime_folder_that_others_may_write_to_is_a_start_error(start, place):
    """README 18."""
    place.runtime.mkdir()
    place.runtime.chmod(0o777)
    start.fails(says=place.runtime)
    assert list(place.runtime.iterdir()) == []


def test_a_runtime_folder_of_another_user_is_a_start_error(start, place):
    """README 18: of our own uid."""
    if os.geteuid():
        pytest.skip("needs root, to give a folder to another user")
    place.runtime.mkdir(0o700)
    os.chown(place.runtime, STRANGER, STRANGER)
    start.fails(says=place.runtime)


def test_another_user_is_kept_out_by_the_kernel(start, place):
    """Promise 8: sockets and runtime folder are private by default."""
    if os.geteuid():
        pytest.skip("needs root, to dial as another user")
    place.base.chmod(0o755)
    place.run.chmod(0o755)
    start()
    for path in (place.v1, place.admin):
        dial = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
        tried = subprocess.run(["/usr/bin/env", "python3", "-c", dial], user=STRANGER, group=STRANGER, extra_groups=[],
                               capture_output=True, text=True)
        assert "PermissionError" in tried.stderr, tried


@pytest.fixture
def group():
    """A group that this user may hand files to, other than its own where there is one."""
    own = os.getegid()
    usable = [g for g in grp.getgrall() if (g.gr_gid == own) != (os.geteuid() == 0)]
    if not usable:
        pytest.skip(f"group {own} has no name")
    return usable[0]


def test_group_opens_inference_and_runtime_folder_but_not_admin(start, place, group):
    """Spec 05 §5, spec 04 §1, README 18: 0750 and 0660 with the group; admin stays 0600."""
    place.base.chmod(0o755)
    place.run.chmod(0o755)
    start("--group", group.gr_name)
    assert (mode(place.v1), place.v1.stat().st_gid) == (0o660, group.gr_gid)
    assert (mode(place.runtime), place.runtime.stat().st_gid) == (0o750, group.gr_gid)
    assert (mode(place.admin), place.admin.stat().st_gid) == (0o600, os.getegid())


def test_a_member_of_the_group_is_served(start, place):
    """Promise 8 with `--group`: the members get in, whoever they are."""
    if os.geteuid():
        pytest.skip("needs root, to dial as a member of another group")
    member = next(g for g in grp.getgrall() if g.gr_gid)
    place.base.chmod(0o755)
    place.run.chmod(0o755)
    start("--group", member.gr_name)
    dial = (f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(place.v1)!r}); "
            "s.sendall(b'x\\n'); print(s.recv(99))")
    tried = subprocess.run(["/usr/bin/env", "python3", "-c", dial], user=STRANGER, group=member.gr_gid, extra_groups=[],
                           capture_output=True, text=True)
    assert "invalid_request" in tried.stdout, tried


def test_group_under_a_parent_that_it_cannot_enter_is_a_start_error_that_names_the_parent(start, place, group):
    """README 18."""
    if os.geteuid():
        pytest.skip("needs root: a user's own group may be able to enter its own folders")
    place.base.chmod(0o755)
    place.run.chmod(0o700)
    start.fails("--group", group.gr_name, says=place.run)
    place.run.chmod(0o755)
    closed = place.base / "closed"
    closed.mkdir(0o700)
    start.fails("--group", group.gr_name, "--uds", str(closed / "v1.sock"), says=closed)


def test_an_unknown_group_is_a_start_error_that_names_it(start):
    """Spec 05 §5."""
    start.fails("--group", "no-such-group-here", says="no-such-group-here")


def test_two_sockets_at_one_path_are_a_start_error(start, place):
    """README 19: admin serves it already."""
    path = str(place.base / "both.sock")
    start.fails("--uds", path, "--admin-addr", path, says=path)


def test_sockets_may_be_anywhere_with_any_name(start, place):
    """Spec 05 §1: a path is a path."""
    odd = place.base / "with space ü"
    daemon = start(v1=odd / "v1 sock", admin=odd / "admin")
    assert daemon.connect().text() == "mock-response"
    assert not place.v1.exists()
