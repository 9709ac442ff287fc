"""The wire through an ASGI server: its turns, its bounds and its ends, in both libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import trio
import trio.testing
from hosting.asgi_client import AsgiClient, call, called, welcomed
from protocol.agents import make_app

from transport.hosting import endpoint, hosted
from transport.hosting._wire_asgi import MAX_RECEIVED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    from transport import Greenroom, Server

BACKENDS = ["asyncio", "trio"]


@pytest.fixture(params=BACKENDS)
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[Any]]], Any]:
    """Run an async function in a new event loop of either library."""
    return lambda story: anyio.run(story, backend=request.param)


async def emit(app: Greenroom, *values: object, session: str = "s1") -> None:
    """Commit one event for each of the values, from either library."""

    async def work() -> None:
        handle = await app.sessions.get("anonymous", session)
        for value in values:
            await handle.emit("note", value)

    host = app.server.host.asyncio
    await (work() if host is None else host.run(work))


async def gone(server: Server) -> None:
    """Wait until the endpoint has no connection."""
    with anyio.fail_after(60):
        while server.endpoint.statistics().connections:
            await anyio.lowlevel.checkpoint()


def test_conversation(run: Callable[..., Any]) -> None:
    """A client of an ASGI server says hello, starts a run, and gets its events in order."""
    app = make_app()

    async def story() -> None:
        async with hosted(app), welcomed(endpoint(app)) as client:
            assert client.sent[0] == {"type": "websocket.accept", "subprotocol": "greenroom.v1"}
            client.say("command", id="1", name="run.start", args={"agent": "echo", "input": "hi"})
            await client.until(lambda: client.events() and client.events()[-1]["type"] == "agent_completed")
            assert client.of_type("reply")[0]["ok"]
            assert [event["type"] for event in client.events()] == ["agent_started", "agent_output", "agent_completed"]
            assert [event["seq"] for event in client.events()] == [1, 2, 3]

    run(story)


def test_client_that_hangs_up_leaves_nothing(run: Callable[..., Any]) -> None:
    """If the client leaves, the connection ends, and the ASGI call returns."""
    app = make_app()

    async def story() -> None:
        async with hosted(app) as server:
            async with welcomed(endpoint(app)):
                assert server.endpoint.statistics().connections == 1
            assert server.endpoint.statistics().connections == 0

    run(story)


def test_server_that_takes_no_message_ends_the_connection(run: Callable[..., Any]) -> None:
    """If ``send`` raises, the client has left: the connection ends without an error in the log."""
    app = make_app()

    async def story() -> None:
        async with hosted(app) as server, welcomed(endpoint(app)) as client:
            client.error = OSError("the client has left")
            await emit(app, 1)
            await gone(server)

    run(story)


def test_cancelled_call_says_goodbye(run: Callable[..., Any]) -> None:
    """If the web server cancels the ASGI call, the client gets a goodbye and 1001, and the call ends as cancelled."""
    app = make_app()

    async def story() -> None:
        async with hosted(app) as server:
            client = AsgiClient()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, endpoint(app), client)
                client.hello()
                await client.frame("welcome")
                tasks.cancel_scope.cancel()
            assert (client.frames[-1]["type"], client.frames[-1]["code"], client.closed) == ("goodbye", 1001, 1001)
            assert "retry_ms" in client.frames[-1]
            assert server.endpoint.statistics().connections == 0

    run(story)


def test_cancelled_call_of_stalled_client_ends(run: Callable[..., Any]) -> None:
    """A cancelled call of a client that takes nothing ends about a second later, without a goodbye."""
    app = make_app()

    async def story() -> None:
        async with hosted(app) as server:
            client = AsgiClient()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, endpoint(app), client)
                client.hello()
                await client.frame("welcome")
                client.block()
                tasks.cancel_scope.cancel()
            assert (client.frames[-1]["type"], client.closed) == ("welcome", None)
            assert server.endpoint.statistics().connections == 0

    run(story)


def test_end_of_app_closes_with_1001(run: Callable[..., Any]) -> None:
    """When the app ends, its clients get a goodbye and 1001, and the ASGI calls return."""
    app = make_app(drain_seconds=1)

    async def story() -> None:
        client = AsgiClient()
        async with anyio.create_task_group() as tasks:
            async with hosted(app):
                tasks.start_soon(call, endpoint(app), client)
                client.hello()
                await client.frame("welcome")
            assert (client.frames[-1]["type"], client.closed) == ("goodbye", 1001)

    run(story)


def test_wrong_message_ends_with_its_code(run: Callable[..., Any]) -> None:
    """A message that is not allowed ends the connection: a goodbye with the code, then a close with the same code."""
    app = make_app(max_frame_bytes=1024)
    wrong: dict[int, dict[str, object]] = {
        1003: {"type": "websocket.receive", "bytes": b"binary"},
        1009: {"type": "websocket.receive", "text": "x" * 100_000},
        4500: {"type": "websocket.receive", "text": "no JSON"},
    }

    async def story() -> None:
        async with hosted(app):
            for code, message in wrong.items():
                async with welcomed(endpoint(app)) as client:
                    client.put(message)
                    await client.until(lambda client=client: client.closed)
                    assert (client.frames[-1]["type"], client.frames[-1]["code"], client.closed) == (
                        "goodbye",
                        code,
                        code,
                    )

    run(story)


def test_nothing_follows_the_close(run: Callable[..., Any]) -> None:
    """After the close, neither events nor replies are sent."""
    app = make_app()

    async def story() -> None:
        async with hosted(app), welcomed(endpoint(app)) as client:
            client.put({"type": "websocket.receive", "text": "no JSON"})
            client.say("command", id="1", name="run.start", args={"agent": "echo", "input": "hi"})
            await client.until(lambda: client.closed)
            await emit(app, 1)
            assert client.sent[-1]["type"] == "websocket.close"

    run(story)


def test_blocked_client_gets_later_events_together(run: Callable[..., Any]) -> None:
    """While the server does not take a message, no more events are written. They follow in one message."""
    app = make_app()

    async def story() -> None:
        async with hosted(app), welcomed(endpoint(app)) as client:
            client.block()
            for number in range(5):
                await emit(app, number)
            client.unblock()
            await client.until(lambda: len(client.events()) == 5)
            assert [len(frame["events"]) for frame in client.of_type("events")] == [1, 4]
            assert [event["seq"] for event in client.events()] == [1, 2, 3, 4, 5]

    run(story)


async def test_stalled_client_ends_with_4001(autojump_clock: MockClock) -> None:
    """A client that takes nothing for ``slow_seconds`` is closed with 4001. The call then waits for no message."""
    app = make_app(slow_seconds=5.0)
    async with hosted(app) as server, trio.open_nursery() as nursery:
        client = AsgiClient()
        nursery.start_soon(call, endpoint(app), client)
        client.hello()
        await client.frame("welcome")
        client.block()
        began = trio.current_time()
        await emit(app, 1)
        while server.endpoint.statistics().connections:  # noqa: ASYNC110 - virtual time
            await trio.sleep(0.1)
        assert 5 <= trio.current_time() - began <= 8
        assert client.closed is None


async def test_client_that_takes_a_little_is_not_stalled(autojump_clock: MockClock) -> None:
    """A client that takes a message more often than every ``slow_seconds`` stays, also if more messages wait."""
    app = make_app(slow_seconds=5.0)
    async with hosted(app) as server, welcomed(endpoint(app)) as client:
        client.block()
        for number in range(1, 4):
            client.say("command", id=str(number), name="run.cancel", args={"run_id": "x"})
        for number in range(1, 4):
            await trio.sleep(4)
            client.unblock()
            client.block()
            await client.frame("reply", number)
        assert server.endpoint.statistics().connections == 1
        client.unblock()


async def test_waiting_messages_are_bounded() -> None:
    """While the connection handles no message, at most ``MAX_RECEIVED`` are taken from the web server."""
    app = make_app()
    release = trio.Event()

    async def auth(_: object) -> Any:
        await release.wait()

    app.auth = auth
    async with hosted(app), called(endpoint(app)) as client:
        client.hello()
        for _ in range(3 * MAX_RECEIVED):
            client.say("pong")
        await trio.testing.wait_all_tasks_blocked()
        assert client.taken == 2 + MAX_RECEIVED  # and the connect and the hello
        release.set()


async def test_waiting_bytes_are_bounded() -> None:
    """While the connection handles no message, hardly more than ``max_frame_bytes`` are taken from the web server."""
    app = make_app(max_frame_bytes=1024)
    release = trio.Event()

    async def auth(_: object) -> Any:
        await release.wait()

    app.auth = auth
    async with hosted(app), called(endpoint(app)) as client:
        client.hello()
        for _ in range(10):
            client.say("pong", padding="x" * 500)
        await trio.testing.wait_all_tasks_blocked()
        assert client.taken == 4
        release.set()


async def test_other_tasks_have_turns_between_waiting_messages() -> None:
    """Messages that have come at once are handled in several turns, so that a flood of one client stops no other."""
    app = make_app(commands_per_second=0.001, commands_burst=1)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with hosted(app), welcomed(endpoint(app)) as client, trio.open_nursery() as nursery:
        for number in range(MAX_RECEIVED // 2):
            client.say("command", id=str(number), name="run.cancel", args={"run_id": "x"})
        nursery.start_soon(count)
        await client.frame("reply", 10)
        assert turns >= 10
        nursery.cancel_scope.cancel()
