"""The names in the messages between client and server: frame types, commands, error codes and signals.

The enums have all names of ``greenroom.v1`` and ``SPEC.md``. No other names are sent, except in signals of agents. The
package `actors` cannot import this package, and writes some of these names itself. ``tests/protocol_core/test_spec.py``
checks that the two packages use the same names.
"""

from __future__ import annotations

from enum import StrEnum


class ClientFrameType(StrEnum):
    """The ``type`` of a frame from a client."""

    HELLO = "hello"
    COMMAND = "command"
    TYPING = "typing"
    ACK = "ack"
    HISTORY = "history"
    PONG = "pong"
    TOKEN = "token"  # noqa: S105 - the name of a frame


class ServerFrameType(StrEnum):
    """The ``type`` of a frame from a server."""

    WELCOME = "welcome"
    EVENTS = "events"
    SIGNAL = "signal"
    REPLY = "reply"
    HISTORY = "history"
    TOKEN = "token"  # noqa: S105 - as above
    ERROR = "error"
    PING = "ping"
    GOODBYE = "goodbye"


class CommandName(StrEnum):
    """The ``name`` of a command."""

    RUN_START = "run.start"
    RUN_CANCEL = "run.cancel"
    INPUT_ANSWER = "input.answer"
    MESSAGE_SEND = "message.send"
    SESSION_CLOSE = "session.close"


class ErrorCode(StrEnum):
    """The ``code`` of a refused command, or of an ``error`` frame."""

    UNKNOWN_COMMAND = "unknown_command"
    UNKNOWN_AGENT = "unknown_agent"
    UNKNOWN_RUN = "unknown_run"
    BAD_ARGS = "bad_args"
    BAD_INPUT = "bad_input"
    BAD_HISTORY = "bad_history"
    NOT_WAITING = "not_waiting"
    CANCELLED = "cancelled"
    OVERLOADED = "overloaded"
    RATE_LIMITED = "rate_limited"
    OWNER_UNREACHABLE = "owner_unreachable"
    INTERNAL = "internal"


OUTCOME_UNKNOWN = "outcome_unknown"
"""The error code of a command that the client must not send again: perhaps the server has done this command already.

The client itself sets this code: no server sends it.
"""


class SignalName(StrEnum):
    """The ``name`` of a signal that the server itself sends. Agents can send signals with any name."""

    QUEUED = "queued"
    TYPING = "typing"
    PAUSED = "paused"


class StartFrom(StrEnum):
    """The ``from`` field of a hello: a client without a position begins at the oldest event, or after the latest."""

    OLDEST = "oldest"
    LATEST = "latest"
