"""The users for which a node cleans the logs: its own users, and its share of the users without an owner."""

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
    from actors.cluster._heart import Heart
    from actors.cluster._owned import Owned


@attrs.frozen
class NodeCustody:
    """The :class:`~actors.sessions._custody.Custody` of a node."""

    _owned: Owned
    _claims: Claims
    _heart: Heart

    def falls_here(self, user: str) -> bool:
        """Return whether this node owns the user, or would clean the user's logs if no node owns the user."""
        heart = self._heart
        if heart.state is not NodeState.LIVE or self._claims.closed:
            return False
        return self._owned.is_mine(user) or share(user, heart.nodes) == heart.incarnation.node

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
