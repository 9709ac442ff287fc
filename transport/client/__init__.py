"""The Python client, on trio. The same client on asyncio is :mod:`transport.client.asyncio`."""

from transport.client._buffer import Reset
from transport.client._client import Client
from transport.client._connect import connect
from transport.protocol.server_frames import QueuedStart

__all__ = [
    "Client",
    "QueuedStart",
    "Reset",
    "connect",
]
