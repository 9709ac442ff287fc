"""The removal of everything of a user, from the server and its log: ``app.forget``."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import attrs
import trio

from actors.failures import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from actors.sessions._consumers import Consumers
    from actors.sessions._services import SessionServices
    from actors.sessions._spawner import SessionSpawner
    from actors.streams.observing import Observers

T = TypeVar("T")


@attrs.frozen
class Forgotten:
    """The result of :meth:`transport.Greenroom.forget`."""

    sessions: int
    """Number of sessions that were removed from the log."""
    connections: int
    """Number of connections of the user that were closed, at all servers of a cluster."""


class Nodes(Protocol):
    """The nodes of a cluster, as the removal of a user sees them."""

    async def forget(self, user: str) -> Forgotten:
        """Forget a user at the node that owns the user, after the user's clients were closed at all nodes.

        Raises:
            CommandRefused: The owner of the user cannot be reached now.
            LogError: The log failed.
        """
        ...


class UserRemoval:
    """The removal of users from this process and its log."""

    def __init__(
        self, spawner: SessionSpawner, services: SessionServices, readers: tuple[Observers, Consumers]
    ) -> None:
        self._spawner = spawner
        self._services = services
        self._readers = readers
        self._callbacks: dict[Callable[[str], int], None] = {}
        self.nodes: Nodes | None = None
        """The cluster, if this process is a node of one."""

    @contextmanager
    def notifying(self, callback: Callable[[str], int]) -> Generator[None]:
        """Call ``callback`` with each user that is forgotten, inside the ``with`` block.

        The callback closes the user's connections, and returns their number. It must not wait or raise.
        """
        # A partial is a key of its own: the same callback may be registered twice.
        registered = partial(callback)
        self._callbacks[registered] = None
        try:
            yield
        finally:
            del self._callbacks[registered]

    async def forget(self, user: str, *, thorough: bool = True) -> Forgotten:
        """Remove everything of a user. See :meth:`transport.Greenroom.forget`."""
        if not isinstance(user, str) or not user:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may have no types
            raise ValueError(f"user must be a text, not {shown(user)}")
        if self.nodes is not None:
            return await in_own_task(partial(self.nodes.forget, user))
        return await in_own_task(partial(self.here, user, thorough=thorough))

    async def here(
        self, user: str, elsewhere: Callable[[], Awaitable[int]] | None = None, *, thorough: bool = True
    ) -> Forgotten:
        """Close the clients of a user, end the user's sessions in this process, and remove them from the log.

        Args:
            user: The user. In a cluster this process owns the user.
            elsewhere: Function that closes the user's clients at other nodes, and returns their number.
            thorough: As for :meth:`.EventLog.forget`.
        """
        async with self._spawner.reservations.of_user(user):
            # From here on no session of the user is made. So a client that attached before is known, and is closed.
            closed = self.close_clients(user) + (0 if elsewhere is None else await elsewhere())
            await self._spawner.end_user(user)
            await self._spawner.reservations.keys_over(user)
            sessions = await self._services.log.forget(user, thorough=thorough)
            self.drop(user)
        return Forgotten(sessions, closed)

    def close_clients(self, user: str) -> int:
        """Close the clients of a user in this process. Return their number. Never wait."""
        return sum([callback(user) for callback in tuple(self._callbacks)])

    def drop(self, user: str) -> None:
        """Drop everything that is in memory of a user without a session. Never wait."""
        self._services.log.drop(user)
        self._services.accounts.forget(user)
        self._services.failures.forget(user)
        for reader in self._readers:
            reader.forget(user)


async def in_own_task(call: Callable[[], Awaitable[T]]) -> T:
    """Return the result of ``call``, which runs in a task of its own.

    *A run that forgets its own user is cancelled by that: in its task, everything would stop in the middle.*

    Cancellation: ``call`` goes on.
    """
    results: list[T] = []
    failures: list[Exception] = []
    over = trio.Event()

    async def work() -> None:
        try:
            results.append(await call())
        except Exception as error:  # noqa: BLE001 - raised below, in the caller's task
            failures.append(error)
        finally:
            over.set()

    trio.lowlevel.spawn_system_task(work)
    await over.wait()
    if failures:
        raise failures[0]
    return results[0]
