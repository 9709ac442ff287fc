"""Descriptions of exceptions and values, even if their ``str`` or ``repr`` fails, and log lines for them. Pure.

Agents, tools, logs and auth functions are foreign code. The ``__str__`` of an exception that they raise can itself
raise, exit or recurse, its groups can be nested hundreds deep, and its causes can form a cycle. All code that formats a
foreign object for a client, for a log line or for another exception calls this module: a failure to show an error must
not become a second error.

To begin reading: :func:`describe` for an exception, :func:`shown` for a value, :func:`log_failure` for a traceback.
"""

from __future__ import annotations

import logging
import reprlib
import sys
import traceback
from typing import TYPE_CHECKING, cast

from actors.tracebacks import traceback_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    Fields = Mapping[str, str] | None

MAX_TEXT = 2_000
"""Maximum number of characters in a text. A longer text is cut and marked as truncated."""

MAX_SHOWN = 200
"""Maximum number of characters in a value that is shown within a sentence."""

MAX_NAME = 128
"""Maximum number of characters in a class name."""

MAX_DEPTH = 16
"""Maximum nesting of groups that the standard library formats. Its formatter recurses for each level."""

MAX_RELATED = 100
"""Maximum number of exceptions (members of groups, causes, contexts) that are examined to describe one exception."""

# Of an exception that the standard library cannot format: frames of each traceback, and number of tracebacks.
_FRAMES, _TRACEBACKS = 20, 10
_CUT = " … (truncated)"


# Texts of values and exceptions


class _Repr(reprlib.Repr):
    """A ``repr`` that shows only a few items and levels.

    *A list contained another list twice, which contained another list twice, and so on: its full ``repr`` was endless.*
    """

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = 10
        self.maxstring = self.maxother = self.maxlong = MAX_SHOWN

    def repr_instance(self, x: object, level: int) -> str:
        """Return an exception's ``repr`` with its arguments limited like the items of a container."""
        if type(x).__repr__ is not BaseException.__repr__:
            return super().repr_instance(x, level)
        args = cast("BaseException", x).args if level > 0 else ("…",)
        return f"{class_name(x)}({', '.join(self.repr1(each, level - 1) for each in args)})"


def class_name(value: object) -> str:
    """Return the name of the value's class, at most :data:`MAX_NAME` characters. Never raises."""
    try:
        name = _valid(type(value).__name__)
    except BaseException:  # noqa: BLE001 - a metaclass may raise anything
        return "object"
    return name if len(name) <= MAX_NAME else name[:MAX_NAME] + "…"


def text_of(value: object, limit: int = MAX_TEXT) -> str:
    """Return ``str(value)`` as valid Unicode, cut at ``limit`` characters; "" if ``str`` raises. Never raises."""
    return _cut(_formatted(str, value), limit)


def shown(value: object, limit: int = MAX_SHOWN) -> str:
    """Return ``repr(value)`` as valid Unicode, cut at ``limit`` characters. Never raises.

    Containers and groups are shown with a few of their items and levels. If ``repr`` raises, the result is the class
    name, or for an exception the text of :func:`describe`.
    """
    text = _cut(_formatted(_Repr().repr, value), limit)
    if not text and issubclass(type(value), BaseException):
        return describe(cast("BaseException", value), limit)
    return text or f"<{class_name(value)}>"


def one_line(text: str) -> str:
    r"""Return the text with an escape sequence, such as ``\n``, for each character that is not printable.

    The result cannot look like two lines, and it has no control characters that a terminal would obey.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def describe(error: BaseException, limit: int = MAX_TEXT) -> str:
    """Return the class name and the text of an exception on one line. For a group, add its members. Never raises."""
    return _cut(": ".join(part for part in (class_name(error), message_of(error, limit)) if part), limit)


def message_of(error: BaseException, limit: int = MAX_TEXT, *, text: Callable[[object, int], str] = text_of) -> str:
    """Return the text of an exception, cut to ``limit`` characters. Never raises.

    The text of an exception group is followed by the texts of its members. ``text`` returns the text of each exception.
    """
    parts: list[str] = []
    size = 0
    for each in _walk(error, members):
        own = text(each, limit)
        parts.append(own if each is error else f"{class_name(each)}: {own}")
        size += len(parts[-1])
        if size > limit:
            break
    return _cut("; ".join(parts), limit)


# Structure of an exception. Its own class may define these attributes in any way, so the class is never asked.


def is_a(error: BaseException, kind: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    """Return whether the exception's type is one of ``kind``.

    Never raises, unlike ``isinstance``, which asks ``__class__``.
    """
    return issubclass(type(error), kind)


def members(error: BaseException) -> tuple[BaseException, ...]:
    """Return the exceptions in a group, or () for any other exception. Never raises."""
    if not issubclass(type(error), BaseExceptionGroup):
        return ()
    group = cast("BaseExceptionGroup[BaseException]", error)
    return cast("tuple[BaseException, ...]", BaseExceptionGroup.exceptions.__get__(group))


def without(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """Return the exception without the exceptions of the type ``kind`` in it. Return None if nothing is left.

    Never raises. Exceptions are removed from a group at any depth. If a group cannot be split, because its class does
    not allow a split or because the group is too deep, the result is a plain group of the remaining leaves.
    """
    if is_a(error, kind):
        return None
    if not members(error):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    try:
        return BaseExceptionGroup.split(group, kind)[1]
    except BaseException:  # noqa: BLE001 - the group's class makes the parts, and may raise anything
        found = list(leaves(error))
        others = [each for each in found if not is_a(each, kind)]
        if len(others) == len(found):
            return error
        return BaseExceptionGroup(text_of(error, MAX_SHOWN), others) if others else None


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions of a group, at any depth, that are not groups themselves.

    If ``error`` is no group, yield only ``error``.
    """
    return (each for each in _walk(error, members, limit=sys.maxsize) if not members(each))


