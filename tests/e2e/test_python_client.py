"""The Python client (clients/python), blocking and asyncio: against the daemon on the mock backend, and against peers that do not keep to the
protocol. What holds for both clients is one test with both."""
from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from array import array
from pathlib import Path

import pytest

from callers import NOBODY
from daemon_process import HELD, Daemon, Place, until
from wire import DEADLINE, FRAME_LIMIT, compact

CLIENT = Path(__file__).resolve().parents[2] / "clients/python"
sys.path.insert(0, str(CLIENT))
import inferd  # noqa: E402

KEY = "correct horse battery staple"
TAPE = ["alpha ", "beta ", "gamma"]
GOLDEN = Path(__file__).resolve().parents[1] / "golden"
README_BLOCKS = re.findall(r"```python\n(.*?)```", (CLIENT / "README.md").read_text(), re.S)


class Blocking:
    """The blocking client under the names that the tests use."""

    api = inferd

    def call(self, kind, method, *args, client=None, **options):
        with getattr(inferd, kind)(**client or {}) as it:
            return getattr(it, method)(*args, **options)

    def complete(self, kind, *args, client=None, **options):
        return self.call(kind, "complete", *args, client=client, **options)

    def events(self, kind, *args, client=None, **options):
        with getattr(inferd, kind)(**client or {}) as it:
            return list(it.stream(*args, **options))

    def first_event_only(self, it, *args, **options):
        for event in it.stream(*args, **options):
            return event

    def wait_ready(self, *args, **options):
        inferd.wait_ready(*args, **options)

    def status(self, path, on_event):
        """Every event until the daemon ends."""
        with inferd.Status(path) as status:
            for event in status:
                on_event(event)

    def drive(self, kind, scenario, **client):
        """Runs `scenario(client, wait)` where wait() gives the result of a call."""
        with getattr(inferd, kind)(**client) as it:
            return scenario(it, lambda result: result)


class Asyncio:
    """The same of the asyncio client."""

    api = inferd.aio

    def call(self, kind, method, *args, client=None, **options):
        async def go():
            async with getattr(inferd.aio, kind)(**client or {}) as it:
                return await getattr(it, method)(*args, **options)
        return asyncio.run(go())

    complete = Blocking.complete

    def events(self, kind, *args, client=None, **options):
        async def go():
            async with getattr(inferd.aio, kind)(**client or {}) as it:
                return [event async for event in it.stream(*args, **options)]
        return asyncio.run(go())

    def wait_ready(self, *args, **options):
        asyncio.run(inferd.aio.wait_ready(*args, **options))

    def status(self, path, on_event):
        async def go():
            async with inferd.aio.Status(path) as status:
                async for event in status:
                    on_event(event)
        asyncio.run(go())

    def drive(self, kind, scenario, **client):
        loop = asyncio.new_event_loop()
        try:
            it = getattr(inferd.aio, kind)(**client)
            try:
                return scenario(it, loop.run_until_complete)
            finally:
                loop.run_until_complete(it.close())
        finally:
            loop.close()

    def first_event_only(self, it, *args, **options):
        async def go():
            async for event in it.stream(*args, **options):
                return event
        return go()


@pytest.fixture(params=[Blocking, Asyncio], ids=["blocking", "asyncio"])
def how(request):
    return request.param()


