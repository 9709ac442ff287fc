"""The accounts of users: the use of the server by each user, over all of the user's sessions."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from actors.allowance import Allowance
from actors.errors import CommandRefused
from actors.loop.wakeup import Wakeup
from actors.streams._emit_rate import EmitRate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from typing import Self


@attrs.frozen
class QuotaStatistics:
    """The use of the limits that protect the server and its users from one user. All users are counted together."""

    users: int
    """Number of users with an account in memory. An account is small."""
    questions: int
    """Number of open questions that agents have asked their users."""
    waiting: int
    """Number of emits that wait, because their user emits too many events or bytes per second."""
    full: int
    """Number of users without room for a further run: the events of their open runs fill their part of the log."""
    reached: Mapping[str, int]
    """Number of times that each limit was reached since the start of the server. The key is the name of the setting.

    A limit that was never reached is missing.
    """


SLACK = 16
"""Divisor of ``retain_user_bytes``, the limit of a user's size in the log. The quotient is a margin around the limit.

A trim goes below the limit by this margin: otherwise each further event would cause a search for old events. If the
size is above the limit by more than this margin, events and starts are refused.
"""
NO_SIZE = 1 << 62
"""A size in bytes that nothing reaches: there is no limit."""


@attrs.frozen(kw_only=True)
class UserLimits:
    """The limits of each user. The settings of the same names explain them."""

    starts_per_minute: int = 0
    events_per_second: float = 0.0
    bytes_per_second: float = 0.0
    retain_user_bytes: int = NO_SIZE


class Over:
    """The users with more bytes in the log than they can have, in the order in which they exceeded the limit."""

    def __init__(self) -> None:
        self._users: dict[str, None] = {}
        self._wakeup = Wakeup()

    def add(self, user: str) -> None:
        """Add a user, and wake the task that waits in :meth:`next`. Never wait."""
        if user not in self._users:
            self._users[user] = None
            self._wakeup.wake()

    def discard(self, user: str) -> None:
        """Remove a user. Do nothing if the user is not there."""
        self._users.pop(user, None)

    async def next(self) -> str:
        """Wait until there is a user. Remove the user that was added first, and return it. Safe to cancel."""
        while not self._users:
            await self._wakeup.wait()
        user = next(iter(self._users))
        del self._users[user]
        return user


@attrs.define(eq=False)
class SharedLimits:
    """The objects that the accounts of all users share, and the numbers of all users together.

    The numbers are kept up to date. *To add up 10,000 accounts held up the event loop for milliseconds.*
    """

    limits: UserLimits
    over: Over = attrs.Factory(Over)
    reached: Counter[str] = attrs.Factory(Counter[str])
    """How often each limit was reached, by the name of its setting."""
    questions: int = 0
    """Number of open questions to all users."""
    waiting: int = 0
    """Number of emits of all users that wait now."""
    full: set[str] = attrs.Factory(set[str])
    """The users without room: their part of the log exceeds the limit, and no event in it can be trimmed."""

    def count(self, setting: str, times: int = 1) -> None:
        """Count that a user has reached the limit ``setting``."""
        self.reached[setting] += times


@attrs.define(eq=False)
class UserAccount:
    """The use of the server by one user. All sessions of the user that are in memory share this object."""

    user: str
    _shared: SharedLimits
    _starts: Allowance | None
    questions: int = attrs.field(default=0, init=False)
    """Number of open questions to the user."""
    rate: EmitRate | None = attrs.field(default=None, init=False)
    """The limit of the user's events and bytes per second. None if the user has no such limit."""
    sessions: int | None = attrs.field(default=None, init=False)
    """Number of the user's sessions in the log. None if it is not known yet."""
    size: int = attrs.field(default=0, init=False)
    """Upper bound of the size of the user's sessions in the log, in bytes.

    The size of every committed event is added.
    """
    room: int = attrs.field(default=NO_SIZE, init=False)
    """Maximum of :attr:`size`. Beyond it, :meth:`on_over` must be called after each commit."""
    _lock: trio.Lock | None = attrs.field(default=None, init=False)

    @classmethod
    def new(cls, user: str, shared: SharedLimits) -> Self:
        """Return a new account. No use has been counted in it."""
        limits = shared.limits
        per_minute = limits.starts_per_minute
        starts = Allowance(per_minute / 60, per_minute, trio.current_time()) if per_minute else None
        account = cls(user, shared, starts)
        account.room = limits.retain_user_bytes
        if limits.events_per_second or limits.bytes_per_second:
            # Not the account's own method: the account would be in a reference cycle with its rate.
            account.rate = EmitRate(limits.events_per_second, limits.bytes_per_second, shared)
        return account

    @asynccontextmanager
    async def asking(self) -> AsyncGenerator[None]:
        """Wait for the account's lock, and hold it while the log is asked for the size of the user's sessions."""
        # The lock exists only while it is used: it takes more memory than the rest of the account.
        lock = self._lock = self._lock or trio.Lock()
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._lock = None

    def forget_log(self) -> None:
        """Forget the values from the log. They are read again when the next session of the user comes into memory."""
        self.sessions, self.size, self.is_full = None, 0, False

    @property
    def is_full(self) -> bool:
        """Whether the user's part of the log exceeds the limit, and no event in this part can be trimmed."""
        return self.user in self._shared.full

    @is_full.setter
    def is_full(self, full: bool) -> None:
        if full:
            self._shared.full.add(self.user)
        else:
            self._shared.full.discard(self.user)

    def count_questions(self, number: int) -> None:
        """Count ``number`` further open questions to the user. Negative for questions that are open no longer."""
        self.questions += number
        self._shared.questions += number

    def on_over(self) -> None:
        """Request that the user's oldest events are trimmed, because :attr:`size` exceeds :attr:`room`. Never wait."""
        self._shared.over.add(self.user)

    def require_start(self, now: float) -> None:
        """Raise ``CommandRefused`` if the user can start no run. ``now`` is the time on trio's clock, in seconds.

        The code is ``rate_limited`` after too many starts, and ``overloaded`` if the user's part of the log is full.
        """
        self._require_room()
        if self._starts is not None and not self._starts.has(1, now):
            self.reached("starts_per_minute")
            message = (
                f"more than {self._shared.limits.starts_per_minute} runs were started in a minute: try again later"
            )
            raise CommandRefused("rate_limited", message)

    def _require_room(self) -> None:
        if self.is_full or self.size > self.room + self.room // SLACK:
            self.on_over()  # the runs that needed the events may have ended meanwhile
            self.reached("retain_user_bytes")
            message = f"the user's events take more than {self.room} bytes: try again when old ones were dropped"
            raise CommandRefused("overloaded", message)

    def require_rate(self) -> None:
        """Raise ``CommandRefused`` if the user can send no event now.

        The code is ``rate_limited`` after too many events or bytes, and ``overloaded`` while the user's part of the log
        is so far beyond its limit that trimming needs time.
        """
        self._require_room()
        name = "" if self.rate is None else self.rate.exceeded()
        if name:
            self.reached(name)
            raise CommandRefused("rate_limited", f"the user has exceeded {name}: try again later")

    def count_start(self, now: float) -> None:
        """Count one run that the user starts now. ``now`` is as in :meth:`require_start`."""
        if self._starts is not None:
            self._starts.use(1, now)

    def reached(self, setting: str, times: int = 1) -> None:
        """Count that the user has reached the limit ``setting``, ``times`` times. The statistics add up all users."""
        self._shared.count(setting, times)

    @property
    def is_unused(self) -> bool:
        """Whether this account can be dropped, because a new account would have the same content."""
        has_starts = self._starts is None or self._starts.is_full(trio.current_time())
        return has_starts and not self.questions and (self.rate is None or self.rate.is_full())


