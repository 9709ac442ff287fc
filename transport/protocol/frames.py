"""The frames of ``greenroom.v1``: what clients send, checked, and what the server sends, as bytes (pure).

Each client frame is one JSON object in one text message. What is not, or has a field of the wrong type, is a
:class:`BadFrame`; fields that are not known are ignored, and null stands for an optional field that is absent.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, cast

import attrs
import orjson

from actors.events.encoding import MAX_DEPTH, is_text, too_deep
from actors.events.types import MAX_SEQ, Position
from transport.protocol.close_codes import truncate_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from actors.spi import CommandReply

MAX_BATCH_EVENTS = 256
"""Events in one ``events`` or ``history`` frame."""
MAX_BATCH_BYTES = 64 * 1024
"""Bytes of one ``events`` or ``history`` message, unless one event alone is larger."""
MAX_HISTORY = 500
"""The largest ``limit`` of a ``history`` frame."""
MAX_ID = 128
"""Characters of a command's id."""

_SESSION = re.compile(r"[A-Za-z0-9._~:-]{1,128}")
_EVENTS_HEAD, _EVENTS_TAIL = b'{"type":"events","events":[', b"]}"
_EVENTS_FRAME = len(_EVENTS_HEAD) + len(_EVENTS_TAIL)
EVENTS_ROOM = MAX_BATCH_BYTES - _EVENTS_FRAME
"""Bytes of lines, with a comma each, that fit one ``events`` message."""


class BadFrame(Exception):
    """A message that is no frame: the connection is closed with 4500 and this reason."""


@attrs.frozen
class Hello:
    """The first frame: which session, who (by token), and where to read on."""

    session: str
    token: str | None
    resume: Position | None
    from_latest: bool
    strict: bool


@attrs.frozen
class CommandFrame:
    """A command; answered by a ``reply`` of the same id."""

    id: str
    name: str
    args: dict[str, Any]


@attrs.frozen
class TypingFrame:
    """The user types, or stopped."""

    active: bool


@attrs.frozen
class Ack:
    """The highest seq that the client has applied."""

    seq: int


@attrs.frozen
class HistoryFrame:
    """A request for events above ``after``; the numbers are as they came, not yet checked against their bounds."""

    id: str
    after: int
    limit: int

    @property
    def fault(self) -> str | None:
        """Why a well-formed request is refused, None when it is not."""
        if not 0 <= self.after <= MAX_SEQ:
            return f"after must be from 0 to {MAX_SEQ}"
        if not 1 <= self.limit <= MAX_HISTORY:
            return f"limit must be from 1 to {MAX_HISTORY}"
        return None


@attrs.frozen
class Pong:
    """The answer to a ping."""


ClientFrame: TypeAlias = Hello | CommandFrame | TypingFrame | Ack | HistoryFrame | Pong


def parse(text: str) -> ClientFrame:
    """Read the frame in a text message; raises :class:`BadFrame`.

    The standard library's decoder is used since it lets lone surrogates through, which are refused where they are used,
    with an answer, instead of costing the connection.
    """
    if too_deep(text.encode(errors="surrogatepass")):
        raise BadFrame(f"nested deeper than {MAX_DEPTH}")
    try:
        frame = _DECODER.decode(text)
    except ValueError as error:
        raise BadFrame("not JSON") from error
    if not isinstance(frame, dict):
        raise BadFrame("not an object")
    fields = _Fields(cast("dict[str, Any]", frame))
    parser = _PARSERS.get(fields.required("type", str))
    if parser is None:
        raise BadFrame("unknown type")
    return parser(fields)


class _Fields:
    """Reads typed fields of one frame."""

    def __init__(self, frame: dict[str, Any]) -> None:
        self._frame = frame

    def optional(self, name: str, kind: type, default: Any = None, *, surrogates: bool = False) -> Any:
        value: Any = self._frame.get(name)
        if value is None:
            return default
        if type(value) is not kind:
            raise BadFrame(f"{name} must be of type {_JSON_NAMES[kind]}")
        if isinstance(value, str) and not surrogates and not is_text(value):
            raise BadFrame(f"{name} has a lone surrogate")
        return value

    def required(self, name: str, kind: type, *, surrogates: bool = False) -> Any:
        value = self.optional(name, kind, surrogates=surrogates)
        if value is None:
            raise BadFrame(f"{name} is missing")
        return value

    def id(self) -> str:
        value: str = self.required("id", str)
        if not 0 < len(value) <= MAX_ID:
            raise BadFrame(f"id must have 1 to {MAX_ID} characters")
        return value

    def position(self) -> Position | None:
        resume = self.optional("resume", dict)
        if resume is None:
            return None
        fields = _Fields(resume)
        position = Position(fields.required("epoch", str), fields.required("seq", int))
        if not 0 <= position.seq <= MAX_SEQ:
            raise BadFrame(f"seq must be from 0 to {MAX_SEQ}")
        return position


