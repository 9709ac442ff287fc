"""The hooks of a restart after Pekko's ``preRestart`` and ``postRestart``, and OTP's ``terminate`` and ``init``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from _probes import crash

from actors import Actor, ExitReason, Failure, Restart, SpecError, open_system

if TYPE_CHECKING:
    from actors import ActorRef


class Resource(Actor):
    """An actor that records its hooks, and hands its state over in ``saved``."""

    def __init__(self, journal: list[str], saved: dict[str, object]) -> None:
        self.journal, self.saved, self.state = journal, saved, "new"

    async def started(self) -> None:
        self.journal.append("preStart")

    async def receive(self, message: object) -> object:
        if isinstance(message, Exception):
            raise message
        self.state, before = str(message), self.state
        return before

    async def stopping(self, reason: ExitReason) -> None:
        self.journal.append("postStop")

    async def before_restart(self, reason: ExitReason) -> None:
        self.journal.append("preRestart")
        self.saved["state"] = self.state

    async def after_restart(self, reason: ExitReason) -> None:
        self.journal.append("postRestart")
        self.state = str(self.saved["state"])


async def spawn(journal: list[str], system: object, restart: Restart = Restart.PERMANENT) -> ActorRef:
    """Spawn a Resource."""
    return await system.spawn(Resource, journal, {}, restart=restart)  # type: ignore[attr-defined,no-any-return]  # a system


async def test_hooks_of_a_restart() -> None:
    """Pekko: the old instance has preRestart (with postStop), the new one preStart and postRestart."""
    journal: list[str] = []
    async with open_system() as system:
        ref = await spawn(journal, system)
        await crash(ref)
        assert journal == ["preStart", "postStop", "preRestart", "preStart", "postRestart"]


async def test_state_is_handed_over() -> None:
    """Pekko: a restart makes a new instance; preRestart can save what postRestart restores."""
    async with open_system() as system:
        ref = await spawn([], system)
        await ref.ask("kept")
        await crash(ref)
        assert await ref.ask("next") == "kept"


async def test_no_hooks_if_the_supervisor_stops_the_actor() -> None:
    """Pekko: under the directive stop only postStop runs."""
    journal: list[str] = []
    async with open_system() as system:
        await crash(await spawn(journal, system, Restart.TEMPORARY))
        assert journal == ["preStart", "postStop"]


async def test_children_have_ended_before_the_hook() -> None:
    """Pekko: preRestart's default stops all children. Here they have ended before it."""
    alive: list[bool] = []

    class Parent(Actor):
        async def started(self) -> None:
            self.child = await self.context.spawn(Actor)

        async def receive(self, message: object) -> object:
            assert isinstance(message, Exception)
            raise message

        async def before_restart(self, reason: ExitReason) -> None:
            alive.append(self.child.alive)

    async with open_system() as system:
        await crash(await system.spawn(Parent, restart=Restart.PERMANENT))
    assert alive == [False]


async def test_no_hook_where_no_instance_was_made() -> None:
    """Pekko: an exception in the constructor has no preRestart, since there is no instance."""
    reasons: list[ExitReason] = []
    made: list[int] = []

    class Picky(Resource):
        def __init__(self) -> None:
            super().__init__([], {"state": ""})
            made.append(1)
            if len(made) == 2:
                raise SpecError("not now")

        async def after_restart(self, reason: ExitReason) -> None:
            reasons.append(reason)

    async with open_system() as system:
        ref = await system.spawn(Picky, restart=Restart.PERMANENT)
        await crash(ref)
        assert await ref.ask("x") == "new"
    assert len(made) == 3
    (reason,) = reasons
    assert isinstance(reason, Failure)
    assert isinstance(reason.exception, SpecError)


async def test_terminate_runs_before_the_next_init() -> None:
    """OTP: terminate/2 of a process has ended before the supervisor calls init/1 of the next one."""
    order: list[str] = []

    class Slow(Actor):
        async def started(self) -> None:
            order.append("init")

        async def receive(self, message: object) -> object:
            assert isinstance(message, Exception)
            raise message

        async def before_restart(self, reason: ExitReason) -> None:
            for _ in range(5):
                await trio.lowlevel.checkpoint()
            order.append("terminate")

    async with open_system() as system:
        await crash(await system.spawn(Slow, restart=Restart.PERMANENT))
    assert order == ["init", "terminate", "init"]
