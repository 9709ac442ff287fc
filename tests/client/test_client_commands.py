"""The commands of the Python client against a scripted server in memory, in virtual time."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import orjson
import pytest
from _both_loops import on_both_loops, settle
from _scripted_server import Peer, scripted
from client.scripts import stay_connected

from actors import CommandRefused
from transport.errors import (
    ConnectionClosedForGood,
)

if TYPE_CHECKING:
    from transport.client import Client


@on_both_loops
async def test_unanswered_start_is_sent_again() -> None:
    """If the connection is lost before the reply to a start, the client sends the start again with the same id."""
    commands: list[dict[str, Any]] = []

    async def first(peer: Peer) -> None:
        await peer.welcome()
        commands.append(await peer.expect("command"))
        await peer.abort()

    async def second(peer: Peer) -> None:
        await peer.welcome(recovered=True)
        commands.append(await peer.expect("command"))
        await peer.send("reply", id=commands[-1]["id"], ok=True, result={"run_id": "r1"}, duplicate=True)
        await peer.closed_by_client()

    async with scripted(first, second) as server, server.connect() as client:
        assert await client.start("assistant", {"q": 1}) == "r1"
        assert client.statistics().commands == 0
        assert client.statistics().resent == 1
    assert commands[0] == commands[1]
    assert commands[0]["name"] == "run.start"
    assert commands[0]["args"] == {"agent": "assistant", "input": {"q": 1}}


@on_both_loops
async def test_answered_command_is_not_sent_again() -> None:
    """If a command has got its reply, the client does not send it again on the next connection."""

    async def first(peer: Peer) -> None:
        await peer.welcome()
        command = await peer.expect("command")
        await peer.send("reply", id=command["id"], ok=True, result={"cancelled": True})
        await peer.close(4001)

    async def second(peer: Peer) -> None:
        await peer.welcome(recovered=True)
        with anyio.move_on_after(30) as silence:
            await peer.receive()
        assert silence.cancelled_caught
        await peer.close(4506)

    async with scripted(first, second) as server, server.connect() as client:
        assert await client.cancel("r1") is True
        with pytest.raises(ConnectionClosedForGood):
            await anext(client.events())


@on_both_loops
async def test_refused_command_raises() -> None:
    """If the server refuses a command, the call raises CommandRefused with the code and message of the reply."""

    async def script(peer: Peer) -> None:
        await peer.welcome()
        command = await peer.expect("command")
        await peer.send("reply", id=command["id"], ok=False, error={"code": "unknown_agent", "message": "who?"})
        await peer.closed_by_client()

    async with scripted(script) as server, server.connect() as client:
        with pytest.raises(CommandRefused) as refused:
            await client.start("nobody")
        assert (refused.value.code, refused.value.message) == ("unknown_agent", "who?")
        assert str(refused.value) == "unknown_agent: who?"


@pytest.mark.parametrize("call", ["start", "history", "events"])
@on_both_loops
async def test_traceback_is_short(call: str) -> None:
    """The traceback of an error that ended the client goes to the public call, and not into the client's own parts."""

    async def script(peer: Peer) -> None:
        await peer.expect("hello")
        await peer.close(4501, "the token is not valid")

    async with scripted(script) as server, server.connect(token="wrong") as client:
        with pytest.raises(ConnectionClosedForGood) as ended:
            await {"start": lambda: client.start("a"), "history": lambda: client.history(0)}.get(
                call, lambda: anext(client.events())
            )()
    names = {Path(each.filename).name for each in traceback.extract_tb(ended.value.__traceback__)}
    assert names <= {"test_client_commands.py", "_client.py", "_items.py"}


@on_both_loops
async def test_commands_are_queued_while_offline() -> None:
    """While offline, the client queues commands in order.

    A command beyond ``max_commands`` is refused as ``overloaded``.
    """

    async def script(peer: Peer) -> None:
        await peer.welcome()
        for text in ("one", "two"):
            command = await peer.expect("command")
            assert (command["name"], command["args"]) == ("message.send", {"text": text})
            await peer.send("reply", id=command["id"], ok=True, result={})
        await peer.closed_by_client()

    refused = [ConnectionRefusedError("nobody there") for _ in range(3)]
    async with (
        scripted(*refused, script) as server,
        server.connect(max_commands=2) as client,
        anyio.create_task_group() as nursery,
    ):
        for text in ("one", "two"):
            nursery.start_soon(client.send, text)
            await settle()
        with pytest.raises(CommandRefused) as overloaded:
            await client.send("three")
        assert overloaded.value.code == "overloaded"


