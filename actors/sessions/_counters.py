"""The numbers about all sessions of a server that metrics read. All are known at once, however many sessions there are.

:meth:`Sessions.statistics` walks over all users. *With 10,000 of them it held up the event loop for milliseconds.*
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from actors.runs._meter import MeterStatistics
    from actors.runs._tool_threads import ToolThreadsStatistics
    from actors.sessions._registry import Sessions
    from actors.sessions._run_limiter import RunLimiterStatistics
    from actors.streams._committer import CommitterStatistics


@attrs.frozen
class SessionsCounters:
    """The numbers about all sessions of a server that are known without a walk over users or sessions."""

    sessions: int
    """Number of sessions in memory."""
    runs: RunLimiterStatistics
    """Numbers of running and of queued runs, of all users together."""
    threads: ToolThreadsStatistics
    """Statistics of the threads of sync tools."""
    committer: CommitterStatistics
    """Statistics of the committer, which writes events to the log."""
    events: int
    """Number of events that were committed since the log was opened."""
    meter: MeterStatistics
    """The runs and tool calls that have ended since the start of the server."""


def counters_of(sessions: Sessions) -> SessionsCounters:
    """Return the numbers of all sessions together at this moment."""
    services = sessions._services  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as a method, which would make the class too long
    return SessionsCounters(
        sessions=len(sessions.here.table),
        runs=services.limiter.statistics(),
        threads=services.threads.statistics(),
        committer=services.committer.statistics(),
        events=services.log.statistics().events,
        meter=services.meter.statistics(),
    )
