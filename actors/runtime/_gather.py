"""Many asks at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

import trio

from actors.checks import check_seconds
from actors.errors import AskTimeout
from actors.runtime._ref import ActorRef, cell_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors.runtime._typed import Askable, MessageT, ReplyT

RefT = TypeVar("RefT")
T = TypeVar("T")


@overload
async def gather(asks: Iterable[tuple[RefT, Askable[RefT, T]]], timeout: float | None = None) -> list[T]: ...  # noqa: ASYNC109  -- as that of an ask


@overload
async def gather(
    asks: Iterable[tuple[ActorRef[MessageT, ReplyT], MessageT]],
    timeout: float | None = None,  # noqa: ASYNC109  -- as that of an ask
) -> list[ReplyT]: ...


async def gather(asks: Iterable[tuple[Any, Any]], timeout: float | None = None) -> list[Any]:  # noqa: ASYNC109  -- as that of an ask
    """Ask several actors at the same time, and return their replies in the order of the asks.

    The first ask that fails ends the call: the others are given up as after a timeout, so the work for them is
    cancelled. If several fail at the same moment, the error of the one that comes first in ``asks`` is raised.

    Args:
        asks: Pairs of a handle and a message: ``[(ref, Get()) for ref in refs]``.
        timeout: Maximum wait for all replies together, in seconds. None for no limit.

    Raises:
        AskTimeout: Not all replies came within ``timeout``. The message names the actors without a reply.
        ActorError: An ask failed: the errors of :meth:`ActorRef.ask`.
        RuntimeError: An answer could never come; see :meth:`ActorRef.ask`. Nothing was sent.

    Cancellation:
        All asks are given up.
    """
    pairs = list(asks)
    if timeout is not None:
        check_seconds(timeout, "timeout")
    for ref, _ in pairs:
        cell_of(ref).check_may_be_asked()
    replies: dict[int, Any] = {}
    failures: dict[int, Exception] = {}
    scope = trio.CancelScope() if timeout is None else trio.move_on_after(timeout)

    async def ask(place: int, ref: ActorRef[Any, Any], message: object) -> None:
        try:
            replies[place] = await ref.ask(message)
        except Exception as error:  # noqa: BLE001  -- raised below, by the caller's task
            failures[place] = error
            nursery.cancel_scope.cancel()

    with scope:
        async with trio.open_nursery() as nursery:
            for place, (ref, message) in enumerate(pairs):
                nursery.start_soon(ask, place, ref, message)
        if not pairs:
            await trio.lowlevel.checkpoint()
    if failures:
        raise failures[min(failures)]
    if len(replies) < len(pairs):
        silent = ", ".join(ref.path for place, (ref, _) in enumerate(pairs) if place not in replies)
        raise AskTimeout(f"no reply within {timeout} s from {silent}")
    return [replies[place] for place in range(len(pairs))]
