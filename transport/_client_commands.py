"""The commands that were not answered yet: queued while offline, sent again with their id until a reply comes.

The id makes that safe: the server answers a repeated one with its first reply and does nothing.
"""

from __future__ import annotations

from typing import Any

import attrs

from actors.errors import CommandRefused
from transport._client_frames import command


@attrs.define
class _Pending:
    frame: dict[str, Any]
    encoded: bytes
    sent: bool = False


@attrs.define
class Commands:
    """Frames that want an answer, by id, in order of submission; at most ``limit`` of them."""

    limit: int
    frame_bytes: int | None = attrs.field(default=None, init=False)
    """``max_frame_bytes`` of the newest welcome; None before the first."""
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

    def attached(self, frame_bytes: int) -> list[str]:
        """Begin a connection that takes frames of ``frame_bytes``: all are to be sent again; ids that are too large.

        Those are forgotten: the server would end the connection for good over one.
        """
        self.frame_bytes = frame_bytes
        large = [id_ for id_, one in self._pending.items() if len(one.encoded) > frame_bytes]
        for id_ in large:
            del self._pending[id_]
        self.resent += sum(one.sent for one in self._pending.values())
        for one in self._pending.values():
            one.sent = False
        return large

    def next_frame(self) -> bytes | None:
        """Take the first frame that was not sent on this connection."""
        for one in self._pending.values():
            if not one.sent:
                one.sent = True
                return one.encoded
        return None
