"""Compressed messages: which offers are accepted, the limits of a message that is read, and what is written."""

from __future__ import annotations

import hashlib
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rfc6455.frames import CONTINUATION, PING, TEXT, frame
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Ping, TextMessage

from transport.protocol import deflate
from transport.protocol.deflate import PLAIN, BadDeflate, Inflater, TooLarge, deflated, messages_for
from transport.protocol.deflate_extension import DeflateExtension

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = "permessage-deflate"
OWN = "server_no_context_takeover; client_no_context_takeover"
LIMIT = 1000
TAIL = b"\x00\x00\xff\xff"
MEBIBYTE = 1024 * 1024

ACCEPTED = {
    "": OWN,
    "; client_max_window_bits": OWN,
    ";client_max_window_bits=8": OWN,
    "; client_max_window_bits=15; server_no_context_takeover": OWN,
    " ; client_no_context_takeover ; server_no_context_takeover": OWN,
    "; server_max_window_bits=15": OWN,
    "; server_max_window_bits=14": f"{OWN}; server_max_window_bits=14",
    "; server_max_window_bits=9": f"{OWN}; server_max_window_bits=9",
    '; server_max_window_bits="10"': f"{OWN}; server_max_window_bits=10",
    "; server_max_window_bits = 10": f"{OWN}; server_max_window_bits=10",
}
DECLINED = (
    ";",
    "; ",
    "; x",
    "; client_no_context_takeover=1",
    '; client_no_context_takeover=""',
    "; server_no_context_takeover=true",
    "; server_no_context_takeover; server_no_context_takeover",
    "; server_max_window_bits",
    "; server_max_window_bits=",
    "; server_max_window_bits=7",
    "; server_max_window_bits=8",  # allowed, but zlib cannot do it
    "; server_max_window_bits=16",
    "; server_max_window_bits=010",
    "; server_max_window_bits=+9",
    "; server_max_window_bits=9; server_max_window_bits=10",
    "; client_max_window_bits=7",
    "; client_max_window_bits=16",
    "; client_max_window_bits=",
    '; client_max_window_bits="9',
    "; Client_Max_Window_Bits",
    "; client_max_window_bits, x",
)


@pytest.mark.parametrize(("parameters", "answer"), ACCEPTED.items())
def test_accepted_offer(parameters: str, answer: str) -> None:
    """The answer has no context takeover in both directions, and a window only if the client asks for a smaller one."""
    extension = DeflateExtension(LIMIT)
    assert extension.accept(NAME + parameters) == answer
    assert extension.enabled()


@pytest.mark.parametrize("parameters", DECLINED)
def test_declined_offer(parameters: str) -> None:
    """An offer with an unknown parameter, a repeated one or a wrong value is declined. The next offer counts."""
    extension = DeflateExtension(LIMIT)
    assert extension.accept(NAME + parameters) is None
    assert not extension.enabled()
    assert extension.accept(f"{NAME}; server_max_window_bits=11") == f"{OWN}; server_max_window_bits=11"
    assert extension.accept(NAME) is None
    assert extension.window == 11


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        (OWN, True),
        ("server_no_context_takeover", True),
        (f"{OWN}; server_max_window_bits=9", True),
        ("client_no_context_takeover", False),
        (f"{OWN}; client_max_window_bits=9", False),
        (f"{OWN}; x", False),
    ],
)
def test_answer_to_own_offer(answer: str, fits: bool) -> None:
    """A client takes only an answer that fits its own offer: the server keeps no context."""
    assert deflate.fits_own_offer(f"{NAME}; {answer}") is fits


def inflate(data: bytes, limit: int = LIMIT) -> bytes:
    """Return the text of a whole compressed message."""
    inflater = Inflater(limit)
    return inflater.feed(data) + inflater.end()


@pytest.mark.parametrize("window", range(9, 16))
def test_limit_of_a_message(window: int) -> None:
    """A message of the limit is read, whatever its window is. One byte more is too large."""
    assert inflate(deflated(b"x" * LIMIT, window)) == b"x" * LIMIT
    with pytest.raises(TooLarge):
        inflate(deflated(b"x" * (LIMIT + 1), window))


