"""The limits of the protocol, and the rate limit of a client (pure: the caller passes the time)."""

from __future__ import annotations

import re
from collections import deque

from actors.allowance import Allowance

MAX_BATCH_EVENTS = 256
"""Maximum number of events in one ``events`` or ``history`` frame."""
MAX_BATCH_BYTES = 64 * 1024
"""Maximum size of one ``events`` or ``history`` message, in bytes. A single event can be larger."""
MAX_HISTORY = 500
"""Maximum ``limit`` (number of events) in a client's ``history`` request."""
MAX_ID = 128
"""Maximum length of the id of a command or of a history request, in characters."""
SESSION_NAME = re.compile(r"[A-Za-z0-9._~:-]{1,128}")
"""Pattern of a session's name: 1 to 128 characters that need no escape in a URL."""
SESSION_NAME_RULE = "1 to 128 characters of A-Z a-z 0-9 . _ ~ : -"
"""The rule for a session's name in words, for error messages."""
HEARTBEAT_GRACE_SECONDS = 10.0
"""Seconds beyond ``ping_ms`` after which a client that gets no message treats its connection as dead."""
DEFAULT_PING_MS = 25_000
"""Interval of the server's pings (``ping_ms``) that a client assumes before its first welcome."""
DEFAULT_COMMAND_MEMORY_MS = 300_000
"""Time in ms for which a client assumes that the server remembers command ids, if the welcome does not say it."""
FLOOD_REFUSALS = 100
"""Number of refused requests within :data:`FLOOD_SECONDS` after which the server closes the connection."""
CONTROL_CHARACTERS = 1024
"""Number of characters of an ``ack``, ``typing`` or ``pong`` frame that count as one control frame.

A longer frame counts more than once: 64 KB of JSON take the server as long as a hundred frames of the usual size.
"""
FLOOD_SECONDS = 10.0
"""Period in seconds. A client is disconnected after :data:`FLOOD_REFUSALS` refused requests within this period."""


class TokenBucket(Allowance):
    """A rate limit: each request takes a token. ``rate`` tokens come each second, and at most ``burst`` are saved.

    ``lost`` is the total of the seconds in which the server was blocked and read from no connection. The tokens for
    these seconds are saved without a limit, because all messages that the client sent in that time arrive at once.
    """

    __slots__ = ("_lost",)

    def __init__(self, rate: float, burst: float, now: float, lost: float = 0.0) -> None:
        super().__init__(rate, burst, now)
        self._lost = lost

    def take(self, now: float, lost: float = 0.0, count: int = 1) -> bool:
        """Take ``count`` tokens. Return False, and take none, if fewer are available: the request must be refused."""
        left = self.left(now)
        if lost > self._lost:
            left += (lost - self._lost) * self._rate
            self._lost = lost
        allowed = left >= count
        self._units = left - count if allowed else left
        return allowed


class Refusals:
    """The times of a client's newest refused requests. These times show whether the client ignores its rate limit."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        # Made at the first refusal: most connections never have one.
        self._times: deque[float] | None = None

    def flooding(self, now: float) -> bool:
        """Count one more refused request.

        Return True if there were :data:`FLOOD_REFUSALS` refused requests within :data:`FLOOD_SECONDS`.
        """
        if self._times is None:
            self._times = deque(maxlen=FLOOD_REFUSALS)
        self._times.append(now)
        return len(self._times) == FLOOD_REFUSALS and self._times[0] > now - FLOOD_SECONDS
