"""A request to the pages: the bytes of a client as one whole, checked request. HTTP/1.1 in its plain form only."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

import attrs
import h11

from transport.protocol.handshake import Reject, path_and_query
from transport.protocol.request_head import MAX_HEAD_BYTES, PlainHead

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope

    from transport.http._stream import ClientStream
    from transport.http._turns import Turns


@attrs.frozen(eq=False)
class Request:
    """A whole request."""

    head: h11.Request
    target: str
    """The path and the query."""
    body: bytes
    parser: h11.Connection
    """The state of this exchange in the HTTP library. It is used for the response too."""

    def scope(self, client: tuple[str, int], server: tuple[str, int], scheme: str) -> Scope:
        """Return the request as an ASGI scope (specification 2.4: after the client's end, ``send`` raises OSError)."""
        path, _, query = self.target.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": self.head.method.decode(),
            "scheme": scheme,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": list(self.head.headers),
            "client": client,
            "server": server,
        }


class RequestReader:
    """Reads one request of a client.

    Args:
        stream: The client's stream.
        turns: The turns in which requests are handled.
        max_body: Maximum size of a body in bytes.
    """

    def __init__(self, stream: ClientStream, turns: Turns, max_body: int) -> None:
        self._stream = stream
        self._turns = turns
        self._max_body = max_body
        self.begun = False
        """Whether a part of the request has arrived."""

    async def read(self) -> Request | Reject | None:
        """Return the client's next request, or a refusal if it is wrong. Return None if the client sends no more.

        Raises:
            ClientGone: The connection was lost.

        Cancellation: a part of the request may be lost.
        """
        head = PlainHead()
        while not head.complete:
            data = await self._stream.read()
            if not data:
                return None
            self.begun = True
            if (fault := head.feed(data)) is not None:
                return Reject(400, fault)
        await self._turns.next()
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        parser.receive_data(head.data)
        return await self._parse(parser)

    async def _parse(self, parser: h11.Connection) -> Request | Reject | None:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError as error:
            return Reject(400, f"the request is not HTTP/1.1: {error}")
        assert isinstance(event, h11.Request)  # noqa: S101 - the head is complete
        target = path_and_query(event.target.decode())
        if not target.startswith("/"):
            return Reject(400, "the target of the request must be a path")
        if (refusal := self._refusal_of_body(dict(event.headers))) is not None:
            return refusal
        if parser.they_are_waiting_for_100_continue:
            await self._stream.write(parser.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        body = await self._body(parser)
        return None if body is None else Request(event, target, body, parser)

    def _refusal_of_body(self, headers: Mapping[bytes, bytes]) -> Reject | None:
        if b"transfer-encoding" in headers:
            # RFC 9112, section 6.3 allows this. *Chunks of one byte would cost 20 µs for each byte.*
            return Reject(411, "a body must come with its content-length")
        if int(headers.get(b"content-length", b"0")) > self._max_body:
            return Reject(413, f"the body of a request may have {self._max_body} bytes")
        return None

    async def _body(self, parser: h11.Connection) -> bytes | None:
        """Return the whole body. Return None if the client leaves before its end."""
        body = b""
        while not isinstance(event := parser.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                body += event.data
            elif data := await self._stream.read():
                parser.receive_data(data)
            else:
                return None
        return body
