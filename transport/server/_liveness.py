"""A check whether a client still answers: pings, the time since its last frame, and the expiry of its token."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import trio

from transport.protocol import close_codes, server_frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from transport.server._context import ServerContext
    from transport.server._lifetime import Lifetime
    from transport.server._wire import Wire


class Liveness:
    """A check whether the client still answers, and whether its token is still valid.

    After the welcome, the heartbeat calls :meth:`beat` regularly.
    """

    __slots__ = ("_context", "_expires_at", "_heard_at", "_life", "_on_frame", "_ping_at", "_wire")

    def __init__(self, context: ServerContext, life: Lifetime, wire: Wire) -> None:
        self._context = context
        self._life = life
        self._wire = wire
        # The loop's time, which stands still while the loop does: *after a stall of a minute every client would seem
        # to have been silent for a minute.* The other times are on trio's clock.
        self._heard_at = context.time.now()
        self._on_frame: Callable[[], None] | None = None
        """Function to call once, when the client's next frame arrives; None if there is none."""
        self._ping_at = trio.current_time() + context.settings.ping_seconds
        self._expires_at = math.inf
        """The time when the user's token expires, on trio's clock."""

    def begin(self, expires: float | None) -> None:
        """Start to send pings.

        The connection will be closed at ``expires`` (in seconds since 1970), when its token expires. None means never.

        To replace this time, call this method again.
        """
        expires_in = math.inf if expires is None else expires - time.time()
        self._expires_at = trio.current_time() + expires_in
        self._context.heartbeat.add(self, min(self._ping_at, self._expires_at))

    def stop(self) -> None:
        """Stop the pings and the checks. This can be called more than once."""
        self._context.heartbeat.remove(self)

    def note_frame(self) -> None:
        """Record that a frame of any type has arrived from the client."""
        self._heard_at = self._context.time.now()
        if (on_frame := self._on_frame) is not None:
            self._on_frame = None
            on_frame()

    def probe(self, on_frame: Callable[[], None]) -> None:
        """Ping the client now, and call ``on_frame`` when the client's next frame arrives."""
        self._on_frame = on_frame
        if self._life.closing is None:
            self._ping(trio.current_time())

    def beat(self, now: float) -> float | None:
        """Ping the client if a ping is due.

        Close the connection if the client was silent too long or its token has expired.

        Returns:
            The time of the next call, on trio's clock; None for no further call.
        """
        if self._life.over or self._life.closing is not None:
            return None
        settings = self._context.settings
        silent_in = self._heard_at + settings.ping_seconds + settings.pong_seconds - self._context.time.now()
        if silent_in <= 0:
            self._life.close(close_codes.HEARTBEAT_LOST, "nothing was heard for too long")
            return None
        if now >= self._expires_at:
            self._life.close(close_codes.TOKEN_EXPIRED, "the token has expired")
            return None
        if now >= self._ping_at:
            self._ping(now)
        return min(now + silent_in, self._ping_at, self._expires_at)

    def on_failed(self, error: BaseException) -> None:
        """Close the connection with 4006, since :meth:`beat` raised ``error``."""
        self._life.fail(error, "the delivery failed")

    def _ping(self, now: float) -> None:
        self._ping_at = now + self._context.settings.ping_seconds
        self._wire.send(server_frames.PING)
