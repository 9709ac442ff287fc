"""The frames that a server sends, as its client reads them; and those that a client sends, encoded."""

from __future__ import annotations

from typing import Any, cast

import attrs
import orjson
from cattrs import BaseValidationError, Converter, transform_error

from actors.errors import CommandRefused, UnserialisableEvent
from actors.events.encoding import encode
from actors.events.types import MAX_SEQ, Event, Position
from transport.errors import ServerBrokeProtocol

_NO_LIMIT = 2**31


@attrs.frozen
class OpenRun:
    """A run that was open when the welcome was written; ``started`` is in ms since 1970."""

    run_id: str
    agent: str
    started: int


@attrs.frozen
class QueuedStart:
    """A start that waits for its turn; its ``command_id`` cancels it.

    ``since`` is in ms since 1970, by the server's clock; None where it began to wait while this client was there.
    """

    command_id: str
    agent: str
    since: int | None = None


@attrs.frozen
class Typist:
    """Who is typing: ``by`` is user or agent, ``id`` the connection or run."""

    by: str
    id: str


@attrs.frozen(kw_only=True)
class Welcome:
    """What the server said about the session when the client attached; fields as in the protocol."""

    session: str
    connection: str
    epoch: str
    oldest: int
    latest: int
    recovered: bool
    ping_ms: int
    max_frame_bytes: int
    command_memory_ms: int = 300_000
    """A server that does not say it remembers ids for 300 s."""
    reset: str | None = None
    runs: tuple[OpenRun, ...] = ()
    queued: tuple[QueuedStart, ...] = ()
    typing: tuple[Typist, ...] = ()


@attrs.frozen
class Signal:
    """Something ephemeral: never replayed, the first to be dropped."""

    name: str
    data: Any


@attrs.frozen
class History:
    """A page of past events, ascending; ``more`` says whether there are later ones."""

    events: tuple[Event, ...]
    more: bool


@attrs.frozen
class Reset:
    """The position is lost: drop everything that was built from events; what follows is told from the start.

    ``reason`` is epoch_changed, trimmed or ahead.
    """

    reason: str


def parse(message: str | bytes) -> dict[str, Any]:
    """Parse one message into a frame: an object with a ``type``. Raises :class:`ServerBrokeProtocol`."""
    if isinstance(message, bytes):
        raise ServerBrokeProtocol(reason="a binary message")
    try:
        frame: object = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        raise ServerBrokeProtocol(reason=f"not JSON: {error}") from error
    if not isinstance(frame, dict) or not isinstance(cast("dict[str, Any]", frame).get("type"), str):
        raise ServerBrokeProtocol(reason="not an object with a type")
    return cast("dict[str, Any]", frame)


def parse_welcome(frame: dict[str, Any]) -> Welcome:
    """Read a ``welcome`` frame. Raises :class:`ServerBrokeProtocol` with every fault."""
    try:
        welcome = _converter.structure(frame, Welcome)
    except BaseValidationError as error:
        raise ServerBrokeProtocol(reason="; ".join(transform_error(error, path="welcome"))) from error
    if not (1 <= welcome.oldest <= welcome.latest + 1 <= MAX_SEQ + 1) or not _usable(welcome):
        raise ServerBrokeProtocol(reason=f"a welcome that cannot be: {welcome}")
    return welcome


def _usable(welcome: Welcome) -> bool:
    """Return whether the numbers that the client works with can be meant."""
    return welcome.ping_ms >= 1 and welcome.command_memory_ms >= 0


def field(frame: dict[str, Any], name: str, kind: type[Any]) -> Any:
    """Take ``frame[name]``, which is exactly a ``kind``. Raises :class:`ServerBrokeProtocol`."""
    value = frame.get(name)
    if type(value) is not kind:
        raise ServerBrokeProtocol(reason=f"{frame['type']}.{name} is not {kind.__name__}")
    return value


def hello(session: str, token: str | None, resume: Position | None, options: dict[str, Any]) -> bytes:
    """Encode the first frame. ``options`` are its other fields: from, strict, client."""
    frame = {"type": "hello", "session": session, **options}
    if token is not None:
        frame["token"] = token
    if resume is not None:
        frame["resume"] = {"epoch": resume.epoch, "seq": resume.seq}
    return orjson.dumps(frame)


def command(frame: dict[str, Any], limit: int | None) -> bytes:
    """Encode a command or history frame, at most ``limit`` bytes where that is known.

    Raises :class:`~actors.CommandRefused` with ``bad_args`` for what is not JSON, is nested too deep or too large: the
    server would end the connection for good over it.
    """
    try:
        return encode(frame, limit or _NO_LIMIT)
    except UnserialisableEvent as error:
        raise CommandRefused("bad_args", str(error)) from error


def _exactly(value: Any, kind: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


_converter = Converter()
for _kind in (str, int, bool):
    _converter.register_structure_hook(_kind, _exactly)
