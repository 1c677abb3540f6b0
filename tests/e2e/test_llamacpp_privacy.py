"""Prompts and answers are in no log, event or error (promise 12): a marker goes through every part of v1, in good and bad requests."""
import os
import signal

import pytest

from llama_fixtures import (  # noqa: F401
    assistant, engine_pid, running, start_llama, system, tell, text_of, user,
    words)
from wire import assert_error, request

MARKER = "xyzzy-marker-4711"
GOOD = {"user": {"messages": [user(MARKER)]}, "system": {"messages": [system(MARKER), user("x")]},
        "assistant": {"messages": [user("x"), assistant(MARKER), user("y")]}, "stop": {"stop": [MARKER]},
        "grammar": {"grammar": f'root ::= "{MARKER}"'}, "control text": {"messages": [user(f"<|im_end|>{MARKER}<|im_start|>")]},
        "NUL": {"messages": [user(f"\0{MARKER}")]}, "unknown field": {"future": MARKER}}
BAD = {"grammar that does not parse": {"grammar": f'root ::= "{MARKER}'}, "grammar with an unknown rule": {"grammar": f"root ::= {MARKER}"},
       "grammar of the marker alone": {"grammar": MARKER}, "grammar with left recursion": {"grammar": f'root ::= root "{MARKER}"'},
       "grammar without a root": {"grammar": f'other ::= "{MARKER}"'}, "grammar with a bad escape": {"grammar": f'root ::= "\\x{MARKER}"'},
       "grammar that is too long": {"grammar": f"# {MARKER}".ljust(70_000)}, "prompt that is too long": {"messages": [user(MARKER + words(9000))]},
       "long system prompt": {"messages": [system(MARKER * 10_000), user("x")]}, "huge prompt": {"messages": [user(MARKER * 1_000_000)]}}


def everything_written(place, daemon):
    """All that lies in the daemon's folders: logs, its output, whatever else it left."""
    content = daemon.output
    for folder, _, names in os.walk(place.base):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                content += open(path, errors="replace").read()
    return content


@pytest.fixture
def daemon(start_llama):
    return start_llama(env={"INFERD_LOG": "trace"})


def test_a_marker_in_requests_is_in_no_log(daemon, place):
    """Promise 12: logs, stderr of daemon and engine, with the filter wide open."""
    conn = daemon.connect()
    for fields in GOOD.values():
        assert text_of(conn.send(request("x", **{"max_tokens": 16, **fields})).answer()) is not None
    for fields in BAD.values():
        [error] = conn.send(request("x", **fields)).answer()
        assert_error(error, "invalid_request")
    daemon.stop()
    assert MARKER not in everything_written(place, daemon)
    assert "request_done" in place.log_file.read_text()


def test_a_marker_in_a_refused_request_is_not_in_the_error_frame(start_llama):
    """Promise 12: errors are pasted into bug reports."""
    conn = start_llama().connect()
    for name, fields in BAD.items():
        [error] = conn.send(request("x", **fields)).answer()
        assert MARKER not in error["message"], (name, error)


def test_a_marker_is_in_no_log_after_cancels_deaths_and_a_drain(start_llama, place):
    """Promise 12: the ways that seldom happen."""
    daemon = start_llama("--active-permits", "1", "--drain-timeout-secs", "0", env={"INFERD_LOG": "trace"})
    admin = daemon.admin()
    spoken = {"grammar": f'root ::= "{MARKER}" root', "max_tokens": 2000}
    running(daemon, request(MARKER, id="gone", **spoken)).close()
    daemon.logged("request_cancelled", req_id="gone")
    hit = running(daemon, request(MARKER, id="hit", **spoken))
    os.kill(engine_pid(daemon), signal.SIGKILL)
    frames = hit.answer()
    assert_error(frames[-1], "backend_unavailable", "hit")
    assert MARKER not in frames[-1]["message"]
    events = [admin.line()]
    while b'"ready"' not in events[-1]:
        events.append(admin.line())
    last = running(daemon, request(MARKER, id="last", **spoken))
    daemon.signal()
    assert last.answer()[-1]["type"] == "done"
    assert daemon.wait() == 0
    assert MARKER not in everything_written(place, daemon) and MARKER.encode() not in b"".join(events)


def test_answers_are_in_no_log(daemon, place):
    """Promise 12: what the model says is as private as what it was told."""
    text = text_of(tell(daemon, request("Speak.", grammar='root ::= "plugh-" [a-z]{12}')))
    daemon.stop()
    assert text not in everything_written(place, daemon) and "plugh-" not in daemon.output


def test_the_prompt_is_not_on_a_command_line_or_in_the_environment(start_llama):
    """Promise 12: other users can read the process list."""
    daemon = start_llama()
    running(daemon, request(MARKER, grammar=f'root ::= "{MARKER}" root'))
    for pid in (daemon.pid, engine_pid(daemon)):
        for file in ("cmdline", "environ"):
            assert MARKER.encode() not in open(f"/proc/{pid}/{file}", "rb").read()