class Served:
    """The peer's end of a connection. Reads have a deadline; the end reads as b""."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE)
        self.sock, self.file = sock, sock.makefile("rb")

    def line(self) -> bytes:
        return self.file.readline()

    def request(self) -> dict:
        return json.loads(self.line())

    def send(self, *frames: dict | bytes) -> None:
        for frame in frames:
            self.sock.sendall(frame if isinstance(frame, bytes) else compact(frame) + b"\n")

    def ended(self) -> bool:
        """True once the client has hung up."""
        try:
            return self.line() == b""
        except ConnectionResetError:
            return True


class Peer:
    """A server that plays one script on each connection, in a thread, and keeps what the scripts return. An exception of a script is raised at
    the end of the test, but for one that only says that the client was gone first."""

    def __init__(self, *scripts, address=None) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="ie-", dir="/tmp"))
        self.path = str(self.base / "peer.sock")
        self.listener = socket.socket(socket.AF_INET if address else socket.AF_UNIX)
        self.listener.bind(address or self.path)
        self.listener.listen(8)
        self.results, self.failures = queue.Queue(), []
        self.thread = threading.Thread(target=self._serve, args=(scripts,), daemon=True)
        self.thread.start()

    def _serve(self, scripts) -> None:
        for script in scripts:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return  # closed: nobody came
            with sock:
                try:
                    self.results.put(script(Served(sock)))
                except (BrokenPipeError, ConnectionResetError):
                    self.results.put(None)
                except BaseException as failure:
                    self.failures.append(failure)

    def result(self):
        return self.results.get(timeout=DEADLINE)

    def close(self) -> None:
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        except OSError:
            pass
        self.listener.close()
        self.thread.join(DEADLINE)
        shutil.rmtree(self.base, ignore_errors=True)
        assert not self.thread.is_alive(), "the peer's script did not end"
        if self.failures:
            raise self.failures[0]


@pytest.fixture
def peer():
    made = []

    def go(*scripts, **options) -> Peer:
        made.append(Peer(*scripts, **options))
        return made[-1]

    yield go
    for each in made:
        each.close()


def answering(*frames):
    """A script: reads a request and answers with these frames; "ID" stands for its id. Gives the request."""
    def script(conn):
        line = conn.line()
        id = compact(json.loads(line)["id"])
        conn.send(*(frame if isinstance(frame, bytes) else compact(frame).replace(b'"ID"', id) + b"\n" for frame in frames))
        return line
    return script


def delta(text, kind="text"):
    return {"type": "frame", "id": "ID", "block": {"type": kind, "delta": text}}


def tool_use(input, call="tc-1", name="weather"):
    return {"type": "frame", "id": "ID", "block": {"type": "tool_use", "tool_call_id": call, "name": name, "input": input}}


def error(code, id="ID"):
    return {"type": "error", "id": id, "code": code, "message": "why"}


DONE = {"type": "done", "id": "ID", "usage": {"input_tokens": 3, "output_tokens": 2, "cached_input_tokens": 1}, "stop_reason": "end_turn",
        "backend": "mock", "route": "chat"}
DONE_021 = {"type": "done", "id": "ID", "usage": {"input_tokens": 3, "output_tokens": 2}, "stop_reason": "end_turn", "backend": "mock"}
V1_DONE = {"type": "done", "id": "ID", "content": "ab", "usage": {"prompt_tokens": 3, "completion_tokens": 2}, "stop_reason": "end",
           "backend": "mock"}
EMBEDDED = {"type": "embeddings", "id": "ID", "embeddings": [[0.5, 1.0]], "dimensions": 2, "model": "m", "usage": {"input_tokens": 1},
            "backend": "mock"}
READY = {"id": "admin", "status": "ready", "type": "status"}


# --- v1, on the daemon

def test_a_text_answer_has_its_text_usage_and_origin(how, served):
    """Spec 01 section 6, README 3."""
    answer = how.complete("TextChat", "hi", client={"socket": served.v1}, id="a1")
    assert answer == inferd.Answer(
        text="alpha beta gamma", thinking="", tool_calls=(), message=inferd.Message("assistant", "alpha beta gamma"), stop_reason="end",
        usage=inferd.Usage(0, 3, 0), backend="mock", route="mock", id="a1")


def test_a_text_stream_gives_each_piece(how, served):
    """Spec 01 section 6."""
    assert how.events("TextChat", "hi", client={"socket": served.v1}) == [inferd.TextDelta(piece) for piece in TAPE]


def test_every_option_of_v1_is_one_that_the_daemon_takes(how, served):
    """Spec 01 section 3, README 3."""
    messages = [inferd.Message("system", "be brief"), {"role": "user", "content": "hi"}, inferd.Message("assistant", "yes?"),
                inferd.Message("user", "ü☃𝄞")]
    answer = how.complete("TextChat", messages, client={"socket": served.v1}, temperature=0.5, top_p=0.9, top_k=40, max_tokens=32,
                          grammar='root ::= "a"', seed=7, stop=["x", "y"], priority="batch", local_only=True, progress=True)
    assert answer.text == "alpha beta gamma"


def test_a_refusal_has_its_code_and_message_and_the_client_goes_on(how, served):
    """Spec 01 section 4."""
    def scenario(chat, wait):
        with pytest.raises(inferd.Refused) as refused:
            wait(chat.complete([]))
        assert (refused.value.code, refused.value.message) == ("invalid_request", "invalid request: messages must not be empty")
        with pytest.raises(inferd.Refused, match="top_k"):
            wait(chat.complete("hi", top_k=-1))
        return wait(chat.complete("hi")).text

    assert how.drive("TextChat", scenario, socket=served.v1) == "alpha beta gamma"


def test_calls_at_the_same_time_share_a_client(served):
    """One connection for each call that runs; threads and tasks."""
    texts = []
    with inferd.TextChat(served.v1) as chat:
        threads = [threading.Thread(target=lambda: texts.append(chat.complete("hi").text)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)

    async def together():
        async with inferd.aio.TextChat(served.v1) as chat:
            return [answer.text for answer in await asyncio.gather(*(chat.complete("hi") for _ in range(6)))]

    assert texts + asyncio.run(together()) == ["alpha beta gamma"] * 12


def test_leaving_a_stream_early_stops_the_work_and_the_next_call_dials_again(how, start):
    """Spec 01 section 5, README 11: cancel is closing."""
    daemon = start(tape=["word "] * 100, delay_ms=20)

    def scenario(chat, wait):
        assert wait(how.first_event_only(chat, "hi", id="left")) == inferd.TextDelta("word ")
        daemon.logged("request_cancelled", req_id="left")
        return wait(chat.complete("hi")).text

    assert how.drive("TextChat", scenario, socket=daemon.v1) == "word " * 100


def test_a_timeout_ends_the_call_and_its_work(how, start):
    """The timeout is of the whole call."""
    daemon = start(delay_ms=HELD)
    with pytest.raises(inferd.Timeout) as timeout:
        how.complete("TextChat", "hi", client={"socket": daemon.v1, "timeout": 0.2}, id="late")
    assert isinstance(timeout.value, TimeoutError)
    daemon.logged("request_cancelled", req_id="late")


def test_a_task_that_is_cancelled_stops_its_work(start):
    """asyncio: the cancellation is the task's own, not an error of the client."""
    daemon = start(delay_ms=HELD)

    async def go():
        async with inferd.aio.TextChat(daemon.v1) as chat:
            running = asyncio.create_task(chat.complete("hi", id="first"))
            await asyncio.sleep(0)  # it asks
            await asyncio.to_thread(daemon.settle)
            waiting = chat.stream("hi", id="second", progress=True)
            while not isinstance(await waiting.__anext__(), inferd.Queued):
                pass
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await asyncio.to_thread(daemon.logged, "request_cancelled", req_id="first")
            waiting.cancel()
            with pytest.raises(inferd.Cancelled):
                await waiting.answer()

    asyncio.run(go())
    daemon.logged("request_cancelled", req_id="second")


def test_who_waits_is_told_its_place(how, start):
    """README 3: queued."""
    daemon = start(delay_ms=HELD)
    daemon.submit("running")

    def scenario(chat, wait):
        return wait(how.first_event_only(chat, "hi", progress=True))

    assert how.drive("TextChat", scenario, socket=daemon.v1) == inferd.Queued(1)


def test_tcp_with_its_key_is_served_and_with_another_it_is_not(how, start):
    """Spec 05 section 6: there is no reply to a wrong key, only the end."""
    daemon = start("--api-key", KEY, tcp="127.0.0.1", tape=TAPE)
    address = f"127.0.0.1:{daemon.v1[1]}"
    assert how.complete("TextChat", "hi", client={"tcp": address, "key": KEY}).text == "alpha beta gamma"
    for wrong in ({"key": KEY + "x"}, {}):
        with pytest.raises(inferd.Lost):
            how.complete("TextChat", "hi", client={"tcp": address, **wrong})


