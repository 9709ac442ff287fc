"""Frees the memory that an upgrade leaves behind in wsproto."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from trio_websocket import WebSocketConnection


@attrs.frozen
class _FinishedHandshake:
    """A stand-in for wsproto's handshake, which is asked for events, and has no more."""

    @staticmethod
    def events() -> tuple[()]:
        """Return no events."""
        return ()


_FINISHED = _FinishedHandshake()


def forget_handshake(socket: WebSocketConnection) -> None:
    """Free the objects that only the handshake needed: the state of HTTP/1.1, the request, its headers; 3 KB in all.

    wsproto keeps them as long as the connection, and asks them only whether there are further events. trio-websocket
    has no public way to its wsproto object. If its private attribute changes, nothing is freed and nothing fails.
    """
    with suppress(AttributeError):
        inner: Any = socket._wsproto  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  -- see above
        if inner.connection is not None:
            inner.handshake = _FINISHED
