"""The actors that an actor watches, with the Terminated messages about their ends, and the events that it follows."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from actors.runtime._ref import Target, Terminated, cell_of
from actors.runtime.topics._lane import EventLane

if TYPE_CHECKING:
    from actors.runtime.topics._bus import EventBus


class Owner(Protocol):
    """The incarnation (an actor's life between two restarts) that watches other actors."""

    def wake(self) -> None:
        """Wake the actor, so that it handles a stop, a kill, Terminated messages and timers."""
        ...


class Watching:
    """The actors that one actor watches between two restarts, and its subscriptions to events.

    The object is made with the first watch or subscription, because most actors have none.
    """

    __slots__ = ("_owner", "_targets", "_waiting", "lane")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._targets: dict[Target, None] = {}
        """The watched actors. An actor is removed when its Terminated message has been handled."""
        self._waiting: deque[Terminated] = deque()
        """Terminated messages that wait to be handled, before all messages of the mailbox.

        The number of these messages is not limited.
        """
        self.lane: EventLane | None = None
        """Subscriptions of the actor; None before the first one."""

    @property
    def has_news(self) -> bool:
        """Whether a Terminated message waits to be handled."""
        return bool(self._waiting)

    def add(self, target: Target) -> None:
        """Watch an actor. If that actor has ended already, its Terminated message comes at once. Idempotent."""
        if target in self._targets:
            return
        self._targets[target] = None
        if target.reason is None:
            target.add_watcher(self)
        else:
            self.on_terminated(Terminated(target.ref, target.reason))

    def remove(self, target: Target) -> None:
        """Stop watching an actor. If the Terminated message of that actor waits to be handled, drop the message."""
        self._targets.pop(target, None)
        target.remove_watcher(self)
        self._waiting = deque(event for event in self._waiting if cell_of(event.ref) is not target)

    def subscribe(self, kind: type[Any], topic: str | None, size: int, bus: EventBus) -> None:
        """Subscribe the actor to events of the class ``kind``. Idempotent."""
        if self.lane is None:
            self.lane = EventLane(self._owner, bus)
        self.lane.subscribe(kind, topic, size)

    def on_terminated(self, event: Terminated) -> None:
        """Store the Terminated message of a watched actor, and wake the watcher."""
        self._waiting.append(event)
        self._owner.wake()

    def take(self) -> Terminated:
        """Remove and return the oldest Terminated message. From now on, the ended actor is not watched any more."""
        event = self._waiting.popleft()
        self._targets.pop(cell_of(event.ref), None)
        return event

    def close(self) -> None:
        """End all watches and subscriptions, and drop all Terminated messages and waiting events."""
        for target in self._targets:
            target.remove_watcher(self)
        self._targets.clear()
        self._waiting.clear()
        if self.lane is not None:
            self.lane.close()
