"""Replacements for exceptions that cannot be shown, so that trio can handle them. Pure.

trio asks an exception for its ``repr`` outside of any task, and for its ``__class__`` in the middle of the exit of a
cancel scope. An exception of foreign code can itself raise at these points, where no code of ours can catch it.
Therefore exceptions of foreign code pass through :func:`presentable` before trio sees them.
"""

from __future__ import annotations

from typing import Any, cast

from actors.failures import (
    MAX_DEPTH,
    MAX_RELATED,
    MAX_SHOWN,
    built_in,
    class_name,
    leaves,
    members,
    message_of,
    text_of,
    traceback_of,
)

MAX_HELD = 50
"""Maximum number of exceptions in a group that replaces a group which is too deep or too large."""


def is_presentable(error: BaseException) -> bool:
    """Return whether trio can handle the exception: its ``repr`` is cheap and does not raise.

    Every exception that appears in this ``repr`` must pass the same check. Also, the ``__class__`` of an exception must
    be its type, and its traceback must be accessible, because trio removes frames from the traceback.
    """
    count, level = 0, [error]
    for _ in range(MAX_DEPTH):
        count += len(level)
        if count > MAX_RELATED or not all(_is_itself(each) and _has_repr(each) for each in level):
            return False
        level = [one for each in level for one in _shown_with(each)]
    return not level


def presentable(error: BaseException) -> BaseException:
    """Return the exception if trio can handle it (see :func:`is_presentable`), else a replacement. Never raises.

    An ``except`` clause that catches the exception catches the replacement too. A group that is too deep or too large
    becomes one flat group of its leaves. Any other exception becomes an instance of a subclass that shows its class
    name and its text.
    """
    if is_presentable(error):
        return error
    return flat(error) if members(error) else _replacement(error)


def flat(error: BaseException, *first: BaseException) -> BaseException:
    """Return one group of ``first`` and the leaves of ``error``: at most :data:`MAX_HELD`, all of them presentable."""
    known = set(map(id, first))
    found = [*first, *(leaf for leaf in leaves(error) if id(leaf) not in known)]
    message = text_of(error, MAX_SHOWN)
    if len(found) > MAX_HELD:
        message += f", {len(found) - MAX_HELD} of all left out"
    held = [each if is_presentable(each) else _replacement(each) for each in found[:MAX_HELD]]
    group = BaseExceptionGroup(message, held)
    if not is_presentable(group):  # each member is presentable, but together they are too many or too deep
        group = BaseExceptionGroup(message, list(map(_replacement, held)))
    return group.with_traceback(traceback_of(error))


def _shown_with(error: BaseException) -> tuple[BaseException, ...]:
    """Return the exceptions that appear in this exception's ``repr``: members of a group, or its arguments."""
    args = cast("tuple[object, ...]", built_in(error, "args"))
    held = (cast("BaseException", each) for each in args if issubclass(type(each), BaseException))
    return members(error) or tuple(held)


def _is_itself(error: BaseException) -> bool:
    """Return whether ``__class__`` and ``with_traceback`` work as they do for every built-in exception."""
    try:
        return error.__class__ is type(error) and error.with_traceback(error.__traceback__) is error
    except BaseException:  # noqa: BLE001 - a class of foreign code may raise anything
        return False


def _has_repr(error: BaseException) -> bool:
    if type(error).__repr__ is BaseException.__repr__ and _shown_with(error):
        return True  # then only the repr of the exceptions inside matters, and they are checked by themselves
    try:
        repr(error)
    except BaseException:  # noqa: BLE001 - a class of foreign code may raise anything
        return False
    return True


def _replacement(error: BaseException) -> BaseException:
    """Return an instance of a new subclass of the exception's class that shows its class name and its text.

    Return a ``RuntimeError`` if the class does not allow a subclass.
    """
    kind, name, text = type(error), class_name(error), message_of(error)

    def to_text(_: BaseException) -> str:
        return text

    def to_repr(_: BaseException) -> str:
        return f"{name}({text!r})"

    try:
        names = {"__str__": to_text, "__repr__": to_repr, "__module__": kind.__module__}
        # The instance is made by the nearest built-in class: a class of foreign code may require other arguments.
        base: Any = next(each for each in kind.__mro__ if each.__module__ == "builtins")
        made: BaseException = base.__new__(type(kind.__name__, (kind,), names), text)
        made.__dict__.update(error.__dict__)
        if is_presentable(made):
            return made.with_traceback(traceback_of(error))
    except BaseException:  # noqa: BLE001, S110 - a class of foreign code may raise anything
        pass
    return RuntimeError(f"{name}: {text}" if text else name).with_traceback(traceback_of(error))
