"""The tree of actors as one value, for the inspector, metrics and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.runtime._children import Children, children_of

if TYPE_CHECKING:
    from actors.runtime._cell import Cell
    from actors.runtime._child import Child


@attrs.frozen
class TreeNode:
    """One actor and all actors below it, at one moment."""

    path: str
    """Path of the actor in the tree; ``/`` is the system."""
    strategy: str
    """Strategy by which the actor restarts its children; empty for an actor without children."""
    state: str
    """State of the actor: starting, running, stopping or restarting.

    A child that has ended and has only its spec left is shown as terminated.
    """
    restarts: int
    """Number of the actor's restarts."""
    depth: int
    """Number of messages in the actor's mailbox."""
    children: tuple[TreeNode, ...]
    """Children of the actor, in the order of their start."""

    def lines(self, indent: str = "") -> list[str]:
        """Return the tree as text for a terminal, one line per actor."""
        lines: list[str] = []
        waiting = [(self, indent)]
        while waiting:  # a loop: a tree may be deeper than Python's stack
            node, before = waiting.pop()
            lines.append(f"{before}{node._line()}")  # noqa: SLF001  -- of this class
            waiting += [(child, before + "  ") for child in reversed(node.children)]
        return lines

    def _line(self) -> str:
        name = self.path if self.path == "/" else self.path.rsplit("/", 1)[1]
        restarts = f" restarts={self.restarts}" if self.restarts else ""
        depth = f" depth={self.depth}" if self.depth else ""
        return f"{name} {self.state}{restarts}{depth}"


def tree_of(path: str, state: str, children: Children | None) -> TreeNode:
    """Return the root and all actors below it, as one value."""
    top = _Entry(path, state, children, None)
    entries = [top]
    # The list grows in this loop, parents before their children. No recursion: a tree may be deeper than the stack.
    for entry in entries:
        entry.below = [_entry(entry.path, child) for child in entry.children.entries()] if entry.children else []
        entries += entry.below
    for entry in reversed(entries):
        entry.make_node()
    assert top.node is not None  # noqa: S101  -- made last
    return top.node


@attrs.define(eq=False)
class _Entry:
    """One actor while its TreeNode (its entry in the tree) is being made."""

    path: str
    state: str
    children: Children | None
    cell: Cell | None
    below: list[_Entry] = attrs.field(factory=list["_Entry"])
    node: TreeNode | None = None

    def make_node(self) -> None:
        """Make the node of this actor in the printed tree. The nodes of its children must be made before."""
        self.node = TreeNode(
            path=self.path,
            strategy="" if self.children is None else self.children.spec.strategy.value,
            state=self.state,
            restarts=0 if self.cell is None else self.cell.restarts,
            depth=0 if self.cell is None else self.cell.mailbox.statistics().depth,
            children=tuple(entry.node for entry in self.below if entry.node is not None),
        )


def _entry(above: str, child: Child[Cell]) -> _Entry:
    path = f"{above.rstrip('/')}/{child.spec.id}"
    cell = child.cell
    if cell is None:
        return _Entry(path, "terminated", None, None)
    return _Entry(path, cell.state.value, children_of(cell), cell)
