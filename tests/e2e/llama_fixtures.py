"""What the tests of the real-model path share: the model, daemons that serve it, the engine's process, grammars.

Model: INFERD_MODEL, else the default model in the store (INFERD_MODELS_HOME or ~/.local/share/models). Test files import the
fixtures that they use by name; `llama` loads the model once for all tests of a file (with pytest-xdist: --dist loadfile).
"""
from __future__ import annotations

import functools
import hashlib
import os
import re
from pathlib import Path

import pytest

from daemon_process import BIN_DIR, Daemon, Place, until
from wire import Conn, request

DEFAULT_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
STORE = Path(os.environ.get("INFERD_MODELS_HOME") or Path.home() / ".local/share/models")
DEFAULT_MODEL = STORE / "blobs/sha256" / DEFAULT_SHA256[:2] / DEFAULT_SHA256 / "data"
MODEL = Path(os.environ.get("INFERD_MODEL") or DEFAULT_MODEL)
ENGINE = BIN_DIR / "inferd-engine"

ENDLESS = "root ::= [a-z] root"  # can never end
COUNT = "Count from one to ten."  # greedy: every token wins by far, so rounding in another batch cannot change the text
STORY = "Write a story about a fox and a lighthouse."
PROMPT_WORDS = "the quick brown fox jumps over the lazy dog while seven old wizards mix a blue potion near the river ".split()


@functools.cache
def model_sha256() -> str:
    if "INFERD_MODEL" not in os.environ:
        return DEFAULT_SHA256
    with MODEL.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def need_model() -> None:
    """A model that was named has to be there; without the default one these tests cannot run."""
    if not os.access(ENGINE, os.X_OK):
        pytest.skip(f"{ENGINE} is not there: this build has no llama.cpp")
    if not MODEL.is_file():
        assert "INFERD_MODEL" not in os.environ, f"INFERD_MODEL={MODEL} is no file"
        pytest.skip(f"no model at {MODEL}: put the default model there or set INFERD_MODEL")


def llama_options(*args: str, model: Path = MODEL, sha256: str | None = None) -> tuple[str, ...]:
    """Options that serve `model`, on one thread if `args` does not say otherwise: threads that wait for each other take a
    hundred times as long where other tests use the same CPUs."""
    threads = () if "--threads" in args else ("--threads", "1")
    return ("--backend", "llamacpp", "--model-path", str(model), "--model-sha256", sha256 or model_sha256(), *threads, *args)


def engine_options(*args: str) -> list[str]:
    """The daemon's test option that hands `args` to the engine."""
    return [f"--engine-argument={arg}" for arg in args]


def words(count: int) -> str:
    """Text of `count` words, about one token each."""
    return " ".join(PROMPT_WORDS[n % len(PROMPT_WORDS)] for n in range(count))


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def system(text: str) -> dict:
    return {"role": "system", "content": text}


def assistant(text: str) -> dict:
    return {"role": "assistant", "content": text}


def greedy(text: str, id: str = "r", max_tokens: int = 24, **fields) -> dict:
    return request(text, id=id, temperature=0, max_tokens=max_tokens, **fields)


def endless(id: str, max_tokens: int = 1500, **fields) -> dict:
    """A request that goes on for longer than any test looks at it."""
    return request(STORY, id=id, grammar=ENDLESS, max_tokens=max_tokens, **fields)


def text_of(frames: list[dict]) -> str:
    """The answer's text; asserts that it came whole."""
    assert frames[-1]["type"] == "done", frames[-1]
    assert frames[-1]["content"] == "".join(f["content"] for f in frames[:-1])
    return frames[-1]["content"]


def tell(daemon: Daemon, request: dict) -> list[dict]:
    """Asks on a connection of its own."""
    conn = daemon.connect()
    frames = conn.send(request).answer()
    conn.close()
    return frames


def prompt_tokens(conn: Conn, *messages: dict) -> int:
    [done] = conn.send(request(messages=list(messages), max_tokens=0)).answer()
    assert done["type"] == "done", done
    return done["usage"]["prompt_tokens"]


def running(daemon: Daemon, request: dict) -> Conn:
    """Sends a request and returns when its first token is there."""
    conn = daemon.connect().send(request)
    first = conn.frame()
    assert first["type"] == "token", first
    return conn


def is_silent(conn: Conn) -> bool:
    """True when nothing has arrived on it, nor its end."""
    conn.sock.setblocking(False)
    try:
        conn.sock.recv(1)
    except BlockingIOError:
        return not conn.buffer
    finally:
        conn.sock.settimeout(30)
    return False


def engines(daemon_pid: int) -> list[int]:
    """Living children of the daemon that run the engine."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name, rest = (entry / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
            except OSError:
                continue
            state, parent = rest.split()[:2]
            if int(parent) == daemon_pid and state != "Z" and name == "inferd-engine":
                found.append(int(entry.name))
    return found


def engine_pid(daemon: Daemon) -> int:
    [pid] = until(lambda: engines(daemon.pid), "the engine runs")
    return pid


def cpu_ticks(pid: int) -> int:
    """CPU time that a process has used, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def memory_mib(pid: int, kind: str) -> int:
    """`kind` as in /proc/PID/status: VmSize, or VmHWM, the most resident memory that the process has had."""
    return int(re.search(rf"{kind}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) >> 10


def computing(pid: int, ticks: int = 20) -> None:
    """Returns when the process has used that many ticks more: it is at work."""
    before = cpu_ticks(pid)
    until(lambda: cpu_ticks(pid) >= before + ticks, "the engine computes")


def records(daemon: Daemon, msg: str) -> list[dict]:
    return [r for r in daemon.place.records() if r.get("msg") == msg]


@pytest.fixture
def start_llama(start):
    """Starts daemons with the model; stops those that still run at the end."""
    need_model()

    def go(*args: str, **options) -> Daemon:
        return start(*llama_options(*args), **options)

    return go


@pytest.fixture(scope="module")
def llama():
    """One daemon with the model, as it comes (8 sequences), for all tests of a file that leave nothing behind."""
    need_model()
    here = Place()
    daemon = Daemon(here, *llama_options())
    try:
        daemon.wait_ready()
        yield daemon
        daemon.stop()
    finally:
        if daemon.code is None and daemon.process.poll() is None:
            daemon.kill()
        here.remove()


@pytest.fixture
def talk(llama):
    """A connection to it."""
    conn = llama.connect()
    yield conn
    conn.close()
