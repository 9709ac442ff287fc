"""The two permanent actors above the sessions: the keeper of the log, and the session factory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.loop.threads import defer_interrupts
from actors.runtime._actor import Actor
from actors.runtime._lifecycle import Failure
from actors.runtime._ref import Terminated
from actors.runtime._spec import Strategy, SupervisorSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors.eventlog.base import EventLog
    from actors.sessions._revocations import Revocations
    from actors.sessions._spawner import SessionSpawner
    from actors.streams._committer import Committer

_SWEEPS_PER_IDLE = 4
"""Number of searches for idle sessions within ``idle_seconds``, the time after which an idle session is stopped.

With 4, the stop of an idle session comes at most a quarter of ``idle_seconds`` too late.
"""


class LogKeeper(Actor):
    """The actor that keeps the log open and commits events to it. After a restart the actor opens the log again.

    ``on_ending`` is called when the server stops in order, before the log is closed. It must neither wait nor raise.
    """

    def __init__(
        self, log: EventLog, committer: Committer, revocations: Revocations, on_ending: Callable[[], None]
    ) -> None:
        self._log = log
        self._on_ending = on_ending
        self._committer = committer
        self._revocations = revocations

    async def started(self) -> None:
        """Open the log, and read the revoked tokens from it.

        If that fails, this actor fails, and the supervisor starts the actor again.
        """
        await self.nursery.start(self._keep_open)

    async def stopping(self, reason: object) -> None:
        """Commit the remaining events, and notify the readers. After a failure, do nothing."""
        # After a failure the committer's task is gone, so barrier() would wait for ever.
        if not isinstance(reason, Failure):
            await self._committer.barrier()
            self._on_ending()

    async def _keep_open(self, task_status: trio.TaskStatus[None]) -> None:
        """Run the committer over the open log, and close the log at the end.

        A task does this, not :meth:`stopping`: an actor that is killed or cancelled from outside is not told so.
        """
        async with self._log:
            await self._revocations.load()
            task_status.started()
            await self._committer.run()


class SessionFactory(Actor):
    """The actor that is the parent of all sessions. It supervises the sessions, and stops idle sessions.

    Args:
        spawner: The object that makes the sessions. It is notified when the factory starts or ends, and when a session
            ends.
        idle_seconds: Time after which an idle session leaves memory, in seconds.
        clean_logs: Function that never returns, and applies retention to the logs of sessions that are not in memory.
    """

    def __init__(self, spawner: SessionSpawner, idle_seconds: float, clean_logs: Callable[[], Awaitable[None]]) -> None:
        self._spawner = spawner
        self._idle_seconds = idle_seconds
        self._clean_logs = clean_logs

    async def started(self) -> None:
        """Start the supervisor of the sessions, and the tasks that look for idle sessions and clean the logs."""
        supervisor = await self.context.supervise(SupervisorSpec(strategy=Strategy.DYNAMIC), "all")
        self._spawner.on_factory_started(supervisor, self.context.watch)
        # A Ctrl-C must end the process, and must not be raised inside an agent.
        self.nursery.start_soon(defer_interrupts)
        self.nursery.start_soon(self._sweep)
        self.nursery.start_soon(self._clean_logs)

    async def receive(self, message: object) -> object:
        """Handle the notice that a session has ended."""
        if isinstance(message, Terminated):
            self._spawner.on_session_ended(message.ref, message.reason)
            return None
        return await super().receive(message)

    async def stopping(self, reason: object) -> None:
        """Allow no more sessions to be made. All existing sessions have ended by now."""
        del reason
        self._spawner.on_factory_stopping()

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(self._idle_seconds / _SWEEPS_PER_IDLE)
            await self._spawner.sweep()
