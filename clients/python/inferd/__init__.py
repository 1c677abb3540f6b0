"""Client of inferd, the daemon that owns the language models of a machine. Blocking calls; `inferd.aio` has the same names for asyncio.

    import inferd

    with inferd.Chat() as chat:
        for piece in chat.stream("Name three colours.").texts():
            print(piece, end="", flush=True)

Chat (v2), TextChat (v1), Embedder and Status talk to the daemon's four sockets; wait_ready() waits until it has loaded its models.
"""
from . import aio
from ._blocking import Chat, Embedder, Status, Stream, TextChat, wait_ready
from .errors import Cancelled, FailedStart, InferdError, Lost, NotPermitted, ProtocolError, Refused, Timeout, Unreachable
from .values import (Answer, Audio, ChatOptions, Content, Embeddings, EmbedOptions, EmbedTask, Event, Image, Message, Messages, Prefill, Queued,
                     Role, StatusEvent, TextChatOptions, TextDelta, ThinkingDelta, Tool, ToolCall, ToolResult, Usage)

__all__ = [
    "Chat", "Embedder", "Status", "Stream", "TextChat", "aio", "wait_ready",
    "Cancelled", "FailedStart", "InferdError", "Lost", "NotPermitted", "ProtocolError", "Refused", "Timeout", "Unreachable",
    "Answer", "Audio", "ChatOptions", "Content", "Embeddings", "EmbedOptions", "EmbedTask", "Event", "Image", "Message", "Messages", "Prefill",
    "Queued", "Role", "StatusEvent", "TextChatOptions", "TextDelta", "ThinkingDelta", "Tool", "ToolCall", "ToolResult", "Usage",
]
