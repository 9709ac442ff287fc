"""Close codes: after which codes a client connects again, and how long the reason in a close frame may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.protocol.close_codes import CLOSE_CODES, MAX_REASON_BYTES, comes_back, truncate_reason

COMES_BACK = {
    **dict.fromkeys((1000, 1002, 1003, 1007, 1008, 1009, 1010), False),
    **dict.fromkeys((1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015), True),
    **dict.fromkeys((4000, 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4410, 4499), True),
    **dict.fromkeys((4500, 4501, 4502, 4503, 4504, 4505, 4506, 4507, 4999), False),
}


@pytest.mark.parametrize(("code", "expected"), COMES_BACK.items())
def test_comes_back(code: int, expected: bool) -> None:
    """The table of close codes decides whether a client connects again after a close.

    For a code that is not in the table, the range of the code decides.
    """
    assert comes_back(code) is expected


def test_own_codes_are_in_their_range() -> None:
    """The protocol's close codes below 4500 let a client reconnect. Its close codes from 4500 on do not."""
    own = [line for line in CLOSE_CODES.values() if line.code >= 4000]
    assert own
    assert [line for line in own if line.come_back != (line.code < 4500)] == []
    assert [line for line in CLOSE_CODES.values() if line.code not in COMES_BACK] == []


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", 0),
        ("x" * 123, 123),
        ("x" * 121 + "é", 123),
        ("x" * 120 + "€", 123),
        ("x" * 119 + "😀", 123),
    ],
)
def test_reason_of_123_bytes(text: str, size: int) -> None:
    """A close reason of 123 bytes, the maximum of WebSocket, is sent unchanged."""
    assert truncate_reason(text) == text
    assert len(text.encode()) == size


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("x" * 124, 120),
        ("x" * 122 + "é", 120),
        ("x" * 119 + "éé" + "x", 119),
        ("x" * 118 + "€€", 118),
        ("x" * 117 + "😀😀", 117),
    ],
)
def test_longer_reason_is_cut(text: str, kept: int) -> None:
    """A close reason of more than 123 bytes is cut between two characters, and an ellipsis is added."""
    assert truncate_reason(text) == text[:kept] + "…"


@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_any_reason_fits(text: str) -> None:
    """Any close reason is cut so that it fits into a close frame, and as much of it as possible is kept."""
    sendable = text.encode(errors="replace").decode()
    cut = truncate_reason(text)
    assert len(cut.encode()) <= MAX_REASON_BYTES
    if cut != sendable:
        kept = cut.removesuffix("…")
        assert sendable.startswith(kept)
        assert len((sendable[: len(kept) + 1] + "…").encode()) > MAX_REASON_BYTES
