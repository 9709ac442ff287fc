"""Requests of clients that come by themselves, by plain HTTP, and not on a connection: commands, and past events."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from actors import ActorTerminated, MailboxFull
from actors.loop.one_shot import OneShot
from actors.loop.weakly import weakly
from actors.spi import Command, CommandReply
from transport.protocol import close_codes
from transport.protocol.client_frames import CommandFrame, Hello
from transport.protocol.names import ErrorCode
from transport.server import _greeting
from transport.server._delivery import ENDINGS
from transport.server._lifetime import End, Lifetime
from transport.server._refusals import Reason
from transport.server._user_requests import UserRequests

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from actors.spi import Attachment, SessionEnding
    from transport.auth import Authenticate, Credentials, User
    from transport.server._context import ServerContext

_TOO_MANY = "too many requests of this user wait for their answers"


class Answered:
    """The answer to one command: its reply, or the end of the session. It is the listener of its own attachment."""

    def __init__(self) -> None:
        self._result = OneShot[CommandReply]()

    def on_reply(self, reply: CommandReply) -> None:
        """Take the reply."""
        self._result.set(reply)

    def on_events(self) -> None:
        """Ignore new events."""

    def on_signal(self, name: str, data: bytes) -> None:
        """Ignore a signal."""

    def on_ended(self, reason: SessionEnding) -> None:
        """Refuse the command, because the session has ended before its reply."""
        self._result.fail(End(*ENDINGS[reason]))

    async def wait(self) -> CommandReply:
        """Wait for the reply. Raise ``End`` if the session has ended before."""
        return await self._result.wait()


class SingleRequests:
    """The requests of an endpoint that come without a connection. They need the same proof of the user as a hello.

    All requests of a user have one rate limit together, and a limit on their number: see :class:`.UserRequests`.

    Args:
        context: The parts of the server.
        context_with: Returns the context for another auth function. None stands for the endpoint's own.
    """

    def __init__(self, context: ServerContext, context_with: Callable[[Authenticate | None], ServerContext]) -> None:
        self._context = context
        self._context_with = context_with
        self.limits = UserRequests(context.settings, context.time)
        """The limits on the requests of each user."""

    def allow_page(self, headers: Mapping[str, str]) -> bool:
        """Return whether the page that sends a request with these headers (names in lower case) may do so.

        A request without an ``Origin`` is allowed.
        """
        origin = headers.get("origin")
        if origin is None or self._context.allowed_origins.allow(origin, headers.get("host", "")):
            return True
        self._context.refusals.note(Reason.ORIGIN, origin)
        return False

    def note(self, reason: Reason) -> None:
        """Log or count a refusal."""
        self._context.refusals.note(reason)

    async def authenticate(self, credentials: Credentials, authenticate: Authenticate | None = None) -> User:
        """Return the user of a request.

        Raises:
            End: The user is refused, as for a hello.
        """
        context = self._context_with(authenticate)
        try:
            return await _greeting.authenticate(context, Lifetime(context.sessions.failures), credentials)
        except End as end:
            context.refusals.note_closing(end.code, end.reason, greeted=False)
            raise

    @asynccontextmanager
    async def attached(self, user: User, session: str) -> AsyncGenerator[Attachment]:
        """Attach to a session for the time of the block, without a listener. A new session is made.

        Raises:
            End: The session refuses it, or cannot be opened.
        """
        attachment = await self._attach(user, session, Answered())
        try:
            yield attachment
        finally:
            attachment.detach()

    async def command(  # noqa: PLR0913 - by keyword only, and the parts of one command
        self,
        user: User,
        session: str,
        frame: CommandFrame,
        *,
        seconds: float,
        by: str | None = None,
        again: bool = False,
    ) -> CommandReply | None:
        """Send a command to a session, and return its reply.

        Args:
            user: The user.
            session: Name of the session. It is made if it does not exist.
            frame: The command. A command with the same id is done once, whatever it came by.
            seconds: Time limit.
            by: The sender, for events that name it. By default a new id.
            again: Whether the same request has sent the command before. Then it does not count for the rate. *Starts
                that had been accepted, and waited for their turn, were shown as refused, and ran later.*

        Returns:
            The reply, which can be a refusal. None if there is none after ``seconds``: a queued start waits on.

        Raises:
            End: The session refuses the client, cannot be opened, or has ended before the reply.

        Cancellation: it is not known whether the command is done.
        """
        if not again and not self.limits.within_rate(user.id):
            return self._refused(frame, ErrorCode.RATE_LIMITED, self.rate_text, Reason.RATE)
        with self.limits.waiting(user.id) as has_place:
            if not has_place:
                return self._refused(frame, ErrorCode.OVERLOADED, _TOO_MANY, None)
            return await self._command(user, session, frame, seconds, by)

    @property
    def rate_text(self) -> str:
        """The text with which requests beyond the rate are refused."""
        return f"more than {self._context.settings.commands_per_second:g} a second"

    async def _command(
        self, user: User, session: str, frame: CommandFrame, seconds: float, by: str | None
    ) -> CommandReply | None:
        answered = Answered()
        attachment = await self._attach(user, session, answered)
        try:
            # As on a connection: a start that was sent again and again leaves nothing in the session's memory.
            reply = weakly(answered.on_reply)
            try:
                attachment.command(Command(frame.id, frame.name, frame.args, by or attachment.connection, reply))
            except MailboxFull:
                return self._refused(frame, ErrorCode.OVERLOADED, "the session has too much to do", None)
            except ActorTerminated:
                raise End(close_codes.INTERNAL_ERROR, "the session failed; come back") from None
            with trio.move_on_after(seconds):
                answer = await answered.wait()
                if answer.code is not None and not self._context.connections.going_away:
                    self._context.refusals.note_reply(answer.code, answer.message, None)
                return answer
            return None
        finally:
            attachment.detach()

    async def _attach(self, user: User, session: str, answered: Answered) -> Attachment:
        life = Lifetime(self._context.sessions.failures)
        hello = Hello(session, from_latest=True)
        try:
            return await _greeting.attach(self._context, life, user, hello, answered)
        except End as end:
            self._context.refusals.note_closing(end.code, end.reason, greeted=False)
            raise

    def _refused(self, frame: CommandFrame, code: ErrorCode, message: str, reason: Reason | None) -> CommandReply:
        self._context.refusals.note_reply(code, message, reason)
        return CommandReply(frame.id, code=code, message=message)
