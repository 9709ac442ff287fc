"""The statistics of one session, and of all sessions of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from actors.eventlog.base import LogStatistics
    from actors.runs._tool_threads import ToolThreadsStatistics
    from actors.sessions._health import SessionHealth
    from actors.sessions._run_limiter import RunLimiterStatistics
    from actors.streams._committer import CommitterStatistics
    from actors.streams._stream import StreamStatistics


@attrs.frozen
class SessionStatistics:
    """The state of one session."""

    user: str
    session: str
    """Name of the session."""
    runs: int
    """Number of open runs, sub-agents included."""
    queued: int
    """Number of runs that wait for their turn."""
    commands: int
    """Number of remembered commands."""
    typing: int
    """Number of users' connections and agents that are typing."""
    leases: int
    """Number of leases with which the server's own code keeps the session in memory."""
    journal: StreamStatistics
    """Statistics of the session's events."""
    audit: SessionHealth
    """Faults that were found in the session."""


@attrs.frozen
class SessionsStatistics:
    """The state of all sessions of a server."""

    sessions: int
    """Number of sessions in memory."""
    spawned: int
    """Number of sessions spawned since the start."""
    reaped: int
    """Number of sessions that left memory because they were idle."""
    crashed: int
    """Number of sessions that ended with a failure."""
    runs: RunLimiterStatistics
    """Numbers of running and queued runs."""
    committer: CommitterStatistics
    """Statistics of the committer, which writes events to the log."""
    threads: ToolThreadsStatistics
    """Statistics of the threads of sync tools."""
    log: LogStatistics
    """Statistics of the log."""
