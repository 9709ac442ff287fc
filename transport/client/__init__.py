"""The Python client, on trio."""

from transport.client._client import (
    Client,
    connect,
)
from transport.client._frames import QueuedStart, Reset

__all__ = [
    "Client",
    "QueuedStart",
    "Reset",
    "connect",
]
