"""Calls of foreign code: a failure of the called code is logged, and does not reach the caller.

After a commit, streams notify their listeners, and the senders of commands get replies. Listeners and senders can be
foreign code. Each call of foreign code passes here, or is in a ``try`` whose ``except`` calls :func:`report`. No
exception is let through: if the called code raises ``SystemExit``, or ``Cancelled`` without a cancellation, that must
not end the caller.
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
"""Number of nested calls for which the stack must have room when an agent's code notifies a listener.

*An agent recursed until the stack was nearly full, and then sent a signal. The RecursionError hit the listeners: the
connections of the agent's user failed, and the agent did not.*
"""


@trio.lowlevel.enable_ki_protection
def contained(name: str, call: Callable[..., object], *args: object) -> bool:
    """Call a function. Return True if it returned, and False if it raised an exception. Never raises.

    The exception is logged. ``name`` names the function in the log line.
    """
    try:
        call(*args)
    except BaseException as error:  # noqa: BLE001 - as the module says
        report(name, error)
        return False
    return True


@trio.lowlevel.enable_ki_protection
async def attempted(name: str, call: Callable[..., Awaitable[object]], *args: object) -> bool:
    """Await an async function. Return True if it returned, and False if it raised an exception.

    The exception is logged. ``name`` names the function in the log line.

    Raises only ``trio.Cancelled``, if the caller is cancelled. If ``call`` raises a ``Cancelled`` although nothing was
    cancelled, or a ``SystemExit``, this counts as a failure of ``call`` and is logged.
    """
    try:
        await call(*args)
    except BaseException as error:  # noqa: BLE001 - as the module says
        if all(is_a(leaf, trio.Cancelled) for leaf in leaves(error)):
            await trio.lowlevel.checkpoint_if_cancelled()
        report(name, error)
        await trio.lowlevel.checkpoint_if_cancelled()
        return False
    return True


@trio.lowlevel.enable_ki_protection
def report(name: str, error: BaseException) -> None:
    """Log that ``name`` failed, with the exception. Never raises, even if the exception cannot be shown."""
    log_failure(logger, "%s failed", name, error=error)
