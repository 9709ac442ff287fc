"""The permission of a node to write to the log that all nodes share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import trio

from actors.cluster.interfaces import NodeState, Token

if TYPE_CHECKING:
    from actors.cluster._claims import Claims
    from actors.cluster._heart import Heart


@attrs.frozen
class NodeGate:
    """A :class:`~actors.eventlog._gate.Gate` that is open while the node is live."""

    _heart: Heart
    _claims: Claims

    def is_open(self) -> bool:
        """Return whether the node is live."""
        return self._heart.state is NodeState.LIVE

    def until(self) -> float:
        """Return the time of trio's clock at which the node is suspended if no further beat is answered."""
        heart = self._heart
        if heart.state is NodeState.STOPPED:
            return -math.inf
        # The node measures with the clock of the machine, the log with trio's.
        return trio.current_time() + heart.until - heart.clock()

    def fence(self, user: str) -> str | None:
        """Return the text of the user's token. None if this node does not own the user."""
        token = self._claims.owned.get(user)
        return None if token is None else str(token)

    async def is_over(self, token: str) -> bool:
        """Return whether a token was released, is an earlier one of this node, or is that of a node that has gone."""
        incarnation, heart = Token.parse(token).incarnation, self._heart
        if incarnation in (None, heart.incarnation):
            return True
        # The look comes after the token was read, as in Claims.
        return await heart.look() and not heart.is_registered(incarnation)

    def lost(self, user: str, token: str) -> None:
        """Forget a user that another node has claimed."""
        self._claims.lose(user, Token.parse(token))

    async def wait(self) -> bool:
        """Wait until the node is live, and return True. Return False if the node has stopped."""
        return await self._heart.until_live()
