"""Pages of long lists. The work is done in small steps, and a cursor stays valid when its entry has gone.

Each list has an order: a function that returns the place of an entry, a tuple of numbers and texts. A cursor is the
place of the last entry of a page. The next page has the entries behind it, so that entry need not exist any more.
"""

from __future__ import annotations

import base64
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar, cast

import attrs
import orjson

from transport.inspector._answers import Refused
from transport.inspector._sparing import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PAGE = 200
"""Maximum number of entries in one answer, and default of ``limit``."""
STEP = 200
"""Number of entries that are looked at between two checkpoints. *10,000 sessions at once take 70 ms.*"""
_MAX_CURSOR = 8_000
"""Maximum length of a cursor, in characters."""

T = TypeVar("T")
Place: TypeAlias = "tuple[float | str, ...]"
"""The place of an entry in the order of its list. All places of a list have the same types."""


@attrs.frozen
class Page(Generic[T]):
    """Some entries of a list, in its order."""

    entries: list[T]
    next: str | None
    """The cursor of the next page. None at the end of the list."""
    total: int
    """Number of entries in the whole list."""


class Paging(Generic[T]):
    """The first ``limit`` entries of a list behind a cursor, while the entries are added in any order.

    Args:
        place: Returns the place of an entry.
        kinds: The types of the parts of a place, ``float`` or ``str``.
        after: The cursor; "" for the first page.
        limit: Maximum number of entries.

    Raises:
        Refused: The cursor is none of this list.
    """

    def __init__(self, place: Callable[[T], Place], kinds: tuple[type, ...], after: str, limit: int) -> None:
        self._place = place
        self._behind = cursor_place(after, kinds) if after else ()  # every place is behind the empty one
        self._limit = limit
        self._found: list[tuple[Place, int, T]] = []
        self._total = 0

    def add(self, group: Iterable[T]) -> None:
        """Add some entries of the list."""
        place, behind, found = self._place, self._behind, self._found
        # The number keeps entries with equal places apart, which need not be comparable themselves.
        placed = [(place(entry), number, entry) for number, entry in enumerate(group, self._total)]
        self._total += len(placed)
        if behind:
            placed = [each for each in placed if each[0] > behind]
        if len(found) > self._limit:
            # Mostly none is left: the page is full, and its last entry comes before all further ones.
            last = found[-1][0]
            placed = [each for each in placed if each[0] < last]
        if placed:
            self._found = sorted(found + placed, key=_order)[: self._limit + 1]

    def page(self) -> Page[T]:
        """Return the page, once all entries were added."""
        page = self._found[: self._limit]
        more = len(self._found) > self._limit
        return Page([each[2] for each in page], cursor(page[-1][0]) if more else None, self._total)


async def page_of(  # noqa: PLR0913, PLR0917 - the list, its order, the part of it that is asked for, and the cost
    groups: Iterable[Iterable[T]],
    place: Callable[[T], Place],
    kinds: tuple[type, ...],
    after: str,
    limit: int,
    meter: Meter | None = None,
) -> Page[T]:
    """Return a page of a list, as :class:`Paging` finds it.

    Args:
        groups: The entries of the list, in groups in any order. There is a checkpoint after each group.
        place: Returns the place of an entry.
        kinds: The types of the parts of a place, ``float`` or ``str``.
        after: The cursor; "" for the first page.
        limit: Maximum number of entries.
        meter: Measures the CPU time. By default one of its own.

    Raises:
        Refused: The cursor is none of this list.
    """
    meter, paging = meter or Meter(), Paging(place, kinds, after, limit)
    for group in groups:
        paging.add(group)
        await meter.checkpoint()
    return paging.page()


def _order(each: tuple[Place, int, object]) -> tuple[Place, int]:
    """Return the order of an entry with its place and its number."""
    return each[:2]


def steps(entries: Iterable[T]) -> Iterator[tuple[T, ...]]:
    """Yield the entries in groups of :data:`STEP`."""
    iterator = iter(entries)
    while step := tuple(islice(iterator, STEP)):
        yield step


def steps_of_groups(groups: Iterable[tuple[T, ...]]) -> Iterator[list[T]]:
    """Yield the entries of many small groups, most of which are empty, in steps of about equal work."""
    step: list[T] = []
    looked_at = 0
    for group in groups:
        step += group
        looked_at += 1
        if looked_at >= STEP or len(step) >= STEP:
            yield step
            step, looked_at = [], 0
    yield step


def cursor(place: Place) -> str:
    """Return the cursor of a place."""
    return base64.urlsafe_b64encode(orjson.dumps(place)).rstrip(b"=").decode()


def cursor_place(text: str, kinds: tuple[type, ...]) -> Place:
    """Return the place of a cursor. Raise ``Refused`` if the text is no cursor of this list."""
    try:
        if len(text) > _MAX_CURSOR:
            raise ValueError(text)  # noqa: TRY301 - as from the others
        values = cast("object", orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
        if not isinstance(values, list) or len(cast("list[object]", values)) != len(kinds):
            raise ValueError(text)  # noqa: TRY301 - as from the others
        return tuple(_part(each, kind) for each, kind in zip(cast("list[object]", values), kinds, strict=True))
    except ValueError:
        raise Refused(400, "bad_args", "after is not a cursor of this list") from None


def _part(value: object, kind: type) -> float | str:
    if kind is str and isinstance(value, str):
        return value
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise ValueError(value)
