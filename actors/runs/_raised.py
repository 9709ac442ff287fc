"""Exceptions of agents and tools, in a form that can do no harm to other tasks and to trio itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.failures import is_a, leaves
from actors.presentable import flat, is_presentable, presentable

if TYPE_CHECKING:
    from collections.abc import Awaitable


def only_cancelled(error: BaseException) -> bool:
    """Return whether an exception is cancellation and nothing else. A group that also holds a failure is not."""
    return all(is_a(leaf, trio.Cancelled) for leaf in leaves(error))


def has_cancelled(error: BaseException) -> bool:
    """Return whether an exception is or holds a cancellation. Then it must reach the scope that was cancelled."""
    return any(is_a(leaf, trio.Cancelled) for leaf in leaves(error))


def settled(error: BaseException) -> BaseException:
    """Return an exception to raise in place of ``error`` where a call of an agent or a tool ends.

    Each nursery on the way wraps a failure once more and splits it by recursion. Trio formats its ``repr`` outside of
    any task, where an exception ends the whole loop. So nothing deep, huge or unprintable may leave a call. A tree of
    cancellations leaves it as one cancellation.
    """
    cancelled = next((leaf for leaf in leaves(error) if is_a(leaf, trio.Cancelled)), None)
    if cancelled is None:
        return presentable(error)
    if only_cancelled(error):
        return cancelled
    return error if is_presentable(error) else flat(error, cancelled)


async def settling(call: Awaitable[object]) -> object:
    """Await ``call`` and return its result. Raise its exception as :func:`settled` returns it."""
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
