"""OTP's rules for supervision trees in plain Python: what the runtime is compared with."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from actors import AutoShutdown, Restart, Strategy

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOW = 5.0
"""Seconds of every supervisor's intensity."""


@attrs.define
class History:
    """What happened to a tree: what the runtime has to have done as well."""

    now: float = 0.0
    starts: Counter[str] = attrs.field(factory=Counter[str])
    """How often each leaf's ``started()`` was begun, by path."""
    failing: Counter[str] = attrs.field(factory=Counter[str])
    """How many of the next starts of a leaf fail, by path."""
    watched: set[int] = attrs.field(factory=set[int])
    """The bodies whose end is to be told."""
    told: list[str] = attrs.field(factory=list[str])
    """The paths of those whose end was told."""
    numbers: Iterator[int] = attrs.field(factory=itertools.count)


@attrs.define(eq=False)
class Node:
    """One actor: a leaf, or a supervisor with the children of its spec."""

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
    times: list[float] = attrs.field(factory=list[float])
    granted: int = 0

    @property
    def path(self) -> str:
        return f"{self.parent.path if self.parent else ''}/{self.name}"

    # Starting and stopping

    def start(self) -> bool:
        """Whether it is up; when it is not, nothing of it is."""
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
        """Stop, to be started again: the children are gone, the body is not."""
        self.alive = False
        for child in reversed(self.children):
            child.stop()
        self.children = []

    def stop(self) -> None:
        """Stop for good."""
        self.halt()
        if self.body in self.history.watched:
            self.history.told.append(self.path)
        self.body = None

    # What follows an end

    def end(self, *, abnormal: bool) -> None:
        """This one ended by itself: do what its parent does then."""
        parent = self.parent
        again = self.restart is Restart.PERMANENT or (self.restart is Restart.TRANSIENT and abnormal)
        if parent is None or not again:
            self.stop()
            if parent is not None:
                parent.lost(self)
        elif parent.grants():
            self.halt()
            parent.restart_with(self)
        else:
            self.stop()
            parent.end(abnormal=True)

    def lost(self, child: Node) -> None:
        """A child ended by itself, for good."""
        self.forget(child)
        others = any(other.significant and other.body is not None for other in self.children)
        if child.significant and not (self.auto_shutdown is AutoShutdown.ALL and others):
            self.end(abnormal=False)

    def forget(self, child: Node) -> None:
        """Drop the entry of a child, unless its spec is kept."""
        if self.strategy is Strategy.DYNAMIC or child.restart is Restart.TEMPORARY:
            self.children.remove(child)

    def grants(self) -> bool:
        """Count one restart; whether it is not one too many."""
        now = self.history.now
        self.times = [time for time in self.times if time > now - WINDOW]
        self.times.append(now)
        if len(self.times) > self.max_restarts:
            return False
        self.granted += 1
        return True

    def restart_with(self, failed: Node) -> None:
        """Restart the group of a child that failed, until all of it is up or it was too often."""
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
                    if not self.grants():
                        self.end(abnormal=True)
                        return
                    first = child
                    break

    def group(self, failed: Node) -> list[Node]:
        match self.strategy:
            case Strategy.ONE_FOR_ALL:
                return list(self.children)
            case Strategy.REST_FOR_ONE:
                return self.children[self.children.index(failed) :]
            case _:
                return [failed]

    # Looking at it

    def nodes(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child.nodes()

    def lines(self) -> list[tuple[str, bool]]:
        return [(node.path, node.alive) for node in self.nodes()]
