"""The frames of a client: one class for each, with the server's parser and the Python client's encoder (pure).

The server reads a message with :func:`parse`, which checks every field. The Python client writes a frame with the
``encode`` of its class.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import attrs
import orjson

from actors.events.encoding import MAX_DEPTH, encode, too_deep
from actors.events.types import MAX_SEQ, Position
from actors.frozen import frozen_unchecked
from transport.protocol._fields import BadFrame, Fields
from transport.protocol.limits import MAX_HISTORY, MAX_ID, SESSION_NAME, SESSION_NAME_RULE
from transport.protocol.names import ClientFrameType, StartFrom

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Ack",
    "BadFrame",
    "ClientFrame",
    "CommandFrame",
    "Hello",
    "HistoryFrame",
    "Pong",
    "TokenFrame",
    "TypingFrame",
    "parse",
]


@attrs.frozen
class Hello:
    """The first frame of a client: the session's name, the user's token, and the position where the events begin."""

    session: str
    token: str | None = None
    resume: Position | None = None
    from_latest: bool = False
    strict: bool = False
    client: str | None = None
    """Name of the client program, for debugging.

    The server ignores this field, and :func:`parse` does not return it.
    """

    def encode(self) -> bytes:
        """Return the hello frame as JSON."""
        frame: dict[str, object] = {
            "type": ClientFrameType.HELLO,
            "session": self.session,
            "from": StartFrom.LATEST if self.from_latest else StartFrom.OLDEST,
            "strict": self.strict,
        }
        if self.client is not None:
            frame["client"] = self.client
        if self.token is not None:
            frame["token"] = self.token
        if self.resume is not None:
            frame["resume"] = {"epoch": self.resume.epoch, "seq": self.resume.seq}
        return orjson.dumps(frame)


@frozen_unchecked
class CommandFrame:
    """A client's command, for example to start a run.

    The server answers with a ``reply`` frame that has the same id.
    """

    id: str
    name: str
    args: dict[str, Any]

    def encode(self, limit: int) -> bytes:
        """Return the command frame as JSON of at most ``limit`` bytes.

        Raise :class:`~actors.UnserialisableEvent` if the arguments are not JSON, are nested too deep, or are too large.
        """
        return encode({"type": ClientFrameType.COMMAND, "id": self.id, "name": self.name, "args": self.args}, limit)


@attrs.frozen
class TypingFrame:
    """A notice that the user has started or stopped typing."""

    active: bool

    def encode(self) -> bytes:
        """Return the typing frame as JSON."""
        return orjson.dumps({"type": ClientFrameType.TYPING, "active": self.active})


@attrs.frozen
class Ack:
    """An acknowledgement from a client: ``seq`` is the number of the newest event that the client has processed."""

    seq: int


@attrs.frozen
class HistoryFrame:
    """A client's request for past events: at most ``limit`` events with a seq above ``after``.

    Both numbers are stored as the client sent them. :attr:`fault` checks whether the numbers are allowed.
    """

    id: str
    after: int
    limit: int

    @property
    def fault(self) -> str | None:
        """Reason why the server refuses this history request. None if the request is allowed."""
        if not 0 <= self.after <= MAX_SEQ:
            return f"after must be from 0 to {MAX_SEQ}"
        if not 1 <= self.limit <= MAX_HISTORY:
            return f"limit must be from 1 to {MAX_HISTORY}"
        return None

    def encode(self, limit: int) -> bytes:
        """Return the history request as JSON of at most ``limit`` bytes."""
        return encode({"type": ClientFrameType.HISTORY, "id": self.id, "after": self.after, "limit": self.limit}, limit)


@attrs.frozen
class Pong:
    """A client's answer to a ``ping`` of the server. The pong shows that the client is still connected."""

    def encode(self) -> bytes:
        """Return the pong frame as JSON."""
        return b'{"type":"pong"}'


@attrs.frozen
class TokenFrame:
    """A fresh token of the connection's user. It takes the place of the token of the hello."""

    token: str = attrs.field(repr=False)

    def encode(self) -> bytes:
        """Return the token frame as JSON."""
        return orjson.dumps({"type": ClientFrameType.TOKEN, "token": self.token})


