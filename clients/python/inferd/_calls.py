"""The calls of the clients, written once as steps (see _connection.py): what happens, in which order, and what is closed when it ends."""
from __future__ import annotations

import itertools
import os
import threading
import time
from typing import Any, Callable, Dict, Iterable, Mapping, Optional, Tuple, Union

from . import _places, _protocol
from ._connection import Connection, Pool, Steps, Wait, check, deadline_in, dial
from .errors import Cancelled, FailedStart, Lost, ProtocolError, Timeout, Unreachable
from .values import Answer, Embeddings, Event, StatusEvent

_FIRST_BACK_OFF, _LONGEST_BACK_OFF = 0.1, 5.0  # seconds

Path = Union[str, "os.PathLike[str]"]

_serial = itertools.count(1)


def new_id() -> str:
    """Unique on this machine while the process lives, so that a request can be found in the daemon's log."""
    return f"py-{os.getpid()}-{next(_serial)}"


class ClientCore:
    """What the clients of the three inference sockets share."""

    def __init__(self, leaf: str, socket: Optional[Path], tcp: Optional[str], key: Optional[str], timeout: Optional[float]) -> None:
        self._pool = Pool(_places.Endpoint(leaf, socket, tcp, key))
        self._timeout = timeout

    def _split(self, options: Mapping[str, Any]) -> Tuple[str, Optional[float], Dict[str, Any]]:
        """Id and timeout of a call, and the options that go to the daemon."""
        id, timeout = options.get("id"), options.get("timeout", self._timeout)
        return new_id() if id is None else id, timeout, {name: value for name, value in options.items() if name not in ("id", "timeout")}

    def _connect(self, timeout: Optional[float]) -> Steps[None]:
        deadline = deadline_in(timeout)

        def attempt() -> Steps[bool]:
            self._pool.give_back((yield from self._pool.take(deadline)))
            return True

        if timeout is None:
            yield from attempt()
        else:
            yield from _until(attempt, deadline)


class StreamCore:
    """One generation. Nothing is sent before the first event is asked for."""

    def __init__(self, pool: Pool, request: bytes, exchange: _protocol.Exchange, timeout: Optional[float]) -> None:
        self._pool = pool
        self._request = request
        self._exchange = exchange
        self._timeout = timeout
        self._deadline: Optional[float] = None
        self._lock = threading.RLock()  # between cancel() and the end: a connection that went back is somebody else's
        self._connection: Optional[Connection] = None
        self._cancelled = False
        self._over = False
        self._running = False

    def cancel(self) -> None:
        """Stops the daemon's work, by closing the connection. A call that waits for this stream ends with Cancelled. Any thread."""
        with self._lock:
            if not self._over:
                self._cancelled = True
                if self._connection is not None:
                    self._connection.cancel()

    def _next(self) -> Steps[Optional[Event]]:
        """The next event; None when the answer is complete."""
        if self._over:
            if self._cancelled:
                raise Cancelled("cancelled")
            return None
        if self._running:
            raise RuntimeError("another thread or task reads this stream")
        self._running = True
        try:
            connection = self._connection or (yield from self._begin())
            while True:
                event = yield from connection.answer(self._exchange.take, self._deadline)
                if self._exchange.answer is not None:
                    self._end(keep=True)
                    return None
                if event is not None:
                    return event
                check(self._deadline)
        except BaseException:
            self._end(keep=False)
            raise
        finally:
            self._running = False

    def _begin(self) -> Steps[Connection]:
        self._deadline = deadline_in(self._timeout)
        if self._cancelled:
            raise Cancelled("cancelled")
        connection = yield from self._pool.take(self._deadline)
        with self._lock:
            self._connection = connection
            if self._cancelled:
                connection.cancel()
        yield from connection.send(self._request, self._deadline)
        self._request = b""  # may be large
        return connection

    def _end(self, keep: bool) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
            self._over = True
        if connection is not None:
            (self._pool.give_back if keep else self._pool.drop)(connection)

    def _leave(self) -> None:
        """The caller wants no more of it."""
        self.cancel()
        if not self._running:  # else who runs it closes it: the descriptor of a socket that is waited for must not go away
            self._end(keep=False)

    def _whole(self) -> Answer:
        if self._exchange.answer is None:
            raise Lost("the stream ended before its answer")
        return self._exchange.answer

    def __del__(self) -> None:
        if hasattr(self, "_running"):  # __init__ came to its end
            self._leave()


