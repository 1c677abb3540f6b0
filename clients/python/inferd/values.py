"""What goes into a call and what comes out of it: plain data, nothing here talks to a daemon."""
from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass, field
from typing import Any, Iterable, Literal, Mapping, Sequence, Tuple, TypedDict, Union

__all__ = ["Answer", "Audio", "ChatOptions", "Content", "Embeddings", "EmbedOptions", "EmbedTask", "Event", "Image", "Message", "Messages",
           "Prefill", "Queued", "Role", "StatusEvent", "TextChatOptions", "TextDelta", "ThinkingDelta", "Tool", "ToolCall", "ToolResult", "Usage"]


Role = Literal["system", "user", "assistant"]
EmbedTask = Literal["retrieval_query", "retrieval_document", "similarity", "classification", "clustering", "question_answering",
                    "fact_verification", "code_retrieval_query"]


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels for the model: `rgb` is width * height * 3 bytes, row by row, without alpha. No file format: decode with a library of your own."""

    width: int
    height: int
    rgb: Union[bytes, bytearray, memoryview]

    def __post_init__(self) -> None:
        expected, got = self.width * self.height * 3, memoryview(self.rgb).nbytes
        if self.width < 1 or self.height < 1 or got != expected:
            raise ValueError(f"an image of {self.width} x {self.height} pixels has {expected} bytes of RGB, got {got}")

    def __repr__(self) -> str:
        return f"Image({self.width} x {self.height})"


@dataclass(frozen=True, eq=False)
class Audio:
    """Sound for the model, one channel: `samples` are float32 numbers (an array('f'), a buffer of them, any numbers), or their bytes,
    little-endian. Nothing is resampled: `sample_rate` (Hz) has to be what the model expects."""

    sample_rate: int
    samples: Union[bytes, bytearray, memoryview, array[float], Iterable[float]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", _little_endian_floats(self.samples))
        if self.sample_rate < 1:
            raise ValueError(f"sample_rate {self.sample_rate}: expected Hz")

    def __repr__(self) -> str:
        assert isinstance(self.samples, bytes)
        return f"Audio({self.sample_rate} Hz, {len(self.samples) // 4} samples)"


def _little_endian_floats(samples: Any) -> bytes:
    try:
        view = memoryview(samples)
    except TypeError:  # no buffer: numbers one by one
        view = memoryview(array("f", samples))
    if view.format in ("B", "b", "c"):
        if view.nbytes % 4:
            raise ValueError(f"{view.nbytes} bytes are no whole number of float32 samples")
        return view.tobytes()
    if view.format != "f" or view.ndim != 1:
        raise TypeError(f"samples of type {view.format!r} in {view.ndim} dimensions: expected float32 in one dimension")
    if sys.byteorder == "little":
        return view.tobytes()
    swapped = array("f", view.tobytes())
    swapped.byteswap()
    return swapped.tobytes()


@dataclass(frozen=True)
class Tool:
    """A function that the model may call. `input_schema`: a JSON schema of its arguments."""

    name: str
    description: str = ""
    input_schema: Any = field(default_factory=lambda: {"type": "object", "properties": {}})


@dataclass(frozen=True)
class ToolCall:
    """A call that the model makes, complete. An event of a stream, and a part of the message that replays it."""

    id: str
    name: str
    input: Any  # as a rule a dict


@dataclass(frozen=True)
class ToolResult:
    """What came out of a call, for the model to read: a part of the next user message. `content` as in a Message."""

    tool_call_id: str
    content: Content


# Text, or parts in order. A mapping is a content block as the wire has it.
Content = Union[str, Sequence[Union[str, Image, Audio, ToolCall, ToolResult, Mapping[str, Any]]]]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation. A mapping with the same two keys does as well."""

    role: Role
    content: Content


# A string is one user message.
Messages = Union[str, Sequence[Union[Message, Mapping[str, Any]]]]


@dataclass(frozen=True)
class TextDelta:
    """The next piece of the answer's text; never empty."""

    text: str


@dataclass(frozen=True)
class ThinkingDelta:
    """The next piece of what the model thinks before it answers; never empty."""

    text: str


