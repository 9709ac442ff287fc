"""``app.sessions_aio``: one session, for asyncio code of the web server around the app."""

from __future__ import annotations

import asyncio
import gc
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from _hosts import World, in_each_loop, run_in, turn

from actors import AsyncioRun, CommandRefused, ConfigError, Position, PositionLost, Run, SessionClosed
from transport import Greenroom

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from actors import Event


def with_agents(world: World) -> None:
    """Register the agents ``double`` (on asyncio), ``wait`` (on trio) and ``ask`` (on asyncio)."""

    @world.app.agent(host="asyncio")
    async def double(run: AsyncioRun, number: int) -> int:
        await run.output(str(number))
        return 2 * number

    @world.app.agent
    async def wait(run: Run) -> None:
        await run.ask_user("how long?")

    @world.app.agent(host="asyncio")
    async def ask(run: AsyncioRun) -> object:
        return await run.ask_user("which?")


@in_each_loop
def test_every_call(loop: str) -> None:
    """A session starts, cancels and answers runs, emits events and is closed, from asyncio code."""

    async def story(world: World) -> None:
        with_agents(world)
        session = world.session
        assert (session.user, session.session) == ("ann", "s1")
        assert (await world.ended(await session.start("double", 2)))[-1].data["result"] == 4
        run_id = await session.start("wait")
        assert await session.cancel(run_id)
        assert not await session.cancel(run_id)
        run_id = await session.start("ask")
        async with aclosing(session.events()) as events:
            async for event in events:
                if event.type == "input_requested" and event.run_id == run_id:
                    assert event.call_id is not None
                    await session.answer(run_id, event.call_id, {"colour": "green"})
                    break
        assert (await world.ended(run_id))[-1].data["result"] == {"colour": "green"}
        with pytest.raises(CommandRefused, match="unknown_run"):
            await session.answer(run_id, "c", 1)
        await session.emit("note", [1])
        (last,) = await session.history(limit=1)
        assert last.data == {"name": "note", "value": [1]}
        await session.close()
        with pytest.raises(SessionClosed):
            await session.start("double", 2)

    run_in(loop, story)


def test_start_with_an_id() -> None:
    """A start that is repeated with its id starts nothing, and returns the id of the first run."""

    async def story(world: World) -> None:
        with_agents(world)
        first = await world.session.start("double", 2, command_id="order-7")
        assert await world.session.start("double", 2, command_id="order-7") == first
        assert await world.session.start("double", 2, command_id="order-8") != first
        events = await world.ended(first)
        assert events[0].data["command_id"] == "order-7"
        for wrong in ("", "x" * 129, "\ud800"):
            with pytest.raises(CommandRefused, match="command_id must be a string of 1 to 128"):
                await world.session.start("double", 2, command_id=wrong)

    run_in("asyncio", story)


@in_each_loop
def test_events(loop: str) -> None:
    """``events`` yields the stored events and then each new one, once and in order; it can go on after a position."""

    async def story(world: World) -> None:
        with_agents(world)
        seen: list[Event] = []
        following = asyncio.create_task(follow(world.session.events(), seen))
        for number in range(3):
            await world.ended(await world.session.start("double", number))
        await world.session.close()
        await following
        assert [event.seq for event in seen] == list(range(1, 10))

    run_in(loop, story)


def test_events_after_a_position() -> None:
    """A reader can continue at its position. One that cannot be continued raises PositionLost."""

    async def story(world: World) -> None:
        with_agents(world)
        await world.ended(await world.session.start("double", 1))
        newest = await world.session.position()
        assert newest.seq == 3
        async with aclosing(world.session.events(Position(newest.epoch, 2))) as events:
            assert (await anext(events)).seq == 3
        for position, reason in ((Position("other", 2), "epoch_changed"), (Position(newest.epoch, 9), "ahead")):
            async with aclosing(world.session.events(position)) as events:
                with pytest.raises(PositionLost, match=reason):
                    await anext(events)
        assert cursors(world) == 0

    run_in("asyncio", story)


def test_events_behind_memory() -> None:
    """Events that are no longer in memory are read from the log."""

    async def story(world: World) -> None:
        with_agents(world)
        for number in range(20):
            run_id = await world.session.start("double", number)
            events = await world.ended(run_id)
        assert [event.seq for event in events] == list(range(1, 61))

    run_in("asyncio", story, ring_events=4)


async def follow(events: AsyncGenerator[Event], seen: list[Event]) -> None:
    """Read all events into a list."""
    async with aclosing(events):
        async for event in events:
            seen.append(event)  # noqa: PERF401 - they are looked at while this goes on


def cursors(world: World) -> int:
    """Return the number of readers of the session."""
    (state,) = world.app.server.sessions.of("ann")
    return state.journal.cursors


@pytest.mark.parametrize("how", ["aclosing", "cancelled", "dropped"])
def test_reader_leaves_nothing(how: str) -> None:
    """A reader that is closed, cancelled or dropped gives its place in the session back."""

    async def story(world: World) -> None:
        with_agents(world)
        await world.session.start("double", 1)
        events = world.session.events()
        assert (await anext(events)).seq == 1
        assert cursors(world) == 1
        if how == "aclosing":
            await events.aclose()
        elif how == "cancelled":
            seen: list[Event] = []
            task = asyncio.create_task(follow(events, seen))
            while len(seen) < 2:
                await turn()
            task.cancel()
            await asyncio.wait([task])
        else:
            del events
            gc.collect()
            while cursors(world):
                await turn()
        assert cursors(world) == 0

    run_in("asyncio", story)


# Where it cannot be used


def test_app_that_is_not_running() -> None:
    """The object can be made before the app runs. Its methods then raise a ConfigError that says what to do."""
    session = Greenroom(log="memory:").sessions_aio.get("ann", "s1")

    async def main() -> None:
        for call in (session.start("double"), session.emit("x"), anext(session.events())):
            with pytest.raises(ConfigError, match=r"lifespan=transport\.hosting\.lifespan\(app\)"):
                await call
        with pytest.raises(ConfigError, match="is not running"):
            async with session.run("block"):
                pass

    asyncio.run(main())


async def test_app_on_trio_alone() -> None:
    """In an app that runs on trio alone, each call raises a ConfigError that names the way for trio."""
    app = Greenroom(log="memory:")
    async with app.running(port=0):
        session = app.sessions_aio.get("ann", "s1")
        with pytest.raises(ConfigError, match=r"use app\.sessions"):
            await session.start("double")
        with pytest.raises(ConfigError, match=r"use app\.sessions"):
            async with session.run("block"):
                pass


def test_another_loop_or_library() -> None:
    """In another thread's loop, and in a trio task, each call raises a ConfigError before anything happens."""

    async def story(world: World) -> None:
        errors: list[str] = []

        async def call() -> None:
            with pytest.raises(ConfigError) as error:
                await world.session.start("double")
            errors.append(str(error.value))

        thread = threading.Thread(target=lambda: asyncio.run(call()))
        thread.start()
        while thread.is_alive():
            await turn()
        await world.on_trio(call)
        assert "another event loop" in errors[0]
        assert "trio task" in errors[1]

    run_in("asyncio", story)
