"""Exceptions of agents and tools, in a form that can do no harm to other tasks and to trio itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.failures import is_a, leaves
from actors.presentable import flat, is_presentable, presentable

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from actors.runs._outcome import Outcome


class CodeEnded(Exception):
    """The code of a run has ended with ``outcome``, outside of the task that raises this. It need not be logged."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.status.value)
        self.outcome = outcome


def only_cancelled(error: BaseException) -> bool:
    """Return whether ``error`` is only a cancellation. A group of exceptions counts only if all of its members do."""
    return all(is_a(leaf, trio.Cancelled) for leaf in leaves(error))


def has_cancelled(error: BaseException) -> bool:
    """Return whether ``error`` is a cancellation, or a group that contains one.

    An exception with a cancellation must always be raised again, because it must reach trio's cancel scope.
    """
    return any(is_a(leaf, trio.Cancelled) for leaf in leaves(error))


def settled(error: BaseException) -> BaseException:
    """Return the exception of an agent or a tool, or a replacement that is safe to raise.

    Each nursery through which an exception passes wraps the exception in one more group, and splits the group by
    recursion. Trio also formats the ``repr`` of the exception outside of any task, where an error ends the whole event
    loop. So an exception that is deeply nested, huge or unprintable is replaced. A group that contains only
    cancellations is replaced by one of them.
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
