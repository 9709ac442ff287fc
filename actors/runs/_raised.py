"""Exceptions of agents and tools, in a form that can do no harm to other tasks and to trio itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.failures import is_a, leaves
from actors.presentable import flat, is_presentable, presentable

if TYPE_CHECKING:
    from collections.abc import Awaitable


def only_cancelled(error: BaseException) -> bool:
    """Return whether an exception is only a cancellation. Return False for a group that also contains a failure."""
    return all(is_a(leaf, trio.Cancelled) for leaf in leaves(error))


def has_cancelled(error: BaseException) -> bool:
    """Return whether an exception is or contains a cancellation.

    Such an exception must be raised again until it reaches the cancel scope.
    """
    return any(is_a(leaf, trio.Cancelled) for leaf in leaves(error))


def settled(error: BaseException) -> BaseException:
    """Return a safe exception to raise instead of ``error`` when a call of an agent or a tool ends.

    Each nursery that an exception passes wraps it once more, and splits it by recursion. Trio formats the ``repr`` of
    the exception outside of any task, where an error ends the whole loop. So an exception that is deeply nested, huge
    or unprintable is replaced. A group of nothing but cancellations is replaced by one of them.
    """
    cancelled = next((leaf for leaf in leaves(error) if is_a(leaf, trio.Cancelled)), None)
    if cancelled is None:
        return presentable(error)
    if only_cancelled(error):
        return cancelled
    return error if is_presentable(error) else flat(error, cancelled)


async def settling(call: Awaitable[object]) -> object:
    """Await ``call`` and return its result. If it raises, raise the exception that :func:`settled` returns."""
    raised = None
    try:
        try:
            return await call
        except BaseException as error:
            raised = settled(error)
            if raised is error:
                raise
        raise raised
    finally:
        del raised  # its traceback holds this frame