def embed(pool: Pool, id: str, input: Union[str, Iterable[str]], timeout: Optional[float], options: Mapping[str, Any]) -> Steps[Embeddings]:
    texts = [input] if isinstance(input, str) else list(input)
    request = _protocol.embed_request(id, texts, **options)
    deadline = deadline_in(timeout)
    connection = yield from pool.take(deadline)
    try:
        yield from connection.send(request, deadline)
        result = yield from connection.answer(lambda line: _protocol.embeddings(line, id, len(texts)), deadline)
    except BaseException:
        pool.drop(connection)
        raise
    pool.give_back(connection)
    return result


class StatusCore:
    """The admin socket: the snapshot first, then every event."""

    def __init__(self, socket: Optional[Path] = None) -> None:
        self._endpoint = _places.Endpoint(_places.ADMIN, socket)
        self._lock = threading.RLock()
        self._connection: Optional[Connection] = None
        self._closed = False
        self._ended = False
        self._running = False

    def _event(self, timeout: Optional[float]) -> Steps[Optional[StatusEvent]]:
        """The next event; None when the daemon has ended. After a timeout, or a task's cancellation, one can go on."""
        if self._running:
            raise RuntimeError("another thread or task reads this status")
        deadline = deadline_in(timeout)
        self._running = True
        try:
            if self._ended:
                return None
            connection = self._connection or (yield from self._begin(deadline))
            line = yield from connection.line(deadline)
            if line is None:
                self._end()
                return None
            return connection.parse(line, _protocol.status_event)
        except (Cancelled, Lost, ProtocolError):
            self._end()
            raise
        finally:
            self._running = False

    def _begin(self, deadline: Optional[float]) -> Steps[Connection]:
        connection = yield from dial(self._endpoint, deadline)
        with self._lock:
            self._connection = connection
            if self._closed:
                connection.cancel()
        return connection

    def _end(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
            self._ended = True
        if connection is not None:
            connection.close()

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.cancel()
        if not self._running:
            self._end()

    def __del__(self) -> None:
        if hasattr(self, "_running"):
            self._end()


def wait_ready(socket: Optional[Path], timeout: Optional[float], on_event: Optional[Callable[[StatusEvent], object]]) -> Steps[None]:
    endpoint = _places.Endpoint(_places.ADMIN, socket)
    deadline = deadline_in(timeout)

    def attempt() -> Steps[bool]:
        """False if the daemon ended before it was ready: perhaps another one starts."""
        connection = yield from dial(endpoint, deadline)
        seen = "nothing"
        try:
            while (line := (yield from connection.line(deadline))) is not None:
                event = connection.parse(line, _protocol.status_event)
                seen = f"{event.status} {event.phase}".rstrip()
                if on_event is not None:
                    on_event(event)
                if event.status == "ready":
                    return True
                if event.status == "error":
                    raise FailedStart(event.reason or "the daemon's start failed")
                check(deadline)
            return False
        except Lost:
            return False
        except Timeout:
            raise Timeout(f"the daemon is not ready; it told last: {seen}") from None
        finally:
            connection.close()

    yield from _until(attempt, deadline)


def _until(attempt: Callable[[], Steps[bool]], deadline: Optional[float]) -> Steps[None]:
    """Tries again until it succeeds, with a pause of 100 ms that doubles up to 5 s, while nobody is there."""
    pause = _FIRST_BACK_OFF
    while True:
        why = "the daemon ended before it was ready"
        try:
            if (yield from attempt()):
                return
        except Unreachable as failure:
            if not failure.transient:
                raise
            why = str(failure)
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            raise Timeout(why)
        yield Wait(None, now + pause if deadline is None else min(now + pause, deadline))
        pause = min(2 * pause, _LONGEST_BACK_OFF)
