"""The mirror: the newest events of a session that runs on another node, for the clients of this node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.cluster._shown import FLAGS
from actors.errors import LogCorrupt, LogUnavailable, Trimmed
from actors.streams._cursor import Readers
from actors.streams._listeners import notify_ended, notify_events, notify_signal
from actors.streams._ring import Ring

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors.cluster.interfaces import Incarnation
    from actors.eventlog.base import EventLog, StreamKey
    from actors.streams._cursor import SessionEnding

READ_EVENTS = 1000
"""Maximum number of events that a mirror reads from the log at a time."""
READ_BYTES = 1 << 20
"""Maximum size of the events that a mirror reads from the log at a time, in bytes."""


class EpochChanged(LogUnavailable):
    """The session's log was made again, so its events are not the events that the mirror has."""


class Mirror(Readers):
    """The committed events of a session that another node (its owner) runs, as the cursors of this node read them.

    The owner pushes each commit. A push may be lost, come late, or come twice. A push that continues the mirror is
    appended. A later push, or any other news of a newer event, makes the mirror *behind*: then ``on_behind`` is called,
    and :meth:`catch_up` must read the missing events from the log. So the mirror always has the events of the log, in
    order and without a gap.

    This class implements the protocol :class:`~actors.streams._cursor.Feed`.
    """

    __slots__ = (
        "_log",
        "_on_behind",
        "_reading",
        "_ring",
        "ended",
        "epoch",
        "holds",
        "key",
        "known_seq",
        "number",
        "oldest",
        "owner",
        "recent",
    )

    def __init__(
        self, key: StreamKey, number: int, owner: Incarnation, log: EventLog, on_behind: Callable[[Mirror], object]
    ) -> None:
        super().__init__()
        self.key = key
        self.number = number
        """Number by which the owner names this mirror. This node never uses a number twice."""
        self.owner = owner
        """The node that runs the session."""
        self.epoch = ""
        """Id of the session's log. Empty until the owner has answered: until then pushes are ignored."""
        self.committed_seq = self.known_seq = 0
        self.oldest = 1
        """The lowest seq that the log can have, as far as a refused read has shown. The owner perhaps knows better."""
        self.oldest_in_memory = 1
        self.holds = 0
        """Number of tasks that are about to attach a cursor."""
        self.recent: list[tuple[int, str, bytes]] = []
        """The signals about states since the first of these tasks: the number by the owner, the name, and the data."""
        self.ended = False
        """Whether the mirror gets no more events."""
        self._log = log
        self._on_behind = on_behind
        self._reading: trio.Lock | None = None
        self._ring: Ring

    def begin(self, epoch: str, latest: int, events: int, size: int) -> None:
        """Begin to mirror the events after ``latest``, with up to ``events`` events and ``size`` bytes in memory."""
        self.epoch = epoch
        self._begin_after(latest, Ring(events, size, latest + 1))

    def _begin_after(self, latest: int, ring: Ring) -> None:
        self.committed_seq = latest
        self.known_seq = max(self.known_seq, latest)
        self._ring, self.slice, self.oldest_in_memory = ring, ring.slice, ring.base

    @property
    def is_behind(self) -> bool:
        """Whether the session is known to have a newer event than the mirror."""
        return self.known_seq > self.committed_seq

    def take(self, first: int, lines: Sequence[bytes]) -> None:
        """Append committed lines, of which the first has the seq ``first``, as far as they continue the mirror.

        Lines that the mirror has already are ignored. If lines are missing before them, the mirror is behind.
        """
        if not self.epoch or self.ended:
            return
        committed, last = self.committed_seq, first + len(lines) - 1
        if first > committed + 1:
            self.note_head(last)
        elif last > committed:
            ring, new = self._ring, lines if first == committed + 1 else lines[committed + 1 - first :]
            ring.lines.extend(new)
            self.committed_seq = last
            self.known_seq = max(self.known_seq, last)
            ring.on_committed(last, sum(map(len, new)))
            self.oldest_in_memory = ring.base
            notify_events(self.cursors)

    def note_head(self, latest: int, epoch: str | None = None) -> None:
        """Record that the session has the event ``latest``. If the mirror lacks it, the mirror is behind.

        Raise :class:`EpochChanged` if ``epoch`` is given and is not the mirror's.
        """
        if epoch is not None and epoch != self.epoch:
            raise EpochChanged(f"the log of session {self.key.session} was made again")
        if self.epoch and not self.ended and latest > self.committed_seq:
            self.known_seq = max(self.known_seq, latest)
            self._on_behind(self)

    async def look(self) -> None:
        """Read from the log which event is the newest, and all events until that.

        A client may have an event that the owner does not know to be committed. Raises and cancellation: as
        :meth:`catch_up`.
        """
        head = await self._log.head(self.key)
        if head is not None:
            self.note_head(head.latest, head.epoch)
            await self.catch_up()

    async def catch_up(self) -> None:
        """Read from the log until the mirror has all events that the session is known to have.

        Raises:
            EpochChanged: The session's log was made again.
            LogError: The log could not be read.

        Cancellation: the mirror has what was read before.
        """
        self._reading = self._reading or trio.Lock()
        async with self._reading:
            while self.is_behind and not self.ended:
                # The position when the read is sent: pushes may continue the mirror while the log is read.
                after, known = self.committed_seq, self.known_seq
                try:
                    lines = await self._read(after, READ_EVENTS, READ_BYTES)
                except Trimmed as trimmed:
                    self._skip(_oldest(trimmed, after) - 1)
                    continue
                self.take(after + 1, lines)
                if not lines and self.committed_seq == after and self.known_seq == known:
                    # The log does not have what the owner has told of. The owner tells again what there is.
                    self.known_seq = after

    def _skip(self, until: int) -> None:
        """Continue after the event ``until``, because the log no longer has the events before."""
        if until > self.committed_seq:
            ring = self._ring
            self._begin_after(until, Ring(ring.capacity, ring.room, until + 1))
            notify_events(self.cursors)

    async def _read(self, after: int, limit: int, size: int) -> Sequence[bytes]:
        try:
            lines = await self._log.read(self.key, after, limit, size)
        except Trimmed as trimmed:
            # Otherwise the next client that resumes below would be accepted first, and fail when it reads.
            self.oldest = max(self.oldest, trimmed.oldest)
            raise
        except KeyError:
            raise EpochChanged(f"the log of session {self.key.session} is gone") from None
        # Asked after the read: epochs only change forward, so these lines are of this epoch.
        head = await self._log.head(self.key)
        if head is None or head.epoch != self.epoch:
            raise EpochChanged(f"the log of session {self.key.session} was made again")
        return lines

    # A Feed

    async def read(self, after: int, limit: int, size: int) -> Sequence[bytes]:
        """Read committed lines with a seq above ``after`` from the log, but none that the mirror does not know yet.

        Raise ``Trimmed``, :class:`EpochChanged`, or another ``LogError``.
        """
        limit = min(limit, self.committed_seq - after)
        if limit <= 0:
            await trio.lowlevel.checkpoint()
            return ()
        return await self._read(after, limit, size)

    async def history(self, after: int, limit: int, size: int) -> tuple[Sequence[bytes], bool]:
        """Return committed lines after ``after``, and whether there are more; see :meth:`.Attachment.history`."""
        lines: Sequence[bytes] = ()
        while after < self.committed_seq and not lines:
            try:
                lines = await self.read(after, limit, size)
            except Trimmed as trimmed:
                after = _oldest(trimmed, after) - 1
            else:
                break
        return lines, after + len(lines) < self.committed_seq

    def signal(self, name: str, data: bytes, number: int = 0) -> None:
        """Pass a signal to all listeners. ``number`` is the number by its owner; 0 for a signal of this node."""
        if self.holds and name in FLAGS:
            self.recent.append((number, name, data))
        notify_signal(self.cursors, name, data)

    def end(self, reason: SessionEnding) -> None:
        """End the mirror, and notify all listeners. Idempotent. The events in memory can still be read."""
        self.ended = True
        notify_ended(self.cursors, reason)


def _oldest(trimmed: Trimmed, after: int) -> int:
    """Return the lowest seq that the log has, after it has refused to read the event ``after + 1``."""
    if trimmed.oldest <= after + 1:
        raise LogCorrupt(f"event {after + 1} is missing") from trimmed
    return trimmed.oldest
