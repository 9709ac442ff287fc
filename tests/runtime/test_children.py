"""What a supervisor decides about its children, as a table: every order of starts, ends, deletions and restarts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

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
from actors.runtime._child_table import Begin, Child, ChildTable, Exit, Halt, Phase, Wait

if TYPE_CHECKING:
    from collections.abc import Callable

CRASH = Exit(Failure(OSError("x")))
BODY = cast("Any", object())
"""What stands for a cell: nothing here looks into one."""


class Body:
    """A cell as messages show it."""

    state = "running"


def spec(name: str = "a", restart: Restart = Restart.PERMANENT, *, significant: bool = False) -> ChildSpec:
    return ChildSpec(name, cast("Any", object), restart, significant=significant)


def family(strategy: Strategy = Strategy.ONE_FOR_ONE, names: str = "", **options: Any) -> ChildTable:
    """A supervisor whose children are up."""
    children = ChildTable("/top", SupervisorSpec(strategy, **options), keeps=True)
    for name in names:
        up(children, children.add(spec(name)))
    return children


def up(children: ChildTable, child: Child) -> Child:
    child.cell = cast("Any", Body())
    children.begun(child)
    children.came_up(child)
    return child


def end(children: ChildTable, child: Child, *, stopped: bool = True, was_up: bool = True) -> bool:
    return children.ended(child, Shutdown(), was_up=was_up, stopped=stopped)


# Entries


def absent(_: ChildTable) -> None:
    """There is no entry."""


def claimed(children: ChildTable) -> None:
    children.add(spec())


def is_up(children: ChildTable) -> None:
    up(children, children.add(spec()))


def between(children: ChildTable) -> None:
    is_up(children)
    children.exited(children.entry("a"), CRASH, 0, 0)


def down(children: ChildTable) -> None:
    is_up(children)
    end(children, children.entry("a"))


CALLS: dict[str, Callable[[ChildTable], object]] = {
    "start_child": lambda children: children.add(spec()),
    "restart_child": lambda children: children.claim("a"),
    "delete_child": lambda children: children.forget("a"),
    "terminate_child": lambda children: children.dismiss("a"),
}
STATES = (absent, claimed, is_up, between, down)
REFUSED: dict[tuple[str, str], type[Exception]] = {
    ("absent", "restart_child"): ChildNotFound,
    ("absent", "delete_child"): ChildNotFound,
    ("absent", "terminate_child"): ChildNotFound,
    **{(state, "start_child"): NameTaken for state in ("claimed", "is_up", "between", "down")},
    **{(state, "restart_child"): ChildRunning for state in ("claimed", "is_up", "between")},
    **{(state, "delete_child"): ChildRunning for state in ("claimed", "is_up", "between")},
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("state", STATES)
def test_each_call_in_each_state(state: Callable[[ChildTable], None], call: str) -> None:
    """A call that is refused leaves the entry as it was."""
    children = family()
    state(children)
    before = children.entries()
    error = REFUSED.get((state.__name__, call))
    if error is None:
        CALLS[call](children)
    else:
        with pytest.raises(error):
            CALLS[call](children)
        assert children.entries() == before


def test_a_child_terminated_before_it_is_started_is_not_started() -> None:
    """The start raises; start_child leaves no entry, restart_child leaves it down."""
    children = family()
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


def test_a_first_start_that_ends_takes_its_entry_along() -> None:
    """At its end, not when its starter hears of it: who comes next finds nothing."""
    children = family()
    child = children.add(spec())
    child.cell = BODY
    children.begun(child)
    assert children.exited(child, Exit(Shutdown(), was_up=False, is_first=True), 0, 0).delay is None
    end(children, child, was_up=False)
    with pytest.raises(ChildNotFound):
        children.claim("a")


@pytest.mark.parametrize("restart", list(Restart))
@pytest.mark.parametrize("keeps", [True, False])
def test_whose_entry_stays(restart: Restart, *, keeps: bool) -> None:
    """That of a permanent or transient child of a supervisor that keeps specs."""
    children = ChildTable("/top", SupervisorSpec(), keeps=keeps)
    end(children, up(children, children.add(spec(restart=restart))))
    assert bool(children.entries()) == (keeps and restart is not Restart.TEMPORARY)


def test_children_that_are_being_started_count() -> None:
    """No more than max_children are started at once."""
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
def test_who_is_restarted(restart: Restart, reason: Any, *, again: bool) -> None:
    """As its restart type says."""
    children = family()
    child = up(children, children.add(spec(restart=restart)))
    assert (children.exited(child, Exit(reason), 0, 0).delay == 0) == again


def test_one_failure_too_many_ends_the_supervisor_once() -> None:
    """What fails after that is neither counted nor restarted."""
    children = family(names="ab", max_restarts=1)
    a, b = children.entries()
    assert children.exited(a, CRASH, 0, 0).delay == 0
    follow = children.exited(b, CRASH, 1, 0)
    assert (follow.delay, follow.gave_up) == (None, True)
    after = children.exited(a, CRASH, 1, 0)
    assert (after.delay, after.gave_up) == (None, False)


def test_a_failed_start_of_a_restart_counts() -> None:
    """An incarnation that did not come up is a failure like any other, unless it is the first."""
    children = family(names="a", max_restarts=1)
    (a,) = children.entries()
    assert children.exited(a, CRASH, 0, 0).delay == 0
    assert children.exited(a, Exit(CRASH.reason, was_up=False), 0, 0).gave_up


def play(children: ChildTable, now: float = 0, fails: str = "") -> list[str]:
    """Take the steps of a group restart; what they were. Starts of the children in ``fails`` fail."""
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
                    up(children, child)
            case Wait(until):
                seen.append(f"{until:g}")
                now = until
    return seen


@pytest.mark.parametrize(
    ("strategy", "steps"), [(Strategy.ONE_FOR_ALL, "-c -a +a +b +c"), (Strategy.REST_FOR_ONE, "-c +b +c")]
)
def test_a_group_is_halted_from_the_end_and_begun_from_the_start(strategy: Strategy, steps: str) -> None:
    """One for all takes all, rest for one the child and those after it."""
    children = family(strategy, "abc")
    assert children.exited(children.entry("b"), CRASH, 0, 0).delay == math.inf
    assert play(children) == steps.split()
    assert (children.phase, children.restarts) == (Phase.NONE, 1)


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
@pytest.mark.parametrize("order", ["abcde", "edcba", "cadbe"])
def test_children_that_fail_together_count_once(strategy: Strategy, order: str) -> None:
    """In one turn, in whatever order: one failure of the group."""
    children = family(strategy, "abcde", max_restarts=1)
    for name in order:
        assert not children.exited(children.entry(name), CRASH, 0, 0).gave_up
    assert play(children) == ["+a", "+b", "+c", "+d", "+e"]
    assert children.restarts == 1


def test_a_member_that_fails_while_its_group_is_halted_counts_no_more() -> None:
    """Its end was asked for anyway."""
    children = family(Strategy.ONE_FOR_ALL, "abc", max_restarts=1)
    children.exited(children.entry("b"), CRASH, 0, 0)
    assert children.next_step(0) == Halt(children.entry("c"))
    assert children.exited(children.entry("a"), CRASH, 0, 0).delay == math.inf
    assert children.restarts == 1


def test_a_start_that_fails_halts_what_was_begun() -> None:
    """Each failed start is a new failure, and the group begins again from there."""
    children = family(Strategy.ONE_FOR_ALL, "abc")
    children.exited(children.entry("a"), CRASH, 0, 0)
    assert play(children, fails="b") == ["-c", "-b", "+a", "+b", "-a", "+a", "+b", "+c"]
    assert children.restarts == 2


def test_a_backoff_is_waited_for_once_all_is_halted() -> None:
    """The messages of all members wait as long."""
    children = family(Strategy.ONE_FOR_ALL, "ab", backoff=Backoff(4, 8))
    children.exited(children.entry("a"), CRASH, 1, 0)
    assert play(children, now=1) == ["-b", "5", "+a", "+b"]


def test_what_is_stopped_for_good_meanwhile_stays_down() -> None:
    """Neither a stop nor terminate_child is undone by the restart of the group; the next restart takes it along."""
    children = family(Strategy.ONE_FOR_ALL, "abc")
    a, b, _ = children.entries()
    children.exited(a, CRASH, 0, 0)
    end(children, b)
    assert play(children) == ["-c", "+a", "+c"]
    children.exited(a, CRASH, 0, 0)
    assert play(children) == ["-c", "+a", "+b", "+c"]


def test_what_is_started_by_somebody_else_is_left_to_them() -> None:
    """A child that is being added is no member yet; one that is claimed is not begun twice."""
    children = family(Strategy.ONE_FOR_ALL, "ab")
    a, b = children.entries()
    end(children, b)
    assert children.claim("b") is b
    children.add(spec("c"))
    children.exited(a, CRASH, 0, 0)
    assert play(children) == ["+a"]


def test_a_member_that_is_deleted_is_not_begun() -> None:
    """Its entry is gone for good."""
    children = family(Strategy.ONE_FOR_ALL, "ab")
    a, b = children.entries()
    end(children, b)
    children.exited(a, CRASH, 0, 0)
    children.forget("b")
    assert play(children) == ["+a"]


def test_the_failure_of_an_earlier_member_cuts_a_start_short() -> None:
    """The start of a later one may wait for it; that of an earlier one does not wait for a later one."""
    children = family(Strategy.REST_FOR_ONE, "abc")
    a, b, c = children.entries()
    children.exited(b, CRASH, 0, 0)
    assert children.next_step(0) == Halt(c)
    children.exited(c, Exit(Shutdown(), is_halted=True), 0, 0)
    assert children.next_step(0) == Begin(b)
    assert children.interrupts(a)
    assert not children.interrupts(b)
    assert not children.interrupts(c)


def test_a_member_that_is_halted_before_it_has_begun_is_down() -> None:
    """There is no incarnation then whose end would tell."""
    children = family(Strategy.REST_FOR_ONE, "ab")
    a, b = children.entries()
    children.exited(b, CRASH, 0, 0)
    assert children.next_step(0) == Begin(b)
    children.begun(b)
    children.exited(a, CRASH, 0, 0)
    assert children.next_step(0) == Halt(b)
    children.halted(b)
    assert play(children) == ["+a", "+b"]


def test_nothing_is_begun_once_the_supervisor_ends() -> None:
    """Whatever is under way."""
    children = family(Strategy.ONE_FOR_ALL, "ab")
    children.exited(children.entry("a"), CRASH, 0, 0)
    children.close()
    assert children.next_step(0) is None
    assert children.exited(children.entry("b"), CRASH, 0, 0).delay is None


# Automatic shutdown


def significant(automatic: AutoShutdown, *names: str) -> ChildTable:
    children = ChildTable("/top", SupervisorSpec(auto_shutdown=automatic), keeps=True)
    for name in names:
        up(children, children.add(spec(name, Restart.TRANSIENT, significant=True)))
    return children


def test_any_ends_with_the_first_and_all_with_the_last() -> None:
    """Of the significant children that were up."""
    children = significant(AutoShutdown.ANY, "a", "b")
    assert end(children, children.entry("a"))
    children = significant(AutoShutdown.ALL, "a", "b")
    assert not end(children, children.entry("a"))
    assert end(children, children.entry("b"))


@pytest.mark.parametrize("automatic", [AutoShutdown.ANY, AutoShutdown.ALL])
def test_a_significant_child_that_never_came_up_ends_nothing(automatic: AutoShutdown) -> None:
    """The failure of its start is for who started it."""
    children = significant(automatic)
    child = children.add(spec("a", Restart.TEMPORARY, significant=True))
    child.cell = BODY
    assert not children.ended(child, Failure(OSError()), was_up=False, stopped=False)


def test_one_that_is_being_started_holds_the_supervisor_up() -> None:
    """If it comes up its own end decides, and if not the end before it."""
    for comes_up in (True, False):
        children = significant(AutoShutdown.ALL, "a")
        late = children.add(spec("late", Restart.TRANSIENT, significant=True))
        assert not end(children, children.entry("a"))
        late.cell = BODY
        if comes_up:
            up(children, late)
        assert end(children, late, was_up=comes_up)


def test_one_that_the_spec_has_yet_to_start_holds_the_supervisor_up() -> None:
    """While a supervisor starts its significant children one after the other."""
    children = significant(AutoShutdown.ALL, "a")
    children.planned = 1
    assert not end(children, children.entry("a"))


def test_a_child_that_was_terminated_is_no_sign() -> None:
    """Its end was the supervisor's own."""
    children = significant(AutoShutdown.ANY, "a")
    children.dismiss("a")
    assert not end(children, children.entry("a"))
