"""A tree may be deeper than Python's stack."""

from __future__ import annotations

import sys

from _probes import Member, World

from actors import Shutdown, open_system

DEPTH = 1_200
"""More actors, each below the one before, than the calls that Python's stack holds."""


async def test_a_tree_deeper_than_the_stack_is_seen_and_stopped() -> None:
    """The picture, its drawing, paths, finding and stopping take no stack for the depth."""
    assert sys.getrecursionlimit() < DEPTH

    async def nest(member: Member) -> object:
        return await member.context.spawn(Member, "a", World(), name="a")

    async with open_system() as system:
        ref = top = await system.spawn(Member, "a", World(), name="a")
        for _ in range(DEPTH - 1):
            await ref.ask(nest)
            found = system.find(f"{ref.path}/a")
            assert found is not None
            ref = found
        assert ref.path == "/a" * DEPTH
        lines = system.tree().lines()
        assert len(lines) == DEPTH + 1
        assert lines[-1] == "  " * DEPTH + "a running"
        assert await top.stop() == Shutdown()
        assert system.statistics().actors == 0
