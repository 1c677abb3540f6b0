"""The clients for asyncio: the same names and arguments as in `inferd`, with await. Each belongs to one event loop at a time."""
from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, Iterable, Optional, TypeVar, Union

from . import _calls, _places, _protocol
from ._connection import Steps, Wait
from .errors import Lost
from .values import Answer, ChatOptions, Embeddings, EmbedOptions, Event, Messages, StatusEvent, TextChatOptions, TextDelta

if TYPE_CHECKING:
    from typing_extensions import Unpack  # of the type checker; nothing has to be installed

__all__ = ["Chat", "Embedder", "Status", "Stream", "TextChat", "wait_ready"]

_T = TypeVar("_T")
_Self = TypeVar("_Self", bound="_Client")


async def _run(steps: Steps[_T]) -> _T:
    """Drives the steps to their end, waiting in the event loop."""
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
                if isinstance(request, Wait):
                    outcome = await _wait(request)
                else:
                    outcome = await asyncio.get_running_loop().run_in_executor(None, request.function)
            except BaseException as raised:  # a cancelled task, too: the steps close what they hold
                error = raised
    finally:
        error = None  # its traceback holds this frame


async def _wait(wait: Wait) -> bool:
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[bool] = loop.create_future()

    def wake(ready: bool) -> None:
        if not woken.done():
            woken.set_result(ready)

    timer = None
    if wait.deadline is not None:
        timer = loop.call_later(max(0.0, wait.deadline - time.monotonic()), wake, False)
    descriptor = -1 if wait.sock is None else wait.sock.fileno()
    if descriptor >= 0:
        (loop.add_writer if wait.to_write else loop.add_reader)(descriptor, wake, True)
    try:
        return await woken
    finally:
        # Before anybody can close the socket: its number may be another one's after that.
        if descriptor >= 0:
            (loop.remove_writer if wait.to_write else loop.remove_reader)(descriptor)
        if timer is not None:
            timer.cancel()


class Stream(_calls.StreamCore, AsyncIterator[Event]):
    """The events of one answer as they come. Nothing is sent before the first is asked for. Leaving it early cancels: at the end of an
    `async with`, when nothing refers to it any more, as after `break`, or when the task that waits for it is cancelled."""

    async def __anext__(self) -> Event:
        event = await _run(self._next())
        if event is None:
            raise StopAsyncIteration
        return event

    async def texts(self) -> AsyncIterator[str]:
        """Only the text of the answer, piece by piece."""
        async for event in self:
            if isinstance(event, TextDelta):
                yield event.text

    async def answer(self) -> Answer:
        """Reads what is left and returns the whole answer."""
        async for _ in self:
            pass
        return self._whole()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()


class _Client(_calls.ClientCore):
    async def connect(self, timeout: Optional[float] = None) -> None:
        """Dials now; a call does so by itself. With a timeout (seconds) it tries again until somebody serves there."""
        await _run(self._connect(timeout))

    async def close(self) -> None:
        """Closes all connections. Calls that run in other tasks end with Cancelled."""
        self._pool.close()

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Chat(_Client):
    """Conversation with text, images, audio and tools (v2). Calls at the same time get a connection each.

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

    async def complete(self, messages: Messages, **options: Unpack[ChatOptions]) -> Answer:
        """Asks and returns the whole answer. Keyword arguments: see ChatOptions."""
        async with self.stream(messages, **options) as stream:
            return await stream.answer()


class TextChat(_Client):
    """Conversation in plain text, with grammars (v1). Everything else as in Chat."""

    def __init__(self, socket: Optional[_calls.Path] = None, *, tcp: Optional[str] = None, key: Optional[str] = None,
                 timeout: Optional[float] = None) -> None:
        super().__init__(_places.TEXT_CHAT, socket, tcp, key, timeout)

    def stream(self, messages: Messages, **options: Unpack[TextChatOptions]) -> Stream:
        """Asks and returns the answer's events as they come. Keyword arguments: see TextChatOptions."""
        id, timeout, rest = self._split(options)
        return Stream(self._pool, _protocol.text_chat_request(id, messages, **rest), _protocol.TextChatExchange(id), timeout)

    async def complete(self, messages: Messages, **options: Unpack[TextChatOptions]) -> Answer:
        """Asks and returns the whole answer. Keyword arguments: see TextChatOptions."""
        async with self.stream(messages, **options) as stream:
            return await stream.answer()


class Embedder(_Client):
    """Texts to vectors. Arguments as of Chat."""

    def __init__(self, socket: Optional[_calls.Path] = None, *, tcp: Optional[str] = None, key: Optional[str] = None,
                 timeout: Optional[float] = None) -> None:
        super().__init__(_places.EMBED, socket, tcp, key, timeout)

    async def embed(self, input: Union[str, Iterable[str]], **options: Unpack[EmbedOptions]) -> Embeddings:
        """One vector for each text (one string: one vector). Keyword arguments: see EmbedOptions."""
        id, timeout, rest = self._split(options)
        return await _run(_calls.embed(self._pool, id, input, timeout, rest))


class Status(_calls.StatusCore, AsyncIterator[StatusEvent]):
    """What the daemon does: on connect its capabilities and its status, then every event; the iteration ends when the daemon does.
    socket: path of the admin socket; None: the default places."""

    async def __anext__(self) -> StatusEvent:
        event = await _run(self._event(None))
        if event is None:
            raise StopAsyncIteration
        return event

    async def next_event(self, timeout: Optional[float] = None) -> StatusEvent:
        """The next event; Timeout after so many seconds, Lost when the daemon has ended. After a Timeout one can go on."""
        event = await _run(self._event(timeout))
        if event is None:
            raise Lost("the daemon has ended")
        return event

    async def close(self) -> None:
        self._close()

    async def __aenter__(self) -> Status:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def wait_ready(timeout: Optional[float] = None, *, socket: Optional[_calls.Path] = None,
                     on_event: Optional[Callable[[StatusEvent], object]] = None) -> None:
    """Returns when the daemon says that it is ready. While nobody is there it dials again, with a pause of 100 ms that doubles up to 5 s.
    `on_event` sees every event on the way. Timeout after so many seconds, FailedStart if the daemon gives up, NotPermitted at once."""
    await _run(_calls.wait_ready(socket, timeout, on_event))
