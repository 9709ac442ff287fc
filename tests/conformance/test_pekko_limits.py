"""Limits of single actors after Pekko's ``SupervisorStrategy.restart.withLimit`` and OTP's supervisors of one child."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from _probes import Member, World, child, crash, supervise_below_another

from actors import Backoff, ChildSpec, Failure, Restart, RestartLimit, SupervisorSpec, open_system

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_limit_is_of_one_actor() -> None:
    """Pekko: "restart maximum number of times": each supervised actor counts its own restarts."""
    async with open_system() as system:
        world = World()
        spec = SupervisorSpec("one_for_one", [world.member(name, max_restarts=2) for name in "abc"], max_restarts=0)
        supervisor = await supervise_below_another(system, spec)
        for _ in range(2):
            for name in "abc":
                await crash(child(supervisor, name))
        assert supervisor.alive
        assert world.starts == {"a": 3, "b": 3, "c": 3}


async def test_limit_is_forgotten_after_its_time(autojump_clock: MockClock) -> None:
    """Pekko: "reset count after time range": restarts older than ``max_seconds`` do not count."""
    assert autojump_clock.autojump_threshold == 0
    async with open_system() as system:
        world = World()
        options: Any = {"max_restarts": 1, "max_seconds": 2.0, "restart": Restart.PERMANENT}
        ref = await system.spawn(Member, "a", world, **options)
        for _ in range(4):
            await crash(ref)
            await trio.sleep(2)
        assert world.starts == {"a": 5}


async def test_exceeded_limit_is_decided_above() -> None:
    """OTP: a supervisor whose child exceeds the limit ends with all children, and the supervisor above decides.

    In Pekko, the child alone is stopped. Here the rule for all limits is that of OTP.
    """
    async with open_system() as system:
        world = World()
        children = [world.member("a", max_restarts=0), world.member("b")]
        above = await system.supervise(SupervisorSpec("one_for_one", [], max_restarts=1), "above")
        middle = await above.start_child(ChildSpec("middle", SupervisorSpec("one_for_one", children)))
        ref = system.find("/above/middle/a")
        assert ref is not None
        await crash(ref)
        assert middle.alive
        assert middle.statistics().restarts == 1
        assert world.starts == {"a": 2, "b": 2}
        assert isinstance(await ref.terminated(), Failure)


async def test_failed_restarts_count_against_the_own_limit(autojump_clock: MockClock) -> None:
    """OTP: a restart that fails counts as one. With a backoff the actor does not fail all at once."""
    assert autojump_clock.autojump_threshold == 0
    world = World()
    begin = trio.current_time()
    with pytest.raises(RestartLimit, match="after 3 restarts within 60 s"):  # noqa: PT012  -- the end of the block raises
        async with open_system() as system:
            options: Any = {
                "max_restarts": 3,
                "max_seconds": 60,
                "backoff": Backoff(1, 8),
                "restart": Restart.PERMANENT,
            }
            ref = await system.spawn(Member, "a", world, **options)
            world.fail_start("a", 9)
            await ref.tell(ValueError("x"))
            await trio.sleep_forever()
    assert world.starts == {"a": 4}
    assert trio.current_time() - begin == 1 + 2 + 4
