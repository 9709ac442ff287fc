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

The cost of an event does not depend on the number of open items. *Each event copied all of them, and each end of a run
looked at all of them: when 1,000 sub-agents ended at once, no other session could do anything for seconds.*
"""

from __future__ import annotations

from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import attrs
import orjson

from actors.errors import GrammarError
from actors.events.types import EventType, Status
from actors.frozen import frozen_unchecked

if TYPE_CHECKING:
    from collections.abc import Sequence

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

_Key = tuple[Kind, str]

_CLOSING_TYPES = {Kind.RUN: EventType.AGENT_COMPLETED, Kind.CALL: EventType.TOOL_COMPLETED}
"""The type of the event that closes an open run or tool call. Questions are not here: they end with their run."""


@frozen_unchecked
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
    order: int = attrs.field(default=0, eq=False, repr=False, kw_only=True)
    """The position of the item in the order in which the items of its :class:`Grammar` were opened."""


@attrs.frozen
class Closing:
    """An event that must be appended to close an open run or tool call, and the open item that the event closes."""

    type: EventType
    item: Open


class Grammar:
    """The open runs, tool calls and questions of one session, and the rules for the session's next event.

    :meth:`apply` either accepts an event or raises :class:`~actors.GrammarError` and changes nothing.
    """

    __slots__ = ("_inside", "_items", "_order", "text")

    def __init__(self) -> None:
        self._items: dict[_Key, Open] = {}
        # The open items directly inside a run, by the id of the run. A run without open items has no entry.
        self._inside: dict[str, dict[_Key, Open]] = {}
        self._order = 0
        self.text: bytes | None = None
        """The last :meth:`snapshot`. None if an item was opened or closed since."""

    @property
    def open(self) -> tuple[Open, ...]:
        """The open runs, tool calls and questions, in the order in which they were opened."""
        return tuple(self._items.values())

    def runs(self) -> tuple[Open, ...]:
        """Return the open runs, in the order in which they were opened."""
        return tuple(item for item in self._items.values() if item.kind is Kind.RUN)

    def runs_before(self, changes: Sequence[tuple[Open, ...]]) -> tuple[Open, ...]:
        """Return the runs that were open before the newest ``changes``, in the order in which they were opened.

        ``changes`` are values that were given to :meth:`change`, the oldest first.
        """
        runs = {item.id: item for item in self.runs()}
        for items in reversed(changes):
            for item in items:
                if item.kind is Kind.RUN and runs.pop(item.id, None) is None:
                    runs[item.id] = item
        return tuple(sorted(runs.values(), key=attrgetter("order")))

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
        self.change(self.check(event, run_id, call_id, parent_run_id=parent_run_id, name=name, ts=ts))

    def check(  # noqa: PLR0913 - the fields of an event
        self,
        event: str,
        run_id: str | None,
        call_id: str | None = None,
        *,
        parent_run_id: str | None = None,
        name: str = "",
        ts: int = 0,
    ) -> tuple[Open, ...]:
        """Return the items that an event of type ``event`` would open or close. Change nothing.

        The next call of :meth:`change` may get them. Raise :class:`GrammarError` if the event breaks a rule.
        """
        match event:
            case EventType.AGENT_STARTED:
                items = self._start(run_id, parent_run_id, name, ts)
            case EventType.AGENT_COMPLETED:
                items = self._complete(run_id)
            case EventType.TOOL_EXECUTING:
                items = self._open_call(Kind.CALL, run_id, call_id, name, ts)
            case EventType.TOOL_COMPLETED:
                items = self._close_call(Kind.CALL, run_id, call_id)
            case EventType.INPUT_REQUESTED:
                items = self._open_call(Kind.INPUT, run_id, call_id, name, ts)
            case EventType.INPUT_RECEIVED | EventType.INPUT_WITHDRAWN:
                items = self._close_call(Kind.INPUT, run_id, call_id)
            case _:  # a text or a custom event opens and closes nothing, but its run must be open
                if run_id is not None:
                    self._require_run(run_id, event)
                items = ()
        return items

    def change(self, items: tuple[Open, ...]) -> None:
        """Open those of the items that are not open, and close the others."""
        # No call in here can fail, not even if the stack is full: the event is in its stream already.
        opened, inside = self._items, self._inside
        for item in items:
            key = item.kind, item.id
            around = item.parent_run_id if item.kind is Kind.RUN else item.run_id
            if key not in opened:
                # A dict keeps the order of insertion, which is the order of opening.
                opened[key] = item
                self._order = item.order
                if around is not None:
                    if around in inside:
                        inside[around][key] = item
                    else:
                        inside[around] = {key: item}
                continue
            del opened[key]
            if around is not None:
                siblings = inside[around]
                del siblings[key]
                if not siblings:
                    del inside[around]
        if items:
            self.text = None

    def within(self, run_id: str) -> tuple[Open, ...]:
        """Return the open items inside a run, innermost first: its calls and questions, its child runs and their items.

        The run itself is not included.
        """
        if run_id not in self._inside:  # mostly
            return ()
        found: list[Open] = []
        runs = [run_id]
        while runs:
            for item in self._inside.get(runs.pop(), {}).values():
                found.append(item)
                if item.kind is Kind.RUN:
                    runs.append(item.id)
        # A parent opens before its children.
        found.sort(key=attrgetter("order"), reverse=True)
        return tuple(found)

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
        made = cls()
        made.change(tuple(Open(Kind(kind), *fields, order=n) for n, (kind, *fields) in enumerate(snapshot, 1)))
        return made

    def _start(self, run_id: str | None, parent_run_id: str | None, name: str, ts: int) -> tuple[Open, ...]:
        if run_id is None:
            raise GrammarError("G2", "agent_started without a run_id")
        if (Kind.RUN, run_id) in self._items:
            raise GrammarError("G2", f"run {run_id} was started already")
        if parent_run_id is not None and (Kind.RUN, parent_run_id) not in self._items:
            raise GrammarError("G4", f"run {run_id} starts in run {parent_run_id}, which is not open")
        return (Open(Kind.RUN, run_id, run_id, parent_run_id, name, ts, order=self._order + 1),)

    def _complete(self, run_id: str | None) -> tuple[Open, ...]:
        run = self._require_run(run_id, EventType.AGENT_COMPLETED)
        if run.id not in self._inside:
            return (run,)
        inside = self.within(run.id)
        for item in inside:
            if item.kind is Kind.RUN:
                raise GrammarError("G4", f"run {run_id} completes before its child {item.id}")
            if item.kind is Kind.CALL:
                raise GrammarError("G3", f"run {run_id} completes before its call {item.id}")
        # Only questions are left: they end with their run.
        return (*inside, run)

    def _open_call(self, kind: Kind, run_id: str | None, call_id: str | None, name: str, ts: int) -> tuple[Open, ...]:
        run = self._require_run(run_id, kind)
        if call_id is None:
            raise GrammarError(_CALL_RULES[kind], f"a {kind} without a call_id")
        if (kind, call_id) in self._items:
            raise GrammarError(_CALL_RULES[kind], f"{kind} {call_id} was opened already")
        return (Open(kind, call_id, run.id, None, name, ts, order=self._order + 1),)

    def _close_call(self, kind: Kind, run_id: str | None, call_id: str | None) -> tuple[Open, ...]:
        item = self._items.get((kind, str(call_id)))
        # A call may be closed only in its own run.
        if item is None or item.run_id != run_id:
            raise GrammarError(_CALL_RULES[kind], f"{kind} {call_id} of run {run_id} is not open")
        return (item,)

    def _require_run(self, run_id: str | None, event: str) -> Open:
        run = None if run_id is None else self._items.get((Kind.RUN, run_id))
        if run is None:
            raise GrammarError("G2", f"{event} of run {run_id}, which is not open")
        return run


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
