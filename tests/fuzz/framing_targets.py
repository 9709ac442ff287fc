"""Fuzz targets: the framing of WebSocket, against the parser of a library that shares nothing with the server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import trio
import trio.testing
from fuzz.reference import CONTROLS, Limits, expected, read_frames
from fuzz.target import Target, first_byte, in_pieces
from websockets.frames import Close, Opcode

from transport import Settings
from transport.protocol.frame_scanner import FrameScanner
from transport.protocol.handshake import Accept, Reject
from transport.server._trio_wire import TrioWire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transport.protocol.health import Health
    from transport.server._wire import UpgradeRequest

_HEAD = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_LIMITS = Limits(fragments=6, size=1024)
_SETTINGS = Settings(max_fragments=_LIMITS.fragments, max_frame_bytes=_LIMITS.size)


# The scanner


def scanner(data: bytes) -> None:
    """Check that the scanner of frames finds the borders and kinds that the reference finds.

    The first byte says in which pieces the bytes come, the second how many frames the scanner takes at once.
    """
    size, data = first_byte(data)
    frames, data = first_byte(data)
    reading = read_frames(data, mask=True)
    limit = 1 + frames % 5
    ends, counts = _scan(data, 1 + size, limit)
    assert ends[-1:] in ([], [len(data)])
    borders = {end for _, end in reading.frames}
    known = max(borders, default=0)
    inside = {end for end in ends if end <= known and end % (1 + size) and end < len(data)}
    assert inside <= borders  # a call stops only at the end of a frame, or of its piece
    if reading.whole and reading.frames and reading.frames[-1][1] == len(data):
        kinds = [frame.opcode for frame, _ in reading.frames]
        assert counts.controls == sum(kind in CONTROLS for kind in kinds)
        assert counts.data == sum(kind not in CONTROLS and kind is not Opcode.CLOSE for kind in kinds)
        assert counts.later == kinds.count(Opcode.CONT)
        assert counts.most == max(_fragments(kinds), default=0)


@attrs.define
class _Counts:
    controls: int = 0
    data: int = 0
    later: int = 0
    most: int = 0


def _scan(data: bytes, size: int, limit: int) -> tuple[list[int], _Counts]:
    """Scan the bytes in pieces. Return where the calls ended, and the sums."""
    scanner, ends, counts, offset = FrameScanner(), list[int](), _Counts(), 0
    for piece in in_pieces(data, size):
        rest = piece
        while rest:
            taken = scanner.scan(rest, limit)
            assert 0 < taken <= len(rest)
            assert scanner.controls + scanner.data_frames <= scanner.begun <= limit
            rest = rest[taken:]
            offset += taken
            ends.append(offset)
            counts.controls += scanner.controls
            counts.data += scanner.data_frames
            counts.later += scanner.later_fragments
            counts.most = max(counts.most, scanner.most_fragments)
    return ends, counts


def _fragments(kinds: list[Opcode]) -> Iterator[int]:
    """Yield the number of fragments so far, after each data frame."""
    count = 0
    for kind in kinds:
        if kind in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
            count = count + 1 if kind is Opcode.CONT else 1
            yield count


# The whole wire


class _Owner:
    """The connection above a wire, which accepts every request and all small frames."""

    def __init__(self) -> None:
        self.too_many = False
        self.bad = ""
        self.messages: list[str | bytes] = []
        """The messages that the wire read, in order."""

    def on_client(self, address: str) -> bool:
        """Allow every client."""
        return True

    def on_upgrade(self, request: UpgradeRequest) -> Accept | Reject:
        return Accept(None)

    def on_bad_request(self, fault: str) -> None:
        self.bad = fault

    def health(self) -> Health:
        raise AssertionError("no request for the health is sent")

    def on_drained(self) -> None: ...

    def on_stuck(self) -> None: ...

    def close(self, code: int, reason: str) -> None:
        raise AssertionError("no web server is under the wire")

    def on_frames(self, controls: int, fragments: int) -> bool:
        assert controls or fragments
        return True

    def on_message(self, message: str) -> bool:
        self.messages.append(message)
        return True

    def on_too_many_fragments(self) -> None:
        self.too_many = True

    def on_too_big(self, code: int, reason: str) -> bool:
        return True


class _Exchange:
    """One connection: a client that sends bytes in pieces, and a wire that reads messages until its end."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._ours, self._theirs = trio.testing.memory_stream_pair()
        self.owner = _Owner()
        self.answer = bytearray()

    async def run(self, data: bytes) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve)
            nursery.start_soon(self._listen)
            for piece in (_HEAD, *in_pieces(data, self._size)):
                try:
                    await self._ours.send_all(piece)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    break
                await trio.testing.wait_all_tasks_blocked()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    async def _serve(self) -> None:
        wire = TrioWire(self._theirs, None, "", _SETTINGS)
        async with trio.open_nursery() as nursery:
            try:
                if await wire.upgrade(nursery, self.owner) is not None:
                    while True:
                        self.owner.messages.append(await wire.receive())
            except wire.gone:
                pass
            finally:
                try:
                    if wire.finish():
                        await wire.linger()
                finally:
                    await wire.abort()
                    wire.forget()
                    nursery.cancel_scope.cancel()

    async def _listen(self) -> None:
        while data := await self._ours.receive_some():
            self.answer += data


