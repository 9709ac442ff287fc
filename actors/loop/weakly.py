"""Callbacks that call a method of an object without keeping the object in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from weakref import WeakMethod

if TYPE_CHECKING:
    from collections.abc import Callable

Argument = TypeVar("Argument")


def weakly(method: Callable[[Argument], None]) -> Callable[[Argument], None]:
    """Return a function that calls a bound method while the method's object exists, and does nothing after that.

    The function does not keep the object in memory. The object must support weak references.
    """
    reference = WeakMethod(method)

    def call(argument: Argument) -> None:
        if (bound := reference()) is not None:
            bound(argument)

    return call
