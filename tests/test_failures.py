"""Descriptions and log lines of exceptions and values that cannot be shown normally."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest
from _scale import scaled
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import Failure, failures
from actors.tracebacks import MAX_FRAMES

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

LOGGER = logging.getLogger("greenroom.tests.failures")


class Quits(Exception):
    """An exception that raises SystemExit when its text is read."""

    def __str__(self) -> str:
        raise SystemExit("cannot be shown")

    __repr__ = __str__


class Recurses(Exception):
    """An exception that recurses without end when its text is read."""

    def __str__(self) -> str:
        return str(self)

    __repr__ = __str__


class Unset(Exception):
    """An exception that raises AttributeError when its text is read."""

    def __str__(self) -> str:
        return f"{self.status}"  # type: ignore[attr-defined]  # the fault

    __repr__ = __str__


class OddText(str):
    """A string with an ``encode`` method that raises."""

    def encode(self, *_: Any) -> bytes:
        raise ValueError

    __slots__ = ()


class Odd(Exception):
    """An exception with a text that is an instance of a subclass of ``str``."""

    def __str__(self) -> str:
        return OddText("odd")


def nested(depth: int) -> Exception:
    """Return a group that contains a group, and so on, ``depth`` levels deep."""
    error: Exception = ConnectionError("no route")
    for _ in range(depth):
        error = ExceptionGroup("again", [error])
    return error


def doubled(depth: int) -> Exception:
    """Return a group that contains the same group twice, and so on, ``depth`` levels deep.

    With few objects, the innermost exception is contained 2**depth times.
    """
    error: Exception = ConnectionError("no route")
    for _ in range(depth):
        error = ExceptionGroup("twice", [error, error])
    return error


def chained(length: int) -> Exception:
    """Return an exception with a chain of ``length`` causes."""
    error = first = ValueError("first")
    for number in range(length):
        error.__cause__ = before = ValueError(f"before {number}")
        error = before
    return first


def cyclic() -> Exception:
    """Return an exception in a cycle: it is the context of its own cause."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__context__ = second, first
    return first


SHOWN: list[tuple[Callable[[], BaseException], str]] = [
    (lambda: ValueError("no"), "ValueError: no"),
    (ValueError, "ValueError"),
    (Quits, "Quits"),
    (Recurses, "Recurses"),
    (Unset, "Unset"),
    (Odd, "Odd: odd"),
    (lambda: ValueError("\ud800"), "ValueError: ?"),
    (lambda: SystemExit(3), "SystemExit: 3"),
    (
        lambda: ExceptionGroup("two", [ValueError("a"), Quits()]),
        "ExceptionGroup: two (2 sub-exceptions); ValueError: a; Quits: ",
    ),
    (cyclic, "ValueError: first"),
]


@pytest.mark.parametrize(("make", "expected"), SHOWN)
def test_describe(make: Callable[[], BaseException], expected: str) -> None:
    """``describe`` returns the class of an exception, followed by its text if there is one."""
    assert failures.describe(make()) == expected


LARGE = [
    lambda: nested(500),
    lambda: doubled(60),
    lambda: ExceptionGroup("many", [ValueError(str(number)) for number in range(5_000)]),
    lambda: chained(5_000),
    lambda: ValueError("x" * 10**6),
]


@pytest.mark.parametrize("make", [*LARGE, *(make for make, _ in SHOWN)])
def test_large_exceptions(make: Callable[[], BaseException], caplog: pytest.LogCaptureFixture) -> None:
    """An exception of any size can be logged, and its description has at most MAX_TEXT characters."""
    error = make()
    assert len(failures.describe(error)) <= failures.MAX_TEXT + len(" … (truncated)")
    failures.log_failure(LOGGER, "agent %s failed", "a", error=error)
    (record,) = caplog.records
    assert record.getMessage().startswith("agent a failed")
    assert type(error).__name__ in caplog.text
    assert record.funcName == "test_large_exceptions"


def even(steps: int) -> None:
    """Take steps, each a call in the other function, and raise an exception in the last one."""
    if steps == 0:
        raise ValueError("the last step")
    odd(steps - 1)


def odd(steps: int) -> None:
    """Take the other steps."""
    even(steps - 1)


