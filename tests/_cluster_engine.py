"""An engine in memory for fault injection: registered nodes, tokens and appends, with outages and losses of data."""

from __future__ import annotations

import copy

import attrs

from actors.cluster.interfaces import BeatAnswer, Incarnation, NodeInfo, Token


@attrs.define
class Engine:
    """The state of the engine. While ``up`` is False, its users must not call it."""

    up: bool = True
    nodes: dict[str, NodeInfo] = attrs.field(factory=dict[str, NodeInfo])
    tokens: dict[str, Token] = attrs.field(factory=dict[str, Token])
    history: list[tuple[str, Token]] = attrs.field(factory=list[tuple[str, Token]])

    def beat(self, incarnation: Incarnation, info: str, *, join: bool) -> BeatAnswer:
        """Count a beat, as the function of the engine does."""
        found = self.nodes.get(incarnation.node)
        if found is None and not join:
            return BeatAnswer(registered=False, nodes=())
        if found is not None and found.incarnation != incarnation:
            return BeatAnswer(registered=False, nodes=(found,))
        self.nodes[incarnation.node] = NodeInfo(incarnation, (found.beat if found else 0) + 1, info)
        return BeatAnswer(registered=True, nodes=tuple(self.nodes.values()))

    def bury(self, node: NodeInfo) -> bool:
        """Remove a node if it has not moved."""
        found = self.nodes.get(node.incarnation.node)
        if found is None or found.seen != node.seen:
            return False
        del self.nodes[node.incarnation.node]
        return True

    def claim(self, user: str, expected: Token | None, token: Token) -> Token | None:
        """Compare and set the token of a user."""
        if self.tokens.get(user) == expected:
            self.tokens[user] = token
        return self.tokens.get(user)

    def append(self, user: str, token: Token) -> bool:
        """Append an event of a user if the token is the stored one."""
        if self.tokens.get(user) != token:
            return False
        self.history.append((user, token))
        return True

    def snapshot(self) -> tuple[dict[str, NodeInfo], dict[str, Token]]:
        """Return a copy of the data."""
        return copy.copy(self.nodes), copy.copy(self.tokens)

    def restore(self, data: tuple[dict[str, NodeInfo], dict[str, Token]]) -> None:
        """Replace the data by an older copy."""
        self.nodes, self.tokens = copy.copy(data[0]), copy.copy(data[1])
