"""The names of the sessions' actors in the tree, and the reports of actors that have crashed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from actors.eventlog.base import StreamKey
from actors.recent_failures import FailureKind

if TYPE_CHECKING:
    from actors.recent_failures import RecentFailures
    from actors.runtime._crashes import Crash

ABOVE_SESSIONS = "/greenroom/sessions/all/"
"""Path of the supervisor of all sessions in a server, with a slash at its end."""


def name_of(key: StreamKey) -> str:
    """Return the name of a session's actor."""
    return f"{quote(key.user, safe='')}:{quote(key.session, safe=':~')}"


def key_at(path: str) -> StreamKey | None:
    """Return the session of the actor at a path, or of the actor above it. Return None for another actor."""
    if not path.startswith(ABOVE_SESSIONS):
        return None
    user, _, session = path.removeprefix(ABOVE_SESSIONS).partition("/")[0].partition(":")
    return StreamKey(unquote(user), unquote(session))


def report_crash(failures: RecentFailures, crash: Crash) -> None:
    """Add the crash of an actor to the newest failures. Never raises."""
    key = key_at(crash.path)
    failures.add(
        FailureKind.ACTOR,
        "an actor failed" if key is None else "a session failed",
        crash.error,
        reference=crash.reference,
        user=None if key is None else key.user,
        session=None if key is None else key.session,
        path=crash.path,
        incarnation=crash.incarnation,
    )
