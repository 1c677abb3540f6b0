"""What holds for v2 and embed alike: where they are served (spec 05 §3 to §5, README 15, 18, 19), the TCP key (05 §6, README 22), access
lists, sockets of a service manager, log events (06 §7.2), drain (README 12). What each has of its own: test_v2_*.py, test_embed_*.py."""
import grp
import json
import os
import signal
import socket
import stat
import subprocess

import pytest

from callers import frozen
from daemon_process import HELD, free_port, until
from surfaces import EMBED, V2, served, start_on_tcp  # noqa: F401
from test_service import listen, passing
from wire import Conn, assert_decode_error, assert_error, compact, request

KEY = "correct horse battery staple"
AUTH = {"type": "auth", "key": KEY}
STRANGER = 65534
CONFIG = {"backends": [{"kind": "llamacpp", "name": "local",
                        "model": {"name": "m", "sha256": "0" * 64, "source_url": "https://127.0.0.1:1/m.gguf"}}]}
SECRETS = {"sk-abcdefghij0123456789": "api-key", "password=hunter22": "secret-kv", "Authorization: Bearer abcdef123456": "auth-header"}
PLAIN = ["a plain sentence about a token and a password", "version=0.1.0-alpha.0", "bytes=42"]


@pytest.fixture(params=[V2, EMBED], ids=lambda surface: surface.name)
def surface(request):
    return request.param


@pytest.fixture
def config(place):
    """Writes a config file and gives the options of a mock daemon that reads it."""
    def write(**fields):
        path = place.base / "config.json"
        path.write_text(json.dumps(CONFIG | fields))
        return ("--config", str(path), "--backend", "mock")
    return write


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------- Unix sockets


def test_the_default_socket_is_in_the_runtime_folder_beside_v1(start, place, surface):
    """Spec 05 §4, README 18."""
    daemon = start(surface.option)
    assert names_in(place.runtime) == sorted(["admin.sock", f"infer.{surface.name}.sock", "infer.sock", "inferd.lock"])
    assert surface.works(surface.dial(daemon))
    assert daemon.connect().text() == "mock-response"


def test_d5_without_the_switch_it_is_not_served(start, place, config, surface):
    """D5, spec 05 §3: on and off is said by the switch alone, wherever an address may stand."""
    options = config(listen={f"tcp_{surface.name}": "127.0.0.1:1"})
    for args in ((), (f"{surface.option}-addr", str(place.base / "x.sock")), (f"{surface.option}-tcp", "127.0.0.1:1"), options):
        daemon = start(*args)
        assert names_in(place.runtime) == ["admin.sock", "infer.sock", "inferd.lock"] and not (place.base / "x.sock").exists()
        daemon.stop()


def test_switch_and_address_may_come_from_the_environment(start, place, surface):
    """Spec 05 §1."""
    path = place.base / "from-env.sock"
    daemon = start(env={f"INFERD_{surface.name.upper()}": "true", f"INFERD_{surface.name.upper()}_ADDR": str(path)})
    assert surface.works(surface.dial(daemon, path))
    assert not surface.path(place).exists()


@pytest.mark.parametrize("umask", [0, 0o777], ids=oct)
def test_sockets_and_folders_have_their_modes_whatever_the_umask(start, place, surface, umask):
    """Spec 05 §5, README 18 and 23: 0660, the folders that were made 0700."""
    deep = place.base / "deep" / "er"
    start(surface.option, f"{surface.option}-addr", str(deep / "x.sock"), umask=umask)
    assert [mode(path) for path in (deep / "x.sock", deep, deep.parent)] == [0o660, 0o700, 0o700]


