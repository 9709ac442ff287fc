"""The revocations of a server: tokens that are no longer accepted, in memory and in the log."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from actors.checks import is_number
from actors.errors import CommandRefused
from actors.eventlog.base import Revocation
from actors.failures import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from actors.eventlog.base import EventLog
    from actors.streams._ages import AgeClock

_FEW = 64
"""Number of revocations that are kept without a search for old ones. It makes the searches rare."""


class Revocations:
    """The revoked tokens of a server.

    Each revocation counts at once, and then it is stored in the log. So a token is refused even while the log fails. A
    server reads the revocations of its log when it starts. Times are in seconds since 1970.

    Args:
        log: The log that stores the revocations.
        most: Maximum number of revocations in memory.
        seconds: Time for which a revocation is remembered by default.
        now: The clock.
    """

    def __init__(self, log: EventLog, most: int, seconds: float, now: Callable[[], float] = time.time) -> None:
        self._log = log
        self._most = most
        self._seconds = seconds
        self._now = now
        self.ages: AgeClock | None = None
        """The clock by which revocations in the log are over, for all nodes of a cluster. None: ``now``."""
        self._kept: dict[tuple[str | None, str | None], Revocation] = {}
        """The revocations, by user and token id. One of the two is None."""
        self._search_at = _FEW
        """Number of revocations at which old ones are searched for and forgotten."""
        self._callbacks: dict[Callable[[Revocation], int], None] = {}

    def __len__(self) -> int:
        """Return the number of revocations in memory. Old ones that are not forgotten yet count too."""
        return len(self._kept)

    async def load(self) -> None:
        """Read the revocations from the log. The ones in memory are kept.

        Raises:
            LogError: The log failed.
        """
        now = self._now()
        for each in await self._log.revocations():
            if each.until > now:
                self._keep(each)

    def covers(self, user: str, token_id: str | None, issued: float | None) -> bool:
        """Return whether a token is revoked.

        Args:
            user: The user to which the token belongs.
            token_id: The id of the token. None if it has no id.
            issued: The time when the token was issued. If it is None, the token counts as issued before any revocation.
        """
        keys: tuple[tuple[str | None, str | None], ...] = ((user, None), (None, token_id))
        found = (self._kept[key] for key in keys if key in self._kept)
        return any(each.until > self._now() and each.covers(user, token_id, issued) for each in found)

    @contextmanager
    def notifying(self, callback: Callable[[Revocation], int]) -> Generator[None]:
        """Call ``callback`` with each new revocation inside the ``with`` block.

        The callback closes the connections that the revocation concerns, and returns their number. It must not wait or
        raise.
        """
        # A partial is a key of its own: the same callback may be registered twice.
        registered = partial(callback)
        self._callbacks[registered] = None
        try:
            yield
        finally:
            del self._callbacks[registered]

    def learn(self, revocation: Revocation) -> int:
        """Apply a revocation that another server has stored in the log. Return the number of closed connections.

        Do nothing if the revocation is known, is over, or has no room.
        """
        now = self._now()
        known = self._kept.get((revocation.user, revocation.token_id))
        if revocation.until <= now or (known is not None and revocation.joined(known) == known):
            return 0
        if not self._make_room(revocation, now):
            return 0
        kept = self._keep(revocation)
        return sum([callback(kept) for callback in tuple(self._callbacks)])

    async def stored(self) -> Sequence[Revocation]:
        """Return the revocations in the log, also those of other servers. Raise LogError if the log failed."""
        return await self._log.revocations()

    async def revoke(self, user: str | None, token_id: str | None, until: float | None) -> int:
        """Revoke the tokens of a user, or one token. See :meth:`.Sessions.revoke`."""
        now = self._now()
        revocation = self._checked(user, token_id, until, now)
        is_kept = revocation.until > now
        has_room = not is_kept or self._make_room(revocation, now)
        if is_kept and has_room:
            revocation = self._keep(revocation)
        closed = sum([callback(revocation) for callback in tuple(self._callbacks)])
        if not has_room:
            raise CommandRefused("overloaded", f"the server has max_revocations ({self._most}) revocations")
        if is_kept:
            # The log drops what is over, for all nodes of a cluster: one node with a fast clock must not decide that.
            await self._log.revoke(revocation, now if self.ages is None else min(now, self.ages.now(0) / 1000))
        return closed

    def _checked(self, user: object, token_id: object, until: object, now: float) -> Revocation:
        if (user is None) == (token_id is None):
            raise ValueError("give either a user or a token_id")
        name = user if token_id is None else token_id
        if not isinstance(name, str) or not name:
            raise ValueError(f"{'user' if token_id is None else 'token_id'} must be a text, not {shown(name)}")
        if until is None:
            until = now + self._seconds
        if not is_number(until):
            raise ValueError(f"until must be a time in s since 1970 or None, not {shown(until)}")
        if token_id is None:
            return Revocation(user=name, at=now, until=float(until))
        return Revocation(token_id=name, at=now, until=float(until))

    def _make_room(self, new: Revocation, now: float) -> bool:
        """Forget old revocations, if there are many. Return whether there is room for the revocation ``new``."""
        if len(self._kept) >= min(self._search_at, self._most):
            self._kept = {key: each for key, each in self._kept.items() if each.until > now}
            self._search_at = max(_FEW, 2 * len(self._kept))
        return (new.user, new.token_id) in self._kept or len(self._kept) < self._most

    def _keep(self, new: Revocation) -> Revocation:
        """Add a revocation to the ones in memory. Return the revocation that is now in memory for its user or token."""
        key = (new.user, new.token_id)
        kept = self._kept[key] = new.joined(self._kept.get(key))
        return kept
