"""What the tests of v2 and embed share: where each is served, requests in its form, connections to it.

Test files import the fixtures that they use by name. With several test processes: --dist loadfile, so that `served` is started once a file.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import Starter
from daemon_process import Daemon, Place, free_port
from wire import Conn, assert_error

TAPE = ["alpha ", "beta ", "gamma"]
TEXT = "".join(TAPE)
ENDLESS = {"tape": ["word "] * 10_000, "delay_ms": 10}


def text(words: str) -> dict:
    return {"type": "text", "text": words}


def message(*content: dict | str, role: str = "user") -> dict:
    return {"role": role, "content": [text(block) if isinstance(block, str) else block for block in content]}


def use(kind: str, id: str) -> dict:
    """A block that refers to an attachment."""
    return {"type": kind, "attachment_id": id}


def v2_request(*content: dict | str, **fields) -> dict:
    """One message of the user with these blocks; a string is a text block."""
    return {"id": "r", "messages": [message(*content or ("hi",))], **fields}


def embed_request(*texts: str, **fields) -> dict:
    return {"id": "r", "input": list(texts or ("hi",)), **fields}


class V2Conn(Conn):
    """A connection to v2."""

    request = staticmethod(v2_request)

    def ask(self, *content: dict | str, **fields) -> list[dict]:
        return self.send(v2_request(*content, **fields)).answer()

    def text(self, *content: dict | str, **fields) -> str:
        """Asks and returns the text of the answer's blocks."""
        *frames, done = self.ask(*content, **fields)
        assert done["type"] == "done", done
        return "".join(text_deltas(frames))


class EmbedConn(Conn):
    """A connection to embed, where an answer is one frame."""

    request = staticmethod(embed_request)

    def answer(self) -> list[dict]:
        return [self.frame()]

    def ask(self, *texts: str, **fields) -> list[dict]:
        return self.send(embed_request(*texts, **fields)).answer()


def text_deltas(frames: list[dict]) -> list[str]:
    """Of frames that have to be text blocks."""
    for frame in frames:
        assert frame["type"] == "frame" and frame["block"]["type"] == "text", frame
    return [frame["block"]["delta"] for frame in frames]


@dataclass(frozen=True)
class Surface:
    name: str       # as in options, log events and access lists
    conn: type
    last: str       # `type` of the frame that ends an answer
    invalid: dict   # fields of a request that is refused, and the connection stays

    @property
    def option(self) -> str:
        return "--" + self.name

    def path(self, place: Place) -> Path:
        """Its default socket."""
        return place.runtime / f"infer.{self.name}.sock"

    def dial(self, daemon: Daemon, address: Path | tuple[str, int] | None = None) -> Conn:
        return daemon.track(self.conn(address or self.path(daemon.place)))

    def submit(self, daemon: Daemon, id: str, **fields) -> Conn:
        """Sends a request on a connection of its own and returns when the daemon has it: running, waiting or refused."""
        conn = self.dial(daemon)
        assert_error(conn.ask(**self.invalid)[-1], "invalid_request")
        conn.send(conn.request(id=id, **fields))
        daemon.settle()
        return conn

    def works(self, conn: Conn) -> bool:
        return conn.ask()[-1]["type"] == self.last


V2 = Surface("v2", V2Conn, "done", {"messages": []})
EMBED = Surface("embed", EmbedConn, "embeddings", {"input": []})


def start_on_tcp(start, surface: Surface, *args: str, **options) -> tuple[Daemon, tuple[str, int]]:
    """A daemon that serves the surface on loopback, and where."""
    port = free_port()
    return start(surface.option, f"{surface.option}-tcp", f"127.0.0.1:{port}", *args, **options), ("127.0.0.1", port)


@pytest.fixture(scope="module")
def served():
    """One mock daemon with all surfaces for all tests of a file that leave nothing behind: three pieces, no delay."""
    here = Place()
    starter = Starter(here)
    try:
        yield starter("--v2", "--embed", tape=TAPE)
        starter.stop()
    finally:
        here.remove()