def test_the_group_may_open_it(start, place, surface):
    """Spec 05 §5, README 18."""
    if os.geteuid():
        pytest.skip("needs root, to give a socket to another group")
    group = next(g for g in grp.getgrall() if g.gr_gid)
    place.base.chmod(0o755)
    place.run.chmod(0o755)
    start(surface.option, "--group", group.gr_name)
    path = surface.path(place)
    assert (mode(path), path.stat().st_gid) == (0o660, group.gr_gid)
    closed = place.base / "closed"
    closed.mkdir(0o700)
    start.fails(surface.option, "--group", group.gr_name, f"{surface.option}-addr", str(closed / "x.sock"), "--lock", str(place.base / "lock"),
                "--admin-addr", str(place.base / "admin"), "--uds", str(place.base / "v1"), says=closed)


def test_a_stale_socket_is_replaced(start, place, surface):
    """README 19."""
    path = place.base / "stale.sock"
    with socket.socket(socket.AF_UNIX) as last_run:
        last_run.bind(str(path))
        last_run.listen()
    assert surface.works(surface.dial(start(surface.option, f"{surface.option}-addr", str(path)), path))


def test_a_socket_that_is_served_is_never_taken_over(start, place, surface):
    """README 19: neither another process's nor one of our own other surfaces'."""
    path = place.base / "live.sock"
    with listen(path):
        before = path.lstat().st_ino
        start.fails(surface.option, f"{surface.option}-addr", str(path), says=path)
        assert path.lstat().st_ino == before
    path.unlink()
    start.fails(surface.option, f"{surface.option}-addr", str(path), "--uds", str(path), says=path)
    start.fails("--v2", "--v2-addr", str(path), "--embed", "--embed-addr", str(path), says=path)
    start.fails(surface.option, f"{surface.option}-addr", str(place.admin), says=place.admin)


@pytest.mark.parametrize("what", ["file", "symlink", "folder"])
def test_what_is_no_socket_is_never_removed(start, place, surface, what):
    """D28, README 19, spec 05 §5."""
    path = place.base / "odd.sock"
    {"file": lambda: path.write_text("precious"), "symlink": lambda: path.symlink_to("nowhere"), "folder": path.mkdir}[what]()
    before = path.lstat().st_ino
    start.fails(surface.option, f"{surface.option}-addr", str(path), says=path)
    assert path.lstat().st_ino == before


def test_who_dials_on_ready_gets_through(start, surface):
    """README 15: `ready` comes after all surfaces accept."""
    for tcp in (False, True) * 3:
        daemon, where = start_on_tcp(start, surface) if tcp else (start(surface.option), None)  # returns on the `ready` frame
        assert surface.works(surface.dial(daemon, where))
        daemon.stop()


def test_d55_two_hundred_connections_that_come_and_go_leave_nothing(start, surface):
    """D55: silent ones, half a request, half an answer."""
    daemon = start(surface.option)
    assert surface.works(surface.dial(daemon))
    before = daemon.descriptors()
    for n in range(200):
        conn = surface.dial(daemon)
        if n % 2:
            conn.send(compact(conn.request())[:: -1 if n % 3 == 0 else 1][:20])
        conn.close()
    assert surface.works(surface.dial(daemon))
    until(lambda: daemon.descriptors() <= before + 2, "descriptors of closed connections are given back")


# ---------------------------------------------------------------- TCP


def test_it_is_served_on_tcp_instead_while_v1_stays_where_it_is(start, place, surface):
    """Spec 05 §3; README 22: without a key it is warned about."""
    daemon, where = start_on_tcp(start, surface)
    assert surface.works(surface.dial(daemon, where))
    assert names_in(place.runtime) == ["admin.sock", "infer.sock", "inferd.lock"]
    assert daemon.connect().text() == "mock-response"
    daemon.told(f"warn.*{surface.name}.*without a key")


