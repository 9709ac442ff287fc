"""The frames of a server: one class for each, and the functions with which the server writes them (pure).

The functions ``welcome`` to ``goodbye`` return frames as JSON. The Python client reads the frames of a server with
:mod:`~transport.protocol.server_frame_parser`. The parser is a separate module because a test counts, file by file, the
function calls that the server makes for one event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs
import orjson

from actors.events.types import MAX_SEQ, Event
from transport.protocol.close_codes import truncate_reason
from transport.protocol.limits import DEFAULT_COMMAND_MEMORY_MS, MAX_BATCH_BYTES
from transport.protocol.names import ServerFrameType
from transport.protocol.websocket import text_head

if TYPE_CHECKING:
    from collections.abc import Sequence

_EVENTS_HEAD, _EVENTS_TAIL = b'{"type":"events","events":[', b"]}"
_EVENTS_FRAME_BYTES = len(_EVENTS_HEAD) + len(_EVENTS_TAIL)
EVENTS_ROOM = MAX_BATCH_BYTES - _EVENTS_FRAME_BYTES
"""Number of bytes for events in one ``events`` message. Each event takes one byte more than its JSON, for a comma."""
PING = b'{"type":"ping"}'

# Plain strings for the frames that are written most: orjson is slower with members of an enum.
_REPLY = ServerFrameType.REPLY.value
_ERROR = ServerFrameType.ERROR.value


@attrs.frozen
class OpenRun:
    """A run that had not ended when the welcome was written. ``started`` is the start of the run in ms since 1970."""

    run_id: str
    agent: str
    started: int


@attrs.frozen
class QueuedStart:
    """A queued request to start a run. A client can cancel the request by its ``command_id``.

    ``since`` is the time when the wait began, in ms since 1970, by the server's clock. ``since`` is None if the wait
    began while this client was connected.
    """

    command_id: str
    agent: str
    since: int | None = None


@attrs.frozen
class Typist:
    """A user or an agent that is typing: ``by`` is ``user`` or ``agent``; ``id`` names the connection or the run."""

    by: str
    id: str


@attrs.frozen(kw_only=True)
class Welcome:
    """The answer to a hello: the state of the session, and the limits of the server. SPEC.md explains the fields."""

    session: str
    connection: str
    epoch: str
    oldest: int
    latest: int
    recovered: bool
    reset: str | None = None
    ping_ms: int
    max_frame_bytes: int
    command_memory_ms: int = DEFAULT_COMMAND_MEMORY_MS
    """Time for which the server remembers the id of a command, in ms."""
    expires_ms: int | None = None
    """Time until the client's token expires, in ms. None if the token never expires."""
    runs: tuple[OpenRun, ...] = ()
    queued: tuple[QueuedStart, ...] = ()
    typing: tuple[Typist, ...] = ()


@attrs.frozen
class Events:
    """A frame with consecutive events, as parsed JSON.

    The events are not checked yet: the caller checks each event with ``read_event``.
    """

    events: list[Any]


@attrs.frozen
class Signal:
    """A short-lived message, for example about typing.

    A signal is never sent twice. If a client is slow, signals for this client are dropped when too many wait.
    """

    name: str
    data: Any


@attrs.frozen
class Reply:
    """The answer to a command: a ``result``, or the ``code`` and ``message`` of a refusal."""

    id: str
    result: Any = None
    code: str | None = None
    message: str = ""

    @property
    def ok(self) -> bool:
        """Whether the server has done the command. False if the server refused it."""
        return self.code is None


@attrs.frozen
class History:
    """Past events, oldest first. ``more`` is True if the log has events after the last of these events."""

    events: tuple[Event, ...]
    more: bool


@attrs.frozen
class HistoryReply:
    """The answer to the history request with this ``id``: some of the past events."""

    id: str
    page: History


@attrs.frozen
class Renewed:
    """The confirmation that the server has accepted the token of a ``token`` frame.

    ``expires_ms`` is the time until the token expires; None if it never expires.
    """

    expires_ms: int | None = None


@attrs.frozen
class ErrorFrame:
    """A refusal of a valid frame that is not a command (a history request or typing). The connection stays open."""

    code: str
    message: str


@attrs.frozen
class Ping:
    """A check whether the client is still connected. The client answers with a pong."""


@attrs.frozen
class Goodbye:
    """The reason why the server closes the connection. The server sends this frame just before the close.

    ``retry_ms`` is the delay before the client reconnects; None if the server does not set a delay.
    """

    code: int
    reason: str
    retry_ms: int | None = None


