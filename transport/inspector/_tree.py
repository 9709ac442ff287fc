"""The supervision tree, one level at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transport.inspector._answers import Refused
from transport.inspector._paging import page_of, steps

if TYPE_CHECKING:
    from actors import ActorSystem, TreeEntry
    from transport.inspector._paging import Place
    from transport.inspector._query import Query


async def tree(system: ActorSystem, query: Query) -> dict[str, object]:
    """Return an actor and a page of its children.

    The children are in the order of their start if they fit into one page, and else sorted by name.
    """
    path, limit, after = query.text("path", "/") or "/", query.limit(), query.cursor()
    node = system.entry(path)
    if node is None:
        raise Refused(404, "not_found", "there is no actor at this path")
    if node.children <= limit and not after:
        rows = list(map(_row, system.below(path)))
        return {"path": path, "node": _row(node), "children": rows, "next": None, "total": len(rows)}
    page = await page_of(steps(system.below(path)), _place, (str,), after, limit)
    rows = list(map(_row, page.entries))
    return {"path": path, "node": _row(node), "children": rows, "next": page.next, "total": page.total}


def _place(entry: TreeEntry) -> Place:
    return (entry.path,)


def _row(entry: TreeEntry) -> dict[str, object]:
    return {
        "path": entry.path,
        "name": entry.path.rsplit("/", 1)[1] or "/",
        "kind": entry.kind,
        "strategy": entry.strategy,
        "state": entry.state,
        "restarts": entry.restarts,
        "mailbox": entry.depth,
        "children": entry.children,
    }
