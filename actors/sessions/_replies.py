"""The replies of one session to its commands."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any

from actors.errors import Fenced, LogUncertain
from actors.failures import log_failure
from actors.recent_failures import FailureKind
from actors.sessions._commands import CommandReply

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.errors import LogError
    from actors.events.types import JSON
    from actors.recent_failures import RecentFailures
    from actors.sessions._command_memory import CommandMemory
    from actors.sessions._commands import Command
    from actors.streams._stream import SessionStream

logger = logging.getLogger("greenroom.sessions")


class Replies:
    """The sender of the replies to one session's commands.

    Each reply is also remembered, so that a command which is sent again gets the same reply.
    """

    __slots__ = ("_clock", "_failures", "_memory", "_stream")

    def __init__(
        self, memory: CommandMemory, stream: SessionStream, clock: Callable[[], float], failures: RecentFailures
    ) -> None:
        self._memory = memory
        self._stream = stream
        self._clock = clock
        self._failures = failures

    def send(self, command_id: str, result: JSON) -> None:
        """Send the reply of a successful command now, with its result."""
        self._memory.answer(CommandReply(command_id, result), self._clock())

    def refuse(self, command_id: str, code: str, message: str) -> None:
        """Send a refusal as the reply to a command, with an error code and a message."""
        self._memory.answer(CommandReply(command_id, code=code, message=message), self._clock())

    def log_error(self, command_id: str, error: Exception) -> str:
        """Log the error of a failed command, and return a message for the client.

        The message contains a reference to the log entry, but not the error itself.
        """
        reference = secrets.token_hex(4)
        key = self._stream.key
        fields: dict[str, Any] = {"user": key.user, "session": key.session, "reference": reference}
        text = "command %r of %s/%s failed, reference %s"
        log_failure(logger, text, command_id, *key, reference, error=error, fields=fields)
        self._failures.add(FailureKind.COMMAND, f"command {command_id!r} failed", error, **fields)
        return f"reference {reference}"

    def send_when_committed(self, command_id: str, result: JSON) -> None:
        """Send the reply to a command once all events emitted so far are committed to the log.

        If the commit fails, refuse the command as ``internal``. If another node of a cluster has claimed the user, or
        if it is not known whether the log has the events, refuse it as ``owner_unreachable``: the client sends it
        again, and the session that is then made from the log knows whether it was carried out.
        """

        def on_committed(error: LogError | None) -> None:
            if error is None:
                self.send(command_id, result)
            elif isinstance(error, Fenced):
                self.refuse(
                    command_id, "owner_unreachable", "another server has the session now: send the command again"
                )
            elif isinstance(error, LogUncertain):
                self.refuse(
                    command_id, "owner_unreachable", "the log gave no answer: send the command again with the same id"
                )
            else:
                self.refuse(command_id, "internal", self.log_error(command_id, error))

        self._stream.when_committed(on_committed)

    def send_when_done(self, command: Command, result: JSON) -> None:
        """Send the reply to a command once the latest event is committed.

        This event must be the only effect of the command. The log stores the result together with the event. So a
        command that is sent again after a crash is not carried out again.
        """
        if not command.internal:
            self._stream.remember_done(command.id, result)
        self.send_when_committed(command.id, result)
