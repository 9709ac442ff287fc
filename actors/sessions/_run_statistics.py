"""The open runs of a session, as values for operators. They are read from the grammar, so an event costs nothing."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from actors.events.grammar import Kind
from actors.frozen import frozen_unchecked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.eventlog.base import StreamKey
    from actors.events.grammar import Open
    from actors.runs._recorder import RunRecorder
    from actors.sessions._starts import Start, Starts


FEW = 4
"""Maximum number of open items of a session that are looked at in one step: a step for each would cost more."""


class RunState(StrEnum):
    """The states of a run that has not ended."""

    QUEUED = "queued"
    """The run waits for its turn: its user has too many runs."""
    RUNNING = "running"
    ASKING = "asking"
    """The run waits for an answer of its user."""
    STOPPING = "stopping"
    """The run was asked to stop, and its code still cleans up."""


@frozen_unchecked
class OpenItem:
    """A tool call or a question of a run that is open."""

    name: str
    """Name of the tool; empty for a question."""
    call_id: str
    """Id of the call or question."""
    since: float
    """Time at which it was opened, in seconds since 1970."""


@frozen_unchecked
class RunStatistics:
    """The state of one run that has not ended."""

    user: str
    session: str
    """Name of the session."""
    run: str
    """Id of the run."""
    agent: str
    """Name of the agent."""
    parent: str | None
    """Id of the run that started this run as a sub-agent. None if this run is not a sub-agent."""
    root: str
    """Id of the topmost run above this run. For a run that is not a sub-agent, its own id."""
    depth: int
    """Number of runs above this run."""
    since: float
    """Time at which the run began, in seconds since 1970. For a queued run, the time of its command."""
    state: RunState
    open_tools: int = 0
    """Number of open tool calls of the run, without those of its sub-agents."""
    tool: OpenItem | None = None
    """The newest open tool call of the run. None if no tool call is open."""
    question: OpenItem | None = None
    """The newest open question of the run. None if no question is open."""
    subruns: int = 0
    """Number of open sub-agents below the run, on all levels."""


@attrs.define
class _Found:
    """One open run while the items of its session are counted."""

    item: Open
    root: str
    depth: int
    open_tools: int = 0
    tool: Open | None = None
    question: Open | None = None
    subruns: int = 0


def runs_of(recorder: RunRecorder, starts: Starts) -> Iterator[tuple[RunStatistics, ...]]:
    """Yield the open runs of a session, the oldest first. Runs in the queue come last.

    If :func:`few_runs` finds all of them, they come as one tuple. Else a run comes as a tuple of one, and most tuples
    are empty: each stands for an item that was looked at, so that all steps of the iterator are short. Other tasks may
    run between two steps. *Of 3,000 sub-agents one step took 25 ms.*
    """
    few = few_runs(recorder, starts)
    return _many_runs(recorder, starts) if few is None else iter((few,))


def few_runs(recorder: RunRecorder, starts: Starts) -> tuple[RunStatistics, ...] | None:
    """Return the open runs of a session as :func:`runs_of` yields them. Return None if it has too many for one step.

    Too many are more than :data:`FEW` items or starts. Most sessions have one run, with or without an open tool call.
    *An iterator over the items of each of 10,000 such sessions took 60 ms more.*
    """
    number = len(starts)
    if not number and not recorder.runs:
        return ()
    items = recorder.stream.grammar.open
    if len(items) > FEW or number > FEW:
        return None
    # If the only start is that of the only run, no start is in the queue.
    if len(items) == number == 1 and (start := starts.find(items[0].id)) is not None:
        return (_lone_run(recorder.stream.key, items[0], start),)
    found: dict[str, _Found] = {}
    for item in items:
        _add(found, item)
    for each in reversed(found.values()):
        _add_to_parent(found, each)
    runs = [_statistics(recorder, each) for each in found.values()]
    return (*runs, *[_queued(recorder, start) for start in starts.queued()])


def _lone_run(key: StreamKey, item: Open, start: Start) -> RunStatistics:
    """Return the only run of a session, which has no sub-agent, no open tool call and no question."""
    user, session = key
    state = RunState.STOPPING if start.run.scope.cancel_called else RunState.RUNNING
    # In the order of the fields: by name they take three times as long, and there are thousands of such runs.
    return RunStatistics(user, session, item.id, item.name, None, item.id, 0, item.started / 1000, state)


def _many_runs(recorder: RunRecorder, starts: Starts) -> Iterator[tuple[RunStatistics, ...]]:
    """Yield the open runs of a session, each as a tuple of one, and an empty tuple for each item looked at."""
    found: dict[str, _Found] = {}
    for item in recorder.stream.grammar.open:
        yield ()
        _add(found, item)
    for each in reversed(found.values()):
        yield ()
        _add_to_parent(found, each)
    for each in found.values():
        yield (_statistics(recorder, each),)
    for start in starts.queued():
        yield (_queued(recorder, start),)


def _add(found: dict[str, _Found], item: Open) -> None:
    """Add an item to the runs. Parents open before their children and calls, so items come in this order."""
    if item.kind is Kind.RUN:
        _add_run(found, item)
    elif (run := found.get(item.run_id)) is not None and item.kind is Kind.CALL:
        run.open_tools += 1
        run.tool = item
    elif run is not None:
        run.question = item


def _add_to_parent(found: dict[str, _Found], run: _Found) -> None:
    """Count a run and its sub-agents at its parent. A child comes before its parent here."""
    if run.item.parent_run_id is not None and (above := found.get(run.item.parent_run_id)) is not None:
        above.subruns += 1 + run.subruns


def _add_run(found: dict[str, _Found], item: Open) -> None:
    above = None if item.parent_run_id is None else found.get(item.parent_run_id)
    found[item.id] = _Found(item, item.id, 0) if above is None else _Found(item, above.root, above.depth + 1)


def _statistics(recorder: RunRecorder, found: _Found) -> RunStatistics:
    item, key = found.item, recorder.key
    return RunStatistics(
        user=key.user,
        session=key.session,
        run=item.id,
        agent=item.name,
        parent=item.parent_run_id,
        root=found.root,
        depth=found.depth,
        since=item.started / 1000,
        state=_state(recorder, found),
        open_tools=found.open_tools,
        tool=_open_item(found.tool),
        question=_open_item(found.question),
        subruns=found.subruns,
    )


def _state(recorder: RunRecorder, found: _Found) -> RunState:
    run = recorder.runs.get(found.item.id)
    if run is not None and run.scope.cancel_called:
        return RunState.STOPPING
    return RunState.RUNNING if found.question is None else RunState.ASKING


def _open_item(item: Open | None) -> OpenItem | None:
    return None if item is None else OpenItem(item.name if item.kind is Kind.CALL else "", item.id, item.started / 1000)


def _queued(recorder: RunRecorder, start: Start) -> RunStatistics:
    user, session = recorder.key
    return RunStatistics(
        user=user,
        session=session,
        run=start.run.id,
        agent=start.agent.name,
        parent=None,
        root=start.run.id,
        depth=0,
        since=start.since / 1000,
        state=RunState.QUEUED,
    )
