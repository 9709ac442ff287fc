"""Revocations of tokens at all nodes."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from actors.cluster._messages import Kind, encode
from actors.errors import LogError
from actors.eventlog.base import Revocation
from actors.loop.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Generator

    from actors.cluster._outbox import Outbox
    from actors.cluster.interfaces import Incarnation, Node
    from actors.sessions._revocations import Revocations

LOOK_SECONDS = 10.0
"""Interval in seconds at which a node looks into the log for revocations of other nodes: a message may be lost."""
MOST_MADE = 1_000
"""Maximum number of revocations that wait to be sent to new nodes. Of more, new nodes learn from the log."""


class Revoking:
    """The exchange of revocations: each node tells the others at once, and looks into the log now and then."""

    def __init__(self, revocations: Revocations, node: Node, outbox: Outbox) -> None:
        self._revocations = revocations
        self._node = node
        self._outbox = outbox
        self._is_learning = False
        self._made: deque[tuple[Revocation, set[Incarnation]]] = deque(maxlen=MOST_MADE)
        self._news = Wakeup()

    @contextmanager
    def telling(self) -> Generator[None]:
        """Tell the other nodes of each revocation that is made at this node inside the ``with`` block."""
        with self._revocations.notifying(self._on_made):
            yield

    def _on_made(self, revocation: Revocation) -> int:
        if not self._is_learning:
            told = {self._node.incarnation}
            self._tell(revocation, told)
            self._made.append((revocation, told))
            self._news.wake()
        return 0

    def _tell(self, revocation: Revocation, told: set[Incarnation]) -> None:
        """Send a revocation to each registered node that is not in ``told``, and add the node."""
        fields = {"user": revocation.user, "token_id": revocation.token_id}
        for incarnation in [each.incarnation for each in self._node.nodes.values() if each.incarnation not in told]:
            data = {**fields, "at": revocation.at, "until": revocation.until, "to": str(incarnation)}
            self._outbox.post(incarnation.node, encode(Kind.REVOKED, data))
            told.add(incarnation)

    async def _tell_newcomers(self) -> None:
        """Tell also the nodes that this node had not seen registered when a revocation was made."""
        while True:
            while not self._made:
                await self._news.wait()
            await self._node.look()
            while self._made:
                self._tell(*self._made.popleft())

    def on_revoked(self, data: dict[str, Any]) -> None:
        """Apply a revocation that was made at another node."""
        fields = {name: data[name] for name in ("user", "token_id", "at", "until")}
        self._is_learning = True
        try:
            self._revocations.learn(Revocation(**fields))
        finally:
            self._is_learning = False

    async def run(self) -> None:
        """Tell new nodes, and apply the revocations in the log now and then, until this is cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_newcomers)
            nursery.start_soon(self._look_into_log)

    async def _look_into_log(self) -> None:
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
