"""A client that sends any bytes over an in-memory stream, and keeps all that the server answers."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import orjson
import trio
import trio.testing
from fuzz.reference import read_frames
from fuzz.target import in_pieces
from websockets.frames import Close, Opcode

if TYPE_CHECKING:
    from transport import Server

HEAD = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_PING = b'{"type":"ping"}'
_PONG = b'\x8a\x80\0\0\0\0\x81\x8f\0\0\0\0{"type":"pong"}'
_MASK = b"\x5a\x00\xff\x21"


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """Return one frame of a client."""
    size = len(payload)
    head = bytes([final << 7 | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    else:
        head += b"\xfe" + size.to_bytes(2, "big") if size < 1 << 16 else b"\xff" + size.to_bytes(8, "big")
    return head + _MASK + bytes(byte ^ _MASK[at % 4] for at, byte in enumerate(payload))


class Gate(trio.abc.SendStream):
    """The server's way to a client, which the test can block: the client then reads nothing."""

    def __init__(self, stream: trio.abc.SendStream) -> None:
        self._stream = stream
        self._open = trio.Event()
        self._open.set()

    def block(self) -> None:
        """Let nothing through until :meth:`unblock`."""
        self._open = trio.Event()

    def unblock(self) -> None:
        """Let everything through."""
        self._open.set()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._open.wait()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._open.wait()

    async def aclose(self) -> None:
        await self._stream.aclose()


