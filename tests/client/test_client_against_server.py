"""The Python client and the real server, over real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import trio
from _both_loops import client_of_this_loop, on_real_loops, serving
from _processes import PATIENCE

from actors import (
    AgentCompleted,
    AgentOutput,
    AgentStarted,
    CommandRefused,
    Event,
    InputRequested,
    Position,
    Run,
    UserMessage,
)
from transport import Credentials, Greenroom, NotAuthenticated, User
from transport.client import Client, QueuedStart, Reset
from transport.errors import ConnectionClosedForGood, HandshakeRejected, PositionLost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def make_app(log: str = "memory:", **options: Any) -> Greenroom:
    """Return an app with three agents: one echoes, one waits permanently, and one asks a question."""
    app = Greenroom(log=log, **options)

    @app.agent
    async def echo(run: Run, prompt: str) -> str:
        for word in prompt.split():
            await run.output(word)
        return prompt.upper()

    @app.agent
    async def patient(run: Run, _: str) -> None:
        await run.thinking("waiting")
        await trio.sleep_forever()

    @app.agent
    async def curious(run: Run, _: str) -> object:
        return await run.ask_user("what?")

    return app


async def until_completed(events: AsyncIterator[Event | Reset]) -> list[Event]:
    """Return the events from now on, up to the end of a run."""
    seen: list[Event] = []
    async for event in events:
        assert isinstance(event, Event)
        seen.append(event)
        if isinstance(event, AgentCompleted):
            return seen
    raise AssertionError("the stream ended before the run did")


@on_real_loops
async def test_events_of_a_run_arrive_in_order() -> None:
    """The client gets all events of a run in order, from the start of the run to its end."""
    async with serving(make_app(), port=0) as url, client_of_this_loop(url, "s1") as client:
        run_id = await client.start("echo", "a b c")
        seen = await until_completed(client.events())
        assert isinstance(seen[0], AgentStarted)
        assert [event.text for event in seen if isinstance(event, AgentOutput)] == ["a", "b", "c"]
        assert isinstance(seen[-1], AgentCompleted)
        assert (seen[-1].status, seen[-1].result) == ("ok", "A B C")
        assert {event.run_id for event in seen} == {run_id}
        assert [event.seq for event in seen] == [1, 2, 3, 4, 5]
        assert client.position == Position(seen_epoch(client), 5)


def seen_epoch(client: Client) -> str:
    """Return the epoch of the client's welcome."""
    assert client.welcome is not None
    return client.welcome.epoch


@on_real_loops
async def test_cancel() -> None:
    """``cancel`` ends a run with the status ``cancelled``, and returns False if the run has already ended."""
    async with serving(make_app(), port=0) as url, client_of_this_loop(url, "s1") as client:
        run_id = await client.start("patient", "")
        assert await client.cancel(run_id)
        seen = await until_completed(client.events())
        assert isinstance(seen[-1], AgentCompleted)
        assert seen[-1].status == "cancelled"
        assert not await client.cancel(run_id)


@on_real_loops
async def test_queued_start_can_be_cancelled() -> None:
    """A start that waits for its turn is listed in ``client.queued``, and can be cancelled by the id of its command.

    The list comes from the welcome and from later signals.
    """
    settings = {"runs_per_user": 1}
    async with (
        serving(make_app(settings=settings), port=0) as url,
        client_of_this_loop(url, "s1") as first,
        anyio.create_task_group() as nursery,
    ):
        running = await first.start("patient", "")
        refused: list[str] = []

        async def start() -> None:
            with pytest.raises(CommandRefused) as caught:
                await first.start("patient", "", command_id="mine")
            refused.append(caught.value.code)

        nursery.start_soon(start)
        assert (await anext(first.signals())).name == "queued"
        assert list(first.queued) == [QueuedStart("mine", "patient")]
        async with client_of_this_loop(url, "s1") as second:
            await anext(second.events())
            ((id_, since),) = [(start.command_id, start.since) for start in second.queued]
            assert (id_, type(since)) == ("mine", int)
            assert await second.cancel(command_id="mine")
            await anext(second.signals())
            assert not second.queued
        await anext(first.signals())
        assert not first.queued
        assert await first.cancel(running)
    assert refused == ["cancelled"]


@on_real_loops
async def test_question_is_answered() -> None:
    """The answer that a client gives to an agent's question becomes the result of the agent's ``ask_user``."""
    async with serving(make_app(), port=0) as url, client_of_this_loop(url, "s1") as client:
        await client.start("curious", "")
        events = client.events()
        event = await anext(events)
        while not isinstance(event, InputRequested):
            event = await anext(events)
        assert event.run_id is not None
        assert event.call_id is not None
        await client.answer(event.run_id, event.call_id, {"n": 42})
        seen = await until_completed(events)
        assert isinstance(seen[-1], AgentCompleted)
        assert seen[-1].result == {"n": 42}


@on_real_loops
async def test_refusal_has_the_servers_code() -> None:
    """If the server refuses a command, the call raises CommandRefused with the code that the server sent."""
    async with serving(make_app(), port=0) as url, client_of_this_loop(url, "s1") as client:
        with pytest.raises(CommandRefused) as refused:
            await client.start("nobody", "x")
        assert refused.value.code == "unknown_agent"