def test_a_stream_over_tcp_that_is_left_is_noticed(how, start):
    """README 11: an end alone would be a half-close there; the client resets."""
    daemon = start(tape=["word "] * 1000, delay_ms=20, tcp="127.0.0.1")

    def scenario(chat, wait):
        assert wait(how.first_event_only(chat, "hi", id="left"))
        daemon.logged("request_cancelled", req_id="left")

    how.drive("TextChat", scenario, tcp=f"127.0.0.1:{daemon.v1[1]}")


# --- where it looks

def test_without_a_path_the_default_places_are_tried_best_first(how, start, place, monkeypatch):
    """Spec 09 section 1, README 17."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place.run))
    monkeypatch.setenv("HOME", str(place.home))
    fallback = place.home / ".inferd/run/infer.sock"
    daemon = start(tape=["home"], v1=fallback)
    assert how.complete("TextChat", "hi").text == "home"
    daemon.stop()
    start(tape=["runtime folder"])
    assert how.complete("TextChat", "hi").text == "runtime folder"


def test_nobody_there_is_unreachable_and_worth_another_try(how, place, monkeypatch):
    """Spec 09 section 7; the message names the places."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place.run))
    monkeypatch.setenv("HOME", str(place.home))
    with pytest.raises(inferd.Unreachable, match=re.escape(str(place.home / ".inferd/run/infer.embed.sock"))) as unreachable:
        how.call("Embedder", "embed", "hi")
    assert unreachable.value.transient


def test_a_folder_of_another_user_is_not_used(how, start, place, monkeypatch):
    """A socket in it may be anybody's."""
    if os.geteuid():
        pytest.skip("needs root, to give a folder away")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place.run))
    monkeypatch.setenv("HOME", str(place.home))
    start(tape=TAPE)
    os.chown(place.runtime, NOBODY, NOBODY)
    try:
        with pytest.raises(inferd.NotPermitted, match=re.escape(str(place.runtime))):
            how.complete("TextChat", "hi")
        with pytest.raises(inferd.NotPermitted):
            how.wait_ready(DEADLINE)
    finally:
        os.chown(place.runtime, 0, 0)


def test_a_path_that_never_can_be_dialled_is_permanent(how, place):
    """Spec 09 section 7: wait_ready and connect return such an error at once."""
    (place.base / "file").touch()
    for path in (place.base / "file/x.sock", place.base / ("x" * 200)):
        with pytest.raises(inferd.Unreachable) as unreachable:
            how.wait_ready(DEADLINE, socket=path)
        assert not unreachable.value.transient
        with pytest.raises(inferd.Unreachable):
            how.call("Chat", "connect", DEADLINE, client={"socket": path})


@pytest.mark.parametrize("client", [{"socket": "a", "tcp": "b:1"}, {"key": "k"}, {"tcp": "nowhere"}, {"tcp": "h:70000"}, {"tcp": ":1"}],
                         ids=["socket and tcp", "key without tcp", "no port", "no such port", "no host"])
def test_arguments_that_contradict_each_other_are_value_errors(how, client):
    with pytest.raises(ValueError):
        how.api.TextChat(**client)


# --- readiness and status

def test_wait_ready_waits_for_a_daemon_that_is_not_there_yet(how, start, place):
    """Spec 09 section 7."""
    seen = []
    waiter = threading.Thread(target=lambda: how.wait_ready(DEADLINE, socket=place.admin, on_event=seen.append))
    waiter.start()
    daemon = start(tape=TAPE)
    waiter.join(2 * DEADLINE)
    assert seen[-1].status == "ready"
    assert how.complete("TextChat", "hi", client={"socket": daemon.v1}).text == "alpha beta gamma"


def test_wait_ready_goes_on_when_a_daemon_ends_before_it_is_ready(how, peer):
    """It may be started anew."""
    starting = {"id": "admin", "status": "starting", "type": "status"}
    at = peer(lambda conn: conn.send(starting), lambda conn: conn.send(starting, READY))
    seen = []
    how.wait_ready(DEADLINE, socket=at.path, on_event=seen.append)
    assert [event.status for event in seen] == ["starting", "starting", "ready"]


def test_wait_ready_tells_why_a_start_failed(how, peer):
    """README 17."""
    at = peer(lambda conn: conn.send({"id": "admin", "reason": "no model", "status": "error", "type": "status"}))
    with pytest.raises(inferd.FailedStart, match="no model"):
        how.wait_ready(DEADLINE, socket=at.path)


def test_wait_ready_ends_at_its_timeout(how, peer, place):
    """Nobody there; or somebody who is not ready, whatever it tells."""
    with pytest.raises(inferd.Timeout, match="No such file"):
        how.wait_ready(0.05, socket=place.admin)
    at = peer(lambda conn: conn.send({"status": "loading_model", "phase": "mmap"}) or conn.ended())
    with pytest.raises(inferd.Timeout):
        how.wait_ready(0.2, socket=at.path)


def test_connect_tries_again_until_somebody_serves_there(how, start, place):
    """For TCP, where there is no admin socket; here on v1's."""
    started = threading.Thread(target=lambda: start(tape=TAPE))
    started.start()
    how.call("TextChat", "connect", DEADLINE, client={"socket": place.v1})
    started.join(DEADLINE)
    with pytest.raises(inferd.Unreachable):
        how.call("TextChat", "connect", client={"socket": place.base / "nobody.sock"})


def test_status_gives_the_capabilities_then_the_status_then_changes_and_ends_with_the_daemon(how, start):
    """Spec 04 section 4."""
    daemon = start(tape=TAPE)
    seen = queue.Queue()
    follower = threading.Thread(target=lambda: seen.put(how.status(daemon.admin_path, seen.put)))
    follower.start()
    first, second = seen.get(timeout=DEADLINE), seen.get(timeout=DEADLINE)
    assert (first.status, first.fields["backend"], second.status) == ("capabilities", "mock", "ready")
    daemon.stop()
    assert [seen.get(timeout=DEADLINE).status, seen.get(timeout=DEADLINE)] == ["draining", None]
    follower.join(DEADLINE)


