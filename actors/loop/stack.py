"""How much of Python's stack is left (pure).

What changes the runtime's state in several steps is called by actors from as deep as they like. Where the stack ended
between two of those steps, an actor would be registered that has no task, or be marked as stopped and never cancelled.
So such a call asks for room first, and where there is none it fails before anything has begun.
"""

STOP_FRAMES = 32
"""Calls that are nested where an actor is stopped or killed, from the method that a user calls to trio's scheduler."""
START_FRAMES = 64
"""Calls that are nested where an actor is started; and where it is undone, in the same place, by a kill."""


def require_room(frames: int) -> None:
    """Raise ``RecursionError`` where fewer than ``frames`` calls can still be nested, before anything has begun."""
    if frames:
        require_room(frames - 1)
