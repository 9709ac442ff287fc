"""The formats of ``greenroom.v1`` over HTTP: server-sent events, and the answer to a long poll."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from actors.events.line import seq_of
from transport.adapters.answers import Answer
from transport.adapters.format import Format
from transport.adapters.positions import position_of
from transport.protocol import server_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors import Position
    from transport.adapters.positions import Start

MAX_POLL_BYTES = 256 * 1024
"""Size in bytes from which the answer to a long poll takes no more events. A batch of events is not cut."""


class EventStream(Format):
    """Server-sent events: a message for each event and for each other frame (WHATWG HTML, section 9.2).

    Args:
        start: The position at which the client wants to begin.
    """

    def __init__(self, start: Start) -> None:
        super().__init__()
        self._start = start
        self._epoch = b""

    def welcome(self, frame: dict[str, Any]) -> bytes:
        """Return the welcome, with the position that it implies as its id."""
        position = position_of(frame, self._start)
        self._epoch = position.epoch.encode()
        return b"id: %b:%d\nevent: welcome\ndata: %b\n\n" % (self._epoch, position.seq, orjson.dumps(frame))

    def events(self, lines: Sequence[bytes]) -> bytes:
        """Return one message for each event. Its id is the position of the event."""
        # Events are numbered without a gap, so only the first number is read.
        first = seq_of(lines[0])
        epoch = self._epoch
        return b"".join(b"id: %b:%d\ndata: %b\n\n" % (epoch, first + at, line) for at, line in enumerate(lines))

    def signal(self, frame: bytes) -> bytes:
        """Return a signal. It has no id, so it moves no position."""
        return b"event: signal\ndata: %b\n\n" % frame

    def other(self, frame: bytes) -> bytes:
        """Return another frame. Its type is the name of the message."""
        return b"event: %b\ndata: %b\n\n" % (orjson.loads(frame)["type"].encode(), frame)

    def goodbye(self, code: int, reason: str, retry_ms: int | None) -> bytes:
        """Return the goodbye. ``retry`` tells a browser's EventSource how long to wait."""
        retry = b"" if retry_ms is None else b"retry: %d\n" % retry_ms
        return b"event: goodbye\n%bdata: %b\n\n" % (retry, server_frames.goodbye(code, reason, retry_ms))


class Poll(Format):
    """The answer to a long poll: the welcome and the frames after it, as on a WebSocket.

    The caller ends the stream when its time is up. It ends by itself when the answer is large enough.

    Args:
        start: The position at which the client wants to begin.
        on_news: Called at each frame after the welcome, and at a welcome to which the client must react at once.
    """

    is_whole = True

    def __init__(self, start: Start, on_news: Callable[[], None]) -> None:
        super().__init__()
        self._start = start
        self._on_news = on_news
        self._frames: list[bytes] = []
        self._position: Position
        self._seq = 0
        self._size = 0

    def welcome(self, frame: dict[str, Any]) -> bytes:
        """Take the welcome."""
        self._position = position_of(frame, self._start)
        self._seq = self._position.seq
        self._frames.append(orjson.dumps(frame))
        if self._start.resume is None or not frame["recovered"]:
            self._on_news()
        return b""

    def events(self, lines: Sequence[bytes]) -> bytes:
        """Take some events."""
        self._seq = seq_of(lines[-1])
        self._take(server_frames.events(lines))
        self.over = self._size >= MAX_POLL_BYTES
        return b""

    def signal(self, frame: bytes) -> bytes:
        """Take a signal."""
        self._take(frame)
        return b""

    def other(self, frame: bytes) -> bytes:
        """Take another frame."""
        self._take(frame)
        return b""

    def goodbye(self, code: int, reason: str, retry_ms: int | None) -> bytes:
        """Take the goodbye of the server, after which nothing comes."""
        self._take(server_frames.goodbye(code, reason, retry_ms))
        return b""

    def whole(self) -> Answer:
        """Return the position after the last event, and all frames."""
        position = orjson.dumps(f"{self._position.epoch}:{self._seq}")
        return Answer(200, b'{"position":%b,"frames":[%b]}' % (position, b",".join(self._frames)))

    def _take(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._size += len(frame)
        self._on_news()
