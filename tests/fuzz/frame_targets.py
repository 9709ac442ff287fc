"""Fuzz targets: the parsers of both directions of the protocol."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import attrs
import orjson
from fuzz.target import Target

from actors import UnserialisableEvent
from actors.events.encoding import MAX_DEPTH, too_deep
from actors.events.types import MAX_SEQ, Position
from transport.protocol import server_frames
from transport.protocol.client_frames import (
    Ack,
    BadFrame,
    ClientFrame,
    CommandFrame,
    Hello,
    HistoryFrame,
    Pong,
    TokenFrame,
    TypingFrame,
    parse,
)
from transport.protocol.close_codes import MAX_REASON_BYTES, truncate_reason
from transport.protocol.handshake import Conversation
from transport.protocol.server_frame_parser import decode, read_event
from transport.protocol.server_frame_parser import parse as parse_server_frame
from transport.protocol.server_frames import ErrorFrame, Events, Goodbye, HistoryReply, Ping, Reply, Signal, Welcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from transport.protocol.server_frames import ServerFrame

_LIMIT = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9._~:-]{1,128}\Z")
# The longest number that Python reads has 4300 digits. Longer numbers are refused as "not JSON".
_LONG_NUMBER = re.compile(r"\d{4000}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


# Frames of a client


def client_frames(data: bytes) -> None:
    """Check that :func:`parse` accepts exactly the frames of the specification, and with the meaning that they have.

    A frame that was accepted is the same after it is written and parsed again.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return  # no text message: the WebSocket library refuses it
    expected = _specified(text)
    frame = _parsed(parse, text)
    assert frame == expected, f"{text!r} is read as {frame}"
    again = None if frame is None else _encoded(frame)
    assert again is None or parse(again.decode()) == frame


def _parsed(read: Callable[[str], ClientFrame], text: str) -> ClientFrame | None:
    """Return the frame that ``read`` finds in the text. Return None for a refusal with a usable reason."""
    try:
        return read(text)
    except BadFrame as bad:
        reason = str(bad)
    _check_reason(reason)
    return None


def _check_reason(reason: str) -> None:
    """Check that the server can tell the client the reason."""
    assert reason
    assert len(truncate_reason(reason).encode()) <= MAX_REASON_BYTES
    assert orjson.loads(server_frames.goodbye(4500, reason))["reason"] == truncate_reason(reason)


def _specified(text: str) -> ClientFrame | None:
    """Return the frame that the specification sees in ``text``, read field by field. Return None for no frame."""
    try:
        raw = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict) or _depth(raw) > MAX_DEPTH:
        return None
    return _frame_of({name: value for name, value in raw.items() if value is not None})


def _frame_of(raw: Mapping[str, Any]) -> ClientFrame | None:  # noqa: PLR0911 - one for each frame
    match raw:
        case {"type": "hello"}:
            return _hello_of(raw)
        case {"type": "command", "id": str(id_), "name": str(name)} if _is_id(id_):
            args = raw.get("args", {})
            return CommandFrame(id_, name, args) if isinstance(args, dict) else None
        case {"type": "typing", "active": bool(active)}:
            return TypingFrame(active)
        case {"type": "ack", "seq": seq} if _is_seq(seq):
            return Ack(seq)
        case {"type": "history", "id": str(id_), "after": after, "limit": limit} if _is_id(id_):
            return HistoryFrame(id_, after, limit) if type(after) is type(limit) is int else None
        case {"type": "token", "token": token} if _is_text(token):
            return TokenFrame(token)
        case {"type": "pong"}:
            return Pong()
    return None


def _hello_of(raw: Mapping[str, Any]) -> Hello | None:
    session, token, resume = raw.get("session"), raw.get("token"), raw.get("resume")
    start, strict = raw.get("from", "oldest"), raw.get("strict", False)
    if not isinstance(session, str) or not _NAME.match(session):
        return None
    if not (token is None or _is_text(token)) or start not in ("oldest", "latest") or not isinstance(strict, bool):
        return None
    position = None
    if resume is not None:
        if not isinstance(resume, dict) or not _is_text(resume.get("epoch")) or not _is_seq(resume.get("seq")):
            return None
        position = Position(resume["epoch"], resume["seq"])
    return Hello(session, token, position, start == "latest", strict)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not any("\ud800" <= each <= "\udfff" for each in value)


