"""All sessions of a server: the entry point for code that starts runs, and for the transport."""

from __future__ import annotations

import math
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast

import trio

from actors.eventlog.base import StreamKey
from actors.events.redaction import redact_keys
from actors.loop.threads import hop, require_task
from actors.runs._agents import Agents
from actors.runs._tool_threads import ToolThreads
from actors.runtime._restart import Restart
from actors.runtime._spec import ChildSpec
from actors.sessions._consumers import Consumers
from actors.sessions._forgetting import UserRemoval
from actors.sessions._handle import SessionHandle
from actors.sessions._hooks import runner_of
from actors.sessions._reader import SessionReader
from actors.sessions._retention import RetentionSweep
from actors.sessions._revocations import Revocations
from actors.sessions._run_limiter import RunLimiter
from actors.sessions._services import SessionServices
from actors.sessions._settings import SessionSettings
from actors.sessions._spawner import SessionSpawner
from actors.sessions._statistics import SessionsStatistics, SessionStatistics
from actors.sessions._supervision import LogKeeper, SessionFactory
from actors.sessions._survey import Survey
from actors.sessions._user_retention import UserRetention
from actors.streams._accounts import Accounts
from actors.streams._committer import Committer, calling_after_commits, commit_due
from actors.streams.observing import Observers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from actors.eventlog.base import EventLog
    from actors.events.redaction import Redact
    from actors.events.types import Event
    from actors.loop.asyncio_host import AsyncioHost
    from actors.recent_failures import RecentFailures
    from actors.runtime._ref import ActorRef
    from actors.sessions._attachment import Attachment
    from actors.sessions._hooks import Hook
    from actors.sessions._messages import Attach
    from actors.sessions._place import Place
    from actors.sessions._reader import SessionInfo


