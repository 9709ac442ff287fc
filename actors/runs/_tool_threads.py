"""The threads of sync tools. Their number is limited for each user and for all users together."""

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
    """Statistics of the threads in which sync tools run."""

    users: int
    """Number of users that have a sync tool which is running or waiting for a thread."""
    running: int
    """Number of threads at work. A thread that still runs after its call timed out or was cancelled is included."""
    waiting: int
    """Number of sync tools that wait for a thread."""


class ToolThreads:
    """The limits on threads of sync tools: ``per_user`` for each user, and ``total`` for all users. Further calls wait.

    A thread cannot be stopped. After a timeout or a cancellation of the call, the thread still runs, and counts towards
    both limits, until its function returns. So tools that hang use up only the threads of their own user.
    """

    def __init__(self, per_user: int, total: int) -> None:
        self._per_user = per_user
        self._all = trio.CapacityLimiter(total)
        self._users: dict[str, trio.CapacityLimiter] = {}
        self.nested = 0
        """Number of nested threads at work. A nested thread runs a sync tool that a sync tool called."""
        self._waiting = 0

    async def run(self, user: str, function: Callable[[], T], begun: Callable[[], None]) -> T:
        """Wait until the limits allow one more thread, call ``function`` in a thread, and return its result.

        If ``function`` itself calls :meth:`run`, this nested call does not count towards the limits. If nested calls
        counted, all threads of a user could wait for nested calls that get no thread: a deadlock. Nested calls of one
        function run one at a time.

        Args:
            user: Name of the user.
            function: The function to call.
            begun: Called just before the thread starts. From then on the call cannot be stopped.

        Cancellation:
            If ``begun`` was not called, ``function`` is never called. If ``begun`` was called, the thread runs until
            ``function`` returns, and the result is lost.
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
        """Return the depth of the calling code in nested sync tools; 0 outside of sync tools.

        The depth is the number of sync tools that wait, each in its own thread, until the calling code returns.
        """
        held = _HELD.get()
        return 0 if held is None or held.over else held.depth + 1

    async def enter(self, user: str, borrower: object) -> None:
        """Wait until the limit of the user allows one more thread, then until the limit of all users allows it.

        Because of this order, a user without free threads delays no other user.
        """
        own = self._users.get(user)
        if own is None:
            own = self._users[user] = trio.CapacityLimiter(self._per_user)
        self._waiting += 1
        try:
            await own.acquire_on_behalf_of(borrower)
            # If cancelled in the second queue, leave the first: another tool of the user may wait for it.
            try:
                await self._all.acquire_on_behalf_of(borrower)
            except BaseException:
                own.release_on_behalf_of(borrower)
                raise
        finally:
            self._waiting -= 1
            self._tidy(user)

    def leave(self, user: str, borrower: object) -> None:
        """Give back one thread, to the limit of the user and to the limit of all users."""
        # The limiter of the user is there: it is removed only when no thread counts in it.
        self._all.release_on_behalf_of(borrower)
        self._users[user].release_on_behalf_of(borrower)
        self._tidy(user)

    def statistics(self) -> ToolThreadsStatistics:
        """Return the numbers of users, of running threads and of tools that wait for a thread."""
        return ToolThreadsStatistics(
            users=len(self._users),
            running=self._all.borrowed_tokens + self.nested,
            waiting=self._waiting,
        )

    def _tidy(self, user: str) -> None:
        """Remove the limiter of a user if no sync tool of the user runs or waits."""
        own = self._users.get(user)
        if own is not None and not own.borrowed_tokens and not own.statistics().tasks_waiting:
            del self._users[user]


@attrs.frozen(eq=False)
class _Place:
    """The limiter that is passed to trio for one call. It applies the user's limit and the limit of all users.

    Trio releases this limiter when the thread is done.
    """

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
    """The limiter for a nested call: a call that a tool makes from its own thread.

    Each tool makes only one nested call at a time. A nested call waits only for other nested calls of the same tool,
    and each of these calls waits only for its own nested calls. So a circle of waits (a deadlock) is impossible.
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
    """A thread in which the function of a sync tool runs.

    Calls that the function makes find this object through a context variable.
    """

    depth: int
    """Number of sync tools, each in its own thread, that wait until this sync tool returns."""
    over: bool = False
    """Whether the function has returned.

    A task that the function left running can still make calls. These calls do not count as nested.
    """
    turns: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    def call(self, function: Callable[[], T]) -> T:
        """Call ``function`` in the worker thread, in a copy of the caller's context, and return its result."""
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