def traceback_of(error: BaseException) -> TracebackType | None:
    """Return the exception's traceback. Never raises."""
    return cast("TracebackType | None", built_in(error, "__traceback__"))


def led_to(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """Return the exception's ``__cause__`` and its ``__context__``. Never raises."""
    cause, context = built_in(error, "__cause__"), built_in(error, "__context__")
    return cast("BaseException | None", cause), cast("BaseException | None", context)


def built_in(error: BaseException, name: str) -> object:
    """Return the built-in value of an attribute that every exception has, even if its class overrides the attribute."""
    return BaseException.__dict__[name].__get__(error)


def _before(error: BaseException) -> BaseException | None:
    """Return the exception's cause. If there is no cause, return the context, unless the context is suppressed."""
    cause, context = led_to(error)
    if cause is not None or built_in(error, "__suppress_context__"):
        return cause
    return context


def _walk(
    error: BaseException, inner: Callable[[BaseException], tuple[BaseException, ...]], limit: int = MAX_RELATED
) -> Iterator[BaseException]:
    """Yield the exception, then each exception that ``inner`` finds, outer before inner, without repeats.

    At most ``limit`` exceptions are yielded.
    """
    seen: set[int] = set()
    todo = [error]
    while todo and len(seen) < limit:
        each = todo.pop()
        if id(each) not in seen:
            seen.add(id(each))
            yield each
            todo += reversed(inner(each)[:limit])


# Log lines


def log_failure(
    logger: logging.Logger,
    message: str,
    *args: object,
    error: BaseException,
    level: int = logging.ERROR,
    fields: Fields = None,
) -> None:
    """Log ``message % args`` with the traceback of ``error``. Never raises.

    The arguments are logged as by :func:`log_line`. If a text of the exception has line ends or control characters, the
    traceback is indented and these characters are escaped: no part of the text can look like a line of the log.

    A handler of the standard library can raise a ``RecursionError``. Such a handler also lets an exception of a
    formatter or filter pass, unless that exception is an ``Exception``. If no traceback can be logged, the line has as
    much text as possible. Of a traceback with very many frames, only the first and the last are logged.
    ``fields`` are as those of :func:`log_line`.
    """
    if not logger.isEnabledFor(level):
        return
    arguments = _printable(args)
    if is_plain(error) and _logged(logger, level, message, arguments, error, fields):
        return
    if not _logged(logger, level, message + "\n%s", (*arguments, _indented(tracebacks_of(error))), None, fields):
        _logged(logger, level, "%s: %s", (message, one_line(class_name(error))))


def log_line(
    logger: logging.Logger, level: int, message: str, *args: object, block: str = "", fields: Fields = None
) -> None:
    """Log ``message % args``. Never raises, not even if a filter of the application raises.

    A failing filter must not end the code that logs, because that code perhaps serves every session. Control characters
    and line ends in the arguments are escaped: *the name of a user that contained a line end could forge a line*.
    ``block`` is a text of several lines, which is logged below the message. ``fields`` are ids that the line is about,
    such as ``run``: the log record has them as its attribute ``greenroom``.
    """
    if logger.isEnabledFor(level):
        below = ("\n" + _indented(block),) if block else ()
        _logged(logger, level, message + "%s" * len(below), (*_printable(args), *below), None, fields)


def is_plain(error: BaseException) -> bool:
    """Return whether every formatter of log lines can show the exception.

    The exception, its causes and its members must be few and not nested deep, and each must have a text. Causes that
    form a cycle are allowed, because a formatter shows each exception only once.
    """
    count, level, seen = 0, [error], {id(error)}
    for _ in range(MAX_DEPTH):
        chained = [each for one in level for each in _chain(one, seen)]
        count += len(chained)
        level = [one for each in chained for one in members(each)]
        if count + len(level) > MAX_RELATED or not all(map(_has_text, chained)):
            return False
    return not level


def _printable(args: tuple[object, ...]) -> tuple[object, ...]:
    """Return the arguments of a log line, with everything that is no number as a text without control characters."""
    # A subclass of a number can have any text.
    return tuple(each if type(each) in {int, float} else one_line(text_of(each, sys.maxsize)) for each in args)


def _logged(  # noqa: PLR0913, PLR0917 - the parts of a line, in one place
    logger: logging.Logger,
    level: int,
    message: str,
    args: tuple[object, ...],
    error: BaseException | None = None,
    fields: Fields = None,
) -> bool:
    """Log one line, with the traceback of ``error``. Return False if the logging raised an exception."""
    try:
        path, line, function, _ = logger.findCaller(stacklevel=3)
        info = None if error is None else (type(error), error, traceback_of(error))
        extra = {"greenroom": fields} if fields else None
        record = logger.makeRecord(logger.name, level, path, line, message, args, info, function, extra)
        if error is not None:
            text, cut = traceback_text(error, traceback_of(error))
            # If it is set, formatters use this text instead of their own.
            if _has_unprintable(error, text):
                record.exc_text = _indented(text)
            elif cut:
                record.exc_text = text.removesuffix("\n")
        logger.handle(record)
    except BaseException:  # noqa: BLE001 - a failing handler must not fail the code that logs
        return False
    return True


def _has_unprintable(error: BaseException, shown_text: str) -> bool:
    """Return whether the text of a traceback has other line ends than its own, or control characters."""
    texts = (text for each in _walk(error, _related) for text in (class_name(each), each, *_notes(each), *_code(each)))
    if not all(text_of(text, sys.maxsize).isprintable() for text in texts):
        return True
    return not shown_text.replace("\n", "").isprintable()


def _code(error: BaseException) -> Iterator[object]:
    """Yield the texts of code that a traceback shows. The code can be foreign, such as code of a model."""
    codes = (frame.f_code for frame, _ in traceback.walk_tb(traceback_of(error)))
    yield from {name for code in codes for name in (code.co_filename, code.co_name)}
    if is_a(error, SyntaxError):
        wrong = cast("SyntaxError", error)
        yield from (wrong.filename or "", (wrong.text or "").rstrip("\n"))


def _notes(error: BaseException) -> tuple[object, ...]:
    """Return the notes that code has added to the exception. A traceback shows them."""
    notes: object = getattr(error, "__notes__", ())
    return tuple(cast("list[object]", notes)) if isinstance(notes, (list, tuple)) else (notes,)


def _indented(text: str) -> str:
    """Return the text with indented lines and escaped control characters."""
    return "\n".join("    " + one_line(line) for line in text.splitlines())


def tracebacks_of(error: BaseException) -> str:
    """Return the last frames of the tracebacks of the exception and of related exceptions, as text."""
    parts: list[str] = []
    for count, each in enumerate(_walk(error, _related)):
        if count == _TRACEBACKS:
            parts.append("…")
            break
        parts.append(_frames(each) + f"{class_name(each)}: {text_of(each)}")
    return "\n".join(parts)


def _related(error: BaseException) -> tuple[BaseException, ...]:
    """Return the members of the exception, then its cause. If there is no cause, return its context instead."""
    before = _before(error)
    return members(error) if before is None else (*members(error), before)


def _frames(error: BaseException) -> str:
    try:
        return "".join(traceback.format_tb(traceback_of(error), -_FRAMES))
    except BaseException:  # noqa: BLE001 - a foreign loader, which may raise anything, gives the source lines
        return ""


def _chain(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """Yield the exception and its causes.

    Stop at an exception in ``seen``, because a formatter shows each exception only once.
    """
    yield error
    for _ in range(MAX_RELATED):
        before = _before(error)
        if before is None or id(before) in seen:
            return
        seen.add(id(before))
        yield (error := before)


def _has_text(error: BaseException) -> bool:
    try:
        str(error)
    except BaseException:  # noqa: BLE001 - a class of foreign code may raise anything
        return False
    return True


# Strings


def _formatted(function: Callable[[object], str], value: object) -> str:
    try:
        return _valid(function(value))
    except BaseException:  # noqa: BLE001 - also SystemExit: a value must not end the code that shows it
        return ""


def _valid(text: str) -> str:
    """Return the text as an instance of ``str`` itself, with ``?`` for characters that UTF-8 cannot encode."""
    return str.encode(text, "utf-8", "replace").decode()


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + _CUT
