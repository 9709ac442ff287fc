"""Children that end at random times, also during restarts: the supervisor gets them up again, and can stop."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import attrs
import trio
import trio.testing
from _probes import Member, World
from _scale import scaled
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import ActorError, Backoff, Restart, Strategy, SupervisorSpec, open_system

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors import ActorSystem, SupervisorRef

SECONDS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])


@attrs.frozen
class Plan:
    """The behaviour of one child."""

    start: str
    stop: str
    seconds: float
    shutdown: float
    restart: Restart


PLANS = st.builds(
    Plan,
    st.sampled_from(["quick", "slow", "asks the one before"]),
    st.sampled_from(["quick", "slow", "hangs", "hangs shielded"]),
    SECONDS,
    st.sampled_from([0.0, 1.0, 2.0]),
    st.sampled_from([Restart.PERMANENT, Restart.TRANSIENT]),
)
ACTIONS = st.tuples(
    SECONDS, st.sampled_from(["crash", "kill", "normal", "terminate", "restart", "add"]), st.integers(0, 9)
)


def on_start_of(plan: Plan, number: int, system: ActorSystem) -> Callable[[Member], Awaitable[object]]:
    """Return the code that ``started()`` of the child runs under this plan."""

    async def start(_: Member) -> None:
        if plan.start == "slow":
            await trio.sleep(plan.seconds)
        elif plan.start == "asks the one before" and number > 0:
            before = system.find(f"/top/n{number - 1}")
            if before is not None:
                with contextlib.suppress(ActorError):  # A failure here would restart at once, for ever.
                    await before.ask("up")

    return start


def on_stop_of(plan: Plan) -> Callable[[Member], Awaitable[object]]:
    """Return the code that ``stopping()`` of the child runs under this plan."""

    async def stop(_: Member) -> None:
        if plan.stop == "slow":
            await trio.sleep(plan.seconds)
        elif plan.stop == "hangs":
            await trio.sleep_forever()
        elif plan.stop == "hangs shielded":
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()

    return stop


async def do_action(supervisor: SupervisorRef, action: str, number: int, world: World, done: set[str]) -> None:
    """Do one action to a child, if its state allows that."""
    infos = supervisor.children()
    info = infos[number % len(infos)]
    match action:
        case "terminate":
            done.add(info.id)
            await supervisor.terminate_child(info.id)
        case "restart" if info.ref is None:
            await supervisor.restart_child(info.id)
        case "add":
            await supervisor.start_child(world.member(f"added{len(infos)}"))
        case "crash" | "normal" if info.ref is not None:
            if action == "normal":
                done.add(info.id)
            await info.ref.tell(ValueError("crash") if action == "crash" else "normal")
        case "kill" if info.ref is not None:
            info.ref.kill()
        case _:
            pass


async def play_actions(
    strategy: Strategy, plans: list[Plan], actions: list[tuple[float, str, int]], backoff: Backoff | None
) -> None:
    """Do the actions at their times, and check that the children come up again and the supervisor stops."""
    world = World()
    async with open_system() as system:
        tasks = trio.lowlevel.current_statistics().tasks_living
        children = []
        for number, plan in enumerate(plans):
            world.on_start[f"n{number}"] = on_start_of(plan, number, system)
            world.on_stop[f"n{number}"] = on_stop_of(plan)
            children.append(world.member(f"n{number}", plan.restart, shutdown=plan.shutdown))
        supervisor = await system.supervise(
            SupervisorSpec(strategy, children, max_restarts=10_000, backoff=backoff), "top"
        )
        done: set[str] = set()

        async def guarded(action: str, number: int) -> None:
            with contextlib.suppress(ActorError):  # The child ended or changed its state meanwhile.
                await do_action(supervisor, action, number, world, done)

        async with trio.open_nursery() as nursery:
            for seconds, action, number in actions:
                await trio.sleep(seconds)
                nursery.start_soon(guarded, action, number)
        await trio.sleep(200)
        assert supervisor.alive
        for info in supervisor.children():
            assert info.state == "running" or (info.state == "terminated" and info.id in done), system.tree().lines()
        with trio.fail_after(100):
            await supervisor.stop()
        assert (system.statistics().actors, trio.lowlevel.current_statistics().tasks_living) == (0, tasks)


@given(
    st.sampled_from([Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE]),
    st.lists(PLANS, min_size=1, max_size=4),
    st.lists(ACTIONS, max_size=8),
    st.sampled_from([None, Backoff(0.5, 4)]),
    st.random_module(),
)
@settings(max_examples=scaled(80, 3000))
def test_children_come_up_after_any_coincidence(
    strategy: Strategy, plans: list[Plan], actions: list[tuple[float, str, int]], backoff: Backoff | None, seed: object
) -> None:
    """Whenever children end during restarts, the children run again in the end, and the supervisor can stop."""
    logging.disable()
    try:
        trio.run(play_actions, strategy, plans, actions, backoff, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        logging.disable(logging.NOTSET)
