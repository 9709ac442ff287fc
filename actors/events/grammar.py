"""The rules for the order of a session's events, for live runs, for recovery and for the check of a log. Pure.

========  ==============================================================================================
G1        seq is contiguous from 1 within an epoch
G2        a run has one agent_started, its first event, and one agent_completed, its last event
G3        each tool_executing has exactly one tool_completed, before its run completes
G4        a child run starts and completes within its parent's run
G5        at every end all open items are closed, innermost first; after a crash, by the session's next start
========  ==============================================================================================

An *item* is a run, a tool call or a question to the user. A question opens with input_requested. It closes with the one
input_received or input_withdrawn of its ``call_id``. If it is still open when its run completes, the completion of the
run closes it.

There is no clock and no storage here. Times are in ms since 1970 and are given by the caller. Open items are kept in
the order in which they were opened: closing them in reverse order closes them innermost first.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import attrs
import orjson

from actors.errors import GrammarError
from actors.events.types import EventType, Status

if TYPE_CHECKING:
    from actors.events.types import JSON


class Kind(StrEnum):
    """The kinds of items: runs, tool calls and questions. Each item is opened by one event and closed by another event.

    The values are stored in the state of a stream, so the values must not change in later versions.
    """

    RUN = "run"
    CALL = "call"
    INPUT = "input"


_CALL_RULES = {Kind.CALL: "G3", Kind.INPUT: "G2"}
"""The broken rule (G1 to G5) that is reported when an event of a tool call or question is refused.

