"""The overview: the numbers of a whole server, and where to look first: the tool that is open for longest."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING

import attrs
import trio

from actors import RunState
from actors.events.types import Status
from transport.inspector._paging import steps, steps_of_groups
from transport.inspector._sparing import Meter, shown_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors import RunStatistics, Sessions
    from transport._running import Server
    from transport.inspector._sampler import Sampler
    from transport.server.endpoint import Endpoint

TOTALS_SECONDS = 0.9
"""Time for which the counts of open runs are used again, in seconds. Counting goes through all sessions.

If that takes much CPU time, the counts are used for longer, as :func:`.shown_for` says.
"""
_SHOWN = 4
"""Number of digits behind the point of a duration: more would only make the answer longer."""


BLOCKED_SECONDS = 1.0
"""Time after which a client that takes no data counts as blocked, in seconds."""


@attrs.frozen
class OpenRuns:
    """The open runs of a server at one moment."""

    counts: Mapping[tuple[str, str], int] = attrs.field(factory=Counter[tuple[str, str]])
    """Number of runs of each agent in each state."""
    longest: RunStatistics | None = None
    """The run with the tool call that is open for longest, of the newest calls of all runs. None if none is open."""


@attrs.frozen
class Waits:
    """The data that waits for the clients of a server at one moment."""

    bytes: int = 0
    """Number of bytes that wait for all clients."""
    blocked: int = 0
    """Number of clients that have taken no data for a second."""


class Totals:
    """The numbers of open runs, by agent and state, and of clients that take no data."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._open = OpenRuns()
        self._waits = Waits()
        self._until = -math.inf
        self._counting = trio.Lock()

    async def open_runs(self) -> OpenRuns:
        """Return the open runs. The numbers are up to a second old, with very many sessions some seconds."""
        await self._refresh()
        return self._open

    async def waits(self) -> Waits:
        """Return the data that waits for clients. The numbers are as old as those of the open runs."""
        await self._refresh()
        return self._waits

    async def _refresh(self) -> None:
        async with self._counting:
            if trio.current_time() >= self._until:
                meter = Meter()
                self._open = await _open_runs(self._server.sessions, meter)
                self._waits = await _waits(self._server.endpoint, meter)
                self._until = trio.current_time() + max(TOTALS_SECONDS, shown_for(meter.seconds))


async def _open_runs(sessions: Sessions, meter: Meter) -> OpenRuns:
    counts: Counter[tuple[str, str]] = Counter()
    longest, since = None, math.inf
    for step in steps_of_groups(sessions.survey.runs()):
        counts.update((run.agent, run.state.value) for run in step)
        for run in step:
            if run.tool is not None and run.tool.since < since:
                longest, since = run, run.tool.since
        await meter.checkpoint()
    return OpenRuns(counts, longest)


async def _waits(endpoint: Endpoint, meter: Meter) -> Waits:
    size = blocked = 0
    for step in steps(endpoint.waits()):
        for waiting, seconds in step:
            size += waiting
            blocked += seconds >= BLOCKED_SECONDS
        await meter.checkpoint()
    return Waits(size, blocked)


async def overview(server: Server, sampler: Sampler, totals: Totals) -> dict[str, object]:
    """Return the numbers of the whole server."""
    sampler.look()
    open_runs, waits = await totals.open_runs(), await totals.waits()
    sessions, endpoint = server.sessions.statistics(), server.endpoint.statistics(waits.bytes)
    system, health = server.system.statistics(), server.health()
    wait, rates = sampler.wait(sessions.committer.wait_step_seconds), sampler.rates()
    reasons = [reason for reason in (health.failed, health.unready) if reason]
    # What a load balancer asks has no cause, which may name files: it is for operators alone.
    causes = [f"the log: {sessions.committer.refusal}"] if sessions.committer.refusal else []
    return {
        "started_at": server.started_at,
        "uptime": round(time.time() - server.started_at, _SHOWN),
        "health": {"ok": not health.failed, "ready": not reasons, "reasons": [*reasons, *causes]},
        "events_per_second": rates[-1][1] if rates else None,
        "events_total": sessions.log.events,
        "commit_wait": wait,
        "loop_lag": {"last": rates[-1][2] if rates else None, "max": sampler.most_lag()},
        "stood_still": endpoint.stood_still,
        "samples": [{"at": at, "events_per_second": rate, "loop_lag": lag} for at, rate, lag in rates],
        "sessions": sessions.sessions,
        "connections": endpoint.connections,
        "users": endpoint.users,
        "waiting_bytes": endpoint.waiting_bytes,
        "blocked": waits.blocked,
        "longest_tool": _longest_tool(open_runs.longest),
        "runs": _runs(open_runs.counts, server.sessions.survey.counters().meter.runs),
        "restarts": system.restarts,
        "actors": system.actors,
        "dead_letters": system.dead_letters,
        "failures": server.sessions.failures.total,
        "tool_threads": sessions.threads,
        "log": sessions.log,
        "quotas": sessions.quotas,
        "observers": sessions.observers,
        "consumers": sessions.consumers,
        "endpoint": endpoint,
        "cluster": server.cluster_statistics(),
    }


def _runs(open_runs: Mapping[tuple[str, str], int], ended: Mapping[tuple[str, str], int]) -> dict[str, object]:
    """Return the numbers of open runs by state, and of ended runs by status: in all, and by agent.

    A run that asks or stops counts as running, too.
    """
    rows: dict[str, Counter[str]] = {}
    for (agent, state), count in open_runs.items():
        row = rows.setdefault(agent, Counter())
        row[state] += count
        if state not in {RunState.QUEUED, RunState.RUNNING}:
            row[RunState.RUNNING] += count
    for (agent, status), count in ended.items():
        rows.setdefault(agent, Counter())[status] += count
    total = sum(rows.values(), Counter[str]())
    return {
        **_named(total),
        "by_agent": [{"agent": agent, **_named(row)} for agent, row in sorted(rows.items())],
    }


def _longest_tool(run: RunStatistics | None) -> dict[str, object] | None:
    if run is None or run.tool is None:
        return None
    age = max(0.0, time.time() - run.tool.since)
    where = {"user": run.user, "session": run.session, "run": run.run, "agent": run.agent}
    return {"name": run.tool.name, "since": run.tool.since, "age": round(age, _SHOWN), **where}


def _named(counts: Counter[str]) -> dict[str, int]:
    return {each.value: counts[each.value] for each in (*RunState, *Status)}
