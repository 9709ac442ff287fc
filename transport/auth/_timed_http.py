"""HTTP requests with one time limit for all of a response: for its head and its body, however small its parts are.

*The time limit of a socket begins anew with each part, so a server that sends a byte now and then would hold the thread
that waits for it.*
"""

from __future__ import annotations

import io
import time
from http.client import HTTPConnection, HTTPSConnection
from typing import TYPE_CHECKING, Any, Protocol
from urllib import request as requests

from transport.auth._limits import FETCH_SECONDS

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


class Receiver(Protocol):
    """A socket, as far as a :class:`TimedReader` needs it."""

    def settimeout(self, seconds: float, /) -> None:
        """Set the time limit of the next read."""

    def recv_into(self, buffer: Any, /) -> int:
        """Read into the buffer. Return the number of bytes, 0 at the end."""
        ...


class TimedReader(io.RawIOBase):
    """The reading side of a socket, up to a point in time.

    Args:
        sock: The socket.
        end: The time after which nothing is read any more. Then a read raises TimeoutError.
        clock: Returns the time in seconds.
        on_close: Called when the reader is closed.
    """

    def __init__(
        self,
        sock: Receiver,
        end: float,
        clock: Callable[[], float] = time.monotonic,
        on_close: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__()
        self._socket = sock
        self._end = end
        self._clock = clock
        self._on_close = on_close

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read into the buffer. Return the number of bytes, 0 at the end."""
        left = self._end - self._clock()
        if left <= 0:
            raise TimeoutError(f"no complete answer within {FETCH_SECONDS:g} s")
        self._socket.settimeout(left)
        return self._socket.recv_into(buffer)

    def close(self) -> None:
        """Close the reader, but not the socket."""
        if not self.closed:
            self._on_close()
        super().close()


class _TimedSocket:
    """The methods of a socket that a connection of ``http.client`` calls, with one time limit for all reads."""

    def __init__(self, sock: socket.socket, end: float) -> None:
        self._socket = sock
        self._end = end
        self.sendall = sock.sendall

    def makefile(self, _mode: str) -> io.BufferedReader:
        # The file keeps the socket open after `close`, until it is closed itself.
        kept = self._socket.makefile("rb", 0)
        return io.BufferedReader(TimedReader(self._socket, self._end, on_close=kept.close))

    def close(self) -> None:
        self._socket.close()


class _TimedConnection(HTTPConnection):
    """A connection that must have its response within its time limit."""

    def connect(self) -> None:
        """Connect, within the time limit for each address of the server."""
        end = time.monotonic() + (self.timeout or FETCH_SECONDS)
        super().connect()
        self.sock: Any = _TimedSocket(self.sock, end)


class _TimedTlsConnection(_TimedConnection, HTTPSConnection):
    """The same, over TLS."""


class TimedHandler(requests.HTTPHandler):
    """Opens URLs with http://, each within the time limit of the request."""

    def http_open(self, req: requests.Request) -> Any:
        """Open the URL of a request."""
        return self.do_open(_TimedConnection, req)


class TimedTlsHandler(requests.HTTPSHandler):
    """Opens URLs with https://, each within the time limit of the request."""

    def https_open(self, req: requests.Request) -> Any:
        """Open the URL of a request."""
        return self.do_open(_TimedTlsConnection, req)
