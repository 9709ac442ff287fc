"""The making and the end of sessions: sessions are made on demand, and idle sessions are stopped to free memory."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager, contextmanager
from threading import get_ident
from typing import TYPE_CHECKING

import trio

from actors.errors import ActorTerminated, CommandRefused
from actors.failures import log_failure
from actors.loop.boundary import contained
from actors.loop.clock import loop_time
from actors.runtime._lifecycle import Failure, Killed, Shutdown
from actors.runtime._restart import Restart
from actors.runtime._spec import ChildSpec, MailboxSpec
from actors.sessions._actor_names import name_of
from actors.sessions._reservations import Reservations
from actors.sessions._session import Session
from actors.sessions._session_table import Entry, SessionTable
from actors.streams._cursor import SessionEnding

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from actors.eventlog.base import StreamKey
    from actors.runtime._lifecycle import ExitReason
    from actors.runtime._ref import ActorRef
    from actors.runtime._supervisor import SupervisorRef
    from actors.sessions._services import SessionServices

logger = logging.getLogger("greenroom.sessions")

_ATTEMPTS = 5
"""Maximum number of attempts to ask a session that is just stopping. Each attempt first waits for the session's end."""


class SessionSpawner:
    """The object that makes the sessions of a server (actors below the session factory), and removes ended sessions.

    Each key has at most one session at a time. A session that is being made or is stopping counts too. A session is not
    made while retention works on its log.
    """

    def __init__(self, services: SessionServices) -> None:
        self._services = services
        self._mailbox = MailboxSpec(size=services.settings.mailbox_size)
        self.reservations = Reservations()
        self._supervisor: SupervisorRef | None = None
        self._watch: Callable[[ActorRef], None] | None = None
        self.thread = 0
        """Id of the thread in which the sessions' event loop runs. 0 before the first start of the session factory."""
        self.table = SessionTable()
        self.moved: Callable[[str, ExitReason], bool] | None = None
        """Function that gets the user of a session that has ended, and the reason of the end. None without a cluster.

        It returns whether the user's sessions run elsewhere from now on.
        """
        self.log = services.log
        """The log of all sessions, as it was given: perhaps it wraps the log that stores the events."""
        services.log.innermost.tail_of = self.table.tail_of
        self.spawned = 0
        """Number of sessions that were made since the start of the server."""
        self.reaped = 0
        """Number of sessions that were stopped because they were idle."""
        self.crashed = 0
        """Number of sessions that ended with a failure."""

    async def get_or_spawn(self, key: StreamKey) -> ActorRef:
        """Return the actor of a session. Make the actor if there is none. Concurrent callers get the same actor."""
        while True:
            entry = self.table.get(key)
            # Retention may be removing the session's log, or the user is being forgotten.
            if key in self.reservations:
                await self.reservations.over(key)
                continue
            if entry is None:
                if await self._make_room(key.user):
                    continue  # that took a while: another task may have made the session
                return await self._spawn(key)
            await entry.made()
            if entry.ref is not None and entry.ref.alive and not entry.session.is_closed:
                return entry.ref
            # This session is ending: remove it when it has ended, and make the next one.
            if entry.ref is not None:
                self._on_ended(entry, await entry.ref.terminated())

    async def open(self, key: StreamKey) -> None:
        """Make the session if it is not in memory (a method of :class:`~actors.sessions._place.Place`)."""
        await self.get_or_spawn(key)

    async def leave(self) -> None:
        """Return: no other process takes the sessions over (a method of :class:`~actors.sessions._place.Place`)."""
        await trio.lowlevel.checkpoint()

    async def ask(self, key: StreamKey, message: object) -> object:
        """Send a message to a session and return the session's answer; see :meth:`.Sessions.ask`."""
        for attempt in range(_ATTEMPTS):
            ref = await self.get_or_spawn(key)
            try:
                return await ref.ask(message)
            except ActorTerminated as error:
                # If the session failed, it may have handled the message: the caller decides whether to send it again.
                # If it stopped because it was idle, it has not handled the message: its mailbox refused it.
                if attempt == _ATTEMPTS - 1 or isinstance(error.reason, (Failure, Killed)):
                    raise
                await ref.terminated()
        raise AssertionError

    def unready(self) -> str:
        """Return "": a process with a log of its own needs no other server."""
        return ""

    @asynccontextmanager
    async def hold(self, key: StreamKey) -> AsyncGenerator[None]:
        """Keep a session in memory inside the ``with`` block, even if it is idle; see :meth:`.Sessions.lease`."""
        leases = self._services.leases
        leases[key] = leases.get(key, 0) + 1
        try:
            await self.get_or_spawn(key)
            yield
        finally:
            leases[key] -= 1
            if not leases[key]:
                del leases[key]
            # The idle time counts from the end of the last lease, not from the last message.
            if (entry := self.table.get(key)) is not None:
                entry.session.touch()

    # What the router of a cluster calls

    async def vacate(self, user: str, *, ends_clients: bool = False) -> bool:
        """Stop the sessions of a user if all of them are idle. Return whether none is left.

        With ``ends_clients``, a session is idle also if it has clients or leases, but no run and no open command.
        """
        own = self.table.of(user)
        if any(not entry.is_idle(ends_clients=ends_clients) for entry in own):
            return False
        if self.reservations.concern(user):
            return False
        for entry in own:
            await self._reap(entry)
        return not self.table.count(user)

    async def end_user(self, user: str) -> None:
        """Stop the sessions of a user that are in memory or being made. Wait until they have ended."""
        for entry in self.table.of(user):
            await entry.made()
            await self._reap(entry)

    def deliver(self) -> None:
        """Call the callbacks of a commit, because listeners got news of a session of another node."""
        for callback in tuple(self._services.committer.after_commits):
            contained("a callback after commits", callback)

    @contextmanager
    def reserve(self, key: StreamKey) -> Generator[bool]:
        """Prevent other code from making the session while the ``with`` block runs, and yield True.

        If the session is in memory already, only yield False. In a block that yields True, retention can work on the
        session's log undisturbed.
        """
        if key in self.table or key in self.reservations:
            yield False
            return
        with self.reservations.of_key(key):
            yield True

    # What the factory calls

    def on_factory_started(self, supervisor: SupervisorRef, watch: Callable[[ActorRef], None]) -> None:
        """Allow the making of sessions, because the session factory (their parent actor) was started.

        If this is a restart, the old sessions have ended: remove them.
        """
        for entry in self.table:
            self._on_ended(entry, Killed())
        services = self._services
        services.accounts.forget_log()
        services.clock = loop_time().clock
        self._supervisor, self._watch = supervisor, watch
        self.thread = get_ident()

    def on_factory_stopping(self) -> None:
        """Make no more sessions, because the session factory is stopping. Remove the ended sessions."""
        self._supervisor = self._watch = None
        for entry in self.table:
            self._on_ended(entry, Shutdown())

    def on_session_ended(self, ref: ActorRef, reason: ExitReason) -> None:
        """Remove a session that has ended from the table, and notify its listeners."""
        entry = self.table.find(ref)
        if entry is not None:
            self._on_ended(entry, reason)

    async def sweep(self) -> None:
        """Stop the sessions that were idle for ``idle_seconds``, and trim the logs of the other sessions in memory."""
        self.table.forget_idle()
        for entry in self.table:
            await trio.lowlevel.checkpoint()
            since = entry.idle_since
            # A session in memory trims its own log. The cleaner trims the logs of the sessions that are not in memory.
            if since is not None and since <= trio.current_time() - self._services.settings.idle_seconds:
                await self._reap(entry)
            elif entry.lives:
                await entry.session.trim_log()
        self._services.accounts.prune(self.table.count)

    # The life of a session

    async def _spawn(self, key: StreamKey) -> ActorRef:
        supervisor, watch = self._supervisor, self._watch
        if supervisor is None or watch is None or self._services.draining:
            raise CommandRefused("overloaded", "the server is starting or about to end: try again later")
        # Add the entry before the first checkpoint: concurrent callers find it, and wait for this call.
        entry = Entry(key, Session(key, self._services))
        self.table.add(entry)
        try:
            async with self._services.quota.making(key):
                ref = await supervisor.start_child(
                    ChildSpec(
                        name_of(key),
                        # pop() gives the session away: a spec that kept it would be in a cycle that keeps it in memory.
                        [entry.session].pop,
                        Restart.TEMPORARY,
                        mailbox=self._mailbox,
                    )
                )
            self.table.set_ref(entry, ref)
            watch(ref)
        except ActorTerminated as error:
            self.table.remove(entry)
            message = "the session was stopped while it started, or the server is about to end: try again later"
            raise CommandRefused("overloaded", message) from error
        except BaseException:
            self.table.remove(entry)
            raise
        finally:
            entry.on_made()
        self.spawned += 1
        return ref

    async def _make_room(self, user: str) -> bool:
        """Stop the session that has been idle longest, if there are too many sessions.

        Return whether a session was stopped. Raise ``CommandRefused("overloaded")`` if there are too many sessions and
        no session is idle.
        """
        settings = self._services.settings
        if self.table.count(user) >= settings.max_sessions_per_user:
            limit, longest_idle = settings.max_sessions_per_user, self.table.longest_idle_of(user)
        elif len(self.table) >= settings.max_sessions:
            limit, longest_idle = settings.max_sessions, self.table.longest_idle()
        else:
            return False
        if longest_idle is None:
            raise CommandRefused("overloaded", f"{limit} sessions are in use: try again later")
        await self._reap(longest_idle)
        return True

    async def _reap(self, entry: Entry) -> None:
        """Stop an idle session. From now on the session's mailbox refuses messages, so no message is lost."""
        if entry.ref is not None:
            self.reaped += entry.is_running
            self._on_ended(entry, await entry.ref.stop())

    def _on_ended(self, entry: Entry, reason: ExitReason) -> None:
        """Remove a session that has ended, and notify its listeners. If it lives or was removed, do nothing."""
        if self.table.get(entry.key) is not entry or entry.ref is None or entry.ref.alive:
            return
        self.table.remove(entry)
        session = entry.session
        failed = isinstance(reason, (Failure, Killed)) and not session.is_closed
        self.crashed += failed
        if isinstance(reason, Failure):
            fields = {"user": entry.key.user, "session": entry.key.session}
            log_failure(logger, "session %s/%s failed", *entry.key, error=reason.exception, fields=fields)
        if session.is_closed:
            ending = SessionEnding.CLOSED
        elif self.moved is not None and self.moved(entry.key.user, reason):
            ending = SessionEnding.MOVED
        else:
            ending = SessionEnding.CRASHED if failed else SessionEnding.SHUTDOWN
        contained("the notification that a session has ended", session.notify_ended, ending)
