"""A client that reads only when the test asks it to."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
import trio.testing
from protocol.manual_socket import open_manual_socket
from protocol.wire import VIRTUAL_PATIENCE, Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from transport import Server


@asynccontextmanager
async def stalled_client(server: Server, **fields: object) -> AsyncIterator[Client]:
    """Yield a welcomed client that reads only when the test asks it to. No buffer is between it and the server."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.endpoint.serve, theirs)
        async with open_manual_socket(ours) as websocket:
            one = Client(websocket, patience=VIRTUAL_PATIENCE)
            await one.hello(**fields)  # type: ignore[arg-type]  # the session's name is not among them
            yield one
