"""A command that is repeated with the same id is executed once, even after a new connection, a crash or a restart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
from _scale import scaled
from delivery.agents import KEY, server_on
from delivery.process import connect_arguments, server_process
from protocol.wire import Client, greeted

from actors import MemoryLog, SqliteLog
from actors.streams import _stream
from actors.testing import FaultyLog
from transport import Greenroom, connect

if TYPE_CHECKING:
    from pathlib import Path

    from actors import EventLog


def server_with_large_burst(log: str | EventLog) -> Greenroom:
    """Return a server that accepts many commands at once."""
    return server_on(log, commands_burst=10_000)


async def send_message(one: Client, id_: str) -> tuple[int, bool]:
    """Send a message with a command id. Return the message's seq, and whether the server called it a repetition."""
    reply = await one.command(id_, "message.send", text=f"text of {id_}")
    assert reply["ok"], reply
    return reply["result"]["seq"], reply.get("duplicate", False)


async def test_repeated_message(tmp_path: Path) -> None:
    """A message that is sent again with the same command id is executed only once.

    This holds on the same connection, on a new connection, and after a restart of the server.
    """
    log = f"sqlite:{tmp_path / 'log.db'}"
    async with server_with_large_burst(log).running(port=0) as server:
        async with greeted(server) as one:
            assert [await send_message(one, "a"), await send_message(one, "b"), await send_message(one, "a")] == [
                (1, False),
                (2, False),
                (1, True),
            ]
        async with greeted(server) as one:
            assert await send_message(one, "a") == (1, True)
    for _ in range(2):
        async with server_with_large_burst(log).running(port=0) as server, greeted(server) as one:
            assert [await send_message(one, "a"), await send_message(one, "b")] == [(1, True), (2, True)]
    async with server_with_large_burst(log).running(port=0) as server, greeted(server) as one:
        assert await send_message(one, "c") == (3, False)
        assert [event["data"]["text"] for event in await one.events_until(3)] == [f"text of {id_}" for id_ in "abc"]


@pytest.mark.parametrize(("room", "first_is_known"), [(4_000, True), (3_000, False)])
async def test_restart_with_too_many_commands(tmp_path: Path, room: int, *, first_is_known: bool) -> None:
    """After a restart the server still knows the newest commands, as many as fit into ``command_memory_bytes``.

    An older command is executed again if it is repeated.
    """
    log = f"sqlite:{tmp_path / 'log.db'}"
    settings = {"commands_burst": 10_000, "command_memory_bytes": room}
    async with server_on(log, **settings).running(port=0) as server, greeted(server) as one:
        for number in range(100):
            await send_message(one, f"{number}")
    async with server_on(log, **settings).running(port=0) as server, greeted(server, **{"from": "latest"}) as one:
        assert [await send_message(one, f"{number}") for number in range(50, 100)] == [
            (n + 1, True) for n in range(50, 100)
        ]
        assert await send_message(one, "0") == ((1, True) if first_is_known else (101, False))


async def test_start_whose_event_was_trimmed(tmp_path: Path) -> None:
    """A restarted server recognises a repeated start even if the start's event was trimmed.

    It reads no events for this.
    """
    log = SqliteLog(tmp_path / "log.db")
    async with server_on(log, retain_events=5).running(port=0) as server, greeted(server) as one:
        first = await one.command("once", "run.start", agent="chatter", input=20)
        await one.events_until(22)
    async with server_on(log, retain_events=5).running(port=0) as server:
        async with greeted(server, **{"from": "latest"}) as one:
            again = await one.command("once", "run.start", agent="chatter", input=20)
        head = await log.head(KEY)
        assert head is not None
        assert (head.oldest, head.latest) == (18, 22)
        assert log.statistics().reads == 0
    assert (again["result"], again["duplicate"]) == (first["result"], True)


async def test_command_is_forgotten(tmp_path: Path) -> None:
    """A command that is repeated more than ``command_memory_seconds`` later is executed again."""
    log = f"sqlite:{tmp_path / 'log.db'}"
    async with server_with_large_burst(log).running(port=0) as server, greeted(server) as one:
        assert await send_message(one, "a") == (1, False)
    async with server_on(log, command_memory_seconds=0).running(port=0) as server, greeted(server) as one:
        assert await send_message(one, "a") == (2, False)


async def test_clock_of_the_next_server_is_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server knows the commands of an earlier one, though its clock is an hour ahead of that of the earlier one."""
    log, real = f"sqlite:{tmp_path / 'log.db'}", time.time_ns
    async with server_with_large_burst(log).running(port=0) as server, greeted(server) as one:
        assert await send_message(one, "a") == (1, False)
    monkeypatch.setattr(_stream, "time_ns", lambda: real() + 3600 * 10**9)
    async with server_on(log).running(port=0) as server, greeted(server, **{"from": "latest"}) as one:
        assert [await send_message(one, "b"), await send_message(one, "a")] == [(2, False), (1, True)]


async def test_crashed_session_knows_its_commands() -> None:
    """A session that restarts after a crash remembers the commands that were committed, and does not repeat them.

    A command whose commit failed is executed when the client sends it again.
    """
    log = FaultyLog(MemoryLog())
    async with server_with_large_burst(log).running(port=0) as server:
        async with greeted(server) as one:
            assert await send_message(one, "a") == (1, False)
            log.fail("append")
            await one.send("command", id="b", name="message.send", args={"text": "text of b"})
            assert (await one.ended()).code == 4006
        async with greeted(server) as one:
            assert [await send_message(one, "a"), await send_message(one, "b")] == [(1, True), (2, False)]


@pytest.mark.parametrize("moment", range(scaled(1, 3)))
async def test_commands_to_a_killed_server(tmp_path: Path, moment: int) -> None:
    """Each message that a client sends is executed once and in order, although the server is killed twice meanwhile."""
    async with server_process(tmp_path) as server:
        async with connect("ws://server/", "s1", **connect_arguments(server, "alice", moment)) as client:
            events = client.events()
            said: list[Any] = []

            async def receive(count: int) -> None:
                """Read a number of events."""
                said.extend([await anext(events) for _ in range(count)])

            async def send_all() -> None:
                """Send 60 messages."""
                for number in range(60):
                    await client.send(f"{number}")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_all)
                for _ in range(2):
                    await receive(7 + moment)
                    await server.kill()
                    await server.start()
            await receive(60 - len(said))
            assert [event.text for event in said] == [f"{number}" for number in range(60)]
