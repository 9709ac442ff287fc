"""What a session tells its clients, as classes: one per event type, flat, frozen.

The wire form of an event is ``{"seq", "type", "ts", "run_id"?, "parent_run_id"?, "call_id"?, "data"}``; the fields of
``data`` are attributes here, and :attr:`Event.data` gives them back as the wire has them. An event of a type that this
version does not know arrives as :class:`UnknownEvent`: a newer server never breaks an older client.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

import attrs

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"
"""A JSON value. Lists and dicts are fresh for each reader: nobody else sees a change to them."""

MAX_SEQ = 2**53 - 1
"""The largest ``seq``: beyond it a JavaScript number is no longer exact."""


@attrs.frozen
class Position:
    """A place in a log: everything up to and including ``seq`` was seen.

    ``epoch`` is drawn when a log is made. A log lost and rebuilt has another one, so that a client at 3 of the old log
    is never handed 4 of an unrelated one.
    """

    epoch: str
    seq: int


@attrs.frozen(kw_only=True)
class Event:
    """What all events have. ``ts`` is in ms since 1970; ids are absent (None) where they do not apply."""

    type: ClassVar[str] = ""

    seq: int
    ts: int
    run_id: str | None = None
    parent_run_id: str | None = None
    call_id: str | None = None

    @property
    def data(self) -> dict[str, JSON]:
        """The ``data`` object as it is on the wire: absent fields are left out."""
        return {
            name: value
            for name in _data_fields(type(self))
            if (value := getattr(self, name)) is not None or name in _NULLABLE
        }


@attrs.frozen
class Fault:
    """Why something failed: a short stable ``code`` (the exception's class name) and a message for a person."""

    code: str
    message: str


@attrs.frozen(kw_only=True)
class AgentStarted(Event):
    """A run began; ``command_id`` is the command that started it, if a client did."""

    type: ClassVar[str] = "agent_started"
    agent: str
    input: JSON = None
    command_id: str | None = None


@attrs.frozen(kw_only=True)
class AgentThinking(Event):
    """What the agent is considering, for a person to read."""

    type: ClassVar[str] = "agent_thinking"
    text: str


@attrs.frozen(kw_only=True)
class AgentOutput(Event):
    """A piece of the answer; the pieces of one run are to be concatenated."""

    type: ClassVar[str] = "agent_output"
    text: str


@attrs.frozen(kw_only=True)
class ToolExecuting(Event):
    """A tool call began; ``arguments`` are redacted."""

    type: ClassVar[str] = "tool_executing"
    tool: str
    arguments: JSON = None


@attrs.frozen(kw_only=True)
class ToolCompleted(Event):
    """The one end of a tool call: ``status`` is ok, error, timeout, cancelled or interrupted."""

    type: ClassVar[str] = "tool_completed"
    tool: str
    status: str
    result: JSON = None
    error: dict[str, JSON] | None = None
    duration_ms: int | None = None


@attrs.frozen(kw_only=True)
class InputRequested(Event):
    """The agent asks its user; the answer is a command with this ``run_id`` and ``call_id``."""

    type: ClassVar[str] = "input_requested"
    prompt: str
    schema: JSON = None


@attrs.frozen(kw_only=True)
class InputReceived(Event):
    """The user's answer; ``by`` is the connection it came from."""

    type: ClassVar[str] = "input_received"
    value: JSON = None
    by: str | None = None


@attrs.frozen(kw_only=True)
class InputWithdrawn(Event):
    """The agent no longer waits for that answer, and its run goes on: ``reason`` is timeout or cancelled.

    Without this a page would go on to offer a question whose answer is refused. One that is open when its run completes
    is over with it, and gets no event of its own.
    """

    type: ClassVar[str] = "input_withdrawn"
    reason: str


@attrs.frozen(kw_only=True)
class AgentCompleted(Event):
    """The one end of a run: ``status`` is ok, error, timeout, cancelled or interrupted."""

    type: ClassVar[str] = "agent_completed"
    agent: str
    status: str
    result: JSON = None
    error: dict[str, JSON] | None = None
    duration_ms: int | None = None
    usage: JSON = None


@attrs.frozen(kw_only=True)
class UserMessage(Event):
    """What the user wrote, so that every tab shows it."""

    type: ClassVar[str] = "user_message"
    text: str


@attrs.frozen(kw_only=True)
class Custom(Event):
    """An application's own event, of a run or (without ``run_id``) of the session itself."""

    type: ClassVar[str] = "custom"
    name: str
    value: JSON = None


@attrs.frozen(kw_only=True)
class UnknownEvent(Event):
    """An event of a type that this version does not know: ``type`` is the wire's name, the data is as it came."""

    # The type of the others is their class's; here it is the one thing that differs from event to event.
    type: str  # type: ignore[misc]  # pyright: ignore[reportIncompatibleVariableOverride]  as said above
    raw: dict[str, Any] = attrs.field(factory=dict[str, Any])

    @property
    def data(self) -> dict[str, JSON]:
        """The ``data`` object as it came."""
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
"""Every event type that this version knows, by its name on the wire."""

_ENVELOPE = frozenset(field.name for field in attrs.fields(Event))
_NULLABLE = frozenset({"input", "arguments", "value"})


def _data_fields(cls: type[Event]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls) if field.name not in _ENVELOPE)
