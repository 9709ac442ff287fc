"""The failures that mean that another node has claimed a user. Pure."""

from __future__ import annotations

from actors.errors import Fenced
from actors.failures import is_a, led_to, members


def is_fenced(error: BaseException) -> bool:
    """Return whether a session has failed because another node has claimed its user."""
    cause: BaseException | None = error
    while cause is not None:
        if is_a(cause, Fenced) or any(map(is_fenced, members(cause))):
            return True
        cause, _ = led_to(cause)
    return False
