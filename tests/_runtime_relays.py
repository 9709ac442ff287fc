"""Actors that forward their messages to another actor, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from _probes import Member, World

from actors import (
    Restart,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors import ActorRef, ActorSystem

    Work = Callable[[Member], Awaitable[object]]


def forward(ref: ActorRef, *message: object, then: Work | None = None) -> Work:
    """Return a message on which a Member forwards this message (or another one), and perhaps does something else."""

    async def work(member: Member) -> object:
        await member.context.forward(ref, *message)
        return "ignored" if then is None else await then(member)

    return work


class Relay(Member):
    """A Member that forwards the text messages to another actor."""

    def __init__(self, name: str, world: World, target: ActorRef) -> None:
        super().__init__(name, world)
        self.target = target

    async def receive(self, message: object) -> object:
        if isinstance(message, str):
            return await self.context.forward(self.target)
        return await super().receive(message)


async def two(system: ActorSystem, **options: Any) -> tuple[ActorRef, ActorRef]:
    """Spawn a Member with these options, and a Relay to it. Return the relay first."""
    world = World()
    target = await system.spawn(lambda: Member("target", world), name="target", **options)
    return await system.spawn(Relay, "relay", world, target, name="relay", restart=Restart.PERMANENT), target
