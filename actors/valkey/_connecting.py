"""Connections of the client library coredis, made and closed without traces.

Only ``coredis.connection`` is used: the pool of that library loses a connection for good with each blocking command
that is cancelled or timed out, and its default policy repeats commands whose outcome is not known.
"""

from __future__ import annotations

import logging
import ssl
from contextvars import ContextVar
from typing import TYPE_CHECKING

from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from coredis.connection import BaseConnection, TCPConnection, UnixDomainSocketConnection
from coredis.connection._tcp import TCPLocation
from coredis.connection._uds import UnixDomainSocketLocation

if TYPE_CHECKING:
    from actors.valkey.address import Address

quiet: ContextVar[bool] = ContextVar("quiet", default=False)
"""Whether the client library logs nothing in this task. It logs a traceback for each attempt to connect that fails."""


class _Quiet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is not about one of our connections. The link reports their failures."""
        del record
        return not quiet.get()


logging.getLogger("coredis").addFilter(_Quiet())


def new_connection(address: Address, seconds: float) -> BaseConnection:
    """Return a connection to this address. It does nothing until its ``run`` is called.

    ``seconds`` is the time limit for reaching the address.
    """
    user, password = address.user or None, address.password or None
    if address.path:
        return UnixDomainSocketConnection(
            UnixDomainSocketLocation(address.path), connect_timeout=seconds, username=user, password=password
        )
    return TCPConnection(
        TCPLocation(address.host, address.port),
        connect_timeout=seconds,
        username=user,
        password=password,
        db=address.database,
        ssl_context=ssl.create_default_context() if address.tls else None,
        socket_keepalive=True,
    )


def discard(connection: BaseConnection) -> None:
    """Close the memory streams of a connection that has ended.

    The library closes them only if the connection was established. Otherwise Python warns that they were not closed.
    """
    for each in tuple(vars(connection).values()):
        if isinstance(each, (MemoryObjectReceiveStream, MemoryObjectSendStream)):
            each.close()
