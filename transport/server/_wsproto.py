"""A function that frees the memory which the library wsproto still holds after an upgrade to WebSocket."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from trio_websocket import WebSocketConnection


@attrs.frozen
class _FinishedHandshake:
    """A small object in place of wsproto's handshake object, which is no longer needed.

    This small object never has events.
    """

    @staticmethod
    def events() -> tuple[()]:
        """Return no events, since the handshake is over."""
        return ()


_FINISHED = _FinishedHandshake()


def forget_handshake(socket: WebSocketConnection) -> None:
    """Free the objects that only the handshake needed: HTTP/1.1 state, request and headers, 3 KB in total.

    wsproto would keep these objects while the connection is open, although they produce no further events. They are in
    a private attribute of trio-websocket. If a later version changes this attribute, nothing is freed and nothing
    fails.
    """
    with suppress(AttributeError):
        inner: Any = socket._wsproto  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  -- see above
        if inner.connection is not None:
            inner.handshake = _FINISHED
