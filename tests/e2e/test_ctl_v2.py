"""`inferdctl run` over v2: images, sounds, tools, schemas, thinking. Against the daemon on the mock backend, and against a peer that says
what no mock does."""
import base64
import contextlib
import json
import os
import pty
import signal
import struct
import wave
import zlib

import pytest

from ctl_process import Peer, begun, ctl, ended, error
from daemon_process import HELD, free_port
from wire import DEADLINE

TAPE = ["alpha ", "beta ", "gamma"]
TEXT = "alpha beta gamma\n"
SURFACES = ("--v2",)
TOOL = {"name": "weather", "description": "Tells it.", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
DONE = {"type": "done", "id": "", "usage": {"input_tokens": 3, "output_tokens": 2, "cached_input_tokens": 0}, "stop_reason": "end_turn",
        "backend": "mock", "route": "mock"}


def text(delta: str) -> dict:
    return {"type": "frame", "id": "", "block": {"type": "text", "delta": delta}}


def thinking(delta: str) -> dict:
    return {"type": "frame", "id": "", "block": {"type": "thinking", "delta": delta}}


def call(id: str, name: str, **input) -> dict:
    return {"type": "frame", "id": "", "block": {"type": "tool_use", "tool_call_id": id, "name": name, "input": input}}


def png(width: int, height: int, rgb: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + rgb[y * width * 3:(y + 1) * width * 3] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def files(place):
    """A picture, a sound, a tool and a schema."""
    class Files:
        image, sound, tool, schema = (place.base / name for name in ("a.png", "a.wav", "tool.json", "schema.json"))
        rgb = bytes(range(2 * 3 * 3))
        samples = [0, 16384, -32768, 8192]
    Files.image.write_bytes(png(2, 3, Files.rgb))
    with wave.open(str(Files.sound), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes(struct.pack("<4h", *Files.samples))
    Files.tool.write_text(json.dumps(TOOL, indent=2))
    Files.schema.write_text('{\n  "type": "integer"\n}\n')
    return Files


@pytest.fixture
def peer(place):
    """Makes a peer at the default place of v2."""
    made = []

    def go(*answers):
        made.append(Peer(place.runtime / "infer.v2.sock", *answers))
        return made[-1]
    yield go
    for each in made:
        each.close()


@pytest.fixture
def typed(start):
    return start(*SURFACES, tape=TAPE)


def test_v2_prints_the_answer(typed):
    """The text and one line end on standard output, nothing on standard error."""
    got = ctl(typed.place, "run", "--v2", "hi")
    assert (got.returncode, got.stdout, got.stderr) == (0, TEXT, "")


def test_v2_json_prints_the_frames(typed):
    """As they came, one a line."""
    got = ctl(typed.place, "run", "--v2", "--json", "hi")
    frames = [json.loads(line) for line in got.stdout.splitlines()]
    assert got.returncode == 0 and got.stderr == ""
    assert [f["block"] for f in frames[:-1]] == [{"type": "text", "delta": piece} for piece in TAPE]
    assert (frames[-1]["type"], frames[-1]["stop_reason"]) == ("done", "end_turn")


def test_v2_streams_the_answer_and_ctrl_c_ends_it(start, place):
    """Pieces come while the answer goes on; exit code 130, and the daemon stops the work."""
    daemon = start(*SURFACES, tape=["piece "] * 10_000, delay_ms=5)
    process = begun(place, "run", "--v2", "hi")
    assert process.stdout.read(12) == "piece piece "
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert ended(process) == 130
    daemon.logged("v2_request_cancelled")


def test_v2_at_another_place(start, place):
    """A named socket, from the command line or the environment."""
    path = place.base / "other.sock"
    start("--v2", "--v2-addr", str(path), tape=TAPE)
    assert ctl(place, "run", "--v2-addr", path, "hi").stdout == TEXT
    assert ctl(place, "run", "--v2", "hi", env={"INFERD_V2_ADDR": str(path)}).stdout == TEXT


def test_v2_on_tcp_with_a_key(start, place):
    """The key is shown first; without it nothing is answered."""
    port = free_port()
    start("--v2", "--v2-tcp", f"127.0.0.1:{port}", tape=TAPE, env={"INFERD_API_KEY": "a key"})
    got = ctl(place, "run", "--v2-tcp", f"127.0.0.1:{port}", "hi", env={"INFERD_API_KEY": "a key"})
    assert (got.returncode, got.stdout) == (0, TEXT), got
    assert ctl(place, "run", "--v2-tcp", f"127.0.0.1:{port}", "hi").returncode == 8


def test_the_environment_alone_does_not_choose_v2(start, place):
    """Where v2 is says nothing of what is to be asked."""
    start(tape=TAPE)
    got = ctl(place, "run", "hi", env={"INFERD_V2_ADDR": str(place.base / "nobody.sock")})
    assert (got.returncode, got.stdout) == (0, TEXT), got


def test_media_reach_the_daemon(typed, files):
    """Real attachments pass its validation."""
    got = ctl(typed.place, "run", "--image", files.image, "--audio", files.sound, "--image", files.image, "what is it?")
    assert (got.returncode, got.stdout, got.stderr) == (0, TEXT, "")


def test_media_are_decoded_and_stand_before_the_prompt(place, peer, files):
    """RGB bytes and float samples as base64, each with its own id."""
    there = peer([text("a picture"), DONE])
    got = ctl(place, "run", "--audio", files.sound, "--image", files.image, "--image", files.image, "what is it?", "--system", "be brief")
    assert (got.returncode, got.stdout) == (0, "a picture\n"), got
    request, = there.requests
    first, second, sound = request["attachments"]
    assert (first["kind"], first["width"], first["height"]) == ("image", 2, 3)
    assert base64.b64decode(first["bytes"], validate=True) == files.rgb
    assert (sound["kind"], sound["sample_rate"]) == ("audio", 16000)
    assert list(struct.unpack("<4f", base64.b64decode(sound["bytes"], validate=True))) == [s / 32768 for s in files.samples]
    assert len({a["id"] for a in request["attachments"]}) == 3
    assert request["messages"] == [
        {"role": "system", "content": [{"type": "text", "text": "be brief"}]},
        {"role": "user", "content": [{"type": "image", "attachment_id": first["id"]}, {"type": "image", "attachment_id": second["id"]},
                                     {"type": "audio", "attachment_id": sound["id"]}, {"type": "text", "text": "what is it?"}]}]


def test_tools_and_settings_reach_the_daemon(place, peer, files):
    """Every setting under its name; what was not given is left out."""
    there = peer([DONE])
    other = place.base / "others.json"
    other.write_text(json.dumps([TOOL | {"name": "clock"}, TOOL | {"name": "Wärme"}]))
    got = ctl(place, "run", "--tool", files.tool, "--tool", other, "--tool-choice", "clock", "--max-tokens", "9", "--temperature", "0",
              "--top-p", "0.5", "--top-k", "3", "--seed", "7", "--stop", "x", "--batch", "hi")
    assert got.returncode == 0, got
    request, = there.requests
    assert request["tools"] == [TOOL, TOOL | {"name": "clock"}, TOOL | {"name": "Wärme"}]
    assert request["tool_choice"] == {"type": "tool", "name": "clock"}
    settings = {"max_tokens": 9, "temperature": 0, "top_p": 0.5, "top_k": 3, "seed": 7, "stop": ["x"], "priority": "batch"}
    assert {name: request[name] for name in settings} == settings
    assert not {"response_format", "attachments", "id", "local_only"} & set(request)


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
def test_tool_choices(place, peer, files, choice):
    """Words that are no names of tools."""
    there = peer([DONE])
    assert ctl(place, "run", "--tool", files.tool, "--tool-choice", choice, "hi").returncode == 0
    assert there.requests[0]["tool_choice"] == choice


def test_a_schema_becomes_the_response_format(place, peer, files):
    """On one line, as the wire needs it."""
    there = peer([text("7"), DONE])
    got = ctl(place, "run", "--schema", files.schema, "a number")
    assert (got.returncode, got.stdout) == (0, "7\n")
    assert there.requests[0]["response_format"] == {"type": "json_schema", "schema": {"type": "integer"}}


def test_a_call_is_a_line_of_json(place, peer, files):
    """Behind the text that came before it, with all that the wire says of it."""
    peer([text("I look"), call("tc-1", "weather", city="Bonn"), call("tc-2", "weather", city="Köln"), DONE | {"stop_reason": "tool_use"}])
    got = ctl(place, "run", "--tool", files.tool, "how warm?")
    lines = got.stdout.splitlines()
    assert got.returncode == 0 and lines[0] == "I look", got
    assert [json.loads(line) for line in lines[1:]] == [
        {"type": "tool_use", "tool_call_id": "tc-1", "name": "weather", "input": {"city": "Bonn"}},
        {"type": "tool_use", "tool_call_id": "tc-2", "name": "weather", "input": {"city": "Köln"}}]


def test_an_unsatisfied_tool_choice_is_told(place, peer, files):
    """On standard error: a script that reads the output sees no call."""
    peer([text("I think"), DONE | {"stop_reason": "max_tokens", "tool_choice_unsatisfied": True}])
    got = ctl(place, "run", "--tool", files.tool, "--tool-choice", "required", "hi")
    assert (got.returncode, got.stdout) == (0, "I think\n") and "--max-tokens" in got.stderr, got


def test_thinking_is_not_part_of_the_answer(place, peer):
    """Not shown off a terminal, unless it is asked for; then on standard error."""
    frames = [thinking("let me "), thinking("see"), text("yes"), DONE]
    peer(frames, frames)
    got = ctl(place, "run", "--v2", "hi")
    assert (got.returncode, got.stdout, got.stderr) == (0, "yes\n", "")
    got = ctl(place, "run", "--thinking", "hi")
    assert (got.returncode, got.stdout, got.stderr) == (0, "yes\n", "let me see\n")


@pytest.mark.parametrize("no_color, shown", [("", "\033[2mlet me see\033[0m\r\n"), ("1", "let me see\r\n")], ids=["dim", "NO_COLOR"])
def test_thinking_is_dim_on_a_terminal(place, peer, no_color, shown):
    """Standard error is one; the answer goes to a pipe."""
    peer([thinking("let me "), thinking("see"), text("yes"), DONE])
    ours, theirs = pty.openpty()
    process = begun(place, "run", "--v2", "hi", stderr=theirs, env={"NO_COLOR": no_color})
    os.close(theirs)
    assert (process.communicate(timeout=DEADLINE)[0], process.returncode) == ("yes\n", 0)
    told = b""
    with contextlib.suppress(OSError):  # how a terminal tells that the last writer has gone
        while part := os.read(ours, 4096):
            told += part
    os.close(ours)
    assert told.decode() == shown


def test_a_conversation_with_results_of_tools(place, peer, files):
    """After a call the next line is its result; the picture is part of the first turn alone."""
    there = peer([text("I look"), call("tc-1", "weather", city="Bonn"), call("tc-2", "weather", city="Ulm"), DONE | {"stop_reason": "tool_use"}],
                 [thinking("hm"), text("warmer in Bonn"), DONE], [text("bye"), DONE])
    got = ctl(place, "run", "-i", "--tool", files.tool, "--image", files.image, stdin="\nwhere is it warmer?\n20\n18\nthanks\n")
    assert got.returncode == 0 and got.stderr == "", got
    assert got.stdout.splitlines()[-2:] == ["warmer in Bonn", "bye"]
    last = there.requests[-1]["messages"]
    assert [m["role"] for m in last] == ["user", "assistant", "user", "assistant", "user"]
    assert [b["type"] for b in last[0]["content"]] == ["image", "text"]
    assert last[1]["content"] == [
        {"type": "text", "text": "I look"},
        {"type": "tool_use", "tool_call_id": "tc-1", "name": "weather", "input": {"city": "Bonn"}},
        {"type": "tool_use", "tool_call_id": "tc-2", "name": "weather", "input": {"city": "Ulm"}}]
    assert last[2]["content"] == [
        {"type": "tool_result", "tool_call_id": "tc-1", "content": [{"type": "text", "text": "20"}]},
        {"type": "tool_result", "tool_call_id": "tc-2", "content": [{"type": "text", "text": "18"}]}]
    assert last[3]["content"] == [{"type": "text", "text": "warmer in Bonn"}]
    assert last[4]["content"] == [{"type": "text", "text": "thanks"}]
    assert [len(r["attachments"]) for r in there.requests] == [1, 1, 1]


def test_a_turn_that_was_refused_is_not_part_of_the_history(place, peer):
    """The next one begins where the last answer ended."""
    there = peer([error("queue_full")], [text("yes"), DONE])
    got = ctl(place, "run", "--v2", "-i", stdin="one\ntwo\n")
    assert got.returncode == 0 and got.stdout == "yes\n" and "queue_full" in got.stderr, got
    assert [b["text"] for b in there.requests[1]["messages"][0]["content"]] == ["two"] and len(there.requests[1]["messages"]) == 1


WRONG_FILES = {
    "a missing image": ("--image", None, "No such file"),
    "no image": ("--image", b"GIF89a", "PNG or JPEG"),
    "half an image": ("--image", png(2, 3, bytes(18))[:50], "cannot be decoded as PNG"),
    "a missing sound": ("--audio", None, "No such file"),
    "no sound": ("--audio", b"fLaC", "WAV"),
    "a missing tool": ("--tool", None, "No such file"),
    "no JSON": ("--tool", b"{name: 1}", "not JSON"),
    "no tool": ("--tool", b"[]", '"input_schema"'),
    "a tool without a name": ("--tool", b'{"description":"","input_schema":{}}', "`name`"),
    "a missing schema": ("--schema", None, "No such file"),
    "no schema": ("--schema", b"[1]", "a JSON schema"),
}


@pytest.mark.parametrize("option, content, says", WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_wrong_file_is_named(place, option, content, says):
    """Exit code 2, with what was expected, before any daemon is asked."""
    path = place.base / "given file"
    if content is not None:
        path.write_bytes(content)
    got = ctl(place, "run", option, path, "hi")
    assert (got.returncode, got.stdout) == (2, ""), got
    assert str(path) in got.stderr and says in got.stderr, got


def test_images_that_fit_no_request_are_refused_before_they_are_decoded(place):
    """Both sizes are named; so is the file that was one too many."""
    big, small = place.base / "big.png", place.base / "small.png"
    small.write_bytes(png(1, 1, b"abc"))
    whole = png(1, 1, b"abc")
    header = struct.pack(">II", 50_000, 50_000) + whole[24:29]
    big.write_bytes(whole[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + whole[33:])
    got = ctl(place, "run", "--image", small, "--image", big, "hi")
    assert (got.returncode, got.stdout) == (2, "") and str(big) in got.stderr, got
    assert "50000 x 50000 pixels" in got.stderr and "MiB" in got.stderr, got


@pytest.mark.parametrize("args, says", [
    (("--v2", "--uds", "x"), "--v2-addr"), (("--v2", "--tcp", "127.0.0.1:1"), "--v2-tcp"), (("--v2-addr", "x", "--v2-tcp", "y"), "excludes"),
    (("--v2", "--grammar-file", "x"), "--grammar-file"), (("--image", ""), "--image"), (("--schema", ""), "--schema"),
    (("--tool-choice", ""), "--tool-choice"),
], ids=" ".join)
def test_wrong_usage_of_v2_is_exit_code_2(place, args, says):
    """A place of v1 is not taken for one of v2; v2 has no grammars."""
    got = ctl(place, "run", *args, "hi")
    assert (got.returncode, got.stdout) == (2, "") and says in got.stderr, got


def test_a_place_of_v1_in_the_environment_is_no_mistake(typed):
    """It is the shell's, for other commands."""
    got = ctl(typed.place, "run", "--v2", "hi", env={"INFERD_UDS": str(typed.v1)})
    assert (got.returncode, got.stdout) == (0, TEXT), got


def test_without_v2_it_is_exit_code_3(start, place):
    """No daemon, or one that does not serve v2: the error says what is missing."""
    for serve in (False, True):
        if serve:
            start(tape=TAPE)
        got = ctl(place, "run", "--v2", "hi", "--v2-addr", place.runtime / "infer.v2.sock", "--admin-addr", place.admin)
        assert (got.returncode, got.stdout) == (3, ""), got
        assert "Is inferd-daemon running?" in got.stderr and "inferd-daemon --v2" in got.stderr, got


@pytest.mark.parametrize("code, exit_code", [("invalid_request", 4), ("frame_too_large", 4), ("attachment_unsupported", 4), ("queue_full", 5),
                                             ("backend_unavailable", 6), ("internal", 7), ("tool_call_malformed", 7)])
def test_errors_of_the_daemon_have_their_exit_codes(place, peer, code, exit_code):
    """With the code and the message on standard error."""
    peer([error(code, "because of this")])
    got = ctl(place, "run", "--v2", "hi")
    assert got.returncode == exit_code and f"{code}: because of this" in got.stderr, got


@pytest.mark.parametrize("args, says", [
    (("--tool-choice", "required"), "tool_choice"), (("--tool-choice", "clock", "--tool", "TOOL"), "clock"),
    (("--schema", "SCHEMA", "--tool", "TOOL"), "response_format"), (("--tool", "TOOL", "--tool", "TOOL"), "weather"),
], ids=["a choice without tools", "a tool that is not declared", "schema and tools", "a tool twice"])
def test_what_the_daemon_refuses(typed, files, args, says):
    """Exit code 4 and its message, which names what is wrong."""
    given = [{"TOOL": files.tool, "SCHEMA": files.schema}.get(a, a) for a in args]
    got = ctl(typed.place, "run", *given, "hi")
    assert got.returncode == 4 and "invalid_request" in got.stderr and says in got.stderr, got


def test_a_full_queue_is_exit_code_5(start, place):
    """v1 and v2 share the places."""
    daemon = start(*SURFACES, "--active-permits", "1", "--queue-depth", "0", delay_ms=HELD)
    daemon.submit("running")
    got = ctl(place, "run", "--v2", "hi")
    assert got.returncode == 5 and "queue_full" in got.stderr, got


def test_an_answer_that_breaks_off_is_exit_code_8(place, peer):
    """Also one that is not the protocol."""
    peer(None, [{"type": "nonsense"}], [text("half"), text("of it"), {"type": "frame", "id": ""}])
    for printed in ("", "", "halfof it\n"):
        got = ctl(place, "run", "--v2", "hi")
        assert (got.returncode, got.stdout) == (8, printed) and got.stderr, got
