"""The threads that sync tools run in: so many for each user, so many in all."""

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
        self.nested = 0
        """Threads at work for a function that waits in a thread of its own."""

    async def run(self, user: str, function: Callable[[], T], begun: Callable[[], None]) -> T:
        """Call ``function`` in a thread, in its turn, and ``begun`` when that has come: from then on nothing stops it.

        A call from within such a function waits for no place of its user's, all of which may be held by functions that
        wait for calls like this one: it takes turns with the other calls from there. Cancelled: ``begun`` was not
        called, and ``function`` will not be; or it was, and the thread is left behind.
        """
        held = _HELD.get()
        if held is not None and not held.over:
            place: _Place | _NestedPlace = _NestedPlace(held, self, begun)
        else:
            place = _Place(self, user, begun)
        inside = _Held(0 if held is None or held.over else held.depth + 1)
        # Two methods are all that trio asks of a limiter, as its documentation says and its annotation does not.
        limiter = cast("trio.CapacityLimiter", place)
        return await trio.to_thread.run_sync(inside.call, function, abandon_on_cancel=True, limiter=limiter)

    @staticmethod
    def depth() -> int:
        """Return how many functions that hold a thread wait, each in the next, for what the caller does."""
        held = _HELD.get()
        return 0 if held is None or held.over else held.depth + 1

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
            running=self._all.borrowed_tokens + self.nested,
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


@attrs.frozen(eq=False)
class _NestedPlace:
    """The place of a call from a function that holds a thread: one at a time for each such function.

    Nothing is waited for but calls of the same function, and what these wait for is further in: no circle can close.
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
    """A thread that a function holds; known to whatever the function calls, by context."""

    depth: int
    """How many functions wait, each in the next, for this one."""
    over: bool = False
    """Whether the function has returned; a task that it left behind waits for its turn like any other."""
    turns: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    def call(self, function: Callable[[], T]) -> T:
        """Call the function; runs in the thread, in a context of its own."""
        _HELD.set(self)
        try:
            return function()
        except BaseException as error:
            # On its way out of the thread an exception is asked for its traceback: one that fails there never arrives,
            # and the thread's place is never given back.
            fit = presentable(error)
            if fit is error:
                raise
            raise fit from None
        finally:
            self.over = True


_HELD: ContextVar[_Held | None] = ContextVar("greenroom_tool_thread", default=None)
