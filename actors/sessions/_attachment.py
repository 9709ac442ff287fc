"""What someone who watches a session holds of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.sessions._messages import Typing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.events.grammar import Open
    from actors.sessions._commands import Command
    from actors.sessions._messages import Queued
    from actors.sessions._session import Session
    from actors.streams._cursor import Cursor


@attrs.frozen(eq=False)
class Attachment:
    """A cursor, and what the session looked like when it was placed. Whoever asked for it must detach it."""

    _session: Session = attrs.field(alias="session")
    connection: str
    cursor: Cursor
    epoch: str
    oldest: int
    """The lowest seq that the log keeps, ``latest + 1`` where it keeps none."""
    latest: int
    recovered: bool
    reset: str | None
    runs: tuple[Open, ...]
    """The runs that are open to someone who has read everything up to ``latest``."""
    queued: tuple[Queued, ...]
    """The starts that wait for their turn, in order."""
    typing: tuple[tuple[str, str], ...]
    """Who is typing: (``user`` or ``agent``, connection or run)."""

    def command(self, command: Command) -> None:
        """Hand a command to the session. Never waits: raises MailboxFull, or ActorTerminated when it has ended."""
        self._session.ref.tell_nowait(command)

    def typing_changed(self, *, active: bool) -> None:
        """Tell that the user types here, or stopped. Never waits; raises as :meth:`command` does."""
        self._session.ref.tell_nowait(Typing(self.connection, active))

    async def history(self, after: int, limit: int, size: int) -> tuple[Sequence[bytes], bool]:
        """Give committed lines above ``after`` (from the oldest kept one where that is lower), and if there are more.

        At most ``limit`` lines and ``size`` bytes, but one line at least where there is one. Safe to cancel.
        """
        return await self._session.history(after, limit, size)

    def detach(self) -> None:
        """Let go of the cursor; the connection no longer types. Never waits, idempotent, also after the end."""
        self._session.detach(self)
