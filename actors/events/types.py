"""The events of a session as classes, one per type, flat and frozen. Pure.

On the wire an event is ``{"seq", "type", "ts", "run_id"?, "parent_run_id"?, "call_id"?, "data"}``. The fields of
``data`` are attributes of the class; :attr:`Event.data` returns them as they are on the wire. An event of a type that
this version does not know becomes an :class:`UnknownEvent`: a newer server never breaks an older client.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, TypeAlias

import attrs

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"
"""A JSON value. Each reader gets its own lists and dicts: changing one does not affect other readers."""

MAX_SEQ = 2**53 - 1
"""The largest ``seq``. Above it a JavaScript number is no longer exact."""


class EventType(StrEnum):
    """Names of the event types on the wire, for the code inside this package."""

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
    """The ways in which a run or a tool call ends: values of ``status`` on the wire."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """The server or the session failed before the run or call had ended."""


@attrs.frozen
class Position:
    """A place in a session's log: all events up to and including ``seq`` were received.

    ``epoch`` is a random id of the session's log. *A log was lost and made again: a client that had events 1 to 3 of
    the old log got event 4 of the new one.* A new log has another epoch, so such a client now begins anew.
    """

    epoch: str
    seq: int


@attrs.frozen(kw_only=True)
class Event:
    """The fields that every event has. ``ts`` is in ms since 1970. An id that does not apply is None."""

    # The classes give plain strings as their type, not members of EventType: users compare, print and pickle them.
    type: ClassVar[str] = ""

    seq: int
    ts: int
    run_id: str | None = None
    parent_run_id: str | None = None
    call_id: str | None = None

    @property
    def data(self) -> dict[str, JSON]:
        """The ``data`` object as it is on the wire. Absent fields are left out."""
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
    """The start of a run. ``command_id`` is the id of the client's command that started it, if a client did."""

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
    """A piece of the answer. Concatenate the pieces of one run to get all of it."""

    type: ClassVar[str] = EventType.AGENT_OUTPUT.value
    text: str


@attrs.frozen(kw_only=True)
class ToolExecuting(Event):
    """The start of a tool call. Secrets in ``arguments`` are redacted."""

    type: ClassVar[str] = EventType.TOOL_EXECUTING.value
    tool: str
    arguments: JSON = None


@attrs.frozen(kw_only=True)
class ToolCompleted(Event):
    """The end of a tool call, exactly one for each. ``status`` is ok, error, timeout, cancelled or interrupted."""

    type: ClassVar[str] = EventType.TOOL_COMPLETED.value
    tool: str
    status: str
    result: JSON = None
    error: dict[str, JSON] | None = None
    duration_ms: int | None = None


@attrs.frozen(kw_only=True)
class InputRequested(Event):
    """A question from the agent to its user. The answer is a command with this ``run_id`` and ``call_id``."""

    type: ClassVar[str] = EventType.INPUT_REQUESTED.value
    prompt: str
    schema: JSON = None


@attrs.frozen(kw_only=True)
class InputReceived(Event):
    """The user's answer. ``by`` is the connection that sent it."""

    type: ClassVar[str] = EventType.INPUT_RECEIVED.value
    value: JSON = None
    by: str | None = None


@attrs.frozen(kw_only=True)
class InputWithdrawn(Event):
    """The end of a question without an answer, while its run continues. ``reason`` is timeout or cancelled.

    Without this event a page would continue to offer a question whose answer is refused. A question that is open when
    its run completes ends with the run and gets no event of its own.
    """

    type: ClassVar[str] = EventType.INPUT_WITHDRAWN.value
    reason: str


@attrs.frozen(kw_only=True)
class AgentCompleted(Event):
    """The end of a run, exactly one for each. ``status`` is ok, error, timeout, cancelled or interrupted."""

    type: ClassVar[str] = EventType.AGENT_COMPLETED.value
    agent: str
    status: str
    result: JSON = None
    error: dict[str, JSON] | None = None
    duration_ms: int | None = None
    usage: JSON = None


@attrs.frozen(kw_only=True)
class UserMessage(Event):
    """A message that the user sent. As an event it appears in all open tabs."""

    type: ClassVar[str] = EventType.USER_MESSAGE.value
    text: str


@attrs.frozen(kw_only=True)
class Custom(Event):
    """An event that the application defines. It belongs to a run or, without ``run_id``, to the session itself."""

    type: ClassVar[str] = EventType.CUSTOM.value
    name: str
    value: JSON = None


@attrs.frozen(kw_only=True)
class UnknownEvent(Event):
    """An event of a type that this version does not know. ``type`` is its name on the wire, ``raw`` its data."""

    # The other classes have one type each; here the type differs from event to event.
    type: str  # type: ignore[misc]  # pyright: ignore[reportIncompatibleVariableOverride]  as said above
    raw: dict[str, Any] = attrs.field(factory=dict[str, Any])

    @property
    def data(self) -> dict[str, JSON]:
        """The ``data`` object as it is on the wire."""
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
"""The class of each event type that this version knows, by the type's name on the wire."""

ENVELOPE = tuple(field.name for field in attrs.fields(Event))
"""Names of the fields that every event has beside its type."""

# Fields of any JSON value: None is a value here, so it is written as null and not left out.
_NULLABLE = frozenset({"input", "arguments", "value"})


def _data_fields(cls: type[Event]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls) if field.name not in ENVELOPE)
