"""The links to a Valkey server, with a real server: lost connections, time limits, restarts, messages."""

from __future__ import annotations

import gc
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import _valkey
import pytest
import trio

from actors.errors import ConfigError, LogSchemaTooNew, LogUnavailable
from actors.valkey.address import Address, parse_address
from actors.valkey.errors import NotSent, Refused, Unanswered
from actors.valkey.keys import PARTITIONS
from actors.valkey.library import SCHEMA
from actors.valkey.server import Valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

LIMIT = 60


@pytest.fixture
def server() -> Iterator[_valkey.Server]:
    with _valkey.Server() as server:
        yield server


@pytest.fixture
async def valkey(server: _valkey.Server) -> AsyncIterator[Valkey]:
    with trio.fail_after(LIMIT):
        async with Valkey(parse_address(server.url), seconds=LIMIT) as valkey:
            yield valkey


async def up(valkey: Valkey) -> None:
    """Wait until all links have a connection."""
    with trio.fail_after(LIMIT):
        for link in valkey.links:
            while not link.up:
                await link.changed()


async def down(valkey: Valkey) -> None:
    """Wait until all links have noticed that their connection is lost."""
    with trio.fail_after(LIMIT):
        for link in valkey.links:
            while link.up:
                await link.changed()


async def test_calls_are_answered_in_order(valkey: Valkey) -> None:
    """Many tasks call through one connection, and each gets its own answer."""
    answers: dict[int, bytes] = {}

    async def ask(number: int) -> None:
        answers[number] = await valkey.reads.call("ECHO", number)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(ask, number)
    assert answers == {number: b"%d" % number for number in range(50)}


async def test_cancelled_call_leaves_the_connection(valkey: Valkey) -> None:
    """A call that is cancelled while it waits costs no connection, and its answer is no other call's."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(valkey.reads.call, "ECHO", "lost")
            await trio.lowlevel.checkpoint()
            scope.cancel()
    assert await valkey.reads.call("ECHO", "mine") == b"mine"
    assert valkey.reads.connections == 1


async def test_cancelled_calls_notice_lost_answers(server: _valkey.Server, valkey: Valkey) -> None:
    """Calls that are all cancelled before their time limit do not keep a connection on which no answer comes."""
    valkey.reads.seconds = 0.2
    server.pause()
    try:
        with trio.fail_after(LIMIT):
            while valkey.reads.up:
                await trio.lowlevel.checkpoint()
                with trio.move_on_after(0.05), suppress(NotSent):
                    await valkey.reads.call("PING", seconds=LIMIT)
    finally:
        server.go_on()
    await up(valkey)


async def test_error_of_the_server(valkey: Valkey) -> None:
    """An answer that is an error raises ``Refused`` with the error's code, and the connection stays."""
    await valkey.reads.call("SET", "text", "x")
    with pytest.raises(Refused) as caught:
        await valkey.reads.call("NO-SUCH-COMMAND")
    assert "unknown command" in caught.value.text
    assert valkey.reads.connections == 1


async def test_loop_until_a_call_works_ends(server: _valkey.Server, valkey: Valkey) -> None:
    """A link is not up from the moment at which its connection ends. So code that waits for that, and calls, waits."""
    server.pause()
    with pytest.raises(Unanswered):
        await valkey.reads.call("PING", seconds=0.05)
    server.go_on()
    for _ in range(100):
        await up(valkey)
        with suppress(LogUnavailable):
            assert await valkey.reads.call("PING") == b"PONG"
            break
    else:
        pytest.fail("the link says that it is up, and is not")


async def test_late_answer_is_dropped(server: _valkey.Server, valkey: Valkey) -> None:
    """A call without an answer in time is ``Unanswered``. Its connection is dropped, and a new one is made."""
    server.pause()
    with pytest.raises(Unanswered, match=r"did not answer within 0\.05 s"):
        await valkey.reads.call("INCR", "n", seconds=0.05)
    server.go_on()
    while valkey.reads.connections < 2:
        await valkey.reads.changed()
    assert await valkey.reads.call("ECHO", "new") == b"new"


async def test_restart_of_the_server(server: _valkey.Server, valkey: Valkey) -> None:
    """Calls fail at once while the server is away, and work after its restart, which changes the generation."""
    before = valkey.commits.generation
    server.kill()
    await down(valkey)
    with pytest.raises(NotSent, match="no connection to the Valkey server"):
        await valkey.commits.call("PING")
    server.start()
    await up(valkey)
    assert await valkey.function("gr1_heads", [valkey.keys.of_stream("u", "s").meta]) == [None]
    assert valkey.commits.generation not in {"", before}
    assert valkey.statistics().reconnects == 3


