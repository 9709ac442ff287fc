"""The steps to a welcome: answer the upgrade, authenticate the user, check the user's limit, attach to the session."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from actors import CommandRefused, SessionClosed
from actors.spi import Attach
from transport._border import called, refusal_in
from transport.auth import REVOKED, User, checked_user
from transport.protocol import close_codes, server_frames
from transport.protocol.forwarded import BadForwarding
from transport.protocol.handshake import Reject, upgrade
from transport.protocol.origins import origin_of
from transport.protocol.server_frames import OpenRun, QueuedStart, Typist, Welcome
from transport.server._lifetime import End
from transport.server._limit import Limit
from transport.server._refusals import Reason
from transport.server.clients import learn_client

if TYPE_CHECKING:
    from actors.spi import Attachment, Listener
    from transport.auth import Authenticate, Credentials
    from transport.protocol.client_frames import Hello
    from transport.protocol.handshake import Accept
    from transport.server._connections import Counted
    from transport.server._context import ServerContext
    from transport.server._lifetime import Lifetime
    from transport.server._wire import UpgradeRequest
    from transport.settings import Settings


def answer_upgrade(context: ServerContext, connection: Counted, request: UpgradeRequest) -> Accept | Reject:
    """Return the answer to the upgrade request of ``connection``. The number of connections is checked first.

    If trusted proxies have forwarded the request, the connection counts for the client that they name from now on.
    """
    try:
        client = context.stage.proxies.origin(connection.address, request.fields).client
    except BadForwarding as error:
        context.refusals.note(Reason.FORWARDED, str(error))
        return Reject(400, str(error))
    if not learn_client(context.stage, context.connections, connection, client):
        return Reject(503, "connections from this address come too fast")
    if (full := context.connections.refuse(connection)) is not None:
        return full
    origin = request.headers.get("origin")
    answer = upgrade(
        path=request.path,
        offered=request.offered,
        origin=origin,
        host=request.headers.get("host", ""),
        allowed=context.allowed_origins,
    )
    if isinstance(answer, Reject):
        wrong = {403: origin or "", 404: request.path, 400: ", ".join(request.offered)}
        context.refusals.note_status(answer.status, wrong.get(answer.status, ""))
    return answer


async def authenticate(context: ServerContext, life: Lifetime, credentials: Credentials) -> User:
    """Call the application's auth function with ``credentials``, and return its user.

    If runs are traced, the trace of the request is noted, for the starts of this connection.

    Raises:
        End: With 4501, 4502 or 4004 if the function refused the client, or the token has expired or was revoked. With
            4005 if the function raised AuthUnavailable. With 4006 if the function failed in any other way, or took
            longer than ``auth_seconds``.
    """
    if context.sessions.agents.tracer is not None and credentials.renews is None:
        life.origin = origin_of(credentials.headers)
    seconds = context.settings.auth_seconds
    answer: object = TimeoutError(f"no answer within auth_seconds, {seconds:g} s")
    with Limit(context.heartbeat, context.time, seconds):
        answer = await called(_checked, context.authenticate, credentials)
    if isinstance(answer, User):
        if answer.expires is not None and answer.expires <= time.time():
            raise End(close_codes.TOKEN_EXPIRED, "the token has expired")
        # Nothing may wait between this check and the moment when the caller stores the user: a revocation in between
        # would miss the connection.
        if context.sessions.revocations.covers(answer.id, answer.token_id, answer.issued):
            context.connections.revoked += 1
            raise End(close_codes.NOT_AUTHENTICATED, REVOKED)
        return answer
    assert isinstance(answer, BaseException)  # noqa: S101 - `called` returns the result or an exception
    refused = refusal_in(answer)
    raise life.internal_error(answer, "authentication failed") if refused is None else End(*refused)


async def _checked(authenticate: Authenticate, credentials: Credentials) -> User:
    return checked_user(await authenticate(credentials))


async def admit(context: ServerContext, user: User, connection: Counted) -> None:
    """Wait until the user's limit allows this new connection.

    Raises:
        End: With 4504 if the user has too many connections, and if none can be closed because all of them answer.
    """
    if not await context.connections.admit(user.id, connection):
        raise End(close_codes.TOO_MANY_CONNECTIONS, "this user has too many connections")


async def attach(context: ServerContext, life: Lifetime, user: User, hello: Hello, listener: Listener) -> Attachment:
    """Attach the connection to the session that ``hello`` names.

    A session that is not in memory is created or restored. The caller must call ``detach`` of the result later. Raises
    ``End`` if the session refuses the connection or cannot be opened.
    """
    message = Attach(life.id, listener, hello.resume, hello.from_latest)
    try:
        attached = await context.sessions.attach(user.id, hello.session, message)
    except CommandRefused as refusal:
        raise End(close_codes.OVERLOADED, refusal.message) from None
    except SessionClosed as closed:
        raise End(close_codes.SESSION_CLOSED, str(closed)) from None
    except Exception as error:
        raise life.internal_error(error, "the session could not be opened") from error
    if hello.resume is not None:
        context.connections.resumes[attached.reset or "recovered"] += 1
    return attached


def expires_ms(user: User) -> int | None:
    """Return the time until the token of ``user`` expires, in ms. Return None if it never expires."""
    return None if user.expires is None else server_frames.milliseconds(max(0.0, user.expires - time.time()))


def welcome(connection: str, user: User, hello: Hello, attachment: Attachment, settings: Settings) -> bytes:
    """Return the welcome frame for a connection of ``user`` that is attached to its session."""
    return server_frames.welcome(
        Welcome(
            session=hello.session,
            connection=connection,
            epoch=attachment.epoch,
            oldest=attachment.oldest,
            latest=attachment.latest,
            recovered=attachment.recovered,
            reset=attachment.reset,
            ping_ms=round(settings.ping_seconds * 1000),
            max_frame_bytes=settings.max_frame_bytes,
            command_memory_ms=server_frames.milliseconds(settings.command_memory_seconds),
            expires_ms=expires_ms(user),
            runs=tuple(OpenRun(run.id, run.name, run.started) for run in attachment.runs),
            queued=tuple(QueuedStart(start.command_id, start.agent, start.since) for start in attachment.queued),
            typing=tuple(Typist(by, id_) for by, id_ in attachment.typing),
        )
    )
