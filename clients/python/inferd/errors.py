"""What can go wrong. Every error of this package is an InferdError; arguments of the wrong shape are TypeError or ValueError."""
from __future__ import annotations

__all__ = ["Cancelled", "FailedStart", "InferdError", "Lost", "NotPermitted", "ProtocolError", "Refused", "Timeout", "Unreachable"]


class InferdError(Exception):
    """Base of all errors of this package."""


class Refused(InferdError):
    """The daemon answered with an error frame. Branch on `code`; `message` is one line for a person.

    Codes: queue_full and backend_unavailable (try again later), invalid_request, frame_too_large, attachment_unsupported,
    tool_call_malformed, embed_unsupported, internal.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Unreachable(InferdError):
    """Nobody serves there. `transient`: the daemon does not run or is still loading, so it is worth trying again."""

    def __init__(self, message: str, transient: bool = False) -> None:
        super().__init__(message, transient)
        self.message = message
        self.transient = transient

    def __str__(self) -> str:
        return self.message


class NotPermitted(InferdError):
    """This user may not use the socket, or its folder belongs to somebody else."""


class Lost(InferdError):
    """The connection ended before the answer did."""


class Cancelled(InferdError):
    """The call was cancelled: by cancel() on its stream, or because its client was closed."""


class Timeout(InferdError, TimeoutError):
    """The call's `timeout` has passed. Its work has been cancelled."""


class ProtocolError(InferdError):
    """What came is not the protocol."""


class FailedStart(InferdError):
    """The daemon says that its start failed, and why."""
