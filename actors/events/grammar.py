"""The grammar of a session's events: one table of rules for live runs, for recovery and for the check of a log. Pure.

========  ==========================================================================================
G1        seq is contiguous from 1 within an epoch
G2        a run is agent_started … agent_completed: one of each, first and last, nothing of it after
G3        each tool_executing has exactly one tool_completed, before its run completes
G4        a child run starts and completes within its parent's run
G5        every exit closes what is open, innermost first; a crash is closed by the next incarnation
========  ==========================================================================================

A question opens with input_requested. It closes with the one input_received or input_withdrawn of its ``call_id``. A
question that is still open when its run completes is closed by that completion.

There is no clock and no storage here. Times are in ms since 1970 and are given by the caller. Open items are kept in
order of opening: closing them in reverse order closes them innermost first.
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
    """Kinds of things that open and close. The values are stored in the state of a stream."""

    RUN = "run"
    CALL = "call"
    INPUT = "input"


_CALL_RULES = {Kind.CALL: "G3", Kind.INPUT: "G2"}
"""The rule that is broken if an event about a call or a question may not come next."""

_CLOSING_TYPES = {Kind.RUN: EventType.AGENT_COMPLETED, Kind.CALL: EventType.TOOL_COMPLETED}
"""Types of the events that close open items, by kind. A question has no such event: it ends with its run."""


@attrs.frozen
class Open:
    """A run, a tool call or a question to the user that was opened and is not closed yet."""

    kind: Kind
    id: str
    """The run's id; for a call or a question, the ``call_id``."""
    run_id: str
    """The id of the run that the call or question belongs to. For a run, its own id."""
    parent_run_id: str | None
    name: str
    """The agent's or the tool's name."""
    started: int
    """The time when the item was opened, in ms since 1970."""


@attrs.frozen
class Closing:
    """An event that :meth:`Grammar.closings` asks its caller to append, and the open item that it closes."""

    type: EventType
    item: Open


class Grammar:
    """The open items of one session, and the rules for its next event.

    :meth:`apply` either accepts an event or raises :class:`~actors.GrammarError` and changes nothing.
    """

    __slots__ = ("_items", "_text")

    def __init__(self, items: tuple[Open, ...] = ()) -> None:
        self._items = {(item.kind, item.id): item for item in items}
        self._text: bytes | None = None

    @property
    def open(self) -> tuple[Open, ...]:
        """The open items, in order of opening."""
        return tuple(self._items.values())

    def runs(self) -> tuple[Open, ...]:
        """Return the open runs, in order of opening."""
        return tuple(item for item in self._items.values() if item.kind is Kind.RUN)

    def run(self, run_id: str) -> Open | None:
        """Return the open run with this id, or None."""
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
        """Accept one event of type ``event``. Raise :class:`GrammarError` if it may not come next."""
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
            case _:
                if run_id is not None:
                    self._require_run(run_id, event)

    def copy(self) -> Grammar:
        """Return a grammar with the same open items. It changes independently of this one."""
        return Grammar(tuple(self._items.values()))

    def within(self, run_id: str) -> tuple[Open, ...]:
        """Return the open items inside a run: its calls, its child runs and their items. Innermost first.

        The run itself is not included.
        """
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
        """Return the events that close all open items, innermost first (G5). A question closes with its run."""
        items = reversed(self.open)
        return tuple(Closing(_CLOSING_TYPES[item.kind], item) for item in items if item.kind in _CLOSING_TYPES)

    def snapshot(self) -> bytes:
        """Return the open items as JSON text. Each call returns the same object until an item opens or closes."""
        # The same object while nothing changes: its identity shows cheaply that the state need not be written.
        if self._text is None:
            self._text = orjson.dumps(
                [
                    (item.kind, item.id, item.run_id, item.parent_run_id, item.name, item.started)
                    for item in self._items.values()
                ]
            )
        return self._text

    @classmethod
    def restore(cls, snapshot: list[list[Any]]) -> Grammar:
        """Return the grammar of a decoded :meth:`snapshot`. Raise ``TypeError`` or ``ValueError`` for anything else."""
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
        self._text = None

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
        self._text = None

    def _require_run(self, run_id: str | None, event: str) -> None:
        if (Kind.RUN, run_id) not in self._items:
            raise GrammarError("G2", f"{event} of run {run_id}, which is not open")

    def _put(self, item: Open) -> None:
        self._items[item.kind, item.id] = item
        self._text = None


def interrupted(closing: Closing, last_ts: int) -> dict[str, JSON]:
    """Return the ``data`` of an event that closes an item which a crash left open.

    Its duration ends at ``last_ts``, the ``ts`` of the last committed event: the time of the crash is not known.
    """
    item = closing.item
    label = "agent" if item.kind is Kind.RUN else "tool"
    return {
        label: item.name,
        "status": Status.INTERRUPTED.value,
        "error": {"code": "interrupted", "message": "the server stopped before this was finished"},
        "duration_ms": max(0, last_ts - item.started),
    }
