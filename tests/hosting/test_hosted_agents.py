"""Agents on trio inside an asyncio loop: exits, asyncio's own tasks, context variables and debuggers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from transport import Greenroom
from transport.hosting import hosted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from actors import Run

who: ContextVar[str] = ContextVar("who", default="nobody")


async def run_agent(app: Greenroom, agent: str) -> str:
    """Start a run from asyncio, and wait until its task has ended."""

    async def start() -> str:
        run_id = await (await app.sessions.get("ann", "s1")).start(agent)
        await trio.testing.wait_all_tasks_blocked()
        return run_id

    host = app.server.host.asyncio
    assert host is not None
    return await host.run(start)


def hosting(story: Callable[[Greenroom], Awaitable[None]], *agents: Any) -> None:
    """Run ``story`` in asyncio with an app that has these agents."""

    async def main() -> None:
        app = Greenroom(log="memory:", settings={"drain_seconds": 1})
        for agent in agents:
            app.agent(agent)
        async with hosted(app):
            await story(app)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


@pytest.mark.parametrize(
    "exit_", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()], ids=repr
)
def test_exits_of_an_agent(exit_: BaseException) -> None:
    """An agent that raises SystemExit or KeyboardInterrupt ends its run. Neither loop ends."""

    async def leaves(run: Run) -> None:
        raise exit_

    async def story(app: Greenroom) -> None:
        for _ in range(2):
            await run_agent(app, "leaves")
        assert app.server.health().failed == ""
        assert [each.runs for each in app.server.sessions.of("ann")] == [0]

    hosting(story, leaves)


def test_asyncio_task_of_an_agent() -> None:
    """An agent on trio can start an asyncio task, which outlives its run: nothing supervises such a task."""
    tasks: list[asyncio.Task[None]] = []

    async def waits() -> None:
        await asyncio.Event().wait()

    async def starts(run: Run) -> None:
        tasks.append(asyncio.create_task(waits()))

    async def story(app: Greenroom) -> None:
        await run_agent(app, "starts")
        (task,) = tasks
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])

    hosting(story, starts)


def test_context_variables() -> None:
    """A call into trio has the caller's context variables. An agent never has those of the request that started it."""
    seen: list[str] = []

    async def looks(run: Run) -> None:
        seen.append(who.get())

    async def look() -> None:
        seen.append(who.get())

    async def story(app: Greenroom) -> None:
        who.set("the request of ann")
        host = app.server.host.asyncio
        assert host is not None
        await host.run(look)
        await run_agent(app, "looks")

    hosting(story, looks)
    assert seen == ["the request of ann", "nobody"]


DEBUGGED = """
import asyncio, trio
from actors import Run
from transport import Greenroom
from transport.hosting import hosted

app = Greenroom(log="memory:", settings={"loop_stall_seconds": 60})

@app.agent
async def assistant(run: Run) -> None:
    breakpoint()
    print("went on")

async def main():
    async with hosted(app) as server:
        async def start():
            await (await app.sessions.get("ann", "s1")).start("assistant")
        await server.host.asyncio.run(start)

asyncio.run(main())
"""


def test_debugger(tmp_path: Path) -> None:
    """In a debugger, an agent's variables can be looked at, and the program goes on afterwards."""
    (tmp_path / "app.py").write_text(DEBUGGED)
    command = [sys.executable, "-W", "error", "app.py"]
    talk = "p run.agent, run.user\nnext\nwhere\ncontinue\n"
    result = subprocess.run(command, cwd=tmp_path, input=talk, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "('assistant', 'ann')" in result.stdout
    assert "went on" in result.stdout


INTERRUPTED = """
import asyncio, os, signal, sys, trio
from actors import AsyncioRun, Run
from transport import Greenroom
from transport.hosting import hosted

app = Greenroom(log="memory:", settings={"drain_seconds": 1000, "loop_stall_seconds": 60})

@app.agent
async def on_trio(run: Run) -> None:
    try:
        if sys.argv[1] == "on_trio":
            os.kill(os.getpid(), signal.SIGINT)
        await trio.sleep_forever()
    finally:
        print("on_trio ended")

@app.agent(host="asyncio")
async def on_asyncio(run: AsyncioRun) -> None:
    try:
        if sys.argv[1] == "on_asyncio":
            os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
    finally:
        print("on_asyncio ended")

async def main():
    async with hosted(app):
        for agent in sorted(app.agents, key=sys.argv[1].__eq__):
            await app.sessions_aio.get("ann", "s1").start(agent)
        await asyncio.Event().wait()

try:
    asyncio.run(main())
except KeyboardInterrupt:
    trio.run(trio.lowlevel.checkpoint)
    print("interrupted")
"""


@pytest.mark.parametrize("agent", ["on_trio", "on_asyncio"])
def test_ctrl_c_in_an_agent(tmp_path: Path, agent: str) -> None:
    """A real Ctrl-C while an agent's code runs reaches the program, not the agent. Every ``finally`` runs."""
    (tmp_path / "program.py").write_text(INTERRUPTED)
    command = [sys.executable, "-W", "error", "program.py", agent]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(result.stdout.splitlines()) == ["interrupted", "on_asyncio ended", "on_trio ended"]
