"""Keys that are loaded from a place, and loaded again when they may have changed.

The loading runs in a thread, in a task of its own. *If a client's task loaded the keys, a client that hangs up would
end the loading for every other client.*
"""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING

import attrs
import trio

from actors.failures import describe, log_line
from transport.auth._keys import UnknownKid
from transport.auth._limits import COMPLAINT_SECONDS, FETCH_SECONDS
from transport.errors import AuthUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from transport.auth._keys import Key, KeySet

logger = logging.getLogger("greenroom.auth")


@attrs.frozen
class Pace:
    """The times of a :class:`KeyCache`, in seconds."""

    fresh: float
    """Age from which the keys are loaded again before they are used."""
    pause: float
    """Minimum time between the beginnings of two loads."""
    limit: float = FETCH_SECONDS
    """Time limit of a load."""


class KeyCache:
    """The keys that ``load`` returns, for a time.

    Keys are always checked against the same copy, which a load replaces as a whole. While loading fails, the old copy
    is used: an issuer that cannot be reached must not lock out every user.

    Args:
        name: The name of the place, for the log.
        load: Returns the keys. It is called in a thread, never twice at once. Its exceptions are logged.
        pace: The times.
        keys: The keys to begin with. If None, the first client waits for a load.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], KeySet],
        pace: Pace,
        keys: KeySet | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._load = load
        self._pace = pace
        self._keys = keys
        self._clock = clock
        self._loaded = -math.inf if keys is None else clock()
        """The time when the load began that brought the keys."""
        self._begun = -math.inf
        """The time when the last load began."""
        self._failing = False
        """Whether the last load failed."""
        self._loading: trio.Event | None = None
        """The end of the load that is under way. None if there is none."""
        self._complained = -math.inf
        """The time of the last log line."""
        # Held by the thread that loads. Not a lock of trio: the thread can outlive its event loop.
        self._busy = threading.Lock()

    async def find(self, kid: str | None, algorithm: str) -> Key:
        """Return the key that fits a token, as :meth:`KeySet.find` does.

        If the ``kid`` is unknown, the keys are loaded again, because the issuer may have a new key. Other clients do
        not wait for this.

        Raises:
            BadToken: No key fits, or several keys fit.
            AuthUnavailable: There are no keys yet, or a ``kid`` is unknown and the keys cannot be loaded at the moment.
        """
        before = self._keys
        keys = await self._current()
        try:
            return keys.find(kid, algorithm)
        except UnknownKid:
            if keys is not before:  # they were loaded since the token came
                raise
        return (await self._newer()).find(kid, algorithm)

    async def _current(self) -> KeySet:
        """Return the keys, after a load if they are too old.

        While loading fails, it goes on in the background, and clients do not wait for it.
        """
        if self._clock() - self._loaded >= self._pace.fresh:
            loading = self._begin()
            if loading is not None and (self._keys is None or not self._failing):
                await loading.wait()
        if self._keys is None:
            raise AuthUnavailable("the keys of tokens could not be loaded")
        return self._keys

    async def _newer(self) -> KeySet:
        """Return the keys after a load."""
        loading = self._begin()
        if loading is not None:
            await loading.wait()
        if loading is None or self._failing or self._keys is None:
            raise AuthUnavailable("the key of the token is not known yet")
        return self._keys

    def _begin(self) -> trio.Event | None:
        """Begin a load, and return the event of its end.

        If a load is under way, return the event of its end. If the last load began less than the pause ago, return
        None.
        """
        if self._loading is None and self._clock() - self._begun >= self._pace.pause:
            self._begun = self._clock()
            self._loading = trio.Event()
            trio.lowlevel.spawn_system_task(self._run, self._loading, name="load the keys of TokenAuth")
        return self._loading

    async def _run(self, ended: trio.Event) -> None:
        try:
            with trio.fail_after(self._pace.limit):
                keys = await trio.to_thread.run_sync(self._load_alone, abandon_on_cancel=True)
        except Exception as error:  # noqa: BLE001 - a task of the system must not raise, it would end the process
            self._failing = True
            self._complain(error)
        else:
            self._keys, self._loaded, self._failing = keys, self._begun, False
        finally:
            self._loading = None
            ended.set()

    def _load_alone(self) -> KeySet:
        """Load the keys, in a thread. Raises BlockingIOError while a thread that was given up is still loading."""
        if not self._busy.acquire(blocking=False):
            raise BlockingIOError("an earlier attempt still waits for an answer")
        try:
            return self._load()
        finally:
            self._busy.release()

    def _complain(self, error: Exception) -> None:
        """Log the failure of a load, if the last log line is old enough."""
        now = self._clock()
        if now - self._complained < COMPLAINT_SECONDS:
            return
        self._complained = now
        slow = isinstance(error, trio.TooSlowError)
        reason = f"no answer within {self._pace.limit:g} s" if slow else describe(error)
        so = "no token can be checked" if self._keys is None else "the keys from before are used"
        log_line(logger, logging.WARNING, "keys of TokenAuth from %s: %s; %s", self._name, reason, so)
