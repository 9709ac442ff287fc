"""What the log remembers beside a session's events: what is open, which commands were done, whether all is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import orjson

from actors.errors import LogCorrupt
from actors.events.grammar import Grammar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actors.events.types import JSON


@attrs.frozen
class Done:
    """A command that was done at ``ts`` (ms since 1970), what it returned, and all of it as JSON text."""

    command_id: str
    ts: int
    result: JSON
    text: bytes

    @classmethod
    def of(cls, command_id: str, ts: int, result: JSON) -> Done:
        """Return the entry of a command; raise ``TypeError`` where the result is not JSON."""
        return cls(command_id, ts, result, orjson.dumps([command_id, ts, result]))


class DoneCommands:
    """The commands that were done last, oldest first: at most ``room`` bytes of their text, ``seconds`` back.

    Each is written beside the event that it caused, in the same commit: sent again after a crash, it is not done again.
    """

    __slots__ = ("_entries", "_room", "_seconds", "size")

    def __init__(self, room: int, seconds: float, entries: Iterable[Done] = ()) -> None:
        self._room = room
        self._seconds = seconds
        self._entries: list[Done] = []  # no deque: an empty one has 700 bytes, in each idle session
        self.size = 0
        """Bytes of the text of all entries."""
        for entry in entries:
            self._add(entry)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Done]:
        return iter(self._entries)

    def remember(self, command_id: str, ts: int, result: JSON) -> None:
        """Add the newest entry; forget the oldest ones where there is no room for all."""
        self._add(Done.of(command_id, ts, result))

    def forget(self, now: int) -> None:
        """Forget the entries that are too old at ``now`` (ms since 1970)."""
        since = now - self._seconds * 1000
        self._drop(next((n for n, entry in enumerate(self._entries) if entry.ts >= since), len(self._entries)))

    def text(self) -> bytes:
        """Return all entries as one JSON array."""
        return b"[%b]" % b",".join([entry.text for entry in self._entries])

    def _add(self, entry: Done) -> None:
        self._entries.append(entry)
        self.size += len(entry.text)
        count, size = 0, self.size
        while size > self._room:
            size -= len(self._entries[count].text)
            count += 1
        self._drop(count)

    def _drop(self, count: int) -> None:
        """Forget so many of the oldest entries."""
        self.size -= sum(len(entry.text) for entry in self._entries[:count])
        del self._entries[:count]


@attrs.frozen
class Record:
    """The ``state`` of a session's stream, decoded."""

    ts: int
    """A time (ms since 1970) that no later event may be before."""
    grammar: Grammar
    closed_at: int | None
    """When the session was closed for good (ms since 1970)."""
    done: tuple[Done, ...]


def encode_record(ts: int, opened: bytes, closed_at: int | None, done: DoneCommands) -> bytes:
    """Return the state to be kept; ``opened`` is a snapshot of the grammar."""
    if closed_at is None and not len(done):
        return b"[%d,%b]" % (ts, opened)
    return b"[%d,%b,%b,%b]" % (ts, opened, b"null" if closed_at is None else b"%d" % closed_at, done.text())


def decode_record(state: bytes) -> Record:
    """Read what :func:`encode_record` returned, empty bytes included; raise :class:`~actors.LogCorrupt` otherwise."""
    if not state:
        return Record(0, Grammar(), None, ())
    try:
        ts, items, *rest = orjson.loads(state)
        closed_at = int(rest[0]) if rest and rest[0] is not None else None
        done: list[list[Any]] = rest[1] if len(rest) > 1 else []
        return Record(int(ts), Grammar.restore(items), closed_at, tuple(Done.of(*one) for one in done))
    except (ValueError, TypeError) as error:
        raise LogCorrupt(f"the record of what was open cannot be read: {error}") from error
