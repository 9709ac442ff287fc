"""The client on asyncio keeps asyncio's rules: loops, threads, cancellation, tasks and sockets that are left."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
from _both_loops import (
    on_both_loops,
    run_on_asyncio,
    settle,
)
from _raw_peers import RawStream, raw_peers
from _scripted_server import Peer, ScriptedServer, scripted
from client.scripts import stay_connected, take_items

from transport.client import connect as connect_on_trio
from transport.client.asyncio import Client, connect
from transport.errors import ClientClosed, TokenUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable


# --- the right loop ---------------------------------------------------------------------------------------------------


def in_a_thread(function: Callable[[], Any]) -> BaseException:
    """Return the exception that ``function`` raises in a thread."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - it is returned
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    (error,) = raised
    return error


CALLS: dict[str, Callable[[Client], Any]] = {
    "start": lambda client: client.start("a"),
    "history": lambda client: client.history(0),
    "typing": lambda client: client.typing(active=True),
    "events": lambda client: anext(client.events()),
    "signals": lambda client: anext(client.signals()),
    "states": lambda client: anext(client.states()),
}


@pytest.mark.parametrize("name", [*CALLS, "reconnect"])
@on_both_loops
async def test_call_from_a_thread(name: str) -> None:
    """A call from another thread raises a RuntimeError that says how to call, and changes nothing."""

    async with scripted(stay_connected) as server, server.connect() as client:
        await settle()

        async def call() -> None:
            await CALLS[name](client)

        foreign = [lambda: asyncio.run(call()), lambda: trio.run(call)] if name in CALLS else [client.reconnect]
        for function in foreign:
            error = in_a_thread(function)
            assert type(error) is RuntimeError
            assert "from a thread, call it with" in str(error)
        assert client.statistics().commands == 0
        assert client.state == "live"


@pytest.mark.parametrize("name", CALLS)
def test_call_from_a_guest_of_the_same_loop(name: str) -> None:
    """A trio task gets a RuntimeError for a call on a client on asyncio, even if trio is a guest of the same loop."""

    async def main() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        async with connect("ws://127.0.0.1:9", "s1") as client:

            async def guest() -> str:
                with pytest.raises(RuntimeError, match="only in the asyncio loop that connected it"):
                    await CALLS[name](client)
                with pytest.raises(RuntimeError, match=r"transport\.client\.connect"):
                    async with connect("ws://127.0.0.1:9", "s1"):
                        pytest.fail("it was accepted")
                return "checked"

            outcomes: list[Any] = []

            def on_end(outcome: Any) -> None:
                outcomes.append(outcome)
                done.set()

            trio.lowlevel.start_guest_run(
                guest,
                run_sync_soon_threadsafe=loop.call_soon_threadsafe,
                done_callback=on_end,
            )
            await done.wait()
            assert outcomes[0].unwrap() == "checked"

    asyncio.run(main())


def test_connect_in_the_wrong_loop() -> None:
    """``connect`` of one event loop raises a RuntimeError in the other. The error names the right function."""

    async def on_trio() -> None:
        async with connect("ws://127.0.0.1:9", "s1"):
            pytest.fail("it was accepted")

    async def on_asyncio_() -> None:
        async with connect_on_trio("ws://127.0.0.1:9", "s1"):
            pytest.fail("it was accepted")

    with pytest.raises(RuntimeError, match=r"in trio transport\.client\.connect"):
        trio.run(on_trio)
    with pytest.raises(RuntimeError, match=r"in asyncio transport\.client\.asyncio\.connect"):
        asyncio.run(on_asyncio_())


# --- cancellation -----------------------------------------------------------------------------------------------------


def test_timeout_of_asyncio() -> None:
    """``asyncio.timeout`` and ``wait_for`` end any wait of the client, and the client goes on."""

    async def script(peer: Peer) -> None:
        await peer.welcome(latest=1)
        await anyio.sleep(10)
        await peer.events(1)
        await peer.closed_by_client()

    async def main() -> None:
        async with scripted(script) as server, server.connect() as client:
            events = client.events()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await anext(events)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.start("a"), 1)
            assert client.statistics().commands == 0
            assert await take_items(events, 1) == [1]

    run_on_asyncio(main)


def test_cancelled_task_closes_its_client() -> None:
    """If the task with the client's block is cancelled, the server sees the end of the connection at once."""
    ends: list[int | None] = []

    async def script(peer: Peer) -> None:
        await peer.welcome()
        ends.append((await peer.closed_by_client())[0])

    async def follow(server: Any) -> None:
        async with server.connect() as client:
            async for _ in client.events():
                pytest.fail("there are no events")

    async def main() -> None:
        async with scripted(script) as server:
            task = asyncio.create_task(follow(server))
            await settle()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await settle()
        assert ends == [1006]

    run_on_asyncio(main)


