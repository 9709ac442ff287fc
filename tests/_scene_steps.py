"""What the actors of the scenarios do: they pass points at which a test may interfere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from _probes import Member


async def pass_points(member: Member) -> None:
    """Pass two points, each with a checkpoint."""
    for _ in range(2):
        member.world.on_point(f"work {member.name}")
        await trio.lowlevel.checkpoint()


async def start_slowly(member: Member) -> None:
    """Pass a point before and after a checkpoint, as ``started()`` of an actor."""
    member.world.on_point(f"started {member.name}")
    await trio.lowlevel.checkpoint()
    member.world.on_point(f"started {member.name}")
