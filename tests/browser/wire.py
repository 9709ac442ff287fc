"""A simulated network between a browser and a server, which a test can cut and repair."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Any

from _ports import held_port, number_of

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: the peer gets RST, as after a network failure


class Wire:
    """A proxy for TCP connections to ``port``. It has its own threads, while the test controls the browser."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._holder = held_port()
        self.port = number_of(self._holder)
        self.carried = 0
        """Number of connections that were passed on so far."""
        self.mend()

    def mend(self) -> None:
        """Accept connections again, on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def cut(self) -> None:
        """Cut every connection, and refuse new connections."""
        with self._lock:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            ends, self._open = self._open, set()
        for end in ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        """Cut every connection, and release the port permanently."""
        self.cut()
        self._holder.close()

    def script(self) -> str:
        """Return a JavaScript that makes a page's WebSockets use this wire.

        The page must run it before its own scripts.
        """
        return f"""window.WebSocket = class extends WebSocket {{
            constructor(url, protocols) {{ super(url.replace(":{self._target}", ":{self.port}"), protocols); }}
        }};"""

    def _accept(self, listener: socket.socket) -> None:
        """Connect each new connection to the server, until the listener is closed."""
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                with self._lock:
                    if listener.fileno() < 0:
                        near.close()
                        far.close()
                        return
                    self._open |= {near, far}
                    self.carried += 1
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=_carry, args=ends, daemon=True).start()


def _carry(source: Any, target: Any) -> None:
    """Pass the bytes from ``source`` to ``target``, until one of them ends."""
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
