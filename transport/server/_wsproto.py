"""What the upgrade leaves behind, and how to be rid of it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from trio_websocket import WebSocketConnection


@attrs.frozen
class _Over:
    """Stands where the handshake was: wsproto asks it for events, of which there are no more."""

    @staticmethod
    def events() -> tuple[()]:
        """There are none."""
        return ()


_OVER = _Over()


def forget_handshake(socket: WebSocketConnection) -> None:
    """Let go of what only the handshake needed: the state of HTTP/1.1, the request, its headers, 3 KB in all.

    wsproto keeps that as long as the connection and asks it for nothing any more but whether it has further events.
    trio-websocket has no public way to what it made of wsproto; where its inside changes, nothing is let go.
    """
    with suppress(AttributeError):
        inner: Any = socket._wsproto  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  -- see above
        if inner.connection is not None:
            inner.handshake = _OVER
