"""An agent that awaits a function of the wrong library gets a hint with its error, and the server goes on."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hosting.test_lifespan import Site
from starlette.testclient import TestClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors import Run


async def timeout() -> None:
    async with asyncio.timeout(1):
        await trio.lowlevel.checkpoint()


async def tasks() -> None:
    async with asyncio.TaskGroup():
        pass


async def gather() -> None:
    await asyncio.gather(asyncio.get_running_loop().create_future())


WRONG: tuple[Callable[[], Awaitable[object]], ...] = (partial(asyncio.sleep, 0.01), timeout, tasks, gather)


def result_of(site: Site, agent: str, backend: Any) -> dict[str, Any]:
    """Run an agent, and return its ``agent_completed``. Then check that another agent still runs."""
    with TestClient(site.api, backend=backend) as client:
        with client.websocket_connect("/ws", subprotocols=["greenroom.v1"]) as socket:
            socket.send_json({"type": "hello", "session": "s1"})
            socket.receive_json()
            socket.send_text(json.dumps({"type": "command", "id": "1", "name": "run.start", "args": {"agent": agent}}))
            completed: list[dict[str, Any]] = []
            while not completed:
                events = socket.receive_json().get("events", ())
                completed = [event["data"] for event in events if event["type"] == "agent_completed"]
        assert client.post("/runs/1").status_code == 200
    return completed[0]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("wrong", WRONG, ids=["sleep", "timeout", "tasks", "gather"])
def test_asyncio_in_an_agent_on_trio(wrong: Callable[[], Awaitable[object]], backend: str) -> None:
    """An agent on trio that awaits asyncio's code fails with a hint, on a web server of either library."""
    site = Site()

    @site.app.agent
    async def agent(run: Run) -> None:
        await wrong()

    completed = result_of(site, "agent", backend)
    assert completed["status"] == "error"
    assert '@app.agent(host="asyncio")' in completed["error"]["message"]


async def nursery() -> None:
    async with trio.open_nursery():
        pass


@pytest.mark.parametrize(
    "wrong",
    [
        trio.sleep_forever,
        trio.lowlevel.checkpoint,
        trio.lowlevel.cancel_shielded_checkpoint,
        trio.Event().wait,
        nursery,
    ],
)
def test_trio_in_an_agent_on_asyncio(wrong: Callable[[], Awaitable[object]]) -> None:
    """An agent on asyncio that awaits trio's code fails with a hint."""
    site = Site()

    @site.app.agent(host="asyncio")
    async def agent(run: object) -> None:
        await wrong()

    completed = result_of(site, "agent", "asyncio")
    assert completed["status"] == "error"
    assert "trio functions work only in trio tasks" in completed["error"]["message"]
