"""The border around code that is not ours: whatever is raised there becomes a value, and nothing passes.

An application's own functions (authentication, the hooks of the pages) may raise any ``BaseException``, alone or in
groups of any depth. Trio formats what passes through a nursery with ``repr``, outside of every task: an exception that
cannot be shown would end the whole process there. So code behind a border is called in a place that catches everything.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import trio

from actors import RestartLimit
from actors.failures import class_name, is_a, members, text_of, traceback_of
from actors.spi import INTERRUPT_HANDLER
from transport.errors import Forbidden, NotAuthenticated, TokenExpired, TransportError
from transport.protocol import close_codes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

_REFUSALS: tuple[tuple[type[TransportError], int], ...] = (
    # TokenExpired is a NotAuthenticated too. It counts only where nothing else is wrong: a client that is sent back for
    # a fresh token while the user is refused would come back for ever.
    (NotAuthenticated, close_codes.NOT_AUTHENTICATED),
    (Forbidden, close_codes.FORBIDDEN),
    (TokenExpired, close_codes.TOKEN_EXPIRED),
)


def leaves(raised: BaseException, whole: BaseException | None = None) -> Iterator[BaseException]:
    """Yield the exceptions in ``raised``, itself where it is no group; the group ``whole`` is not taken apart.

    Without recursion, each object once.
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
    """Return the close code and the reason of a refusal by an auth function; None where ``raised`` is a fault of it.

    The refusal may stand in a group at any depth, beside cancellations and beside faults: a user that one check refused
    is refused.
    """
    found = list(leaves(raised))
    for kind, code in _REFUSALS:
        for error in found:
            expired = is_a(error, TokenExpired)
            if is_a(error, kind) and expired is (kind is TokenExpired):
                return code, text_of(error) or class_name(error)
    return None


async def called(function: Callable[..., Awaitable[Any]], *arguments: object) -> Any | BaseException:
    """Await ``function(*arguments)`` in a task of its own; return its result, or the exception that came of it.

    What it starts beside itself in that task's nursery ends with it, and a failure there counts as its own. Raises
    nothing but ``trio.Cancelled``, when the caller is cancelled; one that the function kept and raises again on its own
    account is returned. A ``KeyboardInterrupt`` that the function raises is returned; a real one does not surface here.
    """
    results: list[Any] = []
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_collect, function, arguments, results, nursery.cancel_scope)
    except BaseException as raised:  # noqa: BLE001 - of a task that the function put beside itself
        results.append(raised)
    await trio.lowlevel.checkpoint_if_cancelled()
    return passed_on(results.pop())  # taken out: a traceback that holds the list would hold itself


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
    """Return the one exception to raise for what came out of nurseries.

    That is ``own`` (what the block itself raised, which may be a group), a ``RestartLimit``, or else the only exception
    that is no cancellation. Return ``raised`` where all are cancellations, or several say different things.
    """
    found = [error for error in leaves(raised, own) if not is_a(error, trio.Cancelled)]
    limits = [error for error in found if isinstance(error, RestartLimit)]
    others = [error for error in found if error is own] or limits or found
    return others[0] if len(others) == 1 else raised


@trio.lowlevel.enable_ki_protection
def called_at_once(function: Callable[..., Any], *arguments: object) -> Any | BaseException:
    """Call a plain function; return its result, or the exception that it raised. Raises nothing."""
    try:
        return function(*arguments)
    except BaseException as raised:  # noqa: BLE001 - this is the border
        return passed_on(raised)


def passed_on(result: Any) -> Any:
    """Return ``result``; where it holds a Ctrl-C that was caught at a border, send that on to the main task first."""
    if issubclass(type(result), BaseException) and any(map(_is_real_interrupt, leaves(result))):
        signal.raise_signal(signal.SIGINT)
    return result


def _is_real_interrupt(error: BaseException) -> bool:
    """Say whether ``error`` was raised by trio's handler of SIGINT: foreign code may raise a KeyboardInterrupt too."""
    traceback = traceback_of(error) if is_a(error, KeyboardInterrupt) else None
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_globals.get("__name__") == INTERRUPT_HANDLER
