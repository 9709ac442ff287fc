"""The supervision tree as one value, for the inspector, metrics and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from actors.runtime._cell import Cell
    from actors.runtime._child_table import Child
    from actors.runtime._children import Children


@attrs.frozen
class TreeNode:
    """One actor and all below it."""

    path: str
    """Its place in the tree; ``/`` is the system."""
    strategy: str
    """How it restarts its children; empty for an actor that has none."""
    state: str
    """starting, running, stopping, restarting; terminated for a child of which only the spec is kept."""
    restarts: int
    """How often it was restarted."""
    depth: int
    """Messages in its mailbox."""
    children: tuple[TreeNode, ...]
    """Those below it, in the order of their start."""

    def lines(self, indent: str = "") -> list[str]:
        """Draw it for a terminal, one line per actor."""
        lines: list[str] = []
        waiting = [(self, indent)]
        while waiting:  # a loop: a tree may be deeper than Python's stack
            node, before = waiting.pop()
            lines.append(f"{before}{node._line()}")  # noqa: SLF001  -- another of this class
            waiting += [(child, before + "  ") for child in reversed(node.children)]
        return lines

    def _line(self) -> str:
        name = self.path if self.path == "/" else self.path.rsplit("/", 1)[1]
        restarts = f" restarts={self.restarts}" if self.restarts else ""
        depth = f" depth={self.depth}" if self.depth else ""
        return f"{name} {self.state}{restarts}{depth}"


def tree_of(path: str, state: str, family: Children | None) -> TreeNode:
    """Take a picture of the root and all below it."""
    top = _Entry(path, state, family, None)
    entries = [top]
    for entry in entries:  # it grows as it goes, parents before their children: a tree may be deeper than the stack
        entry.below = [_entry(entry.path, child) for child in entry.family.entries()] if entry.family else []
        entries += entry.below
    for entry in reversed(entries):
        entry.picture()
    assert top.node is not None  # noqa: S101  -- made last
    return top.node


@attrs.define(eq=False)
class _Entry:
    """One actor of which the picture is taken."""

    path: str
    state: str
    family: Children | None
    cell: Cell | None
    below: list[_Entry] = attrs.field(factory=list["_Entry"])
    node: TreeNode | None = None

    def picture(self) -> None:
        """Make the node, when those below have theirs."""
        self.node = TreeNode(
            path=self.path,
            strategy="" if self.family is None else self.family.spec.strategy.value,
            state=self.state,
            restarts=0 if self.cell is None else self.cell.restarts,
            depth=0 if self.cell is None else self.cell.mailbox.statistics().depth,
            children=tuple(entry.node for entry in self.below if entry.node is not None),
        )


def _entry(above: str, child: Child) -> _Entry:
    path = f"{above.rstrip('/')}/{child.spec.id}"
    cell = child.cell
    if cell is None:
        return _Entry(path, "terminated", None, None)
    return _Entry(path, cell.state.value, cell.family, cell)
