"""The overview: the numbers of a whole server, and where to look first: the tool that is open for longest."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import attrs
import trio

from actors import RunState
from actors.events.types import Status
from transport.inspector._paging import steps
from transport.inspector._scan import OpenRuns
from transport.inspector._sparing import Meter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors import RunStatistics
    from transport._running import Server
    from transport.inspector._sampler import Sampler
    from transport.inspector._scan import SharedScan
    from transport.server.endpoint import Endpoint

_SHOWN = 4
"""Number of digits behind the point of a duration: more would only make the answer longer."""


BLOCKED_SECONDS = 1.0
"""Time after which a client that takes no data counts as blocked, in seconds."""


@attrs.frozen
class Waits:
    """The data that waits for the clients of a server at one moment."""

    bytes: int = 0
    """Number of bytes that wait for all clients."""
    blocked: int = 0
    """Number of clients that have taken no data for a second."""


class Totals:
    """The numbers of open runs, by agent and state, and of clients that take no data."""

    def __init__(self, endpoint: Endpoint, scan: SharedScan) -> None:
        self._endpoint = endpoint
        self._scan = scan
        self._open = OpenRuns()
        self._waits = Waits()
        self._counting = trio.Lock()

    async def now(self) -> tuple[OpenRuns, Waits]:
        """Return the open runs, and the data that waits for clients. Both are as old as :class:`SharedScan` says."""
        async with self._counting:
            found = await self._scan.open_runs()
            if found is not self._open:
                meter = Meter()
                self._waits = await _waits(self._endpoint, meter)
                self._scan.charge(meter.seconds)
                self._open = found
            return self._open, self._waits


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
    open_runs, waits = await totals.now()
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
