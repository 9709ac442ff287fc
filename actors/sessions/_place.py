"""The interface of the place where sessions run: this process alone, or all nodes of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from actors.eventlog.base import StreamKey


class Place(Protocol):
    """The place where sessions run. The registry passes each call for a session to its place.

    Without a cluster, the place is the :class:`~actors.sessions._spawner.SessionSpawner`: all sessions run in this
    process. In a cluster, the place is a router: it finds the node that runs the sessions of the user.
    """

    async def open(self, key: StreamKey) -> None:
        """Make the session if it is not in memory. Raise the errors of :meth:`actors.Sessions.get`."""

    async def ask(self, key: StreamKey, message: object) -> object:
        """Send a message to the session, and return the session's answer. Make the session first if needed."""
        ...

    async def leave(self) -> None:
        """Give up the users of the sessions in this process, because the process ends.

        A user with a run or a command without a reply is given up after its end. Return when there is nothing more to
        give up. Without a cluster, return at once. Safe to cancel. Raise no error of the log.
        """

    def hold(self, key: StreamKey) -> AbstractAsyncContextManager[None]:
        """Keep the session in memory inside the ``async with`` block, even if it is idle."""
        ...

    def unready(self) -> str:
        """Return the reason why this process should get no new clients now; "" if it can serve them."""
        ...
