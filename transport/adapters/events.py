"""``greenroom.v1`` over plain HTTP: a session's events as server-sent events or by long poll, and its commands.

SPEC.md of this package is the contract for clients.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from actors import ActorTerminated, MailboxFull
from transport.adapters.answers import Answer, Refused, json_answer, refusal_answer
from transport.adapters.event_stream import EventStream, Poll
from transport.adapters.positions import flag, seconds, start_of
from transport.protocol import close_codes, server_frames
from transport.protocol.client_frames import (
    Ack,
    BadFrame,
    CommandFrame,
    Hello,
    HistoryFrame,
    Pong,
    TokenFrame,
    TypingFrame,
    parse,
)
from transport.protocol.limits import MAX_BATCH_EVENTS, MAX_ID
from transport.protocol.names import ErrorCode
from transport.server._refusals import Reason

if TYPE_CHECKING:
    from actors.spi import CommandReply
    from transport.adapters.exchange import Exchange
    from transport.adapters.positions import Start
    from transport.adapters.stream_wire import StreamWire
    from transport.auth import User

GATHER_SECONDS = 0.05
"""Time in seconds for which a long poll gathers more frames after the first one.

*Without it, an agent that writes word by word would make a client send a request for each word.*
"""
_BUSY = {ErrorCode.RATE_LIMITED, ErrorCode.OVERLOADED}


class Streams:
    """The open streams of a mount, by the ids of their connections: the way from a POST to a stream."""

    def __init__(self) -> None:
        self._wires: dict[str, StreamWire] = {}

    def add(self, wire: StreamWire) -> None:
        """Remember a stream after its welcome."""
        self._wires[wire.connection] = wire

    def remove(self, wire: StreamWire) -> None:
        """Forget a stream that has ended."""
        self._wires.pop(wire.connection, None)

    def of(self, connection: str, user: User, session: str) -> StreamWire | None:
        """Return the open stream of a connection. None if there is none, or if it is of another user or session."""
        wire = self._wires.get(connection)
        return wire if wire is not None and (wire.user, wire.session) == (user.id, session) else None


class EventsHandler:
    """The handler of ``GET …/events``."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with a stream, or to a long poll if the client accepts JSON."""
        request = exchange.request
        start, strict, session = start_of(request), flag(request, "strict"), request.query.get("session", "")
        if "application/json" not in request.headers.get("accept", ""):
            await self._stream(exchange, session, start, strict=strict)
            return
        longest = exchange.server.endpoint.settings.http_wait_seconds
        await _poll(exchange, session, start, strict=strict, wait=min(seconds(request, "wait") or 0.0, longest))

    async def _stream(self, exchange: Exchange, session: str, start: Start, *, strict: bool) -> None:
        wires: list[StreamWire] = []

        def follow(wire: StreamWire) -> None:
            wires.append(wire)
            wire.on_welcome = lambda: self._streams.add(wire)

        try:
            await exchange.stream(
                session,
                EventStream(start),
                resume=start.resume,
                from_latest=start.from_latest,
                strict=strict,
                on_wire=follow,
            )
        finally:
            for wire in wires:
                self._streams.remove(wire)

    def refusal(self, refused: Refused) -> Answer:
        """Return the refusal as a ``goodbye`` frame."""
        return refusal_answer(refused)


async def _poll(exchange: Exchange, session: str, start: Start, *, strict: bool, wait: float) -> None:
    """Answer a long poll: at once if there is news, else with the first news, or after ``wait`` seconds."""
    news = trio.Event()
    wires: list[StreamWire] = []

    async def end_in_time() -> None:
        with trio.move_on_after(wait):
            await news.wait()
        # Without a wait, too: the events that are there come some turns of the event loop after the welcome.
        await trio.sleep(GATHER_SECONDS)
        for wire in wires:
            wire.end()

    def follow(wire: StreamWire) -> None:
        wires.append(wire)
        wire.on_welcome = lambda: nursery.start_soon(end_in_time)

    async with trio.open_nursery() as nursery:
        await exchange.stream(
            session,
            Poll(start, news.set),
            resume=start.resume,
            from_latest=start.from_latest,
            strict=strict,
            on_wire=follow,
        )
        nursery.cancel_scope.cancel()


