"""Descriptions of exceptions and values that may refuse to be shown (pure).

What an agent, a tool, a log or an auth function raises is foreign code: its ``__str__`` may raise, exit or recurse, its
groups may nest hundreds deep, its causes may form a cycle. Whatever formats such an object for a client, a log line or
another exception calls this module, so that a failure to show an error is never a second error.
"""

from __future__ import annotations

import logging
import reprlib
import sys
import traceback
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

MAX_TEXT = 2_000
"""Characters of a text that is shown; a longer one is cut and says so."""

MAX_SHOWN = 200
"""Characters of a value that is shown within a sentence."""

MAX_NAME = 128
"""Characters of a class name that are shown."""

MAX_DEPTH = 16
"""Groups within each other up to which the standard library formats an exception: it recurses for each."""

MAX_RELATED = 100
"""Exceptions (members of groups, causes, contexts) that are looked at to describe one."""

MAX_HELD = 50
"""Exceptions that a group has which takes the place of one that is too deep or too large."""

_FRAMES, _TRACEBACKS = 20, 10
_CUT = " … (truncated)"


class _Repr(reprlib.Repr):
    """Shows a few items and levels: a list that holds another twice, which holds another twice …, has no end."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = 10
        self.maxstring = self.maxother = self.maxlong = MAX_SHOWN

    def repr_instance(self, x: object, level: int) -> str:
        """Show an exception with its arguments as a container with its items: groups hold others."""
        if type(x).__repr__ is not BaseException.__repr__:
            return super().repr_instance(x, level)
        args = cast("BaseException", x).args if level > 0 else ("…",)
        return f"{class_name(x)}({', '.join(self.repr1(each, level - 1) for each in args)})"


def class_name(value: object) -> str:
    """Return the name of the value's class, at most :data:`MAX_NAME` characters. Never raises."""
    try:
        name = _valid(type(value).__name__)
    except BaseException:  # noqa: BLE001 - a metaclass may be anything
        return "object"
    return name if len(name) <= MAX_NAME else name[:MAX_NAME] + "…"


def text_of(value: object, limit: int = MAX_TEXT) -> str:
    """Return ``str(value)`` as valid Unicode, cut at ``limit`` characters; "" where that raises. Never raises."""
    return _cut(_formatted(str, value), limit)


def shown(value: object, limit: int = MAX_SHOWN) -> str:
    """Return ``repr(value)`` as valid Unicode, cut at ``limit`` characters. Never raises.

    Containers and groups are shown with a few of their items and levels. A value that cannot be shown has its class
    name instead; such an exception is described.
    """
    text = _cut(_formatted(_Repr().repr, value), limit)
    if not text and issubclass(type(value), BaseException):
        return describe(cast("BaseException", value), limit)
    return text or f"<{class_name(value)}>"


def describe(error: BaseException, limit: int = MAX_TEXT) -> str:
    """Return class name and text of an exception, and of what a group holds, on one line. Never raises."""
    return _cut(": ".join(part for part in (class_name(error), message_of(error, limit)) if part), limit)


def message_of(error: BaseException, limit: int = MAX_TEXT) -> str:
    """Return the text of an exception; of a group with the members, outermost first. Never raises."""
    parts: list[str] = []
    size = 0
    for each in _within(error):
        text = text_of(each, limit)
        parts.append(text if each is error else f"{class_name(each)}: {text}")
        size += len(parts[-1])
        if size > limit:
            break
    return _cut("; ".join(parts), limit)


def members(error: BaseException) -> tuple[BaseException, ...]:
    """Return what a group holds, () for any other exception. Never raises: a subclass's own property is not asked."""
    if not issubclass(type(error), BaseExceptionGroup):
        return ()
    group = cast("BaseExceptionGroup[BaseException]", error)
    return cast("tuple[BaseException, ...]", BaseExceptionGroup.exceptions.__get__(group))


