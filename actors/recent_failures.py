"""The newest failures of a server, for operators: the meaning of the reference numbers in messages to clients.

Code that makes a reference number logs the failure, and adds it here. The log has all failures, this list the newest.
"""

from __future__ import annotations

import time
from collections import deque
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING

import attrs

from actors.failures import MAX_TEXT, describe, tracebacks_of

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT_FAILURES = 200
"""Number of failures that are kept. An older one is only in the log."""
MAX_TRACEBACK = 8_000
"""Maximum number of characters of a traceback. A longer one loses its beginning: its end has the newest call."""


class FailureKind(StrEnum):
    """The kinds of failures: the part of a server in which an exception was raised.

    The failure of an actor ended it. Its supervisor restarts it, or a session is made again from its log.
    """

    ACTOR = "actor"
    AGENT = "agent"
    COMMAND = "command"
    CONNECTION = "connection"
    HTTP = "http"


@attrs.frozen(kw_only=True)
class FailureReport:
    """One failure, as text. It holds no exception, which would hold the objects of the code that failed."""

    at: float
    """Time of the failure, in seconds since 1970."""
    kind: FailureKind
    """The part of the server that failed."""
    what: str
    """A sentence about the failure, such as "the delivery failed"."""
    reference: str | None = None
    """The number by which the log and a message to a client name this failure. None for an agent: its run names it."""
    message: str
    """The class and the text of the exception, without secrets."""
    traceback: str
    """The newest calls of the exception and of its causes, without secrets, cut at :data:`MAX_TRACEBACK`."""
    user: str | None = None
    """Id of the user, if the failure belongs to one."""
    session: str | None = None
    """Name of the user's session, if the failure belongs to one."""
    run: str | None = None
    """Id of the run, if the failure belongs to one."""
    connection: str | None = None
    """Id of the connection, if the failure belongs to one."""
    path: str | None = None
    """Path of the actor in the tree, if an actor failed."""
    incarnation: int | None = None
    """Number of the incarnation of the actor (its life between two restarts) that failed. The first one is 1."""


class RecentFailures:
    """The newest failures of one server.

    Args:
        clean: Returns a text without secrets, cut to a number of characters.
        kept: Number of failures that are kept.
    """

    def __init__(self, clean: Callable[[str, int], str], kept: int = KEPT_FAILURES) -> None:
        self._clean = clean
        self._kept: deque[FailureReport] = deque(maxlen=kept)
        self.total = 0
        """Number of failures since the start of the server."""

    def add(  # noqa: PLR0913 - the fields of a report, by keyword
        self,
        kind: FailureKind,
        what: str,
        error: BaseException,
        *,
        reference: str | None = None,
        user: str | None = None,
        session: str | None = None,
        run: str | None = None,
        connection: str | None = None,
        path: str | None = None,
        incarnation: int | None = None,
    ) -> None:
        """Add a failure, and drop the oldest one if there are too many. Never raises. See :class:`FailureReport`."""
        self.total += 1
        try:
            report = FailureReport(
                at=time.time(),
                kind=kind,
                what=what,
                reference=reference,
                message=self._clean(describe(error), MAX_TEXT),
                traceback=self._clean(tracebacks_of(error)[-MAX_TRACEBACK:], MAX_TRACEBACK),
                user=user,
                session=session,
                run=run,
                connection=connection,
                path=path,
                incarnation=incarnation,
            )
        except BaseException:  # noqa: BLE001 - such as a RecursionError: the caller must go on
            return
        self._kept.append(report)

    def forget(self, user: str) -> None:
        """Drop the failures that belong to a user, because everything of the user is removed. They count as before."""
        kept = [report for report in self._kept if report.user != user]
        self._kept.clear()
        self._kept.extend(kept)

    def newest(self, limit: int = KEPT_FAILURES) -> tuple[FailureReport, ...]:
        """Return the newest failures, at most ``limit``. The newest one comes first."""
        return tuple(islice(reversed(self._kept), limit))
