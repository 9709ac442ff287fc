"""Actors for the tests of the runtime. They act on messages, and record their own starts, messages and ends."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import trio
import trio.testing

from actors import UNHANDLED, Actor, ActorRef, ChildSpec, ExitReason, Restart, Shutdown, SupervisorRef, SupervisorSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors import ActorSystem


class World:
    """The shared state of the Member actors of one test: a journal, and code to run at their starts and stops."""

    def __init__(self) -> None:
        self.journal: list[tuple[str, str]] = []
        self.starts: Counter[str] = Counter()
        self.on_start: dict[str, Callable[[Member], Awaitable[object]]] = {}
        self.on_stop: dict[str, Callable[[Member], Awaitable[object]]] = {}
        self.received: list[object] = []
        self.reasons: list[ExitReason] = []
        self.refs: list[ActorRef] = []
        """Refs of all Pointed actors."""
        self.on_point: Callable[[str], None] = lambda _: None
        """Function that each Pointed actor calls at each point of its code, with the name of the point."""
        self.kind: type[Member] = Member

    def member(self, name: str, restart: Restart = Restart.PERMANENT, **options: object) -> ChildSpec:
        """Return a child spec that makes a Member of this world."""
        return ChildSpec(name, lambda: self.kind(name, self), restart, **options)  # type: ignore[arg-type]  # options of ChildSpec

    def fail_start(self, name: str, times: int, error: Exception | None = None) -> None:
        """Make the next ``times`` starts of the member with this name fail."""
        left = [times]

        async def fail(_: Member) -> None:
            if left[0] > 0:
                left[0] -= 1
                raise error if error is not None else OSError(f"{name} cannot start")

        self.on_start[name] = fail

    def take(self) -> list[tuple[str, str]]:
        """Return the journal entries since the last call of this method."""
        taken, self.journal = self.journal, []
        return taken


class Member(Actor):
    """An actor that returns every message to the sender and records it in its world. Some messages make it act.

    It raises a message that is an exception, and calls a message that is callable. It stops itself at "normal" and
    "shutdown", and returns UNHANDLED for "unknown".
    """

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.world = world

    async def started(self) -> None:
        self.world.starts[self.name] += 1
        if self.name in self.world.on_start:
            await self.world.on_start[self.name](self)
        self.world.journal.append(("start", self.name))

    async def receive(self, message: object) -> object:
        if isinstance(message, Exception):
            raise message
        if message == "normal":
            self.context.stop()
        elif message == "shutdown":
            self.context.stop(Shutdown())
        elif message == "unknown":
            return UNHANDLED
        elif callable(message):
            return await message(self)
        self.world.received.append(message)
        return message

    async def stopping(self, reason: ExitReason) -> None:
        self.world.reasons.append(reason)
        if self.name in self.world.on_stop:
            await self.world.on_stop[self.name](self)
        self.world.journal.append(("stop", self.name))


class Pointed(Member):
    """A Member that calls ``on_point`` before and after a checkpoint, in each of its methods."""

    def __init__(self, name: str, world: World) -> None:
        super().__init__(name, world)
        world.on_point(f"factory {name}")

    async def pass_point(self, where: str) -> None:
        """Call ``on_point``, pass a checkpoint, and call ``on_point`` again."""
        self.world.on_point(f"{where} {self.name}")
        await trio.lowlevel.checkpoint()
        self.world.on_point(f"{where} {self.name}")

    async def started(self) -> None:
        if self.ref not in self.world.refs:
            self.world.refs.append(self.ref)
        await self.pass_point("started")
        await super().started()

    async def receive(self, message: object) -> object:
        await self.pass_point("receive")
        return await super().receive(message)

    async def stopping(self, reason: ExitReason) -> None:
        self.world.reasons.append(reason)
        await self.pass_point("stopping")
        await super().stopping(reason)


class Ready(Pointed):
    """A Pointed actor without ``started()``."""

    started = Actor.started

    def __init__(self, name: str, world: World) -> None:
        super().__init__(name, world)
        world.starts[name] += 1


class Probe(Actor):
    """An actor that records every message and returns it. Some messages make it act.

    It raises a message that is an exception, calls a message that is callable with itself as the argument, and returns
    UNHANDLED for "unknown". ``start`` is an exception for ``started()`` to raise, or a callable for it to await.
    """

    def __init__(self, journal: list[object] | None = None, start: object = None) -> None:
        self.journal: list[object] = journal if journal is not None else []
        self.start = start

    async def started(self) -> None:
        if isinstance(self.start, Exception):
            raise self.start
        if callable(self.start):
            await self.start(self)
        self.journal.append("started")

    async def receive(self, message: object) -> object:
        if isinstance(message, Exception):
            raise message
        if callable(message):
            return await message(self)
        if message == "unknown":
            return UNHANDLED
        self.journal.append(message)
        return message

    async def stopping(self, reason: ExitReason) -> None:
        self.journal.append(reason)


async def hang(_: object) -> None:
    """Never return."""
    await trio.sleep_forever()


async def hang_shielded(_: object) -> None:
    """Never return, and shield the wait from cancellation."""
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


async def stop_itself(actor: Actor) -> None:
    """Stop the actor that handles this message."""
    actor.context.stop()


async def supervise_below_another(system: ActorSystem, spec: SupervisorSpec, name: str = "below") -> SupervisorRef:
    """Start a supervisor below another one. Then it may exceed its restart limit without ending the system."""
    above = await system.supervise(SupervisorSpec(), "above")
    ref = await above.start_child(ChildSpec(name, spec, Restart.TEMPORARY))
    assert isinstance(ref, SupervisorRef)
    return ref


def child(supervisor: SupervisorRef, name: str) -> ActorRef:
    """Return the ref of a child, which must exist."""
    ref = supervisor.child(name)
    assert ref is not None, name
    return ref


async def crash(ref: ActorRef, error: Exception | None = None) -> Exception:
    """Make an actor fail, wait until all tasks are blocked, and return the error with which it failed."""
    failure = error if error is not None else ValueError("crash")
    await ref.tell(failure)
    await trio.testing.wait_all_tasks_blocked()
    return failure


class StepCounter(trio.abc.Instrument):
    """A trio instrument that counts the steps of all tasks: a measure of work that needs no clock."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self.count += 1
