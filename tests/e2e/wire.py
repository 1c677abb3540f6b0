"""A small NDJSON client for the daemon's sockets (Unix or TCP), and what every error reply must look like."""
from __future__ import annotations

import json
import os
import select
import socket
import struct
from pathlib import Path

# Seconds until a wait counts as "never happens"; no test asserts how fast anything is.
DEADLINE = float(os.environ.get("INFERD_E2E_DEADLINE", "30"))
FRAME_LIMIT = 67_108_864  # spec 01 §2: bytes of a line without its LF
TERMINAL = ("done", "error")


def compact(value) -> bytes:
    """JSON as the daemon has to write it: no spaces, keys in order, escapes of spec 01 §2.2."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def request(text: str = "hi", **fields) -> dict:
    return {"id": "r", "messages": [{"role": "user", "content": text}], **fields}


class Conn:
    """One connection. Every read has a deadline; EOF and a reset both read as None."""

    def __init__(self, address: Path | str | tuple[str, int]):
        if isinstance(address, tuple):
            self.sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            address = str(address)
        self.sock.settimeout(DEADLINE)
        self.buffer = bytearray()
        try:
            self.sock.connect(address)
        except BaseException:
            self.sock.close()
            raise

    def send(self, *parts: dict | bytes) -> "Conn":
        """Writes all parts in one go: dicts as frames, bytes as they are."""
        self.sock.sendall(b"".join(p if isinstance(p, bytes) else compact(p) + b"\n" for p in parts))
        return self

    def send_until_closed(self, data: bytes) -> None:
        """Writes data; a peer that closes meanwhile is not an error here."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def line(self) -> bytes | None:
        """The next line without its LF, or None when the server has closed."""
        scanned = 0
        while (end := self.buffer.find(b"\n", scanned)) < 0:
            scanned = len(self.buffer)
            try:
                data = self.sock.recv(1 << 18)
            except ConnectionResetError:
                data = b""
            if not data:
                assert not self.buffer, f"connection ended inside a line: {bytes(self.buffer[:200])!r}"
                return None
            self.buffer += data
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 1]
        return line

    def frame(self) -> dict:
        line = self.line()
        assert line is not None, "the server closed where a frame was due"
        return json.loads(line)

    def answer(self) -> list[dict]:
        """All frames up to and including the terminal one."""
        frames = [self.frame()]
        while frames[-1]["type"] not in TERMINAL:
            frames.append(self.frame())
        return frames

    def ask(self, text: str = "hi", **fields) -> list[dict]:
        return self.send(request(text, **fields)).answer()

    def text(self, prompt: str = "hi", **fields) -> str:
        """Asks and returns the text of the `done` frame."""
        last = self.ask(prompt, **fields)[-1]
        assert last["type"] == "done", last
        return last["content"]

    def ends(self) -> bool:
        """True when the server has closed and sent nothing more."""
        line = self.line()
        assert line is None, f"expected the end of the connection, got {line[:200]!r}"
        return True

    def hung_up(self) -> bool:
        """True once the server has closed its end, without reading what it sent."""
        poll = select.poll()
        poll.register(self.sock, 0)
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(10))

    def half_close(self) -> "Conn":
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Closes at once; on TCP with an RST."""
        if self.sock.fileno() >= 0 and self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def assert_error(frame: dict, code: str, id: str | tuple[str, ...] = "r", says: str = "") -> None:
    """`frame` is an error frame with exactly the fields of spec 01 §6, this code, this id (or one of these); its message
    contains `says`."""
    assert list(frame) == ["type", "id", "code", "message"], frame
    assert (frame["type"], frame["code"]) == ("error", code), frame
    assert frame["id"] in ((id,) if isinstance(id, str) else id), frame
    assert says in frame["message"], frame


def assert_decode_error(conn: Conn, id: str | tuple[str, ...] = "", says: str = "") -> None:
    """The next frame is a decode error, and the server closes after it (spec 01 §2.1). A reply carries the id where one
    could be read (README 2); in a line that is no JSON that may be either, so such tests give both."""
    frame = conn.frame()
    assert_error(frame, "invalid_request", id, says)
    assert frame["message"].startswith("decode: "), frame
    assert conn.ends()
