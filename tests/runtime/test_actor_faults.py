"""An exception at any point of what an actor's author writes leaves nothing behind, and does not disappear."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _scenes import SCENARIOS, living, quiet, scene, stop_the_rest

from actors import ActorRestarted, ActorTerminated, Failure, Killed, Phase, open_system

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from _probes import World

    from actors import ActorSystem, DeadLetters


class InjectedError(Exception):
    """What was raised by this test; its text says where."""


class Fault:
    """Raises at the point of that number, once."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.error: InjectedError | None = None

    def __call__(self, where: str) -> None:
        self.left -= 1
        if self.left == 0:
            self.error = InjectedError(where)
            raise self.error


class Log(logging.Handler):
    """The exceptions that were logged."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.errors.append(record.exc_info[1])


def inside(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, what it is made of, what caused it."""
    if error is None:
        return
    yield error
    yield from inside(error.__cause__)
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from inside(part)
    if isinstance(error, ActorTerminated):
        yield from carried(error.reason)


def carried(reason: object) -> Iterator[BaseException]:
    """The exceptions in an exit reason."""
    if isinstance(reason, (Failure, Killed)):
        yield from inside(reason.exception)


async def told(world: World, letters: DeadLetters, raised: BaseException | None) -> set[BaseException]:
    """Everything that reached somebody: raised, as a reason, or as a dead letter's cause."""
    found = set(inside(raised))
    for reason in world.reasons:
        found |= set(carried(reason))
    for ref in world.refs:
        if not ref.alive:
            found |= set(carried(await ref.terminated()))
    while letters.statistics().depth:
        found |= set(inside((await anext(letters)).cause))
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_an_exception_at_any_point_leaves_nothing_and_is_not_lost(
    scenario: Callable[[ActorSystem, World], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    assert autojump_clock.autojump_threshold == 0
    log = Log()
    logger = logging.getLogger("actors")
    logger.addHandler(log)
    for number in range(1, 1000):
        world = scene()
        fault = world.on_point = Fault(number)
        raised: BaseException | None = None
        async with open_system([Phase("phase")]) as system:
            before = living()
            with system.dead_letters(1000) as letters:
                try:
                    with trio.fail_after(100):
                        await scenario(system, world)
                except* (InjectedError, ActorTerminated, ActorRestarted) as group:
                    raised = group
                await quiet()
                await stop_the_rest(system)
                await quiet()
                reached = await told(world, letters, raised)
            assert (system.statistics().actors, system.tree().children, living()) == (0, (), before)
        if fault.error is None:
            break
        if str(fault.error).startswith(("factory", "started", "stopping")):
            # Between two incarnations the reason is the supervisor's, which reports it with its place in the tree.
            reached |= {part for error in log.errors for part in inside(error)}
        assert fault.error in reached, str(fault.error)
    else:
        pytest.fail("the scenario never came to its end")
    logger.removeHandler(log)
    assert number > 3