def test_next_event_can_go_on_after_a_timeout_even_within_a_frame(peer):
    """No byte is lost."""
    more = threading.Event()

    def script(conn):
        conn.send(b'{"status":"star')
        assert more.wait(DEADLINE)
        conn.send(b'ting"}\n{"status":"ready"}\n')

    at = peer(script)
    with inferd.Status(at.path) as status:
        with pytest.raises(inferd.Timeout):
            status.next_event(timeout=0.05)
        more.set()
        assert [status.next_event().status, status.next_event(timeout=0).status] == ["starting", "ready"]
        with pytest.raises(inferd.Lost):
            status.next_event()
        assert list(status) == []


def test_a_cancelled_wait_for_an_event_loses_none(peer):
    """The same for asyncio, where a task's cancellation may come at any point."""
    more = threading.Event()

    def script(conn):
        conn.send(b'{"status":"star')
        assert more.wait(DEADLINE)
        conn.send(b'ting"}\n')

    async def go():
        async with inferd.aio.Status(peer(script).path) as status:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(status.next_event(), 0.05)
            more.set()
            return [event.status async for event in status]

    assert asyncio.run(go()) == ["starting"]


@pytest.mark.parametrize("line", [b"{}", b'{"status":1}', b'{"status":null}', b"[]", b"", b"ready", b'{"status":"ready","phase":3}'])
def test_an_admin_frame_of_the_wrong_shape_is_a_protocol_error(how, peer, line):
    """Spec 09 section 6."""
    for call in (lambda path: how.status(path, print), lambda path: how.wait_ready(DEADLINE, socket=path)):
        with pytest.raises(inferd.ProtocolError):
            call(peer(lambda conn: conn.send(line + b"\n")).path)


def test_an_unknown_status_is_passed_on_with_all_its_fields(how, peer):
    """Spec 04 section 2."""
    at = peer(lambda conn: conn.send({"status": "resting", "phase": "deep", "n": 1, "warning": "disk full", "total_bytes": None}))
    seen = []
    how.status(at.path, seen.append)
    assert seen == [inferd.StatusEvent(
        "resting", "deep", "", "disk full", {"status": "resting", "phase": "deep", "n": 1, "warning": "disk full", "total_bytes": None})]


# --- v2 and embed, on the daemon

@pytest.fixture(scope="module")
def surfaces():
    """A daemon with v2 and embed."""
    here = Place()
    try:
        daemon = Daemon(here, "--v2", "--v2-addr", str(here.runtime / "two.sock"), "--embed", "--embed-addr", str(here.runtime / "embed.sock"),
                        tape=TAPE)
        daemon.wait_ready()
        daemon.v2, daemon.embed = here.runtime / "two.sock", here.runtime / "embed.sock"
        yield daemon
        daemon.stop()
    finally:
        here.remove()


WEATHER = inferd.Tool("weather", "The weather in a city", {"type": "object", "properties": {"city": {"type": "string"}}})
RED = inferd.Image(2, 1, b"\xff\0\0" * 2)


def test_a_chat_answer_has_its_text_usage_and_origin(how, surfaces):
    """Spec 02 section 5, README 3."""
    answer = how.complete("Chat", "hi", client={"socket": surfaces.v2}, id="a1")
    assert answer == inferd.Answer(
        text="alpha beta gamma", thinking="", tool_calls=(), message=inferd.Message("assistant", ("alpha beta gamma",)),
        stop_reason="end_turn", usage=inferd.Usage(0, 3, 0), backend="mock", route="mock", id="a1")


def test_a_chat_stream_gives_each_piece(how, surfaces):
    """Spec 02 section 5."""
    assert how.events("Chat", "hi", client={"socket": surfaces.v2}) == [inferd.TextDelta(piece) for piece in TAPE]


def test_every_option_and_content_of_v2_is_one_that_the_daemon_takes(how, surfaces):
    """Spec 02 section 2, README 3."""
    call = inferd.ToolCall("tc-1", "weather", {"city": "Oslo"})
    messages = [inferd.Message("system", "be brief"), {"role": "user", "content": ["look", RED, RED, {"type": "text", "text": "!"}]},
                inferd.Message("user", [inferd.Audio(16_000, array("f", [0.5, -0.5]))]), inferd.Message("assistant", ["well", call]),
                inferd.Message("user", [inferd.ToolResult("tc-1", "rain"), inferd.ToolResult("tc-1", ["more", "rain"])])]
    answer = how.complete("Chat", messages, client={"socket": surfaces.v2}, tools=[WEATHER, {"name": "x", "description": "", "input_schema": {}}],
                          tool_choice="auto", temperature=0, top_p=1, top_k=1, max_tokens=9, seed=1, stop="\n", priority="interactive",
                          local_only=True, progress=True)
    assert answer.text == "alpha beta gamma"
    for choice in ("none", "required", WEATHER, {"type": "tool", "name": "weather"}):
        assert how.complete("Chat", "hi", client={"socket": surfaces.v2}, tools=[WEATHER], tool_choice=choice).backend == "mock"
    assert how.complete("Chat", "hi", client={"socket": surfaces.v2}, json_schema={"type": "object"}).backend == "mock"


def test_the_answers_message_is_one_that_the_daemon_takes(how, surfaces):
    """A conversation goes on."""
    first = how.complete("Chat", "hi", client={"socket": surfaces.v2})
    again = how.complete("Chat", [inferd.Message("user", "hi"), first.message, inferd.Message("user", "and?")], client={"socket": surfaces.v2})
    assert again.text == "alpha beta gamma"


def test_a_chat_refusal_has_its_code_and_the_client_goes_on(how, surfaces):
    """Spec 02 section 3."""
    def scenario(chat, wait):
        with pytest.raises(inferd.Refused, match="duplicate tool name: weather") as refused:
            wait(chat.complete("hi", tools=[WEATHER, WEATHER]))
        assert refused.value.code == "invalid_request"
        return wait(chat.complete("hi")).text

    assert how.drive("Chat", scenario, socket=surfaces.v2) == "alpha beta gamma"


