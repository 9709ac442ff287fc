"""The ring keeps the newest lines within its bounds, and all uncommitted ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.streams._ring import Ring


@given(
    st.integers(1, 12),
    st.integers(0, 60),
    st.integers(1, 100),
    st.lists(st.tuples(st.lists(st.integers(1, 30), max_size=6), st.integers(0, 8)), max_size=40),
)
def test_the_ring_is_the_end_of_all_lines(
    capacity: int, room: int, base: int, steps: list[tuple[list[int], int]]
) -> None:
    """The ring (the newest events of a session in memory) has no gap, and has every uncommitted event.

    After a commit the ring exceeds its limits by at most a quarter, unless all its events are uncommitted.
    """
    ring, lines, committed = Ring(capacity, room, base), list[bytes](), 0
    for lengths, commits in steps:
        for length in lengths:
            line = bytes([len(lines) % 256]) * length
            ring.append(line)
            lines.append(line)
        more = lines[committed : committed + commits]
        if more:
            committed += len(more)
            ring.on_committed(base - 1 + committed, sum(map(len, more)))
        gone = ring.base - base
        kept = lines[gone:committed]
        assert gone <= committed, "one that was not committed went"
        assert ring.slice(ring.base - 1, base - 1 + len(lines)) == lines[gone:]
        assert len(ring) == len(lines) - gone
        assert ring.size == sum(map(len, kept))
        if more and kept:
            assert len(ring) <= capacity + capacity // 4
            assert ring.size <= room + room // 4
        if gone:
            assert len(ring) + 1 > capacity or ring.size + len(lines[gone - 1]) > room, "one went without need"


def test_a_slice_lies_between_two_seqs() -> None:
    """``slice(a, b)`` of the ring returns the lines with a seq above ``a``, up to and including ``b``."""
    ring = Ring(10, 100, 5)
    for line in (b"5", b"6", b"7", b"8"):
        ring.append(line)
    assert ring.slice(5, 7) == [b"6", b"7"]
    assert ring.slice(4, 8) == [b"5", b"6", b"7", b"8"]
    assert ring.slice(8, 8) == []
