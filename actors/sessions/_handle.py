"""The handle on a session, for code that starts runs from elsewhere: an HTTP route, a queue, a scheduler."""

from __future__ import annotations

import secrets
from threading import get_ident
from typing import TYPE_CHECKING

import orjson
import trio

from actors.errors import ActorTerminated, CommandRefused
from actors.events.encoding import encode
from actors.loop.threads import hop
from actors.sessions._commands import Command, CommandReply
from actors.sessions._messages import Emit

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from actors.eventlog.base import StreamKey
    from actors.sessions._registry import Sessions
    from actors.sessions._session import SessionStatistics


class SessionHandle:
    """One session of one user, over all its incarnations. From ``sessions.get``; nothing of it must be released."""

    __slots__ = ("_key", "_sessions")

    def __init__(self, sessions: Sessions, key: StreamKey) -> None:
        self._sessions = sessions
        self._key = key

    @property
    def user(self) -> str:
        """Whose session it is."""
        return self._key.user

    @property
    def session(self) -> str:
        """Its name."""
        return self._key.session

    async def start(self, agent: str, input: object = None) -> str:  # noqa: A002 - its name on the wire
        """Start a run; return its id, once ``agent_started`` is committed.

        Raises :class:`~actors.CommandRefused`, and :class:`~actors.UnserialisableEvent` for an input that is not JSON.
        Cancelled: the run is started or not; a start that still waits for its turn goes on waiting.
        """
        text = encode(input, self._sessions.settings.max_event_bytes)
        reply = await self._command("run.start", {"agent": agent, "input": orjson.loads(text)})
        return str(reply["run_id"])

    async def cancel(self, run_id: str) -> bool:
        """Ask a run to stop; False when it is unknown or over. Cancelled: it was asked or not."""
        reply = await self._command("run.cancel", {"run_id": run_id})
        return bool(reply["cancelled"])

    async def emit(self, name: str, value: object = None) -> None:
        """Emit a ``custom`` event of the session itself; raises :class:`~actors.UnserialisableEvent`.

        :class:`~actors.LogUnavailable`: it is not in the log; :class:`~actors.ActorTerminated`: it may not
        be in it. Cancelled: it is emitted or not.
        """
        data = encode({"name": name, "value": value}, self._sessions.settings.max_event_bytes)
        await self._sessions.ask(self._key, Emit(data))

    async def close(self) -> None:
        """Close the session for good: its runs end ``cancelled``, its clients are sent away and do not come back.

        Returns once that is in the log. From then on everything of the session raises
        :class:`~actors.SessionClosed`, until retention removes it. Cancelled: it is closed or not.
        """
        await self._command("session.close", {})

    def lease(self) -> AbstractAsyncContextManager[None]:
        """``async with handle.lease(): …`` keeps the session in memory, whoever else needs it or not.

        It says that something outside goes on for it: a webhook that will come, a job elsewhere. A lease outlives a
        crash of the session, which is then made again by whoever needs it; it does not hold up the server's end.
        """
        return self._sessions.lease(self._key)

    def statistics(self) -> SessionStatistics | None:
        """Say how the session stands; None while it is not in memory. Works in a thread of the loop too."""
        if self._sessions.thread not in (0, get_ident()):
            return hop("statistics()", self.statistics)
        return next((each for each in self._sessions.of(self.user) if each.session == self.session), None)

    async def _command(self, name: str, args: dict[str, object]) -> dict[str, object]:
        self._sessions.require_task(name)
        replied = trio.Event()
        replies: list[CommandReply] = []

        def note(reply: CommandReply) -> None:
            replies.append(reply)
            replied.set()

        command = Command(f"local-{secrets.token_hex(8)}", name, args, "local", note, internal=True)
        try:
            await self._sessions.ask(self._key, command)
        except ActorTerminated as error:
            raise CommandRefused("internal", "the session ended before it could reply") from error
        await replied.wait()
        reply = replies[0]
        if reply.code is not None:
            raise CommandRefused(reply.code, reply.message)
        return dict(reply.result)  # type: ignore[arg-type]  # every command's result is an object
