"""A consumer: an async iterator over the events of all sessions that continues where it stopped, also after a restart.

The log has the position of each consumer in each session. A consumer reads the sessions with events beyond its
positions, one page of one session after another: first those that the log names when it starts, later those with new
commits. An item that was handled moves the position: in memory at once, and in the log together with others. So after a
crash some of the last events come again, and none is skipped.

In a cluster a consumer of the same name runs on each node, and each reads the sessions of the users that its node has.
A user whom no node has is claimed for it. A user who comes from another node is read from the stored positions on.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Protocol, Self

import attrs
import trio

from actors.errors import LogCorrupt, LogError, Trimmed
from actors.eventlog.base import ConsumerPosition
from actors.events.decoding import decode_line
from actors.failures import log_failure
from actors.loop.wakeup import Wakeup
from actors.sessions._consumer_marks import Marks
from actors.sessions._consumer_unread import Unread
from actors.streams._observed import EventChoice, Lagged, Observed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.eventlog.base import EventLog, StreamKey
    from actors.sessions._custody import Custody

logger = logging.getLogger("greenroom.hooks")

PAGE_EVENTS, PAGE_BYTES = 256, 1024 * 1024
"""Maximum number and size of the events that a consumer reads of one session before it reads another."""
CLOSE_SECONDS = 5.0
"""Maximum time for storing the last positions when a consumer is closed, in seconds."""


class Pages(Protocol):
    """The object that reads the events of sessions for a consumer, and knows which consumers run."""

    log: EventLog
    custody: Custody

    def claim(self, consumer: Consumer) -> None:
        """Notify the consumer of commits from now on. Raise ConfigError if one with its name runs already."""

    def release(self, consumer: Consumer) -> None:
        """Notify the consumer no longer. Idempotent."""

    async def page(self, key: StreamKey, after: int, limit: int, size: int) -> tuple[str, Sequence[bytes]]:
        """Return the epoch of a session and its next lines. Raise Trimmed or KeyError as the log does."""
        ...


@attrs.define
class _Page:
    """Events of one session that were read and not returned yet."""

    key: StreamKey
    epoch: str
    lines: deque[tuple[int, bytes]]
    """The events of the consumer's types: their seqs and lines."""


