"""The users that the node of this process owns: claims, releases, and losses."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import attrs
import trio

from actors.cluster.interfaces import NodeState, Token
from actors.errors import LogUnavailable
from actors.loop.boundary import contained

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from actors.cluster._heart import Heart
    from actors.cluster.interfaces import Owners

_ATTEMPTS = 3
"""Maximum number of claims of one user while other nodes change the user's token at the same time."""


@attrs.define
class ClaimCounters:
    """The claims since the start of the process."""

    claims: int = 0
    lost: int = 0
    fenced: int = 0


@attrs.define(eq=False)
class _Turn:
    """The permission to change the ownership of one user: one task at a time."""

    lock: trio.Lock = attrs.field(factory=trio.Lock)
    users: int = 0


class _Texts(Mapping[str, str]):
    """The texts of tokens. Nothing is stored twice."""

    def __init__(self, tokens: Mapping[str, Token]) -> None:
        self._tokens = tokens

    def __getitem__(self, user: str) -> str:
        return str(self._tokens[user])

    def __iter__(self) -> Iterator[str]:
        return iter(self._tokens)

    def __len__(self) -> int:
        return len(self._tokens)


class Claims:
    """The tokens of the users that this node owns.

    A claim needs two looks, in this order: at the user's token, and at the registered nodes. *In the other order, a
    node that joined between them and claimed the user would look like a dead one.*
    """

    def __init__(self, owners: Owners, heart: Heart) -> None:
        """Own no user yet.

        Args:
            owners: The owners of the users.
            heart: The beats of the node.
        """
        self._owners = owners
        self._heart = heart
        self._owned: dict[str, Token] = {}
        self.texts: Mapping[str, str] = _Texts(self._owned)
        """The texts of the same tokens as :attr:`owned`: the log writes with them."""
        self._taken: set[str] = set()
        self._turns: dict[str, _Turn] = {}
        self._term = 0
        self.counters = ClaimCounters()
        self.closed = False
        """Whether this node claims no more users, because its process is about to end."""
        self.on_claimed: list[Callable[[str], None]] = []
        """Functions that are called with each user that the node has claimed to run the user's sessions."""
        self.on_lost: list[Callable[[Sequence[str]], None]] = []
        """Functions that are called with the users that the node has lost. Their sessions must end without a commit."""
        self.on_inherited: list[Callable[[], None]] = []
        """Functions that are called when the node has claimed a user of a dead node. The user may have open runs."""
        heart.on_buried.append(self._on_buried)

    @property
    def owned(self) -> Mapping[str, Token]:
        """The tokens of all users that this node owns, by user."""
        return self._owned

    def owns(self, user: str) -> bool:
        """Return whether this node owns the user, and not only for the time of a failover or a cleaning."""
        return user in self._owned and user not in self._taken

    async def own(self, user: str, not_mine: Token | None = None) -> Token | None:
        """Claim a user if that is allowed. See :meth:`actors.cluster.interfaces.Node.own`.

        Cancellation: the user may be claimed all the same. The next call finds that out.
        """
        if self.owns(user):
            return self._owned[user]
        async with self._turn(user):
            return self._owned.get(user) or await self._claim(user, not_mine)

    @asynccontextmanager
    async def taken(self, user: str) -> AsyncGenerator[bool]:
        """Own a user inside the ``async with`` block, to close the runs of a dead owner. Release the user after it.

        The value is whether the node owns the user. Meanwhile other tasks that want to own the user wait. A user that
        the node owned before is not taken: the value is False.
        """
        async with self._turn(user):
            if user in self._owned or self._heart.state is not NodeState.LIVE:
                yield False
                return
            self._taken.add(user)
            try:
                token = await self._claim(user, None)
                yield token is not None and self._owned.get(user) == token
            finally:
                self._taken.discard(user)
                with trio.CancelScope(shield=True):
                    await self._release(user)

    async def release(self, user: str) -> None:
        """Give up a user. See :meth:`actors.cluster.interfaces.Node.release`.

        If the engine does not answer, the user is given up all the same. Its token is then claimed by another node that
        asks this one for it.
        """
        async with self._turn(user):
            await self._release(user)

    def lose(self, user: str, token: Token) -> None:
        """Forget a user, because an append with ``token`` was refused: another node has claimed the user."""
        if self._owned.get(user) == token:
            del self._owned[user]
            self.counters.fenced += 1
            self._call([user])

    def _on_buried(self) -> None:
        users = [*self._owned]
        self._owned.clear()
        self._call(users)

    def _call(self, users: list[str]) -> None:
        for callback in tuple(self.on_lost) if users else ():
            contained("a function that is told about lost users", callback, users)

    @asynccontextmanager
    async def _turn(self, user: str) -> AsyncGenerator[None]:
        turn = self._turns.setdefault(user, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[user]

    async def _claim(self, user: str, not_mine: Token | None) -> Token | None:
        found = None
        for _ in range(_ATTEMPTS):
            if self._heart.state is not NodeState.LIVE:
                return None
            found = await self._owners.owner_of(user)
            if not await self._is_free(found, not_mine):
                return found
            if self.closed or self._heart.state is not NodeState.LIVE:
                return None
            # Terms of this node only grow: after a loss of data no token of it is the same as an earlier one.
            self._term = max(self._term, found.term if found is not None else 0) + 1
            token = Token(self._term, self._heart.incarnation)
            if await self._owners.claim(user, found, token) == token:
                return self._keep(user, token, found)
            self.counters.lost += 1
        return found

    def _keep(self, user: str, token: Token, found: Token | None) -> Token | None:
        if token.incarnation != self._heart.incarnation:
            return None  # the node was buried meanwhile, so this token is the one of a dead node
        self._owned[user] = token
        self.counters.claims += 1
        if user not in self._taken:
            for on_claimed in tuple(self.on_claimed):
                contained("a function that is told about claimed users", on_claimed, user)
        if found is not None and found.incarnation is not None and user not in self._taken:
            for callback in tuple(self.on_inherited):
                contained("a function that is told about users of dead nodes", callback)
        return token

    async def _is_free(self, found: Token | None, not_mine: Token | None) -> bool:
        """Return whether a user with this token may be claimed. Raise LogUnavailable if that cannot be found out."""
        if found is None or found.incarnation is None or found == not_mine:
            return True
        heart = self._heart
        # An own token that is not known here: a claim or a release was not answered. It is replaced, not adopted: a
        # release that comes late must not release it.
        if found.incarnation == heart.incarnation:
            return True
        if heart.is_registered(found.incarnation):
            return False
        if not await heart.look():
            raise LogUnavailable("the nodes of the cluster cannot be looked at now: the owner of a user is not known")
        return not heart.is_registered(found.incarnation)

    async def _release(self, user: str) -> None:
        token = self._owned.pop(user, None)
        if token is None or token.incarnation != self._heart.incarnation:
            return
        with suppress(LogUnavailable):  # as the docstring of release() says
            await self._owners.release(user, token)