class CommandsHandler:
    """The handler of ``POST …/commands``: one frame of a client in a request, and its answer in the response."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one frame."""
        exchange.request.require_json()
        session = exchange.request.query.get("session", "")
        user = await exchange.user(session)
        try:
            frame = parse(exchange.request.body.decode())
        except (BadFrame, UnicodeDecodeError) as bad:
            raise Refused(close_codes.BAD_FRAME, str(bad)) from None
        connection = exchange.request.query.get("connection")
        wire = None if connection is None else self._streams.of(connection, user, session)
        match frame:
            case CommandFrame():
                await _command(exchange, session, frame, None if wire is None else wire.connection)
            case HistoryFrame():
                await _history(exchange, session, user, frame)
            case TypingFrame() if wire is None and "typist" in exchange.request.query:
                await _typing(exchange, session, user, frame)
            case TypingFrame() | TokenFrame():
                if not exchange.within_rate(user):
                    exchange.answer(_rate_limited(exchange))
                elif wire is None or not wire.feed(frame.encode().decode()):
                    raise Refused(close_codes.BAD_FRAME, "this needs the connection of an open stream", 409)
                else:
                    exchange.answer(Answer(204))
            case Ack() | Pong():
                exchange.answer(Answer(204))
            case Hello():
                raise Refused(close_codes.BAD_FRAME, "a hello is the URL of a request for events")

    def refusal(self, refused: Refused) -> Answer:
        """Return the refusal as a ``goodbye`` frame."""
        return refusal_answer(refused)


async def _command(exchange: Exchange, session: str, frame: CommandFrame, by: str | None) -> None:
    wait = seconds(exchange.request, "wait")
    reply = await exchange.command(session, id=frame.id, name=frame.name, args=frame.args, wait=wait, by=by)
    if reply is None:
        exchange.answer(json_answer(202, {"type": "pending", "id": frame.id}))
    else:
        exchange.answer(Answer(_status(reply), server_frames.reply(reply)))


def _status(reply: CommandReply) -> int:
    """Return the status of a reply: 429 if the client sends too much. Other refusals are answers like each other."""
    return 429 if reply.code in _BUSY else 200


async def _history(exchange: Exchange, session: str, user: User, frame: HistoryFrame) -> None:
    if not exchange.within_rate(user):
        exchange.answer(_rate_limited(exchange))
        return
    if frame.fault is not None:
        exchange.answer(Answer(200, server_frames.error(ErrorCode.BAD_HISTORY, frame.fault)))
        return
    limit = min(frame.limit, MAX_BATCH_EVENTS)
    async with exchange.attached(session) as attachment:
        lines, more = await attachment.history(frame.after, limit, server_frames.history_room(frame.id, limit))
    exchange.answer(Answer(200, server_frames.history(frame.id, lines, more=more)))


async def _typing(exchange: Exchange, session: str, user: User, frame: TypingFrame) -> None:
    """Show a client that polls as typing. Its polls are connections that end with each answer, so it names itself."""
    typist = exchange.request.query["typist"]
    if not exchange.within_rate(user):
        exchange.answer(_rate_limited(exchange))
        return
    if not 0 < len(typist) <= MAX_ID:
        raise Refused(close_codes.BAD_FRAME, f"typist must have 1 to {MAX_ID} characters")
    async with exchange.attached(session) as attachment:
        with suppress(MailboxFull, ActorTerminated):  # as on a WebSocket, a notice of typing may get lost
            attachment.typing_changed(active=frame.active, by=typist)
    exchange.answer(Answer(204))


def _rate_limited(exchange: Exchange) -> Answer:
    requests = exchange.server.endpoint.single_requests
    requests.note(Reason.RATE)
    return Answer(429, server_frames.error(ErrorCode.RATE_LIMITED, requests.rate_text))
