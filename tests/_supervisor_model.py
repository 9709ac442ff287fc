"""A model of OTP's rules for supervision trees in plain Python."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from actors import AutoShutdown, Restart, Strategy

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOW = 5.0
"""``max_seconds`` of every supervisor in the model."""


@attrs.define
class History:
    """The events of a tree in the model. The real tree must show the same events."""

    now: float = 0.0
    starts: Counter[str] = attrs.field(factory=Counter[str])
    """Number of calls of each leaf's ``started()``, by path."""
    failing: Counter[str] = attrs.field(factory=Counter[str])
    """Number of the next starts that fail, for each leaf, by path."""
    watched: set[int] = attrs.field(factory=set[int])
    """Identities (see ``Node.body``) of the watched actors."""
    told: list[str] = attrs.field(factory=list[str])
    """Paths of the watched nodes of which the end was reported."""
    numbers: Iterator[int] = attrs.field(factory=itertools.count)


@attrs.define(eq=False)
class Node:
    """One actor in the model: a leaf, or a supervisor with the children of its spec."""

    restart: Restart
    strategy: Strategy | None = None
    max_restarts: int = 0
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    significant: bool = False
    specs: list[Node] = attrs.field(factory=list["Node"])
    name: str = ""
    parent: Node | None = None
    children: list[Node] = attrs.field(factory=list["Node"])
    history: History = attrs.field(factory=History)
    alive: bool = False
    body: int | None = None
    """Identity of the actor, from its first start to its permanent end. Restarts keep it."""
    times: list[float] = attrs.field(factory=list[float])
    granted: int = 0
    """Number of restarts that the node's limit allowed since its own start."""

    @property
    def path(self) -> str:
        return f"{self.parent.path if self.parent else ''}/{self.name}"

    # Starting and stopping

    def start(self) -> bool:
        """Start this node, and return whether it is up. If it is not, no node below it is up either."""
        if self.body is None:
            self.body = next(self.history.numbers)
        self.alive, self.times, self.granted = True, [], 0
        if self.strategy is None:
            self.history.starts[self.path] += 1
            if self.history.failing[self.path] > 0:
                self.history.failing[self.path] -= 1
                self.alive = False
            return self.alive
        self.children = []
        for child in self.specs:
            child.parent, child.history, child.body = self, self.history, None
            self.children.append(child)
            if not child.start():
                self.halt()
                return False
        return True

    def halt(self) -> None:
        """Stop this node and its children before a restart. The node keeps its identity."""
        self.alive = False
        for child in reversed(self.children):
            child.stop()
        self.children = []

    def stop(self) -> None:
        """Stop this node permanently."""
        self.halt()
        if self.body in self.history.watched:
            self.history.told.append(self.path)
        self.body = None

    # Ends and restarts

    def end(self, *, abnormal: bool) -> None:
        """End this node by itself, and let its parent react to that."""
        parent = self.parent
        again = self.restart is Restart.PERMANENT or (self.restart is Restart.TRANSIENT and abnormal)
        if parent is None or not again:
            self.stop()
            if parent is not None:
                parent.on_child_ended(self)
        elif parent.count_restart():
            self.halt()
            parent.restart_group(self)
        else:
            self.stop()
            parent.end(abnormal=True)

    def on_child_ended(self, child: Node) -> None:
        """Remove a child that has ended by itself permanently. Then shut this supervisor down if its spec says so."""
        self.drop_entry(child)
        others = any(other.significant and other.body is not None for other in self.children)
        if child.significant and not (self.auto_shutdown is AutoShutdown.ALL and others):
            self.end(abnormal=False)

    def drop_entry(self, child: Node) -> None:
        """Remove the entry of a child, unless its spec is kept."""
        if self.strategy is Strategy.DYNAMIC or child.restart is Restart.TEMPORARY:
            self.children.remove(child)

    def count_restart(self) -> bool:
        """Count one restart of a child, and return whether the limit allows it."""
        now = self.history.now
        self.times = [time for time in self.times if time > now - WINDOW]
        self.times.append(now)
        if len(self.times) > self.max_restarts:
            return False
        self.granted += 1
        return True

    def restart_group(self, failed: Node) -> None:
        """Restart the group of the failed child until the whole group is up or the limit is exceeded."""
        first: Node | None = failed
        while first is not None:
            group = self.group(first)
            first = None
            for child in reversed(group):
                if child.restart is Restart.TEMPORARY:
                    child.stop()
                    self.children.remove(child)
                else:
                    child.halt()
            for child in group:
                if child in self.children and not child.start():
                    if not self.count_restart():
                        self.end(abnormal=True)
                        return
                    first = child
                    break

    def group(self, failed: Node) -> list[Node]:
        """Return the children that are restarted together with the failed child, the failed one included."""
        match self.strategy:
            case Strategy.ONE_FOR_ALL:
                return list(self.children)
            case Strategy.REST_FOR_ONE:
                return self.children[self.children.index(failed) :]
            case _:
                return [failed]

    # Views

    def nodes(self) -> Iterator[Node]:
        """Return this node and all nodes below it."""
        yield self
        for child in self.children:
            yield from child.nodes()

    def lines(self) -> list[tuple[str, bool]]:
        """Return the path of each node in this tree, with whether the node is alive."""
        return [(node.path, node.alive) for node in self.nodes()]
