"""The instance of an actor as the runtime sees it: its three methods, and the way it is made. Pure.

The classes of users decide what their instances hold and how attributes are set (attrs, dataclasses, frozen, slotted).
So the runtime reserves no attribute name in them. It stores the incarnation (the actor's current life) in the instance
under a key that is no identifier. It sets and reads this key without calling any method that a class can define for
that.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from actors.errors import SpecError
from actors.runtime._typed import UNHANDLED, Defaults, Later, Message_contra, Reply_co, Unhandled

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.runtime._lifecycle import ExitReason

LIFE = "life of this actor"
"""Key under which the runtime stores its own object in an instance. No field or method can have a name with spaces."""


Method = TypeVar("Method", bound="Callable[..., object]")


def does_nothing(method: Method) -> Method:
    """Mark a default method that does nothing. To save time, the runtime does not call a marked method."""
    method.__dict__["does_nothing"] = True
    return method


class Instance(Defaults, Generic[Message_contra, Reply_co]):
    """The base class of all actors: the methods that the runtime calls."""

    @does_nothing
    async def started(self) -> None:
        """Prepare the actor before its first message. The runtime calls this at the first start and each restart.

        The call of ``spawn`` that starts the actor returns when this method has returned.
        """

    async def receive(self, message: Message_contra) -> Reply_co | Unhandled | Later:
        """Handle one message. Return the answer to an ask, or UNHANDLED for a message that the actor does not know."""
        del message
        return UNHANDLED

    @does_nothing
    async def stopping(self, reason: ExitReason) -> None:
        """Clean up. The runtime calls this at the actor's end, when the children have ended.

        The method is cancelled when the actor's ``shutdown`` time is over.

        If the reason is Normal or Shutdown, the nursery is still open, and the method can start children. When the
        method returns, the tasks of the nursery are cancelled, and these children are stopped. After a Failure the
        nursery is closed, and no child can be started. The method is not run for a killed actor, nor after
        ``started()`` failed.
        """

    @does_nothing
    async def before_restart(self, reason: ExitReason) -> None:
        """Act on the old instance before a restart, for example to save its state for the new one.

        The runtime calls this after ``stopping()``, when the supervisor has decided that the actor is restarted, and
        while the backoff runs. The new instance is made when both are over. The message that failed is a dead letter
        already, other messages wait in the mailbox, and children and tasks of the nursery have ended. ``self.ref`` can
        be used; the context and the nursery start nothing any more.

        The method has what ``stopping()`` left of the actor's ``shutdown`` time. Then it is cancelled, and shielded
        code one second later. A stop of the actor cancels it at once. If it raises, or was late, that is logged, the
        exception joins ``reason``, and the restart goes on. The method is not run for a killed actor, nor after
        ``started()`` failed.
        """

    @does_nothing
    async def after_restart(self, reason: ExitReason) -> None:
        """Act on the new instance after a restart. ``reason`` is the reason for which the last incarnation ended.

        The runtime calls this after ``started()`` and before the first message, at each restart. It is a part of the
        start: there is no deadline, but a stop or kill of the actor cancels it at once. If it raises, the start has
        failed: ``stopping()`` is not run, and the next restart counts against the limit.
        """


# The value before the runtime sets one. The class body cannot set it, because the key is no identifier.
setattr(Instance, LIFE, None)


class Life(Protocol):
    """An incarnation (an actor's life between two restarts), with the attributes needed to make its instance."""

    @property
    def actor(self) -> Instance | None:
        """Instance of the actor's class; None before the instance is made, and after its end."""
        ...

    @property
    def path(self) -> str:
        """Path of the actor in the tree."""
        ...


def make_instance(make: Callable[[], Instance], life: Life) -> Instance:
    """Call the factory ``make``, store the incarnation in the instance that it returns, and return that instance.

    Raises any exception of the factory. Raises SpecError if the factory returns no actor, or a living actor.
    """
    made = make()
    if not isinstance(made, Instance):  # pyright: ignore[reportUnnecessaryIsInstance]  -- annotations are not enforced
        raise _no_actor(made, life)
    before: Life | None = object.__getattribute__(made, LIFE)
    if before is not None and before.actor is made:
        raise SpecError(f"factory of {life.path} made an actor that lives already, as {before.path}: make a new one")
    object.__setattr__(made, LIFE, life)
    return made


def _no_actor(made: object, life: Life) -> SpecError:
    """Return the error for a factory that returned no actor."""
    if inspect.iscoroutine(made):
        made.close()  # or Python warns that it was never awaited
        return SpecError(
            f"factory of {life.path} must make an Actor and return it: an async function cannot be a factory"
        )
    return SpecError(f"factory of {life.path} must make an Actor, not an object of the type {type(made).__name__}")
