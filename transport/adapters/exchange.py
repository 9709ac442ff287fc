"""One request and its response, in the app's run of trio: the user, commands, past events, and a stream of events."""

from __future__ import annotations

import logging
import secrets
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import trio

from actors import CommandRefused, FailureKind, SessionClosed
from actors.failures import log_failure
from transport._border import called, leaves
from transport.adapters.answers import Answer, Refused, refusal_answer
from transport.adapters.stream_wire import StreamWire
from transport.asgi.user import found_user
from transport.auth import Credentials, User
from transport.protocol import close_codes
from transport.protocol.client_frames import CommandFrame, Hello
from transport.protocol.limits import MAX_ID, SESSION_NAME, SESSION_NAME_RULE
from transport.protocol.origins import origin_of, with_origin
from transport.server._lifetime import End

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from starlette.types import Scope

    from actors import Position
    from actors.spi import Attachment, CommandReply
    from transport._running import Server
    from transport.adapters.format import Format
    from transport.adapters.request import HttpRequest
    from transport.adapters.response import Response
    from transport.asgi.request import MountedRequest
    from transport.asgi.tasks import Tasks
    from transport.auth import Authenticate
    from transport.server.single_requests import SingleRequests

logger = logging.getLogger("greenroom.http")


class Handler(Protocol):
    """A handler of requests: the code of one protocol. It runs in trio, also under a web server on asyncio."""

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request: call :meth:`Exchange.answer` or :meth:`Exchange.stream`, once.

        ``Refused`` becomes the answer of :meth:`refusal`. Another exception is logged, and refused as an internal
        error. Cancellation: the client has left.
        """

    def refusal(self, refused: Refused) -> Answer:
        """Return the response to a refused request."""
        ...


class _Known:
    """A user that was found before."""

    def __init__(self, user: User) -> None:
        self._user = user

    async def find(self, scope: Scope) -> None:
        """Do nothing."""

    async def get(self) -> User:
        """Return the user."""
        return self._user


class Exchange:
    """One request and its response.

    Args:
        server: The server.
        request: The request.
        asked: The request, as the endpoint judges requests for a WebSocket.
        response: The response.
        tasks: The web server's library.
    """

    def __init__(
        self, server: Server, request: HttpRequest, asked: MountedRequest, response: Response, tasks: Tasks
    ) -> None:
        self.server = server
        """The running server."""
        self.request = request
        """The request."""
        self._asked = asked
        self._response = response
        self._tasks = tasks
        self._user: User | None = None
        self._sent = set[str]()
        """Ids of the commands of this request, which count for the rate once, however often they are sent."""
        self._scope = trio.CancelScope()

    # For handlers

    def answer(self, answer: Answer) -> None:
        """Write a whole response."""
        self._response.answer(answer)

    async def user(self, session: str) -> User:
        """Return the user of the request. It is looked for at the first call.

        Args:
            session: Name of the session that the request is about, for the auth function.

        Raises:
            Refused: The user is refused, or the name cannot be that of a session.
        """
        if not SESSION_NAME.fullmatch(session):
            raise Refused(close_codes.BAD_FRAME, f"session must be {SESSION_NAME_RULE}")
        if self._user is None:
            headers = self._asked.headers
            credentials = Credentials(self.request.token, session, headers, self._asked.address)
            self._asked.on_accepted(self._tasks)
            self._user = await self._requests.authenticate(credentials, self._authenticate)
        return self._user

    async def command(  # noqa: PLR0913 - by keyword only, and the parts of one command
        self,
        session: str,
        *,
        id: str,  # noqa: A002 - its name on the wire
        name: str,
        args: dict[str, Any],
        wait: float | None = None,
        by: str | None = None,
    ) -> CommandReply | None:
        """Send a command to a session of the user, and return its reply.

        Args:
            session: Name of the session. It is made if it does not exist.
            id: Id of the command, of 1 to 128 characters. A command with the same id is done once.
            name: Name of the command, such as ``run.start``.
            args: Its arguments, as decoded JSON.
            wait: Time limit in seconds. It is never longer than ``http_wait_seconds``, the default.
            by: The sender, for events that name it: an id of a connection, or another. By default a new id.

        Returns:
            The reply, which can be a refusal. None if there is none in time: a queued start waits on. Send the command
            again to ask for its reply. Within one request this does not count for the rate again.

        Raises:
            Refused: The user is refused, the id cannot be used, or the session cannot be reached.

        Cancellation: the client has left. It is not known whether the command is done.
        """
        user = await self.user(session)
        if not 0 < len(id) <= MAX_ID:
            raise Refused(close_codes.BAD_FRAME, f"id must have 1 to {MAX_ID} characters")
        most = self.server.endpoint.settings.http_wait_seconds
        seconds = most if wait is None else min(max(wait, 0.0), most)
        frame = CommandFrame(id, name, with_origin(name, args, origin_of(self._asked.headers)))
        again = id in self._sent
        self._sent.add(id)
        return await self._requests.command(user, session, frame, seconds=seconds, by=by, again=again)

    @asynccontextmanager
    async def attached(self, session: str) -> AsyncGenerator[Attachment]:
        """Attach to a session of the user for the time of the block, to read its state and its past events.

        Raises:
            Refused: The user is refused, or the session cannot be reached.
        """
        user = await self.user(session)
        async with self._requests.attached(user, session) as attachment:
            yield attachment

    async def stream(  # noqa: PLR0913 - by keyword only, as the fields of a hello
        self,
        session: str,
        format_: Format,
        *,
        resume: Position | None = None,
        from_latest: bool = False,
        strict: bool = False,
        on_wire: Callable[[StreamWire], None] | None = None,
    ) -> None:
        """Write the events of a session of the user as the response, in a format, until one side ends it.

        The stream counts as a connection of the user, with the limits of a WebSocket. It ends when the client leaves,
        when the format is over, or when the server closes it: at its shutdown, when the token expires or is revoked,
        or if the client reads too slowly.

        Args:
            session: Name of the session. It is made if it does not exist.
            format_: The format.
            resume: The position of the last event that the client has.
            from_latest: Whether a stream without ``resume`` begins with new events, and not with the oldest.
            strict: Whether to refuse a position that cannot be recovered.
            on_wire: Called with the wire before it begins.
        """
        if not SESSION_NAME.fullmatch(session):
            raise Refused(close_codes.BAD_FRAME, f"session must be {SESSION_NAME_RULE}")
        headers, authenticate = self._asked.headers, self._authenticate
        if self._user is not None:
            headers.user, authenticate = _Known(self._user), found_user
        token = self.request.token if authenticate is None else None
        wire = StreamWire(
            response=self._response,
            asked=self._asked.asked,
            headers=headers,
            on_accepted=self._on_accepted,
            address=self._asked.address,
            hello=Hello(session, token, resume, from_latest, strict),
            format_=format_,
            comment_seconds=self.server.endpoint.settings.comment_seconds,
        )
        if on_wire is not None:
            on_wire(wire)
        await self.server.endpoint.serve_wire(wire, authenticate)

    def within_rate(self, user: User) -> bool:
        """Count a request of the user that is no command. Return False if the user makes too many."""
        return self._requests.limits.within_rate(user.id)

    # For the application

    async def run(self, handler: Handler) -> None:
        """Let a handler answer the request, and wait until the response was taken. Never raises, unless cancelled."""
        async with trio.open_nursery() as nursery:
            self._response.nursery, self._response.owner = nursery, self
            raised = None
            with self._scope:
                result = await called(handler, self)
                raised = result if isinstance(result, BaseException) else None
            if not self._response.lost:
                if not self._response.begun:
                    self._response.answer(_answer_to(self._refused(raised), handler))
                self._response.end()
                with trio.move_on_after(self._response.slow_seconds), suppress(trio.BrokenResourceError):
                    await self._response.drained()
            self._response.owner = None
            self._response.lose()
            nursery.cancel_scope.cancel()

    def on_drained(self) -> None:
        """Do nothing: a whole response is written at once."""

    def on_stuck(self) -> None:
        """Give up a client that takes nothing."""
        self._response.lose()

    def on_lost(self) -> None:
        """Cancel the handler, since the client has left. While a stream is open, the stream is told, not this."""
        self._scope.cancel()

    def on_going_away(self) -> None:
        """Give up the request, since the web server ends the call."""
        self._response.lose()

    @property
    def _requests(self) -> SingleRequests:
        return self.server.endpoint.single_requests

    @property
    def _authenticate(self) -> Authenticate | None:
        return None if self._asked.headers.user is None else found_user

    def _on_accepted(self) -> None:
        if self._user is None:
            self._asked.on_accepted(self._tasks)

    def _refused(self, raised: BaseException | None) -> Refused:
        """Return the refusal for an exception of a handler. An unexpected one is logged."""
        found = list(leaves(raised)) if raised is not None else []
        for error in found:
            if isinstance(error, Refused):
                return error
            if isinstance(error, End):
                return Refused.by(error)
            if isinstance(error, SessionClosed):
                return Refused(close_codes.SESSION_CLOSED, str(error))
            if isinstance(error, CommandRefused):
                return Refused(close_codes.OVERLOADED, error.message)
        reference = secrets.token_hex(4)
        error = raised or RuntimeError("the handler has given no response")
        what, fields = "a request to a session failed", {"reference": reference}
        log_failure(logger, "%s, reference %s", what, reference, error=error, fields=fields)
        self.server.sessions.failures.add(FailureKind.HTTP, what, error, reference=reference)
        return Refused(close_codes.INTERNAL_ERROR, f"internal error, reference {reference}")


def _answer_to(refused: Refused, handler: Handler) -> Answer:
    try:
        return handler.refusal(refused)
    except Exception as error:  # noqa: BLE001 - the usual answer in place of the handler's own
        log_failure(logger, "a refusal could not be written", error=error)
        return refusal_answer(refused)
