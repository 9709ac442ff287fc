"""Who makes sessions, finds them, and lets them go when nobody needs them."""

from __future__ import annotations

import logging
import math
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import attrs
import trio

from actors.errors import ActorTerminated, CommandRefused
from actors.eventlog.base import StreamKey
from actors.events.redaction import redact_keys
from actors.failures import log_failure
from actors.loop.boundary import contained
from actors.loop.threads import defer_interrupts, require_task
from actors.runs._agents import Agents
from actors.runs._tool_threads import ToolThreads, ToolThreadsStatistics
from actors.runtime._actor import Actor
from actors.runtime._lifecycle import Failure, Killed, Shutdown
from actors.runtime._ref import Terminated
from actors.runtime._restart import Restart
from actors.runtime._spec import ChildSpec, MailboxSpec, Strategy, SupervisorSpec
from actors.sessions._handle import SessionHandle
from actors.sessions._retention import RetentionSweep
from actors.sessions._run_limiter import RunLimiter, RunLimiterStatistics
from actors.sessions._session import Session, SessionServices, SessionStatistics
from actors.sessions._settings import SessionSettings
from actors.streams._committer import Committer, CommitterStatistics
from actors.streams._cursor import SessionEnding

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from actors.eventlog.base import EventLog, LogStatistics
    from actors.events.redaction import Redact
    from actors.runtime._ref import ActorRef
    from actors.runtime._supervisor import SupervisorRef
    from actors.sessions._attachment import Attachment
    from actors.sessions._messages import Attach

logger = logging.getLogger("greenroom.sessions")

_RETRIES = 5
_SWEEPS_PER_IDLE = 4

LOOK_AGAIN_SECONDS = 0.1
"""How soon all sessions are looked at again where none was idle: who finds no room must not cost the others much."""


@attrs.define(eq=False)
class _Entry:
    """One session that is being made, lives, or has just ended."""

    key: StreamKey
    session: Session
    making: trio.Event | None = attrs.field(factory=trio.Event)
    """Set once it is made or could not be; None from then on."""
    ref: ActorRef | None = None

    async def made(self) -> None:
        """Wait until it is made or could not be; a checkpoint in any case."""
        if self.making is None:
            await trio.lowlevel.checkpoint()
        else:
            await self.making.wait()

    def is_made(self) -> None:
        """Let those go on who wait for it."""
        if self.making is not None:
            self.making.set()
            self.making = None


@attrs.frozen
class SessionsStatistics:
    """How all sessions of a process stand."""

    sessions: int
    """Sessions in memory."""
    spawned: int
    """Sessions made since the start."""
    reaped: int
    """Sessions that left memory because nobody needed them."""
    crashed: int
    """Sessions that ended with a failure."""
    runs: RunLimiterStatistics
    """Runs that go on or wait."""
    committer: CommitterStatistics
    """What is on its way into the log."""
    threads: ToolThreadsStatistics
    """Threads of sync tools."""
    log: LogStatistics
    """The log."""


