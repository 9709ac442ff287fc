"""Tables of children without actors, for tests."""

from __future__ import annotations

import math
from typing import Any, TypeAlias, cast

from actors import (
    ChildSpec,
    Failure,
    Restart,
    Shutdown,
    Strategy,
    SupervisorSpec,
)
from actors.runtime import _child, _child_table
from actors.runtime._child import Exit
from actors.runtime._group_restart import Begin, Halt, Wait

Child: TypeAlias = _child.Child[Any]
ChildTable: TypeAlias = _child_table.ChildTable[Any]
CRASH = Exit(Failure(OSError("x")))
BODY = cast("Any", object())
"""A placeholder for a cell, which these tests do not read."""


class FakeCell:
    """A replacement for a cell, with the one attribute that error messages show."""

    state = "running"


def spec(name: str = "a", restart: Restart = Restart.PERMANENT, *, significant: bool = False) -> ChildSpec:
    """Return the spec of a child, with a factory that is never called."""
    return ChildSpec(name, cast("Any", object), restart, significant=significant)


def table_with(strategy: Strategy = Strategy.ONE_FOR_ONE, names: str = "", **options: Any) -> ChildTable:
    """Return the table of a supervisor that has these children, all of them running."""
    children = ChildTable("/top", SupervisorSpec(strategy, **options), keeps=True)
    for name in names:
        bring_up(children, children.add(spec(name)))
    return children


def bring_up(children: ChildTable, child: Child) -> Child:
    """Give the child a cell and record that it started."""
    child.cell = cast("Any", FakeCell())
    children.begun(child)
    children.came_up(child)
    return child


def end_child(children: ChildTable, child: Child, *, stopped: bool = True, was_up: bool = True) -> bool:
    """Record the permanent end of the child, and return whether the supervisor shuts down."""
    return children.ended(child, Shutdown(), was_up=was_up, stopped=stopped)


def take_steps(children: ChildTable, now: float = 0, fails: str = "") -> list[str]:
    """Take the steps of a group restart, and return them as texts. The starts of the children in ``fails`` fail."""
    seen: list[str] = []
    while (step := children.next_step(now)) is not None:
        match step:
            case Halt(child):
                seen.append(f"-{child.spec.id}")
                assert children.exited(child, Exit(Shutdown(), is_halted=True), now, 0).delay == math.inf
            case Begin(child):
                seen.append(f"+{child.spec.id}")
                if child.spec.id in fails:
                    fails = fails.replace(child.spec.id, "", 1)
                    children.begun(child)
                    children.exited(child, Exit(CRASH.reason, was_up=False), now, 0)
                    children.start_failed(child, now, 0, stopped=False)
                else:
                    bring_up(children, child)
            case Wait(until):
                seen.append(f"{until:g}")
                now = until
    return seen
