"""The mirrors of this node: the sessions of other nodes to which clients of this node are attached."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson
import trio

from actors.cluster._messages import Kind, decode_batches, decode_push, encode
from actors.cluster._mirror import EpochChanged, Mirror
from actors.errors import LogError
from actors.loop.wakeup import Wakeup
from actors.streams._cursor import SessionEnding

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator

    from actors.cluster._outbox import Outbox
    from actors.cluster.interfaces import Incarnation, Publisher
    from actors.eventlog.base import EventLog, StreamKey

READERS = 8
"""Number of mirrors that read their missing events from the log at the same time."""
PAUSE_SECONDS = 0.1
"""Pause in seconds after the log could not be read."""
SILENT_SECONDS = 5.0
"""Time in seconds without a digest of an owner after which it is asked for the heads of its sessions."""


class Mirrors:
    """The mirrors of this node, by session, and by owner and number.

    There may be tens of thousands, so the work of each second goes through their owners where it can. *When it compared
    the owner of each mirror, 20,000 mirrors took 40 ms of every second.*
    """

    def __init__(
        self, log: EventLog, outbox: Outbox, deliver: Callable[[], None], publisher: Publisher | None = None
    ) -> None:
        """Have no mirror yet.

        Args:
            log: The log that all nodes share.
            outbox: The messages to other nodes.
            deliver: Function that makes connections write what their listeners were notified of.
            publisher: The log, if it sends the events of watched streams itself.
        """
        self.deliver = deliver
        self._log = log
        self._outbox = outbox
        self._by_key: dict[StreamKey, Mirror] = {}
        self._by_owner: dict[Incarnation, dict[int, Mirror]] = {}
        self._by_name: dict[bytes, Mirror] = {}
        self._publisher = publisher
        self._by_user: dict[str, dict[Mirror, None]] = {}
        # Not from 1: a late push to an earlier process of this node must name no mirror of this one.
        self._last = secrets.randbits(48)
        self._behind: dict[Mirror, None] = {}
        self._wakeup = Wakeup()
        self._told: dict[Incarnation, float] = {}
        self.suspects: set[Incarnation | None] = set()
        """The nodes that must tell all their heads, because messages of them were lost. None: all nodes."""
        self.pushes = 0
        """Number of messages with events that came."""
        self.resyncs = 0
        """Number of times that a mirror was behind."""

    def __len__(self) -> int:
        return len(self._by_key)

    @contextmanager
    def holding(self, key: StreamKey, owner: Incarnation) -> Generator[Mirror]:
        """Yield the mirror of a session of ``owner``, and keep the mirror inside the ``with`` block.

        If there is a mirror of another owner, it ends: its clients attach again.
        """
        mirror = self._by_key.get(key)
        if mirror is not None and (mirror.owner != owner or mirror.ended):
            self.end(mirror, SessionEnding.MOVED)
            mirror = None
        if mirror is None:
            self._last += 1
            mirror = Mirror(key, self._last, owner, self._log, self._on_behind)
            self._by_key[key] = self._by_owner.setdefault(owner, {})[mirror.number] = mirror
            self._by_user.setdefault(key.user, {})[mirror] = None
            if self._publisher is not None:
                self._by_name[self._publisher.name_of(key)] = mirror
        mirror.holds += 1
        try:
            yield mirror
        finally:
            mirror.holds -= 1
            if not mirror.holds:
                mirror.recent.clear()

    def end(self, mirror: Mirror, reason: SessionEnding) -> None:
        """Remove a mirror, and notify its clients that it has ended."""
        of_owner = self._by_owner.get(mirror.owner, {})
        if of_owner.pop(mirror.number, None) is not None:
            if not of_owner:
                del self._by_owner[mirror.owner]
            del self._by_key[mirror.key]
            del self._by_user[mirror.key.user][mirror]
            if self._publisher is not None:
                del self._by_name[self._publisher.name_of(mirror.key)]
            if not self._by_user[mirror.key.user]:
                del self._by_user[mirror.key.user]
        self._behind.pop(mirror, None)
        mirror.end(reason)

    def end_all(self, reason: SessionEnding, gone: Collection[Incarnation] | None = None) -> None:
        """End the mirrors of the nodes ``gone``, or all mirrors."""
        for owner in tuple(self._by_owner) if gone is None else gone:
            for mirror in tuple(self._by_owner.get(owner, {}).values()):
                self.end(mirror, reason)

    def end_user(self, user: str, reason: SessionEnding = SessionEnding.MOVED) -> None:
        """End the mirrors of a user. By default the user's sessions run here from now on."""
        for mirror in tuple(self._by_user.get(user, ())):
            self.end(mirror, reason)

    def owners(self) -> set[Incarnation]:
        """Return the nodes of which this node has mirrors."""
        return {*self._by_owner}

    def signal(self, name: str, data: bytes) -> None:
        """Send a signal to the clients of all mirrors."""
        for mirror in tuple(self._by_key.values()):
            mirror.signal(name, data)

    # Messages of the owners

    def on_push(self, sender: Incarnation, body: bytes) -> None:
        """Append the events of a push to the mirrors. Raise LogCorrupt if the push cannot be read."""
        self.pushes += 1
        unknown: list[int] = []
        mirrors = self._by_owner.get(sender, {})
        for number, first, lines in decode_push(body):
            if (mirror := mirrors.get(number)) is not None:
                mirror.take(first, lines)
            else:
                unknown.append(number)
        self.deliver()
        self.unwatch(sender, unknown)

    def on_batches(self, sender: Incarnation, body: bytes) -> None:
        """Append the batches that the engine has published for ``sender``. Raise LogCorrupt if they cannot be read."""
        self.pushes += 1
        mirrors = self._by_owner.get(sender, {})
        for name, first, lines in decode_batches(body):
            mirror = self._by_name.get(name)
            if mirror is not None and mirror.number in mirrors:
                mirror.take(first, lines)
        self.deliver()

    def on_signal(self, sender: Incarnation, data: dict[str, Any]) -> None:
        """Pass a signal of a session to the mirror's clients."""
        if (mirror := self._of(sender, data["n"])) is not None:
            mirror.signal(data["name"], orjson.dumps(data["data"]), data.get("s", 0))

    def on_ended(self, sender: Incarnation, data: dict[str, Any]) -> None:
        """End a mirror, because its session has ended. If the session goes on elsewhere, its clients attach again.

        A failure ends the clients, as it ends those of the owner: the commands that had no reply may have caused it.
        """
        mirror = self._of(sender, data["n"])
        if mirror is not None:
            why = SessionEnding(data["why"])
            # The end of the other node is no end for the clients of this node.
            self.end(mirror, why if why in {SessionEnding.CLOSED, SessionEnding.CRASHED} else SessionEnding.MOVED)

    def on_digest(self, sender: Incarnation, data: dict[str, Any]) -> None:
        """Compare the mirrors with the newest seqs that their owner has told."""
        self._told[sender] = trio.current_time()
        self._note_heads(sender, data["heads"])
        if data["watched"] != len(self._by_owner.get(sender, ())):
            self.suspects.add(sender)

    def on_heads(self, sender: Incarnation, heads: dict[str, int], asked: Collection[Mirror]) -> None:
        """Compare all mirrors of an owner with its answer. ``asked`` are the mirrors that it had when it was asked."""
        self._told[sender] = trio.current_time()
        self._note_heads(sender, heads)
        for mirror in asked:
            if str(mirror.number) not in heads and mirror.owner == sender and not mirror.ended:
                self.end(mirror, SessionEnding.MOVED)  # its owner no longer knows that this node watches

    def suspect_silent(self) -> None:
        """Suspect the owners that have told nothing for :data:`SILENT_SECONDS`: perhaps they forgot this node."""
        now = trio.current_time()
        self._told = {owner: self._told.get(owner, now) for owner in self.owners()}
        self.suspects |= {owner for owner, told in self._told.items() if now - told > SILENT_SECONDS}

    def mirrors_of(self, owner: Incarnation) -> list[Mirror]:
        """Return the mirrors of a node that have a position."""
        return [mirror for mirror in self._by_owner.get(owner, {}).values() if mirror.epoch]

    def _of(self, sender: Incarnation, number: int) -> Mirror | None:
        return self._by_owner.get(sender, {}).get(number)

    def _note_heads(self, sender: Incarnation, heads: dict[str, int]) -> None:
        unknown: list[int] = []
        mirrors = self._by_owner.get(sender, {})
        for text, latest in heads.items():
            if (mirror := mirrors.get(int(text))) is None:
                unknown.append(int(text))
            elif latest > mirror.committed_seq:  # rarely: nearly always all pushes have come
                mirror.note_head(latest)
        self.unwatch(sender, unknown)

    # What the router's tasks call

    def sweep(self) -> None:
        """Remove the mirrors that no client uses."""
        for mirror in tuple(self._by_key.values()):
            if not mirror.cursors and not mirror.holds:
                self.end(mirror, SessionEnding.SHUTDOWN)
                self.unwatch(mirror.owner, [mirror.number])

    def unwatch(self, owner: Incarnation, numbers: list[int]) -> None:
        """Tell a node that sessions need not be pushed any more."""
        if numbers:
            self._outbox.post(owner.node, encode(Kind.UNWATCH, {"to": str(owner), "numbers": numbers}))

    def _on_behind(self, mirror: Mirror) -> None:
        if mirror not in self._behind:
            self.resyncs += 1
            self._behind[mirror] = None
            self._wakeup.wake()

    async def run(self) -> None:
        """Read the missing events of mirrors from the log, until this is cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(READERS):
                nursery.start_soon(self._read)

    async def _read(self) -> None:
        while True:
            while self._behind:
                mirror = next(iter(self._behind))
                del self._behind[mirror]
                try:
                    await mirror.catch_up()
                    self.deliver()
                except EpochChanged:
                    self.end(mirror, SessionEnding.MOVED)
                except LogError:
                    await trio.sleep(PAUSE_SECONDS)
                    if not mirror.ended:
                        self._behind[mirror] = None
            await self._wakeup.wait()
