"""The opening of a connection, before its first request: the header of the PROXY protocol, then the TLS handshake."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import trio

from actors import ConfigError
from actors.failures import text_of
from transport.protocol.forwarded import Proxies
from transport.protocol.proxy_header import BadProxyHeader, ProxyHeader
from transport.server._refusals import Reason
from transport.server.tls import TlsStream

if TYPE_CHECKING:
    from transport.server._refusals import RefusalLog
    from transport.server.accepting import Opener
    from transport.server.tls import Certificate
    from transport.settings import Settings

_PEEK_BYTES = 4096


def opener_for(settings: Settings, certificate: Certificate | None, refusals: RefusalLog) -> Opener | None:
    """Return the function that opens connections as the settings say. Return None if there is nothing to do.

    Args:
        settings: ``proxy_protocol`` and ``forwarded_allow``.
        certificate: The certificate, if connections use TLS.
        refusals: The log of refused clients.

    Raises:
        ConfigError: If ``proxy_protocol`` is set, but no proxy is trusted.
    """
    if settings.proxy_protocol and not settings.forwarded_allow:
        raise ConfigError("proxy_protocol needs forwarded_allow, the addresses of the proxies that may send its header")
    if not settings.proxy_protocol and certificate is None:
        return None
    proxies = Proxies((settings.forwarded_allow or ()) if settings.proxy_protocol else ())
    return _Opening(proxies, certificate, refusals).open


class _Opening:
    """The opening of all connections of a port."""

    def __init__(self, proxies: Proxies, certificate: Certificate | None, refusals: RefusalLog) -> None:
        self._proxies = proxies
        """The proxies that begin each connection with a header. Empty without ``proxy_protocol``."""
        self._certificate = certificate
        self._refusals = refusals

    async def open(self, stream: trio.SocketStream, sock: socket.socket, peer: str) -> tuple[trio.abc.Stream, str]:
        """Open one connection. See :data:`~transport.server.accepting.Opener`.

        A connection from a trusted proxy must begin with the header, and every other connection begins without it:
        *whether there is a header is never guessed, since a stranger could then write one*.
        """
        address = peer
        if self._proxies.trusts(peer):
            address = await self._read_header(stream) or peer
        if self._certificate is None:
            return stream, address
        try:
            return await TlsStream.open(sock, self._certificate.context), address
        except OSError as error:
            # A client that leaves is none of the server's faults, and neither is a scanner. TLS clients say why.
            if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
                self._refusals.note(Reason.TLS, text_of(error))
            raise trio.BrokenResourceError("no TLS handshake") from error

    async def _read_header(self, stream: trio.SocketStream) -> str | None:
        header = ProxyHeader()
        try:
            while not header.complete:
                # Looked at first, and then taken: the bytes after the header belong to the next protocol.
                data = await stream.socket.recv(_PEEK_BYTES, socket.MSG_PEEK)
                if not data:
                    raise trio.BrokenResourceError("the proxy has left")
                await stream.socket.recv(header.feed(data))
        except BadProxyHeader as error:
            self._refusals.note(Reason.PROXY_HEADER, str(error))
            raise trio.BrokenResourceError(str(error)) from error
        except OSError as error:
            raise trio.BrokenResourceError("the proxy has left") from error
        return header.client
