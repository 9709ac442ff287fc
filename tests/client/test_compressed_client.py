"""A Python client with the option ``compress``: what it offers, what it takes, and what ends it."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import anyio
import pytest
from _both_loops import client_of_this_loop, on_both_loops, on_real_loops, serving
from _raw_peers import RawStream, raw_peers
from client.test_odd_answers import WELCOME, frame, upgrade_answer
from protocol.agents import make_app

from actors import AgentOutput
from transport.errors import ConnectionClosedForGood
from transport.protocol import deflate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from transport.client import Client

MAX_FRAME_BYTES = 65_536
OWN_CONTEXTS = b"server_no_context_takeover; client_no_context_takeover"


@on_real_loops
async def test_conversation() -> None:
    """Large messages of both sides arrive compressed. Small ones arrive as ever."""
    sizes: list[int] = []

    class Counted(deflate.Inflater):
        def end(self) -> bytes:
            if self._limit == MAX_FRAME_BYTES:  # the server's own, not the client's
                sizes.append(self._limit - self._left)
            return super().end()

    text = "a long text " * 1000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deflate, "Inflater", Counted)
        async with (
            serving(make_app(compress_bytes=1024), port=0) as url,
            client_of_this_loop(url, "s1", compress=True) as client,
        ):
            await client.start("echo", text)
            events = client.events()
            while not isinstance(event := await anext(events), AgentOutput):
                pass
            assert event.text == text
    assert max(sizes) > len(text)


def answering(extension: bytes, *frames: bytes) -> Callable[[RawStream], Awaitable[None]]:
    """Return a peer that accepts with this header of extensions, and sends these frames."""

    async def peer(stream: RawStream) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += await stream.receive_some()
        assert b"permessage-deflate; " in request.replace(b"; client_max_window_bits", b"")
        line = b"Sec-WebSocket-Extensions: %b\r\n" % extension if extension else b""
        await stream.send_all(upgrade_answer(request, extra=line) + b"".join(frames))
        while await stream.receive_some():
            pass

    return peer


async def follow(peer: Callable[[RawStream], Awaitable[None]], seconds: float = 60.0) -> tuple[Client, int | None]:
    """Run a client that offers compression against a peer. Return it, and the code that ended it, if one did."""
    code: int | None = None
    async with raw_peers(peer) as options:
        with anyio.move_on_after(seconds):
            try:
                async with client_of_this_loop(
                    "ws://memory", "s1", compress=True, max_message_size=4096, **options
                ) as client:
                    async for _ in client.events():
                        pass
            except ConnectionClosedForGood as error:
                code = error.code
    return client, code


@pytest.mark.parametrize("extension", [b"", b"permessage-deflate; " + OWN_CONTEXTS])
@on_both_loops
async def test_server_may_compress_or_not(extension: bytes) -> None:
    """The client is live with a server that declines, and with one that accepts."""
    client, _ = await follow(answering(extension, frame(WELCOME)), seconds=5.0)
    assert client.welcome is not None
    assert client.statistics().failures == 0


@pytest.mark.parametrize("parameters", [b"", b"; client_no_context_takeover", b"; x", b"; server_max_window_bits=99"])
@on_both_loops
async def test_answer_that_was_not_offered(parameters: bytes) -> None:
    """A server that keeps a context, or has wrong parameters, counts as none: the client tries again."""
    client, _ = await follow(answering(b"permessage-deflate" + parameters, frame(WELCOME)))
    assert client.welcome is None
    assert client.statistics().failures >= 2


@on_both_loops
async def test_bomb_of_a_server() -> None:
    """A compressed message beyond ``max_message_size`` ends the client with 1009."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = (compressor.compress(bytes(2_000_000)) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    peer = answering(b"permessage-deflate; " + OWN_CONTEXTS, frame(WELCOME), frame(data, 0xC1))
    assert (await follow(peer))[1] == 1009
