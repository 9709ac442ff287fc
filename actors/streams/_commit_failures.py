"""The decisions of the committer: how events are divided into appends, and which are tried again after a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import trio

from actors.errors import AppendRefused, LogError, LogUnavailable, LogUncertain
from actors.failures import is_a, led_to, members, shown, text_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from actors.eventlog.base import Batch, CommitLimit, StreamKey

S = TypeVar("S")


def parts(taken: Sequence[tuple[S, Batch]], limit: CommitLimit | None) -> Iterator[Sequence[tuple[S, Batch]]]:
    """Yield the batches in parts of the size that the log wants, in their order. ``limit`` None means one part.

    A batch is never divided: one that is larger than the limit is a part by itself.
    """
    if limit is None:
        yield taken
        return
    begin = size = 0
    for end, (_, batch) in enumerate(taken):
        if end > begin and (end - begin >= limit.batches or size + batch.size > limit.size):
            yield taken[begin:end]
            begin, size = end, 0
        size += batch.size
    yield taken[begin:]


async def each_part(
    taken: Sequence[tuple[S, Batch]],
    divide: Callable[[StreamKey], int],
    limit: CommitLimit | None,
    commit: Callable[[Sequence[tuple[S, Batch]]], Awaitable[None]],
) -> None:
    """Call ``commit`` for the streams of each part, as of ``divide``, and for all parts at the same time."""
    groups: dict[int, list[tuple[S, Batch]]] = {}
    for pair in taken:
        groups.setdefault(divide(pair[1].key), []).append(pair)

    async def commit_group(group: list[tuple[S, Batch]]) -> None:
        for part in parts(group, limit):
            await commit(part)

    async with trio.open_nursery() as nursery:
        for group in groups.values():
            nursery.start_soon(commit_group, group)


def after_failure(
    taken: Sequence[tuple[S, Batch]], error: BaseException, *, final: bool
) -> tuple[list[tuple[S, LogError]], list[list[tuple[S, Batch]]]]:
    """Return the sources that end after a failed append, with their errors, and the groups of batches to append again.

    Args:
        taken: The sources and batches of the append.
        error: The error of the append.
        final: Whether the log has already tried for as long as makes sense, if it is unavailable.
    """
    if is_a(error, AppendRefused) and len(taken) > 1:
        errors = cast("AppendRefused", error).errors
        refused = [(source, refusal(errors[i])) for i, (source, _) in enumerate(taken) if i in errors]
        rest = [pair for i, pair in enumerate(taken) if i not in errors]
        return refused, [rest] if rest else []
    # If the outcome is not known, the batches are perhaps in the log, and would be there twice.
    ends = is_a(error, LogUncertain) or (final and is_a(error, LogUnavailable))
    if len(taken) == 1 or ends:
        return [(source, _copy(refusal(error), i)) for i, (source, _) in enumerate(taken)], []
    return [], [[pair] for pair in taken]


def _copy(failure: LogError, number: int) -> LogError:
    """Return the error for the source with this number. Each source keeps an error of its own."""
    if number == 0:
        return failure
    kind = LogUncertain if is_a(failure, LogUncertain) else LogUnavailable
    return kind(text_of(failure))


def refusal(error: BaseException) -> LogError:
    """Return the ``LogError`` for a source, after an append has raised ``error``."""
    if is_a(error, LogError):
        return cast("LogError", error)
    failure = LogUnavailable(f"the log failed: {shown(error)}")
    failure.__cause__ = error
    return failure


def forget_frames(error: BaseException) -> None:
    """Remove the tracebacks from an error that a source keeps, and from its causes.

    The frames in a traceback would keep the source in memory.

    *When the tracebacks were kept, a session stayed in memory after a failure of its log, until a garbage collection.*
    """
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) not in seen:
            seen.add(id(each))
            BaseException.with_traceback(each, None)
            waiting += (*members(each), *(one for one in led_to(each) if one is not None))
