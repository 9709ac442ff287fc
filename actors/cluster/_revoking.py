"""Revocations of tokens at all nodes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from actors.cluster._messages import Kind, encode
from actors.errors import LogError
from actors.eventlog.base import Revocation

if TYPE_CHECKING:
    from collections.abc import Generator

    from actors.cluster._outbox import Outbox
    from actors.cluster.interfaces import Node
    from actors.sessions._revocations import Revocations

LOOK_SECONDS = 10.0
"""Interval in seconds at which a node looks into the log for revocations of other nodes: a message may be lost."""


class Revoking:
    """The exchange of revocations: each node tells the others at once, and looks into the log now and then."""

    def __init__(self, revocations: Revocations, node: Node, outbox: Outbox) -> None:
        self._revocations = revocations
        self._node = node
        self._outbox = outbox
        self._is_learning = False

    @contextmanager
    def telling(self) -> Generator[None]:
        """Tell the other nodes of each revocation that is made at this node inside the ``with`` block."""
        with self._revocations.notifying(self._tell):
            yield

    def _tell(self, revocation: Revocation) -> int:
        if not self._is_learning:
            fields = {"user": revocation.user, "token_id": revocation.token_id}
            for node in self._node.nodes.values():
                if node.incarnation != self._node.incarnation:
                    data = {**fields, "at": revocation.at, "until": revocation.until, "to": str(node.incarnation)}
                    self._outbox.post(node.incarnation.node, encode(Kind.REVOKED, data))
        return 0

    def on_revoked(self, data: dict[str, Any]) -> None:
        """Apply a revocation that was made at another node."""
        fields = {name: data[name] for name in ("user", "token_id", "at", "until")}
        self._is_learning = True
        try:
            self._revocations.learn(Revocation(**fields))
        finally:
            self._is_learning = False

    async def run(self) -> None:
        """Apply the revocations in the log now and then, until this is cancelled."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            try:
                stored = await self._revocations.stored()
            except LogError:
                continue  # the next look is soon
            for each in stored:
                self._is_learning = True
                try:
                    self._revocations.learn(each)
                finally:
                    self._is_learning = False
