"""What engines have in common about lines: their time, how many are read at once, how many retention drops."""

from __future__ import annotations

import itertools
import re
import zlib
from typing import TYPE_CHECKING

import attrs
import orjson

from actors.errors import LogCorrupt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actors.eventlog.base import Batch, Retention, StreamKey

_FEW = 4
"""Lines up to which a look at each number is cheaper than one at all together."""
_DIGITS = [*b"0123456789"] * 101
"""The last digits of numbers that follow each other, for a thousand of them."""

_START = re.compile(rb'\{"seq":\d+,"ts":(\d+)[,}]')


def timestamp(line: bytes) -> int:
    """Return the line's ``ts`` in ms since 1970; ``LogCorrupt`` where it has none."""
    found = _START.match(line)
    if found is not None:
        return int(found[1])
    try:
        ts: object = orjson.loads(line)["ts"]
    except (ValueError, TypeError, KeyError) as error:
        raise LogCorrupt(f"no ts in line {line[:60]!r}") from error
    if not isinstance(ts, int):
        raise LogCorrupt(f"ts is not an integer in line {line[:60]!r}")
    return ts


def check_numbers(batch: Batch, count: int) -> None:
    """Raise ``LogCorrupt`` unless each of the batch's ``count`` lines has its own number, first of all: ``{"seq":12,``.

    *A gap that was stored could not be mended: every client would come to it, see it, and come back, for ever.*
    """
    seq, lines = batch.first, batch.lines
    begin = b'{"seq":%d,' % seq
    size = len(begin)
    # In a third of the time of a look at each whole number: the first and the last one, and between them the last digit
    # of each. Where a line is missing, or is there twice, so many lines do not lead from the first to the last.
    if count > _FEW and lines[0][:size] == begin and lines[-1][:size] == b'{"seq":%d,' % (seq + count - 1):
        try:
            if [line[size - 2] for line in lines] == _DIGITS[seq % 10 : seq % 10 + count]:
                return
        except IndexError:
            pass  # a line that is shorter than its number
    for line in lines:
        if line[:size] != b'{"seq":%d,' % seq:
            begin = b'{"seq":%d,' % seq
            size = len(begin)
            if line[:size] != begin and _number(line) != seq:
                raise LogCorrupt(f"{batch.key} from {batch.first}: event {seq} begins {line[: size + 8]!r}")
        seq += 1


def _number(line: bytes) -> object:
    """Return the ``seq`` of a line that is written in a way of its own; None where it has none."""
    try:
        return orjson.loads(line)["seq"]
    except (ValueError, TypeError, KeyError):
        return None


def bounded(lines: Iterable[bytes], limit: int, size: int) -> list[bytes]:
    """At most ``limit`` of the lines and ``size`` bytes of them, but one at least. Reads no further than it must."""
    taken: list[bytes] = []
    for line in itertools.islice(lines, max(limit, 0)):
        size -= len(line)
        if size < 0 and taken:
            break
        taken.append(line)
        if size <= 0:
            break
    return taken


@attrs.define
class RetentionWalk:
    """Walks a stream from its oldest line and says where what is kept begins.

    ``count`` and ``size`` are those of the lines that were not dropped yet; lines from ``horizon`` (ms) on are not too
    old.
    """

    keep: Retention
    horizon: float
    count: int
    size: int

    @classmethod
    def of(cls, keep: Retention, now: int, count: int, size: int) -> RetentionWalk:
        """Begin the walk for a stream of ``count`` lines and ``size`` bytes at ``now`` (ms)."""
        return cls(keep, now - keep.seconds * 1000, count, size)

    def drop(self, lines: Iterable[bytes]) -> int:
        """How many of these, the oldest lines left, are to be dropped. Fewer than given: what is kept begins there."""
        dropped = 0
        for line in lines:
            if self.settled(timestamp(line)):
                break
            self.count -= 1
            self.size -= len(line)
            dropped += 1
        return dropped

    def settled(self, oldest_ts: int) -> bool:
        """Whether nothing more is to be dropped, the oldest line left being of ``oldest_ts``."""
        return self.count <= self.keep.events and self.size <= self.keep.size and oldest_ts >= self.horizon

    def drop_whole(self, count: int, size: int, last_ts: int) -> bool:
        """Whether the oldest lines left, so many of so many bytes, all go, told without a look at them.

        False also where only a look can tell: then :meth:`drop` is to be asked.
        """
        # What follows these lines fills the limits alone, or the newest of them is too old.
        after, rest = self.count - count, self.size - size
        if after < self.keep.events and rest <= self.keep.size and last_ts >= self.horizon:
            return False
        self.count, self.size = after, rest
        return True


def check_names(key: StreamKey) -> None:
    """``ValueError`` for a name that UTF-8 cannot hold: no engine could store it, so none takes it."""
    for name in key:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"not a name: {name!r}") from error


def checksum(stream: int, first: int, body: bytes, state: bytes) -> int:
    """Sum up a row and whose it is, so that a changed byte of it is noticed: SQLite itself would not notice."""
    return zlib.crc32(body, zlib.crc32(state, zlib.crc32(b"%d %d" % (stream, first))))


def split(body: bytes, count: int) -> list[bytes]:
    """Return the lines of a body that should have ``count`` of them; ``LogCorrupt`` otherwise."""
    lines = body.split(b"\n")
    if len(lines) != count:
        raise LogCorrupt(f"{len(lines)} lines are stored where {count} should be")
    return lines


def following(rows: Iterable[tuple[int, int, int, bytes, bytes, int | None]], seq: int) -> Iterator[bytes]:
    """Lines from ``seq`` on out of consecutive rows of (stream, first, count, body, state, checksum).

    ``LogCorrupt`` where rows leave a gap, or are not what was written.
    """
    for stream, first, count, body, state, total in rows:
        try:
            whole = total is None or total == checksum(stream, first, body, state)
            here = first <= seq < first + count
        except TypeError:  # a damaged row may hold anything
            whole = here = False
        if not whole:
            raise LogCorrupt(f"the row of {count} events from {first} is damaged")
        if not here:
            raise LogCorrupt(f"event {seq} is missing: its row has {count} from {first}")
        yield from split(body, count)[seq - first :]
        seq = first + count
