"""The record: a session's state, which the log keeps in addition to its events. One commit writes events and record.

The record holds the open runs, calls and questions, the commands that were done, and the time at which the session was
closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import orjson

from actors.errors import LogCorrupt
from actors.events.grammar import Grammar
from actors.frozen import frozen_unchecked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actors.events.types import JSON
    from actors.streams._ages import AgeClock


@frozen_unchecked
class DoneCommand:
    """A client's command that was carried out, with its result."""

    command_id: str
    ts: int
    """Time at which the command was carried out, in ms since 1970."""
    result: JSON
    """The result that the sender of the command got."""
    size: int
    """Size in bytes of the command's id, time and result as JSON text, as the log stores them."""

    @classmethod
    def of(cls, command_id: str, ts: int, result: JSON) -> tuple[DoneCommand, bytes]:
        """Return the entry for a command that was carried out, and its JSON text.

        Raise ``TypeError`` if the result is not JSON.
        """
        text = orjson.dumps([command_id, ts, result])
        return cls(command_id, ts, result, len(text)), text


class DoneCommands:
    """The newest commands that were carried out, oldest first.

    Each command is written to the log in the same commit as the event that it caused. So a command that is sent again
    after a crash is not carried out a second time.

    Args:
        room: Maximum size of the commands as JSON text, in bytes. The oldest commands are dropped first.
        seconds: Maximum age of a command.
        entries: Commands to begin with.
    """

    __slots__ = ("_entries", "_room", "_seconds", "_text", "size")

    def __init__(self, room: int, seconds: float, entries: Iterable[DoneCommand] = ()) -> None:
        self._room = room
        self._seconds = seconds
        self._entries = list(entries)  # no deque: an empty one takes 700 bytes, in each idle session
        # Joined once, and kept: the log gets all commands again with each run that begins or ends.
        self._text = b",".join(DoneCommand.of(each.command_id, each.ts, each.result)[1] for each in self._entries)
        self.size = sum(each.size for each in self._entries)
        """Size of the remembered commands as JSON text, in bytes."""
        self._make_room()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[DoneCommand]:
        return iter(self._entries)

    def remember(self, command_id: str, ts: int, result: JSON) -> None:
        """Add a command that was just carried out. Drop the oldest commands if there is not enough room for all."""
        entry, text = DoneCommand.of(command_id, ts, result)
        self._entries.append(entry)
        self._text = b"%b,%b" % (self._text, text) if self._text else text
        self.size += entry.size
        if self.size > self._room:
            self._make_room()

    def has_older(self, now: int) -> bool:
        """Return whether a command is too old at ``now`` (ms since 1970)."""
        return bool(self._entries) and self._entries[0].ts < now - self._seconds * 1000

    def forget(self, now: int) -> None:
        """Drop the commands that are too old at ``now`` (ms since 1970)."""
        since = now - self._seconds * 1000
        self._drop(next((n for n, entry in enumerate(self._entries) if entry.ts >= since), len(self._entries)))

    def text(self) -> bytes:
        """Return all remembered commands as the text of one JSON array."""
        return b"[%b]" % self._text

    def _make_room(self) -> None:
        count, size = 0, self.size
        while size > self._room:
            size -= self._entries[count].size
            count += 1
        self._drop(count)

    def _drop(self, count: int) -> None:
        """Drop the ``count`` oldest commands."""
        size = sum(entry.size for entry in self._entries[:count])
        self.size -= size
        self._text = self._text[size + count :]  # with a comma after each
        del self._entries[:count]


@attrs.frozen
class Record:
    """A decoded record: a session's state, which the log keeps in addition to the session's events."""

    ts: int
    """Lower limit for the ``ts`` of all later events of the session, in ms since 1970."""
    grammar: Grammar
    closed_at: int | None
    """Time at which the session was closed permanently (ms since 1970); None if the session is not closed."""
    done: tuple[DoneCommand, ...]

    def done_at(self, ts: int) -> list[DoneCommand]:
        """Return the commands that were done, those before ``ts`` as if they were done at that time.

        An earlier owner of the session has stamped them by the clock of its own machine, which may have been behind.
        """
        return [DoneCommand.of(each.command_id, max(each.ts, ts), each.result)[0] for each in self.done]


def encode_record(ts: int, opened: bytes, closed_at: int | None, done: DoneCommands) -> bytes:
    """Return a record as JSON text: a session's state, which the log keeps in addition to the session's events.

    ``opened`` is a snapshot of the runs, tool calls and questions that are open in the session.
    """
    # Most records have this short form, to save space: the log keeps one for each session, for weeks.
    if closed_at is None and not len(done):
        return b"[%d,%b]" % (ts, opened)
    return b"[%d,%b,%b,%b]" % (ts, opened, b"null" if closed_at is None else b"%d" % closed_at, done.text())


def decode_record(state: bytes) -> Record:
    """Return the record (a session's state) that was encoded as ``state``. An empty ``state`` belongs to a new session.

    Raise :class:`~actors.LogCorrupt` if ``state`` is neither empty nor an encoded record.
    """
    if not state:
        return Record(0, Grammar(), None, ())
    try:
        ts, items, *rest = orjson.loads(state)
        closed_at = int(rest[0]) if rest and rest[0] is not None else None
        done: list[list[Any]] = rest[1] if len(rest) > 1 else []
        return Record(int(ts), Grammar.restore(items), closed_at, tuple(DoneCommand.of(*one)[0] for one in done))
    except (ValueError, TypeError) as error:
        raise LogCorrupt(f"the record of what was open cannot be read: {error}") from error


class RecordWriter:
    """The encoder of a session's record, the state that the log keeps in addition to the events.

    The record is encoded again only after its content has changed.
    """

    __slots__ = ("_ages", "_content", "_seconds", "done", "text")

    def __init__(self, text: bytes, done: DoneCommands, seconds: float, ages: AgeClock) -> None:
        self._seconds = seconds
        self._ages = ages
        self._content: tuple[object, ...] | None = None
        self.done = done
        self.text = text
        """The session's record (its state for the log) as JSON text, as encoded last; empty in a new session."""

    def encode(self, ts: int, grammar: Grammar, closed_at: int | None) -> bytes:
        """Return the session's record (its state for the log) as JSON text.

        As long as the content does not change, every call returns the same object. The ``ts`` in the record is the time
        of the record's last change. If that ``ts`` were the ``ts`` of the newest event, the log would have to write the
        record again with each event.
        """
        opened = grammar.text or grammar.snapshot()
        # A snapshot is the same object until an item opens or closes.
        if self._content is None or self._content[0] is not opened or self._content[1] != closed_at:
            # The earlier of two times, so that no command is forgotten too early after a clock was set. Mostly the
            # first time alone shows that no command is too old.
            if self.done.has_older(ts):
                self.done.forget(min(ts, self._ages.now(self._seconds)))
            self.text = encode_record(ts, opened, closed_at, self.done)
            self._content = opened, closed_at
        return self.text

    def remember_done(self, command_id: str, ts: int, result: JSON) -> None:
        """Add a done command to the session's record (the state that the log keeps)."""
        self.done.remember(command_id, ts, result)
        self._content = None  # the next encode() must encode again
