"""The border between owners: a failure of what one owner calls of another stays with the other.

A commit notifies journals, a journal its listeners, the memory of commands their senders, and all of these may be any
code. Each such call passes here, or stands in a ``try`` of its own whose ``except`` calls :func:`report`. No exception
is let through: where a callee raises ``SystemExit`` or a stray ``Cancelled``, its caller has not been asked to end.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from actors.failures import is_a, leaves, log_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger("greenroom.sessions")

ROOM_FRAMES = 64
"""Calls that a listener may nest when it is notified from deep inside an agent: its own, and those of what it calls.

*An agent that recursed to the end of the stack, and signalled there, would make its user's tabs fail in its place.*
"""


@trio.lowlevel.enable_ki_protection
def contained(what: str, call: Callable[..., object], *args: object) -> bool:
    """Call ``call`` with ``args``; return whether it returned. Log its failure as one of ``what``. Never raise."""
    try:
        call(*args)
    except BaseException as error:  # noqa: BLE001 - as the module says
        report(what, error)
        return False
    return True


@trio.lowlevel.enable_ki_protection
async def attempted(what: str, call: Callable[..., Awaitable[object]], *args: object) -> bool:
    """Await ``call`` with ``args``; return whether it returned. Log its failure as one of ``what``.

    Raises nothing but ``trio.Cancelled``, when the caller is cancelled. A ``Cancelled`` that ``call`` raises on its own
    account is its failure, as a ``SystemExit`` is.
    """
    try:
        await call(*args)
    except BaseException as error:  # noqa: BLE001 - as the module says
        if all(is_a(leaf, trio.Cancelled) for leaf in leaves(error)):
            await trio.lowlevel.checkpoint_if_cancelled()
        report(what, error)
        await trio.lowlevel.checkpoint_if_cancelled()
        return False
    return True


@trio.lowlevel.enable_ki_protection
def report(what: str, error: BaseException) -> None:
    """Log that ``what`` failed. Never raise: not even for an exception that cannot be shown."""
    log_failure(logger, "%s failed", what, error=error)