def _is_id(value: str) -> bool:
    return _is_text(value) and 1 <= len(value) <= 128


def _is_seq(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_SEQ


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _encoded(frame: ClientFrame) -> bytes | None:
    """Return the frame as a client writes it. Return None if a client cannot write it."""
    if isinstance(frame, Ack):
        return orjson.dumps({"type": "ack", "seq": frame.seq})
    if isinstance(frame, (CommandFrame, HistoryFrame)):
        try:
            return frame.encode(_LIMIT)
        except UnserialisableEvent:
            assert not _presentable(attrs.asdict(frame)), frame
            return None
    return frame.encode()


def _presentable(value: object) -> bool:
    """Return whether each client can write the value: no lone surrogate, infinity or long integer."""
    if isinstance(value, str):
        return _is_text(value)
    if isinstance(value, (dict, list)):
        items = (*value, *value.values()) if isinstance(value, dict) else value
        return all(map(_presentable, items))
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) <= MAX_SEQ


def conversation(data: bytes) -> None:
    """Check that a conversation begins with its only hello, whatever lines a client sends."""
    state = Conversation()
    for line in data.decode(errors="replace").split("\n"):
        greeted, alone = state.greeted, _specified(line)
        in_order = alone is not None and isinstance(alone, Hello) != greeted
        frame = _parsed(state.receive, line)
        assert frame == (alone if in_order else None), line
        if frame is None:
            return  # a server closes the connection
        assert state.greeted


def nesting(data: bytes) -> None:
    """Check that the linear scan for deep nesting finds the depth that a real parser finds."""
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError):
        too_deep(data)  # answers for any bytes
        return
    assert too_deep(data) == (_depth(value) > MAX_DEPTH)


# Frames of a server


def server_messages(data: bytes) -> None:
    """Check that a client reads or refuses any message of a server, and reads again what it has read."""
    try:
        message = decode(data.decode())
        frame = parse_server_frame(message)
    except (UnicodeDecodeError, BadFrame):
        return
    if isinstance(frame, Events):
        for event in frame.events:
            try:
                read_event(event)
            except BadFrame:
                continue
    elif frame is not None and (again := _written(frame)) is not None:
        assert parse_server_frame(decode(again.decode())) == frame


@attrs.frozen
class _Answer:
    id: str
    ok: bool
    result: object
    code: str | None
    message: str
    duplicate: bool = False


def _written(frame: ServerFrame) -> bytes | None:  # noqa: PLR0911 - one for each frame
    """Return the frame as a server writes it. Return None if no server writes such a frame."""
    match frame:
        case Welcome():
            return server_frames.welcome(frame)
        case Signal():
            return server_frames.signal(frame.name, orjson.dumps(frame.data))
        case Reply():
            return server_frames.reply(_Answer(frame.id, frame.ok, frame.result, frame.code, frame.message))
        case HistoryReply():
            lines = [_line(each) for each in frame.page.events]
            return server_frames.history(frame.id, lines, more=frame.page.more)
        case ErrorFrame():
            return server_frames.error(frame.code, frame.message)
        case Goodbye() if truncate_reason(frame.reason) == frame.reason:
            return server_frames.goodbye(frame.code, frame.reason, frame.retry_ms)
        case Ping():
            return server_frames.PING
    return None


def _line(event: Any) -> bytes:
    names = ("seq", "type", "ts", "run_id", "parent_run_id", "call_id")
    fields = {name: getattr(event, name) for name in names}
    return orjson.dumps({**{name: value for name, value in fields.items() if value is not None}, "data": event.data})


