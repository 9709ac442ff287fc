"""The parser of a server's frames, for the Python client (pure).

The client reads a message with :func:`decode`, which checks that the message is an object with a type. Then
:func:`parse` checks the fields that a frame of this type has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import orjson
from cattrs import BaseValidationError, Converter, transform_error

from actors.events.decoding import decode_event
from actors.events.types import MAX_SEQ, Event
from transport.protocol._fields import BadFrame, Fields
from transport.protocol.names import ServerFrameType
from transport.protocol.server_frames import (
    ErrorFrame,
    Events,
    Goodbye,
    History,
    HistoryReply,
    Ping,
    Renewed,
    Reply,
    ServerFrame,
    Signal,
    Welcome,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["BadFrame", "ServerMessage", "decode", "parse", "read_event"]


class ServerMessage(Fields):
    """The fields of one message from a server, with the message's ``type``."""

    __slots__ = ("type",)

    def __init__(self, frame: dict[str, Any]) -> None:
        super().__init__(frame)
        self.type: str = frame["type"]


def decode(message: str | bytes) -> ServerMessage:
    """Return the fields of a server's message. Raise :class:`BadFrame` for anything but a JSON object with a type."""
    if isinstance(message, bytes):
        raise BadFrame("a binary message")
    try:
        frame: object = orjson.loads(message)
    except orjson.JSONDecodeError as invalid:
        raise BadFrame(f"not JSON: {invalid}") from invalid
    if not isinstance(frame, dict) or not isinstance(cast("dict[str, Any]", frame).get("type"), str):
        raise BadFrame("not an object with a type")
    return ServerMessage(cast("dict[str, Any]", frame))


def parse(message: ServerMessage) -> ServerFrame | None:
    """Return the frame in a server's message. Return None, which means "ignore it", if the frame's type is unknown.

    Raise :class:`BadFrame` if a field is missing, or has a type or value that the protocol does not allow.
    """
    parser = _PARSERS.get(message.type)
    return None if parser is None else parser(message)


def read_event(obj: Any) -> Event:
    """Return the event that one element of an ``events`` or ``history`` frame holds.

    Raise :class:`BadFrame` if the element is not a valid event.
    """
    if not isinstance(obj, dict):
        raise BadFrame("an event that is not an object")
    try:
        return decode_event(cast("dict[str, Any]", obj))
    except ValueError as fault:
        raise BadFrame(str(fault)) from fault


def _welcome(fields: Fields) -> Welcome:
    try:
        frame = _converter.structure(fields.frame, Welcome)
    except BaseValidationError as faults:
        raise BadFrame("; ".join(transform_error(faults, path="welcome"))) from faults
    positions = 1 <= frame.oldest <= frame.latest + 1 <= MAX_SEQ + 1  # without events, `oldest` is 1 and `latest` is 0
    if not positions or frame.ping_ms < 1 or frame.command_memory_ms < 0:
        raise BadFrame(f"a welcome that cannot be: {frame}")
    return frame


def _events(fields: Fields) -> Events:
    return Events(fields.required("events", list))


def _signal(fields: Fields) -> Signal:
    return Signal(fields.required("name", str), fields.as_it_is("data"))


def _reply(fields: Fields) -> Reply:
    id_ = fields.required("id", str)
    if fields.required("ok", bool):
        return Reply(id_, fields.as_it_is("result"))
    refusal = Fields(fields.required("error", dict))
    return Reply(id_, code=str(refusal.as_it_is("code")), message=str(refusal.as_it_is("message")))


def _history(fields: Fields) -> HistoryReply:
    events = tuple(read_event(event) for event in fields.required("events", list))
    return HistoryReply(fields.required("id", str), History(events, fields.required("more", bool)))


def _token(fields: Fields) -> Renewed:
    return Renewed(fields.optional("expires_ms", int))


def _error(fields: Fields) -> ErrorFrame:
    return ErrorFrame(str(fields.as_it_is("code")), str(fields.as_it_is("message")))


def _ping(_: Fields) -> Ping:
    return Ping()


def _goodbye(fields: Fields) -> Goodbye:
    retry_ms = fields.as_it_is("retry_ms")
    # A wait that makes no sense is ignored: the client has delays of its own.
    usable = type(retry_ms) is int and 0 <= retry_ms <= _MAX_RETRY_MS
    return Goodbye(fields.required("code", int), fields.required("reason", str), retry_ms if usable else None)


_MAX_RETRY_MS = 3_600_000
"""The longest delay before a reconnect that a client accepts from a server: one hour, in ms."""
_PARSERS: Mapping[str, Callable[[Fields], ServerFrame]] = {
    ServerFrameType.WELCOME: _welcome,
    ServerFrameType.EVENTS: _events,
    ServerFrameType.SIGNAL: _signal,
    ServerFrameType.REPLY: _reply,
    ServerFrameType.HISTORY: _history,
    ServerFrameType.TOKEN: _token,
    ServerFrameType.ERROR: _error,
    ServerFrameType.PING: _ping,
    ServerFrameType.GOODBYE: _goodbye,
}


def _exactly(value: Any, kind: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


_converter = Converter()
for _kind in (str, int, bool):
    _converter.register_structure_hook(_kind, _exactly)
