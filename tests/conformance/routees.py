"""Routees of a router, in the tests after the group routers of Pekko and tapio-py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import trio
import trio.testing

from actors import (
    Actor,
    ActorRef,
    RouterRef,
    router,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from actors import ActorSystem


class Routee(Actor):
    """An actor that counts its messages by its name, raises exceptions, waits for events, and calls functions."""

    def __init__(self, got: Counter[str]) -> None:
        self.got = got

    async def receive(self, message: Any) -> object:
        if isinstance(message, Exception):
            raise message
        if isinstance(message, trio.Event):
            await message.wait()
        elif callable(message):
            return await message(self)
        self.got[self.ref.name] += 1
        return self.ref.name


def modulo(message: int) -> int:
    """Return the key of a message that is a number."""
    return message % 1_000


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def routees(system: ActorSystem, got: Counter[str], names: str, **options: Any) -> list[ActorRef]:
    """Spawn one actor for each letter of ``names``."""
    return [await system.spawn(Routee, got, name=name, **options) for name in names]


async def routed(system: ActorSystem, refs: Sequence[ActorRef], **options: Any) -> RouterRef:
    """Spawn a router over actors."""
    ref: Any = await system.spawn(router(refs, **options), name="router")
    return cast("RouterRef", ref)


async def make_busy(refs: Sequence[ActorRef], gate: trio.Event) -> None:
    """Let each actor wait for an event, as its current message."""
    for each in refs:
        await each.tell(gate)
    await settle()
