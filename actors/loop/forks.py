"""Protection of a process's files and sockets from its forked children: log files, their lock, the server's sockets.

``fork`` copies every open descriptor. A tool's pool of worker processes outlives a server that is killed, and would
keep the server's port and the lock of its log: no new server could start. So a forked child replaces each descriptor of
these files and sockets by a descriptor of ``/dev/null``. The number stays in use, since objects of the parent that are
left in the child still refer to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import stat
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

_DESCRIPTORS = (Path("/proc/self/fd"), Path("/dev/fd"))
"""Folders that list the open file descriptors of a process: one for Linux, one for macOS and the BSDs."""


class Owner(Protocol):
    """An object with open files that belong to this process alone."""

    def files(self) -> Iterable[Path]:
        """Return the paths of the owner's files. The files need not exist."""
        ...

    def abandon(self) -> None:
        """Forget, in a forked child, all open files. Do not close the files, because they belong to the parent."""
        ...


_owners: WeakSet[Owner] = WeakSet()
_ports = Counter[int]()


def keep_files(owner: Owner) -> None:
    """Make the owner's open files unusable in all child processes that are forked from now on. Idempotent."""
    _owners.add(owner)


def release_files(owner: Owner) -> None:
    """Undo :func:`keep_files`. Call this after the owner has closed its files."""
    _owners.discard(owner)


@contextmanager
def keep_ports(sockets: Iterable[socket.socket]) -> Generator[None]:
    """Make ``sockets``, and connections that they accept, unusable in child processes forked inside the ``with`` block.

    A child process recognises the sockets by their ports.
    """
    # A socket of another family, such as a UNIX socket, has no port.
    ports = [sock.getsockname()[1] for sock in sockets if sock.family in _INTERNET]
    _ports.update(ports)
    try:
        yield
    finally:
        _ports.subtract(ports)


def leak(thing: object) -> None:
    """Keep ``thing`` in memory until the process ends.

    A forked child calls this for its copy of a database connection. If the child closed this copy, the files of the
    parent would change.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


_INTERNET = {socket.AF_INET, socket.AF_INET6}


def _replace_descriptors() -> None:
    """Replace, in a forked child, the file descriptors that belong to the parent by descriptors of ``/dev/null``."""
    ports = {port for port, count in _ports.items() if count > 0}
    owners = tuple(_owners)
    if not ports and not owners:
        return
    files = set(_identities(owners))
    for owner in owners:
        owner.abandon()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in _descriptors():
        with contextlib.suppress(OSError):  # the descriptor of the listing itself is closed by now
            if _is_kept(descriptor, files, ports):
                os.dup2(null, descriptor, inheritable=False)
    os.close(null)


def _identities(owners: Iterable[Owner]) -> Iterator[tuple[int, int]]:
    """Yield the device and inode numbers of the owners' files. These numbers identify a file."""
    for owner in owners:
        for path in owner.files():
            with contextlib.suppress(OSError):  # the file need not exist
                found = path.stat()
                yield found.st_dev, found.st_ino


def _descriptors() -> list[int]:
    """Return the open file descriptors of this process.

    The list is empty if the system has no folder that lists them.
    """
    folder = next((folder for folder in _DESCRIPTORS if folder.is_dir()), None)
    return [] if folder is None else [int(entry.name) for entry in folder.iterdir()]


def _is_kept(descriptor: int, files: set[tuple[int, int]], ports: set[int]) -> bool:
    """Return whether a descriptor is the parent's own: a file in ``files``, or a socket on a port in ``ports``."""
    found = os.fstat(descriptor)
    if not stat.S_ISSOCK(found.st_mode):
        return (found.st_dev, found.st_ino) in files
    sock = socket.socket(fileno=descriptor)  # a view on the descriptor: detach() leaves it open
    try:
        return sock.family in _INTERNET and sock.getsockname()[1] in ports
    finally:
        sock.detach()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_replace_descriptors)
