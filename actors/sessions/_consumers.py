"""The consumers of a server: the registry of the running ones, and the objects that they share."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from actors.errors import ConfigError, LogError
from actors.events.encoding import is_text
from actors.failures import shown
from actors.sessions._consumer import Consumer
from actors.sessions._custody import Alone
from actors.sessions._statistics import ConsumerStatistics
from actors.streams._observed import EventChoice

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from actors.eventlog.base import Batch, ConsumerUsage, EventLog, StreamKey
    from actors.events.types import Event
    from actors.sessions._custody import Custody
    from actors.sessions._reader import SessionReader
    from actors.streams._committer import Committer, Source

_LONGEST = 128
"""Maximum length of a consumer's name, in characters."""


class Consumers:
    """The consumers of a server, by name. Of each name at most one runs at a time."""

    def __init__(self, log: EventLog, reader: SessionReader, committer: Committer) -> None:
        self.log = log
        self.custody: Custody = Alone()
        """The users for which this process consumes events. A node of a cluster sets its own."""
        self._reader = reader
        self._committer = committer
        self._running: dict[str, weakref.ref[Consumer]] = {}

    def consume(self, name: str, types: Iterable[str | type[Event]] = (), *, from_start: bool = False) -> Consumer:
        """Return a consumer, which is not begun yet. See :meth:`transport.Greenroom.consume`.

        Raises:
            ConfigError: The name cannot be used, or there is no such event type.
        """
        check_name(name)
        return Consumer(self, name, EventChoice(types), from_start=from_start)

    async def usage(self) -> Sequence[ConsumerUsage]:
        """Return the state of each consumer in the log, running or not."""
        return await self.log.consumers()

    async def remove(self, name: str) -> None:
        """Forget a consumer with its positions. Do nothing if the log does not have it.

        Raises:
            ConfigError: The consumer runs.
            LogError: The log failed, or keeps no positions of consumers.
        """
        self._require_free(name)
        await self.log.remove_consumer(name)

    def end(self) -> None:
        """End all running consumers, because the server ends."""
        for consumer in self._living():
            consumer.end()

    def forget(self, user: str) -> None:
        """Drop the events and positions of a user that running consumers have in memory. Never wait."""
        for consumer in self._living():
            consumer.forget(user)

    def statistics(self) -> tuple[ConsumerStatistics, ...]:
        """Return statistics of the running consumers."""
        living = self._living()
        return tuple(ConsumerStatistics(one.name, one.delivered, one.missed, one.sessions) for one in living)

    # What the router of a cluster calls

    def note(self, key: StreamKey) -> None:
        """Make the consumers read a session with new events that no session of this process has committed."""
        for consumer in self._living():
            consumer.note(key)

    def search(self, user: str | None = None) -> None:
        """Make the consumers search the log for unread events of a user, or of all users. Never wait."""
        for consumer in self._living():
            consumer.search(user)

    def forget_user(self, user: str) -> None:
        """Make the consumers forget the positions and pages of a user that has just come or left."""
        for consumer in self._living():
            consumer.forget_user(user)

    async def let_go(self, user: str) -> bool:
        """Store the positions of all consumers, because another node is about to have the user.

        Return False if the user cannot go: a consumer handles an event of the user, or the log failed.
        """
        try:
            for consumer in self._living():
                if not await consumer.let_go(user):
                    return False
        except LogError:
            return False
        return True

    # What a consumer calls: Pages

    def claim(self, consumer: Consumer) -> None:
        """Notify the consumer of commits from now on. Raise ConfigError if one with its name runs already."""
        self._require_free(consumer.name)
        self._running[consumer.name] = weakref.ref(consumer)
        self._committer.watchers[self._on_commit] = None

    def release(self, consumer: Consumer) -> None:
        """Notify the consumer no longer. Idempotent."""
        reference = self._running.get(consumer.name)
        if reference is not None and reference() is consumer:
            del self._running[consumer.name]
        if not self._running:
            self._committer.watchers.pop(self._on_commit, None)

    async def page(self, key: StreamKey, after: int, limit: int, size: int) -> tuple[str, Sequence[bytes]]:
        """Return the epoch of a session and its next lines. Raise Trimmed or KeyError as the log does."""
        return await self._reader.page(key, after, limit, size)

    def _require_free(self, name: str) -> None:
        reference = self._running.get(name)
        if reference is not None and reference() is not None:
            raise ConfigError(f"the consumer {name} runs already: give each a name of its own, or close the other")

    def _living(self) -> list[Consumer]:
        return [consumer for reference in tuple(self._running.values()) if (consumer := reference()) is not None]

    def _on_commit(self, committed: Sequence[tuple[Source, Batch]]) -> None:
        living = self._living()
        if not living:  # all were forgotten without being closed
            self._committer.watchers.pop(self._on_commit, None)
        for consumer in living:
            for _, batch in committed:
                consumer.note(batch.key)


def check_name(name: object) -> None:
    """Raise ConfigError unless ``name`` can be the name of a consumer."""
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST or not is_text(name):
        raise ConfigError(f"a consumer needs a name of 1 to {_LONGEST} characters, not {shown(name)}")
