"""The connections that have sent no request yet. When room is short, the oldest of them is the first to go."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

C = TypeVar("C")


class SilentConnections(Generic[C]):
    """Connections in the order in which they came, as one list for all addresses and one list for each address."""

    def __init__(self) -> None:
        # Ordered dicts, since their first entry is found at once after many others before it were deleted.
        self._all: OrderedDict[C, str | None] = OrderedDict()
        self._by_address: dict[str | None, OrderedDict[C, None]] = {}

    def add(self, connection: C, address: str | None) -> None:
        """Add a connection as the newest. ``address`` is the name under which limits count its address, if they do."""
        self._all[connection] = address
        self._by_address.setdefault(address, OrderedDict())[connection] = None

    def discard(self, connection: C) -> None:
        """Remove a connection. Do nothing if the connection is not in the list."""
        if connection not in self._all:
            return
        address = self._all.pop(connection)
        of_address = self._by_address[address]
        del of_address[connection]
        if not of_address:
            del self._by_address[address]

    def oldest(self, address: str | None = None) -> C | None:
        """Return the oldest connection, or None. If ``address`` is given, only connections of this address count."""
        found = self._all if address is None else self._by_address.get(address, ())
        return next(iter(found), None)
