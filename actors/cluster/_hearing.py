"""The messages of other nodes, as they come, and the messages that this node sends to them each second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from actors.cluster._messages import PUSH, Kind, decode, encode
from actors.cluster._statistics import RouterStatistics
from actors.cluster.interfaces import Gap, Push
from actors.errors import LogCorrupt
from actors.loop.boundary import report

if TYPE_CHECKING:
    from actors.cluster._mirror import Mirror
    from actors.cluster._mirrors import Mirrors
    from actors.cluster._outbox import Outbox
    from actors.cluster._questions import Questions
    from actors.cluster._revoking import Revoking
    from actors.cluster._serving import Serving
    from actors.cluster._watched import Watched
    from actors.cluster.interfaces import Bus, Incarnation, Message, Node


@attrs.define(eq=False)
class Hearing:
    """The distribution of the messages of other nodes to the parts of the router."""

    _bus: Bus
    _node: Node
    _outbox: Outbox
    _mirrors: Mirrors
    _watched: Watched
    _questions: Questions
    _serving: Serving
    _revoking: Revoking
    _asked_heads: dict[Incarnation, list[Mirror]] = attrs.field(factory=dict["Incarnation", "list[Mirror]"], init=False)
    gaps: int = attrs.field(default=0, init=False)
    """Number of times that messages to this node were lost, or may be because it connected to its channel anew."""

    async def run(self) -> None:
        """Handle messages until this is cancelled. A message that cannot be read is logged, and ignored."""
        while True:
            for message in await self._bus.receive():
                if isinstance(message, Gap):
                    self.gaps += 1
                    self._mirrors.suspects.add(message.sender)
                    continue
                try:
                    self._take(message)
                except (LogCorrupt, KeyError, ValueError, TypeError) as error:
                    report("a message of another server", error)

    def statistics(self, owned: int) -> RouterStatistics:
        """Return statistics of the messages to and from other nodes. ``owned`` is the number of users of this node."""
        return RouterStatistics(
            owned=owned,
            mirrors=len(self._mirrors),
            watchers=len(self._watched),
            forwarded=self._questions.asked,
            resent=self._questions.resent,
            unreachable=self._questions.unreachable,
            pushes=self._mirrors.pushes,
            gaps=self.gaps,
            resyncs=self._mirrors.resyncs,
            dropped=self._outbox.dropped,
            signals_dropped=self._outbox.signals_dropped,
        )

    def tick(self) -> None:
        """Tell the watchers of sessions the heads, and ask for heads where messages were lost. Called each second."""
        self._mirrors.sweep()
        self._mirrors.suspect_silent()
        self._watched.digest()
        suspects, owners = self._mirrors.suspects, self._mirrors.owners()
        if None in suspects:
            suspects |= owners
        doubtful = {owner for owner in owners if owner in suspects}
        self._mirrors.suspects = {*doubtful}
        for owner in doubtful:
            self._asked_heads[owner] = self._mirrors.mirrors_of(owner)
            self._outbox.post(owner.node, encode(Kind.ASK, {"op": "heads", "id": 0, "to": str(owner)}))

    def _take(self, message: Message | Push) -> None:
        sender, body = message.sender, message.body
        if isinstance(message, Push):
            self._mirrors.on_batches(sender, body)
            return
        if body.startswith(PUSH):
            self._mirrors.on_push(sender, body)
            return
        note = decode(body)
        if note.data["to"] == str(self._node.incarnation):  # not for an earlier life of this node
            self._handle(sender, note.kind, note.data)

    def _handle(self, sender: Incarnation, kind: Kind, data: dict[str, Any]) -> None:
        match kind:
            case Kind.ASK:
                self._serving.on_ask(sender, data)
            case Kind.ANSWER:
                self._on_answer(sender, data)
            case Kind.SIGNAL:
                self._mirrors.on_signal(sender, data)
            case Kind.ENDED:
                self._mirrors.on_ended(sender, data)
            case Kind.DIGEST:
                self._mirrors.on_digest(sender, data)
            case Kind.TYPING:
                self._serving.on_typing(data)
            case Kind.UNWATCH:
                self._watched.unwatch(sender, data["numbers"])
            case Kind.REVOKED:
                self._revoking.on_revoked(data)

    def _on_answer(self, sender: Incarnation, data: dict[str, Any]) -> None:
        if data["id"] == 0:
            self._mirrors.suspects.discard(sender)
            self._mirrors.on_heads(sender, data["heads"], self._asked_heads.pop(sender, ()))
        else:
            self._questions.on_answer({**data, "from": sender})
