"""The entries of a supervisor's table of children: which calls each state allows, and which entries stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _runtime_children import (
    BODY,
    CRASH,
    ChildTable,
    bring_up,
    end_child,
    spec,
    table_with,
)

from actors import (
    ActorTerminated,
    ChildNotFound,
    ChildRunning,
    MaxChildren,
    NameTaken,
    Restart,
    Shutdown,
    Strategy,
    SupervisorSpec,
)
from actors.runtime._child import Exit

if TYPE_CHECKING:
    from collections.abc import Callable

# Entries


def absent(_: ChildTable) -> None:
    """State of the table: it has no entry."""


def claimed(children: ChildTable) -> None:
    """State of the table: the child is being started."""
    children.add(spec())


def is_up(children: ChildTable) -> None:
    """State of the table: the child is running."""
    bring_up(children, children.add(spec()))


def restarting(children: ChildTable) -> None:
    """State of the table: the child has failed and waits for its restart."""
    is_up(children)
    children.exited(children.entry("a"), CRASH, 0, 0)


def down(children: ChildTable) -> None:
    """State of the table: the child has ended and its entry is kept."""
    is_up(children)
    end_child(children, children.entry("a"))


CALLS: dict[str, Callable[[ChildTable], object]] = {
    "start_child": lambda children: children.add(spec()),
    "restart_child": lambda children: children.claim("a"),
    "delete_child": lambda children: children.forget("a"),
    "terminate_child": lambda children: children.dismiss("a"),
}
STATES = (absent, claimed, is_up, restarting, down)
REFUSED: dict[tuple[str, str], type[Exception]] = {
    ("absent", "restart_child"): ChildNotFound,
    ("absent", "delete_child"): ChildNotFound,
    ("absent", "terminate_child"): ChildNotFound,
    **{(state, "start_child"): NameTaken for state in ("claimed", "is_up", "restarting", "down")},
    **{(state, "restart_child"): ChildRunning for state in ("claimed", "is_up", "restarting")},
    **{(state, "delete_child"): ChildRunning for state in ("claimed", "is_up", "restarting")},
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("state", STATES)
def test_each_call_in_each_state(state: Callable[[ChildTable], None], call: str) -> None:
    """The state of a child decides whether the supervisor accepts a call on it. A refused call changes nothing."""
    children = table_with()
    state(children)
    before = children.entries()
    error = REFUSED.get((state.__name__, call))
    if error is None:
        CALLS[call](children)
    else:
        with pytest.raises(error):
            CALLS[call](children)
        assert children.entries() == before


def test_child_terminated_before_its_start() -> None:
    """If a child is terminated after a call asked for its start, but before it starts, it is not started.

    Its entry is removed, unless the start is a ``restart_child``.
    """
    children = table_with()
    child = children.add(spec())
    children.dismiss("a")
    with pytest.raises(ActorTerminated):
        children.check_claim(child)
    assert children.entries() == ()
    down(children)
    again = children.claim("a")
    children.dismiss("a")
    with pytest.raises(ActorTerminated):
        children.check_claim(again)
    assert children.claim("a") is again


def test_failed_first_start_removes_the_entry() -> None:
    """If a child ends during its first start, the supervisor drops its entry as soon as the child has ended."""
    children = table_with()
    child = children.add(spec())
    child.cell = BODY
    children.begun(child)
    assert children.exited(child, Exit(Shutdown(), was_up=False, is_first=True), 0, 0).delay is None
    end_child(children, child, was_up=False)
    with pytest.raises(ChildNotFound):
        children.claim("a")


@pytest.mark.parametrize("restart", list(Restart))
@pytest.mark.parametrize("keeps", [True, False])
def test_which_entries_stay(restart: Restart, *, keeps: bool) -> None:
    """If a supervisor keeps the specs of ended children (``keeps``), the entry of an ended child stays.

    The entry of a temporary child is removed even then. Without ``keeps``, every entry is removed.
    """
    children = ChildTable("/top", SupervisorSpec(), keeps=keeps)
    end_child(children, bring_up(children, children.add(spec(restart=restart))))
    assert bool(children.entries()) == (keeps and restart is not Restart.TEMPORARY)


def test_starting_children_count_for_max_children() -> None:
    """Children that are being started count towards ``max_children``."""
    children = ChildTable("/top", SupervisorSpec(Strategy.DYNAMIC, max_children=1), keeps=True)
    children.add(spec())
    with pytest.raises(MaxChildren):
        children.add(spec("b"))
