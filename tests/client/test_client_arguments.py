"""The token callable and the other arguments of the client: what is refused, and when."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from _both_loops import on_both_loops, settle
from _scripted_server import Peer, scripted

from actors import CommandRefused
from transport.errors import ConnectionClosedForGood, TokenUnavailable

# --- the token callable -----------------------------------------------------------------------------------------------


@on_both_loops
async def test_hanging_token_callable() -> None:
    """A token callable that hangs is cancelled after ``token_seconds``, and called again for the next attempt."""
    calls: list[str] = []

    async def fresh() -> str:
        calls.append("called")
        if len(calls) == 1:
            try:
                await anyio.sleep_forever()
            finally:
                calls.append("cancelled")
        return "good"

    async def script(peer: Peer) -> None:
        assert (await peer.welcome())["token"] == "good"
        await peer.close(4506)

    start = anyio.current_time()
    async with scripted(script) as server, server.connect(token=fresh, token_seconds=7) as client:
        with pytest.raises(ConnectionClosedForGood):
            await anext(client.events())
    assert calls == ["called", "cancelled", "called"]
    assert 7 <= server.connections[0] - start < 8


@pytest.mark.parametrize("token", [7, b"bytes", "\ud800"])
@on_both_loops
async def test_token_that_is_not_text(token: Any) -> None:
    """If the token callable returns a value that is not valid text, the client ends with TokenUnavailable.

    If such a value is passed as a fixed token, ``connect`` raises ValueError.
    """
    async with scripted() as server, server.connect(token=lambda: token) as client:
        with pytest.raises(TokenUnavailable, match="no string"):
            await anext(client.events())
    with pytest.raises(ValueError, match="token"):
        async with server.connect(token=token):
            pytest.fail("it was accepted")


@on_both_loops
async def test_leaving_while_the_token_is_fetched() -> None:
    """If the client's block is left while the token callable runs, the callable is cancelled and the block ends."""
    async with scripted() as server:
        with anyio.fail_after(60):
            async with server.connect(token=anyio.sleep_forever):
                await settle()


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "limit"), [(1.5, 1), (True, 1), (0, True), (0, "1"), (-1, 1), (0, 501), (2**53, 1)])
@on_both_loops
async def test_invalid_history_request_raises(after: Any, limit: Any) -> None:
    """``history`` raises ValueError for a number that is not allowed, and sends nothing."""
    async with scripted(ConnectionRefusedError("nobody")) as server, server.connect() as client:
        with pytest.raises(ValueError, match="after must be"):
            await client.history(after, limit)
        assert client.statistics().commands == 0
        await settle()


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize("value", [CYCLE, object(), 2**60, {"a": {1, 2}}, float("inf")])
@on_both_loops
async def test_unserialisable_input_leaves_nothing(value: Any) -> None:
    """An input that is not JSON is refused as ``bad_args`` at the call, and no command stays in the queue."""
    async with scripted(ConnectionRefusedError("nobody")) as server, server.connect() as client:
        with pytest.raises(CommandRefused) as refused:
            await client.start("a", value)
        assert refused.value.code == "bad_args"
        assert client.statistics().commands == 0
        await settle()


@pytest.mark.parametrize(
    "options",
    [{"client": 5}, {"client": "\ud800"}, {"patience": float("nan")}, {"connect_seconds": 0}, {"token_seconds": -1},
     {"buffer_events": 0}, {"buffer_bytes": 0}, {"max_commands": -1}, {"signals": -1}, {"max_message_size": 0}],
)  # fmt: skip
@on_both_loops
async def test_bad_options_raise(options: dict[str, Any]) -> None:
    """``connect`` raises ValueError with the name of an option if the client could not work with its value."""
    async with scripted() as server:
        with pytest.raises(ValueError, match=next(iter(options))):
            async with server.connect(**options):
                pytest.fail("it was accepted")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@on_both_loops
async def test_exit_of_the_body(error: type[BaseException]) -> None:
    """KeyboardInterrupt or SystemExit in the client's block is raised unchanged, not inside a group."""
    async with scripted(ConnectionRefusedError("nobody")) as server:
        with pytest.raises(error):  # noqa: PT012  the end of the block is what is tested
            async with server.connect():
                await settle()
                raise error
