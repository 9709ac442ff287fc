"""The byte stream that carries a WebSocket upgrade, with a limit on the peer's answer and a check of its presence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

_UPGRADE_BYTES = 1024 * 1024
"""Maximum size of the answer to an upgrade, in bytes. Without a limit, the library would store a body of any size."""


class WatchedStream(trio.abc.Stream):
    """A stream that calls ``on_hung_up`` if its peer closes the stream, or sends too much, during the upgrade.

    *Otherwise trio-websocket's upgrade would wait permanently for a peer that has closed the stream, and would store
    all bytes of a peer that never stops sending.*
    """

    def __init__(self, inner: trio.abc.Stream, on_hung_up: Callable[[], None]) -> None:
        self._inner = inner
        self._on_hung_up = on_hung_up
        self._left: int | None = _UPGRADE_BYTES

    def on_upgraded(self) -> None:
        """Stop the checks: the upgrade is done, and any number of bytes is allowed."""
        self._left = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._inner.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self._on_hung_up()
            raise
        if self._left is not None:
            self._left -= len(data)
        # No data: the peer has closed the stream.
        if not data or (self._left is not None and self._left < 0):
            self._on_hung_up()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._inner.send_all(data)
        except trio.BrokenResourceError:
            self._on_hung_up()
            raise

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._inner.aclose()
