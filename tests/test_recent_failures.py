"""The list of the newest failures, for operators."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing

from actors import FailureKind, MemoryLog, RecentFailures, redact_keys
from actors.events.redaction import redact_text
from actors.recent_failures import KEPT_FAILURES, MAX_TRACEBACK
from actors.testing.faulty_log import FaultyLog
from transport import Greenroom

CLEAN = partial(redact_text, redact_keys())


def raised(error: Exception) -> Exception:
    """Return the exception with a traceback."""
    with pytest.raises(type(error)) as caught:
        _raise(error)
    return caught.value


def _raise(error: Exception) -> None:
    raise error


def test_newest_comes_first() -> None:
    """Only the newest failures are kept, and the newest comes first. All are counted."""
    recent = RecentFailures(CLEAN)
    for number in range(KEPT_FAILURES + 3):
        recent.add(FailureKind.HTTP, f"failure {number}", ValueError())
    assert (len(recent.newest()), recent.total) == (KEPT_FAILURES, KEPT_FAILURES + 3)
    assert [each.what for each in recent.newest(2)] == [f"failure {KEPT_FAILURES + 2}", f"failure {KEPT_FAILURES + 1}"]


def test_secrets_are_removed() -> None:
    """Neither the message nor the traceback has the value of a secret key."""
    recent = RecentFailures(CLEAN)
    recent.add(FailureKind.AGENT, "it failed", raised(ValueError("no access with password=hunter2")), user="alice")
    (report,) = recent.newest()
    assert "no access" in report.message
    assert "_raise(" in report.traceback
    assert "hunter2" not in report.message + report.traceback


def test_reports_are_bounded() -> None:
    """A report is text of limited size, and holds no exception."""
    recent = RecentFailures(lambda text, limit: text[:limit], kept=1)
    error = raised(ValueError("x" * 100_000))
    for _ in range(50):
        error = raised(ExceptionGroup("y" * 3_000, [error]))
    recent.add(FailureKind.COMMAND, "it failed", error)
    (report,) = recent.newest()
    assert len(report.traceback) <= MAX_TRACEBACK
    assert len(report.message) < 3_000


class Odd(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise SystemExit("no")


@pytest.mark.parametrize("error", [Odd(), RecursionError(), BaseExceptionGroup("g", [KeyboardInterrupt()])])
def test_add_never_raises(error: BaseException) -> None:
    """Any exception can be added, and a hook that fails removes the text only."""
    recent = RecentFailures(CLEAN)
    recent.add(FailureKind.CONNECTION, "it failed", error, reference="1234abcd", connection="c-1")
    assert recent.newest()[0].reference == "1234abcd"

    def fails(text: str, limit: int) -> str:
        raise SystemExit

    failing = RecentFailures(fails)
    failing.add(FailureKind.CONNECTION, "it failed", error)
    assert (failing.total, failing.newest()) == (1, ())


async def test_session_whose_log_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A session that ends by an exception is a failure, with the reference of its log line, until it is forgotten."""
    log = FaultyLog(MemoryLog())
    app = Greenroom(log=log)
    async with app.running(port=0) as server:
        session = await server.sessions.get("a:li/ce", "s 1")
        log.fail("append")
        await session.emit("note", 1)
        await trio.testing.wait_all_tasks_blocked()
        actor = next(each for each in server.sessions.failures.newest() if each.kind is FailureKind.ACTOR)
        assert (actor.user, actor.session, actor.incarnation) == ("a:li/ce", "s 1", 1)
        assert actor.path == "/greenroom/sessions/all/a%3Ali%2Fce:s%201"
        assert actor.reference is not None
        (line,) = (each.getMessage() for each in caplog.records if actor.reference in each.getMessage())
        assert line.startswith(f"{actor.path} failed: ")
        assert line.count("append fails as requested") == 1
        assert server.system.statistics().crashes == 1
        await app.forget("a:li/ce")
        assert server.sessions.failures.newest() == ()
