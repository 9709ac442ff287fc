"""The text of a traceback, with a limited number of frames. Pure.

*An agent that called itself without end failed with a traceback of a thousand frames. Its text took 45 ms, in which the
server did nothing else, and a user could start such an agent again and again.*
"""

from __future__ import annotations

from traceback import StackSummary, TracebackException
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

MAX_FRAMES = 100
"""Maximum number of frames in the text of one traceback. Of more frames, only the first and the last are shown."""

_HALF = MAX_FRAMES // 2


class _Ends(StackSummary):
    """A stack of which only the first and the last frames are shown."""

    def format(self, **options: object) -> list[str]:
        """Return the text of the frames, with a line for those between them. Newer Pythons have options."""
        first, last = (StackSummary.from_list(part).format(**options) for part in (self[:_HALF], self[-_HALF:]))
        return [*first, f"  … frames left out: {len(self) - 2 * _HALF} …\n", *last]


def traceback_text(error: BaseException, frames: TracebackType | None) -> tuple[str, bool]:
    """Return the text that Python prints for an exception, and whether frames are left out of it.

    Texts and lines of source can come from foreign code, which may raise anything.

    Args:
        error: The exception. Its causes and members are shown with it, in the same way.
        frames: The exception's own traceback.
    """
    # Most of the time goes into the lines of the source. They are read only for the frames that are shown.
    found = TracebackException(type(error), error, frames, lookup_lines=False, compact=True)
    long = [each for each in _with_related(found) if len(each.stack) > MAX_FRAMES]
    for each in long:
        each.stack = _Ends(each.stack)
    return "".join(found.format()), bool(long)


def _with_related(error: TracebackException) -> Iterator[TracebackException]:
    """Yield an exception, its causes and its members."""
    todo = [error]
    while todo:
        each = todo.pop()
        yield each
        todo += [other for other in (each.__cause__, each.__context__, *(each.exceptions or ())) if other is not None]
