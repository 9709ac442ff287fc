"""An exception or value that cannot be shown is described all the same, and logging it never raises."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest
from _scale import scaled
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import Failure, failures

if TYPE_CHECKING:
    from collections.abc import Callable

LOGGER = logging.getLogger("greenroom.tests.failures")


class Quits(Exception):
    """Exits where it is shown."""

    def __str__(self) -> str:
        raise SystemExit("cannot be shown")

    __repr__ = __str__


class Recurses(Exception):
    """Recurses without end where it is shown."""

    def __str__(self) -> str:
        return str(self)

    __repr__ = __str__


class Unset(Exception):
    """Shows an attribute that it does not have."""

    def __str__(self) -> str:
        return f"{self.status}"  # type: ignore[attr-defined]  # the fault

    __repr__ = __str__


class OddText(str):
    """A string with methods of its own."""

    def encode(self, *_: Any) -> bytes:
        raise ValueError

    __slots__ = ()


class Odd(Exception):
    """Has a text that is no plain string."""

    def __str__(self) -> str:
        return OddText("odd")


def nested(depth: int) -> Exception:
    error: Exception = ConnectionError("no route")
    for _ in range(depth):
        error = ExceptionGroup("again", [error])
    return error


def doubled(depth: int) -> Exception:
    """Hold one exception 2**depth times, in as few objects as there are levels."""
    error: Exception = ConnectionError("no route")
    for _ in range(depth):
        error = ExceptionGroup("twice", [error, error])
    return error


def chained(length: int) -> Exception:
    error = first = ValueError("first")
    for number in range(length):
        error.__cause__ = before = ValueError(f"before {number}")
        error = before
    return first


def cyclic() -> Exception:
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
def test_an_exception_is_described_by_class_and_text(make: Callable[[], BaseException], expected: str) -> None:
    """What an exception says of itself is shown where it can be, and its class in any case."""
    assert failures.describe(make()) == expected


LARGE = [
    lambda: nested(500),
    lambda: doubled(60),
    lambda: ExceptionGroup("many", [ValueError(str(number)) for number in range(5_000)]),
    lambda: chained(5_000),
    lambda: ValueError("x" * 10**6),
]


@pytest.mark.parametrize("make", [*LARGE, *(make for make, _ in SHOWN)])
def test_a_description_and_a_log_line_are_bounded(
    make: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """However large the exception is, its description has at most MAX_TEXT characters, and it is logged."""
    error = make()
    assert len(failures.describe(error)) <= failures.MAX_TEXT + len(" … (truncated)")
    failures.log_failure(LOGGER, "agent %s failed", "a", error=error)
    (record,) = caplog.records
    assert record.getMessage().startswith("agent a failed")
    assert type(error).__name__ in caplog.text
    assert record.funcName == "test_a_description_and_a_log_line_are_bounded"


@pytest.mark.parametrize("raised", [RecursionError, SystemExit, KeyboardInterrupt, ValueError])
def test_a_handler_that_fails_fails_alone(raised: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a handler raises for a record with a traceback, the line is logged without one."""
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
def test_a_filter_that_fails_fails_alone(raised: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    """What logs may be a task that serves everybody; the standard library lets through what a filter raises."""

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
    assert caplog.records[0].funcName == "test_a_filter_that_fails_fails_alone"


def test_nothing_is_formatted_for_a_level_that_is_off() -> None:
    """A level that is not enabled costs no look at the exception."""
    asked: list[bool] = []

    class Asked(Exception):
        def __str__(self) -> str:
            asked.append(True)
            return ""

    failures.log_failure(LOGGER, "not told", error=Asked(), level=logging.DEBUG)
    assert not asked


def test_a_value_is_shown_within_bounds() -> None:
    """A value that holds another twice, again and again, is shown in a few levels; one without a repr by its class."""
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


def test_a_reason_of_an_end_can_be_shown_whatever_the_failure_is() -> None:
    """The repr of an exit reason never raises."""
    assert repr(Failure(Quits())) == "Failure(exception=Quits)"
    assert len(repr(Failure(nested(500)))) < 2 * failures.MAX_SHOWN


def test_a_small_exception_is_left_to_the_handlers() -> None:
    """An exception that any formatter can show keeps its exc_info, for formatters that make more of it."""
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


class Whole(BaseExceptionGroup[BaseException]):
    """A group that does not let itself be divided."""

    def derive(self, excs: object, /) -> Any:
        raise SystemExit(f"cannot be divided into {excs}")


def in_whole(*held: BaseException) -> BaseException:
    """Put exceptions into a group that cannot be divided."""
    return Whole("whole", held)


@pytest.mark.parametrize("grouped", [lambda *held: BaseExceptionGroup("g", held), in_whole])
@pytest.mark.parametrize("levels", [1, 3, 2_000])
def test_an_exception_is_taken_out_of_any_group(grouped: Callable[..., BaseException], levels: int) -> None:
    """What is left has all others and none of that class, however deep and of whatever class the group is."""
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
def test_no_tree_of_exceptions_stops_what_shows_it(errors: list[BaseException], data: st.DataObject) -> None:
    """Groups, causes and contexts in any combination, cycles among them, are described and logged."""
    for error in errors:
        error.__cause__ = data.draw(st.none() | st.sampled_from(errors))
        error.__context__ = data.draw(st.none() | st.sampled_from(errors))
    for error in errors:
        assert type(error).__name__ in failures.describe(error)
        failures.log_failure(LOGGER, "failed", error=error)
