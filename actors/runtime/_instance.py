"""The instance of an actor as the runtime sees it: its three methods, and how it is made. Pure.

The classes of users decide what their instances hold and how attributes are set (attrs, dataclasses, frozen, slotted).
So the runtime has no name of its own in them. An instance keeps its incarnation under a text that is no identifier, and
the runtime sets and reads it without calling any method that a class may define for that.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Protocol, TypeVar

from actors.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.runtime._lifecycle import ExitReason

LIFE = "life of this actor"
"""Key under which an instance keeps its incarnation. With spaces in it, no field or method can have that name."""


class Unhandled:
    """The type of UNHANDLED."""

    def __repr__(self) -> str:
        return "UNHANDLED"


UNHANDLED = Unhandled()
"""Value that ``receive`` returns for a message that the actor does not know."""

Method = TypeVar("Method", bound="Callable[..., object]")


def does_nothing(method: Method) -> Method:
    """Mark a default method that does nothing: if it is not overridden, the runtime need not call and await it."""
    method.__dict__["does_nothing"] = True
    return method


class Instance:
    """The base of all actors: the methods that the runtime calls."""

    @does_nothing
    async def started(self) -> None:
        """Run before the first message of each incarnation; ``spawn`` returns after it."""

    async def receive(self, message: object) -> object:
        """Handle one message. Return the answer to an ask, or UNHANDLED for a message that the actor does not know."""
        del message
        return UNHANDLED

    @does_nothing
    async def stopping(self, reason: ExitReason) -> None:
        """Run at the end, when the children have ended. It has the rest of the actor's ``shutdown`` time.

        After Normal and Shutdown the nursery is still open, and children may be started. When this returns, the tasks
        of the nursery are cancelled and those children are stopped. After a Failure both are gone. Not run for a killed
        actor, and not for an actor whose ``started()`` failed.
        """


setattr(Instance, LIFE, None)


class Life(Protocol):
    """An incarnation, as far as the making of its instance is concerned."""

    @property
    def actor(self) -> Instance | None:
        """Its instance; None before that is made, and after the end."""
        ...

    @property
    def path(self) -> str:
        """Path of its actor in the tree."""
        ...


def make_instance(make: Callable[[], Instance], life: Life) -> Instance:
    """Call a factory, store the incarnation in the instance that it returns, and return that instance.

    Raises what the factory raises, and SpecError if it returns no actor, or an actor that is alive already.
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