class Consumer:
    """An async iterator over the committed events of all sessions, at least once. ``app.consume`` returns it.

    The events of a session come in order of seq; sessions take turns. Asking for the next item acknowledges the item
    before: it does not come again. If the loop is left by an exception or ``break``, its present item is not
    acknowledged, and comes again. A :class:`Lagged` comes in place of events that the log no longer has.

    Use it with ``async with``, or close it with :meth:`aclose`. One task iterates at a time.
    """

    def __init__(self, pages: Pages, name: str, choice: EventChoice, *, from_start: bool) -> None:
        self.name = name
        """Name of the consumer."""
        self.delivered = 0
        """Number of events that were returned."""
        self.missed = 0
        """Number of events that the log no longer had."""
        self._pages = pages
        self._log = pages.log
        self._choice = choice
        self._from_start = from_start
        self._begun = self._ended = False
        self._news = Wakeup()
        self._unread = Unread(pages.log, name, pages.custody.falls_here)
        self._reading: str | None = None  # the user whose events are being read; None if the user moved meanwhile
        self._page: _Page | None = None
        self._lagged: tuple[Lagged, ConsumerPosition | None] | None = None
        self._handed: ConsumerPosition | Lagged | None = None  # the item that the caller handles now
        self._marks = Marks(pages.log, name)

    @property
    def sessions(self) -> int:
        """Number of sessions that are known to have events which the consumer has not read."""
        return len(self._unread)

    def note(self, key: StreamKey) -> None:
        """Record that a session has new events. Never waits."""
        self._unread.note(key)
        self._news.wake()

    def forget(self, user: str) -> None:
        """Drop the events of a user that wait in memory, because everything of the user is removed. Never waits."""
        self._unread.forget(user)
        self.forget_user(user)
        self._marks.remove_user(user)

    def search(self, user: str | None = None) -> None:
        """Search the log for unread events of a user, or of all users, because users have moved. Never waits."""
        self._unread.search(user)
        self._news.wake()

    def forget_user(self, user: str) -> None:
        """Forget the positions and pages of a user that has just come to this node or left it. Never waits."""
        self._marks.forget_user(user)
        if self._reading == user:
            self._reading = None
        if self._page is not None and self._page.key.user == user:
            self._page = None
        if self._lagged is not None and self._lagged[0].user == user:
            self._lagged = None

    async def let_go(self, user: str) -> bool:
        """Store the positions, because another node is about to have the user.

        Return False if the caller handles an item of the user now. Raise the errors of the log.
        """
        if _user_of(self._handed) == user:
            return False
        await self._marks.store()
        return _user_of(self._handed) != user

    def end(self) -> None:
        """Make the iteration stop, because the server ends. Never waits."""
        self._ended = True
        self._news.wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Observed | Lagged:
        """Acknowledge the item before, wait for the next item, and return it. Always a checkpoint.

        Raises:
            StopAsyncIteration: The consumer was closed, or the server has ended.
            ConfigError: A consumer with this name runs already.
            LogError: The log failed, or keeps no positions. Nothing was lost, and the iteration can continue.

        Cancellation:
            The item before is acknowledged. No item is lost.
        """
        await trio.lowlevel.checkpoint()
        self._settle()
        await self._begin()
        while not self._ended:
            if self._marks.is_due:
                await self._marks.store()
            if (item := self._take()) is not None:
                return item
            if not await self._load():
                await self._marks.store()
                if not self._unread.has_more and not self._ended:
                    await self._news.wait()
        await self._marks.store()
        raise StopAsyncIteration

    async def ack(self) -> None:
        """Acknowledge the last item that was returned, and store all positions in the log now.

        Raises:
            LogError: The log failed. Call this again, or continue the iteration.

        Cancellation: perhaps the positions are not stored yet.
        """
        self._settle()
        await self._marks.store()

    async def aclose(self) -> None:
        """Store the positions of the acknowledged items, for at most 5 s, and end the consumer. Idempotent."""
        self._ended = True
        self._news.wake()
        if self._begun:
            self._begun = False
            try:
                with trio.move_on_after(CLOSE_SECONDS, shield=True):
                    await self._marks.store()
            except LogError as error:
                text = "the last positions of the consumer %s could not be stored: its last events will come again"
                log_failure(logger, text, self.name, error=error, level=logging.WARNING)
            finally:
                self._pages.release(self)
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def __aenter__(self) -> Self:
        """Begin to consume, so that a new consumer gets all events from now on. Raises as the iteration does."""
        await trio.lowlevel.checkpoint()
        await self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _begin(self) -> None:
        if self._begun or self._ended:
            return
        self._pages.claim(self)
        try:
            lost = await self._log.start_consumer(self.name, from_start=self._from_start)
        except BaseException:
            self._pages.release(self)
            raise
        self._begun = True
        self._unread.search()
        if lost:
            self._lagged = Lagged(lost), None

    def _settle(self) -> None:
        """Acknowledge the item that was returned last, in memory."""
        handed, self._handed = self._handed, None
        if isinstance(handed, ConsumerPosition):
            self._marks.acknowledge(handed, 1)
        elif handed is not None:
            self._marks.tell(handed.missed)

    def _take(self) -> Observed | Lagged | None:
        """Return the next item that was read, and keep its position until it is acknowledged."""
        custody = self._pages.custody
        if self._lagged is not None:
            (lagged, position), self._lagged = self._lagged, None
            if lagged.user is not None and not custody.has(lagged.user):
                return None
            self._handed = lagged if position is None else position
            self.missed += lagged.missed
            return lagged
        page = self._page
        if page is None:
            return None
        if not custody.has(page.key.user):  # another node has the user, or this one is suspended
            self._page = None
            return None
        seq, line = page.lines[0]
        item = Observed(*page.key, page.epoch, decode_line(line))
        page.lines.popleft()
        if not page.lines:
            self._page = None
        self._handed = ConsumerPosition(page.key, page.epoch, seq)
        self.delivered += 1
        return item

    async def _load(self) -> bool:
        """Read the next page of a session with unread events. Return False if no such session is known."""
        key = await self._unread.take()
        if key is None:
            return self._unread.has_more
        try:
            await self._read(key)
        except BaseException:
            self._unread.put_back(key)
            raise
        return True

    async def _read(self, key: StreamKey) -> None:
        custody = self._pages.custody
        if not custody.has(key.user) and not await custody.claim(key.user):
            return  # another node reads the session
        self._reading = key.user
        position = await self._marks.of(key)
        if position is None:  # the session was removed
            return
        try:
            epoch, lines = await self._pages.page(key, position.seq, PAGE_EVENTS, PAGE_BYTES)
        except KeyError:
            self._marks.forget(key)
            return
        except Trimmed as trimmed:
            await self._skip(position, trimmed)
            return
        if self._reading != key.user:
            self._unread.put_back(key)
        elif epoch != position.epoch:  # the session was removed, and made again: its events are others
            self._marks.forget(key)
            self._unread.put_back(key)
        elif lines:
            self._marks.know(position)
            self._unread.put_back(key)  # at the end: other sessions come first
            self._set_page(position, lines)

    def _set_page(self, position: ConsumerPosition, lines: Sequence[bytes]) -> None:
        chosen = deque(each for each in enumerate(lines, position.seq + 1) if self._choice.wants(each[1]))
        if chosen:
            self._page = _Page(position.key, position.epoch, chosen)
        else:
            self._marks.acknowledge(attrs.evolve(position, seq=position.seq + len(lines)), len(lines))

    async def _skip(self, position: ConsumerPosition, trimmed: Trimmed) -> None:
        """Tell the caller of events that were trimmed before they were read."""
        key = position.key
        now = await self._marks.find(key)
        self._unread.put_back(key)
        if self._reading != key.user:
            return
        if now is None or now.epoch != position.epoch:  # not these events, but a session that was made again
            self._marks.forget(key)
            return
        missed = trimmed.oldest - 1 - position.seq
        if missed <= 0:  # the next read would raise the same again, for ever
            raise LogCorrupt(f"event {position.seq + 1} is both kept and trimmed, as the log says") from trimmed
        self._marks.know(position)
        self._lagged = Lagged(missed, *key), attrs.evolve(position, seq=trimmed.oldest - 1)


def _user_of(item: ConsumerPosition | Lagged | None) -> str | None:
    """Return the user to which an item belongs that a caller handles."""
    if isinstance(item, ConsumerPosition):
        return item.key.user
    return None if item is None else item.user
