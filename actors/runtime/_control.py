"""The methods by which one actor is stopped, killed or failed. Other actors and the actor's own code call them."""

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
    """The interface of the children of an actor: the methods that the actor itself calls."""

    def count(self) -> int:
        """Return the number of children that have not ended."""
        ...

    def find(self, key: str) -> Control[Any] | None:
        """Return the actor of the child with the id ``key``; None if the child has ended or does not exist."""
        ...

    def descendants(self) -> Iterator[Control[Any]]:
        """Yield all actors below the parent of these children, parents first."""
        ...

    def condemn(self) -> None:
        """Record that the runtime ends all actors below the parent of these children by force now."""
        ...

    async def stop_all(self, *, brutal: bool = False) -> None:
        """Stop all children. With ``brutal``, kill them."""
        ...

    def reopen(self) -> None:
        """Allow new children again, after all children have been stopped."""
        ...


class Life(Protocol):
    """The interface of an incarnation (an actor's life between two restarts): the members needed to end it."""

    @property
    def scope(self) -> trio.CancelScope | None:
        """Cancel scope around the running code of the actor."""
        ...

    @property
    def nursery(self) -> trio.Nursery | None:
        """Nursery of the actor's own tasks; None if the actor has opened none."""
        ...

    @property
    def children(self) -> ChildCells | None:
        """Children of the actor; None before the first child."""
        ...

    def force(self) -> None:
        """Cancel all tasks of the actor and of the actors below it, even shielded tasks."""
        ...

    def wake(self) -> None:
        """Wake the actor, so that it handles a stop, a kill, Terminated messages and timers."""
        ...


class Pause(Protocol):
    """The interface of an actor's wait before a restart."""

    def go_on(self, *, is_final: bool) -> None:
        """End the wait. If ``is_final``, the actor is not restarted."""
        ...


LifeT = TypeVar("LifeT", bound=Life)


class Control(Body, Generic[LifeT]):
    """The methods that end one actor. Other actors and the actor's own incarnation call these methods.

    :class:`~actors.runtime._course.Course` decides which actions an event requires; this class carries them out.
    """

    __slots__ = ("_pause", "life")

    # Set by the constructor of ``Cell``: a constructor for each base class would make every spawn slower.
    life: LifeT | None
    """The incarnation (the actor's life since its last start); None while the actor has not started or has ended."""
    _pause: Pause | None
    """The actor's wait before a restart; None at any other time."""

    def _act(self, do: int) -> None:
        """Carry out the actions in ``do``, a sum of values of :class:`Do` such as ``Do.CANCEL + Do.WAKE``."""
        if do & Do.REFUSE:
            self.mailbox.refuse("stopping")
        if do & Do.GO_ON and self._pause is not None:
            self._pause.go_on(is_final=self.ends_for_good)
        life = self.life
        if life is None:
            return
        if do & Do.CANCEL and life.scope is not None:
            life.scope.cancel()
        # An actor that waits for a message looks at its control lane next, and most then end without a deadline.
        if do & Do.TIME and life.scope is not None and not self.mailbox.is_awaited:
            self.enforce_stop_at()
        # Force is used now, and the enforcer repeats it, since forced work may shield itself again.
        if do & Do.FORCE:
            self.system.enforcer.at(life, trio.current_time() + GRACE)
            life.force()
        if do & Do.WAKE:
            life.wake()

    def enforce_stop_at(self) -> None:
        """Cancel the running code of the actor at the time ``stop_at``, and end it by force GRACE seconds later."""
        life = self.life
        if life is not None:
            if life.scope is not None:
                life.scope.deadline = min(life.scope.deadline, self.stop_at)
            self.system.enforcer.at(life, self.stop_at + GRACE)

    # Called by other code. Each of these raises RecursionError near the end of the stack, and then has changed nothing.

    def kill_soon(self) -> None:
        """End the actor now. Shielded code is cancelled too. The supervisor decides whether the actor is restarted."""
        require_room(STOP_FRAMES)
        self._act(self.kill())

    def leave(self, reason: ExitReason) -> None:
        """Stop the actor after its current message, at its own request.

        The restart type of the actor decides whether it is restarted.
        """
        require_room(STOP_FRAMES)
        self._act(self.wish_to_stop(Stop(reason, final=not should_restart(self.spec.restart, reason), own=True)))

    def stop_soon(self, stop: Stop, seconds: float) -> None:
        """Begin a stop of the actor, and cancel its code after ``seconds``. A final stop also refuses new messages.

        An actor whose ``started()`` has not returned is cancelled now. A later stop cannot soften an earlier stop: a
        later stop can only shorten the time, skip the waiting messages, or make the stop final.
        """
        require_room(STOP_FRAMES)
        self._act(self.ask_to_stop(stop, seconds, trio.current_time()))

    def on_condemned(self) -> None:
        """Record that the actor is ended by force, because an actor above it is ended by force."""
        # No action follows: the force that came to its parent has cancelled its tasks too.
        self.stop_asked = STOP if self.stop_asked is None else self.stop_asked.joined(STOP)
        self.killed = True

    # Called by the actor's own incarnation

    def note_failure(self, failure: BaseException) -> None:
        """Record that the actor failed: by an exception, or because its children failed too often.

        From now on, the time of the actor's end is limited.
        """
        self._act(self.fail(failure, self.spec.seconds, trio.current_time()))

    def was_cut_off(self) -> None:
        """Record that the actor was cancelled from outside, together with everything around it.

        The exceptions of an actor that was cancelled from outside are kept: the ``open_system`` block raises them.
        """
        if not self.killed:
            self.system.raised.extend(self.failures)
        super().was_cut_off()

    def on_stopping(self, *, busy: bool) -> None:
        """Record that the actor handles no further message.

        If ``busy``, the actor has work left: limit the time for that work.
        """
        if busy:
            self.begins_to_end(self.spec.seconds, trio.current_time())
            self.enforce_stop_at()
        else:
            self.state = State.STOPPING

    def begin_to_end(self) -> float:
        """Limit the time of an end that no stop request caused.

        Return the time at which the running code will be cancelled.
        """
        self.stop_at = min(self.stop_at, trio.current_time() + self.spec.seconds)
        if self.life is not None:
            self.system.enforcer.at(self.life, self.stop_at + GRACE)
        return self.stop_at