def test_d49_the_right_key_opens_the_connection_and_anything_else_ends_it(start, surface):
    """D49, spec 05 §6: silently, with one record that has the peer."""
    daemon, where = start_on_tcp(start, surface, "--api-key", KEY)
    conn = surface.dial(daemon, where).send(AUTH)
    assert surface.works(conn) and surface.works(conn)
    good = compact(conn.request())
    for line in (compact({"type": "auth", "key": KEY + "x"}), compact({"type": "auth", "key": KEY[:-1] + "X"}), good, b"garbage", b""):
        refused = surface.dial(daemon, where)
        peer = "tcp:127.0.0.1:%d" % refused.sock.getsockname()[1]
        refused.send(line + b"\n", good + b"\n")
        assert refused.ends()
        record = daemon.logged(f"{surface.name}_tcp_auth_rejected", peer=peer)
        assert (record["level"], record["wire_version"]) == ("warn", surface.name)
    assert surface.dial(daemon, where).send(compact(AUTH)).half_close().ends()
    assert surface.works(conn)
    assert not [record for record in daemon.place.records() if record.get("msg") == "tcp_auth_rejected"]


def test_an_unauthenticated_peer_has_4_kib(start, surface):
    """README 22."""
    daemon, where = start_on_tcp(start, surface, "--api-key", KEY)
    conn = surface.dial(daemon, where)
    conn.send_until_closed(b" " * 5_000)
    assert conn.ends()


def test_one_key_is_for_all_surfaces_on_tcp_and_for_none_on_unix(start):
    """D49, spec 05 §6: the same key on v1, v2 and embed."""
    v2_port, embed_port = free_port(), free_port()
    daemon = start("--v2", "--v2-tcp", f"127.0.0.1:{v2_port}", "--embed", "--embed-tcp", f"127.0.0.1:{embed_port}", "--api-key", KEY,
                   tcp="127.0.0.1")
    assert daemon.connect().send(AUTH).text() == "mock-response"
    assert V2.works(V2.dial(daemon, ("127.0.0.1", v2_port)).send(AUTH))
    assert EMBED.works(EMBED.dial(daemon, ("127.0.0.1", embed_port)).send(AUTH))
    daemon.stop()
    daemon = start("--v2", "--embed", "--api-key", KEY, tcp="127.0.0.1")
    assert V2.works(V2.dial(daemon)) and EMBED.works(EMBED.dial(daemon))
    assert daemon.connect().send(request()).ends()


def test_an_address_that_others_reach_needs_a_key(start, config, surface):
    """README 22: a start error that names what set the address."""
    option = f"{surface.option}-tcp"
    start.fails(surface.option, option, "0.0.0.0:0", says=(option, "0.0.0.0:0", "key"))
    field = f"tcp_{surface.name}"
    start.fails(surface.option, *config(listen={field: "0.0.0.0:0"}), says=(f"listen.{field}", "0.0.0.0:0", "key"))
    start.fails(surface.option, option, "127.0.0.1:0", "--api-key=", says="key")


@pytest.mark.parametrize("address", ["localhost:0", "127.0.0.1", "127.0.0.1:65536", "garbage"])
def test_an_address_that_is_no_literal_ip_and_port_is_a_start_error(start, surface, address):
    """D28, spec 05 §5."""
    start.fails(surface.option, f"{surface.option}-tcp", address, says=(f"{surface.option}-tcp", address))


def test_a_port_in_use_is_a_start_error_that_names_it(start, surface):
    with socket.create_server(("127.0.0.1", 0)) as owner:
        address = "127.0.0.1:%d" % owner.getsockname()[1]
        start.fails(surface.option, f"{surface.option}-tcp", address, says=(f"{surface.option}-tcp", address, "in use"))


def test_the_port_that_port_0_became_is_told(start, surface):
    """Spec 05 §5."""
    daemon = start(surface.option, f"{surface.option}-tcp", "127.0.0.1:0")
    port = int(daemon.told(rf"{surface.name} listens on 127\.0\.0\.1:([1-9]\d*)")[1])
    assert surface.works(surface.dial(daemon, ("127.0.0.1", port)))