def wire(data: bytes) -> None:
    """Check that the wire reads the messages that the reference reads, and closes with the code of the first fault.

    The first byte says in which pieces the bytes come.
    """
    size, data = first_byte(data)
    wanted = expected(data, _LIMITS)
    exchange = _Exchange(1 + size)
    trio.run(exchange.run, data)
    assert exchange.answer.startswith(b"HTTP/1.1 101"), exchange.owner.bad
    _, _, answer = bytes(exchange.answer).partition(b"\r\n\r\n")
    closes = _server_closes(answer)
    if exchange.owner.too_many:
        # The connection then closes by itself. The messages in the same read are not handed on.
        assert wanted.codes
        assert exchange.owner.messages == wanted.messages[: len(exchange.owner.messages)]
        return
    assert exchange.owner.messages == wanted.messages
    assert len(closes) <= 1
    if closes or not wanted.early:
        assert bool(closes) == bool(wanted.codes), f"closed with {closes}, expected {wanted.codes}"
        assert set(closes) <= wanted.codes
    if closes:
        assert (b'"type":"goodbye"' in answer) is not wanted.is_echo


def _server_closes(answer: bytes) -> list[int]:
    """Return the codes of all close frames of a server, which must be valid frames and the last ones."""
    reading = read_frames(answer, mask=False)
    assert reading.whole
    frames = [frame for frame, _ in reading.frames]
    assert sum(len(frame.serialize(mask=False)) for frame in frames) == len(answer)
    for frame in frames:
        assert frame.fin
        if frame.opcode is Opcode.TEXT:
            assert json.loads(bytes(frame.data))["type"] == "goodbye"
    closes = [Close.parse(frame.data) for frame in frames if frame.opcode is Opcode.CLOSE]
    assert not closes or frames[-1].opcode is Opcode.CLOSE
    return [close.code for close in closes]


def _frame(opcode: int, payload: bytes = b"", *, final: bool = True, mask: bytes = b"\1\2\3\4") -> bytes:
    size = len(payload)
    head = bytes([final << 7 | opcode])
    head += bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


_STORY = (
    _frame(1, b"hello", final=False) + _frame(9, b"p") + _frame(0, b" w\xc3", final=False) + _frame(0, b"\xb6rld"),
    _frame(2, bytes(200)) + _frame(10) + _frame(8, b"\x03\xe8bye"),
    _frame(1, "ä€😀".encode()) + _frame(1) + _frame(8),
    _frame(1, b"x", final=False) + _frame(0, final=False) * 7 + _frame(0),
    _frame(1, b"x" * 1025),
    b"\xc1\x80\0\0\0\0",
    b"\x81\x05hello",
    _frame(9, bytes(125)) + _frame(9, bytes(126)),
    b"\x81\xff\0\0\0\0\0\1\0\0\0\0\0\0",
)
_WORDS = (
    b"\x81\x80\0\0\0\0", b"\x01\x80\0\0\0\0", b"\x00\x80\0\0\0\0", b"\x80\x80\0\0\0\0", b"\x89\x80\0\0\0\0",
    b"\x8a\x80\0\0\0\0", b"\x88\x80\0\0\0\0", b"\x88\x82\0\0\0\0\x03\xe8", b"\x82\x81\0\0\0\0x", b"\xfe\0\x7e",
    b"\xff\0\0\0\0\0\0\0\x01", b"\xc3", b"\xa4", b"\xe2\x82", b"\xac", b"\xf0\x9f\x98\x80", b"\xed\xa0\x80",
)  # fmt: skip
_SEEDS = tuple(bytes([size]) + story for story in _STORY for size in (0, 255))

TARGETS = (
    Target(
        "scanner", scanner, tuple(seed[:1] + bytes([number]) + seed[1:] for number, seed in enumerate(_SEEDS)), _WORDS
    ),
    Target("wire", wire, _SEEDS, _WORDS, longest=2048, weight=4),
)