class Sessions:
    """All sessions of a server: ``get`` for code that starts runs, ``attach`` for whoever watches.

    Made once, with the log still closed; :meth:`children` are the supervised actors that make it work.
    """

    def __init__(
        self,
        log: EventLog,
        agents: Agents | None = None,
        settings: SessionSettings | None = None,
        redact: Redact | None = None,
    ) -> None:
        settings = settings or SessionSettings()
        self.settings = settings
        self._log = log
        self._committer = Committer(log)
        limiter, retention = RunLimiter(settings.runs_per_user, settings.queued_runs_per_user), settings.retention
        threads = ToolThreads(settings.tool_threads_per_user, settings.tool_threads)
        self._services = SessionServices(
            log, self._committer, agents or Agents(), settings, redact or redact_keys(), limiter, retention, threads
        )
        self._mailbox = MailboxSpec(size=settings.mailbox_size)
        self._entries: dict[StreamKey, _Entry] = {}
        self._per_user: dict[str, int] = {}
        self.thread = 0
        """Whose loop runs the sessions; 0 until it does."""
        self._supervisor: SupervisorRef | None = None
        self._factory: SessionFactory | None = None
        self._keys: dict[ActorRef, StreamKey] = {}
        self._reserved: dict[StreamKey, trio.Event] = {}
        self.cleaner = RetentionSweep(
            log,
            retention,
            settings.forget_seconds,
            self._reserve,
            command_seconds=settings.command_memory_seconds,
            ages=self._services.ages,
        )
        """Takes care of the logs of sessions that are not in memory."""
        self._spawned = self._reaped = self._crashed = 0
        self._idle_ones: deque[tuple[float, StreamKey]] = deque()
        self._look_again_at = -math.inf

    def children(self) -> tuple[ChildSpec, ChildSpec]:
        """Specify the log's actor and the factory, in the order of their start; both are permanent."""
        return (
            ChildSpec("event-log", lambda: LogKeeper(self._log, self._committer), Restart.PERMANENT),
            ChildSpec("sessions", lambda: SessionFactory(self), Restart.PERMANENT, self.settings.drain_seconds + 10),
        )

    async def get(self, user: str, session: str) -> SessionHandle:
        """Get a handle on the session, which is made if it does not exist.

        Raises ``CommandRefused("overloaded")`` when there are too many, :class:`~actors.SessionClosed` when it was
        closed for good, and what its log raises. Cancelled: a session that was being made is not.
        """
        key = StreamKey(user, session)
        await self.get_or_spawn(key)
        return SessionHandle(self, key)

    async def attach(self, user: str, session: str, attach: Attach) -> Attachment:
        """Attach to the session, which is made if it does not exist; raises as :meth:`get` does."""
        return cast("Attachment", await self.ask(StreamKey(user, session), attach))

    @asynccontextmanager
    async def lease(self, key: StreamKey) -> AsyncGenerator[None]:
        """Keep the session in memory inside the block, however idle it is; raises as :meth:`get` does."""
        self.require_task("lease()")
        leases = self._services.leases
        leases[key] = leases.get(key, 0) + 1
        try:
            await self.get_or_spawn(key)
            yield
        finally:
            leases[key] -= 1
            if not leases[key]:
                del leases[key]
            if (entry := self._entries.get(key)) is not None:
                entry.session.touch()

    def require_task(self, what: str) -> None:
        """Raise RuntimeError unless a task of the loop that runs the sessions calls this."""
        if self.thread:
            require_task(self.thread, what)

    async def get_or_spawn(self, key: StreamKey) -> ActorRef:
        """Find or make the living session of that key; callers at the same time get the same one."""
        self.require_task("a call to a session")
        while True:
            entry = self._entries.get(key)
            if key in self._reserved:
                await self._reserved[key].wait()
                continue
            if entry is None:
                if await self._make_room(key.user):
                    continue
                return await self._spawn(key)
            await entry.made()
            if entry.ref is not None and entry.ref.alive and not entry.session.is_closed:
                return entry.ref
            if entry.ref is not None:
                self.gone(entry.key, await entry.ref.terminated())

    async def ask(self, key: StreamKey, message: object) -> object:
        """Ask the session; one that ends in this very moment because it was idle is made again and asked."""
        for attempt in range(_RETRIES):
            ref = await self.get_or_spawn(key)
            try:
                return await ref.ask(message)
            except ActorTerminated as error:
                if attempt == _RETRIES - 1 or isinstance(error.reason, (Failure, Killed)):
                    raise
                await ref.terminated()
        raise AssertionError

    @contextmanager
    def calling_after_commits(self, callback: Callable[[], None]) -> Generator[None]:
        """Call ``callback`` in the turn of every commit, once all listeners were told. It may not wait.

        One that raises is logged and called no more; the commits go on.
        """
        callbacks, registered = self._committer.after_commits, partial(callback)
        callbacks[registered] = None
        try:
            yield
        finally:
            callbacks.pop(registered, None)

    def statistics(self) -> SessionsStatistics:
        """Say how all sessions stand."""
        return SessionsStatistics(
            sessions=len(self._entries),
            spawned=self._spawned,
            reaped=self._reaped,
            crashed=self._crashed,
            runs=self._services.limiter.statistics(),
            committer=self._committer.statistics(),
            threads=self._services.threads.statistics(),
            log=self._log.statistics(),
        )

    def of(self, user: str | None = None) -> tuple[SessionStatistics, ...]:
        """Say how each session in memory stands, those of one user or all."""
        return tuple(
            entry.session.statistics()
            for key, entry in self._entries.items()
            if entry.ref is not None and entry.ref.alive and user in (None, key.user)
        )

    async def drain(self, seconds: float) -> None:
        """Start no more runs, wait until those that go on are over, ``seconds`` at most. Cancelled: still draining."""
        self._services.draining = True
        with trio.move_on_after(seconds):
            while self._services.limiter.statistics().running:
                await self._services.run_over.park()

    # For the factory

    def opened(self, supervisor: SupervisorRef, factory: SessionFactory) -> None:
        """Make sessions from now on; whatever an earlier incarnation had is gone."""
        for entry in tuple(self._entries.values()):
            self.gone(entry.key, Killed())
        self._supervisor, self._factory = supervisor, factory
        self.thread = get_ident()

    def closed(self) -> None:
        """Make no more sessions."""
        self._supervisor = self._factory = None
        for entry in tuple(self._entries.values()):
            self.gone(entry.key, Shutdown())

    def ended(self, ref: ActorRef, reason: object) -> None:
        """Hear that a watched session has ended."""
        key = self._keys.get(ref)
        if key is not None:
            self.gone(key, reason)

    def gone(self, key: StreamKey, reason: object) -> None:
        """Forget a session that has ended, and tell who still watched it. Idempotent."""
        entry = self._entries.get(key)
        if entry is None or entry.ref is None or entry.ref.alive:
            return
        self._remove(entry)
        failed = isinstance(reason, (Failure, Killed)) and not entry.session.is_closed
        self._crashed += failed
        if isinstance(reason, Failure):
            log_failure(logger, "session %s/%s failed", *key, error=reason.exception)
        ending = SessionEnding.CRASHED if failed else SessionEnding.SHUTDOWN
        if entry.session.is_closed:
            ending = SessionEnding.CLOSED
        contained("the farewell of a session", entry.session.farewell, ending)

    @contextmanager
    def _reserve(self, key: StreamKey) -> Generator[bool]:
        """Keep the session from being made inside the block; False where there is one."""
        if key in self._entries:
            yield False
            return
        self._reserved[key] = over = trio.Event()
        try:
            yield True
        finally:
            del self._reserved[key]
            over.set()

    async def sweep(self) -> None:
        """Let sessions go that were idle for ``idle_seconds``, and have the logs of the others trimmed."""
        self._idle_ones.clear()
        for entry in tuple(self._entries.values()):
            await trio.lowlevel.checkpoint()
            since = _idle_since(entry)
            if since is not None and since <= trio.current_time() - self.settings.idle_seconds:
                await self._reap(entry)
            elif entry.ref is not None and entry.ref.alive:
                await entry.session.tidy()

    async def _reap(self, entry: _Entry) -> None:
        """Stop an idle session; it refuses messages from this very moment, so that none is lost in its mailbox."""
        if entry.ref is not None:
            self._reaped += entry.ref.statistics().state == "running"
            self.gone(entry.key, await entry.ref.stop())

    async def _spawn(self, key: StreamKey) -> ActorRef:
        supervisor, factory = self._supervisor, self._factory
        if supervisor is None or factory is None or self._services.draining:
            raise CommandRefused("overloaded", "the server is starting or about to end: try again later")
        entry = self._entries[key] = _Entry(key, Session(key, self._services))
        self._per_user[key.user] = self._per_user.get(key.user, 0) + 1
        try:
            entry.ref = await supervisor.start_child(
                ChildSpec(
                    f"{quote(key.user, safe='')}:{quote(key.session, safe=':~')}",
                    [entry.session].pop,  # once: a spec that kept it would keep it beyond its end, in a cycle
                    Restart.TEMPORARY,
                    mailbox=self._mailbox,
                )
            )
            self._keys[entry.ref] = key
            factory.context.watch(entry.ref)
        except ActorTerminated as error:
            self._remove(entry)
            raise CommandRefused("overloaded", "the server is about to end: try again later") from error
        except BaseException:
            self._remove(entry)
            raise
        finally:
            entry.is_made()
        self._spawned += 1
        return entry.ref

    def _remove(self, entry: _Entry) -> None:
        key = entry.key
        del self._entries[key]
        if entry.ref is not None:
            self._keys.pop(entry.ref, None)
        self._per_user[key.user] -= 1
        if not self._per_user[key.user]:
            del self._per_user[key.user]

    async def _make_room(self, user: str) -> bool:
        """Let the least recently used idle session go where there are too many; whether that took a while."""
        limits = self.settings
        if self._per_user.get(user, 0) >= limits.max_sessions_per_user:
            crowd = limits.max_sessions_per_user
            own = [entry for entry in self._entries.values() if entry.key.user == user]
            idle = [(since, entry) for entry in own if (since := _idle_since(entry)) is not None]
            last = min(idle, key=lambda pair: pair[0])[1] if idle else None
        elif len(self._entries) >= limits.max_sessions:
            crowd = limits.max_sessions
            last = self._longest_idle()
        else:
            return False
        if last is None:
            raise CommandRefused("overloaded", f"{crowd} sessions are in use: try again later")
        await self._reap(last)
        return True

    def _longest_idle(self) -> _Entry | None:
        """Find the least recently used idle session of all; None where there was none a moment ago.

        All are looked at together, once for many that go: whoever is used later goes behind those that were found.
        """
        if (found := self._next_idle()) is not None:
            return found
        now = trio.current_time()
        if now < self._look_again_at:
            return None
        idle = ((entry.session.idle_since, key) for key, entry in self._entries.items() if entry.ref is not None)
        self._idle_ones.extend(sorted((since, key) for since, key in idle if since is not None))
        found = self._next_idle()
        self._look_again_at = now + LOOK_AGAIN_SECONDS if found is None else now
        return found

    def _next_idle(self) -> _Entry | None:
        """Take the next of those that were found, unless it was used since, or has gone."""
        while self._idle_ones:
            since, key = self._idle_ones.popleft()
            entry = self._entries.get(key)
            if entry is not None and _idle_since(entry) == since:
                return entry
        return None


