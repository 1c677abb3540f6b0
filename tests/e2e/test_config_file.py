"""The config file (spec 05 §2, README 16, 18, 20): where it is found, what beats what, who is let in, and SIGHUP. The mock backend
serves; models from the store stand in test_start_fetches.py."""
import json
import os
import signal
import subprocess

import pytest

from daemon_process import DAEMON, HELD, free_port, until
from wire import assert_error, request

MODEL = {"name": "m", "sha256": "0" * 64, "source_url": "https://127.0.0.1:1/m.gguf"}
BACKENDS = [{"kind": "llamacpp", "name": "local", "model": MODEL}]
STRANGER = 65534
KEY = "a key of sixteen bytes and more"


@pytest.fixture
def config(place):
    """Writes the file at its default place; a backend is in it unless the test gives its own."""
    path = place.home / ".inferd" / "config.json"

    def write(**fields):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"backends": BACKENDS} | fields))
        return path
    write.path = path
    return write


def key_file(place, text=KEY):
    path = place.base / "key"
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


def key_is(daemon, key):
    conn = daemon.connect()
    conn.send({"type": "auth", "key": key})
    conn.send(request(id="k"))
    return conn.line() is not None


# ---------------------------------------------------------------- found, wrong, merged


def test_a_file_at_the_default_place_is_used(start, place, config):
    """Spec 05 §4: `$HOME/.inferd/config.json`; its limits count."""
    config(limits={"queue_depth": 0})
    daemon = start("--backend", "mock", delay_ms=HELD)
    daemon.submit("first")
    assert_error(daemon.connect().ask()[-1], "queue_full")


def test_command_line_and_environment_beat_the_file(start, config):
    """README 20."""
    config(limits={"queue_depth": 0})
    daemon = start("--backend", "mock", env={"INFERD_QUEUE_DEPTH": "1"}, delay_ms=HELD)
    daemon.submit("first")
    waiting = daemon.submit("second")
    assert_error(daemon.connect().ask()[-1], "queue_full")
    waiting.close()


@pytest.mark.parametrize("text, says", [
    ("{", "JSON"), ('{"backends": []}', "backends"), ("{}", "backends"),
    ('{"backends": [{"kind": "llamacpp", "name": "a"}]}', "backends[0].model"),
    ('{"backends": [{"kind": "lamacpp", "name": "a"}]}', "llamacpp"),
    ('{"limits": {"queue_depth": -1}, "backends": [{"kind": "openai-compat", "name": "a", "base_url": "http://h", "model": "m"}]}',
     "limits.queue_depth"),
], ids=lambda value: value[:40])
def test_a_wrong_file_is_a_start_error_that_names_file_and_field(start, config, text, says):
    """README 20: never treated as missing."""
    config()
    config.path.write_text(text)
    start.fails(says=(config.path, says))
    start.fails("--backend", "mock", says=(config.path, says))


def test_admin_tells_why_a_start_failed(start, config):
    """README 16, 17: admin accepts before the file is opened, here a pipe that nobody has written to yet."""
    config.path.parent.mkdir()
    os.mkfifo(config.path)
    daemon = start("--config", str(config.path), ready=False)
    admin = until(daemon.dial_admin, "admin accepts")
    config.path.write_text("{}")
    events = [json.loads(line) for line in iter(admin.line, None)]
    assert events[-1]["status"] == "error" and "backends" in events[-1]["reason"]
    assert daemon.wait() == 1


def test_a_daemon_whose_file_is_a_pipe_that_nobody_writes_ends_when_told(start, config):
    """README 16."""
    config.path.parent.mkdir()
    os.mkfifo(config.path)
    daemon = start("--config", str(config.path), ready=False)
    until(daemon.dial_admin, "admin accepts").close()
    daemon.signal()
    assert daemon.wait() == 0


def test_a_file_that_was_named_and_is_not_there_is_no_mock(start, place):
    """README 20: nobody gets mock answers by a slip in a path. Who says --backend mock gets it."""
    start.fails("--config", str(place.base / "none.json"), says="none.json")
    assert start("--config", str(place.base / "none.json"), "--backend", "mock").connect().text() == "mock-response"


def test_a_kind_that_this_build_has_not_is_a_start_error(start, config):
    """README 27."""
    config(backends=[{"kind": "openai-compat", "name": "far", "base_url": "http://127.0.0.1:1", "model": "m"}])
    start.fails(says=(config.path, "backends[0].kind", "not in this build"))


def test_a_model_that_is_missing_is_a_start_error_without_auto_pull(start, place, config):
    """Spec 05 §8: the message points to the pull command."""
    config(auto_pull=False)
    start.fails(env={"MODELS_HOME": str(place.base / "models")}, says=("inferdctl pull", "m"))


def test_check_config_prints_values_with_their_sources(place, config):
    """Issue 5 item 1: secrets as "set" or "not set"."""
    config(limits={"queue_depth": 3}, listen={"tcp": "127.0.0.1:1"})
    told = subprocess.run([DAEMON, "--check-config", "--json", "--n-ctx", "512", "--api-key", KEY], env=place.env | {"INFERD_WRITE_TIMEOUT_SECS": "7"},
                          capture_output=True, text=True, timeout=10)
    assert told.returncode == 0, told.stderr
    assert KEY not in told.stdout + told.stderr
    assert "--n-ctx" in told.stdout and "INFERD_WRITE_TIMEOUT_SECS" in told.stdout and str(config.path) in told.stdout
    settings = {setting["path"]: setting for setting in json.loads(told.stdout)["settings"]}
    assert settings["listen.api_key"]["value"] == "set" and settings["limits.queue_depth"]["value"] == 3


