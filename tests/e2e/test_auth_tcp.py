"""v1 over TCP: addresses, the pre-shared key and what happens before it was shown (spec 05 §5 and §6, README 22)."""
import socket

import pytest

from daemon_process import free_port
from wire import Conn, assert_decode_error, compact, request

KEY = "correct horse battery staple"
AUTH = {"type": "auth", "key": KEY}


@pytest.fixture
def keyed(start):
    return start("--api-key", KEY, tcp="127.0.0.1")


def test_without_a_key_a_loopback_address_is_served_and_warned_about(start):
    """D46, D49, README 22."""
    daemon = start(tcp="127.0.0.1", tape=["a", "b"])
    assert [f["type"] for f in daemon.connect().ask()] == ["token", "token", "done"]
    daemon.told("warn.*key|key.*warn")


def test_the_right_key_gets_no_reply_and_opens_the_connection(keyed):
    """D49: any number of requests after one auth frame."""
    conn = keyed.connect().send(AUTH)
    assert [conn.ask()[0]["type"] for _ in range(3)] == ["token"] * 3


@pytest.mark.parametrize("line", [
    compact({"key": KEY, "type": "auth"}), compact({"type": "auth", "key": KEY, "extra": [1, {}]}),
    b" \t" + compact(AUTH) + b" \r", rb'{"type":"auth","key":"\u0063' + KEY[1:].encode() + b'"}',
], ids=["other order", "extra field", "white space", "escaped key"])
def test_the_auth_frame_is_json_like_any_other(keyed, line):
    """D26, spec 05 §6: any key order, extra fields ignored."""
    assert keyed.connect().send(line + b"\n", request()).answer()[-1]["type"] == "done"


@pytest.mark.parametrize("line", [
    compact({"type": "auth", "key": KEY[:-1] + "x"}), compact({"type": "auth", "key": KEY[:-1]}),
    compact({"type": "auth", "key": KEY + "x"}), compact({"type": "auth", "key": ""}),
    compact({"type": "auth"}), compact({"key": KEY}), compact({"type": "Auth", "key": KEY}),
    compact({"type": "auth", "key": 1}), compact({"type": "auth", "key": None}), compact([KEY]),
    b"garbage", b"", b"\xff\xfe", compact(request()), b'{"type":"auth","key":"x","key":' + compact(KEY) + b"}",
], ids=["same length", "shorter", "longer", "empty key", "no key", "no type", "other type", "number", "null", "array",
        "no JSON", "empty line", "broken UTF-8", "a request", "two keys"])
def test_a_wrong_first_line_ends_the_connection_without_a_frame(keyed, line):
    """D49, D26, spec 05 §6: silently, with one log record that has the peer."""
    conn = keyed.connect()
    peer = "tcp:127.0.0.1:%d" % conn.sock.getsockname()[1]
    conn.send(line + b"\n", request())
    assert conn.ends()
    assert keyed.logged("tcp_auth_rejected", peer=peer)["level"] == "warn"


def test_an_auth_frame_that_eof_cuts_off_ends_the_connection_without_a_frame(keyed):
    """Spec 05 §6: no LF before EOF is a failure, even when the frame is whole."""
    assert keyed.connect().half_close().ends()
    assert keyed.connect().send(compact(AUTH)).half_close().ends()


def test_an_unauthenticated_peer_has_4_kib(keyed):
    """README 22: more without an LF ends the connection; a frame within the bound is read."""
    conn = keyed.connect()
    conn.send_until_closed(b" " * 5_000)
    assert conn.ends()
    assert keyed.connect().send(b" " * 3_900 + compact(AUTH) + b"\n", request()).answer()[-1]["type"] == "done"


def test_unauthenticated_peers_are_closed_in_time_and_disturb_nobody(keyed):
    """README 22 (5 s): silent ones and slow ones, while another client is served and stays."""
    served = keyed.connect().send(AUTH)
    idle = [keyed.connect() for _ in range(3)]
    idle += [keyed.connect().send(part) for part in (b"{", compact(AUTH), b" " * 4_000)]
    assert served.ask()[-1]["type"] == "done"
    assert all(conn.ends() for conn in idle)
    assert served.ask()[-1]["type"] == "done"


def test_a_key_is_shown_once_a_second_auth_frame_is_a_bad_request(keyed):
    """Spec 05 §6, spec 01 §8.7: once per connection."""
    conn = keyed.connect().send(AUTH, AUTH)
    assert_decode_error(conn, says="messages")


