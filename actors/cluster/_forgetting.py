"""The removal of a user in a cluster: the owner of the user does it, after all nodes have closed the user's clients."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio

from actors.cluster._remote import raise_refusal
from actors.errors import ActorTerminated, CommandRefused, LogError
from actors.eventlog.base import StreamKey
from actors.sessions._forgetting import Forgotten
from actors.streams._cursor import SessionEnding

if TYPE_CHECKING:
    from actors.cluster._mirrors import Mirrors
    from actors.cluster._owned import Owned
    from actors.cluster._questions import Questions
    from actors.cluster.interfaces import Incarnation, Node
    from actors.eventlog.base import EventLog
    from actors.sessions._forgetting import UserRemoval

ATTEMPTS = 10
"""Maximum number of attempts to forget a user that moves from node to node, and to remove the user's token."""
PAUSE_SECONDS = 0.5
"""Time between two attempts to remove a token, in seconds."""


@attrs.define(eq=False)
class ForgettingNodes:
    """The nodes of the cluster, for the removal of users (:class:`actors.sessions._forgetting.Nodes`)."""

    _removal: UserRemoval
    _log: EventLog
    _node: Node
    _owned: Owned
    _questions: Questions
    _mirrors: Mirrors

    async def forget(self, user: str) -> Forgotten:
        """Forget a user at the node that owns the user. If no node does, this node claims the user."""
        for _ in range(ATTEMPTS):
            answer = await self._questions.ask_owner(user, {"op": "forget", "user": user, "session": ""})
            if answer is not None:
                raise_refusal(StreamKey(user, ""), answer)
                return Forgotten(answer["sessions"], answer["connections"])
            with suppress(ActorTerminated):  # the user has just moved
                return await self.forget_own(user)
        raise CommandRefused("overloaded", "the user moves from server to server: try again later")

    async def forget_own(self, user: str) -> Forgotten:
        """Forget a user that this node owns. Raise ActorTerminated if this node has just released the user."""
        self._drop(user)
        async with self._owned.using(user):
            forgotten = await self._removal.here(user, lambda: self._close_elsewhere(user))
        await self._remove_token(user)
        return forgotten

    async def _remove_token(self, user: str) -> None:
        """Release the user and remove the token, which has the user's name.

        That must wait for messages of other nodes that are still being handled. Nothing depends on the token: if the
        user comes back meanwhile, or the log fails, it stays until the next call.
        """
        for _ in range(ATTEMPTS):
            with suppress(LogError):
                if await self._owned.give_up(user):
                    await self._log.forget(user)
                    return
            await trio.sleep(PAUSE_SECONDS)

    async def _close_elsewhere(self, user: str) -> int:
        """Close the clients of a user at all other nodes. Return their number."""
        # *A client of a node that had just joined was not closed: this node had not seen it registered yet.*
        await self._node.look()
        counts: list[int] = []

        async def ask(node: Incarnation) -> None:
            answer = await self._questions.ask_node(node, {"op": "forgotten", "user": user})
            counts.append(answer.get("connections", 0))

        async with trio.open_nursery() as nursery:
            for node in self._node.nodes.values():
                if node.incarnation != self._node.incarnation:
                    nursery.start_soon(ask, node.incarnation)
        return sum(counts)

    def on_forgotten(self, user: str) -> int:
        """Close the clients of a user that another node forgets. Return their number. Never wait."""
        closed = self._removal.close_clients(user)
        self._drop(user)
        self._removal.drop(user)
        return closed

    def _drop(self, user: str) -> None:
        # A command on its way would make the session anew. And clients do not come back, so no session has moved.
        self._questions.refuse_commands(user, "the user was forgotten")
        self._mirrors.end_user(user, SessionEnding.SHUTDOWN)