@on_real_loops
async def test_history_messages_and_signals() -> None:
    """With a real server, ``history`` returns a page of events, and ``typing`` reaches another client as a signal."""
    async with (
        serving(make_app(), port=0) as url,
        client_of_this_loop(url, "s1") as client,
        client_of_this_loop(url, "s1") as other,
    ):
        for text in ("one", "two", "three"):
            await client.send(text)
        page = await client.history(1, 1)
        assert ([event.seq for event in page.events], page.more) == ([2], True)
        await other.history(0)  # it is attached
        await client.typing(active=True)
        async for signal in other.signals():
            assert (signal.name, signal.data["active"]) == ("typing", True)
            break


@on_real_loops
async def test_resume_after_a_restart(tmp_path: Path, own_port: int) -> None:
    """After a restart of the server, the client resumes after its last event: it misses none and gets none twice."""
    log = f"sqlite:{tmp_path / 'log.db'}"
    async with client_of_this_loop(f"ws://127.0.0.1:{own_port}", "s1") as client:
        events = client.events()
        async with serving(make_app(log), port=own_port):
            await client.start("echo", "before the restart")
            before = await until_completed(events)
        async with serving(make_app(log), port=own_port):
            # Not after the time that the server named, unless that is over already.
            while not client.reconnect() and client.statistics().connections < 2:
                await anyio.lowlevel.checkpoint()
            await client.start("echo", "after it")
            after = await until_completed(events)
        assert [event.seq for event in before + after] == list(range(1, 10))
        assert client.statistics().resets == 0
        assert client.statistics().connections == 2


@on_real_loops
async def test_offline_commands_are_all_done(own_port: int) -> None:
    """Commands up to ``max_commands`` are queued while the client is offline.

    After it connects, all are done in order.
    """
    texts = [str(number) for number in range(32)]
    async with client_of_this_loop(f"ws://127.0.0.1:{own_port}", "s1") as client, anyio.create_task_group() as nursery:
        for text in texts:
            waiting = client.statistics().commands
            nursery.start_soon(client.send, text)
            while client.statistics().commands == waiting:
                await anyio.lowlevel.checkpoint()
        with pytest.raises(CommandRefused) as refused:
            await client.send("one too many")
        assert refused.value.code == "overloaded"
        async with serving(make_app(), port=own_port):
            events = client.events()
            sent = [await anext(events) for _ in texts]
            assert [event.text for event in sent if isinstance(event, UserMessage)] == texts
            while client.statistics().commands:  # replies may come after the events
                await anyio.lowlevel.checkpoint()


@on_real_loops
async def test_stored_position_resumes_or_resets() -> None:
    """A new client resumes at a stored position.

    If the position is lost, it gets a Reset, or PositionLost if it is strict.
    """
    async with serving(make_app(), port=0) as url:
        async with client_of_this_loop(url, "s1") as client:
            await client.start("echo", "x y")
            await until_completed(client.events())
            await client.send("later")
            position = client.position
        async with client_of_this_loop(url, "s1", resume=position) as client:
            event = await anext(client.events())
            assert isinstance(event, UserMessage)
            assert (event.seq, event.text) == (5, "later")
        lost = Position("another", 3)
        async with client_of_this_loop(url, "s1", resume=lost) as client:
            events = client.events()
            assert await anext(events) == Reset("epoch_changed")
            assert [event.seq for event in await until_completed(events)] == [1, 2, 3, 4]
        async with client_of_this_loop(url, "s1", resume=lost, strict=True) as client:
            with pytest.raises(PositionLost):
                await anext(client.events())


@on_real_loops
async def test_wrong_token_ends_the_client() -> None:
    """If the auth function refuses the token, the client ends with code 4501, and does not reconnect."""

    async def gate(credentials: Credentials) -> User:
        if credentials.token != "good":
            raise NotAuthenticated("no")
        return User("alice")

    async with serving(make_app(auth=gate), port=0) as url:
        async with client_of_this_loop(url, "s1", token="bad") as client:
            with pytest.raises(ConnectionClosedForGood) as ended:
                await client.start("echo", "x")
            assert ended.value.code == 4501
            with pytest.raises(ConnectionClosedForGood):
                await anext(client.events())
            assert client.state == "closed"
        async with client_of_this_loop(url, "s1", token=lambda: "good") as client:
            assert await client.start("echo", "x")


@on_real_loops
async def test_wrong_path_ends_the_client() -> None:
    """If the URL has a path that the server does not know, the client ends with HTTP 404."""
    async with serving(make_app(), port=0) as url, client_of_this_loop(f"{url}elsewhere", "s1") as client:
        with pytest.raises(HandshakeRejected) as ended:
            await anext(client.events())
        assert ended.value.code == 404


@on_real_loops
async def test_log_larger_than_the_buffer() -> None:
    """A client with a small buffer gets every event of a much larger log, although it must skip events meanwhile."""
    words = " ".join(str(n) for n in range(3000))
    async with serving(make_app(), port=0) as url:
        async with client_of_this_loop(url, "s1") as client:
            await client.start("echo", words)
            await until_completed(client.events())
        async with client_of_this_loop(url, "s1", buffer_events=64) as client:
            await client.send("a command does not wait for the application to take events")
            with anyio.fail_after(PATIENCE):
                while not client.statistics().skipped:  # nothing is taken meanwhile
                    await anyio.lowlevel.checkpoint()
            seen = await until_completed(client.events())
            assert [event.seq for event in seen] == list(range(1, 3003))
