"""The commands that were not answered yet: queued while offline, sent again with their id until a reply comes.

The id makes that safe: the server answers a repeated one with its first reply and does nothing. It remembers ids only
for so long (``command_memory_ms``), so a command that was first sent longer ago is not sent again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

from actors.errors import CommandRefused
from transport.client._frames import command
from transport.client._stopwatch import Stopwatch, awake_or_asleep

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.define
class _Pending:
    frame: dict[str, Any]
    encoded: bytes
    sent: bool = False
    """Whether it was sent on the present connection."""
    first_sent: Stopwatch | None = None
    memory: float = math.inf
    """The shortest time, in seconds, that a server to which it was sent remembers its id."""

    @property
    def forgotten(self) -> bool:
        """Whether the server may have forgotten its id. A request for history has no effect: it may be repeated."""
        if self.first_sent is None or self.frame["type"] != "command":
            return False
        return self.first_sent.seconds() > self.memory


@attrs.define
class Commands:
    """Frames that want an answer, by id, in order of submission; at most ``limit`` of them."""

    limit: int
    clocks: tuple[Callable[[], float], ...] = (awake_or_asleep,)
    """What the age of a command is measured by; the one that went furthest counts."""
    frame_bytes: int | None = attrs.field(default=None, init=False)
    """``max_frame_bytes`` of the newest welcome; None before the first."""
    memory: float = attrs.field(default=math.inf, init=False)
    """``command_memory_ms`` of the newest welcome, in seconds."""
    resent: int = attrs.field(default=0, init=False)
    _pending: dict[str, _Pending] = attrs.field(factory=dict[str, _Pending], init=False)

    def __len__(self) -> int:
        return len(self._pending)

    def submit(self, frame: dict[str, Any]) -> None:
        """Queue ``frame``, which has an ``id``. Raises :class:`~actors.CommandRefused` and keeps nothing.

        ``overloaded``: as many as are allowed wait already; ``bad_args``: no server would take it; ``ValueError``: a
        command with this id waits already.
        """
        if frame["id"] in self._pending:
            raise ValueError(f"a command with the id {frame['id']!r} is waiting for its reply")
        if len(self._pending) >= self.limit:
            raise CommandRefused("overloaded", f"{self.limit} commands wait for a reply already")
        self._pending[frame["id"]] = _Pending(frame, command(frame, self.frame_bytes))

    def forget(self, id_: str) -> None:
        """Drop a command: withdrawn if it was not sent; otherwise it may be done, and its reply is ignored."""
        self._pending.pop(id_, None)

    def answered(self, id_: str) -> bool:
        """Note that a reply came; whether somebody waited for it."""
        return self._pending.pop(id_, None) is not None

    def oldest_history(self) -> str | None:
        """Tell which history request an ``error`` frame, which names none, can only mean."""
        sent = (id_ for id_, one in self._pending.items() if one.sent and one.frame["type"] == "history")
        return next(sent, None)

    def attached(self, frame_bytes: int, memory: float) -> list[str]:
        """Begin a connection to a server that takes frames of ``frame_bytes`` and remembers ids for ``memory`` seconds.

        All commands are to be sent again. Return the ids of those that are too large, which are dropped: the server
        would end the connection for good over one.
        """
        self.frame_bytes, self.memory = frame_bytes, memory
        self.detached()
        return self._drop(lambda one: len(one.encoded) > frame_bytes)

    def detached(self) -> None:
        """Note that the connection is over: no reply comes to what was sent on it."""
        for one in self._pending.values():
            one.sent = False

    def drop_forgotten(self) -> list[str]:
        """Drop the commands that may not be sent again, and return their ids.

        These are the ones that were sent on an earlier connection, so long ago that the server may do them once more.
        """
        for one in self._pending.values():
            if not one.sent and one.first_sent is not None:
                one.memory = min(one.memory, self.memory)
        return self._drop(lambda one: not one.sent and one.forgotten)

    def _drop(self, condition: Callable[[_Pending], bool]) -> list[str]:
        dropped = [id_ for id_, one in self._pending.items() if condition(one)]
        for id_ in dropped:
            del self._pending[id_]
        return dropped

    def next_frame(self) -> bytes | None:
        """Return the first frame that was not sent on this connection, and count it as sent."""
        for one in self._pending.values():
            if not one.sent:
                self._note_sent(one)
                return one.encoded
        return None

    def _note_sent(self, one: _Pending) -> None:
        one.sent = True
        one.memory = min(one.memory, self.memory)
        if one.first_sent is None:
            one.first_sent = Stopwatch(*self.clocks)
        else:
            self.resent += 1