@pytest.mark.parametrize("cancel", [False, True])
def test_socket_is_closed_with_the_block(cancel: bool) -> None:
    """When the client's block has ended, its socket is closed already, also after a cancellation."""
    opened: list[socket.socket] = []

    async def follow(server: ScriptedServer) -> None:
        ((_, open_socket),) = server.options().items()

        async def noted(*target: Any) -> socket.socket:
            opened.append(await open_socket(*target))
            return opened[-1]

        try:
            async with connect(server.url, "s1", open_socket=noted):
                await settle()
                if cancel:
                    await anyio.sleep_forever()
        finally:
            assert [each.fileno() for each in opened] == [-1]

    async def main() -> None:
        async with scripted(stay_connected) as server:
            task = asyncio.create_task(follow(server))
            if cancel:
                await settle()
                await settle()
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled() is cancel
            assert cancel or task.exception() is None

    run_on_asyncio(main)


def test_unusable_socket(caplog: pytest.LogCaptureFixture) -> None:
    """If ``open_socket`` returns a socket that cannot be used, it is closed, and the client tries again."""
    opened: list[socket.socket] = []

    async def datagrams(*_: object) -> socket.socket:
        opened.append(socket.socket(type=socket.SOCK_DGRAM))
        opened[-1].setblocking(False)  # noqa: FBT003 - the standard library's own call
        return opened[-1]

    async def main() -> None:
        async with connect("ws://memory", "s1", open_socket=datagrams) as client:
            await anyio.sleep(5)
            assert client.statistics().failures == len(opened) > 1

    run_on_asyncio(main)
    assert {each.fileno() for each in opened} == {-1}
    assert "failed in code" in caplog.text


@pytest.mark.parametrize("phase", ["connecting", "upgrading", "waiting"])
def test_cancelled_while_not_connected(phase: str) -> None:
    """If the client's task is cancelled in any phase of an attempt, nothing of the attempt is left."""

    async def silent(_: RawStream) -> None:
        await anyio.sleep_forever()

    async def never(*_: object) -> Any:
        await anyio.sleep_forever()

    async def refuse(*_: object) -> Any:
        raise ConnectionRefusedError("nobody there")

    async def follow(options: dict[str, Any]) -> None:
        async with connect("ws://memory", "s1", connect_seconds=1000, **options) as client:
            await client.start("a")

    async def main() -> None:
        async with raw_peers(silent) as options:
            choices = {"connecting": {"open_socket": never}, "upgrading": options, "waiting": {"open_socket": refuse}}
            task = asyncio.create_task(follow(choices[phase]))
            await settle()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_on_asyncio(main)


def test_leaving_ends_the_calls_of_other_tasks() -> None:
    """When the client's block ends, a call of another task raises ClientClosed, and an iterator ends."""

    async def main() -> None:
        async with scripted(stay_connected) as server:
            async with server.connect() as client:
                call = asyncio.create_task(client.start("a"))
                rest = asyncio.create_task(take_all(client))
                await settle()
            with pytest.raises(ClientClosed):
                await call
            assert await rest == []

    async def take_all(client: Client) -> list[Any]:
        return [event async for event in client.events()]

    run_on_asyncio(main)


async def wait_for_a_cancelled_task(*_: object) -> Any:
    """Raise the CancelledError of another task, as a function of an application may do."""
    task = asyncio.create_task(anyio.sleep_forever())
    await settle()
    task.cancel()
    return await task


def test_cancelled_error_of_the_token_callable() -> None:
    """If the token callable waits for a task that was cancelled, the callable has failed: the client ends."""

    async def main() -> None:
        async with scripted() as server, server.connect(token=wait_for_a_cancelled_task) as client:
            with anyio.fail_after(60), pytest.raises(TokenUnavailable, match="a task that was cancelled"):
                await anext(client.events())

    run_on_asyncio(main)


def test_cancelled_error_of_open_socket() -> None:
    """If ``open_socket`` waits for a task that was cancelled, the attempt has failed: the client tries again."""

    async def main() -> None:
        async with connect("ws://memory", "s1", open_socket=wait_for_a_cancelled_task) as client:
            async for _ in client.states():
                if client.statistics().failures > 1:
                    break
            assert "a task that was cancelled" in client.last_failure

    run_on_asyncio(main)