ServerFrame: TypeAlias = Welcome | Events | Signal | Reply | HistoryReply | Renewed | ErrorFrame | Ping | Goodbye


class Answer(Protocol):
    """The outcome of a command, as the session returns it to the connection."""

    @property
    def id(self) -> str:
        """Id of the command."""
        ...

    @property
    def ok(self) -> bool:
        """Whether the session has done the command. False if the command was refused."""
        ...

    @property
    def result(self) -> object:
        """Result of a command that the session has done: any JSON value."""
        ...

    @property
    def code(self) -> str | None:
        """Error code of a command that was refused."""
        ...

    @property
    def message(self) -> str:
        """Explanation of the error code, for people."""
        ...

    @property
    def duplicate(self) -> bool:
        """Whether the client has sent this command before.

        If so, this answer repeats the first answer, and the command was not done again.
        """
        ...


# Frames as bytes


def welcome(frame: Welcome) -> bytes:
    """Return a ``welcome`` frame as JSON. A field that is None is left out."""
    fields = attrs.asdict(frame, filter=lambda _, value: value is not None)
    return orjson.dumps({"type": ServerFrameType.WELCOME, **fields})


def milliseconds(seconds: float) -> int:
    """Return a time in whole milliseconds, rounded down, for a field of a frame. The result is at most 2^53-1."""
    return int(min(seconds * 1000, MAX_SEQ))


def events_message(lines: Sequence[bytes]) -> bytes:
    """Return a complete WebSocket message with one ``events`` frame.

    Each of the ``lines`` is the JSON of one event, as the log stores it.
    """
    # The lines are copied once, into the message: so it is not built by `text_message`, which would copy them again.
    joined = b",".join(lines)
    return b"".join((text_head(len(joined) + _EVENTS_FRAME_BYTES), _EVENTS_HEAD, joined, _EVENTS_TAIL))


def events(lines: Sequence[bytes]) -> bytes:
    """Return an ``events`` frame, for a WebSocket library that adds the header of the message itself."""
    return b"".join((_EVENTS_HEAD, b",".join(lines), _EVENTS_TAIL))


def history(id_: str, lines: Sequence[bytes], *, more: bool) -> bytes:
    """Return a ``history`` frame: the answer to the history request ``id_``.

    Each of the ``lines`` is the JSON of one event, as the log stores it. ``more`` says whether the log has later
    events.
    """
    return b'{"type":"history","id":%b,"events":[%b],"more":%b}' % (
        orjson.dumps(id_),
        b",".join(lines),
        b"true" if more else b"false",
    )


def renewed(expires_ms: int | None) -> bytes:
    """Return a ``token`` frame as JSON: the confirmation that a client's fresh token is accepted."""
    fields = {} if expires_ms is None else {"expires_ms": expires_ms}
    return orjson.dumps({"type": ServerFrameType.TOKEN, **fields})


def history_room(id_: str, limit: int) -> int:
    """Return the number of bytes that one ``history`` frame has for the JSON of its events.

    The rest of the frame holds the request's ``id_`` and a comma for each of at most ``limit`` events.
    """
    return MAX_BATCH_BYTES - len(history(id_, (), more=False)) - limit


def signal(name: str, data: bytes) -> bytes:
    """Return a ``signal`` frame as JSON. ``data`` is JSON already."""
    return b'{"type":"signal","name":%b,"data":%b}' % (orjson.dumps(name), data)


def reply(answer: Answer) -> bytes:
    """Return a ``reply`` frame as JSON: the answer to a command."""
    frame: dict[str, object] = {"type": _REPLY, "id": answer.id, "ok": (ok := answer.ok)}
    if ok:
        frame["result"] = answer.result
    else:
        # A message may quote input with a lone surrogate, which UTF-8 cannot hold.
        frame["error"] = {"code": answer.code, "message": answer.message.encode("utf-8", "replace").decode()}
    if answer.duplicate:
        frame["duplicate"] = True
    return orjson.dumps(frame)


def error(code: str, message: str) -> bytes:
    """Return an ``error`` frame as JSON. The frame refuses a valid request, and the connection stays open."""
    return orjson.dumps({"type": _ERROR, "code": code, "message": message})


def goodbye(code: int, reason: str, retry_ms: int | None = None) -> bytes:
    """Return a ``goodbye`` frame as JSON. ``retry_ms`` is None if the client should not reconnect."""
    frame: dict[str, object] = {"type": ServerFrameType.GOODBYE, "code": code, "reason": truncate_reason(reason)}
    if retry_ms is not None:
        frame["retry_ms"] = retry_ms
    return orjson.dumps(frame)
