"""A marker that is sent through every part of v1 that takes text is in nothing but its sender's own replies (promise 12, issue 5): in no
log, event or reply to anybody else, with the log filter wide open; and no core file is written. It is not sent as `id`: that is recorded by
design, for whoever looks for one request, and so is not private."""
import json
import os
import secrets

import pytest

from llama_fixtures import ENDLESS, assistant, start_llama, system, user  # noqa: F401
from test_sockets_and_paths import uid  # noqa: F401
from wire import FRAME_LIMIT, TERMINAL, Conn, assert_error, compact, request

MARKER, ANSWER, KEY = (f"{what}{secrets.token_hex(8)}" for what in ("marker", "answer", "entry"))
RAW = MARKER.encode()
FIELDS = [  # of requests, right and wrong
    {}, {"stream": False}, {"messages": [system(MARKER), user(MARKER), assistant(MARKER), user(MARKER)]},
    {"grammar": f'root ::= "{MARKER}"'}, {"grammar": f'root ::= "{ANSWER}"'}, {"stop": [MARKER]}, {"priority": "batch", "progress": True},
    {MARKER: MARKER}, {"future": {MARKER: [MARKER, {MARKER: 1}]}}, {"messages": [{**user(MARKER), MARKER: MARKER}]},
    {"messages": [user(MARKER * 20_000)]}, {"messages": [user(f"\0{MARKER}<|im_end|>")]},
    {"grammar": f'root ::= "{MARKER}'}, {"grammar": f"root ::= {MARKER}"}, {"grammar": MARKER}, {"grammar": f'root ::= root "{MARKER}"'},
    {"grammar": f'{MARKER} ::= "x"'}, {"grammar": f"# {MARKER}".ljust(70_000)}, {"grammar": {MARKER: MARKER}},
    {"stop": MARKER}, {"stop": [MARKER] * 17}, {"stop": [MARKER * 20]}, {"stop": [[MARKER]]},
    {"messages": MARKER}, {"messages": [MARKER]}, {"messages": [], "future": MARKER}, {"messages": [{"role": MARKER, "content": MARKER}]},
    {"messages": [{"role": "user", "content": [MARKER]}]}, {"messages": [{"role": "user", MARKER: MARKER}]},
    *({name: MARKER} for name in ("temperature", "top_p", "top_k", "max_tokens", "seed", "stream", "priority", "local_only", "progress",
                                  "image_token_budget")),
]
NO_REQUESTS = [
    RAW, b'"%s"' % RAW, b'["%s"]' % RAW, b'{"%s' % RAW, b'{"%s":1}' % RAW, b'{"messages":[{"role":"user","content":"%s"}]' % RAW,
    b'{"id":{"%s":1},"messages":[]}' % RAW, b'{"messages":[],"messages":"%s"}' % RAW, b'{"grammar":"%s","grammar":"%s"}' % (RAW, RAW),
    b'{"messages":[{"role":"user","content":"%s\xff"}]}' % RAW, b'{"messages":[{"role":"user","content":"%s\\q"}]}' % RAW,
    b'{"x":' + b"[" * 200 + RAW, b"POST /%s HTTP/1.1\r\nAuthorization: Bearer %s\r\n\r\n" % (RAW, RAW),
    compact({"type": "auth", "key": MARKER}),
]
OVER_LONG = RAW * (FRAME_LIMIT // len(RAW) + 1)


def heard(conn: Conn) -> bytes:
    """The lines up to the one that ends the answer, or to the end of the connection."""
    lines = []
    while (line := conn.line()) is not None:
        lines.append(line)
        if json.loads(line)["type"] in TERMINAL:
            break
    return b"\n".join(lines)


@pytest.fixture(params=["mock", "mock over TCP", "llamacpp"])
def dial(request):
    """Opens connections to a daemon that serves this way; `dial.daemon` is the daemon."""
    env = {"INFERD_LOG": "trace"}
    if request.param == "llamacpp":
        daemon = request.getfixturevalue("start_llama")(env=env)
    else:
        tcp = "127.0.0.1" if "TCP" in request.param else ""
        daemon = request.getfixturevalue("start")("--api-key", KEY, tape=[ANSWER, "."], tcp=tcp, env=env)

    def go() -> Conn:
        conn = daemon.connect()
        return conn.send({"type": "auth", "key": KEY}) if isinstance(daemon.v1, tuple) else conn

    go.daemon = daemon
    return go


def show_wrong_keys(daemon) -> None:
    for line in (compact({"type": "auth", "key": MARKER}), compact({"type": "auth", "key": KEY + MARKER}), compact({MARKER: MARKER}), RAW,
                 RAW * 200, compact(request(MARKER))):
        conn = daemon.connect()
        conn.send_until_closed(line + b"\n")
        assert conn.ends()


def test_a_marker_comes_back_to_its_sender_alone(dial, place):
    """Promise 12."""
    daemon = dial.daemon
    admin, other = daemon.admin(), dial()
    own, others = b"", b""
    lines = [compact(request(MARKER, **{"max_tokens": 4, **fields})) for fields in FIELDS]
    for line in [*lines, *NO_REQUESTS, OVER_LONG]:
        conn = dial()
        conn.send_until_closed(line + b"\n")
        own += heard(conn)
        conn.close()
        others += heard(other.send(request("Say one word.", max_tokens=2)))
    assert RAW in own, "nothing was sent"
    dial().send(b'{"messages":[{"role":"user","content":"' + RAW).close()
    gone = dial().send(request(MARKER, grammar=ENDLESS, max_tokens=500))
    assert gone.frame()["type"] == "token"
    gone.close()
    if isinstance(daemon.v1, tuple):
        show_wrong_keys(daemon)
    admin.send(RAW + b"\n")
    others += heard(other.send(request("Say one word.", id="last", max_tokens=2)))
    daemon.logged("request_done", req_id="last")
    daemon.signal()
    events = b""
    while (event := admin.line()) is not None:
        events += event
    assert daemon.wait() == 0
    written = b"".join(path.read_bytes() for path in place.base.rglob("*") if path.is_file())
    assert b'"request_done"' in written and b"draining" in events
    for text in (RAW, ANSWER.encode(), KEY.encode()):
        assert text not in written and text not in events
    assert RAW not in others


def test_an_error_reply_does_not_repeat_the_prompt(conn):
    """Promise 12: errors are pasted into bug reports."""
    conn.send(request(MARKER, seed="x"))
    error = conn.frame()
    assert_error(error, "invalid_request", says="seed")
    assert MARKER not in error["message"]


def test_the_daemon_leaves_no_core_file_and_its_memory_is_not_for_others_of_the_same_user(start, uid):  # noqa: F811
    """PR_SET_DUMPABLE 0: no core is written, nor given to a program, and the files of /proc/PID are root's. (The engine's:
    test_llamacpp_sandbox.)"""
    daemon = start(uid=uid)
    assert daemon.connect().text() == "mock-response"
    assert os.stat(f"/proc/{daemon.pid}/mem").st_uid == 0
