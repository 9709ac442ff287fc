"""The signals that could not be sent yet to a client, or to another node, with a limit on their number and size."""

from __future__ import annotations

from typing import cast

import orjson

# Signals that announce a state, and the field of their data that names its subject. Only the newest of each matters.
_STATES = {"typing": "id", "queued": "command_id"}

MAX_SIGNALS = 64
"""Maximum number of signals that are kept for a slow client. If there are more, the least important are dropped."""

MAX_SIGNAL_BYTES = 64 * 1024
"""Maximum size of the signals that are kept for a slow client, in bytes. A single signal can be larger."""


class SignalQueue:
    """Signals that wait for one receiver: at most ``MAX_SIGNALS``, and at most ``MAX_SIGNAL_BYTES``.

    If there are too many, outdated signals are dropped first: a later signal has replaced them. Examples are ``typing``
    of a user that has stopped since, and ``queued`` for a run that has begun. *If the queue always dropped its oldest
    signal, many progress signals of an agent could remove the signal that a user stopped typing. Then other clients
    would always show this user as typing.*
    """

    __slots__ = ("_entries", "size")

    def __init__(self) -> None:
        self.size = 0
        """Total size of the queued signals' frames, in bytes."""
        self._entries: list[tuple[str, bytes, bytes]] = []

    def __bool__(self) -> bool:
        return bool(self._entries)

    def put(self, name: str, data: bytes, frame: bytes) -> int:
        """Add a signal to the queue. If there are too many, drop the least important signals.

        Args:
            name: The signal's name.
            data: The signal's data, as JSON.
            frame: The complete frame that will be sent.

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
        """Remove the oldest frame from the queue and return it. Raise ``IndexError`` if the queue is empty."""
        frame = self._entries.pop(0)[2]
        self.size -= len(frame)
        return frame

    def _least_important(self) -> int:
        """Return the index of the signal to drop first.

        The first choice is the oldest signal that a later signal has replaced. The second is the oldest signal that is
        not about a state, such as typing. The third is the oldest signal.
        """
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
    """Return the subject of a signal about a state: the connection that is typing, or the start that is queued.

    Return "" if the data has another form, because an agent has given its own signal the same name.
    """
    value = orjson.loads(data)
    return str(cast("dict[str, object]", value).get(field)) if isinstance(value, dict) else ""
