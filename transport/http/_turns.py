"""Turns: the requests of all clients are handled one after another, with time for other tasks between them."""

from __future__ import annotations

import trio


class Turns:
    """A queue of requests that have arrived. In each turn of the event loop, at most one of them begins.

    *Hundreds of clients that send requests without a pause would otherwise hold up every WebSocket of the server for
    the time of hundreds of requests, again and again.* In this queue they only hold up each other. A request that has
    begun waits for files and for its client as long as it must.
    """

    def __init__(self) -> None:
        self._queue = trio.Lock()

    async def next(self) -> None:
        """Wait for a turn of the event loop that no other request has taken. Turns are given in the order of calls."""
        async with self._queue:
            await trio.lowlevel.checkpoint()
