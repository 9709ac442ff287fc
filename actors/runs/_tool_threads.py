"""The threads of sync tools, limited for each user and in all."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar, cast

import attrs
import trio

from actors.presentable import presentable

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@attrs.frozen
class ToolThreadsStatistics:
    """Statistics of the threads of sync tools."""

    users: int
    """Number of users with a sync tool that runs or waits."""
    running: int
    """Number of threads at work, including threads that a timeout or a cancellation left behind."""
    waiting: int
    """Number of sync tools that wait for a thread."""


class ToolThreads:
    """A limit on threads: at most ``per_user`` for the sync tools of one user, and ``total`` in all. Other calls wait.

    A thread cannot be stopped. After a timeout or a cancellation of the call it runs on, and counts towards both limits
    until its function returns. So tools that hang use up the threads of their own user only.
    """

    def __init__(self, per_user: int, total: int) -> None:
        self._per_user = per_user
        self._all = trio.CapacityLimiter(total)
        self._users: dict[str, trio.CapacityLimiter] = {}
        self.nested = 0
        """Number of threads at work for a function that itself waits in another thread."""

    async def run(self, user: str, function: Callable[[], T], begun: Callable[[], None]) -> T:
        """Wait until the limits allow one more thread, call ``function`` in it, and return its result.

        If ``function`` itself calls :meth:`run`, this nested call does not count towards the limits. Otherwise all
        threads of a user could wait for nested calls: a deadlock. Nested calls of one function run one at a time.

        Args:
            user: Name of the user.
            function: The function.
            begun: Called just before the thread starts. From then on the call cannot be stopped.

        Cancellation:
            If ``begun`` was not called, ``function`` is never called. If it was called, the thread runs on, and its
            result is lost.
        """
        # A task that the function left behind finds its context too, but nothing waits for that task any more.
        held = _HELD.get()
        if held is not None and not held.over:
            place: _Place | _NestedPlace = _NestedPlace(held, self, begun)
        else:
            place = _Place(self, user, begun)
        inside = _Held(0 if held is None or held.over else held.depth + 1)
        # Trio calls two methods of a limiter only. Its documentation says so; its annotation does not.
        limiter = cast("trio.CapacityLimiter", place)
        return await trio.to_thread.run_sync(inside.call, function, abandon_on_cancel=True, limiter=limiter)

    @staticmethod
    def depth() -> int:
        """Return the number of nested functions, each in a thread of its own, that wait for the caller."""
        held = _HELD.get()
        return 0 if held is None or held.over else held.depth + 1

    async def enter(self, user: str, borrower: object) -> None:
        """Wait for the limit of the user, then for the total. So a user without free threads delays no others."""
        own = self._users.get(user)
        if own is None:
            own = self._users[user] = trio.CapacityLimiter(self._per_user)
        try:
            await own.acquire_on_behalf_of(borrower)
            # If cancelled in the second queue, leave the first: another tool of the user may wait for it.
            try:
                await self._all.acquire_on_behalf_of(borrower)
            except BaseException:
                own.release_on_behalf_of(borrower)
                raise
        finally:
            self._tidy(user)

    def leave(self, user: str, borrower: object) -> None:
        """Release one thread, in the limit of the user and in the total."""
        # The limiter of the user is there: it is removed only when no thread counts in it.
        self._all.release_on_behalf_of(borrower)
        self._users[user].release_on_behalf_of(borrower)
        self._tidy(user)

    def statistics(self) -> ToolThreadsStatistics:
        """Return statistics of the threads."""
        everyone = (self._all, *self._users.values())
        return ToolThreadsStatistics(
            users=len(self._users),
            running=self._all.borrowed_tokens + self.nested,
            waiting=sum(limiter.statistics().tasks_waiting for limiter in everyone),
        )

    def _tidy(self, user: str) -> None:
        """Remove the limiter of a user if no tool of the user runs or waits."""
        own = self._users.get(user)
        if own is not None and not own.borrowed_tokens and not own.statistics().tasks_waiting:
            del self._users[user]


@attrs.frozen(eq=False)
class _Place:
    """The limiter that trio uses for one call. Trio releases it only when the thread is done."""

    _threads: ToolThreads
    _user: str
    _begun: Callable[[], None]

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        await self._threads.enter(self._user, borrower)
        self._begun()  # no checkpoint follows until trio has started the thread

    def release_on_behalf_of(self, borrower: object) -> None:
        self._threads.leave(self._user, borrower)


@attrs.frozen(eq=False)
class _NestedPlace:
    """The limiter for a call that a tool makes from its own thread. Each tool makes one such call at a time.

    The call waits only for other calls of the same tool, and these wait only for calls that they make themselves. So
    there is never a circle of waits, a deadlock.
    """

    _held: _Held
    _threads: ToolThreads
    _begun: Callable[[], None]

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        await self._held.turns.acquire_on_behalf_of(borrower)
        self._threads.nested += 1
        self._begun()

    def release_on_behalf_of(self, borrower: object) -> None:
        self._threads.nested -= 1
        self._held.turns.release_on_behalf_of(borrower)


@attrs.define(eq=False)
class _Held:
    """A thread in which a function runs. Calls from the function find it through a context variable."""

    depth: int
    """Number of nested functions, each in a thread of its own, that wait for this one."""
    over: bool = False
    """Whether the function has returned. A task that it started and left running no longer counts as nested."""
    turns: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    def call(self, function: Callable[[], T]) -> T:
        """Call ``function`` and return its result. This method runs in the worker thread, in a copy of the context."""
        _HELD.set(self)
        try:
            return function()
        except BaseException as error:
            # Trio asks an exception for its traceback on the way out of the thread. If that fails, the exception never
            # arrives, and the thread's limiter is never released.
            fit = presentable(error)
            if fit is error:
                raise
            raise fit from None
        finally:
            self.over = True


_HELD: ContextVar[_Held | None] = ContextVar("greenroom_tool_thread", default=None)