def _idle_since(entry: _Entry) -> float | None:
    """Since when (trio's clock) a living session has nothing to do and nobody who needs it; None otherwise."""
    if entry.ref is None or not entry.ref.alive or (since := entry.session.idle_since) is None:
        return None
    statistics = entry.ref.statistics()
    return None if statistics.mailbox.depth or statistics.leases else since


class LogKeeper(Actor):
    """Keeps the log open and commits to it. When it is restarted the log is opened again."""

    def __init__(self, log: EventLog, committer: Committer) -> None:
        self._log = log
        self._committer = committer

    async def started(self) -> None:
        """Open the log; raises what the log raises."""
        await self._log.open()
        self.nursery.start_soon(self._committer.run)

    async def stopping(self, reason: object) -> None:
        """Commit what is still to be committed, and close the log."""
        if not isinstance(reason, Failure):
            await self._committer.barrier()
        await self._log.close()


class SessionFactory(Actor):
    """Supervises the sessions, watches them, and sweeps out those that are idle."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def started(self) -> None:
        """Start the supervisor of the sessions."""
        supervisor = await self.context.supervise(SupervisorSpec(strategy=Strategy.DYNAMIC), "all")
        self._sessions.opened(supervisor, self)
        self.nursery.start_soon(defer_interrupts)
        self.nursery.start_soon(self._sweep)
        self.nursery.start_soon(self._sessions.cleaner.run)

    async def receive(self, message: object) -> object:
        """Hear that a session has ended."""
        if isinstance(message, Terminated):
            self._sessions.ended(message.ref, message.reason)
            return None
        return await super().receive(message)

    async def stopping(self, reason: object) -> None:
        """Make no session any more; those that were are gone already."""
        del reason
        self._sessions.closed()

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(self._sessions.settings.idle_seconds / _SWEEPS_PER_IDLE)
            await self._sessions.sweep()
