"""The limits on small frames of a client: control frames, and fragments of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from transport.protocol import close_codes
from transport.protocol.limits import TokenBucket
from transport.server._refusals import Reason

if TYPE_CHECKING:
    from transport.server._context import ServerContext
    from transport.server._lifetime import Lifetime


class FrameLimits:
    """The rate limits for the control frames and the fragments of messages on one connection.

    A client can send at once the control frames of one second, and two messages with ``max_fragments`` fragments each.
    """

    __slots__ = ("_context", "_controls", "_fragments", "_life")

    def __init__(self, context: ServerContext, life: Lifetime) -> None:
        self._context = context
        self._life = life
        # Each is made when it is first needed. An idle connection sends control frames, and hardly ever fragments.
        self._controls: TokenBucket | None = None
        self._fragments: TokenBucket | None = None

    def allow(self, controls: int, fragments: int, *, greeted: bool) -> bool:
        """Count control frames and fragments. If there are too many, end the connection and return False.

        Args:
            controls: Number of pings and pongs of WebSocket, and of frames ``ack``, ``typing`` and ``pong``.
            fragments: Number of frames that continue a message.
            greeted: Whether the client got its welcome. Before the welcome, the connection ends without a goodbye: any
                stranger can send such a flood, because no token is needed for it.
        """
        # The close frame of this client is not waited for. *It can be behind thousands of frames, which all cost time.*
        if self._life.closing is not None and self._life.closing.code == close_codes.FLOODING:
            return False
        if (not controls or self._allow_controls(controls)) and (not fragments or self._allow_fragments(fragments)):
            return True
        if greeted:
            self._life.close(close_codes.FLOODING, "too many control frames or fragments within a second")
        else:
            self._context.refusals.note(Reason.EARLY_FLOODING)
            self._life.scope.cancel()
        return False

    def _allow_controls(self, count: int) -> bool:
        now, lost, rate = trio.current_time(), self._context.time.lost, self._context.settings.control_frames_per_second
        if self._controls is None:
            self._controls = TokenBucket(rate, max(1.0, rate), now, lost)
        return self._controls.take(now, lost, count)

    def _allow_fragments(self, count: int) -> bool:
        now, lost, rate = trio.current_time(), self._context.time.lost, self._context.settings.max_fragments
        if self._fragments is None:
            self._fragments = TokenBucket(rate, 2 * rate, now, lost)
        return self._fragments.take(now, lost, count)
