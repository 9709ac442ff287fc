"""The client on asyncio beside peers that stop, flood or end, and on real servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import wsproto
import wsproto.events
from _both_loops import (
    client_of_this_loop,
    on_asyncio_loops,
    on_real_loops,
    run_on_asyncio,
    serving,
    settle,
)
from _raw_peers import RawStream, raw_peers
from _tls import Authority
from client.scripts import take_items
from client.test_client_against_server import make_app, until_completed
from client.test_odd_answers import WELCOME, frame, upgrade_answer

from actors import AgentOutput
from transport.client.asyncio import connect
from transport.errors import ClientClosed

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_server_that_stops_reading() -> None:
    """If the server stops reading, the calls wait, and the client's block ends at once: no close frame fits."""

    async def stops(stream: RawStream) -> None:
        await stream.send_all(upgrade_answer(await stream.receive_some()) + frame(WELCOME))
        await anyio.sleep_forever()

    async def main() -> None:
        async with raw_peers(stops) as options:
            async with connect("ws://memory", "s1", **options) as client:
                calls = [asyncio.create_task(client.send("x" * 60_000)) for _ in range(20)]
                await settle()
                assert client.statistics().commands == 20
                start = asyncio.get_running_loop().time()
            assert asyncio.get_running_loop().time() == start
            ends = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(end) for end in ends} == {ClientClosed}

    run_on_asyncio(main)


def test_close_behind_many_pongs() -> None:
    """If the server sends pings but reads nothing, the client's block ends after 2 s: the close frame waits."""

    async def pings(stream: RawStream) -> None:
        await stream.send_all(upgrade_answer(await stream.receive_some()) + frame(WELCOME))
        assert await stream.receive_some()  # the hello
        for _ in range(100):
            await stream.send_all(frame(b"x" * 125, 0x89) * 100)
        await anyio.sleep_forever()

    async def main() -> None:
        async with raw_peers(pings) as options:
            async with connect("ws://memory", "s1", **options):
                await settle()
                start = asyncio.get_running_loop().time()
            assert asyncio.get_running_loop().time() == start + 2

    run_on_asyncio(main)


def test_many_messages_wait_in_the_network() -> None:
    """While the application takes no events, the client stops reading: the server cannot send more."""
    sent = 0

    async def flood(stream: RawStream) -> None:
        nonlocal sent
        protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        protocol.receive_data(await stream.receive_some())
        await stream.send_all(protocol.send(wsproto.events.AcceptConnection()) + frame(WELCOME))
        text = "x" * 8_000
        for seq in range(1, 1001):
            event = f'{{"seq":{seq},"ts":1,"type":"user_message","data":{{"text":"{text}"}}}}'
            await stream.send_all(frame(f'{{"type":"events","events":[{event}]}}'.encode()))
            sent = seq

    async def main() -> None:
        async with raw_peers(flood) as options:
            async with connect("ws://memory", "s1", buffer_events=10, patience=1000, **options) as client:
                await settle()
                assert client.statistics().waiting == 10
                assert sent < 200
                assert await take_items(client.events(), 500) == list(range(1, 501))

    run_on_asyncio(main)


# --- real servers -----------------------------------------------------------------------------------------------------


@on_real_loops
async def test_tls_with_an_own_authority(tmp_path: Path) -> None:
    """A client with an ``ssl_context`` trusts the authority in it. Without it, the attempt fails and says why."""
    authority = Authority(tmp_path)
    async with serving(make_app(settings=authority.issue()), port=0) as url:
        assert url.startswith("wss:")
        async with client_of_this_loop(url, "s1", ssl_context=authority.trusting()) as client:
            await client.start("echo", "a")
            assert any(isinstance(event, AgentOutput) for event in await until_completed(client.events()))
        async with client_of_this_loop(url, "s1") as client:
            async for _ in client.states():
                if client.last_failure:
                    break
            assert client.last_failure.startswith("1006: cannot connect: ")
            assert "certificate verify failed" in client.last_failure


@on_asyncio_loops
async def test_several_clients_in_one_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several clients in one loop follow their own sessions. Proxies in the environment do not count."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")

    async def follow(url: str, session: str) -> list[str]:
        async with connect(url, session) as client:
            await client.start("echo", f"{session} and more")
            seen = await until_completed(client.events())
            return [event.text for event in seen if isinstance(event, AgentOutput)]

    async with serving(make_app(), port=0) as url:
        by_name = url.replace("127.0.0.1", "localhost")
        names = [f"s{number}" for number in range(8)]
        texts = await asyncio.gather(*(follow(by_name, name) for name in names))
    assert texts == [[name, "and", "more"] for name in names]
