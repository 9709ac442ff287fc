"""The signals that a connection has not been able to write yet."""

from __future__ import annotations

from typing import cast

import orjson

_STATES = {"typing": "id", "queued": "command_id"}
"""Signals that tell a state, and the field of their data that says of what: only the newest of each matters."""

MAX_SIGNALS = 64
"""Signals kept for a connection that cannot be written to; beyond it the oldest that matter least are dropped."""

MAX_SIGNAL_BYTES = 64 * 1024
"""Bytes of them; one alone may be larger."""


class SignalQueue:
    """Signals in their order, ``MAX_SIGNALS`` and ``MAX_SIGNAL_BYTES`` at most.

    What is dropped is first what a later signal has made out of date: typing of somebody whose typing changed since, a
    start that was queued and no longer is. *If simply the oldest went, one agent's fidgeting could push out another's
    off, which would be seen typing for ever.*
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
        """Which one to drop: the oldest out of date, else the oldest that tells no state, else the oldest."""
        newer: set[tuple[str, str]] = set()
        outdated, other = -1, -1
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
    """Return whose state that is: the empty string where an agent chose the name for a signal of its own."""
    value = orjson.loads(data)
    return str(cast("dict[str, object]", value).get(field)) if isinstance(value, dict) else ""
