"""Exceptions at every point of user code: they leave no actor or task behind, and none of them is lost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _scenes import SCENARIOS, living_tasks, pointed_world, stop_all, wait_until_quiet

from actors import ActorRestarted, ActorTerminated, Failure, Killed, Phase, open_system

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from _probes import World

    from actors import ActorSystem, DeadLetters


class InjectedError(Exception):
    """The exception that a Fault raises. Its text names the point at which it was raised."""


class Fault:
    """A callback that raises an InjectedError when it is called for the time number ``at``."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.error: InjectedError | None = None

    def __call__(self, where: str) -> None:
        self.left -= 1
        if self.left == 0:
            self.error = InjectedError(where)
            raise self.error


class ErrorLog(logging.Handler):
    """A log handler that keeps the exceptions of its records."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.errors.append(record.exc_info[1])


def parts(error: BaseException | None) -> Iterator[BaseException]:
    """Return an exception with its causes, its group members and the exceptions in its exit reason."""
    if error is None:
        return
    yield error
    yield from parts(error.__cause__)
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from parts(part)
    if isinstance(error, ActorTerminated):
        yield from in_reason(error.reason)


def in_reason(reason: object) -> Iterator[BaseException]:
    """Return the exceptions that an exit reason contains."""
    if isinstance(reason, (Failure, Killed)):
        yield from parts(reason.exception)


async def reported(world: World, letters: DeadLetters, raised: BaseException | None) -> set[BaseException]:
    """Return all exceptions that were raised, or are in an exit reason or in a dead letter."""
    found = set(parts(raised))
    for reason in world.reasons:
        found |= set(in_reason(reason))
    for ref in world.refs:
        if not ref.alive:
            found |= set(in_reason(await ref.terminated()))
    while letters.statistics().depth:
        found |= set(parts((await anext(letters)).cause))
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_exception_at_any_point(
    scenario: Callable[[ActorSystem, World], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    """Wherever user code raises an exception, no actor and no task is left, and the exception is raised or reported."""
    assert autojump_clock.autojump_threshold == 0
    log = ErrorLog()
    logger = logging.getLogger("actors")
    logger.addHandler(log)
    for number in range(1, 1000):
        world = pointed_world()
        fault = world.on_point = Fault(number)
        raised: BaseException | None = None
        async with open_system([Phase("phase")]) as system:
            before = living_tasks()
            with system.dead_letters(1000) as letters:
                try:
                    with trio.fail_after(100):
                        await scenario(system, world)
                except* (InjectedError, ActorTerminated, ActorRestarted) as group:
                    raised = group
                await wait_until_quiet()
                await stop_all(system)
                await wait_until_quiet()
                reached = await reported(world, letters, raised)
            assert (system.statistics().actors, system.tree().children, living_tasks()) == (0, (), before)
        if fault.error is None:
            break
        if str(fault.error).startswith(("factory", "started", "stopping", "before_restart", "after_restart")):
            # Between two incarnations the supervisor has the error: it logs it with the path of the actor.
            reached |= {part for error in log.errors for part in parts(error)}
        assert fault.error in reached, str(fault.error)
    else:
        pytest.fail("the scenario never came to its end")
    logger.removeHandler(log)
    assert number > 3
