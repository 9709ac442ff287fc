"""The supervision tree as one value, for the inspector, metrics and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from actors._cell import Cell
    from actors._family import Child, Family


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
        name = self.path if self.path == "/" else self.path.rsplit("/", 1)[1]
        restarts = f" restarts={self.restarts}" if self.restarts else ""
        depth = f" depth={self.depth}" if self.depth else ""
        own = f"{indent}{name} {self.state}{restarts}{depth}"
        return [own, *(line for child in self.children for line in child.lines(indent + "  "))]


def tree_of(path: str, state: str, family: Family | None, cell: Cell | None) -> TreeNode:
    """Take a picture of one actor and all below it."""
    return TreeNode(
        path=path,
        strategy="" if family is None else family.spec.strategy.value,
        state=state,
        restarts=0 if cell is None else cell.restarts,
        depth=0 if cell is None else cell.mailbox.statistics().depth,
        children=() if family is None else tuple(_node(path, child) for child in family.entries()),
    )


def _node(above: str, child: Child) -> TreeNode:
    path = f"{above.rstrip('/')}/{child.spec.id}"
    cell = child.cell
    if cell is None:
        return tree_of(path, "terminated", None, None)
    return tree_of(path, cell.state.value, cell.family, cell)
