"""The limit of each user's sessions in the log. Sessions that are not in memory count too."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from actors.errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from actors.eventlog.base import EventLog, StreamKey
    from actors.streams._accounts import Accounts, UserAccount


class SessionQuota:
    """A limit for the number of each user's sessions in the log: at most ``most`` sessions.

    The log is asked for the number of a user's sessions once, when the first session of the user comes into memory.
    After that the number stays in memory: a new session adds one, a removed session takes one away.
    """

    def __init__(self, log: EventLog, accounts: Accounts, most: int) -> None:
        self._log = log
        self._accounts = accounts
        self._most = most
        self._removed = 0  # it changes if a session was removed from the log while the log was asked

    @asynccontextmanager
    async def making(self, key: StreamKey) -> AsyncGenerator[None]:
        """Count the session that the ``async with`` block makes, unless the log has this session already.

        If the block raises, the session does not count.

        Raises:
            CommandRefused: The user has too many sessions; the code is ``overloaded``.
            LogError: The log failed.
        """
        account = self._accounts.of(key.user)
        if account.sessions is None:  # the lock is also held while events of the user are trimmed
            await self._count(key.user, account)
        if await self._log.head(key) is not None:
            yield
            return
        self._take(account)
        try:
            yield
        except BaseException:
            account.sessions = None  # the log may have the session nevertheless: ask again
            raise

    def on_removed(self, key: StreamKey) -> None:
        """Reduce the count of the user's sessions by one, because the session ``key`` was removed from the log."""
        self._removed += 1
        account = self._accounts.find(key.user)
        if account is not None and account.sessions is not None:
            account.sessions -= 1

    def _take(self, account: UserAccount) -> None:
        if account.sessions is None:  # the log was opened again, or another session could not be made
            raise CommandRefused("overloaded", "the user's sessions are being counted again: try again later")
        if account.sessions >= self._most:
            account.reached("sessions_per_user")
            message = f"the user has {self._most} sessions: there is no new one until an old one is forgotten"
            raise CommandRefused("overloaded", message)
        account.sessions += 1

    async def _count(self, user: str, account: UserAccount) -> None:
        # With a lock, so that many callers at once ask only once.
        async with account.asking():
            while account.sessions is None:
                removed = self._removed
                usage = await self._log.usage(user)
                if removed == self._removed:
                    account.sessions, account.size = usage.streams, usage.size
                    if account.size > account.room:
                        account.on_over()
