"""The signals that a connection has not been able to write yet."""

from __future__ import annotations

from typing import cast

import orjson

MAX_SIGNALS = 64
"""Signals kept for a connection that cannot be written to; beyond it the oldest that matter least are dropped."""

MAX_SIGNAL_BYTES = 64 * 1024
"""Bytes of them; one alone may be larger."""


class WaitingSignals:
    """Signals in their order, ``MAX_SIGNALS`` and ``MAX_SIGNAL_BYTES`` at most.

    What is dropped is first what a later signal has made out of date: typing of somebody whose typing changed since.
    *If simply the oldest went, one agent's fidgeting could push out another's off: who would be seen typing for ever.*
    """

    __slots__ = ("_entries", "size")

    def __init__(self) -> None:
        self.size = 0
        """Bytes of the frames that wait."""
        self._entries: list[tuple[str, bytes, bytes]] = []

    def __bool__(self) -> bool:
        return bool(self._entries)

    def put(self, name: str, data: bytes, frame: bytes) -> int:
        """Keep ``frame``, the signal ``name`` with ``data`` (JSON); how many were dropped for it."""
        entries = self._entries
        entries.append((name, data, frame))
        self.size += len(frame)
        before = len(entries)
        while len(entries) > MAX_SIGNALS or (self.size > MAX_SIGNAL_BYTES and len(entries) > 1):
            least = self._least()
            self.size -= len(entries[least][2])
            del entries[least]
        return before - len(entries)

    def take(self) -> bytes:
        """Give the next frame; IndexError when there is none."""
        frame = self._entries.pop(0)[2]
        self.size -= len(frame)
        return frame

    def _least(self) -> int:
        """Which one to drop: the oldest out of date, else the oldest that is no typing, else the oldest."""
        newer: set[str] = set()
        outdated, other = -1, -1
        for index in range(len(self._entries) - 1, -1, -1):
            name, data, _ = self._entries[index]
            if name != "typing":
                other = index
                continue
            who = _who(data)
            if who in newer:
                outdated = index
            newer.add(who)
        return next((index for index in (outdated, other) if index >= 0), 0)


def _who(data: bytes) -> str:
    """Tell whose typing that is: nobody's, where an agent chose the name for a signal of its own."""
    value = orjson.loads(data)
    return str(cast("dict[str, object]", value).get("id")) if isinstance(value, dict) else ""
