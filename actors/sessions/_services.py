"""The services that all sessions of a server share."""

from __future__ import annotations

import contextvars
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import trio

from actors.events.redaction import redact_text
from actors.recent_failures import RecentFailures
from actors.runs._meter import Meter
from actors.sessions._session_quota import SessionQuota
from actors.streams._ages import AgeClock
from actors.streams._stream import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.eventlog.base import EventLog, Retention, StreamKey
    from actors.events.redaction import Redact
    from actors.loop.asyncio_host import AsyncioHost
    from actors.runs._agents import Agents
    from actors.runs._tool_threads import ToolThreads
    from actors.sessions._run_limiter import RunLimiter
    from actors.sessions._settings import SessionSettings
    from actors.streams._accounts import Accounts
    from actors.streams._committer import Committer


@attrs.define(eq=False)
class SessionServices:
    """The log, the limits and the other objects that all sessions of one server share."""

    log: EventLog
    committer: Committer
    agents: Agents
    settings: SessionSettings
    redact: Redact
    limiter: RunLimiter
    retention: Retention
    threads: ToolThreads
    accounts: Accounts
    host: AsyncioHost | None = None
    """The asyncio loop that hosts trio; None if the server does not run inside asyncio."""
    context: contextvars.Context = attrs.field(factory=contextvars.copy_context)
    """The context variables with which every run begins. The variables are copied when the server is made.

    So no variable that was set for one user can reach the runs of another user.
    """
    run_over: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    """The tasks that wait for runs to end.

    When a run ends, all of these tasks are woken, and each of them checks whether it must wait longer.
    """
    clock: Callable[[], float] = trio.current_time
    """The time on trio's clock, in seconds.

    The start of the factory sets the clock's own method. :func:`trio.current_time` would find it anew by three calls.
    """
    leases: dict[StreamKey, int] = attrs.field(factory=dict["StreamKey", int])
    """The number of leases on each session. A lease keeps the session in memory.

    A lease stays valid when the session ends and is made again.
    """
    ages: AgeClock = attrs.field(factory=lambda: AgeClock(now_ms))
    """The clock for the ages of events and of remembered commands."""
    draining: bool = False
    """Whether the server is about to end. If so, no run is started."""
    meter: Meter = attrs.field(factory=Meter)
    """The counts of ended runs and tool calls."""
    at_work: dict[StreamKey, object] = attrs.field(factory=dict["StreamKey", "object"])
    """The ``Starts`` of each session with a run, or a start in the queue, mostly in the order of the runs' starts.

    So open runs are found without a look at all sessions. Nothing else here knows the class.
    """

    quota: SessionQuota = attrs.field(init=False)
    """The object that limits the number of each user's sessions in the log."""
    failures: RecentFailures = attrs.field(init=False)
    """The newest failures of the server, without secrets, for operators."""

    def __attrs_post_init__(self) -> None:
        self.failures = RecentFailures(partial(redact_text, self.redact))
        self.quota = SessionQuota(self.log, self.accounts, self.settings.sessions_per_user)

    def start_soon(self, nursery: trio.Nursery, function: Any, *args: object) -> None:  # as trio types it
        """Start a task with a copy of the server's context variables.

        Otherwise the task would inherit the context variables of the calling task, and perhaps another user's data.
        """
        self.context.run(nursery.start_soon, function, *args)  # trio copies the context of the caller
