"""Calls of a method that do not keep its object, for callbacks that may outlive it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from weakref import WeakMethod

if TYPE_CHECKING:
    from collections.abc import Callable

Argument = TypeVar("Argument")


def weakly(method: Callable[[Argument], None]) -> Callable[[Argument], None]:
    """Return a function that calls a bound method while its object is there, and then does nothing.

    The object must be one that weak references can be made to.
    """
    reference = WeakMethod(method)

    def call(argument: Argument) -> None:
        if (bound := reference()) is not None:
            bound(argument)

    return call
