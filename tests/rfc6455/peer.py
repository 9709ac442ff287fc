"""A client on a plain socket that sends any bytes, and tells what the server sent."""

from __future__ import annotations

import json
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from protocol.threaded import PATIENCE
from rfc6455.frames import CLOSE, PING, PONG, TEXT, Frame, close, frame, frame_from

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
"""A request for a WebSocket, with the key of the example in RFC 6455, section 1.3."""
HELLO = frame(TEXT, b'{"type":"hello","session":"s1","from":"latest"}')
LAST = b"the last ping"

Heard = tuple[object, ...]
"""What the server sent: a word for its kind, and its contents."""


class Peer:
    """A client on a plain socket. It closes the socket at the end of its ``with`` block."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes. If the server has closed the connection already, do nothing: its answer says why."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def end_sending(self) -> None:
        """Tell the server that nothing more comes."""
        with suppress(OSError):  # the server was faster
            self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection with a reset instead of a proper end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _more(self) -> bool:
        """Read from the socket. Return False at the end of the stream."""
        try:
            data = self.socket.recv(65_536)
        except ConnectionResetError:  # the server left bytes unread, and the system says so
            data = b""
        self._unread += data
        return bool(data)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the answer to the request for a WebSocket. The status is 0 if none came.

        After an answer without an upgrade the server closes the connection, so that the body is all that follows.
        """
        while b"\r\n\r\n" not in self._unread:
            if not self._more():
                assert self._unread == b"", "a part of an answer"
                return 0, {}, b""
        start, self._unread = self._unread.split(b"\r\n\r\n", 1)
        first, *lines = start.decode("ascii").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        assert len(headers) == len(lines), "no header comes twice"
        if status == "101":
            return 101, headers, b""
        while self._more():
            pass
        assert headers["content-length"] == str(len(self._unread))
        return int(status), headers, self._unread

    def upgrade(self) -> None:
        """Open the WebSocket."""
        self.send(UPGRADE)
        assert self.answer()[0] == 101

    def hello(self) -> None:
        """Say hello, and read the welcome."""
        self.send(HELLO)
        assert self.hear() == ("text", "welcome")

    def hear(self) -> Heard:
        """Return the next frame of the server: its kind and its contents; ``("end",)`` at the end of the stream."""
        while (found := frame_from(self._unread)) is None:
            if not self._more():
                assert self._unread == b"", "a part of a frame"
                return ("end",)
        one, self._unread = found
        return _heard(one)

    def hear_all(self) -> list[Heard]:
        """Return all frames of the server until the end of the stream. Answer its close frame."""
        heard: list[Heard] = []
        while (one := self.hear()) != ("end",):
            heard.append(one)
            if one[0] == "close":
                self.send(frame(CLOSE))
                # The server reads no frames after a message that was too large. It waits for this end, for 2 s at most.
                self.end_sending()
        return heard

    def hear_until(self, last: Heard) -> list[Heard]:
        """Return all frames of the server before ``last``. If it does not come, also ``("end",)``."""
        heard: list[Heard] = []
        while (one := self.hear()) != last:
            heard.append(one)
            if one == ("end",):
                break
        return heard

    def finish(self) -> list[Heard]:
        """Send a ping and a close frame. Return all frames before the pong.

        The pong shows that the server has handled everything before. Then only the echo of the close frame may come.
        """
        self.send(frame(PING, LAST))
        heard = self.hear_until(("pong", LAST))
        self.send(close(1000, b"bye"))
        assert self.hear_all() == [("close", 1000, "bye")], heard
        return heard


def _heard(one: Frame) -> Heard:
    """Return a frame of the server in a form that is easy to compare."""
    match one.opcode:
        case code if code == TEXT:
            return _text(json.loads(one.payload))
        case code if code == PONG:
            return ("pong", one.payload)
        case code if code == CLOSE:
            number = int.from_bytes(one.payload[:2], "big") if one.payload else None
            return ("close", number, one.payload[2:].decode())
        case _:
            raise AssertionError(f"the server sends no such frame: {one}")


def _text(data: dict[str, object]) -> Heard:
    match data["type"]:
        case "reply":
            return ("reply", data["id"])
        case "goodbye":
            return ("goodbye", data["code"], data["reason"])
        case other:
            return ("text", other)
