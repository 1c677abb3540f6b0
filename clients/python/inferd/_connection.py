"""Connections, written once for both clients: each function that may have to wait is a generator. It yields what it waits for, and whoever
drives it (blocking: _blocking.py, asyncio: aio.py) waits and resumes it. Sockets are never blocking, so a driver that is interrupted at any
point loses no byte."""
from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Generator, List, Optional, Set, Tuple, TypeVar, Union

from ._places import Endpoint, folders, is_trusted
from ._protocol import LineBuffer, auth_frame
from .errors import Cancelled, InferdError, Lost, NotPermitted, ProtocolError, Timeout, Unreachable

_T = TypeVar("_T")


@dataclass(frozen=True)
class Wait:
    """Until `sock` can be read from (or written to), or the deadline (time.monotonic) has passed. Without a socket: until the deadline.
    The driver answers with True if the socket is ready, False at the deadline."""

    sock: Optional[socket.socket]
    deadline: Optional[float]
    to_write: bool = False


@dataclass(frozen=True)
class Call:
    """A function that blocks; the driver answers with what it returns, or throws in what it raises."""

    function: Callable[[], Any]


Steps = Generator[Union[Wait, Call], Any, _T]

_READ_BYTES = 256 << 10
_FULL_BACKLOG_PAUSE = 0.02  # seconds
_MAX_IDLE = 8  # connections that a client keeps for later calls
_TRANSIENT = {errno.ENOENT, errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EADDRNOTAVAIL}  # spec 09 section 7


def deadline_in(timeout: Optional[float]) -> Optional[float]:
    return None if timeout is None else time.monotonic() + timeout


def check(deadline: Optional[float]) -> None:
    if deadline is not None and time.monotonic() >= deadline:
        raise Timeout("timed out")


def _ready(sock: socket.socket, deadline: Optional[float], to_write: bool = False) -> Steps[None]:
    if not (yield Wait(sock, deadline, to_write)):
        raise Timeout("timed out")


