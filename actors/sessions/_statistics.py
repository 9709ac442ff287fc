"""The statistics of one session, and of all sessions of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from actors.eventlog.base import LogStatistics
    from actors.runs._tool_threads import ToolThreadsStatistics
    from actors.sessions._health import SessionHealth
    from actors.sessions._run_limiter import RunLimiterStatistics
    from actors.streams._accounts import QuotaStatistics
    from actors.streams._committer import CommitterStatistics
    from actors.streams._feed import StreamStatistics
    from actors.streams.observing import ObserversStatistics


@attrs.frozen
class SessionStatistics:
    """The state of one session that is in memory, as numbers."""

    user: str
    session: str
    """Name of the session."""
    runs: int
    """Number of open runs in the session. Sub-agents are included."""
    agents: tuple[str, ...]
    """The agent of each open run, oldest run first, according to the committed events. Sub-agents are left out."""
    queued: int
    """Number of runs of the session that wait in the queue."""
    commands: int
    """Number of commands that the session remembers, to recognise a command that is sent again."""
    command_bytes: int
    """Size of the remembered ids and replies of these commands as JSON text, in bytes."""
    typing: int
    """Number of connections with a typing user, plus number of typing agents."""
    leases: int
    """Number of leases on the session. The server's own code takes a lease to keep the session in memory."""
    journal: StreamStatistics
    """Statistics of the stream of the session's events."""
    audit: SessionHealth
    """The faults that were found in the session, if any."""


@attrs.frozen
class ConsumerStatistics:
    """Statistics of one running consumer. ``app.consumers()`` has the number of its unread events."""

    name: str
    """Name of the consumer."""
    delivered: int
    """Number of events that it was given since it runs."""
    missed: int
    """Number of events that the log no longer had when it came to them, since it runs."""
    sessions: int
    """Number of sessions that are known to have events which it has not read."""


@attrs.frozen
class SessionsStatistics:
    """The state of all sessions of a server together, as numbers."""

    sessions: int
    """Number of sessions in memory."""
    spawned: int
    """Number of sessions that were made since the start of the server."""
    reaped: int
    """Number of sessions that left memory because they were idle."""
    crashed: int
    """Number of sessions that ended with a failure."""
    runs: RunLimiterStatistics
    """Numbers of running and of queued runs, of all users together."""
    committer: CommitterStatistics
    """Statistics of the committer, which writes events to the log."""
    threads: ToolThreadsStatistics
    """Statistics of the threads of sync tools."""
    log: LogStatistics
    """Statistics of the log, in which all events are stored."""
    quotas: QuotaStatistics
    """Statistics of the limits that protect the server and its users from one user."""
    revocations: int
    """Number of revoked users and tokens that the server remembers."""
    observers: ObserversStatistics
    """Statistics of the observers: code of the server that gets committed events."""
    consumers: tuple[ConsumerStatistics, ...]
    """Statistics of each consumer that runs."""