def without(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """Return the exception without those in it that were made as ``kind``; None where nothing else is left.

    Never raises: where a group cannot be split, because its class does not allow it or because it is too deep, return a
    plain group of its other leaves.
    """
    if is_a(error, kind):
        return None
    if not members(error):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    try:
        return BaseExceptionGroup.split(group, kind)[1]
    except BaseException:  # noqa: BLE001 - the class makes the parts, and may be anything
        found = list(leaves(error))
        others = [each for each in found if not is_a(each, kind)]
        if len(others) == len(found):
            return error
        return BaseExceptionGroup(text_of(error, MAX_SHOWN), others) if others else None


def is_a(error: BaseException, kind: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    """Return whether the exception was made as one of ``kind``. Never raises: ``isinstance`` asks its ``__class__``."""
    return issubclass(type(error), kind)


def traceback_of(error: BaseException) -> TracebackType | None:
    """Return the exception's traceback. Never raises: what its own class has under that name is not asked."""
    return cast("TracebackType | None", _built_in(error, "__traceback__"))


def led_to(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """Return the exception's cause and context. Never raises, as :func:`traceback_of` does not."""
    cause, context = _built_in(error, "__cause__"), _built_in(error, "__context__")
    return cast("BaseException | None", cause), cast("BaseException | None", context)


def _built_in(error: BaseException, name: str) -> object:
    """Return what every exception has under ``name``, without asking the exception's own class."""
    return BaseException.__dict__[name].__get__(error)


def is_plain(error: BaseException) -> bool:
    """Return whether any formatter can show this exception: few, shallow, without cycles, and each has a text."""
    count, level, seen = 0, [error], {id(error)}
    for _ in range(MAX_DEPTH):
        chained = [each for one in level for each in _chain(one, seen)]
        count += len(chained)
        level = [one for each in chained for one in members(each)]
        if count + len(level) > MAX_RELATED or not all(map(_has_text, chained)):
            return False
    return not level


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions in a group that are no groups, each once; of any other exception that itself."""
    return (each for each in _walk(error, members, limit=sys.maxsize) if not members(each))


def is_presentable(error: BaseException) -> bool:
    """Return whether ``repr`` of the exception is short work and does not raise: trio asks for it outside of tasks.

    So it does for the ``__class__``, in the middle of the exit of a cancel scope: that must be the exception's type.
    And the traceback must be there for whatever takes frames off it.
    """
    count, level = 0, [error]
    for _ in range(MAX_DEPTH):
        count += len(level)
        if count > MAX_RELATED or not all(_is_itself(each) and _has_repr(each) for each in level):
            return False
        level = [one for each in level for one in _shown_with(each)]
    return not level


def presentable(error: BaseException) -> BaseException:
    """Return the exception if it :func:`is_presentable`, else one that is and that the same ``except`` clauses catch.

    A group that is too deep or too large comes back as one group of its leaves; what cannot be shown as an instance of
    a subclass, which shows what could be said. Never raises.
    """
    if is_presentable(error):
        return error
    return flat(error) if members(error) else _stand_in(error)


def flat(error: BaseException, *first: BaseException) -> BaseException:
    """Return a group of ``first`` and of the leaves of the group, at most :data:`MAX_HELD`, all presentable."""
    known = set(map(id, first))
    found = [*first, *(leaf for leaf in leaves(error) if id(leaf) not in known)]
    message = text_of(error, MAX_SHOWN)
    if len(found) > MAX_HELD:
        message += f", {len(found) - MAX_HELD} of all left out"
    held = [each if is_presentable(each) else _stand_in(each) for each in found[:MAX_HELD]]
    group = BaseExceptionGroup(message, held)
    if not is_presentable(group):  # each is, but not all of them together
        group = BaseExceptionGroup(message, list(map(_stand_in, held)))
    return group.with_traceback(traceback_of(error))


def _shown_with(error: BaseException) -> tuple[BaseException, ...]:
    """Return the exceptions whose ``repr`` is part of the exception's."""
    args = cast("tuple[object, ...]", _built_in(error, "args"))
    held = (cast("BaseException", each) for each in args if issubclass(type(each), BaseException))
    return members(error) or tuple(held)


def _is_itself(error: BaseException) -> bool:
    try:
        return error.__class__ is type(error) and error.with_traceback(error.__traceback__) is error
    except BaseException:  # noqa: BLE001 - that is the question
        return False


def _has_repr(error: BaseException) -> bool:
    if type(error).__repr__ is BaseException.__repr__ and _shown_with(error):
        return True  # as far as these have one
    try:
        repr(error)
    except BaseException:  # noqa: BLE001 - that is the question
        return False
    return True


def _stand_in(error: BaseException) -> BaseException:
    """Return an exception of a subclass that shows what could be said; of another class where there cannot be one."""
    kind, name, text = type(error), class_name(error), message_of(error)

    def shows(_: BaseException) -> str:
        return text

    def represents(_: BaseException) -> str:
        return f"{name}({text!r})"

    try:
        names = {"__str__": shows, "__repr__": represents, "__module__": kind.__module__}
        # What makes an instance is the built-in class's: a class of somebody's own may want arguments.
        built_in: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
        made: BaseException = built_in.__new__(type(kind.__name__, (kind,), names), text)
        made.__dict__.update(error.__dict__)
        if is_presentable(made):
            return made.with_traceback(traceback_of(error))
    except BaseException:  # noqa: BLE001, S110 - the class may be anything
        pass
    return RuntimeError(f"{name}: {text}" if text else name).with_traceback(traceback_of(error))


def log_failure(
    logger: logging.Logger, message: str, *args: object, error: BaseException, level: int = logging.ERROR
) -> None:
    """Log ``message % args`` with the traceback of ``error``. Never raises.

    The standard library's handlers raise RecursionError, and whatever a formatter or filter raises that is no
    ``Exception``. Where the exception or a handler does not allow a traceback, the line has what could be said.
    """
    if not logger.isEnabledFor(level):
        return
    if is_plain(error) and _logged(logger, level, message, *args, exc_info=error):
        return
    if not _logged(logger, level, message + "\n%s", *args, _tracebacks(error)):
        _logged(logger, level, "%s: %s", message, class_name(error))


def log_line(logger: logging.Logger, level: int, message: str, *args: object) -> None:
    """Log ``message % args``. Never raises: a filter of the application may, and what logs may serve everybody."""
    if logger.isEnabledFor(level):
        _logged(logger, level, message, *args)


def _logged(
    logger: logging.Logger, level: int, message: str, *args: object, exc_info: BaseException | None = None
) -> bool:
    try:
        logger.log(level, message, *args, exc_info=exc_info, stacklevel=3)
    except BaseException:  # noqa: BLE001 - a handler's failure is not that of the code that logs
        return False
    return True


def _tracebacks(error: BaseException) -> str:
    """Return the ends of the tracebacks of the exception and of those related to it, one after the other."""
    parts: list[str] = []
    for count, each in enumerate(_related(error)):
        if count == _TRACEBACKS:
            parts.append("…")
            break
        parts.append(_frames(each) + f"{class_name(each)}: {text_of(each)}")
    return "\n".join(parts)


def _frames(error: BaseException) -> str:
    try:
        return "".join(traceback.format_tb(traceback_of(error), -_FRAMES))
    except BaseException:  # noqa: BLE001 - source lines come from foreign loaders
        return ""


def _within(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and what is in it, outermost first, each once, at most :data:`MAX_RELATED`."""
    return _walk(error, members)


def _related(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception, what is in it and what came before it, each once, at most :data:`MAX_RELATED`."""

    def around(each: BaseException) -> tuple[BaseException, ...]:
        before = _before(each)
        return members(each) if before is None else (*members(each), before)

    return _walk(error, around)


def _walk(
    error: BaseException, inner: Callable[[BaseException], tuple[BaseException, ...]], limit: int = MAX_RELATED
) -> Iterator[BaseException]:
    seen: set[int] = set()
    todo = [error]
    while todo and len(seen) < limit:
        each = todo.pop()
        if id(each) not in seen:
            seen.add(id(each))
            yield each
            todo += reversed(inner(each)[:limit])


def _before(error: BaseException) -> BaseException | None:
    """Return the cause, or the context unless it is suppressed."""
    cause, context = led_to(error)
    if cause is not None or _built_in(error, "__suppress_context__"):
        return cause
    return context


def _chain(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """Yield the exception and what came before it, except what is in ``seen``: that is formatted only once."""
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
    except BaseException:  # noqa: BLE001 - that is the question
        return False
    return True


def _formatted(function: Callable[[object], str], value: object) -> str:
    try:
        return _valid(function(value))
    except BaseException:  # noqa: BLE001 - SystemExit too: nothing that is shown may end what shows it
        return ""


def _valid(text: str) -> str:
    """Return a text of the class ``str`` itself that can be written as UTF-8."""
    return str.encode(text, "utf-8", "replace").decode()


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + _CUT
