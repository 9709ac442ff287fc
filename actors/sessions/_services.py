"""The services that all sessions of a server share."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

import attrs
import trio

from actors.streams._ages import AgeClock
from actors.streams._stream import now_ms

if TYPE_CHECKING:
    from actors.eventlog.base import EventLog, Retention, StreamKey
    from actors.events.redaction import Redact
    from actors.runs._agents import Agents
    from actors.runs._tool_threads import ToolThreads
    from actors.sessions._run_limiter import RunLimiter
    from actors.sessions._settings import SessionSettings
    from actors.streams._committer import Committer


@attrs.define(eq=False)
class SessionServices:
    """The log, the limits and everything else that the sessions of one server share."""

    log: EventLog
    committer: Committer
    agents: Agents
    settings: SessionSettings
    redact: Redact
    limiter: RunLimiter
    retention: Retention
    threads: ToolThreads
    context: contextvars.Context = attrs.field(factory=contextvars.copy_context)
    """The context variables of every run: those from the time when the server was made, so none of a user's."""
    run_over: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    """The tasks that wait until some run ends. All are woken at each end of a run, and look again."""
    leases: dict[StreamKey, int] = attrs.field(factory=dict["StreamKey", int])
    """The number of leases on each session. They outlive the session's incarnations."""
    ages: AgeClock = attrs.field(factory=lambda: AgeClock(now_ms))
    """The clock for the ages of events and of remembered commands."""
    draining: bool = False
    """Whether the server is about to end. No run is started then."""

    def start_soon(self, nursery: trio.Nursery, function: Any, *args: object) -> None:  # as trio types it
        """Start a task with a copy of the server's context variables.

        Without this a task has the variables of the task that happened to cause it: another user's, for example.
        """
        self.context.copy().run(nursery.start_soon, function, *args)
