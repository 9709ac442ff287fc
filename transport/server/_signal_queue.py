"""The signals that a connection could not write yet, within bounds."""

from __future__ import annotations

from typing import cast

import orjson

# Signals that announce a state, and the field of their data that names its subject. Only the newest of each matters.
_STATES = {"typing": "id", "queued": "command_id"}

MAX_SIGNALS = 64
"""Number of signals kept for a client that is slow. Beyond it the least important ones are dropped."""

MAX_SIGNAL_BYTES = 64 * 1024
"""Bytes of signals kept for such a client. One signal alone may be larger."""


class SignalQueue:
    """Signals in their order, at most ``MAX_SIGNALS`` and ``MAX_SIGNAL_BYTES``.

    A signal that a later one has made out of date is dropped first: the typing of a user whose typing changed since, or
    a queued start that has begun. *If the oldest went instead, an agent's many progress signals could push out the
    signal that a user stopped typing, and the others would see that user type for ever.*
    """

    __slots__ = ("_entries", "size")

    def __init__(self) -> None:
        self.size = 0
        """Number of bytes of the queued frames."""
        self._entries: list[tuple[str, bytes, bytes]] = []

    def __bool__(self) -> bool:
        return bool(self._entries)

    def put(self, name: str, data: bytes, frame: bytes) -> int:
        """Queue a signal, and drop others if there are too many.

        Args:
            name: The signal's name.
            data: Its data, as JSON.
            frame: The whole frame, to be written.

        Returns:
            The number of signals that were dropped.
        """
        entries = self._entries
        entries.append((name, data, frame))
        self.size += len(frame)
        before = len(entries)
        while len(entries) > MAX_SIGNALS or (self.size > MAX_SIGNAL_BYTES and len(entries) > 1):
            least = self._least_important()
            self.size -= len(entries[least][2])
            del entries[least]
        return before - len(entries)

    def take(self) -> bytes:
        """Remove the oldest frame and return it. Raises ``IndexError`` if there is none."""
        frame = self._entries.pop(0)[2]
        self.size -= len(frame)
        return frame

    def _least_important(self) -> int:
        """Return the index to drop: the oldest that is out of date, or the oldest that is no state, or the oldest."""
        newer: set[tuple[str, str]] = set()
        outdated, other = -1, -1
        # From the newest to the oldest, so that the last assignment is the oldest.
        for index in range(len(self._entries) - 1, -1, -1):
            name, data, _ = self._entries[index]
            if name not in _STATES:
                other = index
                continue
            state = (name, _subject(data, _STATES[name]))
            if state in newer:
                outdated = index
            newer.add(state)
        return next((index for index in (outdated, other) if index >= 0), 0)


def _subject(data: bytes, field: str) -> str:
    """Return the subject of a state. Return "" if an agent chose the name of a state for a signal of its own."""
    value = orjson.loads(data)
    return str(cast("dict[str, object]", value).get(field)) if isinstance(value, dict) else ""
