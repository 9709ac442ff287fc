"""Listening sockets: how the WebSocket endpoint and the pages take their ports."""

from __future__ import annotations

import errno
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from actors.loop.forks import keep_ports

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

# Connections that the system completes before the server accepts them. *A wave of refreshes after a restart, a thousand
# tabs at once, overflows the usual 128: the clients' packets are dropped, and they try again a second later.*
BACKLOG = 4096


class BorrowedListener(socket.socket):
    """A listening socket that other processes have, too.

    When this process stops listening, it only closes its own copy, so that the others go on. *A ``shutdown()`` ends the
    socket in all processes: of 100 clients that waited to be accepted, 48 were reset.*
    """

    def shutdown(self, _how: int) -> None:
        """Do nothing."""


@attrs.frozen
class Listeners:
    """The listening sockets of a server: those of its WebSocket endpoint, and those of its pages."""

    endpoint: Sequence[socket.socket] = ()
    pages: Sequence[socket.socket] = ()
    own: Sequence[Sequence[socket.socket]] = ()
    """For each worker: listening sockets for its pages that no other worker has. Empty if there are none."""

    def of_worker(self, number: int) -> Listeners:
        """Return the listening sockets of one worker. The first worker has the number 1."""
        own = self.own[number - 1] if self.own else ()
        return Listeners(self.endpoint, (*self.pages, *own))

    def __iter__(self) -> Iterator[socket.socket]:
        """Yield all listening sockets."""
        yield from self.endpoint
        yield from self.pages
        for group in self.own:
            yield from group


def borrowed(descriptors: Iterable[int]) -> list[BorrowedListener]:
    """Return the listening sockets with these file descriptors, which this process has inherited.

    Programs that this process starts do not inherit them.
    """
    listeners = [BorrowedListener(fileno=descriptor) for descriptor in descriptors]
    for listener in listeners:
        listener.set_inheritable(False)
        listener.settimeout(0)
    return listeners


@contextmanager
def listening(
    host: str, port: int, setting: str = "port", given: Sequence[socket.socket] = ()
) -> Generator[Sequence[socket.socket]]:
    """Open listening sockets as :func:`listen` does, and close them at the end of the ``with`` block.

    If listening sockets are ``given``, take these instead. They are closed at the end, too. A process that is forked
    inside the block inherits neither these sockets nor the connections that they accept.
    """
    listeners = given or listen(host, port, setting)
    try:
        with keep_ports(listeners):
            yield listeners
    finally:
        for listener in listeners:
            listener.close()


def listen(host: str, port: int, setting: str = "port") -> list[socket.socket]:
    """Open listening sockets, one for each address of ``host``.

    Args:
        host: A name or an address of this machine.
        port: The port. With 0, a free port is taken, the same for all addresses.
        setting: Name of the setting that chooses the port, for the error message.

    Returns:
        The sockets. The caller closes them.

    Raises:
        OSError: If the port is in use, or the host is not this machine.
    """
    listeners: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            chosen = (address[0], port or (listeners[0].getsockname()[1] if listeners else 0), *address[2:])
            listeners.append(_listener(family, kind, protocol, chosen))
    except OSError as error:
        for listener in listeners:
            listener.close()
        text = f"cannot listen on {host} port {port}: {error.strerror}"
        if error.errno == errno.EADDRINUSE:
            option = setting.replace("_", "-")
            text += f"; another server may be running: choose another with --{option} or the setting {setting}"
        raise OSError(error.errno, text) from error
    return listeners


def _listener(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        listener.settimeout(0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Each address has its own socket: this one must not take the host's IPv4 address as well.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
