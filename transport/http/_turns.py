"""Turns: the requests of all clients are handled one after another, with time for other tasks between them."""

from __future__ import annotations

import trio

TURNS_PER_REQUEST = 4
"""Number of turns of the event loop in which one request begins. An idle loop takes about 0.1 ms for them.

*With one request in each turn, a flood of requests made a client of the WebSocket port wait five times longer.*
"""


class Turns:
    """A queue of requests that have arrived. At most one of them begins in ``TURNS_PER_REQUEST`` turns of the loop.

    *Hundreds of clients that send requests without a pause would otherwise hold up every WebSocket of the server for
    the time of hundreds of requests, again and again.* In this queue they only hold up each other. A request that has
    begun waits for files and for its client as long as it must.
    """

    def __init__(self) -> None:
        self._queue = trio.Lock()

    async def next(self) -> None:
        """Wait for turns of the event loop that no other request has taken. They are given in the order of calls."""
        async with self._queue:
            for _ in range(TURNS_PER_REQUEST):
                await trio.lowlevel.checkpoint()
