"""One connection of a client of the pages: its requests, one after another, and its end."""

from __future__ import annotations

import logging
import secrets
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio
from starlette.requests import ClientDisconnect

from actors import FailureKind
from actors.failures import is_a, log_failure, log_line
from transport._border import called, leaves
from transport.http._exchange import Exchange
from transport.http._request import Request, RequestReader
from transport.http._stream import ClientGone, ClientStream
from transport.protocol.forwarded import BadForwarding
from transport.protocol.handshake import Reject, plain_answer
from transport.server.clients import learn_client
from transport.server.tls import TlsStream

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from starlette.types import ASGIApp, Scope

    from actors import RecentFailures
    from transport.http._turns import Turns
    from transport.server.port import Port

logger = logging.getLogger("greenroom.http")

_NO_FAILURES = (ClientGone, ClientDisconnect, trio.Cancelled)
"""Exceptions that an application raises because its client has left."""


@attrs.frozen
class PageContext:
    """The parts of the HTTP server that all its connections share."""

    app: ASGIApp
    port: Port[PageConnection]
    """The limits, and the open connections."""
    turns: Turns
    """The turns in which the requests of all connections are handled."""
    failures: RecentFailures | None = None
    """The newest failures of the server, for operators."""


class PageConnection:
    """A client's connection, served by :meth:`run`. Other tasks call the other public methods, which never wait.

    One task reads a request, lets the application answer, and only then reads the next request. So requests that are
    sent without waiting (pipelining) are answered in their order, and two responses are never mixed.

    Args:
        context: The parts of the server that all its connections share.
        stream: The stream. Nothing was read from it yet.
        sock: The socket under the stream.
        address: The network address of the client.
    """

    def __init__(self, context: PageContext, stream: trio.SocketStream, sock: socket.socket, address: str) -> None:
        self.address = address
        """The network address of the client."""
        self._app = context.app
        self._port = context.port
        self._turns = context.turns
        self._failures = context.failures
        opener = context.port.opener
        self._open = None if opener is None else partial(opener, stream, sock, address)
        """Opens the connection before its first request. None if that is done, or if there is nothing to do."""
        self._is_secure = False
        """Whether the connection uses TLS."""
        self._socket_stream: trio.abc.Stream = stream
        self._stream = ClientStream(stream, context.port, sock)
        self._sock = sock
        self._client = _name(sock.getpeername, address)
        self._server = _name(sock.getsockname, "")
        self._scope = trio.CancelScope()
        self._busy = False
        """Whether a request is being answered."""

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Answer requests until the connection ends, then close its stream. An error is logged, not raised."""
        try:
            with self._scope:
                await self._serve()
        except ClientGone:
            log_line(logger, logging.DEBUG, "a client of the pages has left")
        except Exception as error:  # noqa: BLE001 - the border: nothing of a connection passes
            log_failure(logger, "a connection to the pages failed", error=error)
        finally:
            await trio.aclose_forcefully(self._socket_stream)
            self._port.admission.remove(self)

    def drop(self) -> None:
        """Close the connection without an answer. Never waits."""
        self._scope.cancel()

    def end(self) -> None:
        """Close the connection after the response in progress. If there is none, close it at once. Never waits."""
        if not self._busy:
            self.drop()

    async def _serve(self) -> None:
        while (request := await self._next_request()) is not None:
            self._busy = True
            going = await self._answer(request)
            self._busy = False
            if not going:
                self._port.admission.remove(self)
                with self._port.admission.lingering(self):
                    await self._stream.linger()
                return
            self._port.admission.await_request(self)

    async def _next_request(self) -> Request | Reject | None:
        """Return the next request, or a refusal. Return None if the client has left, or begins no request in time."""
        settings = self._port.settings
        reader: RequestReader | None = None
        request: Request | Reject | None = None
        with self._port.within(settings.hello_seconds) as slow:
            await self._be_opened()
            reader = RequestReader(self._stream, self._turns, settings.http_body_bytes)
            request = await reader.read()
        if slow.cancelled_caught and reader is not None and reader.begun:
            self._port.note_slow_request()
            return Reject(408, "no whole request came in time")
        if isinstance(request, Reject):
            self._port.note_bad_request(request.body)
        return request

    async def _be_opened(self) -> None:
        """Read the header of the PROXY protocol and do the TLS handshake, once, if the settings say so.

        Raises:
            ClientGone: The client does it wrong or has left, or its connections come too fast.
        """
        if self._open is None:
            return
        try:
            stream, address = await self._open()
        except trio.BrokenResourceError:
            raise ClientGone from None
        self._open = None
        self._is_secure = isinstance(stream, TlsStream)
        sock = stream.socket if isinstance(stream, TlsStream) else self._sock
        self._socket_stream, self._stream = stream, ClientStream(stream, self._port, sock)
        if address != self.address:
            self._client = (address, 0)
        if not learn_client(self._port.stage, self._port.admission, self, address, is_final=False):
            raise ClientGone

    async def _answer(self, request: Request | Reject) -> bool:
        """Answer one request. Return whether the connection can carry another one."""
        scope = request if isinstance(request, Reject) else self._scope_of(request)
        if isinstance(scope, Reject):
            await self._stream.write(plain_answer(scope))
            return False
        assert isinstance(request, Request)  # noqa: S101 - a refusal has no scope
        exchange = Exchange(request, self._stream, lambda: self._port.admission.going_away)
        result = await called(self._app, scope, exchange.receive, exchange.send)
        error = result if isinstance(result, BaseException) else None
        if error is None and not exchange.complete and not (self._stream.gone or self._stream.left):
            error = RuntimeError("the application has sent no whole response")
        reference = None if error is None else _log(error, self._failures)
        if self._stream.gone or (self._stream.left and not exchange.complete):
            raise ClientGone
        if not exchange.written:
            await self._stream.write(plain_answer(Reject(500, f"internal error, reference {reference}")))
        # What came after the request, first in the parser and then while the application waited.
        self._stream.unread = request.parser.trailing_data[0] + self._stream.unread
        return exchange.reusable

    def _scope_of(self, request: Request) -> Scope | Reject:
        """Return the ASGI scope of a request, with the client and the scheme that trusted proxies name.

        Return a refusal if the proxies contradict each other, or if there are too many connections. *A connection of a
        proxy carries the requests of many clients. It counts for none of them, unless the proxy names no client.*
        """
        stage, admission = self._port.stage, self._port.admission
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.head.headers]
        try:
            origin = stage.proxies.origin(self.address, fields)
        except BadForwarding as error:
            self._port.note_bad_request(str(error))
            return Reject(400, str(error))
        is_own = origin.client == self.address
        if is_own and not learn_client(stage, admission, self, origin.client):
            return Reject(503, "connections from this address come too fast")
        if (refusal := admission.refuse(self)) is not None:
            return refusal
        peer = self._client if is_own else (origin.client, 0)
        is_https = self._is_secure if origin.is_https is None else origin.is_https
        return request.scope(peer, self._server, "https" if is_https else "http")


def _log(error: BaseException, failures: RecentFailures | None) -> str:
    """Log an application's exception, unless it only says that the client has left. Return its reference number."""
    reference = secrets.token_hex(4)
    if not all(is_a(each, _NO_FAILURES) for each in leaves(error)):
        fields = {"reference": reference}
        log_failure(logger, "a request to the pages failed, reference %s", reference, error=error, fields=fields)
        if failures is not None:
            failures.add(FailureKind.HTTP, "a request to the pages failed", error, reference=reference)
    return reference


def _name(function: Callable[[], tuple[object, ...]], otherwise: str) -> tuple[str, int]:
    """Return the host and port that a function of a socket returns. If the peer has left, the host is ``otherwise``."""
    with suppress(OSError):
        host, port = function()[:2]
        return str(host), int(str(port))
    return otherwise, 0
