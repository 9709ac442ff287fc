"""Cancellation and kills at every step: no task, no entry, no waiting sender and no timer is left behind."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

import _scenes
import _scenes_of_messages
import _scenes_of_supervision
import pytest
import trio
import trio.testing
from _scenes import SCENARIOS, living_tasks, pointed_world, stop_all, wait_until_quiet

from actors import (
    ActorError,
    ActorRef,
    ActorSystem,
    Context,
    EventBus,
    OnDemandRef,
    Phase,
    PoolRef,
    Reply,
    ReplyParts,
    ReplyStream,
    RouterRef,
    SupervisorRef,
    open_system,
)
from actors.runtime._presence import Presence
from actors.runtime._spawning import Spawner
from actors.runtime.pools._members import MembersRef

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from _probes import World


class Cut(trio.abc.Instrument):
    """A trio instrument that calls ``act`` once, after a number of task steps."""

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
        """Whether ``act`` was called."""
        return self.left <= 0


@contextlib.contextmanager
def cut_after(steps: int, act: Callable[[], None]) -> Generator[Cut]:
    """Call ``act`` when the tasks inside the block have run ``steps`` steps."""
    cut = Cut(steps, act)
    trio.lowlevel.add_instrument(cut)
    try:
        yield cut
    finally:
        trio.lowlevel.remove_instrument(cut)


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_caller_cancelled_at_any_step(
    scenario: Callable[[ActorSystem, World], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    """If the task that runs a scenario (a list of calls) is cancelled after any step, no actor and no task is left."""
    assert autojump_clock.autojump_threshold == 0
    for steps in range(1, 1000):
        async with open_system([Phase("phase")]) as system:
            before = living_tasks()
            with trio.CancelScope() as scope, cut_after(steps, scope.cancel) as cut:
                await scenario(system, pointed_world())
            await wait_until_quiet()
            await stop_all(system)
            await wait_until_quiet()
            assert (system.statistics().actors, system.tree().children, living_tasks()) == (0, (), before)
        if not cut.done:
            break
    else:
        pytest.fail("the scenario never came to its end")


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_actors_killed_at_any_step(
    scenario: Callable[[ActorSystem, World], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    """If all actors are killed after any step of a scenario, no actor and no task is left."""
    assert autojump_clock.autojump_threshold == 0

    for steps in range(1, 1000):
        async with open_system([Phase("phase")]) as system:
            before = living_tasks()
            kill = functools.partial(kill_all, system)
            with contextlib.suppress(ActorError, ExceptionGroup), trio.fail_after(100), cut_after(steps, kill) as cut:
                await scenario(system, pointed_world())
            await wait_until_quiet()
            await stop_all(system)
            await wait_until_quiet()
            assert (system.statistics().actors, system.tree().children, living_tasks()) == (0, (), before)
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
async def test_system_cancelled_at_any_step(
    scenario: Callable[[ActorSystem, World], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    """If the ``open_system`` block is cancelled after any step of a scenario, no actor and no task is left."""
    assert autojump_clock.autojump_threshold == 0
    for steps in range(1, 1000):
        before = living_tasks()
        # A scenario in the middle of a call gets ActorTerminated if the target ends before the scenario.
        with contextlib.suppress(ActorError, ExceptionGroup), trio.CancelScope() as scope:
            async with open_system([Phase("phase")]) as system:
                with cut_after(steps, scope.cancel) as cut:
                    await scenario(system, pointed_world())
        assert (system.statistics().actors, living_tasks()) == (0, before)
        if not cut.done:
            break
    else:
        pytest.fail("the scenario never came to its end")


RUNTIME_ITSELF = {
    "on_child_ended",
    "crash",
    "end_by_force",
    "leave",
    "open_child_nursery",
    "stop_actors",
    # Of the bus
    "add",
    "close",
    "deliver",
    "demand",
    "remove",
}


@pytest.mark.parametrize(
    "cls",
    [
        ActorSystem,
        Spawner,
        ActorRef,
        SupervisorRef,
        PoolRef,
        OnDemandRef,
        MembersRef,
        RouterRef,
        EventBus,
        Context,
        Presence,
        Reply,
        ReplyStream,
        ReplyParts,
    ],
)
def test_scenarios_call_every_public_operation(cls: type) -> None:
    """The scenarios call every public method of the runtime's classes."""
    text = "".join(
        Path(str(each.__file__)).read_text() for each in (_scenes, _scenes_of_messages, _scenes_of_supervision)
    )
    operations = {name for name in vars(cls) if not name.startswith("_")} - RUNTIME_ITSELF
    plain = {name for name in operations if not inspect.isfunction(inspect.getattr_static(cls, name))}
    called = set(re.findall(r"\.(\w+)\(", text))
    assert operations - plain - called == set()