def _hello(fields: _Fields) -> Hello:
    session = fields.required("session", str)
    if not _SESSION.fullmatch(session):
        raise BadFrame("session must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ : -")
    start = fields.optional("from", str, "oldest")
    if start not in ("oldest", "latest"):
        raise BadFrame("from must be oldest or latest")
    return Hello(
        session=session,
        token=fields.optional("token", str),
        resume=fields.position(),
        from_latest=start == "latest",
        strict=fields.optional("strict", bool, default=False),
    )


def _command(fields: _Fields) -> CommandFrame:
    return CommandFrame(fields.id(), fields.required("name", str, surrogates=True), fields.optional("args", dict, {}))


def _history(fields: _Fields) -> HistoryFrame:
    return HistoryFrame(fields.id(), fields.required("after", int), fields.required("limit", int))


def _ack(fields: _Fields) -> Ack:
    ack = Ack(fields.required("seq", int))
    if not 0 <= ack.seq <= MAX_SEQ:
        raise BadFrame(f"seq must be from 0 to {MAX_SEQ}")
    return ack


def _typing(fields: _Fields) -> TypingFrame:
    return TypingFrame(fields.required("active", bool))


def _pong(_: _Fields) -> Pong:
    return Pong()


_PARSERS: Mapping[str, Callable[[_Fields], ClientFrame]] = {
    "hello": _hello,
    "command": _command,
    "typing": _typing,
    "ack": _ack,
    "history": _history,
    "pong": _pong,
}
_JSON_NAMES: Mapping[type, str] = {str: "string", int: "integer", bool: "boolean", dict: "object"}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def welcome(fields: Mapping[str, object]) -> bytes:
    """Make the answer to hello; a field that is None is left out."""
    present = {name: value for name, value in fields.items() if value is not None}
    return orjson.dumps({"type": "welcome", **present})


def milliseconds(seconds: float) -> int:
    """Return a time as a frame holds it: in whole ms, rounded down, at most 2^53-1 however long it is."""
    return int(min(seconds * 1000, MAX_SEQ))


def events_message(lines: Sequence[bytes]) -> bytes:
    """Frame an ``events`` message of lines as they are in the log, as :func:`text_message` does; copied once."""
    joined = b",".join(lines)
    return b"".join((_text_head(len(joined) + _EVENTS_FRAME), _EVENTS_HEAD, joined, _EVENTS_TAIL))


def history(id_: str, lines: Sequence[bytes], *, more: bool) -> bytes:
    """Make the answer to a history frame."""
    return b'{"type":"history","id":%b,"events":[%b],"more":%b}' % (
        orjson.dumps(id_),
        b",".join(lines),
        b"true" if more else b"false",
    )


def history_room(id_: str, limit: int) -> int:
    """Count the bytes of lines that fit one ``history`` message beside its id, with ``limit`` lines at most."""
    return MAX_BATCH_BYTES - len(history(id_, (), more=False)) - limit


def signal(name: str, data: bytes) -> bytes:
    """Make an ephemeral signal; ``data`` is JSON already."""
    return b'{"type":"signal","name":%b,"data":%b}' % (orjson.dumps(name), data)


def reply(answer: CommandReply) -> bytes:
    """Make the answer to a command."""
    frame: dict[str, object] = {"type": "reply", "id": answer.id, "ok": answer.ok}
    if answer.ok:
        frame["result"] = answer.result
    else:
        frame["error"] = {"code": answer.code, "message": answer.message.encode("utf-8", "replace").decode()}
    if answer.duplicate:
        frame["duplicate"] = True
    return orjson.dumps(frame)


def error(code: str, message: str) -> bytes:
    """Say that a well-formed frame was refused; the connection lives."""
    return orjson.dumps({"type": "error", "code": code, "message": message})


PING = b'{"type":"ping"}'


def goodbye(code: int, reason: str, retry_ms: int | None = None) -> bytes:
    """Say why the server is about to close; ``retry_ms`` only where the client is to come back."""
    frame: dict[str, object] = {"type": "goodbye", "code": code, "reason": truncate_reason(reason)}
    if retry_ms is not None:
        frame["retry_ms"] = retry_ms
    return orjson.dumps(frame)


def text_message(payload: bytes) -> bytes:
    """Frame ``payload`` as an unmasked, unfragmented WebSocket text message (RFC 6455, section 5.2)."""
    return _text_head(len(payload)) + payload


def _text_head(size: int) -> bytes:
    if size < 126:  # noqa: PLR2004 - the RFC's numbers
        return b"\x81%c" % size
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


def close_message(code: int, reason: str) -> bytes:
    """Frame a close with ``code`` and a ``reason`` of 123 bytes at most (RFC 6455, section 5.5.1)."""
    payload = code.to_bytes(2, "big") + reason.encode()
    return b"\x88%c%b" % (len(payload), payload)
