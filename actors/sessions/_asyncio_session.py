"""One session for asyncio code of the server: a route of a web application, a queue, a scheduler."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import trio

from actors.errors import ConfigError, PositionLost
from actors.events.decoding import decode_line
from actors.events.encoding import encode
from actors.sessions._asyncio_block import AsyncioRunBlock
from actors.sessions._handle import HISTORY_EVENTS, SessionHandle
from actors.sessions._messages import Attach

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from actors.eventlog.base import StreamKey
    from actors.events.types import Event, Position
    from actors.loop.asyncio_host import AsyncioHost
    from actors.runs._run import Run
    from actors.sessions._attachment import Attachment
    from actors.sessions._registry import Sessions
    from actors.sessions._run_block import Companion
    from actors.streams._cursor import SessionEnding

P = ParamSpec("P")
T = TypeVar("T")

_MAX_EVENTS, _MAX_BYTES = 256, 256 * 1024
"""Maximum number of events, and of bytes, that are read at once for :meth:`AsyncioSession.events`."""


class AsyncioSession:
    """One session of one user, for asyncio code of the server. ``app.sessions_aio.get(user, session)`` returns it.

    The object stays valid when the session stops and is made again, and need not be released. Each method raises
    :class:`~actors.ConfigError` if the app does not run inside the caller's event loop. Each one makes the session if
    it does not exist, and raises the errors of :meth:`Sessions.get`.
    """

    __slots__ = ("_key", "_sessions")

    def __init__(self, sessions: Callable[[], Sessions], key: StreamKey) -> None:
        self._sessions = sessions
        self._key = key

    @property
    def user(self) -> str:
        """Id of the user to which the session belongs."""
        return self._key.user

    @property
    def session(self) -> str:
        """Name of the session. The name is unique among the sessions of the user."""
        return self._key.session

    async def start(self, agent: str, input: object = None, *, command_id: str | None = None) -> str:  # noqa: A002 - its name on the wire
        """Start a run of an agent in either library, and return the run's id; see :meth:`SessionHandle.start`."""
        return await self._call(SessionHandle.start, agent, input, command_id=command_id)

    async def cancel(self, run_id: str) -> bool:
        """Ask a run to stop, and return True. Return False if the run is unknown or has ended."""
        return await self._call(SessionHandle.cancel, run_id)

    async def answer(self, run_id: str, call_id: str, value: object) -> None:
        """Answer a question of a run; see :meth:`SessionHandle.answer`."""
        await self._call(SessionHandle.answer, run_id, call_id, value)

    async def history(
        self, *, after: int | None = None, before: int | None = None, limit: int = HISTORY_EVENTS
    ) -> Sequence[Event]:
        """Return stored events of the session in their order; see :meth:`SessionHandle.history`."""
        return await self._call(SessionHandle.history, after=after, before=before, limit=limit)

    async def emit(self, name: str, value: object = None) -> None:
        """Emit a ``custom`` event of the session; see :meth:`SessionHandle.emit`."""
        await self._call(SessionHandle.emit, name, value)

    async def close(self) -> None:
        """Close the session permanently; see :meth:`SessionHandle.close`."""
        await self._call(SessionHandle.close)

    def run(self, agent: str, input: object = None, *, timeout: float | None = None) -> AsyncioRunBlock:  # noqa: A002 - as above
        """Open a run. Its code is the body of an ``async with`` block; see :meth:`SessionHandle.run`.

        Use it as ``async with session.run("ask", prompt) as run: await run.output(…)``, in a route for example.

        Inside the block, ``current_run()`` is this run. A block that has not ended ``abandon_seconds`` after its
        cancellation is logged and left behind: its emits raise :class:`~actors.RunClosed`.

        Cancellation: if the task is cancelled by other code, the run ends as ``cancelled``.
        """
        sessions = self._sessions()
        settings = sessions.settings
        text = encode(input, settings.max_event_bytes)

        async def begin(companion: Companion) -> Run:
            begin_block = SessionHandle._begin_block  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # the other half of a block
            return await self._call(begin_block, agent, text, timeout, "asyncio", companion)

        return AsyncioRunBlock(begin, settings.abandon_seconds)

    async def position(self) -> Position:
        """Return the position of the newest event in the session's log, for :meth:`events` or for a client."""
        return await self._call(SessionHandle.position)

    async def events(self, after: Position | None = None) -> AsyncGenerator[Event]:
        """Yield the session's events, each when it is stored in the log, until the session or the server ends.

        Use it inside ``contextlib.aclosing``. Otherwise, after a ``break``, the session stays in memory until Python
        removes the generator. Events of the log come first: all of them, or those after the position.

        Args:
            after: The position of the last event that you have: the epoch of :meth:`position`, and the event's seq.

        Raises:
            PositionLost: The log does not have the event after this position, or is another log.
            LogError: The log could not be read.
        """
        host, sessions = self._hosted()
        reader = _Reader()
        try:
            attach = Attach(f"local-{secrets.token_hex(8)}", reader, resume=after)
            await host.run(reader.attach, partial(sessions.attach, *self._key, attach))
            attached = reader.attached
            if attached.reset is not None:
                raise PositionLost(attached.reset)
            while lines := await reader.lines(host):
                for line in lines:
                    yield decode_line(line)
        finally:
            reader.detach()

    def _hosted(self) -> tuple[AsyncioHost, Sessions]:
        """Return the event loop of the app, and its sessions. Raise ConfigError outside of this loop."""
        sessions = self._sessions()
        if sessions.host is None:
            raise ConfigError(
                "the app runs on trio alone, and app.sessions_aio is for an asyncio server: use app.sessions, or host "
                "the app by transport.hosting"
            )
        sessions.host.require_asyncio()
        return sessions.host, sessions

    async def _call(
        self,
        method: Callable[Concatenate[SessionHandle, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Await a method of the session's handle, which is trio code."""
        host, sessions = self._hosted()

        async def call() -> T:
            handle = await sessions.get(*self._key)
            return await method(handle, *args, **kwargs)

        return await host.run(call)


class _Reader:
    """The listener of one reader of events: its cursor, and its waiting task."""

    __slots__ = ("_attachment", "_news", "ended")

    def __init__(self) -> None:
        self._attachment: Attachment | None = None
        self._news = asyncio.Event()
        self.ended: SessionEnding | None = None
        """The reason why the session has ended; None while it lives."""

    @property
    def attached(self) -> Attachment:
        """The attachment to the session."""
        assert self._attachment is not None  # noqa: S101 - the caller has attached
        return self._attachment

    async def attach(self, attach: Callable[[], Awaitable[Attachment]]) -> None:
        """Attach to the session. This is trio code, and stores the attachment itself: its caller may be cancelled."""
        self._attachment = await attach()

    async def lines(self, host: AsyncioHost) -> Sequence[bytes]:
        """Wait for the next events, and return them. Return none if the session has ended and all were returned."""
        cursor = self.attached.cursor
        while True:
            self._news.clear()
            lines = cursor.take(_MAX_EVENTS, _MAX_BYTES)
            if not lines and cursor.behind:
                lines = await host.run(cursor.fetch, _MAX_EVENTS, _MAX_BYTES)
            elif not lines and self.ended is None:
                await self._news.wait()
                continue
            if lines or self.ended is not None:
                return lines

    def detach(self) -> None:
        """End the attachment. A reader may outlive the app: then there is no session to tell."""
        if self._attachment is not None:
            self._attachment.cursor.detach()
            if trio.lowlevel.in_trio_run():
                self._attachment.detach()

    def on_events(self) -> None:
        """Wake the waiting task."""
        self._news.set()

    def on_signal(self, name: str, data: bytes) -> None:
        """Ignore a signal."""

    def on_ended(self, reason: SessionEnding) -> None:
        """Store the reason, and wake the waiting task."""
        self.ended = reason
        self._news.set()