The key is the kind of the item: tool call or question.
"""

_CLOSING_TYPES = {Kind.RUN: EventType.AGENT_COMPLETED, Kind.CALL: EventType.TOOL_COMPLETED}
"""The type of the event that closes an open run or tool call. Questions are not here: they end with their run."""


@attrs.frozen
class Open:
    """A run, a tool call or a question to the user that was opened and is not closed yet."""

    kind: Kind
    id: str
    """The id of the run, or the ``call_id`` of the tool call or question."""
    run_id: str
    """The id of the run to which the tool call or question belongs. For a run, the id of the run itself."""
    parent_run_id: str | None
    name: str
    """The name of the agent or of the tool."""
    started: int
    """The time when the run, tool call or question was opened, in ms since 1970."""


@attrs.frozen
class Closing:
    """An event that must be appended to close an open run or tool call, and the open item that the event closes."""

    type: EventType
    item: Open


class Grammar:
    """The open runs, tool calls and questions of one session, and the rules for the session's next event.

    :meth:`apply` either accepts an event or raises :class:`~actors.GrammarError` and changes nothing.
    """

    __slots__ = ("_items", "text")

    def __init__(self, items: tuple[Open, ...] = ()) -> None:
        self._items = {(item.kind, item.id): item for item in items}
        self.text: bytes | None = None
        """The last :meth:`snapshot`. None if an item was opened or closed since."""

    @property
    def open(self) -> tuple[Open, ...]:
        """The open runs, tool calls and questions, in the order in which they were opened."""
        return tuple(self._items.values())

    def runs(self) -> tuple[Open, ...]:
        """Return the open runs, in the order in which they were opened."""
        return tuple(item for item in self._items.values() if item.kind is Kind.RUN)

    def run(self, run_id: str) -> Open | None:
        """Return the open run with the id ``run_id``. Return None if no such run is open."""
        return self._items.get((Kind.RUN, run_id))

    def apply(  # noqa: PLR0913 - the fields of an event
        self,
        event: str,
        run_id: str | None,
        call_id: str | None = None,
        *,
        parent_run_id: str | None = None,
        name: str = "",
        ts: int = 0,
    ) -> None:
        """Check that an event of type ``event`` is allowed next, and update the open runs, tool calls and questions.

        If the event breaks a rule, raise :class:`GrammarError` and change nothing.
        """
        match event:
            case EventType.AGENT_STARTED:
                self._start(run_id, parent_run_id, name, ts)
            case EventType.AGENT_COMPLETED:
                self._complete(run_id)
            case EventType.TOOL_EXECUTING:
                self._open_call(Kind.CALL, run_id, call_id, name, ts)
            case EventType.TOOL_COMPLETED:
                self._close_call(Kind.CALL, run_id, call_id)
            case EventType.INPUT_REQUESTED:
                self._open_call(Kind.INPUT, run_id, call_id, name, ts)
            case EventType.INPUT_RECEIVED | EventType.INPUT_WITHDRAWN:
                self._close_call(Kind.INPUT, run_id, call_id)
            case _:  # a text or a custom event opens and closes nothing, but its run must be open
                if run_id is not None:
                    self._require_run(run_id, event)

    def copy(self) -> Grammar:
        """Return a copy with the same open items. Later changes of the copy do not change this object."""
        # Without the constructor: each event that opens or closes something makes a copy.
        made = Grammar.__new__(Grammar)
        made._items, made.text = self._items.copy(), self.text  # noqa: SLF001 - of this class
        return made

    def within(self, run_id: str) -> tuple[Open, ...]:
        """Return the open items inside a run, innermost first: its calls and questions, its child runs and their items.

        The run itself is not included.
        """
        if len(self._items) == 1:  # mostly there is only the run itself
            return ()
        # A parent opens before its children, so one pass in order of opening finds all of them.
        runs = {run_id}
        inside: list[Open] = []
        for item in self._items.values():
            if item.kind is Kind.RUN and item.parent_run_id in runs:
                runs.add(item.id)
                inside.append(item)
            elif item.kind is not Kind.RUN and item.run_id in runs:
                inside.append(item)
        return tuple(reversed(inside))

    def closings(self) -> tuple[Closing, ...]:
        """Return the events that close all open items, innermost first (G5).

        A question gets no event of its own: the end of its run closes it.
        """
        items = reversed(self.open)
        return tuple(Closing(_CLOSING_TYPES[item.kind], item) for item in items if item.kind in _CLOSING_TYPES)

    def snapshot(self) -> bytes:
        """Return the open runs, tool calls and questions as JSON text.

        As long as these items do not change, every call returns the same object.
        """
        # The same object while nothing changes: its identity shows cheaply that the state need not be written.
        if self.text is None:
            self.text = orjson.dumps(
                [
                    (item.kind, item.id, item.run_id, item.parent_run_id, item.name, item.started)
                    for item in self._items.values()
                ]
            )
        return self.text

    @classmethod
    def restore(cls, snapshot: list[list[Any]]) -> Grammar:
        """Return a Grammar with the open runs, calls and questions of a snapshot, which was decoded from JSON.

        Raise ``TypeError`` or ``ValueError`` if the value is not a :meth:`snapshot`.
        """
        return cls(tuple(Open(Kind(kind), *fields) for kind, *fields in snapshot))

    def _start(self, run_id: str | None, parent_run_id: str | None, name: str, ts: int) -> None:
        if run_id is None:
            raise GrammarError("G2", "agent_started without a run_id")
        if (Kind.RUN, run_id) in self._items:
            raise GrammarError("G2", f"run {run_id} was started already")
        if parent_run_id is not None and (Kind.RUN, parent_run_id) not in self._items:
            raise GrammarError("G4", f"run {run_id} starts in run {parent_run_id}, which is not open")
        self._put(Open(Kind.RUN, run_id, run_id, parent_run_id, name, ts))

    def _complete(self, run_id: str | None) -> None:
        self._require_run(run_id, EventType.AGENT_COMPLETED)
        inside = self.within(str(run_id))
        for item in inside:
            if item.kind is Kind.RUN:
                raise GrammarError("G4", f"run {run_id} completes before its child {item.id}")
            if item.kind is Kind.CALL:
                raise GrammarError("G3", f"run {run_id} completes before its call {item.id}")
        # Only questions are left: they end with their run.
        for item in inside:
            del self._items[item.kind, item.id]
        del self._items[Kind.RUN, str(run_id)]
        self.text = None

    def _open_call(self, kind: Kind, run_id: str | None, call_id: str | None, name: str, ts: int) -> None:
        self._require_run(run_id, kind)
        if call_id is None:
            raise GrammarError(_CALL_RULES[kind], f"a {kind} without a call_id")
        if (kind, call_id) in self._items:
            raise GrammarError(_CALL_RULES[kind], f"{kind} {call_id} was opened already")
        self._put(Open(kind, call_id, str(run_id), None, name, ts))

    def _close_call(self, kind: Kind, run_id: str | None, call_id: str | None) -> None:
        item = self._items.get((kind, str(call_id)))
        # A call may be closed only in its own run.
        if item is None or item.run_id != run_id:
            raise GrammarError(_CALL_RULES[kind], f"{kind} {call_id} of run {run_id} is not open")
        del self._items[kind, item.id]
        self.text = None

    def _require_run(self, run_id: str | None, event: str) -> None:
        if (Kind.RUN, run_id) not in self._items:
            raise GrammarError("G2", f"{event} of run {run_id}, which is not open")

    def _put(self, item: Open) -> None:
        # A dict keeps the order of insertion, which is the order of opening.
        self._items[item.kind, item.id] = item
        self.text = None


def interrupted(closing: Closing, last_ts: int) -> dict[str, JSON]:
    """Return the ``data`` of an event that closes a run or tool call which a crash left open.

    The duration of the run or call ends at ``last_ts``, the ``ts`` of the last committed event, because the time of
    the crash is not known.
    """
    item = closing.item
    label = "agent" if item.kind is Kind.RUN else "tool"
    return {
        label: item.name,
        "status": Status.INTERRUPTED.value,
        "error": {"code": "interrupted", "message": "the server stopped before this was finished"},
        "duration_ms": max(0, last_ts - item.started),
    }
