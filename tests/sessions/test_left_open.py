"""If code leaves a nursery or a cancel scope open in its task, this code fails, and nothing around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import orjson
import pytest
import trio
import trio.testing
from sessions._one_run import ends

from actors import (
    Actor,
    Agents,
    ExitReason,
    MemoryLog,
    Restart,
    Run,
    RunFailed,
    Sessions,
    SessionSettings,
    StreamKey,
    SupervisorSpec,
    open_system,
    verify_log,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trio.testing import MockClock

pytestmark = pytest.mark.filterwarnings(
    "ignore:Async generator:ResourceWarning",  # they are left open on purpose
    "ignore::pytest.PytestUnraisableExceptionWarning",
)

KEPT: list[object] = []


@pytest.fixture(autouse=True)
def _keep_nothing() -> Any:
    yield
    KEPT.clear()


async def bare() -> AsyncGenerator[int]:
    async with trio.open_nursery():
        yield 1


async def busy() -> AsyncGenerator[int]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        yield 1


async def slow() -> AsyncGenerator[int]:
    """Leave open a nursery with a task that needs a second to end."""

    async def tidies() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tidies)
        yield 1


async def twice() -> AsyncGenerator[int]:
    async with trio.open_nursery() as outer:
        outer.start_soon(trio.sleep_forever)
        with trio.move_on_after(1_000):
            async with trio.open_nursery() as inner:
                inner.start_soon(trio.sleep_forever)
                yield 1


async def scope() -> AsyncGenerator[int]:
    with trio.CancelScope():
        yield 1


async def timed() -> AsyncGenerator[int]:
    with trio.fail_after(0.5):
        yield 1


async def shielded() -> AsyncGenerator[int]:
    with trio.CancelScope(shield=True):
        yield 1


LEFT: dict[str, Callable[[], AsyncGenerator[int]]] = {
    each.__name__: each for each in (bare, busy, slow, twice, scope, timed, shielded)
}


async def drop(make: Callable[[], AsyncGenerator[int]]) -> None:
    async for _ in make():
        break


async def keep(make: Callable[[], AsyncGenerator[int]]) -> None:
    iterator = make()
    KEPT.append(iterator)
    await anext(iterator)


async def close_elsewhere(make: Callable[[], AsyncGenerator[int]]) -> None:
    iterator = make()
    await anext(iterator)

    async def close() -> None:
        with pytest.raises(RuntimeError):
            await iterator.aclose()

    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(close)


async def misnest(make: Callable[[], AsyncGenerator[int]]) -> None:
    first, second = make(), make()
    KEPT.extend((first, second))
    await anext(first)
    await anext(second)
    await first.aclose()


HOW = {each.__name__: each for each in (drop, keep, close_elsewhere, misnest)}


async def at_once() -> None: ...


async def after_a_while() -> None:
    await trio.sleep(2)


async def in_a_shield() -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(2)


THEN = {each.__name__: each for each in (at_once, after_a_while, in_a_shield)}

leaving = [
    pytest.param(LEFT[what], HOW[how], THEN[then], id=f"{how}-{what}-{then}")
    for how in HOW
    for what in LEFT
    for then in THEN
]
every_way = pytest.mark.parametrize(("what", "how", "then"), leaving)
some_ways = pytest.mark.parametrize(("what", "how", "then"), [each for each in leaving if "shield" not in str(each.id)])


async def beside_others(*agents: Callable[..., Awaitable[object]], cancel: bool = False) -> list[Any]:
    """Run the first agent beside a running and before a queued run. Return the session's events."""
    registry, log, let = Agents(), MemoryLog(), trio.Event()

    async def neighbour(_: Run) -> str:
        await let.wait()
        return "undisturbed"

    for each in (neighbour, *agents):
        registry.add(each)
    sessions = Sessions(log, registry, SessionSettings(runs_per_user=2))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        handle = await sessions.get("alice", "s1")
        await handle.start("neighbour")
        run_id = await handle.start(agents[0].__name__)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handle.start, "neighbour")
            if cancel:
                await trio.testing.wait_all_tasks_blocked()
                assert await handle.cancel(run_id)
            await trio.sleep(20)  # of virtual time: everything that was left open has had its effects
            KEPT.clear()
            await trio.sleep(20)
            let.set()
        await trio.testing.wait_all_tasks_blocked()
        statistics = sessions.statistics()
        assert (statistics.crashed, statistics.runs.running) == (0, 0)
        lines = await log.read(StreamKey("alice", "s1"), 0, 100_000, 10**9)
        assert (await verify_log(log)).faults == ()
        return [orjson.loads(line) for line in lines]


UNDISTURBED = [("ok", None)] * 2


