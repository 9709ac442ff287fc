"""A supervisor's table of children, tested without actors: restarts in every order, and the automatic shutdown."""

from __future__ import annotations

import math
from typing import Any

import pytest
from _runtime_children import (
    BODY,
    CRASH,
    ChildTable,
    bring_up,
    end_child,
    spec,
    table_with,
    take_steps,
)

from actors import (
    AutoShutdown,
    Backoff,
    Failure,
    Killed,
    Normal,
    Restart,
    Shutdown,
    Strategy,
    SupervisorSpec,
)
from actors.runtime._child import Exit
from actors.runtime._group_restart import Begin, Halt, Phase

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