_CLIENT_SEEDS = (
    b'{"type":"hello","session":"s1","token":"t","resume":{"epoch":"e","seq":3},"from":"latest","strict":true}',
    b'{"type":"hello","session":"s1","client":"c","from":"oldest"}',
    b'{"type":"command","id":"c1","name":"run.start","args":{"agent":"echo","input":"hello"}}',
    b'{"type":"command","id":"c2","name":"input.answer","args":{"value":[1,2.5,null,{"a":"\\ud83d\\ude00"}]}}',
    b'{"type":"typing","active":true}',
    b'{"type":"ack","seq":9007199254740991}',
    b'{"type":"history","id":"h","after":0,"limit":500}',
    b'{"type":"pong"}',
    b'{"type":"token","token":"t"}',
)
_CLIENT_WORDS = (
    b'"type"', b'"hello"', b'"session"', b'"token"', b'"resume"', b'"epoch"', b'"seq"', b'"from"', b'"latest"',
    b'"strict"', b'"command"', b'"id"', b'"name"', b'"args"', b'"typing"', b'"active"', b'"ack"', b'"history"',
    b'"after"', b'"limit"', b'"pong"', b"true", b"false", b"null", b"NaN", b"Infinity", b"1e999", b"-0",
    b"9007199254740992", b'"\\ud800"', b'"\\udc00"', b"\\u0000", b"\xef\xbb\xbf", b"[[[[[[[[", b"]]]]]]]]", b'{"a":',
)  # fmt: skip
_EVENT = b'{"seq":1,"type":"agent_output","ts":1700000000000,"run_id":"r-1","data":{"text":"a"}}'
_WELCOME = orjson.dumps(
    {"type": "welcome", "session": "s1", "connection": "c-1", "epoch": "e", "oldest": 1, "latest": 2, "recovered": True,
     "ping_ms": 25000, "max_frame_bytes": 65536, "command_memory_ms": 1,
     "runs": [{"run_id": "r", "agent": "a", "started": 1}], "queued": [{"command_id": "c", "agent": "a", "since": 2}],
     "typing": [{"by": "user", "id": "c-1"}]}
)  # fmt: skip
_SERVER_SEEDS = (
    _WELCOME,
    b'{"type":"events","events":[' + _EVENT + b"]}",
    b'{"type":"signal","name":"typing","data":{"by":"user","id":"c-1","active":true}}',
    b'{"type":"reply","id":"c1","ok":true,"result":{"run_id":"r"}}',
    b'{"type":"reply","id":"c1","ok":false,"error":{"code":"bad_args","message":"no"},"duplicate":true}',
    b'{"type":"history","id":"h","events":[' + _EVENT + b'],"more":false}',
    b'{"type":"error","code":"bad_history","message":"no"}',
    b'{"type":"ping"}',
    b'{"type":"goodbye","code":4001,"reason":"slow","retry_ms":200}',
)
_SERVER_WORDS = (
    b'"welcome"', b'"events"', b'"signal"', b'"reply"', b'"error"', b'"goodbye"', b'"connection"', b'"oldest"',
    b'"recovered"', b'"reset"', b'"ping_ms"', b'"runs"', b'"queued"', b'"started"', b'"since"', b'"ok"', b'"result"',
    b'"code"', b'"message"', b'"more"', b'"reason"', b'"retry_ms"', b'"data"', b'"ts"',
)  # fmt: skip

TARGETS = (
    Target("client_frames", client_frames, _CLIENT_SEEDS, _CLIENT_WORDS),
    Target("conversation", conversation, (b"\n".join(_CLIENT_SEEDS[1:]), *_CLIENT_SEEDS), _CLIENT_WORDS),
    Target("nesting", nesting, (b'[[{"a":[1,"]"]}]]', b"[" * 64 + b"]" * 64, b"[" * 65 + b"]" * 65), _CLIENT_WORDS),
    Target("server_messages", server_messages, _SERVER_SEEDS, _SERVER_WORDS + _CLIENT_WORDS),
)
