"""Agents on asyncio: their sub-agents, sub-runs and questions."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import date

import pytest
import trio
from _hosts import World, closings, forever, in_each_loop, run_in, turn

from actors import AsyncioRun, CommandRefused, Run, RunFailed, current_run


@in_each_loop
def test_sub_agents_of_both_libraries(loop: str) -> None:
    """Agents call each other across the libraries, with their results, failures and places in the tree of runs."""

    async def story(world: World) -> None:
        app = world.app

        @app.agent
        async def on_trio(run: Run, number: int) -> int:
            await trio.lowlevel.checkpoint()
            await run.output("trio")
            return await run.call_agent("on_asyncio", number + 1) if number < 3 else number

        @app.agent(host="asyncio")
        async def on_asyncio(run: AsyncioRun, number: int) -> int:
            await turn()
            await run.output("asyncio")
            return int(await run.call_agent(on_trio, number + 1))

        @app.agent
        async def fails_on_trio(run: Run) -> None:
            raise LookupError("trio")

        @app.agent(host="asyncio")
        async def fails_on_asyncio(run: AsyncioRun) -> None:
            raise LookupError("asyncio")

        @app.agent(host="asyncio")
        async def failures(run: AsyncioRun) -> list[str]:
            seen: list[str] = []
            for agent in (fails_on_trio, fails_on_asyncio):
                with pytest.raises(RunFailed) as failed:
                    await run.call_agent(agent)
                seen.append(f"{failed.value.agent} {failed.value.error_message}")
            return seen

        @app.agent(host="asyncio")
        async def directly(run: AsyncioRun) -> list[str]:
            return list(await run.call_agent(failures))

        events = await world.ended(await world.session.start("on_trio", 1))
        assert [event.type for event in events] == [*["agent_started", "agent_output"] * 3, *["agent_completed"] * 3]
        assert [event.data["result"] for event in events[-3:]] == [3, 3, 3]
        started = [event for event in events if event.type == "agent_started"]
        assert [event.parent_run_id for event in started] == [None, *[event.run_id for event in started[:-1]]]
        events = await world.ended(await world.session.start("directly"))
        assert events[-1].data["result"] == ["fails_on_trio trio", "fails_on_asyncio asyncio"]

    run_in(loop, story)


@in_each_loop
def test_subruns(loop: str) -> None:
    """Blocks are sub-agents, several at once; a failing one ends as an error, and its exception propagates."""

    async def agent(run: AsyncioRun) -> str | None:
        async def one(name: str) -> None:
            async with run.subrun(name) as child:
                await turn()
                await child.output(name)
                child.result = name

        async with asyncio.TaskGroup() as group:
            for name in "ab":
                group.create_task(one(name))
        with pytest.raises(LookupError):
            async with run.subrun("c") as child, child.subrun("d"):
                raise LookupError("no tea")
        context = current_run()
        return None if context is None else context.agent

    async def story(world: World) -> None:
        events = await world.play(agent)
        assert sorted(closings(events)[:2]) == [("a", "ok"), ("b", "ok")]
        assert closings(events)[2:] == [("d", "error"), ("c", "error"), ("agent", "ok")]
        assert events[-1].data["result"] == "agent"

    run_in(loop, story)


def test_subrun_is_stopped_alone() -> None:
    """A sub-agent that is stopped ends as cancelled, and the code after its block goes on, also if it stops itself."""

    async def agent(run: AsyncioRun) -> list[int]:
        counts: list[int] = []
        task = asyncio.current_task()
        assert task is not None
        for stop_late in (False, True):
            async with run.subrun("child") as child:
                if stop_late:
                    child.stop()  # the task is cancelled at its next await, which is after the block
                else:
                    asyncio.get_running_loop().call_soon(child.stop)
                    await forever()
            await turn()
            counts.append(task.cancelling())
        return counts

    async def story(world: World) -> None:
        events = await world.play(agent)
        assert closings(events) == [("child", "cancelled"), ("child", "ok"), ("agent", "ok")]
        assert events[-1].data["result"] == [0, 0]

    run_in("asyncio", story)


def test_sub_agent_with_a_time_limit() -> None:
    """The time limit of an agent counts for its sub-runs too, and raises RunFailed in the caller."""

    async def story(world: World) -> None:
        @world.app.agent(host="asyncio", timeout=0.001)
        async def slow(run: AsyncioRun) -> None:
            await forever()

        async def agent(run: AsyncioRun) -> str:
            try:
                await run.call_agent("slow")
            except RunFailed as failed:
                return failed.status
            return "?"

        events = await world.play(agent)
        assert closings(events) == [("slow", "timeout"), ("agent", "ok")]
        assert events[-1].data["result"] == "timeout"

    run_in("asyncio", story)


@in_each_loop
def test_questions(loop: str) -> None:
    """``ask_user`` waits in asyncio; a timeout and a cancelled wait withdraw the question. An answer has its type."""

    async def agent(run: AsyncioRun) -> object:
        with pytest.raises(TimeoutError):
            await run.ask_user("quick?", timeout=0.001)
        waiting = asyncio.create_task(run.ask_user("never?"))
        while len(run._recorder.questions) == 0:  # noqa: SLF001 - only it tells that the question is open
            await turn()
        waiting.cancel()
        await asyncio.wait([waiting])
        colour = await run.ask_user("which?", schema={"type": "string"})
        return [colour, (await run.ask_user("when?", into=date)).year]

    async def story(world: World) -> None:
        world.app.agent(host="asyncio")(agent)
        run_id = await world.session.start("agent")
        asked = 0
        async with aclosing(world.session.events()) as following:
            async for event in following:
                if event.type != "input_requested":
                    continue
                asked += 1
                assert event.call_id is not None
                if asked == 3:
                    await world.session.answer(run_id, event.call_id, "green")
                if asked == 4:
                    with pytest.raises(CommandRefused, match="a date of ISO 8601 @ value"):
                        await world.session.answer(run_id, event.call_id, "soon")
                    await world.session.answer(run_id, event.call_id, "2026-01-02")
                    break
        events = await world.ended(run_id)
        assert events[-1].data["result"] == ["green", 2026]
        assert [event.data["reason"] for event in events if event.type == "input_withdrawn"] == ["timeout", "cancelled"]

    run_in(loop, story)
