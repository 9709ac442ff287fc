"""The threads that sync tools run in: so many for each user, so many in all."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@attrs.frozen
class ToolThreadsStatistics:
    """How the threads of sync tools stand."""

    users: int
    """Users with a sync tool that runs or waits."""
    running: int
    """Threads at work, those among them that a timeout or a cancellation left behind."""
    waiting: int
    """Sync tools that wait for a thread."""


class ToolThreads:
    """At most ``per_user`` threads for the sync tools of one user, and ``total`` for those of all; the rest wait.

    A thread cannot be stopped: one that was left behind keeps its place until its function returns. So tools that hang
    use up their own user's places, and nobody else's.
    """

    def __init__(self, per_user: int, total: int) -> None:
        self._per_user = per_user
        self._all = trio.CapacityLimiter(total)
        self._users: dict[str, trio.CapacityLimiter] = {}

    async def run(self, user: str, function: Callable[[], T], begun: Callable[[], None]) -> T:
        """Call ``function`` in a thread, in its turn, and ``begun`` when that has come: from then on nothing stops it.

        Cancelled: ``begun`` was not called, and ``function`` will not be; or it was, and the thread is left behind.
        """
        # Two methods are all that trio asks of a limiter, as its documentation says and its annotation does not.
        place = cast("trio.CapacityLimiter", _Place(self, user, begun))
        return await trio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=place)

    async def enter(self, user: str, borrower: object) -> None:
        """Wait for a place of the user's and then for one of all: whoever waits for its own holds up nobody."""
        own = self._users.get(user)
        if own is None:
            own = self._users[user] = trio.CapacityLimiter(self._per_user)
        try:
            await own.acquire_on_behalf_of(borrower)
            try:
                await self._all.acquire_on_behalf_of(borrower)
            except BaseException:
                own.release_on_behalf_of(borrower)
                raise
        finally:
            self._tidy(user)

    def leave(self, user: str, borrower: object) -> None:
        """Give both places back."""
        self._all.release_on_behalf_of(borrower)
        self._users[user].release_on_behalf_of(borrower)
        self._tidy(user)

    def statistics(self) -> ToolThreadsStatistics:
        """Count the threads there are, and who waits for one."""
        everyone = (self._all, *self._users.values())
        return ToolThreadsStatistics(
            users=len(self._users),
            running=self._all.borrowed_tokens,
            waiting=sum(limiter.statistics().tasks_waiting for limiter in everyone),
        )

    def _tidy(self, user: str) -> None:
        own = self._users.get(user)
        if own is not None and not own.borrowed_tokens and not own.statistics().tasks_waiting:
            del self._users[user]


@attrs.frozen(eq=False)
class _Place:
    """One call's place, as trio takes and gives it back: only when the thread is done, whoever still waits for it."""

    _threads: ToolThreads
    _user: str
    _begun: Callable[[], None]

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        await self._threads.enter(self._user, borrower)
        self._begun()

    def release_on_behalf_of(self, borrower: object) -> None:
        self._threads.leave(self._user, borrower)
