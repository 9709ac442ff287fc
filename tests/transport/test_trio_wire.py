"""The wire of a connection by itself: the messages that it writes."""

from __future__ import annotations

import trio.testing

from transport.protocol.websocket import close_message, text_message
from transport.server._trio_wire import TrioWire
from transport.settings import Settings


class Recorder(TrioWire):
    """A wire that keeps everything that it would write."""

    def __init__(self) -> None:
        super().__init__(trio.testing.memory_stream_pair()[0], None, "", Settings())
        self.written: list[bytes] = []
        self._open = True  # as after the upgrade

    def write(self, data: bytes) -> None:
        self.written.append(data)


async def test_no_message_follows_the_close_frame() -> None:
    """After the close frame, a wire writes no message (RFC 6455, section 5.5.1)."""
    wire = Recorder()
    wire.send(b"before")
    wire.amend(close_message(1000, ""))
    wire.send(b"after")
    wire.send_events([b"{}"])
    wire.post(b"after")
    wire.release()
    assert wire.written == [text_message(b"before")]
    assert wire.posted == []
