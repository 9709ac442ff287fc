"""The replies of one session to its commands."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

import trio

from actors.failures import log_failure
from actors.sessions._commands import CommandReply

if TYPE_CHECKING:
    from actors.errors import LogError
    from actors.events.types import JSON
    from actors.sessions._command_memory import CommandMemory
    from actors.sessions._commands import Command
    from actors.streams._stream import SessionStream

logger = logging.getLogger("greenroom.sessions")


class Replies:
    """Sends the replies of one session. Each is remembered, so that a command that is sent again gets it too."""

    __slots__ = ("_memory", "_stream")

    def __init__(self, memory: CommandMemory, stream: SessionStream) -> None:
        self._memory = memory
        self._stream = stream

    def send(self, command_id: str, result: JSON) -> None:
        """Reply now."""
        self._memory.answer(CommandReply(command_id, result), trio.current_time())

    def refuse(self, command_id: str, code: str, message: str) -> None:
        """Refuse the command."""
        self._memory.answer(CommandReply(command_id, code=code, message=message), trio.current_time())

    def log_error(self, command_id: str, error: Exception) -> str:
        """Log an error, and return the message for the client: a reference to the log, and nothing of the error."""
        reference = secrets.token_hex(4)
        key = self._stream.key
        log_failure(logger, "command %r of %s/%s failed, reference %s", command_id, *key, reference, error=error)
        return f"reference {reference}"

    def send_when_committed(self, command_id: str, result: JSON) -> None:
        """Reply when the events up to now are committed. Refuse the command as ``internal`` if they cannot be."""

        def on_committed(error: LogError | None) -> None:
            if error is None:
                self.send(command_id, result)
            else:
                self.refuse(command_id, "internal", self.log_error(command_id, error))

        self._stream.when_committed(on_committed)

    def send_when_done(self, command: Command, result: JSON) -> None:
        """Reply when the latest event is committed, which is all that the command does.

        The log stores the result beside that event: sent again after a crash, the command is not carried out again.
        """
        if not command.internal:
            self._stream.remember_done(command.id, result)
        self.send_when_committed(command.id, result)
