"""The part of an actor's Context about its presence: events, watches, its idle time, and leases."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from actors.checks import check_seconds
from actors.runtime._occupation import NO_MESSAGE
from actors.runtime._ref import cell_of
from actors.runtime._timers import Timers
from actors.runtime._watching import Watching
from actors.runtime.topics._buffer import DEFAULT_BUFFER

if TYPE_CHECKING:
    from collections.abc import Generator

    from actors.runtime._incarnation import Incarnation
    from actors.runtime._ref import ActorRef


class Presence:
    """Events, watches, idle time and leases of one actor. ``Context`` has this class as a base."""

    __slots__ = ("_cell", "_life")

    def __init__(self, life: Incarnation) -> None:
        self._life = life
        self._cell = life.cell

    def _living(self) -> Incarnation:
        """Return the context's incarnation (a life of the actor between two restarts).

        Raises RuntimeError if that incarnation has ended, and outside the trio run of the system.
        """
        self._life.check_place()
        if self._life.has_ended:
            raise RuntimeError(f"this incarnation of {self._cell.path} has ended: a later one has a context of its own")
        return self._life

    def subscribe(self, kind: type[Any], *, topic: str | None = None, buffer: int = DEFAULT_BUFFER) -> None:
        """Receive the events of ``system.events`` that are of the class ``kind``, each as a message. Idempotent.

        The subscription ends when this actor ends or is restarted: subscribe in ``started()``. At most ``buffer``
        events wait for the actor; after a dropped one it receives EventsMissed. Raises SpecError for a wrong argument.
        """
        self._watching().subscribe(kind, topic, buffer, self._cell.system.events)

    def unsubscribe(self, kind: type[Any], *, topic: str | None = None) -> None:
        """End a subscription, and drop its waiting events."""
        self._life.check_place()
        if self._life.watching is not None and self._life.watching.lane is not None:
            self._life.watching.lane.unsubscribe(kind, topic)

    def _watching(self) -> Watching:
        life = self._living()
        if life.watching is None:
            life.watching = Watching(life)
        return life.watching

    def watch(self, ref: ActorRef) -> None:
        """Watch the actor of ``ref``: this actor receives one Terminated message when that actor has ended permanently.

        A restart of the watched actor sends no message. If the watched actor has ended already, the message comes at
        once.

        A watch ends when the watching actor is restarted. An actor that returns UNHANDLED for a Terminated fails with
        DeathPact.
        """
        self._watching().add(cell_of(ref))

    def unwatch(self, ref: ActorRef) -> None:
        """Stop watching the actor of ``ref``.

        If the Terminated message about that actor waits to be handled, the message is dropped.
        """
        self._life.check_place()
        target = cell_of(ref)
        if self._life.watching is not None:
            self._life.watching.remove(target)

    def idle_after(self, seconds: float | None) -> None:
        """Receive an :class:`Idle` message whenever no message has come for ``seconds`` seconds.

        The idle time begins when the actor has handled its last message, and again after each Idle message. It does not
        run while the actor handles a message, has a :meth:`lease`, or owes the answer to a deferred ask. Every message
        of the mailbox, event and Terminated message ends it, unless ``receive`` calls :meth:`stay_idle`. The messages
        of the actor's own timers do not. When an Idle message is handled, no other message waits.

        Each call replaces the call before. None or 0 ends it. A restarted actor must call this again, for example in
        ``started()``.

        Raises:
            SpecError: ``seconds`` is no time.
            RuntimeError: The actor is stopping, or this is not the trio run of its system.
        """
        wanted = 0.0 if seconds is None else seconds
        check_seconds(wanted, "seconds")
        life = self._living() if wanted else self._life
        life.check_place()
        if life.timers is None and wanted:
            life.timers = Timers(life)
        if life.timers is not None:
            life.timers.set_idle(wanted)

    def stay_idle(self) -> None:
        """Do not count the current message as activity: the idle time of :meth:`idle_after` goes on. Idempotent.

        It is for messages that come by themselves, such as health checks. *With them, an actor that has had nothing to
        do for days is never told that it is idle.*
        """
        life = self._living()
        if (idle := life.idle) is not None:
            idle.skip(in_mailbox=life.current is not NO_MESSAGE)

    @contextlib.contextmanager
    def lease(self) -> Generator[None]:
        """Count the actor as busy while the ``with`` block runs, even if its mailbox is empty.

        ``statistics().leases`` is the number of these blocks that are open.
        """
        life = self._living()
        life.leases += 1
        try:
            yield
        finally:
            life.leases -= 1
            if not life.leases:
                life.on_free()
