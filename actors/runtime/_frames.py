"""What an exception holds besides its text: the frames that it passed, with every local variable in them."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from actors.failures import led_to, members, traceback_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


def let_go_of_frames(error: BaseException) -> None:
    """Clear the local variables of all code that an exception, its causes and its members have left.

    The traceback still tells files, lines and functions. *A handle on an actor that failed held its instance and its
    last message for ever: in the frames of the exception that is its exit reason.*

    Code that goes on is not touched: another task may have caught the exception, and wait inside its ``except``.
    """
    for each in _related(error):
        traceback = traceback_of(each)
        while traceback is not None:
            if _is_left(traceback.tb_frame):
                traceback.tb_frame.clear()
            traceback = traceback.tb_next


def _is_left(frame: FrameType) -> bool:
    """Whether the code of the frame has ended: only then the frame itself holds its variables, and its code with them.

    A suspended coroutine must not be cleared: Python 3.11 and 3.12 would close it. Before the end the variables belong
    to the coroutine, and while code runs to its thread: the collector sees nothing in the frame.
    """
    return any(held is frame.f_code for held in gc.get_referents(frame))


def _related(error: BaseException) -> Iterator[BaseException]:
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [*led_to(each), *members(each)]