@attrs.frozen
class Received:
    """All that a server has sent on one connection."""

    status: int
    """HTTP status of the answer to the request; 0 if there is none."""
    texts: list[dict[str, Any]]
    close: Close | None
    goodbye: dict[str, Any] | None
    """The goodbye directly before the close frame, or at the end if there is no close frame."""

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """Return the frames of this type."""
        return [text for text in self.texts if text["type"] == kind]

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events."""
        return [event for each in self.of_type("events") for event in each["events"]]


_HELLO_SECONDS = 10
"""Default of the setting ``hello_seconds``."""


@attrs.define(eq=False)
class Tab:
    """One connection of a client."""

    sent: bytearray = attrs.Factory(bytearray)
    """The bytes that were sent after the request."""
    raw: bytearray = attrs.Factory(bytearray)
    """The bytes that were received."""
    asked: bool = False
    """Whether exactly one request for a WebSocket was sent, which the server must accept."""
    early: bool = False
    """Whether bytes came directly after such a request. Whether the server takes them depends on the pieces."""
    left: bool = False
    """Whether the client has closed its stream."""
    ended: bool = False
    """Whether the server has closed the stream."""
    mute: bool = False
    """Whether the client could not answer a ping, since it is in the middle of a frame."""
    stalled: bool = False
    """Whether the client ever stopped reading."""
    opened_at: float = attrs.Factory(trio.current_time)
    asked_at: float = math.inf
    """Time at which the request was sent."""
    late: bool = False
    """Whether bytes came without a welcome and after ``hello_seconds``, so that the hello in them comes too late."""
    _between_messages: bool = True
    _writing: trio.Lock = attrs.Factory(trio.Lock)
    _stream: trio.abc.Stream | None = None
    _gate: Gate | None = None

    async def open(self, server: Server, nursery: trio.Nursery) -> None:
        """Connect to the server."""
        to_server, from_client = trio.testing.memory_stream_one_way_pair()
        to_client, from_server = trio.testing.memory_stream_one_way_pair()
        self._gate = Gate(to_client)
        self._stream = trio.StapledStream(to_server, from_server)
        nursery.start_soon(server.endpoint.serve, trio.StapledStream(self._gate, from_client))
        nursery.start_soon(self._listen)
        await trio.testing.wait_all_tasks_blocked()

    async def ask(self, head: bytes, piece: int = 1 << 16) -> None:
        """Send the request for a WebSocket."""
        self.asked, self.asked_at = head == HEAD, trio.current_time()
        self.early = head.startswith(HEAD) and not self.asked
        await self._write(head, piece)

    async def send(self, data: bytes, piece: int = 1 << 16) -> None:
        """Send bytes after the request, in pieces, and wait until the server has nothing more to do."""
        if not self.left and not self.ended:
            self._between_messages = False
            self.sent += data
            self.late |= b'"welcome"' not in self.raw and trio.current_time() >= self.asked_at + _HELLO_SECONDS
            await self._write(data, piece)
            self._between_messages = _is_whole(bytes(self.sent))

    async def _write(self, data: bytes, piece: int) -> None:
        for each in in_pieces(data, piece):
            await self._put(each)
            await trio.testing.wait_all_tasks_blocked()

    async def _put(self, data: bytes) -> None:
        assert self._stream is not None
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with self._writing:
                await self._stream.send_all(data)

    async def leave(self) -> None:
        """Close the stream without a close frame."""
        self.left = True
        assert self._stream is not None
        await trio.aclose_forcefully(self._stream)
        await trio.testing.wait_all_tasks_blocked()

    async def read(self, *, reads: bool) -> None:
        """Stop reading, or go on."""
        assert self._gate is not None
        if reads:
            self._gate.unblock()
        else:
            self.stalled = True
            self._gate.block()
        await trio.testing.wait_all_tasks_blocked()

    async def _listen(self) -> None:
        assert self._stream is not None
        try:
            while data := await self._stream.receive_some():
                self.raw += data
                if _PING in data:
                    await self._answer()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        self.ended = True

    async def _answer(self) -> None:
        """Answer a ping, unless the client is in the middle of a frame or of a message."""
        if not self._between_messages:
            self.mute = True
            return
        self.sent += _PONG
        await self._put(_PONG)

    # What came

    def received(self) -> Received:
        """Return what the server has sent. Its bytes must be valid frames."""
        head, _, rest = bytes(self.raw).partition(b"\r\n\r\n")
        status = int(head[9:12]) if head else 0
        if status != 101:
            return Received(status, [], None, None)
        reading = read_frames(rest, mask=False)
        frames = [each for each, _ in reading.frames]
        assert reading.whole
        assert sum(len(each.serialize(mask=False)) for each in frames) == len(rest) or self.left or self.stalled
        assert all(each.fin for each in frames)
        closes = [Close.parse(each.data) for each in frames if each.opcode is Opcode.CLOSE]
        assert not closes or frames[-1].opcode is Opcode.CLOSE
        assert not any(each.opcode is Opcode.BINARY for each in frames)
        texts: list[dict[str, Any]] = [json.loads(bytes(each.data)) for each in frames if each.opcode is Opcode.TEXT]
        goodbyes = [text for text in texts if text["type"] == "goodbye"]
        assert goodbyes in ([], texts[-1:]), goodbyes
        return Received(status, texts, closes[0] if closes else None, goodbyes[0] if goodbyes else None)

    def filled(self, text: str) -> str:
        """Return the text with values in place of ``"$run"``, ``"$call"``, ``"$epoch"`` and ``"$seq"``.

        The values come from the newest events and welcome that the client has received.
        """
        if "$" not in text:
            return text
        received = self.received()
        values: dict[str, Any] = {"run": "r-none", "call": "q-none", "epoch": "e-none", "seq": 0}
        for welcome in received.of_type("welcome"):
            values |= {"epoch": welcome["epoch"], "seq": welcome["latest"]}
        for event in received.events:
            values["seq"] = event["seq"]
            values["run"] = event.get("run_id", values["run"])
            values["call"] = event.get("call_id", values["call"])
        for name, value in values.items():
            text = text.replace(f'"${name}"', orjson.dumps(value).decode())
        return text


def _is_whole(data: bytes) -> bool:
    """Return whether a client's bytes end at the end of a message."""
    reading = read_frames(data, mask=True)
    ends = [end for _, end in reading.frames]
    fins = [each.fin for each, _ in reading.frames if each.opcode < Opcode.CLOSE]
    return reading.whole and ends[-1:] == [len(data)] and all(fins[-1:])
