"""The commands that have no reply yet: queued while offline, and sent again with the same id until a reply comes.

The id makes the repetition safe: if a command is repeated, the server sends its first reply again and does nothing
else. The server remembers ids only for a limited time (``command_memory_ms``), so an older command is not sent again.
History requests are kept here too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import attrs

from actors.errors import CommandRefused, UnserialisableEvent
from transport.client._stopwatch import Stopwatch, awake_or_asleep
from transport.protocol.client_frames import CommandFrame, HistoryFrame
from transport.protocol.names import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable

Question: TypeAlias = CommandFrame | HistoryFrame
"""A frame that the server answers: a command or a history request."""

_NO_LIMIT = 2**31
"""Size limit of a frame in bytes until the first welcome has the real limit. No server accepts a frame of this size."""


@attrs.define
class _Pending:
    frame: Question
    encoded: bytes
    sent: bool = False
    """Whether the frame was sent on the present connection."""
    first_sent: Stopwatch | None = None
    memory: float = math.inf
    """Number of seconds for which the server remembers the id of this command, and does not do the command twice.

    If the command was sent to several servers in turn, this is the shortest of the servers' times.
    """

    @property
    def expired(self) -> bool:
        """Whether the server has perhaps forgotten the command's id, and so would do the command a second time."""
        if self.first_sent is None or isinstance(self.frame, HistoryFrame):
            return False
        return self.first_sent.seconds() > self.memory


@attrs.define
class Commands:
    """The commands and history requests that wait for an answer, in the order of submission.

    At most ``limit`` requests can wait.
    """

    limit: int
    clocks: tuple[Callable[[], float], ...] = (awake_or_asleep,)
    """Clocks that measure the age of a command. If the clocks differ, the largest age counts."""
    frame_bytes: int | None = attrs.field(default=None, init=False)
    """Maximum size of a frame: ``max_frame_bytes`` of the newest welcome. None before the first welcome."""
    memory: float = attrs.field(default=math.inf, init=False)
    """Seconds for which the server remembers a command's id: ``command_memory_ms`` of the newest welcome."""
    resent: int = attrs.field(default=0, init=False)
    _pending: dict[str, _Pending] = attrs.field(factory=dict[str, _Pending], init=False)

    def __len__(self) -> int:
        return len(self._pending)

    def submit(self, frame: Question) -> None:
        """Add ``frame`` to the queue. If this raises, the frame is not queued.

        Raise :class:`~actors.CommandRefused` with ``overloaded`` if ``limit`` frames wait already, and with
        ``bad_args`` if no server would accept the frame. Raise ``ValueError`` if a command with this id waits already.
        """
        if frame.id in self._pending:
            raise ValueError(f"a command with the id {frame.id!r} is waiting for its reply")
        if len(self._pending) >= self.limit:
            raise CommandRefused(ErrorCode.OVERLOADED, f"{self.limit} commands wait for a reply already")
        try:
            encoded = frame.encode(self.frame_bytes or _NO_LIMIT)
        except UnserialisableEvent as error:
            # The server would close the connection because of such a frame, and the client could not come back.
            raise CommandRefused(ErrorCode.BAD_ARGS, str(error)) from error
        self._pending[frame.id] = _Pending(frame, encoded)

    def withdraw(self, id_: str) -> None:
        """Drop a command. If it was sent already, perhaps the server still does it, but the reply will be ignored."""
        self._pending.pop(id_, None)

    def on_reply(self, id_: str) -> bool:
        """Drop the command with the id ``id_``, since its reply has come. Return False if there is no such command."""
        return self._pending.pop(id_, None) is not None

    def on_unreachable(self, id_: str) -> bool:
        """Mark a command as not sent, because the server asks to send it again. Return False if there is none."""
        one = self._pending.get(id_)
        if one is not None:
            one.sent = False
        return one is not None

    def oldest_history(self) -> str | None:
        """Return the id of the oldest history request that was sent. Return None if there is none.

        An ``error`` frame of the server has no id. Such a frame is about the oldest history request.
        """
        sent = (id_ for id_, one in self._pending.items() if one.sent and isinstance(one.frame, HistoryFrame))
        return next(sent, None)

    def on_attached(self, frame_bytes: int, memory: float) -> list[str]:
        """Begin a connection to a server.

        The server accepts frames of up to ``frame_bytes``, and remembers the ids of commands for ``memory`` seconds.

        All commands must be sent again. Drop the commands that are too large, and return their ids: the server would
        close the connection because of large commands, and the client would not reconnect.
        """
        self.frame_bytes, self.memory = frame_bytes, memory
        # A command was encoded when an earlier limit was known, or none: so the new limit is checked here.
        self.on_detached()
        return self._drop(lambda one: len(one.encoded) > frame_bytes)

    def on_detached(self) -> None:
        """Mark all commands as not sent: their replies can no longer arrive on the connection that has ended."""
        for one in self._pending.values():
            one.sent = False

    def drop_expired(self) -> list[str]:
        """Drop the commands that must not be sent again, and return their ids.

        The commands to drop were sent on an earlier connection. Perhaps the server has forgotten their ids since, and
        would do the commands twice.
        """
        # The present server may remember for a shorter time than the one that got the command first.
        for one in self._pending.values():
            if not one.sent and one.first_sent is not None:
                one.memory = min(one.memory, self.memory)
        return self._drop(lambda one: not one.sent and one.expired)

    def _drop(self, condition: Callable[[_Pending], bool]) -> list[str]:
        dropped = [id_ for id_, one in self._pending.items() if condition(one)]
        for id_ in dropped:
            del self._pending[id_]
        return dropped

    def next_frame(self) -> bytes | None:
        """Return the first frame that was not sent on this connection, and mark the frame as sent.

        Return None if there is none.
        """
        for one in self._pending.values():
            if not one.sent:
                self._mark_sent(one)
                return one.encoded
        return None

    def _mark_sent(self, one: _Pending) -> None:
        one.sent = True
        one.memory = min(one.memory, self.memory)
        if one.first_sent is None:
            # The age counts from the first time: that is when the server began to remember the id.
            one.first_sent = Stopwatch(*self.clocks)
        else:
            self.resent += 1
