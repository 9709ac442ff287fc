"""The users that this node owns, and the calls to their sessions in this process."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

import trio

from actors.cluster._fences import is_fenced
from actors.cluster._share import batched
from actors.cluster.interfaces import NodeState
from actors.errors import ActorTerminated, LogError
from actors.runtime._lifecycle import Failure

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from actors.cluster._consuming import Consuming
    from actors.cluster.interfaces import Node, Token
    from actors.eventlog.base import StreamKey
    from actors.runtime._lifecycle import ExitReason
    from actors.sessions._spawner import SessionSpawner

LEAVE_SECONDS = 0.1
"""Interval in seconds at which a node that ends looks for users that it can release."""
MOVED = "the user's sessions have moved to another server"
LOT = 50
"""Maximum number of users that a node that ends releases at the same time. More would only wait for the engine."""


class Owned:
    """The users that this node owns. A user is released only when no call uses the user's sessions."""

    def __init__(self, here: SessionSpawner, node: Node, consuming: Consuming) -> None:
        self.here = here
        self._node = node
        self._consuming = consuming
        self._using: Counter[str] = Counter()
        self.claiming: Counter[str] = Counter()
        """The users of which the owner is being looked up, with the number of tasks that do it."""
        self.leaving: dict[str, trio.Event] = {}
        """The users that are being released, each with an event that is set when that is over."""
        self.is_ending = False
        """Whether the node gives up all its users, because its process ends."""
        self.released = 0
        """Number of users that were released to another node."""

    def __len__(self) -> int:
        return len(self._node.owned)

    def is_mine(self, user: str) -> bool:
        """Return whether this node owns the user, as far as it knows."""
        return self._node.owns(user)

    async def own(self, user: str, denied: Token | None = None) -> Token | None:
        """Return the user's token, after a claim if that is allowed; see :meth:`.Node.own`."""
        while (leaving := self.leaving.get(user)) is not None:
            await leaving.wait()
        if self.is_mine(user):
            return self._node.owned[user]
        self.claiming[user] += 1
        try:
            return await self._node.own(user, denied)
        finally:
            self.claiming[user] -= 1
            if not self.claiming[user]:
                del self.claiming[user]

    async def ask_here(self, key: StreamKey, message: object) -> object:
        """Send a message to a session of this process; see :meth:`.Place.ask`.

        Raise ActorTerminated if this node has just released the user, or if another node turns out to own the user.
        """
        async with self.using(key.user), self._unless_fenced(key.user):
            return await self.here.ask(key, message)

    async def open_here(self, key: StreamKey) -> None:
        """Make a session of this process; see :meth:`.Place.open`. Raise ActorTerminated as :meth:`ask_here`."""
        async with self.using(key.user), self._unless_fenced(key.user):
            await self.here.open(key)

    @asynccontextmanager
    async def _unless_fenced(self, user: str) -> AsyncGenerator[None]:
        """Forget the user if a call inside the block is fenced. Then raise ActorTerminated.

        *The engine had lost the token of a user without a session, and another node claimed the user. This node never
        learned of that, and refused the user's clients for as long as they came to it.*
        """
        token = self._node.owned[user]
        try:
            yield
        except Exception as error:
            if not is_fenced(error):
                raise
            self._node.lose(user, token)
            raise ActorTerminated(MOVED) from error

    @asynccontextmanager
    async def using(self, user: str) -> AsyncGenerator[None]:
        """Prevent the release of a user inside the ``async with`` block.

        Raise ActorTerminated if this node does not own the user, or has just released the user.
        """
        while (leaving := self.leaving.get(user)) is not None:
            await leaving.wait()
        if not self.is_mine(user):
            raise ActorTerminated(MOVED)
        self._using[user] += 1
        try:
            yield
        finally:
            self._using[user] -= 1
            if not self._using[user]:
                del self._using[user]

    @contextmanager
    def unless_moved(self, user: str) -> Generator[None]:
        """Leave the block without an error if the user turns out to have moved to another node."""
        try:
            yield
        except ActorTerminated:
            if self.is_mine(user):
                raise

    async def give_up(self, user: str) -> bool:
        """Release a user if no session of the user has a client, a run or anything else to do.

        Return whether this node does not own the user any more. While the process ends, clients do not matter: those of
        other nodes follow their sessions, and those of this node are told that the server ends. A user stays also while
        a consumer handles an event of the user: the consumer of the next owner would get the same event.
        """
        while (leaving := self.leaving.get(user)) is not None:
            await leaving.wait()
        if not self.is_mine(user):
            return True
        if self._using[user] or self._node.state is not NodeState.LIVE:
            return False
        self.leaving[user] = over = trio.Event()
        try:
            return await self._give_up(user)
        finally:
            del self.leaving[user]
            over.set()
            if not self.is_mine(user):
                self._consuming.on_gone(user)

    async def _give_up(self, user: str) -> bool:
        if not await self._consuming.let_go(user):
            return False
        if not await self.here.vacate(user, ends_clients=self.is_ending) or self._using[user]:
            return False
        await self._node.release(user)
        self.released += 1
        return True

    async def leave(self) -> None:
        """Claim no more users, and release each user as soon as no run or command of the user is open.

        Return when no session has anything to do. Users that could not be released until then are free when the node
        is removed from the cluster, at the end of its process.
        """
        self.is_ending = True
        self._node.close()
        while True:
            busy = {entry.key.user for entry in self.here.table if not entry.is_idle(ends_clients=True)}
            for lot in batched(sorted(self._node.owned.keys() - busy), LOT):
                async with trio.open_nursery() as nursery:
                    for user in lot:
                        nursery.start_soon(self._let_go, user)
            if not busy:
                return
            await trio.sleep(LEAVE_SECONDS)

    async def _let_go(self, user: str) -> None:
        with suppress(LogError):  # as the docstring of leave() says
            await self.give_up(user)

    def has_moved(self, user: str, reason: ExitReason) -> bool:
        """Return whether a session that has ended goes on at another node."""
        if isinstance(reason, Failure) and is_fenced(reason.exception) and self.is_mine(user):
            self._node.lose(user, self._node.owned[user])
        return not self.is_mine(user)
