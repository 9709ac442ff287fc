"""RFC 6455, section 5.5: pings, pongs and close frames, alone, between fragments, and after the end."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest
from rfc6455.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    CONTROLS,
    KEY,
    PING,
    PONG,
    TEXT,
    close,
    frame,
    head,
    message,
    question,
)
from rfc6455.rows import Echoes, Ends, Lives, Row, deliveries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rfc6455.rows import Case

REPLY = ("reply", "q")
MAX_PAYLOAD = 125
MAX_REASON = 123


def pings() -> Iterator[Row]:
    """A ping of each length is answered by a pong with the same payload (sections 5.5.2 and 5.5.3)."""
    for size in range(MAX_PAYLOAD + 1):
        payload = bytes(range(100, 100 + size))
        yield Row(f"ping of {size} bytes", frame(PING, payload), Lives((("pong", payload),)))
    for name, payload in {"not UTF-8": b"\xff\xfe\xc0", "a close frame": close(1000), "zeros": bytes(9)}.items():
        yield Row(f"ping with {name}", frame(PING, payload), Lives((("pong", payload),)))
    three = b"".join(frame(PING, b"%d" % at) for at in range(3))
    yield Row("three pings", three, Lives(tuple(("pong", b"%d" % at) for at in range(3))))
    yield Row("the same ping twice", frame(PING, b"x") * 2, Lives((("pong", b"x"),) * 2))


def pongs() -> Iterator[Row]:
    """A pong that nothing asked for is ignored (section 5.5.3)."""
    for size in (0, 1, 4, 124, MAX_PAYLOAD):
        yield Row(f"pong of {size} bytes", frame(PONG, b"x" * size), Lives())
    yield Row("three pongs and a command", frame(PONG) * 3 + frame(TEXT, question()), Lives((REPLY,)))


def wrong_controls() -> Iterator[Row]:
    """A control frame has at most 125 bytes and is not fragmented (section 5.5); else 1002."""
    for (opcode, name), size in product(CONTROLS.items(), (126, 127, 200, 65_535, 65_537)):
        yield Row(f"{name} of {size} bytes", frame(opcode, b"x" * size), Ends(1002))
        yield Row(f"{name} that announces {size} bytes", head(0x80 | opcode, size) + KEY, Ends(1002))
    for (opcode, name), extended in product(CONTROLS.items(), (2, 8)):
        for size in (0, 1, MAX_PAYLOAD):
            data = frame(opcode, b"x" * size, extended=extended)
            yield Row(f"{name} of {size} bytes, length in {extended} bytes", data, Ends(1002))
    for (opcode, name), payload in product(CONTROLS.items(), (b"", b"xx")):
        data = frame(opcode, payload, fin=False)
        yield Row(f"{name} of {len(payload)} bytes without fin", data, Ends(1002))
        inside = frame(TEXT, b"{", fin=False) + data
        yield Row(f"{name} of {len(payload)} bytes without fin inside a message", inside, Ends(1002))


def between_fragments() -> Iterator[Row]:
    """Control frames may stand between the fragments of a message (section 5.4). They do not change the message."""
    data = question()
    for start in range(0, len(data) + 1, 4):
        heard = (("pong", b"ping"), REPLY)
        yield Row(f"ping at {start}", message(data, start, between=frame(PING, b"ping")), Lives(heard))
        yield Row(f"pong at {start}", message(data, start, between=frame(PONG, b"pong")), Lives((REPLY,)))
    sizes = [10] * (len(data) // 10)
    for number in (1, 2, 10):
        between = b"".join(frame(PING, b"%d" % at) for at in range(number))
        answers = [("pong", b"%d" % at) for at in range(number)] * len(sizes)
        outcome = Lives((*answers, REPLY))
        yield Row(f"{number} pings between all fragments", message(data, *sizes, between=between), outcome)
        between = frame(PONG, b"x") * number
        yield Row(f"{number} pongs between all fragments", message(data, *sizes, between=between), Lives((REPLY,)))
    mixed = frame(PONG) + frame(PING, b"x" * MAX_PAYLOAD) + frame(PONG, b"y")
    both = Lives((*[("pong", b"x" * MAX_PAYLOAD)] * len(sizes), REPLY))
    yield Row("both between all fragments", message(data, *sizes, between=mixed), both)
    empty = message(data, 0, 0, len(data), 0, between=frame(PING))
    yield Row("pings between empty fragments", empty, Lives((*[("pong", b"")] * 4, REPLY)))
    for code in (None, 1000, 4000):
        end = frame(CLOSE) if code is None else close(code, b"stop")
        echo = Echoes(code, "" if code is None else "stop")
        yield Row(f"close {code} between fragments", message(data, 9, between=end), echo)
    binary = message(b"\xff" * 9, 3, 3, between=frame(PING, b"x"), opcode=BINARY)
    yield Row("pings inside a binary message", binary, Ends(1003, (("pong", b"x"),) * 2))


def close_codes() -> Iterator[Row]:
    """A close frame with a code that a peer may send is answered with the same code (section 7.4)."""
    for code in (1000, 1001, 1002, 1003, *range(1007, 1014), 3000, 3001, 3999, 4000, 4001, 4500, 4999):
        yield Row(f"close {code}", close(code), Echoes(code))
        yield Row(f"close {code} with a reason", close(code, b"why"), Echoes(code, "why"))
    # Section 7.4.1 reserves 1004, and says that 1005, 1006 and 1015 are never sent. The codes up to 2999 that it does
    # not name are for later versions of the protocol; 1014 was named later, for gateways, and no client has a use for
    # it. Codes below 1000 and above 4999 have no meaning.
    for code in (0, 1, 999, 1004, 1005, 1006, 1014, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 9999, 32_768, 65_535):
        yield Row(f"close {code}", close(code), Ends(1002))
        yield Row(f"close {code} with a reason", close(code, b"why"), Ends(1002))
    yield Row("close without a body", frame(CLOSE), Echoes(None))
    for byte in (b"\0", b"\x03", b"\xff"):
        yield Row(f"close with the one byte {byte[0]}", frame(CLOSE, byte), Ends(1002))


def close_reasons() -> Iterator[Row]:
    """A reason is UTF-8 and has up to 123 bytes (sections 5.5 and 5.5.1)."""
    for size in (0, 1, 122, MAX_REASON):
        yield Row(f"reason of {size} bytes", close(1000, b"x" * size), Echoes(1000, "x" * size))
    yield Row("reason of 124 bytes", close(1000, b"x" * (MAX_REASON + 1)), Ends(1002))
    texts = {
        "2 bytes": "é" * 61,
        "3 bytes": "€" * 41,
        "4 bytes": "𝄞" * 30,
        "NUL": "a\0b",
        "a byte order mark": "\ufeffx",
        "the last character": "\U0010ffff",
    }
    for name, text in texts.items():
        yield Row(f"reason with {name}", close(1000, text.encode()), Echoes(1000, text))
    wrong = {
        "a lone continuation": b"\x80",
        "a surrogate": b"\xed\xa0\x80",
        "NUL in two bytes": b"\xc0\x80",
        "a character too high": b"\xf4\x90\x80\x80",
        "half a character": b"\xe2\x82",
        "no character": b"\xff",
    }
    for (name, bad), code in product(wrong.items(), (1000, 4000)):
        yield Row(f"close {code}, reason is {name}", close(code, bad), Ends(1007))
        yield Row(f"close {code}, reason ends with {name}", close(code, b"x" * 20 + bad), Ends(1007))
    cut = ("x" * 121 + "€").encode()[:MAX_REASON]
    yield Row("reason of 123 bytes that ends in a character", close(1000, cut), Ends(1007))


def after_the_close() -> Iterator[Row]:
    """After its close frame nothing of a client is read (sections 1.4 and 5.5.1): no answer, and no harm."""
    more = {
        "a command": frame(TEXT, question()),
        "a ping": frame(PING, b"x"),
        "a pong": frame(PONG, b"x"),
        "a close": close(1001),
        "binary": frame(BINARY, b"xx"),
        "a wrong opcode": frame(3),
        "a continuation": frame(CONTINUATION),
        "no mask": frame(TEXT, b"{}", key=None),
        "half a frame": head(0x81, 20) + KEY + b"x",
        "half a header": b"\x81",
        "a length of 2^62": head(0x81, 1 << 62) + KEY,
        "noise": bytes(range(256)),
    }
    for name, data in more.items():
        yield Row(f"close, then {name}", close(1000) + data, Echoes(1000))
        yield Row(f"close without a body, then {name}", frame(CLOSE) + data, Echoes(None))
    yield Row("command, then close", frame(TEXT, question()) + close(1000), Echoes(1000, before=(REPLY,)))
    yield Row("ping, then close", frame(PING, b"x") + close(1000), Echoes(1000, before=(("pong", b"x"),)))


TABLES = (pings, pongs, wrong_controls, between_fragments, close_codes, close_reasons, after_the_close)


@pytest.mark.parametrize("rows", deliveries(*TABLES))
def test_control_frames(rows: Sequence[Case], play_all: Callable[[Sequence[Case]], None]) -> None:
    """Control frames have the outcome that RFC 6455 requires. The neighbour notices nothing, and nothing stays.

    Each row comes as a whole, and each fourth row (in ``make soak`` each row) also byte by byte.
    """
    play_all(rows)
