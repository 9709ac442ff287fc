"""A supervisor's table of children, tested without actors: starts, ends, deletions and restarts in every order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pytest

from actors import (
    ActorTerminated,
    AutoShutdown,
    Backoff,
    ChildNotFound,
    ChildRunning,
    ChildSpec,
    Failure,
    Killed,
    MaxChildren,
    NameTaken,
    Normal,
    Restart,
    Shutdown,
    Strategy,
    SupervisorSpec,
)
from actors.runtime import _child, _child_table
from actors.runtime._child import Exit
from actors.runtime._group_restart import Begin, Halt, Phase, Wait

if TYPE_CHECKING:
    from collections.abc import Callable

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


# Restarts


@pytest.mark.parametrize(
    ("restart", "reason", "again"),
    [
        (Restart.PERMANENT, Normal(), True),
        (Restart.PERMANENT, Failure(OSError()), True),
        (Restart.TRANSIENT, Shutdown(), False),
        (Restart.TRANSIENT, Killed(), True),
        (Restart.TEMPORARY, Killed(), False),
    ],
)
def test_which_children_are_restarted(restart: Restart, reason: Any, *, again: bool) -> None:
    """The restart type and the exit reason decide whether a child is restarted."""
    children = table_with()
    child = bring_up(children, children.add(spec(restart=restart)))
    assert (children.exited(child, Exit(reason), 0, 0).delay == 0) == again


def test_supervisor_gives_up_once() -> None:
    """The supervisor gives up at the first failure that exceeds its restart limit. After that it restarts no child."""
    children = table_with(names="ab", max_restarts=1)
    a, b = children.entries()
    assert children.exited(a, CRASH, 0, 0).delay == 0
    follow = children.exited(b, CRASH, 1, 0)
    assert (follow.delay, follow.gave_up) == (None, True)
    after = children.exited(a, CRASH, 1, 0)
    assert (after.delay, after.gave_up) == (None, False)


def test_failed_restart_counts() -> None:
    """If a child fails during its restart, this counts as another failure for the restart limit."""
    children = table_with(names="a", max_restarts=1)
    (a,) = children.entries()
    assert children.exited(a, CRASH, 0, 0).delay == 0
    assert children.exited(a, Exit(CRASH.reason, was_up=False), 0, 0).gave_up


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


@pytest.mark.parametrize(
    ("strategy", "steps"), [(Strategy.ONE_FOR_ALL, "-c -a +a +b +c"), (Strategy.REST_FOR_ONE, "-c +b +c")]
)
def test_order_of_a_group_restart(strategy: Strategy, steps: str) -> None:
    """In a group restart the members stop from last to first, and then start from first to last."""
    children = table_with(strategy, "abc")
    assert children.exited(children.entry("b"), CRASH, 0, 0).delay == math.inf
    assert take_steps(children) == steps.split()
    assert (children.phase, children.restarts) == (Phase.NONE, 1)


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
@pytest.mark.parametrize("order", ["abcde", "edcba", "cadbe"])
def test_children_that_fail_together_count_once(strategy: Strategy, order: str) -> None:
    """If members of a group fail in the same turn of the scheduler, in any order, this counts as one failure."""
    children = table_with(strategy, "abcde", max_restarts=1)
    for name in order:
        assert not children.exited(children.entry(name), CRASH, 0, 0).gave_up
    assert take_steps(children) == ["+a", "+b", "+c", "+d", "+e"]
    assert children.restarts == 1


def test_failure_during_halt_does_not_count() -> None:
    """If a member fails while its group is being stopped for a restart, this does not count as another failure."""
    children = table_with(Strategy.ONE_FOR_ALL, "abc", max_restarts=1)
    children.exited(children.entry("b"), CRASH, 0, 0)
    assert children.next_step(0) == Halt(children.entry("c"))
    assert children.exited(children.entry("a"), CRASH, 0, 0).delay == math.inf
    assert children.restarts == 1


def test_failed_start_restarts_the_group() -> None:
    """If a member cannot start in a group restart, this is a new failure: the members started so far stop again."""
    children = table_with(Strategy.ONE_FOR_ALL, "abc")
    children.exited(children.entry("a"), CRASH, 0, 0)
    assert take_steps(children, fails="b") == ["-c", "-b", "+a", "+b", "-a", "+a", "+b", "+c"]
    assert children.restarts == 2


def test_backoff_follows_the_halt() -> None:
    """A group waits for its backoff (the delay of its restart) only after all its members have stopped."""
    children = table_with(Strategy.ONE_FOR_ALL, "ab", backoff=Backoff(4, 8))
    children.exited(children.entry("a"), CRASH, 1, 0)
    assert take_steps(children, now=1) == ["-b", "5", "+a", "+b"]


def test_stopped_member_stays_down() -> None:
    """If a call terminates a member during a group restart, this restart does not start the member.

    The next restart of the group starts it again.
    """
    children = table_with(Strategy.ONE_FOR_ALL, "abc")
    a, b, _ = children.entries()
    children.exited(a, CRASH, 0, 0)
    end_child(children, b)
    assert take_steps(children) == ["-c", "+a", "+c"]
    children.exited(a, CRASH, 0, 0)
    assert take_steps(children) == ["-c", "+a", "+b", "+c"]


def test_claimed_children_are_not_begun() -> None:
    """A group restart does not start a child that another call is starting at that moment."""
    children = table_with(Strategy.ONE_FOR_ALL, "ab")
    a, b = children.entries()
    end_child(children, b)
    assert children.claim("b") is b
    children.add(spec("c"))
    children.exited(a, CRASH, 0, 0)
    assert take_steps(children) == ["+a"]


def test_deleted_member_is_not_begun() -> None:
    """If a member is deleted during a group restart, the restart does not start this member."""
    children = table_with(Strategy.ONE_FOR_ALL, "ab")
    a, b = children.entries()
    end_child(children, b)
    children.exited(a, CRASH, 0, 0)
    children.forget("b")
    assert take_steps(children) == ["+a"]


def test_failure_of_an_earlier_member_interrupts_a_start() -> None:
    """In a group restart, the start of a member is interrupted only if an earlier member fails."""
    children = table_with(Strategy.REST_FOR_ONE, "abc")
    a, b, c = children.entries()
    children.exited(b, CRASH, 0, 0)
    assert children.next_step(0) == Halt(c)
    children.exited(c, Exit(Shutdown(), is_halted=True), 0, 0)
    assert children.next_step(0) == Begin(b)
    assert children.interrupts(a)
    assert not children.interrupts(b)
    assert not children.interrupts(c)


def test_member_halted_before_it_begins_is_down() -> None:
    """If an earlier member fails while a later member starts, the later member is stopped again.

    The group restart then starts both, first the earlier and then the later one.
    """
    children = table_with(Strategy.REST_FOR_ONE, "ab")
    a, b = children.entries()
    children.exited(b, CRASH, 0, 0)
    assert children.next_step(0) == Begin(b)
    children.begun(b)
    children.exited(a, CRASH, 0, 0)
    assert children.next_step(0) == Halt(b)
    children.halted(b)
    assert take_steps(children) == ["+a", "+b"]


def test_closed_table_begins_nothing() -> None:
    """When a supervisor begins to end, a group restart stops at once, and no child is restarted."""
    children = table_with(Strategy.ONE_FOR_ALL, "ab")
    children.exited(children.entry("a"), CRASH, 0, 0)
    children.close()
    assert children.next_step(0) is None
    assert children.exited(children.entry("b"), CRASH, 0, 0).delay is None


# Automatic shutdown


def table_with_significant(automatic: AutoShutdown, *names: str) -> ChildTable:
    """Return a table with these children, all of them significant and running."""
    children = ChildTable("/top", SupervisorSpec(auto_shutdown=automatic), keeps=True)
    for name in names:
        bring_up(children, children.add(spec(name, Restart.TRANSIENT, significant=True)))
    return children


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
def test_start_under_way_is_not_halted(strategy: Strategy) -> None:
    """A child that is still starting for the first time is not part of its group: a group restart does not stop it."""
    children = table_with(strategy, "a")
    children.begun(children.add(spec("b")))
    children.exited(children.entry("a"), CRASH, 0, 0)
    assert take_steps(children) == ["+a"]


def test_auto_shutdown_any_and_all() -> None:
    """With ANY, the supervisor ends when its first significant child ends. With ALL, it ends when the last one ends."""
    children = table_with_significant(AutoShutdown.ANY, "a", "b")
    assert end_child(children, children.entry("a"))
    children = table_with_significant(AutoShutdown.ALL, "a", "b")
    assert not end_child(children, children.entry("a"))
    assert end_child(children, children.entry("b"))


@pytest.mark.parametrize("automatic", [AutoShutdown.ANY, AutoShutdown.ALL])
def test_significant_child_that_did_not_start(automatic: AutoShutdown) -> None:
    """If a significant child ends without having started successfully, its supervisor does not shut down."""
    children = table_with_significant(automatic)
    child = children.add(spec("a", Restart.TEMPORARY, significant=True))
    child.cell = BODY
    assert not children.ended(child, Failure(OSError()), was_up=False, stopped=False)


def test_starting_significant_child_delays_shutdown() -> None:
    """If one significant child is still starting, the supervisor does not end yet.

    This holds even if all other significant children have ended.
    """
    for comes_up in (True, False):
        children = table_with_significant(AutoShutdown.ALL, "a")
        late = children.add(spec("late", Restart.TRANSIENT, significant=True))
        assert not end_child(children, children.entry("a"))
        late.cell = BODY
        if comes_up:
            bring_up(children, late)
        assert end_child(children, late, was_up=comes_up)


def test_planned_significant_child_delays_shutdown() -> None:
    """If a significant child of the spec is not started yet, the supervisor does not end.

    This holds even if all other significant children have ended.
    """
    children = table_with_significant(AutoShutdown.ALL, "a")
    children.planned = 1
    assert not end_child(children, children.entry("a"))


def test_terminated_significant_child_is_ignored() -> None:
    """If a call terminates a significant child, its supervisor does not shut down."""
    children = table_with_significant(AutoShutdown.ANY, "a")
    children.dismiss("a")
    assert not end_child(children, children.entry("a"))
