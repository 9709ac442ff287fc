"""The stream of a session with limits on the events and bytes that its user emits per second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.streams._stream import SessionStream

if TYPE_CHECKING:
    from actors.streams._emit_rate import EmitRate


class LimitedStream(SessionStream):
    """A session's stream in which emitters wait while their user emits too much.

    This is a separate class, so that servers without such limits spend no time on them.
    """

    __slots__ = ("_rate",)

    _rate: EmitRate

    def limit_by(self, rate: EmitRate) -> None:
        """Count all later events by ``rate``. This must be called once, before the first event."""
        self._rate = rate
        self._append = rate.counting(self.ring.append)

    def _set_pause(self, seq: int) -> None:
        # After each event the emitter asks whether it must wait.
        self._pause_at = seq + 1

    async def admit(self) -> None:
        """Wait until the user is within the limits per second. Then wait as :meth:`SessionStream.admit` does."""
        await self._rate.wait()
        await super().admit()
