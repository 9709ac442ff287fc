"""The requests of a client: acks, commands, typing, history and fresh tokens, with a rate limit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ParamSpec

import trio

from actors import ActorTerminated, GreenroomError, MailboxFull
from actors.failures import log_line
from actors.loop.weakly import weakly
from actors.spi import Command, CommandReply
from transport.protocol import close_codes, server_frames
from transport.protocol.client_frames import Ack, CommandFrame, HistoryFrame, TokenFrame, TypingFrame
from transport.protocol.limits import MAX_BATCH_EVENTS, Refusals, TokenBucket
from transport.protocol.names import ErrorCode
from transport.protocol.origins import with_origin
from transport.server._lifetime import End
from transport.server._refusals import Reason
from transport.server._renewal import Renewal

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.spi import Attachment
    from transport.protocol.client_frames import ClientFrame
    from transport.server._context import ServerContext
    from transport.server._delivery import Delivery
    from transport.server._lifetime import Lifetime
    from transport.server._renewal import TokenHolder
    from transport.server._wire import Wire

P = ParamSpec("P")

logger = logging.getLogger("greenroom.connections")


class Requests:
    """The part of one connection that handles the client's requests.

    The object is made when the first request comes.
    """

    __slots__ = (
        "_attachment",
        "_bucket",
        "_context",
        "_delivery",
        "_holder",
        "_life",
        "_one_history",
        "_refusals",
        "_renewal",
        "_reply",
        "_wire",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place
        self,
        context: ServerContext,
        life: Lifetime,
        wire: Wire,
        delivery: Delivery,
        attachment: Attachment,
        holder: TokenHolder,
    ) -> None:
        self._context = context
        self._life = life
        self._wire = wire
        self._delivery = delivery
        self._attachment = attachment
        self._holder = holder
        self._renewal: Renewal | None = None
        """The handler of fresh tokens. None until the first fresh token."""
        self._reply: Callable[[CommandReply], None] | None = None
        """The function that sends a reply, as the session keeps it. None until the first command."""
        self._bucket: TokenBucket | None = None
        self._refusals: Refusals | None = None
        self._one_history: trio.Lock | None = None
        """A lock that is held while history is read.

        *Without the lock, 100 requests at once would hold 100 large results in memory.*
        """

    def take(self, frame: ClientFrame) -> None:
        """Handle one frame of the client. Never waits.

        Raises:
            End: If the client continues to exceed its rate limit.
        """
        match frame:
            case Ack():
                self._delivery.acknowledge(frame.seq)
            case CommandFrame():
                if self._within_rate(frame.id):
                    self._command(frame)
            case TypingFrame():
                if self._within_rate(None):
                    self._tell(self._attachment.typing_changed, active=frame.active)
            case HistoryFrame():
                if self._within_rate(None):
                    self._life.start(self._history, frame)
            case TokenFrame():
                if self._within_rate(None):
                    self._renew(frame.token)
            case _:  # no other frame asks for something
                pass

    def _within_rate(self, command_id: str | None) -> bool:
        """Count one request. If the client exceeds its rate limit, send a refusal and return False; else return True.

        Raises:
            End: With 4505, if too many requests were refused in a short time.
        """
        time, settings = self._context.time, self._context.settings
        now, lost = time.clock(), time.lost
        if self._bucket is None:
            self._bucket = TokenBucket(settings.commands_per_second, settings.commands_burst, now, lost)
        # Tokens are also saved for the time in which the loop was blocked: all that the client sent meanwhile arrives
        # at once.
        if self._bucket.take(now, lost):
            return True
        message = f"more than {settings.commands_per_second:g} a second"
        # Typing and history have no reply frame.
        if command_id is None:
            self._context.refusals.note(Reason.RATE)
            self._wire.send(server_frames.error(ErrorCode.RATE_LIMITED, message))
        else:
            self._delivery.reply(CommandReply(command_id, code=ErrorCode.RATE_LIMITED, message=message), Reason.RATE)
        if self._refusals is None:
            self._refusals = Refusals()
        if self._refusals.flooding(now):
            raise End(close_codes.FLOODING, "the rate limit was ignored")
        return False

    def _renew(self, token: str) -> None:
        if self._renewal is None:
            self._renewal = Renewal(self._context, self._life, self._holder, self._attachment.session)
        self._renewal.renew(token)

    def _command(self, frame: CommandFrame) -> None:
        if self._reply is None:
            # The session may reply an hour later, when the start's turn comes. *A client that came back and sent the
            # start again a hundred times would leave a hundred ended connections in the session's memory.*
            self._reply = weakly(self._delivery.reply)
        args = with_origin(frame.name, frame.args, self._life.origin)
        command = Command(frame.id, frame.name, args, self._life.id, self._reply)
        if not self._tell(self._attachment.command, command):
            message = "the session has too much to do"
            self._delivery.reply(CommandReply(frame.id, code=ErrorCode.OVERLOADED, message=message))

    def _tell(self, send: Callable[P, None], *args: P.args, **named: P.kwargs) -> bool:
        """Call ``send``, a method of the attachment (the connection's link to its session).

        Return False if the mailbox of the session is full, so that the request must be refused.
        """
        try:
            send(*args, **named)
        except MailboxFull:
            return False
        except ActorTerminated:
            # No answer: the session notifies the connection of its end, which closes it.
            message = "connection %s sent something to a session that has ended"
            log_line(logger, logging.DEBUG, message, self._life.id, fields={"connection": self._life.id})
        return True

    async def _history(self, frame: HistoryFrame) -> None:
        """Answer a request for past events.

        Only one request for past events is answered at a time, and only when the client has taken all data that was
        sent before.
        """
        # A request out of bounds is refused and ends nothing. A frame with wrong types has ended the connection before.
        if frame.fault is not None:
            self._wire.send(server_frames.error(ErrorCode.BAD_HISTORY, frame.fault))
            return
        if self._one_history is None:
            self._one_history = trio.Lock()
        try:
            async with self._one_history:
                await self._wire.drained()
                limit = min(frame.limit, MAX_BATCH_EVENTS)
                room = server_frames.history_room(frame.id, limit)
                lines, more = await self._attachment.history(frame.after, limit, room)
                if self._life.closing is None:
                    self._wire.send(server_frames.history(frame.id, lines, more=more))
        except GreenroomError as error:
            self._life.fail(error, "the log could not be read")