def test_the_config_file_says_where_and_the_command_line_beats_it(start, place, config, surface):
    """Spec 05 §3, README 20: `--v2-addr` beats `listen.tcp_v2`."""
    port = free_port()
    options = config(listen={f"tcp_{surface.name}": f"127.0.0.1:{port}"})
    daemon = start(surface.option, *options)
    assert surface.works(surface.dial(daemon, ("127.0.0.1", port)))
    assert not surface.path(place).exists()
    daemon.stop()
    path = place.base / "given.sock"
    daemon = start(surface.option, f"{surface.option}-addr", str(path), *options)
    assert surface.works(surface.dial(daemon, path))
    with pytest.raises(ConnectionRefusedError):
        Conn(("127.0.0.1", port))
    daemon.stop()
    other = free_port()
    daemon = start(surface.option, f"{surface.option}-tcp", f"127.0.0.1:{other}", *options)
    assert surface.works(surface.dial(daemon, ("127.0.0.1", other)))


def test_sighup_takes_a_new_key_for_it_too(start, place, config, surface):
    """Issue 5 item 1: key files are read again; who is connected stays."""
    key = place.base / "key"

    def write(text):
        key.write_text(text + "\n")
        key.chmod(0o600)

    write("first key of many")
    port = free_port()
    daemon = start(surface.option, *config(listen={f"tcp_{surface.name}": f"127.0.0.1:{port}", "api_key_file": str(key)}))
    where = ("127.0.0.1", port)
    old = surface.dial(daemon, where).send({"type": "auth", "key": "first key of many"})
    assert surface.works(old)
    write("second key of many")
    daemon.signal(signal.SIGHUP)
    daemon.signalled = False
    daemon.told("SIGHUP: limits, log filter and key files were read again")
    assert surface.dial(daemon, where).send({"type": "auth", "key": "first key of many"}).ends()
    assert surface.works(surface.dial(daemon, where).send({"type": "auth", "key": "second key of many"}))
    assert surface.works(old)


# ---------------------------------------------------------------- one surface is not another


def test_a_request_of_another_surface_gets_a_decode_error(served, surface):
    """Spec 01 §1: there is no negotiation in the band."""
    other, missing = {"v2": (EMBED, "messages"), "embed": (V2, "input")}[surface.name]
    assert_decode_error(surface.dial(served).send(other.conn.request()), "r", missing)
    assert_decode_error(served.connect().send(surface.conn.request()), "r", "messages")


def test_an_auth_frame_on_a_unix_socket_is_a_bad_request(served, surface):
    """Spec 01 §8.7."""
    assert_decode_error(surface.dial(served).send(AUTH), "", "messages" if surface is V2 else "input")


# ---------------------------------------------------------------- access lists

ASK = """
import socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.settimeout(30)
sock.connect(sys.argv[1])
sock.sendall(sys.stdin.buffer.read())
sock.shutdown(socket.SHUT_WR)
print(flush=True)
while data := sock.recv(65536):
    sys.stdout.buffer.write(data)
"""