@dataclass(frozen=True)
class Queued:
    """With progress=True: the request waits. 1: it is next."""

    position: int


@dataclass(frozen=True)
class Prefill:
    """With progress=True: how far the prompt is computed."""

    prompt_tokens_done: int
    prompt_tokens: int


Event = Union[TextDelta, ThinkingDelta, ToolCall, Queued, Prefill]


@dataclass(frozen=True)
class Usage:
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0  # of input_tokens: reused, not computed again


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    text: str
    thinking: str
    tool_calls: Tuple[ToolCall, ...]
    message: Message  # the assistant's turn, to be appended to the conversation: text and calls in their order, without the thinking
    stop_reason: str  # Chat: end_turn, max_tokens, tool_use, stop_sequence, cancelled, error; TextChat: end, length, cancelled, error
    usage: Usage
    backend: str  # the kind that answered: mock, llamacpp, ...
    route: str  # the name of the entry that answered; empty from daemons that do not tell
    id: str
    tool_choice_unsatisfied: bool = False  # a call was required and max_tokens ended the answer first


@dataclass(frozen=True)
class Embeddings:
    vectors: Sequence[Sequence[float]]  # one for each input, in order, each `dimensions` long
    dimensions: int
    model: str
    input_tokens: int  # over all inputs
    backend: str
    route: str  # empty from daemons that do not tell
    id: str


@dataclass(frozen=True)
class StatusEvent:
    """What the daemon says about itself. `status` is starting, loading_model, capabilities, ready, restarting, draining, error, or one
    that a later daemon has; `fields` holds all of the frame by name, what this class does not know as well."""

    status: str
    phase: str = ""  # with loading_model and restarting
    reason: str = ""  # with error and restarting
    warning: str = ""  # what is wrong beside the status
    fields: Mapping[str, Any] = field(default_factory=dict)


class TextChatOptions(TypedDict, total=False):
    """Keyword arguments of TextChat.stream() and TextChat.complete(). What is left out has the daemon's default."""

    temperature: float  # 0: always the likeliest token
    top_p: float
    top_k: int
    max_tokens: int
    grammar: str  # GBNF with a rule `root`: the answer has to conform to it
    seed: int  # absent: random
    stop: Union[str, Sequence[str]]  # the answer ends before the first of these; at most 16, of 1 to 256 bytes
    priority: Literal["interactive", "batch"]  # batch: served when no interactive request needs the place
    local_only: bool  # never leaves this machine
    progress: bool  # Queued and Prefill events
    id: str  # appears in the daemon's log; chosen by the client if absent
    timeout: float  # seconds for the whole call, from the first event asked for; absent: the client's


class ChatOptions(TypedDict, total=False):
    """Keyword arguments of Chat.stream() and Chat.complete(). What is left out has the daemon's default."""

    tools: Sequence[Union[Tool, Mapping[str, Any]]]
    tool_choice: Union[Literal["auto", "none", "required"], Tool, Mapping[str, Any]]  # a Tool: this one has to be called
    json_schema: Any  # the text of the answer is JSON that conforms to this schema (response_format on the wire)
    temperature: float  # 0: always the likeliest token
    top_p: float
    top_k: int
    max_tokens: int
    seed: int  # absent: random
    stop: Union[str, Sequence[str]]  # the answer ends before the first of these; at most 16, of 1 to 256 bytes
    priority: Literal["interactive", "batch"]  # batch: served when no interactive request needs the place
    local_only: bool  # never leaves this machine
    progress: bool  # Queued and Prefill events
    id: str  # appears in the daemon's log; chosen by the client if absent
    timeout: float  # seconds for the whole call, from the first event asked for; absent: the client's


class EmbedOptions(TypedDict, total=False):
    """Keyword arguments of Embedder.embed(). What is left out has the daemon's default."""

    dimensions: int  # the vectors are cut to this length; absent: the model's
    task: EmbedTask
    local_only: bool  # never leaves this machine
    id: str  # appears in the daemon's log; chosen by the client if absent
    timeout: float  # seconds for the whole call; absent: the client's