def test_embeddings_come_in_the_order_of_the_inputs(how, surfaces):
    """Spec 03 section 5; the numbers are the mock's (spec 08 section 2)."""
    result = how.call("Embedder", "embed", ["a", "bcd", "ü"], client={"socket": surfaces.embed}, dimensions=4, task="retrieval_query", id="e1")
    assert (result.dimensions, result.model, result.input_tokens, result.backend, result.id) == (4, "mock", 6, "mock", "e1")
    assert [array("f", vector) for vector in result.vectors] == [array("f", [(i + 1) / (n + 1) for i in range(4)]) for n in (1, 3, 2)]
    one = how.call("Embedder", "embed", "abc", client={"socket": surfaces.embed}, local_only=True)
    assert (len(one.vectors), len(one.vectors[0]), one.dimensions) == (1, 8, 8)


def test_an_embed_refusal_has_its_code_and_the_client_goes_on(how, surfaces):
    """Spec 03 section 3."""
    def scenario(embedder, wait):
        for bad in ([], ["a", ""]):
            with pytest.raises(inferd.Refused, match="must not be empty") as refused:
                wait(embedder.embed(bad))
            assert refused.value.code == "invalid_request"
        return wait(embedder.embed("a")).input_tokens

    assert how.drive("Embedder", scenario, socket=surfaces.embed) == 1


# --- what goes over the wire, both ways

def test_the_chat_request_on_the_wire(how, peer):
    """Spec 02 section 2: key order, what is left out, attachments sent once; README 3: additive keys last."""
    at = peer(answering(DONE))
    how.complete("Chat", [inferd.Message("user", ["look", RED, RED, inferd.Audio(8_000, b"\0\0\0\x3f")]),
                          inferd.Message("user", [inferd.ToolResult("t", [RED])])],
                 client={"socket": at.path}, id="x", tools=[WEATHER], tool_choice=WEATHER, stop="a", json_schema={"z": 1, "a": 2}, local_only=False)
    image, audio = ({"type": kind, "attachment_id": id} for kind, id in (("image", "a1"), ("audio", "a2")))
    assert at.result() == compact({
        "id": "x",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, image, image, audio]},
                     {"role": "user", "content": [{"type": "tool_result", "tool_call_id": "t", "content": [image]}]}],
        "attachments": [{"kind": "image", "id": "a1", "width": 2, "height": 1, "bytes": "/wAA/wAA"},
                        {"kind": "audio", "id": "a2", "sample_rate": 8000, "bytes": "AAAAPw=="}],
        "tools": [{"name": "weather", "description": "The weather in a city", "input_schema": WEATHER.input_schema}],
        "stop": ["a"], "tool_choice": {"type": "tool", "name": "weather"},
        "response_format": {"type": "json_schema", "schema": {"z": 1, "a": 2}}}) + b"\n"


def test_the_smallest_requests_on_the_wire(how, peer):
    """What is not given is not sent: the daemon has the defaults."""
    for kind, method, done, request in (
        ("Chat", "complete", DONE, {"id": "x", "messages": [{"role": "user", "content": [{"type": "text", "text": "ü"}]}]}),
        ("TextChat", "complete", V1_DONE, {"id": "x", "messages": [{"role": "user", "content": "ü"}]}),
        ("Embedder", "embed", EMBEDDED, {"id": "x", "input": ["ü"]}),
    ):
        at = peer(answering(done))
        how.call(kind, method, "ü", client={"socket": at.path}, id="x")
        assert at.result() == compact(request) + b"\n"


def test_ids_are_made_for_requests_without_one(how, peer):
    """So that an answer can be told from the rest of another."""
    at = peer(answering(DONE), answering(DONE))
    ids = [how.complete("Chat", "hi", client={"socket": at.path}).id for _ in range(2)]
    assert ids[0] and ids[1] and ids[0] != ids[1]


def test_thinking_text_and_calls_come_as_events_and_in_the_answer(how, peer):
    """Spec 02 section 5 and 6; the message to replay has no thinking."""
    frames = [delta("hm", "thinking"), delta("", "text"), delta("a"), delta("b"), tool_use({"city": "Oslo"}), delta("c"), tool_use(None, "tc-2"),
              DONE | {"stop_reason": "tool_use", "tool_choice_unsatisfied": True}]
    calls = (inferd.ToolCall("tc-1", "weather", {"city": "Oslo"}), inferd.ToolCall("tc-2", "weather", None))
    at = peer(answering(*frames))
    assert how.events("Chat", "hi", client={"socket": at.path}) == [
        inferd.ThinkingDelta("hm"), inferd.TextDelta("a"), inferd.TextDelta("b"), calls[0], inferd.TextDelta("c"), calls[1]]
    answer = how.complete("Chat", "hi", client={"socket": peer(answering(*frames)).path}, id="x")
    assert answer == inferd.Answer(
        text="abc", thinking="hm", tool_calls=calls, message=inferd.Message("assistant", ("ab", calls[0], "c", calls[1])),
        stop_reason="tool_use", usage=inferd.Usage(3, 2, 1), backend="mock", route="chat", id="x", tool_choice_unsatisfied=True)


def test_an_answer_of_release_0_2_1_is_read(how, peer):
    """README 3: what is additive may be absent; unknown fields are ignored."""
    answer = how.complete("Chat", "hi", client={"socket": peer(answering(delta("a") | {"x": 1}, DONE_021)).path})
    assert (answer.text, answer.usage, answer.route) == ("a", inferd.Usage(3, 2, 0), "")
    answer = how.complete("TextChat", "hi", client={"socket": peer(answering(V1_DONE)).path})
    assert (answer.text, answer.usage, answer.route) == ("ab", inferd.Usage(3, 2, 0), "")


@pytest.mark.parametrize("kind, file", [(kind, file) for kind, folder in (("TextChat", "v1"), ("Chat", "v2"), ("Embedder", "embed"))
                                        for file in sorted((GOLDEN / folder).glob("*.json")) if not file.name.startswith("request_")],
                         ids=lambda value: value if isinstance(value, str) else value.stem)
def test_every_golden_frame_of_the_daemon_is_read(peer, kind, file):
    """The frames that the daemon's own tests read and write."""
    frame = json.loads(file.read_bytes())
    rest = {"TextChat": V1_DONE, "Chat": DONE, "Embedder": EMBEDDED}[kind] | {"id": frame["id"]}
    at = peer(answering(file.read_bytes().rstrip(b"\n") + b"\n", rest))
    inputs = ["a"] * len(frame.get("embeddings", "a"))
    try:
        if kind == "Embedder":
            with inferd.Embedder(at.path) as embedder:
                assert embedder.embed(inputs, id=frame["id"]).vectors == frame["embeddings"]
        else:
            with getattr(inferd, kind)(at.path) as chat:
                assert chat.complete("hi", id=frame["id"]).stop_reason == (frame if frame["type"] == "done" else rest)["stop_reason"]
        assert frame["type"] != "error"
    except inferd.Refused as refused:
        assert (refused.code, refused.message) == (frame["code"], frame["message"])


