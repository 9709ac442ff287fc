"""A check that Python's stack has room for further calls. Pure.

Actors can call the runtime from any depth, and some calls change its state in several steps. If the stack were full
between two steps, an actor would be registered that has no task, or be marked as stopped and never cancelled. So each
of these calls checks for room first, and fails before it has changed anything.
"""

from __future__ import annotations

import sys

_USED = 4
"""Divisor of the recursion limit. The quotient is the number of frames up to which the stack counts as shallow.

Calls of C functions count against the limit too, but have no frames. So much more than the frames can be in use.
"""

STOP_FRAMES = 32
"""Number of nested calls that a stop or kill needs on the stack, from the public method down to trio's scheduler."""
START_FRAMES = 64
"""Number of nested calls that the start of an actor needs on the stack, including its kill if the start fails."""


def require_room(frames: int) -> None:
    """Raise ``RecursionError`` unless the stack has room for ``frames`` more nested calls."""
    if not is_shallow():
        _use(frames)


def is_shallow() -> bool:
    """Return whether at most a quarter of the stack is in use. This is the usual case, and takes one call."""
    try:
        sys._getframe(sys.getrecursionlimit() // _USED)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # documented
    except ValueError:  # there are fewer frames
        return True
    return False


def _use(frames: int) -> None:
    if frames:  # Python does not tell the room that is left, so this uses it
        _use(frames - 1)
