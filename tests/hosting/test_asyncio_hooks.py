"""Functions of ``app.on`` that are written for asyncio run in the loop that hosts the app."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

import pytest
from _hosts import in_each_loop, turn

from actors import ConfigError, Observed, Run
from transport import Greenroom
from transport.hosting import hosted

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def app_with(**arguments: Any) -> Greenroom:
    """Return an app with the trio agent ``talks``, which emits one output."""
    app = Greenroom(log="memory:", **arguments)

    @app.agent(host="trio")
    async def talks(run: Run) -> None:
        await run.output("hi")

    return app


def run_main(loop: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``main`` in a new loop of the kind."""
    with asyncio.Runner(loop_factory=importlib.import_module(loop).new_event_loop) as runner:
        runner.run(main())


@in_each_loop
def test_functions_in_asyncio(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    """Asyncio functions get their events, one after another. One that raises or is cancelled goes on."""
    app = app_with(agents="asyncio")
    seen: list[str] = []
    done: list[asyncio.Event] = []

    @app.on("agent_output")
    async def fails(observed: Observed) -> None:
        await turn()
        seen.append(observed.event.type)
        if len(seen) == 1:
            raise asyncio.CancelledError if loop == "uvloop" else ValueError("no connection")
        done[0].set()

    async def main() -> None:
        done.append(asyncio.Event())
        async with hosted(app):
            session = app.sessions_aio.get("alice", "s1")
            for _ in range(2):
                await session.start("talks")
            await done[0].wait()

    run_main(loop, main)
    assert seen == ["agent_output"] * 2
    assert "fails failed" in caplog.text


@in_each_loop
def test_asyncio_function_with_a_consumer(loop: str) -> None:
    """An asyncio function with a consumer is called again for its event after an exception."""
    app = app_with()
    calls: list[int] = []
    done: list[asyncio.Event] = []

    @app.on("agent_output", consumer="billing", host="asyncio")
    async def bills(observed: Observed) -> None:
        await turn()
        calls.append(observed.event.seq)
        if len(calls) == 1:
            raise ValueError("no connection")
        done[0].set()

    async def main() -> None:
        done.append(asyncio.Event())
        async with hosted(app):
            await app.sessions_aio.get("alice", "s1").start("talks")
            await done[0].wait()

    run_main(loop, main)
    assert calls == [2, 2]


async def test_asyncio_function_needs_asyncio() -> None:
    """Without an asyncio loop, an app with an asyncio function does not start, and an unknown library is refused."""
    app = app_with()

    @app.on("custom", host="asyncio")
    async def handles(observed: Observed) -> None: ...

    with pytest.raises(ConfigError, match="handles is written for asyncio, and this server runs on trio alone"):
        async with app.running(port=0):
            raise AssertionError
    wrong: Any = "curio"
    with pytest.raises(ConfigError, match=r"^host of app\.on must be 'trio' or 'asyncio', not 'curio'$"):
        app.on("custom", host=wrong)(handles)
