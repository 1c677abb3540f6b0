"""The blocking clients."""
from __future__ import annotations

import math
import select
import time
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Optional, TypeVar, Union

from . import _calls, _places, _protocol
from ._connection import Steps, Wait
from .errors import Lost
from .values import Answer, ChatOptions, Embeddings, EmbedOptions, Event, Messages, StatusEvent, TextChatOptions, TextDelta

if TYPE_CHECKING:
    from typing_extensions import Unpack  # of the type checker; nothing has to be installed

_T = TypeVar("_T")
_Self = TypeVar("_Self", bound="_Client")


def _run(steps: Steps[_T]) -> _T:
    """Drives the steps to their end, waiting in this thread."""
    outcome: Any = None
    error: Optional[BaseException] = None
    try:
        while True:
            try:
                request = steps.send(outcome) if error is None else steps.throw(error)
            except StopIteration as end:
                result: _T = end.value
                return result
            outcome, error = None, None
            try:
                outcome = _wait(request) if isinstance(request, Wait) else request.function()
            except BaseException as raised:  # an interrupt, too: the steps close what they hold
                error = raised
    finally:
        error = None  # its traceback holds this frame


def _wait(wait: Wait) -> bool:
    seconds = None if wait.deadline is None else max(0.0, wait.deadline - time.monotonic())
    if wait.sock is None:
        time.sleep(seconds or 0.0)
        return False
    poll = select.poll()
    poll.register(wait.sock, select.POLLOUT if wait.to_write else select.POLLIN)
    return bool(poll.poll(None if seconds is None else math.ceil(min(seconds * 1000, 2**31 - 1))))


class Stream(_calls.StreamCore, Iterator[Event]):
    """The events of one answer as they come. Nothing is sent before the first is asked for. Leaving it early cancels: at the end of a
    `with`, or when nothing refers to it any more, as after `break`. One thread reads; cancel() may come from any."""

    def __next__(self) -> Event:
        event = _run(self._next())
        if event is None:
            raise StopIteration
        return event

    def texts(self) -> Iterator[str]:
        """Only the text of the answer, piece by piece."""
        return (event.text for event in self if isinstance(event, TextDelta))

    def answer(self) -> Answer:
        """Reads what is left and returns the whole answer."""
        for _ in self:
            pass
        return self._whole()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()


class _Client(_calls.ClientCore):
    def connect(self, timeout: Optional[float] = None) -> None:
        """Dials now; a call does so by itself. With a timeout (seconds) it tries again until somebody serves there."""
        _run(self._connect(timeout))

    def close(self) -> None:
        """Closes all connections. Calls that run in other threads end with Cancelled."""
        self._pool.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Chat(_Client):
    """Conversation with text, images, audio and tools (v2). May be used by several threads: calls at the same time get a connection each.

    socket: path of the daemon's v2 socket; tcp: HOST:PORT, with `key` if the daemon asks for one; neither: the default places, best first.
    timeout: seconds for each whole call; None: no limit.
    """

    def __init__(self, socket: Optional[_calls.Path] = None, *, tcp: Optional[str] = None, key: Optional[str] = None,
                 timeout: Optional[float] = None) -> None:
        super().__init__(_places.CHAT, socket, tcp, key, timeout)

    def stream(self, messages: Messages, **options: Unpack[ChatOptions]) -> Stream:
        """Asks and returns the answer's events as they come. Keyword arguments: see ChatOptions."""
        id, timeout, rest = self._split(options)
        return Stream(self._pool, _protocol.chat_request(id, messages, **rest), _protocol.ChatExchange(id), timeout)

    def complete(self, messages: Messages, **options: Unpack[ChatOptions]) -> Answer:
        """Asks and returns the whole answer. Keyword arguments: see ChatOptions."""
        with self.stream(messages, **options) as stream:
            return stream.answer()


class TextChat(_Client):
    """Conversation in plain text, with grammars (v1). Everything else as in Chat."""

    def __init__(self, socket: Optional[_calls.Path] = None, *, tcp: Optional[str] = None, key: Optional[str] = None,
                 timeout: Optional[float] = None) -> None:
        super().__init__(_places.TEXT_CHAT, socket, tcp, key, timeout)

    def stream(self, messages: Messages, **options: Unpack[TextChatOptions]) -> Stream:
        """Asks and returns the answer's events as they come. Keyword arguments: see TextChatOptions."""
        id, timeout, rest = self._split(options)
        return Stream(self._pool, _protocol.text_chat_request(id, messages, **rest), _protocol.TextChatExchange(id), timeout)

    def complete(self, messages: Messages, **options: Unpack[TextChatOptions]) -> Answer:
        """Asks and returns the whole answer. Keyword arguments: see TextChatOptions."""
        with self.stream(messages, **options) as stream:
            return stream.answer()


class Embedder(_Client):
    """Texts to vectors. Arguments as of Chat."""

    def __init__(self, socket: Optional[_calls.Path] = None, *, tcp: Optional[str] = None, key: Optional[str] = None,
                 timeout: Optional[float] = None) -> None:
        super().__init__(_places.EMBED, socket, tcp, key, timeout)

    def embed(self, input: Union[str, Iterable[str]], **options: Unpack[EmbedOptions]) -> Embeddings:
        """One vector for each text (one string: one vector). Keyword arguments: see EmbedOptions."""
        id, timeout, rest = self._split(options)
        return _run(_calls.embed(self._pool, id, input, timeout, rest))


class Status(_calls.StatusCore, Iterator[StatusEvent]):
    """What the daemon does: on connect its capabilities and its status, then every event; the iteration ends when the daemon does.
    socket: path of the admin socket; None: the default places. One thread reads; close() may come from any."""

    def __next__(self) -> StatusEvent:
        event = _run(self._event(None))
        if event is None:
            raise StopIteration
        return event

    def next_event(self, timeout: Optional[float] = None) -> StatusEvent:
        """The next event; Timeout after so many seconds, Lost when the daemon has ended. After a Timeout one can go on."""
        event = _run(self._event(timeout))
        if event is None:
            raise Lost("the daemon has ended")
        return event

    def close(self) -> None:
        self._close()

    def __enter__(self) -> Status:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def wait_ready(timeout: Optional[float] = None, *, socket: Optional[_calls.Path] = None,
               on_event: Optional[Callable[[StatusEvent], object]] = None) -> None:
    """Returns when the daemon says that it is ready. While nobody is there it dials again, with a pause of 100 ms that doubles up to 5 s.
    `on_event` sees every event on the way. Timeout after so many seconds, FailedStart if the daemon gives up, NotPermitted at once."""
    _run(_calls.wait_ready(socket, timeout, on_event))
