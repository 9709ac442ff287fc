"""The part of the contract of an event log that makes it the target of a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.errors import LogError

if TYPE_CHECKING:
    from actors.eventlog._names import StreamKey


class Restorable:
    """The method of an event log that continues a stream of another log. An engine need not define it."""

    async def restore(self, key: StreamKey, *, epoch: str, latest: int, state: bytes, touched: int) -> None:
        """Make a stream that continues a stream of another log. Its next event gets the seq ``latest + 1``.

        It has no event. The stream can be read and appended to as if all its events up to ``latest`` had been trimmed.
        This default method raises ``LogError``: no log can be copied to a log of such a kind.

        Args:
            key: The stream, which does not exist in this log.
            epoch: Its epoch, as in :class:`~actors.Head`.
            latest: The highest seq that was ever appended.
            state: Its state.
            touched: The ``ts`` of its newest event in ms since 1970, or the time when it was made.

        Raises:
            ValueError: The stream exists, or UTF-8 cannot encode its name.
        """
        del key, epoch, latest, state, touched
        raise LogError(f"no log can be copied to a log of the kind {type(self).__name__}")