class Accounts:
    """The accounts of all users that have sessions in memory, and perhaps of some other users."""

    def __init__(self, limits: UserLimits) -> None:
        self._shared = SharedLimits(limits)
        self.over = self._shared.over
        self._accounts: dict[str, UserAccount] = {}

    def of(self, user: str) -> UserAccount:
        """Return the account of a user. Make the account if it does not exist."""
        account = self._accounts.get(user)
        if account is None:
            account = self._accounts[user] = UserAccount.new(user, self._shared)
        return account

    def find(self, user: str) -> UserAccount | None:
        """Return the account of a user. Return None if it is not in memory."""
        return self._accounts.get(user)

    def forget(self, user: str) -> None:
        """Forget the account of a user."""
        self._accounts.pop(user, None)
        self.over.discard(user)
        self._shared.full.discard(user)

    def forget_log(self) -> None:
        """Forget everything that was read from the log, because the log was opened again."""
        for account in self._accounts.values():
            account.forget_log()

    def forget_user(self, user: str) -> None:
        """Forget the values that the log gave for a user, because another process may have changed them."""
        if (account := self._accounts.get(user)) is not None:
            account.forget_log()

    def prune(self, sessions_of: Callable[[str], int]) -> None:
        """Forget the accounts that are not needed. ``sessions_of`` returns the number of a user's sessions in memory.

        The account of a user who has exceeded a limit is kept even if the user has no session in memory. Otherwise the
        user could end all sessions, and then begin with a new account.
        """
        kept = {user: each for user, each in self._accounts.items() if sessions_of(user) or not each.is_unused}
        self._accounts = kept
        self._shared.full.intersection_update(kept)

    def statistics(self) -> QuotaStatistics:
        """Return the use of the limits by all users together. No user is looked at."""
        shared = self._shared
        return QuotaStatistics(
            users=len(self._accounts),
            questions=shared.questions,
            waiting=shared.waiting,
            full=len(shared.full),
            reached=dict(shared.reached),
        )