def test_an_answer_without_text_has_a_message_that_may_be_sent(how, peer):
    """Spec 02 section 3: content must not be empty."""
    answer = how.complete("Chat", "hi", client={"socket": peer(answering(DONE)).path})
    at = peer(answering(DONE))
    how.complete("Chat", [answer.message], client={"socket": at.path})
    assert json.loads(at.result())["messages"] == [{"role": "assistant", "content": [{"type": "text", "text": ""}]}]


def test_progress_comes_as_events_and_an_unknown_status_is_passed_over(how, peer):
    """README 3."""
    status = {"type": "status", "id": "ID"}
    frames = [status | {"status": "queued", "position": 2}, status | {"status": "yawning"},
              status | {"status": "prefill", "prompt_tokens_done": 3, "prompt_tokens": 9}]
    for kind, done in (("Chat", DONE), ("TextChat", V1_DONE)):
        at = peer(answering(*frames, done))
        assert how.events(kind, "hi", client={"socket": at.path}, progress=True) == [inferd.Queued(2), inferd.Prefill(3, 9)]


def test_a_connection_serves_the_next_call(how, peer):
    """Spec 09 section 4: kept after a whole answer."""
    def script(conn):
        for _ in range(3):
            answering(delta("a"), DONE)(conn)
        return conn.ended()

    at = peer(script)
    how.drive("Chat", lambda chat, wait: [wait(chat.complete("hi")) for _ in range(3)], socket=at.path)
    assert at.result()


def test_a_connection_that_ended_meanwhile_or_has_frames_left_is_not_used_again(how, peer):
    """A daemon that was started anew; a peer that sends more than was asked for."""
    ended, more = threading.Event(), threading.Event()

    def ends(conn):
        answering(DONE)(conn)
        conn.sock.shutdown(socket.SHUT_RDWR)
        ended.set()

    def says_more(conn):
        answering(delta("first"), DONE, delta("of nobody"))(conn)
        more.set()
        return conn.ended()

    def scenario(chat, wait):
        wait(chat.complete("hi"))
        assert ended.wait(DEADLINE)
        assert wait(chat.complete("hi")).text == "first"
        assert more.wait(DEADLINE)
        return wait(chat.complete("hi")).text

    assert how.drive("Chat", scenario, socket=peer(ends, says_more, answering(delta("third"), DONE)).path) == "third"


# --- cancel

def asked(then):
    """A script that tells when a request is there, and waits for the hang-up."""
    def script(conn):
        conn.request()
        then()
        return conn.ended()
    return script


def test_cancel_from_another_thread_ends_a_waiting_call(peer):
    """The peer sees a hang-up."""
    there = threading.Event()
    at = peer(asked(there.set))
    with inferd.Chat(at.path) as chat:
        stream = chat.stream("hi")
        canceller = threading.Thread(target=lambda: there.wait(DEADLINE) and stream.cancel())
        canceller.start()
        with pytest.raises(inferd.Cancelled):
            stream.answer()
        canceller.join(DEADLINE)
    assert at.result()
    with pytest.raises(inferd.Cancelled):
        next(stream)


def test_closing_a_client_ends_its_calls(peer):
    """From another thread, or another task."""
    there = threading.Event()
    at = peer(asked(there.set))
    chat = inferd.Chat(at.path)
    closer = threading.Thread(target=lambda: there.wait(DEADLINE) and chat.close())
    closer.start()
    with pytest.raises(inferd.Cancelled):
        chat.complete("hi")
    closer.join(DEADLINE)
    with pytest.raises(inferd.Cancelled):
        chat.complete("hi")
    assert at.result()

    async def go():
        there = asyncio.Event()
        loop = asyncio.get_running_loop()
        at = peer(asked(lambda: loop.call_soon_threadsafe(there.set)))
        chat = inferd.aio.Chat(at.path)
        call = asyncio.create_task(chat.complete("hi"))
        await there.wait()
        await chat.close()
        with pytest.raises(inferd.Cancelled):
            await call
        return at

    assert asyncio.run(go()).result()


def test_closing_a_status_ends_the_wait_for_its_next_event(peer):
    """From another thread."""
    def script(conn):
        conn.send(READY)
        return conn.ended()

    at = peer(script)
    with inferd.Status(at.path) as status:
        assert next(status).status == "ready"
        closer = threading.Thread(target=lambda: until(lambda: status._running, "it waits") and status.close())
        closer.start()
        with pytest.raises(inferd.Cancelled):
            status.next_event()
        closer.join(DEADLINE)
    assert at.result()


def test_a_stream_that_is_left_closes_its_connection(how, peer):
    """break, the end of `with`, and cancel before the first event, which dials nobody."""
    def script(conn):
        id = conn.request()["id"]
        conn.send(delta("a") | {"id": id})
        return conn.ended()

    at = peer(script, script)

    def scenario(chat, wait):
        never = chat.stream("hi")
        never.cancel()
        with pytest.raises(inferd.Cancelled):
            wait(never.answer())
        for _ in range(2):
            assert wait(how.first_event_only(chat, "hi")) == inferd.TextDelta("a")
            assert at.result()

    how.drive("Chat", scenario, socket=at.path)


def test_an_answer_that_was_read_outlives_a_late_cancel(how, peer):
    """The connection is another call's by then."""
    def script(conn):
        answering(delta("a"), DONE)(conn)
        answering(delta("b"), DONE)(conn)

    def scenario(chat, wait):
        stream = chat.stream("hi")
        assert wait(stream.answer()).text == "a"
        stream.cancel()
        assert wait(stream.answer()).text == "a"
        return wait(chat.complete("hi")).text

    assert how.drive("Chat", scenario, socket=peer(script).path) == "b"


# --- wrong peers

