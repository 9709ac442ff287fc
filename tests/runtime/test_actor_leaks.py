"""Whatever is cut off, and at whatever step: no task, no entry, no sender, no timer is left behind."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

import _scenes
import pytest
import trio
import trio.testing
from _scenes import SCENARIOS, living, quiet, scene, stop_the_rest

from actors import ActorError, ActorRef, ActorSystem, Context, Phase, Reply, SupervisorRef, open_system

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from _probes import World


class Cut(trio.abc.Instrument):
    """Does something after so many steps of whatever task."""

    def __init__(self, after: int, act: Callable[[], None]) -> None:
        self.left = after
        self.act = act

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self.left -= 1
        if self.left == 0:
            self.act()

    @property
    def done(self) -> bool:
        """Whether it came to that."""
        return self.left <= 0


@contextlib.contextmanager
def cut_after(steps: int, act: Callable[[], None]) -> Generator[Cut]:
    """Watch the steps of the block."""
    cut = Cut(steps, act)
    trio.lowlevel.add_instrument(cut)
    try:
        yield cut
    finally:
        trio.lowlevel.remove_instrument(cut)


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_caller_cancelled_at_any_step_leaves_nothing(
    scenario: Callable[[ActorSystem, World], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    assert autojump_clock.autojump_threshold == 0
    for steps in range(1, 1000):
        async with open_system([Phase("phase")]) as system:
            before = living()
            with trio.CancelScope() as scope, cut_after(steps, scope.cancel) as cut:
                await scenario(system, scene())
            await quiet()
            await stop_the_rest(system)
            await quiet()
            assert (system.statistics().actors, system.tree().children, living()) == (0, (), before)
        if not cut.done:
            break
    else:
        pytest.fail("the scenario never came to its end")


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_actors_killed_at_any_step_leave_nothing(
    scenario: Callable[[ActorSystem, World], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    assert autojump_clock.autojump_threshold == 0

    for steps in range(1, 1000):
        async with open_system([Phase("phase")]) as system:
            before = living()
            kill = functools.partial(kill_all, system)
            with contextlib.suppress(ActorError, ExceptionGroup), trio.fail_after(100), cut_after(steps, kill) as cut:
                await scenario(system, scene())
            await quiet()
            await stop_the_rest(system)
            await quiet()
            assert (system.statistics().actors, system.tree().children, living()) == (0, (), before)
        if not cut.done:
            break
    else:
        pytest.fail("the scenario never came to its end")


def kill_all(system: ActorSystem) -> None:
    for node in system.tree().children:
        for path in (node.path, *(below.path for below in node.children)):
            ref = system.find(path)
            if ref is not None:
                ref.kill()


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_system_cancelled_at_any_step_leaves_nothing(
    scenario: Callable[[ActorSystem, World], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    assert autojump_clock.autojump_threshold == 0
    for steps in range(1, 1000):
        before = living()
        # An actor that ended first is news to a scenario that is in the middle of a call.
        with contextlib.suppress(ActorError, ExceptionGroup), trio.CancelScope() as scope:
            async with open_system([Phase("phase")]) as system:
                with cut_after(steps, scope.cancel) as cut:
                    await scenario(system, scene())
        assert (system.statistics().actors, living()) == (0, before)
        if not cut.done:
            break
    else:
        pytest.fail("the scenario never came to its end")


RUNTIME_ITSELF = {
    "child_ended",
    "child_spec",
    "crash",
    "end_by_force",
    "leave",
    "has_had_its_turn",
    "room_for_children",
    "start_below",
    "stop_actors",
    "supervise_below",
}


@pytest.mark.parametrize("cls", [ActorSystem, ActorRef, SupervisorRef, Context, Reply])
def test_the_scenes_play_every_public_operation(cls: type) -> None:
    text = Path(_scenes.__file__).read_text()
    operations = {name for name in vars(cls) if not name.startswith("_")} - RUNTIME_ITSELF
    plain = {name for name in operations if not inspect.isfunction(inspect.getattr_static(cls, name))}
    called = set(re.findall(r"\.(\w+)\(", text))
    assert operations - plain - called == set()
