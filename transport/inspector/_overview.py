"""The overview: the numbers of a whole server."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING

import trio

from actors import RunState
from actors.events.types import Status
from transport.inspector._paging import steps_of_groups

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors import Sessions
    from transport._running import Server
    from transport.inspector._sampler import Sampler

TOTALS_SECONDS = 0.9
"""Time for which the counts of open runs are used again, in seconds. Counting goes through all sessions."""
_SHOWN = 4
"""Number of digits behind the point of a duration: more would only make the answer longer."""


class Totals:
    """The numbers of open runs, by agent and state."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._counted: Mapping[tuple[str, str], int] = {}
        self._counted_at = -math.inf
        self._counting = trio.Lock()

    async def open_runs(self) -> Mapping[tuple[str, str], int]:
        """Return the number of open runs of each agent in each state. The counts are up to a second old."""
        async with self._counting:
            if trio.current_time() >= self._counted_at + TOTALS_SECONDS:
                self._counted = await self._count()
                self._counted_at = trio.current_time()
        return self._counted

    async def _count(self) -> Counter[tuple[str, str]]:
        counted: Counter[tuple[str, str]] = Counter()
        for step in steps_of_groups(self._sessions.survey.runs()):
            counted.update((run.agent, run.state.value) for run in step)
            await trio.lowlevel.checkpoint()
        return counted


async def overview(server: Server, sampler: Sampler, totals: Totals) -> dict[str, object]:
    """Return the numbers of the whole server."""
    sampler.look()
    open_runs = await totals.open_runs()
    # Each of the two goes through all users or connections, so other tasks run in between.
    sessions = server.sessions.statistics()
    await trio.lowlevel.checkpoint()
    endpoint = server.endpoint.statistics()
    system, health = server.system.statistics(), server.health()
    wait, rates = sampler.wait(sessions.committer.wait_step_seconds), sampler.rates()
    reasons = [reason for reason in (health.failed, health.unready) if reason]
    return {
        "started_at": server.started_at,
        "uptime": round(time.time() - server.started_at, _SHOWN),
        "health": {"ok": not health.failed, "ready": not reasons, "reasons": reasons},
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
        "runs": _runs(open_runs, server.sessions.survey.counters().meter.runs),
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


def _named(counts: Counter[str]) -> dict[str, int]:
    return {each.value: counts[each.value] for each in (*RunState, *Status)}
