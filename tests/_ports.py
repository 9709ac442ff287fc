"""Ports for one test alone, while other tests run on the same machine."""

from __future__ import annotations

import socket


def held_port() -> socket.socket:
    """Return a socket that holds a port of 127.0.0.1 until it is closed, and does not listen.

    A connection to it is refused meanwhile. A server that names the port can listen on it, again and again, as servers
    set SO_REUSEADDR; the system gives it to no socket that asks for any port.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


def number_of(holder: socket.socket) -> int:
    """Return the port that ``holder`` holds."""
    port: int = holder.getsockname()[1]
    return port