async def test_call_that_a_restart_interrupts(server: _valkey.Server, valkey: Valkey) -> None:
    """A call that waits for its answer when the server is killed is ``Unanswered``, not forgotten."""
    server.pause()
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(Unanswered, match="was lost before the answer"):
                await valkey.commits.call("INCR", "n")

        nursery.start_soon(ask)
        await trio.lowlevel.checkpoint()
        server.kill()


async def test_lost_library_is_loaded_again(server: _valkey.Server, valkey: Valkey) -> None:
    """If the functions were removed from the server, one call fails, and the next connection loads them."""
    server.ask("FUNCTION", "FLUSH")
    meta = valkey.keys.of_stream("u", "s").meta
    with pytest.raises(NotSent, match="has lost the library"):
        await valkey.function("gr1_heads", [meta])
    while valkey.commits.connections < 2:
        await valkey.commits.changed()
    assert await valkey.function("gr1_heads", [meta]) == [None]


async def test_messages_of_a_channel(server: _valkey.Server, valkey: Valkey) -> None:
    """Messages arrive in order. After a lost connection the channel is subscribed again, which is told."""
    got: list[bytes] = []
    send, receive = trio.open_memory_channel[None](9)
    valkey.listen("channel", got.append, lambda: send.send_nowait(None))
    await receive.receive()
    for number in range(3):
        assert await valkey.publish([("channel", b"%d" % number)]) == [1]
    assert await valkey.publish([("nobody", b"x")]) == [0]
    server.restart()
    await receive.receive()
    await up(valkey)
    last = trio.Event()
    valkey.listen("last", lambda _: last.set(), lambda: send.send_nowait(None))
    await receive.receive()
    await valkey.publish([("channel", b"3")])
    await valkey.publish([("last", b"")])
    await last.wait()
    assert got == [b"0", b"1", b"2", b"3"]
    send.close()
    receive.close()


async def test_failing_listener(valkey: Valkey) -> None:
    """A function that fails on a message gets the next message all the same."""
    got: list[bytes] = []
    done, begun = trio.Event(), trio.Event()

    def on_message(message: bytes) -> None:
        got.append(message)
        if len(got) == 2:
            done.set()
        raise ZeroDivisionError

    valkey.listen("channel", on_message, begun.set)
    await begun.wait()
    for message in (b"a", b"b"):
        await valkey.publish([("channel", message)])
    await done.wait()
    assert got == [b"a", b"b"]


async def test_open_and_close(server: _valkey.Server) -> None:
    """Links that were closed can be opened again. Opening open links is an error."""
    valkey = Valkey(parse_address(server.url))
    with trio.fail_after(LIMIT):
        async with valkey:
            with pytest.raises(RuntimeError, match="open already"):
                await valkey.open()
        await valkey.close()
        async with valkey:
            assert valkey.is_up
            assert await valkey.reads.call("PING") == b"PONG"
    with pytest.raises(NotSent):
        await valkey.reads.call("PING")


async def test_open_without_a_server(tmp_path: Path) -> None:
    """If there is no server, opening fails with the address and the reason, and leaves nothing unclosed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        valkey = Valkey(Address(path=str(tmp_path / "none")), seconds=0.05)
        with trio.fail_after(LIMIT), pytest.raises(LogUnavailable, match=r"cannot reach .*none: .*No such file"):
            await valkey.open()
        gc.collect()
    assert not valkey.is_up


async def test_wrong_password() -> None:
    """A wrong password is told at once."""
    with _valkey.Server(password="right") as server, trio.fail_after(LIMIT):
        async with Valkey(parse_address(server.url)) as valkey:
            assert valkey.is_up
        for url in (server.url.replace("right", "wrong"), f"valkey+unix://{server.path}"):
            with pytest.raises(LogUnavailable, match="refuses the user or password"):
                await Valkey(parse_address(url), seconds=60).open()


@pytest.mark.parametrize(
    ("commands", "error", "message"),
    [
        ([("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")], ConfigError, "maxmemory-policy allkeys-lru"),
        ([("SET", "gr:schema", f"{SCHEMA + 1} {PARTITIONS}")], LogSchemaTooNew, f"layout {SCHEMA + 1}"),
        ([("SET", "gr:schema", f"{SCHEMA} 16")], ConfigError, "16 partitions"),
        ([("SET", "gr:schema", "mine")], ConfigError, "another prefix"),
    ],
)
async def test_server_that_cannot_be_used(
    server: _valkey.Server, commands: list[tuple[str, ...]], error: type[Exception], message: str
) -> None:
    """A server that would lose events, or has data of another layout, is refused at once."""
    for command in commands:
        server.ask(*command)
    with trio.fail_after(LIMIT), pytest.raises(error, match=message):
        await Valkey(parse_address(server.url), seconds=60).open()
