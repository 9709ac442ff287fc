"""RFC 6455, section 8.1: text is UTF-8, however it is cut, and anything else ends the connection with 1007."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rfc6455.frames import TEXT, frame, message, question
from rfc6455.rows import Ends, Lives, Row, deliveries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rfc6455.rows import Case

CHARACTERS = {
    "U+007F": "\x7f",
    "U+0080": "\x80",
    "U+00E9": "é",
    "U+07FF": "\u07ff",
    "U+0800": "\u0800",
    "U+20AC": "€",
    "U+D7FF": "\ud7ff",
    "U+E000": "\ue000",
    "U+FEFF": "\ufeff",
    "U+FFFD": "\ufffd",
    "U+FFFF": "\uffff",
    "U+10000": "\U00010000",
    "U+1D11E": "𝄞",
    "U+10FFFF": "\U0010ffff",
    "e with an accent of its own": "e\u0301",
    "a family": "👩\u200d👧",
}
"""Characters at both ends of each length in UTF-8, and some others."""
WRONG = {
    "lone 80": b"\x80",
    "lone BF": b"\xbf",
    "two continuations": b"\x80\xbf",
    "C0 80, NUL in two bytes": b"\xc0\x80",
    "C0 AF, slash in two bytes": b"\xc0\xaf",
    "C1 BF, 7F in two bytes": b"\xc1\xbf",
    "E0 80 80, NUL in three bytes": b"\xe0\x80\x80",
    "E0 9F BF, 7FF in three bytes": b"\xe0\x9f\xbf",
    "F0 80 80 80, NUL in four bytes": b"\xf0\x80\x80\x80",
    "F0 8F BF BF, FFFF in four bytes": b"\xf0\x8f\xbf\xbf",
    "ED A0 80, first surrogate": b"\xed\xa0\x80",
    "ED AF BF": b"\xed\xaf\xbf",
    "ED B0 80": b"\xed\xb0\x80",
    "ED BF BF, last surrogate": b"\xed\xbf\xbf",
    "ED A0 BD ED B8 80, a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "F4 90 80 80, first too high": b"\xf4\x90\x80\x80",
    "F5 80 80 80": b"\xf5\x80\x80\x80",
    "F7 BF BF BF": b"\xf7\xbf\xbf\xbf",
    "F8 88 80 80 80, five bytes": b"\xf8\x88\x80\x80\x80",
    "FC 84 80 80 80 80, six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
    "C3 28, no second byte": b"\xc3\x28",
    "E2 28 A1, no second byte": b"\xe2\x28\xa1",
    "E2 82 28, no third byte": b"\xe2\x82\x28",
    "F0 28 8C BC, no second byte": b"\xf0\x28\x8c\xbc",
    "F0 90 28 BC, no third byte": b"\xf0\x90\x28\xbc",
    "F0 9D 84 28, no fourth byte": b"\xf0\x9d\x84\x28",
}
UNFINISHED = {
    "C3": b"\xc3",
    "E2": b"\xe2",
    "E2 82": b"\xe2\x82",
    "F0": b"\xf0",
    "F0 9D": b"\xf0\x9d",
    "F0 9D 84": b"\xf0\x9d\x84",
}
HEAD = 6
"""Number of bytes before the payload of a short frame."""


def split() -> Iterator[Row]:
    """A character may be cut anywhere: by the border of two fragments, or of two TCP segments."""
    for name, text in CHARACTERS.items():
        id_ = f"a{text}b"
        data, answered = question(id_), Lives((("reply", id_),))
        start = data.index(text.encode())
        whole = frame(TEXT, data)
        yield Row(name, whole, answered)
        for cut in range(1, len(text.encode())):
            yield Row(f"{name}, two fragments, cut at {cut}", message(data, start + cut), answered)
            yield Row(f"{name}, two reads, cut at {cut}", whole, answered, cuts=[HEAD + start + cut])
            both = message(data, start + cut)
            cuts = [HEAD + start + cut, HEAD + start + cut + HEAD]
            yield Row(f"{name}, two fragments and three reads, cut at {cut}", both, answered, cuts=cuts)
        each = message(data, start, *[1] * len(text.encode()))
        yield Row(f"{name}, each byte a fragment", each, answered)
        apart = message(data, start, *[1, 0] * len(text.encode()))
        yield Row(f"{name}, each byte a fragment, empty ones between", apart, answered)


def wrong() -> Iterator[Row]:
    """Bytes that are not UTF-8 end the connection with 1007 at the beginning, inside and at the end of a message.

    This also holds if another fragment is still to come.
    """
    for name, bad in WRONG.items():
        places = {"alone": bad, "first": bad + b" xx", "inside": b'{"x":"' + bad + b'"}', "last": b"{}" + bad}
        for place, data in places.items():
            yield Row(f"{name}, {place}", frame(TEXT, data), Ends(1007))
        yield Row(f"{name}, in the first of two fragments", frame(TEXT, b"{" + bad + b" ", fin=False), Ends(1007))
        yield Row(f"{name}, in the second fragment", message(b'{"x"' + bad + b" }", 4), Ends(1007))
        for cut in range(1, len(bad)):
            yield Row(f"{name}, over two fragments, cut at {cut}", message(b"{" + bad + b" }", 1 + cut), Ends(1007))


def unfinished() -> Iterator[Row]:
    """A message that ends inside a character ends the connection with 1007, also if its last fragment is empty."""
    for name, bad in UNFINISHED.items():
        yield Row(f"{name} at the end", frame(TEXT, b"{}" + bad), Ends(1007))
        yield Row(f"{name} alone", frame(TEXT, bad), Ends(1007))
        yield Row(f"{name} before an empty fragment", message(b"{}" + bad, 2 + len(bad)), Ends(1007))
        yield Row(f"{name} before a character", frame(TEXT, b"{}" + bad + b"}"), Ends(1007))
        yield Row(f"{name} before the next message", frame(TEXT, b"{}" + bad) + frame(TEXT, b"\x82"), Ends(1007))


@pytest.mark.parametrize("rows", deliveries(split, wrong, unfinished))
def test_utf8(rows: Sequence[Case], play_all: Callable[[Sequence[Case]], None]) -> None:
    """Text in UTF-8 arrives unchanged. Any other text ends the connection with 1007, and the neighbour notices nothing.

    Each row comes as a whole, and each fourth row (in ``make soak`` each row) also byte by byte.
    """
    play_all(rows)
