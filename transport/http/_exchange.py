"""The response to one request: the messages of an ASGI application become HTTP/1.1."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING

import h11

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message

    from transport.http._request import Request
    from transport.http._stream import ClientStream

_WITHOUT_BODY = {204, 304}


class Exchange:
    """One request and its response. :meth:`receive` and :meth:`send` are the functions that ASGI wants.

    Args:
        request: The request.
        stream: The client's stream.
        is_last: Returns whether the connection is to be closed after this response.
    """

    def __init__(self, request: Request, stream: ClientStream, is_last: Callable[[], bool]) -> None:
        self._request = request
        self._parser = request.parser
        self._stream = stream
        self._is_last = is_last
        self._received = False
        self._head: bytes | None = None
        """The head of the response, which is written together with the first part of the body."""
        self._without_body = False
        self.written = False
        """Whether a part of the response was written."""

    @property
    def complete(self) -> bool:
        """Whether the application has sent a whole response."""
        return self.written and self._parser.our_state in {h11.DONE, h11.MUST_CLOSE}

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another request after this exchange."""
        return self.complete and self._parser.our_state is h11.DONE and self._parser.their_state is h11.DONE

    async def receive(self) -> Message:
        """Return the request's body at the first call. At later calls, wait until the client has left."""
        if not self._received:
            self._received = True
            return {"type": "http.request", "body": self._request.body, "more_body": False}
        await self._stream.wait_for_end()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Write the next part of the response.

        Raises:
            ClientGone: The client has left, or reads too slowly.
            h11.LocalProtocolError: The messages are no HTTP response, such as a body that is too long.
            ValueError: This message is unknown.
        """
        if message["type"] == "http.response.start":
            self._head = self._start(int(message["status"]), list(message.get("headers", ())))
        elif message["type"] == "http.response.body":
            await self._send_body(bytes(message.get("body", b"")), more=bool(message.get("more_body", False)))
        else:
            raise ValueError(f"the message {message['type']} is not served here")

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        self._without_body = self._request.head.method == b"HEAD" or status in _WITHOUT_BODY
        headers.append((b"Date", formatdate(usegmt=True).encode()))
        if self._is_last():
            headers.append((b"Connection", b"close"))
        return self._parser.send(h11.Response(status_code=status, headers=headers)) or b""

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        data, self._head = self._head or b"", b""
        if body and not self._without_body:
            data += self._parser.send(h11.Data(data=body)) or b""
        if not more:
            data += self._parser.send(h11.EndOfMessage()) or b""
        if data:
            self.written = True
            await self._stream.write(data)
