"""The control of one actor: how it is stopped, killed and failed, from outside and by its own incarnation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import trio

from actors.loop.stack import STOP_FRAMES, require_room
from actors.runtime._body import Body
from actors.runtime._course import Do
from actors.runtime._deadlines import GRACE
from actors.runtime._lifecycle import STOP, ExitReason, State, Stop
from actors.runtime._restart import should_restart

if TYPE_CHECKING:
    from collections.abc import Iterator


class ChildCells(Protocol):
    """The children of an incarnation, with the methods that the actor itself uses."""

    def count(self) -> int:
        """Return the number of children that have not ended."""
        ...

    def find(self, key: str) -> Control[Any] | None:
        """Return the child of that id; None if it has ended or does not exist."""
        ...

    def descendants(self) -> Iterator[Control[Any]]:
        """Yield all actors below this one, parents first."""
        ...

    def condemn(self) -> None:
        """Record that all actors below this one are ended by force now."""
        ...

    async def stop_all(self, *, brutal: bool = False) -> None:
        """End all children. ``brutal`` kills them."""
        ...


class Life(Protocol):
    """An incarnation, with the methods and attributes by which it is controlled from outside."""

    @property
    def scope(self) -> trio.CancelScope | None:
        """Cancel scope around the running code of the incarnation."""
        ...

    @property
    def nursery(self) -> trio.Nursery | None:
        """Nursery of the actor's own tasks; None if the actor has opened none."""
        ...

    @property
    def children(self) -> ChildCells | None:
        """Children of the incarnation; None before the first child."""
        ...

    def force(self) -> None:
        """Cancel all tasks of the incarnation and of the actors below it, even shielded tasks."""
        ...

    def wake(self) -> None:
        """Make the actor look at its control lane: stop, kill, watched actors and timers."""
        ...


LifeT = TypeVar("LifeT", bound=Life)


class Control(Body, Generic[LifeT]):
    """The methods that end one actor. Other actors and its own incarnation call them.

    :class:`~actors.runtime._course.Course` decides which actions an event requires; this class carries them out.
    """

    __slots__ = ("_pause", "life")

    # Set by the constructor of ``Cell``: a constructor for each base class would make every spawn dearer.
    life: LifeT | None
    """The current incarnation."""
    _pause: trio.CancelScope | None
    """Scope of the wait between two incarnations."""

    def _act(self, do: int) -> None:
        """Carry out the actions in ``do``, a sum of the values of :class:`Do`."""
        if do & Do.REFUSE:
            self.mailbox.refuse("stopping")
        if do & Do.GO_ON and self._pause is not None:
            self._pause.cancel()
        life = self.life
        if life is None:
            return
        if do & Do.CANCEL and life.scope is not None:
            life.scope.cancel()
        # An actor that waits for a message looks at its control lane next, and most then end without a deadline.
        if do & Do.TIME and life.scope is not None and not self.mailbox.is_awaited:
            self.enforce_stop_at()
        # Force is used now, and the enforcer repeats it, since forced work may shield itself anew.
        if do & Do.FORCE:
            self.system.enforcer.at(life, trio.current_time() + GRACE)
            life.force()
        if do & Do.WAKE:
            life.wake()

    def enforce_stop_at(self) -> None:
        """Set the deadline of the running code to ``stop_at``, and end it by force GRACE seconds later."""
        life = self.life
        if life is not None:
            if life.scope is not None:
                life.scope.deadline = min(life.scope.deadline, self.stop_at)
            self.system.enforcer.at(life, self.stop_at + GRACE)

    # From outside. Each of these raises RecursionError near the end of the stack, and then has changed nothing.

    def kill_soon(self) -> None:
        """End the incarnation now, even shielded work. The supervisor decides whether another incarnation follows."""
        require_room(STOP_FRAMES)
        self._act(self.kill())

    def leave(self, reason: ExitReason) -> None:
        """Stop after the current message, as the actor has asked. The restart type decides about a restart."""
        require_room(STOP_FRAMES)
        self._act(self.wish_to_stop(Stop(reason, final=not should_restart(self.spec.restart, reason), own=True)))

    def stop_soon(self, stop: Stop, seconds: float) -> None:
        """Begin a stop, and cancel the actor's code after ``seconds``. If the stop is final, refuse new messages.

        An actor whose ``started()`` has not returned is cancelled now. A later stop cannot soften an earlier one: it
        can only shorten the time, skip the waiting messages, or make the stop final.
        """
        require_room(STOP_FRAMES)
        self._act(self.ask_to_stop(stop, seconds, trio.current_time()))

    def on_condemned(self) -> None:
        """Record that the actor is ended by force together with all actors above it."""
        # No action follows: the force that came to its parent has cancelled its tasks too.
        self.stop_asked = STOP if self.stop_asked is None else self.stop_asked.joined(STOP)
        self.killed = True

    # From its own incarnation

    def note_failure(self, failure: BaseException) -> None:
        """Record an exception of the incarnation, or too many failures of children. Set the deadline of the end."""
        self._act(self.fail(failure, self.spec.seconds, trio.current_time()))

    def was_cut_off(self) -> None:
        """Record a cancellation of the actor from outside. The ``open_system`` block raises the actor's exceptions."""
        if not self.killed:
            self.system.raised.extend(self.failures)
        super().was_cut_off()

    def on_stopping(self, *, busy: bool) -> None:
        """Record that no further message is handled. If the incarnation is still ``busy``, enforce its deadline."""
        if busy:
            self.begins_to_end(self.spec.seconds, trio.current_time())
            self.enforce_stop_at()
        else:
            self.state = State.STOPPING

    def begin_to_end(self) -> float:
        """Set the deadline for an end that no stop caused. Return the time at which the running code is cancelled."""
        self.stop_at = min(self.stop_at, trio.current_time() + self.spec.seconds)
        if self.life is not None:
            self.system.enforcer.at(self.life, self.stop_at + GRACE)
        return self.stop_at
