"""The clean-up of local variables that the traceback of an exception would keep in memory."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from actors.failures import led_to, members, traceback_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


def let_go_of_frames(error: BaseException) -> None:
    """Clear the local variables in the tracebacks of an exception, of its causes and of its members.

    The same is done for their callers: a message that is handled at once has the frames of its sender's call below it.
    The tracebacks keep their files, lines and functions. *The exit reason of a failed actor is an exception. Its
    traceback kept the actor's instance and last message in memory as long as a handle on the actor existed.*

    The frames of code that still runs are not cleared: perhaps another task has caught the exception, and waits inside
    its ``except`` block.
    """
    for each in _related(error):
        traceback = traceback_of(each)
        caller = None if traceback is None else traceback.tb_frame.f_back
        while caller is not None and _has_ended(caller):
            caller.clear()
            caller = caller.f_back
        while traceback is not None:
            if _has_ended(traceback.tb_frame):
                traceback.tb_frame.clear()
            traceback = traceback.tb_next


def _has_ended(frame: FrameType) -> bool:
    """Return whether the code of the frame has ended.

    The garbage collector knows which object holds the frame's variables and code object. After the end of the code, the
    frame itself holds them. Before the end, the coroutine or its thread holds them. A suspended coroutine must not be
    cleared: Python 3.11 and 3.12 would close the coroutine.
    """
    return any(held is frame.f_code for held in gc.get_referents(frame))


def _related(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception, its causes, its contexts and its group members, each of them once."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()  # exceptions may cause each other in a cycle
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [*led_to(each), *members(each)]
