"""The events of a session as classes, one per type, flat and frozen. Pure.

On the wire (as it is sent and stored) an event is ``{"seq", "type", "ts", "run_id"?, "parent_run_id"?, "call_id"?,
"data"}``. The fields of ``data`` are attributes of the class; :attr:`Event.data` returns them as they are on the wire.
An event of a type that this version does not know becomes an :class:`UnknownEvent`: a newer server never breaks an
older client.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, TypeAlias

import attrs

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"
"""Type of a JSON value.

Each reader of an event gets lists and dicts of its own, so a reader that changes them does not affect other readers.
"""

MAX_SEQ = 2**53 - 1
"""The largest ``seq`` of an event. JavaScript cannot represent all larger integers exactly."""


class EventType(StrEnum):
    """The names of the event types, as they are sent and stored. Only code inside ``actors`` uses this enum."""

    AGENT_STARTED = "agent_started"
    AGENT_THINKING = "agent_thinking"
    AGENT_OUTPUT = "agent_output"
    TOOL_EXECUTING = "tool_executing"
    TOOL_COMPLETED = "tool_completed"
    INPUT_REQUESTED = "input_requested"
    INPUT_RECEIVED = "input_received"
    INPUT_WITHDRAWN = "input_withdrawn"
    AGENT_COMPLETED = "agent_completed"
    USER_MESSAGE = "user_message"
    CUSTOM = "custom"


class Status(StrEnum):
    """The ways in which a run or a tool call can end: the values of ``status`` in the last event of the run or call."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """The server or the session failed before the run or the tool call had ended."""


@attrs.frozen
class Position:
    """A client's position in a session's log: the client has received all events up to and including ``seq``.

    ``epoch`` is a random id of the session's log. *A log was lost and made again: a client that had events 1 to 3 of
    the old log got event 4 of the new log.* A new log has another epoch, so a client with a position in the old log now
    drops its events and begins anew.
    """

    epoch: str
    seq: int


class ResetReason(StrEnum):
    """The reason why a position could not be recovered, and the client must drop the events that it has.

    The members' values are also the values of the field ``reset`` of a welcome (the server's first message).
    """

    EPOCH_CHANGED = "epoch_changed"
    """The client's position belongs to another log. Usually the session's log was lost or removed, and made again."""
    TRIMMED = "trimmed"
    """The log no longer has the next event that the client needs."""
    AHEAD = "ahead"
    """The client's position is above the newest event in the log."""


@attrs.frozen(kw_only=True)
class Event:
    """Base class of all events, with the fields that every event has.

    ``ts`` is the time of the event in ms since 1970. An id that does not apply to the event is None.
    """

    # The classes give plain strings as their type, not members of EventType: users compare, print and pickle them.
    type: ClassVar[str] = ""

    seq: int
    ts: int
    run_id: str | None = None
    parent_run_id: str | None = None
    call_id: str | None = None

    @property
    def data(self) -> dict[str, JSON]:
        """The event's own fields as a dict, in the form in which ``data`` is sent and stored.

        A field that is None is left out, except ``input``, ``arguments`` and ``value``: for these fields None is a JSON
        value.
        """
        return {
            name: value
            for name in _data_fields(type(self))
            if (value := getattr(self, name)) is not None or name in _NULLABLE
        }


@attrs.frozen
class Fault:
    """The reason of a failure: a short stable ``code`` (the exception's class name) and a message for a person."""

    code: str
    message: str


@attrs.frozen(kw_only=True)
class AgentStarted(Event):
    """The start of an agent's run. ``command_id`` is the id of the client's command that started the run, or None."""

    type: ClassVar[str] = EventType.AGENT_STARTED.value
    agent: str
    input: JSON = None
    command_id: str | None = None


@attrs.frozen(kw_only=True)
class AgentThinking(Event):
    """A note about the agent's current thoughts, for a person to read."""

    type: ClassVar[str] = EventType.AGENT_THINKING.value
    text: str


@attrs.frozen(kw_only=True)
class AgentOutput(Event):
    """A piece of an agent's answer. Concatenate the pieces of one run to get the whole answer."""

    type: ClassVar[str] = EventType.AGENT_OUTPUT.value
    text: str


