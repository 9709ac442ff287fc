"""The rows of a SQLite log: how checksums are computed, and how lines (encoded events) are read from rows. Pure."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from actors.errors import LogCorrupt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def checksum(stream: int, first: int, body: bytes, state: bytes) -> int:
    """Return a checksum of a row of the log's file. SQLite itself does not notice that a byte has changed."""
    return zlib.crc32(body, zlib.crc32(state, zlib.crc32(b"%d %d" % (stream, first))))


def split(body: bytes, count: int) -> list[bytes]:
    """Split a row's body into its lines (encoded events). Raise ``LogCorrupt`` if there are not ``count`` lines."""
    lines = body.split(b"\n")
    if len(lines) != count:
        raise LogCorrupt(f"{len(lines)} lines are stored where {count} should be")
    return lines


def lines_from(rows: Iterable[tuple[int, int, int, bytes, bytes, int | None]], seq: int) -> Iterator[bytes]:
    """Yield the lines (encoded events) that are stored in ``rows``, from the event with the number ``seq`` on.

    ``rows`` are consecutive rows of a stream: (stream, first, count, body, state, checksum). Raise ``LogCorrupt`` if
    there is a gap between two rows, or if a row is damaged.
    """
    for stream, first, count, body, state, total in rows:
        try:
            whole = total is None or total == checksum(stream, first, body, state)  # rows of schema 1 have no checksum
            here = first <= seq < first + count
        except TypeError:  # a damaged row may hold values of any type
            whole = here = False
        if not whole:
            raise LogCorrupt(f"the row of {count} events from {first} is damaged")
        if not here:
            raise LogCorrupt(f"event {seq} is missing: its row has {count} from {first}")
        yield from split(body, count)[seq - first :]
        seq = first + count