WRONG = {
    "no JSON": [b"garbage\n"],
    "an empty line": [b"\n"],
    "broken UTF-8": [b'{"type":"frame","id":"x","block":{"type":"text","delta":"\xff"}}\n'],
    "two values on a line": [b"{}{}\n"],
    "an array": [b"[1]\n"],
    "a deep array": [b"[" * 500_000 + b"\n"],
    "a number of 10,000 digits": [b'{"type":' + b"1" * 10_000 + b"}\n"],
    "infinity": [b'{"type":"done","id":"x","usage":Infinity}\n'],
    "no type": [{"id": "ID"}],
    "a type that is no string": [{"type": 1, "id": "ID"}],
    "an unknown type": [{"type": "banner", "id": "ID"}],
    "no id": [{"type": "frame", "block": {"type": "text", "delta": "a"}}],
    "the id of another request": [delta("a") | {"id": "other"}],
    "the error of another request": [error("internal", "other")],
    "an error without a code": [{"type": "error", "id": "ID", "message": "m"}],
    "no block": [{"type": "frame", "id": "ID"}],
    "a block that is a string": [{"type": "frame", "id": "ID", "block": "a"}],
    "an unknown block": [{"type": "frame", "id": "ID", "block": {"type": "smell", "delta": "a"}}],
    "a delta that is null": [delta(None)],
    "a call without input": [{"type": "frame", "id": "ID", "block": {"type": "tool_use", "tool_call_id": "t", "name": "n"}}],
    "done without usage": [{"type": "done", "id": "ID", "stop_reason": "end_turn", "backend": "b"}],
    "usage with a fraction": [DONE | {"usage": {"input_tokens": 1.5, "output_tokens": 1}}],
    "usage with true": [DONE | {"usage": {"input_tokens": True, "output_tokens": 1}}],
    "usage with text": [DONE | {"usage": {"input_tokens": 1, "output_tokens": 1, "cached_input_tokens": "1"}}],
    "a stop reason that is a list": [DONE | {"stop_reason": []}],
    "an answer to another question": [EMBEDDED],
}


@pytest.mark.parametrize("frames", WRONG.values(), ids=WRONG)
def test_a_peer_that_does_not_speak_the_protocol_is_a_protocol_error(how, peer, frames):
    """Spec 09 section 4; nothing of it ends the program."""
    def script(conn):
        answering(*frames)(conn)
        return conn.ended()

    at = peer(script)
    with pytest.raises(inferd.ProtocolError):
        how.complete("Chat", "hi", client={"socket": at.path})
    assert at.result(), "the client hangs up"


WRONG_EMBEDDINGS = {
    "too few": {"embeddings": []},
    "too many": {"embeddings": [[1.0, 1.0]] * 2},
    "a short one": {"embeddings": [[1.0]]},
    "null in one": {"embeddings": [[1.0, None]]},
    "text in one": {"embeddings": [[1.0, "1"]]},
    "one that is no list": {"embeddings": ["ab"]},
    "no list": {"embeddings": {}},
    "no usage": {"usage": None},
}


@pytest.mark.parametrize("change", WRONG_EMBEDDINGS.values(), ids=WRONG_EMBEDDINGS)
def test_embeddings_of_the_wrong_shape_are_a_protocol_error(how, peer, change):
    """Spec 03 section 5; spec 09 section 5: null fails."""
    with pytest.raises(inferd.ProtocolError):
        how.call("Embedder", "embed", "a", client={"socket": peer(answering(EMBEDDED | change)).path})


@pytest.mark.parametrize("code", ["queue_full", "embed_unsupported", "attachment_unsupported", "of_a_later_release"])
@pytest.mark.parametrize("id", ["ID", ""], ids=["its id", "no id"])
def test_an_error_frame_is_a_refusal_with_its_code(how, peer, code, id):
    """Spec 01 section 2.1: a frame that could not be read is refused without an id."""
    for kind, method in (("Chat", "complete"), ("Embedder", "embed")):
        with pytest.raises(inferd.Refused) as refused:
            how.call(kind, method, "hi", client={"socket": peer(answering(error(code, id))).path})
        assert (refused.value.code, refused.value.message, str(refused.value)) == (code, "why", f"{code}: why")


@pytest.mark.parametrize("frames", [[], [delta("a")], [b'{"type":"fra'], [delta("a"), b'{"type":"done","id":"']],
                         ids=["nothing", "a piece", "half a frame", "a piece and half a frame"])
def test_a_connection_that_ends_before_the_answer_is_lost(how, peer, frames):
    """Spec 01 section 5.2."""
    with pytest.raises(inferd.Lost):
        how.complete("Chat", "hi", client={"socket": peer(answering(*frames)).path})


def test_a_last_line_without_its_lf_counts(how, peer):
    """Spec 09 section 4."""
    def script(conn):
        conn.send(compact(DONE | {"id": conn.request()["id"]}))

    assert how.complete("Chat", "hi", client={"socket": peer(script).path}).stop_reason == "end_turn"


def test_a_frame_of_64_mib_is_read_and_one_byte_more_is_not(how, peer):
    """Spec 01 section 2, for what comes as for what goes."""
    head, tail = compact({"type": "token", "id": "x", "content": ""})[:-2], b'"}'
    full = FRAME_LIMIT - len(head) - len(tail)
    at = peer(answering(head + b"a" * full + tail + b"\n", V1_DONE | {"id": "x"}))
    [event] = how.events("TextChat", "hi", client={"socket": at.path}, id="x")
    assert len(event.text) == full
    with pytest.raises(inferd.ProtocolError, match="67108864"):
        how.complete("TextChat", "hi", client={"socket": peer(answering(head + b"a" * (full + 1) + tail + b"\n")).path}, id="x")


def test_a_line_and_an_answer_without_end_are_given_up(how, peer):
    """No peer can fill the memory."""
    def line(conn):
        conn.request()
        while True:
            conn.send(b"a" * (1 << 20))

    def frames(conn):
        frame = delta("a" * (1 << 20)) | {"id": conn.request()["id"]}
        while True:
            conn.send(frame)

    for script in (line, frames):
        with pytest.raises(inferd.ProtocolError):
            how.complete("Chat", "hi", client={"socket": peer(script).path})


