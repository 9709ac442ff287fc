"""The sessions of this node that other nodes watch, because clients of these nodes are attached to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import orjson
import trio

from actors.cluster._messages import Kind, encode, encode_push
from actors.cluster._shown import FLAGS, ShownStates
from actors.events.types import Position
from actors.sessions._messages import Attach
from actors.streams._cursor import NO_LISTENER
from actors.streams._signal_queue import SignalQueue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from actors.cluster._outbox import Outbox
    from actors.cluster.interfaces import Incarnation, Publisher
    from actors.eventlog.base import StreamKey
    from actors.sessions._attachment import Attachment
    from actors.streams._cursor import SessionEnding

PUSH_EVENTS = 1000
"""Maximum number of a session's events in one push. A watcher reads the rest of a larger commit from the log."""
PUSH_BYTES = 1 << 20
"""Maximum size of a session's events in one push, in bytes."""
UNSEEN_SECONDS = 60.0
"""Time in seconds for which a node that asks counts as living, although this node has not seen it registered yet."""
PAUSED = "paused"
"""Name of the signal by which a node tells its clients that it is suspended, or no longer."""


class WatchedSession:
    """One session that one other node watches, and its listener: the session notifies it as it notifies a client."""

    __slots__ = (
        "_early",
        "_signals",
        "attachment",
        "ended",
        "is_published",
        "key",
        "link",
        "number",
        "signalled",
        "states",
    )

    def __init__(self, key: StreamKey, number: int, link: Link) -> None:
        self.key = key
        self.number = number
        self.link = link
        self.attachment: Attachment | None = None
        self.ended = False
        self.is_published = False
        """Whether the log sends the events of the session to the node of this watcher."""
        self._signals: SignalQueue | None = None
        """The signals that wait to be sent. None until the first signal, since most sessions never have one."""
        self.signalled = 0
        """Number of signals so far."""
        self.states = ShownStates((), ())
        """The states of the session after these signals."""
        # The signals since the session has attached this listener, until begin(). Perhaps another watcher sends them.
        self._early: tuple[tuple[str, bytes], ...] = ()

    def begin(self, attachment: Attachment) -> None:
        """Note the attachment of this listener, and send the signals since then."""
        self.attachment = attachment
        self.states = ShownStates(attachment.typing, attachment.queued)
        early, self._early = self._early, ()
        for name, data in early:
            self.on_signal(name, data)

    def on_events(self) -> None:
        """Push the new events at the end of this commit."""
        self.link.dirty[self] = None

    def on_signal(self, name: str, data: bytes) -> None:
        """Queue a signal for the other node, as for a client: too many are dropped, the least important first."""
        if name == PAUSED:  # that is about this node, not about the session
            return
        if self.attachment is None:
            self._early += ((name, data),)
            return
        self.signalled += 1
        if name in FLAGS:
            self.states.note(name, data)
        if self._signals is None:
            self._signals = SignalQueue()
        fields = {"n": self.number, "s": self.signalled, "name": name, "data": orjson.Fragment(data)}
        message = self.link.encode(Kind.SIGNAL, fields)
        self.link.schedule(self, dropped=self._signals.put(name, data, message))

    def send_signals(self) -> None:
        """Send the signals that wait before the messages that are posted later."""
        while self._signals:
            self.link.post_encoded(self._signals.take())

    def take_signal(self) -> tuple[str, bytes] | None:
        """Remove the oldest signal that waits; see :class:`.SignalSource`."""
        return (self.link.to.node, self._signals.take()) if self._signals else None

    def on_ended(self, reason: SessionEnding) -> None:
        """Tell the other node that the session has ended."""
        self.ended = True
        self.link.forget(self)
        # What the last signals say, such as that an agent no longer types, is still true after a move.
        self.send_signals()
        self.link.post(Kind.ENDED, {"n": self.number, "why": str(reason)})

    def lines(self) -> tuple[int, int, Sequence[bytes]] | None:
        """Return the events that were committed since the last call, as a part of a push. Return None for none."""
        if self.attachment is None:
            return None
        cursor = self.attachment.cursor
        first = cursor.position + 1
        lines = cursor.take(PUSH_EVENTS, PUSH_BYTES)
        self.skip()  # the watcher reads from the log what does not fit
        return (self.number, first, lines) if lines else None

    def skip(self) -> None:
        """Pass over the events that were committed, because the log has sent them."""
        if self.attachment is not None:
            cursor = self.attachment.cursor
            cursor.position += cursor.waiting

    @property
    def head(self) -> int:
        """Seq of the newest event that was pushed."""
        return 0 if self.attachment is None else self.attachment.cursor.position

    def leave(self) -> None:
        """Stop watching the session."""
        if self.attachment is not None:
            self.attachment.detach()


