"""One session as a waterfall: its runs and their tools, each from its start to its end."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import attrs
import trio

from actors import RunState
from transport.inspector._answers import Refused
from transport.inspector._lines import decoded
from transport.inspector._paging import steps_of_groups

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import RunStatistics, SessionExtent, Sessions, StreamKey
    from transport.inspector._query import Query

WINDOW_EVENTS = 500
"""Number of events that one answer is made from."""
MAX_OPEN = 100
"""Maximum number of open runs in one answer that began before its events."""

_OPENS = {"tool_executing": "tool", "input_requested": "question"}
_CLOSES = {"tool_completed": "tool", "input_received": "question", "input_withdrawn": "question"}
_ENDED_AS = {"input_received": "ok", "input_withdrawn": "cancelled"}


@attrs.define
class Bar:
    """A run, a tool call or a question, from its start to its end, as far as its events were in the window."""

    id: str
    name: str = ""
    kind: str = "run"
    parent: str | None = None
    status: str | None = None
    """The status with which it has ended. None if its end was not in the window."""
    started_at: float | None = None
    ended_at: float | None = None
    inside: dict[str, Bar] = attrs.field(factory=dict[str, "Bar"])
    """The tool calls and questions of a run."""

    def begin(self, event: dict[str, Any], name: str) -> None:
        """Take over the event that opened it."""
        self.name, self.parent = name, event.get("parent_run_id")
        self.started_at = event["ts"] / 1000

    def end(self, event: dict[str, Any], name: str, status: str) -> None:
        """Take over the event that closed it. If the opening event is not in the window, the duration has its start."""
        self.ended_at, self.status = event["ts"] / 1000, status
        self.name, self.parent = self.name or name, self.parent or event.get("parent_run_id")
        duration = event["data"].get("duration_ms")
        if self.started_at is None and duration is not None:
            self.started_at = self.ended_at - duration / 1000

    def end_inside(self) -> None:
        """End the open items of a run that has ended: a question has no closing event of its own then."""
        for each in self.inside.values():
            if each.status is None:
                each.status, each.ended_at = "cancelled", self.ended_at


class Waterfall:
    """The runs in a window of a session's events. Events are added in their order."""

    def __init__(self) -> None:
        self.runs: dict[str, Bar] = {}

    def add(self, event: dict[str, Any]) -> None:
        """Add the next event of the session. Events of no run are ignored."""
        run_id, kind = event.get("run_id"), event.get("type", "")
        data: dict[str, Any] = event.get("data") or {}
        if run_id is None:
            return
        run = self.runs.setdefault(run_id, Bar(run_id))
        if run.parent is None:
            run.parent = event.get("parent_run_id")
        if kind == "agent_started":
            run.begin(event, data.get("agent", ""))
        elif kind == "agent_completed":
            run.end(event, data.get("agent", ""), data.get("status", ""))
            run.end_inside()
        elif kind in _OPENS:
            self._inside(run, event, _OPENS[kind]).begin(event, data.get("tool", ""))
        elif kind in _CLOSES:
            status = _ENDED_AS.get(kind) or data.get("status", "")
            self._inside(run, event, _CLOSES[kind]).end(event, data.get("tool", ""), status)

    def add_open(self, run: RunStatistics) -> None:
        """Add the state of an open run, the start of which is perhaps not in the window."""
        bar = self.runs.setdefault(run.run, Bar(run.run))
        bar.name, bar.parent, bar.started_at = run.agent, run.parent, run.since
        if bar.status is None:
            bar.status = run.state
        for item, kind in ((run.tool, "tool"), (run.question, "question")):
            if item is not None:
                inside = bar.inside.setdefault(item.call_id, Bar(item.call_id, item.name, kind))
                inside.started_at = item.since

    def rows(self) -> list[dict[str, object]]:
        """Return the runs, the newest first."""
        # Of runs that began in the same millisecond, the one with the later first event is the newer one.
        numbered = sorted(enumerate(self.runs.values()), key=lambda each: (each[1].started_at or 0.0, each[0]))
        return [_run_row(bar) for _, bar in reversed(numbered)]

    @staticmethod
    def _inside(run: Bar, event: dict[str, Any], kind: str) -> Bar:
        call_id = str(event.get("call_id"))
        return run.inside.setdefault(call_id, Bar(call_id, kind=kind))


async def waterfall(sessions: Sessions, query: Query) -> dict[str, object]:
    """Return the newest runs of one session, or those before an event."""
    key = query.key()
    extent = await sessions.survey.extent(key)
    if extent is None:
        raise Refused(404, "not_found", "there is no such session")
    before = query.whole("before", 1, 2**53, extent.latest + 1) or 1
    until = min(extent.latest, before - 1)
    after = max(extent.oldest - 1, until - WINDOW_EVENTS, 0)
    made = Waterfall()
    async for events in decoded(sessions.survey, key, after, until):
        for event in events:
            made.add(event)
    left_out = await _add_open(made, sessions.survey.runs_of(key)) if until == extent.latest else 0
    await trio.lowlevel.checkpoint()
    rows = {"runs": made.rows(), "left_out": left_out, "next": after + 1 if after >= extent.oldest else None}
    await trio.lowlevel.checkpoint()
    return {**_head(sessions, key, extent), **rows}


async def _add_open(made: Waterfall, groups: Iterator[tuple[RunStatistics, ...]]) -> int:
    """Add open runs: all in the window, and of the others the topmost and oldest. Return the number of those left out.

    *The answer about 3,000 sub-agents had 500 KB, and held up all clients for 40 ms.*
    """
    others: list[RunStatistics] = []
    number = 0
    for step in steps_of_groups(groups):
        for run in step:
            if run.run in made.runs:
                made.add_open(run)
            else:
                others.append(run)
                number += 1
        others = heapq.nsmallest(MAX_OPEN, others, key=lambda run: (run.depth, run.since, run.run))
        await trio.lowlevel.checkpoint()
    for run in others:
        made.add_open(run)
    return number - len(others)


def _head(sessions: Sessions, key: StreamKey, extent: SessionExtent) -> dict[str, object]:
    statistics = sessions.statistics_of(key)
    return {
        "user": key.user,
        "session": key.session,
        "epoch": extent.epoch,
        "seq": extent.latest,
        "oldest": extent.oldest,
        "live": extent.live,
        "connections": 0 if statistics is None else statistics.journal.cursors,
    }


def _run_row(bar: Bar) -> dict[str, object]:
    # The window may have neither the end of a run nor its start: then it ran through the whole of it.
    return {
        "run": bar.id,
        "parent": bar.parent,
        "agent": bar.name,
        "status": bar.status or RunState.RUNNING,
        **_times(bar),
        "tools": [
            {
                "call_id": each.id,
                "name": each.name,
                "kind": each.kind,
                "status": each.status or (RunState.ASKING if each.kind == "question" else RunState.RUNNING),
                **_times(each),
            }
            for each in bar.inside.values()
        ],
    }


def _times(bar: Bar) -> dict[str, object]:
    known = bar.started_at is not None and bar.ended_at is not None
    duration = max(0.0, (bar.ended_at or 0.0) - (bar.started_at or 0.0)) if known else None
    return {"started_at": bar.started_at, "ended_at": bar.ended_at, "duration": duration}
