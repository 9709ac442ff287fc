"""The permission to write to a log that several processes share."""

from __future__ import annotations

from typing import Protocol


class Gate(Protocol):
    """The permission of one process to write. A node of a cluster loses it while it is cut off from the others.

    Without a gate, a log can be written at any time.
    """

    def is_open(self) -> bool:
        """Return whether the process can write now."""
        ...

    def until(self) -> float:
        """Return the time of trio's clock until which the gate stays open. It is not later than now if it is closed."""
        ...

    def fence(self, user: str) -> str | None:
        """Return the text of the token with which the process writes for a user. None if it does not own the user."""
        ...

    async def is_over(self, token: str) -> bool:
        """Return whether no process can write with this token any more: its owner has given it up, or has gone.

        *A server came back with older data, and with the token of a former owner.* The present owner may put its own
        token in its place.
        """
        ...

    def lost(self, user: str, token: str) -> None:
        """Note that the user of this process's token ``token`` was claimed by another process."""
        ...

    async def wait(self) -> bool:
        """Wait until the process can write, and return True. Return False if it never can again. Safe to cancel."""
        ...
