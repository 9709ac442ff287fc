"""A command that is sent again is done once: on another connection, after a crash, after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from _scale import scaled
from delivery.agents import app_on
from delivery.process import options, server_process
from protocol.wire import Client, greeted

from actors import MemoryLog
from actors.testing import FaultyLog
from transport import Greenroom, connect

if TYPE_CHECKING:
    from pathlib import Path

    from actors import EventLog


def quiet(log: str | EventLog) -> Greenroom:
    return app_on(log, commands_burst=10_000)


async def say(one: Client, id_: str) -> tuple[int, bool]:
    """Send a message with that command id; its seq, and whether it had been sent before."""
    reply = await one.command(id_, "message.send", text=f"text of {id_}")
    assert reply["ok"], reply
    return reply["result"]["seq"], reply.get("duplicate", False)


async def test_a_message_is_said_once_on_whatever_connection_and_after_a_restart(tmp_path: Path) -> None:
    log = f"sqlite:{tmp_path / 'log.db'}"
    async with quiet(log).running(port=0) as server:
        async with greeted(server) as one:
            assert [await say(one, "a"), await say(one, "b"), await say(one, "a")] == [
                (1, False),
                (2, False),
                (1, True),
            ]
        async with greeted(server) as one:
            assert await say(one, "a") == (1, True)
    for _ in range(2):
        async with quiet(log).running(port=0) as server, greeted(server) as one:
            assert [await say(one, "a"), await say(one, "b")] == [(1, True), (2, True)]
    async with quiet(log).running(port=0) as server, greeted(server) as one:
        assert await say(one, "c") == (3, False)
        assert [event["data"]["text"] for event in await one.until(3)] == [f"text of {id_}" for id_ in "abc"]


async def test_the_newest_64_are_known_after_a_restart(tmp_path: Path) -> None:
    log = f"sqlite:{tmp_path / 'log.db'}"
    async with quiet(log).running(port=0) as server, greeted(server) as one:
        for number in range(65):
            await say(one, f"{number}")
    async with quiet(log).running(port=0) as server, greeted(server, **{"from": "latest"}) as one:
        assert [await say(one, f"{number}") for number in range(1, 65)] == [(n + 1, True) for n in range(1, 65)]
        assert await say(one, "0") == (66, False)


async def test_after_its_time_a_command_is_a_new_one(tmp_path: Path) -> None:
    log = f"sqlite:{tmp_path / 'log.db'}"
    async with quiet(log).running(port=0) as server, greeted(server) as one:
        assert await say(one, "a") == (1, False)
    async with app_on(log, command_memory_seconds=0).running(port=0) as server, greeted(server) as one:
        assert await say(one, "a") == (2, False)


async def test_a_session_that_crashed_knows_what_its_predecessor_did() -> None:
    log = FaultyLog(MemoryLog())
    async with quiet(log).running(port=0) as server:
        async with greeted(server) as one:
            assert await say(one, "a") == (1, False)
            log.fail("append")
            await one.send("command", id="b", name="message.send", args={"text": "text of b"})
            assert (await one.ended()).code == 4006
        async with greeted(server) as one:
            assert [await say(one, "a"), await say(one, "b")] == [(1, True), (2, False)]


@pytest.mark.parametrize("moment", range(scaled(1, 3)))
async def test_a_client_says_everything_once_to_a_server_that_is_killed(tmp_path: Path, moment: int) -> None:
    async with server_process(tmp_path) as server:
        async with connect("ws://server/", "s1", **options(server, "alice", moment)) as client:
            events = client.events()
            said: list[Any] = []

            async def hear(count: int) -> None:
                said.extend([await anext(events) for _ in range(count)])

            async def talk() -> None:
                for number in range(60):
                    await client.send(f"{number}")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(talk)
                for _ in range(2):
                    await hear(7 + moment)
                    await server.kill()
                    await server.start()
            await hear(60 - len(said))
            assert [event.text for event in said] == [f"{number}" for number in range(60)]
