"""The users for which a node cleans and consumes: its own users, and its share of the users without an owner."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from actors.cluster._share import share
from actors.cluster.interfaces import NodeState
from actors.errors import ActorTerminated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from actors.cluster._claims import Claims
    from actors.cluster._owned import Owned
    from actors.cluster.interfaces import Node


@attrs.frozen
class NodeCustody:
    """The :class:`~actors.sessions._custody.Custody` of a node."""

    _owned: Owned
    _node: Node
    _claims: Claims

    def has(self, user: str) -> bool:
        """Return whether this node owns the user, is not giving the user up, and is live."""
        owned = self._owned
        return self._node.state is NodeState.LIVE and user not in owned.leaving and owned.is_mine(user)

    def falls_here(self, user: str) -> bool:
        """Return whether this node owns the user, or would claim the user if no node owned it."""
        node, owned = self._node, self._owned
        if node.state is not NodeState.LIVE or owned.is_ending:
            return False
        return owned.is_mine(user) or share(user, node.nodes) == node.incarnation.node

    async def claim(self, user: str) -> bool:
        """Return whether this node has the user, after a claim if no node owns the user and it falls here.

        The user stays with this node until a client of another node comes.
        """
        if (leaving := self._owned.leaving.get(user)) is not None:
            await leaving.wait()  # and no claim then: another node is about to have the user
        elif not self.has(user) and self.falls_here(user):
            await self._owned.own(user)
        return self.has(user)

    @asynccontextmanager
    async def held(self, user: str) -> AsyncGenerator[bool]:
        """Own a user inside the ``async with`` block. A user that this node did not own is released after it.

        Yield False if another node owns the user.
        """
        async with AsyncExitStack() as stack:
            try:
                if self._owned.is_mine(user):
                    await stack.enter_async_context(self._owned.using(user))
                    mine = True
                else:
                    mine = await stack.enter_async_context(self._claims.taken(user))
            except ActorTerminated:  # the user has just been released
                mine = False
            yield mine