@on_both_loops
async def test_cancelled_unsent_command_is_withdrawn() -> None:
    """If a call is cancelled before its command was sent, the command is never sent."""

    async def script(peer: Peer) -> None:
        await peer.welcome()
        assert (await peer.expect("command"))["args"] == {"text": "kept"}
        await peer.close(4506)

    async with scripted(ConnectionRefusedError("nobody there"), script) as server, server.connect() as client:
        with anyio.move_on_after(0):
            await client.send("withdrawn")
        with pytest.raises(ConnectionClosedForGood):
            await client.send("kept")


NESTED: Any = orjson.loads("[" * 70 + "]" * 70)


@pytest.mark.parametrize("value", [float("nan"), {1: 2}, "\ud800", b"bytes", NESTED])
@on_both_loops
async def test_unsendable_input_is_refused(value: Any) -> None:
    """The call itself refuses, as ``bad_args``, an input because of which the server would close the connection."""
    async with scripted(stay_connected) as server, server.connect() as client:
        await settle()
        with pytest.raises(CommandRefused) as refused:
            await client.start("a", value)
        assert refused.value.code == "bad_args"


@on_both_loops
async def test_too_large_command_is_refused() -> None:
    """A command above the server's ``max_frame_bytes`` is refused as ``bad_args``, before and after the welcome."""

    async def script(peer: Peer) -> None:
        await peer.welcome(max_frame_bytes=1024)
        await peer.closed_by_client()

    async with scripted(script) as server, server.connect() as client:
        for _ in range(2):  # submitted before the welcome said so, and after
            with pytest.raises(CommandRefused, match="1024") as refused:
                await client.send("x" * 2000)
            assert refused.value.code == "bad_args"


@on_both_loops
async def test_history() -> None:
    """``history`` returns a page of events.

    If the server answers with an error frame, ``history`` raises the refusal.
    """

    async def script(peer: Peer) -> None:
        await peer.welcome(latest=9)
        asked = await peer.expect("history")
        assert (asked["after"], asked["limit"]) == (3, 2)
        await peer.send("history", id=asked["id"], events=[{**_event(4)}, {**_event(5)}], more=True)
        await peer.expect("history")
        await peer.send("error", code="rate_limited", message="slowly")
        await peer.closed_by_client()

    async with scripted(script) as server, server.connect() as client:
        page = await client.history(3, 2)
        assert ([event.seq for event in page.events], page.more) == ([4, 5], True)
        with pytest.raises(CommandRefused) as refused:
            await client.history(5)
        assert refused.value.code == "rate_limited"
        with pytest.raises(ValueError, match="limit"):
            await client.history(0, 501)


def _event(seq: int) -> dict[str, Any]:
    """Return a custom event with this seq, as JSON."""
    return {"seq": seq, "ts": 1, "type": "custom", "data": {"name": "n", "value": seq}}


@on_both_loops
async def test_close_session_without_a_reply() -> None:
    """``close_session`` succeeds even if the connection ends with 4506 (session closed) before the reply comes."""

    async def script(peer: Peer) -> None:
        await peer.welcome()
        assert (await peer.expect("command"))["name"] == "session.close"
        await peer.close(4506, "closed")

    async with scripted(script) as server, server.connect() as client:
        await client.close_session()
        assert client.state == "closed"


@on_both_loops
async def test_id_is_free_after_its_reply() -> None:
    """When a command has its reply, its id can be used for a new command at once, which gets its own reply."""
    rounds = 50

    async def answers(peer: Peer) -> None:
        await peer.welcome()
        for number in range(2 * rounds):
            command = await peer.expect("command")
            await peer.send("reply", id=command["id"], ok=True, result={"run_id": f"r{number}"}, duplicate=False)
        await peer.closed_by_client()

    async def again(client: Client, got: list[str]) -> None:
        while not client.statistics().commands:
            await anyio.lowlevel.checkpoint()
        while client.statistics().commands:  # the reply was read; the task that waits for it may not know yet
            await anyio.lowlevel.checkpoint()
        got.append(await client.start("assistant", command_id="c1"))

    async with scripted(answers) as server, server.connect() as client:
        for number in range(rounds):
            got: list[str] = []
            with anyio.fail_after(10):
                async with anyio.create_task_group() as nursery:
                    nursery.start_soon(again, client, got)
                    got.append(await client.start("assistant", command_id="c1"))
            assert sorted(got) == sorted([f"r{2 * number}", f"r{2 * number + 1}"])
        assert client.statistics().commands == 0
