"""What may follow what in a session: one table of rules for live runs, for recovery and for checking a log.

========  ==========================================================================================
G1        seq is contiguous from 1 within an epoch
G2        a run is agent_started … agent_completed: one of each, first and last, nothing of it after
G3        each tool_executing has exactly one tool_completed, before its run completes
G4        a child run starts and completes within its parent's run
G5        every exit closes what is open, innermost first; a crash is closed by the next incarnation
========  ==========================================================================================

A question opens with input_requested and closes with the one input_received or input_withdrawn of its ``call_id``; one
that is still open when its run completes is closed by that.

Pure: no clock, no storage. Times are ms since 1970, given by the caller. What is open is kept in order of opening, so
that closing it in reverse order is closing it innermost first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import orjson

from actors.errors import GrammarError

if TYPE_CHECKING:
    from actors.events.types import JSON

RUN, CALL, INPUT = "run", "call", "input"

_CALL_RULES = {CALL: "G3", INPUT: "G2"}


@attrs.frozen
class Open:
    """Something that was opened and must be closed: a run, a tool call, or a question to the user.

    ``id`` is the run's id, or the call's for the other two kinds; ``run_id`` is the run it belongs to (itself, for a
    run); ``name`` the agent or tool; ``started`` in ms since 1970.
    """

    kind: str
    id: str
    run_id: str
    parent_run_id: str | None
    name: str
    started: int


@attrs.frozen
class Closing:
    """An event that closes something: what :meth:`Grammar.closings` asks its caller to append."""

    type: str
    item: Open


class Grammar:
    """What is open in one session, and whether an event may come next.

    :meth:`apply` either takes the event in or raises :class:`~actors.GrammarError` and leaves everything as it was.
    """

    __slots__ = ("_items", "_text")

    def __init__(self, items: tuple[Open, ...] = ()) -> None:
        self._items = {(item.kind, item.id): item for item in items}
        self._text: bytes | None = None

    @property
    def open(self) -> tuple[Open, ...]:
        """What is open, in order of opening."""
        return tuple(self._items.values())

    def runs(self) -> tuple[Open, ...]:
        """List the open runs, in order of opening."""
        return tuple(item for item in self._items.values() if item.kind == RUN)

    def run(self, run_id: str) -> Open | None:
        """Find the open run of that id."""
        return self._items.get((RUN, run_id))

    def apply(  # noqa: PLR0913 - what an event has
        self,
        event: str,
        run_id: str | None,
        call_id: str | None = None,
        *,
        parent_run_id: str | None = None,
        name: str = "",
        ts: int = 0,
    ) -> None:
        """Take in one event of type ``event``; raises :class:`GrammarError` when it may not stand here."""
        if event == "agent_started":
            self._start(run_id, parent_run_id, name, ts)
        elif event == "agent_completed":
            self._complete(run_id)
        elif event == "tool_executing":
            self._open_call(CALL, run_id, call_id, name, ts)
        elif event == "tool_completed":
            self._close_call(CALL, run_id, call_id)
        elif event == "input_requested":
            self._open_call(INPUT, run_id, call_id, name, ts)
        elif event in ("input_received", "input_withdrawn"):
            self._close_call(INPUT, run_id, call_id)
        elif run_id is not None:
            self._require_run(run_id, event)

    def copy(self) -> Grammar:
        """Return a grammar with the same things open, which goes its own way from here."""
        return Grammar(tuple(self._items.values()))

    def within(self, run_id: str) -> tuple[Open, ...]:
        """List what is open within a run (its calls, its children and theirs), innermost first, without the run."""
        runs = {run_id}
        inside: list[Open] = []
        for item in self._items.values():
            if item.kind == RUN and item.parent_run_id in runs:
                runs.add(item.id)
                inside.append(item)
            elif item.kind != RUN and item.run_id in runs:
                inside.append(item)
        return tuple(reversed(inside))

    def closings(self) -> tuple[Closing, ...]:
        """List the events that close all that is open, innermost first (G5). A question ends with its run."""
        types = {RUN: "agent_completed", CALL: "tool_completed"}
        return tuple(Closing(types[item.kind], item) for item in reversed(self.open) if item.kind in types)

    def snapshot(self) -> bytes:
        """Give what is open, as bytes for :meth:`restore`; the same object until something opens or closes."""
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
        """Make the grammar whose :meth:`snapshot`, decoded, this is; raises ``TypeError`` when no grammar gave it."""
        return cls(tuple(Open(*item) for item in snapshot))

    def _start(self, run_id: str | None, parent_run_id: str | None, name: str, ts: int) -> None:
        if run_id is None:
            raise GrammarError("G2", "agent_started without a run_id")
        if (RUN, run_id) in self._items:
            raise GrammarError("G2", f"run {run_id} was started already")
        if parent_run_id is not None and (RUN, parent_run_id) not in self._items:
            raise GrammarError("G4", f"run {run_id} starts in run {parent_run_id}, which is not open")
        self._put(Open(RUN, run_id, run_id, parent_run_id, name, ts))

    def _complete(self, run_id: str | None) -> None:
        self._require_run(run_id, "agent_completed")
        inside = self.within(str(run_id))
        for item in inside:
            if item.kind == RUN:
                raise GrammarError("G4", f"run {run_id} completes before its child {item.id}")
            if item.kind == CALL:
                raise GrammarError("G3", f"run {run_id} completes before its call {item.id}")
        for item in inside:
            del self._items[item.kind, item.id]
        del self._items[RUN, str(run_id)]
        self._text = None

    def _open_call(self, kind: str, run_id: str | None, call_id: str | None, name: str, ts: int) -> None:
        self._require_run(run_id, kind)
        if call_id is None:
            raise GrammarError(_CALL_RULES[kind], f"a {kind} without a call_id")
        if (kind, call_id) in self._items:
            raise GrammarError(_CALL_RULES[kind], f"{kind} {call_id} was opened already")
        self._put(Open(kind, call_id, str(run_id), None, name, ts))

    def _close_call(self, kind: str, run_id: str | None, call_id: str | None) -> None:
        item = self._items.get((kind, str(call_id)))
        if item is None or item.run_id != run_id:
            raise GrammarError(_CALL_RULES[kind], f"{kind} {call_id} of run {run_id} is not open")
        del self._items[kind, item.id]
        self._text = None

    def _require_run(self, run_id: str | None, event: str) -> None:
        if (RUN, run_id) not in self._items:
            raise GrammarError("G2", f"{event} of run {run_id}, which is not open")

    def _put(self, item: Open) -> None:
        self._items[item.kind, item.id] = item
        self._text = None


def interrupted(closing: Closing, last_ts: int) -> dict[str, JSON]:
    """Make the ``data`` that closes what a crash left open; its duration reaches to the last committed event."""
    item = closing.item
    label = "agent" if item.kind == RUN else "tool"
    return {
        label: item.name,
        "status": "interrupted",
        "error": {"code": "interrupted", "message": "the server stopped before this was finished"},
        "duration_ms": max(0, last_ts - item.started),
    }