@attrs.frozen(kw_only=True)
class ToolExecuting(Event):
    """The start of a tool call. Secrets in ``arguments`` are replaced before clients see them."""

    type: ClassVar[str] = EventType.TOOL_EXECUTING.value
    tool: str
    arguments: JSON = None


@attrs.frozen(kw_only=True)
class ToolCompleted(Event):
    """The end of a tool call. Each call has exactly one event of this type.

    ``status`` is ok, error, timeout, cancelled or interrupted.
    """

    type: ClassVar[str] = EventType.TOOL_COMPLETED.value
    tool: str
    status: str
    result: JSON = None
    error: dict[str, JSON] | None = None
    duration_ms: int | None = None


@attrs.frozen(kw_only=True)
class InputRequested(Event):
    """A question from the agent to its user. A client answers by a command with the same ``run_id`` and ``call_id``."""

    type: ClassVar[str] = EventType.INPUT_REQUESTED.value
    prompt: str
    schema: JSON = None


@attrs.frozen(kw_only=True)
class InputReceived(Event):
    """The user's answer to an agent's question. ``by`` is the id of the connection that sent the answer."""

    type: ClassVar[str] = EventType.INPUT_RECEIVED.value
    value: JSON = None
    by: str | None = None


@attrs.frozen(kw_only=True)
class InputWithdrawn(Event):
    """The end of a question that got no answer, while its run continues. ``reason`` is timeout or cancelled.

    Without this event a page would still show the question, although the server would refuse an answer. A question
    that is open when its run completes ends with the run and gets no event of its own.
    """

    type: ClassVar[str] = EventType.INPUT_WITHDRAWN.value
    reason: str


@attrs.frozen(kw_only=True)
class AgentCompleted(Event):
    """The end of an agent's run. Each run has exactly one event of this type.

    ``status`` is ok, error, timeout, cancelled or interrupted.
    """

    type: ClassVar[str] = EventType.AGENT_COMPLETED.value
    agent: str
    status: str
    result: JSON = None
    error: dict[str, JSON] | None = None
    duration_ms: int | None = None
    usage: JSON = None


@attrs.frozen(kw_only=True)
class UserMessage(Event):
    """A message that the user sent. The message is an event, so all open tabs of the session show it."""

    type: ClassVar[str] = EventType.USER_MESSAGE.value
    text: str


@attrs.frozen(kw_only=True)
class Custom(Event):
    """An event that the application defines. It belongs to a run. If ``run_id`` is None, it belongs to the session."""

    type: ClassVar[str] = EventType.CUSTOM.value
    name: str
    value: JSON = None


@attrs.frozen(kw_only=True)
class UnknownEvent(Event):
    """An event of a type that this version does not know.

    ``type`` is the name of the type, and ``raw`` is the event's ``data``, as the server sent it.
    """

    # The other classes have one type each; here the type differs from event to event.
    type: str  # type: ignore[misc]  # pyright: ignore[reportIncompatibleVariableOverride]  as said above
    raw: dict[str, Any] = attrs.field(factory=dict[str, Any])

    @property
    def data(self) -> dict[str, JSON]:
        """The event's ``data``, as the server sent it."""
        return dict(self.raw)


EVENT_TYPES: dict[str, type[Event]] = {
    cls.type: cls
    for cls in (
        AgentStarted,
        AgentThinking,
        AgentOutput,
        ToolExecuting,
        ToolCompleted,
        InputRequested,
        InputReceived,
        InputWithdrawn,
        AgentCompleted,
        UserMessage,
        Custom,
    )
}
"""The event classes of this version. The key is the name of the event type, as it is sent and stored."""

ENVELOPE = tuple(field.name for field in attrs.fields(Event))
"""Names of the fields that every event has, apart from ``type``."""

# Fields of any JSON value: None is a value here, so it is written as null and not left out.
_NULLABLE = frozenset({"input", "arguments", "value"})


def _data_fields(cls: type[Event]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls) if field.name not in ENVELOPE)