def test_an_auth_frame_where_no_key_is_configured_is_a_bad_request(start):
    """Spec 01 §8.7, spec 09 §8.7."""
    assert_decode_error(start(tcp="127.0.0.1").connect().send(AUTH), says="messages")


def test_the_key_may_come_from_the_environment_and_the_command_line_beats_it(start):
    """Spec 05 §1 and §2.2."""
    daemon = start(tcp="127.0.0.1", env={"INFERD_API_KEY": KEY})
    assert daemon.connect().send(AUTH, request()).answer()[-1]["type"] == "done"
    daemon.stop()
    daemon = start("--api-key", KEY, tcp="127.0.0.1", env={"INFERD_API_KEY": "other"})
    assert daemon.connect().send(AUTH, request()).answer()[-1]["type"] == "done"


def test_a_key_does_not_concern_the_unix_socket(start):
    """D49, spec 05 §6: sockets skip authentication."""
    assert start("--api-key", KEY).connect().text() == "mock-response"


def test_an_empty_key_is_a_start_error(start):
    """README 22, for the option and its variable."""
    start.fails("--api-key=", tcp="127.0.0.1", says="key")
    start.fails(tcp="127.0.0.1", env={"INFERD_API_KEY": ""}, says="key")


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_an_address_beyond_loopback_needs_a_key(start, address):
    """README 22."""
    start.fails("--tcp", address, says=(address, "key"))


def test_an_address_beyond_loopback_with_a_key_is_served(start):
    """Spec 05 §5: non-loopback is allowed."""
    port = free_port()
    daemon = start("--tcp", f"0.0.0.0:{port}", "--api-key", KEY)
    daemon.v1 = ("127.0.0.1", port)
    assert daemon.connect().send(AUTH, request()).answer()[-1]["type"] == "done"


def test_ipv6_loopback_is_served(start):
    """Spec 05 §5: `[::1]:1` is an address."""
    try:
        free_port("::1")
    except OSError as error:
        pytest.skip(f"no IPv6 loopback on this machine: {error}")
    assert start(tcp="::1").connect().text() == "mock-response"


def test_the_port_that_port_0_became_is_told(start):
    """D1, spec 05 §5: the actual port is in the log."""
    daemon = start("--tcp", "127.0.0.1:0")
    daemon.v1 = ("127.0.0.1", int(daemon.told(r"127\.0\.0\.1:([1-9]\d*)")[1]))
    assert daemon.connect().text() == "mock-response"


@pytest.mark.parametrize("address", ["localhost:0", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", ":1", "256.0.0.1:1",
                                     "::1:0", "garbage", "127.0.0.1:1x", "127.0.0.1:-1"])
def test_an_address_that_is_no_literal_ip_and_port_is_a_start_error(start, address):
    """D28, spec 05 §5: host names are invalid input."""
    start.fails("--tcp", address, says=address)


def test_a_port_in_use_is_a_start_error_that_names_the_address(start):
    """Issue 3: a port in use; its owner keeps it."""
    with socket.create_server(("127.0.0.1", 0)) as owner:
        address = "127.0.0.1:%d" % owner.getsockname()[1]
        start.fails("--tcp", address, says=(address, "in use"))
        Conn(owner.getsockname()).close()


def test_a_port_can_be_used_again_right_after_its_daemon_ended(start):
    """Spec 05 §5: address reuse, although connections of the first are in TIME_WAIT."""
    daemon = start(tcp="127.0.0.1")
    assert daemon.connect().half_close().ends()
    idle = daemon.connect()
    daemon.signal()
    assert idle.ends() and daemon.wait() == 0
    again = start("--tcp", "127.0.0.1:%d" % daemon.v1[1])
    again.v1 = daemon.v1
    assert again.connect().text() == "mock-response"


def test_the_key_is_in_no_log_and_on_no_other_peers_wire(keyed, place):
    """Spec 06 §7.3."""
    keyed.connect().send(AUTH, request(id="after auth")).answer()
    keyed.connect().send({"type": "auth", "key": KEY + "!"}).ends()
    keyed.logged("request_done", req_id="after auth")
    keyed.logged("tcp_auth_rejected")
    assert KEY not in keyed.output + place.log_file.read_text()
