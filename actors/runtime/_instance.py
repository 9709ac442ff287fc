"""The instance of an actor as the runtime sees it: how it is made, and the one thing that the runtime keeps in it.

The classes of users decide what their instances hold and how attributes are set (attrs, dataclasses, frozen, slotted).
So the runtime has no name of its own in them: the life is kept under a text that is no identifier, and is set and read
past every method that a class may define for that.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, cast

from actors.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.runtime._actor import Actor
    from actors.runtime._incarnation import Incarnation

LIFE = "life of this actor"
"""Where an instance keeps its life. With spaces in it, no class can have a field or a method of that name."""


class Instance:
    """The base of Actor: what can be given a life."""


setattr(Instance, LIFE, None)


def make_instance(make: Callable[[], Actor], life: Incarnation) -> Actor:
    """Call a factory and give its result the life.

    Raises what the factory raises, and SpecError for a result that is no actor, or that lives already.
    """
    made = make()
    if not isinstance(made, Instance):  # pyright: ignore[reportUnnecessaryIsInstance]  -- annotations bind nobody
        raise _no_actor(made, life)
    before: Incarnation | None = object.__getattribute__(made, LIFE)
    if before is not None and before.actor is made:
        raise SpecError(f"{_factory(life)} made an actor that lives already, as {before.cell.path}: make a new one")
    object.__setattr__(made, LIFE, life)
    return made


def life_of(actor: Instance) -> Incarnation:
    """Return the life of an instance. Raises RuntimeError before the runtime gave it one."""
    life = _life(actor)
    if life is None:
        raise RuntimeError("an actor has ref, nursery and context from started() on, not when it is made")
    return life


def _life(actor: Instance) -> Incarnation | None:
    return cast("Incarnation | None", object.__getattribute__(actor, LIFE))


def _factory(life: Incarnation) -> str:
    return f"factory of {life.cell.path}"


def _no_actor(made: object, life: Incarnation) -> SpecError:
    if inspect.iscoroutine(made):
        made.close()  # or Python warns that it was never awaited
        return SpecError(f"{_factory(life)} must make an Actor and return it: an async function cannot be a factory")
    return SpecError(f"{_factory(life)} must make an Actor, not an object of the type {type(made).__name__}")
