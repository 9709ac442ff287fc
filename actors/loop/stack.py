"""A check that Python's stack has room for further calls. Pure.

Actors can call the runtime from any depth, and some calls change its state in several steps. If the stack were full
between two steps, an actor would be registered that has no task, or be marked as stopped and never cancelled. So each
of these calls checks for room first, and fails before it has changed anything.
"""

STOP_FRAMES = 32
"""Number of nested calls that a stop or kill needs on the stack, from the public method down to trio's scheduler."""
START_FRAMES = 64
"""Number of nested calls that the start of an actor needs on the stack, including its kill if the start fails."""


def require_room(frames: int) -> None:
    """Raise ``RecursionError`` unless the stack has room for ``frames`` more nested calls."""
    if frames:  # Python does not tell the room that is left, so this uses it
        require_room(frames - 1)
