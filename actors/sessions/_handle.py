"""The handle on a session, for the server's code outside of sessions: an HTTP route, a queue, a scheduler."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from actors.errors import ActorTerminated, CommandRefused
from actors.events.encoding import encode
from actors.loop.one_shot import OneShot
from actors.sessions._commands import Command, CommandReply
from actors.sessions._messages import Emit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from actors.eventlog.base import StreamKey
    from actors.events.types import Event
    from actors.sessions._directory import Directory
    from actors.sessions._statistics import SessionStatistics

HISTORY_EVENTS = 100
"""Default number of events that :meth:`SessionHandle.history` returns at most."""


class SessionHandle:
    """A handle on one session of one user. The server's own code uses it to start runs. ``sessions.get`` returns it.

    The handle stays valid when the session stops and is made again. The handle need not be released.
    """

    __slots__ = ("_directory", "_key")

    def __init__(self, directory: Directory, key: StreamKey) -> None:
        self._directory = directory
        self._key = key

    @property
    def user(self) -> str:
        """Id of the user to which the session belongs."""
        return self._key.user

    @property
    def session(self) -> str:
        """Name of the session. The name is unique among the sessions of the user."""
        return self._key.session

    async def start(self, agent: str, input: object = None) -> str:  # noqa: A002 - its name on the wire
        """Start a run, and wait until its event ``agent_started`` is committed to the log.

        Args:
            agent: Name of the agent.
            input: The agent's input: JSON, or another value that an event can carry.

        Returns:
            The id of the run.

        Raises:
            CommandRefused: The start was refused; ``code`` is the reason.
            UnserialisableEvent: The input is not JSON, or too large.

        Cancellation: it is not known whether the run was started. A queued start stays in the queue.
        """
        text = encode(input, self._directory.settings.max_event_bytes)
        reply = await self._command("run.start", {"agent": agent}, text)
        return str(reply["run_id"])

    async def cancel(self, run_id: str) -> bool:
        """Ask a run to stop, and return True. Return False if the run is unknown or has ended.

        Cancellation: it is not known whether the run was asked to stop.
        """
        reply = await self._command("run.cancel", {"run_id": run_id})
        return bool(reply["cancelled"])

    async def emit(self, name: str, value: object = None) -> None:
        """Emit a ``custom`` event of the session. The event belongs to no run.

        Args:
            name: The ``name`` in the event's data.
            value: The ``value`` in the event's data: JSON, or another value that an event can carry.

        Raises:
            UnserialisableEvent: The value is not JSON, or too large.
            LogUnavailable: The log has failed. The event is not in the log.
            ActorTerminated: The session ended meanwhile. It is not known whether the event is in the log.

        Cancellation: it is not known whether the event was emitted.
        """
        data = encode({"name": name, "value": value}, self._directory.settings.max_event_bytes)
        await self._directory.ask(self._key, Emit(data))

    async def close(self) -> None:
        """Close the session permanently, and wait until the log has recorded the close.

        The runs of the session end as ``cancelled``. The session's clients are disconnected and do not reconnect. Until
        retention removes the session from the log, every later call for it raises :class:`~actors.SessionClosed`.

        Cancellation: it is not known whether the session was closed.
        """
        await self._command("session.close", {})

    def lease(self) -> AbstractAsyncContextManager[None]:
        """Keep the session in memory inside ``async with handle.lease(): …``, even if it is idle.

        Take a lease while the session waits for something outside, such as a webhook or a job in another system. After
        a crash of the session the lease is still valid, but the session is made again only at the next call. A lease
        does not delay the end of the server.
        """
        return self._directory.lease(self._key)

    async def history(
        self, *, after: int | None = None, before: int | None = None, limit: int = HISTORY_EVENTS
    ) -> Sequence[Event]:
        """Return committed events of the session in their order, without attaching a client.

        With ``after``, the first events with a higher seq are returned. Otherwise the newest events are returned: those
        before ``before``, or the newest of all. Events that retention has deleted are left out. For the next page pass
        the seq of the last event as ``after``, or the seq of the first event as ``before``.

        Args:
            after: Only events with a higher seq are returned.
            before: Only events with a lower seq are returned.
            limit: Maximum number of events, from 1 to 1,000.

        Raises:
            ValueError: An argument is not within its bounds.
            LogError: The log failed.
        """
        self._directory.require_task("history()")
        return await self._directory.history(self._key, after, before, limit)

    def statistics(self) -> SessionStatistics | None:
        """Return the state of the session. Return None if it is not in memory.

        A thread that the session's event loop started can call this too.
        """
        return self._directory.statistics_of(self._key)

    async def _command(
        self, name: str, args: dict[str, object], encoded_input: bytes | None = None
    ) -> dict[str, object]:
        """Send a command to the session, and return the result of the reply.

        Raise ``CommandRefused`` if the command is refused.
        """
        self._directory.require_task(name)
        replied = OneShot[CommandReply]()
        id_ = f"local-{secrets.token_hex(8)}"
        command = Command(id_, name, args, "local", replied.set, internal=True, encoded_input=encoded_input)
        try:
            await self._directory.ask(self._key, command)
        except ActorTerminated as error:
            raise CommandRefused("internal", "the session ended before it could reply") from error
        reply = await replied.wait()
        if reply.code is not None:
            raise CommandRefused(reply.code, reply.message)
        return dict(reply.result)  # type: ignore[arg-type]  # every command's result is an object