def test_a_peer_that_talks_without_end_and_says_nothing_meets_the_timeout(how, peer):
    """Frames that are no event do not extend it."""
    def script(conn):
        frame = {"type": "status", "id": conn.request()["id"], "status": "yawning"}
        while True:
            conn.send(frame)

    with pytest.raises(inferd.Timeout):
        how.complete("Chat", "hi", client={"socket": peer(script).path}, timeout=0.2)


def test_a_request_beyond_64_mib_is_not_sent(how, peer):
    """The daemon's own code for it."""
    at = peer(answering(V1_DONE))

    def scenario(chat, wait):
        with pytest.raises(inferd.Refused) as refused:
            wait(chat.complete("a" * FRAME_LIMIT))
        assert refused.value.code == "frame_too_large"
        return wait(chat.complete("hi")).text

    assert how.drive("TextChat", scenario, socket=at.path) == "ab"


def test_a_refusal_in_the_middle_of_a_large_request_is_read(how, peer):
    """The peer reads no more, but has answered."""
    def script(conn):
        conn.sock.recv(1000)
        conn.send(error("frame_too_large", ""))

    with pytest.raises(inferd.Refused, match="frame_too_large"):
        how.complete("TextChat", "a" * (8 << 20), client={"socket": peer(script).path})


def test_a_peer_that_neither_reads_nor_answers_meets_the_timeout(how, peer):
    """Also while the request is being sent."""
    left = threading.Event()
    at = peer(lambda conn: left.wait(DEADLINE))
    with pytest.raises(inferd.Timeout):
        how.complete("TextChat", "a" * (8 << 20), client={"socket": at.path}, timeout=0.1)
    left.set()


def test_over_tcp_the_key_goes_first(how, peer):
    """Spec 05 section 6."""
    def script(conn):
        key = conn.request()
        answering(V1_DONE)(conn)
        return key

    at = peer(script, address=("127.0.0.1", 0))
    how.complete("TextChat", "hi", client={"tcp": "localhost:%d" % at.listener.getsockname()[1], "key": 'k"ü'})
    assert at.result() == {"type": "auth", "key": 'k"ü'}


# --- arguments

def test_arguments_of_the_wrong_shape_are_refused_before_anything_is_sent(how):
    """TypeError or ValueError, at the call."""
    chat, text_chat = how.api.Chat("/nowhere"), how.api.TextChat("/nowhere")
    for options in ({"temprature": 1}, {"json_schema": object()}, {"messages": [1]}, {"messages": [{"role": "tool", "content": ""}]},
                    {"messages": [{"role": "user"}]}, {"messages": [{"role": "user", "content": "", "name": "me"}]},
                    {"messages": [{"role": "user", "content": 5}]}, {"messages": [{"role": "user", "content": [5]}]},
                    {"messages": [inferd.Message("user", b"hi")]}, {"temperature": float("nan")}, {"messages": "\ud800"}):
        with pytest.raises((TypeError, ValueError)):
            chat.stream(**({"messages": "hi"} | options))
    with pytest.raises(TypeError, match="text only"):
        text_chat.stream([inferd.Message("user", ["hi"])])


def test_media_are_checked_when_they_are_made():
    """Spec 02 section 2.3."""
    for make in (lambda: inferd.Image(2, 2, b"\0" * 11), lambda: inferd.Image(0, 0, b""), lambda: inferd.Audio(8_000, b"\0" * 5),
                 lambda: inferd.Audio(0, b""), lambda: inferd.Audio(8_000, array("d", [1.0])), lambda: inferd.Audio(8_000, ["a"])):
        with pytest.raises((TypeError, ValueError)):
            make()
    as_bytes = b"\0\0\0\x3f\0\0\0\xbf"  # 0.5 and -0.5, little-endian
    for samples in (as_bytes, bytearray(as_bytes), memoryview(as_bytes), array("f", [0.5, -0.5]), [0.5, -0.5], (x for x in (0.5, -0.5))):
        assert inferd.Audio(8_000, samples).samples == as_bytes


# --- the package

@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The Python of a virtual environment into which pip has installed the tree. The build tool comes from the tests' own environment: no
    network is needed."""
    base = tmp_path_factory.mktemp("client")
    tree, venv = base / "tree", base / "venv"
    shutil.copytree(CLIENT, tree, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    done = subprocess.run([venv / "bin/python", "-m", "pip", "install", "--no-build-isolation", "--no-index", "--no-deps",
                           "--disable-pip-version-check", tree], env=os.environ | {"PYTHONPATH": sysconfig.get_path("purelib")},
                          cwd=base, capture_output=True, text=True, timeout=10 * DEADLINE)
    assert done.returncode == 0, done.stdout + done.stderr
    return venv / "bin/python"


def test_pip_installs_a_typed_package_without_dependencies(installed):
    code = ("import inferd, importlib.metadata as m, pathlib; p = pathlib.Path(inferd.__file__).parent; "
            "print((p / 'py.typed').is_file(), m.requires('inferd'), 'site-packages' in str(p), len(list(p.glob('*.py'))))")
    done = subprocess.run([installed, "-I", "-c", code], capture_output=True, text=True, timeout=DEADLINE)
    assert done.stdout.split() == ["True", "None", "True", str(len(list((CLIENT / "inferd").glob("*.py"))))], done.stderr


@pytest.fixture(scope="module")
def answering_with_json():
    """A daemon at the default places whose answer fits all examples."""
    here = Place()
    try:
        daemon = Daemon(here, "--v2", "--embed", tape=['{"city": ', '"Oslo"}'])
        daemon.wait_ready()
        yield daemon
        daemon.stop()
    finally:
        here.remove()


@pytest.mark.parametrize("code", README_BLOCKS, ids=[f"example {n}" for n in range(1, len(README_BLOCKS) + 1)])
def test_the_readmes_examples_run_as_they_stand(installed, answering_with_json, code):
    done = subprocess.run([installed, "-W", "error", "-c", code], env=answering_with_json.place.env, capture_output=True, text=True,
                          timeout=2 * DEADLINE)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "Oslo" in done.stdout or "4 mock" in done.stdout or "ready" in done.stdout, done.stdout
