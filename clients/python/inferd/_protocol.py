"""The protocol without a socket: requests become bytes, lines become events and answers. Pure; both the blocking client and the asyncio one
are made of it. One JSON object a line, UTF-8, at most 64 MiB without its LF."""
from __future__ import annotations

import json
from array import array
from base64 import b64encode
from typing import Any, Dict, Iterable, List, Mapping, Optional, Protocol, Sequence, TypeVar, Union

from .errors import ProtocolError, Refused
from .values import (Answer, Audio, Embeddings, Event, Image, Message, Prefill, Queued, StatusEvent, TextDelta, ThinkingDelta, Tool, ToolCall,
                     ToolResult, Usage)

FRAME_LIMIT = 64 << 20  # bytes of a line without its LF
ANSWER_LIMIT = FRAME_LIMIT  # bytes of the frames that make one answer's text, thinking and calls, so that no peer can fill the memory

Frame = Dict[str, Any]


# --- bytes <-> frames

class LineBuffer:
    """Bytes in, whole lines out. Holds at most one frame too much and what was fed at once."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._scanned = 0  # no LF before here

    def feed(self, data: bytes) -> None:
        self._bytes += data

    def line(self) -> Optional[bytes]:
        """The next line without its LF; None while it is not whole. ProtocolError if it is longer than a frame may be."""
        end = self._bytes.find(b"\n", self._scanned)
        if (len(self._bytes) if end < 0 else end) > FRAME_LIMIT:
            raise ProtocolError(f"a frame of more than {FRAME_LIMIT} bytes came")
        if end < 0:
            self._scanned = len(self._bytes)
            return None
        line = bytes(self._bytes[:end])
        del self._bytes[:end + 1]
        self._scanned = 0
        return line

    def rest(self) -> bytes:
        """What came after the last LF."""
        return bytes(self._bytes)


def encode(frame: Mapping[str, Any]) -> bytes:
    """The frame with its LF. TypeError or ValueError for what is not JSON, Refused for what is too long."""
    data = json.dumps(frame, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    if len(data) > FRAME_LIMIT:
        raise Refused("frame_too_large", f"the request has {len(data)} bytes, a frame at most {FRAME_LIMIT}: it was not sent")
    return data + b"\n"


def decode(line: bytes) -> Frame:
    try:
        frame = json.loads(line.decode(), parse_constant=_no_json)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a line came that is no JSON: {str(error)[:200]}") from None
    if not isinstance(frame, dict):
        raise ProtocolError(f"a line came that is no JSON object but a {type(frame).__name__}")
    return frame


def _no_json(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


_T = TypeVar("_T")


def _member(frame: Frame, name: str, kind: type[_T]) -> _T:
    value = frame.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ProtocolError(f"a frame came whose {name!r} is {'absent' if name not in frame else 'no ' + kind.__name__}")
    return value


def _optional(frame: Frame, name: str, kind: type[_T], otherwise: _T) -> _T:
    return otherwise if frame.get(name) is None else _member(frame, name, kind)


# --- requests

def auth_frame(key: str) -> bytes:
    return encode({"type": "auth", "key": key})


def text_chat_request(id: str, messages: Union[str, Sequence[Any]], *, temperature: Optional[float] = None, top_p: Optional[float] = None,
                      top_k: Optional[int] = None, max_tokens: Optional[int] = None, grammar: Optional[str] = None,
                      seed: Optional[int] = None, stop: Union[str, Sequence[str], None] = None, priority: Optional[str] = None,
                      local_only: bool = False, progress: bool = False) -> bytes:
    """A request on v1."""
    turns = []
    for message in _messages(messages):
        if not isinstance(message.content, str):
            raise TypeError("content: TextChat sends text only; Chat sends parts")
        turns.append({"role": message.role, "content": message.content})
    return encode(_present({
        "id": id, "messages": turns, "temperature": temperature, "top_p": top_p, "top_k": top_k, "max_tokens": max_tokens,
        "grammar": grammar or None, "seed": seed, "stop": _stop(stop), "priority": priority, "local_only": local_only or None,
        "progress": progress or None}))


def chat_request(id: str, messages: Union[str, Sequence[Any]], *, tools: Sequence[Union[Tool, Mapping[str, Any]]] = (),
                 tool_choice: Union[str, Tool, Mapping[str, Any], None] = None, json_schema: Any = None,
                 temperature: Optional[float] = None, top_p: Optional[float] = None, top_k: Optional[int] = None,
                 max_tokens: Optional[int] = None, seed: Optional[int] = None, stop: Union[str, Sequence[str], None] = None,
                 priority: Optional[str] = None, local_only: bool = False, progress: bool = False) -> bytes:
    """A request on v2."""
    attachments = _Attachments()
    turns = [{"role": message.role, "content": _blocks(message.content, attachments)} for message in _messages(messages)]
    return encode(_present({
        "id": id, "messages": turns, "attachments": attachments.frames or None, "tools": [_tool(tool) for tool in tools] or None,
        "temperature": temperature, "top_p": top_p, "top_k": top_k, "max_tokens": max_tokens, "seed": seed, "stop": _stop(stop),
        "priority": priority, "local_only": local_only or None, "progress": progress or None,
        "tool_choice": {"type": "tool", "name": tool_choice.name} if isinstance(tool_choice, Tool) else tool_choice,
        "response_format": None if json_schema is None else {"type": "json_schema", "schema": json_schema}}))


def embed_request(id: str, input: Union[str, Iterable[str]], *, dimensions: Optional[int] = None, task: Optional[str] = None,
                  local_only: bool = False) -> bytes:
    texts = [input] if isinstance(input, str) else list(input)
    return encode(_present({"id": id, "input": texts, "dimensions": dimensions, "task": task, "local_only": local_only or None}))


def _present(fields: Frame) -> Frame:
    """Without what is left to the daemon: an absent field has its default, a null is an error in some."""
    return {name: value for name, value in fields.items() if value is not None}


def _stop(stop: Union[str, Sequence[str], None]) -> Optional[List[str]]:
    return None if stop is None else [stop] if isinstance(stop, str) else list(stop)


def _messages(messages: Union[str, Sequence[Any]]) -> List[Message]:
    if isinstance(messages, str):
        return [Message("user", messages)]
    return [_message(message) for message in messages]


def _message(message: Any) -> Message:
    if isinstance(message, Mapping):
        if message.keys() != {"role", "content"}:  # a key that nobody reads would be lost without a word
            raise ValueError(f"a message has the keys role and content, got {', '.join(map(str, message))}")
        message = Message(message["role"], message["content"])
    if not isinstance(message, Message):
        raise TypeError(f"a message is a Message or a mapping, not a {type(message).__name__}")
    if message.role not in ("system", "user", "assistant"):
        raise ValueError(f"role {message.role!r}: expected system, user or assistant")
    return message


class _Attachments:
    """Collects the media of a request. One object used twice is sent once."""

    def __init__(self) -> None:
        self.frames: List[Frame] = []
        self._ids: Dict[Union[Image, Audio], str] = {}  # by identity

    def id_of(self, media: Union[Image, Audio]) -> str:
        if media not in self._ids:
            name = self._ids[media] = f"a{len(self.frames) + 1}"
            if isinstance(media, Image):
                self.frames.append({"kind": "image", "id": name, "width": media.width, "height": media.height, "bytes": _base64(media.rgb)})
            else:
                self.frames.append({"kind": "audio", "id": name, "sample_rate": media.sample_rate, "bytes": _base64(media.samples)})
        return self._ids[media]


def _base64(data: Any) -> str:
    return b64encode(memoryview(data).cast("B")).decode("ascii")


def _blocks(content: Any, attachments: _Attachments) -> List[Mapping[str, Any]]:
    parts = [content] if isinstance(content, str) else content
    if isinstance(parts, (Mapping, bytes)) or not isinstance(parts, Iterable):
        raise TypeError(f"content is a string or a list of parts, not a {type(parts).__name__}")
    return [_block(part, attachments) for part in parts]


def _block(part: Any, attachments: _Attachments) -> Mapping[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, (Image, Audio)):
        return {"type": "image" if isinstance(part, Image) else "audio", "attachment_id": attachments.id_of(part)}
    if isinstance(part, ToolCall):
        return {"type": "tool_use", "tool_call_id": part.id, "name": part.name, "input": part.input}
    if isinstance(part, ToolResult):
        return {"type": "tool_result", "tool_call_id": part.tool_call_id, "content": _blocks(part.content, attachments)}
    if isinstance(part, Mapping):
        return part
    raise TypeError(f"a part of a message is a string, Image, Audio, ToolCall, ToolResult or a mapping, not a {type(part).__name__}")


def _tool(tool: Union[Tool, Mapping[str, Any]]) -> Mapping[str, Any]:
    if isinstance(tool, Tool):
        return {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}
    return tool


# --- answers: an object that takes the lines of one answer

class Exchange(Protocol):
    """Takes the lines of one answer until `answer` is there."""

    answer: Optional[Answer]

    def take(self, line: bytes) -> Optional[Event]:
        """What the line tells the caller, if anything. Refused, ProtocolError."""


def _checked(line: bytes, id: str) -> Frame:
    """The frame of this line, if it belongs to this request and is no error."""
    frame = decode(line)
    kind, of = _member(frame, "type", str), _member(frame, "id", str)
    if kind == "error":
        code, message = _member(frame, "code", str), _member(frame, "message", str)
        if of in (id, ""):  # "": the daemon could not read the request's id
            raise Refused(code, message)
    if of != id:
        raise ProtocolError(f"a frame of request {of[:100]!r} came in the answer to {id!r}")
    return frame


def _progress(frame: Frame) -> Optional[Event]:
    status = _member(frame, "status", str)
    if status == "queued" and "position" in frame:  # release 0.2.1 has it in its schema without
        return Queued(_member(frame, "position", int))
    if status == "prefill":
        return Prefill(_member(frame, "prompt_tokens_done", int), _member(frame, "prompt_tokens", int))
    return None  # of a later daemon


class _Budget:
    def __init__(self) -> None:
        self._left = ANSWER_LIMIT

    def spend(self, line: bytes) -> None:
        self._left -= len(line)
        if self._left < 0:
            raise ProtocolError(f"an answer of more than {ANSWER_LIMIT} bytes came")


class TextChatExchange:
    """An answer on v1."""

    def __init__(self, id: str) -> None:
        self._id = id
        self.answer: Optional[Answer] = None

    def take(self, line: bytes) -> Optional[Event]:
        frame = _checked(line, self._id)
        kind = frame["type"]
        if kind == "token":
            text = _member(frame, "content", str)
            return TextDelta(text) if text else None
        if kind == "status":
            return _progress(frame)
        if kind != "done":
            raise ProtocolError(f"a frame of the unknown type {kind[:100]!r} came")
        usage, text = _member(frame, "usage", dict), _member(frame, "content", str)
        self.answer = Answer(
            text=text, thinking="", tool_calls=(), message=Message("assistant", text), stop_reason=_member(frame, "stop_reason", str),
            usage=Usage(_member(usage, "prompt_tokens", int), _member(usage, "completion_tokens", int),
                        _optional(usage, "cached_prompt_tokens", int, 0)),
            backend=_member(frame, "backend", str), route=_optional(frame, "route", str, ""), id=self._id)
        return None


class ChatExchange:
    """An answer on v2. The parts are kept as they come and joined at the end."""

    def __init__(self, id: str) -> None:
        self._id = id
        self._budget = _Budget()
        self._parts: List[Union[TextDelta, ThinkingDelta, ToolCall]] = []
        self.answer: Optional[Answer] = None

    def take(self, line: bytes) -> Optional[Event]:
        frame = _checked(line, self._id)
        kind = frame["type"]
        if kind == "frame":
            part = _part(_member(frame, "block", dict))
            if part is not None:
                self._budget.spend(line)
                self._parts.append(part)
            return part
        if kind == "status":
            return _progress(frame)
        if kind != "done":
            raise ProtocolError(f"a frame of the unknown type {kind[:100]!r} came")
        self.answer = self._finish(frame)
        return None

    def _finish(self, frame: Frame) -> Answer:
        usage = _member(frame, "usage", dict)
        content: List[Union[str, ToolCall]] = []  # of the message: neighbouring deltas are one text
        deltas: List[str] = []
        for part in (*self._parts, None):
            if isinstance(part, TextDelta):
                deltas.append(part.text)
            elif not isinstance(part, ThinkingDelta):
                content += ["".join(deltas)] if deltas else []
                deltas.clear()
                content += [part] if part else []
        return Answer(
            text="".join(part for part in content if isinstance(part, str)),
            thinking="".join(part.text for part in self._parts if isinstance(part, ThinkingDelta)),
            tool_calls=tuple(part for part in content if isinstance(part, ToolCall)),
            message=Message("assistant", tuple(content) or ""),  # a message without content would be refused
            stop_reason=_member(frame, "stop_reason", str),
            usage=Usage(_member(usage, "input_tokens", int), _member(usage, "output_tokens", int),
                        _optional(usage, "cached_input_tokens", int, 0)),
            backend=_member(frame, "backend", str), route=_optional(frame, "route", str, ""), id=self._id,
            tool_choice_unsatisfied=_optional(frame, "tool_choice_unsatisfied", bool, False))


def _part(block: Frame) -> Union[TextDelta, ThinkingDelta, ToolCall, None]:
    kind = _member(block, "type", str)
    if kind in ("text", "thinking"):
        delta = _member(block, "delta", str)
        return None if not delta else TextDelta(delta) if kind == "text" else ThinkingDelta(delta)
    if kind != "tool_use":
        raise ProtocolError(f"a block of the unknown type {kind[:100]!r} came")
    if "input" not in block:
        raise ProtocolError("a tool call without input came")
    return ToolCall(_member(block, "tool_call_id", str), _member(block, "name", str), block["input"])


def embeddings(line: bytes, id: str, inputs: int) -> Embeddings:
    """The answer to an embed request of so many inputs."""
    frame = _checked(line, id)
    if frame["type"] != "embeddings":
        raise ProtocolError(f"a frame of the unknown type {frame['type'][:100]!r} came")
    vectors, dimensions = _member(frame, "embeddings", list), _member(frame, "dimensions", int)
    if len(vectors) != inputs:
        raise ProtocolError(f"{len(vectors)} embeddings came for {inputs} inputs")
    for vector in vectors:
        if not isinstance(vector, list) or len(vector) != dimensions:
            raise ProtocolError(f"an embedding came that is no list of {dimensions} numbers")
        try:
            array("d", vector)  # fails on anything that is no number
        except (TypeError, OverflowError):
            raise ProtocolError("an embedding came that is not made of numbers") from None
    return Embeddings(vectors, dimensions, _member(frame, "model", str), _member(_member(frame, "usage", dict), "input_tokens", int),
                      _member(frame, "backend", str), _optional(frame, "route", str, ""), id)


def status_event(line: bytes) -> StatusEvent:
    """An event of the admin socket."""
    frame = decode(line)
    return StatusEvent(_member(frame, "status", str), _optional(frame, "phase", str, ""), _optional(frame, "reason", str, ""),
                       _optional(frame, "warning", str, ""), frame)