# ---------------------------------------------------------------- who is let in


def ask_as(uid, path):
    """One request by a process of another user; what it was answered."""
    code = ("import os,socket,sys\n"
            f"os.setgroups([]); os.setgid({uid}); os.setuid({uid})\n"
            f"s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r})\n"
            "try:\n    s.sendall(b'{\"id\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}\\n')\n"
            "except BrokenPipeError:\n    pass\n"
            "s.settimeout(20)\n"
            "data = b''\n"
            "while not data.endswith(b'\\n') or b'token' in data.splitlines()[-1][:20]:\n"
            "    piece = s.recv(65536)\n    data += piece\n    if not piece: break\n"
            "sys.stdout.buffer.write(data)")
    told = subprocess.run(["python3", "-c", code], capture_output=True, text=True, timeout=30)
    assert told.returncode == 0, told.stderr
    return [json.loads(line) for line in told.stdout.splitlines()]


@pytest.mark.parametrize("access, allowed", [
    ({"users": [str(STRANGER)]}, True), ({"groups": [str(STRANGER)]}, True), ({"users": ["nobody"]}, True),
    ({}, False), ({"users": ["1"], "groups": ["2"]}, False),
], ids=str)
def test_the_access_list_says_which_users_and_groups_may_ask(start, place, config, access, allowed):
    """Issue 5 item 5: a refusal is a clear error and a record; root and the daemon's own user are always let in."""
    if os.geteuid() != 0:
        pytest.skip("not root: there is no other user to be")
    config(access={"v1": access})
    place.base.chmod(0o711)
    folder = place.base / "open"
    folder.mkdir(0o711)
    daemon = start("--backend", "mock", "--group", "nogroup", v1=folder / "v1.sock")
    frames = ask_as(STRANGER, daemon.v1)
    if allowed:
        assert frames[-1]["type"] == "done"
    else:
        assert_error(frames[-1], "invalid_request", id="")
        assert str(STRANGER) in frames[-1]["message"] and "access.v1" in frames[-1]["message"]
        assert daemon.logged("connection_refused")["peer_uid"] == STRANGER
    assert daemon.connect().text() == "mock-response"


def test_an_access_list_with_an_unknown_name_is_a_start_error(start, config):
    """Issue 5 item 5."""
    config(access={"v1": {"users": ["no-such-user-here"]}})
    start.fails("--backend", "mock", says=("access.v1.users[0]", "no-such-user-here"))


def test_the_key_of_tcp_clients_may_stand_in_a_file(start, place, config):
    """Issue 5 item 1: the owner's, 0600."""
    config(listen={"tcp": f"127.0.0.1:{free_port()}", "api_key_file": str(key_file(place))})
    daemon = start("--backend", "mock")
    host, port = json.loads(config.path.read_text())["listen"]["tcp"].split(":")
    daemon.v1 = (host, int(port))
    assert key_is(daemon, KEY)
    assert not key_is(daemon, KEY + "x")


def test_a_key_file_that_others_may_read_is_a_start_error(start, place, config):
    path = key_file(place)
    path.chmod(0o644)
    config(listen={"tcp": "127.0.0.1:1", "api_key_file": str(path)})
    start.fails("--backend", "mock", says=(path, "0644"))


def test_keys_are_not_shown_in_the_process_list(start):
    """Issue 5 item 5: /proc/PID/cmdline may be read by everybody."""
    for form in (["--api-key", KEY], [f"--api-key={KEY}"]):
        daemon = start(*form, tcp="127.0.0.1")
        with open(f"/proc/{daemon.pid}/cmdline", "rb") as shown:
            assert KEY.encode() not in shown.read()
        assert key_is(daemon, KEY)
        daemon.stop()


# ---------------------------------------------------------------- SIGHUP


def test_sighup_takes_limits_log_filter_and_key_files_and_names_the_rest(start, place, config):
    """Issue 5 item 1."""
    port = free_port()
    listen = {"tcp": f"127.0.0.1:{port}", "api_key_file": str(key_file(place, "first key of many"))}
    config(limits={"queue_depth": 0}, listen=listen, log_filter="info")
    daemon = start("--backend", "mock", delay_ms=HELD)
    daemon.v1 = ("127.0.0.1", port)
    old = daemon.connect().send({"type": "auth", "key": "first key of many"})
    old.send(request(id="held"))
    daemon.logged("connection_accepted")
    config(limits={"queue_depth": 1}, listen=listen, log_filter="debug", verify="always")
    key_file(place, "second key of many")
    daemon.signal(signal.SIGHUP)
    daemon.told("SIGHUP: limits, log filter and key files were read again")
    daemon.told("SIGHUP: verify has changed: restart")
    assert not key_is(daemon, "first key of many")
    fresh = daemon.connect().send({"type": "auth", "key": "second key of many"})
    fresh.send(request(id="waits"))
    last = daemon.connect().send({"type": "auth", "key": "second key of many"})
    assert_error(last.ask()[-1], "queue_full")
    daemon.signalled = False


@pytest.mark.parametrize("what", ["wrong", "gone", "a pipe"])
def test_sighup_with_a_wrong_file_changes_nothing(start, config, what):
    """README 20."""
    config(limits={"queue_depth": 0})
    daemon = start("--backend", "mock", delay_ms=HELD)
    config.path.write_text("{")
    if what != "wrong":
        config.path.unlink()
    if what == "a pipe":
        os.mkfifo(config.path)
    daemon.signal(signal.SIGHUP)
    daemon.told("everything stays as it is")
    daemon.signalled = False
    daemon.submit("first")
    assert_error(daemon.connect().ask()[-1], "queue_full")