def ask_as(uid, daemon, path, frame):
    """One request by a process of another user, which has sent it and half-closed before the daemon looks; what it was answered, up to a
    clean end: a reset makes it fail."""
    with frozen(daemon.pid):
        process = subprocess.Popen(["/usr/bin/env", "python3", "-c", ASK, str(path)], user=uid, group=uid, extra_groups=[], cwd="/",
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(compact(frame) + b"\n")
        process.stdin.close()
        process.stdout.readline()
    told, errors = process.stdout.read(), process.stderr.read()
    assert process.wait() == 0, (told, errors)
    return [json.loads(line) for line in told.splitlines()]


@pytest.mark.parametrize("access, allowed", [
    ({"users": [str(STRANGER)]}, True), ({"groups": [str(STRANGER)]}, True), (None, True), ({}, False), ({"users": ["1"]}, False),
], ids=str)
def test_the_access_list_of_a_surface_is_for_it_alone(start, place, config, surface, access, allowed):
    """Issue 5 item 5: a clear error and a record; the other surfaces have lists of their own; root and the daemon's own user are let in."""
    if os.geteuid():
        pytest.skip("not root: there is no other user to be")
    place.base.chmod(0o711)
    folder = place.base / "open"
    folder.mkdir(0o711)
    path = folder / "x.sock"
    other = "embed" if surface is V2 else "v2"
    daemon = start(*config(access={surface.name: access, other: {}}), "--group", "nogroup", surface.option, f"{surface.option}-addr", str(path),
                   v1=folder / "v1.sock")
    frames = ask_as(STRANGER, daemon, path, surface.conn.request())
    if allowed:
        assert frames[-1]["type"] == surface.last
    else:
        [error] = frames
        assert_error(error, "invalid_request", "", f"access.{surface.name}")
        assert str(STRANGER) in error["message"]
        record = daemon.logged(f"{surface.name}_connection_refused", wire_version=surface.name, transport="unix")
        assert (record["level"], record["peer_uid"]) == ("warn", STRANGER)
    assert ask_as(STRANGER, daemon, daemon.v1, request())[-1]["type"] == "done"
    assert surface.works(surface.dial(daemon, path))


def test_an_access_list_with_an_unknown_name_is_a_start_error(start, config, surface):
    """Issue 5 item 5."""
    start.fails(surface.option, *config(access={surface.name: {"users": ["no-such-user-here"]}}),
                says=(f"access.{surface.name}.users[0]", "no-such-user-here"))


def test_an_access_list_on_tcp_is_warned_about(start, config, surface):
    """Where nobody vouches for a uid it has no effect."""
    daemon, where = start_on_tcp(start, surface, *config(access={surface.name: {}}))
    daemon.told(f"access.{surface.name} has no effect")
    assert surface.works(surface.dial(daemon, where))


# ---------------------------------------------------------------- sockets of a service manager


def test_a_socket_that_was_passed_is_served_and_stays(start, place, surface):
    """README 15: the unit says that it is on; the file is the service manager's."""
    path = place.base / "units" / surface.name
    with listen(path) as sock:
        early = surface.conn(path).send(surface.conn.request())
        daemon = start(**passing(**{surface.name: sock}))
        daemon.track(early)
        assert early.answer()[-1]["type"] == surface.last
        assert surface.works(surface.dial(daemon, path))
        assert not surface.path(place).exists()
        daemon.stop()
        assert path.is_socket()


def test_a_passed_socket_beats_an_address(start, place, surface):
    """README 15: it is there already; the address is warned about."""
    path = place.base / "units" / surface.name
    with listen(path) as sock:
        daemon = start(surface.option, f"{surface.option}-addr", str(place.base / "x.sock"), **passing(**{surface.name: sock}))
        assert surface.works(surface.dial(daemon, path))
        assert not (place.base / "x.sock").exists()
        daemon.told(f"{surface.name} is served on the socket that the service manager passed")


def test_a_passed_tcp_socket_asks_for_the_key_and_needs_one_where_others_reach_it(start, surface):
    """README 22."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        daemon = start("--api-key", KEY, **passing(**{surface.name: sock}))
        assert surface.works(surface.dial(daemon, sock.getsockname()).send(AUTH))
        assert surface.dial(daemon, sock.getsockname()).send(surface.conn.request()).ends()
        daemon.stop()
    with socket.create_server(("0.0.0.0", 0)) as sock:
        start.fails(says=(f"0.0.0.0:{sock.getsockname()[1]}", "key"), **passing(**{surface.name: sock}))


def test_all_sockets_may_be_passed(start, place):
    """README 15, in whatever order."""
    with listen(place.base / "v1") as v1, listen(place.base / "v2") as v2, listen(place.base / "embed") as embed, listen(place.admin) as admin:
        daemon = start(**passing(embed=embed, v1=v1, admin=admin, v2=v2))
        daemon.v1 = place.base / "v1"
        assert daemon.connect().text() == "mock-response"
        assert V2.works(V2.dial(daemon, place.base / "v2")) and EMBED.works(EMBED.dial(daemon, place.base / "embed"))
        assert names_in(place.runtime) == ["admin.sock", "inferd.lock"]


# ---------------------------------------------------------------- log events


def test_a_connection_is_recorded_with_its_peer_and_wire_version(start, surface):
    """Spec 06 §7.2; before authentication."""
    daemon = start(surface.option)
    surface.dial(daemon)
    record = daemon.logged(f"{surface.name}_connection_accepted", transport="unix", wire_version=surface.name,
                           peer=f"unix:{os.geteuid()}:{os.getpid()}")
    assert (record["level"], record["component"], record["peer_uid"], record["peer_pid"]) == ("info", "activity", os.geteuid(), os.getpid())
    assert not [r for r in daemon.place.records() if r.get("msg") == "connection_accepted"]
    daemon.stop()
    daemon, where = start_on_tcp(start, surface, "--api-key", KEY)
    conn = surface.dial(daemon, where)
    record = daemon.logged(f"{surface.name}_connection_accepted", transport="tcp", peer="tcp:127.0.0.1:%d" % conn.sock.getsockname()[1])
    assert record["wire_version"] == surface.name and not {"peer_uid", "peer_pid"} & record.keys()


def test_d36_d39_secrets_in_a_request_id_never_reach_the_log_and_plain_text_is_unchanged(start, place, surface):
    """D36, D39, spec 06 §7.4."""
    daemon = start(surface.option)
    conn = surface.dial(daemon)
    ids = [*(f"before {secret} after" for secret in SECRETS), *PLAIN]
    for id in ids:
        assert conn.ask(id=id)[-1]["id"] == id
    daemon.logged(f"{surface.name}_request_done", req_id=PLAIN[-1])
    done = [record["req_id"] for record in place.records() if record["msg"] == f"{surface.name}_request_done"]
    assert done == [*(f"before [REDACTED:{marker}] after" for marker in SECRETS.values()), *PLAIN]
    assert not [secret for secret in SECRETS if secret in place.log_file.read_text()]


def test_records_have_their_base_keys_and_keys_are_sorted(start, place, surface):
    """Spec 06 §7.1; refused requests have no record (§7.2)."""
    daemon = start(surface.option)
    conn = surface.dial(daemon)
    conn.ask(id="refused", **surface.invalid)
    conn.ask(id="good")
    daemon.logged(f"{surface.name}_request_done", req_id="good")
    for record in place.records():
        assert list(record) == sorted(record) and {"t", "level", "component", "msg"} <= record.keys()
    assert "refused" not in [record.get("req_id") for record in place.records()]


# ---------------------------------------------------------------- drain


def begin_drain(daemon):
    admin = daemon.admin()
    daemon.signal()
    assert admin.frame()["status"] == "draining"


def test_an_idle_daemon_ends_and_unlinks_its_sockets(start, place, surface):
    """README 12: open connections that ask for nothing are not waited for."""
    daemon = start(surface.option)
    idle = [surface.dial(daemon), surface.dial(daemon).send(b'{"id":')]
    assert surface.works(surface.dial(daemon))
    daemon.signal()
    assert daemon.wait() == 0
    assert names_in(place.runtime) == ["inferd.lock"]
    assert all(conn.ends() for conn in idle)


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_while_the_drain_goes_on_nobody_new_gets_in_and_who_is_late_is_told(start, place, surface, tcp):
    """README 12: listeners are closed; `backend_unavailable`, `draining` on open connections; what is invalid is told as such."""
    options = {"delay_ms": HELD}
    daemon, where = start_on_tcp(start, surface, **options) if tcp else (start(surface.option, **options), None)
    late = surface.dial(daemon, where)
    assert_error(late.ask(**surface.invalid)[0], "invalid_request")
    running = daemon.submit("running")
    begin_drain(daemon)
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        surface.conn(where or surface.path(place))
    assert_error(late.ask(id="late")[0], "backend_unavailable", "late", "draining")
    assert_error(late.ask(**surface.invalid)[0], "invalid_request")
    running.close()
    assert daemon.wait() == 0
