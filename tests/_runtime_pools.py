"""Workers for the tests of pools, and a gate that keeps them busy."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from actors import (
    Actor,
    PoolRef,
    pool,
)

if TYPE_CHECKING:
    from actors import ActorSystem


class Worker(Actor):
    """A member that records its messages with its name. It raises exceptions, and awaits functions."""

    def __init__(self, got: list[tuple[str, object]]) -> None:
        self.got = got

    async def receive(self, message: object) -> object:
        if isinstance(message, Exception):
            raise message
        self.got.append((self.ref.name, message))
        if callable(message):
            return await message(self)
        return self.ref.name


class Gate:
    """A message that keeps a member busy until it is opened."""

    def __init__(self) -> None:
        self.event = trio.Event()

    async def __call__(self, _: Worker) -> None:
        await self.event.wait()


async def started(system: ActorSystem, got: list[tuple[str, object]], size: int, **options: Any) -> PoolRef:
    """Spawn a pool of workers. The options of a mailbox are those of the spawn."""
    own = {name: options.pop(name) for name in ("mailbox_size", "overflow", "restart") if name in options}
    ref = await system.spawn(pool(functools.partial(Worker, got), size, **options), name="pool", **own)
    assert isinstance(ref, PoolRef)
    return ref


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


def by_key(message: object) -> object:
    """Return the key of a message."""
    assert isinstance(message, tuple)
    return message[0]
