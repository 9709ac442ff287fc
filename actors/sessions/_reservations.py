"""Reservations: sessions that must not be made now, because other code works on their logs."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import trio

from actors.eventlog.base import StreamKey

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator


class Reservations:
    """The sessions, and the users with all their sessions, that must not be made now."""

    def __init__(self) -> None:
        self._keys: dict[StreamKey, trio.Event] = {}
        self._users: dict[str, trio.Event] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._keys or (isinstance(key, StreamKey) and key.user in self._users)

    def concern(self, user: str) -> bool:
        """Return whether the user, or a session of the user, is reserved."""
        return user in self._users or any(key.user == user for key in self._keys)

    async def over(self, key: StreamKey) -> None:
        """Wait until a session is not reserved. Safe to cancel."""
        while key in self:
            event = self._keys[key] if key in self._keys else self._users[key.user]
            await event.wait()

    @contextmanager
    def of_key(self, key: StreamKey) -> Generator[None]:
        """Reserve a session that is not reserved, inside the ``with`` block."""
        self._keys[key] = over = trio.Event()
        try:
            yield
        finally:
            del self._keys[key]
            over.set()

    @asynccontextmanager
    async def of_user(self, user: str) -> AsyncGenerator[None]:
        """Reserve a user inside the ``async with`` block. Sessions that were reserved before can still be so."""
        while (event := self._users.get(user)) is not None:
            await event.wait()
        self._users[user] = over = trio.Event()
        try:
            yield
        finally:
            del self._users[user]
            over.set()

    async def keys_over(self, user: str) -> None:
        """Wait until no single session of a user is reserved. Safe to cancel."""
        for event in [event for key, event in self._keys.items() if key.user == user]:
            await event.wait()