class Sessions:
    """The entry point to all sessions of a server.

    Use :meth:`get` to start runs in a session, and :meth:`attach` to read a session's events. This object is made
    before the log is open. The supervised actors that :meth:`children` describes open the log and run the sessions.
    """

    place: Place
    """The place where the sessions run: this process. A node of a cluster sets a router."""
    place_children: Sequence[ChildSpec] = ()
    """The specs of the actors that the place needs. They start when the log is open, before any session."""

    def __init__(  # noqa: PLR0913 - made in one place, by name
        self,
        log: EventLog,
        agents: Agents | None = None,
        settings: SessionSettings | None = None,
        redact: Redact | None = None,
        *,
        host: AsyncioHost | None = None,
        hooks: Sequence[Hook] = (),
    ) -> None:
        self.settings = settings = settings or SessionSettings()
        self.agents = agents or Agents()
        self._log = log
        self._committer = Committer(log)
        self._services = SessionServices(
            log,
            self._committer,
            self.agents,
            settings,
            redact or redact_keys(),
            RunLimiter(settings.runs_per_user, settings.queued_runs_per_user),
            settings.retention,
            ToolThreads(settings.tool_threads_per_user, settings.tool_threads),
            Accounts(settings.user_limits),
            host,
        )
        self.place = self._spawner = SessionSpawner(self._services)
        self._drained_by = math.inf
        self._reader = SessionReader(log, self._spawner.table)
        self._hooks = tuple(hooks)
        self.observers = Observers(self._committer, settings.observer_events, settings.observer_bytes)
        """The hub of all observers: ``sessions.observers.observe(("agent_completed",))``."""
        self.consumers = Consumers(log, self._reader, self._committer)
        """The consumers, by name: ``sessions.consumers.consume("billing", ("agent_completed",))``."""
        self.revocations = Revocations(log, settings.max_revocations, settings.revocation_memory_seconds)
        """The revoked tokens. The transport asks it about each client."""
        self.cleaner = RetentionSweep(
            log,
            settings.retention,
            settings.forget_seconds,
            self._spawner.reserve,
            command_seconds=settings.command_memory_seconds,
            ages=self._services.ages,
            on_removed=self._services.quota.on_removed,
        )
        """The object that applies retention to the logs of sessions that are not in memory."""
        self.removal = UserRemoval(self._spawner, self._services, (self.observers, self.consumers))
        """The object that forgets users."""
        self.user_retention = UserRetention(log, self._services.accounts, self._spawner, settings.retain_user_bytes)
        """The object that trims the events of users with more than ``retain_user_bytes`` in the log."""

    @property
    def here(self) -> SessionSpawner:
        """The sessions of this process, for the router of a cluster."""
        return self._spawner

    @property
    def survey(self) -> Survey:
        """The sessions as operators look at them: all in memory, a few at a time, or the events of one."""
        return Survey(self._services, self._spawner.table, self._reader)

    @property
    def failures(self) -> RecentFailures:
        """The newest failures of the server, for operators."""
        return self._services.failures

    @property
    def host(self) -> AsyncioHost | None:
        """The asyncio loop that hosts trio; None if the server does not run inside asyncio."""
        return self._services.host

    def children(self) -> tuple[ChildSpec, ...]:
        """Return the specs of the permanent actors: the owner of the log, and the parent of all sessions.

        If there are hooks (functions that are called for events), the actor that calls them is between these two, and
        so are the actors of :attr:`place`.
        """
        settings = self.settings
        keeper = ChildSpec(
            "event-log",
            lambda: LogKeeper(self._log, self._committer, self.revocations, self.end_readers),
            Restart.PERMANENT,
        )
        return (
            keeper,
            *self.place_children,
            *runner_of(self._hooks, self.observers, self.consumers, settings, self.host),
            ChildSpec(
                "sessions",
                lambda: SessionFactory(self._spawner, settings.idle_seconds, self._clean_logs),
                Restart.PERMANENT,
                # Runs may need `drain_seconds` to end. The rest is for closing them and committing their events.
                settings.drain_seconds + 10,
            ),
        )

    async def get(self, user: str, session: str) -> SessionHandle:
        """Return a handle on a session. Make the session if it does not exist.

        Args:
            user: Id of the user.
            session: Name of the session, unique among the sessions of the user.

        Raises:
            CommandRefused: Too many sessions are in use; the code is ``overloaded``.
            SessionClosed: The session was closed permanently.
            LogError: The session's log failed.

        Cancellation: if this call was making the session, the session is not made.
        """
        self.require_task("a call to a session")
        key = StreamKey(user, session)
        await self.place.open(key)
        return SessionHandle(self, key)

    async def attach(self, user: str, session: str, attach: Attach) -> Attachment:
        """Attach a client to a session. Make the session if it does not exist. Raise the same errors as :meth:`get`."""
        return cast("Attachment", await self.ask(StreamKey(user, session), attach))

    def end_readers(self) -> None:
        """End all observers and consumers, because the server ends."""
        self.observers.end()
        self.consumers.end()

    async def _clean_logs(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.cleaner.run)
            nursery.start_soon(self.user_retention.run)

    def lease(self, key: StreamKey) -> AbstractAsyncContextManager[None]:
        """Keep a session in memory inside the ``with`` block, even if it is idle. Raise the errors of :meth:`get`."""
        self.require_task("lease()")
        return self.place.hold(key)

    def require_task(self, call: str) -> None:
        """Raise RuntimeError outside of the event loop that runs the sessions.

        ``call`` names the caller in the error.
        """
        # Before the factory's first start the loop is not known. A call then fails as `overloaded`.
        if self._spawner.thread:
            require_task(self._spawner.thread, call)

    async def get_or_spawn(self, key: StreamKey) -> ActorRef:
        """Return the actor of a session of this process. Make it if there is none. Concurrent callers get the same."""
        self.require_task("a call to a session")
        return await self._spawner.get_or_spawn(key)

    def ask(self, key: StreamKey, message: object) -> Coroutine[Any, Any, object]:
        """Send a message to a session and return the session's answer. If the session is not in memory, make it first.

        If the session is just stopping because it was idle, wait for its end, make the session again, and send the
        message then.
        """
        # Not a coroutine itself: each would be one more call at each switch to a task that waits for an answer.
        self.require_task("a call to a session")
        return self.place.ask(key, message)

    async def revoke(self, *, user: str | None = None, token_id: str | None = None, until: float | None = None) -> int:
        """Revoke the tokens of a user, or one token. Return the number of connections that are closed with 4501.

        See :meth:`transport.Greenroom.revoke`.
        """
        self.require_task("revoke()")
        return await self.revocations.revoke(user, token_id, until)

    def calling_after_commits(self, callback: Callable[[], None]) -> AbstractContextManager[None]:
        """Call ``callback`` after each commit to the log, inside the ``with`` block. ``callback`` must not wait."""
        return calling_after_commits(self._committer, callback)

    async def committed(self) -> None:
        """Wait until the events of all sessions so far are committed, or have failed. Safe to cancel."""
        await self._committer.barrier()

    def commit_due(self) -> bool:
        """Commit the events of all sessions so far if that needs no wait. Return False if that comes very soon."""
        return commit_due(self._committer)

    def unready(self) -> str:
        """Return the reason why this process should get no new clients now, such as a full log; "" if there is none."""
        return self.place.unready() or ("the log cannot be written" if self._committer.refusal() else "")

    def statistics(self) -> SessionsStatistics:
        """Return the state of all sessions together."""
        return SessionsStatistics(
            sessions=len(self._spawner.table),
            spawned=self._spawner.spawned,
            reaped=self._spawner.reaped,
            crashed=self._spawner.crashed,
            runs=self._services.limiter.statistics(),
            committer=self._committer.statistics(),
            threads=self._services.threads.statistics(),
            log=self._log.statistics(),
            quotas=self._services.accounts.statistics(),
            revocations=len(self.revocations),
            observers=self.observers.statistics(),
            consumers=self.consumers.statistics(),
        )

    def of(self, user: str | None = None) -> tuple[SessionStatistics, ...]:
        """Return the state of each session in memory. If ``user`` is given, return only the sessions of this user."""
        entries = (entry for entry in self._spawner.table if entry.lives)
        return tuple(entry.session.statistics() for entry in entries if user in (None, entry.key.user))

    def statistics_of(self, key: StreamKey) -> SessionStatistics | None:
        """Return the state of one session. Return None if it is not in memory.

        A thread that the sessions' event loop started can call this too.
        """
        if self._spawner.thread not in (0, get_ident()):
            return hop("statistics()", self.statistics_of, key)
        entry = self._spawner.table.get(key)
        return entry.session.statistics() if entry is not None and entry.lives else None

    async def history(self, key: StreamKey, after: int | None, before: int | None, limit: int) -> Sequence[Event]:
        """Return committed events of a session. See :meth:`SessionHandle.history`."""
        return await self._reader.history(key, after, before, limit)

    async def list(self, user: str, *, after: str = "", limit: int = 100) -> Sequence[SessionInfo]:
        """Return the user's sessions in the log, sorted by name. See ``app.sessions.list`` of :mod:`transport`."""
        self.require_task("list()")
        return await self._reader.sessions(user, after, limit)

    async def drain(self, seconds: float) -> None:
        """Start no more runs, and wait until the running runs have ended, but at most ``seconds``.

        In a cluster, other nodes meanwhile get the users, each as soon as the user's runs have ended.
        A later call does not wait for longer than an earlier one.

        Cancellation: new runs are refused nevertheless.
        """
        self._services.draining = True
        self._drained_by = min(self._drained_by, trio.current_time() + seconds)
        with trio.move_on_at(self._drained_by):
            await self.place.leave()
            while self._services.limiter.statistics().running:
                await self._services.run_over.park()