def raised_by(frames: int) -> Exception:
    """Return an exception with a traceback of that many frames, an even number."""
    try:
        even(frames - 2)
    except ValueError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    "wrapped",
    [lambda error: error, lambda error: caused_by(KeyError(), error), lambda error: ExceptionGroup("g", [error])],
)
def test_frames_of_a_traceback(wrapped: Callable[[Exception], Exception], caplog: pytest.LogCaptureFixture) -> None:
    """At most MAX_FRAMES frames of a traceback are logged: the first and the last, and the number of the others."""
    failures.log_failure(LOGGER, "it failed", error=wrapped(raised_by(MAX_FRAMES)))
    assert caplog.text.count('File "') == MAX_FRAMES
    assert "left out" not in caplog.text
    caplog.clear()
    failures.log_failure(LOGGER, "it failed", error=wrapped(raised_by(MAX_FRAMES + 2)))
    assert caplog.text.count('File "') == MAX_FRAMES
    before, between, after = caplog.text.partition("  … frames left out: 2 …\n")
    assert between
    assert "in raised_by" in before
    assert "ValueError: the last step" in after
    assert before.count('File "') == after.count('File "')


@pytest.mark.parametrize("raised", [RecursionError, SystemExit, KeyboardInterrupt, ValueError])
def test_failing_handler(raised: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    """If a logging handler raises for a record with a traceback, the line is logged with the traceback as text."""
    lines: list[str] = []

    class Fails(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                raise raised
            lines.append(record.getMessage())

    handler = Fails()
    LOGGER.addHandler(handler)
    try:
        failures.log_failure(LOGGER, "agent %s failed", "a", error=ValueError("no"))
    finally:
        LOGGER.removeHandler(handler)
    (line,) = lines
    assert line.startswith("agent a failed\n")
    assert line.endswith("ValueError: no")


@pytest.mark.parametrize("raised", [KeyError, SystemExit, RecursionError])
def test_failing_filter(raised: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    """If a logging filter raises, nothing is logged, and the call that logs does not raise.

    The task that logs may serve every session, and must not fail.
    """

    def bad(_: logging.LogRecord) -> bool:
        raise raised

    LOGGER.addFilter(bad)
    try:
        failures.log_line(LOGGER, logging.WARNING, "it is %s", "late")
        failures.log_failure(LOGGER, "it failed", error=ValueError())
    finally:
        LOGGER.removeFilter(bad)
    assert caplog.text == ""
    failures.log_line(LOGGER, logging.WARNING, "it is %s", "late")
    assert "it is late" in caplog.text
    assert caplog.records[0].funcName == "test_failing_filter"


def test_disabled_level() -> None:
    """If the log level of a message is disabled, nothing is logged, and the text of its exception is not read."""
    asked: list[bool] = []

    class Asked(Exception):
        def __str__(self) -> str:
            asked.append(True)
            return ""

    failures.log_failure(LOGGER, "not logged", error=Asked(), level=logging.DEBUG)
    assert not asked


def test_shown_is_bounded() -> None:
    """``shown`` shows only a few levels of a deeply nested value. A value without a repr is shown by its class."""
    value: list[Any] = []
    for _ in range(200):
        value = [value, value]
    assert len(failures.shown(value)) <= failures.MAX_SHOWN + len(" … (truncated)")

    class Odd:
        def __repr__(self) -> str:
            sys.exit("cannot be shown")

    assert failures.shown(Odd()) == "<Odd>"
    assert failures.shown(Quits()) == "Quits"
    assert failures.shown("text") == "'text'"


def test_exit_reason_has_a_repr() -> None:
    """The repr of an actor's exit reason never raises, even if the exception in it cannot be shown."""
    assert repr(Failure(Quits())) == "Failure(exception=Quits)"
    assert len(repr(Failure(nested(500)))) < 2 * failures.MAX_SHOWN


def test_plain_exceptions() -> None:
    """``is_plain`` is True for an exception that every formatter can show: not too deep or large, and with a text."""
    shared = ValueError("shared context")
    members = [ValueError(str(number)) for number in range(5)]
    for one in members:
        one.__context__ = shared
    assert failures.is_plain(ExceptionGroup("some", members))
    assert failures.is_plain(nested(failures.MAX_DEPTH - 1))
    assert not failures.is_plain(nested(failures.MAX_DEPTH))
    assert failures.is_plain(chained(failures.MAX_RELATED - 1))
    assert not failures.is_plain(chained(failures.MAX_RELATED))
    assert not failures.is_plain(Quits())
    assert failures.is_plain(cyclic())


class Indivisible(BaseExceptionGroup[BaseException]):
    """An exception group that raises when it is split."""

    def derive(self, excs: object, /) -> Any:
        raise SystemExit(f"cannot be divided into {excs}")


def indivisible(*held: BaseException) -> BaseException:
    """Return the exceptions in a group that raises when it is split."""
    return Indivisible("whole", held)


@pytest.mark.parametrize("grouped", [lambda *held: BaseExceptionGroup("g", held), indivisible])
@pytest.mark.parametrize("levels", [1, 3, 2_000])
def test_without(grouped: Callable[..., BaseException], levels: int) -> None:
    """``without`` removes all exceptions of a type from a group of any depth and class. All other exceptions stay."""
    one, two, out = ValueError(), OSError(), LookupError()

    def nest(*held: BaseException) -> BaseException:
        error = grouped(*held)
        for _ in range(levels - 1):
            error = grouped(error)
        return error

    left = failures.without(nest(one, out, two), LookupError)
    assert left is not None
    assert list(failures.leaves(left)) == [one, two]
    assert failures.without(nest(out), LookupError) is None
    assert failures.without(out, LookupError) is None
    assert failures.without(one, LookupError) is one
    others = failures.without(nest(one, two), LookupError)
    assert others is not None
    assert list(failures.leaves(others)) == [one, two]


_LEAVES = st.sampled_from([ValueError, Quits, Recurses, Unset, Odd, SystemExit, KeyboardInterrupt, RecursionError])
_ERRORS: st.SearchStrategy[BaseException] = st.recursive(
    _LEAVES.map(lambda kind: kind()),
    lambda inner: st.lists(inner, min_size=1, max_size=4).map(lambda held: BaseExceptionGroup("held", held)),
)


@settings(max_examples=scaled(50, 2_000))
@given(st.lists(_ERRORS, min_size=1, max_size=5), st.data())
def test_any_tree_of_exceptions(errors: list[BaseException], data: st.DataObject) -> None:
    """Exceptions with any groups, causes and contexts, also in cycles, can be described and logged."""
    for error in errors:
        error.__cause__ = data.draw(st.none() | st.sampled_from(errors))
        error.__context__ = data.draw(st.none() | st.sampled_from(errors))
    for error in errors:
        assert type(error).__name__ in failures.describe(error)
        failures.log_failure(LOGGER, "failed", error=error)


def test_one_line() -> None:
    """``one_line`` escapes each character that is not printable, and keeps all others."""
    assert failures.one_line("a\nb\x1b[2J\u2028\u202e é 中 👍") == r"a\nb\x1b[2J\u2028\u202e é 中 👍"


def noted(error: Exception, note: str) -> Exception:
    """Return the exception after ``note`` was added to it."""
    error.add_note(note)
    return error


FOREIGN: list[Callable[[str], Exception]] = [
    ValueError,
    lambda text: ExceptionGroup("group", [ValueError(text)]),
    lambda text: ExceptionGroup(text, [ValueError()]),
    lambda text: noted(ValueError(), text),
    lambda text: caused_by(ValueError("later"), ValueError(text)),
    lambda text: ExceptionGroup("deep", [nested(failures.MAX_DEPTH), ValueError(text)]),
    lambda text: SyntaxError("wrong", ("<code>", 1, 1, text)),
    lambda text: SyntaxError("wrong", (text, 1, 1, "code")),
    lambda text: raised_in(compile("1 / 0", text.replace("\0", ""), "exec")),
    lambda text: raised_in(compile("1 / 0", "<code>", "exec").replace(co_name=text)),
]


def raised_in(code: CodeType) -> Exception:
    """Run foreign code, and return the exception that it raised."""
    try:
        exec(code)  # noqa: S102 - the code is above
    except ZeroDivisionError as error:
        return error
    raise AssertionError


class Forging(int):
    """A number with any text."""

    text: str

    def __str__(self) -> str:
        """Return the text in place of the number."""
        return self.text


def forging(text: str) -> Forging:
    """Return a number whose text is ``text``."""
    number = Forging(3)
    number.text = text
    return number


def caused_by(error: Exception, cause: Exception) -> Exception:
    """Return the exception ``error``, with a cause."""
    error.__cause__ = cause
    return error


@settings(max_examples=scaled(60, 2_000))
@given(text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), make=st.sampled_from(FOREIGN))
def test_no_text_forges_a_line(text: str, make: Callable[[str], Exception]) -> None:
    """No argument, exception or block of a log record can begin a line of the log, or reach a terminal as a control.

    Only the first line of a record is not indented, or a line of the traceback that Python writes.
    """
    lines: list[str] = []

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Keeps()
    handler.setFormatter(logging.Formatter("START %(message)s"))
    LOGGER.addHandler(handler)
    forged = text + "\nSTART forged"
    try:
        failures.log_line(LOGGER, logging.WARNING, "user %s has %d", forged, 3, block=forged)
        failures.log_line(LOGGER, logging.WARNING, "user %s has %s", forged, forging(forged))
        failures.log_failure(LOGGER, "user %s failed", forged, error=make(forged))
    finally:
        LOGGER.removeHandler(handler)
    assert len(lines) == 3
    for line in lines:
        assert line.replace("\n", "").isprintable()
        assert [part for part in line.split("\n") if part.startswith("START")] == [line.split("\n")[0]]
        assert all(part.startswith("    ") for part in line.split("\n")[1:])
