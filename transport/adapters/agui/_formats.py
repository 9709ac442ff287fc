"""The formats of AG-UI: the events of a session as server-sent events with AG-UI events in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from actors import AgentStarted
from actors.events.decoding import decode_line
from transport.adapters.agui import _build as build
from transport.adapters.answers import Answer, refusal_answer
from transport.adapters.format import EVENT_STREAM, Format
from transport.protocol import close_codes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors import Event, Position
    from transport.adapters.agui._build import AguiEvent
    from transport.adapters.agui.encoder import Encoder, ThreadEncoder
    from transport.adapters.answers import Refused

_HTTP_STATUSES = {401, 403}
"""Statuses of refusals that are no AG-UI stream: they are about the client, which has no access."""
_CODES = {
    close_codes.BAD_FRAME: "bad_input",
    close_codes.UNSUPPORTED_DATA: "bad_input",
    close_codes.MESSAGE_TOO_BIG: "too_large",
    close_codes.SESSION_CLOSED: "session_closed",
    close_codes.FLOODING: "rate_limited",
    close_codes.INTERNAL_ERROR: "internal",
}


class AguiFormat(Format):
    """The response to one request: SSE with one AG-UI event in each message.

    The last message for each event of the session has the id ``EPOCH:SEQ``. A client that comes back names the last id
    that it got, and drops the messages behind it: they come again.

    Args:
        cursor: The position of the last event of which the client has all AG-UI events. None for a new stream.
    """

    def __init__(self, cursor: Position | None) -> None:
        super().__init__()
        self._cursor = cursor
        self._seen = 0 if cursor is None else cursor.seq
        self._epoch = b""

    def welcome(self, frame: dict[str, Any]) -> bytes:
        """Take the position of the session. End the stream if the position of the client is lost."""
        self._epoch = str(frame["epoch"]).encode()
        cursor, reset = self._cursor, frame.get("reset")
        if cursor is not None and cursor.epoch != frame["epoch"]:
            reset = "epoch_changed"
        elif cursor is not None and cursor.seq > frame["latest"]:
            reset = "ahead"
        if reset is None:
            return b": connected\n\n"
        return self._fail(str(reset), "the events of this stream are not in the log any more: begin anew")

    def events(self, lines: Sequence[bytes]) -> bytes:
        """Return the AG-UI events for some events."""
        out = bytearray()
        for line in lines:
            if self.over:
                break
            if (event := self._decoded(line)) is not None:
                told = self._feed(event)
                if event.seq > self._seen:
                    out += self._messages(event.seq, told)
        return bytes(out)

    def other(self, frame: bytes) -> bytes:
        """Return the end of an AG-UI run that cannot begin: the frame is the ``error`` of its start."""
        error: dict[str, Any] = orjson.loads(frame)
        if error["type"] != "error":
            return b""
        return self._fail(str(error["code"]), str(error["message"]))

    def goodbye(self, code: int, reason: str, retry_ms: int | None) -> bytes:
        """Return the end of a stream that the server ends: a time to come back, or RUN_ERROR if that has no sense.

        The run itself goes on, so a client that comes back gets the rest of it.
        """
        if retry_ms is not None:
            return b": %b\nretry: %d\n\n" % (reason.replace("\n", " ").encode(), retry_ms)
        return message(None, build.run_error(_code_of(code), reason))

    def refusal(self, refused: Refused) -> Answer:
        """Return a stream of one RUN_ERROR, or HTTP's own refusal of a client without access."""
        return refusal_of(refused)

    def _feed(self, event: Event) -> list[AguiEvent]:
        """Return the AG-UI events for an event. Set :attr:`over` if they are the last ones."""
        raise NotImplementedError

    def _decoded(self, line: bytes) -> Event | None:
        """Return the event of a line. Return None if the format does not need it."""
        return decode_line(line)

    def _messages(self, seq: int, told: Sequence[AguiEvent]) -> bytes:
        if not told:
            return b""
        id_ = b"%b:%d" % (self._epoch, seq)
        return b"".join([*(message(None, each) for each in told[:-1]), message(id_, told[-1])])

    def _fail(self, code: str, text: str) -> bytes:
        self.over = True
        return message(None, build.run_error(code, text))


class RunFormat(AguiFormat):
    """One AG-UI run: the response ends with it.

    Args:
        encoder: The encoder of the AG-UI run.
        begins: Returns whether the run begins with this event. Earlier events are ignored.
        needle: Bytes that the line of that event contains, and few others.
        cursor: See :class:`AguiFormat`.
    """

    def __init__(
        self, encoder: Encoder, begins: Callable[[AgentStarted], bool], needle: bytes, cursor: Position | None
    ) -> None:
        super().__init__(cursor)
        self._encoder, self._begins, self._needle = encoder, begins, needle
        self._begun = False

    def _decoded(self, line: bytes) -> Event | None:
        if self._begun:
            return decode_line(line)
        if self._needle not in line:
            return None
        event = decode_line(line)
        self._begun = isinstance(event, AgentStarted) and self._begins(event)
        return event if self._begun else None

    def _feed(self, event: Event) -> list[AguiEvent]:
        told = self._encoder.feed(event)
        self.over = self._encoder.over
        return told


class ThreadFormat(AguiFormat):
    """A whole session, one AG-UI run after another.

    Args:
        encoder: The encoder of the session.
        cursor: See :class:`AguiFormat`.
        live: Whether the stream goes on with new events. If not, it ends when the newest event at its beginning was
            told and no AG-UI run is open.
    """

    def __init__(self, encoder: ThreadEncoder, cursor: Position | None, *, live: bool) -> None:
        super().__init__(cursor)
        self._encoder, self._live = encoder, live
        self._latest = 0

    def welcome(self, frame: dict[str, Any]) -> bytes:
        """Take the position of the session, and end a stream that has nothing to tell."""
        if self._cursor is not None and self._cursor.seq < frame["oldest"] - 1:
            frame = {"reset": "trimmed", **frame}
        out = super().welcome(frame)
        self._latest = frame["latest"]
        self.over = self.over or (not self._live and frame["latest"] < frame["oldest"])
        return out

    def _feed(self, event: Event) -> list[AguiEvent]:
        told = self._encoder.feed(event)
        self.over = not self._live and event.seq >= self._latest and self._encoder.is_idle
        return told


def message(id_: bytes | None, event: AguiEvent) -> bytes:
    """Return an AG-UI event as a server-sent event."""
    head = b"" if id_ is None else b"id: %b\n" % id_
    return b"%bdata: %b\n\n" % (head, orjson.dumps(event))


def failed(code: str, text: str) -> Answer:
    """Return a whole response: a stream of one RUN_ERROR."""
    return Answer(200, message(None, build.run_error(code, text)), EVENT_STREAM)


def refusal_of(refused: Refused) -> Answer:
    """Return the response to a refused request."""
    if refused.status in _HTTP_STATUSES:
        return refusal_answer(refused)
    return failed(_code_of(refused.code), refused.reason)


def _code_of(code: int) -> str:
    return _CODES.get(code, "overloaded" if code < close_codes.BAD_FRAME else "refused")