@every_way
async def test_run_that_leaves_something_open(what: Any, how: Any, then: Any, autojump_clock: MockClock) -> None:
    """If a run leaves a nursery or cancel scope open, it ends as ``error``. All other runs and the session continue."""
    del autojump_clock

    async def careless(_: Run) -> None:
        await how(what)
        await then()

    events = ends(await beside_others(careless))
    assert events[0][0] == "error"
    assert events[1:] == UNDISTURBED


@some_ways
@pytest.mark.parametrize("kind", ["call_agent", "call_tool", "subrun"])
async def test_call_that_leaves_something_open(
    what: Any, how: Any, then: Any, kind: str, autojump_clock: MockClock
) -> None:
    """If a sub-agent or tool leaves a nursery or cancel scope open, it fails. The agent that called it continues."""
    del autojump_clock
    seen: list[Exception] = []

    async def careless() -> None:
        await how(what)
        await then()

    async def below(_: Run) -> None:
        await careless()

    async def calls(run: Run) -> str:
        try:
            if kind == "call_agent":
                await run.call_agent("below")
            elif kind == "call_tool":
                await run.call_tool(careless)
            else:
                async with run.subrun("inline"):
                    await careless()
        except Exception as error:  # noqa: BLE001 - looked at below
            seen.append(error)
        await trio.sleep(1)
        return "went on"

    events = await beside_others(calls, below)
    completed = "tool_completed" if kind == "call_tool" else "agent_completed"
    assert next(status for status, _ in ends(events, completed)) == "error"
    assert len(seen) == 1
    assert isinstance(seen[0], RunFailed) == (kind == "call_agent")
    assert ends(events)[-3:] == [("ok", None)] * 3


@pytest.mark.parametrize("what", ["bare", "busy", "slow", "twice", "scope"])
async def test_cancelled_run_leaves_something_open(what: str, autojump_clock: MockClock) -> None:
    """If a run is cancelled while its generator has a nursery or cancel scope open, the run ends as ``cancelled``."""
    del autojump_clock

    async def streams(run: Run) -> None:
        async def wait(_: int) -> None:
            await trio.sleep_forever()

        async for each in LEFT[what]():
            await wait(each)

    events = ends(await beside_others(streams, cancel=True))
    assert events == [("cancelled", "cancelled"), *UNDISTURBED]


async def test_tasks_left_open_end_before_their_run(autojump_clock: MockClock) -> None:
    """If a run leaves a nursery with tasks open, the tasks are cancelled before the run ends.

    Their last events belong to the run. If a task raises, its exception is the cause of the run's error.
    """
    del autojump_clock

    async def careless(run: Run) -> None:
        async def tidies() -> None:
            try:
                await trio.sleep_forever()
            finally:
                await run.output("tidied")
                raise OSError("not quite")

        async def generator() -> AsyncGenerator[int]:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tidies)
                yield 1

        await keep(generator)
        await trio.testing.wait_all_tasks_blocked()

    events = await beside_others(careless)
    mine = [event for event in events if event["type"] in {"agent_output", "agent_completed"}][:2]
    assert [event["type"] for event in mine] == ["agent_output", "agent_completed"]
    assert "left open" in mine[1]["data"]["error"]["message"]


class Leaves(Actor):
    """An actor that leaves something open in one of its methods."""

    lives: ClassVar[int]

    def __init__(self, method: str, leave: Callable[[], Awaitable[None]]) -> None:
        self.method, self.leave = method, leave

    async def started(self) -> None:
        Leaves.lives += 1
        if self.method == "started" and Leaves.lives == 2:
            await self.leave()

    async def receive(self, message: object) -> object:
        if message == "leave":
            if self.method == "receive":
                await self.leave()
            else:
                self.context.stop()
        if message == "fail":
            raise OSError("asked to")
        return Leaves.lives

    async def stopping(self, reason: ExitReason) -> None:
        del reason
        if self.method == "stopping" and Leaves.lives == 1:
            await self.leave()


@some_ways
@pytest.mark.parametrize("method", ["started", "receive", "stopping", "after a failure"])
async def test_actor_that_leaves_something_open(
    what: Any, how: Any, then: Any, method: str, autojump_clock: MockClock
) -> None:
    """If an actor leaves a nursery or cancel scope open, it fails and is restarted. Other actors are not affected."""
    del autojump_clock
    Leaves.lives = 0

    async def leave() -> None:
        await how(what)
        await then()

    async with open_system() as system:
        neighbour = await system.spawn(Actor)
        place = "stopping" if method == "after a failure" else method
        ref = await system.spawn(Leaves, place, leave, restart=Restart.PERMANENT)
        await ref.tell("fail" if method in {"started", "after a failure"} else "leave")
        await trio.sleep(20)
        KEPT.clear()
        await trio.sleep(20)
        assert await ref.ask("how many") == (3 if method == "started" else 2)
        await neighbour.tell("still there")
