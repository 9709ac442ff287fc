"""TLS: the certificate of a server, and connections over it that write at once, as those over plain TCP do.

The sockets are those of the standard library, in their mode without blocking. *A stream that encrypts in a task of its
own, such as trio's, would cost a task for each event.*
"""

from __future__ import annotations

import logging
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from actors import ConfigError
from actors.failures import log_line, text_of
from actors.private_files import warn_if_open_to_others

if TYPE_CHECKING:
    from typing import Self

    from transport.settings import Settings

logger = logging.getLogger("greenroom.tls")

_WOULD_BLOCK = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
RECORD_BYTES = 16 * 1024
"""Maximum number of plain bytes in a record of TLS. A read that may return fewer could leave bytes behind unseen."""


class TlsSocket(ssl.SSLSocket):
    """A socket with TLS that behaves like a plain socket without blocking: it raises ``BlockingIOError``."""

    def send(self, data: Any, flags: int = 0) -> int:
        """Encrypt and send bytes. Return how many of them were taken: after that the next call must go on there."""
        view, sent = memoryview(data), 0
        try:
            while sent < len(view):
                # Never less than was tried before, as OpenSSL requires: a record, or all that is left.
                sent += super().send(view[sent : sent + RECORD_BYTES], flags)
        except _WOULD_BLOCK as error:
            if not sent:
                raise BlockingIOError(str(error)) from None
        return sent

    def recv(self, buflen: int = RECORD_BYTES, flags: int = 0) -> bytes:
        """Return plain bytes that have arrived; b"" at the end of the stream."""
        try:
            return super().recv(buflen, flags)
        except _WOULD_BLOCK as error:
            raise BlockingIOError(str(error)) from None


class TlsStream(trio.abc.HalfCloseableStream):
    """A stream over a :class:`TlsSocket`. It owns the socket. One task may read, and one may write.

    Attributes:
        socket: The socket. It can be read and written directly.
    """

    def __init__(self, sock: TlsSocket) -> None:
        self.socket = sock

    @classmethod
    async def open(cls, sock: socket.socket, context: ssl.SSLContext) -> Self:
        """Do the handshake of a server on an accepted socket. The new stream has taken the socket over.

        Raises:
            OSError: If the client speaks no TLS, refuses the certificate, or has left. The socket is closed.

        Cancellation: the socket is closed.
        """
        sock.getpeername()  # a client that has left by now: `wrap_socket` would fail, and leave its socket open
        tls = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        assert isinstance(tls, TlsSocket)  # noqa: S101 - set where the context is made
        stream = cls(tls)
        try:
            await stream._shake_hands()
        except BaseException:
            stream._close()
            raise
        return stream

    async def _shake_hands(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            try:
                self.socket.do_handshake()
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(self.socket)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(self.socket)
            else:
                return

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next bytes, or b"" at the end of the stream."""
        await trio.lowlevel.checkpoint()
        while True:
            self._check_open()
            try:
                # First a look: a part of a record may wait in the socket object, of which the system knows nothing.
                return self.socket.recv(RECORD_BYTES if max_bytes is None else max_bytes)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self.socket)
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all bytes."""
        await trio.lowlevel.checkpoint()
        view = memoryview(data)
        while view:
            self._check_open()
            try:
                view = view[self.socket.send(view) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.socket)
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the system takes bytes."""
        self._check_open()
        await trio.lowlevel.wait_writable(self.socket)

    async def send_eof(self) -> None:
        """Tell the peer that nothing more will be sent. The peer's bytes can still be read."""
        await trio.lowlevel.checkpoint()
        self._check_open()
        self._say_end()
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        """Close the socket. Before that, tell the peer that the stream ends here, if the system takes these bytes."""
        self._close()
        await trio.lowlevel.checkpoint()

    def _close(self) -> None:
        if self.socket.fileno() >= 0:
            self._say_end()
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()

    def _say_end(self) -> None:
        # Never waits. An answer of the peer is not needed: a WebSocket and HTTP both say where their messages end.
        with suppress(OSError, ValueError):
            self.socket.unwrap()

    def _check_open(self) -> None:
        if self.socket.fileno() < 0:
            raise trio.ClosedResourceError


class Certificate:
    """The certificate and the private key of a server. :meth:`reload` reads them again.

    Args:
        cert: File with the certificate and the intermediate certificates, in PEM.
        key: File with the private key, in PEM. If None, the key is in the same file.

    Raises:
        ConfigError: If the files cannot be read or used. The message names the setting.
    """

    def __init__(self, cert: str, key: str | None = None) -> None:
        self._cert, self._key = Path(cert), Path(key or cert)
        self.context = self._load()
        """The TLS context for new connections."""

    @classmethod
    def of(cls, settings: Settings) -> Certificate | None:
        """Return the certificate of the settings ``tls_cert`` and ``tls_key``. Return None if there is none.

        Raises:
            ConfigError: If the files cannot be used, or there is a key without a certificate.
        """
        if settings.tls_cert is not None:
            return cls(settings.tls_cert, settings.tls_key)
        if settings.tls_key is not None:
            raise ConfigError("tls_key needs tls_cert, the file with the certificate")
        return None

    def reload(self) -> bool:
        """Read the files again, for new connections. If they cannot be used, log an error and keep the old certificate.

        Open connections are not changed. Return whether the files were used.
        """
        try:
            self.context = self._load()
        except ConfigError as error:
            log_line(logger, logging.ERROR, "the old TLS certificate stays in use: %s", error)
            return False
        log_line(logger, logging.INFO, "the TLS certificate %s was read again", self._cert)
        return True

    def _load(self) -> ssl.SSLContext:
        for setting, path in (("tls_cert", self._cert), ("tls_key", self._key)):
            try:
                path.read_bytes()
            except OSError as error:
                raise ConfigError(f"{setting}: {path} cannot be read: {error.strerror}") from None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # No client may ask for a new handshake on an open connection: each costs the server a signature.
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        context.sslsocket_class = TlsSocket
        try:
            context.load_cert_chain(self._cert, self._key, password=_no_password)
        except (OSError, ValueError) as error:
            raise ConfigError(_fault_of(error, self._cert, self._key)) from None
        warn_if_open_to_others(self._key, logger)
        return context


def _no_password() -> str:
    # Without this function, OpenSSL would ask for a password at the terminal, and the server would wait.
    raise ConfigError("tls_key: the key is encrypted: give a key without a password, in a file that only you may read")


def _fault_of(error: Exception, cert: Path, key: Path) -> str:
    reason: Any = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return f"tls_key: the key in {key} is not that of the certificate in {cert}"
    return f"tls_cert: {cert} and {key} are no certificate and its key, in PEM: {text_of(error)}"
