"""The numbers about all sessions of a server that operators read often: metrics, and the inspector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from actors.runs._meter import MeterStatistics
    from actors.runs._tool_threads import ToolThreadsStatistics
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
