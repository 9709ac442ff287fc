"""Two servers on one log in Valkey: clients of both share sessions, over real WebSockets."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from _cluster_nodes import eventually
from _valkey import Server

from actors import ConfigError, NodeState
from transport import Greenroom
from transport.client import connect

SECONDS = 60
"""Time limit of the test."""


def app(log: str, **settings: object) -> Greenroom:
    """Return an app with an agent that emits its input."""
    made = Greenroom(log=log, settings=settings)

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


async def test_settings_reach_the_node() -> None:
    """``node_name`` names the node of a server, and a second server with this name does not start."""
    with Server() as valkey:
        server = app(valkey.url, node_name="web", lease_seconds=1)
        async with server.running(port=0):
            with (
                pytest.raises(ConfigError, match="node_name web is in use"),
                trio.fail_after(SECONDS),
            ):
                async with app(valkey.url, node_name="web", lease_seconds=1).running(port=0):
                    raise AssertionError("the second server has started")


async def test_server_that_is_cut_off_is_not_ready() -> None:
    """While Valkey does not answer, ``/readyz`` says that the node is cut off. The statistics show it, too."""
    with Server() as valkey:
        async with app(valkey.url, node_name="web", lease_seconds=1).running(port=0) as server:
            assert server.health().unready == ""
            async with connect(server.url, session="s1") as client:
                await client.start("echo", "1")
                await read(client, 3)
            seen = server.cluster_statistics()
            assert seen is not None
            assert (seen.node, seen.state, seen.nodes, seen.claims) == ("web", NodeState.LIVE, 1, 1)
            assert seen.until <= 0.75
            assert min(seen.flushes, seen.commands) > 0
            valkey.pause()
            await eventually(lambda: server.health().unready == "the node is cut off from the server of its log")
            assert server.health().failed == ""
            valkey.go_on()
            await eventually(lambda: not server.health().unready)


async def test_server_with_a_log_of_its_own_is_no_node() -> None:
    """A server whose log no other server can use has no statistics of a cluster."""
    async with app("memory:").running(port=0) as server:
        assert server.cluster_statistics() is None


async def read(client: Any, number: int) -> list[str]:
    """Return the types of the next events of a client."""
    events = client.events()
    return [(await anext(events)).type for _ in range(number)]
