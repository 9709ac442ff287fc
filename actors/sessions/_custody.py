"""The right of a process to work on the logs of users without a session in memory."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager


class Custody(Protocol):
    """The users for which this process cleans the logs. In a cluster each user's logs are cleaned by one node."""

    def falls_here(self, user: str) -> bool:
        """Return whether this process cleans the user's logs, as far as it knows without asking. Never wait."""
        ...

    def held(self, user: str) -> AbstractAsyncContextManager[bool]:
        """Keep other processes from the user's logs inside the ``async with`` block, and yield True.

        Yield False if another process has the user.

        Raises:
            LogUnavailable: The owner of the user cannot be found out.
        """
        ...


class Alone:
    """The custody of a process that shares its log with no other: it cleans the logs of all users."""

    def falls_here(self, user: str) -> bool:
        """Return True."""
        del user
        return True

    @asynccontextmanager
    async def held(self, user: str) -> AsyncGenerator[bool]:
        """Yield True."""
        del user
        await trio.lowlevel.checkpoint()
        yield True
