"""Ports that only one test uses, while other tests run on the same machine."""

from __future__ import annotations

import socket


def held_port(port: int = 0) -> socket.socket:
    """Return a socket that holds a port of 127.0.0.1, by default any free one, until it is closed, and does not listen.

    Meanwhile, a connection to the port is refused. A server that names this port can listen on it, even several times,
    because servers set SO_REUSEADDR. The operating system gives the port to no socket that asks for any free port.

    Raises OSError if something listens on the port.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind(("127.0.0.1", port))
    except OSError:
        holder.close()
        raise
    return holder


def number_of(holder: socket.socket) -> int:
    """Return the number of the port that ``holder`` holds."""
    port: int = holder.getsockname()[1]
    return port