ClientFrame: TypeAlias = Hello | CommandFrame | TypingFrame | Ack | HistoryFrame | Pong | TokenFrame


def parse(text: str) -> ClientFrame:
    """Return the frame that a client's text message contains.

    Raise :class:`BadFrame` if the text is not a valid frame.
    """
    # With few brackets, nothing is nested deep: most frames need not be looked at as bytes.
    brackets = text.count("[") + text.count("{")
    if brackets > MAX_DEPTH and too_deep(text.encode(errors="surrogatepass")):
        raise BadFrame(f"nested deeper than {MAX_DEPTH}")
    try:
        frame: Any = _decode(text)
    except ValueError as error:
        raise BadFrame("not JSON") from error
    fields = Fields(frame)
    if type(frame) is not dict:
        raise BadFrame("not an object")
    parser = _PARSERS.get(fields.required("type", str))
    if parser is None:
        raise BadFrame("unknown type")
    return parser(fields)


def _decode(text: str) -> Any:
    """Return the value of a JSON text. Raise ``ValueError`` if it is not JSON."""
    if text[:1] == "{":
        # The usual case, without the search for white space around the value, which takes regular expressions.
        value, end = _DECODER.raw_decode(text)
        if end == len(text):
            return value
    return _DECODER.decode(text)


def _hello(fields: Fields) -> Hello:
    session = fields.required("session", str)
    if not SESSION_NAME.fullmatch(session):
        raise BadFrame(f"session must be {SESSION_NAME_RULE}")
    start = fields.optional("from", str, StartFrom.OLDEST)
    if start not in (StartFrom.OLDEST, StartFrom.LATEST):
        raise BadFrame("from must be oldest or latest")
    return Hello(
        session=session,
        token=fields.optional("token", str),
        resume=_position(fields),
        from_latest=start == StartFrom.LATEST,
        strict=fields.optional("strict", bool, default=False),
    )


def _position(fields: Fields) -> Position | None:
    resume = fields.optional("resume", dict)
    if resume is None:
        return None
    inner = Fields(resume)
    return Position(inner.required("epoch", str), _seq(inner))


def _command(fields: Fields) -> CommandFrame:
    # A lone surrogate in the name or in the arguments is refused by the session, with a reply.
    return CommandFrame(_id(fields), fields.required("name", str, surrogates=True), fields.optional("args", dict, {}))


def _history(fields: Fields) -> HistoryFrame:
    # Numbers out of bounds are refused with an `error` frame, and do not cost the connection.
    return HistoryFrame(_id(fields), fields.required("after", int), fields.required("limit", int))


def _ack(fields: Fields) -> Ack:
    return Ack(_seq(fields))


def _typing(fields: Fields) -> TypingFrame:
    return TypingFrame(fields.required("active", bool))


def _pong(_: Fields) -> Pong:
    return Pong()


def _token(fields: Fields) -> TokenFrame:
    return TokenFrame(fields.required("token", str))


def _id(fields: Fields) -> str:
    value: str = fields.required("id", str)
    if not 0 < len(value) <= MAX_ID:
        raise BadFrame(f"id must have 1 to {MAX_ID} characters")
    return value


def _seq(fields: Fields) -> int:
    value: int = fields.required("seq", int)
    if not 0 <= value <= MAX_SEQ:
        raise BadFrame(f"seq must be from 0 to {MAX_SEQ}")
    return value


_PARSERS: Mapping[str, Callable[[Fields], ClientFrame]] = {
    ClientFrameType.HELLO: _hello,
    ClientFrameType.COMMAND: _command,
    ClientFrameType.TYPING: _typing,
    ClientFrameType.ACK: _ack,
    ClientFrameType.HISTORY: _history,
    ClientFrameType.PONG: _pong,
    ClientFrameType.TOKEN: _token,
}


def _refuse_constant(name: str) -> NoReturn:
    """Raise ``ValueError`` for NaN and Infinity, which are not JSON. Python's JSON decoder would accept them."""
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
"""JSON decoder of the standard library, which accepts a string with a lone surrogate (half of a UTF-16 pair).

orjson would refuse the whole message, and the server would have to close the connection. With this decoder, only the
command that contains the string is refused, and the client gets an answer.
"""
