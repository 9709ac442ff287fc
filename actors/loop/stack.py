"""A check of the room on Python's stack. Pure.

Actors may call the runtime from any depth, and some calls change its state in several steps. If the stack ended between
two steps, an actor would be registered that has no task, or be marked as stopped and never cancelled. So such a call
checks for room first, and fails before it has changed anything.
"""

STOP_FRAMES = 32
"""Nested calls of a stop or kill, from the method that a user calls to trio's scheduler."""
START_FRAMES = 64
"""Nested calls of a start, and of the kill that undoes it in the same place."""


def require_room(frames: int) -> None:
    """Raise ``RecursionError`` if fewer than ``frames`` further calls can be nested."""
    if frames:  # Python does not tell the room that is left, so this uses it
        require_room(frames - 1)
