"""The border around an application's functions: an exception that the application raises becomes a value.

An application's functions (authentication, the hooks of the pages) can raise any ``BaseException``, alone or in groups
of any depth. Trio formats exceptions that pass through a nursery with ``repr``, outside of every task: *an exception
whose repr raises would end the whole process there*. So this module calls an application's functions in code that
catches every exception.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import trio

from actors import RestartLimit
from actors.failures import class_name, is_a, members, text_of, traceback_of
from actors.spi import INTERRUPT_HANDLER
from transport.errors import UNAVAILABLE, AuthUnavailable, Forbidden, NotAuthenticated, TokenExpired, TransportError
from transport.protocol import close_codes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

_REFUSALS: tuple[tuple[type[TransportError], int], ...] = (
    # TokenExpired is a NotAuthenticated too. It counts only if nothing else is wrong. *A client that is sent away for a
    # fresh token, while its user is refused, would reconnect endlessly.*
    (NotAuthenticated, close_codes.NOT_AUTHENTICATED),
    (Forbidden, close_codes.FORBIDDEN),
    (TokenExpired, close_codes.TOKEN_EXPIRED),
    (AuthUnavailable, close_codes.OVERLOADED),
)


def leaves(raised: BaseException, whole: BaseException | None = None) -> Iterator[BaseException]:
    """Yield each exception that the group ``raised`` contains at any depth, or ``raised`` itself if it is no group.

    Each exception is yielded once. The group ``whole`` is not opened, but yielded like a single exception. The function
    does not call itself, since groups can be nested very deeply.
    """
    waiting, seen = [raised], {id(raised)}
    while waiting:
        error = waiting.pop()
        inner = () if error is whole else members(error)
        if not inner:
            yield error
        for each in reversed(inner):
            if id(each) not in seen:
                seen.add(id(each))
                waiting.append(each)


def refusal_in(raised: BaseException) -> tuple[int, str] | None:
    """Return the close code and reason if ``raised`` contains the refusal of a user by an auth function, else None.

    The refusal can be in a group at any depth, together with cancellations and other exceptions: if one of several
    checks refuses the user, the user is refused.
    """
    found = list(leaves(raised))
    for kind, code in _REFUSALS:
        for error in found:
            expired = is_a(error, TokenExpired)
            if is_a(error, kind) and expired is (kind is TokenExpired):
                text = text_of(error) or class_name(error)
                return code, f"{UNAVAILABLE}: {text}" if kind is AuthUnavailable else text
    return None


async def called(function: Callable[..., Awaitable[Any]], *arguments: object) -> Any | BaseException:
    """Await ``function(*arguments)`` in a new task. Return the result of the function, or its exception.

    If the function starts tasks in the nursery of this new task, these tasks end together with the function, and their
    failures count as failures of the function. A ``Cancelled`` is returned too, unless the caller itself is cancelled.
    A ``KeyboardInterrupt`` that the function's own code raises is returned too. A real Ctrl-C goes to the main task.

    Raises:
        trio.Cancelled: If the caller is cancelled. No other exception is raised.
    """
    results: list[Any] = []
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_collect, function, arguments, results, nursery.cancel_scope)
    except BaseException as raised:  # noqa: BLE001 - from a task that the function started beside itself
        results.append(raised)
    await trio.lowlevel.checkpoint_if_cancelled()
    return passed_on(results.pop())  # removed, since a traceback holds the list: the exception would hold itself


@trio.lowlevel.enable_ki_protection
async def _collect(
    function: Callable[..., Awaitable[Any]],
    arguments: tuple[object, ...],
    results: list[Any],
    scope: trio.CancelScope,
) -> None:
    try:
        results.append(await function(*arguments))
    except BaseException as raised:  # noqa: BLE001 - this is the border
        results.append(raised)
    scope.cancel()


def the_one(raised: BaseException, own: BaseException | None = None) -> BaseException:
    """Return the one exception to raise in place of the group ``raised``, which nurseries have raised.

    The first choice is ``own`` (the exception of the application's ``with`` block, which can be a group), the second a
    ``RestartLimit``, the third the only exception that is not a cancellation. If none of these choices exists, or if
    several exceptions are not cancellations, return ``raised``.
    """
    found = [error for error in leaves(raised, own) if not is_a(error, trio.Cancelled)]
    limits = [error for error in found if isinstance(error, RestartLimit)]
    others = [error for error in found if error is own] or limits or found
    return others[0] if len(others) == 1 else raised


def passed_on(result: Any) -> Any:
    """Return ``result`` unchanged, but first pass a real Ctrl-C on to the main task.

    If ``result`` is or contains the exception of a real Ctrl-C, SIGINT is raised again for this purpose.
    """
    if issubclass(type(result), BaseException) and any(map(_is_real_interrupt, leaves(result))):
        signal.raise_signal(signal.SIGINT)
    return result


def _is_real_interrupt(error: BaseException) -> bool:
    """Return whether ``error`` is from a real Ctrl-C: raised by trio's SIGINT handler, and not by other code."""
    traceback = traceback_of(error) if is_a(error, KeyboardInterrupt) else None
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_globals.get("__name__") == INTERRUPT_HANDLER
