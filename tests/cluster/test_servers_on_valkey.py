"""Two servers on one log in Valkey: clients of both share sessions, over real WebSockets."""

from __future__ import annotations

from typing import Any

import trio
from _valkey import Server

from transport import Greenroom
from transport.client import connect

SECONDS = 30
"""Time limit of the test."""


def app(log: str) -> Greenroom:
    """Return an app with an agent that emits its input."""
    made = Greenroom(log=log)

    @made.agent
    async def echo(run: Any, value: str) -> str:
        await run.output(value)
        return value

    return made


async def test_a_client_of_each_server() -> None:
    """A start at one server is seen by the clients of both. When that server ends, the session goes on at the other."""
    with trio.fail_after(SECONDS), Server() as valkey:
        async with app(valkey.url).running(port=0) as first:
            async with app(valkey.url).running(port=0) as second:
                async with (
                    connect(second.url, session="s1") as owner,
                    connect(first.url, session="s1") as client,
                ):
                    await owner.send("hello")
                    await client.start("echo", "1")
                    ours, theirs = [await read(each, 4) for each in (owner, client)]
                    assert ours == theirs
                    assert ours[0] == "user_message"
            async with connect(first.url, session="s1") as again:
                assert await read(again, 4) == ours
                await again.start("echo", "2")
                assert (await read(again, 3))[-1] == "agent_completed"


async def read(client: Any, number: int) -> list[str]:
    """Return the types of the next events of a client."""
    events = client.events()
    return [(await anext(events)).type for _ in range(number)]
