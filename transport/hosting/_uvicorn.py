"""The protocol of uvicorn that hands over the sockets of mounted paths. It uses private parts of uvicorn.

``handover.py`` has the versions of uvicorn with which this was tested, and does not import this module with others.
"""

from __future__ import annotations

import os
import socket
import sys
from types import GeneratorType
from typing import TYPE_CHECKING, Any

# Not uvicorn's choice of a protocol: before 0.50 that was another one, with other private parts.
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from transport.hosting._handed import EXTENSION, Taken

if TYPE_CHECKING:
    import asyncio

    from uvicorn._types import ASGIReceiveEvent

_INTERNET = {socket.AF_INET, socket.AF_INET6}


class Protocol(WebSocketsSansIOProtocol):
    """Uvicorn's protocol for WebSockets, which offers its socket to the web application.

    Until the application has decided, nothing is read from the client.
    """

    _begun = False
    _held = False
    """Whether the application can take the socket."""
    _taken = False
    """Whether the application has taken the socket."""
    _early = b""
    """The bytes that the client has sent after its request, and that uvicorn has read."""
    _http: Any = None
    """The protocol that has read the request."""

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client. The first call has the request, which uvicorn's HTTP protocol has read."""
        if not self._begun:
            self._begun = True
            self._held = _can_be_taken(self.transport)
            if self._held:
                self._early = _bytes_after_request(self.transport)
                self._http = self.transport.get_protocol()
                self.transport.pause_reading()
        super().data_received(data)

    async def run_asgi(self) -> None:
        """Call the web application, with the offer in the scope."""
        if self._held:
            offer: dict[object, object] = {"take": self._take}
            self.scope["extensions"] = {**(self.scope.get("extensions") or {}), EXTENSION: offer}
            try:
                await super().run_asgi()
            finally:
                offer.clear()  # it refers to this object, which would stay in memory until a garbage collection
        else:
            await super().run_asgi()

    async def receive(self) -> ASGIReceiveEvent:
        """Return the next message to the application. An application that asks for it does not take the socket."""
        if self._held:
            self._held = False
            self.transport.resume_reading()
        return await super().receive()

    def shutdown(self) -> None:
        """Close the connection, because uvicorn ends. Do nothing if its socket was taken: the endpoint closes it.

        *Uvicorn forgets this object only in the next turn of the loop. Until then its shutdown would fail here, since
        the WebSocket was never opened, and the application would not be ended.*
        """
        if not self._taken:
            super().shutdown()

    def _take(self) -> Taken | None:
        """Return the socket, which uvicorn then forgets. Return None if it cannot be taken any more."""
        if not self._held or self.transport.is_closing():
            return None
        self._held, self._taken = False, True
        taken = socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno()))
        # This closes uvicorn's descriptor. The connection stays open, since the copy has the same socket.
        self.transport.abort()
        _break_cycles(self._http, self.conn)
        self._http = None
        # Uvicorn expects an answer to the request from the application. The endpoint writes it to the socket.
        self.handshake_complete = True
        return Taken(taken, self._early, self.connections)


def _break_cycles(http: Any, connection: Any) -> None:
    """Let the objects be freed at once that have read the request and are not used any more.

    *They refer to themselves. Until the next garbage collection, they would double the memory of a new connection.*
    """
    for name in ("parser", "cycle"):
        if hasattr(http, name):
            setattr(http, name, None)
    parser = getattr(connection, "parser", None)
    if isinstance(parser, GeneratorType):
        parser.close()


def _can_be_taken(transport: asyncio.Transport) -> bool:
    """Return whether the socket under the transport can be used without it.

    That is not so with TLS, which has keys of its own, and while answers to earlier requests are still to be sent.
    """
    sock = transport.get_extra_info("socket")
    cycle = getattr(transport.get_protocol(), "cycle", None)
    return (
        transport.get_extra_info("sslcontext") is None
        and sock is not None
        and sock.family in _INTERNET
        and not transport.get_write_buffer_size()
        and (cycle is None or cycle.response_complete)
    )


def _bytes_after_request(transport: asyncio.Transport) -> bytes:
    """Return the bytes that the HTTP protocol has read together with the request, and that follow the request."""
    connection = getattr(transport.get_protocol(), "conn", None)
    if (trailing := getattr(connection, "trailing_data", None)) is not None:
        return bytes(trailing[0])  # of h11
    # The parser httptools raises an exception, which tells where the request ends. The bytes are in the frame that
    # caught it, and that is now calling the protocol.
    error: Any = sys.exception()
    if type(error).__name__ != "HttpParserUpgrade":
        return b""
    data: bytes = error.__traceback__.tb_frame.f_locals["data"]
    return data[error.args[0] :]
