"""The accounts of users: the use of the server by each user, over all of the user's sessions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@attrs.frozen
class QuotaStatistics:
    """How far all users together use the limits that protect the server and other users from one user."""

    users: int
    """Number of users with an account in memory. An account is small."""
    questions: int
    """Number of open questions that agents have asked their users."""
    reached: Mapping[str, int]
    """How often each limit was reached since the start of the server, by the name of its setting.

    A limit that was never reached is missing.
    """


@attrs.define(eq=False)
class UserAccount:
    """The use of the server by one user. All sessions of the user that are in memory share this object."""

    _reached: Counter[str]
    questions: int = attrs.field(default=0, init=False)
    """Number of open questions to the user."""

    def reached(self, setting: str, times: int = 1) -> None:
        """Count that the user has reached the limit ``setting``. The statistics show the number for all users."""
        self._reached[setting] += times

    @property
    def is_unused(self) -> bool:
        """Whether a new account would be the same as this account."""
        return not self.questions


class Accounts:
    """The accounts of all users that have sessions in memory, and perhaps of some other users."""

    def __init__(self) -> None:
        self._accounts: dict[str, UserAccount] = {}
        self._reached = Counter[str]()

    def of(self, user: str) -> UserAccount:
        """Return the account of a user. Make the account if it does not exist."""
        account = self._accounts.get(user)
        if account is None:
            account = self._accounts[user] = UserAccount(self._reached)
        return account

    def prune(self, sessions_of: Callable[[str], int]) -> None:
        """Forget the accounts that are not needed. ``sessions_of`` returns the number of a user's sessions in memory.

        The account of a user who has exceeded a limit is kept even if the user has no session in memory. Otherwise the
        user could end all sessions to begin anew.
        """
        kept = {user: each for user, each in self._accounts.items() if sessions_of(user) or not each.is_unused}
        self._accounts = kept

    def statistics(self) -> QuotaStatistics:
        """Return the use of the limits by all users together."""
        return QuotaStatistics(
            users=len(self._accounts),
            questions=sum(account.questions for account in self._accounts.values()),
            reached=dict(self._reached),
        )
