"""What the code of an agent or a tool raised, in a form that leaves other tasks and trio itself alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.failures import is_a, leaves
from actors.presentable import flat, is_presentable, presentable

if TYPE_CHECKING:
    from collections.abc import Awaitable


def only_cancelled(error: BaseException) -> bool:
    """Return whether this is cancellation and nothing else: a group that also holds a failure is a failure."""
    return all(is_a(leaf, trio.Cancelled) for leaf in leaves(error))


def has_cancelled(error: BaseException) -> bool:
    """Return whether this is cancellation, or holds one: then it must reach the scope that was cancelled."""
    return any(is_a(leaf, trio.Cancelled) for leaf in leaves(error))


def settled(error: BaseException) -> BaseException:
    """Return what may be raised in place of ``error`` where a call of an agent or a tool ends.

    Each nursery on the way wraps a failure once more, splits it by recursion, and has its ``repr`` formatted by trio
    outside of any task, where an exception ends the whole loop. So nothing deep, huge or unprintable leaves a call, and
    a tree of cancellations leaves it as one.
    """
    cancelled = next((leaf for leaf in leaves(error) if is_a(leaf, trio.Cancelled)), None)
    if cancelled is None:
        return presentable(error)
    if only_cancelled(error):
        return cancelled
    return error if is_presentable(error) else flat(error, cancelled)


async def settling(call: Awaitable[object]) -> object:
    """Return what ``call`` returns; what it raises comes out as :func:`settled`."""
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
