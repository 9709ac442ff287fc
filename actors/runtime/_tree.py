"""The tree of actors as one value, for the inspector, metrics and tests."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import attrs

from actors.checks import check_kind
from actors.loop.trio_internals import effective_deadline
from actors.runtime._children import Children, children_of
from actors.runtime._lifecycle import State
from actors.runtime._parts import Parts
from actors.runtime._request import PendingAsk
from actors.runtime._runtime import Runtime
from actors.runtime._spec import GroupSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trio

    from actors.runtime._cell import Cell
    from actors.runtime._child import Child
    from actors.runtime._ref import ActorRef


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
        return [f"{indent}{'  ' * level}{node._line()}" for node, level in self._walk()]  # noqa: SLF001  -- of this class

    def to_json(self) -> str:
        """Return the tree as JSON text: an array of the actors in the order of :meth:`lines`, each an object.

        Each object has the fields of this class, but ``children`` are the paths of the children.
        """
        fields = [
            {**{name: getattr(node, name) for name in _OWN_FIELDS}, "children": [child.path for child in node.children]}
            for node, _ in self._walk()
        ]
        return json.dumps(fields)

    def to_dot(self) -> str:
        """Return the tree in the language DOT of Graphviz: ``dot -Tsvg`` draws it."""
        lines = ["digraph actors {", "  node [shape=box];"]
        for node, _ in self._walk():
            lines.append(f"  {_quoted(node.path)} [label={_quoted(node._line())}];")  # noqa: SLF001  -- of this class
            lines += [f"  {_quoted(node.path)} -> {_quoted(child.path)};" for child in node.children]
        return "\n".join([*lines, "}", ""])

    def _walk(self) -> Iterator[tuple[TreeNode, int]]:
        """Yield this actor and all actors below it, each with its level: parents first, children in their order."""
        waiting = [(self, 0)]
        while waiting:  # a loop: a tree may be deeper than Python's stack
            node, level = waiting.pop()
            yield node, level
            waiting += [(child, level + 1) for child in reversed(node.children)]

    def _line(self) -> str:
        name = self.path if self.path == "/" else self.path.rsplit("/", 1)[1]
        restarts = f" restarts={self.restarts}" if self.restarts else ""
        depth = f" depth={self.depth}" if self.depth else ""
        return f"{name} {self.state}{restarts}{depth}"


_OWN_FIELDS = ("path", "strategy", "state", "restarts", "depth")


def _quoted(text: str) -> str:
    """Return a text as a quoted string of DOT."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@attrs.frozen
class TreeEntry:
    """One actor of the tree by itself, at one moment. :class:`TreeNode` has all actors below it, too."""

    path: str
    """Path of the actor in the tree; ``/`` is the system."""
    kind: str
    """``system``, ``supervisor`` (or a pool) or ``actor``."""
    strategy: str
    """Strategy by which the actor restarts its children; empty for an actor without children."""
    state: str
    """State of the actor, as in :class:`TreeNode`."""
    restarts: int
    """Number of the actor's restarts."""
    depth: int
    """Number of messages in the actor's mailbox."""
    children: int
    """Number of the actor's children. Ended children of which the spec is kept are included."""


class ActorTree(Runtime):
    """The tree of all actors of a system, with the methods that look at it. ``ActorSystem`` is its subclass."""

    path = "/"
    _root: Children
    nursery: trio.Nursery
    _going_down = False

    def find(self, path: str) -> ActorRef | None:
        """Return the handle of the living actor at ``path``, such as ``/sessions/alice``; None if there is none."""
        child, _ = self._at(path)
        return None if child is None or child.cell is None else child.cell.ref

    def tree(self) -> TreeNode:
        """Return the whole tree of actors as a value, which shows the present moment and does not change later.

        No other task runs meanwhile. With thousands of actors, use :meth:`entry` and :meth:`below` instead.
        """
        return tree_of(self.path, self._state, self._root)

    def entry(self, path: str = "/") -> TreeEntry | None:
        """Return the actor at ``path`` without the actors below it. Return None if there is no such actor."""
        child, children = self._at(path)
        if child is not None:
            return _tree_entry(f"/{path.strip('/')}", child)
        if children is None or children is not self._root:
            return None
        strategy, count = children.spec.strategy.value, len(children.entries())
        return TreeEntry(self.path, "system", strategy, self._state, 0, 0, count)

    def below(self, path: str = "/") -> Iterator[TreeEntry]:
        """Yield the children of the actor at ``path``, without the actors below them, in the order of their start.

        The children are those of the first step. Each entry shows the moment in which it is yielded: other tasks can
        run between two steps, and a child that has ended by then is shown as terminated. Yield nothing if there is no
        such actor.
        """
        _, children = self._at(path)
        for child in () if children is None else children.entries():
            yield _tree_entry(f"{path.rstrip('/')}/{child.spec.id}", child)

    def deadline_of(self, request: PendingAsk | None) -> float:
        """Return the time at which the caller of an ask gives up; see :attr:`Context.deadline`."""
        deadline, seen = math.inf, set[int]()
        while request is not None and id(request) not in seen:
            seen.add(id(request))
            task = request.task or request.caller
            if isinstance(request.end, Parts):
                deadline = min(deadline, request.end.deadline)
            elif task is not None:
                deadline = min(deadline, effective_deadline(task))
            request = None if task is None else self._ask_handled_in(task)
        return deadline

    def _ask_handled_in(self, task: trio.lowlevel.Task) -> PendingAsk | None:
        """Return the ask that an actor handles in ``task``, or in a task that ``task`` belongs to; None if none.

        The tasks of the nursery of an actor do not handle its messages. An actor's task is recognised as in
        :meth:`Waits.check_not_awaited`.
        """
        tasks = [task]
        while (nursery := tasks[-1].parent_nursery) is not None and nursery is not self.nursery:
            tasks.append(nursery.parent_task)
        children: Children | None = self._root if nursery is not None else None
        life = None
        for each in reversed(tasks):
            cell = None if children is None else children.find(each.name)
            if cell is None or cell.task is not each:
                if life is not None and each.parent_nursery is life.nursery:
                    return None
                break
            life, children = cell.life, children_of(cell)
        current = None if life is None else life.current
        return current if isinstance(current, PendingAsk) else None

    @property
    def _state(self) -> str:
        return "stopping" if self._going_down else "running"

    def _at(self, path: str) -> tuple[Child[Cell] | None, Children | None]:
        """Return the actor at ``path``, and its children. For ``/``, return None and the top-level actors."""
        check_kind("path", path, str, "a text")
        children: Children | None = self._root
        child: Child[Cell] | None = None
        for name in path.strip("/").split("/") if path.strip("/") else ():
            child = None if children is None else children.table.find(name)
            children = None if child is None or child.cell is None else children_of(child.cell)
        return child, children


def _tree_entry(path: str, child: Child[Cell]) -> TreeEntry:
    cell = child.cell
    children = None if cell is None else children_of(cell)
    return TreeEntry(
        path=path,
        kind="supervisor" if isinstance(child.spec.factory, GroupSpec) else "actor",
        strategy="" if children is None else children.spec.strategy.value,
        state=State.TERMINATED.value if cell is None else cell.state.value,
        restarts=0 if cell is None else cell.restarts,
        depth=0 if cell is None else cell.mailbox.statistics().depth,
        children=0 if children is None else len(children.entries()),
    )


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
