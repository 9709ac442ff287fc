"""The permanent close of a session."""

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
"""Maximum time for which a session that is closed permanently waits for its runs to end, in seconds.

After that time the session itself writes the closing events of the runs.
"""


class Closing:
    """The permanent close of one session: stop its runs, store the close in the log, reply to the close commands."""

    __slots__ = ("_command_ids", "_recorder", "_replies", "_services", "is_done")

    def __init__(self, services: SessionServices, recorder: RunRecorder, replies: Replies) -> None:
        self._services = services
        self._recorder = recorder
        self._replies = replies
        self._command_ids: list[str] = []
        self.is_done = False
        """Whether the log has recorded that the session is closed permanently."""

    def join(self, command_id: str) -> None:
        """Remember the id of a close command, and reply to that command when the session is closed."""
        self._command_ids.append(command_id)

    def begin(self, starts: Starts) -> None:
        """Begin to close the session: refuse the queued starts and stop the runs.

        :meth:`finish` waits for the end of the runs.
        """
        recorder = self._recorder
        # The next commit writes this time. If the session is made again after a crash, it reads this time, and
        # completes the close.
        recorder.stream.closed_at = recorder.stream.now()
        for start in starts.queued():
            starts.cancel_queued(start)
        for run in tuple(recorder.runs.values()):
            if run.parent is None:
                run.stop()

    async def finish(self) -> None:
        """Wait until the runs have ended, record the close in the log, and reply to the close commands.

        Afterwards :attr:`is_done` is True. If the log fails, return early. This failure also ends the session. When the
        session is made again from its log, the new session finishes the close.
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
        # If no event was emitted after begin(), no commit has written `closed_at` to the log.
        await self._services.log.mark(recorder.key, recorder.stream.record())
        self.is_done = True
        for command_id in self._command_ids:
            self._replies.send(command_id, {})