class Connection:
    """One connection. Belongs to one call at a time; only cancel() may come from elsewhere."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self._sock = sock
        self._peer = peer
        self._lines = LineBuffer()
        self._ended = False
        self._cut = False  # the last line had no LF
        self._cancelled = False
        self._send_error = ""
        self._closing = threading.RLock()  # between close() and cancel(): the number of a closed socket may be another one's

    def send(self, data: bytes, deadline: Optional[float]) -> Steps[None]:
        """Returns when all is sent, or when the peer reads no more: it may have answered before that, so an answer is looked for all the same."""
        rest = memoryview(data)
        while rest:
            self._check_cancelled()
            try:
                rest = rest[self._sock.send(rest, getattr(socket, "MSG_NOSIGNAL", 0)):]
            except BlockingIOError:
                yield from _ready(self._sock, deadline, to_write=True)
            except OSError as error:
                self._send_error = error.strerror or str(error)
                return

    def line(self, deadline: Optional[float]) -> Steps[Optional[bytes]]:
        """The next line; the last one may come without its LF. None at the end."""
        while True:
            self._check_cancelled()
            line = self._lines.line()
            if line is not None:
                return line
            if self._ended:
                rest, self._lines = self._lines.rest(), LineBuffer()
                self._cut = bool(rest)
                return rest or None
            try:
                data = self._sock.recv(_READ_BYTES)
            except BlockingIOError:
                yield from _ready(self._sock, deadline)
            except ConnectionError:
                self._ended = True
            except OSError as error:
                raise Lost(f"read from {self._peer}: {error.strerror or error}") from None
            else:
                self._ended = not data
                self._lines.feed(data)

    def parse(self, line: bytes, take: Callable[[bytes], _T]) -> _T:
        """What `take` makes of the line that came last."""
        try:
            return take(line)
        except ProtocolError:
            if self._cut:
                raise Lost(f"{self._peer} closed the connection inside a frame") from None
            raise

    def answer(self, take: Callable[[bytes], _T], deadline: Optional[float]) -> Steps[_T]:
        """What `take` makes of the next line, which has to come."""
        line = yield from self.line(deadline)
        if line is None:
            why = f" ({self._send_error})" if self._send_error else ""
            raise Lost(f"{self._peer} closed the connection before the answer was complete{why}")
        return self.parse(line, take)

    def is_idle(self) -> bool:
        """True if nothing is left of the last answer and the peer is still there, as far as one can see."""
        if self._ended or self._lines.rest():
            return False
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return not poll.poll(0)

    def cancel(self) -> None:
        """Ends the call that uses the connection with Cancelled. The peer sees a hang-up now. Any thread."""
        with self._closing:
            self._cancelled = True
            try:
                self._sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed, or the peer was first

    def close(self, in_mid_answer: bool = False) -> None:
        """`in_mid_answer`: on TCP the peer is told so (RST), as it takes a plain end for a half-close, whose client still wants its answer."""
        with self._closing:
            if in_mid_answer and self._sock.fileno() >= 0 and self._sock.family != socket.AF_UNIX:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._sock.close()

    def _check_cancelled(self) -> None:
        if self._cancelled:
            raise Cancelled("cancelled")


def dial(endpoint: Endpoint, deadline: Optional[float]) -> Steps[Connection]:
    """Unreachable, NotPermitted, Timeout."""
    if endpoint.address is not None:
        return (yield from _dial_tcp(endpoint.address, endpoint.key, deadline))
    if endpoint.path is not None:
        return (yield from _connect(socket.AF_UNIX, endpoint.path, endpoint.path, deadline))
    sockets = [os.path.join(folder, endpoint.leaf) for folder in folders()]
    denied: Optional[NotPermitted] = None
    first: Optional[Unreachable] = None
    for path in sockets:
        folder = os.path.dirname(path)
        if os.path.exists(folder) and not is_trusted(folder):
            denied = denied or NotPermitted(f"{folder} belongs to another user: not used")
            continue
        try:
            return (yield from _connect(socket.AF_UNIX, path, path, deadline))
        except NotPermitted as failure:
            denied = denied or failure
        except Unreachable as failure:
            first = first or failure
    # A socket that is there but not for us says more than one that is missing.
    raise denied or Unreachable(f"{first} (tried {', '.join(sockets)})", first is not None and first.transient)


def _dial_tcp(address: Tuple[str, int], key: Optional[str], deadline: Optional[float]) -> Steps[Connection]:
    host, port = address
    try:
        found = yield Call(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"{host}: {error}", getattr(error, "errno", None) == socket.EAI_AGAIN) from None
    last: Optional[InferdError] = None
    for family, _, _, _, to in found:
        try:
            connection = yield from _connect(family, to, f"{host}:{port}", deadline)
        except (Unreachable, NotPermitted) as failure:
            last = failure
            continue
        try:
            if key is not None:
                yield from connection.send(auth_frame(key), deadline)
        except BaseException:
            connection.close()
            raise
        return connection
    raise last or Unreachable(f"{host}: no address")


def _connect(family: int, address: Any, peer: str, deadline: Optional[float]) -> Steps[Connection]:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable(f"connect to {peer}: {error.strerror or error}") from None
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield from _finish_connecting(sock, address, deadline)
        return Connection(sock, peer)
    except InferdError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        text = f"connect to {peer}: {error.strerror or error}"
        if error.errno in (errno.EACCES, errno.EPERM):
            raise NotPermitted(text) from None
        raise Unreachable(text, error.errno in _TRANSIENT) from None
    except BaseException:
        sock.close()
        raise


def _finish_connecting(sock: socket.socket, address: Any, deadline: Optional[float]) -> Steps[None]:
    while True:
        code = sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            yield from _ready(sock, deadline, to_write=True)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            return
        if code != errno.EAGAIN:
            raise OSError(code, os.strerror(code))
        check(deadline)  # a Unix socket whose backlog is full: the kernel tells nobody when there is room
        yield Wait(None, time.monotonic() + _FULL_BACKLOG_PAUSE)


class Pool:
    """The connections of one client: a call takes one that is idle or dials, so calls at the same time do not wait for each other. Any thread."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._lock = threading.RLock()  # R: a stream that is collected while the lock is held gives its connection back
        self._idle: List[Connection] = []
        self._used: Set[Connection] = set()
        self._closed = False

    def take(self, deadline: Optional[float]) -> Steps[Connection]:
        with self._lock:
            self._check_open()
            while self._idle:
                connection = self._idle.pop()
                if connection.is_idle():
                    self._used.add(connection)
                    return connection
                connection.close()
        connection = yield from dial(self._endpoint, deadline)
        with self._lock:
            if self._closed:
                connection.close()
                self._check_open()
            self._used.add(connection)
        return connection

    def give_back(self, connection: Connection) -> None:
        """After a whole answer."""
        with self._lock:
            self._used.discard(connection)
            if not self._closed and len(self._idle) < _MAX_IDLE and connection.is_idle():
                self._idle.append(connection)
                return
        connection.close()

    def drop(self, connection: Connection) -> None:
        """In the middle of an answer: the daemon stops its work."""
        with self._lock:
            self._used.discard(connection)
        connection.close(in_mid_answer=True)

    def close(self) -> None:
        """Calls that run end with Cancelled."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for connection in list(self._used):
                connection.cancel()
        for connection in idle:
            connection.close()

    def _check_open(self) -> None:
        if self._closed:
            raise Cancelled("the client is closed")
