"""The right of a process to work on the logs of users without a session in memory."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager


class Custody(Protocol):
    """The users for which this process cleans logs and consumes events.

    In a cluster, one node at a time has this right for a user.
    """

    def has(self, user: str) -> bool:
        """Return whether this process has the user now. Never wait."""
        ...

    def falls_here(self, user: str) -> bool:
        """Return whether this process has the user, or would claim it if no process had it. Never wait."""
        ...

    async def claim(self, user: str) -> bool:
        """Return whether this process has the user. If no process has it and the user falls here, claim it first.

        Raises:
            LogUnavailable: The owner of the user cannot be found out.
        """
        ...

    def held(self, user: str) -> AbstractAsyncContextManager[bool]:
        """Keep other processes from the user's logs inside the ``async with`` block, and yield True.

        Yield False if another process has the user.

        Raises:
            LogUnavailable: The owner of the user cannot be found out.
        """
        ...


class Alone:
    """The custody of a process that shares its log with no other: it has all users."""

    def has(self, user: str) -> bool:
        """Return True."""
        del user
        return True

    def falls_here(self, user: str) -> bool:
        """Return True."""
        del user
        return True

    async def claim(self, user: str) -> bool:
        """Return True."""
        del user
        await trio.lowlevel.checkpoint()
        return True

    @asynccontextmanager
    async def held(self, user: str) -> AsyncGenerator[bool]:
        """Yield True."""
        del user
        await trio.lowlevel.checkpoint()
        yield True