class Link:
    """One node that watches sessions of this node."""

    def __init__(self, to: Incarnation, outbox: Outbox, on_forgotten: Callable[[WatchedSession], None]) -> None:
        self.to = to
        self._outbox = outbox
        self._on_forgotten = on_forgotten
        self.watchers: dict[int, WatchedSession] = {}
        self.since = trio.current_time()
        self.is_seen = False
        """Whether this node has seen the other one among the registered nodes."""
        self.dirty: dict[WatchedSession, None] = {}
        self._recent: dict[WatchedSession, None] = {}
        self._earlier: dict[WatchedSession, None] = {}

    def encode(self, kind: Kind, data: Mapping[str, object]) -> bytes:
        """Return a message to the node."""
        return encode(kind, {"to": str(self.to), **data})

    def post(self, kind: Kind, data: dict[str, object]) -> None:
        """Send a message to the node."""
        self.post_encoded(self.encode(kind, data))

    def post_encoded(self, message: bytes) -> None:
        """Send a message that is encoded."""
        self._outbox.post(self.to.node, message)

    def schedule(self, watcher: WatchedSession, *, dropped: int) -> None:
        """Send the signals of a watcher soon. ``dropped`` signals of it were dropped, because too many waited."""
        self._outbox.signals_dropped += dropped
        self._outbox.schedule(watcher)

    def forget(self, watcher: WatchedSession) -> None:
        """Remove a watcher."""
        for each in (self.dirty, self._recent, self._earlier):
            each.pop(watcher, None)
        self._outbox.forget(watcher)
        if self.watchers.get(watcher.number) is watcher:
            del self.watchers[watcher.number]
        self._on_forgotten(watcher)

    def push(self, *, is_published: bool) -> int:
        """Send the events of the last commit, unless the log has sent them. Return the number of messages, 0 or 1.

        The positions of the watchers are moved in any case.
        """
        dirty, self.dirty = self.dirty, {}
        self._recent.update(dirty)
        if is_published:
            for watcher in dirty:
                watcher.skip()
            return 0
        parts = [part for watcher in dirty if (part := watcher.lines()) is not None]
        if parts:
            self._outbox.post(self.to.node, encode_push(parts))
        return bool(parts)

    def digest(self) -> None:
        """Tell the node the newest seqs of the sessions that had events lately, and the number of watched sessions.

        Each session is in two digests, so that the loss of one does no harm.
        """
        heads = {str(each.number): each.head for each in (*self._earlier, *self._recent)}
        self._earlier, self._recent = self._recent, {}
        self.post(Kind.DIGEST, {"heads": heads, "watched": len(self.watchers)})

    def heads(self) -> dict[str, int]:
        """Return the newest seq of each watched session."""
        return {str(number): watcher.head for number, watcher in self.watchers.items()}


