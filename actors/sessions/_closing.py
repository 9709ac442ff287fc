"""The end of a session that is closed for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.errors import LogError

if TYPE_CHECKING:
    from actors.runs._recorder import RunRecorder
    from actors.sessions._replies import Replies
    from actors.sessions._services import SessionServices
    from actors.sessions._starts import Starts

CLOSING_SECONDS = 10.0
"""Seconds that runs may take to end when their session is closed for good. Then their events are written for them."""


class Closing:
    """Closes one session for good: its runs end, the log notes it, and the commands get their reply."""

    __slots__ = ("_command_ids", "_recorder", "_replies", "_services", "is_done")

    def __init__(self, services: SessionServices, recorder: RunRecorder, replies: Replies) -> None:
        self._services = services
        self._recorder = recorder
        self._replies = replies
        self._command_ids: list[str] = []
        self.is_done = False
        """Whether the log notes that the session is closed for good."""

    def join(self, command_id: str) -> None:
        """Reply to this command when the session is closed."""
        self._command_ids.append(command_id)

    def begin(self, starts: Starts) -> None:
        """Refuse the queued starts and stop the runs. :meth:`finish` waits for their end."""
        recorder = self._recorder
        # The next commit writes it: after a crash the next incarnation finishes what is begun here.
        recorder.stream.closed_at = recorder.stream.now()
        for start in starts.queued():
            starts.cancel_queued(start)
        for run in tuple(recorder.runs.values()):
            if run.parent is None:
                run.stop()

    async def finish(self) -> None:
        """Wait until the runs have ended, write the close to the log, and reply. :attr:`is_done` is True then.

        If the log fails, return early: that ends the session too, and the next incarnation finishes the close.
        """
        recorder = self._recorder
        # Agents are cancelled by now, but may shield themselves. A client that waits for the reply must not wait for
        # them.
        with trio.move_on_after(CLOSING_SECONDS):
            while recorder.runs:
                await self._services.run_over.park()
        recorder.close_all()
        try:
            await recorder.stream.synced()
        except LogError:
            return
        # Without events after the close no commit carried the note.
        await self._services.log.mark(recorder.key, recorder.stream.record())
        self.is_done = True
        for command_id in self._command_ids:
            self._replies.send(command_id, {})