def test_bomb_takes_little_memory() -> None:
    """A bomb of 64 MB is not decompressed beyond the limit."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join([compressor.compress(bytes(MEBIBYTE)) for _ in range(64)]) + compressor.flush(zlib.Z_SYNC_FLUSH)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            inflate(bomb, 66_000)
        assert tracemalloc.get_traced_memory()[1] < MEBIBYTE
    finally:
        tracemalloc.stop()


def test_blocks_without_text() -> None:
    """Empty blocks make no text. They have a limit, a little above that of the text."""
    empty = b"\x00" + TAIL
    room = (LIMIT + LIMIT // 256 + 1024) // len(empty)
    inflater = Inflater(LIMIT)
    assert [inflater.feed(empty) for _ in range(room)] == [b""] * room
    with pytest.raises(TooLarge):
        inflater.feed(empty)


def test_final_block() -> None:
    """A message may end with a final block and an empty one: RFC 7692, section 7.2.3.4. More is not valid."""
    data = bytes.fromhex("f348cdc9c9070000")
    assert inflate(data) == b"Hello"
    for wrong in (data + b"\x00", data[:-1] + data, data[:-1] + b"\x01"):
        with pytest.raises(BadDeflate):
            inflate(wrong)


@pytest.mark.parametrize("data", [b"\xff", b"\x07", b"\x01\x00\x00\x00\x00", b"x" * 20])
def test_bytes_that_are_not_deflate(data: bytes) -> None:
    """Bytes that no compressor makes are an error."""
    with pytest.raises(BadDeflate):
        inflate(data)


def test_empty_message() -> None:
    """An empty message is one byte, and is read as empty again. No byte at all is empty, too."""
    assert deflated(b"") == b"\x00"
    assert inflate(b"\x00") == inflate(b"") == b""


def test_size_of_written_messages() -> None:
    """A message is compressed from the least size up to the largest one."""
    messages = messages_for(2000, 15)
    for size in (1999, deflate.MOST_BYTES + 1):
        assert messages.text(b"x" * size) == PLAIN.text(b"x" * size)
    for size in (2000, deflate.MOST_BYTES):
        message = messages.text(b"x" * size)
        assert message[0] == 0xC1
        assert inflate(message[4 if message[1] == 126 else 2 :], size) == b"x" * size


def test_message_that_does_not_become_smaller() -> None:
    """A message that compression would make larger is written as it is."""
    noise = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(64))
    assert len(deflated(noise)) > len(noise) == 2048
    assert messages_for(1024, 15).text(noise) == PLAIN.text(noise)


def test_message_of_several_connections_is_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same message for the tabs of a session is compressed once. The next one is compressed again."""
    calls: list[int] = []

    def counted(payload: memoryview, window: int) -> bytes:
        calls.append(len(payload))
        return deflated(payload, window)

    monkeypatch.setattr(deflate, "deflated", counted)
    messages = deflate.DeflatedMessages(1024, 15)
    lines = [b'{"seq":1}' * 200]
    assert messages.events(lines) == messages.events(list(lines))
    assert len(calls) == 1
    assert messages.events([b'{"seq":2}' * 200]) != messages.events(lines)
    assert len(calls) == 3


def read(data: bytes, cuts: Iterable[int], limit: int = 1 << 20) -> tuple[list[str], list[object]]:
    """Return the texts and all other events that wsproto makes of a client's frames, which arrive in parts."""
    extension = DeflateExtension(limit)
    extension.accept(NAME)
    connection = Connection(ConnectionType.SERVER, [extension])
    texts, others, text = list[str](), list[object](), ""
    at = 0
    for cut in (*sorted(cut % (len(data) + 1) for cut in cuts), len(data)):
        connection.receive_data(data[at:cut])
        at = cut
        for event in connection.events():
            if isinstance(event, TextMessage):
                text += event.data
                if event.message_finished:
                    texts.append(text)
                    text = ""
            else:
                others.append(event)
    return texts, others


FRAGMENTS = st.lists(st.integers(0, 400), max_size=4)
MESSAGES = st.lists(st.tuples(st.text(max_size=200), st.booleans(), FRAGMENTS), max_size=5)


@settings(max_examples=60, deadline=None)
@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 4000), max_size=8), window=st.integers(9, 15))
def test_round_trip(messages: list[tuple[str, bool, list[int]]], cuts: list[int], window: int) -> None:
    """Messages arrive as they were sent: compressed or not, in any fragments and reads, with pings in between."""
    data, pings = b"", 0
    for text, is_compressed, fragments in messages:
        payload = deflated(text.encode(), window) if is_compressed else text.encode()
        ends = sorted(end % (len(payload) + 1) for end in fragments)
        for number, (start, end) in enumerate(zip([0, *ends], [*ends, len(payload)], strict=True)):
            opcode = CONTINUATION if number else TEXT
            reserved = 4 if is_compressed and not number else 0
            data += frame(opcode, payload[start:end], fin=number == len(ends), reserved=reserved) + frame(PING)
            pings += 1
    texts, others = read(data, cuts)
    assert texts == [text for text, _, _ in messages]
    assert others == [Ping(payload=b"")] * pings


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes(data: bytes, cuts: list[int]) -> None:
    """Any compressed bytes are a message within the limit, or the end with 1007 or 1009."""
    texts, others = read(frame(TEXT, data, reserved=4), cuts, limit=100)
    codes = [event.code for event in others if isinstance(event, CloseConnection)]
    assert (len(texts), codes) in [(1, []), (0, [1007]), (0, [1009])]
    assert all(len(text.encode()) <= 100 for text in texts)