class Watched:
    """All nodes that watch sessions of this node."""

    def __init__(
        self,
        ask: Callable[[StreamKey, object], Awaitable[object]],
        outbox: Outbox,
        publisher: Publisher | None,
        barrier: Callable[[], Awaitable[None]],
    ) -> None:
        """Watch nothing yet.

        Args:
            ask: Function that sends a message to a session of this process.
            outbox: The messages to other nodes.
            publisher: The log, if it sends the events of watched streams itself. Otherwise they are sent from here.
            barrier: Function that waits until the events of all sessions so far are committed.
        """
        self._ask = ask
        self._outbox = outbox
        self._publisher = publisher
        self._barrier = barrier
        self._nodes: dict[StreamKey, dict[str, int]] = {}
        self.links: dict[Incarnation, Link] = {}
        self.pushes = 0
        """Number of messages with events that were sent."""

    def __len__(self) -> int:
        return sum(len(link.watchers) for link in self.links.values())

    async def watch(self, by: Incarnation, number: int, key: StreamKey, ahead: int) -> dict[str, object]:
        """Begin to push a session to a node. Return the state of the session at this moment, for its new client.

        If the node watches the session already, only return the state. If the client has the event ``ahead``, wait
        until it is sure whether the log has it. Raise the errors of :meth:`.Sessions.get`, or LogUnavailable.
        """
        link = self.links.setdefault(by, Link(by, self._outbox, self._stop))
        watcher = link.watchers.get(number)
        if watcher is None:
            watcher = WatchedSession(key, number, link)
            attachment = await self._begin(watcher)
            if watcher.ended or number in link.watchers or self.links.get(by) is not link:
                # The session has just ended, or the node has asked twice at once, or it is gone.
                attachment.detach()
                self._stop(watcher)
            else:
                watcher.begin(attachment)
                link.watchers[number] = watcher
                link.dirty[watcher] = None  # events that were committed meanwhile were not pushed
                self.on_commit()
        else:
            attachment = await self._attach(key, Attach(f"node-{by}-{number}?", NO_LISTENER, from_latest=True))
            attachment.detach()
        if ahead > attachment.latest:
            resume = Position(attachment.epoch, ahead)
            attachment = await self._attach(key, Attach(f"node-{by}-{number}!", NO_LISTENER, resume))
            attachment.detach()
        state, now = _state(attachment), link.watchers.get(number)
        if now is not None:
            # The states of this moment, with the signals so far before them. The session may have sent some since it
            # has answered, and a client that is told a state without its end would show it for ever.
            now.send_signals()
            state |= _shown(now.states) | {"s": now.signalled}
        return state

    async def _begin(self, watcher: WatchedSession) -> Attachment:
        watcher.is_published = True
        self._count(watcher, 1)
        try:
            if self._publisher is not None:
                # A commit that is under way is not sent to this watcher. The answer must have its events.
                await self._barrier()
            attach = Attach(f"node-{watcher.link.to}-{watcher.number}", watcher, from_latest=True)
            return await self._attach(watcher.key, attach)
        except BaseException:
            self._stop(watcher)
            raise

    def _stop(self, watcher: WatchedSession) -> None:
        """Stop sending the events of a session to the node of a watcher, unless another watcher needs them."""
        if watcher.is_published:
            watcher.is_published = False
            self._count(watcher, -1)

    def _count(self, watcher: WatchedSession, change: int) -> None:
        key, node = watcher.key, watcher.link.to.node
        nodes = self._nodes.setdefault(key, {})
        nodes[node] = nodes.get(node, 0) + change
        if not nodes[node]:
            del nodes[node]
        if self._publisher is not None:
            self._publisher.publish_to(key, tuple(nodes))
        if not nodes:
            del self._nodes[key]

    async def _attach(self, key: StreamKey, attach: Attach) -> Attachment:
        return cast("Attachment", await self._ask(key, attach))

    def unwatch(self, by: Incarnation, numbers: Collection[int]) -> None:
        """Stop pushing these sessions to a node."""
        link = self.links.get(by)
        for number in numbers:
            if link is not None and (watcher := link.watchers.get(number)) is not None:
                link.forget(watcher)
                watcher.leave()

    def on_commit(self) -> None:
        """Push the events of the last commit, one message for each node that watches any of them."""
        for link in self.links.values():
            if link.dirty:
                self.pushes += link.push(is_published=self._publisher is not None)

    def digest(self) -> None:
        """Send a digest to each node that watches sessions."""
        for link in self.links.values():
            link.digest()

    def keep(self, living: Collection[Incarnation]) -> None:
        """Forget the nodes that are gone.

        *A node that has just joined is not among the living yet. When it was forgotten at once, its clients waited for
        events that were never pushed.*
        """
        unseen_since = trio.current_time() - UNSEEN_SECONDS
        for by, link in tuple(self.links.items()):
            link.is_seen = link.is_seen or by in living
            if by not in living and (link.is_seen or link.since < unseen_since):
                self._forget(by)

    def forget_all(self) -> None:
        """Forget all nodes."""
        for by in tuple(self.links):
            self._forget(by)

    def _forget(self, by: Incarnation) -> None:
        link = self.links.pop(by)
        for watcher in tuple(link.watchers.values()):
            link.forget(watcher)
            watcher.leave()


def _state(attachment: Attachment) -> dict[str, object]:
    return {
        "epoch": attachment.epoch,
        "oldest": attachment.oldest,
        "latest": attachment.latest,
        "runs": [[run.kind, run.id, run.run_id, run.parent_run_id, run.name, run.started] for run in attachment.runs],
    } | _shown(ShownStates(attachment.typing, attachment.queued))


def _shown(states: ShownStates) -> dict[str, object]:
    queued = [[start.command_id, start.agent, start.since] for start in states.queued]
    return {"typing": states.typing, "queued": queued}
