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


def held_ports(number: int) -> list[socket.socket]:
    """Return sockets that hold so many ports next to each other, each as :func:`held_port` does."""
    while True:
        holders = [held_port()]
        try:
            for port in range(number_of(holders[0]) + 1, number_of(holders[0]) + number):
                with socket.socket() as alone:
                    alone.bind(("127.0.0.1", port))  # fails also if a test holds the port
                holders.append(held_port(port))
        except OSError:
            for holder in holders:
                holder.close()
        else:
            return holders


def number_of(holder: socket.socket) -> int:
    """Return the number of the port that ``holder`` holds."""
    port: int = holder.getsockname()[1]
    return port
